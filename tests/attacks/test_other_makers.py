"""Signatures that other tools make are accepted, where they are of the accepted profile."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
import signxml
from attacks import builder
from attacks.corpus import REPORT
from attacks.material import pinned, signer
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from lxml import etree

from pytest_jux.canonicalizer import canonical_hash
from pytest_jux.verifier import verify_report

if TYPE_CHECKING:
    from pathlib import Path

SHAPES = {
    "plain": REPORT,
    "language and base": REPORT.replace(
        b"<testsuites ", b'<testsuites xml:lang="de" xml:base="http://a.example/b/" xml:space="preserve" '
    ),
    "namespaces": REPORT.replace(b"<testsuites ", b'<testsuites xmlns:x="urn:x" xmlns:y="urn:y" y:z="1" '),
    "default namespace": REPORT.replace(b"<testsuites ", b'<testsuites xmlns="urn:x" xml:lang="de" '),
    "xml:id": REPORT.replace(b"<testsuites ", b'<testsuites xml:id="root" '),
}
C14N_1_0 = builder.INCLUSIVE
C14N_1_1 = builder.INCLUSIVE_1_1
EXCLUSIVE = builder.EXCLUSIVE
TEMPLATE = """<ds:Signature xmlns:ds="{ns}">
  <ds:SignedInfo>
    <ds:CanonicalizationMethod Algorithm="{c14n}"/>
    <ds:SignatureMethod Algorithm="{method}"/>
    <ds:Reference URI="">
      <ds:Transforms>
        <ds:Transform Algorithm="{ns}enveloped-signature"/>
        <ds:Transform Algorithm="{transform}"/>
      </ds:Transforms>
      <ds:DigestMethod Algorithm="{digest}"/>
      <ds:DigestValue></ds:DigestValue>
    </ds:Reference>
  </ds:SignedInfo>
  <ds:SignatureValue/>
  <ds:KeyInfo><ds:X509Data><ds:X509Certificate/></ds:X509Data></ds:KeyInfo>
</ds:Signature>
"""


def write_pair(directory: Path, name: str) -> tuple[Path, Path]:
    by = signer(name)
    key, certificate = directory / "key.pem", directory / "key.crt"
    key.write_bytes(by.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    certificate.write_bytes(by.certificate.public_bytes(Encoding.PEM))
    return key, certificate


def by_xmlsec1(directory: Path, report: bytes, name: str, **algorithms: str) -> bytes:
    if shutil.which("xmlsec1") is None:
        pytest.skip("xmlsec1 is not installed")
    key, certificate = write_pair(directory, name)
    template = directory / "template.xml"
    template.write_bytes(builder.insert(report, TEMPLATE.format(ns=builder.NS, **algorithms)))
    output = directory / "signed.xml"
    done = subprocess.run(
        ["xmlsec1", "--sign", "--privkey-pem", f"{key},{certificate}", "--output", str(output), str(template)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return output.read_bytes()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("c14n", [C14N_1_0, C14N_1_1, EXCLUSIVE], ids=["1.0", "1.1", "exclusive"])
def test_xmlsec1_signatures_verify(tmp_path: Path, shape: str, c14n: str) -> None:
    algorithms = {"c14n": c14n, "transform": c14n, "method": builder.method_for(signer("build").key)}
    signed = by_xmlsec1(tmp_path, SHAPES[shape], "build", **algorithms, digest=builder.SHA256)

    verified = verify_report(signed, pinned("build"))

    assert verified.algorithm == "RSA-SHA256"
    assert verified.report.summary.tests == 4


@pytest.mark.parametrize(
    ("name", "digest_name", "digest"),
    [
        ("build", "sha384", builder.SHA384),
        ("build", "sha512", builder.SHA512),
        ("p256", "sha256", builder.SHA256),
        ("p384", "sha384", builder.SHA384),
        ("p521", "sha512", builder.SHA512),
    ],
)
def test_xmlsec1_algorithms_verify(tmp_path: Path, name: str, digest_name: str, digest: str) -> None:
    method = builder.method_for(signer(name).key, digest_name)
    signed = by_xmlsec1(tmp_path, REPORT, name, c14n=EXCLUSIVE, transform=C14N_1_0, method=method, digest=digest)

    verified = verify_report(signed, pinned(name))

    assert verified.algorithm == f"{'RSA' if name == 'build' else 'ECDSA'}-{digest_name.upper()}"
    assert verified.canonical_hash == canonical_hash(signed)


@pytest.mark.parametrize(
    ("c14n", "shape"),
    [
        # signxml canonicalizes a SignedInfo that is not yet in its document: only exclusively does that fit every shape
        ("CANONICAL_XML_1_0", "plain"),
        ("CANONICAL_XML_1_1", "plain"),
        *(("EXCLUSIVE_XML_CANONICALIZATION_1_0", shape) for shape in SHAPES),
    ],
)
def test_signxml_signatures_verify(c14n: str, shape: str) -> None:
    by = signer("build")
    maker = signxml.XMLSigner(c14n_algorithm=signxml.CanonicalizationMethod[c14n])

    root = maker.sign(etree.fromstring(SHAPES[shape]), key=by.key, cert=[by.certificate])

    verified = verify_report(etree.tostring(root), pinned("build"))
    assert verified.canonical_hash == canonical_hash(SHAPES[shape])


def test_signxml_defaults_verify() -> None:
    by = signer("build")
    root = signxml.XMLSigner().sign(etree.fromstring(REPORT), key=by.key, cert=[by.certificate])
    assert verify_report(etree.tostring(root), pinned("build")).trusted_by == "CN=build-7"


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("build", signxml.SignatureMethod.RSA_SHA384),
        ("build", signxml.SignatureMethod.RSA_SHA512),
        ("p256", signxml.SignatureMethod.ECDSA_SHA256),
        ("p384", signxml.SignatureMethod.ECDSA_SHA384),
        ("p521", signxml.SignatureMethod.ECDSA_SHA512),
    ],
)
def test_signxml_algorithms_verify(name: str, method: signxml.SignatureMethod) -> None:
    by = signer(name)
    maker = signxml.XMLSigner(signature_algorithm=method, digest_algorithm=signxml.DigestAlgorithm.SHA512)
    root = maker.sign(etree.fromstring(REPORT), key=by.key, cert=[by.certificate])
    assert verify_report(etree.tostring(root), pinned(name)).algorithm == method.name.replace("_", "-")
