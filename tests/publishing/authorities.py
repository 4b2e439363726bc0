"""Certificate authorities and server-side TLS for tests; made anew in each process, trusted by nobody."""

from __future__ import annotations

import functools
import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("127.0.0.1", "::1", "localhost", "api.example.test")


@functools.cache
def authority(name: str) -> trustme.CA:
    """Return the authority of that name."""
    return trustme.CA(organization_name=name)


def server_side(
    *names: str,
    by: str = "our own",
    starts: timedelta = timedelta(days=-1),
    ends: timedelta = timedelta(days=30),
    wants_client: bool = False,
) -> ssl.SSLContext:
    """Return the TLS context of a server whose certificate is for `names`, valid from `starts` to `ends` from now."""
    now = datetime.now(UTC)
    leaf = authority(by).issue_cert(*(names or NAMES), not_before=now + starts, not_after=now + ends)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    if wants_client:
        context.verify_mode = ssl.CERT_REQUIRED
        authority("clients").configure_trust(context)
    return context


def self_signed(address: str) -> ssl.SSLContext:
    """Return the TLS context of a server whose certificate is signed by itself, as `openssl req -x509` makes it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, address)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with trustme.Blob(private + certificate.public_bytes(pem)).tempfile() as path:
        context.load_cert_chain(path)
    return context


@dataclass(frozen=True)
class ClientFiles:
    """A client's certificate with its chain, and its key."""

    cert: Path
    key: Path


def authority_file(directory: Path, by: str = "our own") -> Path:
    """Write an authority's certificate as `jux_api_ca` wants it."""
    path = directory / f"{by.replace(' ', '-')}.pem"
    authority(by).cert_pem.write_to_path(str(path))
    return path


def client_files(directory: Path, by: str = "clients") -> ClientFiles:
    """Write a client's certificate and key."""
    leaf = authority(by).issue_cert("client@example.test")
    files = ClientFiles(directory / "client.crt", directory / "client.key")
    files.cert.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
    leaf.private_key_pem.write_to_path(str(files.key))
    files.key.chmod(0o600)
    return files
