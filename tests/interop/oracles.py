"""Other people's verifiers, asked for their opinion: xmlsec1, the JDK and signxml.

Each takes the certificate from the caller and never a key from the document. A verdict is one of three words, so that
"broken" (it looked, and the report is not what was signed) is never mistaken for "could not look".
"""

from __future__ import annotations

import base64
import functools
import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

import pytest
from lxml import etree
from signxml import (
    DigestAlgorithm,
    InvalidDigest,
    InvalidSignature,
    SignatureConfiguration,
    SignatureMethod,
    VerifyResult,
    XMLVerifier,
)
from signxml.exceptions import SignXMLException

from pytest_jux.errors import JuxError, SignatureBroken
from pytest_jux.verifier import Trust, verify_report

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cryptography import x509

HERE = Path(__file__).parent
DS = "{http://www.w3.org/2000/09/xmldsig#}"
ENVELOPED = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
INCLUSIVE = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"


class Word(StrEnum):
    """What a verifier says of a report."""

    VALID = "valid"
    BROKEN = "broken"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verifier's word and, where it is not `valid`, its reason."""

    word: Word
    reason: str = ""


VALID = Verdict(Word.VALID)


def in_ci() -> bool:
    """Tell whether these tests run where every tool has to be there."""
    return os.environ.get("CI", "").lower() not in {"", "0", "false", "no"}


def unavailable(reason: str) -> NoReturn:
    """Skip the test on a developer's machine; fail it in CI, where a skipped oracle would be a lost one."""
    if in_ci():
        pytest.fail(f"{reason} (with CI set, nothing is skipped)", pytrace=False)
    pytest.skip(reason)


def require_tool(name: str) -> str:
    """Return the path of a program; where it is missing, see `unavailable`."""
    path = shutil.which(name)
    if path is None:
        unavailable(f"{name} is not installed")
    return path


# --- xmlsec1 ---------------------------------------------------------------------------------------------------------


def xmlsec1_verify(files: Iterable[Path], certificate: Path) -> dict[Path, Verdict]:
    """Return what Debian's `xmlsec1` says of every file, trusting this PEM certificate alone.

    One process for each file: with several, it stops at the first that does not verify.
    """
    program = require_tool("xmlsec1")
    trust = ["--enabled-key-data", "x509", "--trusted-pem", str(certificate)]
    command = [program, "--verify", *_xmlsec1_huge(program), *trust]
    verdicts = {}
    for file in files:
        done = subprocess.run([*command, str(file)], capture_output=True, text=True, errors="replace", check=False)
        verdicts[file] = _xmlsec1_verdict(done.returncode, done.stdout + done.stderr)
    return verdicts


def _xmlsec1_verdict(status: int, output: str) -> Verdict:
    words = {line.strip() for line in output.splitlines()}
    if status == 0 and "OK" in words and "SignedInfo References (ok/all): 1/1" in words:
        return VALID
    return Verdict(Word.BROKEN if status == 1 and "FAIL" in words else Word.ERROR, output.strip())


@functools.cache
def _xmlsec1_huge(program: str) -> tuple[str, ...]:
    """The option for text nodes over 10 MB: 1.2 reads them without and refuses it, later versions need it."""
    done = subprocess.run([program, "--help-verify"], capture_output=True, text=True, check=False)
    return ("--xml-huge",) if "--xml-huge" in done.stdout + done.stderr else ()


# --- the JDK ---------------------------------------------------------------------------------------------------------


def java_verify(files: Sequence[Path], certificate: Path) -> dict[Path, Verdict]:
    """Return what the JDK's `javax.xml.crypto.dsig` says of every file, from one virtual machine."""
    require_tool("javac")  # a run-time environment alone cannot run a source file
    command = [require_tool("java"), "-Xmx3g", str(HERE / "VerifyReports.java"), str(certificate), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    verdicts = {}
    for line in done.stdout.splitlines():
        word, reason, file = line.split("\t")
        verdicts[Path(file)] = Verdict(Word(word), reason)
    assert list(verdicts) == list(dict.fromkeys(files)), done.stderr
    assert (done.returncode == 0) == all(verdict == VALID for verdict in verdicts.values()), done.stderr
    return verdicts


# --- signxml ---------------------------------------------------------------------------------------------------------

_SIGNXML_PROFILE = SignatureConfiguration(
    require_x509=True,
    location="./",
    expect_references=1,
    signature_methods=frozenset(
        {SignatureMethod.RSA_SHA256, SignatureMethod.ECDSA_SHA256, SignatureMethod.ECDSA_SHA384}
    ),
    digest_algorithms=frozenset({DigestAlgorithm.SHA256}),
)


def signxml_verify(data: bytes, certificate: x509.Certificate) -> Verdict:
    """Return what signxml says, in its strictest settings; `valid` only if it saw the document that stands here."""
    try:
        result = cast(
            "VerifyResult",
            XMLVerifier().verify(data, x509_cert=certificate, expect_config=_SIGNXML_PROFILE, parser=_parser()),
        )
    except (InvalidDigest, InvalidSignature) as error:
        return Verdict(Word.BROKEN, str(error))
    except (SignXMLException, etree.LxmlError, ValueError) as error:
        return Verdict(Word.ERROR, f"{type(error).__name__}: {error}")
    if _canonicalization(result.signature_xml) != (EXCLUSIVE, [ENVELOPED, INCLUSIVE]):
        return Verdict(Word.ERROR, "canonicalization or transforms other than ours")
    if result.signed_data != canonical_content(data):
        return Verdict(Word.ERROR, "what it verified is not what stands in the document")
    return VALID


def _canonicalization(signature: Any) -> tuple[str, list[str]]:
    method = signature.find(f"{DS}SignedInfo/{DS}CanonicalizationMethod")
    return method.get("Algorithm"), [transform.get("Algorithm") for transform in signature.iter(f"{DS}Transform")]


# --- our own, in the same words --------------------------------------------------------------------------------------


def jux_verify(data: bytes, certificate: x509.Certificate) -> Verdict:
    """Return what the library says, in the words of the other verifiers."""
    try:
        verify_report(data, Trust(certificates=[certificate]))
    except SignatureBroken as error:
        return Verdict(Word.BROKEN, str(error))
    except JuxError as error:
        return Verdict(Word.ERROR, f"{type(error).__name__}: {error}")
    return VALID


# --- what the tests compute for themselves ---------------------------------------------------------------------------


def canonical_content(data: bytes) -> bytes:
    """Return the canonical form of a document without its signature, by lxml and without any code of ours."""
    root = etree.fromstring(data, _parser())
    for signature in root.findall(f"{DS}Signature"):
        before = signature.getprevious()
        if signature.tail and before is not None:
            before.tail = (before.tail or "") + signature.tail
        elif signature.tail:
            root.text = (root.text or "") + signature.tail
        root.remove(signature)
    return etree.tostring(root.getroottree(), method="c14n", with_comments=False)


def digest_value(signed: bytes) -> str:
    """Return `sha256:<64 hex>` from the text of the only `ds:DigestValue`."""
    (value,) = re.findall(rb"<ds:DigestValue>([^<]+)</ds:DigestValue>", signed)
    return "sha256:" + base64.b64decode(value, validate=True).hex()


def content_hash(data: bytes) -> str:
    """Return `sha256:<64 hex>` of `canonical_content`."""
    return "sha256:" + hashlib.sha256(canonical_content(data)).hexdigest()


def cut_signature(signed: bytes) -> bytes:
    """Return the bytes without the one inserted `ds:Signature` element, by text search alone."""
    opening, closing = b"<ds:Signature ", b"</ds:Signature>"
    assert signed.count(opening) == signed.count(closing) == 1
    return signed[: signed.index(opening)] + signed[signed.index(closing) + len(closing) :]


def _parser() -> etree.XMLParser:
    return etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=True)
