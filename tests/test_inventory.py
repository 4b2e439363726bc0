"""What is in a store, found by listing: which reports, of which status, how many, how large, how old."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_jux import inventory
from pytest_jux.errors import StorageError
from pytest_jux.inventory import Inventory, Share, Status, matching

pytestmark = pytest.mark.skipif(os.name != "posix", reason="links and special files of POSIX")

A, B, C, D = (digit * 64 for digit in "abcd")


@pytest.fixture
def root(tmp_path):
    return tmp_path / "store"


def put(root, directory, name, content=b"", when=None):
    """Put a file into a store; `when` is its time in nanoseconds."""
    (root / directory).mkdir(parents=True, exist_ok=True)
    path = root / directory / f"sha256-{name}"
    path.write_bytes(content)
    if when is not None:
        os.utime(path, ns=(when, when))
    return path


def report(root, digits, content=b"<testsuites/>", when=None):
    return put(root, "reports", f"{digits}.xml", content, when)


def entry(root, directory, digits, content=b"<testsuites/>", when=None):
    put(root, directory, f"{digits}.json", b"{}")
    return put(root, directory, f"{digits}.xml", content, when)


def digits_of(reports):
    return "".join(one.canonical_hash[7] for one in reports)


SECOND = 10**9


def at(seconds):
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


# --- which reports ---------------------------------------------------------------------------------------------------


def test_a_store_that_is_not_there_is_empty(root):
    assert Inventory(root).newest() == []
    assert Inventory(root).statistics().total == Share(0, 0)
    assert matching(root, "") == []
    assert not root.exists()


def test_the_list_is_newest_first_and_ties_are_in_a_fixed_order(root):
    for digits, when in ((A, 100), (B, 300), (C, 100)):
        report(root, digits, when=when)
    assert digits_of(Inventory(root).newest()) == "bca"


def test_a_listed_report_has_its_path_size_and_time(root):
    path = report(root, A, b"12345", when=1_700_000_000_123_456_789)
    (found,) = Inventory(root).newest()
    assert found == (f"sha256:{A}", path, 5, at(1_700_000_000).replace(microsecond=123456), Status.LOCAL)


def test_the_list_shows_reports_and_nothing_else(root, tmp_path):
    report(root, A)
    put(root, "reports", "b" * 63 + ".xml")
    put(root, "reports", "B" * 64 + ".xml")
    put(root, "reports", "b" * 64 + ".xml\n")
    put(root, "reports", "b" * 64 + ".json")
    (root / "reports" / ".jux-x.tmp").write_bytes(b"")
    (root / "reports" / f"sha256-{C}.xml").mkdir()
    (root / "reports" / f"sha256-{D}.xml").symlink_to(report(root / "elsewhere", D))
    os.mkfifo(root / "reports" / f"sha256-{'e' * 64}.xml")
    assert digits_of(Inventory(root).newest()) == "a"
    assert Inventory(root).statistics().total.reports == 1
    assert matching(root, "") == [f"sha256:{A}"]


@pytest.mark.parametrize("limit", [0, 1, 2, 5, None])
def test_no_more_than_the_limit_are_listed(root, limit):
    for number, digits in enumerate((A, B, C)):
        report(root, digits, when=number * SECOND)
    assert digits_of(Inventory(root).newest(limit=limit)) == "cba"[:limit]


def test_since_includes_its_moment_and_until_does_not(root):
    for number, digits in enumerate((A, B, C)):
        report(root, digits, when=(100 + number) * SECOND)
    assert digits_of(Inventory(root).newest(since=at(101))) == "cb"
    assert digits_of(Inventory(root).newest(until=at(101))) == "a"
    assert digits_of(Inventory(root).newest(since=at(101), until=at(102))) == "b"


def test_a_moment_in_another_time_zone_is_the_same_moment(root):
    report(root, A, when=100 * SECOND)
    zone = dt.timezone(dt.timedelta(hours=5))
    assert digits_of(Inventory(root).newest(since=at(100).astimezone(zone))) == "a"
    assert digits_of(Inventory(root).newest(since=at(101).astimezone(zone))) == ""


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(
    st.lists(st.integers(0, 6), max_size=8),
    st.one_of(st.none(), st.integers(0, 9)),
    st.one_of(st.none(), st.integers(0, 7)),
    st.one_of(st.none(), st.integers(0, 7)),
)
def test_every_choice_is_the_one_that_sorting_everything_would_make(tmp_path_factory, times, limit, since, until):
    root = tmp_path_factory.mktemp("store")
    for number, time in enumerate(times):
        report(root, f"{number:064x}", when=time * SECOND)
    expected = sorted(
        (
            (time, f"{number:064x}")
            for number, time in enumerate(times)
            if (since is None or time >= since) and (until is None or time < until)
        ),
        reverse=True,
    )[:limit]
    found = Inventory(root).newest(
        limit=limit, since=None if since is None else at(since), until=None if until is None else at(until)
    )
    assert [(one.stored_at.timestamp(), one.canonical_hash[7:]) for one in found] == expected


# --- status ----------------------------------------------------------------------------------------------------------


def test_the_status_is_the_directory_that_speaks_of_it(root):
    for digits in (A, B, C, D):
        report(root, digits)
    put(root, "published", f"{B}.json")
    put(root, "queue", f"{C}.json")
    put(root, "rejected", f"{D}.json")
    found = {one.canonical_hash[7]: one.status for one in Inventory(root).newest()}
    assert found == {"a": Status.LOCAL, "b": Status.PUBLISHED, "c": Status.QUEUED, "d": Status.REJECTED}
    assert [Inventory(root).status(f"sha256:{digits}").value for digits in (A, B, C, D, "e" * 64)] == [
        *("local", "published", "queued", "rejected", "local")
    ]


def test_what_waits_is_queued_even_if_it_was_published_or_refused_before(root):
    report(root, A)
    for directory in ("published", "rejected", "queue"):
        put(root, directory, f"{A}.json")
    assert [one.status for one in Inventory(root).newest()] == [Status.QUEUED]


def test_only_the_wanted_statuses_are_listed_and_fill_the_limit(root):
    for number, digits in enumerate((A, B, C)):
        report(root, digits, when=number * SECOND)
    put(root, "queue", f"{A}.json")
    put(root, "published", f"{C}.json")
    assert digits_of(Inventory(root).newest(statuses=[Status.QUEUED], limit=1)) == "a"
    assert digits_of(Inventory(root).newest(statuses={Status.QUEUED, Status.LOCAL})) == "ba"


def test_a_report_that_only_waits_or_was_refused_is_listed_once(root):
    waiting, refused = entry(root, "queue", A), entry(root, "rejected", B)
    entry(root, "rejected", A)
    found = {one.path: one.status for one in Inventory(root).newest()}
    assert found == {waiting: Status.QUEUED, refused: Status.REJECTED}


def test_a_report_that_is_stored_and_waits_is_listed_once_as_what_is_stored(root):
    stored = report(root, A)
    entry(root, "queue", A)
    assert [one.path for one in Inventory(root).newest()] == [stored]


def test_a_copy_without_its_record_does_not_wait(root):
    put(root, "queue", f"{A}.xml")
    assert Inventory(root).newest() == []


def test_a_link_in_place_of_a_record_says_nothing(root, tmp_path):
    report(root, A)
    (tmp_path / "record").write_bytes(b"{}")
    (root / "queue").mkdir()
    (root / "queue" / f"sha256-{A}.json").symlink_to(tmp_path / "record")
    assert [one.status for one in Inventory(root).newest()] == [Status.LOCAL]


# --- numbers ---------------------------------------------------------------------------------------------------------


def test_statistics_count_and_weigh_each_status_and_name_the_oldest_and_the_newest(root):
    for number, digits in enumerate((A, B, C)):
        report(root, digits, b"x" * (number + 1), when=(10 + number) * SECOND)
    entry(root, "queue", D, b"x" * 100, when=5 * SECOND)
    put(root, "published", f"{C}.json")
    found = Inventory(root).statistics()
    assert found.by_status == {
        Status.LOCAL: Share(2, 3),
        Status.PUBLISHED: Share(1, 3),
        Status.QUEUED: Share(1, 100),
        Status.REJECTED: Share(0, 0),
    }
    assert (found.total, found.oldest, found.newest) == (Share(4, 106), at(5), at(12))


def test_an_empty_store_has_neither_an_oldest_nor_a_newest_report(root):
    (root / "reports").mkdir(parents=True)
    found = Inventory(root).statistics()
    assert (found.oldest, found.newest, found.total) == (None, None, Share(0, 0))


@pytest.mark.parametrize(
    ("nanoseconds", "year"), [(-(10**20), 1970), (0, 1970), (253_402_300_800 * SECOND, 9999), (2**63 * 1000, 9999)]
)
def test_a_time_that_no_calendar_knows_is_taken_for_the_nearest_one(nanoseconds, year):
    assert inventory.moment(nanoseconds).year == year


# --- while others work -----------------------------------------------------------------------------------------------


def vanishing(monkeypatch, path):
    """Remove a file as soon as its directory was listed."""
    listdir = os.listdir

    def listing(directory):
        names = listdir(directory)
        path.unlink(missing_ok=True)
        return names

    monkeypatch.setattr(os, "listdir", listing)


def test_a_report_that_vanishes_while_listing_is_left_out(root, monkeypatch):
    report(root, B)
    vanishing(monkeypatch, report(root, A))
    assert digits_of(Inventory(root).newest()) == "b"


def test_a_system_without_directory_descriptors_lists_the_same(root, monkeypatch):
    report(root, B, b"12", when=SECOND)
    (root / "reports" / f"sha256-{C}.xml").symlink_to(root / "reports" / f"sha256-{B}.xml")
    vanishing(monkeypatch, report(root, A))
    monkeypatch.setattr(os, "supports_dir_fd", set())
    (found,) = Inventory(root).newest()
    assert (found.canonical_hash, found.size, found.stored_at) == (f"sha256:{B}", 2, at(1))


@pytest.mark.parametrize("directory", ["reports", "queue", "rejected", "published"])
def test_a_directory_that_cannot_be_read_is_named_with_the_reason(root, directory):
    root.mkdir()
    (root / directory).write_text("a file")
    with pytest.raises(StorageError, match=rf"cannot read .*{directory}: not a directory"):
        Inventory(root).newest()


def test_a_directory_that_may_not_be_read_is_named_with_the_reason(root, without_root_rights):
    report(root, A)
    (root / "reports").chmod(0o300)
    code = (
        "import sys, pathlib\nfrom pytest_jux.errors import StorageError\nfrom pytest_jux.inventory import Inventory\n"
    )
    code += "try:\n    Inventory(pathlib.Path(sys.argv[1])).newest()\nexcept StorageError as error:\n    print(error)"
    command = [*without_root_rights, sys.executable, "-c", code, str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    (root / "reports").chmod(0o700)
    assert done.stdout == f"cannot read {root / 'reports'}: permission denied\n"


# --- abbreviations ---------------------------------------------------------------------------------------------------


def test_what_begins_so_is_found_wherever_it_is_and_once(root):
    for digits in ("abc1" + "0" * 60, "abc2" + "0" * 60, "abd" + "0" * 61):
        report(root, digits)
    entry(root, "queue", "abc0" + "0" * 60)
    entry(root, "rejected", "abc1" + "0" * 60)
    assert [one[7:11] for one in matching(root, "abc")] == ["abc0", "abc1", "abc2"]
    assert matching(root, "abcdef") == []


def test_a_report_from_the_far_future_is_listed(tmp_path):
    path = tmp_path / "reports" / f"sha256-{'a' * 64}.xml"
    path.parent.mkdir()
    path.write_bytes(b"<testsuite/>")
    os.utime(path, (9_999_999_999, 9_999_999_999))
    assert [report.path for report in Inventory(tmp_path).newest()] == [path]
