"""Tests over many runs, over REST."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from jux_server.api import presenting, schemas
from jux_server.api.access import Asks, database_of
from jux_server.api.parameters import Branch, Cursor, OneProject, Project, Search, TestNumber, cursor, cursor_number
from jux_server.api.problems import not_found
from jux_server.api.seeing import chosen_projects, visible_to
from jux_server.store.queries import history

if TYPE_CHECKING:
    import sqlalchemy as sa

    from jux_server.trust import Caller

router = APIRouter(tags=["Tests"])


@router.get("/api/v1/tests", response_model=schemas.Tests, responses=schemas.LISTS)
def list_tests(
    request: Request,
    asks: Asks,
    project: Project = None,
    q: Search = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="The length of a page.")] = 100,
    cursor_: Annotated[Cursor, Query(alias="cursor")] = None,
) -> JSONResponse:
    """List tests, in the order in which they were first seen."""
    caller = asks.require("read")
    with database_of(request).read() as connection:
        visible = visible_to(connection, caller)
        projects = chosen_projects(visible, project)
        after = cursor_number(cursor_) or 0
        tests, following = history.list_tests(connection, projects, q or "", after=after, limit=limit)
        names = visible.names(test.project_id for test in tests)
    shown = [presenting.test_of(test, names[test.project_id]) for test in tests]
    return JSONResponse({"tests": shown, "next": cursor(following)})


@router.get("/api/v1/tests/{test}/history", response_model=schemas.History, responses=schemas.READS)
def history_of_test(
    request: Request,
    asks: Asks,
    test: TestNumber,
    branch: Branch = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="The newest runs of the test.")] = 100,
) -> JSONResponse:
    """Say how a test fared in the newest runs that have it."""
    caller = asks.require("read")
    with database_of(request).read() as connection:
        visible = visible_to(connection, caller)
        found = history.find_test(connection, visible, test)
        if found is None:
            raise not_found("test", str(test))
        executions = history.history(connection, found, branch, limit)
        name = visible.names([found.project_id])[found.project_id]
    figures = history.figures_of((one.outcome, one.duration) for one in executions)
    return JSONResponse(
        {
            "test": presenting.test_of(found, name),
            "figures": presenting.figures_of(figures),
            "executions": [presenting.execution_of(one) for one in executions],
        }
    )


@router.get("/api/v1/flaky", response_model=schemas.FlakyTests, responses=schemas.READS)
def flaky_tests(
    request: Request,
    asks: Asks,
    project: OneProject,
    branch: Branch = None,
    runs: Annotated[int, Query(ge=2, le=1000, description="The newest runs that are looked at.")] = 100,
    limit: Annotated[int, Query(ge=1, le=200, description="Tests that are listed.")] = 50,
) -> JSONResponse:
    """List the tests that switch between passed and failed, differ on one commit, or pass only when tried again."""
    caller = asks.require("read")
    with database_of(request).read() as connection:
        number = _project(connection, caller, project)
        chosen = history.window(connection, number, branch, runs)
        found = history.flaky_tests(connection, number, chosen, limit=limit)
    shown = [
        {
            "test": presenting.test_of(one.test, project),
            "figures": presenting.figures_of(one.figures),
            "score": round(one.score, 4),
            "switches": one.switches,
            "commits": one.commits,
            "retried": one.retried,
        }
        for one in found
    ]
    return JSONResponse({"runs": len(chosen), "tests": shown})


@router.get("/api/v1/slowest", response_model=schemas.SlowTests, responses=schemas.READS)
def slowest_tests(
    request: Request,
    asks: Asks,
    project: OneProject,
    branch: Branch = None,
    runs: Annotated[int, Query(ge=1, le=200, description="The newest runs that are looked at.")] = 20,
    limit: Annotated[int, Query(ge=1, le=200, description="Tests that are listed.")] = 50,
) -> JSONResponse:
    """List the tests that take longest at the median; candidates are the fifty slowest of each run."""
    caller = asks.require("read")
    with database_of(request).read() as connection:
        number = _project(connection, caller, project)
        chosen = history.window(connection, number, branch, runs)
        found = history.slowest_tests(connection, number, chosen, limit=limit)
    shown = [
        {
            "test": presenting.test_of(one.test, project),
            "figures": presenting.figures_of(one.figures),
            "total": presenting.seconds(one.total),
        }
        for one in found
    ]
    return JSONResponse({"runs": len(chosen), "tests": shown})


def _project(connection: sa.Connection, caller: Caller, name: str) -> int:
    number = visible_to(connection, caller).number(name)
    if number is None:
        raise not_found("project", name)
    return number
