"""Reports of other runners and of odd shapes: signed by us, judged by everyone, and cut back to what they were."""

from __future__ import annotations

import base64
import contextlib
import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from interop.documents import DISPUTED, DOCUMENTS, REFUSED, WIDE, Document, one_text_node
from interop.oracles import (
    DS,
    VALID,
    Verdict,
    Word,
    content_hash,
    cut_signature,
    digest_value,
    java_verify,
    jux_verify,
    signxml_verify,
    xmlsec1_verify,
)
from interop.sharing import made_once
from lxml import etree

from pytest_jux.canonicalizer import canonical_hash
from pytest_jux.errors import JuxError, ReportRefused
from pytest_jux.keys import (
    certificate_pem,
    generate_private_key,
    load_certificate,
    load_private_key,
    private_key_pem,
    self_signed_certificate,
)
from pytest_jux.signer import sign_report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cryptography import x509

    from pytest_jux.keys import PrivateKey

KINDS: dict[str, dict[str, str | int]] = {
    "RSA-3072": {"kind": "rsa", "bits": 3072},
    "P-256": {"kind": "ecdsa", "curve": "P-256"},
    "P-384": {"kind": "ecdsa", "curve": "P-384"},
    "Ed25519": {"kind": "ed25519"},
}
EVERYWHERE = ("RSA-3072", "P-256", "P-384")
ORACLES = ("jux", "xmlsec1", "java", "signxml")

# What a verifier cannot do with a correctly signed report, because of a limit of its own: what it says instead.
LIMITS: dict[tuple[str, str], Word] = {
    # signxml serialises the root element alone before it canonicalizes, so instructions beside the root, which belong
    # to the canonical form of a document, are lost to it.
    ("signxml", "instruction before the root"): Word.BROKEN,
    ("signxml", "instruction after the root"): Word.BROKEN,
    ("signxml", "instruction with an end tag"): Word.BROKEN,
    ("signxml", "instructions and comments on both sides"): Word.BROKEN,
    ("signxml", "a changed instruction"): Word.BROKEN,
    # It does so in ASCII, where a name with other letters cannot be written; what it wrote, it cannot read.
    ("signxml", "elements with other letters"): Word.ERROR,
}

# Where a character's later bytes can look like markup, our library finds no old signature to replace, and says so.
MULTIBYTE = {"encoding gb2312", "encoding EUC-KR"}


@dataclass(frozen=True, slots=True)
class Signer:
    """A key with its certificate, which is also in a file."""

    key: PrivateKey
    certificate: x509.Certificate
    path: Path

    def sign(self, data: bytes) -> bytes:
        return sign_report(data, self.key, self.certificate)


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed report and a copy in which somebody changed the content, each also in a file."""

    good: bytes
    forged: bytes
    good_file: Path
    forged_file: Path


@pytest.fixture(scope="session")
def signers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Signer]:
    """A signer for each kind of key, by its name; the same in all processes."""
    folder = made_once(tmp_path_factory, "signers", _make_signers)
    return {
        name: Signer(
            load_private_key(folder / f"{name}.key"), load_certificate(folder / f"{name}.pem"), folder / f"{name}.pem"
        )
        for name in KINDS
    }


def _make_signers(folder: Path) -> Path:
    for name, kind in KINDS.items():
        key = generate_private_key(**kind)  # type: ignore[arg-type]  # a table for people, not for a type checker
        certificate = self_signed_certificate(key, f"Interop {name}")
        (folder / f"{name}.key").write_bytes(private_key_pem(key))
        (folder / f"{name}.pem").write_bytes(certificate_pem(certificate))
    return folder


@pytest.fixture(scope="session")
def signed(signers: dict[str, Signer], tmp_path_factory: pytest.TempPathFactory) -> Callable[[Document, str], Signed]:
    """Return the report that a document becomes with one kind of key."""

    def sign_all(folder: Path) -> dict[tuple[str, str], Signed]:
        made = {}
        for number, (document, kind) in enumerate(itertools.product(DOCUMENTS, KINDS)):
            with contextlib.suppress(JuxError):  # raised again for the tests of this document alone
                good = signers[kind].sign(document.data)
                stem = f"{number:03}-{re.sub('[^a-z0-9]+', '-', document.name.lower())}-{kind}"
                made[document.name, kind] = _write(good, forge(good, document), folder, stem)
        return made

    made = made_once(tmp_path_factory, "signed", sign_all)

    def sign(document: Document, kind: str) -> Signed:
        if (document.name, kind) not in made:
            signers[kind].sign(document.data)
        return made[document.name, kind]

    return sign


def _write(good: bytes, forged: bytes, folder: Path, stem: str) -> Signed:
    files = folder / f"{stem}.xml", folder / f"{stem}.forged.xml"
    files[0].write_bytes(good)
    files[1].write_bytes(forged)
    return Signed(good, forged, *files)


def forge(signed: bytes, document: Document) -> bytes:
    """Change the content of the signed bytes as little as can be: by one byte."""
    before, after = document.change
    assert before in signed
    return signed.replace(before, after, 1)


@pytest.fixture(scope="session")
def java_verdicts(
    signers: dict[str, Signer],
    signed: Callable[[Document, str], Signed],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[Path, Verdict]:
    """What Java says of every file of this module, from one virtual machine for each certificate."""

    def ask(_: Path) -> dict[Path, Verdict]:
        verdicts: dict[Path, Verdict] = {}
        for kind in EVERYWHERE:
            files = []
            for document in DOCUMENTS:
                with contextlib.suppress(JuxError):
                    report = signed(document, kind)
                    files += [report.good_file, report.forged_file]
            verdicts |= java_verify(files, signers[kind].path)
        return verdicts

    return made_once(tmp_path_factory, "java", ask)


@pytest.fixture
def judge(request: pytest.FixtureRequest, signers: dict[str, Signer]) -> Callable[[str, str, bytes, Path], Verdict]:
    """Ask one of the verifiers about a report, given as bytes and as a file with the same bytes."""

    def ask(oracle: str, kind: str, data: bytes, file: Path) -> Verdict:
        signer = signers[kind]
        match oracle:
            case "jux":
                return jux_verify(data, signer.certificate)
            case "signxml":
                return signxml_verify(data, signer.certificate)
            case "xmlsec1":
                return xmlsec1_verify([file], signer.path)[file]
        verdicts: dict[Path, Verdict] = request.getfixturevalue("java_verdicts")
        return verdicts[file]

    return ask


documents = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
oracles = pytest.mark.parametrize("oracle", ORACLES)


@oracles
@documents
def test_a_signed_report_is_valid_everywhere(
    document: Document,
    oracle: str,
    signed: Callable[[Document, str], Signed],
    judge: Callable[[str, str, bytes, Path], Verdict],
) -> None:
    reports = {kind: signed(document, kind) for kind in EVERYWHERE}
    said = {kind: judge(oracle, kind, report.good, report.good_file) for kind, report in reports.items()}
    expected = LIMITS.get((oracle, document.name), Word.VALID)
    assert {kind: verdict.word for kind, verdict in said.items()} == dict.fromkeys(EVERYWHERE, expected), said


@oracles
@documents
def test_one_changed_byte_of_content_is_broken_everywhere(
    document: Document,
    oracle: str,
    signed: Callable[[Document, str], Signed],
    judge: Callable[[str, str, bytes, Path], Verdict],
) -> None:
    reports = {kind: signed(document, kind) for kind in EVERYWHERE}
    said = {kind: judge(oracle, kind, report.forged, report.forged_file) for kind, report in reports.items()}
    expected = LIMITS.get((oracle, document.name), Word.BROKEN)
    assert {kind: verdict.word for kind, verdict in said.items()} == dict.fromkeys(EVERYWHERE, expected), said


@pytest.mark.parametrize("kind", KINDS)
@documents
def test_cutting_the_signature_out_gives_back_the_runners_bytes(
    document: Document, kind: str, signed: Callable[[Document, str], Signed]
) -> None:
    assert cut_signature(signed(document, kind).good) == document.without_signature


@documents
def test_one_hash_names_the_report_whoever_signed_it(
    document: Document, signers: dict[str, Signer], signed: Callable[[Document, str], Signed]
) -> None:
    expected = content_hash(document.data)
    again = signers["P-256"].sign(document.data)
    copies = [*(signed(document, kind).good for kind in KINDS), again]

    assert again != signed(document, "P-256").good
    assert canonical_hash(document.data) == expected
    assert [canonical_hash(copy) for copy in copies] == [expected] * len(copies)
    assert [digest_value(copy) for copy in copies] == [expected] * len(copies)


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if d.name not in MULTIBYTE], ids=lambda d: d.name)
def test_signing_anew_replaces_the_signature_and_nothing_else(
    document: Document, signers: dict[str, Signer], signed: Callable[[Document, str], Signed]
) -> None:
    signer = signers["P-384"]
    again = sign_report(signed(document, "RSA-3072").good, signer.key, signer.certificate, replace=True)
    assert cut_signature(again) == document.without_signature
    assert jux_verify(again, signer.certificate) == VALID


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if d.name in MULTIBYTE], ids=lambda d: d.name)
def test_a_signature_in_a_multibyte_encoding_is_not_replaced_by_guessing(
    document: Document, signers: dict[str, Signer], signed: Callable[[Document, str], Signed]
) -> None:
    with pytest.raises(ReportRefused, match="multi-byte encodings"):
        sign_report(signed(document, "RSA-3072").good, signers["P-384"].key, replace=True)


@pytest.mark.parametrize("document", WIDE, ids=lambda document: document.name)
def test_wide_encodings_are_refused_by_name(document: Document, signers: dict[str, Signer]) -> None:
    with pytest.raises(ReportRefused, match=r"encoding is UTF-(16|32); convert it to UTF-8"):
        signers["P-256"].sign(document.data)


@pytest.fixture(scope="session")
def disputed(signers: dict[str, Signer], tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Verdict]]:
    """The signed ones of `DISPUTED`, by name, with Java's verdict."""
    folder = tmp_path_factory.mktemp("disputed")
    files = {}
    for number, document in enumerate(DISPUTED):
        with contextlib.suppress(ReportRefused):
            signed = signers["P-256"].sign(document.data)
            files[document.name] = folder / f"{number}.xml"
            files[document.name].write_bytes(signed)
    verdicts = java_verify([*files.values()], signers["P-256"].path) if files else {}
    return {name: (file, verdicts[file]) for name, file in files.items()}


@pytest.mark.parametrize("document", DISPUTED, ids=lambda document: document.name)
def test_a_report_whose_characters_are_disputed_is_refused_unless_all_agree(
    document: Document, disputed: dict[str, tuple[Path, Verdict]], signers: dict[str, Signer]
) -> None:
    if document.name not in disputed:
        with pytest.raises(ReportRefused, match="encoding"):
            signers["P-256"].sign(document.data)
        return
    file, java = disputed[document.name]
    certificate = signers["P-256"].certificate
    said = {
        "jux": jux_verify(file.read_bytes(), certificate),
        "signxml": signxml_verify(file.read_bytes(), certificate),
        "xmlsec1": xmlsec1_verify([file], signers["P-256"].path)[file],
        "java": java,
    }
    assert said == dict.fromkeys(said, VALID)


@pytest.mark.parametrize("document", REFUSED, ids=lambda document: document.name)
def test_what_could_mislead_a_verifier_is_not_signed(document: Document, signers: dict[str, Signer]) -> None:
    with pytest.raises(ReportRefused):
        signers["P-256"].sign(document.data)


def test_a_comment_is_not_content(signers: dict[str, Signer], tmp_path: Path) -> None:
    signer = signers["P-256"]
    report = signer.sign(b'<testsuite name="a"><!-- before --><testcase name="b" classname="c"/></testsuite>')
    file = tmp_path / "commented.xml"
    file.write_bytes(report.replace(b"<!-- before -->", b"<!-- </testsuite> afterwards -->"))

    said = [
        jux_verify(file.read_bytes(), signer.certificate),
        signxml_verify(file.read_bytes(), signer.certificate),
        *xmlsec1_verify([file], signer.path).values(),
        *java_verify([file], signer.path).values(),
    ]
    assert said == [VALID] * 4


@pytest.fixture
def huge(signers: dict[str, Signer], tmp_path: Path) -> Iterator[Signed]:
    """A report with one text node of 60 MB; its files do not stay behind."""
    good = signers["P-256"].sign(one_text_node(60_000_000))
    middle = good.index(b"canary", 30_000_000)
    forged = good[:middle] + b"canarz" + good[middle + 6 :]
    files = _write(good, forged, tmp_path, "huge")
    yield files
    files.good_file.unlink()
    files.forged_file.unlink()


def test_a_text_node_of_60_megabytes_verifies_everywhere(huge: Signed, signers: dict[str, Signer]) -> None:
    signer = signers["P-256"]
    files = [huge.good_file, huge.forged_file]
    xmlsec1 = xmlsec1_verify(files, signer.path)
    java = java_verify(files, signer.path)
    said = {
        "jux": [jux_verify(data, signer.certificate).word for data in (huge.good, huge.forged)],
        "signxml": [signxml_verify(data, signer.certificate).word for data in (huge.good, huge.forged)],
        "xmlsec1": [xmlsec1[file].word for file in files],
        "java": [java[file].word for file in files],
    }
    assert said == {oracle: [Word.VALID, Word.BROKEN] for oracle in said}
    assert cut_signature(huge.good) == one_text_node(60_000_000)
    assert canonical_hash(huge.good) == canonical_hash(one_text_node(60_000_000)) == digest_value(huge.good)


# --- Ed25519, which not every tool knows -----------------------------------------------------------------------------


@pytest.fixture
def edwards(signers: dict[str, Signer], tmp_path: Path) -> Signed:
    good = signers["Ed25519"].sign(b'<testsuite name="canary"><testcase classname="c" name="n"/></testsuite>')
    return _write(good, good.replace(b"canary", b"canarz", 1), tmp_path, "edwards")


def test_ed25519_verifies_with_us_and_java(edwards: Signed, signers: dict[str, Signer]) -> None:
    signer = signers["Ed25519"]
    java = java_verify([edwards.good_file, edwards.forged_file], signer.path)
    assert [verdict.word for verdict in java.values()] == [Word.VALID, Word.BROKEN]
    assert jux_verify(edwards.good, signer.certificate) == VALID
    assert jux_verify(edwards.forged, signer.certificate).word is Word.BROKEN


def test_ed25519_is_unknown_to_signxml(edwards: Signed, signers: dict[str, Signer]) -> None:
    # signxml 5 has no Ed25519. The day this fails, the table in the documentation has to change.
    assert signxml_verify(edwards.good, signers["Ed25519"].certificate).word is Word.ERROR


def test_ed25519_is_unknown_to_xmlsec1_or_right(edwards: Signed, signers: dict[str, Signer]) -> None:
    # xmlsec1 1.2 does not know it; a later one may, and then has to tell the two apart.
    said = xmlsec1_verify([edwards.good_file, edwards.forged_file], signers["Ed25519"].path)
    words = [verdict.word for verdict in said.values()]
    assert words in ([Word.ERROR, Word.ERROR], [Word.VALID, Word.BROKEN])


def test_ed25519_signs_the_exclusive_canonical_form_of_signed_info(edwards: Signed, signers: dict[str, Signer]) -> None:
    root = etree.fromstring(edwards.good)
    signed_info = root.find(f"{DS}Signature/{DS}SignedInfo")
    value = root.findtext(f"{DS}Signature/{DS}SignatureValue")
    assert signed_info is not None
    assert value is not None
    key = signers["Ed25519"].certificate.public_key()
    assert isinstance(key, ed25519.Ed25519PublicKey)
    key.verify(base64.b64decode(value), etree.tostring(signed_info, method="c14n", exclusive=True))


# --- the oracles themselves: each has to be able to say no -----------------------------------------------------------

_REPORT = b"""<testsuites>
<testsuite name="s"><testcase classname="c" name="one"><failure message="m">f</failure></testcase></testsuite>
</testsuites>"""


def _pretty_printed(signed: bytes) -> bytes:
    root = etree.fromstring(signed, etree.XMLParser(remove_blank_text=True))
    return etree.tostring(root, pretty_print=True)


def _unsigned(signed: bytes) -> bytes:
    return cut_signature(signed)


def _signed_twice(signed: bytes) -> bytes:
    start, end = signed.index(b"<ds:Signature "), signed.index(b"</ds:Signature>") + len(b"</ds:Signature>")
    return signed[:end] + signed[start:]


def _moved_down(signed: bytes) -> bytes:
    start, end = signed.index(b"<ds:Signature "), signed.index(b"</ds:Signature>") + len(b"</ds:Signature>")
    return signed[:start].replace(b"</testcase>", b"</testcase>" + signed[start:end]) + signed[end:]


def _other_digest(signed: bytes) -> bytes:
    value = re.search(rb"<ds:DigestValue>(..)", signed)
    assert value is not None
    swapped = value.group(1)[::-1] if value.group(1)[::-1] != value.group(1) else b"AB"
    return signed[: value.start(1)] + swapped + signed[value.end(1) :]


def _no_failure(signed: bytes) -> bytes:
    return signed.replace(b'<failure message="m">f</failure>', b"")


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], set[str]]] = {
    # The second value: who is known to accept it, because it does not ask where the signature stands or how many
    # there are. Our own verifier, Java as we call it, and signxml with its location fixed do ask.
    "pretty-printed after signing": (_pretty_printed, set()),
    "a removed failure": (_no_failure, set()),
    "another digest": (_other_digest, set()),
    "no signature": (_unsigned, set()),
    "signed twice": (_signed_twice, set()),
    "a signature further down": (_moved_down, {"xmlsec1"}),
}


@pytest.fixture(scope="session")
def damaged(signers: dict[str, Signer], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("damaged")
    files = {name: folder / f"{number}.xml" for number, name in enumerate(DAMAGES)}
    signed = signers["P-256"].sign(_REPORT)
    for name, file in files.items():
        file.write_bytes(DAMAGES[name][0](signed))
        assert file.read_bytes() != signed
    return files


@pytest.fixture(scope="session")
def java_on_damaged(damaged: dict[str, Path], signers: dict[str, Signer]) -> dict[Path, Verdict]:
    return java_verify([*damaged.values()], signers["P-256"].path)


def _ask(oracle: str, file: Path, signer: Signer, request: pytest.FixtureRequest) -> Verdict:
    match oracle:
        case "jux":
            return jux_verify(file.read_bytes(), signer.certificate)
        case "signxml":
            return signxml_verify(file.read_bytes(), signer.certificate)
        case "xmlsec1":
            return xmlsec1_verify([file], signer.path)[file]
    verdicts: dict[Path, Verdict] = request.getfixturevalue("java_on_damaged")
    return verdicts[file]


@oracles
@pytest.mark.parametrize("damage", DAMAGES)
def test_every_oracle_can_say_no(
    damage: str, oracle: str, damaged: dict[str, Path], signers: dict[str, Signer], request: pytest.FixtureRequest
) -> None:
    verdict = _ask(oracle, damaged[damage], signers["P-256"], request)
    assert (verdict == VALID) == (oracle in DAMAGES[damage][1]), verdict


@pytest.mark.parametrize("other", ["RSA-3072", "P-384"])
def test_no_oracle_takes_the_key_from_the_document(other: str, signers: dict[str, Signer], tmp_path: Path) -> None:
    file = tmp_path / "signed.xml"
    file.write_bytes(signers["P-256"].sign(_REPORT))
    trusted = signers[other]

    said = {
        "jux": jux_verify(file.read_bytes(), trusted.certificate),
        "signxml": signxml_verify(file.read_bytes(), trusted.certificate),
        "xmlsec1": xmlsec1_verify([file], trusted.path)[file],
        "java": java_verify([file], trusted.path)[file],
    }
    assert [oracle for oracle, verdict in said.items() if verdict == VALID] == []
