"""One request over a real connection: what arrives, what comes back, and that it can be ended at any moment."""

from __future__ import annotations

import contextlib
import gc
import math
import os
import socket
import subprocess
import sys
import threading
import time
import weakref

import pytest
import urllib3
from publishing.authorities import authority_file, client_files, server_side
from publishing.hostile import RecordingServer, answers, hangs_up, unencrypted, whole_answer
from publishing.proxies import ForwardProxy

from pytest_jux.calls import Abandoned, Call, Watchdog
from pytest_jux.config_values import Secret
from pytest_jux.errors import TransportFailed
from pytest_jux.tls import Security
from pytest_jux.transport import Transport

BODY = b'{"report": "<testsuites/>"}'
PATIENCE = 30.0  # seconds for what takes milliseconds
MEGABYTE = 1_000_000
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch):
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def transport_of():
    """Return a function that makes a transport to a URL, closed at the end."""
    with contextlib.ExitStack() as stack:

        def make(url, connect=5.0, read=5.0, connections=1, **security):
            transport = Transport(url, Security(**security), connect=connect, read=read, connections=connections)
            stack.callback(transport.close)
            return transport

        yield make


def in_time():
    return Call(time.monotonic() + PATIENCE)


def post(transport, body=BODY, headers=(), call=None):
    return transport.post(call or in_time(), body, dict(headers))


def watchdogs():
    return [thread for thread in threading.enumerate() if thread.name == "jux-deadline"]


# --- requests and answers --------------------------------------------------------------------------------------------


def test_an_answer_comes_with_its_status_its_headers_and_its_body(transport_of):
    with RecordingServer(answers(418, b"short and stout", {"X-Pot": "Tea", "Retry-After": "5"})) as server:
        reply = post(transport_of(server.url))
    assert (reply.status, reply.body) == (418, b"short and stout")
    assert (reply.headers["x-pot"], reply.headers["retry-after"]) == ("Tea", "5")
    assert all(name.islower() for name in reply.headers)


def test_a_request_says_how_long_it_is(transport_of):
    """Servers and proxies there are that do not take a body in chunks."""
    with RecordingServer(answers(201)) as server:
        post(transport_of(server.url), headers={"X-Mine": "yes", "X-API-Key": Secret("s3cret")})
        (request,) = server.requests
    assert (request.method, request.version, request.body) == ("POST", "HTTP/1.1", BODY)
    assert request.header("content-length") == str(len(BODY))
    assert request.header("transfer-encoding") is None
    assert request.header("accept-encoding") == "identity"
    assert request.header("host") == server.netloc
    assert request.header("x-mine") == "yes"
    assert request.header("x-api-key") == "s3cret"


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 8_000_000])
def test_a_body_of_any_size_arrives_whole(transport_of, size):
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    with RecordingServer(answers(201)) as server:
        post(transport_of(server.url), body)
        assert server.requests[0].body == body


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_an_answer_like_others(transport_of, status):
    with RecordingServer(answers(200)) as trap, RecordingServer(answers(status, b"", {"Location": trap.url})) as server:
        reply = post(transport_of(server.url))
        assert not trap.connections
    assert (reply.status, reply.headers["location"]) == (status, trap.url)


def test_an_error_status_is_not_tried_again_here(transport_of):
    with RecordingServer(answers(503, b"", {"Retry-After": "0"}), answers(201)) as server:
        assert post(transport_of(server.url)).status == 503
        assert len(server.requests) == 1


@pytest.mark.parametrize(("size", "is_read"), [(MEGABYTE, True), (MEGABYTE + 1, False), (20 * MEGABYTE, False)])
def test_answers_are_read_up_to_a_megabyte(transport_of, size, is_read):
    with RecordingServer(answers(200, b"x" * size)) as server:
        body = post(transport_of(server.url)).body
    assert body == (b"x" * size if is_read else None)


# --- connections -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [201, 400, 503, 302])
def test_a_connection_is_used_again_after_any_whole_answer(transport_of, status):
    with RecordingServer(answers(status, b"x" * 1000)) as server:
        transport = transport_of(server.url)
        for _ in range(4):
            post(transport)
        assert (len(server.requests), len(server.connections)) == (4, 1)


def test_a_connection_with_tls_is_used_again(transport_of, tmp_path):
    with RecordingServer(answers(201), tls=server_side()) as server:
        transport = transport_of(server.url, ca=authority_file(tmp_path))
        for _ in range(4):
            post(transport)
        assert (len(server.requests), len(server.connections)) == (4, 1)
        assert all(request.is_tls for request in server.requests)


def test_a_connection_whose_answer_was_too_long_is_not_used_again(transport_of):
    with RecordingServer(answers(200, b"x" * 5 * MEGABYTE), answers(201)) as server:
        transport = transport_of(server.url)
        assert post(transport).body is None
        assert post(transport).status == 201
        assert len(server.connections) == 2


def test_a_connection_that_the_server_announces_to_close_is_not_used_again(transport_of):
    with RecordingServer(lambda line: (answers(201, b"", {"Connection": "close"})(line), line.hang_up())) as server:
        transport = transport_of(server.url)
        assert [post(transport).status for _ in range(3)] == [201, 201, 201]
        assert len(server.connections) == 3


def test_an_answer_may_end_with_its_connection(transport_of):
    def no_length(line):
        line.read_request()
        line.send(b"HTTP/1.1 201 Created\r\n\r\n{}")
        line.hang_up()

    with RecordingServer(no_length) as server:
        assert post(transport_of(server.url)).body == b"{}"


@pytest.mark.parametrize("is_tls", [False, True])
def test_a_connection_that_was_closed_while_it_waited_is_replaced(transport_of, tmp_path, is_tls):
    def closes_when_told(line):
        answers(201)(line)
        may_close.wait(PATIENCE)
        line.close()

    may_close = threading.Event()
    with RecordingServer(closes_when_told, answers(201), tls=server_side() if is_tls else None) as server:
        transport = transport_of(server.url, **({"ca": authority_file(tmp_path)} if is_tls else {}))
        post(transport)
        may_close.set()
        server.wait_for(lambda one: not one.is_busy(0))
        assert post(transport).status == 201
        assert len(server.connections) == 2


def test_closing_closes_the_connections_that_wait(transport_of):
    with RecordingServer(answers(201)) as server:
        transport = transport_of(server.url)
        post(transport)
        assert server.is_busy(0)
        transport.close()
        server.wait_for(lambda one: not one.is_busy(0))
        assert post(transport).status == 201  # and it can be used again


def test_so_many_connections_wait_as_there_are_threads(transport_of):
    barrier = threading.Barrier(3)

    def together(line):
        line.read_request()
        barrier.wait(PATIENCE)
        line.answer(201)

    with RecordingServer(together) as server:
        transport = transport_of(server.url, connections=3)
        for _ in range(3):
            threads = [threading.Thread(target=post, args=(transport,)) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(PATIENCE)
        assert (len(server.requests), len(server.connections)) == (9, 3)


# --- what goes wrong -------------------------------------------------------------------------------------------------


def failure_of(transport, call=None, body=BODY):
    with pytest.raises(TransportFailed) as caught:
        post(transport, body, call=call)
    error = caught.value
    assert str(error) == error.reason
    assert error.__cause__ is None
    assert error.__suppress_context__
    return error


def test_nobody_there_is_told_from_no_answer(transport_of):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        call = in_time()
        error = failure_of(transport_of(f"http://127.0.0.1:{sock.getsockname()[1]}/"), call)
    assert (error.is_passing, error.is_answered, call.is_sending) == (True, False, False)
    assert "refused" in error.reason
    with RecordingServer(hangs_up) as server:
        call = in_time()
        error = failure_of(transport_of(server.url), call)
    assert (error.is_passing, error.is_answered, call.is_sending) == (True, True, True)
    assert server.netloc in error.reason


def test_a_reused_connection_that_breaks_may_have_brought_the_report(transport_of):
    with RecordingServer(answers(201), hangs_up) as server:
        transport = transport_of(server.url)
        post(transport)
        assert failure_of(transport).is_answered


@pytest.mark.parametrize("host", ["[::1]", "127.0.0.1"])
def test_a_server_is_named_with_its_port(transport_of, host):
    with RecordingServer(hangs_up, host=host.strip("[]")) as server:
        transport = transport_of(server.url)
        assert transport.place == f"{host}:{server.port}"
        assert transport.place in failure_of(transport).reason


def test_a_server_on_the_usual_port_is_named_without(transport_of):
    assert transport_of("https://jux.example.com/api").place == "jux.example.com"


@pytest.mark.parametrize(
    "words",
    [b"SSH-2.0-OpenSSH_9.6\r\n", b"\x15\x03\x01\x00\x02\x02F", b"220 mail.example.com ESMTP\r\n"],
)
def test_another_protocol_is_named_as_such(transport_of, words):
    def speaks(line):
        line.read_request()
        line.send(words)
        line.hang_up()

    with RecordingServer(speaks) as server:
        error = failure_of(transport_of(server.url))
    assert "is not HTTP" in error.reason
    assert not error.is_passing
    assert "https://" in error.hint


def test_no_answer_in_time_says_how_long_was_waited(transport_of):
    with RecordingServer(lambda line: line.listen()) as server:
        error = failure_of(transport_of(server.url, read=0.2))
    assert "within 0.2 s" in error.reason
    assert (error.is_passing, error.is_answered) == (True, True)


def test_an_answer_that_is_cut_off_is_no_answer(transport_of):
    def cuts(line):
        line.read_request()
        line.send(whole_answer(201, b"x" * 100)[:-50])
        line.hang_up()

    with RecordingServer(cuts) as server:
        error = failure_of(transport_of(server.url))
    assert "cut off" in error.reason


def test_a_name_that_is_none_is_not_worth_waiting_for(transport_of):
    """Longer than names can be; the system's resolver does not take it at all."""
    error = failure_of(transport_of(f"http://{'a' * 70}.test/"))
    assert "cannot be found" in error.reason
    assert not error.is_answered


def test_a_failure_of_an_abandoned_call_is_none(transport_of):
    call = in_time()

    def abandons(line):
        line.read_request()
        call.abandon()
        line.listen()

    with RecordingServer(abandons) as server, pytest.raises(Abandoned):
        post(transport_of(server.url), call=call)


@pytest.mark.parametrize(
    "beginning",
    [b"HTTP/1.1 201 ", b"HTTP/1.1 201 Created\r\nX: ", b"HTTP/1.1 201 Created\r\n\r\n{}"],
    ids=["status line", "header", "body"],
)
def test_half_an_answer_of_an_abandoned_call_is_none(transport_of, beginning):
    """Where the connection is cut, what was read so far looks like all there is."""
    call = in_time()

    def begins(line):
        line.read_request()
        line.send(beginning)
        line.wait(0.05)  # so that it is read; without, the test shows less
        call.abandon()
        line.listen()

    with RecordingServer(begins) as server, pytest.raises(Abandoned):
        post(transport_of(server.url), call=call)


def test_a_call_whose_time_is_over_is_abandoned_even_if_nobody_has_said_so_yet(transport_of):
    """Else the error would say that the read timeout was waited for, which is much longer."""
    with RecordingServer(lambda line: line.listen()) as server:
        transport = transport_of(server.url, read=PATIENCE)
        with pytest.raises(Abandoned):
            post(transport, call=Call(time.monotonic() + 0.1))


def test_nothing_is_sent_by_a_call_that_is_over(transport_of):
    call = in_time()
    call.abandon()
    with RecordingServer(answers(201)) as server:
        transport = transport_of(server.url)
        with pytest.raises(Abandoned):
            post(transport, call=call)
        assert not call.is_sending
        assert not server.received
        assert post(transport).status == 201


def test_nothing_is_sent_by_a_call_that_is_over_when_a_connection_waits(transport_of):
    with RecordingServer(answers(201)) as server:
        transport = transport_of(server.url)
        post(transport)
        call = in_time()
        call.abandon()
        with pytest.raises(Abandoned):
            post(transport, call=call)
        assert len(server.requests) == 1
        assert post(transport).status == 201


# --- names that take forever -----------------------------------------------------------------------------------------


@pytest.fixture
def slow_names(monkeypatch):
    """Let every name be this machine's, but only once the event is set."""
    may_answer = threading.Event()
    real = socket.getaddrinfo

    def resolves(host, port, *arguments, **options):
        may_answer.wait(PATIENCE)
        return real("127.0.0.1", port, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolves)
    yield may_answer
    may_answer.set()
    for thread in threading.enumerate():
        if thread.name == "jux-connect":
            thread.join(PATIENCE)


def test_a_name_is_resolved(transport_of, slow_names):
    slow_names.set()
    with RecordingServer(answers(201), name="jux.example.test") as server:
        assert post(transport_of(server.url)).status == 201
        assert server.requests[0].header("host") == server.netloc


def test_a_connection_that_comes_too_late_is_closed_unused(transport_of, slow_names):
    with RecordingServer(answers(201), name="jux.example.test") as server:
        with pytest.raises(Abandoned):
            post(transport_of(server.url), call=Call(time.monotonic() + 0.1))
        slow_names.set()
        server.wait_for(lambda one: one.connections and not one.is_busy(0))
        assert not server.received


def test_what_goes_wrong_in_resolving_is_told(transport_of, monkeypatch):
    def fails(*_arguments, **_options):
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    error = failure_of(transport_of("http://jux.example.test/"))
    assert "jux.example.test cannot be found (temporary failure in name resolution)" in error.reason
    assert error.is_passing


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_name_that_takes_forever_can_be_interrupted():
    program = """
import os, signal, socket, sys, threading, time

def hangs(*arguments, **options):
    os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait(60)

from pytest_jux.calls import Call
from pytest_jux.tls import Security
from pytest_jux.transport import Transport
transport = Transport("http://jux.example.test/", Security(), connect=60, read=60)
socket.getaddrinfo = hangs
try:
    transport.post(Call(time.monotonic() + 60), b"", {})
except KeyboardInterrupt:
    print("interrupted")
"""
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")


# --- calls -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def line():
    """A connection of this process with itself."""
    near, far = socket.socketpair()
    far.settimeout(PATIENCE)
    with near, far:
        yield near, far


def test_what_is_left_of_a_call_can_always_be_a_timeout():
    assert 0 < Call(time.monotonic() - 100).left <= 0.001
    assert 99 < Call(time.monotonic() + 100).left <= 100


def test_abandoning_a_call_cuts_its_line(line):
    near, far = line
    call = in_time()
    call.use(near)
    call.abandon()
    assert far.recv(1) == b""


def test_a_call_that_is_over_gets_no_line_and_does_not_wait(line):
    call = in_time()
    call.abandon()
    call.abandon()
    with pytest.raises(Abandoned):
        call.use(line[0])
    with pytest.raises(Abandoned):
        call.check()
    with pytest.raises(Abandoned):
        call.wait(PATIENCE)


def test_a_call_that_goes_on_waits_and_is_no_error():
    call = in_time()
    call.wait(0.001)
    call.check()


def test_a_line_that_was_let_go_is_not_cut(line):
    """It is another call's by then."""
    near, far = line
    call = in_time()
    call.use(near)
    call.let_go()
    call.abandon()
    near.send(b"x")
    assert far.recv(1) == b"x"


def test_a_line_that_is_kept_is_closed_when_the_call_ends(line):
    near, far = line
    call = in_time()
    call.keep(near)
    near.send(b"x")
    assert far.recv(1) == b"x"
    call.let_go()
    assert near.fileno() == -1
    assert far.recv(1) == b""


def test_a_line_that_is_closed_already_can_be_cut(line):
    near, _ = line
    call = in_time()
    call.use(near)
    near.close()
    call.abandon()
    with pytest.raises(Abandoned):
        call.check()


# --- the watchdog ----------------------------------------------------------------------------------------------------


@pytest.fixture
def watchdog():
    dog = Watchdog()
    yield dog
    dog.stop()


def wait_until_over(call):
    with pytest.raises(Abandoned):
        call.wait(PATIENCE)


def test_a_call_ends_at_its_deadline(watchdog):
    call = Call(time.monotonic() + 0.05)
    with watchdog.watching(call):
        wait_until_over(call)
    assert time.monotonic() >= call.deadline


def test_a_call_whose_deadline_is_over_ends_at_once(watchdog):
    call = Call(time.monotonic() - 1)
    with watchdog.watching(call):
        wait_until_over(call)


def test_a_nearer_deadline_is_not_missed(watchdog):
    late, soon = in_time(), Call(time.monotonic() + 0.05)
    with watchdog.watching(late), watchdog.watching(soon):
        wait_until_over(soon)
        late.check()


def test_a_deadline_that_comes_after_a_pause_is_not_missed(watchdog):
    for _ in range(3):
        call = Call(time.monotonic() + 0.02)
        with watchdog.watching(call):
            wait_until_over(call)


def test_several_deadlines_are_kept_each(watchdog):
    calls = [Call(time.monotonic() + 0.01 * number) for number in range(1, 6)]
    with contextlib.ExitStack() as stack:
        for call in calls:
            stack.enter_context(watchdog.watching(call))
        for call in calls:
            wait_until_over(call)


def test_a_call_that_came_to_its_end_is_left_alone(watchdog):
    call, later = Call(time.monotonic() + 0.05), Call(time.monotonic() + 0.1)
    with watchdog.watching(call):
        pass
    with watchdog.watching(later):
        wait_until_over(later)
    call.check()


def test_a_call_without_end_can_be_watched(watchdog):
    with watchdog.watching(Call(math.inf)), watchdog.watching(soon := Call(time.monotonic() + 0.05)):
        wait_until_over(soon)


def test_a_watchdog_that_stops_leaves_no_thread():
    before = set(watchdogs())
    dog = Watchdog()
    with dog.watching(in_time()):
        (thread,) = set(watchdogs()) - before
    dog.stop()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_watchdog_that_never_watched_can_stop():
    before = watchdogs()
    Watchdog().stop()
    assert watchdogs() == before


def test_a_watchdog_can_be_stopped_and_used_again_and_leaves_no_thread():
    before = set(watchdogs())
    dog = Watchdog()
    for _ in range(100):
        with dog.watching(in_time()):
            pass
        dog.stop()
    with dog.watching(call := Call(time.monotonic() + 0.01)):
        wait_until_over(call)
    dog.stop()
    for thread in set(watchdogs()) - before:
        thread.join(PATIENCE / 10)
    assert set(watchdogs()) <= before


# --- TLS -------------------------------------------------------------------------------------------------------------


def test_a_passphrase_does_not_show():
    assert "open sesame" not in repr(Security(client_key_passphrase=b"open sesame"))


def test_files_are_read_once(transport_of, tmp_path):
    """They may be temporary ones, or pipes as shells make them for `<(…)`; and who made a client can rely on it."""
    ca, files = authority_file(tmp_path), client_files(tmp_path)
    with RecordingServer(answers(201), tls=server_side(wants_client=True)) as server:
        transport = transport_of(server.url, ca=ca, client_cert=files.cert, client_key=files.key)
        for path in (ca, files.cert, files.key):
            path.unlink()
        assert post(transport).status == 201


def test_the_protocol_is_agreed_on(transport_of, tmp_path):
    """Some servers speak something else with who does not say what it speaks."""
    context = server_side()
    context.set_alpn_protocols(["h2", "http/1.1"])
    seen = []

    def notes(line):
        seen.append(line.socket.selected_alpn_protocol())
        answers(201)(line)

    with RecordingServer(notes, tls=context) as server:
        post(transport_of(server.url, ca=authority_file(tmp_path)))
    assert seen == ["http/1.1"]


def test_a_record_that_is_damaged_on_the_way_breaks_the_connection(transport_of, tmp_path):
    def damages(line):
        line.read_request()
        os.write(line.socket.fileno(), b"\x17\x03\x03\x00\x20" + bytes(32))
        line.listen()

    with RecordingServer(damages, tls=server_side()) as server:
        error = failure_of(transport_of(server.url, ca=authority_file(tmp_path)))
    assert "broke" in error.reason
    assert (error.is_passing, error.is_answered) == (True, True)


def test_more_threads_than_announced_get_connections_with_tls(transport_of, tmp_path):
    barrier = threading.Barrier(4)
    files = client_files(tmp_path)

    def together(line):
        barrier.wait(PATIENCE)
        answers(201)(line)

    with RecordingServer(unencrypted(lambda line: (line.start_tls(context), together(line)))) as server:
        context = server_side(wants_client=True)
        url = server.url.replace("http:", "https:")
        ca = authority_file(tmp_path)
        transport = transport_of(url, ca=ca, client_cert=files.cert, client_key=files.key)
        replies = []
        threads = [threading.Thread(target=lambda: replies.append(post(transport).status)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    assert replies == [201] * 4


def test_a_certificate_that_is_gone_when_a_further_connection_needs_it_is_a_failure_and_no_error(
    transport_of, tmp_path
):
    """A second thread is in a handshake, and for the first there is no context left."""
    is_stuck = threading.Event()
    files = client_files(tmp_path)

    def hangs(line):
        line.read(1)
        is_stuck.set()
        line.listen()

    with RecordingServer(unencrypted(hangs), tls=server_side()) as server:
        transport = transport_of(
            server.url, ca=authority_file(tmp_path), client_cert=files.cert, client_key=files.key, connect=2
        )
        thread = threading.Thread(target=lambda: failure_of(transport))
        thread.start()
        assert is_stuck.wait(PATIENCE)
        files.cert.unlink()
        error = failure_of(transport)
        thread.join(PATIENCE)
    assert "client certificate" in error.reason
    assert not error.is_passing


@pytest.mark.parametrize("scheme", ["https", "HTTPS"])
def test_a_proxy_with_tls_is_trusted_like_a_server(transport_of, tmp_path, monkeypatch, scheme):
    """Also for plain HTTP to the server, which needs no TLS itself."""
    with (
        RecordingServer(answers(201)) as server,
        ForwardProxy({"api.example.test": server}, tls=server_side()) as proxy,
    ):
        monkeypatch.setenv("HTTP_PROXY", f"{scheme}://{proxy.netloc}")
        transport = transport_of("http://api.example.test/", ca=authority_file(tmp_path))
        assert post(transport).status == 201
        assert proxy.requests[0].is_tls


@pytest.mark.parametrize(
    ("login", "written"),
    [
        ("me:p@ss:w%rd", "me:p%40ss%3Aw%25rd"),
        ("m\u00fc:\u20ac", "m%C3%BC:%E2%82%AC"),
        ("me:", "me:"),
        ("me:a b", "me:a%20b"),
    ],
)
def test_a_login_for_the_proxy_may_have_any_character(transport_of, monkeypatch, login, written):
    with (
        RecordingServer(answers(201)) as server,
        ForwardProxy({"api.example.test": server}, login=login) as proxy,
    ):
        monkeypatch.setenv("HTTP_PROXY", f"http://{written}@{proxy.netloc}")
        assert post(transport_of("http://api.example.test/")).status == 201


# --- nothing is left behind ------------------------------------------------------------------------------------------

_PROGRAM = """
import gc, os, sys, time, threading
from pathlib import Path
from pytest_jux.calls import Abandoned, Call, Watchdog
from pytest_jux.errors import TransportFailed
from pytest_jux.tls import Security
from pytest_jux.transport import Transport

url, ca, deadline, is_closed = sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4] == "True"

def lowest():
    number = os.open(os.devnull, os.O_RDONLY)
    os.close(number)
    return number

def many():
    watchdog = Watchdog()
    transport = Transport(url, Security(Path(ca)), connect=5, read=5)
    for _ in range(5):
        call = Call(time.monotonic() + deadline)
        try:
            with watchdog.watching(call):
                transport.post(call, b"x", {})
        except (Abandoned, TransportFailed):
            pass
    if is_closed:
        transport.close()
    watchdog.stop()

import urllib3.contrib, truststore  # whatever they open once
many()
gc.collect()
before = lowest()
for _ in range(3):
    many()
gc.collect()
assert lowest() == before, (lowest(), before)
"""


def stores_and_drips(line):
    line.read_request()
    line.drip(b"HTTP/1.1 201 Created\r\n" + b"X: y\r\n" * 1000, every=0.01)


@pytest.mark.parametrize("is_closed", [True, False], ids=["closed", "forgotten"])
@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize(
    ("behaviour", "deadline"),
    [
        (answers(201), PATIENCE),
        (answers(200, b"x" * 2 * MEGABYTE), PATIENCE),
        (hangs_up, PATIENCE),
        (unencrypted(lambda line: line.reset()), PATIENCE),
        (lambda line: line.listen(), 0.1),
        (stores_and_drips, 0.1),
        (lambda line: line.listen(), 0.0),
    ],
    ids=["answers", "says too much", "hangs up", "resets", "is silent", "drips", "has no time"],
)
def test_no_socket_stays_open(tmp_path, behaviour, deadline, is_tls, is_closed):
    with RecordingServer(behaviour, tls=server_side() if is_tls else None) as server:
        program = [sys.executable, "-W", "error", "-X", "dev", "-c", _PROGRAM]
        arguments = [server.url, str(authority_file(tmp_path)), str(deadline), str(is_closed)]
        done = subprocess.run([*program, *arguments], capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_call_that_failed_is_forgotten(transport_of):
    """What a call has sent, a whole report, is not kept in memory by the transport."""
    with RecordingServer(lambda line: line.listen()) as server:
        transport = transport_of(server.url, read=0.1)
        call = in_time()
        with contextlib.suppress(TransportFailed):
            post(transport, call=call)
        forgotten = weakref.ref(call)
        del call
        gc.collect()
        assert forgotten() is None


def test_the_http_library_is_not_changed():
    """Other programs in this process use it, too."""
    assert urllib3.PoolManager().pool_classes_by_scheme["http"] is urllib3.HTTPConnectionPool
