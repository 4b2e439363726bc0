"""From signed bytes and the caller's trust to evidence, or to an error that says what is wrong.

Verification is a closed profile: what is not expected is refused by name. The numbered steps are in `verify_report`.
"""

from __future__ import annotations

import datetime as dt
import enum
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from pytest_jux import dsig
from pytest_jux.canonicalizer import canonical_digest, detach, identity, without_signatures
from pytest_jux.document import DEFAULT_LIMITS, has_inner_instruction, parse
from pytest_jux.errors import (
    ReportUnsigned,
    SignatureBroken,
    SignerUntrusted,
    VerificationError,
    VerificationImpossible,
)
from pytest_jux.keys import MINIMUM_RSA_BITS, PublicKey, public_key_of, subject_of, validity_of
from pytest_jux.signature import SignatureParts, read_signature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from lxml import etree

    from pytest_jux.document import Limits
    from pytest_jux.report import Report
    from pytest_jux.signature import Method

_CURVES = {"secp256r1", "secp384r1", "secp521r1"}
_EXPLAINED = 20_000_000  # bytes, up to which a change is worth a second look at what it was
_CHANGED_BY_PRINTING = "the report was changed after signing (white space was added, as pretty-printing does)"


class SignatureState(enum.StrEnum):
    """What verification found. Only `TRUSTED` means valid; the others are the states of VerificationError."""

    TRUSTED = "trusted"
    INTACT = "intact"
    BROKEN = "broken"
    UNSIGNED = "unsigned"
    UNCHECKED = "unchecked"


class Trust(NamedTuple):
    """Whom the caller believes: pinned certificates, and authorities whose certificates' holders are believed.

    `at` is the time (aware) at which dates are judged; None means now.
    """

    certificates: Sequence[x509.Certificate] = ()
    authorities: Sequence[x509.Certificate] = ()
    at: dt.datetime | None = None

    def time(self) -> dt.datetime:
        """Return the time at which dates are judged, in UTC."""
        return (self.at or dt.datetime.now(dt.UTC)).astimezone(dt.UTC)


class Verified(NamedTuple):
    """Evidence: who signed what, and the report exactly as it was verified.

    `canonical_hash` is `sha256:<64 hex>`. `certificate` is the one that was relied on, `trusted_by` the subject of the
    pinned certificate or authority that vouches for it, or "" where none does (then it comes with SignerUntrusted).
    """

    canonical_hash: str
    algorithm: str
    certificate: x509.Certificate
    trusted_by: str
    root: etree._Element

    @property
    def signer(self) -> str:
        """The subject of the signer's certificate."""
        return subject_of(self.certificate)

    @property
    def not_before(self) -> dt.datetime:
        """The beginning of the certificate's validity, in UTC."""
        return validity_of(self.certificate).not_before

    @property
    def not_after(self) -> dt.datetime:
        """The end of the certificate's validity, in UTC."""
        return validity_of(self.certificate).not_after

    @property
    def report(self) -> Report:
        """What the report says, read from the tree that was verified; a large one takes a while, so keep it."""
        from pytest_jux.report import read  # noqa: PLC0415 - a verdict alone does not need it

        return read(self.root)


def verify_report(
    data: bytes, trust: Trust | Callable[[etree._Element], Trust], *, limits: Limits = DEFAULT_LIMITS
) -> Verified:
    """Return the evidence that `data` is a report signed by someone whom `trust` names, or raise.

    Follows W3C xmldsig-core1, section 3.2, restricted to one enveloped signature over the whole document. For whom
    trust depends on what the report is about, `trust` is a function of its root element, from before verification.

    Raises:
        ReportUnsigned: there is no signature.
        SignatureBroken: report or signature are not what was signed, or not of the accepted form.
        SignerUntrusted: intact, but `trust` does not name the signer, or not at this time.
        VerificationImpossible: an algorithm or key that is not accepted, or no key to check with.
        ReportError: the document is no report, or one that is not read.
    """
    # 1. The document: gate, parser, nothing that could show a reader something else than what was signed.
    root = parse(data, limits)
    trust = trust if isinstance(trust, Trust) else trust(root)
    signature = _only_signature(root)
    if has_inner_instruction(root, data):
        raise VerificationImpossible("there is a processing instruction inside the root element")
    # 2. The signature's form, and the algorithms that it names.
    parts = read_signature(signature)
    # 3. The reference: the digest of the document without the signature.
    detach(signature)
    canonical_hash = _check_digest(root, len(data), parts)
    # 4. The signature value, under a key that the caller pinned or, failing that, the one that it brought along.
    certificate = _check_value(parts, trust)
    evidence = Verified(canonical_hash, parts.method.name, certificate, "", root)
    # 5. Trust in that key, which only the caller can give.
    return _check_trust(evidence, [other for other in parts.certificates if other != certificate], trust)


class Examination(NamedTuple):
    """The result of verification as a value: `reason` is "" for a trusted report, else one sentence.

    `evidence` is there for trusted and intact reports, `canonical_hash` and `report` for every one that can be read.
    """

    state: SignatureState
    reason: str
    canonical_hash: str
    evidence: Verified | None
    root: etree._Element

    @property
    def report(self) -> Report:
        """What the report says; for a trusted or intact one, read from the tree that was verified."""
        from pytest_jux.report import read  # noqa: PLC0415 - a verdict alone does not need it

        return read(self.root)


def examine_report(
    data: bytes, trust: Trust | Callable[[etree._Element], Trust], *, limits: Limits = DEFAULT_LIMITS
) -> Examination:
    """Return what verification of `data` finds, for those who show every state; raises ReportError alone.

    Arguments are those of `verify_report`.
    """
    try:
        verified = verify_report(data, trust, limits=limits)
    except SignerUntrusted as error:
        evidence = error.evidence
        return Examination(SignatureState.INTACT, error.reason, evidence.canonical_hash, evidence, evidence.root)
    except VerificationError as error:
        root = without_signatures(parse(data, limits))
        return Examination(
            SignatureState(error.state), error.reason, identity(canonical_digest(root, len(data))), None, root
        )
    return Examination(SignatureState.TRUSTED, "", verified.canonical_hash, verified, verified.root)


# --- steps -----------------------------------------------------------------------------------------------------------


def _only_signature(root: etree._Element) -> etree._Element:
    found = list(root.iter(dsig.SIGNATURE))
    if not found:
        raise ReportUnsigned
    if len(found) > 1:
        raise SignatureBroken(f"there are {len(found)} signatures, and only one is accepted")
    if found[0].getparent() is not root:
        raise SignatureBroken("the signature is not a direct child of the root element")
    return found[0]


def _check_digest(root: etree._Element, size: int, parts: SignatureParts) -> str:
    """Return the report's identity, if the digest in the signature is that of the document without the signature."""

    def digest() -> bytes:
        return canonical_digest(root, size, parts.digest_algorithm, exclusive=parts.exclusive)

    if digest() != parts.digest:
        if size <= _EXPLAINED:
            _drop_white_space(root)
            if digest() == parts.digest:
                raise SignatureBroken(_CHANGED_BY_PRINTING)
        raise SignatureBroken("the report was changed after signing (its digest is not the signed one)")
    return identity(parts.digest if parts.is_identity else canonical_digest(root, size))


def _drop_white_space(root: etree._Element) -> None:
    for element in root.iter():
        if len(element) and element.text and not element.text.strip():
            element.text = None
        if element.tail and not element.tail.strip():
            element.tail = None


def _check_value(parts: SignatureParts, trust: Trust) -> x509.Certificate:
    """Return the certificate under whose key the signature value is right.

    The key in KeyInfo is a hint which pinned certificate to try. Without a hint all are tried.
    """
    if not parts.certificates:
        for certificate in _valid_first(trust.certificates, trust):
            if _is_signed_by(certificate, parts, strict=False):
                return certificate
        if trust.certificates:
            raise VerificationImpossible("the signature carries no certificate, and it was made by none of those given")
        raise VerificationImpossible("the signature carries no certificate; give the signer's")
    problem: VerificationError = SignatureBroken(
        "the signature value is not right for the signed content and the signer's key"
    )
    for number, claimed in enumerate(parts.certificates):  # the order of X509Certificates has no meaning
        key = public_key_of(claimed)
        same = [pinned for pinned in trust.certificates if key is not None and public_key_of(pinned) == key]
        certificate = next(iter(_valid_first(same, trust)), claimed)
        try:
            if _is_signed_by(certificate, parts):
                return certificate
        except VerificationError as error:
            problem = problem if number else error
    raise problem


def _valid_first(certificates: Iterable[x509.Certificate], trust: Trust) -> list[x509.Certificate]:
    """Of an expired certificate and its successor for the same key, the successor is meant."""
    at = trust.time()
    return sorted(certificates, key=lambda certificate: not validity_of(certificate).contains(at))


def _is_signed_by(certificate: x509.Certificate, parts: SignatureParts, *, strict: bool = True) -> bool:
    """Tell whether the value is right for this certificate's key; a key that is not accepted raises, if `strict`."""
    try:
        key = _accepted_key(certificate, parts.method)
        _check_value_under(key, parts)
    except InvalidSignature:
        return False
    except VerificationError:
        if strict:
            raise
        return False
    return True


def _accepted_key(certificate: x509.Certificate, method: Method) -> PublicKey:
    key = public_key_of(certificate)
    match key:
        case None:
            raise VerificationImpossible("the signer's certificate has a kind of key that is not accepted")
        case rsa.RSAPublicKey():
            kind = "RSA"
            if key.key_size < MINIMUM_RSA_BITS:
                bits = f"{key.key_size} bits; at least {MINIMUM_RSA_BITS} are accepted"
                raise VerificationImpossible(f"the signer's RSA key has {bits}")
        case ec.EllipticCurvePublicKey():
            kind = "ECDSA"
            if key.curve.name not in _CURVES:
                raise VerificationImpossible(
                    f"the signer's key is on the curve {key.curve.name}, which is not accepted"
                )
        case _:
            kind = "Ed25519"
    if kind != method.key:
        raise SignatureBroken(f"the signature method is {method.name}, but the signer's key is for {kind}")
    return key


def _check_value_under(key: PublicKey, parts: SignatureParts) -> None:
    """Raise InvalidSignature unless the value is right (RFC 8017, RFC 6931 section 2.3.6, RFC 8032)."""
    value, digest = parts.value, parts.method.digest
    match key:
        case ed25519.Ed25519PublicKey() if digest is None:
            key.verify(value, parts.signed_info)
        case rsa.RSAPublicKey() if digest is not None:
            key.verify(value, parts.signed_info, padding.PKCS1v15(), digest)
        case ec.EllipticCurvePublicKey() if digest is not None:
            size = (key.curve.key_size + 7) // 8
            if len(value) != 2 * size:
                expected = f"r and s side by side have {2 * size}"
                raise SignatureBroken(f"the ECDSA signature value has {len(value)} bytes; {expected}")
            r, s = int.from_bytes(value[:size]), int.from_bytes(value[size:])
            key.verify(encode_dss_signature(r, s), parts.signed_info, ec.ECDSA(digest))
        case _:
            raise InvalidSignature


def _check_trust(evidence: Verified, chain: Sequence[x509.Certificate], trust: Trust) -> Verified:
    certificate, at = evidence.certificate, trust.time()
    if any(certificate is pinned for pinned in trust.certificates):
        _check_dates(evidence, at)
        _check_usage(evidence)
        return _trusted(evidence, subject_of(certificate))
    if trust.authorities:
        _check_dates(evidence, at)
        return _trusted(evidence, _authority_of(evidence, chain, trust.authorities, at))
    signer = subject_of(certificate)
    if any(subject_of(pinned) == signer for pinned in trust.certificates):
        raise SignerUntrusted(
            f"the signer calls itself {signer}, but has another key than the certificate given", evidence
        )
    if trust.certificates:
        raise SignerUntrusted(f"the signer {signer} is none of those whose certificates were given", evidence)
    raise SignerUntrusted(f"nothing says whether the signer {signer} can be trusted", evidence)


def _trusted(evidence: Verified, by: str) -> Verified:
    return Verified(evidence.canonical_hash, evidence.algorithm, evidence.certificate, by, evidence.root)


def _check_dates(evidence: Verified, at: dt.datetime) -> None:
    if at < evidence.not_before:
        raise SignerUntrusted(f"the signer's certificate is not valid before {evidence.not_before:%Y-%m-%d}", evidence)
    if at > evidence.not_after:
        raise SignerUntrusted(f"the signer's certificate expired on {evidence.not_after:%Y-%m-%d}", evidence)


def _check_usage(evidence: Verified) -> None:
    """Raise SignerUntrusted if the certificate has a KeyUsage that is not for signatures (RFC 5280, 4.2.1.3)."""
    try:
        usage = evidence.certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        raise SignerUntrusted("the extensions of the signer's certificate cannot be read", evidence) from None
    if not (usage.digital_signature or usage.content_commitment):
        raise SignerUntrusted("the signer's certificate is not for digital signatures (KeyUsage)", evidence)


def _authority_of(
    evidence: Verified, chain: Iterable[x509.Certificate], authorities: Sequence[x509.Certificate], at: dt.datetime
) -> str:
    """Return the subject of the authority to which a valid chain leads (RFC 5280, section 6), or raise."""
    from cryptography.x509 import verification as path  # noqa: PLC0415 - most verifications pin a certificate

    def check_leaf(_policy: path.Policy, _leaf: x509.Certificate, usage: x509.KeyUsage) -> None:
        if not (usage.digital_signature or usage.content_commitment):
            raise ValueError("its KeyUsage does not allow digital signatures")

    def check_issuer(_policy: path.Policy, _ca: x509.Certificate, usage: x509.KeyUsage | None) -> None:
        if usage is not None and not usage.key_cert_sign:
            raise ValueError("the KeyUsage of an issuer does not allow it to sign certificates")

    either = path.Criticality.AGNOSTIC
    leaf = path.ExtensionPolicy.permit_all().require_present(x509.KeyUsage, either, check_leaf)
    ca = path.ExtensionPolicy.permit_all().require_present(x509.BasicConstraints, either, None)
    ca = ca.may_be_present(x509.KeyUsage, either, check_issuer)
    builder = path.PolicyBuilder().store(path.Store(list(authorities))).time(at)
    verifier = builder.extension_policies(ca_policy=ca, ee_policy=leaf).build_client_verifier()
    try:
        built = verifier.verify(evidence.certificate, list(chain)).chain
    except (path.VerificationError, ValueError) as error:
        words = str(error).partition(" (encountered processing")[0].removeprefix("validation failed: ")
        problem = f"no valid chain leads from the signer to the authorities given: {words}"
        raise SignerUntrusted(problem, evidence) from None
    return subject_of(built[-1])
