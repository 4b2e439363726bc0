"""A check of a whole report store: every file against its name, its signature, its records and its permissions.

No file is changed. What other processes write meanwhile is no finding: whatever looks wrong is looked at again while
the lock of its hash is held.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_jux.document import DEFAULT_LIMITS
from pytest_jux.errors import JuxError, ReportNotStored, StorageError
from pytest_jux.files import read_regular, reason_of
from pytest_jux.inventory import DIRECTORIES, LOCKS, METADATA, QUEUE, RECORD_NAME, REJECTED, REPORT_NAME, REPORTS
from pytest_jux.records import DIGEST, LARGEST_RECORD, SEAL, sealed, sha256
from pytest_jux.verifier import SignatureState, Trust, examine_report

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from pytest_jux.storage import ReportStorage
    from pytest_jux.verifier import Examination

_WITH_REPORTS = (REPORTS, QUEUE, REJECTED)
_TEMPORARY = re.compile(r"\.jux-.*\.tmp")
_FILE_MODE, _DIRECTORY_MODE = 0o600, 0o700
_TRIES = 10  # of half a second each, where another process holds the lock all the time
_COUNTS = ("tests", "passed", "failures", "errors", "skipped", "flaky")


class Kind(StrEnum):
    """What a finding is about. The last three are only worth knowing; the others are problems."""

    CONTENT = "content"
    SIGNATURE = "signature"
    RECORD = "record"
    PERMISSIONS = "permissions"
    UNREADABLE = "unreadable"
    LINK = "link"
    FOREIGN = "foreign"
    LEFTOVER = "leftover"


_NOTES = {Kind.LINK, Kind.FOREIGN, Kind.LEFTOVER}


class Finding(NamedTuple):
    """Something about one file or directory of the store; `message` is a sentence about it."""

    path: Path
    kind: Kind
    message: str

    @property
    def is_problem(self) -> bool:
        """False for links, foreign files and what interrupted processes left."""
        return self.kind not in _NOTES


class Audit(NamedTuple):
    """What a check found; `reports` is how many reports were compared with their names."""

    reports: int
    findings: tuple[Finding, ...]

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The findings that are not as they should be."""
        return tuple(finding for finding in self.findings if finding.is_problem)

    @property
    def notes(self) -> tuple[Finding, ...]:
        """The findings that are only worth knowing."""
        return tuple(finding for finding in self.findings if not finding.is_problem)


def audit(
    storage: ReportStorage,
    hashes: Collection[str] = (),
    trust: Trust | None = None,
    *,
    on_each: Callable[[int, int], object] | None = None,
) -> Audit:
    """Check the whole store or, with full `hashes`, everything about these reports.

    With `trust`, a report that is unsigned or whose signer is not trusted is a problem; a broken signature always is.
    `on_each` is told how many files are done, and of how many.

    Raises:
        ReportNotStored: one of `hashes` is not there.
        StorageError: a directory cannot be read.
    """
    wanted = {given.replace(":", "-"): given for given in hashes}
    paths = [
        storage.root / directory / name
        for directory in DIRECTORIES
        for name in _names(storage.root / directory)
        if not wanted or name.partition(".")[0] in wanted
    ]
    stored = {path.stem for path in paths if path.suffix == ".xml"}
    for name, given in wanted.items():
        if name not in stored:
            raise ReportNotStored(given)
    check = _Check(storage, trust)
    findings: list[Finding] = []
    if not wanted:
        for directory in (storage.root, *(storage.root / name for name in (*DIRECTORIES, LOCKS))):
            findings += check.directory(directory)
    for number, path in enumerate(paths, 1):
        findings += check.file(path)
        if on_each is not None:
            on_each(number, len(paths))
    return Audit(len(check.reports), tuple(findings))


class _Check:
    """The check of one file after the other; `reports` are the names of those that were looked at."""

    def __init__(self, storage: ReportStorage, trust: Trust | None) -> None:
        self.storage = storage
        self.root = storage.root
        self.trust = trust
        self.reports: set[str] = set()
        self.owner = _owner_of(storage.root)

    def directory(self, path: Path) -> Iterator[Finding]:
        """Check a directory itself; one that is not there is as good as empty."""
        with contextlib.suppress(FileNotFoundError):
            if path.is_symlink():
                yield Finding(path, Kind.LINK, "it is a link to another directory")
            if path != self.root or {*_names(path)} <= {*DIRECTORIES, LOCKS}:  # else it is not the store's alone
                yield from self._permissions(path, path.stat(), _DIRECTORY_MODE)

    def file(self, path: Path) -> Iterator[Finding]:
        """Check a file, and what belongs to it."""
        try:
            facts = path.lstat()
        except FileNotFoundError:  # removed since it was listed
            return
        except OSError as error:
            yield Finding(path, Kind.UNREADABLE, f"it cannot be looked at: {reason_of(error)}")
            return
        name, place = path.name, path.parent.name
        is_report = place in _WITH_REPORTS and REPORT_NAME.fullmatch(name) is not None
        if stat.S_ISLNK(facts.st_mode):
            yield Finding(path, Kind.LINK, "it is a link, which is not followed")
        elif _TEMPORARY.fullmatch(name):
            yield Finding(path, Kind.LEFTOVER, "a process is writing it, or was interrupted while it did")
        elif not stat.S_ISREG(facts.st_mode) or not (is_report or (place != REPORTS and RECORD_NAME.fullmatch(name))):
            yield Finding(path, Kind.FOREIGN, "it is none of the store's files")
        else:
            yield from self._permissions(path, facts, _FILE_MODE)
            self.reports |= {path.stem} if is_report else set()
            yield from _surely(self._report if is_report else self._record, path, self.storage)

    def _permissions(self, path: Path, facts: os.stat_result, expected: int) -> Iterator[Finding]:
        if os.name != "posix":
            return
        mode = stat.S_IMODE(facts.st_mode)
        if mode != expected:
            others = ", so others can reach it" if mode & 0o077 else ""
            message = f"its mode is {mode:04o} instead of {expected:04o}{others}"
            yield Finding(path, Kind.PERMISSIONS, message)
        if facts.st_uid != self.owner:
            yield Finding(path, Kind.PERMISSIONS, f"it belongs to user {facts.st_uid} instead of {self.owner}")

    def _report(self, path: Path) -> Iterator[Finding]:
        try:
            data = read_regular(path, DEFAULT_LIMITS.bytes + 1)
        except OSError as error:
            yield Finding(path, Kind.UNREADABLE, f"it cannot be read: {reason_of(error)}")
            return
        try:
            found = examine_report(data, self.trust or Trust())
        except JuxError as error:
            yield Finding(path, Kind.CONTENT, f"its content is not what was stored: {error}")
            return
        if found.canonical_hash != _identity(path):
            whole = found.state in {SignatureState.TRUSTED, SignatureState.INTACT}
            what = "it holds another report" if whole else "its content is not what was stored"
            yield Finding(path, Kind.CONTENT, f"{what}: its hash is {found.canonical_hash}")
            return
        yield from self._signature(path, found)
        if path.parent.name == REPORTS:
            yield from self._description(path, found, sha256(data))
        elif not path.with_suffix(".json").exists():
            yield Finding(path, Kind.LEFTOVER, "there is no record for it, so an interrupted process left it")

    def _signature(self, path: Path, found: Examination) -> Iterator[Finding]:
        if found.state is SignatureState.BROKEN:
            yield Finding(path, Kind.SIGNATURE, f"its signature is broken: {found.reason}")
        elif self.trust is not None and found.state is not SignatureState.TRUSTED:
            yield Finding(path, Kind.SIGNATURE, found.reason)

    def _description(self, path: Path, found: Examination, digest: str) -> Iterator[Finding]:
        """Compare what is recorded about a stored report with the report."""
        record = self.root / METADATA / f"{path.stem}.json"
        if not os.path.lexists(record):
            yield Finding(path, Kind.RECORD, "it has no metadata")
            return
        facts, problem = _read_record(record)
        if problem:
            yield Finding(record, Kind.RECORD, problem)
            return
        if facts.get(DIGEST, digest) != digest:  # outside what the canonical hash covers, such as the signature
            yield Finding(path, Kind.CONTENT, "its bytes are not those that were stored")
        counts = found.report.summary.to_dict()
        known = facts.get("summary", {})
        known = known if isinstance(known, dict) else {"tests": known}
        wrong = [name for name in _COUNTS if name in known and known[name] != counts[name]]
        if wrong:
            yield Finding(record, Kind.RECORD, f"its counts are not the report's: {', '.join(wrong)}")
        is_signed = found.state is not SignatureState.UNSIGNED
        if facts.get("signed", is_signed) is not is_signed:
            yield Finding(record, Kind.RECORD, f"it says that the report is {'un' * is_signed}signed")

    def _record(self, path: Path) -> Iterator[Finding]:
        """Check a record itself, and that there is a report for it; `_description` compares it with the report."""
        place = path.parent.name
        where = {QUEUE: (QUEUE, REPORTS), REJECTED: (REJECTED, REPORTS)}.get(place, _WITH_REPORTS)
        is_there = any(_is_file(self.root / name / f"{path.stem}.xml") for name in where)
        if not is_there:  # records are removed before reports, so nothing of ours did this
            yield Finding(path, Kind.RECORD, "the report that it is about is missing")
        _, problem = _read_record(path)
        if problem and not (place == METADATA and _is_file(self.root / REPORTS / f"{path.stem}.xml")):
            yield Finding(path, Kind.RECORD, problem)


# --- parts -----------------------------------------------------------------------------------------------------------


def _surely(look: Callable[[Path], Iterator[Finding]], path: Path, storage: ReportStorage) -> list[Finding]:
    """Return the findings about a file; if there are any, those of a second look, while nobody can be changing it."""
    findings = list(look(path))
    for _ in range(_TRIES if findings else 0):
        with contextlib.suppress(StorageError), storage.holding(_identity(path)):
            return list(look(path)) if os.path.lexists(path) else []
    return findings  # somebody is using it all the time


def _is_file(path: Path) -> bool:
    """Tell whether there is a regular file: a link or a pipe in a report's place is no report."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _names(directory: Path) -> list[str]:
    try:
        return sorted(os.listdir(directory))  # noqa: PTH208 - a tenth of iterdir's time
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(directory, "read", reason_of(error)) from None


def _owner_of(root: Path) -> int:
    """Return who should own everything: the user, or, for the administrator, whose store it is."""
    if os.name != "posix":
        return 0
    user = os.geteuid()
    try:
        return user or root.stat().st_uid
    except OSError:
        return user


def _identity(path: Path) -> str:
    return path.stem.replace("-", ":")


def _read_record(path: Path) -> tuple[dict[str, Any], str]:
    """Return what a record says, or {} and what is wrong with it."""
    try:
        facts = json.loads(read_regular(path, LARGEST_RECORD))
    except OSError as error:
        return {}, f"it cannot be read: {reason_of(error)}"
    except (ValueError, RecursionError):
        return {}, "it is not JSON"
    if not isinstance(facts, dict):
        return {}, "it is not a JSON object"
    if facts.get("canonical_hash") != _identity(path):
        return {}, "it is about another report, or does not say about which"
    if SEAL in facts and sealed(facts) != facts:
        return {}, "it was changed after it was written"
    return facts, ""
