"""HTTP connections that end when their client is too slow or says too much before there is a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

HEADERS_TIME = 20.0  # seconds from a connection, or from the first byte of its next request, to the end of the headers
LARGEST_HEAD = 65_536  # bytes that the parser may keep: headers, or trailers after a body


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's protocol, which waits for headers for ever and keeps as many of them as come.

    Bodies are bounded by the routes that read them (`api.bodies`), and idle connections by uvicorn.
    """

    headers_time = HEADERS_TIME

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - as uvicorn calls it
        super().__init__(*arguments, **options)
        self._too_late: asyncio.TimerHandle | None = None
        self._kept = 0  # bytes that were received since the parser made something of them

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Begin to wait for the headers of the first request."""
        super().connection_made(transport)
        self._wait_for_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        super().connection_lost(exc)
        self._stop_waiting()

    def data_received(self, data: bytes) -> None:
        """Take what came, unless it is too much of what belongs to no body."""
        self._kept += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._kept > LARGEST_HEAD:
            self.send_400_response("The headers are too large.")
            return
        request = cast("RequestResponseCycle | None", self.cycle)
        if request is None or request.response_complete:
            self._wait_for_headers()

    def on_headers_complete(self) -> None:
        """Begin to answer the request."""
        self._kept = 0
        self._stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Hand a part of the body on."""
        self._kept = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note the end of the request."""
        self._kept = 0
        super().on_message_complete()

    def _wait_for_headers(self) -> None:
        if self._too_late is None:
            self._too_late = self.loop.call_later(self.headers_time, self.timeout_keep_alive_handler)

    def _stop_waiting(self) -> None:
        if self._too_late is not None:
            self._too_late.cancel()
            self._too_late = None
