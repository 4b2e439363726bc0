"""What happens to a report when a run ends: sign, prove the signature, replace the file, store, queue; then deliver."""

from __future__ import annotations

import glob
import os
import stat
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_jux.canonicalizer import canonical_digest, without_signatures
from pytest_jux.canonicalizer import identity as identity_of
from pytest_jux.config import secret_variables
from pytest_jux.document import DEFAULT_LIMITS, parse
from pytest_jux.errors import FileProblem, JuxError, ReportTooLarge
from pytest_jux.files import read_file, reason_of, replace_file
from pytest_jux.metadata import capture_metadata
from pytest_jux.outcomes import Duplicate, Published, Rejected
from pytest_jux.report import read
from pytest_jux.signer import sign_report
from pytest_jux.verifier import Trust, verify_report

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from cryptography import x509

    from pytest_jux.api_client import JuxAPIClient
    from pytest_jux.config import Settings
    from pytest_jux.inventory import StoredReport
    from pytest_jux.keys import PrivateKey
    from pytest_jux.metadata import EnvironmentMetadata
    from pytest_jux.outcomes import Outcome as Delivery
    from pytest_jux.report import Summary
    from pytest_jux.storage import ReportStorage
    from pytest_jux.verifier import Verified


_Result = TypeVar("_Result")


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
    """A step did not succeed; `step` is `read`, `sign`, `store`, `queue`, `publish` or `record`.

    `record`: the report was sent, but what came of it could not be recorded.
    """

    step: str
    error: JuxError


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one report. None means that a step was not asked for or not reached.

    `is_queued`: the report waits to be published. `delivery` is what came of sending it.
    """

    canonical_hash: str | None = None
    signed: Signed | None = None
    stored: StoredReport | None = None
    is_queued: bool = False
    delivery: Delivery | None = None
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


def configured_metadata(
    settings: Settings, directory: Path | None = None, exit_status: int | None = None
) -> EnvironmentMetadata:
    """Return the metadata of a run in `directory`, which pytest ends with `exit_status`, as the configuration wants it.

    Variables that hold secrets because the configuration says so are left out, whatever they are called.
    """
    secret = [f"env:{glob.escape(name)}" for name in secret_variables(settings, os.environ)]
    return capture_metadata(
        directory,
        project=settings["jux_project"] or "",
        env_patterns=settings["jux_metadata_env"],
        extra=settings["jux_metadata_extra"],
        exclude=(*settings["jux_metadata_exclude"], *secret),
        exit_status=exit_status,
    )


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
    keep: bool = True,
    queue_for: str = "",
    mark: str = "",
) -> Outcome:
    """Sign the report file `path` in place, store it and queue it, as far as asked for; `deliver` does the rest.

    No step's failure stops the others. A report that could not be signed stays exactly as it was; it is stored so, but
    not queued. `keep` false means that it is not stored. `queue_for` is the API to publish it to: the report waits
    in the queue for that. `mark` is a text that is in this report and in no other, by which one is found out that
    somebody else has put there.
    """
    failures: list[Failed] = []
    signed: Signed | None = None
    try:
        data = load_report(path)
        if mark.encode() not in data:
            raise FileProblem(path, "process", "it is not what this run wrote (does another run write it, too?)")
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
    try:
        identity, summary = _describe(data, signed)
    except JuxError as error:
        return Outcome(None, signed, failures=(*failures, Failed("store", error)))
    stored: StoredReport | None = None
    if storage is not None and keep:
        # One that could not be signed may carry a signature already.
        store = partial(storage.store, data, identity, metadata, signed=True if signed else None, summary=summary)
        stored = _attempted("store", store, failures)
    if signed is None or not queue_for or storage is None:
        return Outcome(identity, signed, stored, failures=tuple(failures))
    facts = {**(metadata or {}), "summary": summary.to_dict()}
    enqueue = partial(storage.enqueue, data, identity, facts, api_url=queue_for)
    is_queued = _attempted("queue", lambda: enqueue() is None, failures) is True
    return Outcome(identity, signed, stored, is_queued, failures=tuple(failures))


def deliver(
    processed: Outcome,
    client: JuxAPIClient,
    storage: ReportStorage | None = None,
    metadata: Mapping[str, Any] | None = None,
    *,
    deadline: float | None = None,
) -> Outcome:
    """Send a signed report, from the queue if it waits there, else as it is; return what is known then.

    `delivery` is None if somebody else is sending it, or if it could not be read. `deadline` is in seconds.
    """
    from pytest_jux.publishing import NotRecorded, publish_entry  # noqa: PLC0415 - many runs need no HTTP library

    signed, identity = processed.signed, processed.canonical_hash
    if signed is None or identity is None:
        return processed
    try:
        if processed.is_queued and storage is not None:
            delivery = publish_entry(storage, client, identity, deadline=deadline)
        else:
            delivery = client.publish(signed.data, metadata, canonical_hash=identity, deadline=deadline)
    except NotRecorded as error:
        failures = (*processed.failures, Failed("record", error))
        return replace(processed, delivery=error.outcome, failures=failures)
    except JuxError as error:
        return replace(processed, failures=(*processed.failures, Failed("publish", error)))
    is_over = isinstance(delivery, (Published, Duplicate, Rejected))
    return replace(processed, delivery=delivery, is_queued=processed.is_queued and not is_over)


def _attempted(step: str, action: Callable[[], _Result], failures: list[Failed]) -> _Result | None:
    """Return what an action returns; note its failure, so that the next step is done all the same."""
    try:
        return action()
    except JuxError as error:
        failures.append(Failed(step, error))
        return None


def _describe(data: bytes, signed: Signed | None) -> tuple[str, Summary]:
    """Return identity and counts, from the tree that was verified where there is one."""
    if signed is not None:
        return signed.evidence.canonical_hash, read(signed.evidence.root).summary
    root = without_signatures(parse(data))
    return identity_of(canonical_digest(root, len(data))), read(root).summary


def _trust_in(credentials: Credentials) -> Trust:
    """Trust the signer's own certificate, or, for a bare key, one made for this moment."""
    if credentials.certificate is not None:
        return Trust([credentials.certificate])
    from pytest_jux.keys import self_signed_certificate  # noqa: PLC0415 - most signers have a certificate

    return Trust([self_signed_certificate(credentials.key, "bare key", days=1)])
