"""The power goes after any system call: what was acknowledged is on the disk, whatever of the rest got there."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from typing import Any

import pytest
from crash.interposed import interposed, without_flushing
from crash.power import Disk, Killed, read_tree, write_tree
from crash.reports import ROUNDS

from pytest_jux.canonicalizer import canonical_hash
from pytest_jux.errors import JuxError
from pytest_jux.signer import sign_report
from pytest_jux.storage import ReportStorage

SEVERAL = 6 * ROUNDS  # random power cuts at each moment, beside the two extremes

pytestmark = pytest.mark.skipif(os.name != "posix", reason="directories that can be flushed are of POSIX")

A, B = (
    f'<testsuites><testsuite name="{name}" tests="1"><testcase name="test"/></testsuite></testsuites>'.encode()
    for name in "AB"
)
A_ID, B_ID = canonical_hash(A), canonical_hash(B)


@pytest.fixture(scope="module")
def signed(p256):
    return sign_report(A, p256.key, p256.certificate)


class NothingWaits(Exception):
    """There is nothing to claim."""


def publish(store, identity):
    with store.claim(identity) as claimed:
        if not claimed:
            raise NothingWaits
        store.mark_published(identity, {"id": 7})


def reject(store, identity):
    with store.claim(identity) as claimed:
        if not claimed:
            raise NothingWaits
        store.mark_rejected(identity, {"status": 422})


def remove(store, identity, *, queued=False):
    assert store.remove(store.find(identity), queued=queued)
    store.flush()  # what is acknowledged is the two together


LIVES = {
    "stored, stored again, signed": [
        lambda store, _: store.store(A, A_ID, {"hostname": "one"}),
        lambda store, _: store.store(B, B_ID, {"hostname": "one"}),
        lambda store, _: store.store(A, A_ID, {"hostname": "two", "run": "7"}),
        lambda store, signed: store.store(signed, A_ID, {"branch": "main"}),
        lambda store, _: store.store(A, A_ID, {"late": "yes"}),
        lambda store, _: remove(store, B_ID),
        lambda store, _: store.store(B, B_ID, {"hostname": "three"}),
    ],
    "stored, queued, published": [
        lambda store, signed: store.store(signed, A_ID, {"hostname": "one"}),
        lambda store, signed: store.enqueue(signed, A_ID, {"hostname": "one"}),
        lambda store, _: publish(store, A_ID),
        lambda store, signed: store.enqueue(signed, A_ID, {"hostname": "two"}),
        lambda store, _: remove(store, A_ID, queued=True),
    ],
    "only queued, published": [
        lambda store, signed: store.enqueue(signed, A_ID, {"hostname": "one"}),
        lambda store, _: store.enqueue(B, B_ID, {"hostname": "one"}),
        lambda store, _: publish(store, A_ID),
        lambda store, _: store.store(B, B_ID),
    ],
    "queued, refused, queued again": [
        lambda store, signed: store.store(signed, A_ID, {"hostname": "one"}),
        lambda store, signed: store.enqueue(signed, A_ID, {"hostname": "one"}),
        lambda store, _: reject(store, A_ID),
        lambda store, _: store.requeue(A_ID),
        lambda store, _: reject(store, A_ID),
        lambda store, _: remove(store, A_ID),
    ],
    "only queued, refused, queued again": [
        lambda store, signed: store.enqueue(signed, A_ID, {"hostname": "one"}),
        lambda store, _: reject(store, A_ID),
        lambda store, _: store.requeue(A_ID),
        lambda store, _: publish(store, A_ID),
    ],
    "stored unsigned, queued signed": [
        lambda store, _: store.store(A, A_ID, {"hostname": "one"}),
        lambda store, signed: store.enqueue(signed, A_ID, {"hostname": "one"}),
        lambda store, _: reject(store, A_ID),
        lambda store, _: store.requeue(A_ID),
    ],
}


def flat(tree: dict[str, Any], start: str = "") -> dict[str, bytes]:
    """Return the files of a tree of a store by `directory/name`."""
    found = {}
    for name, below in tree.items():
        found.update(flat(below, f"{start}{name}/") if isinstance(below, dict) else {f"{start}{name}": below})
    return found


def strip(tree):
    """Return the files of the store at `home/jux`, without temporary ones and locks."""
    files = {name.removeprefix("home/jux/"): data for name, data in flat(tree).items()}
    return {name: data for name, data in files.items() if not re.search(r"(^|/)(\.jux-|locks/)", name)}


def _is_on_its_way(name, found, after):
    """Tell a copy for an entry that nobody was told of yet, and the record of a report that is being replaced."""
    if name.startswith(("queue/", "rejected/")) and name.endswith(".xml"):
        return f"{name.removesuffix('.xml')}.json" not in found
    return name in after and name in found and _without_digest(found[name]) == _without_digest(after[name])


def problems_of(found, before, after, *, removes):
    """Compare what is found after a power cut with what was acknowledged (`before`) and what was going on (`after`)."""
    problems = []
    for name in {*found, *before, *after}:
        expected = {before.get(name), after.get(name)}
        if found.get(name) in expected:
            continue
        if _is_on_its_way(name, found, after):
            continue
        problems.append(f"{name}: {found.get(name)!r:.80} instead of {' or '.join(f'{one!r:.80}' for one in expected)}")
    for name in found:
        directory, _, file = name.partition("/")
        digits = file.removesuffix(".json")
        if not file.endswith(".json") or removes:
            continue
        places = ("reports",) if directory in {"metadata", "published"} else (directory, "reports", "queue", "rejected")
        if not any(f"{place}/{digits}.xml" in found for place in places):
            problems.append(f"{name} speaks of a report that is not there")
    for name in before:
        if name.startswith(("queue/", "rejected/")) and name.endswith(".json") and not removes:
            digits = name.partition("/")[2]
            if not any(f"{place}/{digits}" in found for place in ("queue", "rejected", "published")) and (
                f"reports/{digits.removesuffix('.json')}.xml" in before
            ):
                problems.append(f"{digits} waits no more, and nothing says why")
    return problems


def _without_digest(record):
    facts = json.loads(record) if record.startswith(b"{") else {"": record}
    return {name: value for name, value in facts.items() if name not in {"file_sha256", "record_sha256"}}


def opens_and_works(root):
    """Use a store that has come through a power cut."""
    store = ReportStorage(root)
    store.sweep()
    for data, identity in ((A, A_ID), (B, B_ID)):
        store.store(data, identity, {"again": "yes"})
    listed = {entry.canonical_hash for entry in store.list()}
    assert {A_ID, B_ID} <= listed
    assert store.statistics().total.reports == len(listed)
    assert canonical_hash(store.read(A_ID)) == A_ID
    assert store.metadata(A_ID)["again"] == "yes"
    assert not list(root.rglob(".jux-*"))


class Bench:
    """A directory with a store, the model of its disk, and a place to look at what power cuts leave."""

    def __init__(self, path):
        self.path = path
        self.home = path / "disk"
        self.home.mkdir()
        self.disk = Disk(self.home)
        self.store = ReportStorage(self.home / "home" / "jux")
        self.chance = random.Random(0)  # noqa: S311 - chance, not a secret

    def check(self, moment, before, after, *, several=SEVERAL, removes=False):
        problems = []
        for number, tree in enumerate(moment.after_power_cuts(self.chance, several)):
            problems += problems_of(strip(tree), before, after, removes=removes)
            if number < 3:
                survivor = self.path / "survivor"
                write_tree(survivor, tree)
                try:
                    with interposed(without_flushing):
                        opens_and_works(survivor / "home" / "jux")
                except (JuxError, AssertionError) as error:
                    problems.append(f"the surviving store does not work: {error!r}")
                shutil.rmtree(survivor)
        return problems


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


@pytest.mark.parametrize("life", LIVES)
def test_what_was_acknowledged_survives_a_power_cut_after_any_call(bench, signed, life):
    disk, states = bench.disk, [{}]
    disk.mark = 0
    with interposed(disk.observe):
        for number, act in enumerate(LIVES[life], 1):
            act(bench.store, signed)
            states.append(strip(disk.moment().now()))
            disk.mark = number
            disk.history.append(disk.moment())
    assert disk.moment().now() == read_tree(bench.home)  # the model has missed nothing
    assert len(disk.history) > 10 * len(LIVES[life])
    removing = [states[n].keys() - states[n + 1].keys() for n in range(len(states) - 1)]
    problems = []
    for moment in disk.history:
        done = moment.mark or 0
        going_on = states[min(done + 1, len(states) - 1)]
        removes = done < len(removing) and any(name.startswith(("reports/", "metadata/")) for name in removing[done])
        problems += [
            f"in step {done + 1}: {problem}" for problem in bench.check(moment, states[done], going_on, removes=removes)
        ]
    assert sorted(set(problems)) == []


@pytest.mark.parametrize(
    ("life", "number"),
    [
        *(("stored, stored again, signed", number) for number in (0, 1, 2, 3, 6)),
        *(("stored, queued, published", number) for number in (1, 2, 3)),
        *(("only queued, published", number) for number in (0, 1, 3)),
        *(("queued, refused, queued again", number) for number in (1, 2, 3)),
    ],
)
def test_what_another_process_acknowledged_after_one_was_killed_survives_a_power_cut(tmp_path, signed, life, number):
    act = LIVES[life][number]
    undisturbed = ReportStorage(tmp_path / "undisturbed")
    for step in LIVES[life][: number + 1]:
        step(undisturbed, signed)
    expected = {name for name in flat(read_tree(undisturbed.root)) if not name.startswith("locks/")}
    problems = set()
    for kill_after in range(200):
        (tmp_path / str(kill_after)).mkdir()
        bench = Bench(tmp_path / str(kill_after))
        disk = bench.disk
        with interposed(disk.observe):
            for earlier in LIVES[life][:number]:
                earlier(bench.store, signed)
            disk.kill_after = disk.changes + kill_after
            was_killed = False
            try:
                act(bench.store, signed)
            except Killed:
                was_killed = True
            disk.bury()
            if was_killed:
                try:
                    act(bench.store, signed)
                except NothingWaits:  # the one that was killed had come to its end
                    break
        state = strip(disk.moment().now())
        problems |= {f"{name} is there or is not" for name in state.keys() ^ expected}
        problems |= set(bench.check(disk.moment(), state, state, several=2 * SEVERAL))
        shutil.rmtree(bench.path)
        if not was_killed:
            break
    assert kill_after >= 3
    assert sorted(problems) == []


# --- the model itself ------------------------------------------------------------------------------------------------


def write_to(path, data, *, flush):
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    os.write(descriptor, data)
    if flush:
        os.fsync(descriptor)
    os.close(descriptor)


def flush_names(path):
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def careful(directory):
    write_to(directory / "temporary", A, flush=True)
    os.replace(directory / "temporary", directory / "report")  # noqa: PTH105 - as the store's own calls
    flush_names(directory)


def without_flushing_the_content(directory):
    write_to(directory / "temporary", A, flush=False)
    os.replace(directory / "temporary", directory / "report")  # noqa: PTH105 - as above
    flush_names(directory)


def without_flushing_the_name(directory):
    write_to(directory / "temporary", A, flush=True)
    os.replace(directory / "temporary", directory / "report")  # noqa: PTH105 - as above


def flushing_the_name_too_early(directory):
    write_to(directory / "temporary", A, flush=True)
    flush_names(directory)
    os.replace(directory / "temporary", directory / "report")  # noqa: PTH105 - as above


def flushing_the_content_too_early(directory):
    descriptor = os.open(directory / "report", os.O_CREAT | os.O_WRONLY, 0o600)
    os.write(descriptor, A[:50])
    os.fsync(descriptor)
    os.write(descriptor, A[50:])
    os.close(descriptor)
    flush_names(directory)


def in_a_new_directory_whose_own_name_is_not_flushed(directory):
    (directory / "new").mkdir()
    careful(directory / "new")


def over_the_older_file(directory):
    write_to(directory / "report", A, flush=True)
    flush_names(directory)
    descriptor = os.open(directory / "report", os.O_TRUNC | os.O_WRONLY)
    os.write(descriptor, A)
    os.close(descriptor)


def survives(tmp_path, sequence):
    (tmp_path / "disk").mkdir()
    disk = Disk(tmp_path / "disk")
    with interposed(disk.observe):
        sequence(tmp_path / "disk")
    assert disk.moment().now() == read_tree(tmp_path / "disk")
    cuts = [flat(tree) for tree in disk.moment().after_power_cuts(random.Random(0), 50)]  # noqa: S311 - as above
    return all([data for name, data in cut.items() if name.endswith("report")] == [A] for cut in cuts)


def test_the_model_keeps_what_was_written_with_care(tmp_path):
    assert survives(tmp_path, careful)


@pytest.mark.parametrize(
    "careless",
    [
        without_flushing_the_content,
        without_flushing_the_name,
        flushing_the_name_too_early,
        flushing_the_content_too_early,
        in_a_new_directory_whose_own_name_is_not_flushed,
        over_the_older_file,
    ],
)
def test_the_model_loses_what_was_written_without_care(tmp_path, careless):
    assert not survives(tmp_path, careless)


def test_a_file_that_was_removed_may_come_back_as_long_as_its_directory_is_not_flushed(tmp_path):
    (tmp_path / "disk").mkdir()
    disk = Disk(tmp_path / "disk")
    with interposed(disk.observe):
        careful(tmp_path / "disk")
        (tmp_path / "disk" / "report").unlink()
    chance = random.Random(0)  # noqa: S311 - as above
    assert {len(tree) for tree in disk.moment().after_power_cuts(chance, 20)} == {0, 1}


def test_the_records_of_the_lives_are_readable(bench, signed):
    for act in LIVES["stored, queued, published"][:2]:
        act(bench.store, signed)
    records = [data for name, data in strip(read_tree(bench.home)).items() if name.endswith(".json")]
    assert {json.loads(data)["canonical_hash"] for data in records} == {A_ID}
