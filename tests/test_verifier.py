"""Verification: the steps after the form, trust and dates, and the words for every verdict."""

from __future__ import annotations

import datetime as dt
import hashlib

import pytest
from attacks import builder
from attacks.corpus import CORPUS, REPORT, by_build, good, swap
from attacks.material import (
    NOT_AFTER,
    NOT_BEFORE,
    NOW,
    SIGNING,
    Signer,
    authorities,
    certify,
    key,
    pinned,
    self_signed,
    signer,
    usage,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ObjectIdentifier

from pytest_jux.canonicalizer import canonical_hash
from pytest_jux.document import Limits
from pytest_jux.errors import (
    ReportTooLarge,
    ReportUnsigned,
    SignatureBroken,
    SignerUntrusted,
    VerificationError,
    VerificationImpossible,
)
from pytest_jux.signer import sign_report
from pytest_jux.verifier import SignatureState, Trust, examine_report, verify_report

SECOND = dt.timedelta(seconds=1)
UNTRUSTED = "no valid chain leads from the signer to the authorities given: "
MESSAGES = {
    "stripped: no signature": "the report carries no signature",
    "doubled: beside itself": "there are 2 signatures, and only one is accepted",
    "moved: into the suite": "the signature is not a direct child of the root element",
    "digest: an instruction inside": "there is a processing instruction inside the root element",
    "changed: a failure removed": "the report was changed after signing (its digest is not the signed one)",
    "changed: pretty-printed, nothing else in the signature touched": (
        "the report was changed after signing (white space was added, as pretty-printing does)"
    ),
    "value: a bit flipped": "the signature value is not right for the signed content and the signer's key",
    "ECDSA: truncated": "the ECDSA signature value has 63 bytes; r and s side by side have 64",
    "method: RSA named, EC key": "the signature method is RSA-SHA256, but the signer's key is for ECDSA",
    "method: ECDSA named, RSA key": "the signature method is ECDSA-SHA256, but the signer's key is for RSA",
    "method: RSA named, Ed25519 key": "the signature method is RSA-SHA256, but the signer's key is for Ed25519",
    "key: RSA-1024": "the signer's RSA key has 1024 bits; at least 2048 are accepted",
    "key: secp256k1": "the signer's key is on the curve secp256k1, which is not accepted",
    "key: DSA": "the signer's certificate has a kind of key that is not accepted",
    "no certificate, nobody pinned": "the signature carries no certificate; give the signer's",
    "replaced: by another key without a certificate": (
        "the signature carries no certificate, and it was made by none of those given"
    ),
    "replaced: by a stranger's": "the signer CN=stranger is none of those whose certificates were given",
    "replaced: by a self-signed one of the same subject": (
        "the signer calls itself CN=build-7, but has another key than the certificate given"
    ),
    "nobody trusted": "nothing says whether the signer CN=build-7 can be trusted",
    "certificate: expired": "the signer's certificate expired on 2025-01-01",
    "certificate: not yet valid": "the signer's certificate is not valid before 2026-06-01",
    "certificate: KeyUsage for something else, pinned": (
        "the signer's certificate is not for digital signatures (KeyUsage)"
    ),
    "authority: expired leaf": "the signer's certificate expired on 2025-01-01",
}


@pytest.mark.parametrize("name", MESSAGES)
def test_every_verdict_has_these_words(name: str) -> None:
    attack = CORPUS[name]
    with pytest.raises(VerificationError) as caught:
        verify_report(attack.make(), attack.trust())
    assert str(caught.value) == caught.value.reason == MESSAGES[name]


def test_a_chain_that_fails_is_explained() -> None:
    attack = CORPUS["authority: leaf for something else"]
    with pytest.raises(SignerUntrusted) as caught:
        verify_report(attack.make(), attack.trust())
    assert str(caught.value).startswith(UNTRUSTED)
    assert "its KeyUsage does not allow digital signatures" in str(caught.value)
    attack = CORPUS["authority: a leaf that signed another leaf"]
    with pytest.raises(SignerUntrusted) as caught:
        verify_report(attack.make(), attack.trust())
    assert str(caught.value).startswith(UNTRUSTED)
    assert "basicConstraints.cA must be asserted in a CA certificate" in str(caught.value)


# --- evidence --------------------------------------------------------------------------------------------------------


def test_evidence_says_who_signed_what() -> None:
    verified = verify_report(good(), pinned("build"))
    assert verified.canonical_hash == "sha256:" + hashlib.sha256(builder.canonical(REPORT)).hexdigest()
    assert verified.algorithm == "RSA-SHA256"
    assert verified.certificate == signer("build").certificate
    assert verified.signer == verified.trusted_by == "CN=build-7"
    assert (verified.not_before, verified.not_after) == (NOT_BEFORE, NOT_AFTER)
    assert (verified.report.summary.tests, verified.report.summary.failures) == (4, 1)
    assert verified.root.find("{*}Signature") is None


def test_evidence_of_an_untrusted_signer_names_the_claimed_certificate() -> None:
    with pytest.raises(SignerUntrusted) as caught:
        verify_report(good(), Trust(at=NOW))
    evidence = caught.value.evidence
    assert (evidence.signer, evidence.trusted_by, evidence.algorithm) == ("CN=build-7", "", "RSA-SHA256")
    assert evidence.canonical_hash == canonical_hash(REPORT)
    assert evidence.report.summary.tests == 4


def test_the_authority_is_named_as_the_one_who_vouches() -> None:
    verified = verify_report(builder.sign(REPORT, signer("intermediate leaf")), authorities("ca"))
    assert (verified.signer, verified.trusted_by) == ("CN=intermediate leaf", "CN=Example CA")
    assert verified.algorithm == "ECDSA-SHA256"


def test_the_pinned_certificate_is_the_one_that_is_relied_on() -> None:
    verified = verify_report(good(), pinned("renewed"))
    assert verified.certificate is signer("renewed").certificate
    assert verified.signer == verified.trusted_by == "CN=build-7 renewed"


@pytest.mark.parametrize("digest", [builder.SHA384, builder.SHA512])
def test_the_identity_does_not_depend_on_the_digest_of_the_signature(digest: str) -> None:
    assert verify_report(by_build(digest_method=digest), pinned("build")).canonical_hash == canonical_hash(REPORT)


def test_the_identity_does_not_depend_on_the_canonicalization_of_the_signature() -> None:
    report = REPORT.replace(b"<testsuites ", b'<testsuites xmlns:unused="urn:unused" ')
    signed = builder.sign(
        report,
        signer("build"),
        transforms=builder.transform(builder.ENVELOPED) + builder.transform(builder.EXCLUSIVE),
        content=builder.canonical(report, exclusive=True),
    )
    assert verify_report(signed, pinned("build")).canonical_hash == canonical_hash(report)


def test_an_inclusive_digest_does_not_do_for_an_exclusive_transform() -> None:
    report = REPORT.replace(b"<testsuites ", b'<testsuites xmlns:unused="urn:unused" ')
    transforms = builder.transform(builder.ENVELOPED) + builder.transform(builder.EXCLUSIVE)
    with pytest.raises(SignatureBroken, match="its digest is not the signed one"):
        verify_report(builder.sign(report, signer("build"), transforms=transforms), pinned("build"))


def test_limits_are_obeyed() -> None:
    data = good()
    assert verify_report(data, pinned("build"), limits=Limits(bytes=len(data)))
    for use in (verify_report, examine_report):
        with pytest.raises(ReportTooLarge, match=r"^report refused: more than"):
            use(data, pinned("build"), limits=Limits(bytes=len(data) - 1))


def test_examination_of_an_unsigned_report_obeys_the_limits() -> None:
    assert examine_report(REPORT, Trust(), limits=Limits(bytes=len(REPORT))).state is SignatureState.UNSIGNED


# --- white space that a printer added --------------------------------------------------------------------------------


def test_printing_is_recognised_in_texts_and_tails_only_where_there_is_nothing_else() -> None:
    report = b"<testsuite><a><b>x</b></a><c> </c></testsuite>"
    signed = builder.sign(report, signer("build"))
    printed = swap(swap(signed, b"<a>", b"\n <a>\n  "), b"</a>", b"\n </a>\n")
    printing = "white space was added, as pretty-printing does"
    with pytest.raises(SignatureBroken, match=printing):
        verify_report(printed, pinned("build"))
    for old, new in ((b"<c> </c>", b"<c>  </c>"), (b">x<", b"> <"), (b"</a>", b"</a>."), (b"<a>", b"<a>.")):
        with pytest.raises(SignatureBroken, match="its digest is not the signed one"):
            verify_report(swap(signed, old, new), pinned("build"))


def test_printing_is_recognised_under_the_exclusive_form_too() -> None:
    report = b'<testsuite xmlns:u="urn:u"><a/></testsuite>'
    transforms = builder.transform(builder.ENVELOPED) + builder.transform(builder.EXCLUSIVE)
    content = builder.canonical(report, exclusive=True)
    signed = builder.sign(report, signer("build"), transforms=transforms, content=content)
    with pytest.raises(SignatureBroken, match="white space was added"):
        verify_report(swap(signed, b"<a/>", b"\n<a/>"), pinned("build"))


# --- keys ------------------------------------------------------------------------------------------------------------


def test_rsa_keys_of_2048_bits_are_accepted_and_of_2047_are_not() -> None:
    assert verify_report(good(), pinned("build"))
    small = rsa.generate_private_key(65537, 2047)  # noqa: S505 - to be refused
    by = Signer(small, certify("small", small.public_key(), own_key=small))
    with pytest.raises(VerificationImpossible) as caught:
        verify_report(builder.sign(REPORT, by), Trust([by.certificate], at=NOW))
    assert str(caught.value) == "the signer's RSA key has 2047 bits; at least 2048 are accepted"


@pytest.mark.parametrize(
    ("name", "digest"),
    [("p256", "sha384"), ("p384", "sha256"), ("p384", "sha512"), ("p521", "sha384"), ("rsa3072", "sha512")],
)
def test_any_accepted_digest_goes_with_any_accepted_key(name: str, digest: str) -> None:
    signed = builder.sign(REPORT, signer(name), digest_name=digest)
    kind = "RSA" if name.startswith("rsa") else "ECDSA"
    assert verify_report(signed, pinned(name)).algorithm == f"{kind}-{digest.upper()}"


@pytest.mark.parametrize("others", [["stranger"], ["rsa1024", "dsa", "k256"], ["ed25519", "p521", "imposter"]])
def test_without_a_certificate_every_pinned_one_is_tried(others: list[str]) -> None:
    unnamed = by_build(infos="")
    assert verify_report(unnamed, pinned(*others, "build")).signer == "CN=build-7"
    assert verify_report(unnamed, pinned("build", *others)).signer == "CN=build-7"
    with pytest.raises(VerificationImpossible, match="made by none of those given"):
        verify_report(unnamed, pinned(*others))


# --- trust -----------------------------------------------------------------------------------------------------------


def test_trust_is_empty_by_default_and_means_now() -> None:
    trust = Trust()
    assert (list(trust.certificates), list(trust.authorities), trust.at) == ([], [], None)
    before = dt.datetime.now(dt.UTC)
    assert before <= trust.time() <= dt.datetime.now(dt.UTC)


def test_the_time_of_trust_is_in_utc() -> None:
    at = dt.datetime(2026, 3, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    assert Trust(at=at).time() == at
    assert Trust(at=at).time().tzinfo is dt.UTC


@pytest.mark.parametrize(
    ("at", "trusted"),
    [
        (NOT_BEFORE - SECOND, False),
        (NOT_BEFORE, True),
        (NOT_AFTER, True),
        (NOT_AFTER + SECOND, False),
    ],
)
@pytest.mark.parametrize("how", ["pinned", "authority"])
def test_both_ends_of_the_validity_belong_to_it(how: str, at: dt.datetime, *, trusted: bool) -> None:
    signed = builder.sign(REPORT, signer("leaf"))
    trust = pinned("leaf", at=at) if how == "pinned" else authorities("ca", at=at)
    assert examine_report(signed, trust).state is (SignatureState.TRUSTED if trusted else SignatureState.INTACT)


def test_dates_are_judged_now_where_no_time_is_given() -> None:
    now = dt.datetime.now(dt.UTC)
    current = self_signed("now", "p256", not_before=now - dt.timedelta(days=1), not_after=now + dt.timedelta(days=1))
    past = self_signed("past", "p256", not_before=now - dt.timedelta(days=2), not_after=now - dt.timedelta(days=1))
    assert verify_report(builder.sign(REPORT, current), Trust([current.certificate])).signer == "CN=now"
    with pytest.raises(SignerUntrusted, match=r"expired on \d{4}-\d\d-\d\d$"):
        verify_report(builder.sign(REPORT, past), Trust([past.certificate]))


LONG_AGO = {"not_before": NOT_BEFORE - dt.timedelta(days=400), "not_after": NOT_BEFORE - dt.timedelta(days=40)}


@pytest.mark.parametrize("infos", [None, ""], ids=["with a certificate", "without a certificate"])
@pytest.mark.parametrize("reverse", [False, True])
def test_of_two_pinned_certificates_for_one_key_the_valid_one_counts(infos: str | None, *, reverse: bool) -> None:
    old = self_signed("old", "p256", **LONG_AGO)
    certificates = [old.certificate, self_signed("new", "p256").certificate]
    signed = builder.sign(REPORT, old, infos=infos)
    trust = Trust(certificates[::-1] if reverse else certificates, at=NOW)
    assert verify_report(signed, trust).trusted_by == "CN=new"


def test_of_two_expired_certificates_for_one_key_the_first_is_named() -> None:
    first = self_signed("first", "p256", **LONG_AGO)
    second = self_signed("second", "p256", **LONG_AGO)
    with pytest.raises(SignerUntrusted) as caught:
        verify_report(builder.sign(REPORT, second), Trust([first.certificate, second.certificate], at=NOW))
    assert caught.value.evidence.signer == "CN=first"


@pytest.mark.parametrize(
    ("allowed", "trusted"),
    [
        (["digital_signature"], True),
        (["content_commitment"], True),
        (["digital_signature", "content_commitment"], True),
        (["key_cert_sign"], False),
        ([], False),
    ],
)
@pytest.mark.parametrize("how", ["pinned", "authority"])
def test_the_certificate_has_to_be_for_signatures(how: str, allowed: list[str], *, trusted: bool) -> None:
    own = key("p256")
    if how == "pinned":
        certificate = certify("it", own.public_key(), own_key=own, key_usage=usage(*allowed))
        trust = Trust([certificate], at=NOW)
    else:
        certificate = certify("it", own.public_key(), issuer=signer("ca"), key_usage=usage(*allowed))
        trust = authorities("ca")
    found = examine_report(builder.sign(REPORT, Signer(own, certificate)), trust)
    assert found.state is (SignatureState.TRUSTED if trusted else SignatureState.INTACT)


def test_a_pinned_certificate_with_a_repeated_extension_is_no_crash() -> None:
    """RFC 5280 forbids repeated extensions, and nothing stops a file from having them."""
    own = key("p256")
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "twice")])
    builder_ = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(own.public_key())
    builder_ = builder_.serial_number(1).not_valid_before(NOT_BEFORE).not_valid_after(NOT_AFTER)
    for number in (1, 2):
        extension = x509.UnrecognizedExtension(ObjectIdentifier(f"1.3.6.1.4.1.99999.{number}"), b"\x05\x00")
        builder_ = builder_.add_extension(extension, critical=False)
    made = builder_.add_extension(SIGNING, critical=True).sign(own, hashes.SHA256())
    oid = b"\x06\x09\x2b\x06\x01\x04\x01\x86\x8d\x1f"
    twice = swap(made.public_bytes(Encoding.DER), oid + b"\x02", oid + b"\x01")
    certificate = x509.load_der_x509_certificate(twice)
    found = examine_report(builder.sign(REPORT, Signer(own, certificate)), Trust([certificate], at=NOW))
    assert found.state is SignatureState.INTACT
    assert found.reason == "the extensions of the signer's certificate cannot be read"


def test_an_authority_is_asked_only_where_no_pinned_certificate_fits() -> None:
    trust = Trust(pinned("expired leaf").certificates, authorities("ca").authorities, NOW)
    with pytest.raises(SignerUntrusted, match="certificate expired on 2025-01-01"):
        verify_report(builder.sign(REPORT, signer("expired leaf")), trust)
    assert verify_report(builder.sign(REPORT, signer("leaf")), trust).trusted_by == "CN=Example CA"


# --- examination -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("as pytest-jux signs it", SignatureState.TRUSTED),
        ("nobody trusted", SignatureState.INTACT),
        ("changed: a failure removed", SignatureState.BROKEN),
        ("stripped: no signature", SignatureState.UNSIGNED),
        ("method: HMAC with the public key", SignatureState.UNCHECKED),
    ],
)
def test_examination_has_every_state_as_a_value(name: str, state: SignatureState) -> None:
    attack = CORPUS[name]
    data = attack.make()
    found = examine_report(data, attack.trust())
    assert found.state is state
    assert found.canonical_hash == canonical_hash(data)
    assert found.report.summary.tests == 4
    assert found.report.summary.failures == (0 if state is SignatureState.BROKEN else 1)
    assert found.root.find("{*}Signature") is None
    assert (found.evidence is None) is (state not in {SignatureState.TRUSTED, SignatureState.INTACT})


def test_the_states_have_these_names() -> None:
    assert [str(state) for state in SignatureState] == ["trusted", "intact", "broken", "unsigned", "unchecked"]


def test_the_errors_of_verification_are_siblings() -> None:
    siblings = (ReportUnsigned, SignatureBroken, SignerUntrusted, VerificationImpossible)
    for one in siblings:
        assert one.__bases__ == (VerificationError,)
    assert [one.state for one in siblings] == ["unsigned", "broken", "intact", "unchecked"]


def test_signing_and_verifying_need_no_time_of_day() -> None:
    by = signer("ed25519")
    assert verify_report(sign_report(REPORT, by.key, by.certificate), pinned("ed25519")).algorithm == "Ed25519"
