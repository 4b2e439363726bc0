"""Who asks, and whether they may: API keys, or nothing at all from this machine itself."""

from __future__ import annotations

import base64
import math
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, NamedTuple

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from jux_server.api.problems import Problem
from jux_server.trust import EVERYTHING, Caller, KeyRefused, authenticate
from pytest_jux.addresses import is_loopback

if TYPE_CHECKING:
    from limits import RateLimitItem

    from jux_server.store.database import Database

HERE = Caller(None, "this machine", frozenset({"publish", "read"}), (EVERYTHING,))
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")
_GUESSES = "30/minute"  # wrong keys from one address
_NEWS = "60/minute"  # in all, since one sender may have many addresses
KEY_REFUSED = "API key refused"
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="jux"'}  # RFC 9110, section 11.6.1


class Gate:
    """What a process needs to let callers in.

    `is_open_here`: a caller on this machine needs no key. `rate`: requests of one caller, such as `600/minute`; "" for
    any number. Each process counts for itself.
    """

    def __init__(self, database: Database, *, is_open_here: bool, rate: str = "") -> None:
        self.database = database
        self.is_open_here = is_open_here
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._rate = parse(rate) if rate else None
        self._guesses = parse(_GUESSES)
        self._news = parse("1/minute")
        self._all_news = parse(_NEWS)

    def admit(self, asking: Asking, scope: str) -> Caller:
        """Return who asks, if they may do what the scope stands for; raises `Problem` with 401, 403 or 429."""
        return self.allow(self._recognise(asking), asking.peer, scope)

    def allow(self, caller: Caller, peer: str, scope: str) -> Caller:
        """Return the caller, if they have a scope and have not asked too often; raises `Problem` with 403 or 429."""
        if self._rate is not None:
            self._count(self._rate, "caller", str(caller.key_id or peer))
        if not caller.may(scope):
            reason = f"the API key {caller.name!r} has not the scope {scope}"
            raise Problem(HTTPStatus.FORBIDDEN, "Not allowed", reason, suggestions=["Use a key with that scope."])
        return caller

    def is_news(self, *what: str) -> bool:
        """Tell whether this was not asked in the last minute, nor much else, so that nobody can fill what keeps it."""
        return self._limiter.hit(self._news, "news", *what) and self._limiter.hit(self._all_news, "all news")

    def _recognise(self, asking: Asking) -> Caller:
        if not asking.token:
            if self.is_open_here and asking.is_local:
                return HERE
            raise Problem(
                HTTPStatus.UNAUTHORIZED,
                "Authentication required",
                "there is no API key in the request",
                suggestions=["Send the key as X-API-Key, or as Authorization: Bearer."],
                headers=_CHALLENGE,
            )
        try:
            return authenticate(self.database, asking.token)
        except KeyRefused as refused:
            # Wrong keys alone are counted: one forgotten build must not lock out all others behind its address.
            self._count(self._guesses, "guess", asking.peer, what="wrong API keys from this address")
            raise Problem(
                asking.refusal,
                KEY_REFUSED,
                str(refused),
                suggestions=["Ask for a new key: jux-server key create."],
                headers=_CHALLENGE if asking.refusal is HTTPStatus.UNAUTHORIZED else None,
            ) from None

    def _count(self, rate: RateLimitItem, *name: str, what: str = "requests") -> None:
        if not self._limiter.hit(rate, *name):
            raise self._too_many(rate, *name, what=what)

    def _too_many(self, rate: RateLimitItem, *name: str, what: str) -> Problem:
        window = self._limiter.get_window_stats(rate, *name)
        seconds = max(1, math.ceil(window.reset_time - time.time()))
        return Problem(
            HTTPStatus.TOO_MANY_REQUESTS,
            "Too many requests",
            f"more than {rate.amount} {what} in {rate.get_expiry()} seconds; try again in {seconds}",
            headers={
                "Retry-After": str(seconds),
                "X-RateLimit-Limit": str(rate.amount),
                "X-RateLimit-Remaining": str(max(0, window.remaining)),
                "X-RateLimit-Reset": str(math.ceil(window.reset_time)),
            },
        )


class Asking(NamedTuple):
    """What a request says of who sends it.

    `is_local`: from this machine, to this machine, and not passed on. `refusal`: how a wrong key is answered.
    """

    gate: Gate
    token: str
    peer: str
    is_local: bool
    refusal: HTTPStatus = HTTPStatus.UNAUTHORIZED

    def require(self, scope: str) -> Caller:
        """Return who asks; raises `Problem` as `Gate.admit`. It asks the database, so it is not for the event loop."""
        return self.gate.admit(self, scope)

    async def required(self, scope: str) -> Caller:
        """Return what `require` returns, for the event loop."""
        return await run_in_threadpool(self.require, scope) if self.token else self.require(scope)


async def asking(request: Request) -> Asking:
    """Read from a request who asks: no database, no waiting."""
    headers = request.headers
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    token = headers.get("x-api-key", "").strip()
    if not token and scheme.lower() == "bearer":
        token = credentials.strip()
    elif not token and scheme.lower() == "basic":
        token = _password(credentials.strip())
    peer = request.client.host if request.client else ""
    host = headers.get("host", "").strip()
    name = host.rpartition(":")[0] if ":" in host.rpartition("]")[2] else host
    is_local = (
        is_loopback(peer)
        and is_loopback(name.strip("[]"))  # a page elsewhere may have its own name lead here (DNS rebinding)
        and not any(header in headers for header in _FORWARDED)
        and headers.get("sec-fetch-site", "none") in {"none", "same-origin"}  # or may post to this address
    )
    return Asking(request.app.state.gate, token, peer, is_local)


def _password(credentials: str) -> str:
    try:
        user, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
    except ValueError:  # not Base64, not ASCII, or not UTF-8
        return credentials or "?"
    return password or user or "?"


async def asking_by_contract(request: Request) -> Asking:
    """Read who asks on the routes of the public contract, which answers a wrong key with 403."""
    return (await asking(request))._replace(refusal=HTTPStatus.FORBIDDEN)


def database_of(request: Request) -> Database:
    """Return the database of the server that was asked."""
    database: Database = request.app.state.database
    return database


Asks = Annotated[Asking, Depends(asking)]
AsksByContract = Annotated[Asking, Depends(asking_by_contract)]
