"""A signed report that can be told apart from everything else, and the environment of a client that knows nothing."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from publishing.stages import CANARY, PROXY_VARIABLES, Done

from pytest_jux.canonicalizer import canonical_hash
from pytest_jux.signer import sign_report

_FOREIGN = ("JUX_", "SSL_", "REQUESTS_", "CURL_", "NETRC", "PYTEST_", "XDG_")


@pytest.fixture(scope="session")
def report_of_size(p256):
    """Return a function that returns a signed report of at least so many bytes, and its canonical hash."""

    @functools.cache
    def make(size: int = 0):
        output = "".join(f"{CANARY.decode()} line {n:>8} of what the test wrote\n" for n in range(size // 58 + 1))
        text = (
            '<?xml version="1.0" encoding="utf-8"?>\n<testsuites><testsuite name="pytest" tests="1">'
            f'<testcase classname="a" name="b"><system-out>{output}</system-out></testcase></testsuite></testsuites>\n'
        )
        data = sign_report(text.encode(), p256.key, p256.certificate)
        return data, canonical_hash(data)

    return make


@pytest.fixture
def bare_environment(tmp_path, monkeypatch):
    """Hide proxies, keys, trust and homes of this machine, in this process and from commands."""
    for name in list(os.environ):
        if name.startswith(_FOREIGN) or name.upper() in PROXY_VARIABLES or name in {"CI", "NO_COLOR", "FORCE_COLOR"}:
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.fixture
def run(tmp_path, bare_environment):
    """Return a function that runs one of our commands, measured, in an empty directory."""

    def go(*command: object, environ: dict[str, str], limit: int = 60) -> Done:
        work, result = tmp_path / "work", tmp_path / "result"
        work.mkdir(exist_ok=True)
        name, *arguments = (str(one) for one in command)
        code = f"from pytest_jux.commands.{name} import main; main()"
        measured = [sys.executable, "-I", "-S", str(Path(__file__).with_name("measured.py")), str(result), str(limit)]
        done = subprocess.run(
            [*measured, sys.executable, "-c", code, *arguments],
            cwd=work,
            env={**os.environ, **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=True,
        )
        exit_code, seconds, memory = result.read_text("ascii").split()
        return Done(int(exit_code), float(seconds), int(memory), done.stdout, done.stderr)

    return go
