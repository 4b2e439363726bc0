"""The first page: all projects, those that move first; on an empty server, how to send the first report."""

from __future__ import annotations

import re
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from jux_server.api.access import database_of
from jux_server.api.parameters import Text
from jux_server.api.seeing import visible_to
from jux_server.store.database import now
from jux_server.store.queries.history import flaky_tests
from jux_server.store.queries.overview import Known, branch_shown, known_projects, newest_runs
from jux_server.store.schema import State, Verdict
from jux_server.web.access import Sees
from jux_server.web.rendering import page

if TYPE_CHECKING:
    from collections.abc import Sequence

    import sqlalchemy as sa

router = APIRouter()

_IDLE = 30 * 86_400 * 1_000_000  # microseconds without a run
_AT_ONCE = 30  # projects on a page
_IDLE_SHOWN = 200
_FEW = 5  # newest runs that a trend compares with those before
_HOST = re.compile(r"[A-Za-z0-9._~\[\]:-]{1,255}")
_FLAKY_KNOWN = 5_000


class Glance(NamedTuple):
    """A project as the first page shows it; `runs` are those of its branch, newest first."""

    name: str
    received_at: int
    branch: str | None
    runs: Sequence[sa.Row[Any]]
    flaky: int

    @property
    def latest(self) -> sa.Row[Any]:
        """The newest run."""
        return self.runs[0]

    @property
    def trusted(self) -> int:
        """How many of the runs have a signature that the server believes."""
        return sum(run.state == State.TRUSTED for run in self.runs)

    @property
    def trend(self) -> float | None:
        """By which share the newest runs take longer than those before, None where there are too few to tell."""
        times = [run.duration for run in self.runs]
        before = median(times[_FEW:]) if len(times) >= 2 * _FEW else 0
        return median(times[:_FEW]) / before - 1 if before else None

    @property
    def words(self) -> list[str]:
        """How the runs ended, oldest first."""
        return [Verdict(run.verdict).word for run in reversed(self.runs)]


@router.get("/", include_in_schema=False)
def projects_page(
    request: Request,
    sees: Sees,
    q: Annotated[str, Query(max_length=200), Text] = "",
    start: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> Response:
    """Show all projects that the viewer may see."""
    viewer = sees.require("read")
    with database_of(request).read() as connection:
        known = known_projects(connection, visible_to(connection, viewer.caller), q)
        since = now() - _IDLE
        active = [one for one in known if one.received_at is not None and one.received_at >= since]
        glances = [_glance(request, connection, one) for one in active[start : start + _AT_ONCE]]
    idle = known[len(active) :]
    is_empty = not known and not q
    return page(
        request,
        viewer,
        "empty.html" if is_empty else "projects.html",
        title="Send the first report" if is_empty else "Projects",
        nav="projects",
        glances=glances,
        active=len(active),
        idle=idle[:_IDLE_SHOWN] if not start else [],
        idle_count=len(idle),
        q=q,
        start=start,
        following=start + _AT_ONCE if len(active) > start + _AT_ONCE else None,
        base_url=base_url_of(request),
        needs_key=not request.app.state.gate.is_open_here,
    )


def base_url_of(request: Request) -> str:
    """Return the address of this server as those who look at its pages reach it, for commands that they copy."""
    known: str = request.app.state.base_url
    if known:
        return known
    host = request.headers.get("host", "")
    return f"{request.url.scheme}://{host}" if _HOST.fullmatch(host) else "http://127.0.0.1:4000"


def _glance(request: Request, connection: sa.Connection, one: Known) -> Glance:
    branch = branch_shown(connection, one)
    runs = newest_runs(connection, one.id, branch)
    if not runs:  # its default branch has none
        branch = branch_shown(connection, one._replace(default_branch=None))
        runs = newest_runs(connection, one.id, branch)
    return Glance(one.name, one.received_at or 0, branch, runs, _flaky(request, connection, one.id, runs))


def _flaky(request: Request, connection: sa.Connection, project_id: int, runs: Sequence[sa.Row[Any]]) -> int:
    """Return how many tests are flaky in these runs. It is remembered: the same runs always have the same ones."""
    known: dict[tuple[int, ...], int] = request.app.state.flaky_known
    key = (project_id, *(run.id for run in runs))
    if key not in known:
        if len(known) >= _FLAKY_KNOWN:
            known.clear()
        known[key] = len(flaky_tests(connection, project_id, runs, limit=1_000))
    return known[key]
