"""What several results of one test come to, the same wherever they are looked at."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from jux_server.store.schema import Result

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jux_server.store.results import Found

FAILING = frozenset({int(Result.FAILED), int(Result.ERROR)})
PASSING = frozenset({int(Result.PASSED), int(Result.FLAKY)})

Ended = tuple[int, int]  # outcome, duration in microseconds

_BY_SEVERITY = (Result.SKIPPED, Result.PASSED, Result.FLAKY, Result.FAILED, Result.ERROR)
_SEVERITY = {int(outcome): rank for rank, outcome in enumerate(_BY_SEVERITY)}


def worse(one: Ended, other: Ended) -> Ended:
    """Return what counts for a test that a run has twice: the worse outcome, and the longer time."""
    return max(one[0], other[0], key=_SEVERITY.__getitem__), max(one[1], other[1])


def by_test(found: Iterable[Found]) -> dict[int, dict[int, Ended]]:
    """Return one result for each test and run: test number -> run number -> how it ended."""
    tests: dict[int, dict[int, Ended]] = defaultdict(dict)
    for run_id, test_id, _, outcome, duration in found:
        runs = tests[test_id]
        known = runs.get(run_id)
        runs[run_id] = (outcome, duration) if known is None else worse(known, (outcome, duration))
    return tests
