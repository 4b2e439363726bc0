"""jux-inspect: what a report says, signed or not, in words and as JSON."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from pytest_jux.canonicalizer import canonical_hash
from pytest_jux.commands import _cli
from pytest_jux.commands.inspect import command
from pytest_jux.document import Limits
from pytest_jux.signer import sign_report

pytestmark = pytest.mark.usefixtures("clean_environment")
SCRIPT = os.path.join(os.path.dirname(sys.executable), "jux-inspect")  # noqa: PTH118, PTH120 - as a shell would find it

MESSY = """<testsuites>
<testsuite name="outer" time="3.5"><properties><property name="project" value="tool"/></properties>
<testcase name="a" classname="c" time="1.5"/>
<testsuite name="inner"><testcase name="b" time="1"><error message="boom"/></testcase>
<testcase name="c" time="1"><failure/></testcase></testsuite></testsuite>
<testsuite time="0"><testcase name="d"><skipped/></testcase>
<testcase name="e"><flakyFailure message="once"/></testcase></testsuite>
</testsuites>
"""


@pytest.fixture
def inspect(tmp_path, monkeypatch, capsys):
    """Return a function that runs the command and gives its exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, stdin=None):
        piped = SimpleNamespace(buffer=io.BytesIO(stdin or b""), isatty=lambda: stdin is None)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", piped)
            code = _cli.run(command, [str(argument) for argument in arguments], "jux-inspect")
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return run


@pytest.fixture
def signed(tmp_path, real_report, p256):
    data = sign_report(real_report, p256.key, p256.certificate)
    (tmp_path / "signed.xml").write_bytes(data)
    return data


# --- in words --------------------------------------------------------------------------------------------------------


def test_a_signed_report(inspect, signed, p256):
    code, out, err = inspect("--cert", p256.cert_path, "signed.xml")
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[:6] == ["Tests: 3", "Passed: 1", "Failures: 1", "Errors: 0", "Skipped: 1", "Flaky: 0"]
    assert lines[7].startswith("Suite: pytest (3 tests, 1 failed, ")
    assert lines[8:11] == [
        f"Canonical Hash: {canonical_hash(signed)}",
        "Signature: ECDSA-SHA256 (valid)",
        "Signer: CN=p256 signer",
    ]
    year = p256.certificate.not_valid_after_utc.year
    assert lines[11].startswith("Certificate: valid from ")
    assert f" to {year}-" in lines[11]


def test_an_unsigned_report(inspect, tmp_path, real_report):
    (tmp_path / "report.xml").write_bytes(real_report)
    code, out, _ = inspect("report.xml")
    assert code == 0
    assert "Signature: none\n" in out
    assert "Signer" not in out


def test_without_trust_the_signer_is_named_but_not_believed(inspect, signed):
    code, out, _ = inspect("signed.xml")
    assert code == 0
    assert "Signature: ECDSA-SHA256 (intact, signer not trusted)" in out
    assert "Signer: CN=p256 signer" in out


def test_a_broken_report_is_shown_as_broken_with_the_reason_and_without_a_signer(inspect, signed, tmp_path, p256):
    (tmp_path / "broken.xml").write_bytes(signed.replace(b"test_fails", b"test_works"))
    code, out, _ = inspect("--cert", p256.cert_path, "broken.xml")
    assert code == 0
    assert "Signature: broken\n  the report was changed after signing" in out
    assert "Signer" not in out


def test_nested_suites_metadata_and_retries(inspect, tmp_path):
    (tmp_path / "messy.xml").write_text(MESSY)
    code, out, _ = inspect("messy.xml")
    assert code == 0
    assert out.splitlines()[:6] == ["Tests: 5", "Passed: 2", "Failures: 1", "Errors: 1", "Skipped: 1", "Flaky: 1"]
    assert "Time: 3.500 s\n" in out
    assert "Suite: outer / inner (2 tests, 2 failed, 2.000 s)\n" in out
    assert "Suite: (no name) (2 tests, 0.000 s)\n" in out
    assert out.endswith("Metadata:\n  project  tool\n")


def test_several_reports_are_headed_by_their_names(inspect, signed, tmp_path):
    (tmp_path / "messy.xml").write_text(MESSY)
    code, out, _ = inspect("signed.xml", "-i", "messy.xml")
    assert code == 0
    assert [line for line in out.splitlines() if line.endswith(".xml")] == ["messy.xml", "signed.xml"]


def test_standard_input(inspect):
    assert inspect(stdin=MESSY.encode())[1].startswith("Tests: 5\n")
    assert inspect("-", stdin=MESSY.encode())[1].startswith("Tests: 5\n")


# --- JSON ------------------------------------------------------------------------------------------------------------


def test_json_of_a_signed_report(inspect, signed, p256):
    code, out, err = inspect("--cert", p256.cert_path, "--json", "signed.xml")
    found = json.loads(out)
    assert (code, err) == (0, "")
    counts = {name: found[name] for name in ("tests", "passed", "failures", "errors", "skipped", "flaky")}
    assert counts == {"tests": 3, "passed": 1, "failures": 1, "errors": 0, "skipped": 1, "flaky": 0}
    assert (found["file"], found["canonical_hash"]) == ("signed.xml", canonical_hash(signed))
    assert isinstance(found["time"], float)
    signature = found["signature"]
    assert (signature["state"], signature["valid"]) == ("trusted", True)
    assert (signature["algorithm"], signature["signer"]) == ("ECDSA-SHA256", "CN=p256 signer")


def test_json_has_suites_and_metadata(inspect, tmp_path):
    (tmp_path / "messy.xml").write_text(MESSY)
    found = json.loads(inspect("messy.xml", "--json")[1])
    assert found["suites"] == [
        {"name": "outer", "tests": 1, "failed": 0, "time": 3.5},
        {"name": "outer / inner", "tests": 2, "failed": 2, "time": 2.0},
        {"name": "", "tests": 2, "failed": 0, "time": 0},
    ]
    assert found["metadata"] == {"project": "tool"}
    assert found["signature"]["state"] == "unsigned"


def test_json_of_several_reports_is_a_list_that_has_the_bad_ones_too(inspect, signed, tmp_path):
    (tmp_path / "bad.xml").write_text("{}")
    code, out, err = inspect("signed.xml", "bad.xml", "--json")
    good, bad = json.loads(out)
    assert code == 1
    assert (good["tests"], bad) == (3, {"file": "bad.xml", "error": "not a JUnit XML report: JSON"})
    assert err == "bad.xml: not a JUnit XML report: JSON\n"


# --- failures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "not a JUnit XML report"),
        (b"{}", "not a JUnit XML report: JSON"),
        (b"<html/>", "not a JUnit XML report: an HTML page"),
        (b"\x1f\x8b\x08\x00", "not a JUnit XML report: gzip-compressed data"),
        (b"<testsuites>", "not well-formed XML"),
        (b"<!DOCTYPE x><testsuites/>", "report refused: "),
    ],
)
@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_what_is_no_report_is_one_sentence(inspect, tmp_path, content, sentence, as_json):
    (tmp_path / "bad.xml").write_bytes(content)
    code, _, err = inspect("bad.xml", *as_json)
    assert (code, len(err.splitlines())) == (1, 1)
    assert err.startswith(f"bad.xml: {sentence}")


def test_a_report_that_is_too_large_is_refused_unread(inspect, tmp_path, monkeypatch):
    monkeypatch.setattr("pytest_jux.document.DEFAULT_LIMITS", Limits(bytes=20))
    (tmp_path / "large.xml").write_text("<testsuites>         </testsuites>")
    assert inspect("large.xml")[2] == "large.xml: report refused: more than 20 bytes\n"
    assert inspect("-", stdin=b"<testsuites>         </testsuites>")[0] == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [([], "no report given"), (["--nope"], "No such option"), (["x.xml", "--at", "then"], "is not a time")],
)
def test_a_wrong_option_is_a_usage_error(inspect, arguments, sentence):
    code, out, err = inspect(*arguments)
    assert (code, out) == (64, "")
    assert sentence in err


# --- terminals and pipes ---------------------------------------------------------------------------------------------

HOSTILE = """<testsuites><testsuite name="&#x9b;31m\u202ename">
<properties><property name="a\u2066b" value="line one&#10;Signature: RSA-SHA256 (valid)\u200b"/></properties>
<testcase name="t"/></testsuite></testsuites>"""


def test_a_report_cannot_steer_the_terminal_or_fake_a_line(inspect, tmp_path):
    (tmp_path / "hostile.xml").write_text(HOSTILE)
    out = inspect("hostile.xml")[1]
    assert not [character for character in out if not (character.isprintable() or character == "\n")]
    assert "Suite: \\x9b31m\\u202ename (1 test," in out
    assert [line for line in out.splitlines() if line.startswith("Signature:")] == ["Signature: none"]


def test_json_carries_no_control_character_either(inspect, tmp_path):
    (tmp_path / "hostile.xml").write_text(HOSTILE)
    out = inspect("hostile.xml", "--json")[1]
    assert out.isascii()
    assert json.loads(out)["suites"][0]["name"] == "\x9b31m\u202ename"


def test_failures_are_red_where_colour_is_wanted(inspect, signed, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    out = inspect("signed.xml")[1]
    assert "\x1b[31mFailures: 1\x1b[0m" in out
    assert "\nErrors: 0\n" in out


def test_a_reader_that_goes_away_is_no_crash(tmp_path):
    suites = "".join(f'<testsuite name="s{number}"/>' for number in range(50_000))
    (tmp_path / "big.xml").write_text(f"<testsuites>{suites}</testsuites>")
    command = ["sh", "-c", f"{{ {SCRIPT} big.xml; echo exit $? >&2; }} | head -1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "Tests: 0\n"
    assert done.stderr == "exit 1\n"


def test_a_debugging_user_sees_the_traceback(tmp_path):
    (tmp_path / "report.xml").write_text(MESSY)
    arguments = ["--cert", "none.crt", "report.xml"]
    for debug, seen in (("0", False), ("1", True)):
        environ = os.environ | {"JUX_DEBUG": debug}
        command = [SCRIPT, *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert ("Traceback" in done.stderr) is seen
        assert "none.crt: no such file or directory" in done.stderr
