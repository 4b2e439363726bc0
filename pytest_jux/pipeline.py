"""What happens to a report when a run ends: sign, prove the signature, replace the file, store."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_jux.canonicalizer import canonical_hash
from pytest_jux.document import DEFAULT_LIMITS
from pytest_jux.errors import FileProblem, JuxError, PassphraseMissing, ReportTooLarge
from pytest_jux.files import read_file, reason_of, replace_file
from pytest_jux.signer import sign_report
from pytest_jux.verifier import Trust, verify_report

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cryptography import x509

    from pytest_jux.keys import PrivateKey
    from pytest_jux.storage import ReportStorage, StoredReport
    from pytest_jux.verifier import Verified


_LONGEST_PASSPHRASE = 4096  # bytes


@dataclass(frozen=True, slots=True)
class Credentials:
    """What reports are signed with."""

    key: PrivateKey = field(repr=False)
    certificate: x509.Certificate | None = None


@dataclass(frozen=True, slots=True)
class Signed:
    """The report was signed and its signature checked; `evidence` is what the check found."""

    data: bytes = field(repr=False)
    evidence: Verified


@dataclass(frozen=True, slots=True)
class Failed:
    """A step did not succeed; `step` is `sign` or `store`."""

    step: str
    error: JuxError


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one report. None means that a step was not asked for or not reached."""

    canonical_hash: str | None = None
    signed: Signed | None = None
    stored: StoredReport | None = None
    failures: tuple[Failed, ...] = ()


def load_report(path: Path) -> bytes:
    """Return the bytes of a report file; raises FileProblem or ReportTooLarge."""
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        raise FileProblem(path, "read", reason_of(error)) from None
    if not is_file:  # reading a pipe would wait for somebody to write
        raise FileProblem(path, "read", "it is not a regular file")
    data = read_file(path, DEFAULT_LIMITS.bytes)
    if len(data) > DEFAULT_LIMITS.bytes:
        raise ReportTooLarge("bytes", DEFAULT_LIMITS.bytes)
    return data


def read_passphrase(variable: str | None, file: Path | None) -> bytes | None:
    """Return the passphrase from the first line of a file or from an environment variable; None if neither is named.

    Raises:
        FileProblem: the file cannot be read.
        PassphraseMissing: the variable is not set.
    """
    if file is not None:
        passphrase = read_file(file, _LONGEST_PASSPHRASE).split(b"\n", 1)[0].rstrip(b"\r")
        if not passphrase:
            raise FileProblem(file, "use", "the passphrase in its first line is empty")
        return passphrase
    if variable:
        value = os.environ.get(variable)
        if not value:
            raise PassphraseMissing(variable)
        return os.fsencode(value)
    return None


def sign_and_check(data: bytes, credentials: Credentials, *, replace: bool = False) -> Signed:
    """Return the signed report after our own verifier has accepted it; raises as `sign_report` and `verify_report`."""
    signed = sign_report(data, credentials.key, credentials.certificate, replace=replace)
    return Signed(signed, verify_report(signed, _trust_in(credentials)))


def process_report(
    path: Path,
    *,
    credentials: Credentials | None = None,
    storage: ReportStorage | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Outcome:
    """Sign the report file `path` in place and store it, as far as asked for; no step's failure stops the others.

    A report that could not be signed stays exactly as it was, and is stored so.
    """
    failures: list[Failed] = []
    signed: Signed | None = None
    try:
        data = load_report(path)
    except JuxError as error:
        return Outcome(failures=(Failed("read", error),))
    if credentials is not None:
        try:
            signed = sign_and_check(data, credentials)
            replace_file(path, signed.data)
            data = signed.data
        except JuxError as error:
            signed = None
            failures.append(Failed("sign", error))
    stored: StoredReport | None = None
    identity: str | None = None
    try:
        identity = signed.evidence.canonical_hash if signed else canonical_hash(data)
        if storage is not None:
            stored = storage.store(data, identity, metadata, signed=signed is not None)
    except JuxError as error:
        failures.append(Failed("store", error))
    return Outcome(identity, signed, stored, tuple(failures))


def _trust_in(credentials: Credentials) -> Trust:
    """Trust the signer's own certificate, or, for a bare key, one made for this moment."""
    if credentials.certificate is not None:
        return Trust([credentials.certificate])
    from pytest_jux.keys import self_signed_certificate  # noqa: PLC0415 - most signers have a certificate

    return Trust([self_signed_certificate(credentials.key, "bare key", days=1)])
