"""Administration of what is decided for each project: which signatures it accepts, and how long its reports stay."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from jux_server.api.access import database_of
from jux_server.api.parameters import Text
from jux_server.api.problems import not_found
from jux_server.errors import Refused
from jux_server.intake import ACCEPT
from jux_server.upkeep.projects import list_projects, set_project
from jux_server.upkeep.retention import Retention
from jux_server.web.access import ProjectName, Sees, Viewer
from jux_server.web.admin import LONGEST, Said, back, confirm, sender
from jux_server.web.forms import Form, check_text, number_of, one
from jux_server.web.rendering import page

if TYPE_CHECKING:
    from jux_server.upkeep.projects import ProjectInfo

router = APIRouter()

_FIELDS = ("accept", "keep_days", "keep_runs", "default_branch")
_MOST_RUNS = 1_000_000
_AT_ONCE = 100  # projects on a page


@router.get("/admin/projects", include_in_schema=False)
def projects_page(
    request: Request,
    sees: Sees,
    said: Said = "",
    q: Annotated[str, Query(max_length=200), Text] = "",
    start: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
) -> Response:
    """List the projects with what was decided for them."""
    viewer = sees.require("admin")
    found = [
        info
        for info in list_projects(database_of(request))
        if q.casefold() in info.name.casefold() and viewer.caller.sees(info.name)
    ]
    return page(
        request,
        viewer,
        "admin_projects.html",
        title="Policies",
        nav="admin",
        projects=found[start : start + _AT_ONCE],
        total=len(found),
        following=start + _AT_ONCE if len(found) > start + _AT_ONCE else None,
        q=q,
        said=said,
    )


@router.get("/admin/project/{project:path}", include_in_schema=False)
def project_page(request: Request, sees: Sees, project: ProjectName) -> Response:
    """Show the form for one project."""
    viewer = sees.require("admin")
    info = _known(request, viewer, project)
    return _project(request, viewer, info, {name: str(getattr(info, name) or "") for name in _FIELDS})


@router.post("/admin/project/{project:path}", include_in_schema=False)
def decide(request: Request, sees: Sees, form: Form, project: ProjectName) -> Response:
    """Decide for a project, after a question where reports may be deleted that would have stayed."""
    viewer = sender(sees, form)
    info = _known(request, viewer, project)
    entered = {name: one(form, name) for name in _FIELDS}
    try:
        decided = _read(entered)
        if one(form, "sure") != "yes" and (words := _losses(request, info, decided)):
            return confirm(request, viewer, "projects", words, "Save", {**entered, "sure": "yes"})
        set_project(database_of(request), project, **decided)
    except Refused as refused:
        return _project(request, viewer, info, entered, status=HTTPStatus.BAD_REQUEST, reason=str(refused))
    return back(request, "admin/projects", "saved")


def _read(entered: dict[str, str]) -> dict[str, Any]:
    """Return what a form decides, None for what is left to the settings; raises `Refused`."""
    check_text("a branch's name", entered["default_branch"])
    if entered["accept"] not in {"", *ACCEPT}:
        raise Refused(f"a project accepts {', '.join(ACCEPT)}, not {entered['accept'][:40]!r}")
    return {
        "accept": entered["accept"] or None,
        "keep_days": number_of("the days", entered["keep_days"], LONGEST) or None,
        "keep_runs": number_of("the number of reports", entered["keep_runs"], _MOST_RUNS) or None,
        "default_branch": entered["default_branch"] or None,
    }


def _losses(request: Request, info: ProjectInfo, decided: dict[str, Any]) -> str:
    """Return what to ask before less is kept than now, "" where it is not less."""
    default: Retention = request.app.state.retention
    days, runs = decided["keep_days"] or default.days, decided["keep_runs"] or default.runs
    which = []
    if _is_less(days, info.keep_days or default.days):
        which.append(f"that are older than {days:,} days")
    if _is_less(runs, info.keep_runs or default.runs):
        which.append(f"that are not among the newest {runs:,} of their branch")
    if not which:
        return ""
    rest = "Pinned ones stay, and the newest of each branch. What is deleted cannot be had back."
    return f"Reports of {info.name} {', and those '.join(which)}, are deleted when the server prunes next. {rest}"


def _is_less(now: int | None, before: int | None) -> bool:
    return now is not None and (before is None or now < before)


def _known(request: Request, viewer: Viewer, name: str) -> ProjectInfo:
    for info in list_projects(database_of(request)):
        if info.name == name and viewer.caller.sees(name):
            return info
    raise not_found("project", name)


def _project(
    request: Request,
    viewer: Viewer,
    info: ProjectInfo,
    entered: dict[str, str],
    *,
    status: HTTPStatus = HTTPStatus.OK,
    reason: str = "",
) -> Response:
    shown = {"info": info, "entered": entered, "reason": reason, "retention": request.app.state.retention}
    shown["default_accept"] = request.app.state.intake.accept
    title = f"Policy of {info.name}"
    return page(request, viewer, "admin_project.html", status=status, title=title, nav="admin", **shown)
