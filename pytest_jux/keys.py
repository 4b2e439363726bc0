"""Private keys and certificates: load them, make them, say what they are. Files are read here and written elsewhere."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from pytest_jux.errors import (
    CertificateUnreadable,
    FileProblem,
    KeyMismatch,
    KeyUnreadable,
    KeyUnsuitable,
    PassphraseRequired,
    PassphraseWrong,
)
from pytest_jux.files import read_file

if TYPE_CHECKING:
    import os

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

MINIMUM_RSA_BITS = 2048
CURVES: dict[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1()}
_MAXIMUM_FILE = 1_000_000  # bytes; no key or certificate comes near


class Validity(NamedTuple):
    """From when until when a certificate is valid, both in UTC and inclusive."""

    not_before: dt.datetime
    not_after: dt.datetime

    def contains(self, time: dt.datetime) -> bool:
        """Tell whether the certificate is valid at `time` (aware)."""
        return self.not_before <= time <= self.not_after


def load_private_key(path: str | os.PathLike[str], passphrase: bytes | None = None) -> PrivateKey:
    """Return the private key in a PEM file (PKCS#8, PKCS#1 or SEC 1), if it is one that signs reports.

    Raises:
        KeyUnreadable: there is no such file, or no private key in it.
        PassphraseRequired, PassphraseWrong: it is encrypted.
        KeyUnsuitable: RSA under 2048 bits, a curve other than P-256 and P-384, or another kind of key.
    """
    data = _read(path, KeyUnreadable)
    if b"PRIVATE KEY" not in data:
        found = (
            "it holds a certificate, not a key" if b"BEGIN CERTIFICATE" in data else "there is no PEM private key in it"
        )
        raise KeyUnreadable(path, found)
    # `serialization` loads every cipher; those who only verify do not need it.
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    encrypted = b"ENCRYPTED" in data
    try:
        key = load_pem_private_key(data, passphrase if encrypted else None)
    except TypeError:
        raise PassphraseRequired(path) from None
    except (ValueError, UnsupportedAlgorithm) as error:
        if encrypted and passphrase is not None:
            raise PassphraseWrong(path) from None
        raise KeyUnreadable(path, f"it is damaged or of an unknown kind ({_first_line(error)})") from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise KeyUnsuitable(f"it is of the kind {type(key).__name__.removesuffix('PrivateKey')}")
    check_signing_key(key)
    return key


def check_signing_key(key: PrivateKey) -> None:
    """Raise KeyUnsuitable unless reports can be signed with this key so that everyone can verify them."""
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < MINIMUM_RSA_BITS:
        raise KeyUnsuitable(f"RSA with {key.key_size} bits; at least {MINIMUM_RSA_BITS} are needed")
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name not in {c.name for c in CURVES.values()}:
        raise KeyUnsuitable(f"the curve {key.curve.name}; P-256 and P-384 are used")


def load_certificate(path: str | os.PathLike[str]) -> x509.Certificate:
    """Return the first certificate in a PEM or DER file; raises CertificateUnreadable."""
    return load_certificates(path)[0]


def load_certificates(path: str | os.PathLike[str]) -> list[x509.Certificate]:
    """Return all certificates of a PEM or DER file, or of every such file in a directory (*.pem, *.crt, *.cer).

    Raises:
        CertificateUnreadable: nothing is there, or a file holds no certificate.
    """
    if Path(path).is_dir():
        files = sorted(file for file in Path(path).iterdir() if _is_certificate_file(file))
        found = [certificate for file in files for certificate in _load_certificate_file(file, optional=True)]
        if not found:
            raise CertificateUnreadable(path, "there is no certificate (*.pem, *.crt, *.cer) in this directory")
        return found
    return _load_certificate_file(path)


def _is_certificate_file(file: Path) -> bool:
    return file.suffix.lower() in {".pem", ".crt", ".cer"} and file.is_file()


def _load_certificate_file(path: str | os.PathLike[str], *, optional: bool = False) -> list[x509.Certificate]:
    data = _read(path, CertificateUnreadable)
    try:
        if b"-----BEGIN CERTIFICATE-----" in data:
            return x509.load_pem_x509_certificates(data)
        if b"-----BEGIN " in data:
            if optional:
                return []
            raise CertificateUnreadable(path, "it holds a key, not a certificate")
        return [x509.load_der_x509_certificate(data)]
    except (ValueError, x509.InvalidVersion):
        found = "it holds XML, not a certificate" if data.lstrip().startswith(b"<") else "there is no certificate in it"
        raise CertificateUnreadable(path, f"{found} (PEM or DER)") from None


def public_key_of(certificate: x509.Certificate) -> PublicKey | None:
    """Return the certificate's key, or None where it is of a kind that no accepted signature uses."""
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) else None


def check_pair(key: PrivateKey, certificate: x509.Certificate) -> None:
    """Raise KeyMismatch unless the certificate is for this private key."""
    if public_key_of(certificate) != key.public_key():
        raise KeyMismatch(subject_of(certificate))


def subject_of(certificate: x509.Certificate) -> str:
    """Return the subject as RFC 4514 writes it, such as `CN=build-7,O=Example`; "(no subject)" where it is empty."""
    try:
        return certificate.subject.rfc4514_string() or "(no subject)"
    except ValueError:
        return "(unreadable subject)"


def validity_of(certificate: x509.Certificate) -> Validity:
    """Return the certificate's dates."""
    return Validity(certificate.not_valid_before_utc, certificate.not_valid_after_utc)


def describe(key: PrivateKey) -> str:
    """Return the key's kind for people, such as `RSA 3072`."""
    match key:
        case rsa.RSAPrivateKey():
            return f"RSA {key.key_size}"
        case ec.EllipticCurvePrivateKey():
            names = {curve.name: name for name, curve in CURVES.items()}
            return f"ECDSA {names.get(key.curve.name, key.curve.name)}"
    return "Ed25519"


def generate_private_key(kind: str, *, bits: int = 3072, curve: str = "P-256") -> PrivateKey:
    """Return a new key; `kind` is rsa, ecdsa or ed25519, `bits` is for rsa, `curve` for ecdsa.

    Raises:
        KeyUnsuitable: the kind, size or curve is none that signs reports.
    """
    match kind:
        case "rsa":
            if not MINIMUM_RSA_BITS <= bits <= 16384:  # noqa: PLR2004 - cryptography's own upper bound
                raise KeyUnsuitable(f"RSA with {bits} bits; {MINIMUM_RSA_BITS} to 16384 are possible")
            return rsa.generate_private_key(public_exponent=65537, key_size=bits)
        case "ecdsa" if curve in CURVES:
            return ec.generate_private_key(CURVES[curve])
        case "ecdsa":
            raise KeyUnsuitable(f"the curve {curve}; {' and '.join(CURVES)} are used")
        case "ed25519":
            return ed25519.Ed25519PrivateKey.generate()
    raise KeyUnsuitable(f"the kind {kind}; rsa, ecdsa and ed25519 are used")


def self_signed_certificate(
    key: PrivateKey, common_name: str, *, organization: str = "", days: int = 365, now: dt.datetime | None = None
) -> x509.Certificate:
    """Return a certificate for `key`, signed by itself, for digital signatures only (RFC 5280, section 4.2.1.3).

    It is valid from `now` (default: the present, less five minutes for clocks that are behind) for `days` days.
    """
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    name = x509.Name(attributes)
    start = now or dt.datetime.now(dt.UTC).replace(microsecond=0) - dt.timedelta(minutes=5)
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(key, hash_for(key))
    )


def hash_for(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384 | None:
    """Return the digest that goes with the key: SHA-384 for P-384, none for Ed25519, else SHA-256."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return None
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name == CURVES["P-384"].name:
        return hashes.SHA384()
    return hashes.SHA256()


def private_key_pem(key: PrivateKey, passphrase: bytes | None = None) -> bytes:
    """Return the key as PKCS#8 PEM, encrypted when a passphrase is given."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - as in load_private_key

    protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        protection = serialization.BestAvailableEncryption(passphrase)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)


def certificate_pem(certificate: x509.Certificate) -> bytes:
    """Return the certificate as PEM."""
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415 - as in load_private_key

    return certificate.public_bytes(Encoding.PEM)


def _read(path: str | os.PathLike[str], error: type[KeyUnreadable | CertificateUnreadable]) -> bytes:
    try:
        data = read_file(Path(path), _MAXIMUM_FILE)
    except FileProblem as problem:
        raise error(path, problem.reason) from None
    if len(data) > _MAXIMUM_FILE:
        raise error(path, "it is larger than any key or certificate")
    if not data.strip():
        raise error(path, "it is empty")
    return data


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:100]
