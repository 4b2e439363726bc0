"""What servers do to a client, as data: each row with what must come of it. `stages.py` has the places."""

from __future__ import annotations

import functools
import gzip
import json
import zlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

from publishing.hostile import answers, hangs_up, is_silent, resets, stores, unencrypted, whole_answer

from pytest_jux.outcomes import Duplicate, Outcome, Published, Rejected, Unauthorized, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from publishing.hostile import Behaviour, Line, RecordingServer, Request

LARGE = 8_000_000  # bytes of a report; more than what a system keeps for a socket
GIGANTIC = 1_500_000_000  # bytes of an answer
HTML = b"<!DOCTYPE html><html><body><h1>Welcome to the hotel's network</h1></body></html>"
ERROR = {"status": "error", "error": "It is refused", "message": "A whole sentence about why"}
NEVER = b"a" * 100_000

ONE, TWO, SOME = (1, 1), (2, 2), (1, 2)


@dataclass(frozen=True)
class Row:
    """One behaviour and what must come of it. `outcome`: the one type, or those of which any is right.

    `requests`: how many attempts the server may see, from and to. `place`: where the server is (`stages.py`).
    The rest is how the client is set: seconds, retries, and the bytes by which the report is made larger.
    """

    name: str
    behaviours: tuple[Behaviour, ...]
    outcome: type | tuple[type, ...]
    says: str = ""  # a regular expression for the reason
    is_passing: bool | None = None
    is_answered: bool | None = None
    requests: tuple[int, int] = ONE
    place: str = "plain"
    size: int = 0
    deadline: float = 8.0
    connect: float = 2.0
    read: float = 5.0
    retries: int = 1
    is_variant: bool = False  # of another row, so that only the library is tried with it

    @property
    def outcomes(self) -> tuple[type, ...]:
        """The types of which one must come out."""
        return self.outcome if isinstance(self.outcome, tuple) else (self.outcome,)

    @property
    def exit_codes(self) -> set[int]:
        """What `jux-publish` may return."""
        return {{Published: 0, Duplicate: 2}.get(one, 1) for one in self.outcomes}

    @property
    def statuses(self) -> set[str]:
        """What the queued report may be after `jux-cache push`."""
        after = {Published: "published", Duplicate: "published", Rejected: "rejected"}
        return {after.get(one, "queued") for one in self.outcomes}


def fits(row: Row, outcome: Outcome) -> bool:
    """Tell whether an outcome is what the row says."""
    if not isinstance(outcome, row.outcomes):
        return False
    if isinstance(outcome, Unavailable):
        right_kind = row.is_passing in {None, outcome.is_passing}
        return right_kind and row.is_answered in {None, outcome.is_answered}
    return True


# Behaviours. Those that answer have read the whole request before, where nothing else is said.


def quick(*behaviours: Behaviour) -> dict[str, Any]:
    """Return the times of a row in which the client has to wait in vain."""
    return {"behaviours": behaviours, "connect": 0.5, "read": 0.5, "deadline": 2.5}


def slow(*behaviours: Behaviour) -> dict[str, Any]:
    """Return the times of a row in which only the deadline ends it."""
    return {"behaviours": behaviours, "connect": 0.5, "read": 0.5, "deadline": 1.2}


def says(make: Callable[[dict[str, Any]], bytes | object], status: int = 201, **headers: str) -> Behaviour:
    """Keep the report, then answer with what `make` makes of the right answer."""

    def behaviour(line: Line) -> None:
        _, right = line.server.keep(line.read_request())
        line.answer(status, make(right), {name.replace("_", "-"): value for name, value in headers.items()})

    return behaviour


def keeps_then(ending: Callable[[Line], object], status: int = 0) -> Behaviour:
    """Keep the report, but do not say so: do `ending` instead, after a bad status if one is given."""

    def behaviour(line: Line) -> None:
        line.server.keep(line.read_request())
        if status:
            line.answer(status, ERROR)
        ending(line)

    return behaviour


def raw(data: bytes, ending: str = "hang_up", *, drips: bool = False) -> Behaviour:
    """Send these bytes as the answer, then end so: a method of `Line`."""

    def behaviour(line: Line) -> None:
        line.read_request()
        (line.drip if drips else line.send)(data)
        getattr(line, ending)()

    return behaviour


def floods(head: bytes, block: bytes, total: int | None = None) -> Behaviour:
    """Send `head`, then `block` again and again, until so many bytes are sent or nobody listens any more."""

    def behaviour(line: Line) -> None:
        line.read_request()
        line.send(head)
        sent = 0
        while total is None or sent < total:
            line.send(block)
            sent += len(block)

    return behaviour


def after(count: int, ending: str) -> Behaviour:
    """Read only so many bytes, then end so."""

    def behaviour(line: Line) -> None:
        line.read_bytes(count)
        getattr(line, ending)()

    return behaviour


def in_the_body(ending: str) -> Behaviour:
    """Read the header and some of the body, then end so."""

    def behaviour(line: Line) -> None:
        line.read_until(b"\r\n\r\n")
        line.read_bytes(1)
        getattr(line, ending)()

    return behaviour


def at_once(ending: str) -> Behaviour:
    """End so, as soon as there is a connection."""
    return lambda line: getattr(line, ending)()


def early(status: int, ending: str) -> Behaviour:
    """Answer when the header is there, and end so without reading the body."""

    def behaviour(line: Line) -> None:
        line.read_until(b"\r\n\r\n")
        line.send(whole_answer(status, ERROR, {"Connection": "close"}))
        getattr(line, ending)()

    return behaviour


def redirects(status: int, where: str | None) -> Behaviour:
    """Point elsewhere; `{trap}` and `{own}` stand for the servers' URLs."""

    def behaviour(line: Line) -> None:
        line.read_request()
        trap: RecordingServer = line.server.trap
        port = f"localhost:{trap.port}"
        target = None if where is None else where.format(trap=trap.url, named=port, own=line.server.url, port=trap.port)
        line.answer(status, b"", {} if target is None else {"Location": target})

    return behaviour


def later(value: str | Callable[[], str], status: int = 503) -> Behaviour:
    """Answer with `Retry-After`."""

    def behaviour(line: Line) -> None:
        line.read_request()
        line.answer(status, ERROR, {"Retry-After": value if isinstance(value, str) else value()})

    return behaviour


def date(**distance: int) -> Callable[[], str]:
    """Return a function that says a time relative to now, as HTTP does."""
    return lambda: format_datetime(datetime.now(UTC) + timedelta(**distance), usegmt=True)


def handshake(ending: Callable[[Line], object]) -> Behaviour:
    """Do this with the raw bytes of a TLS handshake."""
    return unencrypted(lambda line: (line.read(), ending(line)))


@functools.cache
def gzip_bomb(times: int = 1) -> bytes:
    """Return what unpacks to 1.5 GB, packed so many times."""
    data = gzip.compress(b" " * 10_000_000, mtime=0) * (GIGANTIC // 10_000_000)
    for _ in range(times - 1):
        data = gzip.compress(data, mtime=0)
    return data


@functools.cache
def deflate_bomb() -> bytes:
    """Return what unpacks to 300 MB."""
    packer = zlib.compressobj(1)
    block = b" " * 10_000_000
    return b"".join(packer.compress(block) for _ in range(30)) + packer.flush()


def packed(make: Callable[[], bytes], coding: str) -> Behaviour:
    """Answer with a packed body."""

    def behaviour(line: Line) -> None:
        line.read_request()
        line.answer(201, make(), {"Content-Encoding": coding, "Content-Type": "application/json"})

    return behaviour


def _as_it_is(said: dict[str, Any]) -> dict[str, Any]:
    return said


def _without(*names: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda said: {name: value for name, value in said.items() if name not in names}


def _chunked(data: bytes, size: int = 7) -> bytes:
    parts = (data[start : start + size] for start in range(0, len(data), size))
    return b"".join(b"%x;a=b\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\nX-Trailer: 1\r\n\r\n"


_OK = b"HTTP/1.1 201 Created\r\n"
_JSON = json.dumps({"status": "created", "id": "report-1"}).encode()
_NOT_OURS: dict[str, Any] = {"outcome": Unavailable, "is_passing": False, "is_answered": True}
_PASSING: dict[str, Any] = {"outcome": Unavailable, "is_passing": True, "is_answered": True, "requests": TWO}
_BROKEN: dict[str, Any] = {"outcome": Unavailable, "is_passing": True, "requests": TWO}
_HEAD = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


def _status_rows() -> list[Row]:
    rows = []
    bodies: dict[str, bytes | object] = {"no body": b"", "HTML": HTML, "JSON": ERROR}
    for status in (200, 201, 409):
        outcome = {409: Duplicate}.get(status, Published)
        rows.append(Row(f"{status} in the words of the API", (says(_as_it_is, status),), outcome))
        for name, body in bodies.items():
            rows.append(
                Row(
                    f"{status}, {name}",
                    (answers(status, body),),
                    says="not the Jux API",
                    is_variant=name != "HTML",
                    **_NOT_OURS,
                )
            )
    for status in (400, 415, 422):
        rows.append(Row(f"{status}, JSON", (answers(status, ERROR),), Rejected, says="It is refused"))
        rows += [
            Row(
                f"{status}, {name}",
                (answers(status, bodies[name]),),
                says="not the Jux API",
                is_variant=name != "HTML",
                **_NOT_OURS,
            )
            for name in ("no body", "HTML")
        ]
    for name, body in bodies.items():
        rows.append(Row(f"413, {name}", (answers(413, body),), Rejected))
        rows += [Row(f"{status}, {name}", (answers(status, body),), Unauthorized) for status in (401, 403)]
        retries = 1 if body == ERROR else 0
        passing = {**_PASSING, "retries": retries, "requests": (retries + 1, retries + 1), "is_variant": not retries}
        rows += [
            Row(f"{status}, {name}", (answers(status, body),), says=str(status), **passing)
            for status in (408, 425, 429, 500, 502, 503, 504)
        ]
    for status in (202, 204, 205, 206, 402, 404, 405, 407, 410, 418, 421, 426, 431, 451, 501, 505, 511, 599, 999):
        body = b"" if status in {204, 205} else ERROR
        answered = {"is_answered": None} if status == 407 else {}
        rows.append(
            Row(
                f"{status}, nothing the API says",
                (answers(status, body),),
                is_variant=status not in {204, 404, 407, 999},
                **{**_NOT_OURS, **answered},
            )
        )
    rows += [
        Row("101, other protocol", (raw(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", "listen"),), **_NOT_OURS),
        Row("401 with a challenge", (answers(401, b"", {"WWW-Authenticate": 'Basic realm="x"'}),), Unauthorized),
        Row("100 and then the answer", (_continues_then_stores,), Published),
        Row(
            "100 without end",
            outcome=Unavailable,
            **slow(floods(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)),
        ),
        Row("500 once", (answers(500, ERROR), stores), Published, requests=TWO),
        Row("429 once, as HTML", (answers(429, HTML), stores), Published, requests=TWO),
    ]
    return rows


def _continues_then_stores(line: Line) -> None:
    request: Request = line.read_request()
    status, said = line.server.keep(request)
    line.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 3)
    line.answer(status, said)


def _redirect_rows() -> list[Row]:
    targets = {
        "to another port": "{trap}",
        "to another host": "http://{named}/api/v1/reports",
        "to another scheme": "https://{named}/api/v1/reports",
        "without a scheme": "//{named}/api/v1/reports",
        "to itself": "{own}",
        "to its own root": "/",
        "with user and password": "http://user:pa55word@{named}/",
        "to a file": "file:///etc/passwd",
        "to nonsense": "ht!tp://[::1",
        "with terminal escapes": "http://{named}/\x1b]0;owned\x07\x1b[2J",
        "very far": "http://{named}/" + "a" * 50_000,
    }
    rows = [Row(f"307 {name}", (redirects(307, where),), **_NOT_OURS) for name, where in targets.items()]
    rows += [
        Row(f"{status} to another port", (redirects(status, "{trap}"),), says=r"127\.0\.0\.1:\d+", **_NOT_OURS)
        for status in (300, 301, 302, 303, 308)
    ]
    rows += [Row(f"{status} without a target", (redirects(status, None),), **_NOT_OURS) for status in (304, 305, 308)]
    return [
        *rows,
        Row("201 with Location and Refresh", (_points_elsewhere,), Published),
        Row("an address elsewhere in the answer", (_names_another_page,), Published),
    ]


def _points_elsewhere(line: Line) -> None:
    status, said = line.server.keep(line.read_request())
    line.answer(status, said, {"Location": line.server.trap.url, "Refresh": f"0; url={line.server.trap.url}"})


def _names_another_page(line: Line) -> None:
    status, said = line.server.keep(line.read_request())
    line.answer(status, {**said, "url": line.server.trap.url})


def _retry_after_rows() -> list[Row]:
    def then_stores(name: str, value: str | Callable[[], str], status: int = 503) -> Row:
        return Row(f"Retry-After {name}", (later(value, status), stores), Published, requests=TWO)

    def in_vain(name: str, value: str | Callable[[], str]) -> Row:
        settings: dict[str, Any] = {**_PASSING, "requests": ONE, "deadline": 3.0}
        return Row(f"Retry-After {name}", (later(value), stores), **settings)

    odd = [
        then_stores("1 with 429", "1", 429),
        then_stores("of nothing", ""),
        then_stores("of less than nothing", "-5"),
        then_stores("of a fraction", "0.5"),
        then_stores("of a date that does not exist", "Mon, 99 Foo 2026 99:99:99 GMT"),
        Row("Retry-After with a number of other digits", (later("\xb2"), stores), Published, requests=TWO),
    ]
    return [
        *(replace(row, is_variant=True) for row in odd),
        then_stores("0", "0"),
        then_stores("1", "1"),
        then_stores("of a date soon", date(seconds=2)),
        then_stores("of a date that is over", date(days=-1)),
        then_stores("of nonsense", "when the cows come home"),
        in_vain("5 of 3", "5"),
        in_vain("3600", "3600"),
        in_vain("of a date in an hour", date(hours=1)),
        Row("Retry-After of 10,000 digits", (later("9" * 10_000), stores), (Published, Unavailable), requests=SOME),
        in_vain("of 12 digits", "9" * 12),
        Row("Retry-After of 300 digits", (later("9" * 300), stores), (Published, Unavailable), requests=SOME),
    ]


def _connection_rows() -> list[Row]:
    rows = []
    for ending, verb in (("hang_up", "closes"), ("close", "closes at once"), ("reset", "resets")):
        found = [
            Row(f"{verb} after accepting", (at_once(ending),), **_BROKEN),
            Row(f"{verb} in the request's header", (after(20, ending),), **_BROKEN),
            Row(f"{verb} in the request's body", (in_the_body(ending),), size=LARGE, **_BROKEN),
            Row(f"{verb} in the status line", (raw(b"HTTP/1.", ending),), outcome=Unavailable, requests=SOME),
            Row(f"{verb} in the header", (raw(_OK + b"Content-Ty", ending),), outcome=Unavailable, requests=SOME),
            Row(f"{verb} in the body", (raw(_HEAD % 500 + _JSON[:-2], ending),), **_BROKEN),
            Row(f"{verb} after accepting, once", (at_once(ending), stores), Published, requests=TWO),
        ]
        rows += [replace(row, is_variant=ending == "close") for row in found]
    chunked = _OK + b"Transfer-Encoding: chunked\r\n\r\n"
    return [
        *rows,
        Row("closes after the request", (hangs_up,), **{**_BROKEN, "is_answered": True}),
        Row("resets after the request", (resets,), **{**_BROKEN, "is_answered": True}),
        Row("chunks cut off", (raw(chunked + _chunked(_JSON)[:-40]),), **_BROKEN),
        Row("no chunk at all", (raw(chunked),), **_BROKEN),
        Row("chunks that are none", (raw(chunked + b"zz\r\n" + HTML),), outcome=Unavailable, requests=SOME),
        Row("a chunk of 16 EB", (raw(chunked + b"fffffffffffffff0\r\n{}"),), outcome=Unavailable, requests=SOME),
        Row(
            "a length below zero",
            **quick(says(_as_it_is, Content_Length="-5")),
            outcome=(Unavailable, Published),
            requests=SOME,
        ),
        Row("a length that is no number", (raw(_OK + b"Content-Length: x\r\n\r\n{"),), outcome=Unavailable),
        Row("a length larger than what comes", (raw(_HEAD % 10_000 + _JSON),), **_BROKEN),
        Row("a length shorter than what comes", (raw(_HEAD % 10 + _JSON),), **_NOT_OURS),
        Row("lost after it was stored", (keeps_then(lambda line: line.hang_up()), stores), Published, requests=TWO),
        Row("reset after it was stored", (keeps_then(lambda line: line.reset()), stores), Published, requests=TWO),
        Row("503 after it was stored", (keeps_then(lambda _line: None, 503), stores), Published, requests=TWO),
        Row(
            "half an answer after it was stored",
            (keeps_then(lambda line: (line.send(_HEAD % 500 + b"{"), line.hang_up())), stores),
            Published,
            requests=TWO,
        ),
        Row(
            "silence after it was stored",
            outcome=Published,
            requests=TWO,
            behaviours=(keeps_then(lambda line: line.listen()), stores),
            read=1.0,
        ),
        Row("early 413, then reads on", (early(413, "hang_up"),), Rejected, size=LARGE),
        Row("early 401, then reads on", (early(401, "hang_up"),), Unauthorized, size=LARGE),
        Row("early 413, then closes", (early(413, "close"),), (Rejected, Unavailable), size=LARGE, requests=SOME),
        Row("stores a large report", (stores,), Published, size=LARGE),
        Row("closes after each answer", (says(_as_it_is, Connection="close"),), Published),
        Row("HTTP/1.0 without a length", (_answers_as_of_old,), Published),
        Row("in chunks", (_answers_in_chunks,), Published),
        Row("one byte at a time", (_answers_slowly,), Published),
        Row("connection refused", (stores,), place="refused", **{**_BROKEN, "is_answered": False, "requests": (0, 0)}),
        Row(
            "connections never accepted",
            outcome=Unavailable,
            is_passing=True,
            is_answered=False,
            requests=(0, 0),
            place="deaf",
            behaviours=(stores,),
            connect=0.5,
            deadline=2.5,
        ),
        Row(
            "a host that does not exist",
            (stores,),
            Unavailable,
            is_passing=True,
            is_answered=False,
            requests=(0, 0),
            place="unknown host",
            says="nonexistent.invalid",
            deadline=3.0,
        ),
        Row("IPv6", (stores,), Published, place="IPv6"),
        Row("a name with two addresses, one dead", (stores,), Published, place="localhost"),
    ]


def _answers_as_of_old(line: Line) -> None:
    _, said = line.server.keep(line.read_request())
    line.send(b"HTTP/1.0 201 Created\r\nContent-Type: application/json\r\n\r\n" + json.dumps(said).encode())
    line.hang_up()


def _answers_in_chunks(line: Line) -> None:
    _, said = line.server.keep(line.read_request())
    line.send(_OK + b"Transfer-Encoding: chunked\r\n\r\n" + _chunked(json.dumps(said).encode()))


def _answers_slowly(line: Line) -> None:
    status, said = line.server.keep(line.read_request())
    line.drip(whole_answer(status, {"id": said["id"]}), every=0.001)


def _silence_rows() -> list[Row]:
    head = b"HTTP/1.1 201 "
    dripping = {"outcome": Unavailable, "is_passing": True, "is_answered": True, "requests": ONE}
    return [
        Row("silent, reading nothing", **quick(at_once("linger")), **_BROKEN),
        Row("silent, reading nothing of a large report", **quick(at_once("linger")), size=LARGE, **_BROKEN),
        Row("silent after the request", **quick(is_silent), **_PASSING),
        Row("silent in the status line", **quick(raw(b"HTTP/1.1 2", "listen")), **_PASSING),
        Row("silent in the header", **quick(raw(_OK + b"Content-Type: app", "listen")), **_PASSING),
        Row("silent in the body", **quick(raw(_HEAD % 500 + b'{"id": ', "listen")), **_PASSING),
        Row("silent once", (is_silent, stores), Published, read=1.0, requests=TWO),
        Row("status line drips", **slow(raw(head + NEVER, drips=True)), **dripping),
        Row("413 drips", **slow(raw(b"HTTP/1.1 413 " + NEVER, drips=True)), **dripping),
        Row("header drips", **slow(raw(_OK + b"X: " + NEVER, drips=True)), **dripping),
        Row("body drips", **slow(raw(_HEAD % 100_000 + NEVER, drips=True)), **dripping),
        Row("chunks drip", **slow(_drips_chunks), **dripping),
        Row("reads slowly", **slow(_reads_slowly), size=LARGE, outcome=Unavailable, is_passing=True, requests=SOME),
    ]


def _drips_chunks(line: Line) -> None:
    line.read_request()
    line.send(_OK + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        line.send(b"1\r\n \r\n")
        line.wait(0.05)


def _reads_slowly(line: Line) -> None:
    while line.read(1000):
        line.wait(0.05)


def _answer_rows() -> list[Row]:
    not_ours: dict[str, Any] = {**_NOT_OURS, "says": "not the Jux API"}
    not_http: dict[str, Any] = {"outcome": Unavailable, "is_passing": False}
    deep = b"[" * 100_000
    nested = b'{"id": "report-1", "details": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001
    odd = {
        "a list": [],
        "an object": {"a": 1},
        "true": True,
        "null": None,
        "a fraction": 1.5,
        "empty": "",
    }
    rows = [
        Row(f"the id is {name}", (says(lambda said, value=value: {**said, "id": value}),), Published)
        for name, value in odd.items()
    ]
    rows += [
        Row(
            f"the id is {name}, and no hash",
            (answers(201, {"status": "created", "id": value}),),
            is_variant=True,
            **not_ours,
        )
        for name, value in odd.items()
    ]
    texts = {
        "has terminal escapes": "\x1b]0;owned\x07\x1b[31mreport\u202e\u0085",
        "has line breaks": "report-1\r\n\u2713 Published successfully (forged)\n",
        "is very long": "r" * 100_000,
        "is a number": 12345,
        "is half a character": "\ud800",
        "is a path": "../../../../etc/passwd?x#y",
    }
    rows += [
        Row(f"the id {name}", (says(lambda said, value=value: {**said, "id": value}),), Published)
        for name, value in texts.items()
    ]
    garbage = bytes(range(256)) * 40
    return [
        *rows,
        Row("JSON text", (answers(201, b'"created"'),), **not_ours),
        Row("JSON list", (answers(200, b"[]"),), **not_ours),
        Row("JSON null", (answers(200, b"null"),), **not_ours),
        Row("JSON of another service", (answers(200, {"ok": True}),), **not_ours),
        Row("JSON 100,000 deep", (answers(201, deep),), **not_ours),
        Row("details 100,000 deep", (answers(201, nested),), (Unavailable, Published)),
        Row("refused, details 100,000 deep", (answers(422, nested),), (Unavailable, Rejected)),
        Row("JSON with NaN", (answers(201, b'{"status": "created", "id": NaN}'),), **not_ours),
        Row("JSON with a number of 100,000 digits", (answers(201, b'{"id": ' + b"9" * 100_000 + b"}"),), **not_ours),
        Row("JSON that is not UTF-8", (answers(201, b'{"id": "\xff\xfe\xfa"}'),), **not_ours),
        Row(
            "JSON with a byte order mark", (says(lambda said: b"\xef\xbb\xbf" + json.dumps(said).encode()),), Published
        ),
        Row("JSON with a key twice", (says(lambda said: b'{"id": "x", ' + json.dumps(said).encode()[1:]),), Published),
        Row("JSON cut off", (answers(201, b'{"status": "created", "id": "report-1"'),), **not_ours),
        Row("only an id", (says(_without("canonical_hash", "message", "status")),), Published),
        Row("only a hash", (says(_without("id", "message", "status")),), Published),
        Row("another hash", (says(lambda said: {**said, "canonical_hash": f"sha256:{'0' * 64}"}),), **_NOT_OURS),
        Row("a hash of nonsense", (says(lambda said: {**said, "canonical_hash": "\x1b[2J" * 5000}),), **_NOT_OURS),
        Row("409 with another hash", (answers(409, {"id": "x", "canonical_hash": "sha256:" + "1" * 64}),), **_NOT_OURS),
        Row("201 that says error", (answers(201, {**ERROR, "id": "report-1"}),), **_NOT_OURS),
        Row("right, but said to be HTML", (says(_as_it_is, Content_Type="text/html"),), Published),
        Row("packed, though nobody asked", (says(_gzipped, Content_Encoding="gzip"),), Published),
        Row(
            "said to be packed, but is not",
            (answers(201, HTML, {"Content-Encoding": "gzip"}),),
            Unavailable,
            requests=SOME,
        ),
        Row("1.5 GB with a length", (floods(_HEAD % GIGANTIC, b" " * 1_000_000, GIGANTIC),), **not_ours),
        Row(
            "1.5 GB in chunks",
            (floods(_OK + b"Transfer-Encoding: chunked\r\n\r\n", b"f4240\r\n" + b" " * 1_000_000 + b"\r\n", GIGANTIC),),
            **not_ours,
        ),
        Row("1.5 GB without a length", (floods(_OK + b"\r\n", b" " * 1_000_000, GIGANTIC),), **not_ours),
        Row("1.5 GB in a line of chunk sizes", (_endless_chunk_size,), Unavailable, requests=SOME),
        Row("1.5 GB after a 503", (floods(b"HTTP/1.1 503 No\r\n\r\n", b" " * 1_000_000, GIGANTIC),), **_PASSING),
        Row("1.5 GB after a 400", (floods(b"HTTP/1.1 400 No\r\n\r\n", b" " * 1_000_000, GIGANTIC),), **_NOT_OURS),
        Row("gzip bomb", (packed(gzip_bomb, "gzip"),), Unavailable, requests=SOME),
        Row("gzip bomb in a gzip bomb", (packed(lambda: gzip_bomb(2), "gzip, gzip"),), Unavailable, requests=SOME),
        Row("deflate bomb", (packed(deflate_bomb, "deflate"),), Unavailable, requests=SOME),
        Row("coding br", (packed(lambda: garbage, "br"),), Unavailable, requests=SOME),
        Row("coding zstd", (packed(lambda: garbage, "zstd"),), Unavailable, requests=SOME),
        Row("1,000 codings", (packed(lambda: _JSON, ", ".join(["gzip"] * 1000)),), Unavailable, requests=SOME),
        Row("1,000 headers", (raw(_OK + b"".join(b"X-%d: y\r\n" % n for n in range(1000)) + b"\r\n"),), Unavailable),
        Row("a header of 10 MB", (raw(_OK + b"X: " + b"y" * 10_000_000 + b"\r\n\r\n"),), **not_http),
        Row("a header without end", (floods(_OK + b"X: ", b"y" * 1_000_000, GIGANTIC),), **not_http),
        Row("headers without end", (floods(_OK, b"X: y\r\n" * 10_000, GIGANTIC),), **not_http),
        Row("a status line of 1.5 GB", (floods(b"HTTP/1.1 201 ", b"y" * 1_000_000, GIGANTIC),), **not_http),
        Row("garbage", (raw(garbage),), **not_http),
        Row("empty lines", (raw(b"\r\n" * 1000),), outcome=Unavailable, requests=SOME),
        Row("HTTP/0.9", (raw(HTML),), **not_http),
        Row("HTTP/2", (raw(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + b"\x00" * 18),), **not_http),
        Row("SSH", (raw(b"SSH-2.0-OpenSSH_9.2p1\r\n"),), **not_http),
        Row("a status that is no number", (raw(b"HTTP/1.1 abc Oh\r\n\r\n"),), **not_http),
        Row("a status of one digit", (raw(b"HTTP/1.1 2 Oh\r\n\r\n"),), outcome=Unavailable),
        Row("a header with a zero byte", (raw(_OK + b"X: \x00\x1b[2J\r\nContent-Length: 0\r\n\r\n"),), Unavailable),
        Row("it repeats the key", (_repeats_the_key,), Rejected),
    ]


def _gzipped(said: dict[str, Any]) -> bytes:
    return gzip.compress(json.dumps(said).encode(), mtime=0)


def _endless_chunk_size(line: Line) -> None:
    line.read_request()
    line.send(_OK + b"Transfer-Encoding: chunked\r\n\r\n")
    for _ in range(GIGANTIC // 1_000_000):
        line.send(b"0" * 1_000_000)


def _repeats_the_key(line: Line) -> None:
    key = line.read_request().header("x-api-key")
    line.answer(422, {"status": "error", "error": f"not with {key}", "message": key, "details": {"key": [key]}})


def _tls_rows() -> list[Row]:
    untrusted: dict[str, Any] = {"outcome": Unavailable, "is_passing": False, "is_answered": False, "requests": ONE}
    passing: dict[str, Any] = {"outcome": Unavailable, "is_answered": False, "place": "TLS"}
    return [
        Row("TLS of an authority of our own", (stores,), Published, place="TLS"),
        Row("TLS on IPv6", (stores,), Published, place="TLS on IPv6"),
        Row("TLS of an unknown authority", (stores,), place="TLS, unknown authority", says="certificate", **untrusted),
        Row("TLS of another authority", (stores,), place="TLS, another authority", says="certificate", **untrusted),
        Row("TLS, self-signed", (stores,), place="TLS, self-signed", says="certificate", **untrusted),
        Row("TLS, expired", (stores,), place="TLS, expired", says="certificate.*expired", **untrusted),
        Row("TLS, not yet valid", (stores,), place="TLS, not yet valid", says="certificate.*not yet", **untrusted),
        Row("TLS for another name", (stores,), place="TLS, another name", says="certificate", **untrusted),
        Row("TLS, client certificate given", (stores,), Published, place="TLS, client certificate given"),
        Row(
            "TLS, client certificate missing",
            (stores,),
            Unavailable,
            is_passing=False,
            place="TLS, client certificate missing",
            requests=SOME,
        ),
        Row(
            "TLS, client certificate of a stranger",
            (stores,),
            Unavailable,
            is_passing=False,
            place="TLS, client certificate of a stranger",
            requests=SOME,
        ),
        Row("https to a plain server", (_answers_whatever_comes,), place="https to plain", **untrusted),
        Row(
            "https to a silent plain server",
            **quick(at_once("listen")),
            place="https to plain",
            outcome=Unavailable,
            requests=TWO,
        ),
        Row("http to a TLS server", (stores,), Unavailable, is_passing=None, place="http to TLS", requests=SOME),
        Row("handshake hangs", **quick(handshake(lambda line: line.listen())), requests=TWO, **passing),
        Row("handshake not read", **quick(unencrypted(lambda line: line.linger())), requests=TWO, **passing),
        Row(
            "handshake drips",
            **quick(handshake(lambda line: line.drip(b"\x16\x03\x03\x40\x00" + NEVER))),
            requests=SOME,
            **passing,
        ),
        Row("handshake closed", (handshake(lambda line: line.hang_up()),), requests=TWO, is_passing=True, **passing),
        Row("reset before the handshake", (unencrypted(at_once("reset")),), requests=TWO, is_passing=True, **passing),
        Row("handshake reset", (handshake(lambda line: line.reset()),), requests=TWO, is_passing=True, **passing),
        Row("handshake of garbage", (handshake(lambda line: line.send(NEVER)),), requests=SOME, **passing),
        Row("TLS and 307 to plain HTTP", (redirects(307, "{trap}"),), place="TLS", **_NOT_OURS),
        Row(
            "TLS, closed after it was stored",
            (keeps_then(lambda line: line.hang_up()), stores),
            Published,
            requests=TWO,
            place="TLS",
        ),
        Row("TLS, cut in the body", (raw(_HEAD % 500 + b"{"),), place="TLS", **_BROKEN),
        Row("TLS, silent after the request", **quick(is_silent), place="TLS", **_PASSING),
        Row(
            "TLS, reading nothing of a large report",
            **quick(at_once("linger")),
            place="TLS",
            size=LARGE,
            **_BROKEN,
        ),
        Row("TLS, body drips", **slow(raw(_HEAD % 100_000 + NEVER, drips=True)), place="TLS", outcome=Unavailable),
    ]


def _answers_whatever_comes(line: Line) -> None:
    line.read()
    line.answer(400, HTML)
    line.hang_up()


def _proxy_rows() -> list[Row]:
    nothing = (0, 0)
    refused: dict[str, Any] = {"outcome": Unavailable, "is_answered": False, "requests": nothing}
    login = "user and a password"
    return [
        Row("through a proxy", (stores,), Published, place="proxy"),
        Row("TLS through a proxy", (stores,), Published, place="proxy, TLS"),
        Row("through a proxy with a login", (stores,), Published, place="proxy with login"),
        Row("TLS through a proxy with a login", (stores,), Published, place="proxy with login, TLS"),
        Row("untrusted TLS through a proxy", (stores,), Unavailable, is_passing=False, place="proxy, untrusted TLS"),
        Row("503 through a proxy", (answers(503), stores), Published, place="proxy", requests=TWO),
        Row("307 through a proxy", (redirects(307, "{trap}"),), place="proxy", **_NOT_OURS),
        Row("proxy wants a login", (stores,), place="proxy wants login", says=login, is_passing=False, **refused),
        Row(
            "proxy wants a login, TLS",
            (stores,),
            place="proxy wants login, TLS",
            says=login,
            is_passing=False,
            **refused,
        ),
        Row("proxy with a wrong login", (stores,), place="proxy, wrong login", says=login, is_passing=False, **refused),
        Row("proxy is down", (stores,), place="proxy down", is_passing=True, says="proxy", **refused),
        Row("proxy is down, TLS", (stores,), place="proxy down, TLS", is_passing=True, says="proxy", **refused),
        Row("proxy hangs", **quick(stores), place="proxy hangs", outcome=Unavailable, requests=nothing),
        Row("proxy hangs, TLS", **quick(stores), place="proxy hangs, TLS", outcome=Unavailable, requests=nothing),
        Row("proxy of garbage, TLS", (stores,), place="proxy of garbage, TLS", **refused),
        Row("proxy redirects, TLS", (stores,), place="proxy redirects, TLS", is_passing=False, **refused),
        Row("proxy without end, TLS", (stores,), place="proxy without end, TLS", **refused),
        Row("proxy knows no such host", (stores,), Unavailable, place="proxy, unknown host", requests=nothing),
        Row(
            "proxy knows no such host, TLS", (stores,), Unavailable, place="proxy, unknown host, TLS", requests=nothing
        ),
        Row(
            "not through the proxy, by NO_PROXY",
            (stores,),
            place="NO_PROXY",
            says="cannot be found",
            deadline=3.0,
            **refused,
        ),
        Row("this machine never through the proxy", (stores,), Published, place="proxy for loopback"),
        Row("IPv6 of this machine never through the proxy", (stores,), Published, place="proxy for loopback, IPv6"),
    ]


ROWS = (
    *_status_rows(),
    *_redirect_rows(),
    *_retry_after_rows(),
    *_connection_rows(),
    *_silence_rows(),
    *_answer_rows(),
    *_tls_rows(),
    *_proxy_rows(),
)
