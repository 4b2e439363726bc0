"""The servers and proxies of these tests: they are what they say, they end, and they catch a careless client."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest
import urllib3
from publishing.authorities import authority_file, server_side
from publishing.behaviours import Row, fits, gzip_bomb, redirects
from publishing.hostile import RecordingServer, answers, canonical_hash_of, stores
from publishing.proxies import ForwardProxy
from publishing.stages import KEY, staged

from pytest_jux.canonicalizer import canonical_hash
from pytest_jux.outcomes import Published, Unavailable

pytestmark = pytest.mark.usefixtures("bare_environment")


@pytest.fixture
def body(report_of_size):
    data, identity = report_of_size()
    return json.dumps({"report": data.decode(), "canonical_hash": identity, "metadata": {"hostname": "here"}}).encode()


@pytest.fixture
def post(body):
    """Return a function that posts the report as somebody else's client would."""
    with urllib3.PoolManager(retries=False, timeout=10) as pool:

        def go(url, content=body, **headers):
            return pool.request("POST", url, body=content, headers=headers)

        yield go


def naive(url, body, **options):
    """Publish as many scripts do: follow redirects, whatever they point at."""
    request = urllib.request.Request(url, body, {"X-API-Key": KEY})  # noqa: S310 - a URL of this test
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), *options.get("handlers", ()))
    return opener.open(request, timeout=10)


@pytest.mark.parametrize("target", ["{trap}", "http://{named}/api/v1/reports"])
def test_a_client_that_follows_redirects_is_caught(target, tmp_path, body):
    with staged(Row("", (redirects(302, target),), Unavailable), tmp_path) as stage:
        naive(stage.url, body).close()
        assert KEY.encode() in stage.trap.received
        with pytest.raises(AssertionError):
            stage.check_secrets()


def test_a_client_that_trusts_every_certificate_is_caught(tmp_path, body):
    with staged(Row("", (stores,), Unavailable, place="TLS, self-signed"), tmp_path) as stage:
        careless = ssl.create_default_context()
        careless.check_hostname, careless.verify_mode = False, ssl.CERT_NONE
        naive(stage.url, body, handlers=[urllib.request.HTTPSHandler(context=careless)]).close()
        with pytest.raises(AssertionError):
            stage.check_secrets()


def test_a_client_that_sends_what_is_secret_to_a_proxy_is_caught(tmp_path, body):
    with staged(Row("", (stores,), Unavailable, place="proxy hangs, TLS"), tmp_path) as stage:
        host, port = stage.environ["HTTPS_PROXY"].removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as sock:
            sock.sendall(b"CONNECT api.example.test:443 HTTP/1.1\r\nX-API-Key: " + KEY.encode() + b"\r\n\r\n" + body)
            stage.strangers[0].wait_for(lambda proxy: body in proxy.received)
        with pytest.raises(AssertionError):
            stage.check_secrets()


def test_a_client_that_ignores_no_proxy_is_caught(tmp_path, body):
    with staged(Row("", (stores,), Unavailable, place="proxy for loopback"), tmp_path) as stage:
        with urllib3.ProxyManager(stage.environ["HTTP_PROXY"]) as pool:
            pool.request("POST", stage.url, body=body)
        with pytest.raises(AssertionError):
            stage.check_secrets()


def test_a_wrong_outcome_does_not_fit():
    passing = Row("", (stores,), Unavailable, is_passing=True)
    assert fits(passing, Unavailable("", is_passing=True))
    assert not fits(passing, Unavailable("", is_passing=False))
    assert not fits(passing, Published())


def test_the_server_keeps_a_report_once(post, report_of_size):
    data, identity = report_of_size()
    with RecordingServer() as server:
        first, second = post(server.url), post(server.url)
        assert (first.status, second.status) == (201, 409)
        assert first.json()["id"] == second.json()["id"]
        assert server.reports[identity].data == data
        assert server.reports[identity].metadata == {"hostname": "here"}
        assert len(server.connections) == 1


def test_the_server_computes_the_identity_by_itself(real_report, report_of_size, p256):
    from pytest_jux.signer import sign_report

    for data in (real_report, sign_report(real_report, p256.key, p256.certificate), report_of_size()[0]):
        assert canonical_hash_of(data) == canonical_hash(data)


def test_the_server_refuses_a_report_under_another_hash(post, body):
    with RecordingServer() as server:
        wrong = {**json.loads(body), "canonical_hash": f"sha256:{'0' * 64}"}
        assert post(server.url, json.dumps(wrong).encode()).status == 400
        assert not server.reports


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"X-API-Key": "user:secret"}, 201),
        ({"Authorization": "Bearer user:secret"}, 201),
        ({"Authorization": "Basic dXNlcjpzZWNyZXQ="}, 201),
        ({"X-API-Key": "user:secre"}, 401),
        ({}, 401),
    ],
)
def test_the_server_wants_its_key(post, headers, status):
    with RecordingServer(key="user:secret") as server:
        assert post(server.url, **headers).status == status


def test_the_server_records_what_was_sent_as_it_was_sent(post, body):
    with RecordingServer(host="::1") as server:
        post(server.url, **{"X-oDD": "Value  with blanks"})
        (request,) = server.requests
        assert (request.method, request.path, request.body) == ("POST", "/api/v1/reports", body)
        assert ("X-oDD", "Value  with blanks") in request.headers
        assert server.received.endswith(b"\r\n\r\n" + body)


def test_half_a_request_is_recorded_but_no_request():
    with RecordingServer() as server:
        with socket.create_connection((server.host, server.port)) as sock:
            sock.sendall(b"POST /api/v1/reports HTTP/1.1\r\nContent-Length: 10\r\n\r\n12345")
            server.wait_for(lambda one: b"12345" in one.received)
        assert server.requests == []


def test_behaviours_come_in_order_and_the_last_one_stays(post):
    with RecordingServer(answers(500), answers(418)) as server:
        assert [post(server.url).status for _ in range(3)] == [500, 418, 418]
        server.behave(answers(503), stores)
        assert [post(server.url).status for _ in range(3)] == [503, 201, 409]


def test_tls_is_a_behaviour_of_the_server(tmp_path, body):
    with (
        RecordingServer(tls=server_side()) as server,
        urllib3.PoolManager(ca_certs=str(authority_file(tmp_path))) as pool,
    ):
        assert pool.request("POST", server.url, body=body).status == 201
        assert server.requests[0].is_tls


@pytest.mark.parametrize("behaviour", ["linger", "listen", "hang_up"])
def test_a_server_ends_whatever_it_is_doing(behaviour):
    before = set(threading.enumerate())
    with RecordingServer(lambda line: getattr(line, behaviour)()) as server:
        sock = socket.create_connection((server.host, server.port))
        server.wait_for(lambda one: one.connections)
    sock.close()
    assert set(threading.enumerate()) <= before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((server.host, server.port))


def test_a_server_ends_that_sends_to_somebody_who_does_not_read():
    def floods(line):
        while True:
            line.send(b"x" * 1_000_000)

    before = set(threading.enumerate())
    with RecordingServer(floods) as server, socket.create_connection((server.host, server.port)) as sock:
        sock.recv(1)
        server.stop()
    assert set(threading.enumerate()) <= before


def test_what_goes_wrong_in_a_server_is_seen():
    def broken(line):
        raise LookupError("a mistake of the test")

    server = RecordingServer(broken)
    with socket.create_connection((server.host, server.port)) as sock:
        assert sock.recv(1) == b""
    with pytest.raises(ExceptionGroup) as caught:
        server.stop()
    assert caught.group_contains(LookupError, match="a mistake of the test")


def test_a_proxy_carries_plain_requests(body):
    with RecordingServer() as server, ForwardProxy({"api.example.test": server}) as proxy:
        with urllib3.ProxyManager(proxy.address) as pool:
            statuses = [
                pool.request("POST", "http://api.example.test/api/v1/reports", body=body).status for _ in range(2)
            ]
        assert statuses == [201, 409]
        assert [one.path for one in proxy.requests] == ["http://api.example.test/api/v1/reports"] * 2
        assert [one.path for one in server.requests] == ["/api/v1/reports"] * 2


def test_a_proxy_carries_tunnels_without_seeing_into_them(body, tmp_path):
    with RecordingServer(tls=server_side()) as server, ForwardProxy({"api.example.test": server}) as proxy:
        with urllib3.ProxyManager(proxy.address, ca_certs=str(authority_file(tmp_path))) as pool:
            assert pool.request("POST", "https://api.example.test/api/v1/reports", body=body).status == 201
        assert proxy.requests[0].method == "CONNECT"
        assert body in server.received
        assert body not in proxy.received


def test_a_proxy_leads_nowhere_else(body):
    with ForwardProxy({}) as proxy, urllib3.ProxyManager(proxy.address) as pool:
        assert pool.request("POST", "http://api.example.test/", body=body, retries=False).status == 502


@pytest.mark.parametrize(("login", "status"), [("me:secret", 201), ("me:other", 407), (None, 407)])
def test_a_proxy_wants_its_login(body, login, status):
    headers = urllib3.make_headers(proxy_basic_auth=login) if login else None
    with RecordingServer() as server, ForwardProxy({"api.example.test": server}, login="me:secret") as proxy:
        with urllib3.ProxyManager(proxy.address, proxy_headers=headers) as pool:
            url = "http://api.example.test/api/v1/reports"
            assert pool.request("POST", url, body=body, retries=False).status == status
        assert len(server.requests) == (status == 201)


@pytest.mark.parametrize("wanted", [0, 300_000_000])
def test_memory_is_that_of_the_command_alone(tmp_path, wanted):
    bulk = b"x" * 300_000_000  # what this process has does not count
    program, result = f"import sys; sys.exit(len(b'x' * {wanted}) > 0)", tmp_path / "result"
    measured = str(Path(__file__).with_name("measured.py"))
    command = [sys.executable, "-I", "-S", measured, str(result), "30", sys.executable, "-S", "-c", program]
    subprocess.run(command, check=True, env={**os.environ})
    code, seconds, memory = result.read_text().split()
    assert (int(code), float(seconds) < 30, len(bulk)) == (wanted > 0, True, 300_000_000)
    assert wanted <= int(memory) < wanted + 60_000_000


def test_the_bomb_is_one():
    import zlib

    opener = zlib.decompressobj(31)
    assert len(opener.decompress(gzip_bomb(), 5_000_000)) == 5_000_000
    assert len(gzip_bomb(2)) < 100_000
