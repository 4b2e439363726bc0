"""A server as its users start it: in a process of its own, until a signal ends it."""

from __future__ import annotations

import http.client
import json
import logging
import os
import re
import shlex
import signal
import socket
import stat
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import urllib3
from servers import drop_database, make_database, running

from jux_server.app import Choices
from jux_server.serving import CannotListen, address_of, choices_of, listening
from jux_server.serving_logs import LineFormatter, RequestFormatter
from jux_server.serving_protocol import LARGEST_HEAD, BoundedHttp
from jux_server.settings import load
from jux_server.trust import create_key
from pytest_jux.canonicalizer import canonical_hash
from pytest_jux.wire import request_body

EVERYWHERE = "0.0.0.0"  # noqa: S104 - what the tests of listening are about
PATIENCE = 60  # seconds until a test gives up on a process
REPORT = b'<testsuite name="s" tests="1"><testcase classname="c" name="t" time="0.1"/></testsuite>'
XML = {"Content-Type": "application/xml"}


@pytest.fixture
def place(tmp_path, clean_environment):
    """Return where a server may write: its HOME and working directory."""
    return tmp_path


def command(place, *arguments, **variables):
    environ = {**os.environ, "HOME": str(place), **variables}
    options = {"cwd": place, "env": environ, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-m", "jux_server", *arguments], **options)


@dataclass
class Served:
    process: subprocess.Popen
    url: str
    said: str
    log: str = ""

    @property
    def address(self):
        parts = urlsplit(self.url)
        return parts.hostname, parts.port

    def submit(self, report=REPORT, **headers):
        headers = {**XML, "Connection": "close", **headers}
        body = {"body": report, "headers": headers, "retries": False, "timeout": PATIENCE}
        return urllib3.request("POST", f"{self.url}/api/v1/junit/submit", **body)

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.wait()
        return self.process.returncode

    def wait(self):
        _, self.log = self.process.communicate(timeout=PATIENCE)


@contextmanager
def serving(place, *arguments, **variables):
    process = command(place, "serve", "--port=0", *arguments, **variables)
    try:
        lines = []
        while not lines or not lines[-1].startswith("Stop with"):
            line = process.stdout.readline()
            assert line, f"it did not start: {process.communicate(timeout=PATIENCE)}"
            lines.append(line)
        url = re.search(r"http://\S+", lines[0])[0]
        yield Served(process, url, "".join(lines))
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


def connected(served):
    return closing(socket.create_connection(served.address, timeout=PATIENCE))


def refused(place, *arguments, **variables):
    process = command(place, "serve", *arguments, **variables)
    said, complaint = process.communicate(timeout=PATIENCE)
    assert not said
    assert "Traceback" not in complaint
    return process.returncode, complaint


# --- starting and stopping -------------------------------------------------------------------------------------------


def test_serves_with_no_setup_from_a_file_that_its_owner_alone_can_read(place):
    with serving(place, XDG_DATA_HOME=str(place / "data")) as served:
        assert served.submit().status == HTTPStatus.CREATED
        file = place / "data/jux/jux-server.db"
        assert f"database  {file}" in served.said
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        assert "not needed on this machine" in served.said
        assert served.stop() == 0


def test_what_it_prints_publishes_a_first_report(place):
    (place / "report.xml").write_bytes(REPORT)
    with serving(place) as served:
        line = re.search(r"jux-publish .*", served.said)[0]
        _, *arguments = shlex.split(line)
        publish = [sys.executable, "-c", "from pytest_jux.commands.publish import main; main()", *arguments]
        environ = {**os.environ, "HOME": str(place)}
        options = {"cwd": place, "env": environ, "capture_output": True, "text": True, "timeout": PATIENCE}
        done = subprocess.run(publish, check=False, **options)
        assert done.returncode == 0, done.stderr
        assert served.submit().status == HTTPStatus.OK


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_signal_stops_it_with_success_and_without_a_traceback(place, number, workers):
    with serving(place, f"--workers={workers}") as served:
        assert served.submit().status == HTTPStatus.CREATED
        assert served.stop(number) == 0
        assert "Traceback" not in served.log


def test_processes_serve_one_database_and_leave_nobody_behind(place, database_url):
    with serving(place, "--workers=3", f"--database={database_url}") as served:
        reports = [REPORT.replace(b'name="t"', b'name="t%d"' % number) for number in range(20)]
        assert {served.submit(report).status for report in reports} == {HTTPStatus.CREATED}
        assert {served.submit(report).status for report in reports} == {HTTPStatus.OK}
        assert served.stop() == 0
        started = {int(number) for number in re.findall(r"Started server process \[(\d+)\]", served.log)}
        assert len(started) == 3
        assert not [number for number in started if Path(f"/proc/{number}").exists()]


def test_process_that_dies_is_replaced(place):
    with serving(place, "--workers=2") as served:
        assert served.submit().status == HTTPStatus.CREATED
        children = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children")
        before = _workers(children)
        os.kill(before[0], signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE
        while len(_workers(children)) < 2 or before[0] in _workers(children):
            assert time.monotonic() < deadline, "there is no other process"
            time.sleep(0.1)
        assert served.submit().status == HTTPStatus.OK


def _workers(children):
    def is_worker(number):
        try:
            return b"spawn_main" in Path(f"/proc/{number}/cmdline").read_bytes()
        except OSError:
            return False

    return [int(number) for number in children.read_text().split() if is_worker(number)]


def test_password_of_the_database_is_nowhere_in_the_processes_arguments_and_variables(place, postgres):
    make_database(postgres, "jux_secret", "jux_template")
    file = place / "password"
    file.write_text("hunter2-hunter2\n")
    file.chmod(0o600)
    address = postgres.replace("/postgres?", "/jux_secret?")
    arguments = (f"--database={address}", f"--database-password-file={file}", "--workers=2")
    with serving(place, *arguments) as served:
        assert served.submit().status == HTTPStatus.CREATED
        everybody = [served.process.pid, *_workers(_children(served))]
        assert len(everybody) == 3
        for number in everybody:
            for what in ("cmdline", "environ"):
                assert b"hunter2" not in Path(f"/proc/{number}/{what}").read_bytes()
        served.stop()
        assert "hunter2" not in served.said + served.log
    drop_database(postgres, "jux_secret")


def _children(served):
    return Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_request_that_was_begun_is_finished_when_the_server_is_stopped(place, workers):
    with serving(place, f"--workers={workers}") as served:
        with connected(served) as connection:
            half = len(REPORT) // 2
            head = "POST /api/v1/junit/submit HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/xml\r\n"
            connection.sendall(f"{head}Expect: 100-continue\r\nContent-Length: {len(REPORT)}\r\n\r\n".encode())
            assert connection.recv(1000).startswith(b"HTTP/1.1 100")  # a route reads the body, so it has been begun
            connection.sendall(REPORT[:half])
            served.process.send_signal(signal.SIGTERM)
            _wait_until_refused(served.address)
            connection.sendall(REPORT[half:])
            answer = connection.makefile("rb").read()
        served.wait()
        assert answer.startswith(b"HTTP/1.1 201")
        assert served.process.returncode == 0
    with serving(place) as again:
        assert again.submit().status == HTTPStatus.OK  # it is there


def _wait_until_refused(address):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            socket.create_connection(address, timeout=PATIENCE).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.05)
    pytest.fail("connections are still accepted")


def test_request_that_never_ends_holds_up_the_stop_only_as_long_as_allowed(place):
    head = "POST /api/v1/junit/submit HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/xml\r\n"
    with serving(place, "--graceful-timeout=1") as served, connected(served) as connection:
        connection.sendall(f"{head}Expect: 100-continue\r\nContent-Length: 1000\r\n\r\n".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 100")
        assert served.stop() == 0


# --- what is refused before it starts --------------------------------------------------------------------------------


def test_port_that_is_in_use_is_said(place):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, complaint = refused(place, f"--port={port}")
    assert code == 1
    assert f"cannot listen on 127.0.0.1:{port}: the port is in use" in complaint
    assert "--port" in complaint


@pytest.mark.parametrize(
    ("host", "reason"),
    [("192.0.2.1", "this machine has no such address"), ("nowhere.invalid", "there is no address of this name")],
)
def test_address_that_is_not_of_this_machine_is_said(host, reason):
    with pytest.raises(CannotListen, match=reason), listening(host, 0):
        pytest.fail("it listens")


def test_name_with_several_addresses_gets_one_port_for_all(place):
    with listening("localhost", 0) as sockets:
        assert len({listener.getsockname()[1] for listener in sockets}) == 1
        for listener in sockets:
            socket.create_connection(listener.getsockname()[:2], timeout=PATIENCE).close()


def test_address_for_people_is_one_that_leads_here():
    with listening(EVERYWHERE, 0) as sockets:
        port = sockets[0].getsockname()[1]
        assert address_of(sockets[0]) == f"http://127.0.0.1:{port}"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--host=0.0.0.0",),
        ("--require-keys",),
        ("--trusted-proxies=10.0.0.1",),
        ("--base-url=https://jux.example.com",),
    ],
)
def test_without_a_key_nobody_but_this_machine_is_let_in(place, arguments):
    code, complaint = refused(place, "--port=0", *arguments)
    assert code == 1
    assert "callers need an API key here, and there is none that works" in complaint
    assert "jux-server key create" in complaint


def test_with_a_key_other_machines_are_let_in_and_everybody_needs_it(place):
    made = command(place, "key", "create", "ci")
    key = made.communicate(timeout=PATIENCE)[0].strip()
    with serving(place, "--host=0.0.0.0") as served:
        assert "API key   needed" in served.said
        assert served.submit().status == HTTPStatus.UNAUTHORIZED
        assert served.submit(**{"X-API-Key": key}).status == HTTPStatus.CREATED


@pytest.mark.parametrize(
    ("said", "is_open_here"),
    [
        ({}, True),
        ({"host": "localhost"}, True),
        ({"host": "::1"}, True),
        ({"base_url": "http://localhost:4000"}, True),
        ({"host": EVERYWHERE}, False),
        ({"host": "::"}, False),
        ({"require_keys": "true"}, False),
        ({"trusted_proxies": "127.0.0.1"}, False),
        ({"base_url": "https://jux.example.com"}, False),
    ],
)
def test_nobody_needs_a_key_only_where_nobody_else_can_come_in(tmp_path, said, is_open_here):
    given = {f"jux_server_{name}": value for name, value in said.items()}
    settings = load(command_line=given, environ={}, home=tmp_path, system_file=tmp_path / "none")
    assert choices_of(settings).is_open_here is is_open_here


def test_what_is_set_reaches_the_application(tmp_path):
    given = {"accept": "trusted", "max_report_size": "2 MB", "rate_limit": "5/minute"}
    given = {f"jux_server_{name}": value for name, value in given.items()}
    choices = choices_of(load(command_line=given, environ={}, home=tmp_path, system_file=tmp_path / "none"))
    assert (choices.accept, choices.largest_report, choices.rate) == ("trusted", 2_000_000, "5/minute")


def test_database_that_is_none_is_said(place):
    (place / "letter.txt").write_text("Dear database")
    code, complaint = refused(place, "--database=letter.txt")
    assert code == 1
    assert "cannot use the database" in complaint
    assert "letter.txt" in complaint
    assert (place / "letter.txt").read_text() == "Dear database"


def test_database_in_a_directory_that_is_not_there_is_said(place):
    code, complaint = refused(place, "--database=nowhere/reports.db")
    assert code == 1
    assert "cannot use the database" in complaint
    assert "no such file or directory" in complaint


# --- connections -----------------------------------------------------------------------------------------------------


class Impatient(BoundedHttp):
    headers_time = 1.0


@pytest.fixture
def impatient(database):
    with running(database, Choices(), http=Impatient) as started:
        parts = urlsplit(started.url)
        with closing(socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE)) as connection:
            yield connection


def test_connection_that_says_nothing_is_closed(impatient):
    assert impatient.recv(1) == b""


def test_connection_whose_headers_do_not_end_is_closed(impatient):
    impatient.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    assert impatient.recv(1) == b""


def _status(connection):
    """Read one answer whole and return its status."""
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    answer.read()
    return answer.status


def test_connection_whose_second_request_does_not_end_is_closed(impatient):
    impatient.sendall(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
    assert _status(impatient) == HTTPStatus.NOT_FOUND
    impatient.sendall(b"GET /")
    assert impatient.recv(1) == b""


def test_connection_that_sends_empty_lines_for_ever_is_closed(impatient):
    impatient.sendall(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
    assert _status(impatient) == HTTPStatus.NOT_FOUND
    with pytest.raises(ConnectionError):
        _send_empty_lines(impatient)


def _send_empty_lines(connection):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        connection.sendall(b"\r\n")
        time.sleep(0.05)


def test_request_in_time_is_answered_and_so_is_the_next_one(impatient):
    for _ in range(3):
        impatient.sendall(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
        assert _status(impatient) == HTTPStatus.NOT_FOUND
        time.sleep(0.4)


def test_body_may_take_longer_than_headers(impatient):
    body = REPORT
    impatient.sendall(b"POST /api/v1/junit/submit HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\n")
    impatient.sendall(b"Content-Length: %d\r\n\r\n" % len(body))
    for start in range(0, len(body), 20):
        impatient.sendall(body[start : start + 20])
        time.sleep(0.3)
    assert _status(impatient) == HTTPStatus.CREATED


def _flood(connection, head, piece):
    connection.sendall(head)
    try:
        for _ in range(200):
            connection.sendall(piece)
    except OSError:
        pass  # it was closed while we sent
    try:
        return connection.recv(1000)
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize(
    "head",
    [
        b"GET /nothing HTTP/1.1\r\nHost: x\r\n",
        b"GET /nothing HTTP/1.1\r\nHost: x\r\nX-Long: ",
        b"GET /",
    ],
    ids=["many headers", "one long header", "a long address"],
)
def test_headers_without_end_are_refused(place, head):
    piece = b"X-More: %s\r\n" % (b"x" * 8000) if head.endswith(b"\r\n") else b"x" * 8000
    with serving(place) as served:
        with connected(served) as connection:
            answer = _flood(connection, head, piece)
        assert answer.startswith(b"HTTP/1.1 400") or answer == b""
        assert served.submit().status == HTTPStatus.CREATED


def test_trailers_without_end_are_refused(place):
    head = b"POST /api/v1/junit/submit HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\n"
    head += b"Transfer-Encoding: chunked\r\n\r\n3\r\n<a/\r\n0\r\n"
    with serving(place) as served:
        with connected(served) as connection:
            answer = _flood(connection, head, b"X-More: %s\r\n" % (b"x" * 8000))
        assert answer.startswith(b"HTTP/1.1 400") or answer == b""
        assert served.submit().status == HTTPStatus.CREATED


def test_large_body_is_no_large_head(place):
    report = REPORT.replace(
        b"/></testsuite>", b"><system-out>%s</system-out></testcase></testsuite>" % (b"x" * 3_000_000)
    )
    assert len(report) > LARGEST_HEAD
    with serving(place) as served:
        assert served.submit(report).status == HTTPStatus.CREATED


def test_answers_do_not_tell_which_program_this_is(place):
    with serving(place) as served:
        assert "server" not in served.submit().headers


def test_proxy_is_believed_only_if_it_is_named(place):
    key = command(place, "key", "create", "ci").communicate(timeout=PATIENCE)[0].strip()
    headers = {"X-API-Key": key, "X-Forwarded-For": "192.0.2.7"}
    with serving(place, "--require-keys") as served:
        served.submit(**headers)
        served.stop()
        assert "192.0.2.7" not in served.log
    with serving(place, "--trusted-proxies=127.0.0.1") as served:
        served.submit(**headers)
        served.stop()
        assert re.search(r'INFO 192\.0\.2\.7:\d+ "POST /api/v1/junit/submit', served.log)


# --- the log ---------------------------------------------------------------------------------------------------------


def test_log_has_neither_queries_nor_keys(place):
    with serving(place) as served:
        key = "jux_abcdefgh_hunter2hunter2"
        url = f"{served.url}/api/v1/reports?api_key=hunter2&q=x"
        urllib3.request("GET", url, headers={"X-API-Key": key}, retries=False, timeout=PATIENCE)
        served.stop()
    assert re.search(r'^\S+Z INFO 127\.0\.0\.1:\d+ "GET /api/v1/reports\?… HTTP/1\.1" \d+$', served.log, re.MULTILINE)
    assert "hunter2" not in served.log


def test_requests_are_not_in_the_log_if_that_is_not_wanted(place):
    with serving(place, "--no-access-log", "--log-level=warning") as served:
        served.submit()
        served.stop()
    assert served.log == ""


def test_line_of_the_log_has_nothing_that_a_terminal_obeys():
    record = logging.LogRecord("uvicorn.error", logging.WARNING, "", 0, "a\x1b[31m\nb %s", ("\u202ec",), None)
    assert LineFormatter().format(record).endswith("Z WARNING a\\x1b[31m\\x0ab \\u202ec")


def test_request_in_the_log_is_one_line():
    args = ("127.0.0.1:1", "GET", "/a\nb?key=hunter2", "1.1", 404)
    record = logging.LogRecord("uvicorn.access", logging.INFO, "", 0, '%s - "%s %s HTTP/%s" %d', args, None)
    assert RequestFormatter().format(record).endswith('Z INFO 127.0.0.1:1 "GET /a\\x0ab?… HTTP/1.1" 404')


def test_wrong_json_is_answered_and_does_not_end_the_server(place):
    with serving(place) as served:
        options = {"body": b"{", "headers": {"Content-Type": "application/json"}, "retries": False}
        answer = urllib3.request("POST", f"{served.url}/api/v1/reports", **options)
        assert answer.status == HTTPStatus.BAD_REQUEST
        body = request_body(REPORT, canonical_hash(REPORT), {})
        options["body"] = body
        assert urllib3.request("POST", f"{served.url}/api/v1/reports", **options).status == HTTPStatus.CREATED
        assert json.loads(answer.data)["status"] == "error"


def test_key_that_expired_does_not_let_a_server_start(place, database, database_url):
    from jux_server.store.database import now
    from jux_server.trust import revoke_key

    _, made = create_key(database, "old", expires_at=now() + 3_600_000_000)
    revoke_key(database, str(made.id))
    code, complaint = refused(place, "--require-keys", "--port=0", f"--database={database_url}")
    assert code == 1
    assert "none that works" in complaint
