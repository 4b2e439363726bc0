"""What the values of settings must look like, beyond their type. Each check returns "" or the words after the name."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from pytest_jux.addresses import address_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pytest_jux.config_values import Secret

_RATE = re.compile(r"[1-9]\d{0,8}\s*(/|per)\s*([1-9]\d{0,4}\s*)?(second|minute|hour|day)s?")
_HOST = re.compile(r"[A-Za-z0-9._:%-]{1,253}")
_LEAST, _MOST = 1_000, 1_000_000_000  # bytes of the largest report
_KINDS = ("sqlite", "postgresql", "postgres", "postgresql+psycopg")


def _rate(value: str) -> str:
    return "" if _RATE.fullmatch(value) else f"has invalid value {value!r} (expected: such as 600/minute)"


def _host(value: str) -> str:
    expected = "expected: an address or the name of this machine, without http:// and port"
    return "" if _HOST.fullmatch(value) and value.count(":") != 1 else f"has invalid value {value!r} ({expected})"


def _size(value: int) -> str:
    return "" if _LEAST <= value <= _MOST else f"has invalid value {value} (expected: a size from 1 kB to 1 GB)"


def _base_url(value: str) -> str:
    problem = address_problem(value)
    if not problem and (urlsplit(value).query or urlsplit(value).fragment):
        problem = "has a query or a fragment in it"
    return problem


def _proxies(value: Iterable[str]) -> str:
    for item in value:
        try:
            ipaddress.ip_network(item)
        except ValueError:
            return f"has invalid value {item!r} (expected: addresses or networks such as 10.0.0.0/8)"
    return ""


def _database(value: Secret) -> str:
    """Judge a database's address; what is in it is not shown, for it may be a password."""
    text = value.reveal()
    scheme, separator, rest = text.partition("://")
    if not separator:
        return "is neither a URL nor the path of a file" if re.match(r"\w+:[^/\\]*@", text) else ""
    if scheme.lower() not in _KINDS:
        return "is for another kind of database (expected: postgresql://user@host/name, or a SQLite file)"
    if scheme == "sqlite":
        return "" if rest.startswith("/") and len(rest) > 1 else "names no file (expected: sqlite:///file)"
    try:
        parts = urlsplit(text)
        named = [name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
        _ = parts.port
    except ValueError:
        return "is not a URL (expected: postgresql://user@host/name; is a character in the password not %-encoded?)"
    if {"password", "sslpassword"} & set(named):
        return "has a password in its query; put it into a file, and name that with database_password_file"
    return (
        ""
        if parts.path.strip("/") or "dbname" in named
        else "names no database (expected: postgresql://user@host/name)"
    )


#: Checks by the short names of their options.
CHECKS: Mapping[str, Callable[[Any], str]] = {
    "host": _host,
    "database": _database,
    "max_report_size": _size,
    "rate_limit": _rate,
    "base_url": _base_url,
    "trusted_proxies": _proxies,
}
