"""Tests against runs: those that went wrong first, a page at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from jux_server.store import results, schema
from jux_server.store.queries.names import names_of, numbers_named
from jux_server.store.queries.outcomes import endings_of_tests
from jux_server.store.schema import BAD, problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jux_server.store.queries.outcomes import Ended

_MOST_BAD = 2_000  # tests with failures that come first


class GridRow(NamedTuple):
    """A test and how it ended in each of the runs, newest first; None where it did not run."""

    test_id: int
    classname: str
    name: str
    endings: list[Ended | None]


class Grid(NamedTuple):
    """A page of the grid; `next` is where the following one begins, `total` counts the tests of all pages."""

    rows: list[GridRow]
    next: int | None
    total: int


def grid_of(connection: sa.Connection, run_ids: Sequence[int], text: str, *, start: int, limit: int) -> Grid:
    """Return tests over some runs, which are given newest first.

    First come the tests that failed or were retried in any of them, those that did so last and most often before the
    others, then all other tests of the newest run in the order in which they were first seen.
    """
    if not run_ids:
        return Grid([], None, 0)
    bad = _bad_tests(connection, run_ids)
    others = sorted(_tests_of(connection, run_ids[0]).difference(bad))
    chosen = bad + others
    if text:
        wanted = _named(connection, text, chosen)
        chosen = [number for number in chosen if number in wanted]
    page = chosen[start : start + limit]
    names = names_of(connection, page)
    found = endings_of_tests(connection, page, run_ids)
    rows = [
        GridRow(number, *names.get(number, ("", "")), [found.get(number, {}).get(run_id) for run_id in run_ids])
        for number in page
    ]
    return Grid(rows, start + limit if len(chosen) > start + limit else None, len(chosen))


def _bad_tests(connection: sa.Connection, run_ids: Sequence[int]) -> list[int]:
    bad = sa.and_(problem.c.run_id.in_(run_ids), problem.c.outcome.in_([int(one) for one in BAD]))
    counted = sa.select(problem.c.test_id).where(bad).group_by(problem.c.test_id)
    last, times = sa.func.max(problem.c.run_id), sa.func.count()
    ordered = counted.order_by(last.desc(), times.desc(), problem.c.test_id).limit(_MOST_BAD)
    return list(connection.execute(ordered).scalars())


def _tests_of(connection: sa.Connection, run_id: int) -> set[int]:
    table = schema.results.c
    found: set[int] = set()
    for block, content in connection.execute(sa.select(table.block, table.content).where(table.run_id == run_id)):
        start = block * results.BLOCK
        found.update(map(start.__add__, results.unpack_endings(content)[0]))
    return found


def _named(connection: sa.Connection, text: str, numbers: Sequence[int]) -> set[int]:
    found = numbers_named(connection, text, {number // results.BLOCK for number in numbers})
    return {block * results.BLOCK + offset for block, offsets in found.items() for offset in offsets}


class Failure(NamedTuple):
    """Failures of one test whose messages differ in numbers and addresses only; runs by their numbers."""

    times: int
    type: str
    message: str
    first_run: int
    last_run: int
    position: int  # of the case in the last of the runs


def failures_of_test(connection: sa.Connection, test_id: int, run_ids: Sequence[int]) -> list[Failure]:
    """Return how a test failed in some runs, what came last first."""
    columns = (problem.c.run_id, problem.c.position, problem.c.kind, problem.c.type, problem.c.message)
    bad = problem.c.outcome.in_([int(one) for one in BAD])
    chosen = sa.select(*columns).where(problem.c.run_id.in_(run_ids), problem.c.test_id == test_id, bad)
    found: dict[int, Failure] = {}
    for row in connection.execute(chosen.order_by(problem.c.run_id, problem.c.position)):
        known = found.pop(row.kind, None)
        times, first = (1, row.run_id) if known is None else (known.times + 1, known.first_run)
        found[row.kind] = Failure(times, row.type, row.message, first, row.run_id, row.position)
    return list(reversed(found.values()))


def positions_of(connection: sa.Connection, test_id: int, run_ids: Sequence[int]) -> Mapping[int, int]:
    """Return where a test is in the reports of some runs: run -> position of its first case."""
    found: dict[int, int] = {}
    for one in results.results_of_tests(connection, [test_id], run_ids):
        found[one.run_id] = min(one.position, found.get(one.run_id, one.position))
    return found
