"""One POST over HTTP or HTTPS: connections that are used again, trust, proxies, and an end that cannot be put off.

A server may be silent, or send one byte a second, and name resolution may hang. So a watchdog cuts the connection of a
call at its deadline, and names are resolved in threads that nobody has to wait for.
"""

from __future__ import annotations

import contextlib
import io
import queue
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import urllib3
from urllib3 import exceptions
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from pytest_jux.addresses import address_problem, is_address, is_exposed
from pytest_jux.answers import Reply
from pytest_jux.calls import Abandoned, Call
from pytest_jux.config_values import Secret
from pytest_jux.errors import ClientMisconfigured, TransportFailed
from pytest_jux.failures import NO_PROXY, Route, explained, shown
from pytest_jux.proxies import proxy_for
from pytest_jux.text import visible
from pytest_jux.tls import Security, tls_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    _Connection = HTTPConnection
else:
    _Connection = object

_LARGEST_ANSWER = 1_000_000  # bytes
_LONGEST_WAIT = 0.5  # seconds
_BLOCK = 1 << 16  # bytes that are sent in one step, each of which may take the connect timeout


class _ThisThread(threading.local):
    """The call that a thread is busy with."""

    call: Call | None = None


_this_thread = _ThisThread()


class _Interruptible(_Connection):
    """A connection that the call which uses it can cut. The second descriptor stays valid through TLS and `close`."""

    _line: socket.socket | None = None
    debuglevel = 0  # which a test may have raised for all connections: http.client prints headers then

    def _new_conn(self) -> socket.socket:
        call = _this_thread.call
        connect = super()._new_conn
        connected = connect() if call is None or is_address(self.host) else _outside(connect, call)
        try:
            self._line = connected.dup()
            if call is not None:
                call.check()
                # For the handshake of TLS, which ends in this time by itself; cut, it would leave a socket open.
                connected.settimeout(min(call.left, connected.gettimeout() or call.left))
                call.use(self._line if self._tunnel_host else None)
        except BaseException:
            connected.close()
            raise
        return connected

    def putrequest(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - urllib3's signature
        # The first step of a request; others have the headers in their variables, which tracebacks may show.
        call = _this_thread.call
        if self.sock is None:  # plain HTTP connects when it sends
            self.connect()
        self._use()
        if call is not None:
            call.is_sending = True
        super().putrequest(*arguments, **options)

    def close(self) -> None:
        line, self._line = self._line, None
        super().close()
        if line is not None:
            if _this_thread.call is None:
                line.close()
            else:
                _this_thread.call.keep(line)

    def _use(self) -> None:
        if _this_thread.call is not None:
            _this_thread.call.use(self._line)


def _outside(connect: Callable[[], socket.socket], call: Call) -> socket.socket:
    """Return what `connect` returns, but do not wait for it longer than `call` may take: it resolves a name."""
    done: queue.SimpleQueue[socket.socket | Exception] = queue.SimpleQueue()
    is_late = threading.Event()

    def work() -> None:
        try:
            connected = connect()
        except Exception as error:  # noqa: BLE001 - raised below, where somebody waits for it
            done.put(error)
        else:
            done.put(connected)
            if is_late.is_set():
                connected.close()

    threading.Thread(target=work, name="jux-connect", daemon=True).start()
    try:
        found = _taken_from(done, call)
    except BaseException as error:
        is_late.set()
        with contextlib.suppress(queue.Empty):  # it may have come in between
            late = done.get_nowait()
            if isinstance(late, socket.socket):
                late.close()
        if isinstance(error, queue.Empty):
            raise Abandoned from None
        raise
    if isinstance(found, Exception):
        raise found
    return found


def _taken_from(done: queue.SimpleQueue[socket.socket | Exception], call: Call) -> socket.socket | Exception:
    """Return what comes within the time of a call, else raise queue.Empty.

    Python does not end a wait for a signal that came just before it, so that none is long.
    """
    while call.left > _LONGEST_WAIT:
        with contextlib.suppress(queue.Empty):
            return done.get(timeout=_LONGEST_WAIT)
    return done.get(timeout=call.left)


class _HTTPConnection(_Interruptible, HTTPConnection):
    pass


class _HTTPSConnection(_Interruptible, HTTPSConnection):
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


_POOLS = {"http": _HTTPPool, "https": _HTTPSPool}


class Transport:
    """Sends POST requests to one URL over at most `connections` connections at a time.

    Raises:
        ClientMisconfigured: the URL, a file or the proxy's address cannot be used.
    """

    def __init__(
        self,
        url: str,
        security: Security,
        *,
        connect: float,
        read: float,
        connections: int = 1,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.url = url
        self._connect, self._read = connect, read
        parts = _checked_url(url)
        self._host = parts.host or ""
        self.place = f"{self._host}:{parts.port}" if parts.port else self._host
        self.is_exposed = is_exposed(url)
        self.proxy = proxy_for(url, environ)
        self._route = Route(url, self._host, self.place, self.proxy, connect, read)
        options: dict[str, Any] = {"num_pools": 2, "maxsize": connections, "blocksize": _BLOCK}
        is_tls = parts.scheme == "https" or (self.proxy or "").lower().startswith("https:")
        context = tls_context(security, connections) if is_tls else None
        if context is not None:
            options["ssl_context"] = context
        self._manager = _proxy_manager(self.proxy, context, options) if self.proxy else urllib3.PoolManager(**options)
        self._manager.pool_classes_by_scheme = _POOLS
        self._path = parts.request_uri
        self._pool: HTTPConnectionPool | None = None

    def post(self, call: Call, body: bytes, headers: Mapping[str, str | Secret]) -> Reply:
        """Send one request and return its answer; redirects are answers like others.

        Raises:
            TransportFailed: there is none.
            Abandoned: `call` was ended.
        """
        _this_thread.call = call
        call.is_sending = False
        timeout = urllib3.Timeout(connect=min(self._connect, call.left), read=min(self._read, call.left))
        try:
            response = self._target(
                "POST",
                self.url if self.proxy else self._path,
                redirect=False,
                retries=False,
                timeout=timeout,
                preload_content=False,
                # In blocks, so that a slow line is not taken for a dead one.
                body=body if len(body) <= _BLOCK else io.BytesIO(body),
                headers=_plain(headers) | {"Content-Length": str(len(body)), "Accept-Encoding": "identity"},
            )
            with contextlib.closing(response):
                data = response.read(_LARGEST_ANSWER + 1)
                call.check()  # what ends because the call was abandoned is not whole
                is_whole = len(data) <= _LARGEST_ANSWER
                if is_whole:
                    response.release_conn()
            found = {name.lower(): value for name, value in response.headers.items()}
            return Reply(response.status, found, data if is_whole else None)
        except (Abandoned, TransportFailed):
            raise
        except Exception as error:  # noqa: BLE001 - what guards raise that tests have left on sockets can be anything
            call.check()  # what goes wrong because the call was abandoned is no failure
            if time.monotonic() >= call.deadline:  # the watchdog was about to say so
                raise Abandoned from None
            raise explained(error, self._route, is_sent=call.is_sending) from None
        finally:
            call.let_go()
            _this_thread.call = None

    @property
    def _target(self) -> Callable[..., urllib3.BaseHTTPResponse]:
        if self.proxy:
            return self._manager.urlopen
        if self._pool is None:  # all that the manager would do each time is to find it
            self._pool = self._manager.connection_from_url(self.url)
        return self._pool.urlopen

    def close(self) -> None:
        """Close the connections that wait to be used again."""
        self._pool = None
        self._manager.clear()


def _plain(headers: Mapping[str, str | Secret]) -> dict[str, str]:
    return {name: value.reveal() if isinstance(value, Secret) else value for name, value in headers.items()}


def _checked_url(url: str) -> urllib3.util.Url:
    hint = "Give the whole address, such as https://jux.example.com/api/v1/reports."
    problem = address_problem(url)
    if "password" in problem:
        hint = "Give user:password as API key, and basic as jux_api_auth."
    try:
        parts = urllib3.util.parse_url(url)
    except (exceptions.LocationParseError, UnicodeError):
        parts, problem = urllib3.util.Url(), problem or "is not a URL"
    if problem:
        raise ClientMisconfigured(f"{shown(url)} {problem}", hint)
    return parts


def _proxy_manager(proxy: str, context: ssl.SSLContext | None, options: dict[str, Any]) -> urllib3.ProxyManager:
    try:
        parts = urllib3.util.parse_url(proxy)
        if parts.scheme not in {"http", "https"} or not parts.host:
            kind = f" of the kind {visible(parts.scheme)[:20]}" if parts.scheme else ""
            raise ClientMisconfigured(
                f"the proxy {shown(proxy)} cannot be used: proxies{kind} are not supported", NO_PROXY
            )
        login = {"proxy-authorization": f"Basic {_encoded(parts.auth)}"} if parts.auth else None
        address = parts._replace(auth=None).url
        return urllib3.ProxyManager(address, proxy_headers=login, proxy_ssl_context=context, **options)
    except (exceptions.LocationParseError, UnicodeError, ValueError):
        raise ClientMisconfigured(f"the address of the proxy, {shown(proxy)}, is not a URL", NO_PROXY) from None


def _encoded(login: str) -> str:
    """Return a login with its percent-encoding undone, in base64 (RFC 7617)."""
    import base64  # noqa: PLC0415 - few proxies want to know who asks
    from urllib.parse import unquote_to_bytes  # noqa: PLC0415 - as above

    return base64.b64encode(unquote_to_bytes(login)).decode()
