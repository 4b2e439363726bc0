"""For those who operate the server: is it there, does it work, what is it doing."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from sqlalchemy.exc import SQLAlchemyError

from jux_server import __version__
from jux_server.api import schemas
from jux_server.api.access import Asks
from jux_server.api.problems import Problem
from jux_server.trust import EVERYTHING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from jux_server.store.database import Database

router = APIRouter(tags=["Operation"])

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """What a process counts; each has its own, and a scraper that asks several sees them in turn."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "jux_http_requests_total",
            "Requests that were answered",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "jux_http_request_seconds", "Time to answer", ["method", "route"], buckets=_BUCKETS, registry=self.registry
        )
        self.reports = Counter("jux_reports_total", "Reports that were received", ["outcome"], registry=self.registry)

    def text(self) -> bytes:
        """Return the figures in Prometheus' text format."""
        return generate_latest(self.registry)


@router.get("/healthz", response_model=schemas.Health)
async def health() -> JSONResponse:
    """Say that the process is there."""
    return JSONResponse({"status": "ok", "version": __version__})


@router.get("/readyz", response_model=schemas.Health, responses=schemas.errors(503))
def ready(request: Request) -> JSONResponse:
    """Say whether the database answers."""
    database: Database = request.app.state.database
    try:
        with database.read() as connection:
            connection.exec_driver_sql("SELECT 1")
    except SQLAlchemyError:
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "Not ready", "the database does not answer") from None
    return JSONResponse({"status": "ok", "version": __version__})


@router.get(
    "/metrics",
    response_class=Response,
    responses={**schemas.errors(401, 403, 429), 200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def metrics(request: Request, asks: Asks) -> Response:
    """Return the figures of this process for Prometheus."""
    if EVERYTHING not in asks.require("read").projects:
        reason = "the figures are of all projects, and this API key is for some"
        raise Problem(HTTPStatus.FORBIDDEN, "Not allowed", reason, suggestions=["Use a key for all projects (*)."])
    found: Metrics = request.app.state.metrics
    return Response(found.text(), media_type=CONTENT_TYPE_LATEST)


def observe(app: FastAPI) -> None:
    """Let an application count what it answers."""
    app.state.metrics = Metrics()
    app.add_middleware(_Observer, metrics=app.state.metrics)


class _Observer:
    """ASGI middleware; requests for paths that there are not count under one name, so that nobody can make more."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = HTTPStatus.INTERNAL_SERVER_ERROR
        start = time.perf_counter()

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, note)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self.metrics.requests.labels(method, route, str(int(status))).inc()
            self.metrics.seconds.labels(method, route).observe(time.perf_counter() - start)


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
