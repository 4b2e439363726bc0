"""The attack corpus: what is done to a signed report, and what a verifier has to say to it.

Each entry is made by a program, with real keys, when a test asks for it. What is refused for its form carries a
signature that is right for that form, so that nothing is refused by luck.

To look at one: `python -m attacks.corpus NAME > report.xml`, in the directory above.
"""

from __future__ import annotations

import base64
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from attacks import builder
from attacks.builder import (
    DEFAULT_TRANSFORMS,
    ENVELOPED,
    EXCLUSIVE,
    INCLUSIVE,
    INCLUSIVE_1_1,
    MORE,
    NS,
    SHA256,
    canonical,
    certificates,
    digest,
    key_info,
    reference,
    sign,
    signed_info,
    transform,
)
from attacks.material import authorities, key, pinned, signer
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from lxml import etree

from pytest_jux.errors import (
    NotAReport,
    ReportMalformed,
    ReportRefused,
    ReportTooLarge,
    ReportUnsigned,
    SignatureBroken,
    SignerUntrusted,
    VerificationImpossible,
)
from pytest_jux.signer import sign_report
from pytest_jux.verifier import Trust

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_jux.errors import JuxError

REPORT = (
    b'<?xml version="1.0" encoding="utf-8"?><testsuites name="pytest tests"><testsuite name="pytest" errors="0" '
    b'failures="1" skipped="1" tests="4" time="0.042" timestamp="2026-03-01T09:30:00.000000+00:00" hostname="build-7">'
    b'<testcase classname="tests.test_pay" name="test_refund" time="0.001" />'
    b'<testcase classname="tests.test_pay" name="test_charge" time="0.020"><failure message="assert 1 == 2">def '
    b"test_charge():\n&gt;       assert 1 == 2\nE       assert 1 == 2</failure></testcase>"
    b'<testcase classname="tests.test_pay" name="test_later" time="0.000"><skipped type="pytest.skip" '
    b'message="not today">tests/test_pay.py:9: not today</skipped></testcase>'
    b'<testcase classname="tests.test_pay" name="test_log" time="0.002"><system-out>captured\noutput</system-out>'
    b"</testcase></testsuite></testsuites>"
)
FAILURE = (
    b'<failure message="assert 1 == 2">def test_charge():\n&gt;       assert 1 == 2\nE       assert 1 == 2</failure>'
)
CASES = (b'<testcase classname="tests.test_pay" name="test_refund" time="0.001" />', b"<testcase classname")
CHANGED = "changed after signing"
WRONG_VALUE = "the signature value is not right"


@dataclass(frozen=True)
class Attack:
    """A document, whom the verifier trusts, and what has to come of it.

    `error` is the exact class that verification raises, None where it returns; `reason` is part of what it says.
    """

    name: str
    make: Callable[[], bytes]
    error: type[JuxError] | None
    reason: str
    trust: Callable[[], Trust]

    @property
    def state(self) -> str:
        """The state that people are shown: `refused` for what is no report, else that of the error."""
        if self.error is None:
            return "trusted"
        return getattr(self.error, "state", "refused")


CORPUS: dict[str, Attack] = {}


def trust_build() -> Trust:
    return pinned("build")


def trust_ca() -> Trust:
    return authorities("ca")


def trust_nobody() -> Trust:
    return pinned()


def add(
    name: str,
    make: Callable[[], bytes],
    error: type[JuxError] | None = SignatureBroken,
    reason: str = "",
    trust: Callable[[], Trust] = trust_build,
) -> None:
    assert name not in CORPUS, name
    CORPUS[name] = Attack(name, make, error, reason, trust)


def pins(*names: str) -> Callable[[], Trust]:
    return lambda: pinned(*names)


def good() -> bytes:
    """The report as pytest-jux signs it."""
    build = signer("build")
    return sign_report(REPORT, build.key, build.certificate)


def by_build(**options: Any) -> bytes:
    """The report with a properly made signature of another form."""
    return sign(REPORT, signer("build"), **options)


def swap(document: bytes, old: bytes, new: bytes, count: int = 1) -> bytes:
    """Replace something that must be there."""
    assert old in document, old
    return document.replace(old, new, count)


def edited(old: bytes, new: bytes, count: int = 1) -> Callable[[], bytes]:
    """Change the signed report."""
    return lambda: swap(good(), old, new, count)


def signature_of(document: bytes) -> bytes:
    return document[document.index(b"<ds:Signature ") : document.index(b"</ds:Signature>") + len(b"</ds:Signature>")]


def without_signature(document: bytes) -> bytes:
    return swap(document, signature_of(document), b"")


def between(document: bytes, element: bytes) -> bytes:
    """The text of the first element of this name in the signature."""
    return document.partition(b"<ds:" + element + b">")[2].partition(b"</ds:" + element + b">")[0]


# --- what is accepted ------------------------------------------------------------------------------------------------

add("as pytest-jux signs it", good, None)
add("as the builder of these tests signs it", by_build, None)


def _signed_by(name: str, **options: Any) -> Callable[[], bytes]:
    return lambda: sign(REPORT, signer(name), **options)


for _name, _digest in (
    ("build", "sha384"),
    ("build", "sha512"),
    ("rsa3072", "sha256"),
    ("p256", "sha256"),
    ("p256", "sha512"),
    ("p384", "sha384"),
    ("p521", "sha512"),
    ("p521", "sha256"),
    ("ed25519", "sha256"),
):
    add(f"signed by {_name} with {_digest}", _signed_by(_name, digest_name=_digest), None, trust=pins(_name))
for _uri, _label in ((builder.SHA384, "SHA-384"), (builder.SHA512, "SHA-512")):
    add(f"content digest {_label}", _signed_by("build", digest_method=_uri), None)
add(
    "content under exclusive canonicalization",
    lambda: by_build(transforms=transform(ENVELOPED) + transform(EXCLUSIVE), content=canonical(REPORT, exclusive=True)),
    None,
)
add(
    "content under Canonical XML 1.1",
    lambda: by_build(transforms=transform(ENVELOPED) + transform(INCLUSIVE_1_1)),
    None,
)
add("SignedInfo under Canonical XML 1.0", lambda: by_build(c14n=INCLUSIVE), None)
add("SignedInfo under Canonical XML 1.1", lambda: by_build(c14n=INCLUSIVE_1_1), None)


def _pretty_signature() -> bytes:
    one = reference(digest(canonical(REPORT)))
    info = (
        signed_info(one, method_rsa()).replace("><ds:", ">\n    <ds:").replace("></ds:Transforms", ">\n</ds:Transforms")
    )
    pretty = by_build(info=info)
    pretty = swap(pretty, b"<ds:SignatureValue>", b"\n  <ds:SignatureValue>\n   ")
    pretty = swap(pretty, b"</ds:SignatureValue>", b"\n  </ds:SignatureValue>\r\n")
    return swap(pretty, b"<ds:X509Certificate>", b"\n\t<ds:X509Certificate>\n")


def method_rsa() -> str:
    return MORE + "rsa-sha256"


add("pretty-printed signature", _pretty_signature, None)


def _wrapped_base64() -> bytes:
    document = good()
    value = between(document, b"SignatureValue")
    return swap(document, value, b"\n".join(value[i : i + 64] for i in range(0, len(value), 64)))


add("signature value wrapped into lines", _wrapped_base64, None)
add("a comment added to the content", edited(b"</testsuite>", b"<!-- reviewed --></testsuite>"), None)
add("a comment added before the root", edited(b"<testsuites", b"<!-- reviewed --><testsuites"), None)
add("a comment added inside a text", edited(b"captured\n", b"capt<!-- x -->ured\n"), None)
add("a comment added inside DigestValue", lambda: _comment_in(b"DigestValue"), None)
add("a comment added inside SignatureValue", lambda: _comment_in(b"SignatureValue"), None)
add("a comment added inside X509Certificate", lambda: _comment_in(b"X509Certificate"), None)


def _comment_in(element: bytes) -> bytes:
    document = good()
    value = between(document, element)
    return swap(document, value, value[:9] + b"<!-- " + value[9:] + b" -->" + value[9:])


add(
    "attributes in another order",
    edited(
        b'<testcase classname="tests.test_pay" name="test_log"', b'<testcase name="test_log" classname="tests.test_pay"'
    ),
    None,
)
add("attributes in other quotes", edited(b'name="test_log"', b"name='test_log'"), None)
add("line feeds turned into CRLF", lambda: good().replace(b"\n", b"\r\n"), None)
add("escaped text turned into CDATA", edited(b"captured\noutput", b"<![CDATA[captured\noutput]]>"), None)
add("a character written as a reference", edited(b"captured", b"&#99;aptured"), None)
add("an empty element written with two tags", edited(b'time="0.001" />', b'time="0.001"></testcase>'), None)
add("the XML declaration removed", edited(b'<?xml version="1.0" encoding="utf-8"?>', b""), None)
add("line feeds added after the root", lambda: good() + b"\n\n", None)
add("a byte order mark added", lambda: b"\xef\xbb\xbf" + good(), None)
add("an encoding declared that changes no character", edited(b"utf-8", b"ISO-8859-1"), None)
add("nested suites under one testsuites", lambda: _signed(_NESTED), None)
add(
    "the other half of an ECDSA signature",  # anybody can make it; it is over the same content by the same key
    lambda: sign(REPORT, signer("p256"), value=_mirrored),
    None,
    trust=pins("p256"),
)


def _ecdsa(message: bytes, key_name: str = "p256") -> tuple[int, int]:
    return decode_dss_signature(key(key_name).sign(message, ec.ECDSA(hashes.SHA256())))


P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def _raw(r: int, s: int, size: int = 32) -> bytes:
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def _mirrored(message: bytes) -> bytes:
    r, s = _ecdsa(message)
    return _raw(r, P256_ORDER - s)


def _signed(report: bytes, name: str = "build") -> bytes:
    by = signer(name)
    return sign_report(report, by.key, by.certificate)


_NESTED = (
    b'<testsuites><testsuite name="outer" tests="99"><testsuite name="inner" tests="1"><testcase name="a" time="1"/>'
    b'</testsuite><testcase name="b" time="2"/></testsuite></testsuites>'
)

# --- content changed -------------------------------------------------------------------------------------------------

for _label, _old, _new in (
    ("a failure removed", FAILURE, b""),
    ("a failure turned into a skip", FAILURE, FAILURE.replace(b"failure", b"skipped")),
    ("a test case removed", CASES[0], b""),
    ("a test case added", CASES[0], CASES[0] + CASES[0].replace(b"test_refund", b"test_new")),
    ("a test case repeated", CASES[0], CASES[0] * 2),
    ("a test case renamed", b'name="test_charge"', b'name="test_change"'),
    ("a count changed", b'failures="1"', b'failures="0"'),
    ("a time changed", b'time="0.020"', b'time="0.002"'),
    ("an attribute removed", b' hostname="build-7"', b""),
    ("an attribute added", b'hostname="build-7"', b'hostname="build-7" id="1"'),
    ("a message changed", b'message="assert 1 == 2"', b'message="assert 1 == 1"'),
    ("a text changed", b"captured\n", b"Captured\n"),
    ("a text removed", b"captured\noutput", b""),
    ("a text added", b"</testsuite><ds", b"ok</testsuite><ds"),
    ("white space added between elements", b"><testcase", b">\n<testcase"),
    ("white space changed inside a text", b"captured\noutput", b"captured output"),
    ("white space in an attribute changed", b'"not today"', b'"not  today"'),
    ("a carriage return added by reference", b"captured\n", b"captured&#13;\n"),
    ("a suite added", b"</testsuite><ds:", b'</testsuite><testsuite name="more"/><ds:'),
    ("a property added", CASES[0], b'<properties><property name="git:commit" value="0"/></properties>' + CASES[0]),
    ("the root renamed", b"testsuites", b"testsuite"),
    ("the default namespace of the root changed", b"<testsuites ", b'<testsuites xmlns="urn:other" '),
    ("a namespace declared on the root", b"<testsuites ", b'<testsuites xmlns:x="urn:other" '),
    ("a test case moved into a foreign namespace", CASES[1], b'<testcase xmlns="urn:other" classname'),
    ("xml:base added to the root", b"<testsuites ", b'<testsuites xml:base="http://example.com/" '),
    ("xml:lang added to the root", b"<testsuites ", b'<testsuites xml:lang="en" '),
    ("an Id added to the root", b"<testsuites ", b'<testsuites Id="x" '),
    ("a stylesheet instruction before the root", b"<testsuites", b'<?xml-stylesheet href="x.xsl"?><testsuites'),
    (
        "an XInclude added",
        CASES[0],
        b'<x:include xmlns:x="http://www.w3.org/2001/XInclude" href="/etc/hosts"/>' + CASES[0],
    ),
):
    _all = {"the root renamed": -1}.get(_label, 1)
    add(f"changed: {_label}", edited(_old, _new, _all), SignatureBroken, CHANGED)

add("changed: an instruction after the root", lambda: good() + b"<?note approved?>", SignatureBroken, CHANGED)


def _reordered() -> bytes:
    document = good()
    cases = [
        b"<testcase" + part.partition(b"</testsuite>")[0]
        for part in document.partition(b"</testsuite>")[0].split(b"<testcase")[1:]
    ]
    return swap(document, b"".join(cases), b"".join(reversed(cases)))


add("changed: the order of cases", _reordered, SignatureBroken, CHANGED)
add(
    "changed: pretty-printed after signing",
    lambda: etree.tostring(etree.fromstring(good(), etree.XMLParser(remove_blank_text=True)), pretty_print=True),
    SignatureBroken,
)
add(
    "changed: pretty-printed, nothing else in the signature touched",
    edited(b"><testcase", b">\n  <testcase", -1),
    SignatureBroken,
    "white space was added, as pretty-printing does",
)
_ACCENTED = "<testsuite><testcase name='é'/></testsuite>".encode()
add(
    "changed: an encoding declared that changes characters",
    lambda: b"<?xml version='1.0' encoding='ISO-8859-1'?>" + _signed(_ACCENTED),
    SignatureBroken,
    CHANGED,
)
add(
    "re-encoded with all characters kept",
    lambda: b"<?xml version='1.0' encoding='ISO-8859-1'?>" + _signed(_ACCENTED).decode().encode("latin-1"),
    None,
)
add("encoding: UTF-16", lambda: good().decode().replace("utf-8", "utf-16").encode("utf-16"), ReportRefused, "UTF-16")
add("encoding: UTF-16 without a byte order mark", lambda: good().decode().encode("utf-16-le"), ReportRefused, "UTF-16")
add("encoding: UTF-32", lambda: good().decode().encode("utf-32-be"), ReportRefused, "UTF-32")
add("encoding: EBCDIC", lambda: good().decode().encode("cp500"), ReportRefused, "EBCDIC")
add("encoding: UTF-7", edited(b"utf-8", b"UTF-7"), ReportRefused, "its encoding is UTF-7")
add("encoding: ISO-2022-JP", edited(b"utf-8", b"ISO-2022-JP"), ReportRefused, "its encoding is ISO-2022-JP")
add("encoding: unknown", edited(b"utf-8", b"x-secret"), ReportRefused, "its encoding is x-secret")
add("encoding: bytes that are not UTF-8", edited(b"captured", b"capt\xffred"), ReportMalformed)
add("XML 1.1", edited(b'version="1.0"', b'version="1.1"'), ReportRefused, "XML 1.1")

# --- the signature stripped, moved, doubled, replaced ----------------------------------------------------------------

add("stripped: no signature", lambda: without_signature(good()), ReportUnsigned, "carries no signature")
add(
    "stripped: a Signature of another namespace",
    edited(NS.encode(), b"http://www.w3.org/2000/09/xmldsig"),
    ReportUnsigned,
    "carries no signature",
)
add(
    "stripped: a commented-out signature",
    lambda: swap(good(), signature_of(good()), b"<!-- " + signature_of(good()) + b" -->"),
    ReportUnsigned,
)
add(
    "stripped: a signature inside CDATA",
    lambda: swap(good(), signature_of(good()), b"<![CDATA[" + signature_of(good()) + b"]]>"),
    ReportUnsigned,
)


def _moved(before: bytes) -> Callable[[], bytes]:
    def make() -> bytes:
        document = good()
        return swap(without_signature(document), before, signature_of(document) + before)

    return make


add("moved: into the suite", _moved(b"</testsuite>"), SignatureBroken, "not a direct child of the root")
add("moved: into a test case", _moved(FAILURE), SignatureBroken, "not a direct child of the root")
add("moved: to the beginning of the root", _moved(b"<testsuite "), None)  # enveloped: its place says nothing
add(
    "doubled: beside itself",
    lambda: swap(good(), signature_of(good()), signature_of(good()) * 2),
    SignatureBroken,
    "there are 2 signatures",
)
add(
    "doubled: one of somebody else beside it",
    lambda: swap(good(), b"</testsuites>", signature_of(_signed(REPORT, "stranger")) + b"</testsuites>"),
    SignatureBroken,
    "there are 2 signatures",
)
add(
    "doubled: one inside a case, over the case",
    lambda: swap(good(), b"</testcase>", signature_of(good()) + b"</testcase>"),
    SignatureBroken,
    "there are 2 signatures",
)
add("doubled: a signature over a signed report", lambda: sign(good(), signer("build")), SignatureBroken, "2 signatures")
add(
    "replaced: by a stranger's",
    lambda: _signed(swap(REPORT, FAILURE, b""), "stranger"),
    SignerUntrusted,
    "the signer CN=stranger is none of those",
)
add(
    "replaced: by a self-signed one of the same subject",
    lambda: _signed(swap(REPORT, FAILURE, b""), "imposter"),
    SignerUntrusted,
    "calls itself CN=build-7, but has another key",
)
add(
    "replaced: by another key under the real certificate",
    lambda: sign(swap(REPORT, FAILURE, b""), signer("forged")),
    SignatureBroken,
    WRONG_VALUE,
)
add(
    "replaced: by another key without a certificate",
    lambda: sign(swap(REPORT, FAILURE, b""), signer("imposter"), infos=""),
    VerificationImpossible,
    "carries no certificate, and it was made by none of those given",
)
add(
    "replaced: the certificate in KeyInfo by a stranger's",
    lambda: swap(good(), between(good(), b"X509Certificate"), between(_signed(REPORT, "imposter"), b"X509Certificate")),
    SignatureBroken,
    WRONG_VALUE,
)
add(
    "replaced: the certificate in KeyInfo by a stranger's, nobody pinned",
    lambda: swap(good(), between(good(), b"X509Certificate"), between(_signed(REPORT, "imposter"), b"X509Certificate")),
    SignatureBroken,
    WRONG_VALUE,
    trust_nobody,
)
add(
    "replaced: the certificate in KeyInfo by one for another kind of key",
    lambda: swap(good(), between(good(), b"X509Certificate"), between(_signed(REPORT, "stranger"), b"X509Certificate")),
    SignatureBroken,
    "the signature method is RSA-SHA256, but the signer's key is for ECDSA",
)
add(
    "replaced: a stranger's first, the real certificate second",
    lambda: sign(
        swap(REPORT, FAILURE, b""),
        signer("stranger"),
        infos=f"<ds:KeyInfo>{certificates(signer('stranger').certificate, signer('build').certificate)}</ds:KeyInfo>",
    ),
    SignerUntrusted,
    "the signer CN=stranger is none of those",
)
add(
    "replaced: the real certificate first, a stranger's key",
    lambda: sign(
        REPORT,
        signer("imposter"),
        infos=f"<ds:KeyInfo>{certificates(signer('build').certificate, signer('imposter').certificate)}</ds:KeyInfo>",
    ),
    SignerUntrusted,
    "but has another key than the certificate given",
)
add(
    "transplanted: from another report",
    lambda: swap(REPORT.replace(b"4", b"5"), b"</testsuites>", signature_of(good()) + b"</testsuites>"),
    SignatureBroken,
    CHANGED,
)
add("no certificate, signer pinned", lambda: by_build(infos=""), None)
add(
    "no certificate, signer pinned among others",
    lambda: by_build(infos=""),
    None,
    trust=pins("ed25519", "rsa1024", "stranger", "build"),
)
add(
    "no certificate, nobody pinned",
    lambda: by_build(infos=""),
    VerificationImpossible,
    "carries no certificate; give the signer's",
    trust_nobody,
)
add(
    "no certificate, an authority given",
    lambda: by_build(infos=""),
    VerificationImpossible,
    "carries no certificate; give the signer's",
    trust_ca,
)
add("nobody trusted", good, SignerUntrusted, "nothing says whether the signer CN=build-7 can be trusted", trust_nobody)
add("the certificate renewed with the same key", lambda: _signed(REPORT, "renewed"), None)
add("the old certificate, the renewed one pinned", good, None, trust=pins("renewed"))

# --- wrapping --------------------------------------------------------------------------------------------------------

_FAKE = b'<testsuite name="pytest"><testcase name="test_charge"/></testsuite>'


def _by_id(document: bytes, uri: str = "#evidence") -> bytes:
    """A signature over an element with an Id, as other profiles allow it; the value is right."""
    inner = document.replace(b"<testsuite ", b'<testsuite Id="evidence" ', 1)
    element = etree.fromstring(inner).find("testsuite")
    return sign(inner, signer("build"), uri=f' URI="{uri}"', content=etree.tostring(element, method="c14n"))


add(
    "wrapped: Reference to the suite by Id",
    lambda: _by_id(REPORT),
    SignatureBroken,
    "covers '#evidence', not the whole",
)
add(
    "wrapped: signed by Id, a fake sibling added",
    lambda: swap(_by_id(REPORT), b'<testsuite Id="', _FAKE + b'<testsuite Id="'),
    SignatureBroken,
    "covers '#evidence', not the whole",
)
add(
    "wrapped: the signed suite moved aside",
    lambda: swap(_by_id(REPORT), b"<testsuites ", b"<testsuites><wrapper>@</wrapper>"[:12] + b" "),
    SignatureBroken,
    "covers '#evidence', not the whole",
)
for _uri in (
    "#xpointer(/)",
    "#xpointer(id('evidence'))",
    "report.xml",
    "file:///etc/passwd",
    "http://example.com/x",
    "#",
    " ",
):
    add(
        f"wrapped: Reference to {_uri!r}",
        lambda uri=_uri: by_build(uri=f' URI="{uri}"'),
        SignatureBroken,
        "not the whole report",
    )
add("wrapped: Reference without URI", lambda: by_build(uri=""), SignatureBroken, "Reference has no URI")
add(
    "wrapped: URI in another namespace",
    lambda: by_build(uri=' xmlns:e="urn:e" e:URI=""'),
    SignatureBroken,
    "Reference has no URI",
)
add("wrapped: Id of the suite in use, URI empty", lambda: by_build(uri=' URI="" Id="evidence"'), None)
add(
    "wrapped: Reference to a Manifest by Type",
    lambda: by_build(uri=f' URI="" Type="{NS}Manifest"'),
    SignatureBroken,
    "'Type'",
)


def _no_declaration(document: bytes) -> bytes:
    return document.partition(b"?>")[2]


add(
    "wrapped: in a new root",
    lambda: b"<testsuites>" + _FAKE + _no_declaration(good()) + b"</testsuites>",
    SignatureBroken,
    "not a direct child of the root",
)
add(
    "wrapped: in a new root, the signature moved up",
    lambda: (
        b"<testsuites>" + _FAKE + without_signature(_no_declaration(good())) + signature_of(good()) + b"</testsuites>"
    ),
    SignatureBroken,
    CHANGED,
)
add("wrapped: a sibling suite", edited(b"<testsuite ", _FAKE + b"<testsuite "), SignatureBroken, CHANGED)
add(
    "wrapped: a sibling after the signature",
    edited(b"</testsuites>", _FAKE + b"</testsuites>"),
    SignatureBroken,
    CHANGED,
)
add(
    "wrapped: the original inside the signature's Object",
    lambda: swap(
        swap(good(), REPORT.partition(b"?>")[2].partition(b">")[2].rpartition(b"</")[0], _FAKE),
        b"</ds:Signature>",
        b"<ds:Object>" + REPORT.partition(b"?>")[2] + b"</ds:Object></ds:Signature>",
    ),
    SignatureBroken,
    "Signature contains SignedInfo, SignatureValue, KeyInfo, Object",
)
add(
    "wrapped: fake cases in an Object inside the signature",
    lambda: by_build(after="<ds:Object>" + _FAKE.decode() + "</ds:Object>"),
    SignatureBroken,
    "Signature contains SignedInfo, SignatureValue, KeyInfo, Object",
)
add(
    "wrapped: an Object with no KeyInfo",
    lambda: by_build(infos="", after="<ds:Object/>"),
    SignatureBroken,
    "Signature contains SignedInfo, SignatureValue, Object",
)
add(
    "wrapped: fake cases as a foreign element inside the signature",
    lambda: by_build(after=_FAKE.decode()),
    SignatureBroken,
    "KeyInfo, testsuite of another namespace",
)
add("wrapped: text inside the signature", lambda: by_build(after="passed"), SignatureBroken, "Signature contains text")
add(
    "wrapped: text at the beginning of the signature",
    lambda: swap(by_build(), b"<ds:SignedInfo>", b"x<ds:SignedInfo>"),
    SignatureBroken,
    "Signature contains text",
)
add(
    "wrapped: an attribute on the signature",
    lambda: by_build(attributes=' tests="4"'),
    SignatureBroken,
    "Signature has the attribute 'tests'",
)
add("an Id on the signature", lambda: by_build(attributes=' Id="s1"'), None)
add(
    "an exclusive signature under a namespace of its own",
    lambda: by_build(attributes=' xmlns:other="urn:other"'),
    None,
)

# --- KeyInfo ---------------------------------------------------------------------------------------------------------


def _key_info_first(document: bytes) -> bytes:
    infos = b"<ds:KeyInfo>" + between(document, b"KeyInfo") + b"</ds:KeyInfo>"
    return swap(swap(document, infos, b""), b"<ds:SignatureValue>", infos + b"<ds:SignatureValue>")


def _key_value() -> str:
    public = key("rsa2048").public_key().public_numbers()
    modulus = builder.encoded(public.n.to_bytes(256, "big"))
    numbers = f"<ds:Modulus>{modulus}</ds:Modulus><ds:Exponent>AQAB</ds:Exponent>"
    return f"<ds:KeyValue><ds:RSAKeyValue>{numbers}</ds:RSAKeyValue></ds:KeyValue>"


def _own_certificate() -> str:
    return certificates(signer("build").certificate)


for _label, _inside, _reason in (
    ("KeyValue", _key_value, "KeyInfo contains KeyValue"),
    ("KeyValue beside X509Data", lambda: _own_certificate() + _key_value(), "KeyInfo contains X509Data, KeyValue"),
    ("KeyName", lambda: "<ds:KeyName>build-7</ds:KeyName>", "KeyInfo contains KeyName"),
    ("KeyName beside X509Data", lambda: "<ds:KeyName>b</ds:KeyName>" + _own_certificate(), "KeyName, X509Data"),
    ("RetrievalMethod", lambda: '<ds:RetrievalMethod URI="http://example.com/key"/>', "contains RetrievalMethod"),
    ("X509Data twice", lambda: _own_certificate() * 2, "KeyInfo contains X509Data, X509Data"),
    ("nothing", lambda: "", "KeyInfo contains nothing"),
    ("foreign element", lambda: _own_certificate() + '<a xmlns="urn:a"/>', "X509Data, a of another namespace"),
    ("foreign element named X509Data", lambda: '<X509Data xmlns="urn:a"/>', "X509Data of another namespace"),
    ("text", lambda: _own_certificate() + "trust me", "KeyInfo contains text"),
    ("empty X509Data", lambda: "<ds:X509Data/>", "X509Data has 0 elements"),
    (
        "eleven certificates",
        lambda: certificates(*[signer("build").certificate] * 11),
        "X509Data has 11 elements; 1 to 10 are accepted",
    ),
    (
        "X509SubjectName",
        lambda: _own_certificate().replace("<ds:X509C", "<ds:X509SubjectName>CN=x</ds:X509SubjectName><ds:X509C", 1),
        "X509Data contains X509SubjectName, X509Certificate",
    ),
    (
        "X509IssuerSerial alone",
        lambda: "<ds:X509Data><ds:X509IssuerSerial/></ds:X509Data>",
        "X509Data contains X509IssuerSerial",
    ),
    (
        "X509CRL",
        lambda: _own_certificate().replace("</ds:X509Data>", "<ds:X509CRL>AA==</ds:X509CRL></ds:X509Data>"),
        "X509Data contains X509Certificate, X509CRL",
    ),
    (
        "text in X509Data",
        lambda: _own_certificate().replace("</ds:X509Data>", "x</ds:X509Data>"),
        "X509Data contains text",
    ),
    (
        "attribute on X509Certificate",
        lambda: _own_certificate().replace("<ds:X509Certificate>", '<ds:X509Certificate x="1">'),
        "X509Certificate has the attribute 'x'",
    ),
    (
        "element inside X509Certificate",
        lambda: _own_certificate().replace("</ds:X509C", "<ds:X/></ds:X509C"),
        "X509Certificate is not base64 text",
    ),
    (
        "damaged certificate",
        lambda: "<ds:X509Data><ds:X509Certificate>MIIB</ds:X509Certificate></ds:X509Data>",
        "the certificate in the signature is damaged",
    ),
    (
        "empty certificate",
        lambda: "<ds:X509Data><ds:X509Certificate> </ds:X509Certificate></ds:X509Data>",
        "X509Certificate is empty",
    ),
    (
        "certificate that is not base64",
        lambda: "<ds:X509Data><ds:X509Certificate>?</ds:X509Certificate></ds:X509Data>",
        "X509Certificate is not base64 text",
    ),
    (
        "certificate of an unknown version",  # `02 01 02` in the explicit version field is version 3
        lambda: (
            "<ds:X509Data><ds:X509Certificate>"
            + builder.encoded(
                swap(
                    signer("build").certificate.public_bytes(Encoding.DER),
                    b"\xa0\x03\x02\x01\x02",
                    b"\xa0\x03\x02\x01\x05",
                )
            )
            + "</ds:X509Certificate></ds:X509Data>"
        ),
        "the certificate in the signature is damaged",
    ),
):
    add(
        f"KeyInfo: {_label}",
        lambda inside=_inside: by_build(infos=f"<ds:KeyInfo>{inside()}</ds:KeyInfo>"),
        SignatureBroken,
        _reason,
    )
add("KeyInfo: twice", lambda: by_build(infos=key_info(signer("build")) * 2), SignatureBroken, "KeyInfo, KeyInfo")
add(
    "KeyInfo: ten certificates",
    lambda: by_build(infos="<ds:KeyInfo>" + certificates(*[signer("build").certificate] * 10) + "</ds:KeyInfo>"),
    None,
)
add(
    "KeyInfo: before SignatureValue",
    lambda: _key_info_first(by_build()),
    SignatureBroken,
    "Signature contains SignedInfo, KeyInfo, SignatureValue",
)
add(
    "KeyInfo: an HMAC key name and no value",
    lambda: swap(
        by_build(), b"<ds:SignatureValue>" + between(by_build(), b"SignatureValue") + b"</ds:SignatureValue>", b""
    ),
    SignatureBroken,
    "Signature contains SignedInfo, KeyInfo, where SignedInfo, SignatureValue is accepted",
)

# --- references, transforms, digests ---------------------------------------------------------------------------------


def _info(references: str, **options: Any) -> str:
    return signed_info(references, method_rsa(), **options)


def _value() -> str:
    return digest(canonical(REPORT))


add(
    "references: none",
    lambda: by_build(info=_info("")),
    SignatureBroken,
    "SignedInfo contains CanonicalizationMethod, SignatureMethod, where",
)
add(
    "references: two",
    lambda: by_build(info=_info(reference(_value()) * 2)),
    SignatureBroken,
    "Reference, Reference, where",
)
add(
    "references: the whole report and a part",
    lambda: by_build(info=_info(reference(_value()) + reference(_value(), uri=' URI="#x"'))),
    SignatureBroken,
    "Reference, Reference, where",
)
add(
    "references: a Manifest's in an Object",
    lambda: by_build(
        info=_info(reference(_value(), uri=f' URI="#m" Type="{NS}Manifest"')),
        after=f'<ds:Object><ds:Manifest Id="m">{reference(_value())}</ds:Manifest></ds:Object>',
    ),
    SignatureBroken,
    "KeyInfo, Object",
)
_XPATH = "http://www.w3.org/TR/1999/REC-xpath-19991116"
_XPATH2 = "http://www.w3.org/2002/06/xmldsig-filter2"
_XSLT = "http://www.w3.org/TR/1999/REC-xslt-19991116"
_BASE64 = NS + "base64"
_SECOND = "the second transform "
for _label, _transforms, _reason in (
    (
        "XPath instead of enveloped",
        transform(_XPATH, "<ds:XPath>not(ancestor::failure)</ds:XPath>") + transform(INCLUSIVE),
        "first transform",
    ),
    (
        "XPath second",
        transform(ENVELOPED) + transform(_XPATH, "<ds:XPath>self::text()</ds:XPath>"),
        _SECOND + repr(_XPATH),
    ),
    (
        "XPath filter 2",
        transform(ENVELOPED)
        + transform(_XPATH2, f'<f:XPath xmlns:f="{_XPATH2}" Filter="subtract">//failure</f:XPath>'),
        _SECOND + repr(_XPATH2),
    ),
    (
        "XSLT",
        transform(ENVELOPED)
        + transform(_XSLT, '<xsl:stylesheet xmlns:xsl="http://www.w3.org/1999/XSL/Transform" version="1.0"/>'),
        _SECOND + repr(_XSLT),
    ),
    ("base64", transform(ENVELOPED) + transform(_BASE64), _SECOND + repr(_BASE64)),
    ("unknown", transform(ENVELOPED) + transform("urn:example:sort"), _SECOND + "'urn:example:sort'"),
    ("without Algorithm", transform(ENVELOPED) + "<ds:Transform/>", _SECOND + "''"),
    ("WithComments", transform(ENVELOPED) + transform(INCLUSIVE + "#WithComments"), _SECOND),
    ("exclusive WithComments", transform(ENVELOPED) + transform(EXCLUSIVE + "WithComments"), _SECOND),
    ("enveloped twice", transform(ENVELOPED) * 2, _SECOND + repr(ENVELOPED)),
    ("swapped", transform(INCLUSIVE) + transform(ENVELOPED), "the first transform " + repr(INCLUSIVE)),
    ("enveloped alone", transform(ENVELOPED), "has 1 transforms, not the 2 accepted ones"),
    ("canonicalization alone", transform(INCLUSIVE), "has 1 transforms"),
    ("three", transform(ENVELOPED) + transform(INCLUSIVE) + transform(EXCLUSIVE), "has 3 transforms"),
    (
        "XPath between",
        transform(ENVELOPED) + transform(_XPATH, "<ds:XPath>1</ds:XPath>") + transform(INCLUSIVE),
        "has 3 transforms",
    ),
    ("none", "", "has 0 transforms"),
    (
        "parameters",
        transform(ENVELOPED)
        + transform(EXCLUSIVE, f'<e:InclusiveNamespaces xmlns:e="{EXCLUSIVE}" PrefixList="#default"/>'),
        "second transform has parameters",
    ),
    (
        "parameters of enveloped",
        transform(ENVELOPED, "<ds:XPath>1</ds:XPath>") + transform(INCLUSIVE),
        "first transform has parameters",
    ),
    ("text as a parameter", transform(ENVELOPED, "x") + transform(INCLUSIVE), "first transform has parameters"),
    ("a foreign element", '<Transform xmlns="urn:a"/>' + transform(INCLUSIVE), "has 2 transforms"),
):
    add(f"transforms: {_label}", lambda t=_transforms: by_build(transforms=t), VerificationImpossible, _reason)
add(
    "transforms: no Transforms",
    lambda: by_build(
        info=_info(swap_text(reference(_value()), f"<ds:Transforms>{DEFAULT_TRANSFORMS}</ds:Transforms>", ""))
    ),
    SignatureBroken,
    "Reference contains DigestMethod, DigestValue, where",
)
add(
    "transforms: an attribute on one",
    lambda: by_build(
        transforms=transform(ENVELOPED).replace("<ds:Transform ", '<ds:Transform x="1" ') + transform(INCLUSIVE)
    ),
    SignatureBroken,
    "Transform has the attribute 'x'",
)
add(
    "transforms: text between them",
    lambda: by_build(transforms=transform(ENVELOPED) + "and" + transform(INCLUSIVE)),
    SignatureBroken,
    "Transforms contains text",
)
add(
    "transforms: a Signature-like prefix in another namespace",
    lambda: by_build(transforms=transform(ENVELOPED) + transform(INCLUSIVE).replace("Algorithm", "xml:base")),
    SignatureBroken,
    "Transform has the attribute",
)


def swap_text(text: str, old: str, new: str) -> str:
    assert old in text, old
    return text.replace(old, new)


def _digest_value(new: str) -> Callable[[], bytes]:
    """The content of DigestValue replaced before signing, so that the signature value is right for it."""
    return lambda: by_build(info=_info(swap_text(reference("@"), ">@<", f">{new}<")))


add("digest: empty", _digest_value(""), SignatureBroken, "DigestValue is empty")
add("digest: white space", _digest_value(" \n "), SignatureBroken, "DigestValue is empty")
add("digest: not base64", _digest_value("?!"), SignatureBroken, "DigestValue is not base64 text")
add(
    "digest: base64 without its padding",
    lambda: by_build(info=_info(reference(_value().rstrip("=")))),
    SignatureBroken,
    "DigestValue is not base64 text",
)
add("digest: of something else", _digest_value(base64.b64encode(bytes(32)).decode()), SignatureBroken, CHANGED)
add(
    "digest: truncated",
    lambda: by_build(info=_info(reference(builder.encoded(base64.b64decode(_value())[:16])))),
    SignatureBroken,
    CHANGED,
)
add(
    "digest: with a byte more",
    lambda: by_build(info=_info(reference(builder.encoded(base64.b64decode(_value()) + b"\0")))),
    SignatureBroken,
    CHANGED,
)
add(
    "digest: twice",
    lambda: by_build(
        info=_info(
            swap_text(reference(_value()), "</ds:Reference>", "<ds:DigestValue>AAAA</ds:DigestValue></ds:Reference>")
        )
    ),
    SignatureBroken,
    "DigestValue, DigestValue, where",
)
add(
    "digest: right one second",
    lambda: by_build(
        info=_info(
            swap_text(reference(_value()), "<ds:DigestValue>", "<ds:DigestValue>AAAA</ds:DigestValue><ds:DigestValue>")
        )
    ),
    SignatureBroken,
    "DigestValue, DigestValue, where",
)
add("digest: an element inside", _digest_value("<ds:X/>AAAA"), SignatureBroken, "DigestValue is not base64 text")
add(
    "digest: an instruction inside",
    _digest_value("AA<?x y?>AA"),
    VerificationImpossible,
    "processing instruction inside",
)
add(
    "digest: an attribute",
    lambda: by_build(info=_info(swap_text(reference(_value()), "<ds:DigestValue>", '<ds:DigestValue Encoding="b">'))),
    SignatureBroken,
    "DigestValue has the attribute 'Encoding'",
)
add("digest: too long", _digest_value("A" * 100_004), SignatureBroken, "DigestValue is not base64 text")


def _split_digest() -> bytes:
    """The digest of a forged report, then a comment and the real one: who reads only one piece is deceived."""
    forged = swap(good(), FAILURE, b"")
    wrong = digest(canonical(without_signature(forged))).encode()
    real = between(forged, b"DigestValue")
    return swap(forged, real, wrong + b"<!-- -->" + real)


def _split_digest_signed() -> bytes:
    """As the one before, but the digest of the forged content stands in a comment."""
    forged = swap(good(), FAILURE, b"")
    wrong = digest(canonical(without_signature(forged))).encode()
    return swap(forged, real := between(forged, b"DigestValue"), b"<!--" + wrong + b"-->" + real)


add("digest: forged one before a comment", _split_digest, SignatureBroken)
add("digest: forged one inside a comment", _split_digest_signed, SignatureBroken, CHANGED)
add(
    "digest: forged, the value not made again",
    lambda: swap(
        d := swap(good(), FAILURE, b""), between(d, b"DigestValue"), digest(canonical(without_signature(d))).encode()
    ),
    SignatureBroken,
    WRONG_VALUE,
)
for _label, _method in (("SHA-1", builder.SHA1), ("MD5", builder.MD5), ("SHA-224", builder.SHA224)):
    add(
        f"digest: {_label}",
        lambda m=_method: by_build(digest_method=m),
        VerificationImpossible,
        f"the digest method {_method!r} is not accepted",
    )
add(
    "digest: unknown method",
    lambda: by_build(info=_info(swap_text(reference(_value()), SHA256, "urn:sha257"))),
    VerificationImpossible,
    "the digest method 'urn:sha257' is not",
)
add(
    "digest: SHA-512 claimed for a SHA-256 value",
    lambda: by_build(info=_info(reference(_value(), method=builder.SHA512))),
    SignatureBroken,
    CHANGED,
)
add(
    "digest: method with parameters",
    lambda: by_build(info=_info(swap_text(reference(_value()), f'"{SHA256}"/>', f'"{SHA256}">x</ds:DigestMethod>'))),
    VerificationImpossible,
    "the digest method has parameters",
)

# --- SignedInfo ------------------------------------------------------------------------------------------------------

for _label, _c14n in (
    ("1.0 WithComments", INCLUSIVE + "#WithComments"),
    ("1.1 WithComments", INCLUSIVE_1_1 + "#WithComments"),
    ("exclusive WithComments", EXCLUSIVE + "WithComments"),
    ("unknown", "urn:minimal"),
    ("empty", ""),
):
    add(
        f"SignedInfo: canonicalization {_label}",
        lambda c=_c14n: by_build(c14n=c),
        VerificationImpossible,
        f"the canonicalization of SignedInfo {_c14n!r} is not accepted",
    )
add(
    "SignedInfo: canonicalization without Algorithm",
    lambda: by_build(info=swap_text(_info(reference(_value())), f' Algorithm="{EXCLUSIVE}"', "")),
    VerificationImpossible,
    "the canonicalization of SignedInfo ''",
)
add(
    "SignedInfo: InclusiveNamespaces",
    lambda: by_build(
        info=_info(reference(_value()), c14n_inside=f'<e:InclusiveNamespaces xmlns:e="{EXCLUSIVE}" PrefixList="ds"/>')
    ),
    VerificationImpossible,
    "the canonicalization of SignedInfo has parameters",
)
add(
    "SignedInfo: HMACOutputLength",
    lambda: by_build(info=_info(reference(_value()), method_inside="<ds:HMACOutputLength>0</ds:HMACOutputLength>")),
    VerificationImpossible,
    "the signature method has parameters",
)
add(
    "SignedInfo: a foreign attribute",
    lambda: by_build(
        info=swap_text(_info(reference(_value())), "<ds:SignedInfo>", '<ds:SignedInfo xmlns:a="urn:a" a:b="1">')
    ),
    SignatureBroken,
    "SignedInfo has the attribute '{urn:a}b'",
)
add(
    "SignedInfo: an Id",
    lambda: by_build(info=swap_text(_info(reference(_value())), "<ds:SignedInfo>", '<ds:SignedInfo Id="i">')),
    None,
)
add(
    "SignedInfo: a namespace declared and not used",
    lambda: by_build(info=swap_text(_info(reference(_value())), "<ds:SignedInfo>", '<ds:SignedInfo xmlns:a="urn:a">')),
    None,
)
add(
    "SignedInfo: a foreign element",
    lambda: by_build(info=_info(reference(_value()) + '<a xmlns="urn:a"/>')),
    SignatureBroken,
    "Reference, a of another namespace, where",
)
add(
    "SignedInfo: text",
    lambda: by_build(info=_info("all of it" + reference(_value()))),
    SignatureBroken,
    "SignedInfo contains text",
)
add(
    "SignedInfo: text in Reference",
    lambda: by_build(info=_info(reference(_value(), inside="x"))),
    SignatureBroken,
    "Reference contains text",
)
add(
    "SignedInfo: a foreign attribute on Reference",
    lambda: by_build(uri=' URI="" x="1"'),
    SignatureBroken,
    "Reference has the attribute 'x'",
)
add(
    "SignedInfo: a foreign attribute on SignatureMethod",
    lambda: by_build(info=swap_text(_info(reference(_value())), "<ds:SignatureMethod ", '<ds:SignatureMethod x="1" ')),
    SignatureBroken,
    "SignatureMethod has the attribute 'x'",
)
add(
    "SignedInfo: of another namespace",
    lambda: swap(
        swap(by_build(), b"<ds:SignedInfo>", b'<SignedInfo xmlns="urn:a">'), b"</ds:SignedInfo>", b"</SignedInfo>"
    ),
    SignatureBroken,
    "Signature contains SignedInfo of another namespace",
)
add(
    "SignedInfo: twice",
    lambda: swap(by_build(), i := b"<ds:SignedInfo>" + between(by_build(), b"SignedInfo") + b"</ds:SignedInfo>", i * 2),
    SignatureBroken,
    "Signature contains SignedInfo, SignedInfo, SignatureValue",
)
add(
    "SignedInfo: none",
    lambda: swap(by_build(), b"<ds:SignedInfo>" + between(by_build(), b"SignedInfo") + b"</ds:SignedInfo>", b""),
    SignatureBroken,
    "Signature contains SignatureValue, KeyInfo",
)
add(
    "SignedInfo: an empty Signature",
    lambda: builder.insert(REPORT, f'<ds:Signature xmlns:ds="{NS}"/>'),
    SignatureBroken,
    "Signature contains nothing, where SignedInfo, SignatureValue is accepted",
)
add(
    "SignedInfo: white space changed after signing",
    lambda: swap(by_build(), b"<ds:SignedInfo>", b"<ds:SignedInfo> "),
    SignatureBroken,
    WRONG_VALUE,
)
add(
    "SignedInfo: an algorithm changed after signing",
    lambda: swap(by_build(), b"rsa-sha256", b"rsa-sha512"),
    SignatureBroken,
    WRONG_VALUE,
)
add(
    "SignedInfo: under inclusive canonicalization in an undeclared default namespace",
    lambda: by_build(c14n=INCLUSIVE, attributes=' xmlns=""'),
    None,
)
add(
    "SignedInfo: under inclusive canonicalization, a namespace declared outside after signing",
    lambda: swap(
        by_build(c14n=INCLUSIVE),
        f'<ds:Signature xmlns:ds="{NS}"'.encode(),
        f'<ds:Signature xmlns:ds="{NS}" xmlns:a="urn:a"'.encode(),
    ),
    SignatureBroken,
    WRONG_VALUE,
)

# --- signature values and methods ------------------------------------------------------------------------------------


def _hmac_with_public_key(message: bytes) -> bytes:
    public = key("rsa2048").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    made = hmac.HMAC(public, hashes.SHA256())
    made.update(message)
    return made.finalize()


def _hmac_with_certificate(message: bytes) -> bytes:
    made = hmac.HMAC(signer("build").certificate.public_bytes(Encoding.DER), hashes.SHA256())
    made.update(message)
    return made.finalize()


_SHA1 = hashes.SHA1()  # noqa: S303 - what is tested is that nobody accepts it


def _rsa(algorithm: hashes.HashAlgorithm, key_name: str = "rsa2048") -> Callable[[bytes], bytes]:
    return lambda message: key(key_name).sign(message, padding.PKCS1v15(), algorithm)


def _pss(message: bytes) -> bytes:
    return key("rsa2048").sign(message, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())


add(
    "method: HMAC with the public key",
    lambda: by_build(method=MORE + "hmac-sha256", value=_hmac_with_public_key),
    VerificationImpossible,
    f"the signature method '{MORE}hmac-sha256' is not accepted",
)
add(
    "method: HMAC with the certificate",
    lambda: by_build(method=MORE + "hmac-sha256", value=_hmac_with_certificate),
    VerificationImpossible,
    "hmac-sha256' is not accepted",
)
add(
    "method: HMAC-SHA1",
    lambda: by_build(method=NS + "hmac-sha1", value=_hmac_with_public_key),
    VerificationImpossible,
    "hmac-sha1' is not accepted",
)
add(
    "method: an HMAC value under RSA-SHA256",
    lambda: by_build(value=_hmac_with_public_key),
    SignatureBroken,
    WRONG_VALUE,
)
add(
    "method: RSA-SHA1",
    lambda: by_build(method=NS + "rsa-sha1", value=_rsa(_SHA1)),
    VerificationImpossible,
    "rsa-sha1' is not accepted",
)
add(
    "method: RSA-MD5",
    lambda: by_build(method=MORE + "rsa-md5", value=_rsa(hashes.SHA256())),
    VerificationImpossible,
    "rsa-md5' is not accepted",
)
add("method: DSA-SHA1", lambda: by_build(method=NS + "dsa-sha1"), VerificationImpossible, "dsa-sha1' is not accepted")
add(
    "method: ECDSA-SHA1",
    lambda: sign(REPORT, signer("p256"), method=MORE + "ecdsa-sha1"),
    VerificationImpossible,
    "ecdsa-sha1' is not accepted",
    pins("p256"),
)
add(
    "method: ECDSA-SHA224",
    lambda: sign(REPORT, signer("p256"), method=MORE + "ecdsa-sha224"),
    VerificationImpossible,
    "ecdsa-sha224' is not accepted",
    pins("p256"),
)
add(
    "method: RSA-PSS",
    lambda: by_build(method="http://www.w3.org/2007/05/xmldsig-more#sha256-rsa-MGF1", value=_pss),
    VerificationImpossible,
    "rsa-MGF1' is not accepted",
)
add(
    "method: Ed448",
    lambda: sign(REPORT, signer("ed448"), method="http://www.w3.org/2021/04/xmldsig-more#eddsa-ed448"),
    VerificationImpossible,
    "eddsa-ed448' is not accepted",
    pins("ed448"),
)
add(
    "method: none",
    lambda: by_build(info=swap_text(_info(reference(_value())), f' Algorithm="{method_rsa()}"', "")),
    VerificationImpossible,
    "the signature method '' is not accepted",
)
add("method: in other case", lambda: by_build(method=method_rsa().upper()), VerificationImpossible, "is not accepted")
add("method: RSA-SHA1 value under RSA-SHA256", lambda: by_build(value=_rsa(_SHA1)), SignatureBroken, WRONG_VALUE)
add(
    "method: RSA-SHA512 value under RSA-SHA256",
    lambda: by_build(value=_rsa(hashes.SHA512())),
    SignatureBroken,
    WRONG_VALUE,
)
add("method: PSS value under RSA-SHA256", lambda: by_build(value=_pss), SignatureBroken, WRONG_VALUE)
add(
    "method: ECDSA named, RSA key",
    lambda: by_build(method=MORE + "ecdsa-sha256", value=_rsa(hashes.SHA256())),
    SignatureBroken,
    "the signature method is ECDSA-SHA256, but the signer's key is for RSA",
)
add(
    "method: RSA named, EC key",
    lambda: sign(REPORT, signer("p256"), method=method_rsa()),
    SignatureBroken,
    "RSA-SHA256, but the signer's key is for ECDSA",
    pins("p256"),
)
add(
    "method: Ed25519 named, EC key",
    lambda: sign(REPORT, signer("p256"), method="http://www.w3.org/2021/04/xmldsig-more#eddsa-ed25519"),
    SignatureBroken,
    "Ed25519, but the signer's key is for ECDSA",
    pins("p256"),
)
add(
    "method: RSA named, Ed25519 key",
    lambda: sign(REPORT, signer("ed25519"), method=method_rsa()),
    SignatureBroken,
    "RSA-SHA256, but the signer's key is for Ed25519",
    pins("ed25519"),
)
add(
    "key: RSA-1024",
    lambda: sign(REPORT, signer("rsa1024")),
    VerificationImpossible,
    "RSA key has 1024 bits; at least 2048 are accepted",
    pins("rsa1024"),
)
add(
    "key: RSA-1024, nobody pinned",
    lambda: sign(REPORT, signer("rsa1024")),
    VerificationImpossible,
    "RSA key has 1024 bits",
    trust_nobody,
)
add(
    "key: RSA-1024 pinned, no certificate",
    lambda: sign(REPORT, signer("rsa1024"), infos=""),
    VerificationImpossible,
    "made by none of those given",
    pins("rsa1024"),
)
add(
    "key: secp256k1",
    lambda: sign(REPORT, signer("k256")),
    VerificationImpossible,
    "on the curve secp256k1, which is not accepted",
    pins("k256"),
)
add(
    "key: Ed448",
    lambda: sign(REPORT, signer("ed448")),
    VerificationImpossible,
    "a kind of key that is not accepted",
    pins("ed448"),
)
add(
    "key: DSA",
    lambda: sign(REPORT, signer("build"), infos=key_info(signer("dsa"))),
    VerificationImpossible,
    "a kind of key that is not accepted",
    pins("dsa"),
)


def _der(value: bytes) -> bytes:
    return encode_dss_signature(int.from_bytes(value[:32], "big"), int.from_bytes(value[32:], "big"))


def _value_edit(change: Callable[[bytes], bytes], name: str = "build") -> Callable[[], bytes]:
    by = name
    return lambda: sign(REPORT, signer(by), value=lambda message: change(builder.make_value(signer(by).key, message)))


def _raw_value(text: bytes) -> Callable[[], bytes]:
    return lambda: swap(d := by_build(), between(d, b"SignatureValue"), text)


add("value: empty", _raw_value(b""), SignatureBroken, "SignatureValue is empty")
add("value: not base64", _raw_value(b"AAA"), SignatureBroken, "SignatureValue is not base64 text")
add("value: an element inside", _raw_value(b"<ds:X/>AAAA"), SignatureBroken, "SignatureValue is not base64 text")
add("value: an instruction inside", _raw_value(b"AA<?x?>AA"), VerificationImpossible, "processing instruction inside")
add(
    "value: an attribute",
    lambda: swap(by_build(), b"<ds:SignatureValue>", b'<ds:SignatureValue x="1">'),
    SignatureBroken,
    "SignatureValue has the attribute 'x'",
)
add("value: an Id", lambda: swap(by_build(), b"<ds:SignatureValue>", b'<ds:SignatureValue Id="v">'), None)
add(
    "value: twice",
    lambda: swap(
        d := by_build(), v := b"<ds:SignatureValue>" + between(d, b"SignatureValue") + b"</ds:SignatureValue>", v * 2
    ),
    SignatureBroken,
    "SignatureValue, SignatureValue, KeyInfo",
)
add(
    "value: a bit flipped", _value_edit(lambda value: value[:-1] + bytes([value[-1] ^ 1])), SignatureBroken, WRONG_VALUE
)
add("value: truncated", _value_edit(lambda value: value[:-1]), SignatureBroken, WRONG_VALUE)
add("value: a byte more", _value_edit(lambda value: value + b"\0"), SignatureBroken, WRONG_VALUE)
add("value: a zero byte before", _value_edit(lambda value: b"\0" + value), SignatureBroken, WRONG_VALUE)
add("value: zeros", _value_edit(lambda value: bytes(len(value))), SignatureBroken, WRONG_VALUE)
add(
    "value: longer than any",
    _value_edit(lambda _: bytes(80_000)),
    SignatureBroken,
    "SignatureValue is not base64 text",
)
add(
    "value: forged before a comment",
    lambda: swap(d := by_build(), v := between(d, b"SignatureValue"), b"AAAA<!-- -->" + v),
    SignatureBroken,
    WRONG_VALUE,
)
for _label, _change, _reason in (
    ("DER", _der, "bytes; r and s side by side have 64"),
    ("zero r and s", lambda _: bytes(64), WRONG_VALUE),
    ("zero r", lambda value: bytes(32) + value[32:], WRONG_VALUE),
    ("zero s", lambda value: value[:32] + bytes(32), WRONG_VALUE),
    ("r is the order", lambda value: P256_ORDER.to_bytes(32, "big") + value[32:], WRONG_VALUE),
    ("s is the order", lambda value: value[:32] + P256_ORDER.to_bytes(32, "big"), WRONG_VALUE),
    ("r and s are the order", lambda _: P256_ORDER.to_bytes(32, "big") * 2, WRONG_VALUE),
    ("r and s are one", lambda _: _raw(1, 1), WRONG_VALUE),
    ("all bits set", lambda _: b"\xff" * 64, WRONG_VALUE),
    ("r and s swapped", lambda value: value[32:] + value[:32], WRONG_VALUE),
    ("truncated", lambda value: value[:-1], "has 63 bytes; r and s side by side have 64"),
    ("half", lambda value: value[:32], "has 32 bytes; r and s side by side have 64"),
    ("padded", lambda value: b"\0" + value[:32] + b"\0" + value[32:], "has 66 bytes; r and s side by side have 64"),
):
    add(f"ECDSA: {_label}", _value_edit(_change, "p256"), SignatureBroken, _reason, pins("p256"))
add(
    "ECDSA: P-521 values of 65 bytes each",
    _value_edit(lambda value: value[1:66] + value[67:], "p521"),
    SignatureBroken,
    "has 130 bytes; r and s side by side have 132",
    pins("p521"),
)
add(
    "Ed25519: truncated",
    _value_edit(lambda value: value[:-1], "ed25519"),
    SignatureBroken,
    WRONG_VALUE,
    pins("ed25519"),
)
add("Ed25519: zeros", _value_edit(lambda _: bytes(64), "ed25519"), SignatureBroken, WRONG_VALUE, pins("ed25519"))


# --- certificates and authorities ------------------------------------------------------------------------------------


def _own(name: str) -> Callable[[], bytes]:
    return lambda: sign(REPORT, signer(name))


add(
    "certificate: expired",
    _own("expired"),
    SignerUntrusted,
    "the signer's certificate expired on 2025-01-01",
    pins("expired"),
)
add(
    "certificate: not yet valid",
    _own("future"),
    SignerUntrusted,
    "certificate is not valid before 2026-06-01",
    pins("future"),
)
add("certificate: no KeyUsage, pinned", _own("no usage"), None, trust=pins("no usage"))
add(
    "certificate: KeyUsage for something else, pinned",
    _own("wrong usage"),
    SignerUntrusted,
    "not for digital signatures (KeyUsage)",
    pins("wrong usage"),
)
add("certificate: KeyUsage contentCommitment, pinned", _own("commitment"), None, trust=pins("commitment"))
add("certificate: a CA's own, pinned", _own("ca"), SignerUntrusted, "not for digital signatures (KeyUsage)", pins("ca"))
NO_CHAIN = "no valid chain leads from the signer to the authorities given"
add("authority: leaf", _own("leaf"), None, trust=trust_ca)
add("authority: RSA leaf", _own("rsa leaf"), None, trust=trust_ca)
add("authority: leaf with contentCommitment", _own("commitment leaf"), None, trust=trust_ca)
add("authority: leaf of an intermediate in KeyInfo", _own("intermediate leaf"), None, trust=trust_ca)
add(
    "authority: leaf of an intermediate that is missing",
    lambda: sign(
        REPORT,
        signer("intermediate leaf"),
        infos="<ds:KeyInfo>" + certificates(signer("intermediate leaf").certificate) + "</ds:KeyInfo>",
    ),
    SignerUntrusted,
    NO_CHAIN,
    trust_ca,
)
add("authority: expired intermediate", _own("leaf of expired"), SignerUntrusted, NO_CHAIN, trust_ca)
add("authority: another CA of the same name", _own("other leaf"), SignerUntrusted, NO_CHAIN, trust_ca)
add(
    "authority: another CA of the same name, its certificate in KeyInfo",
    lambda: sign(
        REPORT,
        signer("other leaf"),
        infos="<ds:KeyInfo>"
        + certificates(signer("other leaf").certificate, signer("other ca").certificate)
        + "</ds:KeyInfo>",
    ),
    SignerUntrusted,
    NO_CHAIN,
    trust_ca,
)
add(
    "authority: an intermediate whose KeyUsage does not allow certificates",
    _own("leaf of signer"),
    SignerUntrusted,
    "the KeyUsage of an issuer does not allow it to sign certificates",
    trust_ca,
)
add("authority: longer than the path length allows", _own("leaf too deep"), SignerUntrusted, NO_CHAIN, trust_ca)
add("authority: an unknown critical extension", _own("critical leaf"), SignerUntrusted, NO_CHAIN, trust_ca)
add("authority: both CAs given", _own("other leaf"), None, trust=lambda: authorities("ca", "other ca"))
add("authority: expired leaf", _own("expired leaf"), SignerUntrusted, "certificate expired on 2025-01-01", trust_ca)
add("authority: leaf not yet valid", _own("future leaf"), SignerUntrusted, "not valid before 2026-06-01", trust_ca)
add("authority: leaf without KeyUsage", _own("no usage leaf"), SignerUntrusted, NO_CHAIN, trust_ca)
add(
    "authority: leaf for something else",
    _own("wrong usage leaf"),
    SignerUntrusted,
    "its KeyUsage does not allow digital signatures",
    trust_ca,
)
add("authority: a leaf that signed another leaf", _own("leaf of leaf"), SignerUntrusted, NO_CHAIN, trust_ca)
add("authority: self-signed", good, SignerUntrusted, NO_CHAIN, trust_ca)
add(
    "authority: the signer's own certificate given as one",  # whoever gives it believes it
    _own("stranger"),
    None,
    trust=lambda: authorities("stranger"),
)
add(
    "authority: wrong CA, signer pinned",
    _own("leaf"),
    None,
    trust=lambda: Trust(pinned("leaf").certificates, authorities("other ca").authorities, pinned().at),
)
add(
    "authority: stranger beside a pinned one",
    _own("leaf"),
    None,
    trust=lambda: Trust(pinned("build").certificates, authorities("ca").authorities, pinned().at),
)
add(
    "authority: expired pinned leaf under a good CA",
    _own("expired leaf"),
    SignerUntrusted,
    "expired",
    lambda: Trust(pinned("expired leaf").certificates, authorities("ca").authorities, pinned().at),
)

# --- document types, entities, inclusion -----------------------------------------------------------------------------


def _doctype(text: bytes) -> Callable[[], bytes]:
    return edited(b"<testsuites", text + b"<testsuites")


_BILLION = (
    b'<!DOCTYPE testsuites [<!ENTITY a "lol">'
    + b"".join(b'<!ENTITY %c "%b">' % (98 + i, (b"&%c;" % (97 + i)) * 10) for i in range(9))
    + b"]>"
)
for _label, _text in (
    ("empty", b"<!DOCTYPE testsuites>"),
    ("internal subset", b'<!DOCTYPE testsuites [<!ENTITY x "y">]>'),
    ("external", b'<!DOCTYPE testsuites SYSTEM "http://example.com/x.dtd">'),
    ("public", b'<!DOCTYPE testsuites PUBLIC "-//x" "file:///etc/passwd">'),
    ("external entity", b'<!DOCTYPE testsuites [<!ENTITY x SYSTEM "file:///etc/passwd">]>'),
    ("parameter entity", b'<!DOCTYPE testsuites [<!ENTITY % p SYSTEM "http://example.com/p"> %p;]>'),
    ("billion laughs", _BILLION),
    ("default attribute", b'<!DOCTYPE testsuites [<!ATTLIST testcase name CDATA "x">]>'),
    ("ID attribute", b"<!DOCTYPE testsuites [<!ATTLIST testsuite name ID #REQUIRED>]>"),
    ("after a comment", b"<!-- x --><!DOCTYPE testsuites>"),
    ("after an instruction", b"<?x?> <!DOCTYPE testsuites>"),
):
    add(f"DOCTYPE: {_label}", _doctype(_text), ReportRefused, "it has a DOCTYPE")
add("DOCTYPE: in lower case", _doctype(b"<!doctype testsuites>"), ReportRefused, "it has a DOCTYPE")
add("DOCTYPE: inside the root", edited(b"<testsuite ", b"<!DOCTYPE x><testsuite "), ReportMalformed)
add("DOCTYPE: after the root", lambda: good() + b"<!DOCTYPE x>", ReportMalformed)
add("DOCTYPE: in a comment", edited(b"<testsuites", b"<!--<!DOCTYPE x>--><testsuites"), None)
add("entity: undeclared", edited(b"captured", b"&xxe;"), ReportMalformed)
add("entity: a parameter entity", edited(b"captured", b"%xxe;"), SignatureBroken, CHANGED)

_INCLUDE = b'<x:include xmlns:x="http://www.w3.org/2001/XInclude" href="/etc/hosts" parse="text"/>'
add(
    "signed as it is: an XInclude, which nobody follows",
    lambda: _signed(swap(REPORT, CASES[0], _INCLUDE + CASES[0])),
    None,
)
add(
    "signed as it is: a stylesheet instruction before the root",
    lambda: sign(swap(REPORT, b"<testsuites", b'<?xml-stylesheet href="x.xsl"?><testsuites'), signer("build")),
    None,
)
add(
    "signed as it is: a stylesheet instruction inside the root",
    lambda: sign(swap(REPORT, b"<testsuite ", b'<?xml-stylesheet href="x.xsl"?><testsuite '), signer("build")),
    VerificationImpossible,
    "processing instruction inside the root",
)
add(
    "changed: an instruction inside the root",
    edited(b"<testsuite ", b"<?x?><testsuite "),
    VerificationImpossible,
    "processing instruction inside the root",
)
add(
    "changed: an instruction inside the signature",
    edited(b"<ds:KeyInfo>", b"<?x?><ds:KeyInfo>"),
    VerificationImpossible,
    "processing instruction inside the root",
)
add(
    "signed as it is: comments around a changed meaning",
    lambda: _signed(swap(REPORT, b'name="test_log"', b'name="test_log"').replace(b"captured", b"cap<!-- not -->tured")),
    None,
)
add(
    "signed as it is: test cases in a foreign namespace",
    lambda: _signed(REPORT.replace(b"<testcase ", b'<testcase xmlns="urn:x" ')),
    None,
)
add(
    "signed as it is: a default namespace",
    lambda: _signed(REPORT.replace(b"<testsuites ", b'<testsuites xmlns="urn:x" ')),
    None,
)
add(
    "signed as it is: xml:base, xml:lang and namespaces on the root",
    lambda: _signed(
        REPORT.replace(
            b"<testsuites ", b'<testsuites xml:base="http://a/b/" xml:lang="en" xml:space="preserve" xmlns:x="urn:x" '
        )
    ),
    None,
)
add(
    "signed as it is: terminal escapes and bidi overrides",
    lambda: _signed(REPORT.replace(b"test_refund", "\u202etest\u2066 \u009b31m&#10;&#9;✓ ok".encode())),
    None,
)
add(
    "signed as it is: a claim of a thousand million tests",
    lambda: _signed(REPORT.replace(b'tests="4"', b'tests="1000000000"')),
    None,
)
add("escape characters as references", edited(b"captured", b"&#27;[31mcaptured"), ReportMalformed)
add("a raw escape character", edited(b"captured", b"\x1b[31mcaptured"), ReportMalformed)
add("two roots", lambda: good() + _FAKE, ReportMalformed)
add("cut short", lambda: good()[:-20], ReportMalformed)
add(
    "a relative namespace on the signature",
    lambda: swap(good(), b"<ds:Signature ", b'<ds:Signature xmlns:r="relative" '),
    ReportRefused,
    "relative namespace",
)
add(
    "a relative namespace",
    lambda: by_build().replace(b"<testsuites ", b'<testsuites xmlns:r="relative" '),
    ReportRefused,
    "relative namespace",
)
add(
    "129 attributes on one element",
    lambda: swap(good(), b"<testsuites ", b"<testsuites " + b" ".join(b'a%d="1"' % i for i in range(129)) + b" "),
    ReportTooLarge,
    "more than 128 attributes on one element",
)
add(
    "not a report at all, properly signed",
    lambda: sign(b"<html><body/></html>", signer("build")),
    NotAReport,
    "an HTML page",
)
add("a Signature as the root", lambda: signature_of(good()), NotAReport, "the root element is 'Signature'")


if __name__ == "__main__":
    sys.stdout.buffer.write(CORPUS[sys.argv[1]].make())
