"""What a form sends, bounded like every other body."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import Depends, Request

from jux_server.api.bodies import receive
from jux_server.api.problems import Problem
from jux_server.errors import Refused
from pytest_jux.text import visible

_LARGEST = 200_000  # bytes
_MOST_FIELDS = 100
_LONGEST_TEXT = 250  # characters of a name or a pattern
_DIGITS = 9  # of a number
_TYPE = "application/x-www-form-urlencoded"

Fields = dict[str, list[str]]


async def fields_of(request: Request) -> Fields:
    """Return the fields of a form with their values, blanks around them taken away.

    Raises:
        Problem: 415 for another kind of body, 413 for a large one, 400 for one that is no form, 408 for a slow one.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _TYPE:
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Not a form", f"a form is sent as {_TYPE}")
    body = (await receive(request, _LARGEST)).read()
    try:
        found = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except ValueError:  # not UTF-8, or too many fields
        raise Problem(HTTPStatus.BAD_REQUEST, "Not a form", "it cannot be read") from None
    return {name: [value.strip() for value in values] for name, values in found.items()}


def one(fields: Fields, name: str) -> str:
    """Return the value of a field, "" if it was not sent."""
    return fields.get(name, [""])[0]


def check_text(what: str, *texts: str) -> None:
    """Check names and patterns that a form sends: of one line, bounded, nothing in them that cannot be seen.

    Raises:
        Refused: one of them is not; `what` says what it is.
    """
    if any(visible(text) != text for text in texts):
        raise Refused(f"{what} has no control characters")
    if any(len(text) > _LONGEST_TEXT for text in texts):
        raise Refused(f"{what} has at most {_LONGEST_TEXT} characters")


def number_of(what: str, text: str, most: int) -> int:
    """Return a number from 1 to `most` that a form sends, 0 where the field was left empty; raises `Refused`."""
    if not text:
        return 0
    # Its length first: very long ones cannot even be read.
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS and 1 <= int(text) <= most):
        raise Refused(f"{what}: a number from 1 to {most:,} is expected, not {text[:40]!r}")
    return int(text)


Form = Annotated[Fields, Depends(fields_of)]
"""A parameter of a route that takes a form."""
