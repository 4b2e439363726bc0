"""Two runs of a project side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from jux_server.store import schema
from jux_server.store.queries.outcomes import FAILING, Ended, worse
from jux_server.store.results import BLOCK, unpack_endings
from jux_server.store.schema import Result

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SLOWER = 1.5  # times as long as before
_NOTICED = 100_000  # microseconds more than before

KINDS = ("newly_failing", "fixed", "still_failing", "added", "removed", "slower")


#: Neither better nor worse: skipped now, or not any more, or tried again.
OTHERWISE = "otherwise"


class Change(NamedTuple):
    """One test in both runs: outcome and duration (microseconds), None where a run has it not."""

    test_id: int
    base: Ended | None
    head: Ended | None


def compare_runs(connection: sa.Connection, base_id: int, head_id: int) -> dict[str, list[Change]]:
    """Return what changed from one run to another, by kinds and `OTHERWISE`; a test may be of two, as slower and fixed.

    Of a test that a run has more than once, the worst result counts, with the longest time.
    """
    base, head = _blocks(connection, base_id), _blocks(connection, head_id)
    found: dict[str, list[Change]] = {kind: [] for kind in (*KINDS, OTHERWISE)}
    for block in base.keys() | head.keys():
        for change in _differing(block, base.get(block), head.get(block)):
            for kind in _kinds(change):
                found[kind].append(change)
    for changes in found.values():
        changes.sort(key=_number)
    found["slower"].sort(key=_gain, reverse=True)
    return found


def _differing(block: int, base: Endings | None, head: Endings | None) -> Iterator[Change]:
    """Give the tests of a block for which there may be something to say."""
    start = block * BLOCK
    if base is not None and head is not None and base.offsets == head.offsets and base.is_plain:
        # Almost all blocks of almost all comparisons: the same tests, once each, in the same order.
        ended = zip(base.offsets, base.outcomes, base.durations, head.outcomes, head.durations, strict=True)
        for offset, was, took, now_is, takes in ended:
            if now_is != was or now_is != _PASSED or takes - took >= _NOTICED:
                yield Change(start + offset, (was, took), (now_is, takes))
        return
    before = {} if base is None else base.by_offset()
    after = {} if head is None else head.by_offset()
    for offset in before.keys() | after.keys():
        yield Change(start + offset, before.get(offset), after.get(offset))


_PASSED = int(Result.PASSED)


def _kinds(change: Change) -> Iterator[str]:
    before, after = change.base, change.head
    if after is None:
        yield "removed"
        return
    fails = after[0] in FAILING
    if before is None:
        yield "added"
        if fails:
            yield "newly_failing"
        return
    failed = before[0] in FAILING
    if fails:
        yield "still_failing" if failed else "newly_failing"
    elif failed and after[0] != Result.SKIPPED:
        yield "fixed"
    elif before[0] != after[0]:
        yield OTHERWISE
    if after[1] >= _SLOWER * before[1] and after[1] - before[1] >= _NOTICED and before[0] != Result.SKIPPED:
        yield "slower"


def _number(change: Change) -> int:
    return change.test_id


def _gain(change: Change) -> int:
    return (change.head or (0, 0))[1] - (change.base or (0, 0))[1]


def _blocks(connection: sa.Connection, run_id: int) -> dict[int, Endings]:
    table = schema.results.c
    rows = connection.execute(sa.select(table.block, table.content).where(table.run_id == run_id))
    return {block: Endings(*unpack_endings(content)) for block, content in rows}


class Endings(NamedTuple):
    """How the tests of one block ended: the n-th entry of each is the n-th case."""

    offsets: bytes
    outcomes: bytes
    durations: Sequence[int]

    @property
    def is_plain(self) -> bool:
        """Whether every test is there once."""
        return len(set(self.offsets)) == len(self.offsets)

    def by_offset(self) -> dict[int, Ended]:
        """Return one result for each test."""
        found: dict[int, Ended] = {}
        for offset, *ended in zip(self.offsets, self.outcomes, self.durations, strict=True):
            known = found.get(offset)
            result = (ended[0], ended[1])
            found[offset] = result if known is None else worse(known, result)
        return found
