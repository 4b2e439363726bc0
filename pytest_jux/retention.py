"""Which reports have had their time, and what is left of a store without them.

Deciding and removing are apart: `outdated` only looks at a list, so that what would be removed can be shown first.
"""

from __future__ import annotations

import datetime as dt
import time
from typing import TYPE_CHECKING, NamedTuple

from pytest_jux.errors import StorageError
from pytest_jux.inventory import Share, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from pytest_jux.inventory import StoredReport
    from pytest_jux.storage import ReportStorage

_ORPHAN_AGE = dt.timedelta(days=1)


_PATIENCE = 5.0  # seconds to wait in all for processes that hold the locks of reports


class Criteria(NamedTuple):
    """What may stay: reports stored in the last so many days, the newest so many, the newest of so many bytes in all.

    None sets no bound; a report goes as soon as one of them says so. `statuses` restricts which reports are looked at;
    none means all. What waits in the queue goes only if `Status.QUEUED` is among them.
    """

    days: int | None = None
    keep: int | None = None
    max_size: int | None = None
    statuses: Collection[Status] = ()


class Removal(NamedTuple):
    """What became of reports that were to go: `left` were in use or stored again meanwhile, `errors` say the rest."""

    removed: tuple[StoredReport, ...] = ()
    left: tuple[StoredReport, ...] = ()
    errors: tuple[StorageError, ...] = ()

    @property
    def freed(self) -> Share:
        """Number and size of the reports that are gone."""
        return share_of(self.removed)


class Tended(NamedTuple):
    """What was `removed` of a store, and the `size` of the reports that are still there, in bytes."""

    removed: Share
    size: int


def outdated(reports: Iterable[StoredReport], criteria: Criteria, now: dt.datetime) -> list[StoredReport]:
    """Return those of `reports` that the criteria let go, oldest first.

    What waits in the queue counts towards the size, but not among the newest, and does not go unless it is named.
    """
    looked_at = [report for report in reports if not criteria.statuses or report.status in criteria.statuses]
    may_go = [
        report for report in looked_at if report.status is not Status.QUEUED or report.status in criteria.statuses
    ]
    may_go.sort(key=lambda report: (report.stored_at, report.canonical_hash), reverse=True)
    # Newest first, every criterion keeps the beginning of the list and lets the rest go.
    kept = len(may_go) if criteria.keep is None else min(criteria.keep, len(may_go))
    if criteria.days is not None:
        first = _before(now, criteria.days)
        kept = min(kept, sum(report.stored_at >= first for report in may_go))
    if criteria.max_size is not None:
        room = criteria.max_size - (share_of(looked_at).size - share_of(may_go).size)
        kept = min(kept, _how_many_fit(may_go, room))
    return may_go[kept:][::-1]


def remove(
    storage: ReportStorage,
    reports: Iterable[StoredReport],
    *,
    queued: bool = False,
    on_each: Callable[[StoredReport], object] | None = None,
) -> Removal:
    """Remove reports from the store, as far as nobody uses them or has stored them again, and flush that to the disk.

    One that cannot be removed does not stop the others, but when too much time went by with waiting for other
    processes, the rest is left. Without `queued`, what waits in the queue stays.
    """
    removed: list[StoredReport] = []
    left: list[StoredReport] = []
    errors: list[StorageError] = []
    try:
        patience = _PATIENCE
        for report in reports:
            start = time.monotonic()
            try:
                is_gone = patience > 0 and storage.remove(report, queued=queued)
                (removed if is_gone else left).append(report)
                patience -= 0 if is_gone else time.monotonic() - start
            except StorageError as error:
                errors.append(error)
            if on_each is not None:
                on_each(report)
    finally:  # also when interrupted
        if removed:
            try:
                storage.flush()
            except StorageError as error:
                errors.append(error)
    return Removal(tuple(removed), tuple(left), tuple(errors))


def tend(storage: ReportStorage, *, days: int | None = None) -> Tended:
    """Clear away what killed processes left and, with `days`, reports that are older and do not wait in the queue.

    Raises:
        StorageError: the store cannot be read, or something could not be removed.
    """
    storage.sweep()
    removal = Removal()
    if days is not None:
        now = dt.datetime.now(dt.UTC)
        old = storage.list(until=_before(now, days))
        removal = remove(storage, outdated(old, Criteria(days=days), now))
    for error in removal.errors:
        raise error
    return Tended(removal.freed, storage.statistics().total.size)


def share_of(reports: Iterable[StoredReport]) -> Share:
    """Return number and size of some reports."""
    sizes = [report.size for report in reports]
    return Share(len(sizes), sum(sizes))


def _before(now: dt.datetime, days: int) -> dt.datetime:
    try:
        return now - dt.timedelta(days=days)
    except OverflowError:  # before all calendars
        return dt.datetime.min.replace(tzinfo=dt.UTC)


def _how_many_fit(reports: Iterable[StoredReport], room: int) -> int:
    number = 0
    for report in reports:
        room -= report.size
        if room < 0:
            break
        number += 1
    return number
