"""Makes any XML signature, also those that nobody should accept, and signs each of them properly.

It shares no code with pytest_jux: what a test shows to be refused is refused for its own sake, and not because the
signature over it would be wrong.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

if TYPE_CHECKING:
    from collections.abc import Callable

    from attacks.material import Signer
    from cryptography import x509

NS = "http://www.w3.org/2000/09/xmldsig#"
MORE = "http://www.w3.org/2001/04/xmldsig-more#"
ENVELOPED = NS + "enveloped-signature"
INCLUSIVE = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
INCLUSIVE_1_1 = "http://www.w3.org/2006/12/xml-c14n11"
EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
SHA384 = MORE + "sha384"
SHA512 = "http://www.w3.org/2001/04/xmlenc#sha512"
SHA1 = NS + "sha1"
MD5 = MORE + "md5"
SHA224 = MORE + "sha224"

_HASHLIB = {SHA256: "sha256", SHA384: "sha384", SHA512: "sha512", SHA1: "sha1", MD5: "md5", SHA224: "sha224"}
_PARSER = etree.XMLParser(remove_comments=True, huge_tree=True)


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def canonical(document: bytes, *, exclusive: bool = False) -> bytes:
    """Return the canonical form of a document without its signatures."""
    root = etree.fromstring(document, _PARSER)
    for signature in root.findall(f"{{{NS}}}Signature"):
        before, parent = signature.getprevious(), signature.getparent()
        if before is None:
            parent.text = (parent.text or "") + (signature.tail or "")
        else:
            before.tail = (before.tail or "") + (signature.tail or "")
        parent.remove(signature)
    return etree.tostring(root.getroottree(), method="c14n", exclusive=exclusive)


def digest(data: bytes, algorithm: str = SHA256) -> str:
    return encoded(hashlib.new(_HASHLIB[algorithm], data, usedforsecurity=False).digest())


def transform(algorithm: str, inside: str = "") -> str:
    return f'<ds:Transform Algorithm="{algorithm}">{inside}</ds:Transform>'


DEFAULT_TRANSFORMS = transform(ENVELOPED) + transform(INCLUSIVE)


def reference(
    value: str, *, uri: str = ' URI=""', transforms: str = DEFAULT_TRANSFORMS, method: str = SHA256, inside: str = ""
) -> str:
    """Return a Reference; `transforms` is what Transforms contains, `uri` its attributes, `inside` goes before it."""
    return (
        f"<ds:Reference{uri}>{inside}<ds:Transforms>{transforms}</ds:Transforms>"
        f'<ds:DigestMethod Algorithm="{method}"/><ds:DigestValue>{value}</ds:DigestValue></ds:Reference>'
    )


def certificates(*given: x509.Certificate) -> str:
    """Return the X509Data with these certificates."""
    inside = "".join(
        f"<ds:X509Certificate>{encoded(one.public_bytes(Encoding.DER))}</ds:X509Certificate>" for one in given
    )
    return f"<ds:X509Data>{inside}</ds:X509Data>"


def key_info(by: Signer) -> str:
    return f"<ds:KeyInfo>{certificates(by.certificate, *by.chain)}</ds:KeyInfo>"


def method_for(key: Any, digest_name: str = "sha256") -> str:
    """Return the signature method that goes with the key."""
    if isinstance(key, rsa.RSAPrivateKey):
        return f"{MORE}rsa-{digest_name}"
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return f"{MORE}ecdsa-{digest_name}"
    return "http://www.w3.org/2021/04/xmldsig-more#eddsa-ed25519"


def make_value(key: Any, message: bytes, digest_name: str = "sha256") -> bytes:
    """Return the signature value as XML signatures write it (RFC 6931, RFC 9231)."""
    algorithm = getattr(hashes, digest_name.upper())()
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, padding.PKCS1v15(), algorithm)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        size = (key.curve.key_size + 7) // 8
        r, s = decode_dss_signature(key.sign(message, ec.ECDSA(algorithm)))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")
    return key.sign(message)


def signed_info(
    references: str, method: str, *, c14n: str = EXCLUSIVE, c14n_inside: str = "", method_inside: str = ""
) -> str:
    return (
        f'<ds:SignedInfo><ds:CanonicalizationMethod Algorithm="{c14n}">{c14n_inside}</ds:CanonicalizationMethod>'
        f'<ds:SignatureMethod Algorithm="{method}">{method_inside}</ds:SignatureMethod>{references}</ds:SignedInfo>'
    )


def canonical_signed_info(signed_document: bytes, *, exclusive: bool = True) -> bytes:
    """Return SignedInfo's canonical form; attributes of the xml namespace are not carried over from ancestors."""
    root = etree.fromstring(signed_document, _PARSER)
    element = next(root.iter(f"{{{NS}}}SignedInfo"))
    if exclusive:
        return etree.tostring(element, method="c14n", exclusive=True, with_tail=False)
    alone = etree.fromstring(etree.tostring(element, with_tail=False), _PARSER)
    return etree.tostring(alone, method="c14n")


def insert(document: bytes, signature: str) -> bytes:
    """Put a signature before the end tag of the root."""
    before, end, after = document.rpartition(b"</")
    return before + signature.encode() + end + after


def sign(
    document: bytes,
    by: Signer,
    *,
    info: str = "",
    digest_name: str = "sha256",
    method: str = "",
    transforms: str = DEFAULT_TRANSFORMS,
    digest_method: str = SHA256,
    content: bytes | None = None,
    uri: str = ' URI=""',
    c14n: str = EXCLUSIVE,
    infos: str | None = None,
    after: str = "",
    place: Callable[[bytes, str], bytes] = insert,
    value: Callable[[bytes], bytes] | None = None,
    attributes: str = "",
) -> bytes:
    """Return the document with a signature whose value is right for whatever its SignedInfo says.

    Args:
        document: the report, not signed yet.
        by: whose key signs and whose certificate goes into KeyInfo.
        info: the whole SignedInfo, instead of one made of `method`, `uri`, `transforms`, `digest_method` and `c14n`.
        digest_name: sha256, sha384 and so on, of the signature method.
        method: the signature method, if not the one that goes with the key.
        transforms: what Transforms contains.
        digest_method: of the content.
        content: what the digest is of, if not the canonical form of `document`.
        uri: the attributes of Reference.
        c14n: of SignedInfo.
        infos: the KeyInfo elements, "" for none.
        after: what else stands in the Signature.
        place: puts the signature into the document.
        value: makes the signature value from the canonical SignedInfo.
        attributes: of Signature.
    """
    content = canonical(document) if content is None else content
    method = method or method_for(by.key, digest_name)
    one = reference(digest(content, digest_method), uri=uri, transforms=transforms, method=digest_method)
    info = info or signed_info(one, method, c14n=c14n)
    infos = key_info(by) if infos is None else infos
    signature = (
        f'<ds:Signature xmlns:ds="{NS}"{attributes}>{info}'
        f"<ds:SignatureValue>@VALUE@</ds:SignatureValue>{infos}{after}</ds:Signature>"
    )
    whole = place(document, signature)
    message = canonical_signed_info(whole, exclusive=c14n.startswith(EXCLUSIVE))
    made = value(message) if value else make_value(by.key, message, digest_name)
    return whole.replace(b"@VALUE@", encoded(made).encode())
