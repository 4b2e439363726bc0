"""Runs over REST: lists, one of them, its bytes, its cases, and comparisons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from jux_server.api import presenting, schemas
from jux_server.api.access import Asks, database_of
from jux_server.api.parameters import (
    Branch,
    Cursor,
    Project,
    Report,
    Search,
    Since,
    Text,
    Until,
    cursor,
    cursor_number,
    micro,
)
from jux_server.api.problems import bad_parameter, not_found
from jux_server.api.seeing import chosen_projects, visible_to
from jux_server.errors import Refused
from jux_server.store.queries import runs
from jux_server.store.queries.cases import list_cases
from jux_server.store.queries.compare import KINDS, Change, compare_runs
from jux_server.store.queries.history import NamedTest
from jux_server.store.queries.names import names_of
from jux_server.store.queries.projects import list_projects
from jux_server.store.saving import unpack
from jux_server.store.schema import Result, State, Verdict

if TYPE_CHECKING:
    import sqlalchemy as sa

    from jux_server.trust import Caller

router = APIRouter(tags=["Reports"])

_STATUS_OF_CASES = {
    "passed": (Result.PASSED, Result.FLAKY),
    "failed": (Result.FAILED,),
    "error": (Result.ERROR,),
    "skipped": (Result.SKIPPED,),
    "flaky": (Result.FLAKY,),
}


@router.get("/api/v1/reports", response_model=schemas.Runs, responses=schemas.LISTS)
def list_reports(
    request: Request,
    asks: Asks,
    project: Project = None,
    branch: Branch = None,
    commit: Annotated[
        str | None, Query(min_length=4, max_length=250, description="A commit, or its beginning."), Text
    ] = None,
    status: Annotated[schemas.Status | None, Query(description="What the run came to.")] = None,
    state: Annotated[schemas.State | None, Query(description="What is held of its signature.")] = None,
    signer: Annotated[str | None, Query(max_length=2000, description="The subject of the signer."), Text] = None,
    tag: Annotated[
        list[Annotated[str, Text]] | None, Query(max_length=20, description="A tag; several must all be there.")
    ] = None,
    since: Since = None,
    until: Until = None,
    q: Search = None,
    limit: Annotated[int, Query(ge=1, le=200, description="The length of a page.")] = 50,
    cursor_: Annotated[Cursor, Query(alias="cursor")] = None,
) -> JSONResponse:
    """List runs, newest first. A page may be short although there is a next one, if `q` finds few."""
    caller = asks.require("read")
    wanted = runs.Filter(
        branch=branch,
        commit=commit,
        verdict=None if status is None else Verdict[status.upper()],
        state=None if state is None else State[state.upper()],
        signer=signer,
        tags=tag or (),
        since=None if since is None else micro(since),
        until=None if until is None else micro(until),
        text=q or "",
    )
    with database_of(request).read() as connection:
        visible = visible_to(connection, caller)
        projects = chosen_projects(visible, project)
        page = runs.list_runs(connection, projects, wanted, before=cursor_number(cursor_), limit=limit)
        tags = runs.tags_of(connection, [row.id for row in page.rows])
        names = visible.names(row.project_id for row in page.rows)
    shown = [presenting.run_summary(row, names[row.project_id], tags.get(row.id, ())) for row in page.rows]
    return JSONResponse({"reports": shown, "next": cursor(page.next)})


@router.get("/api/v1/projects", response_model=schemas.Projects, responses=schemas.LISTS)
def projects_with_newest_run(request: Request, asks: Asks) -> JSONResponse:
    """List the projects, those that were heard of last first."""
    caller = asks.require("read")
    with database_of(request).read() as connection:
        visible = visible_to(connection, caller)
        states = list_projects(connection, visible)
        tags = runs.tags_of(connection, [state.latest.id for state in states if state.latest is not None])
    shown = [
        {
            "name": state.name,
            "reports": state.runs,
            "latest": None
            if state.latest is None
            else presenting.run_summary(state.latest, state.name, tags.get(state.latest.id, ())),
        }
        for state in states
    ]
    return JSONResponse({"projects": shown})


# Before the route of a report itself, which would take the suffix for a part of the name.
@router.get(
    "/api/v1/reports/{report}.xml",
    response_class=Response,
    responses={**schemas.READS, 200: {"content": {"application/xml": {"schema": {"type": "string"}}}}},
)
def report_as_received(
    request: Request,
    asks: Asks,
    report: Report,
    project: Project = None,
    document: Annotated[int, Query(ge=1, le=100, description="1 is the one with the best signature.")] = 1,
) -> Response:
    """Return the exact bytes that were received, which is what the signature is about."""
    caller = asks.require("read")
    with database_of(request).read() as connection:
        row, _ = run_named(connection, caller, report, project)
        documents = runs.documents_of(connection, row.id)
        if document > len(documents):
            raise not_found("document", f"{document} of this report")
        content = unpack(runs.content_of(connection, documents[document - 1].id))
    headers = {
        "Content-Disposition": f'attachment; filename="sha256-{bytes(row.hash).hex()}.xml"',
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    return Response(content, media_type="application/xml", headers=headers)


@router.get("/api/v1/reports/{report}/cases", response_model=schemas.Cases, responses=schemas.READS)
def cases_of_report(
    request: Request,
    asks: Asks,
    report: Report,
    project: Project = None,
    status: Annotated[
        Literal["passed", "failed", "error", "skipped", "flaky"] | None,
        Query(description="How they ended; `flaky`: only when tried again."),
    ] = None,
    q: Search = None,
    suite: Annotated[UUID | None, Query(description="The id of a suite of this report.")] = None,
    order: Annotated[Literal["position", "duration"], Query(description="As in the report, or slowest first.")] = (
        "position"
    ),
    limit: Annotated[int, Query(ge=1, le=1000, description="The length of a page.")] = 100,
    cursor_: Annotated[Cursor, Query(alias="cursor")] = None,
) -> JSONResponse:
    """List the cases of a report."""
    caller = asks.require("read")
    with database_of(request).read() as connection:
        row, _ = run_named(connection, caller, report, project)
        cases, following = list_cases(
            connection,
            row.id,
            outcomes=() if status is None else _STATUS_OF_CASES[status],
            text=q or "",
            positions=None if suite is None else _positions(connection, row.id, suite),
            by_duration=order == "duration",
            start=cursor_number(cursor_) or 0,
            limit=limit,
        )
    return JSONResponse({"cases": [presenting.case_of(case) for case in cases], "next": cursor(following)})


@router.get("/api/v1/reports/{report}", response_model=schemas.RunDetail, responses=schemas.READS)
def one_report(request: Request, asks: Asks, report: Report, project: Project = None) -> JSONResponse:
    """Return a run with its metadata and all that is known of its signatures."""
    caller = asks.require("read")
    with database_of(request).read() as connection:
        row, name = run_named(connection, caller, report, project)
        tags = runs.tags_of(connection, [row.id]).get(row.id, [])
        documents = runs.documents_of(connection, row.id)
    return JSONResponse(presenting.run_detail(row, name, tags, documents))


@router.get("/api/v1/compare", response_model=schemas.Comparison, responses=schemas.READS)
def compare_reports(
    request: Request,
    asks: Asks,
    base: Annotated[str, Query(min_length=8, max_length=80, description="The earlier run: id or hash."), Text],
    head: Annotated[str, Query(min_length=8, max_length=80, description="The later run: id or hash."), Text],
    project: Project = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Tests of each kind that are listed.")] = 100,
) -> JSONResponse:
    """Say what changed from one run of a project to another."""
    caller = asks.require("read")
    with database_of(request).read() as connection:
        before, name = run_named(connection, caller, base, project)
        after, other = run_named(connection, caller, head, project)
        if name != other:
            raise bad_parameter("head", "it is a run of another project than base")
        changes = compare_runs(connection, before.id, after.id)
        listed = {kind: changes[kind][:limit] for kind in KINDS}
        names = names_of(connection, {change.test_id for kind in listed.values() for change in kind})
        tags = runs.tags_of(connection, [before.id, after.id])
    answer: dict[str, Any] = {
        "base": presenting.run_summary(before, name, tags.get(before.id, ())),
        "head": presenting.run_summary(after, name, tags.get(after.id, ())),
    }
    for kind in KINDS:
        shown = [_change(change, before.project_id, name, names) for change in listed[kind]]
        answer[kind] = {"count": len(changes[kind]), "tests": shown}
    return JSONResponse(answer)


def run_named(connection: sa.Connection, caller: Caller, report: str, project: str | None) -> tuple[sa.Row[Any], str]:
    """Return a run and the name of its project; raises `Problem` with 404, or 400 for a name that is too short."""
    visible = visible_to(connection, caller)
    number = None if project is None else visible.number(project)
    if project is not None and number is None:
        raise not_found("project", project)
    try:
        row = runs.find_run(connection, visible, report, number)
    except Refused as refused:
        raise bad_parameter("report", refused.reason) from None
    if row is None:
        raise not_found("report", report)
    return row, visible.names([row.project_id])[row.project_id]


def _positions(connection: sa.Connection, run_id: int, suite_id: UUID) -> range:
    found = runs.suite_of(connection, run_id, suite_id)
    if found is None:
        raise not_found("suite in this report:", str(suite_id))
    return range(found.first, found.first + found.tests)


def _change(change: Change, project_id: int, project: str, names: dict[int, tuple[str, str]]) -> dict[str, Any]:
    test = NamedTest(change.test_id, project_id, *names.get(change.test_id, ("", "")))
    return {
        "test": presenting.test_of(test, project),
        "base": None if change.base is None else Result(change.base[0]).word,
        "head": None if change.head is None else Result(change.head[0]).word,
        "base_time": None if change.base is None else presenting.seconds(change.base[1]),
        "head_time": None if change.head is None else presenting.seconds(change.head[1]),
    }
