"""What is in a report store: found by listing its directories, without opening a report.

The status of a report is the directory that speaks of it. Listing 100,000 reports takes the system some tenths of a
second, so nothing is made here for each of them that is not needed.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import heapq
import os
import re
import sys
from enum import StrEnum
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from pytest_jux.errors import StorageError
from pytest_jux.files import reason_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

REPORTS = "reports"
METADATA = "metadata"
QUEUE = "queue"
REJECTED = "rejected"
PUBLISHED = "published"
LOCKS = "locks"
DIRECTORIES = (REPORTS, METADATA, QUEUE, REJECTED, PUBLISHED)

REPORT_NAME = re.compile(r"sha256-([0-9a-f]{64})\.xml")
RECORD_NAME = re.compile(r"sha256-([0-9a-f]{64})\.json")
_NAME_LENGTH = 75  # characters of a report's file name
_KIND, _REGULAR = 0o170000, 0o100000  # stat.S_IFMT and stat.S_IFREG; a call for each report would tell
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_LATEST = (dt.datetime.max.replace(tzinfo=dt.UTC) - _EPOCH) // dt.timedelta(microseconds=1)
_FIRST, _LAST = -(1 << 80), 1 << 80  # nanoseconds before and after every file's time


class Status(StrEnum):
    """What became of a report: only stored, waiting to be published, published, or refused by the server for good."""

    LOCAL = "local"
    QUEUED = "queued"
    PUBLISHED = "published"
    REJECTED = "rejected"


class StoredReport(NamedTuple):
    """One report in the store. `size` is in bytes, `stored_at` is when it was last stored, in UTC."""

    canonical_hash: str
    path: Path
    size: int
    stored_at: dt.datetime
    status: Status = Status.LOCAL


class Share(NamedTuple):
    """A number of reports, and their size in bytes."""

    reports: int = 0
    size: int = 0


class Statistics(NamedTuple):
    """The whole store: how much there is of each status, and when the first and the last report were stored (UTC)."""

    by_status: Mapping[Status, Share]
    oldest: dt.datetime | None
    newest: dt.datetime | None

    @property
    def total(self) -> Share:
        """All reports, whatever their status."""
        return Share(*(sum(values) for values in zip(*self.by_status.values(), strict=True)))


class Inventory:
    """Everything in the store under `root`; which report has which status is as it was when this was made.

    Raises:
        StorageError: a directory cannot be read; one that is not there is empty.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._status = dict.fromkeys(_names(root / PUBLISHED, RECORD_NAME), Status.PUBLISHED.value)
        self._status |= dict.fromkeys(_names(root / REJECTED, RECORD_NAME), Status.REJECTED.value)
        self._status |= dict.fromkeys(_names(root / QUEUE, RECORD_NAME), Status.QUEUED.value)

    def newest(
        self,
        *,
        limit: int | None = None,
        since: dt.datetime | None = None,
        until: dt.datetime | None = None,
        statuses: Collection[Status] = (),
    ) -> list[StoredReport]:
        """Return the reports stored from `since` on and before `until`, newest first, at most `limit` of them."""
        first = _FIRST if since is None else _nanoseconds(since)
        end = _LAST if until is None else _nanoseconds(until)
        most = sys.maxsize if limit is None else limit
        elsewhere = self._elsewhere()
        chosen: list[tuple[int, str, int]] = []  # a heap, whose first is the oldest
        for name, facts in chain(_reports(self.root / REPORTS), elsewhere.values()):
            time = facts.st_mtime_ns
            if not first <= time < end or (statuses and self._of(name) not in statuses):
                continue
            if len(chosen) < most:
                heapq.heappush(chosen, (time, name, facts.st_size))
            elif chosen and time >= chosen[0][0]:
                heapq.heapreplace(chosen, max(chosen[0], (time, name, facts.st_size)))
        found = []
        for time, name, size in sorted(chosen, reverse=True):
            directory = next((place for place in (QUEUE, REJECTED) if (place, name) in elsewhere), REPORTS)
            path = self.root / directory / name
            found.append(StoredReport(f"sha256:{name[7:71]}", path, size, moment(time), self._of(name)))
        return found

    def statistics(self) -> Statistics:
        """Return the numbers of the whole store."""
        shares = {status.value: [0, 0] for status in Status}  # by value: an enum member's hash is slow
        get = self._status.get
        first, last = _LAST, _FIRST
        for name, facts in chain(_reports(self.root / REPORTS), self._elsewhere().values()):
            share = shares[get(name[7:71], "local")]
            share[0] += 1
            share[1] += facts.st_size
            time = facts.st_mtime_ns
            if time < first:  # noqa: PLR1730 - min() and max() would be a tenth of the whole
                first = time
            if time > last:  # noqa: PLR1730 - as above
                last = time
        return Statistics(
            {status: Share(*shares[status.value]) for status in Status},
            moment(first) if first != _LAST else None,
            moment(last) if last != _FIRST else None,
        )

    def status(self, canonical_hash: str) -> Status:
        """Return the status of the report with this full hash."""
        return Status(self._status.get(canonical_hash.removeprefix("sha256:"), "local"))

    def _of(self, name: str) -> Status:
        return Status(self._status.get(name[7:71], "local"))

    def _elsewhere(self) -> dict[tuple[str, str], tuple[str, os.stat_result]]:
        """Return name and facts of the reports that are not stored, but wait or were refused, by directory and name."""
        found: dict[tuple[str, str], tuple[str, os.stat_result]] = {}
        for directory in (QUEUE, REJECTED):
            for name, facts in _reports(self.root / directory):
                is_entry = name[7:71] in self._status and (QUEUE, name) not in found
                if is_entry and not os.path.lexists(self.root / REPORTS / name):
                    found[directory, name] = name, facts
        return found


def matching(root: Path, prefix: str) -> list[str]:
    """Return the hashes of the reports in a store whose digits begin so, in order."""
    found = {digits for name in (REPORTS, QUEUE, REJECTED) for digits in _names(root / name, REPORT_NAME, prefix)}
    return sorted(f"sha256:{digits}" for digits in found)


def _names(directory: Path, pattern: re.Pattern[str], prefix: str = "") -> Iterator[str]:
    """Give the digits of the regular files whose names match, and that begin so."""
    start = f"sha256-{prefix}"
    with contextlib.suppress(FileNotFoundError), _reading(directory), os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.startswith(start):
                found = pattern.fullmatch(entry.name)
                if found is not None and entry.is_file(follow_symlinks=False):
                    yield found[1]


def _reports(directory: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Give the names and facts of the regular files that are named as reports are."""
    match = REPORT_NAME.fullmatch
    with contextlib.suppress(FileNotFoundError), _reading(directory), contextlib.ExitStack() as stack:
        names = [name for name in os.listdir(directory) if match(name)]  # noqa: PTH208 - a tenth of iterdir's time
        # Relative to their directory, which is the fastest way, where the system can.
        place: int | None = None
        if os.stat in os.supports_dir_fd:
            place = os.open(directory, os.O_RDONLY)
            stack.callback(os.close, place)
        else:
            names = [str(directory / name) for name in names]
        ask = os.stat
        for name in names:
            try:
                facts = ask(name, dir_fd=place, follow_symlinks=False)
            except FileNotFoundError:  # removed since it was listed
                continue
            if facts.st_mode & _KIND == _REGULAR:
                yield name[-_NAME_LENGTH:], facts


@contextlib.contextmanager
def _reading(directory: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(directory, "read", reason_of(error)) from None


def moment(nanoseconds: int) -> dt.datetime:
    """Return a file's time in UTC, exact to the microsecond; one before 1970 or after 9999 is taken for that year."""
    return _EPOCH + dt.timedelta(microseconds=min(max(nanoseconds // 1000, 0), _LATEST))


def _nanoseconds(moment: dt.datetime) -> int:
    return (moment - _EPOCH) // dt.timedelta(microseconds=1) * 1000
