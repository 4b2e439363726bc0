"""What went wrong in a run, without unpacking what went well."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from jux_server.store.queries.cases import CaseRow, text_of
from jux_server.store.queries.names import names_of
from jux_server.store.queries.outcomes import FAILING, endings_of_tests
from jux_server.store.schema import BAD, Result, problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jux_server.store.queries.outcomes import Ended

_BAD = problem.c.outcome.in_([int(one) for one in BAD])


class Past(NamedTuple):
    """A test over some runs, newest first: how it ended in each, None where it did not run.

    `failing` counts the runs in which it failed since it last passed, `since` is the index of the first of them.
    `is_longer`: it passed in none of these runs, so that it may have begun to fail before.
    """

    endings: list[Ended | None]
    failing: int
    since: int
    is_longer: bool

    @property
    def ran(self) -> int:
        """The number of runs in which it came to an end."""
        return sum(ended is not None and ended[0] != Result.SKIPPED for ended in self.endings)

    @property
    def failed(self) -> int:
        """The number of runs in which it failed."""
        return sum(ended is not None and ended[0] in FAILING for ended in self.endings)

    @property
    def is_new(self) -> bool:
        """Whether it passed when it ran the last time before the newest run."""
        return self.failing == 1 and self.since == 0 and not self.is_longer


class Cause(NamedTuple):
    """Failures of a run whose messages differ in numbers and addresses only; `position` is that of the first case."""

    times: int
    position: int
    test_id: int
    classname: str
    name: str
    type: str
    message: str


def list_failures(connection: sa.Connection, run_id: int, *, start: int = 0, limit: int = 25) -> list[CaseRow]:
    """Return the cases of a run that failed, in the order of the report, then those that passed only when retried.

    Their durations are not said here.
    """
    columns = (
        *(problem.c.position, problem.c.test_id, problem.c.outcome, problem.c.type, problem.c.message),
        *(problem.c.details, problem.c.is_shortened),
    )
    chosen = sa.select(*columns).where(problem.c.run_id == run_id, _BAD)
    in_order = chosen.order_by(problem.c.outcome == int(Result.FLAKY), problem.c.position)
    rows = list(connection.execute(in_order.offset(start).limit(limit)))
    names = names_of(connection, {row.test_id for row in rows})
    return [
        CaseRow(
            row.position,
            row.test_id,
            *names.get(row.test_id, ("", "")),
            Result(row.outcome),
            0,
            row.type,
            row.message,
            text_of(row.details),
            row.is_shortened,
        )
        for row in rows
    ]


def unique_errors(
    connection: sa.Connection, run_id: int, *, start: int = 0, limit: int = 50
) -> tuple[list[Cause], int | None]:
    """Return what failures of a run have in common, the most frequent first, and where the next ones begin."""
    failing = sa.and_(problem.c.run_id == run_id, problem.c.outcome.in_(sorted(FAILING)))
    count, first = sa.func.count(), sa.func.min(problem.c.position)
    counted = sa.select(count.label("times"), first.label("position")).where(failing).group_by(problem.c.kind)
    page = counted.order_by(count.desc(), first).offset(start).limit(limit + 1).subquery()
    columns = (problem.c.test_id, problem.c.type, problem.c.message)
    joined = sa.and_(problem.c.run_id == run_id, problem.c.position == page.c.position)
    chosen = sa.select(page, *columns).join(problem, joined).order_by(page.c.times.desc(), page.c.position)
    rows = list(connection.execute(chosen))
    names = names_of(connection, {row.test_id for row in rows[:limit]})
    causes = [
        Cause(row.times, row.position, row.test_id, *names.get(row.test_id, ("", "")), row.type, row.message)
        for row in rows[:limit]
    ]
    return causes, start + limit if len(rows) > limit else None


def pasts_of(connection: sa.Connection, test_ids: Sequence[int], run_ids: Sequence[int]) -> Mapping[int, Past]:
    """Return how tests ended in some runs, which are given newest first."""
    found = endings_of_tests(connection, test_ids, run_ids)
    return {number: _past([found[number].get(run_id) for run_id in run_ids]) for number in test_ids}


def _past(endings: list[Ended | None]) -> Past:
    failing = since = 0
    for at, ended in enumerate(endings):
        if ended is None or ended[0] == Result.SKIPPED:
            continue
        if ended[0] not in FAILING:
            return Past(endings, failing, since, is_longer=False)
        failing, since = failing + 1, at
    return Past(endings, failing, since, is_longer=failing > 0)
