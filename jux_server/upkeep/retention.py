"""Which reports are kept, and how the others go."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from jux_server.errors import Unknown
from jux_server.store import results, schema
from jux_server.store.database import now
from jux_server.store.queries.projects import visible_projects
from jux_server.store.queries.runs import find_run as find_visible_run
from jux_server.upkeep.records import record
from jux_server.upkeep.space import give_back, size_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jux_server.store.database import Database

_DAY = 86_400_000_000  # microseconds
_KEPT_EVENTS = 90 * _DAY
_AT_ONCE = 50  # runs that one transaction deletes, so that nobody waits long for the next
_EVENTS_AT_ONCE = 5_000

run, project, document = schema.run, schema.project, schema.document


class Retention(NamedTuple):
    """How long reports are kept: `days`, and how many `runs` of each branch; None means for ever, and all."""

    days: int | None = None
    runs: int | None = None


class Pruned(NamedTuple):
    """What was deleted, or would be: `bytes` of reports as they are stored, `freed_bytes` of the database's size."""

    runs: int
    documents: int
    bytes: int
    tests: int
    events: int
    freed_bytes: int
    by_project: dict[str, int]


def prune(database: Database, default: Retention, *, dry_run: bool = False, at: int | None = None) -> Pruned:
    """Delete the reports that need not be kept, each with all that belongs to it, and give their space back.

    A project's own retention counts, else `default`. Pinned reports stay, and the newest of each branch. `at` is the
    time to judge ages by, in microseconds. A server that takes reports in meanwhile has to wait for moments only.
    """
    time = now() if at is None else at
    with database.read() as connection:
        projects = list(connection.execute(sa.select(project)))
        doomed = {row.id: list(_doomed(connection, row, default, time)) for row in projects}
        if dry_run:
            planned = {row.name: len(doomed[row.id]) for row in projects if doomed[row.id]}
            documents, size = _weigh(connection, [number for numbers in doomed.values() for number in numbers])
            return Pruned(sum(planned.values()), documents, size, 0, 0, 0, planned)
    before = size_of(database)
    found: Counter[str] = Counter()
    documents = size = tests = 0
    for row in projects:
        for start in range(0, len(doomed[row.id]), _AT_ONCE):
            with database.write() as connection:
                mine = _held(connection, doomed[row.id][start : start + _AT_ONCE])
                count, weight = _weigh(connection, mine)
                _delete_runs(connection, mine)
            found[row.name] += len(mine)
            documents, size = documents + count, size + weight
        if doomed[row.id]:
            tests += _delete_unused_tests(database, row.id)
    events = _delete_events(database, time - _KEPT_EVENTS)
    if found or events:
        give_back(database)
    freed = max(0, before - size_of(database))
    pruned = Pruned(found.total(), documents, size, tests, events, freed, {name: n for name, n in found.items() if n})
    with database.write() as connection:
        record(connection, "prune", time, pruned._asdict())
    return pruned


def _doomed(connection: sa.Connection, row: sa.Row[Any], default: Retention, time: int) -> Iterator[int]:
    days = default.days if row.keep_days is None else row.keep_days
    most = default.runs if row.keep_runs is None else row.keep_runs
    if days is None and most is None:
        return
    columns = (run.c.id, run.c.branch, run.c.received_at, run.c.is_pinned)
    seen: Counter[str | None] = Counter()
    for number, branch, received_at, is_pinned in connection.execute(
        sa.select(*columns).where(run.c.project_id == row.id).order_by(run.c.id.desc())
    ):
        seen[branch] += 1
        is_old = days is not None and received_at < time - days * _DAY
        is_one_too_many = most is not None and seen[branch] > most
        if seen[branch] > 1 and not is_pinned and (is_old or is_one_too_many):
            yield number


def _weigh(connection: sa.Connection, numbers: Sequence[int]) -> tuple[int, int]:
    documents = size = 0
    for start in range(0, len(numbers), 500):
        portion = document.c.run_id.in_(numbers[start : start + 500])
        query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(sa.func.length(document.c.content)), 0))
        count, weight = connection.execute(query.where(portion)).one()
        documents, size = documents + count, size + int(weight)
    return documents, size


def _held(connection: sa.Connection, numbers: Sequence[int]) -> list[int]:
    """Return those of the runs that may still go, and let nobody change them until the end of the transaction.

    A pin counts that came meanwhile, and who adds a signature to one of them waits.
    """
    chosen = sa.select(run.c.id).where(run.c.id.in_(numbers), run.c.is_pinned.is_(False))
    # In this order, so that nobody who holds several waits for one of these while this waits for one of his.
    return list(connection.execute(chosen.order_by(run.c.id).with_for_update()).scalars())


def _delete_runs(connection: sa.Connection, numbers: Sequence[int]) -> None:
    for table in (schema.problem, schema.results, schema.suite, schema.tag, document):
        connection.execute(sa.delete(table).where(table.c.run_id.in_(numbers)))
    connection.execute(sa.delete(run).where(run.c.id.in_(numbers)))


def _delete_unused_tests(database: Database, project_id: int) -> int:
    """Delete the names of tests that no run has any more, a block of them in a transaction.

    Whoever takes a report in refers to the project's row, so that it is done before this or begins after it; the new
    generation tells it to forget the numbers that it knew.
    """
    of_project = sa.select(schema.test.c.id).where(schema.test.c.project_id == project_id)
    with database.read() as connection:
        blocks = sorted({number // results.BLOCK for number in connection.execute(of_project).scalars()})
    deleted = 0
    for block in blocks:
        with database.read() as connection:
            if not _unused_tests(connection, project_id, block):
                continue
        with database.write() as connection:
            connection.execute(sa.select(project.c.id).where(project.c.id == project_id).with_for_update())
            unused = _unused_tests(connection, project_id, block)  # a report may have come that has them
            if unused:
                connection.execute(sa.delete(schema.test).where(schema.test.c.id.in_(unused)))
                newer = {"generation": project.c.generation + 1}
                connection.execute(sa.update(project).where(project.c.id == project_id).values(newer))
        deleted += len(unused)
    return deleted


def _unused_tests(connection: sa.Connection, project_id: int, block: int) -> list[int]:
    first = block * results.BLOCK
    chosen = sa.select(schema.test.c.id).where(schema.test.c.id.between(first, first + results.BLOCK - 1))
    numbers = set(connection.execute(chosen.where(schema.test.c.project_id == project_id)).scalars())
    for _, used in results.test_numbers_in_use(connection, [block]):
        numbers -= used
    return sorted(numbers)


def _delete_events(database: Database, before: int) -> int:
    """Delete what happened before that time, some at once."""
    event = schema.event
    old = sa.select(event.c.id).where(event.c.at < before).order_by(event.c.at).limit(_EVENTS_AT_ONCE)
    deleted = 0
    while True:
        with database.write() as connection:
            count = connection.execute(sa.delete(event).where(event.c.id.in_(old.scalar_subquery()))).rowcount
        deleted += count
        if count < _EVENTS_AT_ONCE:
            return deleted


def find_run(connection: sa.Connection, name: str) -> sa.Row[Any]:
    """Return the run with this id or hash, which may be abbreviated.

    Raises:
        Unknown: there is none.
        Refused: several can be meant.
    """
    found = find_visible_run(connection, visible_projects(connection, lambda _: True), name)
    if found is None:
        raise Unknown("report", name, "Give its id, or at least 8 digits of its hash.")
    return found


def set_pinned(database: Database, name: str, *, pinned: bool) -> sa.Row[Any]:
    """Let a report stay whatever is pruned, or not any more, and return it; raises as `find_run`."""
    with database.write() as connection:
        found = find_run(connection, name)
        connection.execute(sa.update(run).where(run.c.id == found.id).values(is_pinned=pinned))
    return found
