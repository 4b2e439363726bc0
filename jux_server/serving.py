"""A running server: from settings to processes that answer on a port, until a signal ends them."""

from __future__ import annotations

import errno
import math
import signal
import socket
import sys
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import uvicorn
from uvicorn.supervisors.multiprocess import Multiprocess

from jux_server.app import Choices, create_app
from jux_server.errors import Refused, ServerError
from jux_server.opening import opened
from jux_server.pruning import retention_of
from jux_server.serving_logs import log_config
from jux_server.serving_protocol import BoundedHttp
from jux_server.store.database import open_database
from jux_server.trust import has_keys
from pytest_jux.addresses import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fastapi import FastAPI

    from jux_server.store.database import Database
    from pytest_jux.config import Settings
    from pytest_jux.config_values import Secret

_BACKLOG = 2048  # connections that may wait to be accepted
_MOST_CONNECTIONS = 800  # of one process, below the usual limit of 1024 open files; the next is answered with 503
_KEEP_ALIVE = 5  # seconds that an idle connection is kept


class CannotListen(ServerError):
    """The server cannot listen where it should; `where` is such as `127.0.0.1:4000`."""

    def __init__(self, where: str, reason: str, hint: str = "") -> None:
        super().__init__(f"cannot listen on {where}: {reason}")
        self.where = where
        self.reason = reason
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Listening:
    """What is known when the server listens; `url` leads to it from this machine."""

    url: str
    database: str
    is_open_here: bool
    workers: int


def choices_of(settings: Settings) -> Choices:
    """Return what the settings decide for the application.

    Nobody needs a key on this machine itself, as long as nothing says that others come in: another address to listen
    on, a proxy, or an address of the server that is not on this machine.
    """
    base_url: str | None = settings["jux_server_base_url"]
    is_private = (
        is_loopback(settings["jux_server_host"].strip("[]"))
        and not settings["jux_server_trusted_proxies"]
        and (base_url is None or is_loopback(urlsplit(base_url).hostname or ""))
    )
    return Choices(
        is_open_here=is_private and not settings["jux_server_require_keys"],
        accept=settings["jux_server_accept"],
        largest_report=settings["jux_server_max_report_size"],
        rate=settings["jux_server_rate_limit"] or "",
        retention=retention_of(settings),
        prune_every=settings["jux_server_prune_every"],
        base_url=settings["jux_server_base_url"] or "",
        public_badges=settings["jux_server_public_badges"],
    )


def serve(settings: Settings, url: Secret, announce: Callable[[Listening], None]) -> None:
    """Serve the database at `url` until SIGTERM or SIGINT, then finish what was begun, as far as time allows.

    `announce` is called once, when connections are accepted.

    Raises:
        DatabaseUnusable, FileProblem: as `opening.opened`.
        Refused: callers need an API key, and there is none.
        CannotListen: the port is in use, or the address is not this machine's.
    """
    choices = choices_of(settings)
    workers: int = settings["jux_server_workers"]
    with ExitStack() as stack:
        database = stack.enter_context(opened(url))
        _check_keys(database, choices)
        sockets = stack.enter_context(listening(settings["jux_server_host"], settings["jux_server_port"]))
        listens = Listening(address_of(sockets[0]), database.name, choices.is_open_here, workers)
        if workers == 1:
            server = uvicorn.Server(_config(settings, create_app(database, choices)))
            with _signals(server.handle_exit):
                announce(listens)
                server.run(sockets)
        else:
            database.close()
            processes = _Processes(_config(settings, AppOfProcess(url.reveal(), choices), factory=True), sockets)
            announce(listens)
            processes.run()


def _check_keys(database: Database, choices: Choices) -> None:
    """Refuse to let other machines in, or to shut everybody out, while there is no API key that works."""
    if not choices.is_open_here and not has_keys(database):
        reason = "callers need an API key here, and there is none that works"
        raise Refused(reason, "Make one with: jux-server key create NAME, and the same --database or --config")


def _config(settings: Settings, app: FastAPI | AppOfProcess, *, factory: bool = False) -> uvicorn.Config:
    proxies: Sequence[str] = settings["jux_server_trusted_proxies"]
    level: str = settings["jux_server_log_level"]
    return uvicorn.Config(
        app,
        factory=factory,
        workers=settings["jux_server_workers"],
        http=BoundedHttp,
        ws="none",
        lifespan="on",
        log_config=log_config(level, access=settings["jux_server_access_log"]),
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies),
        server_header=False,
        backlog=_BACKLOG,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=math.ceil(settings["jux_server_graceful_timeout"]),
    )


# --- several processes -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AppOfProcess:
    """Makes the application in a process of its own; it goes there through a pipe, which no other program can read."""

    url: str = field(repr=False)  # not a Secret, which cannot be sent
    choices: Choices

    def __call__(self) -> FastAPI:
        """Return the application; ends the process if the database cannot be used, so that another is tried."""
        try:
            return create_app(open_database(self.url, migrate=False), self.choices)
        except ServerError as error:
            sys.exit(str(error))


class _Processes(Multiprocess):
    def terminate_all(self) -> None:
        """Stop to accept connections, which nobody would answer, and ask the processes to end."""
        for listener in self.sockets:
            listener.close()
        super().terminate_all()


@contextmanager
def _signals(stop: Callable[[int, Any], None]) -> Iterator[None]:
    """Let signals stop the server, also before it looks out for them itself, and not the process after that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# --- sockets ---------------------------------------------------------------------------------------------------------


@contextmanager
def listening(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Give sockets that listen on a port (0: a free one) of all addresses of a host, and close them after.

    Raises:
        CannotListen: the port is in use or not allowed, or this machine has no such address.
    """
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    with ExitStack() as stack:
        sockets: list[socket.socket] = []
        try:
            found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, kind, _, _, place in dict.fromkeys(found):
                listener = stack.enter_context(socket.socket(family, kind))
                _bind(listener, place if not sockets else (place[0], sockets[0].getsockname()[1], *place[2:]))
                sockets.append(listener)
        except (OSError, UnicodeError) as error:
            reason, hint = _words_of(error)
            raise CannotListen(where, reason, hint) from None
        yield sockets


def _bind(listener: socket.socket, place: tuple[Any, ...]) -> None:
    if sys.platform != "win32":  # where it means that two servers may have one port
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if listener.family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind(place)
    listener.listen(_BACKLOG)
    listener.set_inheritable(True)


def _words_of(error: OSError | UnicodeError) -> tuple[str, str]:
    if isinstance(error, socket.gaierror | UnicodeError):
        return "there is no address of this name", "Name an address of this machine with --host."
    match error.errno:
        case errno.EADDRINUSE:
            hint = "Is a server running there already? Choose another port with --port."
            return "the port is in use", hint
        case errno.EACCES:
            return "this port needs more rights", "Choose one above 1023 with --port."
        case errno.EADDRNOTAVAIL:
            return "this machine has no such address", "Name one of its own with --host, or 0.0.0.0 for all of them."
    return error.strerror or str(error), ""


def address_of(listener: socket.socket) -> str:
    """Return the URL of a listening socket as programs on this machine reach it."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
