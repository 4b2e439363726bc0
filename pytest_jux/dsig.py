"""The vocabulary of XML signatures (W3C xmldsig-core1, RFC 6931, RFC 9231): names of algorithms and elements."""

from __future__ import annotations

import base64
import binascii
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509
    from lxml import etree

DSIG = "http://www.w3.org/2000/09/xmldsig#"
SIGNATURE = f"{{{DSIG}}}Signature"

ENVELOPED = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
C14N_1_0 = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
C14N_1_1 = "http://www.w3.org/2006/12/xml-c14n11"
EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"

SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
SHA384 = "http://www.w3.org/2001/04/xmldsig-more#sha384"
SHA512 = "http://www.w3.org/2001/04/xmlenc#sha512"

RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
RSA_SHA384 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha384"
RSA_SHA512 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512"
ECDSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"
ECDSA_SHA384 = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"
ECDSA_SHA512 = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512"
ED25519 = "http://www.w3.org/2021/04/xmldsig-more#eddsa-ed25519"

MOST_CERTIFICATES = 10  # in one KeyInfo: a signer and its chain


def dsig(name: str) -> str:
    """Return the qualified name of an element of the signature namespace."""
    return f"{{{DSIG}}}{name}"


def decode_base64(text: str) -> bytes | None:
    """Return what base64 `text` stands for, white space ignored (RFC 4648, section 4); None where it is none."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return None


def claimed_certificates(signature: etree._Element) -> list[x509.Certificate]:
    """Return the readable certificates in the signature's KeyInfo, at most ten; a claim of who signed, not a proof."""
    from cryptography import x509  # noqa: PLC0415 - a canonical hash alone does not need it

    path = "/".join(dsig(name) for name in ("KeyInfo", "X509Data", "X509Certificate"))
    found = []
    for element in signature.findall(path)[:MOST_CERTIFICATES]:
        der = decode_base64("".join(str(part) for part in element.itertext()))
        try:
            found.append(read_certificate(der or b""))
        except (ValueError, x509.InvalidVersion):
            continue
    return found


@lru_cache(maxsize=16)  # the reports of a project have one signer
def read_certificate(der: bytes) -> x509.Certificate:
    """Return a certificate that came with a report; raises ValueError or x509.InvalidVersion for what is none.

    It may have oddities that the library warns of. They are its maker's, not the user's, who may treat warnings as
    errors.
    """
    from cryptography import x509  # noqa: PLC0415 - whoever reads only names does not need it

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return x509.load_der_x509_certificate(der)
