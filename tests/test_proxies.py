"""Which proxy leads to a host, against a model of a few lines. Nobody is asked: these are other machines' names."""

from __future__ import annotations

import ipaddress
import os
import urllib.request
from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_jux.api_client import JuxAPIClient
from pytest_jux.errors import ClientMisconfigured
from pytest_jux.proxies import proxy_for
from pytest_jux.text import visible

PROXY = "http://proxy.example.test:3128"
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "FTP_PROXY", "REQUEST_METHOD")
PORTS = {"http": 80, "https": 443}


def asked(url, **environ):
    """Return the proxy for a URL where only these variables are set."""
    with pytest.MonkeyPatch.context() as patch:
        for name in VARIABLES:
            patch.delenv(name, raising=False)
            patch.delenv(name.lower(), raising=False)
        for name, value in environ.items():
            patch.setenv(name, os.fsdecode(value.encode()))  # whatever this machine's encoding is
        return proxy_for(url)


# --- which variable --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "environ", "proxy"),
    [
        ("http://a.test/", {}, None),
        ("http://a.test/", {"HTTP_PROXY": PROXY}, PROXY),
        ("http://a.test/", {"http_proxy": PROXY}, PROXY),
        ("http://a.test/", {"HTTPS_PROXY": PROXY}, None),
        ("http://a.test/", {"ALL_PROXY": PROXY}, PROXY),
        ("https://a.test/", {"all_proxy": PROXY}, PROXY),
        ("https://a.test/", {"HTTP_PROXY": PROXY}, None),
        ("https://a.test/", {"HTTPS_PROXY": PROXY, "ALL_PROXY": "http://b.test"}, PROXY),
        ("HTTPS://a.test/", {"HTTPS_PROXY": PROXY}, PROXY),
        ("http://a.test/", {"HTTP_PROXY": "http://b.test", "http_proxy": PROXY}, PROXY),
        ("http://a.test/", {"HTTP_PROXY": PROXY, "http_proxy": ""}, None),
        ("http://a.test/", {"HTTP_PROXY": ""}, None),
        ("http://a.test/", {"HTTP_PROXY": "proxy.example.test:3128"}, PROXY),
        ("http://a.test/", {"HTTP_PROXY": "https://proxy.test"}, "https://proxy.test"),
        ("http://a.test/", {"HTTP_PROXY": PROXY, "REQUEST_METHOD": "POST"}, None),
        ("http://a.test/", {"NO_PROXY": "*"}, None),
    ],
)
def test_the_variable_for_a_scheme(url, environ, proxy):
    """In a CGI program HTTP_PROXY is a header of whoever asks, so that Python does not read it there."""
    assert asked(url, **environ) == proxy


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", ["localhost", "x.localhost", "127.0.0.1", "127.3.2.1", "[::1]"])
def test_this_machine_is_reached_directly(scheme, host):
    every = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), PROXY)
    assert asked(f"{scheme}://{host}:8080/", **every) is None


@pytest.mark.parametrize(("is_bypassed", "proxy"), [(True, None), (False, PROXY)])
def test_the_systems_own_settings_count_where_no_variable_is_set(monkeypatch, is_bypassed, proxy):
    """As on macOS and Windows, whose settings have exceptions of their own."""
    monkeypatch.setattr(urllib.request, "getproxies_registry", lambda: {"http": PROXY}, raising=False)
    monkeypatch.setattr(urllib.request, "proxy_bypass", lambda host: is_bypassed and host == "a.test")
    assert proxy_for("http://a.test/") == proxy


def test_the_systems_exceptions_do_not_count_where_a_variable_is_set(monkeypatch):
    monkeypatch.setattr(urllib.request, "proxy_bypass", lambda _host: True)
    assert asked("http://a.test/", HTTP_PROXY=PROXY) == PROXY


# --- NO_PROXY --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One entry of NO_PROXY: a name, an address or a network, and a port; `text` is how it is written."""

    text: str
    name: str = ""
    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None = None
    port: int | None = None
    is_everything: bool = False

    def excepts(self, host: str, port: int) -> bool:
        """Say what NO_PROXY promises."""
        if self.is_everything:
            return True
        if self.port not in {None, port}:
            return False
        try:
            address = ipaddress.ip_address(host.strip("[]"))
        except ValueError:
            return bool(self.name) and f".{host}".endswith(f".{self.name}")
        return self.network is not None and address in self.network


_LABELS = st.sampled_from(["a", "b", "test", "com", "7", "xn--bcher-kva"])
_NAMES = st.lists(_LABELS, min_size=1, max_size=3).map(lambda labels: ".".join([*labels, "test"]))
_PORTS = st.sampled_from([80, 443, 8080])
_V4 = st.sampled_from(["10.0.0.1", "10.0.1.1", "192.0.2.7", "11.0.0.1"])
_V6 = st.sampled_from(["2001:db8::1", "2001:db8:1::1", "fd00::1"])


@st.composite
def entries(draw):
    port = draw(st.none() | _PORTS)
    suffix = "" if port is None else f":{port}"
    match draw(st.sampled_from(["name", "v4", "v6", "everything", "junk"])):
        case "name":
            name = draw(_NAMES)
            prefix = draw(st.sampled_from(["", ".", "*."]))
            written = draw(st.sampled_from([name, name.upper()]))
            return Entry(f"{prefix}{written}{suffix}", name, port=port)
        case "v4":
            text = draw(_V4) + draw(st.sampled_from(["", "/8", "/24", "/32"]))
            return Entry(text + suffix, network=ipaddress.ip_network(text, strict=False), port=port)
        case "v6":
            text = draw(_V6) + draw(st.sampled_from(["", "/16", "/128"]))
            network = ipaddress.ip_network(text, strict=False)
            if port is None:
                return Entry(text, network=network)
            address = text.partition("/")[0]
            return Entry(f"[{address}]{suffix}", network=ipaddress.ip_network(address), port=port)
        case "everything":
            return Entry("*", is_everything=True) if draw(st.integers(0, 9)) == 0 else Entry(".")
    return Entry(draw(st.sampled_from(["", "/", "10.0.0.0/99", "[::1", "a:b", "0.1", ":80", "**", "300.1.1.1", "]"])))


_HOSTS = _NAMES | _V4 | _V6.map("[{}]".format)


@given(st.sampled_from(["http", "https"]), _HOSTS, st.none() | _PORTS, st.lists(entries(), max_size=4), st.data())
def test_no_proxy_is_what_a_model_says(scheme, host, port, listed, data):
    no_proxy = data.draw(st.sampled_from(["", " "]))
    for entry in listed:
        no_proxy += entry.text + data.draw(st.sampled_from([",", ", ", " ", ",,", "\t", " , "]))
    url = f"{scheme}://{host}/" if port is None else f"{scheme}://{host}:{port}/"
    is_direct = any(entry.excepts(host, port or PORTS[scheme]) for entry in listed)
    assert asked(url, ALL_PROXY=PROXY, NO_PROXY=no_proxy) == (None if is_direct else PROXY)


_NOISE = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(_HOSTS, _NOISE | st.lists(st.sampled_from("[]:/*.,%0129ab ")).map("".join))
@example("10.0.0.1", "a:" + "9" * 5000)
@example("10.0.0.1", "10.0.0.1:" + "9" * 5000)
@example("[fd00::1]", "fd00::1%eth0/64")
@example("a.test", "a.test:" + "9" * 5000)
@example("10.0.0.1", "10.0.0.0/" + "9" * 5000)
def test_no_entry_makes_it_fail(host, no_proxy):
    assert asked(f"http://{host}/", ALL_PROXY=PROXY, NO_PROXY=no_proxy) in {None, PROXY}


# --- addresses of proxies --------------------------------------------------------------------------------------------


@pytest.fixture
def only(monkeypatch):
    """Return a function that names the one proxy of the environment."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)

    def name(address):
        monkeypatch.setenv("ALL_PROXY", address)

    return name


@pytest.mark.parametrize("kind", ["socks4", "socks4a", "socks5", "socks5h", "SOCKS5", "quic", "ftp"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_kind_of_proxy_that_is_not_supported_is_a_clear_error(only, kind, scheme):
    only(f"{kind}://me:pa55word@proxy.test:1080")
    with pytest.raises(ClientMisconfigured, match=kind.lower()) as caught:
        JuxAPIClient(f"{scheme}://jux.example.com/")
    assert "not supported" in str(caught.value)
    assert "pa55word" not in str(caught.value)
    assert "NO_PROXY" in caught.value.hint


def test_a_proxy_that_does_not_lead_there_is_no_error(only):
    """What is not used needs not be right."""
    only("socks5://proxy.test:1080")
    assert JuxAPIClient("http://localhost:8000/").url == "http://localhost:8000/"


_PIECES = st.sampled_from(
    ["http", "https", "://", ":", "/", "@", "[", "]", "%", "p.test", "3128", "me", "\u00e9", ".."]
)


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])) | st.lists(_PIECES).map("".join))
@example("http://[::1")
@example("http://p:99999")
@example("http://me:%zz@p:1")
@example("http://me:\u20ac@p:1")
@example("http://me%0d%0aX:1@p:1")
def test_any_address_of_a_proxy_is_one_or_a_clear_error(address):
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.upper() in VARIABLES]:
            patch.delenv(name)
        patch.setenv("HTTP_PROXY", os.fsdecode(address.encode()))
        try:
            JuxAPIClient("http://jux.example.com/").close()
        except ClientMisconfigured as error:
            assert "proxy" in str(error)  # noqa: PT017 - either outcome is right
            assert visible(str(error)) == str(error)  # noqa: PT017 - as above
