"""One test over its runs: how reliable it is, how long it takes, how it failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from jux_server.api.access import database_of
from jux_server.api.parameters import Branch, TestNumber
from jux_server.api.problems import not_found
from jux_server.api.seeing import visible_to
from jux_server.store.queries import history, overview
from jux_server.store.queries.grid import failures_of_test, positions_of
from jux_server.store.schema import Result
from jux_server.web.access import Sees
from jux_server.web.charts import columns_of
from jux_server.web.rendering import duration, page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jux_server.store.queries.history import Execution
    from jux_server.web.charts import Chart

router = APIRouter()

_LOOKED_AT = 100  # executions
_AT_ONCE = 30  # executions in the table


@router.get("/tests/{test}", include_in_schema=False)
def page_of_test(
    request: Request,
    sees: Sees,
    test: TestNumber,
    branch: Branch = None,
    start: Annotated[int, Query(ge=0, le=_LOOKED_AT)] = 0,
) -> Response:
    """Show how a test fared in the newest runs that have it."""
    viewer = sees.require("read")
    with database_of(request).read() as connection:
        visible = visible_to(connection, viewer.caller)
        found = history.find_test(connection, visible, test)
        if found is None:
            raise not_found("test", str(test))
        project = visible.names([found.project_id])[found.project_id]
        executions = history.history(connection, found, branch or None, _LOOKED_AT)
        run_ids = [one.run.id for one in executions]
        failures = failures_of_test(connection, found.id, run_ids)
        shown = executions[start : start + _AT_ONCE]
        positions = positions_of(connection, found.id, [one.run.id for one in shown])
        branches = overview.branches_of(connection, found.project_id)
    return page(
        request,
        viewer,
        "one_test.html",
        title=found.name[:200] or "(no name)",
        nav="projects",
        test=found,
        project=project,
        branch=branch,
        branches=branches if branch in {None, "", *branches} else [branch, *branches],
        figures=history.figures_of((one.outcome, one.duration) for one in executions),
        executions=executions,
        shown=shown,
        positions=positions,
        runs={one.run.id: one.run for one in executions},
        failures=failures,
        chart=_durations(list(reversed(executions))),
        following=start + _AT_ONCE if len(executions) > start + _AT_ONCE else None,
    )


def word_of(outcome: Result) -> str:
    """Return the word for how a test ended; what passed only when it was tried again is flaky."""
    return "flaky" if outcome is Result.FLAKY else outcome.word


def _durations(executions: Sequence[Execution]) -> Chart:
    bars = [[(word_of(one.outcome), float(one.duration))] for one in executions]
    return columns_of(bars, lambda value: duration(round(value)) if value else "0")
