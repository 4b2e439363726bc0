"""A server that has every report at once: one process, one thread, nothing parsed that is not needed to answer.

`python answering.py` prints its port and ends with its standard input. It answers each `POST` with 201 and the hash in
`Idempotency-Key`, as the Jux API does, and keeps connections open.
"""

from __future__ import annotations

import contextlib
import json
import re
import selectors
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_HASH = re.compile(rb"\r\nidempotency-key: *([\w:]+)", re.IGNORECASE)
_BLOCK = 1 << 18  # bytes


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Run the server in a process of its own and give the API's address."""
    command = [sys.executable, "-I", str(Path(__file__).resolve())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/api/v1/reports"
        finally:
            process.stdin.close()


class _Line:
    """A connection and what has come of its next request."""

    def __init__(self, line: socket.socket) -> None:
        self.line = line
        self.seen = bytearray()
        self.expected = 0  # bytes of the request with its head, 0 while that is not known

    def answer(self) -> bool:
        """Read what there is and answer a request that is complete; false when the other side is gone."""
        try:
            block = self.line.recv(_BLOCK)
        except OSError:
            return False
        self.seen += block
        if not self.expected and (end := self.seen.find(_END)) >= 0:
            length = _LENGTH.search(self.seen, 0, end)
            self.expected = end + len(_END) + (int(length[1]) if length else 0)
        if self.expected and len(self.seen) >= self.expected:
            named = _HASH.search(self.seen, 0, self.seen.find(_END))
            canonical_hash = named[1].decode() if named else ""
            del self.seen[: self.expected]
            self.expected = 0
            self.line.sendall(_created(canonical_hash))
        return bool(block)


def _created(canonical_hash: str) -> bytes:
    body = json.dumps(
        {
            "status": "created",
            "id": f"report-{canonical_hash[-12:]}",
            "canonical_hash": canonical_hash,
            "message": "Report published successfully",
        }
    ).encode()
    head = f"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def main() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener, selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        print(listener.getsockname()[1], flush=True)
        while True:
            for key, _ in selector.select():
                if key.fileobj is sys.stdin:
                    return
                if key.fileobj is listener:
                    line, _ = listener.accept()
                    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    selector.register(line, selectors.EVENT_READ, _Line(line))
                elif not key.data.answer():
                    selector.unregister(key.data.line)
                    key.data.line.close()


if __name__ == "__main__":
    main()
