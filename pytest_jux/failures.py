"""Why a request got no answer, in one sentence, from what the HTTP library raises."""

from __future__ import annotations

import http.client
import re
import ssl
from dataclasses import dataclass

from urllib3 import exceptions

from pytest_jux.config_values import MASK
from pytest_jux.errors import TransportFailed
from pytest_jux.files import reason_of
from pytest_jux.text import visible

NO_PROXY = "It is named by HTTP_PROXY, HTTPS_PROXY or ALL_PROXY; NO_PROXY lists hosts to reach without it."
_LOGIN = "Put user and password into the proxy's address in the environment: http://user:password@host:port."
_NOT_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"}
_PASSING = {"429", "500", "502", "503", "504"}  # of a proxy
_LONGEST_NAME = 200  # characters of an address in a sentence


@dataclass(frozen=True, slots=True)
class Route:
    """Where a request goes: `place` is host and port for people; timeouts are in seconds."""

    url: str
    host: str
    place: str
    proxy: str | None
    connect: float
    read: float


def explained(error: Exception, route: Route, *, is_sent: bool) -> TransportFailed:
    """Return what an error means; `is_sent`: the request, or a part of it, was on its way already."""
    cause = _cause(error)
    if isinstance(error, exceptions.ProxyError):
        return _proxy(_cause(error.original_error), route)
    if isinstance(cause, ssl.SSLError):
        return _tls(cause, visible(route.place), is_sent=is_sent)
    return _unanswered(error, cause, route) if is_sent else _unconnected(error, cause, route)


def shown(address: str) -> str:
    """Return an address as it may be shown: without user and password, not too long, harmless on a terminal."""
    before, scheme, rest = address.partition("://")
    user, at, host = (rest if scheme else address).rpartition("@")  # a password may have anything in it
    address = f"{before + scheme if scheme else ''}{MASK}@{host}" if at and user else address
    return visible(address[:_LONGEST_NAME])


def _unconnected(error: Exception, cause: BaseException, route: Route) -> TransportFailed:
    place = visible(route.place)
    if isinstance(error, exceptions.NameResolutionError):
        return TransportFailed(f"the host {visible(route.host)} cannot be found ({_words(cause)})")
    is_new = isinstance(error, exceptions.NewConnectionError)  # which counts as a timeout, for historical reasons
    if isinstance(cause, TimeoutError) or (isinstance(error, exceptions.TimeoutError) and not is_new):
        return TransportFailed(f"{place} cannot be reached: no connection within {route.connect:g} s")
    if isinstance(cause, (UnicodeError, exceptions.LocationParseError)):
        return TransportFailed(f"the host {visible(route.host)} cannot be found (it is no name)", is_passing=False)
    return TransportFailed(f"{place} cannot be reached: {_words(cause)}")


def _unanswered(error: Exception, cause: BaseException, route: Route) -> TransportFailed:
    place = visible(route.place)
    cut = (exceptions.IncompleteRead, http.client.IncompleteRead)
    if isinstance(cause, TimeoutError) or isinstance(error, exceptions.TimeoutError):
        return TransportFailed(f"no answer from {place} within {route.read:g} s", is_answered=True)
    if isinstance(cause, http.client.RemoteDisconnected):
        return TransportFailed(f"{place} closed the connection without an answer", is_answered=True)
    if isinstance(cause, OSError):
        return TransportFailed(f"the connection to {place} broke: {_words(cause)}", is_answered=True)
    if isinstance(error, cut) or isinstance(cause, cut):
        return TransportFailed(f"the answer of {place} was cut off", is_answered=True)
    hint = "Is it https:// instead of http://?" if route.url.lower().startswith("http:") else ""
    return TransportFailed(f"what {place} answered is not HTTP", is_passing=False, is_answered=True, hint=hint)


def _tls(cause: ssl.SSLError, place: str, *, is_sent: bool) -> TransportFailed:
    if isinstance(cause, ssl.SSLCertVerificationError):
        reason = f"the certificate of {place} is not trusted: {cause.verify_message}"
        words = cause.verify_message
        hint = "jux_api_ca names a file with the certificate of a private authority." if _is_unknown(words) else ""
        if "expired" in words or "not yet valid" in words:
            hint = "The server needs a new certificate, unless this machine's clock is wrong."
        return TransportFailed(reason, is_passing=False, hint=hint)
    reason = getattr(cause, "reason", "") or ""
    if reason in _NOT_TLS:
        hint = "Is it http:// instead of https://?"
        return TransportFailed(f"what {place} answered is not TLS", is_passing=False, hint=hint)
    if "ALERT" in reason:
        words = reason.lower().replace("_", " ")
        hint = "If the server wants a certificate of yours: jux_api_client_cert and jux_api_client_key."
        return TransportFailed(f"{place} refuses the TLS connection: {words}", is_passing=False, hint=hint)
    if is_sent:
        return TransportFailed(f"the connection to {place} broke: {_words(cause)}", is_answered=True)
    return TransportFailed(f"there is no TLS connection to {place}: {_words(cause)}")


def _is_unknown(words: str) -> bool:
    """Tell whether OpenSSL complains about an authority that it does not know."""
    return "self-signed" in words or "self signed" in words or "issuer" in words


def _proxy(cause: BaseException, route: Route) -> TransportFailed:
    proxy = shown(route.proxy or "")
    refused = re.search(r"Tunnel connection failed: (\d{3})", str(cause))
    if refused is not None and refused[1] == "407":
        return TransportFailed(f"the proxy {proxy} wants a user and a password", is_passing=False, hint=_LOGIN)
    if refused is not None:
        reason = f"the proxy {proxy} does not connect to {visible(route.place)} (HTTP {refused[1]})"
        return TransportFailed(reason, is_passing=refused[1] in _PASSING)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return TransportFailed(f"the certificate of the proxy {proxy} is not trusted", is_passing=False, hint=NO_PROXY)
    words = "no connection in time" if isinstance(cause, TimeoutError) else _words(cause)
    return TransportFailed(f"the proxy {proxy} cannot be used: {words}", hint=NO_PROXY)


def _cause(error: BaseException) -> BaseException:
    """Return what is at the bottom of one of the library's errors."""
    while True:
        below = error.__cause__ or next((one for one in error.args if isinstance(one, BaseException)), None)
        if below is None:
            return error
        error = below


def _words(cause: BaseException) -> str:
    words = reason_of(cause) if isinstance(cause, OSError) and cause.strerror else str(cause) or type(cause).__name__
    return visible(words)[:_LONGEST_NAME].lower()
