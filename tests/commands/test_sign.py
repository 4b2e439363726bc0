"""jux-sign: files and pipes, whole or not at all."""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import io
import json
import os
import pty
import re
import resource
import select
import signal
import stat
import subprocess
import sys
import termios
import time
from types import SimpleNamespace

import pytest

from pytest_jux.canonicalizer import canonical_hash
from pytest_jux.commands import _cli
from pytest_jux.commands.sign import command
from pytest_jux.keys import private_key_pem
from pytest_jux.signer import remove_signatures, sign_report
from pytest_jux.verifier import Trust, verify_report

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="modes and terminals of POSIX"),
    pytest.mark.usefixtures("clean_environment"),
]
SCRIPT = os.path.join(os.path.dirname(sys.executable), "jux-sign")  # noqa: PTH118, PTH120 - as a shell would find it


@pytest.fixture
def report(tmp_path, real_report):
    path = tmp_path / "report.xml"
    path.write_bytes(real_report)
    return path


@pytest.fixture
def sign(tmp_path, monkeypatch, capsysbinary):
    """Return a function that runs the command and gives its exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    def run(*arguments, stdin=None):
        piped = SimpleNamespace(buffer=io.BytesIO(stdin or b""), isatty=lambda: stdin is None)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", piped)
            code = _cli.run(command, [str(argument) for argument in arguments], "jux-sign")
        captured = capsysbinary.readouterr()
        assert b"Traceback" not in captured.err
        return code, captured.out, captured.err.decode()

    return run


@pytest.fixture
def key(p256):
    return ("--key", p256.key_path, "--cert", p256.cert_path)


def verified(data, signer):
    return verify_report(data, Trust([signer.certificate]))


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_report_is_signed_in_place(sign, key, report, real_report, p256):
    report.chmod(0o640)
    assert sign(*key, "report.xml") == (0, "✓ Report signed: report.xml\n".encode(), "")
    assert verified(report.read_bytes(), p256).signer == "CN=p256 signer"
    assert remove_signatures(report.read_bytes()) == real_report
    assert stat.S_IMODE(report.stat().st_mode) == 0o640
    assert [path.name for path in report.parent.iterdir()] == ["report.xml"]


def test_a_report_is_signed_into_another_file(sign, key, report, real_report, tmp_path, p256):
    code, out, _ = sign(*key, "--input", "report.xml", "--output", "signed.xml")
    assert (code, out) == (0, "✓ Report signed: signed.xml\n".encode())
    assert report.read_bytes() == real_report
    assert verified((tmp_path / "signed.xml").read_bytes(), p256)


def test_an_output_that_is_there_keeps_its_mode(sign, key, report, tmp_path, p256):
    (tmp_path / "signed.xml").write_text("old")
    (tmp_path / "signed.xml").chmod(0o604)
    assert sign(*key, "report.xml", "-o", "signed.xml")[0] == 0
    assert stat.S_IMODE((tmp_path / "signed.xml").stat().st_mode) == 0o604
    assert verified((tmp_path / "signed.xml").read_bytes(), p256)


def test_a_link_stays_a_link(sign, key, report, tmp_path, p256):
    (tmp_path / "link.xml").symlink_to("report.xml")
    assert sign(*key, "link.xml")[0] == 0
    assert (tmp_path / "link.xml").is_symlink()
    assert verified(report.read_bytes(), p256)


def test_several_reports_are_signed_each_in_place(sign, key, report, tmp_path, real_report, p256):
    other = tmp_path / "other.xml"
    other.write_bytes(real_report)
    code, out, _ = sign(*key, "report.xml", "--input", "other.xml")
    assert code == 0
    assert sorted(out.decode().splitlines()) == ["✓ Report signed: other.xml", "✓ Report signed: report.xml"]
    assert verified(report.read_bytes(), p256).canonical_hash == verified(other.read_bytes(), p256).canonical_hash


def test_one_bad_report_does_not_keep_the_others_from_being_signed(sign, key, report, tmp_path, p256):
    (tmp_path / "bad.xml").write_text("{}")
    code, out, err = sign(*key, "none.xml", "bad.xml", "report.xml")
    assert (code, out) == (1, "✓ Report signed: report.xml\n".encode())
    assert err.splitlines()[0] == "none.xml: cannot read none.xml: no such file or directory"
    assert err.splitlines()[1] == "bad.xml: not a JUnit XML report: JSON"
    assert (tmp_path / "bad.xml").read_text() == "{}"
    assert verified(report.read_bytes(), p256)


def test_a_key_alone_signs_without_naming_a_signer(sign, report, p256):
    code, out, _ = sign("--key", p256.key_path, "report.xml", "--json")
    assert (code, json.loads(out)["signer"]) == (0, None)
    assert b"X509Certificate" not in report.read_bytes()
    assert verified(report.read_bytes(), p256)


# --- pipes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["-"], ["--input", "-"], ["-", "--output", "-"], ["-i", "-", "-o", "-"]])
def test_standard_input_is_signed_to_standard_output(sign, key, real_report, arguments, p256):
    code, out, err = sign(*key, *arguments, stdin=real_report)
    assert (code, err) == (0, "")
    assert remove_signatures(out) == real_report
    assert verified(out, p256)


def test_standard_input_is_signed_into_a_file(sign, key, real_report, tmp_path, p256):
    code, out, _ = sign(*key, "--output", "signed.xml", stdin=real_report)
    assert (code, out) == (0, "✓ Report signed: signed.xml\n".encode())
    assert verified((tmp_path / "signed.xml").read_bytes(), p256)


def test_a_file_is_signed_to_standard_output(sign, key, report, real_report, p256):
    code, out, err = sign(*key, "report.xml", "--output", "-")
    assert (code, err) == (0, "")
    assert verified(out, p256)
    assert report.read_bytes() == real_report


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_every_other_byte_goes_through_a_real_pipe_as_it_is(key, p256, ending):
    lines = (b'<?xml version="1.0"?>', b"<testsuites>", b'<testsuite name="a"><testcase name="t"/></testsuite>')
    data = ending.join([*lines, b"<!-- end -->", b"</testsuites>", b""])
    done = subprocess.run([SCRIPT, *key], input=data, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert remove_signatures(done.stdout) == data
    assert verified(done.stdout, p256)


LARGE = b"<testsuites><testsuite><system-out>" + b"x" * 1_000_000 + b"</system-out></testsuite></testsuites>"


def environment(unbuffered):
    """Return the environment for a script; coverage would write files that the limits below are not about."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    return kept | {"PYTHONUNBUFFERED": unbuffered}


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_disk_that_gets_full_under_standard_output_is_an_error(key, tmp_path, unbuffered):
    (tmp_path / "large.xml").write_bytes(LARGE)
    command = [SCRIPT, *key, "large.xml", "--output", "-"]
    with (tmp_path / "signed.xml").open("wb") as output:
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=environment(unbuffered),
            stdout=output,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
            check=False,
        )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away_is_no_crash(key, unbuffered):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([SCRIPT, *key], **pipes, env=environment(unbuffered))
    process.stdin.write(LARGE)
    process.stdin.close()
    process.stdout.read(10)
    process.stdout.close()
    with process.stderr as stderr:
        assert stderr.read() == b""
    assert process.wait(timeout=30) == 1


def test_nothing_is_printed_when_standard_input_cannot_be_signed(sign, key):
    code, out, err = sign(*key, stdin=b"<html></html>")
    assert (code, out) == (1, b"")
    assert err.startswith("-: not a JUnit XML report: an HTML page")


# --- what was done, as JSON ------------------------------------------------------------------------------------------


def test_json_says_what_was_done(sign, key, report, real_report):
    code, out, err = sign(*key, "report.xml", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "file": "report.xml",
        "status": "signed",
        "output": "report.xml",
        "canonical_hash": canonical_hash(real_report),
        "algorithm": "ECDSA-SHA256",
        "signer": "CN=p256 signer",
    }


def test_json_of_several_reports_is_a_list_with_every_failure(sign, key, report):
    code, out, _ = sign(*key, "report.xml", "none.xml", "--json")
    first, second = json.loads(out)
    assert code == 1
    assert (first["status"], second["status"]) == ("signed", "error")
    assert second == {"file": "none.xml", "status": "error", "reason": second["reason"]}
    assert "no such file" in second["reason"]


# --- signing again ---------------------------------------------------------------------------------------------------


def test_a_signed_report_is_refused_and_stays_as_it_is(sign, key, report, rsa):
    report.write_bytes(sign_report(report.read_bytes(), rsa.key, rsa.certificate))
    before = report.read_bytes()
    code, _, err = sign(*key, "report.xml")
    assert (code, report.read_bytes()) == (1, before)
    assert err.splitlines()[0] == "report.xml: already signed by CN=rsa signer"
    assert "--replace" in err.splitlines()[1]


def test_replace_takes_the_old_signature_out(sign, key, report, real_report, rsa, p256):
    report.write_bytes(sign_report(report.read_bytes(), rsa.key, rsa.certificate))
    assert sign(*key, "--replace", "report.xml")[0] == 0
    assert remove_signatures(report.read_bytes()) == real_report
    assert verified(report.read_bytes(), p256)


# --- wrong use -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["a.xml", "b.xml", "--output", "c.xml"], "--output takes one report"),
        (["-", "a.xml"], "standard input can only be signed on its own"),
        (["-", "-"], "standard input can be read only once"),
        (["-", "--json"], "--json and a report cannot both go to standard output"),
        (["a.xml", "--json", "--output", "-"], "--json and a report cannot both go to standard output"),
        (["--no-such-option"], "No such option"),
        (["a.xml", "--key"], "requires an argument"),
        ([], "no report given"),
    ],
)
def test_a_wrong_option_is_a_usage_error(sign, key, arguments, sentence):
    code, out, err = sign(*key, *arguments)
    assert (code, out) == (64, b"")
    assert sentence in err
    assert "See jux-sign --help." in err


def test_no_key_is_a_usage_error(sign, report, real_report):
    code, _, err = sign("report.xml")
    assert code == 64
    assert "no key given" in err
    assert report.read_bytes() == real_report


def test_an_empty_key_name_is_a_usage_error(sign, report):
    assert sign("report.xml", "--key", "")[0] == 64


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--key", "none.pem"], "cannot read the private key .*none.pem: no such file or directory"),
        (["--key", "report.xml"], "there is no PEM private key in it"),
        (["--key", "."], "is a directory"),
    ],
)
def test_a_key_that_cannot_be_read_is_one_sentence(sign, report, real_report, arguments, sentence):
    code, out, err = sign("report.xml", *arguments)
    assert (code, out) == (1, b"")
    assert len(err.splitlines()) == 1
    assert re.search(sentence, err)
    assert report.read_bytes() == real_report


def test_a_certificate_of_another_key_leaves_the_report_untouched(sign, report, real_report, p256, rsa):
    code, _, err = sign("--key", p256.key_path, "--cert", rsa.cert_path, "report.xml")
    assert code == 1
    assert "CN=rsa signer does not belong to the private key" in err
    assert report.read_bytes() == real_report


def test_a_certificate_that_has_expired_leaves_the_report_untouched(sign, report, real_report, make_signer):
    old = make_signer("old", days=1, now=dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
    code, _, err = sign("--key", old.key_path, "--cert", old.cert_path, "report.xml")
    assert (code, report.read_bytes()) == (1, real_report)
    assert "expired" in err


@pytest.mark.parametrize("name", ["folder", "fifo", "/dev/null", "folder/none/x.xml"])
def test_an_output_that_cannot_be_a_report_is_one_sentence(sign, key, report, real_report, tmp_path, name):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    code, out, err = sign(*key, "report.xml", "--output", name)
    assert (code, out) == (1, b"")
    assert len(err.splitlines()) == 1
    assert report.read_bytes() == real_report
    assert stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)


def test_a_directory_is_not_a_report(sign, key, tmp_path):
    (tmp_path / "folder").mkdir()
    assert sign(*key, "folder")[2] == "folder: cannot read folder: it is a directory\n"


def test_a_link_that_leads_to_itself_is_one_sentence(sign, key, report, tmp_path):
    (tmp_path / "loop.xml").symlink_to("loop.xml")
    code, _, err = sign(*key, "report.xml", "--output", "loop.xml")
    assert (code, len(err.splitlines())) == (1, 1)


def test_a_failing_write_leaves_the_report_untouched(sign, key, report, real_report, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = sign(*key, "report.xml")
    assert (code, err) == (1, "report.xml: cannot replace report.xml: no space left on device\n")
    assert report.read_bytes() == real_report
    assert [path.name for path in report.parent.iterdir()] == ["report.xml"]


def test_a_read_only_report_is_left_alone(key, report, real_report, without_root_rights):
    report.chmod(0o444)
    command = [*without_root_rights, sys.executable, SCRIPT, *key, "report.xml"]
    done = subprocess.run(command, cwd=report.parent, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "report.xml: cannot replace report.xml: it is read-only\n")
    assert report.read_bytes() == real_report


# --- configuration ---------------------------------------------------------------------------------------------------


def test_the_key_may_come_from_the_configuration(sign, report, p256, tmp_path):
    lines = ["[jux]", f"key_path = {p256.key_path}", f"cert_path = {p256.cert_path}"]
    (tmp_path / ".jux.conf").write_text("\n".join(lines))
    assert sign("report.xml")[0] == 0
    assert b"X509Certificate" in report.read_bytes()
    assert verified(report.read_bytes(), p256)


def test_the_key_may_come_from_the_environment(sign, report, p256, monkeypatch):
    monkeypatch.setenv("JUX_KEY_PATH", str(p256.key_path))
    assert sign("report.xml")[0] == 0
    assert verified(report.read_bytes(), p256)


def test_a_configured_certificate_does_not_go_with_a_key_that_is_named(sign, report, p256, rsa, monkeypatch):
    monkeypatch.setenv("JUX_KEY_PATH", str(rsa.key_path))
    monkeypatch.setenv("JUX_CERT_PATH", str(rsa.cert_path))
    monkeypatch.setenv("JUX_KEY_PASSPHRASE_ENV", "NOT_SET")
    assert sign("--key", p256.key_path, "report.xml")[0] == 0
    assert b"X509Certificate" not in report.read_bytes()
    assert verified(report.read_bytes(), p256)


def test_a_broken_configuration_is_one_sentence_with_file_and_line(sign, key, report, real_report, tmp_path):
    (tmp_path / ".jux.conf").write_text("[jux]\nsign = perhaps\n")
    code, _, err = sign(*key, "report.xml")
    assert (code, report.read_bytes()) == (1, real_report)
    assert err.startswith("jux-sign: .jux.conf:2: jux_sign has invalid value 'perhaps'")


def test_an_unknown_option_in_a_file_is_a_warning(sign, key, report, tmp_path):
    (tmp_path / ".jux.conf").write_text("[jux]\nkye_path = x.pem\n")
    code, _, err = sign(*key, "report.xml")
    assert code == 0
    assert ".jux.conf:2: unknown option kye_path" in err


# --- passphrases -----------------------------------------------------------------------------------------------------


@pytest.fixture
def encrypted(tmp_path, p256):
    (tmp_path / "encrypted.pem").write_bytes(private_key_pem(p256.key, b"correct horse"))
    return ("--key", "encrypted.pem")


def test_a_passphrase_from_the_environment(sign, encrypted, report, monkeypatch, p256):
    monkeypatch.setenv("PHRASE", "correct horse")
    assert sign(*encrypted, "--passphrase-env", "PHRASE", "report.xml")[0] == 0
    assert verified(report.read_bytes(), p256)


def test_a_passphrase_from_a_file(sign, encrypted, report, tmp_path, p256):
    (tmp_path / "phrase").write_text("correct horse\n")
    (tmp_path / "phrase").chmod(0o600)
    assert sign(*encrypted, "--passphrase-file", "phrase", "report.xml")[0] == 0
    assert verified(report.read_bytes(), p256)


def test_a_passphrase_file_that_others_can_read_is_a_warning(sign, encrypted, report, tmp_path):
    (tmp_path / "phrase").write_text("correct horse\n")
    (tmp_path / "phrase").chmod(0o644)
    code, _, err = sign(*encrypted, "--passphrase-file", "phrase", "report.xml")
    assert code == 0
    assert "other users can read" in err


def test_a_configured_passphrase_goes_with_the_configured_key(sign, encrypted, report, monkeypatch, p256):
    monkeypatch.setenv("PHRASE", "correct horse")
    monkeypatch.setenv("JUX_KEY_PATH", "encrypted.pem")
    monkeypatch.setenv("JUX_KEY_PASSPHRASE_ENV", "PHRASE")
    assert sign("report.xml")[0] == 0
    assert verified(report.read_bytes(), p256)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "encrypted.pem: it is encrypted and no passphrase was given"),
        (["--passphrase-env", "WRONG"], "encrypted.pem: the passphrase is wrong"),
        (["--passphrase-env", "NONE"], "the environment variable NONE"),
        (["--passphrase-file", "none"], "none: no such file or directory"),
    ],
)
def test_without_the_right_passphrase_nothing_is_signed(
    sign, encrypted, report, real_report, monkeypatch, arguments, sentence
):
    monkeypatch.setenv("WRONG", "hunter2")
    code, _, err = sign(*encrypted, *arguments, "report.xml", stdin=b"")
    assert (code, report.read_bytes()) == (1, real_report)
    assert sentence in err
    assert "hunter2" not in err


def on_a_terminal(command, typed, cwd):
    """Run a program on a terminal of its own, type when it has asked, and return what it showed and its exit code."""
    master, slave = pty.openpty()

    def take_terminal():
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # whoever runs the tests in the background ignores it

    process = subprocess.Popen(
        command,
        cwd=cwd,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=take_terminal,  # noqa: PLW1509 - the child does nothing before exec but this
    )
    os.close(slave)
    shown = b""
    with contextlib.suppress(OSError):  # the terminal is gone when the program is
        while select.select([master], [], [], 30)[0] and (piece := os.read(master, 4096)):
            shown += piece
            if typed and shown.rstrip().endswith(b":"):
                while termios.tcgetattr(master)[3] & termios.ECHO:  # what is typed earlier is thrown away
                    time.sleep(0.01)
                os.write(master, typed)
                typed = b""
    process.kill()  # if it still waits
    os.close(master)
    return shown.decode(), process.wait(timeout=30)


def test_on_a_terminal_the_passphrase_is_asked_for_and_not_shown(encrypted, report, tmp_path, p256):
    shown, code = on_a_terminal([SCRIPT, *encrypted, "report.xml"], b"correct horse\n", tmp_path)
    assert code == 0, shown
    assert "Passphrase of" in shown
    assert "correct horse" not in shown
    assert "✓ Report signed: report.xml" in shown
    assert verified(report.read_bytes(), p256)


def test_on_a_terminal_a_wrong_passphrase_is_one_sentence(encrypted, report, real_report, tmp_path):
    shown, code = on_a_terminal([SCRIPT, *encrypted, "report.xml"], b"wrong\n", tmp_path)
    assert code == 1
    assert "the passphrase is wrong" in shown
    assert "Traceback" not in shown
    assert report.read_bytes() == real_report


def test_an_interrupt_at_the_prompt_is_no_crash(encrypted, report, real_report, tmp_path):
    shown, code = on_a_terminal([SCRIPT, *encrypted, "report.xml"], b"\x03", tmp_path)
    assert code == 130
    assert "Traceback" not in shown
    assert report.read_bytes() == real_report


def test_colours_are_used_on_a_terminal(key, report, tmp_path):
    shown, code = on_a_terminal([SCRIPT, *key, "report.xml"], b"", tmp_path)
    assert code == 0
    assert "\x1b[32m✓ Report signed" in shown


def test_no_color_is_obeyed_on_a_terminal(key, report, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    shown, _ = on_a_terminal([SCRIPT, *key, "report.xml"], b"", tmp_path)
    assert shown.splitlines() == ["✓ Report signed: report.xml"]
