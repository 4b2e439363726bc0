"""The application: one database, who may do what, and the routes."""

from __future__ import annotations

import logging
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from jux_server import __version__
from jux_server.api import ROUTERS
from jux_server.api.access import Gate
from jux_server.api.description import describe
from jux_server.api.heads import HeadAsGet
from jux_server.api.operations import observe
from jux_server.api.problems import Problem, bad_parameter
from jux_server.intake import Intake
from jux_server.pruning import pruning
from jux_server.upkeep.retention import Retention
from jux_server.web import PAGES
from jux_server.web.access import SignInNeeded
from jux_server.web.links import Links
from jux_server.web.problems import problem_page, sign_in_first, wants_page
from pytest_jux.document import DEFAULT_LIMITS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import Request
    from fastapi.responses import Response

    from jux_server.store.database import Database


_FOREVER = Retention()


_log = logging.getLogger("uvicorn.error")  # where the server's own messages go


@dataclass(frozen=True, slots=True)
class Choices:
    """What is decided for one server: see the settings of the same names.

    `largest_report` is in bytes; `rate` is such as `600/minute`, or "" for any number of requests; `prune_every` is in
    hours, 0 for never; `base_url` is the address that users see, "" for the one they asked; with `public_badges`
    nobody needs a key to see how a project's last run ended.
    """

    is_open_here: bool = True
    accept: str = "any"
    largest_report: int = DEFAULT_LIMITS.bytes
    rate: str = ""
    retention: Retention = _FOREVER
    prune_every: float = 0
    base_url: str = ""
    public_badges: bool = False


def create_app(database: Database, choices: Choices | None = None) -> FastAPI:
    """Return the application that serves this database, which it closes when it ends."""
    choices = choices or Choices()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.intake_turns = anyio.CapacityLimiter(os.cpu_count() or 1)
        async with pruning(database, choices.retention, choices.prune_every):
            yield
        database.close()

    app = FastAPI(
        title="Jux API", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    limits = DEFAULT_LIMITS._replace(bytes=choices.largest_report)
    app.state.database = database
    app.state.gate = Gate(database, is_open_here=choices.is_open_here, rate=choices.rate)
    app.state.intake = Intake(database, accept=choices.accept, limits=limits)
    app.state.links = Links(urlsplit(choices.base_url).path)
    app.state.flaky_known = {}
    app.state.has_public_badges = choices.public_badges
    app.state.retention = choices.retention
    app.state.base_url = choices.base_url.rstrip("/")
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(SignInNeeded, _sign_in_needed)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _wrong_parameters)
    for error in (OperationalError, InterfaceError, PoolTimeout):
        app.add_exception_handler(error, _no_database)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _broken)
    for router in (*ROUTERS, *PAGES):
        app.include_router(router)
    observe(app)
    app.add_middleware(HeadAsGet)
    describe(app)
    return app


def _said(request: Request, problem: Problem) -> Response:
    """Return an error as those who asked can read it."""
    return problem_page(request, problem) if wants_page(request) else problem.answer()


async def _sign_in_needed(request: Request, _error: Exception) -> Response:
    return sign_in_first(request)


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)  # noqa: S101 - Starlette calls it for nothing else
    return _said(request, error)


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    status = HTTPStatus(error.status_code)
    return _said(request, Problem(status, status.phrase, headers=error.headers))


async def _no_database(request: Request, error: Exception) -> Response:
    _log.error("the database does not answer: %s", type(error).__name__)
    reason = "the database does not answer; nothing was stored"
    headers = {"Retry-After": "5"}
    return _said(request, Problem(HTTPStatus.SERVICE_UNAVAILABLE, "Database not available", reason, headers=headers))


async def _gone(request: Request, _error: Exception) -> Response:
    """Answer a client that is not there any more: nobody reads it, but it is no error of ours and not in the log."""
    return _said(request, Problem(HTTPStatus.BAD_REQUEST, "Invalid body", "the connection was closed before its end"))


async def _broken(request: Request, _error: Exception) -> Response:
    """Answer after an error of our own, whose traceback the server logs."""
    reason = "the server has made a mistake; its log says which"
    return _said(request, Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal error", reason))


async def _wrong_parameters(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
    first = error.errors()[0]
    name = str(first["loc"][-1]) if first.get("loc") else "request"
    return _said(request, bad_parameter(name, str(first["msg"]).removeprefix("Value error, ")))
