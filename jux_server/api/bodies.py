"""The body of a request, whole or refused: bounded in bytes, on the line and unpacked, and in time."""

from __future__ import annotations

import asyncio
import zlib
from http import HTTPStatus
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING

from fastapi.concurrency import run_in_threadpool

from jux_server.api.problems import Problem

if TYPE_CHECKING:
    from fastapi import Request

_IN_MEMORY = 1_000_000  # bytes of a body; more of it waits on disk, because many may be on their way at once
_SILENCE = 20.0  # seconds in which nothing of a body comes
_TOTAL = 300.0  # seconds for a whole body
_PIECE = 1 << 20  # bytes that are unpacked at once
_LONG = 1_024  # packed bytes that are worth another thread: they may be a million
_GZIP = 31  # zlib's window bits for a gzip stream (RFC 1952)


class Body:
    """A body that was received whole; `read` gives its bytes."""

    def __init__(self, file: SpooledTemporaryFile[bytes]) -> None:
        self._file = file

    def read(self) -> bytes:
        """Return the bytes and let go of what held them."""
        self._file.seek(0)
        with self._file:
            return self._file.read()


async def receive(request: Request, limit: int) -> Body:
    """Return the body of a request, unpacked if it is `gzip` (RFC 9110, section 8.4.1).

    Raises:
        Problem: 413 for more than `limit` bytes, 415 for another coding, 400 for a damaged stream, 408 for a slow one.
    """
    unpack = _unpacker(request.headers.get("content-encoding", ""), limit)
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise too_large(limit)
    file: SpooledTemporaryFile[bytes] = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - `Body` closes it
    try:
        async with asyncio.timeout(_TOTAL):
            await _receive_into(request, file, unpack, limit)
    except TimeoutError:
        file.close()
        reason = f"nothing came for {_SILENCE:g} seconds, or not all of it in {_TOTAL:g}"
        raise Problem(HTTPStatus.REQUEST_TIMEOUT, "Too slow", reason, headers={"Connection": "close"}) from None
    except BaseException:
        file.close()
        raise
    return Body(file)


def too_large(limit: int) -> Problem:
    """Return the answer for a report that is too large."""
    reason = f"more than {limit:,} bytes"
    return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Report too large", reason, headers={"Connection": "close"})


async def _receive_into(
    request: Request, file: SpooledTemporaryFile[bytes], unpack: _Unpacking | None, limit: int
) -> None:
    size = 0
    stream = aiter(request.stream())
    while True:
        async with asyncio.timeout(_SILENCE):
            chunk = await anext(stream, None)
        if chunk is None:
            break
        if unpack is None:
            size += len(chunk)
            if size > limit:
                raise too_large(limit)
            file.write(chunk)
        elif len(chunk) > _LONG:
            await run_in_threadpool(unpack.feed, chunk, file)
        else:
            unpack.feed(chunk, file)
    if unpack is not None:
        unpack.finish()


class _Unpacking:
    """A gzip stream, unpacked piece by piece as far as the limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._given = 0
        self._inflater = zlib.decompressobj(_GZIP)

    def feed(self, chunk: bytes, file: SpooledTemporaryFile[bytes]) -> None:
        while chunk:
            if self._inflater.eof:
                raise _damaged("there is something after its end")
            try:
                piece = self._inflater.decompress(chunk, _PIECE)
            except zlib.error:
                raise _damaged("it cannot be unpacked") from None
            self._given += len(piece)
            if self._given > self._limit:
                raise too_large(self._limit)
            file.write(piece)
            chunk = self._inflater.unconsumed_tail or self._inflater.unused_data

    def finish(self) -> None:
        if not self._inflater.eof:
            raise _damaged("it ends too early")


def _unpacker(coding: str, limit: int) -> _Unpacking | None:
    coding = coding.strip().lower()
    if coding in {"", "identity"}:
        return None
    if coding in {"gzip", "x-gzip"}:
        return _Unpacking(limit)
    reason = f"the content coding {coding[:40]!r} is not supported"
    headers = {"Accept-Encoding": "gzip"}
    raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Unsupported coding", reason, headers=headers)


def _damaged(how: str) -> Problem:
    return Problem(HTTPStatus.BAD_REQUEST, "Invalid body", f"the gzip stream is damaged: {how}")
