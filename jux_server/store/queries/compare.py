"""Two runs of a project side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from jux_server.store import results
from jux_server.store.schema import Result

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy as sa

_SLOWER = 1.5  # times as long as before
_NOTICED = 100_000  # microseconds more than before
_FAILING = frozenset({int(Result.FAILED), int(Result.ERROR)})

KINDS = ("newly_failing", "fixed", "still_failing", "added", "removed", "slower")


class Change(NamedTuple):
    """One test in both runs: outcome and duration (microseconds), None where a run has it not."""

    test_id: int
    base: tuple[int, int] | None
    head: tuple[int, int] | None


def compare_runs(connection: sa.Connection, base_id: int, head_id: int) -> dict[str, list[Change]]:
    """Return what changed from one run to another, by kinds; a test may be of two, as slower and still failing.

    Of a test that a run has more than once, the worst result counts, with the longest time.
    """
    base, head = _by_test(connection, base_id), _by_test(connection, head_id)
    found: dict[str, list[Change]] = {kind: [] for kind in KINDS}
    for number, after in head.items():
        change = Change(number, base.get(number), after)
        for kind in _kinds(change.base, after):
            found[kind].append(change)
    found["removed"] = [Change(number, before, None) for number, before in base.items() if number not in head]
    found["slower"].sort(key=_gain, reverse=True)
    return found


def _kinds(before: tuple[int, int] | None, after: tuple[int, int]) -> Iterator[str]:
    fails = after[0] in _FAILING
    if before is None:
        yield "added"
        if fails:
            yield "newly_failing"
        return
    failed = before[0] in _FAILING
    if fails:
        yield "still_failing" if failed else "newly_failing"
    elif failed and after[0] != Result.SKIPPED:
        yield "fixed"
    if after[1] >= _SLOWER * before[1] and after[1] - before[1] >= _NOTICED and before[0] != Result.SKIPPED:
        yield "slower"


def _gain(change: Change) -> int:
    return (change.head or (0, 0))[1] - (change.base or (0, 0))[1]


def _by_test(connection: sa.Connection, run_id: int) -> dict[int, tuple[int, int]]:
    found = results.results_of_run(connection, run_id)
    by_test: dict[int, tuple[int, int]] = {}
    for number, outcome, duration in zip(*found, strict=True):
        other = by_test.get(number)
        if other is None:
            by_test[number] = outcome, duration
        else:
            worse = max(outcome, other[0], key=_severity)
            by_test[number] = worse, max(duration, other[1])
    return by_test


def _severity(outcome: int) -> int:
    return _BY_SEVERITY.index(outcome)


_BY_SEVERITY = (Result.SKIPPED, Result.PASSED, Result.FLAKY, Result.FAILED, Result.ERROR)
