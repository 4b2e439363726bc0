"""TLS with the system's trust, a further authority and the client's own certificate."""

from __future__ import annotations

import contextlib
import errno
import os
import queue
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_jux.errors import ClientMisconfigured, FileProblem, TransportFailed
from pytest_jux.files import read_file, reason_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

_LARGEST_AUTHORITY = 10_000_000  # bytes of a file with certificates


@dataclass(frozen=True, slots=True)
class Security:
    """What TLS needs beyond the system's trust: a further authority, and the client's own certificate and key."""

    ca: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    client_key_passphrase: bytes | None = field(default=None, repr=False)


class _Contexts:
    """TLS contexts, each for one handshake at a time.

    What is wrong with the files is said when they are made, and the files need not be there any more later.
    """

    def __init__(self, security: Security, number: int) -> None:
        self._security = security
        self._authority = None if security.ca is None else _read_authority(security.ca)
        self._free: queue.SimpleQueue[ssl.SSLContext] = queue.SimpleQueue()
        for _ in range(number):
            self._free.put(self._make())

    @contextlib.contextmanager
    def one(self) -> Iterator[ssl.SSLContext]:
        """Give a context that nobody else uses meanwhile."""
        try:
            context = self._free.get_nowait()
        except queue.Empty:  # there are more threads than were announced
            try:
                context = self._make()
            except ClientMisconfigured as error:
                raise TransportFailed(error.reason, is_passing=False, hint=error.hint) from None
        try:
            yield context
        finally:
            self._free.put(context)

    def _make(self) -> ssl.SSLContext:
        import truststore  # noqa: PLC0415 - plain HTTP does not need it

        context: ssl.SSLContext = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.set_alpn_protocols(["http/1.1"])
        if self._authority is not None:
            _load_authority(context, self._authority, self._security.ca)
        if self._security.client_cert is not None:
            _load_client_certificate(context, self._security)
        return context


def tls_context(security: Security, connections: int) -> ssl.SSLContext:
    """Return a context that is many: with one of truststore's, one connection after the other would shake hands."""
    import truststore  # noqa: PLC0415 - as above

    contexts = _Contexts(security, connections)

    class PerConnection(truststore.SSLContext):
        def wrap_socket(self, sock: socket.socket, *arguments: Any, **options: Any) -> ssl.SSLSocket:  # noqa: ANN401 - ssl's signature
            try:
                sock.getpeername()
            except OSError:  # reset already, in which case ssl would leave a socket open
                sock.close()
                raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)) from None
            try:
                with contexts.one() as context:
                    wrapped = context.wrap_socket(sock, *arguments, **options)
            except BaseException as error:
                _close_left_open(error)
                raise
            if wrapped.version() is None:  # reset before the handshake, which ssl does not tell
                wrapped.close()
                raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
            return wrapped

        def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:  # noqa: ANN401 - as above
            with contexts.one() as context:
                return context.wrap_bio(*arguments, **options)

    context: ssl.SSLContext = PerConnection(ssl.PROTOCOL_TLS_CLIENT)
    return context


def _close_left_open(error: BaseException) -> None:
    """Close the socket that ssl leaves open, known to nobody, if a connection is reset just before the handshake."""
    step = error.__traceback__
    while step is not None:
        left = step.tb_frame.f_locals.get("self")
        if isinstance(left, ssl.SSLSocket):
            left.close()
        step = step.tb_next


def _read_authority(ca: Path) -> str:
    try:
        return read_file(ca, _LARGEST_AUTHORITY).decode("ascii", "ignore")  # comments may be in any language
    except FileProblem as error:
        raise ClientMisconfigured(f"cannot use {ca} as jux_api_ca: {error.reason}") from None


def _load_authority(context: ssl.SSLContext, text: str, ca: Path | None) -> None:
    try:
        context.load_verify_locations(cadata=text)
    except (OSError, ValueError):  # SSLError is an OSError
        reason = "it holds no certificate in PEM format"
        raise ClientMisconfigured(f"cannot use {ca} as jux_api_ca: {reason}") from None


def _load_client_certificate(context: ssl.SSLContext, security: Security) -> None:
    def passphrase() -> bytes:  # asked for encrypted keys only; OpenSSL would ask on the terminal
        if security.client_key_passphrase is None:
            raise _Encrypted
        return security.client_key_passphrase

    try:
        context.load_cert_chain(security.client_cert or "", security.client_key, passphrase)
    except _Encrypted:
        hint = "Name its passphrase with jux_api_client_key_passphrase_env or jux_api_client_key_passphrase_file."
        raise ClientMisconfigured("the key of the client certificate is encrypted", hint) from None
    except (OSError, ValueError) as error:
        reason = _file_reason(error, "it is no PEM file, its key is another one, or the passphrase is wrong")
        names = f"{security.client_cert}" + (f" with {security.client_key}" if security.client_key else "")
        raise ClientMisconfigured(f"cannot use the client certificate {names}: {reason}") from None


class _Encrypted(Exception):
    pass


def _file_reason(error: OSError | ValueError, about_content: str) -> str:
    """Return why a file cannot be used: the system's words, or, if it could be read, `about_content`."""
    return reason_of(error) if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) else about_content
