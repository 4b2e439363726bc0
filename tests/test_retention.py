"""Which reports go, and what is left of a store when they have."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_jux.canonicalizer import canonical_hash
from pytest_jux.errors import StorageError
from pytest_jux.files import locked
from pytest_jux.inventory import Share, Status, StoredReport
from pytest_jux.retention import Criteria, outdated, remove, tend
from pytest_jux.storage import ReportStorage

NOW = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


def listed(*reports):
    """Make reports of (age in days, size, status), named after their place."""
    return [
        StoredReport(f"sha256:{number:064x}", Path("/store"), size, NOW - age * DAY, status)
        for number, (age, size, status) in enumerate(reports)
    ]


def ages(reports):
    return [(NOW - report.stored_at) // DAY for report in reports]


LOCAL, QUEUED, PUBLISHED = Status.LOCAL, Status.QUEUED, Status.PUBLISHED
MIXED = listed((1, 10, LOCAL), (2, 10, QUEUED), (3, 10, PUBLISHED), (40, 10, LOCAL), (50, 10, QUEUED))


# --- deciding --------------------------------------------------------------------------------------------------------


def test_without_a_criterion_everything_stays():
    assert outdated(MIXED, Criteria(), NOW) == []


def test_older_than_so_many_days_goes_and_exactly_so_old_stays():
    assert ages(outdated(listed((29, 1, LOCAL), (30, 1, LOCAL), (31, 1, LOCAL)), Criteria(days=30), NOW)) == [31]


def test_beyond_the_newest_so_many_goes_oldest_first():
    assert ages(outdated(listed((1, 1, LOCAL), (3, 1, LOCAL), (2, 1, LOCAL)), Criteria(keep=1), NOW)) == [3, 2]


@pytest.mark.parametrize(("room", "gone"), [(30, []), (29, [3]), (20, [3]), (19, [3, 2]), (0, [3, 2, 1])])
def test_beyond_the_size_the_oldest_go(room, gone):
    reports = listed((1, 10, LOCAL), (2, 10, LOCAL), (3, 10, LOCAL))
    assert ages(outdated(reports, Criteria(max_size=room), NOW)) == gone


def test_a_small_old_report_does_not_outlive_a_large_newer_one():
    reports = listed((1, 10, LOCAL), (2, 100, LOCAL), (3, 1, LOCAL))
    assert ages(outdated(reports, Criteria(max_size=50), NOW)) == [3, 2]


def test_one_criterion_is_enough_to_go():
    reports = listed((1, 10, LOCAL), (2, 10, LOCAL), (3, 10, LOCAL), (40, 10, LOCAL))
    assert ages(outdated(reports, Criteria(days=30, keep=3), NOW)) == [40]
    assert ages(outdated(reports, Criteria(days=30, keep=3, max_size=20), NOW)) == [40, 3]
    assert ages(outdated(reports, Criteria(days=1, keep=3, max_size=20), NOW)) == [40, 3, 2]


def test_what_waits_in_the_queue_stays_unless_it_is_named():
    assert ages(outdated(MIXED, Criteria(keep=0), NOW)) == [40, 3, 1]
    assert ages(outdated(MIXED, Criteria(days=30), NOW)) == [40]
    assert ages(outdated(MIXED, Criteria(days=30, statuses={QUEUED}), NOW)) == [50]
    assert ages(outdated(MIXED, Criteria(days=30, statuses={QUEUED, LOCAL}), NOW)) == [50, 40]


def test_what_waits_in_the_queue_counts_towards_the_size():
    assert ages(outdated(MIXED, Criteria(max_size=30), NOW)) == [40, 3]
    assert ages(outdated(MIXED, Criteria(max_size=10), NOW)) == [40, 3, 1]


def test_other_statuses_are_not_looked_at():
    assert ages(outdated(MIXED, Criteria(keep=0, statuses={PUBLISHED}), NOW)) == [3]
    assert ages(outdated(MIXED, Criteria(max_size=10, statuses={PUBLISHED}), NOW)) == []


def test_more_days_than_there_are_in_the_calendar_remove_nothing():
    assert outdated(MIXED, Criteria(days=10**12), NOW) == []


REPORTS = st.lists(st.tuples(st.integers(0, 100), st.integers(0, 1000), st.sampled_from(Status)), max_size=30)
BOUND = st.none() | st.integers(0, 100)


@given(REPORTS, BOUND, BOUND, st.none() | st.integers(0, 20_000), st.sets(st.sampled_from(Status)))
def test_what_stays_satisfies_every_criterion_and_what_goes_has_to(reports, days, keep, max_size, statuses):
    reports = listed(*reports)
    going = outdated(reports, Criteria(days, keep, max_size, statuses), NOW)
    looked_at = [report for report in reports if not statuses or report.status in statuses]
    free = [report for report in looked_at if report.status is not QUEUED or QUEUED in statuses]
    stays = [report for report in free if report not in going]
    assert set(going) <= set(free)
    assert going == sorted(going, key=lambda report: (report.stored_at, report.canonical_hash))
    assert all(old.stored_at <= new.stored_at for old in going[-1:] for new in stays)
    assert days is None or all(NOW - report.stored_at <= days * DAY for report in stays)
    assert keep is None or len(stays) <= keep
    bound = sum(report.size for report in looked_at) - sum(report.size for report in free)
    assert max_size is None or not stays or bound + sum(report.size for report in stays) <= max_size
    if going:  # to keep the newest of them, too, would have broken a criterion
        more = [*stays, going[-1]]
        assert (
            (days is not None and NOW - going[-1].stored_at > days * DAY)
            or (keep is not None and len(more) > keep)
            or (max_size is not None and bound + sum(report.size for report in more) > max_size)
        )


# --- removing --------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path):
    return ReportStorage(tmp_path / "store")


def put(store, number, *, days_ago=0.0, queue=False):
    """Store a report of its own, as if it had been so long ago."""
    data = f'<testsuite name="suite {number}"><testcase name="t"/></testsuite>'.encode()
    identity = canonical_hash(data)
    stored = store.store(data, identity, {"project": "p"})
    if queue:
        store.enqueue(data, identity)
    if days_ago:
        age(stored.path, days_ago)
    return store.find(identity)


def age(path, days):
    when = dt.datetime.now(dt.UTC).timestamp() - days * 86400
    os.utime(path, (when, when))


def files_in(store):
    return sorted(path.name for path in store.root.rglob("sha256-*"))


def test_a_removed_report_is_gone_with_its_metadata_and_the_others_are_whole(store):
    first, second = put(store, 1), put(store, 2)
    seen = []
    removal = remove(store, [first], on_each=seen.append)
    assert (removal.removed, removal.left, removal.errors, removal.freed) == ((first,), (), (), Share(1, first.size))
    assert seen == [first]
    assert files_in(store) == sorted([second.path.name, f"{second.path.stem}.json"])


def test_what_was_removed_is_removed_on_the_disk_too(store, monkeypatch):
    report = put(store, 1)
    flushed = []
    fsync = os.fsync

    def watch(descriptor):
        flushed.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    remove(store, [report])
    assert {store.reports.stat().st_ino, store.metadata_directory.stat().st_ino} <= set(flushed)


def test_a_report_that_was_stored_again_meanwhile_is_left(store):
    report = put(store, 1, days_ago=40)
    put(store, 1)
    assert remove(store, [report]).left == (report,)
    assert report.path.exists()


def test_a_report_that_was_queued_meanwhile_is_left_unless_the_queue_was_named(store):
    report = put(store, 1)
    put(store, 1, queue=True)
    report = store.find(report.canonical_hash)
    assert remove(store, [report]).left == (report,)
    assert remove(store, [report], queued=True).removed == (report,)
    assert files_in(store) == []


def test_a_report_that_is_being_sent_is_left(store):
    report = put(store, 1, queue=True)
    program = (
        "import sys; from pytest_jux.storage import ReportStorage\n"
        "with ReportStorage(sys.argv[1]).claim(sys.argv[2]) as held: print(held, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(store.root), report.canonical_hash]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "True\n"
        assert remove(store, [report], queued=True).left == (report,)
        process.stdin.close()
    assert remove(store, [report], queued=True).removed == (report,)


def test_one_report_that_cannot_be_removed_does_not_stop_the_others(store):
    first, second = put(store, 1), put(store, 2)
    record = store.metadata_directory / f"{first.path.stem}.json"
    record.unlink()
    record.mkdir()
    removal = remove(store, [first, second])
    assert removal.removed == (second,)
    (error,) = removal.errors
    assert error.action == "remove"


def test_tending_removes_what_is_older_and_says_how_much_is_left(store):
    old, new = put(store, 1, days_ago=31), put(store, 2, days_ago=29)
    waiting = put(store, 3, days_ago=99, queue=True)
    tended = tend(store, days=30)
    assert tended == (Share(1, old.size), new.size + waiting.size)
    assert {report.canonical_hash for report in store.list()} == {new.canonical_hash, waiting.canonical_hash}


def test_tending_without_days_removes_no_report(store):
    report = put(store, 1, days_ago=10_000)
    assert tend(store) == (Share(0, 0), report.size)


def test_tending_for_longer_than_there_are_calendars_removes_no_report(store):
    put(store, 1, days_ago=10_000)
    assert tend(store, days=10**12).removed == Share(0, 0)


def test_tending_a_store_that_is_not_there_does_not_make_it(store):
    assert tend(store, days=1) == (Share(0, 0), 0)
    assert not store.root.exists()


def test_tending_says_what_could_not_be_removed(store):
    report = put(store, 1, days_ago=31)
    record = store.metadata_directory / f"{report.path.stem}.json"
    record.unlink()
    record.mkdir()
    with pytest.raises(StorageError):
        tend(store, days=30)


def test_locks_that_somebody_holds_for_long_do_not_hold_a_run_up(store, monkeypatch):
    monkeypatch.setattr("pytest_jux.retention._PATIENCE", 0.1)
    reports = [put(store, number) for number in range(30)]
    with contextlib.ExitStack() as stack:
        for lock in (store.root / "locks").iterdir():
            stack.enter_context(locked(lock, seconds=0))
        removal = remove(store, reports)
    assert (removal.removed, removal.left) == ((), tuple(reports))
    assert remove(store, reports).left == ()
