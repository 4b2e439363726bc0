"""A secret, wherever it is set, is in nothing that is put out: by no command, option, log, traceback, crash or file.

What is not looked for: pytest's own namespace (`config.option`) and its log of --debug hold the words that pytest was
given, also those of addopts and PYTEST_ADDOPTS, and pytest quotes the lines of its own file that it cannot read. No
plugin can change that. Values of options that are no secrets are shown by design.
"""

from __future__ import annotations

import base64
import gzip
import html
import io
import json
import os
import shlex
import signal
import subprocess
import urllib.parse
import zipfile
from xml.sax.saxutils import escape, quoteattr

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from e2e.leaks import GUARD, SCRIPTS, Artefact, Project, Secrets
from publishing.authorities import authority_file, client_files, server_side
from publishing.hostile import PATH, RecordingServer, is_silent, stores
from publishing.proxies import ForwardProxy

from pytest_jux.config import load
from pytest_jux.keys import private_key_pem

ODD = "-{}'\"%40${{HOME}}\\{}`!&<{}>;#ключ=:{}"

SUITE = """
import copy
import logging
import os
import pprint

import pytest

from pytest_jux.config import load
from pytest_jux.plugin import RUN


def test_that_prints_what_it_can_reach(request):
    config = request.config
    run = config.stash.get(RUN, None)
    print(config, repr(config), repr(config.stash), run)
    if run is not None:
        settings, key = run.settings, run.settings["jux_api_key"]
        print(vars(run), settings, [settings.explain(name) for name in settings], settings.warnings)
        print(key, f"{key} {key!r} {key:>40}", "%s %r" % (key, key), [key], copy.deepcopy(key))
        pprint.pprint({1: key})
        logging.getLogger("suite").debug("%s %r %s %r", settings, settings, key, key)
    if "SHOW_OPTIONS" in os.environ:
        print(vars(config.option))


@pytest.fixture
def settings(pytestconfig):
    run = pytestconfig.stash.get(RUN, None)
    return run and run.settings


def test_that_fails_with_it_in_a_variable(settings):
    key = settings and settings["jux_api_key"]
    assert key is settings, f"{settings} {key}"


def test_that_fails_where_the_configuration_is_read(monkeypatch):
    monkeypatch.setenv("JUX_SIGN", "maybe")
    load()
"""

# Breaks a library or a module of ours in every Python that is started with it.
SITECUSTOMIZE = """
import os
import sys

for name in os.environ.get("UNIMPORTABLE", "").split():
    sys.modules[name] = None  # importing it raises ImportError


if "BROKEN_LINES" in os.environ:
    import iniconfig

    whole = iniconfig.IniConfig.lineof

    def lineof(self, section, name=None):
        asked_by = sys._getframe(1).f_globals["__name__"]
        if name in {"api_key", "jux_api_key"} and asked_by.startswith("pytest_jux."):
            interrupted = os.environ["BROKEN_LINES"] == "interrupted"
            raise KeyboardInterrupt if interrupted else RuntimeError("broken on purpose")
        return whole(self, section, name)

    iniconfig.IniConfig.lineof = lineof
"""


# --- the search itself -----------------------------------------------------------------------------------------------


def zipped(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner.json", data)
    return buffer.getvalue()


FORMS = {
    "as it is": str.encode,
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-16 big endian": lambda text: text.encode("utf-16-be"),
    "UTF-32": lambda text: text.encode("utf-32"),
    "base64": lambda text: base64.b64encode(text.encode()),
    "base64 behind one byte": lambda text: base64.b64encode(b"x" + text.encode()),
    "base64 behind two bytes": lambda text: base64.b64encode(b"xy" + text.encode()),
    "base64 in lines": lambda text: base64.encodebytes(b"user:" + text.encode() * 3),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(b"?>" + text.encode()),
    "hexadecimal": lambda text: text.encode().hex().upper().encode(),
    "percent-encoded": lambda text: urllib.parse.quote(text, safe="").encode(),
    "each byte percent-encoded": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()).encode(),
    "form-encoded": lambda text: urllib.parse.urlencode({"key": text}).encode(),
    "repr": lambda text: repr([text]).encode(),
    "repr of bytes": lambda text: repr(text.encode()).encode(),
    "JSON": lambda text: json.dumps({"key": text}).encode(),
    "JSON within JSON": lambda text: json.dumps(json.dumps({"key": text})).encode(),
    "YAML": lambda text: yaml.safe_dump({"key": text}, width=20).encode(),
    "XML text": lambda text: escape(text).encode(),
    "XML attribute": lambda text: quoteattr(text).encode(),
    "HTML": lambda text: html.escape(text).encode("ascii", "xmlcharrefreplace"),
    "shell": lambda text: shlex.quote(text).encode(),
    "escapes": lambda text: text.encode("ascii", "backslashreplace"),
    "capitals": lambda text: text.upper().encode(),
    "cut in the middle": lambda text: text[: len(text) // 2].encode(),
    "broken into lines": lambda text: "\n    ".join(text[at : at + 9] for at in range(0, len(text), 9)).encode(),
    "ZIP archive": lambda text: zipped(text.encode()),
    "ZIP archive in another": lambda text: zipped(zipped(text.encode())),
    "gzip": lambda text: gzip.compress(text.encode()),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_the_search_finds_a_secret_in_this_form(form):
    secrets = Secrets()
    for name in ("one", "another"):
        secret = secrets.make(name, ODD)
        data = b"before it, " + form(secret) if form is str.encode else form(secret)
        assert set(secrets.found_in(data)) == {name}
        assert secrets.excerpt(data, name)


def test_the_search_finds_nothing_in_what_holds_no_secret(real_report):
    secrets = Secrets()
    secrets.make("one", ODD)
    for data in (b"", real_report, zipped(real_report), os.urandom(100_000)):
        assert not secrets.found_in(data)


def test_the_search_looks_into_every_file_but_those_with_planted_secrets(tmp_path):
    project = Project(tmp_path, Secrets())
    secret = project.secrets.make("one")
    project.write("planted.ini", f"key = {secret}")
    assert project.leaks(project.written()) == []
    for place in (project.directory / "a" / "log", project.home / ".x" / "y", project.temporary / "z"):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"\x00" + secret.encode("utf-16-le"))
    assert len(project.leaks(project.written())) == 3


def test_a_program_that_shows_a_secret_is_found_out(tmp_path):
    project = Project(tmp_path, Secrets())
    project.environ["WORDS"] = project.secrets.make("the variable", ODD)
    script = "import os, sys; {}(os.environ['WORDS'])"
    for call in ("print", "sys.exit", "int", "sys.stdout.buffer.write(b'x') and repr"):
        shown = project.leaks_of("python", "-c", script.format(call))
        assert bool(shown) is ("repr" not in call), shown


def test_a_plugin_that_shows_a_secret_is_found_out_beside_what_pytest_shows(tmp_path):
    project = Project(tmp_path, Secrets())
    secret = project.secrets.make("a word of the command line")
    project.arguments = ["-o", f"jux_api_key={secret}"]
    project.write("test_one.py", "def test_one(): pass")
    assert project.leaks_of_pytest("--debug") == []
    assert project.secrets.found_in((project.directory / "pytestdebug.log").read_bytes())
    project.planted.clear()
    body = "def pytest_report_header(config):\n    return config.getini('jux_api_key') if {} else None\n"
    project.write("conftest.py", body.format("config.pluginmanager.hasplugin('jux')"))
    assert project.leaks_of_pytest()


# --- projects with secrets in every place ----------------------------------------------------------------------------


PASSPHRASE_FRAGMENTS = [Secrets().make("") for _ in range(3)]
PASSPHRASE = "{}'\"%40$HOME\\`#;{}=ü:{}".format(*PASSPHRASE_FRAGMENTS)


@pytest.fixture(scope="session")
def protected(make_signer):
    """A key in an encrypted file, made once, with a passphrase for all projects."""
    return make_signer("secrets", passphrase=PASSPHRASE.encode())


def know_key(secrets, signer):
    for fragment in PASSPHRASE_FRAGMENTS:
        secrets.know("the passphrase", fragment)
    number = signer.key.private_numbers().private_value
    secrets.know("the private key", str(number))
    secrets.know("the private key", number.to_bytes(32))
    for line in signer.key_path.read_text().split("\n")[1:-2]:
        secrets.know("a line of the encrypted key", line)
    for line in private_key_pem(signer.key).decode().split("\n")[1:3]:  # the third has the public key only
        secrets.know("a line of the private key", line)


def toml(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def ini_file(header: str, secret: str, other: str, words: list[str]) -> str:
    addopts = f"addopts = {shlex.join(words)}\n" if words else ""
    return f"[{header}]\njux_api_key = {secret}\njux_api_kye = {other}\n{addopts}filterwarnings = ignore\n"


def toml_file(header: str, secret: str, other: str, words: list[str]) -> str:
    addopts = f"addopts = [{', '.join(map(toml, words))}]\n"
    return f"[{header}]\njux_api_key = {toml(secret)}\njux_api_kye = {toml(other)}\n{addopts}"


# pytest's file, how it is written, its section, and where words with `-o` stand besides
KINDS = {
    "pytest.ini": ("pytest.ini", ini_file, "pytest", "addopts"),
    "pytest.toml": ("pytest.toml", toml_file, "pytest", "addopts"),
    "pyproject.toml, ini_options": ("pyproject.toml", toml_file, "tool.pytest.ini_options", "PYTEST_ADDOPTS"),
    "pyproject.toml": ("pyproject.toml", toml_file, "tool.pytest", "command line"),
    "tox.ini": ("tox.ini", ini_file, "pytest", ""),
    "setup.cfg": ("setup.cfg", ini_file, "tool:pytest", "PYTEST_ADDOPTS"),
}
SECRET_NAMES = (
    "DEPLOY_TOKEN",
    "DB_PASSWORD",
    "AWS_SECRET_ACCESS_KEY",
    "SESSION_COOKIE",
    "BASIC_AUTH",
    "MY_CREDENTIALS",
)


class Planted(Project):
    """A project that signs its reports, with a secret in each place that one can be in."""

    def __init__(self, directory, protected, kind):
        super().__init__(directory, Secrets())
        self.file, written, header, self.where = KINDS[kind]
        make = self.secrets.make
        know_key(self.secrets, protected)
        self.keys = {"-o": make(f"-o jux_api_key in {self.where}", "--{}'\"%s$HOME#;{}ü=") if self.where else None}
        words = ["-o", f"jux_api_key={self.keys['-o']}"] if self.where else []
        self.keys[self.file] = make(f"jux_api_key in {self.file}", "{}%(x)s\"'$#;{}é={}")
        self.keys[".jux.conf"] = make(".jux.conf", "'{}%d\"$\\n#;{}ü:={}")
        self.keys["user"] = make("~/.jux/config", "{}")
        self.keys["JUX_API_KEY"] = make("JUX_API_KEY", ODD)
        other = make(f"jux_api_kye in {self.file}")
        self.write(self.file, written(header, self.keys[self.file], other, words if self.where == "addopts" else []))
        if self.where == "command line":
            self.arguments = words
        elif self.where == "PYTEST_ADDOPTS":
            self.environ["PYTEST_ADDOPTS"] = shlex.join(words)
        self.set_variables()
        self.write_files(protected)

    def set_variables(self):
        make = self.secrets.make
        self.environ |= {name: make(f"the variable {name}", ODD) for name in SECRET_NAMES}
        self.environ |= {
            "JUX_API_KEY": self.keys["JUX_API_KEY"],
            "JUX_API_KYE": make("the misspelt variable JUX_API_KYE", ODD),
            "JUX_KEY_PASSPHRASE": make("the variable JUX_KEY_PASSPHRASE", ODD),
            "PUBLISHING_WORDS": make("the variable of jux_api_key_env", ODD),
            "SHADOWED_WORDS": make("the variable of a shadowed jux_api_key_env", ODD),
            "PACKAGE_INDEX": f"https://someone:{make('a URL in a variable', '{}@{}')}@index.example/simple",
            "HARMLESS": "a value that is no secret",
        }
        if not self.where:
            self.environ["SHOW_OPTIONS"] = "1"

    def write_files(self, protected):
        make = self.secrets.make
        self.write("key.pem", protected.key_path.read_bytes())
        self.planted.add(self.directory / "key.pem")
        self.write("key.crt", protected.cert_path.read_bytes())
        self.write("plain.pem", private_key_pem(protected.key))
        self.write("passphrase", PASSPHRASE + "\n")
        self.write("wrong-passphrase", make("a wrong passphrase", ODD) + "\n")
        self.write("api-key", make("the file of jux_api_key_file", ODD) + "\n")
        settings = {
            "enabled": "true",
            "sign": "true",
            "key_path": "key.pem",
            "cert_path": "key.crt",
            "storage_path": "store",
            "metadata_env": "*",
            "api_url": f"https://someone:{make('the URL of jux_api_url', '{}:p@ss/{}')}@jux.example/api",
            "metadata_extra": f"team=payments, deploy_token={make('a field of metadata_extra', '{}%{}')}",
            "api_key": self.keys[".jux.conf"],
            "api_key_env": "PUBLISHING_WORDS",
            "api_key_file": "api-key",
            "key_passphrase": make("key_passphrase", "{}'%#{}"),
            "jux_key_pasphrase": make("jux_key_pasphrase", "{}'%#{}"),
            "passphrase": make("passphrase", "{}'%#{}"),
            "api_kye": make("api_kye", "{}'%#{}"),
            "api-key": make("api-key", "{}'%#{}"),
            "apikey": make("apikey", "{}'%#{}"),
            "api_token": make("a value in two lines", "{}\n    {}"),
        }
        if self.file.endswith(".toml"):
            settings |= {"key_passphrase_file": "passphrase"}
        else:
            settings |= {"key_passphrase_env": "SIGNING_WORDS"}
            self.environ["SIGNING_WORDS"] = PASSPHRASE
        lines = [f"{name} = {value}\n" for name, value in settings.items()]
        self.write(".jux.conf", "".join(["[jux]\n", f"# api_key = {make('a comment')}\n", *lines]))
        fields = f"\n    team=payments\n    session_auth={make('a field of metadata_extra in lines')}\n"
        user = f"[jux]\napi_key = {self.keys['user']}\napi_key_env = SHADOWED_WORDS\nmetadata_extra ={fields}"
        self.write(self.home / ".jux" / "config", user)
        self.write("test_suite.py", SUITE)
        remote = f"https://x-access-token:{make('the remote of git', '{}/@{}')}@git.example/group/project.git"
        for command in (["init", "-q"], ["remote", "add", "origin", remote]):
            subprocess.run(["git", *command], cwd=self.directory, env=self.environ, check=True)
        self.planted.add(self.directory / ".git" / "config")


@pytest.fixture(params=KINDS)
def planted(request, tmp_path, protected):
    return Planted(tmp_path, protected, request.param)


@pytest.fixture
def with_keys(tmp_path, protected):
    """One project is enough for what does not depend on pytest's file."""
    return Planted(tmp_path, protected, "tox.ini")


LOUD = [
    "-vv",
    "--debug",
    "--trace-config",
    "-o",
    "log_cli=true",
    "--log-level=DEBUG",
    "--showlocals",
    "--tb=long",
    "-rA",
]


def test_every_secret_of_these_tests_arrives(planted):
    errors = []
    settings = load(
        start=planted.directory,
        environ=planted.environ,
        home=planted.home,
        system_file=planted.home / "none",
        pytest_arguments=planted.arguments,
        errors=errors,
    )
    assert errors == []
    said = {
        setting.value.reveal() for layer in settings.layers("jux_api_key").values() for setting in layer if setting.raw
    }
    assert said == {key for key in planted.keys.values() if key}
    assert settings["jux_api_key_env"] in planted.environ
    assert settings["jux_api_key_file"] in planted.planted
    assert "someone:" in settings["jux_api_url"]
    unknown = [problem.message for problem in settings.warnings if problem.kind == "unknown-key"]
    for name in ("api_kye", "api-key", "apikey", "key_passphrase", "jux_api_kye", "JUX_API_KYE", "api_token"):
        assert any(name in message for message in unknown), name


def test_no_secret_is_in_the_output_and_files_of_a_test_run(planted):
    leaks = planted.leaks_of_pytest(*LOUD, JUX_DEBUG="1")
    reports = list((planted.directory / "store").rglob("*.xml"))
    report = reports[0].read_text()
    assert "<ds:SignatureValue>" in report  # so the passphrase has been read
    assert 'name="env:HARMLESS"' in report
    assert "git.example/group/project.git" in report
    assert not leaks, "\n" + "\n".join(leaks)


def test_no_secret_is_in_what_pytest_tells_without_a_test_run(planted):
    leaks = planted.leaks_of_pytest("--collect-only", "-vv", "--debug", "--trace-config", JUX_DEBUG="1")
    leaks += planted.leaks_of_pytest("--help", JUX_DEBUG="1")
    assert b"--jux-sign" in planted.said
    assert not leaks, "\n" + "\n".join(leaks)


@pytest.mark.parametrize("arguments", [["-q", "--junit-xml=report.xml"], ["-n1", "-v"], ["-VV"]])
def test_no_secret_is_in_the_output_with_other_arguments(arguments, with_keys):
    leaks = with_keys.leaks_of_pytest(*arguments)
    assert not leaks, "\n" + "\n".join(leaks)


# In every project, and, of what does not depend on pytest's file, in one of them.
CONFIG_COMMANDS = """
dump
dump --all --json
view --all
view FILE
validate --strict --json
get api_key
explain api_key
"""
MORE_CONFIG_COMMANDS = """
dump --all --changed-only
dump --json
dump --all --format yaml
view --all --json
view --all --format yaml
view FILE --format yaml
view .jux.conf
view .jux.conf --json
view ~/.jux/config
view api-key
validate
validate --strict-exit --format yaml
get api_key --json
get api_url
get jux_metadata_extra
get key_passphrase_file --format yaml
get key_passphrase
explain api_key --json
explain api_key --format yaml
explain api_url
explain api_url --json
explain metadata_extra
list --format yaml
init --path .jux.conf
"""
WITH_PYTEST_ARGUMENTS = ("dump", "validate", "get", "explain")


def test_no_secret_is_in_the_output_of_jux_config(planted):
    leaks = []
    lines = CONFIG_COMMANDS + (MORE_CONFIG_COMMANDS if planted.file == "tox.ini" else "")
    for line in lines.split("\n"):
        command = line.replace("FILE", planted.file).replace("~", str(planted.home)).split()
        if command and planted.arguments and command[0] in WITH_PYTEST_ARGUMENTS:
            command += ["--", *planted.arguments]
        leaks += planted.leaks_of("jux-config", *command) if command else []
    assert b"***********" in planted.said
    assert not leaks, "\n" + "\n".join(leaks)


OTHER_COMMANDS = {
    "signatures": """
jux-sign report.xml
jux-sign report.xml
jux-sign --replace --json report.xml
jux-sign --replace --key key.pem --passphrase-file passphrase -o signed.xml report.xml
jux-sign --replace --key key.pem --passphrase-file wrong-passphrase report.xml
jux-sign --replace --key key.pem --passphrase-env JUX_KEY_PASSPHRASE report.xml
jux-sign --replace --key key.pem report.xml
jux-sign --replace --key plain.pem --cert plain.pem report.xml
jux-sign --replace --key passphrase report.xml
jux-sign --replace --key damaged.pem report.xml
jux-sign --replace --key damaged-too.pem --passphrase-file passphrase report.xml
jux-sign --replace --key plain.pem --passphrase-file plain.pem report.xml
jux-sign --replace --passphrase-file none report.xml
jux-sign plain.pem key.pem passphrase .jux.conf api-key
jux-verify --cert key.crt report.xml
jux-verify --cert plain.pem report.xml
jux-verify --ca passphrase report.xml
jux-verify --cert damaged.pem report.xml
jux-verify --json plain.pem passphrase .jux.conf
jux-inspect report.xml
jux-inspect --json plain.pem key.pem passphrase .jux.conf api-key
jux-keygen --type ecdsa --cert -o new.pem --passphrase-file passphrase
jux-keygen --type ecdsa --cert -o new.pem --passphrase-file passphrase
jux-keygen --type ecdsa --force --cert -o new.pem --passphrase-env SIGNING_WORDS --json
jux-keygen --type ecdsa -o another.pem --passphrase-file none
jux-keygen --type ecdsa -o another.pem --encrypt
""",
    "store": """
jux sign --replace report.xml
jux-cache add report.xml
jux-cache add --queue --json report.xml
jux-cache add plain.pem .jux.conf passphrase
jux-cache list
jux-cache list --json
jux-cache show HASH --all
jux-cache show HASH --json
jux-cache show HASH --xml
jux-cache show HASH --api-key=x
jux-cache stats
jux-cache stats --json
jux-cache verify
jux-cache verify --cert key.crt --json
jux-cache verify --cert plain.pem
jux-cache export HASH -o bundle.zip
jux-cache export HASH -o -
jux-cache import bundle.zip --json
jux-cache import plain.pem passphrase
jux-cache clean --days 0 --dry-run --json
jux-cache clean --keep 0 --status queued --yes
jux config dump --all
jux inspect report.xml
""",
}


# What is said when the commands have done what they are there for.
DONE = {"signatures": b"the passphrase is wrong", "store": b"Exported: bundle.zip"}


@pytest.mark.parametrize("about", OTHER_COMMANDS)
def test_no_secret_is_in_the_output_and_files_of_commands(about, with_keys, real_report):
    with_keys.write("report.xml", real_report)
    for name, damaged in (("plain.pem", "damaged.pem"), ("key.pem", "damaged-too.pem")):
        data = (with_keys.directory / name).read_bytes()
        with_keys.planted.add(with_keys.write(damaged, data[:90] + b"AAAA" + data[94:]))
    leaks = []
    for line in OTHER_COMMANDS[about].strip().splitlines():
        stored = [path.stem for path in (with_keys.directory / "store" / "reports").glob("*.xml")]
        command = line.replace("HASH", stored[0].removeprefix("sha256-") if stored else "0000").split()
        leaks += with_keys.leaks_of(*command)
    assert DONE[about] in with_keys.said
    leaks += with_keys.leaks(with_keys.written())
    assert not leaks, "\n" + "\n".join(leaks)


# --- configurations that are refused ---------------------------------------------------------------------------------

TWO_LINES = "{}'%\n{}"


def jux_conf(text, **environ):
    return {".jux.conf": text}, environ


def pytest_ini(text, **environ):
    return {"pytest.ini": text}, environ


# For each, files and variables; each `{}` in them is a part of a secret.
REFUSED = {
    "several lines": ({".jux.conf": "[jux]\napi_key = {}\n  {}\n  {}=\n"}, {"JUX_API_KEY": TWO_LINES}),
    "several lines in pytest.ini": pytest_ini("[pytest]\njux_api_key =\n  {}\n  -{}=\naddopts = -p no:cacheprovider\n"),
    "several lines with -o": jux_conf("[jux]\n", PYTEST_ADDOPTS="-o 'jux_api_key={}\n{}'"),
    "a list": ({"pytest.toml": '[pytest]\njux_api_key = ["{}", "{}"]\n'}, {}),
    "a table": ({"pyproject.toml": '[tool.pytest.ini_options.jux_api_key]\n{} = "{}"\nb = [{{c = "{}"}}]\n'}, {}),
    "a line that is not indented": jux_conf("[jux]\napi_key = {}\n{}\nsign = true\n"),
    "a line of base64 that is not indented": jux_conf("[jux]\napi_key = {}\nMII{}/+{}==\n"),
    "lines of base64 in pytest.ini": pytest_ini("[pytest]\njux_api_key = {}\nMII{}=\nMII{}==\n"),
    "no section": jux_conf("api_key = {}\n"),
    "an open section": jux_conf("[jux\napi_key = {}\n"),
    "a secret that is set twice": jux_conf("[jux]\napi_key = {}\njux_api_key = {}\napi_key = {}\n"),
    "a NUL character": jux_conf("[jux]\napi_key = {}\0{}\n"),
    "no text": ({".jux.conf": b"[jux]\napi_key = {}\xff{}\n"}, {}),
    "a passphrase for the name of its variable": jux_conf(
        "[jux]\nsign = true\nkey_path = key.pem\nkey_passphrase_env = {}%{}\n"
    ),
    "a key for the name of its variable": jux_conf("[jux]\napi_key_env = {}-{}\n"),
    "a URL with blanks in it": jux_conf("[jux]\napi_url = https://user:{} {}\t{}@jux.example/\n"),
    "a URL without its scheme": jux_conf("[jux]\napi_url = user:{}/{}@jux.example/\n"),
    "another option's value": jux_conf("[jux]\nsign = maybe\napi_key = {}\n", JUX_API_KEY="{}", JUX_API_KYE="{}"),
}
# pytest says so before any plugin is asked.
REFUSED_BY_PYTEST = {
    "pytest.ini that is no INI": pytest_ini("[pytest]\naddopts = -q\njux_api_key {}\n{}\n"),
    "pytest.toml that is no TOML": ({"pytest.toml": "[pytest]\njux_api_key = {}\n"}, {}),
    "pytest.toml that ends in a string": ({"pytest.toml": '[pytest]\njux_api_key = "{}\n'}, {}),
    "addopts with an open quote": pytest_ini("[pytest]\naddopts = -o jux_api_key='{}\n"),
    "PYTEST_ADDOPTS with an open quote": pytest_ini("[pytest]\n", PYTEST_ADDOPTS="-o jux_api_key='{}"),
    "-o without an equals sign": pytest_ini("[pytest]\naddopts = -o jux_api_key{}\n"),
    "a flag that there is not": pytest_ini("[pytest]\naddopts = --jux-api-key={} --api-key {}\n"),
}
REFUSED_COMMANDS = """
jux-config dump --all --json
jux-config validate --strict
jux-config view --all
jux-config view .jux.conf
jux-config view pytest.ini
jux-config view pytest.toml
jux-config view pyproject.toml
jux-config explain api_key
jux-sign report.xml
"""


@pytest.mark.parametrize("case", [*REFUSED.values(), *REFUSED_BY_PYTEST.values()], ids=[*REFUSED, *REFUSED_BY_PYTEST])
def test_no_secret_is_in_what_is_said_about_a_configuration_that_is_wrong(case, tmp_path, protected, real_report):
    files, variables = case
    project = Project(tmp_path, Secrets())
    project.write("test_suite.py", SUITE)
    project.write("report.xml", real_report)
    project.write("key.pem", protected.key_path.read_bytes())
    for name, text in files.items():
        is_text = isinstance(text, str)
        filled = project.secrets.make(name, text if is_text else text.decode("latin-1"))
        project.write(name, filled if is_text else filled.encode("latin-1"))
    project.environ |= {name: project.secrets.make(name, text) for name, text in variables.items()}
    project.environ |= {"JUX_ENABLED": "true", "JUX_STORAGE_PATH": "store"}
    leaks = []
    if case not in REFUSED_BY_PYTEST.values():
        leaks += project.leaks_of_pytest("-vv", "--full-trace", "--showlocals", JUX_DEBUG="1")
    for line in REFUSED_COMMANDS.strip().splitlines():
        command = line.split()
        if command[:2] != ["jux-config", "view"] or command[2] == "--all" or command[2] in files:
            leaks += project.leaks_of(*command)
    leaks += project.leaks(project.written())
    assert not leaks, "\n" + "\n".join(leaks)


@pytest.mark.parametrize("pem", ["several lines", "one line", "one line with escapes"])
def test_no_private_key_is_in_what_is_said_where_it_stands_for_its_path(pem, tmp_path, protected, real_report):
    project = Project(tmp_path, Secrets())
    know_key(project.secrets, protected)
    ends = {"several lines": "\n", "one line": "", "one line with escapes": "\\n"}
    text = private_key_pem(protected.key).decode().replace("\n", ends[pem])
    project.write("test_suite.py", SUITE)
    project.write("report.xml", real_report)
    project.environ |= {"JUX_ENABLED": "true", "JUX_SIGN": "true", "JUX_KEY_PATH": text}
    leaks = project.leaks_of_pytest("--full-trace", "--showlocals", JUX_DEBUG="1")
    for name in ("JUX_KEY_PATH", "JUX_CERT_PATH", "JUX_KEY_PASSPHRASE_FILE"):
        environ = {"JUX_KEY_PATH": str(protected.key_path), name: text}
        for line in ("jux-config dump --all", "jux-config validate --strict --json", "jux-sign report.xml"):
            leaks += project.leaks_of(*line.split(), **environ)
    assert not leaks, "\n" + "\n".join(leaks)


@pytest.mark.parametrize("place", ["variable", "file"])
def test_no_passphrase_is_in_what_is_said_of_a_wrong_one(with_keys, place):
    environ = {"JUX_ON_ERROR": "fail", "JUX_KEY_PASSPHRASE_FILE": "wrong-passphrase"}
    if place == "variable":
        wrong = with_keys.secrets.make("a wrong passphrase", ODD)
        environ = {"JUX_KEY_PASSPHRASE_ENV": "OTHER_WORDS", "OTHER_WORDS": wrong}
    leaks = with_keys.leaks_of_pytest(*LOUD, "--full-trace", JUX_DEBUG="1", PYTHONDEVMODE="1", **environ)
    assert b"the passphrase is wrong" in with_keys.said
    assert not leaks, "\n" + "\n".join(leaks)


# --- crashes ---------------------------------------------------------------------------------------------------------

BROKEN = {
    "the options' checks": {"UNIMPORTABLE": "pytest_jux.config_problems"},
    "what runs": {"UNIMPORTABLE": "pytest_jux.run"},
    "signing": {"UNIMPORTABLE": "pytest_jux.signer"},
    "sizes": {"UNIMPORTABLE": "pytest_jux.text"},
    "suggestions": {"UNIMPORTABLE": "difflib"},
    "reading keys": {"UNIMPORTABLE": "cryptography.hazmat.primitives.serialization"},
    "the XML parser": {"UNIMPORTABLE": "lxml"},
    "the INI parser": {"BROKEN_LINES": "error"},
    "the user interrupts reading": {"BROKEN_LINES": "interrupted"},
}
CRASHED = (b"halted; None in sys.modules", b"broken on purpose", b"interrupted\n")


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_no_secret_is_in_the_traceback_of_a_crash(broken, tmp_path, protected):
    project = Planted(tmp_path, protected, "setup.cfg")
    project.write("site/sitecustomize.py", SITECUSTOMIZE)
    environ = {"PYTHONPATH": str(project.directory / "site"), **broken}
    leaks = project.leaks_of_pytest("-vv", "--full-trace", "--showlocals", JUX_DEBUG="1", PYTHONDEVMODE="1", **environ)
    for line in ("jux-config dump --all", "jux-sign report.xml"):
        leaks += project.leaks_of(*line.split(), **environ)
    assert any(words in project.said for words in CRASHED)
    assert not leaks, "\n" + "\n".join(leaks)


# --- publishing ------------------------------------------------------------------------------------------------------

PRINTABLE = "-{}'\"%40${{HOME}}\\{}`!&<{}>;=:{}"  # what a header can hold
RING = """
from pathlib import Path

from keyring.backend import KeyringBackend


class Ring(KeyringBackend):
    priority = 9

    def get_password(self, service, user):
        return Path(__file__).with_name("ring.txt").read_text()

    def set_password(self, service, user, password):
        raise NotImplementedError
"""


class Publishing(Project):
    """A project that signs and publishes, with its API key in the place that is asked for."""

    def __init__(self, directory, signer, url, way="variable", auth="api-key"):
        super().__init__(directory, Secrets())
        secret = self.secrets.make("the API key", PRINTABLE)
        self.key = f"me:{secret}" if auth == "basic" else secret
        self.command_words = []  # of the commands, for which words of the command line give the key
        self.write("key.pem", signer.key_path.read_bytes())
        self.write("key.crt", signer.cert_path.read_bytes())
        settings = {"enabled": "true", "sign": "true", "key_path": "key.pem", "cert_path": "key.crt"}
        settings |= {"publish": "true", "storage_path": "store", "metadata_env": "*", "api_url": url, "api_auth": auth}
        self.settings = settings | {"api_retries": 0, "publish_deadline": 5}
        self.write("test_suite.py", SUITE)
        self.give(way)
        self.configure()

    def configure(self, **settings):
        self.settings |= settings
        lines = [f"{name} = {value}" for name, value in self.settings.items()]
        self.write(".jux.conf", "\n".join(["[jux]", *lines, ""]))

    def give(self, way):
        match way:
            case "variable":
                self.environ["JUX_API_KEY"] = self.key
            case "command line":
                self.arguments = [f"--jux-api-key={self.key}"]
                self.command_words = [f"--api-key={self.key}"]
            case "PYTEST_ADDOPTS":
                self.environ["PYTEST_ADDOPTS"] = shlex.join([f"--jux-api-key={self.key}"])
            case "name of a variable":
                self.environ["DEPLOYMENT"] = self.key
                self.settings["api_key_env"] = "DEPLOYMENT"
            case "file":
                self.write("api-key", self.key + "\nmore\n")
                self.settings["api_key_file"] = "api-key"
            case "keyring":
                self.write("site/ring.py", RING)
                self.write("site/ring.txt", self.key)
                self.environ |= {"PYTHONPATH": str(self.directory / "site"), "PYTHON_KEYRING_BACKEND": "ring.Ring"}
                self.settings["api_keyring"] = "true"
            case ".jux.conf":
                self.settings["api_key"] = self.key
            case "pytest.ini":
                self.write("pytest.ini", f"[pytest]\njux_api_key = {self.key}\n")

    def leaks_of_all(self, *commands, **environ):
        """Run pytest and commands that publish; describe each secret in their output or in a file."""
        leaks = self.leaks_of_pytest(*[word for word in LOUD if word != "--debug"], JUX_DEBUG="1", **environ)
        for command in commands:
            leaks += self.leaks_of(*command.split(), *self.command_words, **environ)
        return leaks + self.leaks(self.written())


def echoes(status, **headers):
    """Repeat in the answer what came in the headers, in as many ways as a server has."""

    def behaviour(line):
        request = line.read_request()
        line.server.keep(request)
        sent = [request.header(name) for name in ("x-api-key", "authorization", "proxy-authorization")]
        sent = [text for text in sent if text]
        sent += [text.partition(" ")[2] for text in sent]
        sent += [base64.b64decode(text[6:]).decode() for text in sent if text.startswith("Basic ")]
        said = " ".join(["it was", *sent])
        fields = dict.fromkeys(("id", "message", "error", "url", "reason", "canonical_hash"), said)
        fields |= {"details": {said: [said, {"deeper": said}]}, "status": said}
        if status in {200, 201, 409}:
            del fields["error"], fields["canonical_hash"]
        named = {name: value.format(said=said) for name, value in headers.items()}
        line.answer(status, fields, {"X-Sent": said, **named})

    return behaviour


ECHOES = {
    "201": echoes(201),
    "409": echoes(409),
    "400": echoes(400),
    "401": echoes(401),
    "403": echoes(403),
    "503": echoes(503, **{"Retry-After": "{said}"}),
    "302": echoes(302, Location="https://elsewhere.example/?key={said}"),
    "404": echoes(404),
}
# Where the key comes from, and how it is sent.
KEY_WAYS = [
    *((way, "api-key") for way in ("variable", "command line", "PYTEST_ADDOPTS", "name of a variable", "file")),
    *((way, "api-key") for way in ("keyring", ".jux.conf", "pytest.ini")),
    ("variable", "bearer"),
    ("file", "basic"),
    (".jux.conf", "basic"),
]
PUBLISHING_COMMANDS = (
    "jux-publish report.xml",
    "jux-publish -v --json report.xml",
    "jux-publish --dry-run report.xml",
    "jux-cache push --json",
    "jux-cache push --rejected",
)


@pytest.mark.parametrize(("way", "auth"), KEY_WAYS)
def test_no_api_key_is_in_what_is_put_out_while_publishing(tmp_path, p256, way, auth):
    with RecordingServer(ECHOES["400"]) as server:
        project = Publishing(tmp_path, p256, server.url, way, auth)
        leaks = project.leaks_of_pytest("--junit-xml=report.xml", "-q", JUX_DEBUG="1")
        server.behave(*(ECHOES[name] for name in ("503", "401", "409", "400")))
        leaks += project.leaks_of_all(*PUBLISHING_COMMANDS)
        header = "x-api-key" if auth == "api-key" else "authorization"
        shown = {request.header(header) for request in server.requests}
        words = {"bearer": f"Bearer {project.key}", "basic": f"Basic {base64.b64encode(project.key.encode()).decode()}"}
        assert shown == {words.get(auth, project.key)}
    assert [*(project.directory / "store" / "rejected").glob("*.json")]  # so that answers have been written down
    assert not leaks, "\n" + "\n".join(leaks)


@pytest.mark.parametrize("auth", ["api-key", "bearer", "basic"])
def test_no_api_key_is_in_what_is_put_out_when_a_server_repeats_it(tmp_path, p256, auth):
    leaks = []
    with RecordingServer() as server:
        project = Publishing(tmp_path, p256, server.url, "variable", auth)
        for echo in ECHOES.values():
            server.behave(echo)
            leaks += project.leaks_of_pytest("--junit-xml=report.xml", "-q", JUX_DEBUG="1")
    for said in (b"Published to API: http", b"already", b"refuses", b"accept", b"may not", b"overloaded"):
        assert said in project.said, said
    assert b"redirects to https://elsewhere.example/?key=it was *" in project.said
    assert not leaks, "\n" + "\n".join(leaks)


UNUSABLE = {
    "letters": ("api-key", "ключ-{}-é-{}"),
    "a control character": ("bearer", "{}\x07{}"),
    "no user": ("basic", "{}-{}"),
    "an escape sequence": ("basic", "me:{}\x1b[2J{}"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_no_api_key_is_in_what_is_said_of_one_that_cannot_be_sent(tmp_path, p256, name):
    auth, pattern = UNUSABLE[name]
    with RecordingServer() as server:
        project = Publishing(tmp_path, p256, server.url, "nowhere", auth)
        project.environ["DEPLOYMENT"] = project.secrets.make("the API key", pattern)
        project.configure(api_key_env="DEPLOYMENT")
        leaks = project.leaks_of_pytest("--junit-xml=report.xml", "--full-trace", "--showlocals", JUX_DEBUG="1")
        leaks += project.leaks_of_all(*PUBLISHING_COMMANDS)
        assert not server.connections
    assert b"Not published: " in project.said
    assert not leaks, "\n" + "\n".join(leaks)


def denies(line):
    """Be a proxy that wants another login, and that repeats the one it got."""
    request = line.read_request()
    said = f"not {request.header('proxy-authorization')}"
    line.answer(407, said.encode(), {"Proxy-Authenticate": f'Basic realm="{said}"', "X-Sent": said})


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("way", ["right", "denied", "down", "no address", "unknown kind"])
def test_no_password_of_a_proxy_is_in_what_is_put_out(tmp_path, p256, scheme, way):
    host = "api.example.test"
    tls = server_side(host) if scheme == "https" else None
    with RecordingServer(tls=tls, name=host) as server:
        project = Publishing(tmp_path, p256, f"{scheme}://{host}{PATH}")
        project.environ["SSL_CERT_FILE"] = str(authority_file(tmp_path))
        login = f"user:{project.secrets.make('the password of the proxy', '{}p@ss/{}')}"
        quoted = urllib.parse.quote(login, safe=":")
        with ForwardProxy({host: server}, login=login) as proxy:
            address = {
                "down": f"http://{quoted}@127.0.0.1:1",
                "no address": f"http://{quoted}@[::/",
                "unknown kind": f"socks5://{quoted}@127.0.0.1:1080",
            }.get(way, proxy.address.replace("://", f"://{quoted}@"))
            project.environ |= {"HTTP_PROXY": address, "HTTPS_PROXY": address, "http_proxy": address}
            if way == "denied":
                proxy.behave(denies)
            leaks = project.leaks_of_all(*PUBLISHING_COMMANDS)
            assert bool(server.reports) == (way == "right")
            assert bool(proxy.requests) == (way in {"right", "denied"})
    assert not leaks, "\n" + "\n".join(leaks)


@pytest.mark.parametrize("place", ["env", "file"])
@pytest.mark.parametrize("right", [True, False])
def test_no_passphrase_of_a_client_s_key_is_in_what_is_put_out(tmp_path, p256, place, right):
    with RecordingServer(tls=server_side("127.0.0.1", wants_client=True)) as server:
        project = Publishing(tmp_path, p256, server.url)
        passphrase = project.secrets.make("the passphrase", "{}'%40ü$HOME{}")
        files = client_files(tmp_path)
        key = serialization.load_pem_private_key(files.key.read_bytes(), None)
        files.key.write_bytes(private_key_pem(key, passphrase.encode()))
        said = passphrase if right else project.secrets.make("a wrong passphrase", "{}'%40ü$HOME{}")
        if place == "env":
            project.environ["CLIENT_WORDS"] = said
        else:
            project.write("client-words", said + "\n")
        project.configure(
            api_ca=authority_file(tmp_path),
            api_client_cert=files.cert,
            api_client_key=files.key,
            **{f"api_client_key_passphrase_{place}": "CLIENT_WORDS" if place == "env" else "client-words"},
        )
        leaks = project.leaks_of_all("jux-config dump --all", *PUBLISHING_COMMANDS)
        assert bool(server.reports) == right
    assert not leaks, "\n" + "\n".join(leaks)


BROKEN_PUBLISHING = ["urllib3", "truststore", "pytest_jux.wire", "pytest_jux.publishing", "pytest_jux.credentials"]


@pytest.mark.parametrize("module", BROKEN_PUBLISHING)
def test_no_api_key_is_in_the_traceback_of_a_crash_while_publishing(tmp_path, p256, module):
    with RecordingServer(tls=server_side("127.0.0.1")) as server:
        project = Publishing(tmp_path, p256, server.url)
        project.configure(api_ca=authority_file(tmp_path))
        project.write("site/sitecustomize.py", SITECUSTOMIZE)
        environ = {"PYTHONPATH": str(project.directory / "site"), "UNIMPORTABLE": module}
        loud = ("-vv", "--full-trace", "--showlocals", "-p", "no:schemathesis")  # it imports urllib3 itself
        leaks = project.leaks_of_pytest("--junit-xml=report.xml", *loud, JUX_DEBUG="1", PYTHONDEVMODE="1", **environ)
        leaks += project.leaks_of_all("jux-publish report.xml", "jux-cache push", **environ)
    assert b"pytest-jux failed: ModuleNotFoundError" in project.said
    assert not leaks, "\n" + "\n".join(leaks)


@pytest.mark.parametrize("command", ["pytest --full-trace --showlocals", "jux-publish report.xml", "jux-cache push"])
@pytest.mark.parametrize("stage", ["it sends", "it waits"])
def test_no_api_key_is_in_what_an_interruption_shows(tmp_path, p256, command, stage):
    with RecordingServer(stores) as server:
        project = Publishing(tmp_path, p256, server.url)
        project.write("test_large.py", "def test_large(): print('x' * 5_000_000)\n")
        leaks = project.leaks_of_pytest("--junit-xml=report.xml", "-o", "junit_logging=all")
        project.leaks_of("jux-cache", "add", "--queue", "report.xml")
        server.behave(is_silent if stage == "it waits" else lambda line: (line.read(10), line.linger()))
        before = len(server.received)
        words = command.split()
        more = ["--junit-xml=report.xml", "-o", "junit_logging=all"] if words[0] == "pytest" else []
        project.configure(publish_deadline=GUARD)
        run = subprocess.Popen(
            [str(SCRIPTS / words[0]), *words[1:], *more],
            cwd=project.directory,
            env=project.environ | {"JUX_DEBUG": "1", "PYTHONDEVMODE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        with run:
            is_whole = 5_000_000 if stage == "it waits" else 1
            server.wait_for(lambda server: len(server.received) - before > is_whole)
            run.send_signal(signal.SIGINT)
            out, err = run.communicate(timeout=GUARD)
    assert run.returncode != 0
    leaks += project.leaks((Artefact("stdout", out), Artefact("stderr", err), *project.written()), command)
    assert not leaks, "\n" + "\n".join(leaks)
