"""The places of the servers of `behaviours.py`: plain, with TLS of all kinds, behind proxies, or nowhere."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

from publishing.authorities import authority_file, client_files, self_signed, server_side
from publishing.hostile import PATH, RecordingServer, answers, is_silent
from publishing.proxies import ForwardProxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from publishing.behaviours import Row
    from publishing.hostile import Behaviour, Line

    _Place = Callable[["_Site"], "Stage"]

KEY = "k3y-that-nobody-else-may-see"
CANARY = b"canary-in-the-report"
SECRETS = (KEY.encode(), CANARY)
NAME = "api.example.test"  # a host that only proxies can find
LOGIN = "a user:pa%ss/word@"
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "FTP_PROXY")


@dataclass
class Stage:
    """A server at its place, and what the client has to know. `strangers` must never see what is secret."""

    server: RecordingServer
    trap: RecordingServer
    url: str
    files: dict[str, Path] = field(default_factory=dict)  # ca, client_cert, client_key
    environ: dict[str, str] = field(default_factory=dict)
    strangers: list[RecordingServer] = field(default_factory=list)
    untouched: list[RecordingServer] = field(default_factory=list)

    def check_secrets(self) -> None:
        """Assert that nobody else got anything, and those that nobody trusts nothing that matters."""
        assert [one.connections for one in self.untouched] == [[]] * len(self.untouched)
        assert not [secret for one in self.strangers for secret in SECRETS if secret in one.received]


@dataclass(frozen=True)
class Done:
    """How a command ended, with the bytes of memory and the seconds that it took."""

    code: int
    seconds: float
    memory: int
    out: str
    err: str


@dataclass
class _Site:
    """What a place is built with."""

    row: Row
    directory: Path
    trap: RecordingServer
    stack: contextlib.ExitStack

    def server(self, **options: object) -> RecordingServer:
        server = self.stack.enter_context(RecordingServer(*self.row.behaviours, **options))
        server.trap = self.trap
        return server

    def proxy(self, server: RecordingServer, **options: str) -> ForwardProxy:
        return self.stack.enter_context(ForwardProxy({NAME: server}, **options))

    def closed_port(self) -> int:
        """Return a port on which nobody listens, and which nobody else gets while the test runs."""
        sock = self.stack.enter_context(socket.socket())
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]

    def stage(self, server: RecordingServer, url: str | None = None, **options: object) -> Stage:
        return Stage(server, self.trap, url or server.url, **options)


@contextlib.contextmanager
def staged(row: Row, directory: Path) -> Iterator[Stage]:
    """Set up the place of a row. On the way out everything ends, and what went wrong in a server is raised."""
    with contextlib.ExitStack() as stack:
        trap = stack.enter_context(RecordingServer(answers(200)))
        stage = _PLACES[row.place](_Site(row, directory, trap, stack))
        stage.untouched.append(trap)
        yield stage


def _plain(site: _Site) -> Stage:
    return site.stage(site.server())


def _ipv6(site: _Site) -> Stage:
    return site.stage(site.server(host="::1"))


def _localhost(site: _Site) -> Stage:
    return site.stage(site.server(name="localhost"))


def _refused(site: _Site) -> Stage:
    return site.stage(site.server(), f"http://127.0.0.1:{site.closed_port()}{PATH}")


def _unknown_host(site: _Site) -> Stage:
    return site.stage(site.server(), f"http://nonexistent.invalid{PATH}")


def _deaf(site: _Site) -> Stage:
    """Listen, but let the system's own queue of connections be full."""
    listener = site.stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
    for _ in range(4):
        sock = site.stack.enter_context(socket.socket())
        sock.setblocking(False)  # noqa: FBT003 - socket's own signature
        sock.connect_ex(listener.getsockname())
    return site.stage(site.server(), f"http://127.0.0.1:{listener.getsockname()[1]}{PATH}")


def _tls(*names: str, trusts: str | None = "our own", client: str | None = None, **options: object) -> _Place:
    def place(site: _Site) -> Stage:
        server = site.server(tls=server_side(*names, **options))
        files = {"ca": authority_file(site.directory, trusts)} if trusts else {}
        if client:
            pair = client_files(site.directory, client)
            files |= {"client_cert": pair.cert, "client_key": pair.key}
        is_trusted = trusts == options.get("by", "our own") and not names and not {"starts", "ends"} & set(options)
        return site.stage(server, files=files, strangers=[] if is_trusted else [server])

    return place


def _self_signed(site: _Site) -> Stage:
    server = site.server(tls=self_signed("127.0.0.1"))
    return site.stage(server, strangers=[server])


def _tls_ipv6(site: _Site) -> Stage:
    return site.stage(site.server(host="::1", tls=server_side()), files={"ca": authority_file(site.directory)})


def _https_to_plain(site: _Site) -> Stage:
    server = site.server()
    files = {"ca": authority_file(site.directory)}
    return site.stage(server, server.url.replace("http:", "https:"), files=files, strangers=[server])


def _http_to_tls(site: _Site) -> Stage:
    server = site.server(tls=server_side())
    return site.stage(server, server.url.replace("https:", "http:"))


def _proxied(*, tls: bool = False, login: str | None = None, says: str | None = None, by: str = "our own") -> _Place:
    """Return a place behind a proxy that wants `login`, while the client says `says`."""

    def place(site: _Site) -> Stage:
        server = site.server(tls=server_side(by=by) if tls else None)
        proxy = site.proxy(server, **({} if login is None else {"login": login}))
        return _behind(site, server, _address(proxy.port, says), tls=tls, by=by, proxy=proxy)

    return place


def _behind(
    site: _Site,
    server: RecordingServer,
    address: str,
    *,
    tls: bool,
    by: str = "our own",
    proxy: RecordingServer | None = None,
) -> Stage:
    seeing = [proxy] if tls and proxy is not None else []
    return site.stage(
        server,
        f"{'https' if tls else 'http'}://{NAME}:{server.port}{PATH}",
        files={"ca": authority_file(site.directory)},
        environ={"HTTPS_PROXY" if tls else "HTTP_PROXY": address},
        strangers=seeing + ([server] if by != "our own" else []),
    )


def _address(port: int, login: str | None = None) -> str:
    user, _, password = (login or "").partition(":")
    shown = f"{quote(user, safe='')}:{quote(password, safe='')}@" if login else ""
    return f"http://{shown}127.0.0.1:{port}"


def _proxy_down(*, tls: bool) -> _Place:
    return lambda site: _behind(site, site.server(), _address(site.closed_port()), tls=tls)


def _bad_proxy(behaviour: Behaviour, *, tls: bool) -> _Place:
    def place(site: _Site) -> Stage:
        proxy = site.stack.enter_context(RecordingServer(behaviour))
        proxy.trap = site.trap
        return _behind(site, site.server(), f"http://{proxy.netloc}", tls=tls, proxy=proxy)

    return place


def _garbage(line: Line) -> None:
    line.read_request()
    line.send(bytes(range(128, 256)) * 10)
    line.hang_up()


def _redirect(line: Line) -> None:
    line.read_request()
    line.answer(302, b"", {"Location": line.server.trap.url})


def _endless(line: Line) -> None:
    line.read_request()
    line.send(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        line.send(b"y" * 1_000_000)


def _excepted(site: _Site) -> Stage:
    """Let NO_PROXY name the host: it is then looked for directly, where it cannot be found."""
    server = site.server()
    proxy = site.proxy(server)
    stage = _behind(site, server, proxy.address, tls=False)
    stage.environ["NO_PROXY"] = f"other.test, .{NAME.partition('.')[2]}"
    stage.untouched.append(proxy)
    return stage


def _loopback(host: str) -> _Place:
    def place(site: _Site) -> Stage:
        server = site.server(host=host)
        proxy = site.proxy(server)
        environ = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), proxy.address)
        return site.stage(server, environ=environ, untouched=[proxy])

    return place


def _unknown_to_the_proxy(*, tls: bool) -> _Place:
    def place(site: _Site) -> Stage:
        server = site.server(tls=server_side() if tls else None)
        proxy = site.stack.enter_context(ForwardProxy({}))
        return _behind(site, server, proxy.address, tls=tls, proxy=proxy)

    return place


_DAY = timedelta(days=1)
_PLACES: dict[str, _Place] = {
    "plain": _plain,
    "IPv6": _ipv6,
    "localhost": _localhost,
    "refused": _refused,
    "unknown host": _unknown_host,
    "deaf": _deaf,
    "TLS": _tls(),
    "TLS on IPv6": _tls_ipv6,
    "TLS, unknown authority": _tls(trusts=None),
    "TLS, another authority": _tls(by="somebody else"),
    "TLS, self-signed": _self_signed,
    "TLS, expired": _tls(starts=-_DAY * 9, ends=-_DAY),
    "TLS, not yet valid": _tls(starts=_DAY, ends=_DAY * 9),
    "TLS, another name": _tls("other.example.test"),
    "TLS, client certificate given": _tls(wants_client=True, client="clients"),
    "TLS, client certificate missing": _tls(wants_client=True),
    "TLS, client certificate of a stranger": _tls(wants_client=True, client="somebody else"),
    "https to plain": _https_to_plain,
    "http to TLS": _http_to_tls,
    "proxy": _proxied(),
    "proxy, TLS": _proxied(tls=True),
    "proxy with login": _proxied(login=LOGIN, says=LOGIN),
    "proxy with login, TLS": _proxied(tls=True, login=LOGIN, says=LOGIN),
    "proxy, untrusted TLS": _proxied(tls=True, by="somebody else"),
    "proxy wants login": _proxied(login=LOGIN),
    "proxy wants login, TLS": _proxied(tls=True, login=LOGIN),
    "proxy, wrong login": _proxied(tls=True, login=LOGIN, says="a user:not-the-pa55word"),
    "proxy down": _proxy_down(tls=False),
    "proxy down, TLS": _proxy_down(tls=True),
    "proxy hangs": _bad_proxy(is_silent, tls=False),
    "proxy hangs, TLS": _bad_proxy(is_silent, tls=True),
    "proxy of garbage, TLS": _bad_proxy(_garbage, tls=True),
    "proxy redirects, TLS": _bad_proxy(_redirect, tls=True),
    "proxy refuses, TLS": _bad_proxy(answers(403), tls=True),
    "proxy without end, TLS": _bad_proxy(_endless, tls=True),
    "proxy, unknown host": _unknown_to_the_proxy(tls=False),
    "proxy, unknown host, TLS": _unknown_to_the_proxy(tls=True),
    "NO_PROXY": _excepted,
    "proxy for loopback": _loopback("127.0.0.1"),
    "proxy for loopback, IPv6": _loopback("::1"),
}
