"""Keys and certificates of the attack corpus, made when they are first asked for and never written anywhere.

Every certificate is valid in 2026 unless its name says otherwise, and every trust judges dates at NOW.
"""

from __future__ import annotations

import datetime as dt
import functools
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.x509.oid import NameOID

from pytest_jux.verifier import Trust

NOW = dt.datetime(2026, 3, 1, 12, 0, tzinfo=dt.UTC)
NOT_BEFORE = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
NOT_AFTER = dt.datetime(2026, 12, 31, 23, 59, 59, tzinfo=dt.UTC)

_CURVES = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1(), "k256": ec.SECP256K1()}


@dataclass(frozen=True)
class Signer:
    """Someone who signs: a private key, the certificate for it, and what else goes into KeyInfo."""

    key: Any
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...] = ()


@functools.cache
def key(name: str) -> Any:
    """Return the key of this name, such as `rsa2048`, `p256` or `p256/second`; the same one every time."""
    kind = name.partition("/")[0]
    if kind.startswith("rsa"):
        return rsa.generate_private_key(public_exponent=65537, key_size=int(kind.removeprefix("rsa")))
    if kind in _CURVES:
        return ec.generate_private_key(_CURVES[kind])
    if kind == "dsa":
        return dsa.generate_private_key(2048)
    return {"ed25519": ed25519.Ed25519PrivateKey, "ed448": ed448.Ed448PrivateKey}[kind].generate()


def usage(*allowed: str) -> x509.KeyUsage:
    """Return a KeyUsage extension that allows these things alone."""
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: name in allowed for name in names})


SIGNING = usage("digital_signature")


def certify(
    subject: str,
    public_key: Any,
    *,
    issuer: Signer | None = None,
    own_key: Any = None,
    not_before: dt.datetime = NOT_BEFORE,
    not_after: dt.datetime = NOT_AFTER,
    key_usage: x509.KeyUsage | None = SIGNING,
    ca: bool = False,
    path_length: int | None = None,
    critical: bool = False,
) -> x509.Certificate:
    """Return a certificate for `public_key`, signed by `issuer`, or by `own_key` for a self-signed one."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    signing_key = issuer.key if issuer else own_key
    issuer_public = signing_key.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.certificate.subject if issuer else name)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_public), critical=False)
    )
    if critical:
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
        builder = builder.add_extension(unknown, critical=True)
    if key_usage is not None:
        builder = builder.add_extension(key_usage, critical=True)
    edwards = isinstance(signing_key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    return builder.sign(signing_key, None if edwards else hashes.SHA256())


def self_signed(subject: str, key_name: str, **options: Any) -> Signer:
    """Return a signer with a self-signed certificate."""
    own = key(key_name)
    return Signer(own, certify(subject, own.public_key(), own_key=own, **options))


def issued(subject: str, key_name: str, issuer: Signer, **options: Any) -> Signer:
    """Return a signer whose certificate `issuer` made; an intermediate issuer's goes into KeyInfo."""
    own = key(key_name)
    chain = () if issuer.certificate.issuer == issuer.certificate.subject else (issuer.certificate, *issuer.chain)
    return Signer(own, certify(subject, own.public_key(), issuer=issuer, **options), chain)


LONG_AGO = {"not_before": dt.datetime(2024, 1, 1, tzinfo=dt.UTC), "not_after": dt.datetime(2025, 1, 1, tzinfo=dt.UTC)}
LATER = {"not_before": dt.datetime(2026, 6, 1, tzinfo=dt.UTC), "not_after": dt.datetime(2027, 6, 1, tzinfo=dt.UTC)}
_AUTHORITY = {"ca": True, "key_usage": usage("key_cert_sign", "crl_sign")}
_SIGNERS = {
    "build": lambda: self_signed("build-7", "rsa2048"),
    "renewed": lambda: self_signed("build-7 renewed", "rsa2048"),
    "imposter": lambda: self_signed("build-7", "rsa2048/imposter"),
    "stranger": lambda: self_signed("stranger", "p256/stranger"),
    "rsa1024": lambda: self_signed("small", "rsa1024"),
    "rsa3072": lambda: self_signed("rsa 3072", "rsa3072"),
    "p256": lambda: self_signed("p256", "p256"),
    "p384": lambda: self_signed("p384", "p384"),
    "p521": lambda: self_signed("p521", "p521"),
    "k256": lambda: self_signed("k256", "k256"),
    "ed25519": lambda: self_signed("ed25519", "ed25519"),
    "ed448": lambda: self_signed("ed448", "ed448"),
    "dsa": lambda: self_signed("dsa", "dsa"),
    "expired": lambda: self_signed("expired", "p256/expired", **LONG_AGO),
    "future": lambda: self_signed("future", "p256/future", **LATER),
    "no usage": lambda: self_signed("no usage", "p256/no usage", key_usage=None),
    "wrong usage": lambda: self_signed("wrong usage", "p256/wrong usage", key_usage=usage("key_encipherment")),
    "commitment": lambda: self_signed("commitment", "p256/commitment", key_usage=usage("content_commitment")),
    "ca": lambda: self_signed("Example CA", "p256/ca", **_AUTHORITY),
    "other ca": lambda: self_signed("Example CA", "p256/other ca", **_AUTHORITY),
    "leaf": lambda: issued("leaf", "p256/leaf", signer("ca")),
    "rsa leaf": lambda: issued("rsa leaf", "rsa2048", signer("ca")),
    "expired leaf": lambda: issued("expired leaf", "p256/expired leaf", signer("ca"), **LONG_AGO),
    "future leaf": lambda: issued("future leaf", "p256/future leaf", signer("ca"), **LATER),
    "no usage leaf": lambda: issued("no usage leaf", "p256/no usage leaf", signer("ca"), key_usage=None),
    "wrong usage leaf": lambda: issued(
        "wrong usage leaf", "p256/wrong usage leaf", signer("ca"), key_usage=usage("key_agreement")
    ),
    "commitment leaf": lambda: issued(
        "commitment leaf", "p256/commitment leaf", signer("ca"), key_usage=usage("content_commitment")
    ),
    "other leaf": lambda: issued("leaf", "p256/other leaf", signer("other ca")),
    "leaf of leaf": lambda: issued("leaf of leaf", "p256/leaf of leaf", signer("leaf")),
    "intermediate": lambda: issued("Example Intermediate", "p256/intermediate", signer("ca"), **_AUTHORITY),
    "intermediate leaf": lambda: issued("intermediate leaf", "p256/intermediate leaf", signer("intermediate")),
    "expired intermediate": lambda: issued(
        "Expired Intermediate", "p256/expired intermediate", signer("ca"), **_AUTHORITY, **LONG_AGO
    ),
    "leaf of expired": lambda: issued("leaf of expired", "p256/leaf of expired", signer("expired intermediate")),
    "ca of signatures": lambda: issued("CA of signatures", "p256/ca of signatures", signer("ca"), ca=True),
    "leaf of signer": lambda: issued("leaf of signer", "p256/leaf of signer", signer("ca of signatures")),
    "short ca": lambda: issued("Short CA", "p256/short ca", signer("ca"), **_AUTHORITY, path_length=0),
    "deep ca": lambda: issued("Deep CA", "p256/deep ca", signer("short ca"), **_AUTHORITY),
    "leaf too deep": lambda: issued("leaf too deep", "p256/leaf too deep", signer("deep ca")),
    "critical leaf": lambda: issued("critical leaf", "p256/critical leaf", signer("ca"), critical=True),
    "forged": lambda: Signer(  # the real certificate, somebody else's key
        key("rsa2048/imposter"), signer("build").certificate
    ),
}


@functools.cache
def signer(name: str) -> Signer:
    """Return the signer of this name; the same one every time."""
    return _SIGNERS[name]()


def pinned(*names: str, at: dt.datetime | None = NOW) -> Trust:
    """Return trust in the certificates of these signers."""
    return Trust(certificates=[signer(name).certificate for name in names], at=at)


def authorities(*names: str, at: dt.datetime | None = NOW) -> Trust:
    """Return trust in the holders of these authorities' certificates."""
    return Trust(authorities=[signer(name).certificate for name in names], at=at)
