"""Runs: lists of them, one of them, its documents, its cases."""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa

from jux_server.errors import Refused
from jux_server.store import results, schema
from jux_server.store.schema import Result, State, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jux_server.store.queries.projects import Visible

LEAST_DIGITS = 8  # of a hash that is abbreviated
_LOOKED_AT = 500  # runs that one page of a search for test names looks into
_AT_ONCE = 50
_DIGITS = 64

run, document, problem, test, suite, tag = (
    schema.run,
    schema.document,
    schema.problem,
    schema.test,
    schema.suite,
    schema.tag,
)
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
    connection: sa.Connection, projects: Sequence[int], wanted: Filter, *, before: int | None, limit: int
) -> Page:
    """Return runs of these projects, newest first, from the one before the number `before`."""
    chosen = _chosen(sa.select(*_LISTED), projects, wanted)
    if not wanted.text:
        chosen = chosen if before is None else chosen.where(run.c.id < before)
        rows = list(connection.execute(chosen.order_by(run.c.id.desc()).limit(limit + 1)))
        return Page(rows[:limit], rows[limit - 1].id if len(rows) > limit else None)
    return _with_tests(connection, chosen, projects, wanted.text, before, limit)


def count_runs(connection: sa.Connection, projects: Sequence[int], wanted: Filter) -> int:
    """Return how many runs a filter without `text` finds."""
    return int(connection.execute(_chosen(sa.select(sa.func.count()), projects, wanted)).scalar_one())


def sorted_runs(
    connection: sa.Connection,
    projects: Sequence[int],
    wanted: Filter,
    order: Sequence[sa.ColumnElement[Any]],
    *,
    offset: int,
    limit: int,
) -> list[sa.Row[Any]]:
    """Return one page of the runs that a filter finds, in another order than that of their arrival."""
    chosen = _chosen(sa.select(*_LISTED), projects, wanted).order_by(*order, run.c.id.desc())
    return list(connection.execute(chosen.offset(offset).limit(limit)))


def _chosen(select: sa.Select[Any], projects: Sequence[int], wanted: Filter) -> sa.Select[Any]:
    conditions: list[sa.ColumnElement[bool]] = [run.c.project_id.in_(projects)]
    if wanted.branch is not None:
        conditions.append(run.c.branch == wanted.branch)
    if wanted.commit is not None:
        conditions.append(_begins(run.c.commit, wanted.commit))
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
    return select.select_from(run).where(*conditions)


def _begins(column: sa.Column[Any], beginning: str) -> sa.ColumnElement[bool]:
    """Compare by range, which an index can do whatever the collation means by LIKE."""
    return sa.and_(column >= beginning, column < beginning + "\U0010ffff")


def _with_tests(
    connection: sa.Connection,
    chosen: sa.Select[Any],
    projects: Sequence[int],
    text: str,
    before: int | None,
    limit: int,
) -> Page:
    """Return the next runs that have a test whose name has `text` in it; a page may be short where there are few."""
    matching = set(
        connection.execute(sa.select(test.c.id).where(named(text), test.c.project_id.in_(projects))).scalars()
    )
    found: list[sa.Row[Any]] = []
    looked_at = 0
    while matching and looked_at < _LOOKED_AT:
        query = chosen if before is None else chosen.where(run.c.id < before)
        rows = list(connection.execute(query.order_by(run.c.id.desc()).limit(_AT_ONCE)))
        have = results.runs_with_tests(connection, matching, [row.id for row in rows])
        for row in rows:
            before, looked_at = row.id, looked_at + 1
            if row.id in have:
                found.append(row)
            if len(found) == limit:
                return Page(found, before)
        if len(rows) < _AT_ONCE:
            return Page(found, None)
    return Page(found, before if matching else None)


def named(text: str) -> sa.ColumnElement[bool]:
    """Return the condition that a test's class name or name contains a text, in any case."""
    return sa.or_(test.c.name.icontains(text, autoescape=True), test.c.classname.icontains(text, autoescape=True))


# --- one run ---------------------------------------------------------------------------------------------------------


def find_run(connection: sa.Connection, visible: Visible, name: str, project: int | None = None) -> sa.Row[Any] | None:
    """Return the run with this id or canonical hash, which may be abbreviated; None if there is none to see.

    Raises:
        Refused: several runs can be meant.
    """
    condition = _named_by(name)
    if condition is None:
        return None
    projects = list(visible.names) if project is None else [project]
    rows = list(connection.execute(sa.select(run).where(condition, run.c.project_id.in_(projects)).limit(2)))
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


def find_suite(connection: sa.Connection, visible: Visible, public_id: UUID) -> sa.Row[Any] | None:
    """Return the suite with this id, None if there is none to see."""
    chosen = sa.select(suite).join(run, run.c.id == suite.c.run_id).where(suite.c.public_id == public_id)
    return connection.execute(chosen.where(run.c.project_id.in_(list(visible.names)))).one_or_none()


# --- cases -----------------------------------------------------------------------------------------------------------


class CaseRow(NamedTuple):
    """One case of a run; what was said of it is there only for what failed, was flaky, or was skipped with a reason."""

    position: int
    test_id: int
    classname: str
    name: str
    outcome: Result
    duration: int
    type: str = ""
    message: str = ""
    details: str = ""
    is_shortened: bool = False


def list_cases(
    connection: sa.Connection,
    run_id: int,
    *,
    outcomes: Sequence[Result] = (),
    text: str = "",
    positions: range | None = None,
    by_duration: bool = False,
    start: int = 0,
    limit: int = 100,
) -> tuple[list[CaseRow], int | None]:
    """Return cases of a run, and where the next ones begin, in the order of the report or slowest first.

    `start` counts among the cases that are asked for.
    """
    found = results.results_of_run(connection, run_id)
    chosen: Sequence[int] = range(len(found.test_ids)) if positions is None else positions
    if outcomes:
        chosen = [position for position in chosen if found.outcomes[position] in outcomes]
    if text:
        wanted = _tests_named(connection, text, run_id)
        chosen = [position for position in chosen if found.test_ids[position] in wanted]
    if by_duration:
        chosen = sorted(chosen, key=lambda position: (-found.durations[position], position))
    page = chosen[start : start + limit]
    names = names_of(connection, {found.test_ids[position] for position in page})
    said = _problems(connection, run_id, [position for position in page if found.outcomes[position] != Result.PASSED])
    rows = [
        CaseRow(
            position,
            found.test_ids[position],
            *names.get(found.test_ids[position], ("", "")),
            Result(found.outcomes[position]),
            found.durations[position],
            *said.get(position, ()),
        )
        for position in page
    ]
    return rows, start + limit if len(chosen) > start + limit else None


def _tests_named(connection: sa.Connection, text: str, run_id: int) -> set[int]:
    project_id = sa.select(run.c.project_id).where(run.c.id == run_id).scalar_subquery()
    return set(connection.execute(sa.select(test.c.id).where(test.c.project_id == project_id, named(text))).scalars())


def names_of(connection: sa.Connection, test_ids: set[int]) -> dict[int, tuple[str, str]]:
    """Return class names and names of tests."""
    chosen = list(test_ids)
    found: dict[int, tuple[str, str]] = {}
    for portion in _portions(chosen):
        query = sa.select(test.c.id, test.c.classname, test.c.name).where(test.c.id.in_(portion))
        found.update({number: (classname, name) for number, classname, name in connection.execute(query)})
    return found


def _problems(connection: sa.Connection, run_id: int, positions: list[int]) -> dict[int, tuple[str, str, str, bool]]:
    found = {}
    columns = (problem.c.position, problem.c.type, problem.c.message, problem.c.details, problem.c.is_shortened)
    for portion in _portions(positions):
        query = sa.select(*columns).where(problem.c.run_id == run_id, problem.c.position.in_(portion))
        for position, kind, message, details, is_shortened in connection.execute(query):
            found[position] = (kind, message, text_of(details), is_shortened)
    return found


def text_of(details: bytes | None) -> str:
    """Return the text that `problem.details` holds."""
    return "" if details is None else zlib.decompress(details).decode()


def _portions(values: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(values), 500):
        yield values[start : start + 500]
