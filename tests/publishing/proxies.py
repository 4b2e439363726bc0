"""A forward proxy for tests, on a real socket: plain requests and CONNECT, with and without a login, all recorded.

    with ForwardProxy({"api.example.test": server}) as proxy:
        …HTTP_PROXY=proxy.address…
        assert proxy.requests[0].method == "CONNECT"

It knows the hosts that it is given and answers 502 for every other: nothing leaves this machine. It demands
`login="user:password"`, if that is given. It is a `RecordingServer`, so `behave`, `requests`, `received` and the rest
are there, too; in `received` is what went through a tunnel, as the proxy could read it.
"""

from __future__ import annotations

import base64
import select
import socket
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from publishing.hostile import Gone, Line, RecordingServer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from publishing.hostile import Request


class ForwardProxy(RecordingServer):
    """A proxy on a free port; `hosts` says which server is behind which host name."""

    def __init__(
        self, hosts: Mapping[str, RecordingServer], *, login: str | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self.hosts = dict(hosts)
        self._login = None if login is None else "Basic " + base64.b64encode(login.encode()).decode()
        super().__init__(forwards, tls=tls)

    @property
    def address(self) -> str:
        """The value for HTTP_PROXY and HTTPS_PROXY, without a login."""
        return self.origin

    def lets_in(self, request: Request) -> bool:
        """Tell whether a request brings the login, if there has to be one."""
        return self._login is None or request.header("proxy-authorization") == self._login


def forwards(line: Line) -> None:
    """Be a proxy for one request, or for one tunnel."""
    proxy = line.server
    assert isinstance(proxy, ForwardProxy)
    request = line.read_request()
    if not proxy.lets_in(request):
        line.answer(407, b"who are you?", {"Proxy-Authenticate": 'Basic realm="proxy"'})
        return
    parts = urlsplit(f"//{request.path}" if request.method == "CONNECT" else request.path)
    target = proxy.hosts.get(parts.hostname or "")
    if target is None:
        line.answer(502, b"no such host")
        return
    with socket.create_connection((target.host, target.port)) as upstream:
        if request.method == "CONNECT":
            line.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            path = f"{parts.path}?{parts.query}" if parts.query else parts.path
            own = {"proxy-authorization", "proxy-connection", "connection", "transfer-encoding", "content-length"}
            headers = [one for one in request.headers if one[0].lower() not in own]
            headers += [("Content-Length", str(len(request.body))), ("Connection", "close")]
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
            upstream.sendall(f"{request.method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + request.body)
            line.send(read_line(line, upstream) + b"Connection: close\r\n")
        relay(line, upstream)


def read_line(line: Line, upstream: socket.socket) -> bytes:
    """Return the first line of an answer."""
    found = bytearray()
    while not found.endswith(b"\n"):
        select.select([upstream, line.server.alarm], [], [])
        data = b"" if line.server.stopping.is_set() else upstream.recv(1)
        if not data:
            raise Gone
        found += data
    return bytes(found)


def relay(line: Line, upstream: socket.socket) -> None:
    """Carry bytes both ways until one side closes."""
    while True:
        has_read = isinstance(line.socket, ssl.SSLSocket) and line.socket.pending() > 0
        ready, _, _ = select.select([line.socket, upstream, line.server.alarm], [], [], 0 if has_read else None)
        if line.server.alarm in ready:
            raise Gone
        if line.socket in ready or has_read:
            data = line.read()
            if not data:
                raise Gone
            upstream.sendall(data)
        if upstream in ready:
            data = upstream.recv(1 << 16)
            if not data:
                line.hang_up()
            line.send(data)
