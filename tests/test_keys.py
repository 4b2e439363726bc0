"""Private keys and certificates: loaded, made, described, and refused with a reason."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from attacks.material import NOT_AFTER, NOT_BEFORE, NOW, Signer, certify, key, signer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from pytest_jux import keys
from pytest_jux.errors import (
    CertificateUnreadable,
    KeyMismatch,
    KeyUnreadable,
    KeyUnsuitable,
    PassphraseRequired,
    PassphraseWrong,
)

if TYPE_CHECKING:
    from pathlib import Path

PEM = serialization.Encoding.PEM
PKCS8 = serialization.PrivateFormat.PKCS8
TRADITIONAL = serialization.PrivateFormat.TraditionalOpenSSL
NO_PASSPHRASE = serialization.NoEncryption()
SECRET = serialization.BestAvailableEncryption(b"secret")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.pem"


# --- private keys ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rsa2048", "rsa3072", "p256", "p384", "ed25519"])
def test_keys_are_loaded_as_they_were_written(file: Path, name: str) -> None:
    file.write_bytes(keys.private_key_pem(key(name)))
    assert keys.load_private_key(file).public_key() == key(name).public_key()
    assert keys.load_private_key(str(file), b"needless").public_key() == key(name).public_key()


@pytest.mark.parametrize("name", ["rsa2048", "p256"])
def test_older_forms_are_loaded(file: Path, name: str) -> None:
    file.write_bytes(key(name).private_bytes(PEM, TRADITIONAL, NO_PASSPHRASE))
    assert keys.load_private_key(file).public_key() == key(name).public_key()


@pytest.mark.parametrize("name", ["rsa2048", "p384", "ed25519"])
def test_encrypted_keys_need_their_passphrase(file: Path, name: str) -> None:
    file.write_bytes(keys.private_key_pem(key(name), b"secret"))
    assert b"ENCRYPTED" in file.read_bytes()
    assert keys.load_private_key(file, b"secret").public_key() == key(name).public_key()
    with pytest.raises(PassphraseRequired) as missing:
        keys.load_private_key(file)
    expected = f"cannot read the private key {file}: it is encrypted and no passphrase was given"
    assert str(missing.value) == expected
    with pytest.raises(PassphraseWrong) as wrong:
        keys.load_private_key(file, b"guess")
    assert str(wrong.value) == f"cannot read the private key {file}: the passphrase is wrong"


def test_encrypted_keys_of_the_older_form_need_their_passphrase(file: Path) -> None:
    file.write_bytes(key("p256").private_bytes(PEM, TRADITIONAL, SECRET))
    assert keys.load_private_key(file, b"secret").public_key() == key("p256").public_key()
    with pytest.raises(PassphraseRequired):
        keys.load_private_key(file)
    with pytest.raises(PassphraseWrong):
        keys.load_private_key(file, b"guess")


def test_an_empty_passphrase_does_not_encrypt(file: Path) -> None:
    file.write_bytes(keys.private_key_pem(key("p256"), b""))
    assert keys.load_private_key(file)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b"hello", "there is no PEM private key in it"),
        (b"-----BEGIN CERTIFICATE-----\n", "it holds a certificate, not a key"),
        (b"x" * 1_000_001, "it is larger than any key or certificate"),
        (b"x" * 1_000_000, "there is no PEM private key in it"),
    ],
)
def test_what_is_no_private_key_is_refused(file: Path, data: bytes, reason: str) -> None:
    file.write_bytes(data)
    with pytest.raises(KeyUnreadable) as caught:
        keys.load_private_key(file)
    assert str(caught.value) == f"cannot read the private key {file}: {reason}"
    assert (caught.value.path, caught.value.reason) == (file, reason)


@pytest.mark.parametrize("passphrase", [None, b"secret"])
def test_a_damaged_key_is_refused(file: Path, passphrase: bytes | None) -> None:
    file.write_bytes(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    with pytest.raises(KeyUnreadable, match=r": it is damaged or of an unknown kind \(.+\)$") as caught:
        keys.load_private_key(file, passphrase)
    assert type(caught.value) is KeyUnreadable
    assert str(caught.value).isprintable()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyUnreadable) as caught:
        keys.load_private_key(tmp_path / "none.pem")
    assert str(caught.value) == f"cannot read the private key {tmp_path / 'none.pem'}: no such file or directory"
    with pytest.raises(KeyUnreadable, match="is a directory"):
        keys.load_private_key(tmp_path)


def test_a_file_that_may_not_be_read_is_named(file: Path, without_root_rights: list[str]) -> None:
    file.write_bytes(b"x")
    file.chmod(0)
    code = f"from pytest_jux import keys; keys.load_private_key({str(file)!r})"
    done = subprocess.run(
        [*without_root_rights, sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stderr.splitlines()[-1].endswith(f"cannot read the private key {file}: permission denied")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("rsa1024", "RSA with 1024 bits; at least 2048 are needed"),
        ("p521", "the curve secp521r1; P-256 and P-384 are used"),
        ("k256", "the curve secp256k1; P-256 and P-384 are used"),
        ("ed448", "it is of the kind Ed448"),
        ("dsa", "it is of the kind DSA"),
    ],
)
def test_keys_that_do_not_sign_reports_are_refused(file: Path, name: str, reason: str) -> None:
    file.write_bytes(key(name).private_bytes(PEM, PKCS8, NO_PASSPHRASE))
    with pytest.raises(KeyUnsuitable) as caught:
        keys.load_private_key(file)
    assert str(caught.value) == f"this key cannot sign reports: {reason}"
    assert caught.value.hint == "Make a key with jux-keygen."


@pytest.mark.parametrize(
    ("name", "description"),
    [
        ("rsa2048", "RSA 2048"),
        ("p256", "ECDSA P-256"),
        ("p384", "ECDSA P-384"),
        ("p521", "ECDSA secp521r1"),
        ("ed25519", "Ed25519"),
    ],
)
def test_keys_are_described(name: str, description: str) -> None:
    assert keys.describe(key(name)) == description


# --- new keys --------------------------------------------------------------------------------------------------------


def test_new_rsa_keys_have_3072_bits_unless_asked() -> None:
    default = keys.generate_private_key("rsa")
    assert (default.key_size, default.public_key().public_numbers().e) == (3072, 65537)
    assert keys.generate_private_key("rsa", bits=2048).key_size == 2048


@pytest.mark.parametrize("bits", [0, 1024, 2047, 16385])
def test_rsa_keys_of_other_sizes_are_not_made(bits: int) -> None:
    with pytest.raises(KeyUnsuitable) as caught:
        keys.generate_private_key("rsa", bits=bits)
    assert caught.value.reason == f"RSA with {bits} bits; 2048 to 16384 are possible"


def test_the_largest_rsa_key_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, int]] = []
    monkeypatch.setattr(rsa, "generate_private_key", lambda **options: asked.append(options))
    keys.generate_private_key("rsa", bits=16384)
    assert asked == [{"public_exponent": 65537, "key_size": 16384}]


def test_new_elliptic_keys_are_on_the_curve_asked_for() -> None:
    assert isinstance(keys.generate_private_key("ecdsa").curve, ec.SECP256R1)
    assert isinstance(keys.generate_private_key("ecdsa", curve="P-384").curve, ec.SECP384R1)
    assert isinstance(keys.generate_private_key("ed25519"), ed25519.Ed25519PrivateKey)


@pytest.mark.parametrize(
    ("kind", "curve", "reason"),
    [
        ("ecdsa", "P-521", "the curve P-521; P-256 and P-384 are used"),
        ("dsa", "P-256", "the kind dsa; rsa, ecdsa and ed25519 are used"),
    ],
)
def test_other_kinds_of_keys_are_not_made(kind: str, curve: str, reason: str) -> None:
    with pytest.raises(KeyUnsuitable) as caught:
        keys.generate_private_key(kind, curve=curve)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("name", "digest"), [("rsa2048", "sha256"), ("p256", "sha256"), ("p384", "sha384"), ("p521", "sha256")]
)
def test_the_digest_goes_with_the_key(name: str, digest: str) -> None:
    assert keys.hash_for(key(name)).name == digest
    assert keys.hash_for(key("ed25519")) is None


# --- certificates ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "digest"), [("rsa2048", "sha256"), ("p256", "sha256"), ("p384", "sha384"), ("ed25519", None)]
)
def test_a_certificate_of_ones_own_is_for_digital_signatures_only(name: str, digest: str | None) -> None:
    made = keys.self_signed_certificate(key(name), "build-7", organization="Example", days=30, now=NOW)
    assert keys.subject_of(made) == "O=Example,CN=build-7"
    assert made.issuer == made.subject
    assert keys.validity_of(made) == keys.Validity(NOW, NOW + dt.timedelta(days=30))
    usage = made.extensions.get_extension_for_class(x509.KeyUsage)
    allowed = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment")
    assert [getattr(usage.value, field) for field in allowed] == [True, False, False, False]
    assert (usage.value.key_agreement, usage.value.key_cert_sign, usage.value.crl_sign) == (False, False, False)
    assert usage.critical
    constraints = made.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.value.ca, constraints.value.path_length, constraints.critical) == (False, None, True)
    subject_id = made.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    authority_id = made.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    assert subject_id.value.digest == authority_id.value.key_identifier
    assert not subject_id.critical
    assert not authority_id.critical
    assert (made.signature_hash_algorithm.name if made.signature_hash_algorithm else None) == digest
    made.verify_directly_issued_by(made)


def test_a_certificate_is_valid_for_a_year_from_five_minutes_ago() -> None:
    before = dt.datetime.now(dt.UTC).replace(microsecond=0)
    made = keys.self_signed_certificate(key("p256"), "build-7")
    validity = keys.validity_of(made)
    assert before <= validity.not_before + dt.timedelta(minutes=5) <= dt.datetime.now(dt.UTC)
    assert validity.not_after - validity.not_before == dt.timedelta(days=365)
    assert keys.subject_of(made) == "CN=build-7"


def test_serial_numbers_differ() -> None:
    assert len({keys.self_signed_certificate(key("p256"), "x").serial_number for _ in range(3)}) == 3


@pytest.mark.parametrize("encoding", [serialization.Encoding.PEM, serialization.Encoding.DER])
def test_a_certificate_is_loaded_from_either_form(file: Path, encoding: serialization.Encoding) -> None:
    file.write_bytes(signer("build").certificate.public_bytes(encoding))
    assert keys.load_certificate(file) == signer("build").certificate
    assert keys.load_certificates(file) == [signer("build").certificate]


def test_all_certificates_of_a_file_are_loaded_in_order(file: Path) -> None:
    wanted = [signer(name).certificate for name in ("leaf", "intermediate", "ca")]
    file.write_bytes(b"some text\n" + b"".join(keys.certificate_pem(one) for one in wanted))
    assert keys.load_certificates(file) == wanted
    assert keys.load_certificate(file) == wanted[0]


def test_all_certificates_of_a_directory_are_loaded(tmp_path: Path) -> None:
    for name, who in (("c.pem", "build"), ("a.CRT", "leaf"), ("b.cer", "ca")):
        (tmp_path / name).write_bytes(keys.certificate_pem(signer(who).certificate))
    (tmp_path / "d.txt").write_text("not looked at")
    (tmp_path / "key.pem").write_bytes(keys.private_key_pem(key("p256")))
    assert keys.load_certificates(tmp_path) == [signer(who).certificate for who in ("leaf", "ca", "build")]


def test_a_directory_without_certificates_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(keys.private_key_pem(key("p256")))
    with pytest.raises(CertificateUnreadable) as caught:
        keys.load_certificates(tmp_path)
    reason = "there is no certificate (*.pem, *.crt, *.cer) in this directory"
    assert str(caught.value) == f"cannot read the certificate {tmp_path}: {reason}"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it is empty"),
        (b"-----BEGIN PRIVATE KEY-----\n", "it holds a key, not a certificate"),
        (b"x" * 1_000_001, "it is larger than any key or certificate"),
    ],
)
def test_what_is_no_certificate_is_refused(file: Path, data: bytes, reason: str) -> None:
    file.write_bytes(data)
    with pytest.raises(CertificateUnreadable) as caught:
        keys.load_certificate(file)
    assert (caught.value.path, caught.value.reason) == (file, reason)


@pytest.mark.parametrize("data", [b"x", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_damaged_certificate_is_refused(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    with pytest.raises(CertificateUnreadable, match=r": there is no certificate in it \(.+\)$"):
        keys.load_certificate(file)


def test_a_certificate_of_an_unknown_version_is_refused(file: Path) -> None:
    der = signer("build").certificate.public_bytes(serialization.Encoding.DER)
    file.write_bytes(der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05", 1))
    with pytest.raises(CertificateUnreadable):
        keys.load_certificate(file)


def test_a_missing_certificate_is_named(tmp_path: Path) -> None:
    with pytest.raises(CertificateUnreadable, match=r"none\.pem: no such file or directory$"):
        keys.load_certificates(tmp_path / "none.pem")


@pytest.mark.parametrize("name", ["build", "p256", "p384", "p521", "ed25519"])
def test_the_key_of_a_certificate_is_known(name: str) -> None:
    assert keys.public_key_of(signer(name).certificate) == signer(name).key.public_key()


@pytest.mark.parametrize("name", ["ed448", "dsa"])
def test_other_keys_of_certificates_are_none(name: str) -> None:
    assert keys.public_key_of(signer(name).certificate) is None


def test_a_damaged_key_in_a_certificate_is_none() -> None:
    der = signer("p256").certificate.public_bytes(serialization.Encoding.DER)
    point = (
        key("p256").public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    )
    damaged = x509.load_der_x509_certificate(der.replace(point, point[:-1] + bytes([point[-1] ^ 1])))
    assert keys.public_key_of(damaged) is None


def test_a_pair_fits_or_is_refused() -> None:
    keys.check_pair(key("p256"), signer("p256").certificate)
    with pytest.raises(KeyMismatch) as caught:
        keys.check_pair(key("p384"), signer("p256").certificate)
    assert str(caught.value) == "the certificate CN=p256 does not belong to the private key"
    assert caught.value.certificate == "CN=p256"
    with pytest.raises(KeyMismatch):
        keys.check_pair(key("p256"), signer("ed448").certificate)


def named(*attributes: tuple[x509.ObjectIdentifier, str]) -> x509.Certificate:
    own = key("p256")
    name = x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(own.public_key())
    return made.serial_number(1).not_valid_before(NOT_BEFORE).not_valid_after(NOT_AFTER).sign(own, hashes.SHA256())


def test_subjects_are_written_as_in_rfc_4514() -> None:
    assert keys.subject_of(named((NameOID.ORGANIZATION_NAME, "A, B"), (NameOID.COMMON_NAME, "c"))) == "CN=c,O=A\\, B"
    assert keys.subject_of(named()) == "(no subject)"


def test_an_unreadable_subject_is_said_to_be_one() -> None:
    der = named((NameOID.COMMON_NAME, "readable")).public_bytes(serialization.Encoding.DER)
    broken = x509.load_der_x509_certificate(der.replace(b"readable", b"re\xff\xffable"))
    assert keys.subject_of(broken) == "(unreadable subject)"


def test_a_validity_contains_both_its_ends() -> None:
    validity = keys.validity_of(signer("build").certificate)
    second = dt.timedelta(seconds=1)
    assert validity == (NOT_BEFORE, NOT_AFTER)
    assert [validity.contains(at) for at in (NOT_BEFORE - second, NOT_BEFORE, NOW, NOT_AFTER, NOT_AFTER + second)] == [
        False,
        True,
        True,
        True,
        False,
    ]


def test_the_test_material_makes_pairs() -> None:
    own = key("p256")
    assert Signer(own, certify("x", own.public_key(), own_key=own)).chain == ()
