"""Which proxy leads to a host: by HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, else by the system's settings."""

from __future__ import annotations

import ipaddress
import os
import re
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pytest_jux.addresses import is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping

_system: Any = urllib.request  # whose functions differ between systems

_PORTS = {"http": 80, "https": 443}


def _proxies_of(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what variables say, as `urllib.request.getproxies_environment` does with those of the process."""
    found: dict[str, str] = {}
    for name in sorted(environ, key=str.islower):  # so that names in lower case win
        kind = name.lower().removesuffix("_proxy")
        if kind != name.lower() and not (name == "HTTP_PROXY" and "REQUEST_METHOD" in environ):  # CGI: a header
            found[kind] = environ[name]
    return {kind: address for kind, address in found.items() if address}


def _of_the_system() -> dict[str, str]:
    """Return what macOS and Windows have in their settings; other systems have variables alone."""
    for name in ("getproxies_macosx_sysconf", "getproxies_registry"):
        if hasattr(_system, name):
            return dict(getattr(_system, name)())
    return {}


def proxy_for(url: str, environ: Mapping[str, str] | None = None) -> str | None:
    """Return the address of the proxy for `url`, None if none does. This machine is reached directly.

    NO_PROXY is a list of names (`example.com` means its subdomains, too), addresses, networks (`10.0.0.0/8`) and names
    with a port (`example.com:8443`), separated by commas or blanks; `*` means every host.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host):
        return None
    named = _proxies_of(os.environ if environ is None else environ)
    proxies = named or _of_the_system()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or _is_excepted(proxies.get("no", ""), host, parts.port or _PORTS.get(parts.scheme, 0)):
        return None
    if not named and _system.proxy_bypass(host):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _is_excepted(no_proxy: str, host: str, port: int) -> bool:
    entries = [entry for entry in re.split(r"[\s,]+", no_proxy.lower()) if entry]
    if "*" in entries:
        return True
    address = _address(host)
    if address is not None:
        return any(_is_in(address, port, entry) for entry in entries)
    named = ",".join(entry.removeprefix("*") for entry in entries)
    return bool(_system.proxy_bypass_environment(f"{host}:{port}", {"no": named}))


def _is_in(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int, entry: str) -> bool:
    network = re.fullmatch(r"(?:\[(?P<v6>[^]]*)\]|(?P<v4>[^:]*))(?::(?P<port>\d{1,5}))?", entry)
    if network is not None:
        if int(network["port"] or port) != port:
            return False
        entry = network["v6"] or network["v4"]
    try:
        return address in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None
