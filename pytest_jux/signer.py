"""From a report's bytes and a key to the same bytes with an enveloped signature inserted.

The profile is fixed (DESIGN: interoperability was tried, not assumed): one Reference to the whole document with the
enveloped-signature transform and Canonical XML 1.0, digest SHA-256; SignedInfo is under Exclusive XML
Canonicalization 1.0.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from pytest_jux.canonicalizer import canonical_digest, signatures, without_signatures
from pytest_jux.document import DEFAULT_LIMITS, child_spans, end_of_root, has_inner_instruction, parse
from pytest_jux.dsig import (
    C14N_1_0,
    DSIG,
    ECDSA_SHA256,
    ECDSA_SHA384,
    ED25519,
    ENVELOPED,
    EXCLUSIVE,
    RSA_SHA256,
    SHA256,
    claimed_certificates,
)
from pytest_jux.errors import AlreadySigned, ReportRefused
from pytest_jux.keys import PrivateKey, check_pair, check_signing_key, hash_for, subject_of

if TYPE_CHECKING:
    from cryptography import x509

    from pytest_jux.document import Limits

# SignedInfo is written in its own canonical form, so that signing needs no second parse.
_SIGNED_INFO = (
    '<ds:SignedInfo{namespace}><ds:CanonicalizationMethod Algorithm="' + EXCLUSIVE + '"></ds:CanonicalizationMethod>'
    '<ds:SignatureMethod Algorithm="{method}"></ds:SignatureMethod><ds:Reference URI=""><ds:Transforms>'
    '<ds:Transform Algorithm="' + ENVELOPED + '"></ds:Transform><ds:Transform Algorithm="' + C14N_1_0 + '">'
    '</ds:Transform></ds:Transforms><ds:DigestMethod Algorithm="' + SHA256 + '"></ds:DigestMethod>'
    "<ds:DigestValue>{digest}</ds:DigestValue></ds:Reference></ds:SignedInfo>"
)
_NAMESPACE = f' xmlns:ds="{DSIG}"'


def sign_report(
    data: bytes,
    key: PrivateKey,
    certificate: x509.Certificate | None = None,
    *,
    replace: bool = False,
    limits: Limits = DEFAULT_LIMITS,
) -> bytes:
    """Return `data` with one `ds:Signature` inserted before the root's end tag and every other byte as it was.

    Args:
        data: a JUnit XML report.
        key: RSA of at least 2048 bits signs with RSA-SHA256, P-256 with ECDSA-SHA256, P-384 with ECDSA-SHA384 (the
            signature value is r and s side by side, RFC 6931 section 2.3.6), Ed25519 as in RFC 9231 section 2.3.12.
        certificate: put into KeyInfo, so that a verifier knows which of its certificates to try.
        replace: take an existing signature out first, instead of refusing.
        limits: refuse what is larger.

    Raises:
        AlreadySigned: and `replace` is not set.
        KeyMismatch, KeyUnsuitable: as the names say.
        ReportError: the report cannot be signed so that it verifies; see `document.parse`.
    """
    check_signing_key(key)
    if certificate is not None:
        check_pair(key, certificate)
    root = parse(data, limits)
    if has_inner_instruction(root, data):
        raise ReportRefused("there is a processing instruction inside the root element")
    if signatures(root):
        if not replace:
            signer = next(iter(claimed_certificates(signatures(root)[0])), None)
            raise AlreadySigned(subject_of(signer) if signer else "")
        data = remove_signatures(data)
        without_signatures(root)
    digest = canonical_digest(root, len(data))
    del root  # the tree is several times as large as the report; the copy below need not stand beside it
    return _insert(data, _signature(digest, key, certificate))


def remove_signatures(data: bytes) -> bytes:
    """Return the report without any `ds:Signature` that is a direct child of its root, all other bytes as they were."""
    view = memoryview(data)
    starts, ends = [0], []
    for start, end in child_spans(data, DSIG, "Signature"):
        ends.append(start)
        starts.append(end)
    return b"".join(view[start:end] for start, end in zip(starts, [*ends, len(data)], strict=True))


def _insert(data: bytes, signature: bytes) -> bytes:
    position, name = end_of_root(data)
    view = memoryview(data)  # a slice of it is no copy
    if name:  # a self-closed root is opened
        return b"".join((view[:position], b">", signature, b"</", name, b">", view[position + 2 :]))
    return b"".join((view[:position], signature, view[position:]))


def _signature(digest: bytes, key: PrivateKey, certificate: x509.Certificate | None) -> bytes:
    """Return the `ds:Signature` element over a document whose canonical form has this SHA-256 digest."""
    facts = {"method": _method(key), "digest": _base64(digest)}
    value = _sign(_SIGNED_INFO.format(namespace=_NAMESPACE, **facts).encode(), key)
    key_info = ""
    if certificate is not None:
        der = certificate.public_bytes(serialization.Encoding.DER)
        key_info = (
            f"<ds:KeyInfo><ds:X509Data><ds:X509Certificate>{_base64(der)}"
            "</ds:X509Certificate></ds:X509Data></ds:KeyInfo>"
        )
    return (
        f"<ds:Signature{_NAMESPACE}>{_SIGNED_INFO.format(namespace='', **facts)}"
        f"<ds:SignatureValue>{_base64(value)}</ds:SignatureValue>{key_info}</ds:Signature>"
    ).encode()


def _method(key: PrivateKey) -> str:
    if isinstance(key, rsa.RSAPrivateKey):
        return RSA_SHA256
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return ECDSA_SHA384 if isinstance(hash_for(key), hashes.SHA384) else ECDSA_SHA256
    return ED25519


def _sign(message: bytes, key: PrivateKey) -> bytes:
    match key:
        case rsa.RSAPrivateKey():
            return key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        case ec.EllipticCurvePrivateKey():
            size = (key.curve.key_size + 7) // 8
            r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hash_for(key) or hashes.SHA256())))
            return r.to_bytes(size) + s.to_bytes(size)
    return key.sign(message)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
