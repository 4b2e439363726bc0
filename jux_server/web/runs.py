"""The runs of a project, with filters that are in the address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from jux_server.api import schemas
from jux_server.api.access import database_of
from jux_server.api.parameters import Branch, Cursor, Text, cursor, cursor_number
from jux_server.api.problems import not_found
from jux_server.api.seeing import visible_to
from jux_server.store.queries import runs
from jux_server.store.queries.overview import branches_of
from jux_server.store.schema import State, Verdict
from jux_server.web.access import ProjectName, Sees
from jux_server.web.exports import csv_response
from jux_server.web.links import Links, links_of
from jux_server.web.projects import base_url_of
from jux_server.web.rendering import exact_time, page

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy as sa

    from jux_server.trust import Caller

router = APIRouter()

_AT_ONCE = 50
_EXPORTED = 10_000
_COLUMNS = (
    *("id", "canonical hash", "received at", "started at", "branch", "commit", "verdict", "tests", "failures"),
    *("errors", "skipped", "flaky", "seconds", "signature", "signer"),
)


class Wanted(NamedTuple):
    """The filters of the page, as its address has them."""

    branch: str | None = None
    status: schemas.Status | None = None
    state: schemas.State | None = None
    commit: str | None = None
    tag: str | None = None
    signer: str | None = None
    q: str | None = None

    def filter(self) -> runs.Filter:
        """Return the filter for the database."""
        return runs.Filter(
            branch=self.branch or None,
            commit=self.commit or None,
            verdict=None if self.status is None else Verdict[self.status.upper()],
            state=None if self.state is None else State[self.state.upper()],
            signer=self.signer or None,
            tags=(self.tag,) if self.tag else (),
            text=self.q or "",
        )

    def without(self, name: str) -> dict[str, Any]:
        """Return the filters besides one."""
        return {key: value for key, value in self._asdict().items() if key != name}


Optional = Annotated[str | None, Query(max_length=2_000), Text]


def wanted_of(
    branch: Branch = None,
    status: Annotated[schemas.Status | None, Query()] = None,
    state: Annotated[schemas.State | None, Query()] = None,
    commit: Annotated[str | None, Query(max_length=250), Text] = None,
    tag: Annotated[str | None, Query(max_length=100), Text] = None,
    signer: Optional = None,
    q: Annotated[str | None, Query(max_length=200), Text] = None,
) -> Wanted:
    """Read the filters from the address; empty ones, as forms send them, do not matter."""
    return Wanted(branch or None, status, state, commit or None, tag or None, signer or None, q or None)


Filters = Annotated[Wanted, Depends(wanted_of)]


@router.get("/projects/{project:path}", include_in_schema=False)
def runs_page(
    request: Request,
    sees: Sees,
    project: ProjectName,
    wanted: Filters,
    cursor_: Annotated[Cursor, Query(alias="cursor")] = None,
    format_: Annotated[Literal["html", "csv"], Query(alias="format")] = "html",
) -> Response:
    """List the runs of a project, newest first."""
    viewer = sees.require("read")
    with database_of(request).read() as connection:
        number = _project(connection, viewer.caller, project)
        if format_ == "csv":
            rows: list[sa.Row[Any]] = []
            before = None
            while len(rows) < _EXPORTED:  # a search for tests looks into some runs at a time
                found = runs.list_runs(
                    connection, [number], wanted.filter(), before=before, limit=_EXPORTED - len(rows)
                )
                rows += found.rows
                before = found.next
                if before is None:
                    break
            return csv_response(f"{project}-runs", _COLUMNS, map(_exported, rows))
        before = cursor_number(cursor_)
        found = runs.list_runs(connection, [number], wanted.filter(), before=before, limit=_AT_ONCE)
        tags = runs.tags_of(connection, [row.id for row in found.rows])
        branches = branches_of(connection, number)
    links = links_of(request)
    return page(
        request,
        viewer,
        "runs.html",
        title="Runs",
        nav="projects",
        project=project,
        section="projects",
        branch=wanted.branch,
        branches=branches if wanted.branch in {None, *branches} else [wanted.branch, *branches],
        wanted=wanted,
        chips=list(_chips(links, project, wanted)),
        runs=found.rows,
        tags=tags,
        following=None if found.next is None else links.project(project, cursor=cursor(found.next), **wanted._asdict()),
        newest=found.rows[0].id if found.rows and before is None else 0,
        is_first=before is None,
        here_url=links.project(project, **wanted._asdict()),
        base_url=base_url_of(request),
    )


@router.get("/new-runs", include_in_schema=False)
def new_runs(
    request: Request,
    sees: Sees,
    project: ProjectName,
    wanted: Filters,
    after: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
) -> Response:
    """Say how many runs came since the page was made: a part of it, which it asks for now and then."""
    viewer = sees.require("read")
    with database_of(request).read() as connection:
        number = _project(connection, viewer.caller, project)
        count = runs.count_newer(connection, [number], wanted.filter(), after)
    url = links_of(request).project(project, **wanted._asdict())
    return page(request, viewer, "new_runs.html", count=count, url=url)


class Chip(NamedTuple):
    """A filter that one click sets or takes away."""

    label: str
    url: str
    is_set: bool


def _chips(links: Links, project: str, wanted: Wanted) -> Iterator[Chip]:
    for status in ("passed", "failed", "error"):
        yield _chip(links, project, wanted, "status", status, status)
    for state in ("trusted", "intact", "unsigned", "broken"):
        yield _chip(links, project, wanted, "state", state, state)
    for name, label in (("commit", "commit"), ("tag", "tag"), ("signer", "signed by"), ("q", "with tests named")):
        value = getattr(wanted, name)
        if value is not None:
            yield _chip(links, project, wanted, name, value, f"{label} {value}")


def _chip(links: Links, project: str, wanted: Wanted, name: str, value: str, label: str) -> Chip:
    is_set = getattr(wanted, name) == value
    query = wanted.without(name) | ({} if is_set else {name: value})
    return Chip(label, links.project(project, **query), is_set)


def _project(connection: sa.Connection, caller: Caller, name: str) -> int:
    number = visible_to(connection, caller).number(name)
    if number is None:
        raise not_found("project", name)
    return number


def _exported(row: sa.Row[Any]) -> tuple[object, ...]:
    return (
        row.public_id,
        f"sha256:{bytes(row.hash).hex()}",
        exact_time(row.received_at),
        exact_time(row.started_at),
        row.branch,
        row.commit,
        Verdict(row.verdict).word,
        *(row.tests, row.failures, row.errors, row.skipped, row.flaky),
        row.duration / 1_000_000,
        State(row.state).word,
        row.signer,
    )
