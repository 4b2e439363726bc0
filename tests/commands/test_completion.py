"""`jux completion`: the shells themselves complete, in a terminal, with TAB."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import click
import pytest

from pytest_jux import commands
from pytest_jux.canonicalizer import canonical_hash
from pytest_jux.commands import _cli
from pytest_jux.options import OPTIONS
from pytest_jux.storage import ReportStorage

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="shells and terminals of POSIX"),
    pytest.mark.usefixtures("clean_environment"),
]
BIN = Path(sys.executable).parent
SHELLS = ("bash", "zsh", "fish")
COMMANDS = ("keygen", "sign", "verify", "inspect", "publish", "cache", "config", "completion")
PROGRAMS = ("jux", *(f"jux-{name}" for name in COMMANDS if name != "completion"))
STATUSES = ["local", "queued", "published", "rejected"]
HOSTILE = ("my report.xml", "$(touch pwned).xml", "`touch pwned`.xml", "it's.xml", "a;touch pwned;.xml", "~root.xml")
# Keys that the shells below are given; a terminal itself understands none of them.
INSERT_ALL, SHOW_LINE, KILL_LINE = "\x18\x01", "\x18\x10", "\x18\x0b"


def test_the_programs_are_all_that_the_umbrella_has():
    assert commands.command.list_commands(click.Context(commands.command)) == [*COMMANDS]


# --- shells, in a terminal -------------------------------------------------------------------------------------------


class Terminal:
    """A shell that believes that somebody sits before it."""

    def __init__(self, command, directory, environ):
        self.descriptor, self.inner = os.openpty()
        name = os.ttyname(self.inner)
        start = ["sh", "-c", 'exec "$@" <>"$0" >&0 2>&0', name, *command]  # a session's first terminal becomes its own
        self.process = subprocess.Popen(start, cwd=directory, env=environ, start_new_session=True)
        self.screen = b""

    def type(self, keys):
        os.write(self.descriptor, keys.encode())

    def until(self, pattern, seconds=60.0):
        """Return the match in what the shell shows, and all that came before it."""
        end = time.monotonic() + seconds
        while (found := re.search(pattern, self.screen, re.DOTALL)) is None:
            ready, _, _ = select.select([self.descriptor], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"still not {pattern}: {self.screen!r}"
            self.screen += os.read(self.descriptor, 65536)
        before, self.screen = self.screen[: found.start()], self.screen[found.end() :]
        return found, before.decode(errors="replace")

    def close(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=60)
        os.close(self.inner)
        os.close(self.descriptor)


class Shell:
    """A shell with our completion; `terminal.directory` has the files and the store below."""

    START = ""
    OPTIONS = ()

    def __init__(self, directory, environ):
        self.directory, self.environ = directory, environ
        self.terminal = Terminal([type(self).__name__.lower(), *self.OPTIONS], directory, environ)
        self.terminal.type(self.START + "; echo rea''dy\r")
        self.terminal.until(rb"ready\r?\n")
        self.shown = ""

    def complete(self, line, key="\t"):
        """Return the line that the shell makes of `line` when TAB is pressed."""
        self.terminal.type(line + key + SHOW_LINE)
        found, self.shown = self.terminal.until(rb"<<([^\r\n]*)>>ok")
        self.terminal.type(KILL_LINE)
        return found[1].decode()

    def offers(self, line):
        """Return all words that may stand where the line ends."""
        head = line[: line.rfind(" ") + 1]
        made = self.complete(line, INSERT_ALL)
        return shlex.split(made.removeprefix(head))

    def run(self, command):
        self.terminal.type(f"{command}; echo do''ne\r")
        self.terminal.until(rb"done\r?\n")


class Bash(Shell):
    OPTIONS = ("--norc", "--noprofile", "-i")
    START = (
        r"""bind 'set enable-bracketed-paste off'; bind 'set bell-style none'; """
        r"""bind '"\C-x\C-a": insert-completions'; bind '"\C-x\C-k": kill-whole-line'; """
        r"""bind -x '"\C-x\C-p": printf "<<%s>>%s\n" "$READLINE_LINE" ok'; source <(jux completion bash)"""
    )


class Zsh(Shell):
    OPTIONS = ("-f", "-i")
    START = (
        r"""PS1='$ '; unsetopt beep; autoload -Uz compinit; compinit -D -u; zle -C insert-all complete-word _all; """
        r"""_all() { _main_complete; compstate[insert]=all }; bindkey '^X^A' insert-all; """
        r"""show() { print -r -- "<<$BUFFER>>"ok }; zle -N show; bindkey '^X^P' show; """
        r"""bindkey '^X^K' kill-whole-line; """
        r"""source <(jux completion zsh)"""
    )


class Fish(Shell):
    OPTIONS = ("--no-config", "-i")
    START = (
        r"""function fish_prompt; echo '$ '; end; set -g fish_autosuggestion_enabled 0; """
        r"""bind \cx\cp 'printf "\n<<%s>>%s\n" (commandline | string collect) ok'; bind \cx\ck 'commandline ""'; """
        r"""jux completion fish | source"""
    )

    def offers(self, line):
        code = 'jux completion fish | source; for line in $argv; complete --do-complete="$line"; end'
        done = ask_shell(["fish", "--no-config", "-c", code, line], self.directory, self.environ)
        return [answer.partition("\t")[0] for answer in done.splitlines()]


def ask_shell(command, directory, environ):
    """Run a shell that is not interactive and return what it prints; it must have nothing to complain of."""
    done = subprocess.run(
        command, cwd=directory, env=environ, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Make a directory with files and a store in it, and the environment of somebody who is there."""
    home = tmp_path_factory.mktemp("home")
    directory = tmp_path_factory.mktemp("place")
    for name in ("report.xml", "signer.crt", "signer.pem"):
        (directory / name).touch()
    (directory / "results").mkdir()
    (directory / "my results").mkdir()
    (directory / "hostile").mkdir()
    for name in HOSTILE:
        (directory / "hostile" / name).touch()
    storage = ReportStorage(directory / "store")
    hashes = [store(storage, number) for number in range(6)]
    environ = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    environ |= {"HOME": str(home), "TERM": "dumb", "LANG": "C.UTF-8", "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    return SimpleNamespace(directory=directory, home=home, storage=storage, hashes=hashes, environ=environ)


def store(storage, number):
    """Store report `number`, each a second after the one before; return the digits of its hash."""
    data = f'<testsuite name="{number}"><testcase name="test"/></testsuite>'.encode()
    identity = canonical_hash(data)
    path = storage.store(data, identity).path
    os.utime(path, (1_700_000_000 + number,) * 2)
    return identity.removeprefix("sha256:")


@pytest.fixture
def script(place):
    """Return a function that gives the script for a shell that is there."""

    def script(name):
        need(name)
        return ask_shell([BIN / "jux", "completion", name], place.directory, place.environ)

    return script


def need(shell):
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")


@pytest.fixture(scope="module", params=[Bash, Zsh, Fish], ids=SHELLS)
def shell(request, place):
    """Start each of the shells, with our completion and nothing else."""
    need(request.param.__name__.lower())
    shell = request.param(place.directory, place.environ)
    yield shell
    shell.terminal.close()


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("jux ca", "jux cache "),
        ("jux-cache sh", "jux-cache show "),
        ("jux completion z", "jux completion zsh "),
        ("jux-sign --repl", "jux-sign --replace "),
        ("jux keygen --no-c", "jux keygen --no-cert "),
        ("jux-keygen --type ed", "jux-keygen --type ed25519 "),
        ("jux cache list --status lo", "jux cache list --status local "),
        ("jux cache list --status=lo", "jux cache list --status=local "),
        ("jux-config dump --format ya", "jux-config dump --format yaml "),
        ("jux-config get storage_m", "jux-config get storage_m"),  # mode or max_size
        ("jux-config explain jux_on", "jux-config explain jux_on_error "),
        ("jux-config dump -- --no-jux-si", "jux-config dump -- --no-jux-sign "),
        ("jux-sign --passphrase-env HO", "jux-sign --passphrase-env HOME "),
        ("jux-verify rep", "jux-verify report.xml "),
        ("jux-verify --cert signer.c", "jux-verify --cert signer.crt "),
        ("jux-verify --cert=signer.c", "jux-verify --cert=signer.crt "),
        ("jux cache stats --storage-path resu", "jux cache stats --storage-path results/"),
        ("jux cache stats --storage-path rep", "jux cache stats --storage-path rep"),  # a file
        ("true; jux ca", "true; jux cache "),
        ("X=1 jux ca", "X=1 jux cache "),
        ("jux-keygen --subject ca", "jux-keygen --subject ca"),
    ],
)
def test_tab_completes(shell, typed, completed):
    assert shell.complete(typed) == completed


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("jux ", [*COMMANDS]),
        ("jux-cache list --status ", STATUSES),
        ("jux-keygen --type ", ["rsa", "ecdsa", "ed25519"]),
        ("jux-config get jux_key_", ["jux_key_path", "jux_key_passphrase_env", "jux_key_passphrase_file"]),
        ("jux completion ", ["bash", "zsh", "fish"]),
    ],
)
def test_tab_offers_all_that_fits_in_our_order(shell, typed, offered):
    assert shell.offers(typed) == offered


@pytest.mark.parametrize("program", PROGRAMS)
def test_one_script_is_enough_for_all_programs(shell, program):
    assert shell.complete(f"{program} --vers") == f"{program} --version "


@pytest.mark.parametrize("label", ["", "sha256:", '"sha256:'])
def test_hashes_complete_with_and_without_label(shell, place, label):
    typed = f"jux cache show --storage-path store {label}{place.hashes[0][:6]}"
    assert shell.complete(typed).rstrip('" ') == f"jux cache show --storage-path store {label}{place.hashes[0][:12]}"


def test_the_label_itself_completes(shell):
    assert shell.complete("jux cache export --storage-path store sha").rstrip() == (
        "jux cache export --storage-path store sha256:"
    )


def test_the_newest_reports_are_offered_first(shell, place):
    offered = shell.offers("jux cache show --storage-path store ")
    assert offered == [digits[:12] for digits in reversed(place.hashes)]


def test_a_word_with_a_space_in_quotes_is_one_word(shell):
    made = shell.complete("jux cache stats --storage-path 'my res")
    assert made.replace("'", "") == "jux cache stats --storage-path my results/"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_name_becomes_one_quoted_word(shell, name):
    made = shell.complete("jux-verify " + shlex.quote(f"hostile/{name[:2]}").removesuffix("'"))
    read = f"printf '%s\\0' {made.removeprefix('jux-verify ')}"
    words = ask_shell([type(shell).__name__.lower(), "-c", read], shell.directory, shell.environ)
    assert words.split("\0") == [f"hostile/{name}", ""]
    assert not (shell.directory / "pwned").exists()


def test_all_hostile_file_names_are_offered_as_words(shell):
    assert sorted(shell.offers("jux-verify hostile/")) == sorted(f"hostile/{name}" for name in HOSTILE)
    assert not (shell.directory / "pwned").exists()


def test_what_is_typed_is_not_executed_either(shell):
    shell.complete("jux-verify $(touch pwned) rep")
    shell.complete("jux cache show --storage-path `touch pwned` ")
    shell.complete("jux config get '--$(touch pwned)=sto")
    assert not (shell.directory / "pwned").exists()


def test_tab_only_asks_and_never_acts(shell, place):
    shell.complete("jux-cache clean --storage-path store --days 0 --yes ")
    shell.complete("jux keygen --output made.pem --force ")
    assert len(place.storage.list()) == len(place.hashes)
    assert not (place.directory / "made.pem").exists()


def test_a_broken_configuration_disturbs_nobody(shell, place, tmp_path):
    (tmp_path / ".jux.conf").write_text("[jux]\nstorage_mode = nonsense\n")
    shell.run(f"cd {shlex.quote(str(tmp_path))}; export JUX_DEBUG=1")
    try:
        assert shell.complete("jux-cache show ") == "jux-cache show "
        assert "nonsense" not in shell.shown
        assert "Traceback" not in shell.shown
        assert shell.complete("jux-cache sta") == "jux-cache stats "
    finally:
        shell.run(f"cd {shlex.quote(str(place.directory))}; export JUX_DEBUG=0")


def test_a_shell_without_jux_on_its_path_says_nothing(shell, tmp_path):
    name = type(shell).__name__.lower()
    script = tmp_path / "script"
    script.write_text(ask_shell([BIN / "jux", "completion", name], tmp_path, shell.environ))
    code = {  # with what many systems do to propose a package for an unknown command
        "bash": "command_not_found_handle() { : > asked; }; source ./script; COMP_LINE='jux ca' COMP_POINT=6; "
        "_jux_completion jux ca jux; echo ${#COMPREPLY[@]}",
        "zsh": "command_not_found_handler() { : > asked }; compdef() { }; source ./script; words=(jux ca) CURRENT=2; "
        "_jux; echo 0",
        "fish": "source ./script; count (complete --do-complete='jux ca'); true",
    }[name]
    (tmp_path / "bin").mkdir()
    environ = shell.environ | {"PATH": str(tmp_path / "bin")}
    assert ask_shell([shutil.which(name), *shell.OPTIONS[:1], "-c", code], tmp_path, environ) == "0\n"
    assert not (tmp_path / "asked").exists()


def test_bash_gets_no_variables_of_ours(script, place, tmp_path):
    (tmp_path / "jux.bash").write_text(script("bash"))
    code = f"""
        source {tmp_path}/jux.bash; before=; before=$(compgen -v)
        COMP_LINE='jux completion ' COMP_POINT=15; _jux_completion jux '' completion
        echo "${{COMPREPLY[*]}}"; diff <(echo "$before") <(compgen -v) || true
    """
    made = ask_shell(["bash", "--norc", "-c", code], place.directory, place.environ).splitlines()
    assert made[0] == "bash zsh fish"
    assert {line[2:] for line in made if line[:1] in "<>"} <= {"COMP_LINE", "COMP_POINT", "COMPREPLY", "PIPESTATUS"}


# --- installation ----------------------------------------------------------------------------------------------------


def test_a_saved_bash_script_registers_every_program(script, place, tmp_path):
    (tmp_path / "jux.bash").write_text(script("bash"))
    code = f"set -euo pipefail; source {tmp_path}/jux.bash; complete -p {' '.join(PROGRAMS)}"
    made = ask_shell(["bash", "--norc", "-c", code], place.directory, place.environ)
    assert made == "".join(f"complete -o nosort -F _jux_completion {program}\n" for program in PROGRAMS)


def test_a_zsh_script_in_fpath_is_found_for_every_program(script, place, tmp_path):
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions" / "_jux").write_text(script("zsh"))
    names = " ".join(f"$_comps[{program}]" for program in PROGRAMS)
    code = f"fpath=({tmp_path}/functions $fpath); autoload -Uz compinit; compinit -D -u; print {names}"
    assert ask_shell(["zsh", "-f", "-c", code], place.directory, place.environ).split() == ["_jux"] * len(PROGRAMS)


def test_a_zsh_script_in_fpath_completes_at_its_first_use(script, place, tmp_path):
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions" / "_jux").write_text(script("zsh"))

    class ZshWithDirectory(Zsh):
        START = f"fpath=({tmp_path}/functions $fpath); {Zsh.START.removesuffix('source <(jux completion zsh)')} :"

    ZshWithDirectory.__name__ = "Zsh"
    shell = ZshWithDirectory(place.directory, place.environ)
    try:
        assert shell.complete("jux-sign --repl") == "jux-sign --replace "
        assert shell.complete("jux ca") == "jux cache "
    finally:
        shell.terminal.close()


def test_a_zsh_without_compinit_is_told_what_is_missing(script, place, tmp_path):
    (tmp_path / "jux.zsh").write_text(script("zsh"))
    command = ["zsh", "-f", "-c", f"source {tmp_path}/jux.zsh"]
    done = subprocess.run(command, env=place.environ, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (
        "",
        "jux completion: put it behind the line with compinit in ~/.zshrc\n",
    )


def test_a_fish_script_in_its_directory_is_enough_for_every_program(script, place, tmp_path):
    directory = tmp_path / "fish" / "conf.d"
    directory.mkdir(parents=True)
    (directory / "jux.fish").write_text(script("fish"))
    code = 'for program in $argv; complete --do-complete="$program --vers"; end'
    environ = place.environ | {"XDG_CONFIG_HOME": str(tmp_path)}
    made = ask_shell(["fish", "-c", code, *PROGRAMS], place.directory, environ)
    assert [line.partition("\t")[0] for line in made.splitlines()] == ["--version"] * len(PROGRAMS)


@pytest.mark.parametrize("name", SHELLS)
def test_the_script_needs_no_shell_on_this_machine(place, tmp_path, name):
    environ = place.environ | {"PATH": str(tmp_path)}
    made = ask_shell([sys.executable, BIN / "jux", "completion", name], tmp_path, environ)
    assert all(re.search(rf"(?<![\w-]){program}(?![\w-])", made) for program in PROGRAMS)
    assert made.isascii()


# --- answers, without a shell ----------------------------------------------------------------------------------------


@pytest.fixture
def jux(capsys):
    def run(*arguments):
        code = _cli.run(commands.command, [*arguments], "jux")
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def ask(monkeypatch, capsys, tmp_path):
    """Return a function that gives the answers to a line, as fish gets them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    def ask(line, shell="fish", **variables):
        with monkeypatch.context() as patch:
            for name, value in {"_JUX_COMPLETE": f"{shell}_complete", "_JUX_LINE": line, **variables}.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                _cli.run(commands.command, [], "jux")
        captured = capsys.readouterr()
        assert (ended.value.code, captured.err) == (0, "")
        return captured.out.rstrip("\n").split("\n") if captured.out.strip("\n") else []

    return ask


def words(answers):
    return [answer.removeprefix("plain,").partition("\t")[0] for answer in answers]


def parameters(command=commands.command, parent=None):
    """Give every parameter of a command and of those below it, each with its context."""
    context = click.Context(command, parent, info_name=command.name, **command.context_settings)
    yield from ((parameter, context) for parameter in command.get_params(context))
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            yield from parameters(command.get_command(context, name), context)


def test_every_file_and_directory_on_every_command_line_completes():
    found = []
    for parameter, context in parameters():
        what = re.search("FILE|DIR", f"{parameter.metavar or parameter.name}".upper())
        if what and not getattr(parameter, "is_flag", False):
            kind = "file" if what[0] == "FILE" else "dir"
            found.append(parameter.name)
            answers = [item.type for item in parameter.shell_complete(context, "")]
            assert answers == [kind], f"{context.command_path}: {parameter.name}"
    assert len(found) > 20


def test_every_hash_on_every_command_line_completes(place):
    found = []
    for parameter, context in parameters():
        if "HASH" in f"{parameter.metavar}":
            found.append(context.command_path)
            context.params["storage_path"] = str(place.directory / "store")
            assert len(parameter.shell_complete(context, "")) == len(place.hashes), context.command_path
    assert {"jux cache show", "jux cache export", "jux cache verify"} <= {*found}


def test_every_setting_completes_by_both_names(ask):
    assert words(ask("jux config get ")) == [option.short_name for option in OPTIONS.values()]
    assert words(ask("jux config explain jux_")) == [*OPTIONS]
    assert words(ask("jux config explain j")) == [*OPTIONS]


def test_the_descriptions_are_those_of_the_options(ask):
    assert ask("jux config get on_e") == [f"plain,on_error\t{OPTIONS['jux_on_error'].help}"]
    assert ask("jux config get on_e", "zsh") == [f"plain,on_error:{OPTIONS['jux_on_error'].help}"]


@pytest.mark.parametrize(
    ("word", "answer"),
    [("lo", "local"), ("", "local"), ("--status=lo", "--status=local"), ("'--status=lo", "--status=local")],
)
def test_bash_is_told_what_replaces_the_part_of_the_word_that_it_replaces(ask, word, answer):
    typed = "--status=" if not word else "--status=lo"
    assert ask(f"jux cache list {typed}", "bash", _JUX_WORD=word)[0] == f"plain,{answer}"


def test_the_flags_of_the_plugin_are_offered_for_pytest(ask):
    answers = words(ask("jux config dump -- --jux-key"))
    assert answers == ["--jux-key", "--jux-key-passphrase-env", "--jux-key-passphrase-file"]
    assert ask("jux config dump -- tes") == ["file"]


def test_variables_are_offered_by_name_and_never_their_values(ask):
    answers = ask("jux sign --passphrase-env SIG", SIGNING="hunter2", SIGNED_="hunter2")
    assert answers == ["plain,SIGNED_", "plain,SIGNING"]
    assert ask("jux sign --passphrase-env _") == []  # our own among them


@pytest.mark.parametrize("name", ["SIG$(touch x)", "SIG`x`", "SIG ", "SIG\nplain,SIGX", "SIG;x", "BASH_FUNC_SIG%%"])
def test_hostile_names_of_variables_are_not_offered(ask, name):
    assert ask("jux sign --passphrase-env SIG", **{name: "x"}) == []


def test_a_word_that_a_shell_could_misread_is_not_offered(ask):
    assert words(ask("jux config get '--x=sto")) == [f"--x={name}" for name in words(ask("jux config get sto"))]
    assert ask("jux config get '--$(touch pwned)=sto") == []


def test_reports_are_described_by_time_and_status(ask, place):
    line = f"jux cache show --storage-path {place.directory}/store {place.hashes[0][:5]}"
    assert ask(line) == [f"plain,{place.hashes[0][:12]}\t2023-11-14 22:13:20, local"]


def test_more_than_twelve_digits_become_the_whole_hash(ask, place):
    typed = place.hashes[1][:13]
    assert words(ask(f"jux-cache export --storage-path {place.directory}/store {typed}")) == [place.hashes[1]]


def test_reports_that_begin_alike_are_told_apart(ask, tmp_path):
    for last in "ab":
        make_entry(tmp_path / "store", f"sha256-{'0' * 63}{last}.xml")
    line = f"jux cache show --storage-path {tmp_path}/store "
    assert sorted(words(ask(line))) == ["0" * 63 + last for last in "ab"]
    assert words(ask(line + "00")) == ["0" * 63 + last for last in "ab"]


def test_a_report_that_is_named_already_is_not_offered_again(ask, place):
    first, *others = [digits[:12] for digits in place.hashes]
    line = f"jux cache verify --storage-path {place.directory}/store sha256:{first} "
    assert set(words(ask(line))) >= {*others}
    assert first not in words(ask(line))


def test_of_many_reports_some_are_offered_that_share_only_what_all_share(ask, tmp_path):
    for number in range(300):
        make_entry(tmp_path / "store", f"sha256-{f'ab{number:03}':0<64}.xml")
    line = f"jux cache show --storage-path {tmp_path}/store "
    assert len(ask(line)) == 50
    offered = words(ask(line + "ab"))
    assert (len(offered), offered[0], offered[-1]) == (50, "ab0000000000", "ab2990000000")
    assert {answer[:3] for answer in offered} == {"ab0", "ab1", "ab2"}


def make_entry(root, name):
    path = root / "reports" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


@pytest.mark.parametrize(
    "name",
    [
        "sha256-$(touch pwned).xml",
        f"sha256-{'a' * 63}`.xml",
        f"sha256-{'a' * 63}\n.xml",
        f"sha256-{'A' * 64}.xml",
        f"sha256-{'a' * 65}.xml",
        f"sha256-{'a' * 64}.xml; touch pwned",
    ],
)
@pytest.mark.parametrize("typed", ["", "a", "sha256:"])
def test_hostile_names_in_a_store_are_not_offered(ask, tmp_path, name, typed):
    make_entry(tmp_path / "store", name)
    assert ask(f"jux cache show --storage-path {tmp_path}/store {typed}") == []


@pytest.mark.parametrize("typed", ["xyz", "sha256:xyz", "SHA256:", "$(x)", "sha512:", "-"])
def test_what_is_no_hash_has_no_completion(ask, place, typed):
    answers = words(ask(f"jux cache show --storage-path {place.directory}/store '{typed}"))
    assert all(answer.startswith("-") for answer in answers)
    assert bool(answers) == (typed == "-")


def test_an_unreadable_store_means_no_candidates(place, tmp_path, without_root_rights):
    make_entry(tmp_path / "store", f"sha256-{'a' * 64}.xml")
    (tmp_path / "store" / "reports").chmod(0)
    environ = place.environ | {"_JUX_COMPLETE": "fish_complete", "_JUX_LINE": "jux cache show --storage-path store "}
    assert ask_shell([*without_root_rights, BIN / "jux"], tmp_path, environ) == "\n"
    (tmp_path / "store" / "reports").chmod(0o700)
    assert ask_shell([*without_root_rights, BIN / "jux"], tmp_path, environ).startswith("plain,aaaaaaaaaaaa\t")


@pytest.mark.parametrize("path", ["", "nowhere", "report.xml", "~nobody-of-this-name/x", "a\\\0b"[:1]])
def test_a_store_that_is_none_means_no_candidates(ask, tmp_path, path):
    (tmp_path / "report.xml").touch()
    assert ask(f"jux cache show --storage-path '{path}' ") == []


@pytest.mark.parametrize(
    "content", ["[jux]\nstorage_path\n", "[jux]\nstorage_mode = x\n", "[[[", "\0", "[jux]\nstorage_pat = x"]
)
def test_a_broken_configuration_means_no_candidates_and_no_words(ask, tmp_path, content):
    (tmp_path / ".jux.conf").write_text(content)
    assert ask("jux cache show ") == []


def test_the_configured_store_is_the_one_that_is_asked(ask, place, tmp_path):
    (tmp_path / ".jux.conf").write_text(f"[jux]\nstorage_path = {place.directory}/store\n")
    assert words(ask(f"jux cache show {place.hashes[2][:6]}")) == [place.hashes[2][:12]]


@pytest.mark.parametrize(
    "line", ["", " ", "jux", "jux nope ", "jux 'cache", "jux \\", 'jux "', "jux cache show --nope "]
)
def test_no_line_is_an_error(ask, line):
    assert "Traceback" not in "".join(ask(line))


def test_a_shell_that_forgets_the_line_gets_no_answer(place):
    environ = place.environ | {"_JUX_COMPLETE": "bash_complete"}
    assert ask_shell([BIN / "jux"], place.directory, environ) == "\n"


def test_debugging_shows_what_went_wrong(place):
    environ = place.environ | {"_JUX_COMPLETE": "bash_complete", "JUX_DEBUG": "1"}
    done = subprocess.run([BIN / "jux"], env=environ, capture_output=True, text=True, check=False)
    assert "KeyError: '_JUX_LINE'" in done.stderr


@pytest.mark.parametrize("line", ["jux ", "jux-sign --", "jux config get ", "jux-verify ", "jux cache list --status "])
def test_completion_does_not_pay_for_what_commands_need(place, line):
    code = (
        "import sys; from pytest_jux.commands import _cli, command\n"
        "try: _cli.run(command, [], 'jux')\n"
        "finally: print(sorted({'lxml', 'cryptography', 'pytest', 'yaml', 'urllib3', 'platformdirs', 'subprocess'} & "
        "{*sys.modules}), file=sys.stderr)"
    )
    environ = {name: value for name, value in place.environ.items() if not name.startswith("COVERAGE_")}
    environ |= {"_JUX_COMPLETE": "zsh_complete", "_JUX_LINE": line}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
    assert done.stdout.strip()


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHELLS)
def test_both_ways_to_the_script_give_the_same(jux, monkeypatch, capsys, name):
    code, out, err = jux("completion", name)
    assert (code, err) == (0, "")
    monkeypatch.setenv("_JUX_COMPLETE", f"{name}_source")
    with pytest.raises(SystemExit):
        _cli.run(commands.command, [], "jux")
    assert capsys.readouterr().out == out


@pytest.mark.parametrize(
    ("login_shell", "hint"),
    [
        ("/usr/bin/zsh", "; yours seems to be zsh: jux completion zsh"),
        ("/bin/bash", "; yours seems to be bash: jux completion bash"),
        ("/bin/tcsh", ""),
        ("/opt/$(touch pwned)\x1b[31m", ""),
        ("", ""),
    ],
)
def test_without_a_shell_it_asks_for_which(jux, monkeypatch, login_shell, hint):
    monkeypatch.setenv("SHELL", login_shell)
    assert jux("completion") == (
        64,
        "",
        f"jux completion: say for which shell: bash, zsh or fish{hint}\n  See jux completion --help.\n",
    )


def test_another_shell_is_a_usage_error(jux):
    code, out, err = jux("completion", "tcsh")
    assert (code, out) == (64, "")
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in err


def test_the_help_says_how_to_install_it_in_each_shell(jux):
    code, out, _ = jux("completion", "--help")
    assert code == 0
    assert all(place in out for place in ("~/.bashrc", "compinit", "fpath", "config.fish", "conf.d/jux.fish"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_is_no_success(place):
    with Path("/dev/full").open("wb") as full:
        command = [BIN / "jux", "completion", "bash"]
        done = subprocess.run(command, env=place.environ, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "No space left" in done.stderr
