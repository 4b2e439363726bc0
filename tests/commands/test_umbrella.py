"""`jux`: the same commands under one name."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from importlib.metadata import entry_points, version
from pathlib import Path

import click
import pytest

import pytest_jux
from pytest_jux import commands
from pytest_jux.commands import _cli

pytestmark = pytest.mark.usefixtures("clean_environment")
BIN = Path(sys.executable).parent
GROUPS = ("cache", "config")
SCRIPTS = ("keygen", "sign", "verify", "inspect", "publish", *GROUPS)
NAMES = (*SCRIPTS, "completion")


@pytest.fixture
def jux(capsys):
    def run(*arguments):
        code = _cli.run(commands.command, [str(argument) for argument in arguments], "jux")
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_every_command_but_completion_is_a_script_and_every_script_a_command():
    scripts = {script.name: script.value for script in entry_points(group="console_scripts")}
    ours = {name: value for name, value in scripts.items() if value.startswith("pytest_jux.")}
    expected = {f"jux-{name}": f"pytest_jux.commands.{name}:main" for name in SCRIPTS}
    assert ours == expected | {"jux": "pytest_jux.commands:main"}
    assert commands.command.list_commands(click.Context(commands.command)) == [*NAMES]


def test_help_lists_every_command(jux):
    code, out, _ = jux("--help")
    listed = [line.split()[0] for line in out[out.index("Commands:") :].splitlines()[1:] if line.strip()]
    assert (code, listed) == (0, [*NAMES])


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_a_command_has_the_same_help_under_both_names(jux, capsys, name, flag):
    code, out, err = jux(name, flag)
    assert (code, err) == (0, "")
    module = importlib.import_module(f"pytest_jux.commands.{name}")
    assert _cli.run(module.command, [flag], f"jux-{name}") == 0
    assert capsys.readouterr().out == out.replace(f"Usage: jux {name}", f"Usage: jux-{name}")
    assert "Examples:" in out
    assert "Exit codes:" in out


@pytest.mark.parametrize("arguments", [[], *([name] for name in NAMES)])
@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_every_command_tells_the_version(jux, arguments, flag):
    code, out, _ = jux(*arguments, flag)
    assert (code, out) == (0, f"pytest-jux, version {pytest_jux.__version__}\n")


def test_the_version_is_that_of_the_package():
    assert version("pytest-jux") == pytest_jux.__version__


def test_without_a_command_there_is_help_and_a_usage_error(jux):
    code, out, err = jux()
    assert (code, out) == (64, "")
    assert err.startswith("Usage: jux ")


def test_an_unknown_command_is_a_usage_error(jux):
    code, out, err = jux("verfiy")
    assert (code, out) == (64, "")
    assert "No such command 'verfiy'" in err
    assert "See jux --help." in err


def test_a_usage_error_names_the_command_that_it_is_about(jux):
    code, _, err = jux("verify", "--nope")
    assert code == 64
    assert err.startswith("jux verify: No such option")
    assert "See jux verify --help." in err


def test_the_umbrella_passes_exit_codes_on(jux, tmp_path, real_report):
    (tmp_path / "report.xml").write_bytes(real_report)
    assert jux("inspect", tmp_path / "report.xml")[0] == 0
    assert jux("verify", tmp_path / "report.xml")[0] == 1


def test_making_signing_and_verifying_by_the_real_scripts(tmp_path, real_report):
    (tmp_path / "report.xml").write_bytes(real_report)
    for arguments in (
        ["jux", "keygen", "--type", "ecdsa", "--cert", "--output", "key.pem"],
        ["jux-sign", "--key", "key.pem", "--cert", "key.crt", "report.xml"],
        ["jux", "verify", "--cert", "key.crt", "report.xml"],
        ["jux-inspect", "--cert", "key.crt", "report.xml"],
    ):
        command = [BIN / arguments[0], *arguments[1:]]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), arguments


@pytest.mark.parametrize("arguments", [["--help"], ["verify", "--help"], ["keygen", "--help"], ["sign", "--help"]])
def test_help_does_not_pay_for_xml_and_cryptography(arguments):
    code = (
        "import sys; from pytest_jux.commands import _cli, command;"
        f"_cli.run(command, {arguments}, 'jux');"
        "print(sorted({'lxml', 'cryptography', 'pytest', 'tempfile'} & {*sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=without_coverage()
    )
    assert done.stderr == "[]\n"


def without_coverage():
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_an_interrupt_is_one_word_and_no_crash(tmp_path):
    os.mkfifo(tmp_path / "never-written.xml")
    command = [BIN / "jux", "verify", "never-written.xml"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env=without_coverage(),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - it may be ignored here
    )
    with (tmp_path / "never-written.xml").open("wb"):  # returns when the command has opened it, too
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err.strip()) == (130, "interrupted")
