"""Bodies of requests on real connections: compressed, slow, endless, cut off, and of another length than they say."""

from __future__ import annotations

import contextlib
import gzip
import logging
import re
import shutil
import socket
import threading
import time
import zlib

import pytest
from servers import running

from jux_server.api import bodies
from jux_server.app import Choices
from jux_server.serving_protocol import BoundedHttp
from jux_server.store.database import open_database

REPORT = b'<testsuite name="s"><testcase classname="c" name="a"/></testsuite>'
LIMIT = 3_000_000
SUBMIT = "/api/v1/junit/submit"


def padded(size):
    return REPORT.replace(b"<testcase", b"<system-out>" + b"x" * (size - len(REPORT) - 25) + b"</system-out><testcase")


@pytest.fixture
def database(tmp_path, empty_sqlite):
    """Bodies end before there is a database: one kind is enough."""
    shutil.copy(empty_sqlite, tmp_path / "jux.db")
    opened = open_database(str(tmp_path / "jux.db"))
    yield opened
    opened.close()


@pytest.fixture
def server(database):
    with running(database, Choices(largest_report=LIMIT), http=BoundedHttp) as started:
        yield started


@pytest.fixture
def errors_of_the_server():
    """Return the messages that the server logs as errors from now on."""
    found = []

    class Kept(logging.Handler):
        def emit(self, record):
            found.append(record.getMessage())

    kept = Kept(logging.ERROR)
    loggers = [logging.getLogger(name) for name in ("uvicorn.error", "asyncio")]
    for logger in loggers:
        logger.addHandler(kept)
    yield found
    for logger in loggers:
        logger.removeHandler(kept)


class Connection:
    """A connection on which a test says what it wants."""

    def __init__(self, server):
        host, port = server.url.removeprefix("http://").split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=60)
        self.received = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def begin(self, *headers, media="application/xml"):
        lines = [f"POST {SUBMIT} HTTP/1.1", "Host: 127.0.0.1", f"Content-Type: {media}", *headers]
        self.send("\r\n".join([*lines, "", ""]).encode())

    def until(self, end):
        while end not in self.received:
            received = self.socket.recv(65536)
            assert received, self.received
            self.received += received

    def answer(self):
        """Return the status of the next answer, and its body."""
        self.until(b"\r\n\r\n")
        head, _, self.received = self.received.partition(b"\r\n\r\n")
        length = int((re.search(rb"(?i)content-length: (\d+)", head) or [0, 0])[1])
        while len(self.received) < length:
            self.received += self.socket.recv(65536)
        body, self.received = self.received[:length], self.received[length:]
        return int(head.split()[1]), body

    def is_closed(self):
        """Wait for the end of the connection and tell whether it came without more being said."""
        try:
            return self.received == b"" and self.socket.recv(65536) == b""
        except ConnectionError:
            return True


def submit(server, body, **headers):
    headers = {"Content-Type": "application/xml", **headers}
    return server.post(SUBMIT, body, headers=headers)


# --- compressed ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coding", ["gzip", "GZIP", " gzip ", "x-gzip"])
def test_gzip_is_unpacked(server, coding):
    answer = submit(server, gzip.compress(REPORT), **{"Content-Encoding": coding})
    assert (answer.status, answer.json()["test_count"]) == (201, 1)


@pytest.mark.parametrize("coding", ["", "identity"])
def test_body_without_a_coding_is_taken_as_it_is(server, coding):
    assert submit(server, REPORT, **{"Content-Encoding": coding}).status == 201


@pytest.mark.parametrize("coding", ["br", "deflate", "zstd", "gzip, gzip", "identity, gzip", "x" * 500, "\xe9"])
def test_other_codings_are_refused_and_the_one_that_is_read_is_named(server, coding):
    answer = submit(server, gzip.compress(gzip.compress(REPORT)), **{"Content-Encoding": coding})
    assert answer.status == 415
    assert answer.headers["Accept-Encoding"] == "gzip"
    assert len(answer.data) < 500


PACKED = gzip.compress(padded(100_000), mtime=0)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (PACKED[:-1], "ends too early"),
        (PACKED[: len(PACKED) // 2], "ends too early"),
        (PACKED[:5], "ends too early"),
        (b"", "ends too early"),
        (PACKED[:-8] + b"\0" * 8, "cannot be unpacked"),
        (PACKED[:-4] + b"\xff" * 4, "cannot be unpacked"),
        (PACKED[:20] + b"\xff" * 50 + PACKED[70:], "cannot be unpacked"),
        (REPORT, "cannot be unpacked"),
        (zlib.compress(REPORT), "cannot be unpacked"),
        (PACKED + b"\0", "something after its end"),
        (PACKED + PACKED, "something after its end"),
    ],
)
def test_damaged_gzip_is_refused_with_what_is_wrong(server, body, reason):
    answer = submit(server, body, **{"Content-Encoding": "gzip"})
    assert answer.status == 400
    assert reason in answer.json()["message"]


def test_gzip_in_pieces_of_one_byte_is_unpacked(server):
    data = gzip.compress(padded(500_000))
    assert submit(server, (data[at : at + 1] for at in range(len(data))), **{"Content-Encoding": "gzip"}).status == 201


@pytest.mark.parametrize("size", [LIMIT, LIMIT + 1])
@pytest.mark.parametrize("packed", [True, False])
def test_limit_is_that_of_the_report_packed_or_not(server, size, packed):
    data = padded(size)
    assert len(data) == size
    headers = {"Content-Encoding": "gzip"} if packed else {}
    answer = submit(server, gzip.compress(data) if packed else data, **headers)
    assert answer.status == (201 if size == LIMIT else 413)


def test_bomb_is_refused_before_it_is_unpacked_whole(server):
    """A gigabyte in a megabyte, and a bomb in a bomb that is unpacked but once."""
    inflater = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(inflater.compress(b"\0" * 10_000_000) for _ in range(100)) + inflater.flush()
    answer = submit(server, bomb, **{"Content-Encoding": "gzip"})
    assert (answer.status, answer.json()["error"]) == (413, "Report too large")  # and not what reading it whole says
    assert submit(server, gzip.compress(bomb), **{"Content-Encoding": "gzip"}).status == 400
    assert submit(server, REPORT).status == 201


# --- as long as they say ---------------------------------------------------------------------------------------------


def test_large_body_comes_whole(server):
    data = padded(2_500_000)
    stored = submit(server, data).json()["test_run_id"]
    assert server.get(f"/api/v1/reports/{stored}.xml").data == data


def test_body_in_chunks_comes_whole(server):
    data = padded(1_500_000)
    stored = submit(server, (data[at : at + 7_001] for at in range(0, len(data), 7_001))).json()["test_run_id"]
    assert server.get(f"/api/v1/reports/{stored}.xml").data == data


def test_body_that_says_it_is_too_long_is_refused_before_it_comes(server):
    with Connection(server) as connection:
        connection.begin(f"Content-Length: {LIMIT + 1}")
        status, body = connection.answer()
        assert (status, b"3,000,000 bytes" in body) == (413, True)
        assert connection.is_closed()


def test_body_without_an_end_is_not_read_much_farther_than_the_limit(server):
    with Connection(server) as connection:
        connection.begin("Transfer-Encoding: chunked")
        chunk, sent = b"10000\r\n" + b"x" * 65_536 + b"\r\n", 0
        with contextlib.suppress(ConnectionError):
            while sent < 100 * LIMIT:
                connection.send(chunk)
                sent += len(chunk)
    assert sent < 10 * LIMIT  # what the system keeps on the way is a few megabytes
    assert submit(server, REPORT).status == 201


@pytest.mark.parametrize(
    "headers",
    [
        ["Content-Length: -1"],
        ["Content-Length: +5"],
        ["Content-Length: 0x10"],
        ["Content-Length: 5, 5"],
        ["Content-Length: \xb2"],
        ["Content-Length: " + "9" * 5_000],
        ["Content-Length: 5", "Content-Length: 6"],
        ["Content-Length: 5", "Transfer-Encoding: chunked"],
    ],
)
def test_length_that_makes_no_sense_or_can_be_read_in_two_ways_is_refused(server, headers):
    with Connection(server) as connection:
        connection.begin(*headers)
        connection.send(b"2\r\nab\r\n0\r\n\r\n")
        assert connection.answer()[0] == 400
        assert connection.is_closed()


@pytest.mark.parametrize("chunk", [b"zz\r\n", b"-1\r\nx\r\n", b"f" * 30 + b"\r\n", b"5\r\nabcdefgh\r\n"])
def test_chunk_that_makes_no_sense_ends_the_request(server, chunk):
    with Connection(server) as connection:
        connection.begin("Transfer-Encoding: chunked")
        connection.send(chunk)
        assert connection.answer()[0] == 400
    assert submit(server, REPORT).status == 201


def test_empty_body_is_no_report(server):
    with Connection(server) as connection:
        connection.begin()
        status, body = connection.answer()
        assert (status, b"empty" in body) == (400, True)


def test_two_requests_on_one_connection_are_answered_each(server):
    with Connection(server) as connection:
        for expected in (201, 200, 200):
            connection.begin(f"Content-Length: {len(REPORT)}")
            connection.send(REPORT)
            assert connection.answer()[0] == expected


def test_client_that_waits_for_permission_gets_it(server):
    with Connection(server) as connection:
        connection.begin(f"Content-Length: {len(REPORT)}", "Expect: 100-continue")
        assert connection.answer()[0] == 100
        connection.send(REPORT)
        assert connection.answer()[0] == 201


def test_client_that_waits_for_permission_to_send_too_much_is_refused_at_once(server):
    with Connection(server) as connection:
        connection.begin("Content-Length: 999999999999", "Expect: 100-continue")
        assert connection.answer()[0] == 413


@pytest.mark.parametrize(
    ("headers", "media", "status"),
    [(["X-API-Key: nonsense"], "application/xml", 403), ([], "text/plain", 415), ([], "", 415)],
)
def test_request_that_is_refused_by_its_headers_is_answered_before_its_body_comes(server, headers, media, status):
    with Connection(server) as connection:
        connection.begin("Content-Length: 1000000", *headers, media=media)
        assert connection.answer()[0] == status


# --- slow, and cut off -----------------------------------------------------------------------------------------------


def test_body_that_stops_to_come_is_given_up(server, monkeypatch):
    monkeypatch.setattr(bodies, "_SILENCE", 0.2)
    with Connection(server) as connection:
        connection.begin("Content-Length: 1000")
        connection.send(b"<testsuite>")
        status, body = connection.answer()
        assert (status, b"nothing came" in body) == (408, True)
        assert connection.is_closed()


def test_body_that_comes_forever_slowly_is_given_up(server, monkeypatch):
    monkeypatch.setattr(bodies, "_TOTAL", 0.5)
    with Connection(server) as connection:
        connection.begin("Transfer-Encoding: chunked")
        is_over = threading.Event()

        def trickle():
            with contextlib.suppress(OSError):
                while not is_over.wait(0.02):
                    connection.send(b"1\r\nx\r\n")

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            assert connection.answer()[0] == 408
        finally:
            is_over.set()
            thread.join()


def test_slow_client_holds_up_nobody_else(server):
    with Connection(server) as slow:
        slow.begin(f"Content-Length: {len(REPORT)}")
        slow.send(REPORT[:10])
        assert submit(server, REPORT.replace(b'"a"', b'"b"')).status == 201
        slow.send(REPORT[10:])
        assert slow.answer()[0] == 201


@pytest.mark.parametrize("headers", [["Content-Length: 1000"], ["Transfer-Encoding: chunked"]])
@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_client_that_goes_away_in_the_middle_leaves_no_error_and_no_report(
    server, errors_of_the_server, headers, coding
):
    body = gzip.compress(REPORT)[:20] if coding == "gzip" else REPORT
    for _ in range(5):
        with Connection(server) as connection:
            connection.begin(*headers, f"Content-Encoding: {coding}")
            connection.send(b"14\r\n" + body[:20] + b"\r\n" if "chunked" in headers[0] else body)
    deadline = time.monotonic() + 30
    while counted(server) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert counted(server) == 5
    assert errors_of_the_server == []
    assert server.get("/api/v1/reports").json()["reports"] == []
    assert b'status="500"' not in server.get("/metrics").data


def counted(server):
    text = server.get("/metrics").data.decode()
    return sum(
        int(float(line.split()[-1]))
        for line in text.splitlines()
        if line.startswith("jux_http_requests_total") and "submit" in line
    )


def test_client_that_does_not_wait_for_its_answer_has_its_report_stored(server, errors_of_the_server):
    with Connection(server) as connection:
        connection.begin(f"Content-Length: {len(REPORT)}")
        connection.send(REPORT)
    deadline = time.monotonic() + 30
    while not server.get("/api/v1/reports").json()["reports"] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(server.get("/api/v1/reports").json()["reports"]) == 1
    assert errors_of_the_server == []
