"""The tools of these tests: what is missing is said, and what does not run is not taken for an interpreter."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from interop import environments
from interop.oracles import in_ci, require_tool


def test_a_missing_tool_is_skipped_on_a_developers_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-tool is not installed"):
        require_tool("no-such-tool")


def test_a_missing_tool_is_a_failure_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no-such-tool is not installed"):
        require_tool("no-such-tool")


@pytest.mark.parametrize(("value", "expected"), [("", False), ("0", False), ("false", False), ("true", True)])
def test_ci_is_told_by_its_variable(value: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", value)
    assert in_ci() is expected


def test_a_missing_python_is_skipped_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"Python 3\.999 is not installed"):
        environments.find_python("3.999")


def test_a_shim_that_does_not_run_is_no_interpreter(tmp_path: Path) -> None:
    shim = tmp_path / "python3.12"
    shim.write_text("#!/bin/sh\necho 'python3.12: command not found' >&2\nexit 127\n")
    shim.chmod(0o755)
    assert environments._version_of(shim) == ""
    assert environments._version_of(tmp_path / "missing") == ""


def test_the_running_python_is_an_interpreter() -> None:
    version = "{}.{}".format(*sys.version_info)
    assert environments._version_of(Path(sys.executable)) == version
    assert environments._version_of(environments.find_python(version)) == version


def test_every_environment_has_hashed_requirements() -> None:
    for environment in environments.ENVIRONMENTS:
        lines = environment.requirements.read_text().splitlines()
        pinned = [line for line in lines if line and line[0].isalnum()]
        assert pinned, environment.name
        assert all("==" in line for line in pinned)
        assert sum("--hash=sha256:" in line for line in lines) >= len(pinned)
