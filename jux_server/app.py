"""The application: one database, who may do what, and the routes."""

from __future__ import annotations

import logging
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

import anyio
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from jux_server import __version__
from jux_server.api import ROUTERS
from jux_server.api.access import Gate
from jux_server.api.description import describe
from jux_server.api.operations import observe
from jux_server.api.problems import Problem, bad_parameter
from jux_server.intake import Intake
from jux_server.pruning import pruning
from jux_server.upkeep.retention import Retention
from pytest_jux.document import DEFAULT_LIMITS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import Request

    from jux_server.store.database import Database


_FOREVER = Retention()


_log = logging.getLogger("uvicorn.error")  # where the server's own messages go


@dataclass(frozen=True, slots=True)
class Choices:
    """What is decided for one server: see the settings of the same names.

    `largest_report` is in bytes; `rate` is such as `600/minute`, or "" for any number of requests; `prune_every` is in
    hours, 0 for never.
    """

    is_open_here: bool = True
    accept: str = "any"
    largest_report: int = DEFAULT_LIMITS.bytes
    rate: str = ""
    retention: Retention = _FOREVER
    prune_every: float = 0


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
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _wrong_parameters)
    for error in (OperationalError, InterfaceError, PoolTimeout):
        app.add_exception_handler(error, _no_database)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _broken)
    for router in ROUTERS:
        app.include_router(router)
    observe(app)
    describe(app)
    return app


async def _problem(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)  # noqa: S101 - Starlette calls it for nothing else
    return error.answer()


async def _http_exception(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    status = HTTPStatus(error.status_code)
    return Problem(status, status.phrase, headers=error.headers).answer()


async def _no_database(_request: Request, error: Exception) -> JSONResponse:
    _log.error("the database does not answer: %s", type(error).__name__)
    reason = "the database does not answer; nothing was stored"
    headers = {"Retry-After": "5"}
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "Database not available", reason, headers=headers).answer()


async def _gone(_request: Request, _error: Exception) -> JSONResponse:
    """Answer a client that is not there any more: nobody reads it, but it is no error of ours and not in the log."""
    return Problem(HTTPStatus.BAD_REQUEST, "Invalid body", "the connection was closed before its end").answer()


async def _broken(_request: Request, _error: Exception) -> JSONResponse:
    """Answer after an error of our own, whose traceback the server logs."""
    reason = "the server has made a mistake; its log says which"
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal error", reason).answer()


async def _wrong_parameters(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
    first = error.errors()[0]
    name = str(first["loc"][-1]) if first.get("loc") else "request"
    return bad_parameter(name, str(first["msg"]).removeprefix("Value error, ")).answer()
