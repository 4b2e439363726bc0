"""From a `ds:Signature` element to its parts, if it has the one accepted form.

The form is closed: whatever could make a signature cover something else than the whole report, or carry content that
is not covered, is refused by name here, before any cryptography.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from lxml import etree

from pytest_jux import dsig
from pytest_jux.canonicalizer import INHERITED_1_0, INHERITED_1_1, canonical_subtree
from pytest_jux.errors import SignatureBroken, VerificationImpossible
from pytest_jux.text import visible

if TYPE_CHECKING:
    from collections.abc import Mapping

KeyKind = Literal["RSA", "ECDSA", "Ed25519"]


class Method(NamedTuple):
    """A signature method: its name for people, the kind of key it needs, and its digest (None for Ed25519)."""

    name: str
    key: KeyKind
    digest: hashes.HashAlgorithm | None


_DIGESTS = {dsig.SHA256: "sha256", dsig.SHA384: "sha384", dsig.SHA512: "sha512"}
# Canonicalization of SignedInfo: the attributes of the xml namespace that it inherits, None for the exclusive one.
_INHERITED = {dsig.C14N_1_0: INHERITED_1_0, dsig.C14N_1_1: INHERITED_1_1, dsig.EXCLUSIVE: None}
_METHODS = {
    dsig.RSA_SHA256: Method("RSA-SHA256", "RSA", hashes.SHA256()),
    dsig.RSA_SHA384: Method("RSA-SHA384", "RSA", hashes.SHA384()),
    dsig.RSA_SHA512: Method("RSA-SHA512", "RSA", hashes.SHA512()),
    dsig.ECDSA_SHA256: Method("ECDSA-SHA256", "ECDSA", hashes.SHA256()),
    dsig.ECDSA_SHA384: Method("ECDSA-SHA384", "ECDSA", hashes.SHA384()),
    dsig.ECDSA_SHA512: Method("ECDSA-SHA512", "ECDSA", hashes.SHA512()),
    dsig.ED25519: Method("Ed25519", "Ed25519", None),
}
_LONGEST_TEXT = 100_000  # characters of base64 in one element of a signature


class SignatureParts(NamedTuple):
    """What an accepted signature consists of.

    `signed_info` is SignedInfo's canonical form, `exclusive` tells how the document is canonicalized for its digest,
    `digest_algorithm` is hashlib's name, `is_identity` says that the digest is the report's identity, `value` is the
    signature value and `certificates` what KeyInfo claims: the signer's first, then its chain.
    """

    signed_info: bytes
    method: Method
    exclusive: bool
    is_identity: bool
    digest_algorithm: str
    digest: bytes
    value: bytes
    certificates: list[x509.Certificate]


def read_signature(signature: etree._Element) -> SignatureParts:
    """Return the parts of a `ds:Signature`, which still stands in its document.

    Raises:
        SignatureBroken: it is not of the accepted form.
        VerificationImpossible: it names an algorithm that is not accepted.
    """
    signed_info, value, *key_info = _children(signature, ("SignedInfo", "SignatureValue"), optional="KeyInfo")
    method_c14n, method, reference = _children(signed_info, ("CanonicalizationMethod", "SignatureMethod", "Reference"))
    c14n = _algorithm(method_c14n, _INHERITED, "canonicalization of SignedInfo")
    signature_method = _algorithm(method, _METHODS, "signature method")
    uri = reference.attrib.get("URI")
    if uri != "":
        raise SignatureBroken(
            "the signature's Reference has no URI"
            if uri is None
            else f"the signature covers '{visible(str(uri)[:80])[:80]}', not the whole report"
        )
    transforms, digest_method, digest_value = _children(reference, ("Transforms", "DigestMethod", "DigestValue"))
    steps = _children(transforms, ("Transform", "Transform"), what="transforms")
    _algorithm(steps[0], {dsig.ENVELOPED: None}, "first transform")
    transform = _algorithm(steps[1], _INHERITED, "second transform")
    digest = _algorithm(digest_method, _DIGESTS, "digest method")
    return SignatureParts(
        signed_info=canonical_subtree(signed_info, inherited=_INHERITED[c14n]),
        method=_METHODS[signature_method],
        exclusive=transform == dsig.EXCLUSIVE,
        is_identity=transform != dsig.EXCLUSIVE and digest == dsig.SHA256,
        digest_algorithm=_DIGESTS[digest],
        digest=_base64(digest_value),
        value=_base64(value),
        certificates=_read_key_info(key_info[0]) if key_info else [],
    )


def _read_key_info(key_info: etree._Element) -> list[x509.Certificate]:
    (x509_data,) = _children(key_info, ("X509Data",))
    elements = list(x509_data)
    if not 1 <= len(elements) <= dsig.MOST_CERTIFICATES:
        raise SignatureBroken(f"X509Data has {len(elements)} elements; 1 to {dsig.MOST_CERTIFICATES} are accepted")
    _children(x509_data, ("X509Certificate",) * len(elements))
    found = []
    for element in elements:
        try:
            found.append(dsig.read_certificate(_base64(element)))
        except (ValueError, x509.InvalidVersion):
            raise SignatureBroken("the certificate in the signature is damaged") from None
    return found


def _children(
    element: etree._Element, names: tuple[str, ...], *, optional: str = "", what: str = ""
) -> list[etree._Element]:
    """Return the children of `element`, if they are exactly these, with nothing but white space between them."""
    found = list(element)
    expected = [dsig.dsig(name) for name in names]
    actual = [str(child.tag) for child in found]
    parent = etree.QName(element).localname
    if actual != expected and actual != [*expected, dsig.dsig(optional)]:
        if what:
            raise VerificationImpossible(f"the signature has {len(found)} {what}, not the {len(names)} accepted ones")
        shown = ", ".join(_shown_name(child) for child in found[:5]) or "nothing"
        wanted = ", ".join(names)
        raise SignatureBroken(f"the signature's {parent} contains {shown}, where {wanted} is accepted")
    texts = [element.text, *(child.tail for child in found)]
    if any(text and text.strip() for text in texts):
        raise SignatureBroken(f"the signature's {parent} contains text")
    _check_attributes(element)
    return found


def _shown_name(element: etree._Element) -> str:
    name = etree.QName(element)
    return name.localname[:40] if name.namespace == dsig.DSIG else f"{name.localname[:40]} of another namespace"


def _check_attributes(element: etree._Element, allowed: frozenset[str] = frozenset({"Id", "URI"})) -> None:
    for name in element.attrib:
        if name not in allowed:
            parent = etree.QName(element).localname
            raise SignatureBroken(
                f"the signature's {parent} has the attribute {str(name)[:40]!r}, which is not accepted"
            )


def _algorithm(element: etree._Element, accepted: Mapping[str, object], what: str) -> str:
    """Return the algorithm that `element` names, if it is accepted and has no parameters."""
    _check_attributes(element, frozenset({"Algorithm"}))
    name = element.get("Algorithm", "")
    if name not in accepted:
        raise VerificationImpossible(f"the {what} {name[:100]!r} is not accepted")
    if len(element) or (element.text or "").strip():
        raise VerificationImpossible(f"the {what} has parameters, which are not accepted")
    return name


def _base64(element: etree._Element) -> bytes:
    name = etree.QName(element).localname
    text = element.text or ""
    _check_attributes(element, frozenset({"Id"}))
    if len(element) or len(text) > _LONGEST_TEXT:
        raise SignatureBroken(f"the signature's {name} is not base64 text")
    decoded = dsig.decode_base64(text)
    if not decoded:
        raise SignatureBroken(f"the signature's {name} is " + ("empty" if not text.strip() else "not base64 text"))
    return decoded
