"""What the README tells a newcomer to type is typed here, as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
UNSIGNED = b'<?xml version="1.0"?>\r\n<testsuite name="other"><testcase name="a" classname="b"/></testsuite>\r\n'


def commands_of(section: str) -> list[str]:
    text = README.split(f"## {section}\n", 1)[1].split("\n## ", 1)[0]
    return [line for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]


@pytest.fixture
def newcomer(tmp_path):
    """A directory with a test and a foreign report, and an environment that knows nothing of the developer's."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "test_one.py").write_text("def test_passes():\n    assert True\n")
    (tmp_path / "work" / "other.xml").write_bytes(UNSIGNED)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("JUX_", "PYTEST_", "XDG_"))}
    environ["HOME"] = str(tmp_path)
    environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environ["PATH"]])

    def run(line: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["bash", "-c", line], cwd=tmp_path / "work", env=environ, capture_output=True, check=False, timeout=120
        )

    run.directory = tmp_path / "work"
    return run


def test_the_five_minutes_work_as_written(newcomer):
    lines = commands_of("Five minutes")
    assert any(line.startswith("jux-keygen") for line in lines)
    for line in lines:
        if line.startswith("xmlsec1") and not shutil.which("xmlsec1"):
            assert "CI" not in os.environ, "xmlsec1 is missing in CI"
            continue
        done = newcomer(line)
        assert done.returncode == 0, f"{line}\n{done.stdout.decode()}{done.stderr.decode()}"
    stored = list((newcomer.directory.parent / ".local/share/jux/reports").glob("sha256-*.xml"))
    assert [file.read_bytes() for file in stored] == [(newcomer.directory / "report.xml").read_bytes()]
    for name in ("signed.xml", "signed-too.xml"):
        signed = (newcomer.directory / name).read_bytes()
        assert re.sub(rb"<ds:Signature .*</ds:Signature>", b"", signed) == UNSIGNED


def test_the_project_settings_of_the_readme_sign_and_store(newcomer):
    section = README.split("## Switch it on for a project\n", 1)[1]
    (newcomer.directory / "pytest.ini").write_text(re.search(r"```ini\n(.*?)```", section, re.DOTALL)[1])
    assert newcomer("jux-keygen --cert --type ecdsa").returncode == 0
    done = newcomer("pytest")
    assert done.returncode == 0, done.stdout.decode()
    assert "✓ Report signed" in done.stdout.decode()
    stored = list((newcomer.directory.parent / ".local/share/jux/reports").glob("sha256-*.xml"))
    assert newcomer(f"jux-verify --cert ~/.jux/signing_key.crt {stored[0]}").returncode == 0


def test_the_ci_settings_of_the_readme_name_real_variables():
    from pytest_jux.config import OPTIONS

    known = {option.variable for option in OPTIONS.values()}
    used = set(re.findall(r"\bJUX_[A-Z_]+", README)) - {"JUX_DEBUG"}
    assert used
    assert used <= known


def test_the_user_s_first_example_works_verbatim(newcomer):
    """Example 1 of the requirements, with their 2048-bit key and pytest.ini."""
    lines = r"""
set -e
jux-keygen --type rsa --bits 2048 --cert --output ~/.jux/signing_key.pem
cat > pytest.ini << EOF
[pytest]
jux_enabled = true
jux_sign = true
jux_key_path = ~/.jux/signing_key.pem
jux_storage_mode = local
EOF
pytest --junit-xml=report.xml
"""
    done = newcomer(lines)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    assert "✓ Report signed: report.xml" in done.stdout.decode()
    assert "✓ Stored locally: ~/.local/share/jux/reports/sha256-" in done.stdout.decode()


def test_the_user_s_manual_workflow_works_verbatim(newcomer):
    """Example 4 of the requirements, as far as it does not publish."""
    shutil.copy(newcomer.directory / "other.xml", newcomer.directory / "report.xml")
    lines = r"""
set -e
jux-keygen --type rsa --bits 2048 --cert --output ~/.jux/signing_key.pem
jux-sign --input report.xml --output signed-report.xml \
  --key ~/.jux/signing_key.pem --cert ~/.jux/signing_key.crt
jux-inspect signed-report.xml
jux-verify --input signed-report.xml --cert ~/.jux/signing_key.crt
"""
    done = newcomer(lines)
    output = done.stdout.decode()
    assert done.returncode == 0, output + done.stderr.decode()
    assert "Tests: 1\n" in output
    assert "Canonical Hash: sha256:" in output
    assert "Signature: RSA-SHA256 (" in output
    assert "✓ Signature valid" in output
