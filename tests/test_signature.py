"""The accepted form of a signature, and the words in which every other form is refused."""

from __future__ import annotations

import base64
import hashlib

import pytest
from attacks import builder
from attacks.corpus import CORPUS, REPORT, by_build, good, swap
from attacks.material import signer
from lxml import etree

from pytest_jux import dsig
from pytest_jux.dsig import claimed_certificates, decode_base64
from pytest_jux.errors import SignatureBroken, VerificationError, VerificationImpossible
from pytest_jux.signature import SignatureParts, read_signature

XPATH = "http://www.w3.org/TR/1999/REC-xpath-19991116"
MESSAGES = {
    "wrapped: Reference to the suite by Id": "the signature covers '#evidence', not the whole report",
    "wrapped: Reference without URI": "the signature's Reference has no URI",
    "wrapped: text inside the signature": "the signature's Signature contains text",
    "wrapped: an attribute on the signature": (
        "the signature's Signature has the attribute 'tests', which is not accepted"
    ),
    "wrapped: fake cases as a foreign element inside the signature": (
        "the signature's Signature contains SignedInfo, SignatureValue, KeyInfo, testsuite of another namespace, "
        "where SignedInfo, SignatureValue is accepted"
    ),
    "KeyInfo: nothing": "the signature's KeyInfo contains nothing, where X509Data is accepted",
    "KeyInfo: empty X509Data": "X509Data has 0 elements; 1 to 10 are accepted",
    "KeyInfo: eleven certificates": "X509Data has 11 elements; 1 to 10 are accepted",
    "KeyInfo: X509CRL": (
        "the signature's X509Data contains X509Certificate, X509CRL, where X509Certificate, X509Certificate is accepted"
    ),
    "KeyInfo: damaged certificate": "the certificate in the signature is damaged",
    "KeyInfo: certificate of an unknown version": "the certificate in the signature is damaged",
    "KeyInfo: empty certificate": "the signature's X509Certificate is empty",
    "KeyInfo: certificate that is not base64": "the signature's X509Certificate is not base64 text",
    "references: none": (
        "the signature's SignedInfo contains CanonicalizationMethod, SignatureMethod, where CanonicalizationMethod, "
        "SignatureMethod, Reference is accepted"
    ),
    "transforms: XPath second": f"the second transform '{XPATH}' is not accepted",
    "transforms: swapped": f"the first transform '{builder.INCLUSIVE}' is not accepted",
    "transforms: three": "the signature has 3 transforms, not the 2 accepted ones",
    "transforms: none": "the signature has 0 transforms, not the 2 accepted ones",
    "transforms: parameters": "the second transform has parameters, which are not accepted",
    "transforms: parameters of enveloped": "the first transform has parameters, which are not accepted",
    "transforms: text between them": "the signature's Transforms contains text",
    "transforms: an attribute on one": "the signature's Transform has the attribute 'x', which is not accepted",
    "transforms: no Transforms": (
        "the signature's Reference contains DigestMethod, DigestValue, where Transforms, DigestMethod, DigestValue is "
        "accepted"
    ),
    "digest: empty": "the signature's DigestValue is empty",
    "digest: white space": "the signature's DigestValue is empty",
    "digest: not base64": "the signature's DigestValue is not base64 text",
    "digest: too long": "the signature's DigestValue is not base64 text",
    "digest: an element inside": "the signature's DigestValue is not base64 text",
    "digest: an attribute": "the signature's DigestValue has the attribute 'Encoding', which is not accepted",
    "digest: SHA-1": "the digest method 'http://www.w3.org/2000/09/xmldsig#sha1' is not accepted",
    "SignedInfo: canonicalization unknown": "the canonicalization of SignedInfo 'urn:minimal' is not accepted",
    "SignedInfo: a foreign attribute": (
        "the signature's SignedInfo has the attribute '{urn:a}b', which is not accepted"
    ),
    "method: HMAC-SHA1": "the signature method 'http://www.w3.org/2000/09/xmldsig#hmac-sha1' is not accepted",
    "value: empty": "the signature's SignatureValue is empty",
}


def parts_of(document: bytes) -> SignatureParts:
    root = etree.fromstring(document, etree.XMLParser(remove_comments=True))
    return read_signature(root.find(f"{{{builder.NS}}}Signature"))


@pytest.mark.parametrize("name", MESSAGES)
def test_every_other_form_is_refused_in_these_words(name: str) -> None:
    with pytest.raises(VerificationError) as caught:
        parts_of(CORPUS[name].make())
    assert str(caught.value) == MESSAGES[name]
    assert caught.value.reason == MESSAGES[name]
    assert type(caught.value) is CORPUS[name].error


def test_the_parts_of_an_accepted_signature() -> None:
    document = good()
    parts = parts_of(document)
    assert parts.signed_info == builder.canonical_signed_info(document)
    assert (parts.method.name, parts.method.key, parts.method.digest.name) == ("RSA-SHA256", "RSA", "sha256")
    assert parts.exclusive is False
    assert parts.digest == hashlib.sha256(builder.canonical(REPORT)).digest()
    assert (parts.digest_algorithm, parts.is_identity) == ("sha256", True)
    assert len(parts.value) == 256
    assert parts.certificates == [signer("build").certificate]


def test_a_signature_without_key_info_has_no_certificates() -> None:
    assert parts_of(by_build(infos="")).certificates == []


def test_certificates_are_in_the_order_of_the_document() -> None:
    by = signer("intermediate leaf")
    assert parts_of(builder.sign(REPORT, by)).certificates == [by.certificate, *by.chain]


@pytest.mark.parametrize(("uri", "exclusive"), [(dsig.C14N_1_0, False), (dsig.C14N_1_1, False), (dsig.EXCLUSIVE, True)])
def test_the_second_transform_says_how_the_content_is_canonicalized(uri: str, *, exclusive: bool) -> None:
    document = by_build(transforms=builder.transform(builder.ENVELOPED) + builder.transform(uri))
    assert parts_of(document).exclusive is exclusive
    assert parts_of(document).is_identity is not exclusive


@pytest.mark.parametrize(
    ("uri", "name", "kind", "digest"),
    [
        ("http://www.w3.org/2001/04/xmldsig-more#rsa-sha256", "RSA-SHA256", "RSA", "sha256"),
        ("http://www.w3.org/2001/04/xmldsig-more#rsa-sha384", "RSA-SHA384", "RSA", "sha384"),
        ("http://www.w3.org/2001/04/xmldsig-more#rsa-sha512", "RSA-SHA512", "RSA", "sha512"),
        ("http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256", "ECDSA-SHA256", "ECDSA", "sha256"),
        ("http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384", "ECDSA-SHA384", "ECDSA", "sha384"),
        ("http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512", "ECDSA-SHA512", "ECDSA", "sha512"),
        ("http://www.w3.org/2021/04/xmldsig-more#eddsa-ed25519", "Ed25519", "Ed25519", None),
    ],
)
def test_the_accepted_signature_methods(uri: str, name: str, kind: str, digest: str | None) -> None:
    method = parts_of(by_build(method=uri)).method
    assert (method.name, method.key) == (name, kind)
    assert (method.digest.name if method.digest else None) == digest


@pytest.mark.parametrize(
    ("uri", "algorithm"),
    [
        ("http://www.w3.org/2001/04/xmlenc#sha256", "sha256"),
        ("http://www.w3.org/2001/04/xmldsig-more#sha384", "sha384"),
        ("http://www.w3.org/2001/04/xmlenc#sha512", "sha512"),
    ],
)
def test_the_accepted_digests(uri: str, algorithm: str) -> None:
    parts = parts_of(by_build(digest_method=uri))
    assert parts.digest_algorithm == algorithm
    assert parts.digest == hashlib.new(algorithm, builder.canonical(REPORT)).digest()
    assert parts.is_identity is (algorithm == "sha256")


def value_of(text: bytes) -> bytes:
    document = by_build()
    old = document.partition(b"<ds:SignatureValue>")[2].partition(b"</")[0]
    return parts_of(swap(document, old, text)).value


def test_a_value_of_100_000_characters_is_read_and_a_longer_one_is_not() -> None:
    assert value_of(b"A" * 100_000) == bytes(75_000)
    with pytest.raises(SignatureBroken, match=r"^the signature's SignatureValue is not base64 text$"):
        value_of(b" " + b"A" * 100_000)


def test_white_space_inside_a_value_is_ignored() -> None:
    assert value_of(b"\n AA\tAA \r\n AA==") == bytes(4)


def test_a_long_algorithm_is_cut() -> None:
    with pytest.raises(VerificationImpossible) as caught:
        parts_of(by_build(method="u" * 200))
    assert str(caught.value) == f"the signature method '{'u' * 100}' is not accepted"


def test_a_long_element_name_is_cut() -> None:
    with pytest.raises(SignatureBroken) as caught:
        parts_of(by_build(infos="", after=f'<ds:{"a" * 50}/><{"b" * 50} xmlns="urn:b"/>'))
    assert str(caught.value) == (
        f"the signature's Signature contains SignedInfo, SignatureValue, {'a' * 40}, {'b' * 40} of another namespace, "
        "where SignedInfo, SignatureValue is accepted"
    )


def test_only_the_first_five_elements_are_named() -> None:
    with pytest.raises(SignatureBroken, match="contains SignedInfo, SignatureValue, X, X, X, where"):
        parts_of(by_build(infos="", after="<ds:X/>" * 9))


def test_a_long_attribute_name_is_cut() -> None:
    with pytest.raises(SignatureBroken, match=f"has the attribute '{'a' * 40}', which is not accepted"):
        parts_of(by_build(attributes=f' {"a" * 50}="1"'))


@pytest.mark.parametrize("place", ["<ds:SignedInfo>", "<ds:Transforms>", "<ds:KeyInfo>", "<ds:X509Data>"])
def test_an_id_is_accepted_on_every_element(place: str) -> None:
    assert parts_of(swap(by_build(), place.encode(), place.replace(">", ' Id="i">').encode()))


@pytest.mark.parametrize(
    "place", ["<ds:Transform ", "<ds:DigestMethod ", "<ds:SignatureMethod ", "<ds:CanonicalizationMethod "]
)
def test_an_algorithm_has_no_other_attribute(place: str) -> None:
    with pytest.raises(SignatureBroken, match=f"{place[4:-1]} has the attribute 'Id', which is not accepted"):
        parts_of(swap(by_build(), place.encode(), place.encode() + b'Id="i" '))


@pytest.mark.parametrize("element", ["DigestValue", "SignatureValue", "X509Certificate"])
def test_base64_elements_have_no_uri(element: str) -> None:
    with pytest.raises(SignatureBroken, match=f"{element} has the attribute 'URI', which is not accepted"):
        parts_of(swap(by_build(), f"<ds:{element}>".encode(), f'<ds:{element} URI="">'.encode()))


@pytest.mark.parametrize("white", ["\n  ", "\t", "\r\n"])
def test_white_space_between_elements_is_accepted(white: str) -> None:
    document = by_build()
    for place in (b"<ds:SignatureValue>", b"</ds:KeyInfo>", b"<ds:X509Certificate>", b"<ds:Reference "):
        document = swap(document, place, white.encode() + place)
    assert parts_of(document)


# --- the vocabulary --------------------------------------------------------------------------------------------------


def test_the_names_of_the_vocabulary() -> None:
    assert dsig.dsig("Signature") == dsig.SIGNATURE == "{http://www.w3.org/2000/09/xmldsig#}Signature"
    assert dsig.MOST_CERTIFICATES == 10


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        ("", b""),
        ("AAAA", bytes(3)),
        (" A\nA\tA\rA ", bytes(3)),
        ("AA==", bytes(1)),
        ("AA=", None),
        ("A", None),
        ("AAAA?", None),
        ("é", None),
        ("AAAA-_", None),
    ],
)
def test_base64_is_decoded_strictly(text: str, decoded: bytes | None) -> None:
    assert decode_base64(text) == decoded


def claims(*inside: str) -> list[object]:
    elements = "".join(f"<ds:X509Certificate>{text}</ds:X509Certificate>" for text in inside)
    return claimed_certificates(
        etree.fromstring(
            f'<ds:Signature xmlns:ds="{builder.NS}"><ds:KeyInfo><ds:X509Data>{elements}</ds:X509Data></ds:KeyInfo>'
            "</ds:Signature>"
        )
    )


def der(name: str = "build") -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return signer(name).certificate.public_bytes(Encoding.DER)


def test_claimed_certificates_are_those_that_can_be_read() -> None:
    good_one = base64.b64encode(der()).decode()
    assert claims("", "?", "AAAA", good_one, "<!-- x -->" + good_one) == [signer("build").certificate] * 2
    assert claims() == []


def test_a_claimed_certificate_of_an_unknown_version_is_passed_over() -> None:
    unknown = swap(der(), b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05")
    assert claims(base64.b64encode(unknown).decode()) == []


def test_at_most_ten_claimed_certificates_are_read() -> None:
    assert len(claims(*[base64.b64encode(der()).decode()] * 11)) == 10
