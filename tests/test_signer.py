"""Signing inserts one signature and leaves every other byte as it was."""

from __future__ import annotations

import base64
import hashlib
import re
from xml.sax.saxutils import escape, quoteattr

import pytest
from attacks import builder
from attacks.corpus import REPORT, signature_of
from attacks.material import Signer, pinned, signer
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from pytest_jux.canonicalizer import canonical_hash
from pytest_jux.document import Limits
from pytest_jux.errors import (
    AlreadySigned,
    KeyMismatch,
    KeyUnsuitable,
    NotAReport,
    ReportMalformed,
    ReportRefused,
    ReportTooLarge,
)
from pytest_jux.signer import remove_signatures, sign_report
from pytest_jux.verifier import verify_report

EC = "p256"


def signed_by(name: str, data: bytes = REPORT, **options: bool) -> bytes:
    by = signer(name)
    return sign_report(data, by.key, by.certificate, **options)


def without(signed: bytes) -> bytes:
    """Cut the signature out, as text."""
    return signed.replace(signature_of(signed), b"", 1)


@pytest.mark.parametrize(
    ("name", "algorithm", "uri"),
    [
        ("build", "RSA-SHA256", "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"),
        ("rsa3072", "RSA-SHA256", "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"),
        ("p256", "ECDSA-SHA256", "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"),
        ("p384", "ECDSA-SHA384", "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"),
        ("ed25519", "Ed25519", "http://www.w3.org/2021/04/xmldsig-more#eddsa-ed25519"),
    ],
)
def test_every_kind_of_key_signs_by_its_method(name: str, algorithm: str, uri: str) -> None:
    signed = signed_by(name)
    assert f'<ds:SignatureMethod Algorithm="{uri}">'.encode() in signed
    assert verify_report(signed, pinned(name)).algorithm == algorithm
    assert without(signed) == REPORT


def test_the_signature_has_the_fixed_form() -> None:
    by = signer("build")
    signed = signed_by("build")
    digest = base64.b64encode(hashlib.sha256(builder.canonical(REPORT)).digest()).decode()
    certificate = base64.b64encode(by.certificate.public_bytes(Encoding.DER)).decode()
    form = re.escape(
        '<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:SignedInfo>'
        '<ds:CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"></ds:CanonicalizationMethod>'
        '<ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"></ds:SignatureMethod>'
        '<ds:Reference URI=""><ds:Transforms>'
        '<ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"></ds:Transform>'
        '<ds:Transform Algorithm="http://www.w3.org/TR/2001/REC-xml-c14n-20010315"></ds:Transform></ds:Transforms>'
        '<ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"></ds:DigestMethod>'
        f"<ds:DigestValue>{digest}</ds:DigestValue></ds:Reference></ds:SignedInfo><ds:SignatureValue>@</ds:SignatureValue>"
        f"<ds:KeyInfo><ds:X509Data><ds:X509Certificate>{certificate}</ds:X509Certificate></ds:X509Data></ds:KeyInfo>"
        "</ds:Signature>"
    ).replace("@", "[A-Za-z0-9+/]{342}==")
    assert re.fullmatch(form, signature_of(signed).decode())
    assert signed.endswith(b"</testsuite>" + signature_of(signed) + b"</testsuites>")


def test_without_a_certificate_there_is_no_key_info() -> None:
    signed = sign_report(REPORT, signer(EC).key)
    assert b"KeyInfo" not in signed
    assert verify_report(signed, pinned(EC)).signer == "CN=p256"


def test_the_digest_is_the_identity_whoever_signs_and_however_often() -> None:
    hashes = {canonical_hash(REPORT)}
    for signed in (signed_by("build"), signed_by(EC), signed_by(EC), signed_by("p384"), signed_by("ed25519")):
        value = re.search(rb"<ds:DigestValue>([^<]+)<", signed).group(1)
        hashes |= {canonical_hash(signed), "sha256:" + base64.b64decode(value).hex()}
    assert len(hashes) == 1


def test_rsa_and_ed25519_signatures_are_the_same_every_time() -> None:
    assert signed_by("build") == signed_by("build")
    assert signed_by("ed25519") == signed_by("ed25519")


SHAPES = {
    "no declaration": b"<testsuite><testcase name='a'/></testsuite>",
    "self-closed": b"<testsuites/>",
    "self-closed with a blank": b"<testsuites />",
    "self-closed with attributes": b"<testsuites a='/>' b=\"</testsuites>\n\"\n/>\n".replace(b"</", b"&lt;/"),
    "self-closed, misleading attribute": b"<testsuite name='/>' other=\"a>\"/>",
    "self-closed with a prefix": b"<x:testsuite xmlns:x='urn:x'/>",
    "self-closed, misleading comment after it": b"<testsuite/><!-- </testsuite> -->",
    "self-closed, misleading instruction after it": b"<testsuite/><?a </testsuite> ?>",
    "self-closed, comment before it": b"<!-- <a> --><testsuite/>",
    "blanks in the end tag": b"<testsuite><testcase/></testsuite \n>",
    "misleading comment after the root": b"<testsuite><a/></testsuite><!-- </testsuite> -->\n",
    "misleading instruction after the root": b"<testsuite><a/></testsuite>\n<?a </testsuite>?>",
    "much white space after the root": b"<testsuite><a/></testsuite>" + b"\n" * 9000,
    "much white space after a self-closed root": b"<testsuite/>" + b" " * 4090 + b"\n" * 9000,
    "end tag over the edge of what is searched": b"<testsuite></testsuite" + b" " * 4090 + b">",
    "long comment after the root": b"<testsuite><a/></testsuite><!--" + b"</x>" * 3000 + b"-->",
    "misleading CDATA": b"<testsuite><a><![CDATA[</testsuite>]]></a></testsuite><!-- -->",
    "CDATA with a comment's beginning": b"<testsuite><![CDATA[<!--]]></testsuite><!-- -->",
    "comment with a CDATA section's beginning": b"<testsuite><!-- <![CDATA[ --></testsuite><!-- ]]> -->",
    "things before the root": b"<?xml version='1.0'?>\n<!-- </a> --><?a b?>\n<testsuite>x</testsuite>",
    "byte order mark": b"\xef\xbb\xbf<?xml version='1.0' encoding='UTF-8'?><testsuite>\xc3\xa9</testsuite>",
    "byte order mark, self-closed": b"\xef\xbb\xbf<testsuite/>",
    "ISO-8859-1": b"<?xml version='1.0' encoding='ISO-8859-1'?><testsuite name='\xe9'>\xe9</testsuite>",
    "CRLF": b"<?xml version='1.0'?>\r\n<testsuite>\r\n<a b='1\r\n2'/>\r</testsuite>\r\n",
    "default namespace": b"<testsuite xmlns='urn:x'><testcase/></testsuite>",
    "taken prefix": b"<testsuite xmlns:ds='urn:ds' ds:a='1'><ds:x/></testsuite>",
    "xml attributes": b"<testsuite xml:lang='de' xml:base='http://a/' xml:space='default' xml:id='i'></testsuite>",
    "text before the end tag": b"<testsuite><testcase/>text \n</testsuite>",
    "300 levels": b"<testsuite>" + b"<a>" * 300 + b"</a>" * 300 + b"</testsuite>",
    "only text": b"<testsuite>&lt;/testsuite&gt; ]]&gt;</testsuite>",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_cutting_the_signature_out_gives_the_report_back(shape: str) -> None:
    data = SHAPES[shape]
    signed = signed_by(EC, data)
    assert verify_report(signed, pinned(EC)).canonical_hash == canonical_hash(data)
    cut = without(signed)
    if "self-closed" not in shape:
        assert cut == data
        return
    name = re.search(rb"<([\w:]*testsuites?)", data).group(1)
    opened, end = b"></" + name + b">", cut.index(b"></" + name + b">")
    assert cut[:end] + b"/>" + cut[end + len(opened) :] == data


# --- what is not signed ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", [b"<?x?></testsuites>", b"<?xml-stylesheet href='x'?></testsuites>"])
def test_an_instruction_inside_the_root_is_not_signed(where: bytes) -> None:
    with pytest.raises(ReportRefused) as caught:
        signed_by(EC, REPORT.replace(b"</testsuites>", where))
    assert str(caught.value) == "report refused: there is a processing instruction inside the root element"


def test_what_looks_like_an_instruction_in_a_text_is_signed() -> None:
    data = b"<testsuite><![CDATA[<?x?>]]><!-- <?y?> --></testsuite>"
    assert without(signed_by(EC, data)) == data


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", NotAReport),
        (b"<html/>", NotAReport),
        (b"<testsuite>", ReportMalformed),
        (b"<!DOCTYPE testsuite><testsuite/>", ReportRefused),
        ("<testsuite/>".encode("utf-16"), ReportRefused),
        (b"<testsuite xmlns:a='b'/>", ReportRefused),
    ],
)
def test_what_would_not_verify_is_not_signed(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        signed_by(EC, data)


def test_the_limits_given_are_obeyed() -> None:
    with pytest.raises(ReportTooLarge, match="more than 12 bytes"):
        sign_report(b"<testsuites/>", signer(EC).key, limits=Limits(bytes=12))
    assert sign_report(b"<testsuites/>", signer(EC).key, limits=Limits(bytes=13))


def test_a_certificate_of_another_key_is_refused() -> None:
    with pytest.raises(KeyMismatch) as caught:
        sign_report(REPORT, signer("imposter").key, signer("build").certificate)
    assert str(caught.value) == "the certificate CN=build-7 does not belong to the private key"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("rsa1024", "RSA with 1024 bits; at least 2048 are needed"),
        ("p521", "the curve secp521r1; P-256 and P-384 are used"),
        ("k256", "the curve secp256k1; P-256 and P-384 are used"),
    ],
)
def test_a_key_that_not_everyone_can_check_is_refused(name: str, reason: str) -> None:
    with pytest.raises(KeyUnsuitable) as caught:
        signed_by(name)
    assert str(caught.value) == f"this key cannot sign reports: {reason}"


def test_a_key_of_2047_bits_is_refused() -> None:
    with pytest.raises(KeyUnsuitable, match="RSA with 2047 bits"):
        sign_report(REPORT, rsa.generate_private_key(65537, 2047))  # noqa: S505 - to be refused


# --- signing again ---------------------------------------------------------------------------------------------------


def test_a_signed_report_is_not_signed_again() -> None:
    with pytest.raises(AlreadySigned) as caught:
        signed_by(EC, signed_by("build"))
    assert (str(caught.value), caught.value.signer) == ("already signed by CN=build-7", "CN=build-7")


def test_a_signature_without_certificate_has_no_name() -> None:
    with pytest.raises(AlreadySigned) as caught:
        signed_by(EC, sign_report(REPORT, signer(EC).key))
    assert (str(caught.value), caught.value.signer) == ("already signed", "")


def test_replacing_gives_what_signing_the_original_gives() -> None:
    assert signed_by("build", signed_by(EC), replace=True) == signed_by("build")


def test_replacing_where_nothing_is_signed_signs() -> None:
    assert signed_by("build", replace=True) == signed_by("build")


def test_replacing_takes_every_signature_of_the_root_out() -> None:
    one = signature_of(signed_by(EC))
    data = REPORT.replace(b"<testsuite ", one + b"<testsuite ").replace(b"</testsuites>", one + b"\n</testsuites>")
    signed = signed_by("build", data, replace=True)
    assert without(signed) == REPORT.replace(b"</testsuites>", b"\n</testsuites>")
    assert verify_report(signed, pinned("build")).trusted_by == "CN=build-7"


def test_replacing_needs_a_key_that_fits_too() -> None:
    with pytest.raises(KeyMismatch):
        sign_report(signed_by(EC), signer(EC).key, signer("build").certificate, replace=True)


DS = b'xmlns:ds="http://www.w3.org/2000/09/xmldsig#"'


@pytest.mark.parametrize(
    ("data", "left"),
    [
        (b"<testsuite " + DS + b"><ds:Signature/></testsuite>", b"<testsuite " + DS + b"></testsuite>"),
        (b"<testsuite>a<ds:Signature " + DS + b" Id='>/>' />b</testsuite>", b"<testsuite>ab</testsuite>"),
        (b"<testsuite>a<ds:Signature " + DS + b"\n></ds:Signature\n>b</testsuite>", b"<testsuite>ab</testsuite>"),
        (
            b"<testsuite>a<ds:Signature " + DS + b"><ds:Signature/></ds:Signature>b</testsuite>",
            b"<testsuite>ab</testsuite>",
        ),
        (b"<testsuite><Signature " + DS[:5] + DS[8:] + b"/>b</testsuite>", b"<testsuite>b</testsuite>"),
        (
            b"<testsuite><a><ds:Signature " + DS + b"/></a></testsuite>",
            b"<testsuite><a><ds:Signature " + DS + b"/></a></testsuite>",
        ),
        (b"<testsuite><Signature/></testsuite>", b"<testsuite><Signature/></testsuite>"),
        (b"<testsuite><!-- <Signature/> --></testsuite>", b"<testsuite><!-- <Signature/> --></testsuite>"),
        (b"<testsuite/>", b"<testsuite/>"),
        (
            b"<?xml version='1.0' encoding='ISO-8859-1'?><testsuite>\xe9<ds:Signature " + DS + b"/>\xe9</testsuite>",
            b"<?xml version='1.0' encoding='ISO-8859-1'?><testsuite>\xe9\xe9</testsuite>",
        ),
    ],
)
def test_signatures_directly_under_the_root_are_cut_out(data: bytes, left: bytes) -> None:
    assert remove_signatures(data) == left


def test_an_encoding_in_which_a_signature_cannot_be_located_is_refused() -> None:
    signed = signed_by(EC, b"<?xml version='1.0' encoding='EUC-KR'?><testsuite>\xb0\xa1</testsuite>")
    with pytest.raises(ReportRefused, match=r"^report refused: its signature cannot be located in this encoding \("):
        signed_by(EC, signed, replace=True)


# --- any report ------------------------------------------------------------------------------------------------------

_TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs",), exclude_characters="\ufffe\uffff"), max_size=8
).map(lambda text: "".join(character for character in text if character >= " " or character in "\t\n\r"))
_PIECES = st.one_of(
    _TEXT.map(escape),
    st.sampled_from(
        [
            "<![CDATA[</testsuite><!--]]>",
            "<!-- </testsuite> ]]> -->",
            "<testcase name='>'/>",
            "<a>\r\n</a>",
            "\n",
            "&#13;",
        ]
    ),
    _TEXT.map(lambda text: f"<testcase name={quoteattr(text)}/>"),
)
_MISC = st.lists(
    st.sampled_from(["\n", " ", "<!-- </testsuite> -->", "<?note </testsuite>?>", "<!--/>-->"]), max_size=3
)


@given(st.lists(_PIECES, max_size=6), _MISC, _MISC, st.booleans())
def test_any_report_is_signed_without_touching_another_byte(
    pieces: list[str], before: list[str], after: list[str], declared: bool
) -> None:
    declaration = '<?xml version="1.0" encoding="utf-8"?>' if declared else ""
    beginning = declaration + "".join(before).lstrip()
    data = f"{beginning}<testsuite>{''.join(pieces)}</testsuite>{''.join(after)}".encode()
    by = Signer(signer(EC).key, signer(EC).certificate)

    signed = sign_report(data, by.key, by.certificate)

    assert without(signed) == data
    verified = verify_report(signed, pinned(EC))
    assert verified.canonical_hash == canonical_hash(data) == canonical_hash(signed)
    assert signed_by(EC, signed, replace=True)[: len(beginning)] == data[: len(beginning)]
    assert without(signed_by(EC, signed, replace=True)) == data
