"""What several results of one test come to, the same wherever they are looked at."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from jux_server.store import results
from jux_server.store.schema import Result

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import sqlalchemy as sa

FAILING = frozenset({int(Result.FAILED), int(Result.ERROR)})
PASSING = frozenset({int(Result.PASSED), int(Result.FLAKY)})

Ended = tuple[int, int]  # outcome, duration in microseconds

_BY_SEVERITY = (Result.SKIPPED, Result.PASSED, Result.FLAKY, Result.FAILED, Result.ERROR)
_SEVERITY = {int(outcome): rank for rank, outcome in enumerate(_BY_SEVERITY)}


def worse(one: Ended, other: Ended) -> Ended:
    """Return what counts for a test that a run has twice: the worse outcome, and the longer time."""
    return max(one[0], other[0], key=_SEVERITY.__getitem__), max(one[1], other[1])


def endings_of_tests(
    connection: sa.Connection, test_ids: Collection[int], run_ids: Sequence[int]
) -> dict[int, dict[int, Ended]]:
    """Return one result for each test and run: test number -> run number -> how it ended."""
    tests: dict[int, dict[int, Ended]] = defaultdict(dict)
    for block, run_id, content, wanted in results.blocks_of_tests(connection, test_ids, run_ids):
        offsets, outcomes, durations = results.unpack_endings(content)
        start = block * results.BLOCK
        for offset in wanted:
            at = offsets.find(offset)
            while at >= 0:
                runs, ended = tests[start + offset], (outcomes[at], durations[at])
                runs[run_id] = worse(runs[run_id], ended) if run_id in runs else ended
                at = offsets.find(offset, at + 1)
    return tests
