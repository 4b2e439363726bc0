"""Which reports are kept, and how the others go."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from jux_server.errors import Unknown
from jux_server.store import results, schema
from jux_server.store.database import now
from jux_server.store.queries.projects import visible_projects
from jux_server.store.queries.runs import find_run as find_visible_run
from jux_server.upkeep.records import record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jux_server.store.database import Database

_DAY = 86_400_000_000  # microseconds
_KEPT_EVENTS = 90 * _DAY
_AT_ONCE = 50  # runs that one transaction deletes, so that nobody waits long for the next
_PAGES = 2_000  # of a SQLite file that are given back at once

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
        rows = list(connection.execute(sa.select(project)))
        doomed = {row.id: list(_doomed(connection, row, default, time)) for row in rows}
        found = Counter({row.name: len(doomed[row.id]) for row in rows if doomed[row.id]})
        documents, size = _weigh(connection, [number for numbers in doomed.values() for number in numbers])
    if dry_run:
        return Pruned(sum(found.values()), documents, size, 0, 0, 0, dict(found))
    before = size_of(database)
    tests = 0
    for project_id, numbers in doomed.items():
        for start in range(0, len(numbers), _AT_ONCE):
            with database.write() as connection:
                _delete_runs(connection, numbers[start : start + _AT_ONCE])
        if numbers:
            with database.write() as connection:
                tests += _delete_unused_tests(connection, project_id)
    old = schema.event.c.at < time - _KEPT_EVENTS
    with database.write() as connection:
        events = connection.execute(sa.delete(schema.event).where(old)).rowcount
    if found or events:
        _give_back(database)
    freed = max(0, before - size_of(database))
    pruned = Pruned(sum(found.values()), documents, size, tests, events, freed, dict(found))
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


def _delete_runs(connection: sa.Connection, numbers: Sequence[int]) -> None:
    # Who adds a signature to one of them holds it, and a pin that came meanwhile counts.
    chosen = sa.select(run.c.id).where(run.c.id.in_(numbers), run.c.is_pinned.is_(False)).with_for_update()
    mine = list(connection.execute(chosen).scalars())
    for table in (schema.problem, schema.results, schema.suite, schema.tag, document):
        connection.execute(sa.delete(table).where(table.c.run_id.in_(mine)))
    connection.execute(sa.delete(run).where(run.c.id.in_(mine)))


def _delete_unused_tests(connection: sa.Connection, project_id: int) -> int:
    """Delete the names of tests that no run has any more.

    Whoever takes a report in refers to the project's row, so that it is done before this or begins after it; the new
    generation tells it to forget the numbers that it knew.
    """
    connection.execute(sa.select(project.c.id).where(project.c.id == project_id).with_for_update())
    numbers = set(
        connection.execute(sa.select(schema.test.c.id).where(schema.test.c.project_id == project_id)).scalars()
    )
    used: set[int] = set()
    for _, found in results.test_numbers_in_use(connection, {number // results.BLOCK for number in numbers}):
        used |= found
    unused = sorted(numbers - used)
    for start in range(0, len(unused), 500):
        connection.execute(sa.delete(schema.test).where(schema.test.c.id.in_(unused[start : start + 500])))
    if unused:
        newer = {"generation": project.c.generation + 1}
        connection.execute(sa.update(project).where(project.c.id == project_id).values(newer))
    return len(unused)


def _give_back(database: Database) -> None:
    """Give the space of deleted rows back: to the system by SQLite, to later rows by PostgreSQL."""
    if not database.is_sqlite:
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for table in ("run", "document", "results", "problem", "suite", "test", "event"):
                connection.exec_driver_sql(f"VACUUM (ANALYZE) {table}")
        return
    # Outside of transactions, as a checkpoint has to be; and as a script, because Python takes one step only of a
    # statement that has no columns, which is one page here.
    with closing(database.engine.raw_connection()) as raw:
        driver: Any = raw.driver_connection
        free = _PAGES
        while free >= _PAGES:
            driver.executescript(f"PRAGMA incremental_vacuum({_PAGES})")
            free = driver.execute("PRAGMA freelist_count").fetchone()[0]
        # Without waiting for readers, because writers would have to wait as long; what is left, the next one does.
        driver.execute("PRAGMA busy_timeout = 200")
        try:
            driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            driver.execute("PRAGMA busy_timeout = 60000")


def size_of(database: Database) -> int:
    """Return the bytes that a database takes."""
    if not database.is_sqlite:
        with database.read() as connection:
            return int(connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one())
    with database.read() as connection:
        pages = int(connection.exec_driver_sql("PRAGMA page_count").scalar_one())
        return pages * int(connection.exec_driver_sql("PRAGMA page_size").scalar_one())


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
