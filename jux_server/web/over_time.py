"""A project over many runs: trends, the history grid, flaky tests, slow tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from jux_server.api.access import database_of
from jux_server.api.parameters import Branch, Search
from jux_server.api.problems import not_found
from jux_server.api.seeing import visible_to
from jux_server.store.queries import history, overview
from jux_server.store.queries.failures import pasts_of
from jux_server.store.queries.grid import grid_of
from jux_server.store.schema import Verdict
from jux_server.web.access import ProjectName, Sees, Viewer
from jux_server.web.charts import Chart, columns_of, lines_of, points_of
from jux_server.web.links import links_of
from jux_server.web.rendering import count, duration, page, percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    import sqlalchemy as sa

router = APIRouter()

_GRID_AT_ONCE = 50  # tests on a page
_LISTED = 50
_SHOWN_IN_TABLE = 50
_FLOORS = (0.99, 0.9, 0.5)  # of the axis for pass rates, the first that nothing is below

Runs = Annotated[int, Query(ge=2, le=300, description="The newest runs that are looked at.")]
FewRuns = Annotated[int, Query(ge=2, le=200, description="The newest runs that are looked at.")]
Start = Annotated[int, Query(ge=0, le=10_000_000)]


class Opened(NamedTuple):
    """A project that a viewer looks at, and the branch that is meant where none is named."""

    viewer: Viewer
    number: int
    default: str | None
    branches: list[str]


def _open(connection: sa.Connection, viewer: Viewer, project: str) -> Opened:
    number = visible_to(connection, viewer.caller).number(project)
    if number is None:
        raise not_found("project", project)
    default = overview.branch_shown(connection, overview.find_known(connection, number))
    return Opened(viewer, number, default, overview.branches_of(connection, number))


def _show(
    request: Request,
    opened: Opened,
    project: str,
    section: str,
    branch: str | None,
    title: str,
    **values: Any,  # noqa: ANN401 - the template's
) -> Response:
    return page(
        request,
        opened.viewer,
        f"{section}.html",
        title=title,
        nav="projects",
        project=project,
        section=section,
        branch=branch,
        branches=opened.branches if branch in {None, "", *opened.branches} else [branch, *opened.branches],
        **values,
    )


# --- trends ----------------------------------------------------------------------------------------------------------


@router.get("/trends/{project:path}", include_in_schema=False)
def trends_page(
    request: Request, sees: Sees, project: ProjectName, branch: Branch = None, runs: Runs = 100
) -> Response:
    """Show pass rate, number of tests and duration over the newest runs of a branch."""
    viewer = sees.require("read")
    with database_of(request).read() as connection:
        opened = _open(connection, viewer, project)
        chosen = branch or opened.default
        found = overview.newest_runs(connection, opened.number, chosen, runs)
    return _show(
        request,
        opened,
        project,
        "trends",
        chosen,
        "Trends",
        runs=found,
        size=runs,
        charts=_trends(list(reversed(found))),
        table=found[:_SHOWN_IN_TABLE],
        rate=pass_rate,
    )


def pass_rate(run: sa.Row[Any]) -> float | None:
    """Return the share of cases that passed, skipped ones left out; None where none ran."""
    ran = run.tests - run.skipped
    return (ran - run.failures - run.errors) / ran if ran else None


def _trends(runs: Sequence[sa.Row[Any]]) -> list[tuple[str, str, Chart, list[str]]]:
    """Return the charts: what they show, in words what that comes to, the figures, and lines."""
    if not runs:
        return []
    rates = [pass_rate(run) for run in runs]
    known = [rate for rate in rates if rate is not None]
    lowest = min(known, default=0.0)
    low = next((floor for floor in _FLOORS if lowest >= floor), 0.0)
    rate = points_of(rates, low, 1.0, percent_or_less)
    tests = columns_of(
        [
            [
                ("passed", run.tests - run.failures - run.errors - run.skipped),
                ("skipped", run.skipped),
                ("failed", run.failures + run.errors),
            ]
            for run in runs
        ],
        lambda value: count(round(value)),
    )
    times = columns_of(
        [[(Verdict(run.verdict).word, run.duration)] for run in runs],
        lambda value: duration(round(value)) if value else "0",
    )
    last, first = runs[-1], runs[0]
    return [
        (
            "Pass rate",
            f"{percent(rates[-1]) or 'nothing ran'} in the last run"
            + (f", at the lowest {percent(lowest)}" if known else ""),
            rate,
            lines_of(rate.points),
        ),
        ("Tests", f"{count(last.tests)} in the last run, {count(first.tests)} in the first of these", tests, []),
        (
            "Duration",
            f"{duration(last.duration)} in the last run, {duration(first.duration)} in the first of these",
            times,
            [],
        ),
    ]


def percent_or_less(share: float) -> str:
    """Return a share of 1 as the axis of a chart has it."""
    return f"{100 * share:g} %"


# --- the grid --------------------------------------------------------------------------------------------------------


@router.get("/history/{project:path}", include_in_schema=False)
def history_page(
    request: Request, sees: Sees, project: ProjectName, branch: Branch = None, q: Search = None, start: Start = 0
) -> Response:
    """Show tests against the newest runs of a branch, those that went wrong first."""
    viewer = sees.require("read")
    with database_of(request).read() as connection:
        opened = _open(connection, viewer, project)
        chosen = branch or opened.default
        runs = overview.newest_runs(connection, opened.number, chosen)
        grid = grid_of(connection, [run.id for run in runs], q or "", start=start, limit=_GRID_AT_ONCE)
    following = None
    if grid.next is not None:
        following = links_of(request).project(project, "history", branch=branch, q=q, start=grid.next)
    return _show(
        request,
        opened,
        project,
        "history",
        chosen,
        "History",
        runs=runs,
        grid=grid,
        q=q or "",
        start=start,
        following=following,
    )


# --- flaky and slow --------------------------------------------------------------------------------------------------


@router.get("/flaky/{project:path}", include_in_schema=False)
def flaky_page(
    request: Request, sees: Sees, project: ProjectName, branch: Branch = None, runs: FewRuns = 100
) -> Response:
    """Show the tests that do not give the same answer to the same question."""
    viewer = sees.require("read")
    with database_of(request).read() as connection:
        opened = _open(connection, viewer, project)
        window = history.window(connection, opened.number, branch or None, runs)
        found = history.flaky_tests(connection, opened.number, window, limit=_LISTED)
        newest = [run.id for run in window[: overview.WINDOW]]
        pasts = pasts_of(connection, [one.test.id for one in found], newest)
    return _show(
        request, opened, project, "flaky", branch, "Flaky tests", tests=found, window=window, pasts=pasts, size=runs
    )


@router.get("/slowest/{project:path}", include_in_schema=False)
def slowest_page(
    request: Request, sees: Sees, project: ProjectName, branch: Branch = None, runs: FewRuns = 20
) -> Response:
    """Show the tests that take longest."""
    viewer = sees.require("read")
    with database_of(request).read() as connection:
        opened = _open(connection, viewer, project)
        window = history.window(connection, opened.number, branch or None, runs)
        found = history.slowest_tests(connection, opened.number, window, limit=_LISTED)
    longest = max((one.figures.p50 or 0 for one in found), default=0)
    return _show(
        request,
        opened,
        project,
        "slowest",
        branch,
        "Slowest tests",
        tests=found,
        window=window,
        longest=longest,
        size=runs,
    )
