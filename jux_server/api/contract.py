"""The query routes of the public Jux API v1 contract, for clients that were made for it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID, uuid5

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse

from jux_server.api import presenting, schemas
from jux_server.api.access import AsksByContract, database_of
from jux_server.api.parameters import Branch, Project, Text, micro
from jux_server.api.problems import bad_parameter, not_found
from jux_server.api.seeing import chosen_projects, visible_to
from jux_server.store.queries import runs
from jux_server.store.queries.cases import CaseRow, list_cases
from jux_server.store.schema import Result, Verdict, run

if TYPE_CHECKING:
    from collections.abc import Sequence

    import sqlalchemy as sa


router = APIRouter(tags=["Jux API v1"])

_LARGEST_PAGE = 1_000_000
_RAN = run.c.tests - run.c.skipped
_ORDERS = {
    "inserted_at": run.c.received_at,
    "total_tests": run.c.tests,
    "failures": run.c.failures,
    # Of runs in which nothing ran, all passed.
    "success_rate": 1.0 * (run.c.failures + run.c.errors) / (_RAN + (_RAN == 0).cast(run.c.tests.type)) * -1,
}
_STATUS_OF_CASES = {
    "passed": (Result.PASSED, Result.FLAKY),
    "failed": (Result.FAILED,),
    "error": (Result.ERROR,),
    "skipped": (Result.SKIPPED,),
    "all": (),
}

Time = Annotated[str | None, Query(max_length=40, description="ISO 8601."), Text]
RunId = Annotated[UUID, Path(description="The run's id.")]


@router.get("/api/v1/test_runs", response_model=schemas.TestRuns, responses=schemas.LISTS)
def list_test_runs(
    request: Request,
    asks: AsksByContract,
    project: Project = None,
    branch: Branch = None,
    status: Annotated[Literal["passed", "failed", "error", "all"], Query(description="What the run came to.")] = "all",
    date_from: Time = None,
    date_to: Time = None,
    tags: Annotated[str | None, Query(max_length=1000, description="Tags with commas between them."), Text] = None,
    page: Annotated[int, Query(ge=1, le=_LARGEST_PAGE, description="The first page is 1.")] = 1,
    per_page: Annotated[int | None, Query(ge=1, le=100, description="The length of a page; 20 without it.")] = None,
    limit: Annotated[int | None, Query(ge=1, le=100, description="The same as `per_page`.")] = None,
    sort_by: Annotated[
        Literal["inserted_at", "total_tests", "failures", "success_rate"], Query(description="What the order goes by.")
    ] = "inserted_at",
    sort_order: Annotated[
        Literal["asc", "desc"], Query(description="Whether the least or the most is first.")
    ] = "desc",
) -> JSONResponse:
    """List runs, page by page."""
    caller = asks.require("read")
    size = per_page or limit or 20
    wanted = runs.Filter(
        branch=branch,
        verdict=None if status == "all" else Verdict[status.upper()],
        since=_micro("date_from", date_from),
        until=_micro("date_to", date_to),
        tags=[name.strip() for name in (tags or "").split(",") if name.strip()],
    )
    column = _ORDERS[sort_by]
    order = column.asc() if sort_order == "asc" else column.desc()
    with database_of(request).read() as connection:
        visible = visible_to(connection, caller)
        projects = chosen_projects(visible, project)
        total = runs.count_runs(connection, projects, wanted)
        rows = runs.sorted_runs(connection, projects, wanted, [order], offset=(page - 1) * size, limit=size)
        named = runs.tags_of(connection, [row.id for row in rows])
        names = visible.names(row.project_id for row in rows)
    shown = [_summary(row, names[row.project_id], named.get(row.id, ())) for row in rows]
    pages = {"current_page": page, "total_pages": -(-total // size), "total_count": total, "per_page": size}
    return JSONResponse({"test_runs": shown, "pagination": pages})


@router.get("/api/v1/test_runs/{run_id}", response_model=schemas.TestRunDetail, responses=schemas.READS)
def one_test_run(request: Request, asks: AsksByContract, run_id: RunId) -> JSONResponse:
    """Return a run with its suites."""
    caller = asks.require("read")
    with database_of(request).read() as connection:
        visible = visible_to(connection, caller)
        row = runs.find_run(connection, visible, str(run_id))
        if row is None:
            raise not_found("test run", str(run_id))
        named = runs.tags_of(connection, [row.id]).get(row.id, [])
        suites = runs.suites_of(connection, row.id)
        name = visible.names([row.project_id])[row.project_id]
    facts = json.loads(row.facts)
    ci = {**_group(facts.get("sender", {})), **_group(facts.get("report", {}))}
    return JSONResponse(
        {
            **_summary(row, name, named),
            "total_time": presenting.seconds(row.duration),
            "ci_metadata": {
                "job_id": _word(ci.get("job")),
                "pipeline_url": _word(ci.get("build_url")),
                "build_number": _word(ci.get("build_id")),
            },
            "test_suites": [_suite(suite) for suite in suites],
        }
    )


@router.get("/api/v1/test_runs/{run_id}/test_suites", response_model=schemas.TestSuites, responses=schemas.READS)
def suites_of_test_run(request: Request, asks: AsksByContract, run_id: RunId) -> JSONResponse:
    """List the suites of a run."""
    caller = asks.require("read")
    with database_of(request).read() as connection:
        row = runs.find_run(connection, visible_to(connection, caller), str(run_id))
        if row is None:
            raise not_found("test run", str(run_id))
        suites = runs.suites_of(connection, row.id)
    return JSONResponse({"test_suites": [_suite(suite) for suite in suites]})


@router.get("/api/v1/test_suites/{suite_id}/test_cases", response_model=schemas.TestCases, responses=schemas.READS)
def cases_of_test_suite(
    request: Request,
    asks: AsksByContract,
    suite_id: Annotated[UUID, Path(description="The suite's id.")],
    status: Annotated[
        Literal["passed", "failed", "error", "skipped", "all"], Query(description="How the cases ended.")
    ] = "all",
) -> JSONResponse:
    """List the cases of a suite."""
    caller = asks.require("read")
    with database_of(request).read() as connection:
        suite = runs.find_suite(connection, visible_to(connection, caller), suite_id)
        if suite is None:
            raise not_found("test suite", str(suite_id))
        cases, _ = list_cases(
            connection,
            suite.run_id,
            outcomes=_STATUS_OF_CASES[status],
            positions=range(suite.first, suite.first + suite.tests),
            limit=max(suite.tests, 1),
        )
    return JSONResponse({"test_cases": [_case(case, suite_id) for case in cases]})


def _summary(row: sa.Row[Any], project: str, tags: Sequence[str]) -> dict[str, Any]:
    ours = presenting.run_summary(row, project, tags)
    return {
        "id": ours["id"],
        "project": project,
        "branch": row.branch,
        "commit_sha": row.commit,
        "total_tests": row.tests,
        "failures": row.failures,
        "errors": row.errors,
        "skipped": row.skipped,
        "success_rate": presenting.success_rate(row),
        "inserted_at": ours["received_at"],
        "tags": ours["tags"],
        "signature_state": ours["signature_state"],
        "signer": row.signer,
        "canonical_hash": ours["canonical_hash"],
    }


def _suite(row: sa.Row[Any]) -> dict[str, Any]:
    return {
        "id": str(row.public_id),
        "name": row.name,
        "tests": row.tests,
        "failures": row.failures,
        "errors": row.errors,
        "skipped": row.skipped,
        "time": presenting.seconds(row.duration),
    }


def _case(case: CaseRow, suite_id: UUID) -> dict[str, Any]:
    failed = case.outcome in {Result.FAILED, Result.ERROR}
    return {
        "id": str(uuid5(suite_id, str(case.position))),
        "name": case.name,
        "classname": case.classname,
        "status": case.outcome.word,
        "time": presenting.seconds(case.duration),
        "failure_message": case.message if failed else None,
        "failure_type": case.type if failed else None,
        "failure_stacktrace": case.details if failed else None,
    }


def _group(facts: object) -> dict[str, Any]:
    ci = facts.get("ci") if isinstance(facts, dict) else None
    return ci if isinstance(ci, dict) else {}


def _word(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _micro(name: str, text: str | None) -> int | None:
    try:
        return None if text is None else micro(text)
    except ValueError as error:
        raise bad_parameter(name, str(error)) from None
