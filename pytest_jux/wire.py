"""The API's requests and answers, as both sides read and write them. No input and no output happens here.

A report travels as text in JSON. The text is the document decoded by its own encoding, so that the other side, which
encodes it by the same rule, has the very bytes that were signed.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit, urlunsplit

from pytest_jux import __version__
from pytest_jux.errors import JuxError
from pytest_jux.gate import ENCODINGS, declared_encoding

if TYPE_CHECKING:
    from collections.abc import Mapping

_BOM = "\ufeff"
_ENDPOINT = "/api/v1/reports"
_UTF_8 = {"utf-8", "utf8"}
_ESCAPES = ((b"\\", b"\\\\"), (b'"', b'\\"'), (b"\n", b"\\n"), (b"\r", b"\\r"), (b"\t", b"\\t"))
_CONTROLS = tuple(bytes([code]) for code in range(32) if code not in b"\n\r\t")
_LONGEST_TEXT = 2000  # characters of what a server says; more helps nobody


class ReportUnsendable(JuxError):
    """The bytes of a report are no text in the encoding that it declares, so they cannot be sent as one."""

    hint = "Convert the report to UTF-8 and sign it again."

    def __init__(self, encoding: str) -> None:
        super().__init__(f"the report cannot be sent as text: it is not valid {encoding}")
        self.encoding = encoding


class NotAnAnswer(JuxError):
    """What came back is not an answer of the Jux API; the text says what it is instead."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server says about one report. Texts are "" where it says nothing."""

    status: str = ""
    id: str = ""
    canonical_hash: str = ""
    message: str = ""
    error: str = ""
    url: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """Why the server refuses the report, in its own words."""
        said = self.details.get("reason") or self.details.get("message")
        detail = said if isinstance(said, str) else ""
        words = self.error or self.message
        return f"{words} ({detail})" if words and detail and detail != words else words or detail


def report_text(data: bytes) -> str:
    """Return a report as the text that is sent.

    Raises:
        ReportUnsendable: the same bytes could not be made of it again.
    """
    encoding = declared_encoding(data)
    if encoding.lower() in ENCODINGS:
        with contextlib.suppress(ValueError, LookupError):  # UnicodeError is a ValueError
            text = data.decode(encoding)
            if report_bytes(text) == data:
                return text
    raise ReportUnsendable(encoding) from None


def report_bytes(text: str) -> bytes:
    """Return the bytes of a report that was sent as text; raises ValueError or LookupError if there are none.

    One that declares an encoding which is not read here comes as UTF-8, and whoever reads it refuses it by that name:
    some of Python's own encodings, such as punycode, take hours for a short text.
    """
    encoding = declared_encoding(_head(text))
    return text.encode(encoding if encoding.lower() in ENCODINGS else "utf-8")


def _head(text: str) -> bytes:
    return text[:1024].encode("ascii", "replace").removeprefix(b"?" if text.startswith(_BOM) else b"")


def request_headers(canonical_hash: str) -> dict[str, str]:
    """Return the headers of `POST /api/v1/reports`, without the one that shows who asks."""
    return {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Idempotency-Key": canonical_hash,
        "User-Agent": f"pytest-jux/{__version__}",
    }


def request_body(data: bytes, canonical_hash: str, metadata: Mapping[str, Any] | None = None) -> bytes:
    """Return the JSON body of `POST /api/v1/reports`: the report as text, its canonical hash and the metadata.

    Raises:
        ReportUnsendable: the report is not valid in the encoding that it declares.
    """
    others = {"canonical_hash": canonical_hash, "metadata": dict(metadata or {})}
    rest = json.dumps(others, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
    return b'{"report":' + _json_text(data) + b"," + rest[1:]


def _json_text(data: bytes) -> bytes:
    """Return a report as a JSON text (RFC 8259, section 7).

    Few bytes of XML need an escape, so that UTF-8 is not taken apart for it: that makes a publish half as long.
    """
    encoding = declared_encoding(data)
    if encoding.lower() not in _UTF_8 or data.startswith(_BOM.encode()) or any(sign in data for sign in _CONTROLS):
        return json.dumps(report_text(data), ensure_ascii=False).encode("utf-8", "backslashreplace")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise ReportUnsendable(encoding) from None
    if declared_encoding(_head(text)) != encoding:  # a declaration around the 1,024th byte, but not character
        raise ReportUnsendable(encoding)
    for sign, escaped in _ESCAPES:
        data = data.replace(sign, escaped)
    return b'"' + data + b'"'


def read_answer(body: bytes) -> Answer:
    """Return what a server's answer says.

    Raises:
        NotAnAnswer: it is not a JSON object.
    """
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        raise NotAnAnswer(_named(body)) from None
    if not isinstance(said, dict):
        raise NotAnAnswer("JSON, but no object")
    details = said.get("details")
    return Answer(
        **{name: _text(said.get(name)) for name in ("status", "id", "canonical_hash", "message", "error", "url")},
        details=details if isinstance(details, dict) else {},
    )


def page_of(api_url: str, answer: Answer) -> str:
    """Return the address of a report's page: the server's own, else by the API's convention; "" if there is none.

    An address elsewhere than at the API's own host is not passed on.
    """
    api = urlsplit(api_url)
    try:
        named = urlsplit(answer.url)
    except ValueError:
        named = urlsplit("")
    if named.scheme in {"http", "https"} and named.netloc == api.netloc:
        return answer.url
    if answer.url.startswith("/") and not named.netloc:
        return urlunsplit((api.scheme, api.netloc, named.path, named.query, ""))
    base, found, _ = api.path.partition(_ENDPOINT)
    if not found or not answer.id:
        return ""
    return urlunsplit((api.scheme, api.netloc, f"{base}/reports/{quote(answer.id, safe='')}", "", ""))


def _text(value: object) -> str:
    """Return a text or a number as text; anything else says nothing."""
    if isinstance(value, str):
        return writable(value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 128 else ""


def writable(text: str) -> str:
    """Return a text without halves of characters, which JSON allows and which cannot be written."""
    return text.encode("utf-8", "replace").decode()


def shortened(text: str) -> str:
    """Return what a server says as it is shown and kept: not longer than anybody reads."""
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"


def _named(body: bytes) -> str:
    """Say what a body is that is no JSON."""
    head = body[:1024].lstrip().lower()
    if not head:
        return "nothing"
    return "an HTML page" if head.startswith((b"<!doctype html", b"<html")) else "something that is not JSON"
