"""Proxies of the environment: who is asked, who is not, and what a proxy gets to see."""

from __future__ import annotations

import pytest
from publishing.authorities import authority_file, server_side
from publishing.hostile import RecordingServer
from publishing.proxies import ForwardProxy
from publishing.stages import CANARY, KEY, NAME

from pytest_jux.api_client import JuxAPIClient
from pytest_jux.errors import ClientMisconfigured
from pytest_jux.outcomes import Published, Unavailable
from pytest_jux.proxies import proxy_for

pytestmark = pytest.mark.usefixtures("bare_environment")
PROXY = "http://proxy.example.test:3128"


@pytest.fixture
def publish(report_of_size, tmp_path):
    """Return a function that publishes a report once, without patience."""

    def go(url):
        with JuxAPIClient(url, KEY, ca=authority_file(tmp_path), deadline=5, retries=0) as client:
            return client.publish(report_of_size()[0])

    return go


@pytest.fixture
def behind():
    """A server that only the proxy finds, and the proxy."""
    with RecordingServer() as server, ForwardProxy({NAME: server}) as proxy:
        yield server, proxy


@pytest.fixture
def behind_with_tls():
    with RecordingServer(tls=server_side()) as server, ForwardProxy({NAME: server}) as proxy:
        yield server, proxy


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_the_variable_for_http(publish, behind, monkeypatch, variable):
    server, proxy = behind
    monkeypatch.setenv(variable, proxy.address)
    assert isinstance(publish(f"http://{NAME}:{server.port}/api/v1/reports"), Published)
    assert len(proxy.requests) == 1


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_the_variable_for_https(publish, behind_with_tls, monkeypatch, variable):
    server, proxy = behind_with_tls
    monkeypatch.setenv(variable, proxy.address)
    assert isinstance(publish(f"https://{NAME}:{server.port}/api/v1/reports"), Published)
    assert [one.method for one in proxy.requests] == ["CONNECT"]


def test_the_variable_of_the_other_scheme_does_not_count(publish, behind, monkeypatch):
    server, proxy = behind
    monkeypatch.setenv("HTTPS_PROXY", proxy.address)
    assert isinstance(publish(f"http://{NAME}:{server.port}/api/v1/reports"), Unavailable)
    assert not proxy.connections


def test_a_proxy_needs_no_scheme(publish, behind, monkeypatch):
    server, proxy = behind
    monkeypatch.setenv("HTTP_PROXY", proxy.address.removeprefix("http://"))
    assert isinstance(publish(f"http://{NAME}:{server.port}/api/v1/reports"), Published)


def test_what_is_secret_stays_out_of_a_tunnels_request(publish, behind_with_tls, monkeypatch):
    server, proxy = behind_with_tls
    monkeypatch.setenv("HTTPS_PROXY", proxy.address)
    publish(f"https://{NAME}:{server.port}/api/v1/reports")
    assert {name.lower() for name, _ in proxy.requests[0].headers} <= {"host", "user-agent"}
    assert KEY.encode() not in proxy.received
    assert CANARY not in proxy.received


def test_the_proxys_login_stays_out_of_the_servers_sight(publish, monkeypatch):
    with (
        RecordingServer(tls=server_side()) as server,
        ForwardProxy({NAME: server}, login="me:pa55word") as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", proxy.address.replace("//", "//me:pa55word@"))
        assert isinstance(publish(f"https://{NAME}:{server.port}/api/v1/reports"), Published)
        assert server.requests[0].header("proxy-authorization") is None
        assert server.requests[0].header("authorization") is None


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("trouble", ["down", "wrong", "unsupported"])
def test_the_proxys_login_is_in_no_message(publish, monkeypatch, scheme, trouble):
    with RecordingServer() as server, ForwardProxy({NAME: server}, login="me:right") as proxy:
        kind = "socks5" if trouble == "unsupported" else "http"
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", f"{kind}://me:pa55word@127.0.0.1:{proxy.port}")
        if trouble == "down":
            proxy.stop()
        try:
            said = repr(publish(f"{scheme}://{NAME}:{server.port}/api/v1/reports"))
        except ClientMisconfigured as error:
            said = f"{error} {error.hint}"
        assert "proxy" in said
        assert "pa55word" not in said
        assert not server.connections


def test_a_proxy_with_tls(publish, monkeypatch):
    with (
        RecordingServer(tls=server_side()) as server,
        ForwardProxy({NAME: server}, tls=server_side()) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", proxy.address)
        outcome = publish(f"https://{NAME}:{server.port}/api/v1/reports")
        assert isinstance(outcome, Published), outcome
        assert KEY.encode() not in proxy.received


def test_a_proxy_with_tls_that_nobody_trusts(publish, monkeypatch):
    with (
        RecordingServer() as server,
        ForwardProxy({NAME: server}, tls=server_side(by="somebody else"), login="me:pa55word") as proxy,
    ):
        monkeypatch.setenv("HTTP_PROXY", proxy.address.replace("//", "//me:pa55word@"))
        outcome = publish(f"http://{NAME}:{server.port}/api/v1/reports")
        assert isinstance(outcome, Unavailable)
        assert not outcome.is_passing
        assert not proxy.received


@pytest.mark.parametrize("no_proxy", ["other.test", f"{NAME}:1", "10.0.0.0/8", "test.", "example.tes", "  ,, ,"])
def test_no_proxy_for_others_changes_nothing(publish, behind, monkeypatch, no_proxy):
    server, proxy = behind
    monkeypatch.setenv("HTTP_PROXY", proxy.address)
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert isinstance(publish(f"http://{NAME}:{server.port}/api/v1/reports"), Published)


@pytest.mark.parametrize(
    "no_proxy", [NAME, "example.test", ".example.test", "*.example.test", "a, API.example.TEST", "*"]
)
def test_no_proxy_for_a_name(publish, behind, monkeypatch, no_proxy):
    """Without the proxy the host cannot be found, so that this shows by a failure."""
    server, proxy = behind
    monkeypatch.setenv("HTTP_PROXY", proxy.address)
    monkeypatch.setenv("no_proxy", no_proxy)
    outcome = publish(f"http://{NAME}:{server.port}/api/v1/reports")
    assert isinstance(outcome, Unavailable)
    assert not proxy.connections
    assert not server.connections


def test_no_proxy_for_a_name_with_its_port(publish, behind, monkeypatch):
    server, proxy = behind
    monkeypatch.setenv("HTTP_PROXY", proxy.address)
    monkeypatch.setenv("NO_PROXY", f"{NAME}:{server.port}")
    assert isinstance(publish(f"http://{NAME}:{server.port}/api/v1/reports"), Unavailable)
    assert not proxy.connections


@pytest.mark.parametrize(
    ("url", "no_proxy", "is_direct"),
    [
        ("http://10.1.2.3/", "10.0.0.0/8", True),
        ("http://11.1.2.3/", "10.0.0.0/8", False),
        ("http://10.1.2.3:8080/", "10.0.0.0/8:8080", True),
        ("http://10.1.2.3:8081/", "10.0.0.0/8:8080", False),
        ("http://10.1.2.3/", "10.1.2.3", True),
        ("http://10.1.2.3/", "10.1.2.3:80", True),
        ("https://10.1.2.3/", "10.1.2.3:80", False),
        ("https://10.1.2.3/", "10.1.2.3:443", True),
        ("https://10.1.2.3/", "10.1.2.30", False),
        ("http://[fd00::1]/", "fd00::/8", True),
        ("http://[fd00::1]/", "[fd00::]/8", False),
        ("http://[fd00::1]/", "fd00::1", True),
        ("http://[fd00::1]:81/", "[fd00::1]:81", True),
        ("http://[fd00::1]:81/", "[fd00::1]:82", False),
        ("http://[fe80::1]/", "10.0.0.0/8 fd00::/8", False),
        ("http://10.1.2.3/", "x, 192.168.0.0/16 10.0.0.0/8", True),
        ("http://192.0.2.7/", "192.0.2.0/30", False),
        ("http://192.0.2.7/", "192.0.2.0/99", False),
        ("http://192.0.2.7/", "::/0", False),
        ("http://192.0.2.7/", "2.7", False),
        ("http://jux.example.com/", "10.0.0.0/8", False),
        ("http://jux.example.com/", "[::1", False),
        ("http://jux.example.com/", "jux.example.com:80", True),
        ("http://jux.example.com:81/", "jux.example.com:80", False),
        ("http://jux.example.com:81/", "example.com", True),
        ("http://notexample.com/", "example.com", False),
        ("http://jux.example.com/", "a:" + "9" * 5000, False),
    ],
)
def test_no_proxy_is_names_networks_and_ports(monkeypatch, url, no_proxy, is_direct):
    """Nobody is asked here: these are addresses of other machines."""
    monkeypatch.setenv("ALL_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert proxy_for(url) == (None if is_direct else PROXY)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "LOCALHOST.", "a.localhost", "[::1]"])
def test_this_machine_is_never_reached_through_a_proxy(monkeypatch, host):
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"):
        monkeypatch.setenv(variable, PROXY)
    assert proxy_for(f"http://{host}:8080/") is None
    assert proxy_for(f"https://{host}/") is None


@pytest.mark.parametrize("host", ["localhost.example.com", "127.0.0.1.example.com", "128.0.0.1", "[::2]"])
def test_what_only_looks_like_this_machine_is_reached_through_the_proxy(monkeypatch, host):
    monkeypatch.setenv("HTTP_PROXY", PROXY)
    assert proxy_for(f"http://{host}:8080/") == PROXY


@pytest.mark.parametrize(
    "address", ["http://", "http://[::1", "ftp://proxy:21", "socks5://proxy:1080", "http://a b:1", "\x1b"]
)
def test_a_proxy_that_is_none_is_a_clear_error(publish, monkeypatch, address):
    monkeypatch.setenv("HTTP_PROXY", address)
    with pytest.raises(ClientMisconfigured, match="proxy") as caught:
        publish(f"http://{NAME}/api/v1/reports")
    assert "\x1b" not in f"{caught.value}"
    assert "HTTP_PROXY" in caught.value.hint


def test_the_users_netrc_is_not_read(publish, bare_environment):
    netrc = bare_environment / ".netrc"
    netrc.write_text("machine 127.0.0.1 login me password pa55word\ndefault login me password pa55word\n")
    netrc.chmod(0o600)
    with RecordingServer() as server:
        assert isinstance(publish(server.url), Published)
        assert server.requests[0].header("authorization") is None
        assert server.requests[0].header("x-api-key") == KEY
