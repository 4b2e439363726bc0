"""Runs: lists of them, one of them, its documents, its suites."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa

from jux_server.errors import Refused
from jux_server.store import schema
from jux_server.store.queries.containing import Containing
from jux_server.store.queries.projects import of_projects

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from jux_server.store.queries.projects import Visible
    from jux_server.store.schema import State, Verdict

LEAST_DIGITS = 8  # of a hash that is abbreviated
_LOOKED_AT = 500  # runs that one page of a search for test names looks into
_AT_ONCE = 50
_DIGITS = 64

run, document, suite, tag = schema.run, schema.document, schema.suite, schema.tag
_LISTED = [column for column in run.c if column.name not in {"facts", "slowest"}]


class Filter(NamedTuple):
    """Which runs are asked for; what is None or empty does not matter. Times are microseconds."""

    branch: str | None = None
    commit: str | None = None  # or its beginning
    verdict: Verdict | None = None
    state: State | None = None
    signer: str | None = None
    tags: Sequence[str] = ()
    since: int | None = None
    until: int | None = None
    text: str = ""  # in the names of its tests


class Page(NamedTuple):
    """Some rows, and where the next ones begin; None: there are no more."""

    rows: list[sa.Row[Any]]
    next: int | None


def list_runs(
    connection: sa.Connection, projects: Collection[int] | None, wanted: Filter, *, before: int | None, limit: int
) -> Page:
    """Return runs of these projects (None: of all), newest first, from the one before the number `before`."""
    if wanted.text:
        return _with_tests(connection, projects, wanted, before, limit)
    rows = _newest(connection, projects, wanted, before, limit + 1)
    return Page(rows[:limit], rows[limit - 1].id if len(rows) > limit else None)


def count_runs(connection: sa.Connection, projects: Collection[int] | None, wanted: Filter) -> int:
    """Return how many runs a filter without `text` finds."""
    asked = sa.select(sa.func.count()).select_from(run).where(*_conditions(projects, wanted))
    return int(connection.execute(asked).scalar_one())


def count_newer(
    connection: sa.Connection, projects: Collection[int] | None, wanted: Filter, after: int, *, most: int = 100
) -> int:
    """Return how many runs a filter without `text` finds that came after the run of that number, at most `most`."""
    newer = sa.select(run.c.id).where(*_conditions(projects, wanted), run.c.id > after).limit(most).subquery()
    return int(connection.execute(sa.select(sa.func.count()).select_from(newer)).scalar_one())


def sorted_runs(
    connection: sa.Connection,
    projects: Collection[int] | None,
    wanted: Filter,
    order: Sequence[sa.ColumnElement[Any]],
    *,
    offset: int,
    limit: int,
) -> list[sa.Row[Any]]:
    """Return one page of the runs that a filter finds, in another order than that of their arrival."""
    numbers = sa.select(run.c.id).where(*_conditions(projects, wanted)).order_by(*order, run.c.id.desc())
    return _rows(connection, numbers.offset(offset).limit(limit), [*order, run.c.id.desc()])


def _newest(
    connection: sa.Connection, projects: Collection[int] | None, wanted: Filter, before: int | None, limit: int
) -> list[sa.Row[Any]]:
    numbers = sa.select(run.c.id).where(*_conditions(projects, wanted))
    if before is not None:
        numbers = numbers.where(run.c.id < before)
    return _rows(connection, numbers.order_by(run.c.id.desc()).limit(limit), [run.c.id.desc()])


def _rows(
    connection: sa.Connection, numbers: sa.Select[tuple[int]], order: Sequence[sa.ColumnElement[Any]]
) -> list[sa.Row[Any]]:
    """Return the runs with these numbers: where the numbers have to be sorted, whole rows need not go along."""
    return list(connection.execute(sa.select(*_LISTED).where(run.c.id.in_(numbers)).order_by(*order)))


def _conditions(projects: Collection[int] | None, wanted: Filter) -> list[sa.ColumnElement[bool]]:
    # The sum keeps SQLite from going through a project's runs where the few runs of a commit have an index.
    column = run.c.project_id if wanted.commit is None else run.c.project_id + 0
    conditions = of_projects(column, projects)
    if wanted.branch is not None:
        conditions.append(run.c.branch == wanted.branch)
    if wanted.commit is not None:
        conditions.append(_of_commit(wanted.commit))
    if wanted.verdict is not None:
        conditions.append(run.c.verdict == int(wanted.verdict))
    if wanted.state is not None:
        conditions.append(run.c.state == int(wanted.state))
    if wanted.signer is not None:
        conditions.append(run.c.signer == wanted.signer)
    if wanted.since is not None:
        conditions.append(run.c.received_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(run.c.received_at < wanted.until)
    conditions += [sa.exists().where(tag.c.run_id == run.c.id, tag.c.name == name) for name in wanted.tags]
    return conditions


def _of_commit(beginning: str) -> sa.ColumnElement[bool]:
    """Return the condition that a run's commit begins like this, such that an index finds it.

    Databases sort texts in many ways, but all of them the digits of a hash alike: so a range is searched for them, and
    compared exactly.
    """
    same = sa.func.substr(run.c.commit, 1, len(beginning)) == beginning
    if not re.fullmatch(r"[0-9a-f]+", beginning):
        return same
    end = beginning[:-1] + _NEXT_DIGIT[beginning[-1]]
    return sa.and_(run.c.commit >= beginning, run.c.commit < end, same)


_NEXT_DIGIT = dict(zip("0123456789abcdef", "123456789abcdefg", strict=True))


def _with_tests(
    connection: sa.Connection, projects: Collection[int] | None, wanted: Filter, before: int | None, limit: int
) -> Page:
    """Return the next runs that have a test whose name has a text in it; a page may be short where there are few."""
    containing = Containing(connection, wanted.text)
    found: list[sa.Row[Any]] = []
    for _ in range(_LOOKED_AT // _AT_ONCE):
        rows = _newest(connection, projects, wanted, before, _AT_ONCE)
        have = containing.of([row.id for row in rows])
        for row in rows:
            before = row.id
            if row.id in have:
                found.append(row)
            if len(found) == limit:
                return Page(found, before)
        if len(rows) < _AT_ONCE:
            return Page(found, None)
    return Page(found, before)


# --- one run ---------------------------------------------------------------------------------------------------------


def find_run(connection: sa.Connection, visible: Visible, name: str, project: int | None = None) -> sa.Row[Any] | None:
    """Return the run with this id or canonical hash, which may be abbreviated; None if there is none to see.

    Raises:
        Refused: several runs can be meant.
    """
    condition = _named_by(name)
    if condition is None:
        return None
    among = of_projects(run.c.project_id, visible.numbers if project is None else [project])
    rows = list(connection.execute(sa.select(run).where(condition, *among).limit(2)))
    if len(rows) > 1:
        where = "; name its project" if rows[0].hash == rows[1].hash else "; give more of its digits"
        raise Refused(f"several reports can be meant by {name[:80]}{where}")
    return rows[0] if rows else None


def _named_by(name: str) -> sa.ColumnElement[bool] | None:
    digits = name.removeprefix("sha256:").lower()
    if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", digits):
        return run.c.public_id == UUID(digits)
    if not re.fullmatch(rf"[0-9a-f]{{{LEAST_DIGITS},{_DIGITS}}}", digits):
        return None
    low = bytes.fromhex(digits.ljust(_DIGITS, "0"))
    high = bytes.fromhex(digits.ljust(_DIGITS, "f"))
    return run.c.hash.between(low, high)


def documents_of(connection: sa.Connection, run_id: int) -> list[sa.Row[Any]]:
    """Return what is known of the documents of a run, the best first and without their bytes."""
    columns = [column for column in document.c if column.name != "content"]
    chosen = (
        sa.select(*columns, schema.api_key.c.name.label("key_name"))
        .outerjoin(schema.api_key, schema.api_key.c.id == document.c.key_id)
        .where(document.c.run_id == run_id)
    )
    return list(connection.execute(chosen.order_by(document.c.state.desc(), document.c.id)))


def content_of(connection: sa.Connection, document_id: int) -> bytes:
    """Return the packed bytes of a document."""
    return bytes(connection.execute(sa.select(document.c.content).where(document.c.id == document_id)).scalar_one())


def tags_of(connection: sa.Connection, run_ids: Sequence[int]) -> dict[int, list[str]]:
    """Return the tags of some runs."""
    found: dict[int, list[str]] = {}
    for run_id, name in connection.execute(
        sa.select(tag.c.run_id, tag.c.name).where(tag.c.run_id.in_(run_ids)).order_by(tag.c.name)
    ):
        found.setdefault(run_id, []).append(name)
    return found


def suites_of(connection: sa.Connection, run_id: int) -> list[sa.Row[Any]]:
    """Return the suites of a run, outer before inner."""
    return list(connection.execute(sa.select(suite).where(suite.c.run_id == run_id).order_by(suite.c.position)))


def suites_in(
    connection: sa.Connection, run_id: int, parent: int | None, *, start: int = 0, limit: int = 100
) -> list[sa.Row[Any]]:
    """Return the suites directly in another one, which is given by its position, or the outermost (None)."""
    inside = suite.c.parent.is_(None) if parent is None else suite.c.parent == parent
    chosen = sa.select(suite).where(suite.c.run_id == run_id, inside).order_by(suite.c.position)
    return list(connection.execute(chosen.offset(start).limit(limit)))


class Whole(NamedTuple):
    """What a suite has with all suites in it: cases, and those that failed; its first case is `suite.first`."""

    tests: int
    failing: int


def wholes_of(connection: sa.Connection, run_id: int, positions: Collection[int]) -> dict[int, Whole]:
    """Return what suites of a run, given by their positions, have with the suites in them."""
    columns = (suite.c.position, suite.c.parent, suite.c.tests, suite.c.failures + suite.c.errors)
    asked = sa.select(*columns).where(suite.c.run_id == run_id).order_by(suite.c.position.desc())
    found: dict[int, Whole] = {}
    inside: dict[int, Whole] = {}
    for position, parent, tests, failing in connection.execute(asked):  # inner before outer
        inner = inside.pop(position, Whole(0, 0))
        whole = Whole(tests + inner.tests, failing + inner.failing)
        if position in positions:
            found[position] = whole
        if parent is not None:
            known = inside.get(parent, Whole(0, 0))
            inside[parent] = Whole(known.tests + whole.tests, known.failing + whole.failing)
    return found


def suite_of(connection: sa.Connection, run_id: int, public_id: UUID) -> sa.Row[Any] | None:
    """Return the suite of a run with this id, None if it has none."""
    return connection.execute(
        sa.select(suite).where(suite.c.run_id == run_id, suite.c.public_id == public_id)
    ).one_or_none()


def find_suite(connection: sa.Connection, visible: Visible, public_id: UUID) -> sa.Row[Any] | None:
    """Return the suite with this id, None if there is none to see."""
    chosen = sa.select(suite).join(run, run.c.id == suite.c.run_id).where(suite.c.public_id == public_id)
    return connection.execute(chosen.where(*of_projects(run.c.project_id, visible.numbers))).one_or_none()
