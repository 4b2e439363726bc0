"""What an API's address must be, and whether what is sent there can be read on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import ipaddress


def address_problem(url: str) -> str:
    """Say what is wrong with the address of an API, to follow the words for it; "" if it can be used."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme not in {"http", "https"} or not host:
        return "is not an http:// or https:// URL"
    if port == 0:
        return "has the port 0, which is none"
    if "%" in host and ":" not in host:  # some libraries would decode it, and ask another host than was checked
        return "has a % in the name of its host"
    if any(character.isspace() or not character.isprintable() for character in url):
        return "has a blank or a control character in it"
    return "has a user or a password in it" if "@" in parts.netloc else ""


def without_secrets(url: str) -> str:
    """Return an address without what may be secret in it: user, password, query and fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that is no URL"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


#: What to say of such an address.
EXPOSED = "plain http:// to another machine: everybody on the way can read the key"


def is_exposed(url: str) -> bool:
    """Tell whether anybody on the way can read what is sent: plain HTTP to another machine."""
    parts = urlsplit(url)
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine itself: `localhost` and what is below it (RFC 6761), 127.0.0.0/8 and ::1."""
    name = host.lower().rstrip(".")
    address = _address(name)
    if address is None:
        return name == "localhost" or name.endswith(".localhost")
    return address.is_loopback


def is_address(host: str) -> bool:
    """Tell whether a host is an IP address, which needs no name resolution."""
    return _address(host.strip("[]")) is not None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    import ipaddress  # noqa: PLC0415 - who only reads the configuration does not need it

    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
