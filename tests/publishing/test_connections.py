"""What one client does over time: connections used again, retries, and several threads at once."""

from __future__ import annotations

import itertools
import json
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from publishing.authorities import authority_file, server_side
from publishing.behaviours import later
from publishing.hostile import RecordingServer, answers, canonical_hash_of, resets, stores, unencrypted, whole_answer
from publishing.stages import KEY

from pytest_jux.api_client import JuxAPIClient
from pytest_jux.config_values import Secret
from pytest_jux.errors import ClientMisconfigured
from pytest_jux.outcomes import Duplicate, Published, Unavailable

pytestmark = pytest.mark.usefixtures("bare_environment")


def numbered_report(number):
    return f'<testsuite name="s"><testcase classname="c" name="test_{number}"/></testsuite>'.encode()


@pytest.fixture
def client_of():
    """Return a function that makes a client, closed at the end."""
    clients = []

    def make(server, **options):
        options = {"read_timeout": 5, "deadline": 10, "retries": 2, **options}
        clients.append(JuxAPIClient(server.url, KEY, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def test_a_connection_is_used_again(client_of):
    with RecordingServer() as server:
        client = client_of(server)
        outcomes = [client.publish(numbered_report(number)) for number in range(5)]
        assert all(isinstance(outcome, Published) for outcome in outcomes)
        assert len(server.connections) == 1


@pytest.mark.parametrize("ending", ["hang_up", "reset"])
def test_a_connection_that_the_server_has_closed_meanwhile_is_no_failure(client_of, ending):
    may_close, is_closed = threading.Event(), threading.Event()

    def stores_then_ends(line):
        stores(line)
        may_close.wait(10)
        if ending == "hang_up":
            line.socket.shutdown(socket.SHUT_WR)
            is_closed.set()
        getattr(line, ending)()

    with RecordingServer(stores_then_ends, stores) as server:
        client = client_of(server, retries=0)
        first = client.publish(numbered_report(1))
        may_close.set()
        if ending == "hang_up":
            assert is_closed.wait(10)
        else:
            server.wait_for(lambda one: not one.is_busy(0))
        second = client.publish(numbered_report(2))
        assert isinstance(first, Published)
        assert isinstance(second, Published)


def test_an_answer_that_nobody_asked_for_is_nobodys_answer(client_of):
    data = [numbered_report(number) for number in range(2)]

    def answers_twice(line):
        status, said = line.server.keep(line.read_request())
        forged = {**said, "id": "forged", "canonical_hash": canonical_hash_of(data[1])}
        line.send(whole_answer(status, said) + whole_answer(201, forged))

    with RecordingServer(answers_twice, stores) as server:
        client = client_of(server)
        first, second = (client.publish(one) for one in data)
        assert isinstance(first, Published)
        assert isinstance(second, Published)
        assert second.id != "forged"
        assert canonical_hash_of(data[1]) in server.reports


def test_a_late_answer_to_an_earlier_attempt_is_nobodys_answer(client_of):
    """The first report's answer comes when nobody waits for it any more; the second must not take it."""
    data = [numbered_report(number) for number in range(2)]
    may_answer = threading.Event()

    def answers_late(line):
        status, said = line.server.keep(line.read_request())
        may_answer.wait(10)
        line.answer(status, said)
        line.listen()

    with RecordingServer(answers_late, stores) as server:
        client = client_of(server, retries=0, read_timeout=0.3)
        first = client.publish(data[0])
        may_answer.set()
        second = client.publish(data[1])
        assert isinstance(first, Unavailable)
        assert isinstance(second, Published)
        assert canonical_hash_of(data[1]) in server.reports


def test_retries_are_spaced(client_of):
    with RecordingServer(answers(503)) as server:
        outcome = client_of(server, retries=2).publish(numbered_report(1))
        gaps = [after.at - before.at for before, after in itertools.pairwise(server.requests)]
        assert outcome.attempts == len(server.requests) == 3
        assert gaps[0] > 0.2
        assert gaps[1] > 0.4


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_waited_for(client_of, status):
    with RecordingServer(later("2", status), stores) as server:
        assert isinstance(client_of(server).publish(numbered_report(1)), Published)
        first, second = server.requests
        assert second.at - first.at >= 1.9


def test_every_attempt_sends_the_same(client_of):
    with RecordingServer(answers(503, b"", {"Set-Cookie": "a=b"}), resets, stores) as server:
        client_of(server).publish(numbered_report(1), {"hostname": "here"})
        assert len({(one.method, one.path, one.headers, one.body) for one in server.requests}) == 1
        assert len(server.requests) == 3


def test_what_is_sent_is_what_the_documentation_says(client_of):
    data = numbered_report(1)
    with RecordingServer() as server:
        client_of(server).publish(data, {"hostname": "here"})
        (request,) = server.requests
        assert (request.method, request.path) == ("POST", "/api/v1/reports")
        assert request.header("content-type") == "application/json"
        assert request.header("idempotency-key") == canonical_hash_of(data)
        assert request.header("x-api-key") == KEY
        assert request.header("authorization") is None
        assert json.loads(request.body) == {
            "report": data.decode(),
            "canonical_hash": canonical_hash_of(data),
            "metadata": {"hostname": "here"},
        }


def test_a_duplicate_is_one_only_at_the_first_attempt(client_of):
    data = numbered_report(1)
    with RecordingServer() as server:
        server.preload(canonical_hash_of(data))
        client = client_of(server)
        assert isinstance(client.publish(data), Duplicate)
        server.behave(answers(503), stores)
        assert isinstance(client.publish(data), Published)


@pytest.mark.parametrize("connections", [1, 8])
def test_threads_share_a_client(client_of, connections):
    data = [numbered_report(number) for number in range(40)]
    with RecordingServer() as server, ThreadPoolExecutor(8) as pool:
        client = client_of(server, connections=connections)
        outcomes = list(pool.map(client.publish, data))
        assert {type(outcome) for outcome in outcomes} == {Published}
        assert [server.reports[canonical_hash_of(one)].id for one in data] == [outcome.id for outcome in outcomes]
        assert len(server.requests) == 40


def test_no_thread_and_no_connection_is_left_behind_by_a_server_that_hangs(client_of):
    before = set(threading.enumerate())
    with RecordingServer(lambda line: line.listen()) as server:
        client = client_of(server, deadline=0.5)
        assert isinstance(client.publish(numbered_report(1)), Unavailable)
        client.close()
        server.wait_for(lambda one: not one.is_busy(0))
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
    assert set(threading.enumerate()) <= before


def test_names_that_take_forever_to_resolve_cost_the_deadline_at_most(client_of, monkeypatch):
    is_over = threading.Event()

    def hangs(*arguments, **options):
        is_over.wait(30)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    with RecordingServer(name="jux.example.test") as server:
        client = client_of(server, deadline=0.5)
        monkeypatch.setattr(socket, "getaddrinfo", hangs)
        start = time.monotonic()
        outcome = client.publish(numbered_report(1))
        assert time.monotonic() - start < 2.5
        assert isinstance(outcome, Unavailable)
        assert not outcome.is_answered
        is_over.set()


def test_a_program_can_end_while_a_name_takes_forever_to_resolve():
    program = """
import socket, threading
socket.getaddrinfo = lambda *arguments, **options: threading.Event().wait(60)
from pytest_jux.api_client import JuxAPIClient
with JuxAPIClient("http://jux.example.test/api/v1/reports", deadline=0.5, retries=0) as client:
    print(type(client.publish(b"<testsuite><testcase name='a'/></testsuite>")).__name__)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "Unavailable\n", "")


@pytest.mark.parametrize("deadline", [0.0, 0.001, 0.05])
def test_a_deadline_too_short_for_anything_is_no_surprise(client_of, deadline):
    with RecordingServer(lambda line: line.listen()) as server:
        assert isinstance(client_of(server).publish(numbered_report(1), deadline=deadline), Unavailable)


def test_nothing_is_sent_after_the_deadline(client_of):
    """A report that was given up is not delivered behind the caller's back."""
    with RecordingServer(answers(503), stores) as server:
        client = client_of(server, deadline=0.1)
        assert isinstance(client.publish(numbered_report(1)), Unavailable)
        client.close()
        assert len(server.requests) == 1
        assert not server.reports


def test_a_server_that_recovers_gets_the_next_report(client_of):
    with RecordingServer(lambda line: line.listen(), stores) as server:
        client = client_of(server, deadline=0.5)
        assert isinstance(client.publish(numbered_report(1)), Unavailable)
        assert isinstance(client.publish(numbered_report(1), deadline=10), Published)


def test_threads_that_hang_do_not_hold_up_each_other(client_of):
    """Eight at once at a server that is silent: all of them end in the time of one."""
    with RecordingServer(lambda line: line.listen()) as server, ThreadPoolExecutor(8) as pool:
        client = client_of(server, deadline=1.0)
        start = time.monotonic()
        outcomes = list(pool.map(client.publish, [numbered_report(number) for number in range(8)]))
        assert time.monotonic() - start < 3.0
        assert {type(outcome) for outcome in outcomes} == {Unavailable}


def test_a_handshake_that_hangs_does_not_hold_up_other_threads(tmp_path):
    """The second caller has little time, the first has much and is stuck; both are at the same server."""

    def publish(deadline):
        start = time.monotonic()
        outcome = client.publish(numbered_report(1), deadline=deadline)
        return outcome, time.monotonic() - start

    silent = unencrypted(lambda line: line.listen())
    with (
        RecordingServer(silent, tls=server_side()) as server,
        JuxAPIClient(server.url, ca=authority_file(tmp_path), connect_timeout=6, retries=0, connections=2) as client,
        ThreadPoolExecutor(2) as pool,
    ):
        first = pool.submit(publish, 5.0)
        server.wait_for(lambda one: one.received)
        outcome, seconds = publish(0.5)
        assert isinstance(outcome, Unavailable)
        assert seconds < 2.5
        assert isinstance(first.result()[0], Unavailable)


@pytest.mark.parametrize("key", ["two\nlines", "tab\there", "caf\u00e9", "\u200bzero", "", "   ", "nul\0", "\x1b[2J"])
def test_a_key_that_cannot_be_sent_is_a_clear_error(key):
    with pytest.raises(ClientMisconfigured, match="API key") as caught:
        JuxAPIClient("http://127.0.0.1:9/", Secret(key))
    assert not key.strip() or key not in f"{caught.value} {caught.value.hint}"


def test_a_keys_last_line_break_is_no_part_of_it(client_of, report_of_size):
    with RecordingServer(key=KEY) as server, JuxAPIClient(server.url, f"{KEY}\n") as client:
        assert isinstance(client.publish(numbered_report(1)), Published)


@pytest.mark.parametrize(
    ("auth", "name", "value"),
    [
        ("api-key", "x-api-key", "me:secret"),
        ("bearer", "authorization", "Bearer me:secret"),
        ("basic", "authorization", "Basic bWU6c2VjcmV0"),
    ],
)
def test_the_ways_to_send_a_key(auth, name, value):
    with RecordingServer(key="me:secret") as server, JuxAPIClient(server.url, "me:secret", auth=auth) as client:
        assert isinstance(client.publish(numbered_report(1)), Published)
        assert server.requests[0].header(name) == value


@pytest.mark.parametrize(
    "url",
    [
        "",
        "jux.example.test",
        "ftp://jux.example.test/",
        "http://",
        "http:///x",
        "http://[::1/",
        "http://me:pa55word@127.0.0.1/",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:x/",
        "http://a b/",
        "http://127.0.0.1/a b",
        "http://127.0.0.1/\r\nX-Injected: 1",
        "file:///etc/passwd",
        "\x1b[2J",
    ],
)
def test_a_url_that_is_none_is_a_clear_error(url):
    with pytest.raises(ClientMisconfigured) as caught:
        JuxAPIClient(url, KEY)
    said = f"{caught.value} {caught.value.hint}"
    assert "pa55word" not in said
    assert said.isprintable()


@pytest.mark.parametrize("url_part", ["/api/v1/reports?x=1&y=%20", "/\u00fc/reports", "/%0d%0aX:%201", "/#fragment"])
def test_an_odd_path_is_sent_as_one_line(url_part):
    with RecordingServer(answers(404)) as server, JuxAPIClient(server.origin + url_part, KEY) as client:
        client.publish(numbered_report(1))
        (request,) = server.requests
        assert request.version == "HTTP/1.1"
        assert request.path.isascii()
        assert "fragment" not in request.path
        assert request.header("x-api-key") == KEY


def test_packing_is_learned_from_the_server():
    data = numbered_report(1).replace(b"/></", b"><system-out>" + b"x" * 5000 + b"</system-out></testcase></")
    other = data.replace(b"test_1", b"test_2")
    with (
        RecordingServer(announce={"Accept-Encoding": "gzip"}) as server,
        JuxAPIClient(server.url, KEY) as client,
    ):
        assert isinstance(client.publish(data), Published)
        assert isinstance(client.publish(other), Published)
        assert [one.header("content-encoding") for one in server.requests] == [None, "gzip"]
        assert server.reports[canonical_hash_of(other)].data == other


def test_packing_ends_where_the_server_does_not_take_it():
    data = numbered_report(1).replace(b"/></", b"><system-out>" + b"x" * 5000 + b"</system-out></testcase></")

    def refuses_packed(line):
        request = line.read_request()
        if request.header("content-encoding"):
            line.answer(415, b"")
        else:
            line.answer(*line.server.keep(request))

    with RecordingServer(refuses_packed) as server, JuxAPIClient(server.url, KEY, gzip="always") as client:
        assert isinstance(client.publish(data), Published)
        assert isinstance(client.publish(data), Duplicate)
        assert [one.header("content-encoding") for one in server.requests] == ["gzip", None, None]
