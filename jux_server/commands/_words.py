"""Times, durations and names: what people write on the command line, and how values look to people and programs."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_SPAN = re.compile(r"(\d{1,6})\s*([hdwy])", re.IGNORECASE)
_HOURS = {"h": 1, "d": 24, "w": 168, "y": 8760}


def written(at: int | None) -> str | None:
    """Return a time in microseconds as programs read it, `2026-11-23T10:30:00.000000Z`."""
    return None if at is None else _time(at).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def shown(at: int | None, none: str = "never") -> str:
    """Return a time in microseconds as people read it, `2026-11-23 10:30 UTC`."""
    return none if at is None else _time(at).strftime("%Y-%m-%d %H:%M UTC")


def _time(at: int) -> dt.datetime:
    return _EPOCH + dt.timedelta(microseconds=at)


def time_to_come(text: str, now: int) -> int:
    """Return the time in microseconds that `90d`, `12h`, `2027-01-31` (00:00 UTC) or an ISO 8601 time means."""
    span = _SPAN.fullmatch(text.strip())
    try:
        if span:
            at = now + int(span[1]) * _HOURS[span[2].lower()] * 3_600_000_000
            _time(at)  # raises for the year 10000
            return at
        time = dt.datetime.fromisoformat(text.strip())
        time = time.replace(tzinfo=dt.UTC) if time.tzinfo is None else time
        return round((time - _EPOCH) / dt.timedelta(microseconds=1))
    except (ValueError, OverflowError):
        examples = "90d, 12h, 2027-01-31 or 2027-01-31T10:30:00Z"
        raise click.UsageError(f"--expires: {text!r} is not a time such as {examples}") from None


def name_of_key(text: str) -> str:
    """Return the name for an API key; raises a usage error for one that could not be used to name it again."""
    from jux_server.trust import name_problem

    problem = name_problem(text.strip())
    if problem:
        raise click.UsageError(problem)
    return text.strip()


def harmless(text: str, what: str) -> str:
    """Return a name without blanks around it; raises a usage error for one that no report can have."""
    from pytest_jux.text import visible

    name = text.strip()
    if not name or visible(name) != name:
        raise click.UsageError(f"{what} is empty, or has a control character in it")
    return name


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Give lines with columns below their titles."""
    from pytest_jux.text import visible

    lines = [tuple(titles), *(tuple(visible(cell) for cell in row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    for line in lines:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
