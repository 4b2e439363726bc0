"""`kill -9` of eight concurrent writers and cleaners, hundreds of times: nothing that was acknowledged is lost."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from crash.reports import ROUNDS, files_below, identity, problems_below, report
from crash.writers import size_of
from interop.sharing import made_once

from pytest_jux.storage import ReportStorage

KILLS = 110  # times three seeds
GUARD = 300 * ROUNDS  # seconds; only so that a hang ends

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kill -9 and fork are of POSIX")


class Attempt(NamedTuple):
    """Something that a writer began; `end` is its acknowledgement or its death. Times are in nanoseconds."""

    deed: str
    number: int
    begin: int
    end: int
    listed: int  # when a cleaner had listed what it wanted to remove
    is_acknowledged: bool


class Outcome(NamedTuple):
    """What is left of a storm of kills."""

    root: Path
    attempts: list[Attempt]
    violations: list[str]
    kills: int
    unfinished: int
    passes: int

    def all(self, *deeds):
        return [attempt for attempt in self.attempts if attempt.deed in deeds]


def storm(directory, seed):
    command = [sys.executable, str(Path(__file__).with_name("writers.py")), str(directory / "store"), str(seed)]
    done = subprocess.run([*command, str(KILLS * ROUNDS)], capture_output=True, text=True, check=False, timeout=GUARD)
    assert done.returncode == 0, done.stderr
    return directory / "store", json.loads(done.stdout)


@pytest.fixture(scope="module", params=[1, 2, 3])
def outcome(request, tmp_path_factory):
    root, result = made_once(tmp_path_factory, f"kills-{request.param}", lambda path: storm(path, request.param))
    attempts = [Attempt(*values) for values in result.pop("attempts")]
    return Outcome(root, attempts, **result)


def missing(outcome, acknowledged, enders, is_there):
    """Return the reports that were acknowledged, that nobody may have removed since, and that are not there."""
    lost = []
    for number in {attempt.number for attempt in acknowledged}:
        last = max((one for one in acknowledged if one.number == number), key=lambda one: one.begin)
        # A cleaner may remove what it had listed; anything else may end what was there before its own end.
        ended = any(one.number == number and (one.listed or one.end) >= last.begin for one in enders)
        if not ended and not is_there(report(number, size_of(number)), number):
            lost.append(number)
    return lost


def test_enough_writers_were_killed_in_the_middle_of_their_work(outcome):
    assert outcome.kills >= KILLS * ROUNDS
    assert outcome.unfinished >= outcome.kills / 4
    assert outcome.passes > 10
    assert len([one for one in outcome.attempts if one.is_acknowledged]) >= outcome.kills / 2


def test_no_reader_ever_sees_a_partial_file_and_no_writer_fails(outcome):
    assert outcome.violations == []


def test_every_acknowledged_report_is_there_byte_exact_with_its_metadata(outcome):
    store = ReportStorage(outcome.root)
    acknowledged = [one for one in outcome.all("store_one") if one.is_acknowledged]

    def is_there(data, number):
        path = store.path_of(identity(data))
        return path.exists() and path.read_bytes() == data and store.metadata(identity(data)).get("number") == number

    assert missing(outcome, acknowledged, outcome.all("remove"), is_there) == []
    assert sum(store.path_of(identity(report(one.number, size_of(one.number)))).exists() for one in acknowledged) > 20


def test_every_acknowledged_queue_entry_waits_or_was_published_or_refused(outcome):
    store = ReportStorage(outcome.root)
    acknowledged = [one for one in outcome.all("enqueue", "requeue") if one.is_acknowledged]

    def is_there(data, _):
        record = f"{identity(data).replace(':', '-')}.json"
        waits = any((directory / record).exists() for directory in (store.queue, store.rejected))
        return waits and store.read(identity(data)) == data

    removers = [Attempt(*one[:4], 0, one[5]) for one in outcome.all("remove") if rejected_before(outcome, one)]
    assert missing(outcome, acknowledged, [*outcome.all("publish"), *removers], is_there) == []
    assert len(acknowledged) > 20


def rejected_before(outcome, remove):
    """Tell whether what a cleaner removed may have been refused, and so did not wait any more."""
    return any(one.number == remove.number and one.begin <= remove.end for one in outcome.all("reject"))


def test_no_lock_outlives_its_owner(outcome):
    for path in files_below(outcome.root):
        with path.open("rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert len(list((outcome.root / "locks").iterdir())) > 5


def test_nothing_is_left_over_after_the_next_sweep_and_the_store_works_at_once(outcome, tmp_path):
    shutil.copytree(outcome.root, tmp_path / "store")
    store = ReportStorage(tmp_path / "store")
    store.sweep()
    assert problems_below(store.root) == []
    assert store.sweep() == 0
    for number in {*range(12), 10**6}:
        data = report(number, size_of(number))
        entry = store.store(data, identity(data), {"number": number})
        store.enqueue(data, identity(data))
        with store.claim(identity(data)) as claimed:
            assert claimed
            store.mark_published(identity(data))
        assert (entry.path.read_bytes(), store.find(identity(data)).status.value) == (data, "published")
    assert problems_below(store.root) == []
    assert len(store.list()) == len({path.name for path in files_below(store.root) if path.suffix == ".xml"})
