"""jux-cache: finding reports again, knowing what they are worth, and letting go of old ones."""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib
import io
import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_jux.bundle import receive
from pytest_jux.canonicalizer import canonical_hash
from pytest_jux.commands import _cli
from pytest_jux.commands.cache import command
from pytest_jux.signer import sign_report
from pytest_jux.storage import ReportStorage

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="modes and terminals of POSIX"),
    pytest.mark.usefixtures("clean_environment"),
]
SCRIPT = Path(sys.executable).parent / "jux-cache"


@pytest.fixture
def store(tmp_path):
    return ReportStorage(tmp_path / "store")


@pytest.fixture
def cache(tmp_path, monkeypatch, capfdbinary, store):
    """Return a function that runs the command on the store and gives its exit code, standard output and error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def run(name, *arguments, stdin=None, storage=("--storage-path", store.root), binary=False):
        piped = SimpleNamespace(buffer=io.BytesIO(stdin or b""), isatty=lambda: stdin is None)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", piped)
            code = _cli.run(command, [str(part) for part in (name, *arguments, *storage)], "jux-cache")
        sys.stdout.flush()
        sys.stderr.flush()
        out, err = capfdbinary.readouterr()
        assert b"Traceback" not in err
        return code, out if binary else out.decode(), err.decode()

    return run


def make(name="s", failed=0, passed=1, skipped=0, errors=0):
    """Return a report with so many cases."""
    cases = "".join(
        f'<testcase classname="mod" name="{kind}{number}">{inner}</testcase>'
        for kind, count, inner in (
            ("passes", passed, ""),
            ("fails", failed, '<failure message="assert 1 == 2">def test():\n>   assert 1 == 2\nE   boom</failure>'),
            ("breaks", errors, '<error message="no database"/>'),
            ("waits", skipped, '<skipped message="not today"/>'),
        )
        for number in range(count)
    )
    return f'<testsuites><testsuite name="{name}">{cases}</testsuite></testsuites>'.encode()


def put(store, data=None, when=None, *, metadata=None, **arguments):
    """Store a report as if at `when` (ISO 8601, UTC), and return its hash."""
    identity = receive(store, make() if data is None else data, metadata, **arguments).stored.canonical_hash
    if when is not None:
        moment = dt.datetime.fromisoformat(when).replace(tzinfo=dt.UTC).timestamp()
        os.utime(store.path_of(identity), (moment, moment))
    return identity


def hashes_in(out):
    return re.findall(r"^sha256:[0-9a-f]+", out, re.MULTILINE)


def begins(identity):
    return identity[:19]


# --- list ------------------------------------------------------------------------------------------------------------


def test_a_line_has_hash_time_counts_and_status_and_the_newest_is_first(cache, store):
    older = put(store, make("a", failed=2, passed=40), "2025-10-17T10:30:00")
    newer = put(store, make("b", passed=35), "2025-10-17T11:45:00", queue=True)
    code, out, err = cache("list")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"{newer[:19]}... | 2025-10-17 11:45:00 | 35 tests, 0 failed | queued",
        f"{older[:19]}... | 2025-10-17 10:30:00 | 42 tests, 2 failed | local",
    ]


def test_every_status_is_named(cache, store):
    identities = {
        name: put(store, make(name), queue=name != "local") for name in ("local", "queued", "published", "rejected")
    }
    store.mark_published(identities["published"])
    store.mark_rejected(identities["rejected"])
    out = cache("list")[1]
    assert dict(zip(hashes_in(out), (line.split(" | ")[-1] for line in out.splitlines()), strict=True)) == {
        begins(identity): name for name, identity in identities.items()
    }
    for name, identity in identities.items():
        assert hashes_in(cache("list", "--status", name)[1]) == [begins(identity)]
    assert len(hashes_in(cache("list", "--status", "local", "--status", "queued")[1])) == 2


def test_a_hash_as_it_is_printed_is_accepted_by_show(cache, store):
    identity = put(store)
    printed = cache("list")[1].split(" | ")[0]
    assert printed.endswith("...")
    assert cache("show", printed)[1].startswith(f"{identity}\n")


def test_errors_count_as_failed_and_one_test_is_singular(cache, store):
    put(store, make(failed=1, errors=2, passed=0))
    assert " | 3 tests, 3 failed | " in cache("list")[1]
    put(store, make("other", passed=1))
    assert " | 1 test, 0 failed | " in cache("list", "--limit", "1")[1]


def test_only_as_many_as_asked_for(cache, store):
    for number in range(4):
        put(store, make(str(number)), f"2025-01-0{number + 1}T00:00:00")
    assert [line.split(" | ")[1][:10] for line in cache("list", "--limit", "2")[1].splitlines()] == [
        "2025-01-04",
        "2025-01-03",
    ]


@pytest.mark.parametrize(
    ("arguments", "days"),
    [
        (["--since", "2025-01-02"], [4, 3, 2]),
        (["--until", "2025-01-02"], [1]),
        (["--since", "2025-01-02T12:00:01"], [4, 3]),
        (["--since", "2025-01-02T14:00:00+02:00"], [4, 3, 2]),
        (["--since", "2025-01-02T13:00:00+00:00", "--until", "2025-01-04T12:00:00Z"], [3]),
        (["--since", "7d"], []),
        (["--until", "12h"], [4, 3, 2, 1]),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati"])
def test_times_are_utc_whatever_the_machines_zone(cache, store, monkeypatch, arguments, days, zone):
    for day in range(1, 5):
        put(store, make(str(day)), f"2025-01-0{day}T12:00:00")
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        out = cache("list", *arguments)[1]
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()
    assert [int(line.split(" | ")[1][8:10]) for line in out.splitlines()] == days
    assert all(" 12:00:00 " in line for line in out.splitlines())


def test_a_report_of_a_while_ago_is_found_by_how_long_ago(cache, store):
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    identity = put(store, when=(now - dt.timedelta(days=2)).isoformat())
    assert hashes_in(cache("list", "--since", "3d")[1]) == [begins(identity)]
    assert hashes_in(cache("list", "--since", "1w", "--until", "47h")[1]) == [begins(identity)]
    assert hashes_in(cache("list", "--since", "47h")[1]) == []


def test_only_of_a_project_and_only_with_failed_tests(cache, store):
    good = put(store, make("a"), "2025-01-01T00:00:00", metadata={"project": "tool"})
    bad = put(store, make("b", failed=1), "2025-01-02T00:00:00", metadata={"project": "tool"})
    put(store, make("c", errors=1), "2025-01-03T00:00:00", metadata={"project": "toolbox"})
    assert hashes_in(cache("list", "--project", "tool")[1]) == [begins(bad), begins(good)]
    assert hashes_in(cache("list", "--project", "tool", "--failed")[1]) == [begins(bad)]
    assert hashes_in(cache("list", "--failed", "--project", "tool", "--limit", "1")[1]) == [begins(bad)]
    assert hashes_in(cache("list", "--project", "tool", "--limit", "1")[1]) == [begins(bad)]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [((), "There are no reports in {root}.\n"), (("--failed",), "There are no matching reports in {root}.\n")],
)
def test_an_empty_list_is_one_sentence_and_no_error(cache, store, arguments, sentence):
    assert cache("list", *arguments) == (0, "", sentence.format(root=store.root))
    assert not store.root.exists()


def test_a_list_as_json(cache, store):
    identity = put(store, make(failed=1), "2025-10-17T10:30:00", metadata={"project": "tool"})
    code, out, err = cache("list", "--json")
    (found,) = json.loads(out)
    assert (code, err) == (0, "")
    summary = found.pop("summary")
    assert (summary["tests"], summary["failures"], summary["errors"]) == (2, 1, 0)
    assert found == {
        "canonical_hash": identity,
        "stored_at": "2025-10-17T10:30:00+00:00",
        "size": len(make(failed=1)),
        "status": "local",
        "signed": False,
        "project": "tool",
    }


def test_an_empty_list_as_json_is_a_list(cache):
    assert cache("list", "--json") == (0, "[]\n", "")


def test_a_report_without_metadata_is_counted_anyway(cache, store):
    put(store, make(passed=3))
    for record in store.metadata_directory.iterdir():
        record.unlink()
    assert " | 3 tests, 0 failed | local" in cache("list")[1]


def test_a_report_that_cannot_be_counted_is_said_to_be_unreadable(cache, store):
    identity = put(store)
    for record in store.metadata_directory.iterdir():
        record.unlink()
    store.path_of(identity).write_bytes(b"rot")
    assert " | not readable | local" in cache("list")[1]
    assert json.loads(cache("list", "--json")[1])[0]["summary"] is None


@pytest.mark.parametrize("count", [-1, True, "7", 10**30, 1e300, None])
def test_counts_that_nobody_can_have_counted_are_not_shown(cache, store, count):
    identity = put(store, make(passed=3))
    record = store.metadata_directory / f"{store.path_of(identity).stem}.json"
    facts = json.loads(record.read_text())
    facts["summary"]["tests"] = count
    record.write_text(json.dumps(facts))
    line = cache("list")[1]
    assert " | not readable | " in line or " | 3 tests, 0 failed | " in line


# --- what a terminal sees --------------------------------------------------------------------------------------------


def on_a_terminal(*arguments, columns=80, answer=None, **environ):
    """Run the real script on a terminal of its own, and return its exit code and what was shown."""
    primary, secondary = pty.openpty()
    variables = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
    variables |= {"COLUMNS": str(columns), "PYTHONIOENCODING": "utf-8", "TERM": "xterm"} | environ
    process = subprocess.Popen(
        [SCRIPT, *map(str, arguments)], stdin=secondary, stdout=secondary, stderr=secondary, env=variables
    )
    os.close(secondary)
    shown = b""
    with contextlib.suppress(OSError):  # what a terminal says when nobody has it open any more
        while select.select([primary], [], [], 60)[0]:
            piece = os.read(primary, 65536)
            if not piece:
                break
            shown += piece
            if answer is not None and b"[y/N]" in shown:
                os.write(primary, (answer() if callable(answer) else answer).encode())
                answer = None
    os.close(primary)
    return process.wait(timeout=60), re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode()).replace("\r\n", "\n")


def test_columns_are_aligned_on_a_terminal(store):
    put(store, make("a", failed=12, passed=1200), metadata={"project": "tool"})
    put(store, make("b"), queue=True)
    _, shown = on_a_terminal("list", "--storage-path", store.root)
    lines = shown.splitlines()
    assert len(lines) == 2
    assert len({tuple(match.start() for match in re.finditer(r"\|", line)) for line in lines}) == 1


@pytest.mark.parametrize("columns", [20, 40, 60, 72, 73, 74, 77, 80, 100, 140])
def test_no_line_is_wider_than_the_terminal(store, columns):
    put(store, make("a", failed=12, passed=1200), metadata={"project": "工具" * 40})
    put(store, make("b"), queue=True, metadata={"project": "\x1b[2Jx" * 20})
    _, shown = on_a_terminal("list", "--storage-path", store.root, columns=columns)
    lines = shown.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert len(line) + len(re.findall("[工具]", line)) <= columns
    digits = {len(re.match(r"sha256:([0-9a-f]*)", line)[1]) for line in lines}
    assert digits == {max(8, min(12, columns - 66))} or columns < 20 + 8


def test_a_wide_terminal_shows_projects(store):
    put(store, make("a"), metadata={"project": "payments"})
    assert on_a_terminal("list", "--storage-path", store.root, columns=120)[1].endswith("| local | payments\n")


def test_a_shortened_hash_is_never_ambiguous(store):
    identity = put(store)
    near = identity[:16] + ("0" if identity[16] != "0" else "1") * 55
    (store.reports / f"{near.replace(':', '-')}.xml").write_bytes(b"<testsuites/>")
    os.utime(store.reports / f"{near.replace(':', '-')}.xml", (1, 1))
    for limit in ("1", "2"):
        _, shown = on_a_terminal("list", "--limit", limit, "--storage-path", store.root, columns=60)
        assert shown.startswith(f"{identity[:17]}... | ")


def test_reports_with_failures_are_red_where_colour_is_wanted(cache, store, monkeypatch):
    put(store, make(failed=1))
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert cache("list")[1].startswith("\x1b[31msha256:")


def test_what_is_no_terminal_sees_the_same_whatever_its_environment_says(cache, store, monkeypatch):
    put(store, make("a", failed=12, passed=1200), metadata={"project": "tool"})
    first = cache("list")
    monkeypatch.setenv("COLUMNS", "20")
    assert cache("list") == first


# --- show ------------------------------------------------------------------------------------------------------------


def test_a_report_is_shown_with_its_metadata_and_failures_first(cache, store):
    data = make(failed=1, errors=1, skipped=1, passed=1)
    metadata = {"project": "tool", "git": {"branch": "main"}, "timestamp": "2025-10-17T10:00:00Z"}
    identity = put(store, data, "2025-10-17T10:30:00", metadata=metadata)
    code, out, err = cache("show", identity[:15])
    assert (code, err) == (0, "")
    assert out == (
        f"{identity}\n"
        "Status: local\n"
        f"Stored: 2025-10-17 10:30:00 UTC, {len(data)} bytes\n"
        f"File: {store.path_of(identity)}\n"
        "Signature: unsigned\n"
        "Metadata:\n"
        "  git:branch  main\n"
        "  project     tool\n"
        "  timestamp   2025-10-17T10:00:00Z\n"
        "Failed:\n"
        "  mod::fails0 (0.000 s)\n"
        "    assert 1 == 2\n"
        "      def test():\n"
        "      >   assert 1 == 2\n"
        "      E   boom\n"
        "  mod::breaks0 (0.000 s)\n"
        "    no database\n"
        "Skipped:\n"
        "  mod::waits0 (0.000 s)\n"
        "    not today\n"
        "Passed:\n"
        "  mod::passes0 (0.000 s)\n"
        "4 tests: 2 failed, 1 skipped, 1 passed in 0.000 s\n"
    )


def test_the_servers_answer_is_shown(cache, store):
    identity = put(store, queue=True)
    store.mark_published(identity, {"id": "report-123"})
    out = cache("show", identity)[1]
    assert "Status: published\n" in out
    assert "  answer:id: report-123\n" in out


def test_properties_are_shown_where_they_are_not_the_metadata_already(cache, store):
    data = make().replace(
        b"<testcase",
        b'<properties><property name="jux:hostname" value="a"/><property name="git:branch" value="main"/>'
        b'<property name="ticket" value="42"/></properties><testcase',
        1,
    )
    identity = put(store, data, metadata={"hostname": "a", "git": {"branch": "other"}})
    out = cache("show", identity)[1]
    assert "Properties in the report:\n  git:branch  main\n  ticket      42\n" in out
    assert "jux:hostname" not in out


def test_a_signed_report_is_shown_as_such(cache, store, p256):
    identity = put(store, sign_report(make(), p256.key, p256.certificate))
    assert "Signature: ECDSA-SHA256 by CN=p256 signer (intact; " in cache("show", identity)[1]


def test_long_lists_are_summarised_unless_all_is_asked_for(cache, store):
    identity = put(store, make(failed=50, passed=500))
    short, long = cache("show", identity)[1], cache("show", identity, "--all")[1]
    assert short.count("mod::fails") == short.count("mod::passes") == 20
    assert "  … and 30 more (--all shows them)\n" in short
    assert "  … and 480 more (--all shows them)\n" in short
    assert (long.count("mod::fails"), long.count("mod::passes")) == (50, 500)
    assert "--all" not in long


def test_long_tracebacks_are_summarised_unless_all_is_asked_for(cache, store):
    identity = put(store, make(failed=1).replace(b"E   boom", b"\n".join(b"line %d" % n for n in range(100))))
    short, long = cache("show", identity)[1], cache("show", identity, "--all")[1]
    assert "line 37\n      … and 62 more lines (--all shows them)\n" in short
    assert "line 99\n" in long


def test_the_exact_bytes_of_a_report(cache, store):
    data = b'\xef\xbb\xbf<?xml version="1.0"?>\r\n' + make() + b"\r\n"
    identity = put(store, data)
    assert cache("show", identity, "--xml", binary=True) == (0, data, "")


def test_a_report_as_json(cache, store, p256):
    identity = put(store, sign_report(make("s", failed=1), p256.key, p256.certificate), metadata={"project": "tool"})
    code, out, _ = cache("show", identity, "--json")
    found = json.loads(out)
    assert (code, found["canonical_hash"], found["intact"], found["damage"]) == (0, identity, True, None)
    assert (found["metadata"]["project"], found["summary"]["failures"]) == ("tool", 1)
    assert found["signature"]["state"] == "intact"
    assert [(case["suite"], case["name"], case["outcome"]) for case in found["cases"]] == [
        ("s", "passes0", "passed"),
        ("s", "fails0", "failed"),
    ]


@pytest.mark.parametrize("content", [make("s", failed=0, passed=2), b"rot", b""], ids=["changed", "rot", "nothing"])
def test_a_damaged_report_is_said_loudly_to_be_so(cache, store, content):
    identity = put(store, make("s", failed=1))
    store.path_of(identity).write_bytes(content)
    code, out, err = cache("show", identity)
    assert code == 1
    assert out.startswith("✗ DAMAGED: this is not what was stored: ")
    assert err.startswith(f"✗ DAMAGED: {store.path_of(identity)} is not what was stored: ")
    code, out, err = cache("show", identity, "--json")
    assert (code, json.loads(out)["intact"]) == (1, False)
    assert "DAMAGED" in err
    code, out, err = cache("show", identity, "--xml", binary=True)
    assert (code, out) == (1, content)
    assert "DAMAGED" in err


def test_a_report_that_only_waits_is_shown(cache, store):
    identity = put(store, queue=True)
    store.path_of(identity).unlink()
    code, out, _ = cache("show", identity)
    assert code == 0
    assert "Status: queued\n" in out


# --- names from outside ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["show", "export", "verify"])
@pytest.mark.parametrize(
    "given", ["", "../../x", "abc", "sha256:", "sha256:zzzz", "/etc/passwd", "٣٣٣٣", "abcd\n", "~"]
)
def test_what_is_no_hash_is_refused_in_one_sentence(cache, store, name, given):
    put(store)
    code, out, err = cache(name, "--storage-path", store.root, "--", given, storage=())
    assert (code, out) == (1, "")
    assert f"jux-cache: {given!r} is not a report's hash" in err.splitlines()[0]


@pytest.mark.parametrize("name", ["show", "export", "verify"])
def test_a_hash_that_is_not_there_or_ambiguous_is_refused(cache, store, name):
    code, _, err = cache(name, "abcd")
    assert (code, err) == (1, "jux-cache: no stored report has the hash abcd\n")
    store.reports.mkdir(parents=True)
    for digit in "01":
        (store.reports / f"sha256-abcd{digit * 60}.xml").write_bytes(b"<testsuites/>")
    code, _, err = cache(name, "abcd")
    assert (code, err) == (1, "jux-cache: abcd is ambiguous: 2 stored reports begin with it\n  Give more digits.\n")


# --- stats -----------------------------------------------------------------------------------------------------------


def test_statistics_of_a_store(cache, store):
    sizes = [len(make(name)) for name in ("a", "bb", "ccc")]
    put(store, make("a"), "2025-09-01T10:00:00")
    put(store, make("bb"), "2025-10-01T10:00:00", queue=True)
    put(store, make("ccc"), "2025-10-02T10:00:00", queue=True)
    code, out, err = cache("stats")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "Total reports: 3",
        f"Total size: {sum(sizes)} bytes",
        "Oldest: 2025-09-01",
        "Queued (not published): 2",
        f"Local: 1 report, {sizes[0]} bytes",
        f"Queued: 2 reports, {sizes[1] + sizes[2]} bytes",
        "Published: 0 reports, 0 bytes",
        "Rejected: 0 reports, 0 bytes",
        f"Store: {store.root}",
    ]
    assert json.loads(cache("stats", "--json")[1]) == {
        "path": str(store.root),
        "reports": 3,
        "size": sum(sizes),
        "oldest": "2025-09-01T10:00:00+00:00",
        "newest": "2025-10-02T10:00:00+00:00",
        "by_status": {
            "local": {"reports": 1, "size": sizes[0]},
            "queued": {"reports": 2, "size": sizes[1] + sizes[2]},
            "published": {"reports": 0, "size": 0},
            "rejected": {"reports": 0, "size": 0},
        },
    }


def test_statistics_of_an_empty_store(cache, store):
    code, out, _ = cache("stats")
    assert code == 0
    assert out.startswith("Total reports: 0\nTotal size: 0 bytes\nOldest: none\nQueued (not published): 0\n")
    assert json.loads(cache("stats", "--json")[1])["oldest"] is None


# --- clean -----------------------------------------------------------------------------------------------------------


def remaining(store):
    return {report.canonical_hash for report in store.list()}


def test_old_reports_are_removed_and_counted(cache, store):
    old = [put(store, make(name), "2025-01-01T00:00:00") for name in "ab"]
    new = put(store, make("c"))
    size = 2 * len(make("a"))
    code, out, err = cache("clean", "--days", "30", "--dry-run")
    assert (code, err) == (0, "")
    assert sorted(hashes_in(out)) == sorted(map(begins, old))
    assert out.splitlines()[2:] == [f"Would remove 2 reports ({size} bytes)"]
    assert len(remaining(store)) == 3
    assert cache("clean", "--days", "30") == (0, f"Removed 2 reports ({size} bytes freed)\n", "")
    assert remaining(store) == {new}
    assert cache("clean", "--days", "30") == (0, "Removed 0 reports (0 bytes freed)\n", "")


def test_one_report_is_singular(cache, store):
    put(store)
    assert cache("clean", "--keep", "0", "--dry-run")[1].endswith(f"Would remove 1 report ({len(make())} bytes)\n")
    assert cache("clean", "--keep", "0")[1] == f"Removed 1 report ({len(make())} bytes freed)\n"


def test_the_oldest_go_until_the_rest_fits(cache, store):
    kept = [put(store, make(name), f"2025-01-0{day}T00:00:00") for day, name in enumerate("abcd", 1)][2:]
    assert cache("clean", "--max-size", f"{2 * len(make())}b")[0] == 0
    assert remaining(store) == set(kept)


def test_the_queue_is_left_unless_it_is_named(cache, store):
    local, queued = put(store, make("a")), put(store, make("b"), queue=True)
    cache("clean", "--keep", "0", "--status", "published")
    assert remaining(store) == {local, queued}
    cache("clean", "--keep", "0")
    assert remaining(store) == {queued}
    cache("clean", "--keep", "0", "--status", "queued", stdin=b"")
    assert remaining(store) == set()


def test_cleaning_as_json(cache, store):
    identity = put(store, make("a"), "2025-01-01T00:00:00")
    planned = json.loads(cache("clean", "--days", "1", "--dry-run", "--json")[1])
    assert [row["canonical_hash"] for row in planned.pop("reports")] == [identity]
    assert planned == {"dry_run": True, "size": len(make("a"))}
    assert json.loads(cache("clean", "--days", "1", "--json")[1]) == {
        "dry_run": False,
        "size": len(make("a")),
        "reports": [identity],
        "left": [],
        "leftovers": 0,
        "errors": [],
    }


def test_cleaning_removes_what_interrupted_processes_left(cache, store):
    put(store, make("a"))
    (store.reports / ".jux-dead.tmp").write_bytes(b"half")
    assert cache("clean", "--keep", "9")[1] == (
        "Removed 0 reports (0 bytes freed)\nRemoved 1 file that interrupted processes left\n"
    )
    assert not list(store.reports.glob(".jux-*"))


def test_cleaning_keeps_the_trace_of_a_report_that_somebody_else_removed(cache, store):
    identity = put(store, make("a"))
    store.path_of(identity).unlink()
    record = store.metadata_directory / f"{store.path_of(identity).stem}.json"
    os.utime(record, (1, 1))
    cache("clean", "--keep", "0")
    code, out, _ = cache("verify")
    assert (code, record.exists()) == (1, True)
    assert f"✗ metadata/{record.name}: the report that it is about is missing" in out


def test_a_store_that_is_not_there_cannot_be_checked(tmp_path, capsys):
    assert _cli.run(command, ["verify", "--storage-path", str(tmp_path / "none")], "jux-cache") == 1
    assert capsys.readouterr().err == f"There is no report store at {tmp_path / 'none'}.\n"


def test_a_report_that_somebody_uses_is_left_and_counted(cache, store):
    identity = put(store, queue=True)
    program = (
        "import sys; from pytest_jux.storage import ReportStorage\n"
        "with ReportStorage(sys.argv[1]).claim(sys.argv[2]) as held: print(held, flush=True); sys.stdin.read()"
    )
    sender = [sys.executable, "-c", program, str(store.root), identity]
    with subprocess.Popen(sender, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "True\n"
        code, out, err = cache("clean", "--keep", "0", "--status", "queued", stdin=b"")
        process.stdin.close()
    assert (code, out) == (0, "Removed 0 reports (0 bytes freed)\n")
    assert err == "Left 1 report: in use, queued, or stored again meanwhile\n"
    assert remaining(store) == {identity}


def test_what_cannot_be_removed_is_said_and_is_a_failure(cache, store):
    identity = put(store)
    record = store.metadata_directory / f"{store.path_of(identity).stem}.json"
    record.unlink()
    record.mkdir()
    code, out, err = cache("clean", "--keep", "0")
    assert (code, out) == (1, "Removed 0 reports (0 bytes freed)\n")
    assert err.startswith("jux-cache: cannot remove ")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--status", "rejected"),
        ("--dry-run", "--yes"),
        ("--days", "-1"),
        ("--days", "nan"),
        ("--days", "1e3"),
        ("--days", "99999999999999999999"),
        ("--days", ""),
        ("--keep", "-1"),
        ("--keep", "many"),
        ("--keep", "9" * 400),
        ("--max-size", "-5"),
        ("--max-size", "nan"),
        ("--max-size", "inf"),
        ("--max-size", "../../x"),
        ("--max-size", "9" * 40),
        ("--max-size", ""),
        ("--status", "lost", "--days", "1"),
        ("--days", "1", "surplus"),
    ],
)
def test_nonsense_removes_nothing(cache, store, arguments):
    identity = put(store, when="2001-01-01T00:00:00")
    code, out, err = cache("clean", *arguments)
    assert (code, out) == (64, "")
    assert len(err.splitlines()) == 2
    assert err.startswith("jux-cache clean: ")
    assert remaining(store) == {identity}


@pytest.mark.parametrize("answer", ["y\n", "n\n", "\n"])
def test_a_person_is_asked_when_it_is_much(store, answer):
    for number in range(21):
        put(store, make(str(number)))
    code, shown = on_a_terminal("clean", "--keep", "0", "--storage-path", store.root, answer=answer)
    assert "Remove 21 reports (2" in shown
    if answer == "y\n":
        assert (code, len(remaining(store))) == (0, 0)
        assert "Removed 21 reports (" in shown
    else:
        assert (code, len(remaining(store))) == (1, 21)
        assert "Nothing was removed." in shown


def test_a_report_that_is_queued_while_the_question_stands_is_left(store):
    identities = [put(store, make(str(number))) for number in range(21)]

    def queue_one_and_agree():
        store.enqueue(make("7"), identities[7])
        return "y\n"

    code, shown = on_a_terminal("clean", "--keep", "0", "--storage-path", store.root, answer=queue_one_and_agree)
    assert code == 0
    assert "Removed 20 reports (" in shown
    assert "Left 1 report: in use, queued, or stored again meanwhile" in shown
    assert remaining(store) == {identities[7]}


def test_a_person_is_always_asked_about_the_queue(store):
    put(store, queue=True)
    arguments = ("clean", "--keep", "0", "--status", "queued", "--storage-path", store.root)
    code, shown = on_a_terminal(*arguments, answer="n\n")
    assert (code, len(remaining(store))) == (1, 1)
    assert "1 of them waiting to be published)? [y/N]" in shown
    assert on_a_terminal(*arguments, "--yes")[0] == 0
    assert remaining(store) == set()


def test_a_person_is_not_asked_about_little_or_before_a_dry_run(store):
    for number in range(22):
        put(store, make(str(number)))
    assert "[y/N]" not in on_a_terminal("clean", "--keep", "0", "--dry-run", "--storage-path", store.root)[1]
    code, shown = on_a_terminal("clean", "--keep", "2", "--storage-path", store.root)
    assert (code, len(remaining(store))) == (0, 2)
    assert "[y/N]" not in shown


def test_nobody_is_asked_where_nobody_is(cache, store):
    for number in range(25):
        put(store, make(str(number)))
    assert cache("clean", "--keep", "0", stdin=b"")[0] == 0
    assert remaining(store) == set()


# --- verify ----------------------------------------------------------------------------------------------------------


def test_a_sound_store_is_said_to_be_so(cache, store):
    put(store, make("a"))
    put(store, make("b"), queue=True)
    assert cache("verify") == (0, "Checked 2 reports: no problems\n", "")
    assert json.loads(cache("verify", "--json")[1]) == {"reports": 2, "problems": [], "notes": []}


def test_bit_rot_is_found_and_named(cache, store):
    put(store, make("a"))
    identity = put(store, make("b"))
    store.path_of(identity).write_bytes(make("c"))
    code, out, _ = cache("verify")
    name = f"reports/{store.path_of(identity).name}"
    assert code == 1
    assert out.splitlines()[0].startswith(f"✗ {name}: its content is not what was stored: its hash is sha256:")
    assert out.splitlines()[-1] == "Checked 2 reports: 1 problem"
    code, out, _ = cache("verify", "--json")
    (problem,) = json.loads(out)["problems"]
    assert (code, problem["kind"], problem["path"]) == (1, "content", str(store.path_of(identity)))


def test_signers_are_judged_with_a_certificate(cache, store, p256, p384):
    put(store, sign_report(make(), p256.key, p256.certificate))
    assert cache("verify", "--cert", p256.cert_path)[0] == 0
    assert cache("verify", "--ca", p256.cert_path)[0] == 0
    code, out, _ = cache("verify", "--cert", p384.cert_path)
    assert (code, out.splitlines()[-1]) == (1, "Checked 1 report: 1 problem")


def test_an_expired_certificate_is_judged_at_the_time_that_is_given(cache, store, make_signer):
    signer = make_signer("old", now=dt.datetime(2020, 1, 1, tzinfo=dt.UTC), days=365)
    put(store, sign_report(make(), signer.key, signer.certificate))
    assert cache("verify", "--cert", signer.cert_path)[0] == 1
    assert cache("verify", "--cert", signer.cert_path, "--at", "2020-06-01")[0] == 0


def test_lax_permissions_come_with_the_command_that_helps(cache, store):
    identity = put(store)
    store.path_of(identity).chmod(0o644)
    store.reports.chmod(0o755)
    code, out, err = cache("verify")
    assert (code, out.splitlines()[-1]) == (1, "Checked 1 report: 2 problems")
    own = " ".join(str(store.root / name) for name in ("reports", "metadata", "locks"))
    assert err == f"To make the store yours alone: chmod -R u=rwX,go= {own}\n"
    subprocess.run(err.rpartition("alone: ")[2].split(), check=True)
    assert cache("verify")[0] == 0


def test_thousands_of_lax_files_are_summarised_and_bit_rot_among_them_is_not(cache, store):
    for number in range(30):
        put(store, make(str(number)))
    for path in store.reports.iterdir():
        path.chmod(0o644)
    rotten = max(store.reports.iterdir())
    rotten.write_bytes(b"rot")
    out = cache("verify")[1]
    assert "… and 10 more of the kind permissions (--json shows them)\n" in out
    assert f"✗ reports/{rotten.name}: its content is not" in out
    assert out.endswith("Checked 30 reports: 31 problems\n")


def test_notes_are_no_failure(cache, store):
    put(store)
    (store.reports / "notes\x1b[31m.txt").write_text("?")
    assert cache("verify")[:2] == (
        0,
        "- reports/notes\\x1b[31m.txt: it is none of the store's files\nChecked 1 report: no problems, 1 note\n",
    )


def test_only_the_named_report_is_verified(cache, store):
    good, bad = put(store, make("a")), put(store, make("b"))
    store.path_of(bad).write_bytes(b"rot")
    assert cache("verify", good[:20]) == (0, "Checked 1 report: no problems\n", "")
    assert cache("verify", bad[:20])[0] == 1


def test_a_long_check_shows_on_a_terminal_how_far_it_is(store):
    for number in range(110):
        identity = canonical_hash(make(str(number)))
        store.store(make(str(number)), identity)
    assert "Checking" in on_a_terminal("verify", "--storage-path", store.root)[1]


def test_a_time_without_anybody_to_judge_is_a_usage_error(cache):
    assert cache("verify", "--at", "2020-01-01")[0] == 64


# --- add -------------------------------------------------------------------------------------------------------------


def test_a_report_is_added_with_this_machines_metadata_and_is_not_changed(cache, store, tmp_path):
    (tmp_path / "report.xml").write_bytes(make())
    identity = canonical_hash(make())
    assert cache("add", "report.xml") == (0, f"✓ report.xml: stored: {identity}\n", "")
    assert store.read(identity) == (tmp_path / "report.xml").read_bytes() == make()
    known = store.metadata(identity)
    assert known["hostname"] == os.uname().nodename
    assert known["project"] == tmp_path.name
    assert cache("add", "report.xml")[1] == f"✓ report.xml: already stored: {identity}\n"


def test_the_configuration_says_which_metadata(cache, store, tmp_path, monkeypatch):
    (tmp_path / ".jux.conf").write_text(
        "[jux]\nproject = tool\nmetadata_env = DEPLOY_*\nmetadata_exclude = username\nmetadata_extra = team=payments\n"
        "key_passphrase_env = DEPLOY_WORD\n"
    )
    monkeypatch.setenv("DEPLOY_STAGE", "test")
    monkeypatch.setenv("DEPLOY_WORD", "hunter2")
    (tmp_path / "report.xml").write_bytes(make())
    assert cache("add", "report.xml")[0] == 0
    known = store.metadata(canonical_hash(make()))
    assert (known["project"], known["env"], known["extra"]) == ("tool", {"DEPLOY_STAGE": "test"}, {"team": "payments"})
    assert "username" not in known


def test_a_report_is_queued_as_well(cache, store, tmp_path):
    (tmp_path / "report.xml").write_bytes(make())
    identity = canonical_hash(make())
    assert cache("add", "--queue", "report.xml")[1] == f"✓ report.xml: stored, queued: {identity}\n"
    assert store.find(identity).status == "queued"


def test_a_signed_copy_is_preferred(cache, store, tmp_path, p256):
    (tmp_path / "plain.xml").write_bytes(make())
    (tmp_path / "signed.xml").write_bytes(sign_report(make(), p256.key, p256.certificate))
    lines = cache("add", "plain.xml", "signed.xml", "plain.xml")[1].splitlines()
    assert [line.split(": ")[1] for line in lines] == [
        "stored",
        "stored in place of another copy",
        "the copy that was already stored stays",
    ]


def test_a_report_is_added_from_standard_input(cache, store):
    assert cache("add", "-", stdin=make("a"))[1] == f"✓ -: stored: {canonical_hash(make('a'))}\n"
    assert cache("add", stdin=make("b"))[0] == 0
    assert len(remaining(store)) == 2


def test_one_bad_report_does_not_stop_the_others(cache, store, tmp_path, p256):
    signed = sign_report(make("a"), p256.key, p256.certificate)
    (tmp_path / "forged.xml").write_bytes(signed.replace(b"passes0", b"passes1"))
    (tmp_path / "bad.xml").write_text("{}")
    (tmp_path / "good.xml").write_bytes(make("b"))
    code, out, err = cache("add", "forged.xml", "bad.xml", "missing.xml", "good.xml")
    assert code == 1
    assert out.startswith("✓ good.xml: stored: ")
    sentences = err.splitlines()
    assert sentences[0].startswith("forged.xml: report refused: its signature is broken: the report was changed")
    assert "bad.xml: not a JUnit XML report: JSON" in sentences
    assert "missing.xml: cannot read missing.xml: no such file or directory" in sentences
    assert remaining(store) == {canonical_hash(make("b"))}


def test_adding_as_json(cache, store, tmp_path):
    (tmp_path / "report.xml").write_bytes(make())
    (tmp_path / "bad.xml").write_text("{}")
    found = json.loads(cache("add", "--json", "report.xml", "bad.xml")[1])
    assert found == [
        {"file": "report.xml", "result": "stored", "canonical_hash": canonical_hash(make()), "status": "local"},
        {"file": "bad.xml", "result": "error", "reason": "not a JUnit XML report: JSON"},
    ]


def test_a_bad_configuration_is_named_before_anything_is_stored(cache, store, tmp_path):
    (tmp_path / "report.xml").write_bytes(make())
    (tmp_path / ".jux.conf").write_text("[jux]\nstorage_mode = cloud\n")
    code, _, err = cache("add", "report.xml")
    assert (code, store.root.exists()) == (1, False)
    assert "jux-cache: .jux.conf:2: jux_storage_mode has invalid value 'cloud'" in err


# --- export and import -----------------------------------------------------------------------------------------------


def test_a_report_travels_with_its_metadata(cache, store, tmp_path):
    identity = put(store, make(failed=1), metadata={"project": "tool"}, queue=True)
    assert cache("export", identity[:20], "-o", "it.zip") == (0, "✓ Exported: it.zip\n", "")
    other = ReportStorage(tmp_path / "other")
    storage = ("--storage-path", other.root)
    assert cache("import", "it.zip", storage=storage) == (0, f"✓ it.zip: stored: {identity}\n", "")
    assert cache("import", "it.zip", storage=storage)[1] == f"✓ it.zip: already stored: {identity}\n"
    assert other.read(identity) == make(failed=1)
    assert (other.metadata(identity)["project"], other.find(identity).status) == ("tool", "local")
    assert cache("verify", storage=storage)[0] == 0


def test_a_bundle_is_named_after_its_report(cache, store, tmp_path):
    identity = put(store)
    name = f"jux-{identity[7:19]}.zip"
    assert json.loads(cache("export", identity, "--json")[1]) == {"file": name, "canonical_hash": identity}
    assert cache("import", name)[0] == 0


def test_a_bundle_goes_through_a_pipe(cache, store, tmp_path):
    identity = put(store)
    code, data, _ = cache("export", identity, "-o", "-", binary=True)
    assert (code, data[:2]) == (0, b"PK")
    code, out, _ = cache("import", "-", stdin=data, storage=("--storage-path", tmp_path / "other"))
    assert (code, out) == (0, f"✓ -: stored: {identity}\n")


def test_a_bundle_is_not_thrown_at_a_terminal(store):
    identity = put(store)
    code, shown = on_a_terminal("export", identity, "-o", "-", "--storage-path", store.root)
    assert code == 64
    assert "PK" not in shown


@pytest.mark.parametrize("arguments", [["-o", "-", "--json"], ["-o", ""], []])
def test_an_export_to_nowhere_is_a_usage_error(cache, store, arguments):
    identity = [put(store)] if arguments else []
    code, out, err = cache("export", *identity, *arguments)
    assert (code, out, len(err.splitlines())) == (64, "", 2)


def test_a_damaged_report_is_not_exported(cache, store, tmp_path):
    identity = put(store)
    store.path_of(identity).write_bytes(b"rot")
    code, _, err = cache("export", identity, "-o", "it.zip")
    assert code == 1
    assert "is damaged" in err
    assert not (tmp_path / "it.zip").exists()


def test_what_is_no_bundle_is_not_imported(cache, store, tmp_path):
    (tmp_path / "report.xml").write_bytes(make())
    code, out, err = cache("import", "report.xml")
    assert (code, out) == (1, "")
    assert err.startswith("report.xml: bundle refused: it is not a ZIP archive\n")
    assert not store.root.exists()


# --- which store -----------------------------------------------------------------------------------------------------


def test_the_configured_store_is_the_default_and_else_the_users(cache, store, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    put(store)
    assert cache("stats", storage=())[1].startswith("Total reports: 0\n")
    (tmp_path / ".jux.conf").write_text("[jux]\nstorage_path = store/reports\n")
    assert cache("stats", storage=())[1].startswith("Total reports: 1\n")
    put(ReportStorage(tmp_path / "data" / "jux"), make("b"))
    put(ReportStorage(tmp_path / "data" / "jux"), make("c"))
    (tmp_path / ".jux.conf").unlink()
    assert cache("stats", storage=())[1].startswith("Total reports: 2\n")


def test_a_store_that_is_named_needs_no_configuration(cache, store, tmp_path):
    (tmp_path / ".jux.conf").write_text("nonsense")
    assert cache("stats")[0] == 0
    code, _, err = cache("stats", storage=())
    assert (code, err.splitlines()[1:]) == (1, ["  jux-config validate shows all that is wrong."])


@pytest.mark.parametrize("name", ["list", "stats", "verify", ("clean", "--days", "1")])
def test_a_store_that_cannot_be_read_is_one_sentence(cache, tmp_path, name):
    (tmp_path / "reports").write_text("a file")
    arguments = name if isinstance(name, tuple) else (name,)
    code, _, err = cache(*arguments, storage=("--storage-path", tmp_path))
    assert (code, err) == (1, f"jux-cache: cannot read {tmp_path / 'reports'}: not a directory\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["list", "--limit", "0"], "0 is not in the range"),
        (["list", "--limit", "-1"], "-1 is not in the range"),
        (["list", "--limit", "9" * 30], "is not in the range"),
        (["list", "--since", "yesterday"], "'yesterday' is not a time such as"),
        (["list", "--since", ""], "'' is not a time"),
        (["list", "--since", "-7d"], "'-7d' is not a time"),
        (["list", "--since", "999999w"], "'999999w' is not a time"),
        (["list", "--since", "0001-01-01T00:00:00+14:00"], "is not a time"),
        (["list", "--since", "2025-01-02", "--until", "2025-01-01"], "--since must be before --until"),
        (["list", "--status", "lost"], "'lost' is not one of"),
        (["list", "surplus"], "unexpected extra argument"),
        (["list", "--storage-path", ""], "the name of a file is empty"),
        (["show"], "Missing argument 'HASH'"),
        (["show", "abcd", "--xml", "--json"], "--xml goes alone"),
        (["stats", "--nope"], "No such option"),
        (["import"], "no report given"),
        (["add"], "no report given"),
        (["lsit"], "No such command 'lsit'"),
    ],
)
def test_a_wrong_option_is_a_usage_error(cache, arguments, sentence):
    code, out, err = cache(*arguments, storage=())
    assert (code, out) == (64, "")
    assert sentence in err


def test_every_subcommand_has_help(cache):
    listed = re.findall(r"^  ([a-z]+)  ", cache("--help", storage=())[1], re.MULTILINE)
    assert listed == ["list", "show", "stats", "clean", "verify", "push", "add", "export", "import"]
    for name in listed:
        code, out, _ = cache(name, "--help", storage=())
        assert code == 0
        assert "--storage-path" in out
        assert "--json" in out


def test_the_statuses_of_the_options_are_those_of_the_store():
    from pytest_jux.inventory import Status

    options = importlib.import_module("pytest_jux.commands._cache_options")
    assert tuple(Status) == options.STATUSES


# --- hostile reports -------------------------------------------------------------------------------------------------

HOSTILE = (
    "<testsuites><testsuite name='s'>"
    "<properties><property name='a\u202eb' value='one&#10;Status: published'/></properties>"
    "<testcase classname='&#x9b;31m' name='n&#10;Passed:'>"
    "<failure message='m\u2066'>x&#13;y&#9;z\u200b&#x9b;2J</failure>"
    "</testcase><testcase name='" + "n" * 1_000_000 + "'/></testsuite></testsuites>"
).encode()


def test_a_report_cannot_steer_the_terminal_or_fake_a_line(cache, store):
    identity = put(store, HOSTILE, metadata={"project": "p\x1b[2J\nsha256:0", "git": {"branch\n": "\x9b"}})
    for arguments in (["show", identity], ["show", identity, "--all"], ["list"], ["verify"], ["stats"]):
        out = cache(*arguments)[1]
        assert not [character for character in out if not (character.isprintable() or character == "\n")]
        assert len([line for line in out.splitlines() if line.startswith("Status:")]) == (arguments[0] == "show")
    assert len(cache("show", identity)[1]) < 10_000
    assert len(cache("show", identity, "--all")[1]) > 1_000_000
    for arguments in (["show", identity, "--json"], ["list", "--json"]):
        assert cache(*arguments)[1].isascii()


def test_a_hostile_answer_of_the_server_cannot_either(cache, store):
    identity = put(store, queue=True)
    store.mark_published(identity, {"id": "x\x1b]0;title\x07\nStatus: local", "more": ["\x9b"] * 3})
    out = cache("show", identity)[1]
    assert not [character for character in out if not (character.isprintable() or character == "\n")]


# --- cost ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["list", "--limit", "20"], ["stats"]])
def test_looking_into_a_store_does_not_pay_for_xml_and_cryptography(store, tmp_path, arguments):
    put(store, make("a"))
    put(store, make("b"), queue=True)
    code = (
        "import sys; from pytest_jux.commands import _cli, cache\n"
        f"_cli.run(cache.command, {[*arguments, '--storage-path', str(store.root)]!r})\n"
        "costly = {'lxml', 'cryptography', 'pytest', 'platformdirs', 'tempfile', 'yaml', 'shutil', 'zipfile'}\n"
        "print(sorted(costly & {*sys.modules}), file=sys.stderr)"
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env=environ)
    assert done.stderr == "[]\n"


def test_a_reader_that_goes_away_is_no_crash(store):
    for number in range(5):
        put(store, make(str(number)))
    command = f"{{ {SCRIPT} list --storage-path {store.root}; echo exit $? >&2; }} | head -0"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


def test_exporting_into_a_closed_standard_output_is_one_sentence(store, real_report):
    identity = canonical_hash(real_report)
    store.store(real_report, identity)
    command = f'"{sys.executable}" -c "from pytest_jux.commands.cache import main; main()"'
    line = f'{command} export {identity} --storage-path "{store.root}" -o - >&-'
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "cannot write standard output: it is closed" in done.stderr
