"""The queue and the server: one entry, all entries, and when it is no use to go on. Real store, real server."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import math
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from publishing.authorities import authority_file, client_files, server_side
from publishing.hostile import RecordingServer, answers, canonical_hash_of, stores

from pytest_jux import config
from pytest_jux.api_client import JuxAPIClient
from pytest_jux.config import PytestSource
from pytest_jux.errors import ClientMisconfigured, FileProblem, JuxError, PassphraseMissing, StorageError
from pytest_jux.inventory import Status
from pytest_jux.outcomes import Duplicate, Published, Rejected, Unauthorized, Unavailable
from pytest_jux.publishing import (
    NotRecorded,
    Patience,
    Sent,
    choose,
    configured_client,
    drain,
    each,
    in_order,
    publish_entry,
    push,
    refused,
    sent_metadata,
)
from pytest_jux.records import Waiting
from pytest_jux.storage import ReportStorage

PATIENCE = 30.0  # seconds for what takes milliseconds
KEY = "k3y-that-nobody-may-see"
LATER = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=5)).isoformat(timespec="seconds")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def store(tmp_path):
    return ReportStorage(tmp_path / "store")


@pytest.fixture
def server():
    with RecordingServer() as server:
        yield server


@pytest.fixture
def client(server):
    with client_for(server) as client:
        yield client


@pytest.fixture
def queued(store):
    """Return a function that stores and queues reports, oldest first, and returns their hashes."""

    def add(count=1, url="", start=0, metadata=None):
        found = []
        for number in range(start, start + count):
            data = f'<testsuite><testcase name="test_{number}"/></testsuite>'.encode()
            identity = canonical_hash_of(data)
            store.store(data, identity, metadata)
            store.enqueue(data, identity, metadata, api_url=url)
            change(store, identity, queued_at=f"2026-01-01T00:{number // 60:02}:{number % 60:02}+00:00")
            found.append(identity)
        return found

    return add


def client_for(server, **options):
    return JuxAPIClient(server.url, **{"read_timeout": 5, "deadline": 20, "retries": 0, "connections": 8, **options})


def record_of(store, identity):
    return store.queue / f"{identity.replace(':', '-')}.json"


def change(store, identity, **facts):
    path = record_of(store, identity)
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **facts}))


def status(store, identity):
    return store.find(identity).status


def is_whole(store, identity):
    return canonical_hash_of(store.read(identity)) == identity


# --- one entry -------------------------------------------------------------------------------------------------------


def test_an_entry_that_the_server_takes_is_published(store, queued, client, server):
    (identity,) = queued(metadata={"hostname": "here", "git": {"branch": "main"}})
    outcome = publish_entry(store, client, identity)
    assert isinstance(outcome, Published)
    assert status(store, identity) is Status.PUBLISHED
    assert server.reports[identity].data == store.read(identity)
    assert server.reports[identity].metadata == {"hostname": "here", "git": {"branch": "main"}}
    assert store.answer(identity)["answer"] == {
        "id": "report-1",
        "url": f"{server.origin}/reports/report-1",
        "message": "Report published successfully",
    }


def test_what_the_store_notes_for_itself_is_not_sent():
    known = {"summary": {}, "stored_at": "now", "canonical_hash": "x", "signed": True, "project": "shop"}
    assert sent_metadata(known) == {"project": "shop"}


def test_an_entry_that_the_server_has_already_is_published(store, queued, client, server):
    (identity,) = queued()
    server.preload(identity)
    assert isinstance(publish_entry(store, client, identity), Duplicate)
    assert status(store, identity) is Status.PUBLISHED


def test_an_entry_that_is_refused_is_kept_with_the_reason(store, queued, client, server):
    (identity,) = queued()
    server.behave(answers(422, {"error": "Too old", "details": {"reason": "2019", "limit": 3}}))
    assert isinstance(publish_entry(store, client, identity), Rejected)
    assert status(store, identity) is Status.REJECTED
    assert store.answer(identity)["reason"] == {
        "status": 422,
        "error": "Too old (2019)",
        "details": {"reason": "2019", "limit": 3},
    }
    assert is_whole(store, identity)


@pytest.mark.parametrize("behaviour", [answers(503), answers(401), answers(302), answers(200, b"<html>")])
def test_an_entry_that_could_not_be_delivered_waits_with_the_reason(store, queued, client, server, behaviour):
    (identity,) = queued()
    server.behave(behaviour)
    for attempt in (1, 2, 3):
        outcome = publish_entry(store, client, identity)
        assert isinstance(outcome, Unavailable | Unauthorized)
        answer = store.answer(identity)
        assert (answer["attempts"], answer["last_error"]) == (attempt, outcome.reason)
    assert status(store, identity) is Status.QUEUED
    assert is_whole(store, identity)


def pause_after(store, client, identity):
    """Let one attempt fail and return the seconds after which the next one is due."""
    assert isinstance(publish_entry(store, client, identity), Unavailable)
    facts = store.answer(identity)
    due, tried = (dt.datetime.fromisoformat(facts[name]) for name in ("next_attempt_at", "last_attempt_at"))
    assert due.utcoffset() == dt.timedelta(0)
    return (due - tried).total_seconds()


def test_attempts_that_nobody_asks_for_are_farther_and_farther_apart(store, queued, client, server):
    (identity,) = queued()
    server.behave(answers(503))
    pauses = [pause_after(store, client, identity) for _ in range(5)]
    assert pauses == [pytest.approx(60 * 2**number, abs=2) for number in range(5)]


@pytest.mark.parametrize("attempts", [9, 50, 10**6])
def test_attempts_are_at_most_six_hours_apart(store, queued, client, server, attempts):
    (identity,) = queued()
    change(store, identity, attempts=attempts)
    server.behave(answers(503))
    assert pause_after(store, client, identity) == pytest.approx(6 * 3600, abs=2)


@pytest.mark.parametrize(
    ("wanted", "pause"), [("5", 60), ("3600", 3600), ("999999999999", None), ("9" * 300, None), ("nonsense", 60)]
)
def test_the_server_can_put_off_the_next_attempt_but_not_for_ever(store, queued, client, server, wanted, pause):
    (identity,) = queued()
    server.behave(answers(503, b"", {"Retry-After": wanted}))
    seconds = pause_after(store, client, identity)
    assert seconds <= 24 * 3600 + 2
    assert pause is None or seconds == pytest.approx(pause, abs=2)


@pytest.mark.parametrize("attempts", [-1, -(10**400), 10**400, "many", None, 1.5])
def test_a_record_with_an_impossible_number_of_attempts(store, queued, client, server, attempts):
    (identity,) = queued()
    change(store, identity, attempts=attempts)
    server.behave(answers(503), stores)
    assert 58 <= pause_after(store, client, identity) <= 6 * 3600 + 2
    assert isinstance(publish_entry(store, client, identity), Published)


def test_an_entry_that_is_gone_is_nobodys_failure(store, client, server):
    assert publish_entry(store, client, "sha256:" + "0" * 64) is None
    assert not server.connections


def test_an_entry_is_sent_by_one_at_a_time(store, queued, client, server):
    (identity,) = queued()
    may_answer = threading.Event()

    def waits(line):
        request = line.read_request()
        may_answer.wait(PATIENCE)
        line.answer(*line.server.keep(request))

    server.behave(waits)
    first = []
    thread = threading.Thread(target=lambda: first.append(publish_entry(store, client, identity)))
    thread.start()
    server.wait_for(lambda one: one.requests)
    assert publish_entry(ReportStorage(store.root), client, identity) is None
    may_answer.set()
    thread.join(PATIENCE)
    assert isinstance(first[0], Published)
    assert len(server.requests) == 1


@pytest.mark.parametrize("damage", [b"<testsuite/>", b"", b"no report"])
def test_what_is_not_the_report_any_more_is_not_sent(store, queued, client, server, damage):
    (identity,) = queued()
    path = record_of(store, identity).with_suffix(".xml")
    path.unlink()
    path.write_bytes(damage)
    with pytest.raises(JuxError):
        publish_entry(store, client, identity)
    assert not server.connections
    assert store.waiting()


def test_an_entry_whose_report_is_gone_is_not_sent(store, queued, client, server):
    (identity,) = queued()
    for path in (record_of(store, identity).with_suffix(".xml"), store.path_of(identity)):
        path.unlink()
    with pytest.raises(JuxError):
        publish_entry(store, client, identity)
    assert not server.connections


def test_an_entry_can_be_tried_again_after_an_error(store, queued, client):
    """The claim is let go."""
    (identity,) = queued()
    path = record_of(store, identity).with_suffix(".xml")
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(b"<testsuite/>")
    with pytest.raises(StorageError):
        publish_entry(store, client, identity)
    path.write_bytes(data)
    assert isinstance(publish_entry(store, client, identity), Published)


def test_an_entry_has_its_own_deadline(store, queued, client, server):
    (identity,) = queued()
    server.behave(lambda line: line.listen())
    outcome = publish_entry(store, client, identity, deadline=0.3)
    assert isinstance(outcome, Unavailable)
    assert "0.3 s" in store.answer(identity)["last_error"]


def forbid_recording(store, directory):
    """Put a file where a directory of the store has to be."""
    path = store.root / directory
    if path.is_dir():
        for one in path.iterdir():
            one.unlink()
        path.rmdir()
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("behaviour", "directory", "words"),
    [
        (stores, "published", "the server has the report, but that cannot be recorded: "),
        (answers(409, {"id": "7"}), "published", "the server has the report, but that cannot be recorded: "),
        (answers(400, {"error": "Too old"}), "rejected", "the server refuses the report: Too old, but that cannot"),
    ],
)
def test_what_cannot_be_recorded_is_said_with_what_came_of_it(
    store, queued, client, server, behaviour, directory, words
):
    (identity,) = queued()
    forbid_recording(store, directory)
    server.behave(behaviour)
    with pytest.raises(NotRecorded) as caught:
        publish_entry(store, client, identity)
    assert str(caught.value).startswith(words)
    assert isinstance(caught.value.outcome, Published | Duplicate | Rejected)
    assert isinstance(caught.value, StorageError)
    assert record_of(store, identity).exists()


# --- the whole queue -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", [1, 4])
def test_everything_that_waits_is_sent_once(store, queued, client, server, jobs):
    identities = queued(25)
    found = list(push(store, client, identities, jobs=jobs))
    assert sorted(one.canonical_hash for one in found) == sorted(identities)
    assert {one.status for one in found} == {"published"}
    assert len(server.requests) == 25
    assert {status(store, identity) for identity in identities} == {Status.PUBLISHED}


def test_one_job_keeps_the_order(store, queued, client, server):
    identities = queued(5)
    assert [one.canonical_hash for one in push(store, client, identities)] == identities
    assert [request.json["canonical_hash"] for request in server.requests] == identities


def test_results_come_while_the_rest_is_still_to_be_sent(store, queued, client, server):
    found = push(store, client, queued(5))
    assert next(found).status == "published"
    assert len(server.requests) == 1


def test_a_refused_report_does_not_stop_the_others(store, queued, client, server):
    identities = queued(8)
    server.behave(*[answers(400, {"error": "no"})] * 4, stores)
    assert [one.status for one in push(store, client, identities)] == ["rejected"] * 4 + ["published"] * 4


def test_an_entry_that_cannot_be_read_does_not_stop_the_others(store, queued, client):
    identities = queued(5)
    for identity in identities[:4]:
        path = record_of(store, identity).with_suffix(".xml")
        path.unlink()
        path.write_bytes(b"<testsuite/>")
    found = list(push(store, client, identities))
    assert [one.status for one in found] == ["failed"] * 4 + ["published"]
    assert all(one.error is not None and one.outcome is None for one in found[:4])


@pytest.mark.parametrize("behaviour", [answers(401), answers(200, b"<html>"), answers(302), lambda line: line.reset()])
def test_a_server_that_is_no_use_is_asked_once(store, queued, client, server, behaviour):
    identities = queued(10)
    server.behave(behaviour)
    found = list(push(store, client, identities))
    tried = len(found)  # up to three if requests may have got through before they broke
    assert 1 <= tried <= 3
    assert [one.status for one in found] == ["failed"] * tried
    assert server.attempts == tried
    assert {status(store, identity) for identity in identities} == {Status.QUEUED}


def test_nobody_there_is_tried_once(store, queued):
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        with JuxAPIClient(f"http://127.0.0.1:{sock.getsockname()[1]}/api/v1/reports", retries=0) as client:
            found = list(push(store, client, queued(10), jobs=1))
    assert [one.status for one in found] == ["failed"]


@pytest.mark.parametrize("failure", [503, 403])
def test_three_failures_in_a_row_are_enough(store, queued, client, server, failure):
    identities = queued(10)
    server.behave(answers(failure), answers(failure), stores, answers(failure))
    assert [one.status for one in push(store, client, identities)] == ["failed"] * 2 + ["published"] + ["failed"] * 3
    assert len(server.requests) == 6


def test_three_that_cannot_be_recorded_are_enough(store, queued, client, server):
    identities = queued(10)
    forbid_recording(store, "published")
    found = list(push(store, client, identities))
    assert [one.status for one in found] == ["failed"] * 3
    assert all(isinstance(one.outcome, Published) and isinstance(one.error, NotRecorded) for one in found)
    assert all(record_of(store, identity).exists() for identity in identities)


def test_an_entry_that_somebody_else_is_sending_is_skipped(store, queued, client, server):
    first, second = queued(2)
    with ReportStorage(store.root).claim(first) as is_held:
        assert is_held
        found = list(push(store, client, [first, second]))
    assert [one.status for one in found] == ["skipped", "published"]
    assert found[0] == Sent(first)


def test_what_was_refused_is_tried_again_when_asked_for(store, queued, client, server):
    first, second = queued(2)
    server.behave(answers(400, {"error": "no"}))
    assert [one.status for one in push(store, client, [first])] == ["rejected"]
    server.behave(stores)
    assert [one.status for one in push(store, client, [first])] == ["skipped"]
    assert [one.status for one in push(store, client, [first, second], rejected={first})] == ["published"] * 2


def test_what_was_refused_stays_refused_where_it_is_not_reached(store, queued, client, server):
    """It is queued again only when it is its turn."""
    identities = queued(6)
    server.behave(answers(400, {"error": "no"}))
    list(push(store, client, identities))
    server.behave(answers(401))
    found = list(push(store, client, identities, rejected=set(identities)))
    assert len(found) == 1
    assert [status(store, identity) for identity in identities] == [Status.QUEUED] + [Status.REJECTED] * 5


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_push_that_nobody_follows_to_its_end_loses_nothing(store, queued, client, server, jobs):
    identities = queued(12)
    found = push(store, client, identities, jobs=jobs)
    next(found)
    found.close()
    assert [one.status for one in push(store, client, identities, jobs=1) if one.status == "failed"] == []
    assert sorted(server.reports) == sorted(identities)


def test_two_pushes_at_once_send_nothing_twice(store, queued, client, server):
    identities = queued(20)
    results = []

    def work():
        results.extend(push(ReportStorage(store.root), client, identities, jobs=2))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(server.requests) == 20
    assert [one.status for one in results if one.status != "skipped"] == ["published"] * 20


@pytest.mark.parametrize(
    ("sent", "word"),
    [
        (Sent("h", Published()), "published"),
        (Sent("h", Duplicate()), "published"),
        (Sent("h", Rejected(400, "no")), "rejected"),
        (Sent("h", Unauthorized(401, "no")), "failed"),
        (Sent("h", Unavailable("no")), "failed"),
        (Sent("h"), "skipped"),
        (Sent("h", error=JuxError("x")), "failed"),
        (Sent("h", Published(), JuxError("x")), "failed"),
        (Sent("h", Rejected(400, "no"), JuxError("x")), "failed"),
    ],
)
def test_what_came_of_an_entry_in_one_word(sent, word):
    assert sent.status == word


# --- which entries, in which order -----------------------------------------------------------------------------------

OURS, THEIRS = "https://ours.example.com/", "https://theirs.example.com/"


def entry(name, api_url="", project="", attempts=0, queued_at=""):
    return Waiting(name, queued_at, attempts, "", api_url, project)


def names(entries):
    return [one.canonical_hash for one in entries]


@pytest.mark.parametrize(
    ("one", "is_sent"),
    [
        (entry("a"), True),
        (entry("a", OURS), True),
        (entry("a", OURS, "elsewhere"), True),
        (entry("a", THEIRS), False),
        (entry("a", THEIRS, "here"), True),
        (entry("a", THEIRS, "elsewhere"), False),
        (entry("a", "", "elsewhere"), True),
    ],
)
def test_a_report_goes_to_its_own_server_or_with_its_project(one, is_sent):
    chosen = choose([one], OURS, lambda: "here")
    assert names(chosen.entries) == (["a"] if is_sent else [])
    assert chosen.left == ({} if is_sent else {THEIRS: 1})
    assert names(choose([one], OURS, lambda: "here", any_server=True).entries) == ["a"]


def test_a_project_without_a_name_owns_nothing():
    assert not choose([entry("a", THEIRS, "")], OURS, lambda: "").entries


def test_the_project_is_asked_for_only_where_that_matters():
    asked = []
    mine = [entry("a"), entry("b", OURS, "x"), entry("c", THEIRS)]
    choose(mine, OURS, lambda: asked.append(1) or "here")
    assert not asked
    choose([*mine, entry("d", THEIRS, "x"), entry("e", THEIRS, "y")], OURS, lambda: asked.append(1) or "here")
    assert len(asked) == 1


def test_what_is_left_is_counted_by_server():
    entries = [entry("a", THEIRS), entry("b", THEIRS), entry("c", "https://third.example.com/"), entry("d")]
    chosen = choose(entries, OURS, lambda: "here")
    assert (names(chosen.entries), chosen.left) == (["d"], {THEIRS: 2, "https://third.example.com/": 1})


@pytest.mark.parametrize(("limit", "expected"), [(None, "abc"), (0, ""), (2, "ab"), (9, "abc")])
def test_a_limit_counts_what_is_sent(limit, expected):
    entries = [entry("x", THEIRS), entry("a"), entry("b"), entry("y", THEIRS), entry("c")]
    chosen = choose(entries, OURS, lambda: "here", limit=limit)
    assert "".join(names(chosen.entries)) == expected
    assert chosen.left == {THEIRS: 2}


def test_the_oldest_is_first_and_what_has_failed_three_times_last():
    entries = [
        entry("d", attempts=3, queued_at="2026-01-01"),
        entry("c", queued_at="2026-01-04"),
        entry("a", attempts=2, queued_at="2026-01-02"),
        entry("b", queued_at="2026-01-03"),
        entry("e", attempts=9, queued_at="2026-01-02"),
    ]
    assert "".join(names(in_order(entries))) == "abcde"


def test_what_was_refused_is_listed_as_if_it_waited(store, queued, client, server):
    first, second = queued(2, url=server.url, metadata={"project": "shop"})
    server.behave(answers(400, {"error": "no"}), stores)
    list(push(store, client, [first, second]))
    (found,) = refused(store)
    assert (found.canonical_hash, found.api_url, found.project, found.attempts) == (first, server.url, "shop", 0)
    assert found.queued_at


# --- draining --------------------------------------------------------------------------------------------------------


def drained(store, client, seconds=PATIENCE):
    return drain(store, client, until=time.monotonic() + seconds, clock=time.monotonic)


def test_what_older_runs_left_for_this_server_is_sent(store, queued, client, server):
    identities = queued(3, url=server.url)
    assert drained(store, client)[:2] == (3, 0)
    assert [request.json["canonical_hash"] for request in server.requests] == identities


@pytest.mark.parametrize("url", ["", "https://other.example.com/api/v1/reports"])
def test_what_waits_for_no_server_or_another_is_not_touched(store, queued, client, server, url):
    queued(3, url=url)
    assert drained(store, client)[:2] == (0, 0)
    assert not server.connections
    assert len(store.waiting()) == 3


def test_what_is_not_due_is_left(store, queued, client, server):
    first, second, third = queued(3, url=server.url)
    change(store, first, next_attempt_at=LATER)
    change(store, second, next_attempt_at="2020-01-01T00:00:00+00:00")
    assert drained(store, client)[:2] == (2, 1)
    assert status(store, first) is Status.QUEUED
    assert {status(store, second), status(store, third)} == {Status.PUBLISHED}


def test_a_clock_that_was_ahead_does_not_keep_a_report_for_years(store, queued, client, server):
    first, second = queued(2, url=server.url)
    change(store, first, next_attempt_at="2999-01-01T00:00:00+00:00")
    change(store, second, next_attempt_at="soon")
    assert drained(store, client)[:2] == (2, 0)


def test_an_entry_that_fails_is_left_and_not_due_then(store, queued, client, server):
    queued(1, url=server.url)
    server.behave(answers(503), stores)
    assert drained(store, client)[:2] == (0, 1)
    assert drained(store, client)[:2] == (0, 1)
    assert len(server.requests) == 1


def test_nothing_is_begun_when_there_is_no_time(store, queued, client, server):
    queued(3, url=server.url)
    assert drain(store, client, until=5.0, clock=lambda: 5.0)[:2] == (0, 3)
    assert not server.connections


def test_what_is_being_sent_when_the_time_is_over_is_given_up(store, queued, client, server):
    queued(3, url=server.url)
    server.behave(stores, lambda line: line.listen())
    start = time.monotonic()
    assert drained(store, client, seconds=1.0)[:2] == (1, 2)
    assert time.monotonic() - start < 3.0


def test_a_server_that_is_no_use_is_not_asked_for_every_entry(store, queued, client, server):
    queued(5, url=server.url)
    server.behave(answers(401))
    assert drained(store, client)[:2] == (0, 5)
    assert len(server.requests) == 1


def test_a_duplicate_is_drained_and_a_refused_report_is_neither(store, queued, client, server):
    first, _, _ = queued(3, url=server.url)
    server.preload(first)
    server.behave(stores, answers(400, {"error": "no"}), stores)
    assert drained(store, client)[:2] == (2, 0)


def test_an_entry_that_cannot_be_read_is_left(store, queued, client, server):
    first, second = queued(2, url=server.url)
    path = record_of(store, first).with_suffix(".xml")
    path.unlink()
    path.write_bytes(b"<testsuite/>")
    assert drained(store, client)[:2] == (1, 1)
    assert status(store, second) is Status.PUBLISHED


def test_an_entry_that_somebody_else_is_sending_is_left_to_them(store, queued, client, server):
    first, _ = queued(2, url=server.url)
    with ReportStorage(store.root).claim(first):
        assert drained(store, client)[:2] == (1, 0)


def test_an_empty_queue_is_drained(store, client, server):
    assert drained(store, client)[:2] == (0, 0)
    assert not store.root.exists()


# --- patience --------------------------------------------------------------------------------------------------------

FINE = (Published(), Duplicate(), Rejected(400, "no"))
DOUBTFUL = (Unavailable("no", is_passing=True, is_answered=True), Unauthorized(403, "no"))
HOPELESS = (
    Unavailable("no", is_passing=True, is_answered=False),
    Unavailable("no", is_passing=False, is_answered=True),
    Unavailable("no", is_passing=False, is_answered=False),
    Unauthorized(401, "no"),
)


@pytest.mark.parametrize("outcome", HOPELESS)
def test_patience_ends_at_once_where_waiting_is_no_use(outcome):
    patience = Patience()
    patience.learn(outcome)
    assert patience.is_over


@given(st.lists(st.sampled_from([*FINE, *DOUBTFUL, *HOPELESS, None])))
def test_patience_is_what_it_promises(outcomes):
    patience, row, is_over = Patience(), 0, False
    for outcome in outcomes:
        if outcome in HOPELESS:
            is_over = True
        elif outcome is not None:
            row = row + 1 if outcome in DOUBTFUL else 0
        is_over = is_over or row >= 3
        patience.learn(outcome)
        assert patience.is_over == is_over


def test_what_cannot_be_recorded_costs_patience():
    patience = Patience()
    for _ in range(2):
        patience.learn(Published(), is_recorded=False)
        assert not patience.is_over
    patience.learn(Published(), is_recorded=False)
    assert patience.is_over


def test_patience_that_is_over_stays_so():
    patience = Patience()
    patience.learn(HOPELESS[0])
    patience.learn(Published())
    assert patience.is_over


# --- several at a time -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", [-1, 0, 1])
def test_one_job_is_a_loop_in_this_thread(jobs):
    here = threading.current_thread()
    assert list(each(lambda number: (number, threading.current_thread()), range(3), jobs)) == [
        (0, here),
        (1, here),
        (2, here),
    ]


@pytest.mark.parametrize("jobs", [2, 5, 64])
@pytest.mark.parametrize("count", [0, 1, 7, 200])
def test_everything_is_done_once(jobs, count):
    assert sorted(each(lambda number: number * 2, range(count), jobs)) == [number * 2 for number in range(count)]


def test_so_many_are_done_at_the_same_time():
    barrier = threading.Barrier(4)
    assert sorted(each(lambda number: barrier.wait(PATIENCE) * 0 + number, range(8), 4)) == list(range(8))


def test_a_slow_one_does_not_hold_up_the_others():
    may_end = threading.Event()
    found = each(lambda number: (number == 0 and may_end.wait(PATIENCE), number)[1], range(5), 2)
    assert [next(found) for _ in range(4)] == [1, 2, 3, 4]
    may_end.set()
    assert list(found) == [0]


@pytest.mark.parametrize("jobs", [1, 4])
def test_items_are_taken_only_as_they_are_worked_on(jobs):
    taken = itertools.count()
    found = each(lambda number: number, (next(taken) for _ in range(1000)), jobs)
    given_back = 0
    for _ in found:
        given_back += 1
        assert next(taken) - given_back <= 2 * jobs + given_back  # this very line takes one, too
    assert given_back == 1000


def boom(number):
    if number == 3:
        raise ZeroDivisionError(number)
    return number


@pytest.mark.parametrize("jobs", [1, 4])
def test_what_goes_wrong_in_a_job_is_raised_where_the_results_are_wanted(jobs):
    with pytest.raises(ZeroDivisionError):
        list(each(boom, range(10), jobs))


@pytest.mark.parametrize("jobs", [1, 4])
def test_what_goes_wrong_in_giving_the_items_is_raised(jobs):
    with pytest.raises(ZeroDivisionError):
        list(each(lambda number: number, map(boom, range(10)), jobs))


@pytest.mark.parametrize("ending", ["exhausted", "closed", "failed"])
def test_no_thread_is_left(ending):
    before = set(threading.enumerate())
    found = each(boom if ending == "failed" else abs, range(3 if ending == "exhausted" else 100), 4)
    if ending == "exhausted":
        assert len(list(found)) == 3
    elif ending == "closed":
        next(found)
        found.close()
    else:
        with pytest.raises(ZeroDivisionError):
            list(found)
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE)
    assert set(threading.enumerate()) <= before


# --- the client that the configuration describes ---------------------------------------------------------------------


@pytest.fixture
def settings_of(tmp_path):
    """Return a function that makes settings of nothing but its arguments."""

    def load(**given):
        return config.load(
            start=tmp_path,
            home=tmp_path / "home",
            system_file=tmp_path / "none",
            environ={},
            pytest_source=PytestSource(),
            command_line={f"jux_{name}": value for name, value in given.items()},
        )

    return load


REPORT = b"<testsuite><testcase name='a'/></testsuite>"


@pytest.mark.parametrize(
    ("given", "is_command", "seconds"),
    [
        ({}, False, 30),
        ({}, True, 120),
        ({"publish_deadline": 7.5}, False, 7.5),
        ({"publish_deadline": 7.5}, True, 7.5),
        ({"publish_deadline": 30}, True, 30),
    ],
)
def test_the_time_that_a_report_may_take(settings_of, given, is_command, seconds):
    client = configured_client(settings_of(api_url=OURS, **given), {}, is_command=is_command)
    assert client.deadline == seconds


@pytest.mark.parametrize(
    ("given", "header", "value"),
    [
        ({"api_key": KEY}, "x-api-key", KEY),
        ({"api_key_env": "K"}, "x-api-key", "from-a-variable"),
        ({"api_key": KEY, "api_auth": "bearer"}, "authorization", f"Bearer {KEY}"),
        ({"api_key": "a:b", "api_auth": "basic"}, "authorization", "Basic YTpi"),
        ({}, "x-api-key", None),
        ({"api_gzip": "always"}, "content-encoding", None),
    ],
)
def test_what_is_configured_is_sent(settings_of, server, given, header, value):
    with configured_client(settings_of(api_url=server.url, **given), {"K": "from-a-variable"}) as client:
        assert isinstance(client.publish(REPORT), Published)
    assert server.requests[0].header(header) == value


def test_packing_is_configured(settings_of, server):
    with configured_client(settings_of(api_url=server.url, api_gzip="always"), {}) as client:
        client.publish(REPORT.replace(b"'a'", b"'" + b"a" * 5000 + b"'"))
    assert server.requests[0].header("content-encoding") == "gzip"


def test_timeouts_and_retries_are_configured(settings_of, server):
    server.behave(lambda line: line.listen())
    settings = settings_of(api_url=server.url, api_read_timeout=0.25, api_retries=1)
    with configured_client(settings, {}) as client:
        outcome = client.publish(REPORT)
    assert "0.25 s" in outcome.reason
    assert outcome.attempts == 2


@pytest.mark.parametrize("source", ["env", "file"])
def test_trust_and_the_clients_certificate_are_configured(settings_of, tmp_path, source):
    from cryptography.hazmat.primitives import serialization

    files = client_files(tmp_path)
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    encryption = serialization.BestAvailableEncryption(b"open sesame")
    files.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
    (tmp_path / "passphrase").write_text("open sesame\n")
    given = {"env": "P", "file": str(tmp_path / "passphrase")}
    with RecordingServer(tls=server_side(wants_client=True)) as server:
        settings = settings_of(
            api_url=server.url,
            api_ca=str(authority_file(tmp_path)),
            api_client_cert=str(files.cert),
            api_client_key=str(files.key),
            **{f"api_client_key_passphrase_{source}": given[source]},
        )
        with configured_client(settings, {"P": "open sesame"}) as client:
            assert isinstance(client.publish(REPORT), Published)
        assert server.connections[0].client_certificate


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"api_url": None}, ClientMisconfigured),
        ({"api_url": "jux.example.com"}, ClientMisconfigured),
        ({"api_key_env": "MISSING"}, ClientMisconfigured),
        ({"api_key_file": "/nowhere/key"}, FileProblem),
        ({"api_key": KEY, "api_auth": "basic"}, ClientMisconfigured),
        ({"api_ca": "/nowhere/ca.pem"}, ClientMisconfigured),
        ({"api_client_cert": "/nowhere/client.pem"}, ClientMisconfigured),
        ({"api_client_key_passphrase_env": "MISSING"}, PassphraseMissing),
        ({"api_client_key_passphrase_file": "/nowhere/passphrase"}, FileProblem),
    ],
)
def test_what_cannot_be_set_up_is_a_clear_error(settings_of, given, error):
    with pytest.raises(error) as caught:
        configured_client(settings_of(**{"api_url": OURS, **given}), {})
    assert KEY not in str(caught.value)
    assert str(caught.value) == str(caught.value).strip()


def test_setting_up_a_client_connects_with_nobody(settings_of, server):
    configured_client(settings_of(api_url=server.url, api_key=KEY), {}).close()
    assert not server.connections


def test_as_many_connections_are_kept_as_are_asked_for(settings_of, server):
    barrier = threading.Barrier(3)

    def together(line):
        request = line.read_request()
        barrier.wait(PATIENCE)
        line.answer(*line.server.keep(request))

    server.behave(together)
    reports = [REPORT.replace(b"'a'", b"'%d'" % number) for number in range(9)]
    with configured_client(settings_of(api_url=server.url), {}, connections=3) as client:
        outcomes = list(each(client.publish, reports, 3))
    assert {type(outcome) for outcome in outcomes} == {Published}
    assert len(server.connections) == 3


def test_a_wait_without_end_is_no_time():
    """What `_next` computes with can be anything that a server names."""
    from pytest_jux.publishing import _next

    for wanted in (None, 0.0, 1e300, math.inf):
        due = dt.datetime.fromisoformat(_next(Waiting("h"), wanted))
        assert due - dt.datetime.now(dt.UTC) <= dt.timedelta(hours=24)


# --- hostile entries -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"api_url": 7, "attempts": 0}'])
def test_an_entry_whose_record_cannot_be_read_waits_for_nobody_s_server(store, queued, content):
    """It may be meant for another server than this one."""
    (identity,) = queued(1, url="https://other.example.test/api/v1/reports")
    record_of(store, identity).write_bytes(content)
    chosen = choose(store.waiting(), "https://mine.example.test/api/v1/reports", lambda: "project")
    assert (chosen.entries, sum(chosen.left.values())) == ([], 1)
    everything = choose(store.waiting(), "https://mine.example.test/api/v1/reports", lambda: "", any_server=True)
    assert [entry.canonical_hash for entry in everything.entries] == [identity]


def test_a_number_of_attempts_that_is_too_long_to_write_does_not_stop_the_others(store, queued, client, server):
    identities = queued(2)
    path = record_of(store, identities[0])
    path.write_text(path.read_text().replace('"attempts": 0', f'"attempts": {"9" * 4300}'))
    server.behave(answers(503), stores)
    assert {one.status for one in push(store, client, identities)} <= {"failed", "published"}
    assert status(store, identities[1]) == Status.PUBLISHED


def test_a_queue_file_that_is_larger_than_a_report_may_be_is_not_read_whole(store, queued, client):
    (identity,) = queued(1)
    path = record_of(store, identity).with_suffix(".xml")
    path.unlink()
    with path.open("wb") as file:
        file.truncate(3_000_000_000)
    (found,) = push(store, client, [identity])
    assert "more than 100,000,000 bytes" in str(found.error)


@pytest.mark.parametrize("file", [".jux.conf", "pytest.ini"])
def test_the_key_of_the_user_s_file_is_not_given_to_a_server_that_a_project_names(tmp_path, file):
    """A project's files come with its repository, which may be anybody's."""
    (tmp_path / "home/.jux").mkdir(parents=True)
    (tmp_path / "home/.jux/config").write_text("[jux]\napi_url = https://good.test/api\napi_key = k3y\n")
    project = tmp_path / "project"
    project.mkdir()
    section = "[jux]\napi_url" if file == ".jux.conf" else "[pytest]\njux_api_url"
    known = {"start": project, "home": tmp_path / "home", "system_file": tmp_path / "none"}
    (project / file).write_text(f"{section} = https://evil.test/api\n")
    with pytest.raises(ClientMisconfigured, match="for another server"):
        configured_client(config.load(environ={}, **known), {})
    with configured_client(config.load(environ={"JUX_API_KEY": "ours"}, **known), {}) as client:
        assert client.url == "https://evil.test/api"
    (project / file).write_text(f"{section} = https://good.test/other\n")
    with configured_client(config.load(environ={}, **known), {}) as client:
        assert client.url == "https://good.test/other"
