"""Administration: API keys, signers, and what was decided for projects."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cryptography import x509
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import RedirectResponse, Response

from jux_server.api.problems import Problem, not_found
from jux_server.errors import Refused, Unknown
from jux_server.store.database import now
from jux_server.trust import (
    EVERYTHING,
    SCOPES,
    add_signer,
    create_key,
    find_key,
    find_signer,
    list_keys,
    list_signers,
    name_problem,
    remove_signer,
    revoke_key,
)
from jux_server.upkeep.projects import list_projects, set_project
from jux_server.web.access import ProjectName, Sees, Viewer
from jux_server.web.forms import Fields, Form, one
from jux_server.web.links import links_of
from jux_server.web.rendering import HEADERS, page
from pytest_jux.text import visible

if TYPE_CHECKING:
    from jux_server.store.database import Database
    from jux_server.web.access import Viewing

router = APIRouter()

Number = Annotated[int, Path(ge=1, le=2**31 - 1)]
Said = Annotated[Literal["", "revoked", "added", "removed", "saved"], Query()]
_DAY = 86_400_000_000  # microseconds
_LONGEST_VALIDITY = 36_500  # days


def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


def _administrator(viewer: Viewer) -> Viewer:
    """Return the viewer, if nothing is out of their reach: keys and signers could be made for any project."""
    if EVERYTHING not in viewer.caller.projects:
        reason = "this API key is for some projects only; keys and signers are for one that is for all of them (*)"
        raise Problem(HTTPStatus.FORBIDDEN, "Not allowed", reason)
    return viewer


def _sender(sees: Viewing, form: Fields) -> Viewer:
    return sees.require_form("admin", one(form, "csrf"))


def _back(request: Request, name: str, said: str) -> Response:
    return RedirectResponse(links_of(request).page(name, said=said), HTTPStatus.SEE_OTHER, headers=HEADERS)


# --- keys ------------------------------------------------------------------------------------------------------------


@router.get("/admin/keys", include_in_schema=False)
def keys_page(request: Request, sees: Sees, said: Said = "") -> Response:
    """List the API keys, with a form for a new one."""
    return _keys(request, _administrator(sees.require("admin")), said=said)


@router.post("/admin/keys", include_in_schema=False)
def make_key(request: Request, sees: Sees, form: Form) -> Response:
    """Make an API key, and show it the only time."""
    viewer = _administrator(_sender(sees, form))
    name, days = one(form, "name"), one(form, "days")
    patterns = [line.strip() for line in one(form, "projects").splitlines() if line.strip()]
    try:
        _check_key_name(name)
        _check_visible("a project's name", *patterns)
        token, made = create_key(
            _database(request),
            name,
            scopes=form.get("scope", []),
            projects=patterns or (EVERYTHING,),
            expires_at=None
            if not days
            else now() + _number("the days until it expires", days, _LONGEST_VALIDITY) * _DAY,
        )
    except Refused as refused:
        return _keys(request, viewer, status=HTTPStatus.BAD_REQUEST, reason=str(refused), form=form)
    return _keys(request, viewer, token=token, made=made)


@router.get("/admin/keys/{number}/revoke", include_in_schema=False)
def ask_before_revoking(request: Request, sees: Sees, number: Number) -> Response:
    """Ask whether a key is to be revoked."""
    viewer = _administrator(sees.require("admin"))
    key = _found(lambda: find_key(_database(request), str(number)))
    is_own = key.id == viewer.caller.key_id
    words = f"Revoke the API key {key.name} (jux_{key.prefix}…)? Whoever uses it is refused from then on."
    return _confirm(
        request, viewer, words + (" It is the one that you are signed in with." if is_own else ""), "Revoke"
    )


@router.post("/admin/keys/{number}/revoke", include_in_schema=False)
def revoke(request: Request, sees: Sees, form: Form, number: Number) -> Response:
    """Make a key useless."""
    _administrator(_sender(sees, form))
    _found(lambda: revoke_key(_database(request), str(number)))
    return _back(request, "admin/keys", "revoked")


def _keys(request: Request, viewer: Viewer, **values: Any) -> Response:  # noqa: ANN401 - the template's
    shown = {"said": "", "reason": "", "form": {}, "token": "", "made": None} | values
    keys = sorted(list_keys(_database(request)), key=lambda key: (key.state != "active", -key.id))
    return page(request, viewer, "admin_keys.html", title="API keys", nav="admin", keys=keys, scopes=SCOPES, **shown)


# --- signers ---------------------------------------------------------------------------------------------------------


@router.get("/admin/signers", include_in_schema=False)
def signers_page(request: Request, sees: Sees, said: Said = "") -> Response:
    """List whom the server believes, with a form for another one."""
    return _signers(request, _administrator(sees.require("admin")), said=said)


@router.post("/admin/signers", include_in_schema=False)
def believe(request: Request, sees: Sees, form: Form) -> Response:
    """Believe the holders of certificates."""
    viewer = _administrator(_sender(sees, form))
    pattern = one(form, "projects") or EVERYTHING
    try:
        _check_visible("a project's name", pattern)
        for certificate in _certificates(one(form, "certificate")):
            kind = "authority" if one(form, "kind") == "authority" else "certificate"
            add_signer(_database(request), certificate, kind=kind, projects=pattern)
    except Refused as refused:
        return _signers(request, viewer, status=HTTPStatus.BAD_REQUEST, reason=str(refused), form=form)
    return _back(request, "admin/signers", "added")


@router.get("/admin/signers/{number}/remove", include_in_schema=False)
def ask_before_removing(request: Request, sees: Sees, number: Number) -> Response:
    """Ask whether a signer is to be believed no longer."""
    viewer = _administrator(sees.require("admin"))
    signer = _found(lambda: find_signer(_database(request), str(number)))
    words = f"Stop to believe {signer.subject} for projects {signer.projects}?"
    return _confirm(request, viewer, words + " Reports that are there stay as they were judged.", "Remove")


@router.post("/admin/signers/{number}/remove", include_in_schema=False)
def disbelieve(request: Request, sees: Sees, form: Form, number: Number) -> Response:
    """Stop to believe a signer."""
    _administrator(_sender(sees, form))
    _found(lambda: remove_signer(_database(request), str(number)))
    return _back(request, "admin/signers", "removed")


def _signers(request: Request, viewer: Viewer, **values: Any) -> Response:  # noqa: ANN401 - the template's
    shown = {"said": "", "reason": "", "form": {}} | values
    signers = [(signer, signer.load().not_valid_after_utc) for signer in list_signers(_database(request))]
    return page(request, viewer, "admin_signers.html", title="Signers", nav="admin", signers=signers, **shown)


def _certificates(text: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(text.encode())
    except ValueError:
        hint = "it begins with -----BEGIN CERTIFICATE-----"
        raise Refused(f"this is no certificate in PEM; {hint}") from None


# --- projects --------------------------------------------------------------------------------------------------------


@router.get("/admin/projects", include_in_schema=False)
def projects_page(request: Request, sees: Sees, said: Said = "") -> Response:
    """List the projects with what was decided for them."""
    viewer = sees.require("admin")
    projects = [one for one in list_projects(_database(request)) if viewer.caller.sees(one.name)]
    return page(request, viewer, "admin_projects.html", title="Policies", nav="admin", projects=projects, said=said)


@router.get("/admin/project/{project:path}", include_in_schema=False)
def project_page(request: Request, sees: Sees, project: ProjectName) -> Response:
    """Show the form for one project."""
    return _project(request, sees.require("admin"), project)


@router.post("/admin/project/{project:path}", include_in_schema=False)
def decide(request: Request, sees: Sees, form: Form, project: ProjectName) -> Response:
    """Decide which signatures a project accepts, and how long its reports stay."""
    viewer = _sender(sees, form)
    _known(request, viewer, project)
    branch = one(form, "default_branch")
    try:
        _check_visible("a branch's name", branch)
        set_project(
            _database(request),
            project,
            accept=one(form, "accept") or None,
            keep_days=_number("the days", one(form, "keep_days"), _LONGEST_VALIDITY) or None,
            keep_runs=_number("the number of reports", one(form, "keep_runs"), 1_000_000) or None,
            default_branch=branch or None,
        )
    except Refused as refused:
        return _project(request, viewer, project, status=HTTPStatus.BAD_REQUEST, reason=str(refused))
    return _back(request, "admin/projects", "saved")


def _known(request: Request, viewer: Viewer, name: str) -> Any:  # noqa: ANN401 - ProjectInfo
    for one_ in list_projects(_database(request)):
        if one_.name == name and viewer.caller.sees(name):
            return one_
    raise not_found("project", name)


def _project(request: Request, viewer: Viewer, name: str, **values: Any) -> Response:  # noqa: ANN401 - the template's
    found = _known(request, viewer, name)
    intake, pruning = request.app.state.intake, request.app.state.retention
    shown = {"reason": "", "info": found, "default_accept": intake.accept, "retention": pruning} | values
    return page(request, viewer, "admin_project.html", title=f"Policy of {name}", nav="admin", **shown)


# --- shared ----------------------------------------------------------------------------------------------------------


def _check_key_name(name: str) -> None:
    problem = name_problem(name)
    if problem:
        raise Refused(problem)


def _check_visible(what: str, *texts: str) -> None:
    if any(visible(text) != text for text in texts):
        raise Refused(f"{what} has no control characters")


def _number(what: str, text: str, most: int) -> int:
    """Return a number from a form, 0 for none; raises `Refused`."""
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:12]) <= most):
        raise Refused(f"{what}: a number from 1 to {most:,} is expected, not {text[:40]!r}")
    return int(text)


def _found(find: Any) -> Any:  # noqa: ANN401 - what it finds
    try:
        return find()
    except Unknown as unknown:
        raise Problem(HTTPStatus.NOT_FOUND, "Not found", str(unknown)) from None


def _confirm(request: Request, viewer: Viewer, words: str, verb: str) -> Response:
    return page(request, viewer, "admin_confirm.html", title="Are you sure?", nav="admin", words=words, verb=verb)
