"""The client of the Jux API: what is sent, what the answers mean, and when it is tried again."""

from __future__ import annotations

import base64
import http
import random
import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from urllib3.exceptions import HTTPError, InvalidHeader
from urllib3.util import Retry

from pytest_jux import wire
from pytest_jux.addresses import without_secrets
from pytest_jux.answers import Question, Reply, outcome_of
from pytest_jux.calls import Abandoned, Call, Watchdog
from pytest_jux.config_values import Secret
from pytest_jux.errors import ClientMisconfigured, TransportFailed
from pytest_jux.outcomes import Outcome, Unavailable
from pytest_jux.text import visible
from pytest_jux.tls import Security
from pytest_jux.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Literal, Self

_WORTH_PACKING = 1000  # bytes, below which a packed request is no quicker
_DEADLINE = 120.0  # seconds
_SHORTEST_SECRET = 4  # characters; what is shorter is a part of everything, and no secret
_FIRST_PAUSE = 0.25, 0.75  # seconds before the first retry, at least and at most


class JuxAPIClient:
    """Publishes signed reports to the Jux API at `url`, such as `https://jux.example.com/api/v1/reports`.

    It is a context manager and can be used by several threads. Connections are kept and used again.

    Args:
        url: the whole address; plain `http://` is meant for this machine itself.
        key: the API key; None where the server wants none.
        auth: how the key is sent: `api-key` as `X-API-Key`, `bearer` as `Authorization: Bearer`, `basic` as
            `Authorization: Basic`, for which the key is `user:password`.
        connect_timeout: seconds for a connection, name resolution not included.
        read_timeout: seconds in which the next part of an answer must come.
        retries: how often a request is repeated that failed for reasons that may pass.
        deadline: seconds for one `publish` with everything that belongs to it.
        ca: PEM file with the certificate of a further authority; the system's are trusted anyway.
        client_cert: PEM file with the client's own certificate, if the server wants one.
        client_key: PEM file with its private key; None if that is in `client_cert`.
        client_key_passphrase: of that key.
        gzip: whether requests are packed: `auto` once the server has said that it takes them (RFC 7694), `always` or
            `never`.
        connections: how many threads can send at the same time without making new connections.

    Raises:
        ClientMisconfigured: with these arguments nothing can be sent.
    """

    def __init__(
        self,
        url: str,
        key: Secret | str | None = None,
        *,
        auth: Literal["api-key", "bearer", "basic"] = "api-key",
        connect_timeout: float = 10.0,
        read_timeout: float = 30.0,
        retries: int = 3,
        deadline: float = _DEADLINE,
        ca: Path | None = None,
        client_cert: Path | None = None,
        client_key: Path | None = None,
        client_key_passphrase: bytes | None = None,
        gzip: Literal["auto", "always", "never"] = "auto",
        connections: int = 1,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.url = url
        self.deadline = deadline
        self._key = key if isinstance(key, Secret) else Secret(key) if key else None
        self._authorization = _authorization(self._key, auth)
        self._hidden = _never_shown(self._key, self._authorization)
        self._retries = retries
        self._packing = _Packing(gzip)
        self._watchdog = Watchdog()
        security = Security(ca, client_cert, client_key, client_key_passphrase)
        self._transport = Transport(
            url, security, connect=connect_timeout, read=read_timeout, connections=connections, environ=environ
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<JuxAPIClient {without_secrets(self.url)}>"

    @property
    def is_exposed(self) -> bool:
        """Whether what is sent can be read on the way: plain HTTP to another machine."""
        return self._transport.is_exposed

    def close(self) -> None:
        """Close the connections."""
        self._watchdog.stop()
        self._transport.close()

    def headers(self, canonical_hash: str) -> dict[str, str | Secret]:
        """Return the headers that go with a report, the key as a `Secret`."""
        return {**wire.request_headers(canonical_hash), **self._authorization}

    def publish(
        self,
        data: bytes,
        metadata: Mapping[str, Any] | None = None,
        *,
        canonical_hash: str | None = None,
        deadline: float | None = None,
    ) -> Outcome:
        """Send a report and return what came of it; no server and no network makes this raise, or take longer.

        Args:
            data: the signed report, exactly as it is stored.
            metadata: the circumstances of the test run, such as `capture_metadata().to_dict()`.
            canonical_hash: `sha256:<64 hex>` of the report, where it is known.
            deadline: seconds, instead of those of the client.

        Raises:
            ReportError: it is no report.
            ReportUnsendable: it is no text in its own encoding.
        """
        if canonical_hash is None:
            from pytest_jux.canonicalizer import canonical_hash as hash_of  # noqa: PLC0415 - most callers know it

            canonical_hash = hash_of(data)
        seconds = self.deadline if deadline is None else deadline
        call = Call(time.monotonic() + seconds)
        body = wire.request_body(data, canonical_hash, metadata)
        exchange = _Exchange(self._transport, self._packing, body, self.headers(canonical_hash), self._retries)
        question = Question(self.url, canonical_hash, has_key=self._key is not None, secrets=self._hidden)
        try:
            with self._watchdog.watching(call):
                return exchange.deliver(call, question)
        except Abandoned:
            reason = f"no answer from {visible(self._transport.place)} within {seconds:.3g} s"
            last = exchange.last or Unavailable(reason)
            sent = last.is_answered or call.is_sending
            return replace(last, is_answered=sent, attempts=exchange.attempts)


class _Packing:
    """Whether requests are packed with gzip, as far as it is known that the server takes that (RFC 7694)."""

    def __init__(self, mode: str) -> None:
        self._may_learn = mode == "auto"
        self._is_on = mode == "always"

    def is_for(self, body: bytes) -> bool:
        """Tell whether to pack this body."""
        return self._is_on and len(body) >= _WORTH_PACKING

    def learn(self, reply: Reply) -> None:
        """Take notice of what the server says that it takes."""
        named = (part.strip() for part in reply.headers.get("accept-encoding", "").lower().split(","))
        if self._may_learn and any(re.fullmatch(r"gzip\s*(;(?!\s*q=0(\.0*)?\s*$).*)?", part) for part in named):
            self._is_on = True

    def stop(self) -> None:
        """Take notice that it does not."""
        self._is_on = self._may_learn = False


class _Exchange:
    """One report and the requests that bring it to the server, one after the other."""

    def __init__(
        self, transport: Transport, packing: _Packing, body: bytes, headers: Mapping[str, str | Secret], retries: int
    ) -> None:
        self.attempts = 0
        self.last: Unavailable | None = None
        self._transport = transport
        self._packing = packing
        self._body = body
        self._headers = dict(headers)
        self._retry = Retry(retries, allowed_methods=None, backoff_factor=0.5, backoff_jitter=0.5)

    def deliver(self, call: Call, question: Question) -> Outcome:
        """Ask until there is an answer that counts, no retry is left, or the next one would come too late."""
        retry = self._retry
        while True:
            self.attempts += 1
            outcome = replace(
                self._attempt(call, replace(question, is_first=self.attempts == 1)), attempts=self.attempts
            )
            if not isinstance(outcome, Unavailable) or not outcome.is_passing:
                return outcome
            self.last = outcome
            try:
                retry = retry.increment("POST", without_secrets(question.url), error=HTTPError(outcome.reason))
            except HTTPError:
                return outcome
            first = random.uniform(*_FIRST_PAUSE)  # noqa: S311 - so that not all clients come back in the same instant
            pause = max(first, retry.get_backoff_time(), outcome.retry_after or 0.0)
            if pause >= call.left:
                return outcome
            call.wait(pause)

    def _attempt(self, call: Call, question: Question) -> Outcome:
        is_packed = self._packing.is_for(self._body)
        try:
            reply = self._send(call, is_packed=is_packed)
            if is_packed and reply.status == http.HTTPStatus.UNSUPPORTED_MEDIA_TYPE:  # RFC 7694, section 3
                self._packing.stop()
                reply = self._send(call, is_packed=False)
        except TransportFailed as failure:
            return Unavailable(failure.reason, failure.is_passing, failure.is_answered, hint=failure.hint)
        self._packing.learn(reply)
        return outcome_of(reply, question, self._retry_after(reply))

    def _send(self, call: Call, *, is_packed: bool) -> Reply:
        if not is_packed:
            return self._transport.post(call, self._body, self._headers)
        import gzip  # noqa: PLC0415 - few servers take it

        body = gzip.compress(self._body, compresslevel=6, mtime=0)
        return self._transport.post(call, body, {**self._headers, "Content-Encoding": "gzip"})

    def _retry_after(self, reply: Reply) -> float | None:
        """Return the seconds that a server names in `Retry-After`, as a number or as a date (RFC 9110, 10.2.3)."""
        named = reply.headers.get("retry-after")
        try:
            return None if named is None else float(self._retry.parse_retry_after(named))
        except (InvalidHeader, ValueError, OverflowError, TypeError):
            return None


def _authorization(key: Secret | None, auth: str) -> dict[str, Secret]:
    """Return the header that shows who asks; raises ClientMisconfigured for a key that cannot stand in one.

    No variable here holds the key as plain text: tracebacks may show variables.
    """
    if key is None:
        return {}
    problem, hint = _key_problem(key, auth)
    if problem:
        raise ClientMisconfigured(problem, hint)
    return _header(key, auth)


def _key_problem(key: Secret, auth: str) -> tuple[str, str]:
    """Return what is wrong with a key, and the next step; empty texts if nothing is."""
    text = key.reveal().strip()
    if not text:
        return "the API key is empty", ""
    hint = "Was more copied than the key, or is it a file's whole content?"
    for character in text:
        # In basic authentication it is encoded, so that any letter can be in it.
        if not (character.isprintable() and (auth == "basic" or character.isascii())):
            kind = "a line break" if character in "\r\n" else "a character that is not printable ASCII"
            return f"the API key has {kind} in it", hint
    if auth == "basic" and ":" not in text:
        return "for jux_api_auth = basic the API key must be user:password", ""
    return "", ""


def _header(key: Secret, auth: str) -> dict[str, Secret]:
    text = key.reveal().strip()
    if auth == "bearer":
        return {"Authorization": Secret(f"Bearer {text}")}
    if auth == "basic":
        return {"Authorization": Secret(f"Basic {base64.b64encode(text.encode()).decode()}")}
    return {"X-API-Key": Secret(text)}


def _never_shown(key: Secret | None, authorization: Mapping[str, Secret]) -> tuple[Secret, ...]:
    """Return the texts that a server may repeat and that nobody may see, longest first."""
    if key is None:
        return ()
    sent = [value.reveal() for value in authorization.values()]
    texts = {key.reveal().strip(), *sent, *(text.partition(" ")[2] for text in sent)}
    if ":" in key.reveal():
        texts.add(key.reveal().partition(":")[2].strip())
    return tuple(Secret(text) for text in sorted(texts, key=len, reverse=True) if len(text) >= _SHORTEST_SECRET)
