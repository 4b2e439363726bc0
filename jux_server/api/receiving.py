"""The two routes that take reports in: the user's API, and that of the public contract."""

from __future__ import annotations

import json
import math
import re
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NoReturn

import anyio.to_thread
from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError

from jux_server.api import bodies, presenting, schemas
from jux_server.api.access import KEY_REFUSED, Asking, Asks, AsksByContract
from jux_server.api.problems import Problem
from jux_server.intake import Created, Duplicate, Outcome, Rejected
from pytest_jux.wire import report_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from jux_server.intake import Intake
    from jux_server.trust import Caller

router = APIRouter(tags=["Reports"])
contract = APIRouter(tags=["Jux API v1"])

_LARGEST_METADATA = 65_536  # characters of JSON
_DEEPEST_METADATA = 20  # objects and lists in each other
_NOTED = {400, 401, 403, 408, 413, 415}  # answers to reports that were not read, of which the intake page tells
_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)


@router.post(
    "/api/v1/reports",
    status_code=201,
    response_model=schemas.Received,
    responses={**schemas.RECEIVES, 409: {"model": schemas.Received, "description": "The project has this report."}},
    openapi_extra={"requestBody": schemas.PUBLICATION_BODY},
)
async def publish_report(request: Request, asks: Asks) -> JSONResponse:
    """Take in a signed report: verify it, and store it unless its project has it.

    The body is JSON: `report` is the document as text, `canonical_hash` what the sender computed (optional), and
    `metadata` what the sender says about the run (optional). It may be compressed (`Content-Encoding: gzip`).
    """
    limit = 2 * _intake(request).limits.bytes + _LARGEST_METADATA
    outcome = await _take(request, asks, ("application/json",), limit, _publish)
    match outcome:
        case Created():
            return _answer(HTTPStatus.CREATED, "created", "Report published successfully", outcome)
        case Duplicate(is_better=True):
            return _answer(
                HTTPStatus.CONFLICT, "duplicate", "Report already exists; its better signature was added", outcome
            )
        case Duplicate():
            return _answer(HTTPStatus.CONFLICT, "duplicate", "Report already exists", outcome)
        case Rejected():
            raise _refusal(outcome)


@contract.post(
    "/api/v1/junit/submit",
    status_code=201,
    response_model=schemas.Submitted,
    responses={**schemas.RECEIVES, 200: {"model": schemas.Submitted, "description": "The project has this report."}},
    openapi_extra={"requestBody": schemas.JUNIT_BODY},
)
async def submit_junit(request: Request, asks: AsksByContract) -> JSONResponse:
    """Take in a JUnit XML document, signed or not, as the public contract has it.

    A report that the project has is answered with 200 and the run that is there.
    """
    limit = _intake(request).limits.bytes
    outcome = await _take(request, asks, ("application/xml", "text/xml"), limit, _submit)
    if isinstance(outcome, Rejected):
        raise _refusal(outcome)
    counts = outcome.counts
    run = counts["tests"] - counts["skipped"]
    passed = run - counts["failures"] - counts["errors"]
    is_new = isinstance(outcome, Created)
    answer = {
        "test_run_id": str(outcome.id),
        "message": "Test results submitted successfully" if is_new else "These test results were submitted before",
        "test_count": counts["tests"],
        "failure_count": counts["failures"],
        "error_count": counts["errors"],
        "skipped_count": counts["skipped"],
        "success_rate": presenting.percentage(passed, run),
        **_evidence(outcome),
    }
    return JSONResponse(answer, HTTPStatus.CREATED if is_new else HTTPStatus.OK)


def _publish(intake: Intake, caller: Caller, body: bodies.Body) -> Outcome:
    said = _json(body.read())
    report, claimed, sender = said.get("report"), said.get("canonical_hash"), said.get("metadata")
    if not isinstance(report, str):
        raise _invalid("there is no report in it: a text of that name is expected")
    if not (claimed is None or isinstance(claimed, str)):
        raise _invalid("canonical_hash is not a text")
    if not (sender is None or isinstance(sender, dict)):
        raise _invalid("metadata is not an object")
    if _is_deep(sender):
        raise _invalid(f"metadata is nested deeper than {_DEEPEST_METADATA} levels")
    if sender and len(json.dumps(sender)) > _LARGEST_METADATA:
        raise _invalid(f"metadata is larger than {_LARGEST_METADATA:,} characters of JSON")
    try:
        data = report_bytes(report)
    except ValueError:
        raise _invalid("the report has characters that the encoding in its declaration has not") from None
    return intake.receive(data, caller, claimed_hash=claimed, sender=sender)


def _submit(intake: Intake, caller: Caller, body: bodies.Body) -> Outcome:
    return intake.receive(body.read(), caller)


def _json(body: bytes) -> dict[str, Any]:
    """Return a JSON object (RFC 8259), whose values are what JSON can say again; raises `Problem`."""
    if _has_more_than_texts(body):
        raise _invalid(f"beside its texts it is larger than {_LARGEST_METADATA:,} bytes")
    try:
        said = json.loads(body.decode("utf-8-sig"), parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        raise _invalid("it is not JSON in UTF-8") from None
    if not isinstance(said, dict):
        raise _invalid("it is JSON, but not an object")
    return said


def _has_more_than_texts(body: bytes) -> bool:
    """Tell whether a body would become many objects, each of which takes twenty times its length in memory."""
    outside = end = 0
    for text in _TEXT.finditer(body):
        outside += text.start() - end + 1
        end = text.end()
        if outside > _LARGEST_METADATA:
            return True
    return outside + len(body) - end > _LARGEST_METADATA


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(_DEEPEST_METADATA):
        level = [inner for outer in level for inner in _inside(outer)]
    return bool(level)


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(number)
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _invalid(reason: str) -> Problem:
    example = 'Send {"report": "<testsuite>…</testsuite>", "canonical_hash": "sha256:…", "metadata": {}}.'
    return Problem(HTTPStatus.BAD_REQUEST, "Invalid body", reason, suggestions=[example])


def _check_type(request: Request, *accepted: str) -> None:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in accepted:
        reason = f"Content-Type is {given[:80] or 'not given'}, and {' or '.join(accepted)} is expected"
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Unsupported media type", reason)


def _intake(request: Request) -> Intake:
    intake: Intake = request.app.state.intake
    return intake


async def _take(
    request: Request,
    asks: Asking,
    types: Sequence[str],
    limit: int,
    read: Callable[[Intake, Caller, bodies.Body], Outcome],
) -> Outcome:
    """Return what came of a report. What does not come as far as being read is written down, too, now and then."""
    caller: Caller | None = None
    try:
        caller = await asks.required("publish")
        _check_type(request, *types)
        body = await bodies.receive(request, limit)
        return await _in_turn(request, partial(read, _intake(request), caller, body))
    except Problem as problem:
        key_id = None if caller is None else caller.key_id
        which = problem.reason if problem.error == KEY_REFUSED else ""  # a few: unknown, or one that there was
        if problem.status in _NOTED and asks.gate.is_news(asks.peer, problem.error, which, str(key_id)):
            reason = f"{problem.reason}; from {asks.peer}"
            with suppress(SQLAlchemyError):  # a database that does not answer must not hide the reason
                await run_in_threadpool(_intake(request).note_turned_away, problem.error, reason, key_id)
        raise


async def _in_turn(request: Request, work: partial[Outcome]) -> Outcome:
    """Do the work of one report in a thread, of which few run at once: the others would only slow down who reads."""
    outcome = await anyio.to_thread.run_sync(work, limiter=request.app.state.intake_turns)
    request.app.state.metrics.reports.labels(type(outcome).__name__.lower()).inc()
    return outcome


def _answer(status: HTTPStatus, word: str, message: str, outcome: Created | Duplicate) -> JSONResponse:
    answer = {
        "status": word,
        "id": str(outcome.id),
        "canonical_hash": outcome.canonical_hash,
        "message": message,
        **_evidence(outcome),
    }
    return JSONResponse(answer, status)


def _evidence(outcome: Created | Duplicate) -> dict[str, Any]:
    """Return what both APIs add to their answers: what became of the signature that was sent."""
    seal = outcome.seal
    return {
        "project": outcome.project,
        "canonical_hash": outcome.canonical_hash,
        "signature": {"state": seal.state.word, "reason": seal.reason or None, "signer": seal.signer},
        "url": f"/reports/{outcome.id}",
    }


def _refusal(rejected: Rejected) -> Problem:
    status = HTTPStatus.BAD_REQUEST
    if rejected.is_too_large:
        status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    elif rejected.is_forbidden:
        status = HTTPStatus.FORBIDDEN
    suggestions = [rejected.suggestion] if rejected.suggestion else []
    return Problem(status, rejected.error, rejected.reason, suggestions=suggestions)
