"""Reports on disk under their own hashes. The files are the truth; there is no index that could disagree with them.

<root>/reports/sha256-<64 hex>.xml     the report
<root>/metadata/sha256-<64 hex>.json   what is known about it; written last, so that it vouches for the report
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import re
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_jux.canonicalizer import canonical_hash, signatures
from pytest_jux.document import parse
from pytest_jux.dsig import DSIG
from pytest_jux.errors import AmbiguousHash, InvalidHash, JuxError, ReportNotStored, StorageError
from pytest_jux.files import make_private_directory, reason_of, write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_ABBREVIATION = re.compile(r"(?:sha256[:-])?([0-9a-f]{4,64})", re.IGNORECASE)
_NAME = re.compile(r"sha256-([0-9a-f]{64})\.xml")
# Neither follow a link nor wait for the writer of a pipe that somebody put there.
_READ_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_STRAY_AGE = 24 * 60 * 60  # seconds after which a temporary file belongs to nobody who still lives


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


@dataclass(frozen=True, slots=True)
class StoredReport:
    """One report in the store. `size` is in bytes, `stored_at` is the file's own time in UTC."""

    canonical_hash: str
    path: Path
    size: int
    stored_at: dt.datetime


class ReportStorage:
    """A report store under `root` (default: the user's data directory).

    A `root` whose last part is `reports` means its parent, because that is where the reports themselves then are.
    Directories are made when something is first stored.
    """

    def __init__(self, root: Path | str | None = None) -> None:
        path = default_storage_path() if root is None else Path(root)
        self.root = path.parent if path.name == "reports" else path
        self.reports = self.root / "reports"
        self.metadata_directory = self.root / "metadata"

    def path_of(self, canonical_hash: str) -> Path:
        """Return where the report with this full hash is kept, whether or not it is there; raises InvalidHash."""
        return self.reports / f"{_file_name(canonical_hash)}.xml"

    def store(
        self, data: bytes, identity: str, metadata: Mapping[str, Any] | None = None, *, signed: bool | None = None
    ) -> StoredReport:
        """Keep `data` under its canonical hash `identity` and return where it is; when this returns, it is on the disk.

        A report that is there already is kept if it has the same bytes, or is signed and `data` is not.

        Raises:
            StorageError: nothing was stored; an older entry is as it was.
        """
        path = self.path_of(identity)
        facts = dict(metadata or {})
        facts["canonical_hash"] = identity
        facts.setdefault("stored_at", dt.datetime.now(dt.UTC).isoformat(timespec="seconds"))
        document = json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=True).encode()
        signed = _is_signed(data) if signed is None else signed
        target = path
        try:
            for directory in (self.reports, self.metadata_directory):
                make_private_directory(directory)
                _sweep(directory)
            is_new = not path.exists()
            if not self._keeps(identity, data, signed=signed):
                write_atomically(path, data)
            target = self._metadata_path(identity)
            try:
                write_atomically(target, document)
            except OSError:
                if is_new:
                    path.unlink(missing_ok=True)
                raise
            return _entry(path, identity)
        except OSError as error:
            raise StorageError(target, "store", reason_of(error)) from None

    def read(self, canonical_hash: str) -> bytes:
        """Return the exact bytes of the report with this full hash; raises ReportNotStored or StorageError."""
        path = self.path_of(canonical_hash)
        try:
            descriptor = os.open(path, _READ_FLAGS)
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise StorageError(path, "read", "it is not a regular file")
                return file.read()
        except FileNotFoundError:
            raise ReportNotStored(canonical_hash) from None
        except OSError as error:
            raise StorageError(path, "read", reason_of(error)) from None

    def metadata(self, canonical_hash: str) -> dict[str, Any]:
        """Return what is known about the report with this full hash; {} where nothing readable is."""
        path = self._metadata_path(canonical_hash)
        try:
            facts = json.loads(path.read_bytes())
        except (OSError, ValueError):
            return {}
        return facts if isinstance(facts, dict) else {}

    def list(self) -> list[StoredReport]:
        """Return all stored reports, newest first; raises StorageError where the store cannot be read."""
        return sorted(self._entries(), key=lambda entry: (entry.stored_at, entry.canonical_hash), reverse=True)

    def resolve(self, abbreviation: str) -> str:
        """Return the full hash of the stored report whose hash begins so, with or without `sha256:`.

        Raises:
            InvalidHash: it is not made of at least four hexadecimal digits.
            ReportNotStored, AmbiguousHash: none, or more than one, begins so.
        """
        match = _ABBREVIATION.fullmatch(abbreviation)
        if match is None:
            raise InvalidHash(abbreviation)
        prefix = match.group(1).lower()
        found = sorted(f"sha256:{digits}" for _, digits in self._names() if digits.startswith(prefix))
        if not found:
            raise ReportNotStored(abbreviation)
        if len(found) > 1:
            raise AmbiguousHash(abbreviation, found)
        return found[0]

    def _metadata_path(self, canonical_hash: str) -> Path:
        return self.metadata_directory / f"{_file_name(canonical_hash)}.json"

    def _names(self) -> Iterator[tuple[os.DirEntry[str], str]]:
        try:
            with os.scandir(self.reports) as entries:
                for entry in entries:
                    match = _NAME.fullmatch(entry.name)
                    if match is not None and entry.is_file(follow_symlinks=False):
                        yield entry, match.group(1)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StorageError(self.reports, "read", reason_of(error)) from None

    def _entries(self) -> Iterator[StoredReport]:
        for entry, digits in self._names():
            with contextlib.suppress(FileNotFoundError):  # removed since it was listed
                facts = entry.stat(follow_symlinks=False)
                stored_at = dt.datetime.fromtimestamp(facts.st_mtime, dt.UTC)
                yield StoredReport(f"sha256:{digits}", Path(entry.path), facts.st_size, stored_at)

    def _keeps(self, identity: str, data: bytes, *, signed: bool) -> bool:
        """Tell whether what is under this name is to stay: it must be whole, and at least as good as `data`."""
        try:
            existing = self.read(identity)
        except (ReportNotStored, StorageError):
            return False
        if existing == data:
            return True
        return not signed and _is_signed(existing) and canonical_hash(existing) == identity


def _is_signed(data: bytes) -> bool:
    if DSIG.encode() not in data:
        return False
    try:
        return bool(signatures(parse(data)))
    except JuxError:
        return False


def _file_name(identity: str) -> str:
    if not _HASH.fullmatch(identity):
        raise InvalidHash(identity)
    return identity.replace(":", "-")


def _entry(path: Path, identity: str) -> StoredReport:
    facts = path.stat()
    return StoredReport(identity, path, facts.st_size, dt.datetime.fromtimestamp(facts.st_mtime, dt.UTC))


def _sweep(directory: Path) -> None:
    """Remove temporary files that a killed process left behind more than a day ago."""
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.startswith(".jux-") and entry.name.endswith(".tmp"):
                with contextlib.suppress(OSError):
                    if time.time() - entry.stat(follow_symlinks=False).st_mtime > _STRAY_AGE:
                        Path(entry.path).unlink()
