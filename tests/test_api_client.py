"""The client as a library: keys, retries, packing and threads, at a real server on this machine."""

from __future__ import annotations

import base64
import gc
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from publishing.authorities import authority_file, server_side
from publishing.hostile import RecordingServer, answers, canonical_hash_of, hangs_up, stores

import pytest_jux
from pytest_jux import __version__
from pytest_jux.api_client import JuxAPIClient
from pytest_jux.config_values import MASK, Secret
from pytest_jux.errors import ClientMisconfigured, ReportError
from pytest_jux.outcomes import Duplicate, Published, Rejected, Unauthorized, Unavailable
from pytest_jux.signer import sign_report
from pytest_jux.wire import ReportUnsendable

KEY = "k3y-that-nobody-may-see"
NOWHERE = "http://127.0.0.1:9/api/v1/reports"
REPORT = b'<testsuite name="s"><testcase classname="c" name="a"/></testsuite>'
LARGE = b'<testsuite name="s"><testcase name="a"><system-out>' + b"x" * 5000 + b"</system-out></testcase></testsuite>"


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(scope="session")
def signed_report(real_report, p256):
    return sign_report(real_report, p256.key, p256.certificate)


def numbered(number):
    return REPORT.replace(b'"a"', b'"test_%d"' % number)


def client_for(server, key=None, **options):
    return JuxAPIClient(server.url, key, **{"read_timeout": 5, "deadline": 30, "retries": 0, **options})


# --- a report is published -------------------------------------------------------------------------------------------


def test_three_lines_publish_a_report(signed_report):
    with RecordingServer(key=KEY) as server:
        with pytest_jux.JuxAPIClient(server.url, KEY) as client:
            outcome = client.publish(signed_report)
        identity = canonical_hash_of(signed_report)
        assert outcome == Published("report-1", f"{server.origin}/reports/report-1", "Report published successfully")
        assert server.reports[identity].data == signed_report


def test_what_is_sent(signed_report):
    with RecordingServer() as server, client_for(server) as client:
        client.publish(signed_report, {"hostname": "here"})
        (request,) = server.requests
    assert request.json == {
        "report": signed_report.decode(),
        "canonical_hash": canonical_hash_of(signed_report),
        "metadata": {"hostname": "here"},
    }
    assert {name.lower(): value for name, value in request.headers} == {
        "host": server.netloc,
        "content-type": "application/json",
        "content-length": str(len(request.body)),
        "accept": "application/json",
        "accept-encoding": "identity",
        "idempotency-key": canonical_hash_of(signed_report),
        "user-agent": f"pytest-jux/{__version__}",
    }


def test_a_hash_that_is_known_is_not_computed_again():
    """And what it is the hash of is not looked at."""
    identity = "sha256:" + "0" * 64
    with RecordingServer(is_checking=False) as server, client_for(server) as client:
        assert isinstance(client.publish(b"<testsuites/>", canonical_hash=identity), Published)
        assert server.requests[0].json["canonical_hash"] == identity
        assert server.requests[0].header("idempotency-key") == identity


@pytest.mark.parametrize("data", [b"", b"no report", b"<html/>", b"<testsuites>", b"<!DOCTYPE a><testsuites/>"])
def test_what_is_no_report_is_not_sent(data):
    with RecordingServer() as server, client_for(server) as client:
        with pytest.raises(ReportError):
            client.publish(data)
        assert not server.connections


def test_a_report_that_is_no_text_is_not_sent():
    with RecordingServer() as server, client_for(server) as client:
        with pytest.raises(ReportUnsendable):
            client.publish(b"<testsuites>\xff</testsuites>", canonical_hash="sha256:" + "0" * 64)
        assert not server.connections


@pytest.mark.parametrize(
    ("behaviour", "outcome"),
    [
        (answers(400, {"error": "Refused"}), Rejected(400, "Refused")),
        (answers(409, {"id": "7"}), Duplicate("7", "{origin}/reports/7")),
    ],
)
def test_other_outcomes_come_back_as_their_types(behaviour, outcome):
    with RecordingServer(behaviour) as server, client_for(server) as client:
        found = client.publish(REPORT)
        expected = repr(outcome).replace("{origin}", server.origin)
    assert repr(found) == expected


# --- keys ------------------------------------------------------------------------------------------------------------

WAYS = ("api-key", "bearer", "basic")
LONGEST = "me:" + "".join(itertools.islice(itertools.cycle("0123456789abcdef"), 9_997))


def authorization(key, **options):
    """Return the headers X-API-Key and Authorization that a server gets."""
    with RecordingServer() as server, client_for(server, key, **options) as client:
        client.publish(REPORT)
        return server.requests[0].header("x-api-key"), server.requests[0].header("authorization")


def basic(text):
    return f"Basic {base64.b64encode(text.encode()).decode()}"


@pytest.mark.parametrize("make", [str, Secret])
@pytest.mark.parametrize(
    ("auth", "headers"),
    [("api-key", ("me:k", None)), ("bearer", (None, "Bearer me:k")), ("basic", (None, basic("me:k")))],
)
def test_the_ways_to_send_a_key(make, auth, headers):
    assert authorization(make("me:k"), auth=auth) == headers


@pytest.mark.parametrize("auth", WAYS)
@pytest.mark.parametrize("key", [None, ""])
def test_without_a_key_nothing_shows_who_asks(auth, key):
    assert authorization(key, auth=auth) == (None, None)


@pytest.mark.parametrize("key", ["{}\n", "{}\r\n", "  {}", "\t{} ", "\n\n{}\n", "\u00a0{}", "{}\u2028"])
def test_blanks_around_a_key_are_no_part_of_it(key):
    assert authorization(key.format(KEY)) == (KEY, None)


@pytest.mark.parametrize("auth", WAYS)
def test_a_long_key_arrives_whole(auth):
    headers = {"api-key": (LONGEST, None), "bearer": (None, f"Bearer {LONGEST}"), "basic": (None, basic(LONGEST))}
    assert authorization(LONGEST, auth=auth) == headers[auth]


@pytest.mark.parametrize(
    "key", ["user:pa:ss", "user:", ":pass", ":", "us er:pa ss", "m\u00fcller:stra\u00dfe\u20ac", "a:\U0001f511"]
)
def test_any_letter_can_be_in_user_and_password(key):
    assert authorization(key, auth="basic") == (None, basic(key))


_PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1).filter(str.strip)


@settings(max_examples=30, deadline=None)
@given(_PRINTABLE, st.sampled_from(["api-key", "bearer"]))
def test_any_printable_key_arrives_as_it_is(key, auth):
    expected = (key.strip(), None) if auth == "api-key" else (None, f"Bearer {key.strip()}")
    assert authorization(key, auth=auth) == expected


_BAD = [
    "\n",
    "\r",
    "\r\nX-Injected: 1\r\n",
    "\t",
    "\0",
    "\x1b[2J",
    "\x7f",
    "\x85",
    "\u200b",
    "\u2028",
    "\ud800",
    "\u202e",
]
_FOREIGN = ["\u00e9", "\u00df", "\u20ac", "\U0001f511", "\u00a0"]


@pytest.mark.parametrize(
    ("auth", "bad"), [*itertools.product(WAYS, _BAD), *itertools.product(["api-key", "bearer"], _FOREIGN)]
)
def test_a_key_that_cannot_stand_in_a_header_is_a_clear_error(auth, bad):
    with pytest.raises(ClientMisconfigured, match="the API key has a") as caught:
        JuxAPIClient(NOWHERE, f"me:{KEY}{bad}{KEY}", auth=auth)
    said = f"{caught.value} {caught.value.hint}"
    assert said.isprintable()
    assert KEY not in said
    assert ("line break" in said) == (bad[0] in "\r\n")


@pytest.mark.parametrize("key", ["   ", "\n", "\u00a0"])
@pytest.mark.parametrize("auth", WAYS)
def test_a_key_of_blanks_is_a_clear_error(key, auth):
    with pytest.raises(ClientMisconfigured, match="the API key is empty"):
        JuxAPIClient(NOWHERE, key, auth=auth)


def test_an_empty_secret_is_a_clear_error():
    with pytest.raises(ClientMisconfigured, match="the API key is empty"):
        JuxAPIClient(NOWHERE, Secret(""))


def test_a_key_that_is_no_user_and_password_is_a_clear_error():
    with pytest.raises(ClientMisconfigured, match="user:password") as caught:
        JuxAPIClient(NOWHERE, KEY, auth="basic")
    assert KEY not in str(caught.value)


def test_headers_can_be_shown():
    with JuxAPIClient(NOWHERE, KEY, auth="bearer") as client:
        headers = client.headers("sha256:x")
    assert headers["Authorization"] == Secret(f"Bearer {KEY}")
    assert str(headers["Authorization"]) == MASK
    assert headers["Idempotency-Key"] == "sha256:x"


# --- keys do not show ------------------------------------------------------------------------------------------------


def everything_about(thing, depth=4, seen=None):
    """Return the representations of an object and of what it consists of, as debuggers show them."""
    seen = set() if seen is None else seen
    if depth < 0 or id(thing) in seen or isinstance(thing, type | Secret):
        return [repr(thing)]
    seen.add(id(thing))
    parts = list(vars(thing).items()) if hasattr(thing, "__dict__") else []
    if isinstance(thing, dict):
        parts += thing.items()
    elif isinstance(thing, list | tuple | set | frozenset):
        parts += enumerate(thing)
    return [repr(thing), *(text for _, part in parts for text in everything_about(part, depth - 1, seen))]


@pytest.mark.parametrize("auth", WAYS)
@pytest.mark.parametrize("make", [str, Secret])
def test_nothing_of_the_client_shows_the_key(auth, make):
    with RecordingServer() as server, client_for(server, make(f"me:{KEY}"), auth=auth) as client:
        client.publish(REPORT)
        shown = [str(client), f"{client}", *everything_about(client)]
    encoded = base64.b64encode(f"me:{KEY}".encode()).decode()
    assert len(shown) > 20
    assert not [text for text in shown if KEY in text or encoded in text]


def test_a_client_says_where_it_sends_to():
    assert repr(JuxAPIClient(NOWHERE, KEY)) == f"<JuxAPIClient {NOWHERE}>"


@pytest.mark.parametrize("auth", WAYS)
@pytest.mark.parametrize("bad", ["\n", "\u00e9\n", "\0"])
def test_no_traceback_shows_a_key_that_cannot_be_sent(auth, bad):
    secret = Secret(f"me:{KEY}{bad}{KEY}")
    try:
        JuxAPIClient(NOWHERE, secret, auth=auth)
    except ClientMisconfigured as error:
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    assert "api_client.py" in "".join(shown.format())
    assert KEY not in "".join(shown.format())


def test_no_traceback_of_a_report_that_is_none_shows_the_key():
    client = JuxAPIClient(NOWHERE, Secret(KEY))
    for data in (b"no report", b'<?xml version="1.0" encoding="us-ascii"?><testsuites>\xc3\xa9</testsuites>'):
        try:
            client.publish(data)
        except (ReportError, ReportUnsendable) as error:
            shown = traceback.TracebackException.from_exception(error, capture_locals=True)
        assert KEY not in "".join(shown.format())


_INTERRUPTED = """
import os, sys, traceback
import pytest_jux
from pytest_jux.api_client import JuxAPIClient
from pytest_jux.config_values import Secret

with JuxAPIClient(sys.argv[1], Secret(sys.stdin.readline().strip()), deadline=60, read_timeout=60, retries=0) as client:
    try:
        client.publish(b"<testsuites>" + b"x" * int(sys.argv[2]) + b"</testsuites>")
    except KeyboardInterrupt as error:
        stack = traceback.TracebackException.from_exception(error, capture_locals=True).stack
        ours = os.path.dirname(pytest_jux.__file__)
        print([(frame.name, frame.locals) for frame in stack if frame.filename.startswith(ours)])
    else:
        print("not interrupted")
    print(type(client.publish(b"<testsuites/>")).__name__)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(("size", "phase"), [(0, "waits"), (20_000_000, "sends")])
def test_no_traceback_of_ours_shows_the_key(size, phase):
    """Whatever goes wrong while a request is under way, here Ctrl-C. The client can be used afterwards."""

    def is_stuck(line):
        line.read_until(b"\r\n\r\n")
        stuck.set()
        line.linger()

    stuck = threading.Event()
    with RecordingServer(is_stuck, stores) as server:
        command = [sys.executable, "-c", _INTERRUPTED, server.url, str(size)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
            child.stdin.write(f"{KEY}\n")
            child.stdin.flush()
            assert stuck.wait(30)
            time.sleep(0.3)  # so that it waits, or its buffers are full
            child.send_signal(signal.SIGINT)
            shown, _ = child.communicate(timeout=30)
    assert shown.endswith("Published\n")
    assert "'post'" in shown
    assert KEY not in shown


# --- time and retries ------------------------------------------------------------------------------------------------


def later(value, status=503):
    return answers(status, b"", {"Retry-After": value})


@pytest.mark.parametrize(("value", "seconds"), [("0", 0.0), ("17", 17.0), (" 17 ", 17.0), ("007", 7.0)])
def test_the_seconds_that_a_server_names_come_back(value, seconds):
    with RecordingServer(later(value)) as server, client_for(server) as client:
        assert client.publish(REPORT).retry_after == seconds


@pytest.mark.parametrize(
    "form",
    [
        lambda time: format_datetime(time, usegmt=True),
        lambda time: time.strftime("%A, %d-%b-%y %H:%M:%S GMT"),
        lambda time: time.strftime("%a %b %e %H:%M:%S %Y"),
        lambda time: format_datetime(time.astimezone(tz=None)),
    ],
    ids=["RFC 5322", "RFC 850", "asctime", "with an offset"],
)
def test_a_date_that_a_server_names_comes_back_as_seconds(form):
    date = form(datetime.now(UTC) + timedelta(hours=1))
    with RecordingServer(later(date)) as server, client_for(server) as client:
        assert 3500 < client.publish(REPORT).retry_after <= 3601


@pytest.mark.parametrize(
    "value",
    [
        *("", "soon", "-5", "+5", "0.5", "5 seconds", "0x10", "1e3", "\u00b2", "5, 7", "9" * 12, "9" * 5000),
        "Mon, 99 Foo 2026 99:99:99 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Mon, 01 Jan 0001 00:00:00 -2359",
        "Thu, 01 Jan 1970 00:00:00 GMT",
    ],
)
def test_what_makes_no_sense_as_retry_after_is_no_obstacle(value):
    with RecordingServer(later(value), stores) as server, client_for(server) as client:
        outcome = client.publish(REPORT)
        assert isinstance(outcome, Unavailable)
        assert outcome.retry_after is None or outcome.retry_after >= 0
        assert isinstance(client.publish(REPORT), Published)


@pytest.mark.parametrize("wanted", ["1", "2"])
def test_a_server_is_not_asked_before_it_wants_to(wanted):
    with RecordingServer(later(wanted), stores) as server, client_for(server, retries=1) as client:
        assert isinstance(client.publish(REPORT), Published)
        first, second = server.requests
        assert second.at - first.at >= float(wanted)


def test_what_the_server_wants_to_wait_is_not_waited_for_beyond_the_deadline():
    with RecordingServer(later("20"), stores) as server, client_for(server, retries=3, deadline=10) as client:
        start = time.monotonic()
        outcome = client.publish(REPORT)
        assert time.monotonic() - start < 5
        assert (outcome.retry_after, outcome.attempts, len(server.requests)) == (20.0, 1, 1)


@pytest.mark.parametrize("retries", [0, 1, 2])
def test_a_request_is_repeated_as_often_as_it_says(retries):
    with RecordingServer(answers(503)) as server, client_for(server, retries=retries) as client:
        outcome = client.publish(REPORT)
        assert isinstance(outcome, Unavailable)
        assert outcome.attempts == len(server.requests) == retries + 1


@pytest.mark.parametrize("behaviour", [answers(503), answers(429), hangs_up, lambda line: line.reset()])
def test_attempts_count_until_the_report_is_there(behaviour):
    with RecordingServer(behaviour, stores) as server, client_for(server, retries=3) as client:
        outcome = client.publish(REPORT)
        assert isinstance(outcome, Published)
        assert outcome.attempts == server.attempts == 2


@pytest.mark.parametrize(
    "behaviour", [answers(400, {}), answers(401), answers(403), answers(302), answers(404), answers(200), answers(501)]
)
def test_what_does_not_pass_is_not_tried_again(behaviour):
    with RecordingServer(behaviour) as server, client_for(server, retries=3) as client:
        outcome = client.publish(REPORT)
        assert isinstance(outcome, Rejected | Unauthorized | Unavailable)
        assert outcome.attempts == len(server.requests) == 1


def test_attempts_count_the_one_that_the_deadline_ended():
    with (
        RecordingServer(answers(503), lambda line: line.listen()) as server,
        client_for(server, retries=3, deadline=2.0) as client,
    ):
        outcome = client.publish(REPORT)
        assert isinstance(outcome, Unavailable)
        assert "503" in outcome.reason
        assert outcome.attempts == server.attempts == 2


def test_what_the_deadline_ended_may_have_brought_the_report(monkeypatch):
    """The name is not found at first, so that nothing is sent; then the server says nothing."""
    real, calls = socket.getaddrinfo, itertools.count()

    def at_second(host, port, *arguments, **options):
        if next(calls) == 0:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real("127.0.0.1", port, *arguments, **options)

    with (
        RecordingServer(lambda line: line.listen(), name="jux.example.test") as server,
        client_for(server, retries=3, deadline=2.5) as client,
    ):
        monkeypatch.setattr(socket, "getaddrinfo", at_second)
        outcome = client.publish(REPORT)
        assert isinstance(outcome, Unavailable)
        assert outcome.is_answered
        assert outcome.attempts == 2


def test_the_deadline_of_one_report_counts_before_that_of_the_client():
    with RecordingServer(lambda line: line.listen()) as server, client_for(server, deadline=60) as client:
        outcome = client.publish(REPORT, deadline=0.3)
    assert isinstance(outcome, Unavailable)
    assert "0.3 s" in outcome.reason
    assert outcome.is_passing
    assert outcome.is_answered


def test_the_deadline_is_two_minutes_where_nobody_says_otherwise():
    assert JuxAPIClient(NOWHERE).deadline == 120


# --- packing ---------------------------------------------------------------------------------------------------------


def codings(server):
    return [request.header("content-encoding") for request in server.requests]


@pytest.mark.parametrize("said", ["gzip", "GZIP", "br, gzip", "gzip;q=0.5", "identity, gzip ; q=1.0", "gzip;q=0.001"])
def test_packing_is_learned_from_what_the_server_takes(said):
    with RecordingServer(announce={"Accept-Encoding": said}) as server, client_for(server) as client:
        assert isinstance(client.publish(LARGE), Published)
        assert isinstance(client.publish(LARGE.replace(b'"a"', b'"b"')), Published)
        assert codings(server) == [None, "gzip"]
        assert len(server.requests[1].body) < len(server.requests[0].body) / 10
        sent = LARGE.replace(b'"a"', b'"b"')
        assert server.reports[canonical_hash_of(sent)].data == sent


@pytest.mark.parametrize("said", ["", "br", "identity", "notgzip", "gzipped", "gzip;q=0", "br, gzip; q=0.000"])
def test_a_server_that_excludes_gzip_gets_none(said):
    with RecordingServer(announce={"Accept-Encoding": said}) as server, client_for(server) as client:
        client.publish(LARGE)
        client.publish(LARGE)
        assert codings(server) == [None, None]


def test_a_small_report_is_not_packed():
    with RecordingServer() as server, client_for(server, gzip="always") as client:
        client.publish(REPORT)
        assert codings(server) == [None]


def test_packing_can_be_asked_for():
    with RecordingServer() as server, client_for(server, gzip="always") as client:
        assert isinstance(client.publish(LARGE), Published)
        (request,) = server.requests
        assert request.header("content-encoding") == "gzip"
        assert request.header("content-length") == str(len(request.body))
        assert server.reports[canonical_hash_of(LARGE)].data == LARGE


def test_packing_can_be_forbidden():
    with RecordingServer(announce={"Accept-Encoding": "gzip"}) as server, client_for(server, gzip="never") as client:
        client.publish(LARGE)
        client.publish(LARGE)
        assert codings(server) == [None, None]


@pytest.mark.parametrize("mode", ["auto", "always"])
def test_a_server_that_does_not_take_it_after_all_gets_it_plain_from_then_on(mode):
    def refuses_packed(line):
        request = line.read_request()
        if request.header("content-encoding"):
            line.answer(415, {"error": "Unsupported"}, {"Accept-Encoding": "gzip"})
        else:
            status, said = line.server.keep(request)
            line.answer(status, said, {"Accept-Encoding": "gzip"})

    with RecordingServer(refuses_packed) as server, client_for(server, gzip=mode) as client:
        outcomes = [client.publish(LARGE.replace(b'"a"', b'"%d"' % number)) for number in range(3)]
        assert {type(outcome) for outcome in outcomes} == {Published}
        expected = {"auto": [None, "gzip", None, None], "always": ["gzip", None, None, None]}
        assert codings(server) == expected[mode]


def test_a_report_that_is_not_taken_plain_either_is_rejected():
    with RecordingServer(answers(415, {"error": "No XML here"})) as server, client_for(server, gzip="always") as client:
        outcome = client.publish(LARGE)
        assert isinstance(outcome, Rejected)
        assert codings(server) == ["gzip", None]


def test_packing_is_the_same_at_each_attempt():
    """So that a server can tell a repeated request by its bytes."""
    with RecordingServer(answers(503), stores) as server, client_for(server, gzip="always", retries=1) as client:
        client.publish(LARGE)
        first, second = server.requests
        assert first.body == second.body


# --- threads and connections -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("connections", [1, 4, 8])
@pytest.mark.parametrize("is_tls", [False, True])
def test_eight_threads_publish_twenty_reports_with_one_client(tmp_path, connections, is_tls):
    reports = [numbered(number) for number in range(20)]
    options = {"ca": authority_file(tmp_path)} if is_tls else {}
    with (
        RecordingServer(key=KEY, tls=server_side() if is_tls else None) as server,
        client_for(server, KEY, connections=connections, **options) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        outcomes = list(pool.map(lambda data: client.publish(data, {"report": data.decode()}), reports))
        assert {type(outcome) for outcome in outcomes} == {Published}
        kept = [server.reports[canonical_hash_of(data)] for data in reports]
        assert [report.id for report in kept] == [outcome.id for outcome in outcomes]
        assert [report.data for report in kept] == reports
        assert [report.metadata["report"].encode() for report in kept] == reports
        assert len(server.requests) == 20
        assert len(server.connections) <= (8 if connections == 8 else 20)


def test_deadlines_are_each_threads_own():
    """One server hangs for every second report; the others are not touched by what ends those."""

    def hangs_for_odd_ones(line):
        request = line.read_request()
        if int(request.json["metadata"]["number"]) % 2:
            line.listen()
        line.answer(*line.server.keep(request))

    def publish(number):
        deadline = 0.5 if number % 2 else 30
        return client.publish(numbered(number), {"number": number}, deadline=deadline)

    with (
        RecordingServer(hangs_for_odd_ones) as server,
        client_for(server, connections=8) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        outcomes = list(pool.map(publish, range(24)))
        assert [type(outcome) for outcome in outcomes] == [Published, Unavailable] * 12
        assert len(server.reports) == 12


def test_a_client_can_be_closed_twice_and_used_again():
    with RecordingServer() as server:
        client = client_for(server)
        for number in range(3):
            assert isinstance(client.publish(numbered(number)), Published)
            client.close()
            client.close()
            server.wait_for(lambda one, number=number: not one.is_busy(number))


def test_leaving_the_block_closes_the_connections():
    with RecordingServer() as server:
        with client_for(server) as client:
            client.publish(REPORT)
            assert server.is_busy(0)
        server.wait_for(lambda one: not one.is_busy(0))


def test_an_error_inside_the_block_is_not_swallowed():
    with pytest.raises(ZeroDivisionError), JuxAPIClient(NOWHERE):
        raise ZeroDivisionError


def test_a_client_that_nobody_closes_is_no_warning_and_does_not_keep_the_program():
    program = """
import sys
from pytest_jux.api_client import JuxAPIClient
client = JuxAPIClient(sys.argv[1])
print(type(client.publish(b"<testsuites/>")).__name__)
if sys.argv[2] == "forgotten":
    import gc
    del client
    gc.collect()
"""
    for ending in ("kept", "forgotten"):
        with RecordingServer() as server:
            command = [sys.executable, "-W", "error", "-X", "dev", "-c", program, server.url, ending]
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
            assert (done.returncode, done.stdout, done.stderr) == (0, "Published\n", "")


def test_what_was_given_up_is_not_sent_later():
    """Reading the report's first half is all that the server does before the deadline."""
    may_read = threading.Event()

    def reads_late(line):
        line.read_until(b"\r\n\r\n")
        line.read_bytes(1000)
        may_read.wait(30)
        line.listen()

    data = REPORT.replace(b"/></", b"><system-out>" + b"x" * 20_000_000 + b"</system-out></testcase></")
    with RecordingServer(reads_late) as server:
        with client_for(server, deadline=0.5) as client:
            outcome = client.publish(data)
            gc.collect()
            may_read.set()
            server.wait_for(lambda one: not one.is_busy(0))
        assert isinstance(outcome, Unavailable)
        assert len(server.received) < len(data)
        assert len(server.connections) == 1
        assert not server.requests


def test_two_clients_do_not_know_each_other(tmp_path):
    with RecordingServer(key="one") as first, RecordingServer(key="two") as second:
        with client_for(first, "one") as one, client_for(second, "two") as two:
            assert isinstance(one.publish(REPORT), Published)
            assert isinstance(two.publish(REPORT), Published)
        assert b"two" not in first.received
        assert b"one" not in second.received


def test_metadata_may_be_any_mapping_of_json():
    metadata = {"git": {"branch": "m\u00e4in"}, "env": {"A": "\udcff"}, "numbers": [1, 2.5, None, True]}
    with RecordingServer() as server, client_for(server) as client:
        client.publish(REPORT, metadata)
        assert json.loads(server.requests[0].body)["metadata"] == metadata
