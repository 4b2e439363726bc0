"""A Jux API server for tests, on a real socket: it keeps what it is sent, records every byte, and misbehaves on demand.

    with RecordingServer() as server:
        publish_to(server.url)                          # http://127.0.0.1:PORT/api/v1/reports
        assert server.requests[0].header("x-api-key") == "secret"
        assert list(server.reports) == ["sha256:…"]     # the reports it has, by their canonical hash

Without further words it is the API of the documentation: 201 for a report that it did not have, 409 for one that it
has, 400 for one whose `canonical_hash` is not that of the report (computed here with lxml alone; `is_checking=False`
believes it). `RecordingServer(key="…")` wants that key, as `X-API-Key`, as bearer or as basic `user:password`, and
answers 401 without it. `host="::1"` is IPv6, `tls=` takes a server-side `ssl.SSLContext`, `name=` is the host in the
URL, `announce=` are headers of its own answers. `preload(hash)` makes it have a report.

`server.behave(answers(503), answers(503), stores)` says what it does instead: one behaviour for each attempt (the first
request of a connection, counted when the connection is accepted, and each further request on it), the last one
repeated. A behaviour is a function that gets a `Line`; those that tests commonly want are below: `stores`,
`answers(status, body, headers)`, `is_silent`, `hangs_up`, `resets`.

`stop` (or the end of the `with` block) ends every thread and socket at once, and raises what went wrong in the server.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import hmac
import json
import re
import select
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from lxml import etree

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Mapping

PATH = "/api/v1/reports"
_DS = "http://www.w3.org/2000/09/xmldsig#"
_LARGEST = 1 << 30  # bytes of a request; more is a mistake of the test
_PATIENCE = 30  # seconds; no thread of a server that stops needs them


class Gone(Exception):
    """The other side is gone, or the server is being stopped: a behaviour has nothing left to do."""


@dataclass(frozen=True)
class Request:
    """One complete request. `headers` are as received, in order; `body` is without chunking, but still compressed."""

    method: str
    path: str
    version: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False)
    is_tls: bool
    connection: int
    at: float  # time.monotonic(), when the last byte was there

    def header(self, name: str) -> str | None:
        """Return the value of a header, None if there is none; a header that comes twice is an error."""
        found = [value for given, value in self.headers if given.lower() == name.lower()]
        assert len(found) < 2, f"{name} came {len(found)} times"
        return found[0] if found else None

    @property
    def content(self) -> bytes:
        """The body, decompressed."""
        coding = self.header("content-encoding")
        assert coding in {None, "gzip"}, coding
        return self.body if coding is None else gzip.decompress(self.body)

    @property
    def json(self) -> Any:
        return json.loads(self.content)


@dataclass
class Connection:
    """One accepted connection, and every byte that came on it (after TLS). `is_tls`: a handshake was completed."""

    number: int
    at: float
    is_tls: bool = False
    tls_failure: str = ""
    client_certificate: dict[str, Any] | None = None
    received: bytearray = field(default_factory=bytearray, repr=False)


@dataclass(frozen=True)
class Report:
    """A report that the server has: its bytes as the client signed them, and the metadata that came with it."""

    id: str
    canonical_hash: str
    data: bytes = field(repr=False)
    metadata: dict[str, Any] = field(repr=False)


def canonical_hash_of(data: bytes) -> str:
    """Compute a report's identity by the book: SHA-256 of the canonical form of the document without its signature."""
    root = etree.fromstring(data, etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True))
    for signature in root.findall(f"{{{_DS}}}Signature"):
        before, tail = signature.getprevious(), signature.tail or ""
        if before is None:
            root.text = (root.text or "") + tail
        else:
            before.tail = (before.tail or "") + tail
        signature.tail = None
        root.remove(signature)
    form = etree.tostring(root.getroottree(), method="c14n", with_comments=False)
    return f"sha256:{hashlib.sha256(form).hexdigest()}"


def document_bytes(text: str) -> bytes:
    """Return the bytes of a document that came as text, in the encoding that its XML declaration names."""
    declared = re.match(r"\ufeff?<\?xml[^>]*?\sencoding\s*=\s*[\"']([A-Za-z0-9._-]+)[\"']", text)
    return text.encode(declared[1] if declared else "utf-8")


class Line:
    """One attempt on one connection, as a behaviour sees it. Everything raises `Gone` if the other side is gone."""

    def __init__(self, server: RecordingServer, sock: socket.socket, connection: Connection) -> None:
        self.server, self.connection = server, connection
        self.socket = sock
        self._rest = b""
        self.is_last = False  # the other side wants no further attempt on this connection

    # What comes in.

    def read(self, limit: int = 1 << 16) -> bytes:
        """Return some bytes, b"" at the end; recorded."""
        if self._rest:
            found, self._rest = self._rest[:limit], self._rest[limit:]
            return found
        try:
            found = self.socket.recv(limit)
        except OSError as error:
            raise Gone from error
        self.server.note(self.connection, found)
        return found

    def read_bytes(self, count: int) -> bytes:
        """Return exactly so many bytes."""
        found = bytearray()
        while len(found) < count:
            part = self.read(min(count - len(found), 1 << 16))
            if not part:
                raise Gone
            found += part
        return bytes(found)

    def read_until(self, mark: bytes) -> bytes:
        """Return everything up to and with a mark."""
        found = bytearray()
        while mark not in found:
            start = max(len(found) - len(mark), 0)
            part = self.read()
            if not part:
                raise Gone
            found += part
            assert len(found) < _LARGEST
            if mark in found[start:]:
                break
        end = found.index(mark) + len(mark)
        self._rest = bytes(found[end:]) + self._rest
        return bytes(found[:end])

    def read_request(self) -> Request:
        """Read one whole request and record it."""
        head = self.read_until(b"\r\n\r\n").decode("latin-1")
        first, *lines = head[:-4].split("\r\n")
        method, path, version = first.split(" ")
        headers = tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
        fields = {name.lower(): value for name, value in headers}
        self.is_last = fields.get("connection", "").lower() == "close"
        if fields.get("expect", "").lower() == "100-continue":
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if fields.get("transfer-encoding", "").lower() == "chunked":
            body = self._read_chunks()
        else:
            body = self.read_bytes(int(fields.get("content-length", "0")))
        is_tls, number = self.connection.is_tls, self.connection.number
        request = Request(method, path, version, headers, body, is_tls, number, time.monotonic())
        self.server.record(request)
        return request

    def _read_chunks(self) -> bytes:
        body = b""
        while size := int(self.read_until(b"\r\n").split(b";")[0], 16):
            body += self.read_bytes(size)
            assert self.read_bytes(2) == b"\r\n"
        while self.read_until(b"\r\n") != b"\r\n":
            pass
        return body

    def has_more(self) -> bool:
        """Wait until a byte of a further request is there; False when the other side has closed."""
        if not self._rest:
            self._rest = self.read()
        return bool(self._rest)

    # What goes out.

    def send(self, data: bytes) -> None:
        """Send everything."""
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Gone from error

    def drip(self, data: bytes, every: float = 0.05) -> None:
        """Send one byte at a time, so many seconds apart."""
        for number in data:
            self.send(bytes([number]))
            self.wait(every)

    def answer(self, status: int, body: bytes | object = b"", headers: Mapping[str, str] | None = None) -> None:
        """Send a whole, correct answer; a body that is not bytes becomes JSON."""
        self.send(whole_answer(status, body, headers))

    # How it ends.

    def wait(self, seconds: float) -> None:
        """Do nothing for a while; raises `Gone` as soon as the server is stopped."""
        if self.server.stopping.wait(seconds):
            raise Gone

    def linger(self) -> None:
        """Stay connected, silent, reading nothing, until the server is stopped."""
        self.server.stopping.wait()
        raise Gone

    def listen(self) -> None:
        """Stay connected, silent, reading (and recording) whatever comes, until the other side hangs up."""
        while self.read():
            pass
        raise Gone

    def hang_up(self) -> None:
        """Close the connection in good order. What the other side still sends is recorded and thrown away."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
        self.listen()

    def close(self) -> None:
        """Close at once; if there is something unread, the system makes it a reset."""
        raise Gone

    def reset(self) -> None:
        """Break the connection with a TCP reset."""
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Gone

    def start_tls(self, context: ssl.SSLContext) -> None:
        """Complete a handshake as the server."""
        with self.socket.dup() as beneath:
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
            try:
                self.socket.do_handshake()
            except OSError as error:  # SSLError is one
                self.connection.tls_failure = str(error) or type(error).__name__
                with contextlib.suppress(OSError):  # a reset would take away what says why
                    beneath.shutdown(socket.SHUT_WR)
                    while beneath.recv(1 << 16):
                        pass
                raise Gone from error
        self.connection.is_tls = True
        self.connection.client_certificate = self.socket.getpeercert() or None

    def end(self) -> None:
        """Let go of the socket."""
        self.socket.close()


Behaviour = Callable[[Line], object]


def whole_answer(status: int, body: bytes | object = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """Return an answer as bytes. Its own `Content-Length` and `Content-Type` are left out where `headers` has them."""
    kind = "application/octet-stream"
    if not isinstance(body, bytes):
        body, kind = json.dumps(body).encode(), "application/json"
    fields = {"Content-Type": kind, "Content-Length": str(len(body))}
    given = {name.lower() for name in headers or {}}
    fields = {name: value for name, value in fields.items() if name.lower() not in given} | dict(headers or {})
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Whatever\r\n{lines}\r\n".encode() + body


def stores(line: Line) -> None:
    """Be the API: keep the report."""
    request = line.read_request()
    status, said = line.server.keep(request)
    line.answer(status, said, line.server.announce)


def answers(
    status: int, body: bytes | object = b"", headers: Mapping[str, str] | None = None
) -> Callable[[Line], None]:
    """Read the whole request, then answer so, whatever it was."""

    def behaviour(line: Line) -> None:
        line.read_request()
        line.answer(status, body, headers)

    return behaviour


def is_silent(line: Line) -> None:
    """Read everything and say nothing."""
    line.listen()


def hangs_up(line: Line) -> None:
    """Read the whole request, then close without an answer."""
    line.read_request()
    line.hang_up()


def resets(line: Line) -> None:
    """Read the whole request, then break the connection."""
    line.read_request()
    line.reset()


def unencrypted(behaviour: Behaviour) -> Behaviour:
    """Make a server with TLS leave the handshake to this behaviour."""
    behaviour.is_before_tls = True
    return behaviour


class RecordingServer:
    """A server on a free port of this machine; see the top of this file."""

    def __init__(
        self,
        *behaviours: Behaviour,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
        key: str | None = None,
        name: str | None = None,
        announce: Mapping[str, str] | None = None,
        is_checking: bool = True,
    ) -> None:
        self.requests: list[Request] = []
        self.connections: list[Connection] = []
        self.reports: dict[str, Report] = {}
        self.failures: list[BaseException] = []
        self.announce = dict(announce or {})
        self.stopping = threading.Event()
        self.trap: RecordingServer | None = None  # another server, for behaviours that point elsewhere
        self._behaviours: list[Behaviour] = list(behaviours) or [stores]
        self._attempts = 0
        self._key, self._tls, self._is_checking = key, tls, is_checking
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._threads: list[threading.Thread] = []
        self._handles: dict[int, socket.socket] = {}
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=256)
        self.host, self.port = host, self._listener.getsockname()[1]
        self.name = name or host
        self._waker, self.alarm = socket.socketpair()  # the alarm can be read from when the server stops
        self._acceptor = threading.Thread(target=self._accept, name=f"server:{self.port}", daemon=True)
        self._acceptor.start()

    # What tests ask.

    @property
    def netloc(self) -> str:
        """`host:port` as in a URL; the host is `name`, if one was given."""
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"

    @property
    def origin(self) -> str:
        """`scheme://host:port`."""
        return f"{'http' if self._tls is None else 'https'}://{self.netloc}"

    @property
    def url(self) -> str:
        """Where reports are to be sent."""
        return self.origin + PATH

    @property
    def received(self) -> bytes:
        """Every byte that reached this server, of all connections."""
        with self._lock:
            return b"".join(bytes(one.received) for one in self.connections)

    @property
    def attempts(self) -> int:
        """How many behaviours were started."""
        with self._lock:
            return self._attempts

    def is_busy(self, number: int) -> bool:
        """Tell whether a connection is still open on this side."""
        with self._lock:
            return number in self._handles

    def wait_for(self, condition: Callable[[RecordingServer], object], seconds: float = _PATIENCE) -> None:
        """Wait until something is true of this server, which is asked whenever something came."""
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self), seconds), "it never came to that"

    # What tests say.

    def behave(self, *behaviours: Behaviour) -> None:
        """Do these from the next attempt on, each once, the last one for all the rest."""
        with self._lock:
            self._behaviours = list(behaviours) or [stores]

    def preload(self, *hashes: str) -> None:
        """Have these reports from the start."""
        with self._lock:
            for one in hashes:
                self.reports[one] = Report(f"report-{len(self.reports) + 1}", one, b"", {})

    def present(self, tls: ssl.SSLContext) -> None:
        """Show another certificate on new connections."""
        self._tls = tls

    # What behaviours use.

    def note(self, connection: Connection, data: bytes) -> None:
        """Remember bytes."""
        with self._changed:
            connection.received += data
            self._changed.notify_all()

    def record(self, request: Request) -> None:
        """Remember a whole request."""
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()

    def keep(self, request: Request) -> tuple[int, dict[str, Any]]:
        """Do what the API does with a request; return status and answer."""
        if (request.method, request.path) != ("POST", PATH):
            return 404, {"status": "error", "error": "Not found", "message": "There is nothing here"}
        if self._key is not None and not self._is_let_in(request):
            return 401, {"status": "error", "error": "Unauthorized", "message": "The API key is not known"}
        try:
            sent = request.json
            data, claimed = document_bytes(sent["report"]), sent["canonical_hash"]
            actual = canonical_hash_of(data) if self._is_checking else claimed
        except (ValueError, LookupError, TypeError, zlib.error, OSError, etree.XMLSyntaxError) as error:
            return 400, {"status": "error", "error": "Invalid request", "message": str(error)}
        if actual != claimed:
            return 400, {"status": "error", "error": "Wrong hash", "message": f"the report's hash is {actual}"}
        with self._changed:
            known = self.reports.get(claimed)
            report = known or Report(f"report-{len(self.reports) + 1}", claimed, data, sent["metadata"])
            self.reports[claimed] = report
            self._changed.notify_all()
        said = {"id": report.id, "canonical_hash": claimed}
        if known:
            return 409, {"status": "duplicate", **said, "message": "Report already exists"}
        return 201, {"status": "created", **said, "message": "Report published successfully"}

    def _is_let_in(self, request: Request) -> bool:
        key = self._key or ""
        basic = base64.b64encode(key.encode()).decode()
        sent = [request.header("x-api-key") or "", request.header("authorization") or ""]
        wanted = (key, f"Bearer {key}", f"Basic {basic}")
        return any(hmac.compare_digest(one.encode(), each.encode()) for one in sent for each in wanted if one)

    # Its life.

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End everything; raises what went wrong in the server itself."""
        if self.stopping.is_set():
            return
        self.stopping.set()
        self._waker.send(b"x")
        self._join([self._acceptor])
        with self._lock:
            for handle in self._handles.values():
                with contextlib.suppress(OSError):
                    handle.shutdown(socket.SHUT_RDWR)
        self._join(self._threads)
        for sock in (self._waker, self.alarm):
            sock.close()
        if self.failures:
            raise ExceptionGroup(
                "the test's server failed", [one for one in self.failures if isinstance(one, Exception)]
            )

    def _join(self, threads: Iterable[threading.Thread]) -> None:
        for thread in threads:
            thread.join(_PATIENCE)
            assert not thread.is_alive(), f"{thread.name} does not end"

    def _accept(self) -> None:
        with self._listener:
            while True:
                ready, _, _ = select.select([self._listener, self.alarm], [], [])
                if self.alarm in ready:
                    return
                with contextlib.suppress(OSError):  # gone again before it was accepted
                    sock, _ = self._listener.accept()
                    self._begin(sock)

    def _begin(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._changed:
            connection = Connection(len(self.connections), time.monotonic())
            self.connections.append(connection)
            self._handles[connection.number] = sock.dup()  # for `stop`: closing belongs to the thread that reads
            name = f"server:{self.port}:{connection.number}"
            thread = threading.Thread(target=self._serve, args=(sock, connection), name=name, daemon=True)
            self._threads = [one for one in self._threads if one.is_alive()] + [thread]
            self._changed.notify_all()
            thread.start()

    def _serve(self, sock: socket.socket, connection: Connection) -> None:
        line = Line(self, sock, connection)
        try:
            self._attempt_all(line)
        except Gone:
            pass
        except Exception as error:  # noqa: BLE001 - shown when the test stops the server
            self.failures.append(error)
        finally:
            line.end()
            with self._changed:
                self._handles.pop(connection.number).close()
                self._changed.notify_all()

    def _attempt_all(self, line: Line) -> None:
        behaviour = self._next()
        if self._tls is not None and not getattr(behaviour, "is_before_tls", False):
            line.start_tls(self._tls)
        behaviour(line)
        while not line.is_last and line.has_more():
            self._next()(line)
        line.hang_up()

    def _next(self) -> Behaviour:
        with self._lock:
            self._attempts += 1
            return self._behaviours.pop(0) if len(self._behaviours) > 1 else self._behaviours[0]
