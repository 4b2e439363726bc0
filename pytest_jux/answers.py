"""What an answer of the Jux API means for the report that was sent: stored, refused, or to be sent again."""

from __future__ import annotations

import http
import json
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pytest_jux.config_values import MASK, Secret, without_userinfo
from pytest_jux.outcomes import Duplicate, Outcome, Published, Rejected, Unauthorized, Unavailable
from pytest_jux.text import visible
from pytest_jux.wire import Answer, NotAnAnswer, page_of, read_answer, shortened, writable

if TYPE_CHECKING:
    from collections.abc import Mapping

_WORDS = {  # passing troubles
    408: "did not get the request in time",
    425: "wants the request later",
    429: "is asked too often",
    500: "has an internal error",
    502: "is not reached by the proxy in front of it",
    503: "is overloaded or being serviced",
    504: "does not answer the proxy in front of it",
}
_WHOLE_ADDRESS = "jux_api_url must be the whole address of the API, such as https://jux.example.com/api/v1/reports."
_LONGEST_NAME = 200  # characters of an address in a sentence
_LONGEST_DETAILS = 10_000  # characters of JSON
_DEEPEST = 20  # levels of a server's details


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it came: `headers` with names in lower case, `body` None if it is larger than what is read."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked: the URL and the report's hash. `secrets` are never repeated, though the server may do so."""

    url: str
    canonical_hash: str
    is_first: bool = True  # no earlier request can have brought the report to the server
    has_key: bool = False
    secrets: tuple[Secret, ...] = ()


def outcome_of(reply: Reply, question: Question, retry_after: float | None = None) -> Outcome:
    """Return what a reply means. `retry_after`: the seconds that it names, where it names a time."""
    status = reply.status
    if 300 <= status < 400:  # noqa: PLR2004 - RFC 9110, section 15.4
        return _redirected(reply, question)
    if status in _WORDS:
        reason = f"the server {_WORDS[status]} ({_named(status)})"
        return Unavailable(reason, is_answered=True, retry_after=retry_after)
    if status == http.HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        hint = "Put user and password into the proxy's address in the environment: http://user:password@host:port."
        return Unavailable("the proxy wants a user and a password", is_passing=False, hint=hint)
    try:
        answer = _read(reply, question.secrets)
    except NotAnAnswer as found:
        return _judge_status(reply, str(found), has_key=question.has_key)
    return _judge(answer, reply, question)


def _judge(answer: Answer, reply: Reply, question: Question) -> Outcome:
    """Judge a reply whose body is a JSON object."""
    status = reply.status
    known = (answer.id, page_of(question.url, answer), answer.message)
    match status:
        case 200 | 201 | 409 if answer.canonical_hash not in {"", question.canonical_hash}:
            reason = f"the server answered for another report ({_hide(answer.canonical_hash, question.secrets)[:80]})"
            return Unavailable(visible(reason), is_passing=False, is_answered=True)
        case 200 | 201 | 409 if (answer.id or answer.canonical_hash) and not _is_error(answer, status):
            is_old = answer.status == "duplicate" or reply.status == http.HTTPStatus.CONFLICT
            return Duplicate(*known) if is_old and question.is_first else Published(*known)
        case 400 | 413 | 415 | 422:
            return Rejected(status, answer.reason or _named(status), answer.details)
        case 401 | 403:
            return _unauthorized(status, answer.reason, has_key=question.has_key)
    return _not_the_api(status, "JSON that names no report" if status in {200, 201, 409} else "")


def _judge_status(reply: Reply, found: str, *, has_key: bool) -> Outcome:
    """Judge a reply whose body is no JSON object, but `found`."""
    match reply.status:
        case 401 | 403:
            return _unauthorized(reply.status, "", has_key=has_key)
        case 413:  # a proxy in front of the server says so without the API's words
            return Rejected(reply.status, f"the report is too large for the server ({_named(reply.status)})")
    return _not_the_api(reply.status, found)


def _is_error(answer: Answer, status: int) -> bool:
    return status != http.HTTPStatus.CONFLICT and (answer.status == "error" or bool(answer.error))


def _unauthorized(status: int, said: str, *, has_key: bool) -> Unauthorized:
    if status == http.HTTPStatus.FORBIDDEN:
        reason = "the API key may not publish here"
    else:
        reason = "the server does not accept the API key" if has_key else "the server wants an API key"
    words = f": {visible(said)}" if said else ""
    hint = "jux-config dump shows which key is used, and where it comes from."
    if not has_key:
        hint = "Put the key into the variable JUX_API_KEY, or name its place with jux_api_key_env or jux_api_key_file."
    return Unauthorized(status, f"{reason} ({_named(status)}){words}", hint)


def _redirected(reply: Reply, question: Question) -> Unavailable:
    target = _hide(reply.headers.get("location", ""), question.secrets)
    shown = visible(without_userinfo(target)[:_LONGEST_NAME])
    reason = f"the server redirects to {shown or 'nowhere'} (HTTP {reply.status}), which is not followed"
    hint = "If that is the API, set jux_api_url to it." if shown else _WHOLE_ADDRESS
    return Unavailable(reason, is_passing=False, is_answered=True, hint=hint)


def _not_the_api(status: int, found: str) -> Unavailable:
    details = f", {found}" if found else ""
    reason = f"what answered is not the Jux API ({_named(status)}{details})"
    return Unavailable(reason, is_passing=False, is_answered=True, hint=_WHOLE_ADDRESS)


def _read(reply: Reply, secrets: tuple[Secret, ...]) -> Answer:
    if reply.body is None:
        raise NotAnAnswer("an answer of more than 1 MB")
    answer = read_answer(reply.body)
    names = ("id", "message", "error", "url")  # what is compared stays as it came
    texts = {name: shortened(_hide(getattr(answer, name), secrets)) for name in names}
    details = _hide_all(answer.details, secrets, 0)
    if len(json.dumps(details)) > _LONGEST_DETAILS:
        reason = answer.details.get("reason")
        kept = {"reason": _hide_all(reason, secrets, 0)} if isinstance(reason, str) else {}
        details = {**kept, "left out": "the server's details are too long to be kept"}
    return replace(answer, **texts, details=details)


def _hide(text: str, secrets: tuple[Secret, ...]) -> str:
    for secret in secrets:
        text = text.replace(secret.reveal(), MASK)
    return text


def _hide_all(value: Any, secrets: tuple[Secret, ...], depth: int) -> Any:  # noqa: ANN401 - JSON
    """Return JSON in which no secret is, and which is not nested deeper than anybody will read."""
    if depth > _DEEPEST:
        return "…"
    if isinstance(value, dict):
        return {writable(_hide(name, secrets)): _hide_all(item, secrets, depth + 1) for name, item in value.items()}
    if isinstance(value, list):
        return [_hide_all(item, secrets, depth + 1) for item in value]
    if isinstance(value, float) and not math.isfinite(value):  # which JSON has not
        return str(value)
    return shortened(writable(_hide(value, secrets))) if isinstance(value, str) else value


def _named(status: int) -> str:
    try:
        return f"HTTP {status} {http.HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"
