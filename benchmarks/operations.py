"""What is measured on a report in memory: ours, the floor below it, and signxml beside it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from lxml import etree

from pytest_jux import keys, sign_report, verify_report
from pytest_jux.verifier import Trust

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cryptography import x509

SIGN = "sign"
VERIFY = "verify"
FLOOR = {SIGN: "floor of sign", VERIFY: "floor of verify"}
SIGNXML = {SIGN: "signxml sign", VERIFY: "signxml verify"}


@dataclass(frozen=True)
class Material:
    """An RSA-2048 key and its certificate."""

    key: rsa.RSAPrivateKey
    certificate: x509.Certificate

    @classmethod
    def make(cls) -> Material:
        key = keys.generate_private_key("rsa", bits=2048)
        assert isinstance(key, rsa.RSAPrivateKey)
        return cls(key, keys.self_signed_certificate(key, "benchmark"))

    @classmethod
    def load(cls, directory: Path) -> Material:
        key = keys.load_private_key(directory / "key.pem")
        assert isinstance(key, rsa.RSAPrivateKey)
        return cls(key, keys.load_certificate(directory / "certificate.pem"))

    def save(self, directory: Path) -> None:
        (directory / "key.pem").write_bytes(keys.private_key_pem(self.key))
        (directory / "certificate.pem").write_bytes(keys.certificate_pem(self.certificate))


def operations(material: Material) -> dict[str, Callable[[bytes], object]]:
    """Return every operation under its name; the verifying ones take a signed report, the others an unsigned one.

    The floor parses with the options that pytest_jux parses with, so that the ratio shows nothing but what is added.
    """
    key, certificate = material.key, material.certificate
    trust = Trust(certificates=[certificate])

    def digest(data: bytes) -> bytes:
        root = etree.fromstring(data, _parser())
        return hashlib.sha256(etree.tostring(root, method="c14n")).digest()

    def floor_of_sign(data: bytes) -> bytes:
        return key.sign(digest(data), padding.PKCS1v15(), hashes.SHA256())

    found: dict[str, Callable[[bytes], object]] = {
        FLOOR[SIGN]: floor_of_sign,
        FLOOR[VERIFY]: digest,
        SIGN: lambda data: sign_report(data, key, certificate),
        VERIFY: lambda data: verify_report(data, trust),
    }
    return found | _signxml(key, certificate)


def _signxml(key: rsa.RSAPrivateKey, certificate: x509.Certificate) -> dict[str, Callable[[bytes], object]]:
    """signxml with the same profile, pinned to the certificate, and as closed as its settings allow."""
    from signxml import (
        CanonicalizationMethod,
        DigestAlgorithm,
        SignatureConfiguration,
        SignatureMethod,
        XMLSigner,
        XMLVerifier,
    )

    expected = SignatureConfiguration(
        require_x509=True,
        location="./",
        expect_references=1,
        signature_methods=frozenset({SignatureMethod.RSA_SHA256}),
        digest_algorithms=frozenset({DigestAlgorithm.SHA256}),
    )
    signer = XMLSigner(c14n_algorithm=CanonicalizationMethod.CANONICAL_XML_1_0)

    def sign(data: bytes) -> bytes:
        signed = signer.sign(etree.fromstring(data, _parser()), key=key, cert=[certificate])
        return etree.tostring(signed, xml_declaration=True, encoding="utf-8")

    def verify(data: bytes) -> object:
        return XMLVerifier().verify(data, x509_cert=certificate, parser=_parser(), expect_config=expected)

    return {SIGNXML[SIGN]: sign, SIGNXML[VERIFY]: verify}


def _parser() -> etree.XMLParser:
    return etree.XMLParser(
        resolve_entities=False, load_dtd=False, no_network=True, huge_tree=True, remove_comments=True, collect_ids=False
    )
