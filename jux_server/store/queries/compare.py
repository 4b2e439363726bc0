"""Two runs of a project side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from jux_server.store import schema
from jux_server.store.queries.outcomes import FAILING, Ended, worse
from jux_server.store.results import BLOCK, unpack
from jux_server.store.schema import Result

if TYPE_CHECKING:
    from collections.abc import Iterator

_SLOWER = 1.5  # times as long as before
_NOTICED = 100_000  # microseconds more than before

KINDS = ("newly_failing", "fixed", "still_failing", "added", "removed", "slower")


class Change(NamedTuple):
    """One test in both runs: outcome and duration (microseconds), None where a run has it not."""

    test_id: int
    base: Ended | None
    head: Ended | None


def compare_runs(connection: sa.Connection, base_id: int, head_id: int) -> dict[str, list[Change]]:
    """Return what changed from one run to another, by kinds; a test may be of two, as slower and still failing.

    Of a test that a run has more than once, the worst result counts, with the longest time.
    """
    base, head = _results(connection, base_id), _results(connection, head_id)
    found: dict[str, list[Change]] = {kind: [] for kind in KINDS}
    for number, after in head.items():
        before = base.get(number)
        if before is not None and after[0] == before[0] == _PASSED and after[1] - before[1] < _NOTICED:
            continue  # almost all of them, in almost all comparisons
        change = Change(number, before, after)
        for kind in _kinds(before, after):
            found[kind].append(change)
    found["removed"] = [Change(number, before, None) for number, before in base.items() if number not in head]
    for kind in KINDS:
        found[kind].sort(key=_number)
    found["slower"].sort(key=_gain, reverse=True)
    return found


_PASSED = int(Result.PASSED)


def _kinds(before: Ended | None, after: Ended) -> Iterator[str]:
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
    if after[1] >= _SLOWER * before[1] and after[1] - before[1] >= _NOTICED and before[0] != Result.SKIPPED:
        yield "slower"


def _number(change: Change) -> int:
    return change.test_id


def _gain(change: Change) -> int:
    return (change.head or (0, 0))[1] - (change.base or (0, 0))[1]


def _results(connection: sa.Connection, run_id: int) -> dict[int, Ended]:
    """Return how each test of a run ended. The order of the report does not matter here, and costs most."""
    table = schema.results.c
    found: dict[int, Ended] = {}
    for block, content in connection.execute(sa.select(table.block, table.content).where(table.run_id == run_id)):
        entries = unpack(content)
        numbers = range(block * BLOCK, block * BLOCK + BLOCK)
        ended = zip(entries.outcomes, entries.durations, strict=True)
        if len(set(entries.offsets)) == len(entries.offsets):
            found.update(zip(map(numbers.__getitem__, entries.offsets), ended, strict=True))
            continue
        for offset, result in zip(entries.offsets, ended, strict=True):
            known = found.get(numbers[offset])
            found[numbers[offset]] = result if known is None else worse(known, result)
    return found
