"""jux-keygen: keys that nobody else can read, certificates that others accept, and nothing overwritten."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import stat
import subprocess
import sys

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from pytest_jux.commands import _cli
from pytest_jux.commands.keygen import command
from pytest_jux.errors import PassphraseWrong
from pytest_jux.keys import check_pair, load_certificate, load_private_key
from pytest_jux.signer import sign_report
from pytest_jux.verifier import Trust, verify_report

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="modes and links of POSIX"),
    pytest.mark.usefixtures("clean_environment"),
]
EC = ("--type", "ecdsa")


@pytest.fixture
def keygen(tmp_path, monkeypatch, capsys):
    """Return a function that runs the command and gives its exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def run(*arguments):
        code = _cli.run(command, [str(argument) for argument in arguments], "jux-keygen")
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return run


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


# --- what is made ----------------------------------------------------------------------------------------------------


def test_the_default_is_an_rsa_key_of_3072_bits_in_the_users_directory(keygen, tmp_path):
    code, out, err = keygen()
    path = tmp_path / "home" / ".jux" / "signing_key.pem"
    assert (code, out, err) == (0, f"✓ Private key: {path} (RSA 3072)\n", "")
    assert load_private_key(path).key_size == 3072
    assert [file.name for file in path.parent.iterdir()] == ["signing_key.pem"]


@pytest.mark.parametrize(
    ("arguments", "kind", "detail"),
    [
        (["--type", "rsa", "--bits", "2048"], rsa.RSAPrivateKey, lambda key: key.key_size == 2048),
        ([*EC], ec.EllipticCurvePrivateKey, lambda key: key.curve.name == "secp256r1"),
        ([*EC, "--curve", "P-384"], ec.EllipticCurvePrivateKey, lambda key: key.curve.name == "secp384r1"),
        (["--type", "ed25519"], ed25519.Ed25519PrivateKey, lambda _: True),
    ],
)
def test_every_kind_of_key_signs_and_its_certificate_verifies(keygen, tmp_path, real_report, arguments, kind, detail):
    code, out, _ = keygen(*arguments, "--cert", "--output", "key.pem")
    assert code == 0
    assert [line.split(":")[0] for line in out.splitlines()] == ["✓ Private key", "✓ Certificate"]
    key = load_private_key(tmp_path / "key.pem")
    certificate = load_certificate(tmp_path / "key.crt")
    assert isinstance(key, kind)
    assert detail(key)
    assert verify_report(sign_report(real_report, key, certificate), Trust([certificate])).trusted_by


def test_ed25519_says_who_cannot_verify_it(keygen):
    _, _, err = keygen("--type", "ed25519", "--output", "key.pem")
    assert "xmlsec1" in err
    assert "Java" in err


def test_the_certificate_says_what_was_asked_for(keygen, tmp_path):
    arguments = ("--subject", "build-7", "--organization", "Example Ltd", "--days", "30")
    assert keygen(*EC, *arguments, "--cert", "--output", "key.pem")[0] == 0
    certificate = load_certificate(tmp_path / "key.crt")
    names = {attribute.oid: attribute.value for attribute in certificate.subject}
    assert names == {NameOID.COMMON_NAME: "build-7", NameOID.ORGANIZATION_NAME: "Example Ltd"}
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc == dt.timedelta(days=30)
    assert certificate.not_valid_before_utc <= dt.datetime.now(dt.UTC)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert not usage.key_cert_sign


def test_the_machines_name_is_the_default_subject(keygen, tmp_path):
    keygen(*EC, "--cert", "--output", "key.pem")
    (name,) = load_certificate(tmp_path / "key.crt").subject
    assert name.value == os.uname().nodename


def test_the_certificate_can_go_elsewhere(keygen, tmp_path):
    assert keygen(*EC, "--output", "key.pem", "--cert-output", "public/me.pem")[0] == 0
    check_pair(load_private_key(tmp_path / "key.pem"), load_certificate(tmp_path / "public" / "me.pem"))


def test_without_being_asked_there_is_no_certificate(keygen, tmp_path):
    keygen(*EC, "--output", "key.pem")
    assert [path.name for path in tmp_path.iterdir()] == ["key.pem"]


def test_a_tilde_means_home(keygen, tmp_path):
    assert keygen(*EC, "--output", "~/key.pem", "--cert-output", "~/me.crt")[0] == 0
    assert sorted(path.name for path in (tmp_path / "home").iterdir()) == ["key.pem", "me.crt"]


def test_json_says_what_was_made(keygen, tmp_path):
    code, out, err = keygen(*EC, "--subject", "me", "--cert", "--output", tmp_path / "key.pem", "--json")
    made = json.loads(out)
    assert (code, err) == (0, "")
    assert dt.datetime.fromisoformat(made.pop("not_after")) > dt.datetime.now(dt.UTC) + dt.timedelta(days=364)
    paths = {"key": str(tmp_path / "key.pem"), "certificate": str(tmp_path / "key.crt")}
    assert made == {"type": "ECDSA P-256", "subject": "CN=me", **paths}


def test_json_without_a_certificate_has_nulls(keygen):
    _, out, _ = keygen(*EC, "--output", "key.pem", "--json")
    assert json.loads(out) == {
        "type": "ECDSA P-256",
        "key": "key.pem",
        "certificate": None,
        "subject": None,
        "not_after": None,
    }


# --- other people's tools --------------------------------------------------------------------------------------------


@pytest.fixture
def made(keygen, tmp_path):
    assert keygen(*EC, "--cert", "--output", "key.pem")[0] == 0
    return tmp_path


def program(name):
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def test_xmlsec1_accepts_the_certificate_as_a_trust_anchor(made, real_report):
    signed = sign_report(real_report, load_private_key(made / "key.pem"), load_certificate(made / "key.crt"))
    (made / "signed.xml").write_bytes(signed)
    command = [program("xmlsec1"), "--verify", "--enabled-key-data", "x509", "--trusted-pem", "key.crt", "signed.xml"]
    done = subprocess.run(command, cwd=made, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_openssl_verifies_the_certificate_against_itself(made):
    command = [program("openssl"), "verify", "-check_ss_sig", "-CAfile", "key.crt", "key.crt"]
    done = subprocess.run(command, cwd=made, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "key.crt: OK\n"), done.stderr


def test_openssl_reads_the_key(made):
    command = [program("openssl"), "pkey", "-in", "key.pem", "-noout", "-check"]
    done = subprocess.run(command, cwd=made, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- rights ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_key_is_its_owners_alone_whatever_the_umask(keygen, tmp_path, umask):
    before = os.umask(umask)
    try:
        keygen(*EC, "--cert", "--output", "new/key.pem")
    finally:
        os.umask(before)
    modes = {path.name: mode_of(path) for path in (tmp_path / "new", *(tmp_path / "new").iterdir())}
    assert modes == {"new": 0o700, "key.pem": 0o600, "key.crt": 0o644}


def test_the_key_is_private_from_its_first_byte(keygen, monkeypatch):
    seen = []
    write = os.write

    def watch(descriptor, data):
        if b"PRIVATE KEY" in bytes(data):
            seen.append(mode_of_descriptor(descriptor))
        return write(descriptor, data)

    def mode_of_descriptor(descriptor):
        return stat.S_IMODE(os.fstat(descriptor).st_mode)

    monkeypatch.setattr(os, "write", watch)
    before = os.umask(0)
    try:
        keygen(*EC, "--output", "key.pem")
    finally:
        os.umask(before)
    assert seen == [0o600]


def test_a_key_that_replaces_a_readable_file_is_private(keygen, tmp_path):
    (tmp_path / "key.pem").write_text("old")
    (tmp_path / "key.pem").chmod(0o666)
    assert keygen(*EC, "--output", "key.pem", "--force")[0] == 0
    assert mode_of(tmp_path / "key.pem") == 0o600


def test_a_directory_that_is_there_keeps_its_mode(keygen, tmp_path):
    (tmp_path / "keys").mkdir(mode=0o755)
    keygen(*EC, "--output", "keys/key.pem")
    assert mode_of(tmp_path / "keys") == 0o755


# --- nothing is overwritten ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("existing", ["key.pem", "key.crt"])
def test_an_existing_file_is_kept_and_nothing_else_is_made(keygen, tmp_path, existing):
    (tmp_path / existing).write_text("precious")
    code, out, err = keygen(*EC, "--cert", "--output", "key.pem")
    assert (code, out) == (1, "")
    assert err.splitlines()[0] == f"jux-keygen: cannot write {existing}: it exists already"
    assert "--force" in err.splitlines()[1]
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {existing: "precious"}


@pytest.mark.parametrize("existing", ["key.pem", "key.crt"])
def test_a_dangling_link_counts_as_existing(keygen, tmp_path, existing):
    (tmp_path / existing).symlink_to("elsewhere")
    assert keygen(*EC, "--cert", "--output", "key.pem")[0] == 1
    assert [path.name for path in tmp_path.iterdir()] == [existing]


def test_force_overwrites(keygen, tmp_path):
    for name in ("key.pem", "key.crt"):
        (tmp_path / name).write_text("old")
    assert keygen(*EC, "--cert", "--output", "key.pem", "--force")[0] == 0
    check_pair(load_private_key(tmp_path / "key.pem"), load_certificate(tmp_path / "key.crt"))


def test_force_replaces_a_link_and_not_its_target(keygen, tmp_path):
    (tmp_path / "target").write_text("precious")
    (tmp_path / "key.pem").symlink_to("target")
    assert keygen(*EC, "--output", "key.pem", "--force")[0] == 0
    assert (tmp_path / "target").read_text() == "precious"
    assert not (tmp_path / "key.pem").is_symlink()


@pytest.mark.parametrize("late", ["key.pem", "key.crt"])
def test_a_file_that_appears_meanwhile_is_kept(keygen, tmp_path, monkeypatch, late):
    link = os.link

    def appear(source, target, **keywords):
        if str(target).endswith(late):
            (tmp_path / late).write_text("precious")
        link(source, target, **keywords)

    monkeypatch.setattr(os, "link", appear)
    code, _, err = keygen(*EC, "--cert", "--output", "key.pem")
    assert (code, err) == (1, f"jux-keygen: cannot write {late}: file exists\n")
    assert (tmp_path / late).read_text() == "precious"
    assert not [*tmp_path.glob(".jux-*")]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--output", "same.crt", "--cert"],
        ["--output", "same.pem", "--cert-output", "same.pem"],
        ["--output", "same.pem", "--cert-output", "./sub/../same.pem"],
        ["--output", "same.pem", "--cert-output", "link.crt"],
        ["--output", "same.pem", "--cert-output", "linked/same.pem"],
    ],
)
@pytest.mark.parametrize("force", [[], ["--force"]])
def test_key_and_certificate_are_never_the_same_file(keygen, tmp_path, arguments, force):
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.crt").symlink_to("same.pem")
    (tmp_path / "linked").symlink_to(".")
    code, _, err = keygen(*EC, *arguments, *force)
    assert code == 64
    assert "key and certificate cannot both be same." in err
    assert not (tmp_path / "same.pem").exists()
    assert not (tmp_path / "same.crt").exists()


# --- failures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--type", "dsa"], "'dsa' is not one of"),
        (["--bits", "1024"], "1024 is not in the range"),
        (["--bits", "many"], "'many' is not a valid integer"),
        (["--bits", "2048", *EC], "--bits goes with --type rsa, not with --type ecdsa"),
        (["--curve", "P-256"], "--curve goes with --type ecdsa, not with --type rsa"),
        (["--curve", "P-521", *EC], "'P-521' is not one of"),
        (["--days", "0"], "0 is not in the range"),
        (["--days", "999999"], "999999 is not in the range"),
        (["--colour"], "No such option"),
        (["surplus"], "unexpected extra argument"),
        (["--output"], "requires an argument"),
    ],
)
def test_a_wrong_option_is_a_usage_error(keygen, tmp_path, arguments, sentence):
    code, out, err = keygen(*arguments)
    assert (code, out) == (64, "")
    assert sentence in err
    assert "See jux-keygen --help." in err
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--cert", "--subject", "x" * 65],
        ["--cert", "--subject", "x\udcff"],
        ["--cert-output", "file/me.crt"],
    ],
    ids=["long subject", "undecodable subject", "impossible place"],
)
def test_when_the_certificate_cannot_be_made_there_is_no_key_either(keygen, tmp_path, arguments):
    (tmp_path / "file").write_text("in the way")
    code, _, err = keygen(*EC, "--output", "key.pem", *arguments)
    assert code in {1, 64}
    assert len(err.splitlines()) <= 2
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_place_that_cannot_be_written_is_one_sentence(keygen, tmp_path):
    (tmp_path / "file").write_text("in the way")
    code, _, err = keygen(*EC, "--output", "file/key.pem")
    assert (code, err) == (1, "jux-keygen: cannot write file/key.pem: file exists\n")


@pytest.mark.parametrize("cert", [[], ["--cert"]])
@pytest.mark.parametrize("name", [".", "/", "keys"])
def test_a_directory_in_place_of_the_key_is_one_sentence(keygen, tmp_path, cert, name):
    (tmp_path / "keys").mkdir()
    code, _, err = keygen(*EC, "--output", name, *cert)
    assert code in {1, 64}
    assert len(err.splitlines()) <= 2
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]


def test_a_user_who_does_not_exist_is_one_sentence(keygen):
    code, _, err = keygen(*EC, "--output", "~no-such-user/key.pem")
    assert code in {1, 64}
    assert len(err.splitlines()) <= 2


def test_a_link_that_leads_to_itself_is_one_sentence(keygen, tmp_path):
    (tmp_path / "key.crt").symlink_to("key.crt")
    code, _, err = keygen(*EC, "--output", "key.pem", "--cert")
    assert code in {1, 64}
    assert len(err.splitlines()) <= 2
    assert not (tmp_path / "key.pem").exists()


# --- passphrases -----------------------------------------------------------------------------------------------------


def test_a_passphrase_from_the_environment_encrypts_the_key(keygen, tmp_path, monkeypatch):
    monkeypatch.setenv("PHRASE", "correct horse")
    assert keygen(*EC, "--output", "key.pem", "--passphrase-env", "PHRASE")[0] == 0
    assert b"ENCRYPTED PRIVATE KEY" in (tmp_path / "key.pem").read_bytes()
    assert load_private_key(tmp_path / "key.pem", b"correct horse")
    with pytest.raises(PassphraseWrong):
        load_private_key(tmp_path / "key.pem", b"wrong horse")


def test_a_passphrase_from_a_file_encrypts_the_key(keygen, tmp_path):
    (tmp_path / "phrase").write_text("correct horse\n")
    assert keygen(*EC, "--output", "key.pem", "--passphrase-file", "phrase")[0] == 0
    assert load_private_key(tmp_path / "key.pem", b"correct horse")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--passphrase-env", "NOT_SET"], 1),
        (["--passphrase-file", "none"], 1),
        (["--passphrase-file", "empty"], 1),
    ],
)
def test_a_passphrase_that_is_not_there_makes_no_unencrypted_key(keygen, tmp_path, arguments, code):
    (tmp_path / "empty").write_text("\n")
    assert keygen(*EC, "--output", "key.pem", *arguments)[0] == code
    assert not (tmp_path / "key.pem").exists()


def test_encrypt_asks_twice_and_does_not_show_what_is_typed(tmp_path):
    result = CliRunner().invoke(
        command, [*EC, "--encrypt", "--output", str(tmp_path / "key.pem")], input="correct horse\ncorrect horse\n"
    )
    assert result.exit_code == 0
    assert "correct horse" not in result.output
    assert "Passphrase" not in result.stdout
    assert load_private_key(tmp_path / "key.pem", b"correct horse")


def test_encrypt_asks_again_when_the_two_differ(tmp_path):
    typed = "correct horse\nwrong horse\nbattery\nbattery\n"
    CliRunner().invoke(command, [*EC, "--encrypt", "--output", str(tmp_path / "key.pem")], input=typed)
    assert load_private_key(tmp_path / "key.pem", b"battery")


def test_encrypt_without_anybody_to_ask_makes_no_key(tmp_path):
    command = [sys.executable, "-c", "from pytest_jux.commands.keygen import main; main()", *EC, "--encrypt"]
    command += ["--output", "key.pem"]
    done = subprocess.run(  # a session of its own, so that there is no terminal to ask on
        command, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, start_new_session=True, check=False
    )
    assert done.returncode == 64
    assert b"--encrypt asks on a terminal" in done.stderr
    assert b"Traceback" not in done.stderr
    assert not [*tmp_path.iterdir()]
