"""Which proxy leads to a host: by HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, else by the system's settings."""

from __future__ import annotations

import ipaddress
import re
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from pytest_jux.addresses import is_loopback

_system: Any = urllib.request  # whose functions differ between systems

_PORTS = {"http": 80, "https": 443}


def proxy_for(url: str) -> str | None:
    """Return the address of the proxy for `url`, None if none does. This machine is reached directly.

    NO_PROXY is a list of names (`example.com` means its subdomains, too), addresses, networks (`10.0.0.0/8`) and names
    with a port (`example.com:8443`), separated by commas or blanks; `*` means every host.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host):
        return None
    proxies = _system.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or _is_excepted(proxies.get("no", ""), host, parts.port or _PORTS.get(parts.scheme, 0)):
        return None
    if not _system.getproxies_environment() and _system.proxy_bypass(host):
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
