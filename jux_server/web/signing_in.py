"""Signing in with an API key, and out again."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from jux_server import sessions
from jux_server.api.problems import Problem
from jux_server.web.access import COOKIE, Sees
from jux_server.web.forms import Form, one
from jux_server.web.links import links_of
from jux_server.web.rendering import HEADERS, page
from pytest_jux.addresses import is_loopback

if TYPE_CHECKING:
    from jux_server.web.links import Links

router = APIRouter()

_LONGEST = 8_000  # characters of an address to go to; a name of 200 characters may take 2,400 of them


@router.get("/sign-in", include_in_schema=False)
def sign_in_page(request: Request, next_: Annotated[str, Query(alias="next")] = "") -> Response:
    """Show the form for signing in."""
    return _form(request, next_)


@router.post("/sign-in", include_in_schema=False)
def sign_in(request: Request, sees: Sees, form: Form) -> Response:
    """Begin a session for the API key that was sent, and lead to where the reader wanted to go."""
    target = one(form, "next")
    if not sees.is_own_form:
        reason = "the form is not of this server; load the page anew and send it again"
        return _form(request, target, Problem(HTTPStatus.FORBIDDEN, "Not allowed", reason))
    if not one(form, "key"):
        return _form(request, target, Problem(HTTPStatus.BAD_REQUEST, "No API key", "enter an API key"))
    gate = sees.asking.gate
    try:
        caller = gate.admit(sees.asking._replace(token=one(form, "key")), "read")
    except Problem as problem:
        return _form(request, target, problem)
    assert caller.key_id is not None  # noqa: S101 - a token was given
    if sees.token:
        sessions.end(gate.database, sees.token)
    token = sessions.begin(gate.database, caller.key_id)
    links = links_of(request)
    where = target if leads_here(target) else links.start()
    answer = RedirectResponse(where, HTTPStatus.SEE_OTHER, headers=HEADERS)
    answer.set_cookie(
        COOKIE,
        token,
        max_age=sessions.SECONDS,
        path=links.start(),
        secure=_is_encrypted(request),
        httponly=True,
        samesite="lax",
    )
    return answer


@router.post("/sign-out", include_in_schema=False)
def sign_out(request: Request, sees: Sees, form: Form) -> Response:
    """End the session, here and in the browser."""
    if not sees.token:  # signed out already, in another window
        return _without_cookie(links_of(request))
    if sees.is_own_form and sees.knows(one(form, "csrf")):
        sessions.end(sees.asking.gate.database, sees.token)
        return _without_cookie(links_of(request))
    reason = "the form is not of this session; load the page anew and send it again"
    raise Problem(HTTPStatus.FORBIDDEN, "Not allowed", reason)


def leads_here(address: str) -> bool:
    r"""Tell whether an address is a path on this server.

    Browsers take `\` for `/` and pass over control characters, and `//` leads to another host. Nothing here may parse
    the address: it can be anything.
    """
    return (
        address.startswith("/")
        and not address.startswith("//")
        and "\\" not in address
        and address.isprintable()
        and len(address) <= _LONGEST
    )


def _is_encrypted(request: Request) -> bool:
    """Tell whether what the browser sends comes by HTTPS, as far as the server knows."""
    base_url: str = request.app.state.base_url
    return request.url.scheme == "https" or base_url.startswith("https:")


def _form(request: Request, target: str, problem: Problem | None = None) -> Response:
    target = target if leads_here(target) else ""
    return page(
        request,
        None,
        "sign_in.html",
        status=HTTPStatus.OK if problem is None else problem.status,
        headers={} if problem is None else _kept(problem),
        title="Sign in",
        target=target,
        reason="" if problem is None else problem.reason,
        suggestions=[] if problem is None else problem.suggestions,
        scope="admin" if target.startswith(links_of(request).page("admin/")) else "read",
        is_overheard=not (_is_encrypted(request) or is_loopback(request.url.hostname or "")),
    )


def _kept(problem: Problem) -> dict[str, str]:
    """Return the headers of an error, without the one that lets browsers ask for a password in a window of theirs."""
    return {name: value for name, value in problem.headers.items() if name.lower() != "www-authenticate"}


def _without_cookie(links: Links) -> Response:
    answer = RedirectResponse(links.page("sign-in"), HTTPStatus.SEE_OTHER, headers=HEADERS)
    answer.delete_cookie(COOKIE, path=links.start(), httponly=True, samesite="lax")
    return answer
