"""The JSON records of a store: read whatever is there, written the same for the same facts."""

from __future__ import annotations

import bisect
import datetime as dt
import hashlib
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_jux.records import (
    LARGEST_RECORD,
    SEAL,
    Waiting,
    now,
    read_for_update,
    read_record,
    sealed,
    sha256,
    to_json,
)

HASH = "sha256:" + "a" * 64
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_FACTS = st.dictionaries(st.text(), _JSON, max_size=5)


@pytest.fixture
def record(tmp_path):
    """Return a function that writes a record and returns where."""

    def write(content):
        path = tmp_path / "record.json"
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return path

    return write


# --- reading ---------------------------------------------------------------------------------------------------------


@given(_FACTS)
def test_what_is_written_is_read_again(tmp_path_factory, facts):
    path = tmp_path_factory.getbasetemp() / "record.json"
    path.write_bytes(to_json(facts))
    assert read_record(path) == facts


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1]",
        b'"text"',
        b"null",
        b"\xff\xfe",
        b"\x00" * 100,
        b'{"a":' * 100_000,
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": "' + b"x" * LARGEST_RECORD + b'"}',
    ],
    ids=lambda content: repr(content[:10]),
)
def test_what_is_no_record_says_nothing(record, content):
    assert read_record(record(content)) == {}


def test_what_is_not_there_says_nothing(tmp_path):
    assert read_record(tmp_path / "record.json") == {}


@pytest.mark.skipif(os.name != "posix", reason="links and pipes of POSIX")
@pytest.mark.parametrize("kind", ["link", "dangling link", "loop", "pipe", "directory"])
def test_what_only_stands_in_its_place_says_nothing(tmp_path, kind):
    """A link could make the store read any file of this user; a pipe would wait for somebody to write."""
    path, other = tmp_path / "record.json", tmp_path / "other.json"
    match kind:
        case "link":
            other.write_bytes(b'{"a": 1}')
            path.symlink_to(other)
        case "dangling link":
            path.symlink_to(other)
        case "loop":
            path.symlink_to(path)
        case "pipe":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
    assert read_record(path) == {}


def test_what_cannot_be_known_is_an_error(tmp_path):
    """Here and not there would both be wrong: the file system says nothing about it."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        read_record(tmp_path / "file" / "record.json")


# --- changing --------------------------------------------------------------------------------------------------------


def test_a_record_is_read_to_be_changed(record):
    facts = {"canonical_hash": HASH, "attempts": 3, "unknown to us": [1, {"a": None}]}
    assert read_for_update(record(facts), HASH) == facts


def test_a_record_with_its_seal_is_read_to_be_changed(record):
    facts = sealed({"canonical_hash": HASH, "attempts": 3})
    assert read_for_update(record(facts), HASH) == facts


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"attempts": 3},
        {"canonical_hash": "sha256:" + "b" * 64},
        {"canonical_hash": [HASH]},
        {**sealed({"canonical_hash": HASH, "attempts": 3}), "attempts": 4},
        {"canonical_hash": HASH, SEAL: "0" * 64},
        {"canonical_hash": HASH, SEAL: None},
    ],
)
def test_a_record_of_another_report_or_damaged_is_begun_anew(record, facts):
    assert read_for_update(record(facts), HASH) == {}


def test_what_is_read_to_be_changed_can_be_written_again(record):
    """Python reads deeper JSON than it writes. How deep depends on how deep the program itself is just then."""

    def nested(depth):
        return record(f'{{"canonical_hash": "{HASH}", "a": {"[" * depth}{"]" * depth}}}'.encode())

    deepest = bisect.bisect_left(range(100_000), 1, key=lambda depth: int(not read_record(nested(depth))))
    assert read_for_update(nested(100), HASH)
    for depth in range(deepest - 10, deepest + 2):
        facts = read_for_update(nested(depth), HASH)
        assert not facts or to_json(facts)


def test_a_seal_that_is_too_deep_to_be_checked_is_none(record):
    deep = f'{{"canonical_hash": "{HASH}", "{SEAL}": "x", "a": {"[" * 960}{"]" * 960}}}'
    assert read_for_update(record(deep.encode()), HASH) == {}


# --- writing ---------------------------------------------------------------------------------------------------------


@given(_FACTS)
def test_the_same_facts_are_the_same_bytes(facts):
    again = dict(reversed(facts.items()))
    assert to_json(facts) == to_json(again)
    assert sealed(facts) == sealed(again)


@given(_FACTS)
def test_a_record_is_ascii(facts):
    assert to_json(facts).isascii()


@given(_FACTS)
def test_a_seal_holds_through_a_file_and_a_second_sealing(facts):
    read = json.loads(to_json(sealed(facts)))
    assert sealed(read) == read


@given(_FACTS, st.text(), _JSON)
def test_a_seal_tells_every_change(facts, name, value):
    changed = {**sealed(facts), name: value}
    content = {key: item for key, item in facts.items() if key != SEAL}
    is_same = json.dumps(content, sort_keys=True) == json.dumps(
        {key: item for key, item in changed.items() if key != SEAL}, sort_keys=True
    )
    assert (sealed(changed) == changed) == (is_same and changed[SEAL] == sealed(facts)[SEAL])


def test_what_is_nested_too_deep_is_not_sealed():
    facts = {"a": 1}
    for _ in range(5000):
        facts = {"a": facts}
    assert SEAL not in sealed(facts)


def test_the_digest_of_a_file_is_sha256():
    assert sha256(b"abc") == hashlib.sha256(b"abc").hexdigest()


def test_the_time_in_records_is_utc_to_the_second():
    time = dt.datetime.fromisoformat(now())
    assert time.utcoffset() == dt.timedelta(0)
    assert time.microsecond == 0
    assert abs(time - dt.datetime.now(dt.UTC)) < dt.timedelta(minutes=1)


# --- entries of the queue --------------------------------------------------------------------------------------------


def test_an_entry_is_what_its_record_says():
    facts = {
        "queued_at": "2026-01-02T03:04:05+00:00",
        "attempts": 2,
        "next_attempt_at": "2026-01-02T04:04:05+00:00",
        "api_url": "https://jux.example.com/api/v1/reports",
        "metadata": {"project": "shop"},
        "more": 1,
    }
    assert Waiting.of(HASH, facts) == Waiting(
        HASH,
        "2026-01-02T03:04:05+00:00",
        2,
        "2026-01-02T04:04:05+00:00",
        "https://jux.example.com/api/v1/reports",
        "shop",
    )


@given(
    st.dictionaries(
        st.sampled_from(["queued_at", "attempts", "next_attempt_at", "api_url", "metadata", "canonical_hash"]), _JSON
    )
)
def test_an_entry_makes_sense_whatever_its_record_says(facts):
    entry = Waiting.of(HASH, facts)
    assert entry.canonical_hash == HASH
    assert isinstance(entry.attempts, int)
    assert 0 <= entry.attempts < 10**7
    assert all(isinstance(text, str) for text in (entry.queued_at, entry.next_attempt_at, entry.api_url, entry.project))


@pytest.mark.parametrize(
    ("written", "attempts"), [(3, 3), (0, 0), (-1, 0), (-(10**400), 0), (1.5, 0), ("3", 0), (None, 0)]
)
def test_attempts_are_counted_from_nothing_up(written, attempts):
    assert Waiting.of(HASH, {"attempts": written}).attempts == attempts


def test_attempts_without_end_are_damage():
    assert Waiting.of(HASH, {"attempts": 10**400}).attempts == 1_000_000
