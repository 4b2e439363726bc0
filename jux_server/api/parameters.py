"""Query parameters: what may be asked, and how it is checked."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Path, Query
from pydantic import AfterValidator

_LARGEST = 2_147_483_647
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LOST_PLUS = re.compile(r"(?<=\d) (?=\d\d:\d\d$)(?<!-\d\d )")  # a plus sign in a query is a blank unless it is quoted


def has_no_control(text: str | None) -> str | None:
    """Return a text as it is; raises ValueError if it has control characters or halves of characters in it."""
    if text is not None and re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", text):
        raise ValueError("has a control character in it")
    return text


def _time(text: str | None) -> str | None:
    if text is not None:
        micro(text)
    return text


def micro(text: str) -> int:
    """Return a time (RFC 3339, or a date, which means 00:00 UTC) in microseconds; raises ValueError."""
    try:
        time = datetime.fromisoformat(_LOST_PLUS.sub("+", text.strip()))
        time = (time.replace(tzinfo=UTC) if time.tzinfo is None else time).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("is not a time such as 2026-11-22 or 2026-11-22T10:30:00Z") from None
    delta = time - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def _cursor(text: str | None) -> str | None:
    if text is not None:
        cursor_number(text)
    return text


def cursor(number: int | None) -> str | None:
    """Return the cursor that leads to the next page, None where there is none."""
    return None if number is None else base64.urlsafe_b64encode(f"n{number}".encode()).decode().rstrip("=")


def cursor_number(text: str | None) -> int | None:
    """Return what a cursor stands for; raises ValueError if it is none of ours."""
    if text is None:
        return None
    try:
        plain = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        plain = ""
    if not re.fullmatch(r"n\d{1,10}", plain) or int(plain[1:]) > _LARGEST:
        raise ValueError("is not one that an answer of this server named as next")
    return int(plain[1:])


Text = AfterValidator(has_no_control)

Project = Annotated[str | None, Query(max_length=200, description="Name of a project.", examples=["shop"]), Text]
OneProject = Annotated[
    str, Query(min_length=1, max_length=200, description="Name of the project.", examples=["shop"]), Text
]
Branch = Annotated[str | None, Query(max_length=250, description="Name of a branch.", examples=["main"]), Text]
Search = Annotated[
    str | None,
    Query(max_length=200, description="Text in the class name or name of a test, in any case."),
    Text,
]
Since = Annotated[
    str | None,
    Query(max_length=40, description="Received at this time or later (RFC 3339, or a date).", examples=["2026-11-22"]),
    Text,
    AfterValidator(_time),
]
Until = Annotated[
    str | None,
    Query(max_length=40, description="Received before this time (RFC 3339, or a date).", examples=["2026-11-23"]),
    Text,
    AfterValidator(_time),
]
Cursor = Annotated[
    str | None,
    Query(max_length=40, description="Where to go on: `next` of the answer before."),
    AfterValidator(_cursor),
]
Report = Annotated[
    str,
    Path(
        min_length=8,
        max_length=80,
        description="The report's id, or its canonical hash, which may be abbreviated to 8 digits.",
    ),
    Text,
]
TestNumber = Annotated[int, Path(ge=1, le=_LARGEST, description="The number of a test.")]
