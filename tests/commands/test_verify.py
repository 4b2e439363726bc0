"""jux-verify: one verdict per report, in words, as JSON and as an exit code."""

from __future__ import annotations

import datetime as dt
import io
import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from pytest_jux.canonicalizer import canonical_hash
from pytest_jux.commands import _cli
from pytest_jux.commands.verify import command
from pytest_jux.keys import certificate_pem
from pytest_jux.signer import sign_report

pytestmark = pytest.mark.usefixtures("clean_environment")
SCRIPT = os.path.join(os.path.dirname(sys.executable), "jux-verify")  # noqa: PTH118, PTH120 - as a shell would find it


@pytest.fixture
def verify(tmp_path, monkeypatch, capsys):
    """Return a function that runs the command and gives its exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, stdin=None):
        piped = SimpleNamespace(buffer=io.BytesIO(stdin or b""), isatty=lambda: stdin is None)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", piped)
            code = _cli.run(command, [str(argument) for argument in arguments], "jux-verify")
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return run


@pytest.fixture
def reports(tmp_path, real_report, p256):
    """Write a report in each state, named after it."""
    signed = sign_report(real_report, p256.key, p256.certificate)
    files = {"valid": signed, "unsigned": real_report, "broken": signed.replace(b"test_fails", b"test_works")}
    files |= {"keyless": sign_report(real_report, p256.key), "json": b"{}", "empty": b""}
    for name, data in files.items():
        (tmp_path / f"{name}.xml").write_bytes(data)
    return SimpleNamespace(**files)


# --- verdicts --------------------------------------------------------------------------------------------------------


def test_a_valid_report(verify, reports, p256):
    code, out, err = verify("--cert", p256.cert_path, "valid.xml")
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0] == "✓ Signature valid"
    assert lines[1] == "  Signer: CN=p256 signer (ECDSA-SHA256)"
    assert lines[2].startswith("  Certificate valid: 20")
    assert lines[3] == f"  Canonical hash: {canonical_hash(reports.valid)}"


def test_a_key_without_a_certificate_in_the_report_is_found_among_the_pinned_ones(verify, reports, p256, rsa):
    assert verify("--cert", rsa.cert_path, "--cert", p256.cert_path, "keyless.xml")[0] == 0


def test_a_broken_report_is_never_valid_and_shows_no_signer(verify, reports, p256):
    code, out, _ = verify("--cert", p256.cert_path, "broken.xml")
    assert code == 1
    assert out.startswith("✗ Signature broken: the report was changed after signing")
    assert "Signer" not in out


def test_a_signer_whom_nobody_vouched_for_is_not_valid(verify, reports, rsa):
    for trust in ([], ["--cert", rsa.cert_path]):
        code, out, err = verify(*trust, "valid.xml")
        assert code == 1
        assert out.startswith("✗ Signature intact, signer not trusted")
        assert "--cert" in err


def test_an_unsigned_report_is_not_valid(verify, reports, p256):
    code, out, _ = verify("--cert", p256.cert_path, "unsigned.xml")
    assert (code, out.splitlines()[0]) == (1, "✗ Not signed: the report carries no signature")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("json.xml", "not a JUnit XML report: JSON"),
        ("empty.xml", "not a JUnit XML report"),
        ("none.xml", "cannot read none.xml: no such file or directory"),
        (".", "cannot read .: it is a directory"),
    ],
)
def test_what_cannot_be_read_is_not_valid(verify, reports, p256, name, sentence):
    code, out, err = verify("--cert", p256.cert_path, name)
    assert (code, err) == (1, "")
    assert out.startswith(f"✗ Signature could not be checked: {sentence}")


def test_several_reports_get_a_line_each_and_all_must_be_valid(verify, reports, p256):
    code, out, _ = verify("--cert", p256.cert_path, "valid.xml", "--input", "broken.xml", "unsigned.xml")
    *lines, last = out.splitlines()
    assert last == "1 of 3 reports valid"
    marks = {line.split()[1].rstrip(":"): line[0] for line in lines}
    assert (code, marks) == (1, {"valid.xml": "✓", "broken.xml": "✗", "unsigned.xml": "✗"})
    assert verify("--cert", p256.cert_path, "valid.xml", "keyless.xml")[0] == 0


def test_quiet_prints_nothing_and_the_exit_code_tells(verify, reports, p256):
    assert verify("-q", "--cert", p256.cert_path, "valid.xml") == (0, "", "")
    assert verify("--quiet", "--cert", p256.cert_path, "broken.xml") == (1, "", "")


def test_standard_input(verify, reports, p256):
    assert verify("--cert", p256.cert_path, stdin=reports.valid)[0] == 0
    assert verify("--cert", p256.cert_path, "-", stdin=reports.broken)[0] == 1
    code, out, _ = verify("--cert", p256.cert_path, "valid.xml", "-", stdin=reports.valid)
    assert (code, [line[:12] for line in out.splitlines()]) == (0, ["✓ valid.xml:", "✓ -: Signatu", "2 of 2 repor"])


# --- trust -----------------------------------------------------------------------------------------------------------


def test_a_directory_of_certificates_is_trusted(verify, reports, tmp_path, p256, rsa):
    (tmp_path / "trusted").mkdir()
    for number, signer in enumerate((rsa, p256)):
        (tmp_path / "trusted" / f"{number}.crt").write_bytes(certificate_pem(signer.certificate))
    assert verify("--cert", "trusted", "valid.xml")[0] == 0


@pytest.fixture
def authority(tmp_path, p384, p256):
    """Write an authority's certificate and return one that it issued for the P-256 key."""

    def certificate(subject, issuer, key, signer, *extensions):
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=30))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=True)
        return builder.sign(signer, hashes.SHA384())

    def usage(**granted):
        names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
        names += ("key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
        return x509.KeyUsage(**dict.fromkeys(names, False) | granted)

    constraints = (x509.BasicConstraints(ca=True, path_length=0), usage(key_cert_sign=True, crl_sign=True))
    root = certificate("test authority", "test authority", p384.key, p384.key, *constraints)
    (tmp_path / "ca.pem").write_bytes(certificate_pem(root))
    leaf = (x509.BasicConstraints(ca=False, path_length=None), usage(digital_signature=True))
    return certificate("issued", "test authority", p256.key, p384.key, *leaf)


def test_an_authority_vouches_for_whom_it_issued_a_certificate(verify, tmp_path, real_report, p256, authority):
    (tmp_path / "report.xml").write_bytes(sign_report(real_report, p256.key, authority))
    code, out, _ = verify("--ca", "ca.pem", "report.xml", "--json")
    assert (code, json.loads(out)["trusted_by"]) == (0, "CN=test authority")


def test_an_authority_vouches_for_nobody_else(verify, reports, authority):
    assert verify("--ca", "ca.pem", "valid.xml")[0] == 1


@pytest.mark.parametrize("when", ["2001-01-01", "2001-01-01T10:30:00Z", "2001-01-01T10:30:00+02:00"])
def test_dates_are_judged_at_the_time_that_is_given(verify, reports, p256, when):
    code, out, _ = verify("--cert", p256.cert_path, "--at", when, "valid.xml")
    assert code == 1
    assert "is not valid before" in out


def test_an_expired_certificate_is_good_for_the_time_before(verify, tmp_path, real_report, make_signer):
    old = make_signer("old", days=30, now=dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
    (tmp_path / "report.xml").write_bytes(sign_report(real_report, old.key, old.certificate))
    assert verify("--cert", old.cert_path, "--at", "2020-01-15", "report.xml")[0] == 0
    code, out, _ = verify("--cert", old.cert_path, "report.xml")
    assert code == 1
    assert "expired" in out


# --- JSON ------------------------------------------------------------------------------------------------------------

FIELDS = {"file", "valid", "state", "reason", "canonical_hash", "algorithm", "signer", "trusted_by"}
FIELDS |= {"not_before", "not_after"}


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("valid.xml", "trusted"),
        ("broken.xml", "broken"),
        ("unsigned.xml", "unsigned"),
        ("json.xml", "unchecked"),
        ("none.xml", "unchecked"),
    ],
)
def test_json_has_the_same_fields_in_every_state(verify, reports, p256, name, state):
    code, out, err = verify("--cert", p256.cert_path, "--json", name)
    result = json.loads(out)
    assert ({*result}, err) == (FIELDS, "")
    assert (result["file"], result["state"], result["valid"]) == (name, state, state == "trusted")
    assert code == (0 if state == "trusted" else 1)
    assert bool(result["reason"]) == (state != "trusted")


def test_json_of_a_valid_report_is_the_evidence(verify, reports, p256):
    result = json.loads(verify("--cert", p256.cert_path, "--json", "valid.xml")[1])
    assert result["canonical_hash"] == canonical_hash(reports.valid)
    assert (result["algorithm"], result["signer"]) == ("ECDSA-SHA256", "CN=p256 signer")
    assert result["trusted_by"] == "CN=p256 signer"
    assert dt.datetime.fromisoformat(result["not_after"]) == p256.certificate.not_valid_after_utc
    assert dt.datetime.fromisoformat(result["not_before"]) == p256.certificate.not_valid_before_utc


def test_json_of_an_unknown_signer_does_not_say_that_anybody_vouches(verify, reports):
    result = json.loads(verify("--json", "valid.xml")[1])
    assert (result["valid"], result["state"], result["trusted_by"]) == (False, "intact", None)
    assert result["signer"] == "CN=p256 signer"


@pytest.mark.parametrize("name", ["broken.xml", "unsigned.xml"])
def test_json_names_no_signer_that_is_not_proved(verify, reports, p256, name):
    result = json.loads(verify("--cert", p256.cert_path, "--json", name)[1])
    assert {result[field] for field in ("signer", "algorithm", "trusted_by", "not_before", "not_after")} == {None}


def test_json_of_several_reports_is_a_list_in_their_order(verify, reports, p256):
    code, out, _ = verify("--cert", p256.cert_path, "--json", "broken.xml", "valid.xml")
    assert code == 1
    assert [(one["file"], one["valid"]) for one in json.loads(out)] == [("broken.xml", False), ("valid.xml", True)]


# --- wrong use -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "no report given"),
        (["-", "-"], "standard input can be read only once"),
        (["--at", "yesterday", "valid.xml"], "--at: 'yesterday' is not a time"),
        (["--at", "2026-13-01", "valid.xml"], "is not a time"),
        (["--cret", "x", "valid.xml"], "No such option"),
        (["--cert"], "requires an argument"),
    ],
)
def test_a_wrong_option_is_a_usage_error(verify, reports, arguments, sentence):
    code, out, err = verify(*arguments)
    assert (code, out) == (64, "")
    assert sentence in err
    assert "See jux-verify --help." in err


@pytest.mark.parametrize("when", ["0001-01-01T00:00:00+10:00", "9999-12-31T23:59:59-10:00"])
def test_a_time_at_the_end_of_time_is_no_crash(verify, reports, p256, when):
    code, _, err = verify("--cert", p256.cert_path, "--at", when, "valid.xml")
    assert code in {1, 64}
    assert len(err.splitlines()) <= 2


@pytest.mark.parametrize("option", ["--cert", "--ca"])
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("none.crt", "no such file or directory"),
        ("valid.xml", "it holds XML, not a certificate"),
        ("folder", "there is no certificate .* in this directory"),
    ],
)
def test_a_certificate_that_cannot_be_read_is_one_sentence(verify, reports, tmp_path, option, name, sentence):
    (tmp_path / "folder").mkdir()
    code, out, err = verify(option, name, "valid.xml")
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert re.search(f"cannot read the certificate {name}: .*{sentence}", err)


def test_a_private_key_in_place_of_a_certificate_is_told(verify, reports, p256):
    code, _, err = verify("--cert", p256.key_path, "valid.xml")
    assert code == 1
    assert "it holds a key, not a certificate" in err


def test_a_certificate_of_a_user_who_does_not_exist_is_one_sentence(verify, reports):
    code, _, err = verify("--cert", "~no-such-user/me.crt", "valid.xml")
    assert code in {1, 64}
    assert len(err.splitlines()) <= 2


# --- terminals and pipes ---------------------------------------------------------------------------------------------


def test_a_signers_name_cannot_steer_the_terminal(verify, tmp_path, real_report, make_signer):
    evil = make_signer("evil\x1b[2J\x1b[31m\u202e")
    (tmp_path / "report.xml").write_bytes(sign_report(real_report, evil.key, evil.certificate))
    for arguments in ([], ["--json"]):
        code, out, err = verify("--cert", evil.cert_path, *arguments, "report.xml")
        assert code == 0
        assert "\x1b" not in out + err
        assert "\u202e" not in out + err
        assert "1b[2J" in out


def test_a_file_name_cannot_steer_the_terminal(verify, reports):
    _, out, err = verify("\x1b[2J.xml", "none.xml")
    assert "\x1b" not in out + err


def test_force_color_colours_a_pipe_and_no_color_wins(verify, reports, p256, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert verify("--cert", p256.cert_path, "valid.xml")[1].startswith("\x1b[32m✓ Signature valid\x1b[0m")
    assert verify("--cert", p256.cert_path, "broken.xml")[1].startswith("\x1b[31m✗")
    monkeypatch.setenv("NO_COLOR", "1")
    assert verify("--cert", p256.cert_path, "valid.xml")[1].startswith("✓")


def script(*arguments, cwd, **keywords):
    return subprocess.run([SCRIPT, *arguments], cwd=cwd, capture_output=True, text=True, check=False, **keywords)


def test_the_script_has_the_exit_codes_of_the_command(reports, tmp_path, p256):
    assert script("--cert", p256.cert_path, "valid.xml", cwd=tmp_path).returncode == 0
    assert script("--cert", p256.cert_path, "broken.xml", cwd=tmp_path).returncode == 1
    assert script("--nonsense", cwd=tmp_path).returncode == 64


def test_marks_are_ascii_where_nothing_else_can_be_printed(reports, tmp_path, p256):
    environ = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = script("--cert", p256.cert_path, "valid.xml", cwd=tmp_path, env=environ)
    assert done.stdout.startswith("+ Signature valid\n")
    done = script("--cert", p256.cert_path, "größe.xml", "valid.xml", cwd=tmp_path, env=environ)
    assert done.stdout.startswith("x gr\\xf6\\xdfe.xml: ")
    assert done.stderr == ""


def test_closed_standard_streams_are_no_crash(reports, tmp_path, p256):
    shell = f"{SCRIPT} --cert {p256.cert_path} {{}}"
    for name, redirect in (("-", "<&-"), ("valid.xml", ">&-"), ("none.xml", ">&-"), ("--nonsense", "2>&-")):
        command = ["sh", "-c", f"{shell.format(name)} {redirect}"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr, (name, redirect)
