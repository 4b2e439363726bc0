"""What an API's address must be, and whether what is sent there can be read on the way."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_jux.addresses import address_problem, is_address, is_exposed, is_loopback
from pytest_jux.api_client import JuxAPIClient
from pytest_jux.errors import ClientMisconfigured
from pytest_jux.text import visible

NO_URL, NO_HTTP = "is not a URL", "is not an http:// or https:// URL"
BLANK, PASSWORD = "has a blank or a control character in it", "has a user or a password in it"


@pytest.mark.parametrize(
    "url",
    [
        "https://jux.example.com/api/v1/reports",
        "HTTPS://JUX.example.com:8443/api/v1/reports?tenant=a%20b#top",
        "http://127.0.0.1:8000",
        "http://[::1]:8000/",
        "http://localhost/@home",
        "http://jux.example.com./",
        "http://j\u00fcx.example.com/\u00fc",
    ],
)
def test_addresses_that_can_be_used(url):
    assert address_problem(url) == ""


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", NO_HTTP),
        ("jux.example.com", NO_HTTP),
        ("//jux.example.com/", NO_HTTP),
        ("ftp://jux.example.com/", NO_HTTP),
        ("https:jux.example.com", NO_HTTP),
        ("https:///api", NO_HTTP),
        ("https://:443/api", NO_HTTP),
        ("https://[::1/api", NO_URL),
        ("https://jux.example.com:port/", NO_URL),
        ("https://jux.example.com:65536/", NO_URL),
        ("https://jux.example.com:-1/", NO_URL),
        ("https://jux.example.com/a b", BLANK),
        (" https://jux.example.com/", BLANK),
        ("https://jux.example.com/\n", BLANK),
        ("https://jux.example.com/\r\nX-Injected: 1", BLANK),
        ("https://jux.exa\tmple.com/", BLANK),
        ("https://jux.example.com/\u200b", BLANK),
        ("https://jux.example.com/\u00a0", BLANK),
        ("https://jux.example.com/\ud800", BLANK),
        ("https://me@jux.example.com/", PASSWORD),
        ("https://me:pa55word@jux.example.com/", PASSWORD),
        ("https://:@jux.example.com/", PASSWORD),
    ],
)
def test_addresses_that_cannot_be_used(url, problem):
    assert address_problem(url) == problem


_PIECES = st.sampled_from(
    [
        "http",
        "https",
        "://",
        ":",
        "/",
        "@",
        "?",
        "#",
        "[",
        "]",
        "::1",
        "a.test",
        "80",
        "%",
        "\\",
        "\u00e9",
        "..",
        "xn--",
    ]
)
_URLS = st.text() | st.lists(_PIECES | st.text(max_size=2)).map("".join)


@given(_URLS)
@example("http://[v1.x]/")
@example("http://a..test/")
@example("http://" + "a" * 70 + ".test/")
@example("http://\u00e9:80/")
@example("https://%zz/")
def test_any_text_is_an_address_or_a_clear_error(url):
    """What is found right here can be used, and nothing else comes of it than that one error."""
    problem = address_problem(url)
    try:
        with JuxAPIClient(url) as client:
            assert client.url == url
    except ClientMisconfigured as error:
        assert visible(str(error)) == str(error)  # noqa: PT017 - either outcome is right
        assert error.hint  # noqa: PT017 - as above
    else:
        assert not problem
        assert urlsplit(url).scheme in {"http", "https"}
        assert "@" not in urlsplit(url).netloc


@given(_URLS, st.text(st.sampled_from("pa55word/@:?#[] "), min_size=1))
def test_a_password_in_an_address_is_never_shown(rest, noise):
    with pytest.raises(ClientMisconfigured) as caught:
        JuxAPIClient(f"https://me:S3CRET{noise.replace(' ', '')}@{rest}")
    assert "S3CRET" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    "url",
    [
        "http://jux.example.com/",
        "HTTP://jux.example.com/",
        "http://10.0.0.1/",
        "http://[2001:db8::1]/",
        "http://localhost.example.com/",
        "http://127.0.0.1.example.com/",
    ],
)
def test_plain_http_to_another_machine_can_be_read_on_the_way(url):
    assert is_exposed(url)
    assert JuxAPIClient(url).is_exposed


@pytest.mark.parametrize(
    "url",
    ["https://jux.example.com/", "http://127.0.0.1:80/", "http://127.255.1.2/", "http://[::1]/", "http://LOCALHOST./"],
)
def test_tls_and_this_machine_cannot_be_listened_to(url):
    assert not is_exposed(url)
    assert not JuxAPIClient(url).is_exposed


@pytest.mark.parametrize(
    "host", ["localhost", "Localhost.", "api.localhost", "a.b.localhost.", "127.0.0.1", "127.9.9.9", "::1"]
)
def test_this_machine(host):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", ".", "localhost.test", "mylocalhost", "128.0.0.1", "::2", "0.0.0.1", "127.0.0.1.test"]
)
def test_other_machines(host):
    assert not is_loopback(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "10.1.2.3", "::1", "[::1]", "[fe80::1%eth0]", "2001:db8::"])
def test_an_address_needs_no_name_resolution(host):
    assert is_address(host)


@pytest.mark.parametrize("host", ["", "localhost", "127.1", "1.2.3", "1.2.3.4.5", "256.1.1.1", "[::1", "a.test", "::g"])
def test_a_name_does(host):
    assert is_address(host) == (host == "[::1")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://a.test:0/", "has the port 0, which is none"),
        ("http://%31%32%37.0.0.1/", "has a % in the name of its host"),
        ("http://[fe80::1%25eth0]/", ""),
    ],
)
def test_an_address_means_the_same_to_everybody(url, problem):
    assert address_problem(url) == problem
