"""Errors as pages, for those who look at pages."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fastapi.responses import RedirectResponse, Response

from jux_server.web.links import here, links_of
from jux_server.web.rendering import HEADERS, page

if TYPE_CHECKING:
    from fastapi import Request

    from jux_server.api.problems import Problem

_FOR_PROGRAMS = ("/api/", "/openapi.json", "/healthz", "/readyz", "/metrics", "/badge/")


def wants_page(request: Request) -> bool:
    """Tell whether an error is to be shown as a page: to browsers, except where programs ask."""
    path = request.url.path
    return "text/html" in request.headers.get("accept", "") and not path.startswith(_FOR_PROGRAMS)


def problem_page(request: Request, problem: Problem) -> Response:
    """Return an error as a page."""
    values = {
        "title": problem.error,
        "reason": problem.reason,
        "suggestions": problem.suggestions,
        "asks_for_key": problem.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN},
    }
    return page(request, None, "problem.html", status=problem.status, headers=problem.headers, **values)


def sign_in_first(request: Request) -> Response:
    """Lead to the page for signing in, and from there back to what was asked for."""
    is_part = "hx-request" in request.headers
    back = _shown_page(request) if is_part else here(request)
    target = links_of(request).page("sign-in", next=back)
    if is_part:  # the whole page has to go, and not the part that was asked for
        return Response(status_code=HTTPStatus.NO_CONTENT, headers={**HEADERS, "HX-Redirect": target})
    return RedirectResponse(target, HTTPStatus.SEE_OTHER, headers=HEADERS)


def _shown_page(request: Request) -> str | None:
    """Return the page from which a part was asked for, as htmx says it, as an address on this server."""
    try:
        parts = urlsplit(request.headers.get("hx-current-url", ""))
    except ValueError:
        return None
    return parts.path + (f"?{parts.query}" if parts.query else "")
