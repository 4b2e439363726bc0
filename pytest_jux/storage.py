"""Reports on disk under their own hashes. The files are the truth; there is no index that could disagree with them.

<root>/reports/sha256-<64 hex>.xml      the report
<root>/metadata/sha256-<64 hex>.json    what is known about it; written last, so that it vouches for the report
<root>/queue/…xml and .json             waiting to be published; there is no entry without its JSON
<root>/rejected/…xml and .json          refused by the server for good, with its reason; as above
<root>/published/…json                  the server's answer to a report that it has
<root>/locks/00 … ff                    empty; whoever changes something about a report holds the lock of its hash

Readers need no lock: files get their names when they are whole and on the disk. The locks belong to the kernel and die
with their owner.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_jux import inventory
from pytest_jux.errors import AmbiguousHash, InvalidHash, JuxError, ReportNotStored, StorageError, StoreBusy
from pytest_jux.files import (
    Busy,
    claimed,
    locked,
    make_private_directory,
    new_file,
    read_regular,
    reason_of,
    sweep_strays,
    sync_directory,
    write_atomically,
)
from pytest_jux.inventory import DIRECTORIES, LOCKS, METADATA, PUBLISHED, QUEUE, REJECTED, REPORTS, Inventory, Status
from pytest_jux.records import (
    DIGEST,
    NOT_OURS,
    SEAL,
    Waiting,
    now,
    read_for_update,
    read_record,
    sealed,
    sha256,
    to_json,
)

if TYPE_CHECKING:
    import builtins
    import datetime as dt
    from collections.abc import Callable, Collection, Iterator, Mapping

    from pytest_jux.files import OpenFile
    from pytest_jux.inventory import Statistics, StoredReport
    from pytest_jux.report import Summary

_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_ABBREVIATION = re.compile(r"(?:sha256[:-])?([0-9a-f]{4,64})(?:\.\.\.|…)?", re.IGNORECASE)
_LARGEST_REPORT = 100_000_000  # bytes, as everywhere; a larger file was put there by somebody else
_REMOVAL_TIME = 0.5  # seconds; a removal can be tried again
_LOCK_TIME = 10.0  # seconds to wait for another process, which needs milliseconds
_ENTRY = re.compile(r"sha256-[0-9a-f]{64}\.(xml|json)")
_COUNTS = ("tests", "failures", "errors", "skipped")


def default_storage_path() -> Path:
    """Return the user's data directory for jux: `~/.local/share/jux` on Linux, its like on macOS and Windows.

    Raises:
        StorageError: the user has no home directory.
    """
    import platformdirs  # noqa: PLC0415 - not needed where a path is configured

    try:
        path = Path(platformdirs.user_data_dir("jux", appauthor=False))
    except RuntimeError:
        path = Path()
    if not path.is_absolute():
        raise StorageError("reports", "store", "there is no home directory; set jux_storage_path")
    return path


class ReportStorage:
    """A report store under `root` (default: the user's data directory).

    A `root` whose last part is `reports` means its parent, because that is where the reports themselves then are.
    Directories are made when something is first stored. Methods raise InvalidHash for what is not a full canonical
    hash, and StorageError for what the system refuses.
    """

    def __init__(self, root: Path | str | None = None) -> None:
        path = default_storage_path() if root is None else Path(root)
        if "\0" in str(path):
            raise StorageError(path, "use", "its name has a NUL character")
        self.root = path.parent if path.name == REPORTS else path
        self.reports = self.root / REPORTS
        self.metadata_directory = self.root / METADATA
        self.queue = self.root / QUEUE
        self.rejected = self.root / REJECTED
        self.published = self.root / PUBLISHED
        self._claims: dict[str, OpenFile] = {}

    # --- writing

    def path_of(self, canonical_hash: str) -> Path:
        """Return where the report with this full hash is kept, whether or not it is there."""
        return self.reports / f"{_file_name(canonical_hash)}.xml"

    def store(
        self,
        data: bytes,
        identity: str,
        metadata: Mapping[str, Any] | None = None,
        *,
        signed: bool | None = None,
        summary: Summary | None = None,
    ) -> StoredReport:
        """Keep `data` under its canonical hash `identity` and return where it is; when this returns, it is on the disk.

        A report that is there already is kept if it is as well signed as `data`: an intact signature, by whomever, is
        not replaced by another. What was known about the report is kept in any case. `signed` and `summary` save a
        second look at what the caller knows.

        Raises:
            StorageError: it is not stored for sure; an older entry is whole.
        """
        path = self.path_of(identity)
        record = self.metadata_directory / f"{path.stem}.json"
        signed = _is_signed(data) if signed is None else signed
        facts = {"stored_at": now(), **(metadata or {}), "canonical_hash": identity, "signed": signed}
        facts |= {} if summary is None else {"summary": summary.to_dict()}
        with self._changing(identity, "store", path, self.reports, self.metadata_directory):
            older = _existing(path)
            known = read_for_update(record, identity)
            facts = facts | known | {name: facts[name] for name in ("signed", "summary") if name in facts}
            if older is not None and _keeps(older[0], identity, data):
                facts["signed"] = signed if older[0] == data else _is_signed(older[0])
                facts = sealed(facts | {DIGEST: sha256(older[0])})
                sync_directory(self.reports)  # whoever stored it may have been killed before
                if facts != known:
                    write_atomically(record, to_json(facts), sync=False)
            else:
                if os.path.lexists(record):  # it must at no moment speak of other bytes than those that are there
                    write_atomically(record, to_json(sealed({n: v for n, v in facts.items() if n != DIGEST})))
                facts = sealed(facts | {DIGEST: sha256(data)})
                self._place(path, data, record, to_json(facts))
            _touch(path, 0 if older is None else older[1])
            for directory in (self.metadata_directory, self.root):
                sync_directory(directory)
            found = path.stat()
            status = self._status(path.stem)
        return inventory.StoredReport(identity, path, found.st_size, inventory.moment(found.st_mtime_ns), status)

    def enqueue(
        self, data: bytes, identity: str, metadata: Mapping[str, Any] | None = None, *, api_url: str = ""
    ) -> None:
        """Let `data` wait to be published, stored or not; on return the entry is on the disk.

        `api_url` is the server that it is meant for.

        Raises:
            StorageError: it does not wait for sure; an older entry is whole.
        """
        facts = {"canonical_hash": identity, "queued_at": now(), "attempts": 0, "metadata": dict(metadata or {})}
        facts |= {"api_url": api_url} if api_url else {}
        record = self.queue / f"{_file_name(identity)}.json"
        with self._changing(identity, "queue", record, self.queue):
            self._write_entry(record, data, facts)

    @contextlib.contextmanager
    def claim(self, identity: str) -> Iterator[bool]:
        """Hold a queue entry, so that nobody else sends or removes it; false if somebody does, or if it is gone."""
        record = self.queue / f"{_file_name(identity)}.json"
        try:
            held = claimed(record)
        except Busy:
            held = None
        except OSError as error:
            raise StorageError(record, "lock", reason_of(error)) from None
        if held is None:
            yield False
            return
        self._claims[identity] = held
        try:
            yield True
        finally:
            del self._claims[identity]
            held.close()

    def note_attempt(self, identity: str, reason: str, *, next_attempt_at: str = "") -> None:
        """Record that what was claimed could not be delivered, why, and when it is to be tried again."""
        record = self.queue / f"{_file_name(identity)}.json"
        with self._changing(identity, "update", record, self.queue):
            claim = self._claims.get(identity)
            facts = read_for_update(record, identity)
            if not facts or (claim is not None and not claim.is_at(record)):
                return
            facts["attempts"] = Waiting.of(identity, facts).attempts + 1
            facts |= {"last_attempt_at": now(), "last_error": reason, "next_attempt_at": next_attempt_at}
            write_atomically(record, to_json(facts), sync=False)

    def mark_published(self, identity: str, answer: Mapping[str, Any] | None = None) -> None:
        """Record that the server has a report, with its answer, and take what was claimed out of the queue."""
        record = self.published / f"{_file_name(identity)}.json"
        facts = {"canonical_hash": identity, "published_at": now(), "answer": dict(answer or {})}
        with self._changing(identity, "update", record, self.published):
            if os.path.lexists(self.path_of(identity)):
                write_atomically(record, to_json(facts))
                sync_directory(self.root)
            self._drop_claimed(identity)
            _drop_entry(self.rejected / record.name)

    def mark_rejected(self, identity: str, reason: Mapping[str, Any] | None = None) -> None:
        """Move a report from the queue to those that the server refuses, with its reason."""
        record = self.rejected / f"{_file_name(identity)}.json"
        with self._changing(identity, "update", record, self.rejected):
            facts = read_for_update(self.queue / record.name, identity)
            facts |= {"canonical_hash": identity, "rejected_at": now()}
            data = self._bytes(identity, (QUEUE, REJECTED, REPORTS))
            self._write_entry(record, data, facts | {"reason": dict(reason or {})})
            self._drop_claimed(identity)

    def requeue(self, identity: str) -> None:
        """Let a report that was rejected wait to be published again; if it no longer is, nothing happens."""
        record = self.queue / f"{_file_name(identity)}.json"
        with self._changing(identity, "queue", record, self.queue):
            if not os.path.lexists(self.rejected / record.name):
                self.find(identity)  # raises if it never was in the store
                # Whoever queued it again may have been killed before the end.
                _drop_entry(self.rejected / record.name)
                for directory in (self.queue, self.root):
                    sync_directory(directory)
                return
            known = read_for_update(self.rejected / record.name, identity)
            facts = {"canonical_hash": identity, "queued_at": now(), "attempts": 0}
            facts |= {name: known[name] for name in ("metadata", "api_url") if name in known}
            self._write_entry(record, self._bytes(identity, (REJECTED, REPORTS)), facts)
            _drop_entry(self.rejected / record.name)

    def remove(self, report: StoredReport, *, queued: bool = False) -> bool:
        """Remove a report with all that is known about it; true if it is gone.

        It stays if it was stored again since it was listed, if somebody is using it, and, unless `queued`, while it
        waits to be published. Call `flush` after the last one.
        """
        identity = report.canonical_hash
        name = _file_name(identity)
        waiting = self.queue / f"{name}.json"
        try:
            with self._changing(identity, "remove", report.path, seconds=_REMOVAL_TIME):
                if not queued and os.path.lexists(waiting):
                    return False
                for path in {report.path, self.path_of(identity)}:
                    with contextlib.suppress(FileNotFoundError):
                        if inventory.moment(path.lstat().st_mtime_ns) != report.stored_at:
                            return False  # it was stored again
                with self.claim(identity) as is_ours:
                    if not is_ours and os.path.lexists(waiting):
                        return False  # it is being sent
                    self._drop_claimed(identity)
                _drop_entry(self.rejected / waiting.name)
                for path in (self.published / waiting.name, self._record_of(identity), self.path_of(identity)):
                    path.unlink(missing_ok=True)
        except StoreBusy:
            return False
        return True

    def flush(self) -> None:
        """Flush the directories, so that what was removed stays so."""
        for name in DIRECTORIES:
            try:
                if (self.root / name).is_dir():
                    sync_directory(self.root / name)
            except OSError as error:
                raise StorageError(self.root / name, "update", reason_of(error)) from None

    def sweep(self) -> int:
        """Remove what killed processes left, and return how many files: temporary ones, and halves of entries."""
        return sum(sweep_strays(self.root / name) for name in DIRECTORIES) + sum(
            self._sweep_entries(directory) for directory in (self.queue, self.rejected)
        )

    @contextlib.contextmanager
    def holding(self, identity: str) -> Iterator[None]:
        """Keep others from changing anything about a report meanwhile; where nothing was ever stored, nobody can."""
        locks = self.root / LOCKS
        if not locks.is_dir():
            yield
            return
        with self._changing(identity, "read", locks, seconds=_REMOVAL_TIME):
            yield

    # --- reading

    def read(self, canonical_hash: str, *, waiting: bool = False) -> bytes:
        """Return the exact bytes of the report with this full hash, also of one that only waits or was rejected.

        With `waiting`, what is to be published, which may be better signed than what is stored.

        Raises:
            ReportNotStored, StorageError: it is not there, or cannot be read.
        """
        try:
            return self._bytes(canonical_hash, (QUEUE, REJECTED, REPORTS) if waiting else (REPORTS, QUEUE, REJECTED))
        except OSError as error:
            raise StorageError(error.filename or self.path_of(canonical_hash), "read", reason_of(error)) from None

    def metadata(self, canonical_hash: str) -> dict[str, Any]:
        """Return what is known about the report with this full hash; {} where nothing readable is."""
        facts = self._record(METADATA, canonical_hash)
        if facts:
            return {name: value for name, value in facts.items() if name not in {SEAL, DIGEST}}
        waiting = self._record(QUEUE, canonical_hash) or self._record(REJECTED, canonical_hash)
        known = waiting.get("metadata")
        return dict(known) if isinstance(known, dict) else {}

    def summary(self, canonical_hash: str) -> dict[str, Any]:
        """Return the counts of a report, as recorded when it was stored, else from the report; {} if it cannot be read.

        Raises:
            ReportNotStored: it is not there.
        """
        known = self.metadata(canonical_hash).get("summary")
        if isinstance(known, dict) and all(isinstance(known.get(name), int) for name in _COUNTS):
            return known
        from pytest_jux.document import parse  # noqa: PLC0415 - who lists a store needs no XML parser
        from pytest_jux.report import read  # noqa: PLC0415 - as above

        try:
            return read(parse(self.read(canonical_hash))).summary.to_dict()
        except ReportNotStored:
            raise
        except JuxError:
            return {}

    def answer(self, canonical_hash: str) -> dict[str, Any]:
        """Return what is recorded of its publication: when, the server's answer or reason, attempts; {} if nothing."""
        for directory in (QUEUE, REJECTED, PUBLISHED):
            facts = self._record(directory, canonical_hash)
            if facts:
                return {name: value for name, value in facts.items() if name not in {"canonical_hash", "metadata"}}
        return {}

    def list(
        self,
        *,
        limit: int | None = None,
        since: dt.datetime | None = None,
        until: dt.datetime | None = None,
        statuses: Collection[Status] = (),
    ) -> list[StoredReport]:
        """Return the reports stored from `since` on and before `until`, newest first, at most `limit` of them."""
        return Inventory(self.root).newest(limit=limit, since=since, until=until, statuses=statuses)

    def statistics(self) -> Statistics:
        """Return numbers and sizes of the whole store."""
        return Inventory(self.root).statistics()

    def waiting(self) -> builtins.list[Waiting]:
        """Return the entries of the queue, in the order in which they came."""
        found = (report.canonical_hash for report in reversed(self.list(statuses=[Status.QUEUED])))
        return sorted((self.entry(identity) for identity in found), key=lambda entry: entry.queued_at)

    def entry(self, canonical_hash: str) -> Waiting:
        """Return what the queue knows of a report with this full hash; nothing but the hash if that is nothing."""
        if not os.path.lexists(self.queue / f"{_file_name(canonical_hash)}.json"):
            return Waiting(canonical_hash)
        return Waiting.of(canonical_hash, self._record(QUEUE, canonical_hash))

    def waiting_metadata(self, canonical_hash: str) -> dict[str, Any]:
        """Return the metadata with which a report waits to be published; {} if there is none."""
        known = self._record(QUEUE, canonical_hash).get("metadata")
        return dict(known) if isinstance(known, dict) else {}

    def find(self, canonical_hash: str) -> StoredReport:
        """Return the stored report with this full hash; raises ReportNotStored."""
        name = _file_name(canonical_hash)
        for directory in (self.reports, self.queue, self.rejected):
            path = directory / f"{name}.xml"
            try:
                facts = path.lstat()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise StorageError(path, "read", reason_of(error)) from None
            moment = inventory.moment(facts.st_mtime_ns)
            return inventory.StoredReport(canonical_hash, path, facts.st_size, moment, self._status(name))
        raise ReportNotStored(canonical_hash)

    def resolve(self, abbreviation: str) -> str:
        """Return the full hash of the stored report whose hash begins so, with or without `sha256:` and `...`.

        Raises:
            InvalidHash: it is not made of at least four hexadecimal digits.
            ReportNotStored, AmbiguousHash: none, or more than one, begins so.
        """
        match = _ABBREVIATION.fullmatch(abbreviation)
        if match is None:
            raise InvalidHash(abbreviation)
        found = inventory.matching(self.root, match[1].lower())
        if not found:
            raise ReportNotStored(abbreviation)
        if len(found) > 1:
            raise AmbiguousHash(abbreviation, found)
        return found[0]

    # --- parts

    @contextlib.contextmanager
    def _changing(
        self, identity: str, action: str, target: Path, *directories: Path, seconds: float = _LOCK_TIME
    ) -> Iterator[None]:
        """Hold the lock of a hash, with these directories there; what the system refuses becomes a StorageError."""
        lock = self.root / LOCKS / _file_name(identity)[7:9]
        place = target
        try:
            for directory in (lock.parent, *directories):
                make_private_directory(directory)
            place = lock
            with locked(lock, seconds=seconds):
                place = target
                yield
        except Busy as error:
            raise StoreBusy(target, action, reason_of(error)) from None
        except OSError as error:
            raise StorageError(place, action if place is target else "use", reason_of(error)) from None

    def _place(self, path: Path, data: bytes, record: Path, description: bytes) -> None:
        """Give a report and its record their names, in this order; both are written before, so that the disk can."""
        was_there = os.path.lexists(path)
        with new_file(record.parent, description, flush=False) as file:
            try:
                write_atomically(path, data)
                file.move_to(record)
            except OSError:
                if not was_there:
                    with contextlib.suppress(OSError):
                        path.unlink()
                raise

    def _write_entry(self, record: Path, data: bytes, facts: Mapping[str, Any]) -> None:
        """Write both files of an entry, the record last; the report is a hard link to the stored one if possible."""
        path = record.with_suffix(".xml")
        if _read_or_none(path) != data:
            stored = self.reports / path.name
            if not os.path.lexists(path) and _read_or_none(stored) == data:
                with contextlib.suppress(OSError, NotImplementedError):
                    os.link(stored, path, follow_symlinks=False)
            if _read_or_none(path) != data:
                write_atomically(path, data, sync=False)
            sync_directory(path.parent)
        elif read_record(record) and record.parent == self.queue:
            facts = {}  # it waits already
        if facts:
            write_atomically(record, to_json(facts), sync=False)
        sync_directory(record.parent)
        sync_directory(self.root)

    def _drop_claimed(self, identity: str) -> None:
        """Take an entry out of the queue, unless another was put in its place since it was claimed."""
        record = self.queue / f"{_file_name(identity)}.json"
        claim = self._claims.get(identity)
        if claim is not None and not claim.is_at(record):
            return
        if claim is not None and sys.platform == "win32":  # where an open file cannot be removed
            claim.close()
        _drop_entry(record)

    def _sweep_entries(self, directory: Path) -> int:
        """Remove reports without a record, which are no entries, and records of reports that are gone."""
        removed = 0
        for path in _halves(directory):
            other = path.with_suffix(".json" if path.suffix == ".xml" else ".xml")
            stored = self.reports / f"{path.stem}.xml"

            def is_whole(path: Path = path, other: Path = other, stored: Path = stored) -> bool:
                return os.path.lexists(other) or (path.suffix == ".json" and os.path.lexists(stored))

            with contextlib.suppress(StorageError):
                removed += self._discard(path, unless=is_whole)
        return removed

    def _discard(self, path: Path, *, unless: Callable[[], bool]) -> bool:
        """Remove a file; `unless` is asked while nobody else can change anything about the report it is named after."""
        with self._changing(path.stem.replace("-", ":", 1), "remove", path, seconds=_REMOVAL_TIME):
            if unless():
                return False
            path.unlink(missing_ok=True)
        return True

    def _bytes(self, canonical_hash: str, order: tuple[str, ...]) -> bytes:
        name = _file_name(canonical_hash)
        for directory in (*order, *order):  # twice: it may be on its way from one to another
            with contextlib.suppress(FileNotFoundError):
                path = self.root / directory / f"{name}.xml"
                data = read_regular(path, _LARGEST_REPORT + 1)
                if len(data) > _LARGEST_REPORT:
                    raise StorageError(path, "read", f"it has more than {_LARGEST_REPORT:,} bytes")
                return data
        raise ReportNotStored(canonical_hash)

    def _record_of(self, canonical_hash: str) -> Path:
        return self.metadata_directory / f"{_file_name(canonical_hash)}.json"

    def _status(self, name: str) -> Status:
        for directory, status in ((QUEUE, Status.QUEUED), (REJECTED, Status.REJECTED), (PUBLISHED, Status.PUBLISHED)):
            if os.path.lexists(self.root / directory / f"{name}.json"):
                return status
        return Status.LOCAL

    def _record(self, directory: str, canonical_hash: str) -> dict[str, Any]:
        try:
            return read_record(self.root / directory / f"{_file_name(canonical_hash)}.json")
        except OSError:
            return {}


def _existing(path: Path) -> tuple[bytes, int] | None:
    """Return the content of a report's file and its time in nanoseconds; None where there is none of ours."""
    try:
        return read_regular(path), path.lstat().st_mtime_ns
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno not in NOT_OURS:
            raise
        return None


def _touch(path: Path, older: int) -> None:
    """Let a report's time be now, and in any case later than it was, so that nobody takes it for the older one."""
    now = max(time.time_ns(), older + 1000)
    with contextlib.suppress(OSError):  # a file of somebody else's
        os.utime(path, ns=(now, now))


def _keeps(existing: bytes, identity: str, data: bytes) -> bool:
    """Tell whether what is under this name is to stay: it must be whole, and as well signed as `data`."""
    if existing == data:
        return True
    from pytest_jux.canonicalizer import canonical_hash  # noqa: PLC0415 - who lists a store needs no XML parser

    try:
        is_whole = canonical_hash(existing) == identity
    except JuxError:
        return False
    return is_whole and _quality(existing) >= _quality(data)


def _quality(data: bytes) -> int:
    """Rank the signature of a report: there is none, or none that can be checked, or it is intact."""
    from pytest_jux.verifier import SignatureState, Trust, examine_report  # noqa: PLC0415 - as above

    try:
        state = examine_report(data, Trust()).state
    except JuxError:
        return 0
    return {SignatureState.UNSIGNED: 0, SignatureState.BROKEN: 0, SignatureState.UNCHECKED: 1}.get(state, 2)


def _is_signed(data: bytes) -> bool:
    from pytest_jux.dsig import DSIG  # noqa: PLC0415 - as above

    if DSIG.encode() not in data:
        return False
    from pytest_jux.canonicalizer import signatures  # noqa: PLC0415 - as above
    from pytest_jux.document import parse  # noqa: PLC0415 - as above

    try:
        return bool(signatures(parse(data)))
    except JuxError:
        return False


def _file_name(identity: str) -> str:
    if not _HASH.fullmatch(identity):
        raise InvalidHash(identity)
    return identity.replace(":", "-")


def _read_or_none(path: Path) -> bytes | None:
    try:
        return read_regular(path)
    except OSError:
        return None


def _drop_entry(record: Path) -> None:
    """Remove the two files of an entry; without its record, which goes first, it is none."""
    record.unlink(missing_ok=True)
    if record.parent.is_dir():
        sync_directory(record.parent)
    record.with_suffix(".xml").unlink(missing_ok=True)


def _halves(directory: Path) -> list[Path]:
    """List the files of entries that lack their other half."""
    try:
        names = {name for name in os.listdir(directory) if _ENTRY.fullmatch(name)}  # noqa: PTH208 - names will do
    except OSError:
        return []
    other = {".xml": ".json", ".json": ".xml"}
    return [directory / name for name in names if name[:71] + other[name[71:]] not in names]
