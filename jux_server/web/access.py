"""Who looks at a page, and whether they may: a session, an API key, or nothing on this machine itself."""

from __future__ import annotations

import hmac
from http import HTTPStatus
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

from fastapi import Depends, Request

from jux_server import sessions
from jux_server.api.access import HERE, Asking, asking
from jux_server.api.parameters import has_no_control
from jux_server.api.problems import Problem, bad_parameter
from jux_server.trust import Caller

COOKIE = "jux_session"
_LONGEST_NAME = 200
_SAFE_SITES = {"same-origin", "none"}


class SignInNeeded(Exception):
    """The page needs a session, and there is none."""


class Viewer(NamedTuple):
    """Who looks at a page. `csrf` is what their forms have to bring along, "" where there is no session."""

    caller: Caller
    csrf: str = ""

    @property
    def is_signed_in(self) -> bool:
        """Whether there is a session, which can be ended."""
        return bool(self.csrf)

    def may(self, scope: str) -> bool:
        """Tell whether the viewer has a scope."""
        return self.caller.may(scope)


class Viewing(NamedTuple):
    """What a request for a page says of who sends it. `token` is that of the browser's session."""

    asking: Asking
    token: str
    is_browser: bool
    is_own_form: bool

    def require(self, scope: str) -> Viewer:
        """Return the viewer, if they have the scope.

        Raises:
            SignInNeeded: a browser without a session, where one is needed.
            Problem: 401 for other programs without a key, 403 without the scope, 429.
        """
        gate = self.asking.gate
        if self.token and not self.asking.token:
            caller = sessions.caller_of(gate.database, self.token)
            if caller is not None:
                return Viewer(gate.allow(caller, self.asking.peer, scope), sessions.csrf_of(self.token))
        is_here = not self.asking.token and gate.is_open_here and self.asking.is_local
        if self.is_browser and not self.asking.token and not (is_here and HERE.may(scope)):
            raise SignInNeeded
        return Viewer(self.asking.require(scope))

    def asking_or_session(self, scope: str) -> Caller:
        """Return who asks for a picture or a file, where nobody can be led to the form; raises `Problem`."""
        try:
            return self.require(scope).caller
        except SignInNeeded:
            return self.asking.require(scope)

    def require_form(self, scope: str, csrf: str) -> Viewer:
        """Return the viewer who sent a form of ours from within their session; raises as `require`, and 403."""
        viewer = self.require(scope)
        if not viewer.is_signed_in or not self.is_own_form or not self.knows(csrf):
            reason = "the form is not of this session; load the page anew and send it again"
            raise Problem(HTTPStatus.FORBIDDEN, "Not allowed", reason)
        return viewer

    def knows(self, csrf: str) -> bool:
        """Tell whether a form brought along what only pages of this session know."""
        return hmac.compare_digest(csrf.encode(), sessions.csrf_of(self.token).encode())


async def viewing(request: Request) -> Viewing:
    """Read from a request who looks at a page: no database, no waiting."""
    headers = request.headers
    asked = await asking(request)
    if request.method == "GET" and headers.get("sec-fetch-mode") == "navigate":
        # Somebody followed a link: no other page sees what they see, and reading changes nothing.
        kept = [(name, value) for name, value in request.scope["headers"] if name != b"sec-fetch-site"]
        asked = await asking(Request({**request.scope, "headers": kept}))
    is_browser = "text/html" in headers.get("accept", "") or "hx-request" in headers
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    # A proxy may pass on another Host than browsers see.
    own = {headers.get("host", ""), urlsplit(request.app.state.base_url).netloc} - {""}
    is_own = site in _SAFE_SITES if site else origin is None or origin.partition("://")[2] in own
    return Viewing(asked, request.cookies.get(COOKIE, ""), is_browser, is_own)


def _project_name(request: Request) -> str:
    """Return the project that an address names: in its path, or in its query where a path cannot hold it."""
    return _checked(request.path_params.get("project") or request.query_params.get("project") or "")


def project_meant(request: Request) -> str | None:
    """Return the project that a query names, for those that have a run of the same hash; None if it names none."""
    name = request.query_params.get("project")
    return None if name is None else _checked(name)


def _checked(name: str) -> str:
    if not name or len(name) > _LONGEST_NAME:
        raise bad_parameter("project", f"a name has 1 to {_LONGEST_NAME} characters")
    try:
        has_no_control(name)
    except ValueError as error:
        raise bad_parameter("project", str(error)) from None
    return name


Sees = Annotated[Viewing, Depends(viewing)]
ProjectName = Annotated[str, Depends(_project_name)]
