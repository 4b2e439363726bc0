"""Tests over many runs: how one fared, which are flaky, which are slow."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import islice
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from jux_server.store import results, schema
from jux_server.store.queries.names import named, names_of
from jux_server.store.queries.outcomes import FAILING, PASSING, Ended, endings_of_tests, worse
from jux_server.store.queries.projects import of_projects
from jux_server.store.schema import BAD, Result

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from jux_server.store.queries.projects import Visible

run, test, problem = schema.run, schema.test, schema.problem

_MOST_CANDIDATES = 300  # tests of a window of runs that are looked at closely, those that failed most often first
_IN_VAIN = 2_000  # runs without a test that its history looks into
_AT_ONCE = 250


class NamedTest(NamedTuple):
    """A test of a project."""

    id: int
    project_id: int
    classname: str
    name: str


class Execution(NamedTuple):
    """How a test ended in one run, and what was said of it."""

    run: sa.Row[Any]
    outcome: Result
    duration: int
    type: str = ""
    message: str = ""


class Figures(NamedTuple):
    """A test over some executions; durations are microseconds, and None where it never ran."""

    runs: int
    passed: int
    failed: int
    skipped: int
    flaky: int
    p50: int | None
    p95: int | None

    @property
    def reliability(self) -> float | None:
        """The share of executions that passed, skips left out; None where there is none."""
        ran = self.passed + self.failed
        return self.passed / ran if ran else None


class Flaky(NamedTuple):
    """A test that does not give the same answer to the same question.

    `switches` counts changes between passed and failed from one run of a branch to the next, `commits` those commits
    on which it both passed and failed, `retried` the runs in which it passed only when it was tried again.
    """

    test: NamedTest
    figures: Figures
    switches: int
    commits: int
    retried: int

    @property
    def score(self) -> float:
        """From 0 to 1, the higher the flakier: the share of runs that tell of it; a commit counts like two switches."""
        return min(1.0, (self.switches + 2 * self.commits + self.retried) / max(self.figures.runs, 1))


class Slow(NamedTuple):
    """A test that takes long."""

    test: NamedTest
    figures: Figures
    total: int


def window(connection: sa.Connection, project: int, branch: str | None, size: int) -> list[sa.Row[Any]]:
    """Return the newest runs of a project or of one of its branches, newest first."""
    chosen = sa.select(*_OF_RUN, run.c.slowest).where(run.c.project_id == project)
    if branch is not None:
        chosen = chosen.where(run.c.branch == branch)
    return list(connection.execute(chosen.order_by(run.c.id.desc()).limit(size)))


_OF_RUN = (run.c.id, run.c.public_id, run.c.branch, run.c.commit, run.c.is_dirty, run.c.received_at)


def find_test(connection: sa.Connection, visible: Visible, number: int) -> NamedTest | None:
    """Return a test by its number, None if there is none to see."""
    found = connection.execute(sa.select(*_TEST).where(test.c.id == number)).one_or_none()
    return NamedTest(*found) if found is not None and visible.names([found.project_id]) else None


_TEST = (test.c.id, test.c.project_id, test.c.classname, test.c.name)


def list_tests(
    connection: sa.Connection, projects: Collection[int] | None, text: str, *, after: int, limit: int
) -> tuple[list[NamedTest], int | None]:
    """Return tests of these projects (None: of all), in the order in which they were first seen, and the next ones."""
    column: sa.ColumnElement[int] = test.c.project_id
    if connection.dialect.name == "sqlite":
        column += 0  # its index would lead from row to row through the whole table, in the order of hashes
    chosen = sa.select(*_TEST).where(*of_projects(column, projects), test.c.id > after)
    if text:
        chosen = chosen.where(named(connection, text))
    rows = [NamedTest(*row) for row in connection.execute(chosen.order_by(test.c.id).limit(limit + 1))]
    return rows[:limit], rows[limit - 1].id if len(rows) > limit else None


def history(connection: sa.Connection, one: NamedTest, branch: str | None, limit: int) -> list[Execution]:
    """Return how a test ended in the newest runs that have it, newest first, in one branch or in all.

    Of a run that has it more than once, the worst result counts, with the longest time.
    """
    found = dict(islice(_endings(connection, one, branch), limit))
    columns = (problem.c.run_id, problem.c.outcome, problem.c.type, problem.c.message)
    bad = [run_id for run_id, (outcome, _) in found.items() if outcome != Result.PASSED]
    asked = sa.select(*columns).where(problem.c.run_id.in_(bad), problem.c.test_id == one.id)
    said = {(run_id, outcome): (kind, message) for run_id, outcome, kind, message in connection.execute(asked)}
    of_runs: sa.Select[Any] = sa.select(*_OF_RUN).where(run.c.id.in_(list(found))).order_by(run.c.id.desc())
    return [
        Execution(row, Result(outcome), duration, *said.get((row.id, outcome), ()))
        for row in connection.execute(of_runs)
        for outcome, duration in [found[row.id]]
    ]


def _endings(connection: sa.Connection, one: NamedTest, branch: str | None) -> Iterator[tuple[int, Ended]]:
    """Give the runs that have a test, newest first, as far as it is worth looking, and how it ended there."""
    table = schema.results.c
    block, offset = divmod(one.id, results.BLOCK)
    # Neighbouring numbers may be other projects' tests: their runs are none of this test's.
    asked = sa.select(table.run_id, table.content).where(table.block == block)
    if branch is None:
        of_project = sa.exists().where(run.c.id == table.run_id, run.c.project_id == one.project_id)
        asked = asked.where(of_project)
    else:
        of_branch = sa.select(run.c.id).where(run.c.project_id == one.project_id, run.c.branch == branch)
        asked = asked.where(table.run_id.in_(of_branch))
    asked = asked.order_by(table.run_id.desc()).limit(_AT_ONCE)
    before, in_vain = None, 0
    while in_vain < _IN_VAIN:
        rows = list(connection.execute(asked if before is None else asked.where(table.run_id < before)))
        for run_id, content in rows:
            entries = results.unpack(content)
            ended: Ended | None = None
            at = entries.offsets.find(offset)
            while at >= 0:
                result = entries.outcomes[at], entries.durations[at]
                ended = result if ended is None else worse(ended, result)
                at = entries.offsets.find(offset, at + 1)
            if ended is None:
                in_vain += 1
            else:
                yield run_id, ended
        if len(rows) < _AT_ONCE:
            return
        before = rows[-1].run_id


def figures_of(executions: Iterable[tuple[int, int]]) -> Figures:
    """Return the figures of executions, each an outcome and a duration."""
    pairs = list(executions)
    counts = Counter(outcome for outcome, _ in pairs)
    ran = sorted(duration for outcome, duration in pairs if outcome != Result.SKIPPED)
    failed = counts[Result.FAILED] + counts[Result.ERROR]
    passed = counts[Result.PASSED] + counts[Result.FLAKY]
    p50 = round(median(ran)) if ran else None
    p95 = ran[min(len(ran) - 1, -(-95 * len(ran) // 100) - 1)] if ran else None
    return Figures(len(pairs), passed, failed, counts[Result.SKIPPED], counts[Result.FLAKY], p50, p95)


def flaky_tests(connection: sa.Connection, project: int, runs: Sequence[sa.Row[Any]], *, limit: int) -> list[Flaky]:
    """Return the tests that were flaky within these runs, the flakiest first.

    Only tests that failed or were retried are looked at, so that it takes as long as there are failures.
    """
    by_id = {row.id: row for row in runs}
    bad = sa.and_(problem.c.run_id.in_(list(by_id)), problem.c.outcome.in_([int(one) for one in BAD]))
    counted = sa.select(problem.c.test_id).where(bad).group_by(problem.c.test_id)
    candidates = list(
        connection.execute(
            counted.order_by(sa.func.count().desc(), problem.c.test_id).limit(_MOST_CANDIDATES)
        ).scalars()
    )
    found = endings_of_tests(connection, candidates, list(by_id))
    names = names_of(connection, candidates)
    rows = [
        _flaky(NamedTest(number, project, *names.get(number, ("", ""))), found[number], by_id) for number in candidates
    ]
    flaky = [one for one in rows if one is not None]
    return sorted(flaky, key=lambda one: (-one.score, one.test.id))[:limit]


def _flaky(info: NamedTest, found: dict[int, Ended], runs: dict[int, sa.Row[Any]]) -> Flaky | None:
    """Look closely at one test; None if it is not flaky. A branch that switched once has its code changed, no more."""
    branches: dict[str | None, bool] = {}
    commits: dict[str, set[bool]] = defaultdict(set)
    switched: Counter[str | None] = Counter()
    for run_id in sorted(found):
        outcome, _ = found[run_id]
        if outcome not in FAILING | PASSING:
            continue
        at, failed = runs[run_id], outcome in FAILING
        switched[at.branch] += branches.get(at.branch, failed) != failed
        branches[at.branch] = failed
        if at.commit and not at.is_dirty:
            commits[at.commit].add(failed)
    differing = sum(len(seen) > 1 for seen in commits.values())
    figures = figures_of(found.values())
    if differing or figures.flaky or any(times > 1 for times in switched.values()):
        return Flaky(info, figures, switched.total(), differing, figures.flaky)
    return None


def slowest_tests(connection: sa.Connection, project: int, runs: Sequence[sa.Row[Any]], *, limit: int) -> list[Slow]:
    """Return the tests that take longest at the median of these runs; candidates are the slowest of each run."""
    counted = Counter(number for row in runs for number in results.unpack_numbers(row.slowest))
    candidates = [number for number, _ in counted.most_common(_MOST_CANDIDATES)]
    found = endings_of_tests(connection, candidates, [row.id for row in runs])
    names = names_of(connection, candidates)
    rows = []
    for number in candidates:
        figures = figures_of(found[number].values())
        if figures.p50 is not None:
            total = sum(duration for _, duration in found[number].values())
            rows.append(Slow(NamedTest(number, project, *names.get(number, ("", ""))), figures, total))
    return sorted(rows, key=lambda row: (-(row.figures.p50 or 0), row.test.id))[:limit]
