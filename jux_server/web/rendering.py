"""Templates, and the headers that go with every page."""

from __future__ import annotations

import hashlib
import importlib.metadata
import math
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from http import HTTPStatus
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from jux_server import __version__
from jux_server.store.database import now
from jux_server.store.schema import Result, State, Verdict
from jux_server.web.links import here, links_of
from pytest_jux.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fastapi import Request

    from jux_server.web.access import Viewer

_HERE = Path(__file__).parent
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = 1_000_000  # microseconds
_MINUTE, _HOUR, _DAY, _YEAR = 60 * _SECOND, 3_600 * _SECOND, 86_400 * _SECOND, 365 * 86_400 * _SECOND
# Durations below each bound are shown in this unit with so many decimals; the bounds are where rounding needs more.
_DURATIONS = (
    (1, 1_000, 0, "ms"),
    (9_950, 1_000, 1, "ms"),
    (999_500, 1_000, 0, "ms"),
    (9_995_000, _SECOND, 2, "s"),
    (59_950_000, _SECOND, 1, "s"),
)
_LONGEST_SHOWN = 2_000  # characters of a name or a message

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "private, no-store",
}


def page(
    request: Request,
    viewer: Viewer | None,
    template: str,
    /,
    *,
    status: HTTPStatus = HTTPStatus.OK,
    headers: Mapping[str, str] | None = None,
    **values: Any,  # noqa: ANN401 - what the template asks for
) -> HTMLResponse:
    """Return a page. Templates see `values`, and `viewer`, `links`, `here` (the path and query that were asked for).

    `viewer` is None on pages that are for anybody.
    """
    shared = {"viewer": viewer, "links": links_of(request), "here": here(request), "files": static_files()}
    return HTMLResponse(render(template, **(shared | values)), status, {**HEADERS, **(headers or {})})


def render(template: str, /, **values: Any) -> str:  # noqa: ANN401 - as above
    """Return what a template makes of these values."""
    return _environment().get_template(template).render(values)


# --- filters ---------------------------------------------------------------------------------------------------------


def exact_time(microseconds: int | None) -> str:
    """Return a time in UTC to the second, "" for none."""
    return "" if microseconds is None else f"{_moment(microseconds):%Y-%m-%d %H:%M:%S} UTC"


def machine_time(microseconds: int) -> str:
    """Return a time as the attribute `datetime` of HTML wants it (RFC 3339)."""
    return f"{_moment(microseconds):%Y-%m-%dT%H:%M:%SZ}"


def ago(microseconds: int | None, at: int | None = None) -> str:
    """Return how long ago a time was, or how soon it is, "" for none."""
    if microseconds is None:
        return ""
    distance = (now() if at is None else at) - microseconds
    words = _distance(abs(distance))
    return "just now" if not words else f"{words} ago" if distance >= 0 else f"in {words}"


def _distance(distance: int) -> str:
    for unit, length in (("year", _YEAR), ("day", _DAY), ("hour", _HOUR), ("minute", _MINUTE)):
        if distance >= length:
            count = distance // length
            return f"{count} {unit}" + ("s" if count > 1 else "")
    return ""


def duration(microseconds: int | None) -> str:
    """Return a duration with two or three digits that matter, "" for none; those below each other compare at sight."""
    if microseconds is None:
        return ""
    for bound, unit, digits, name in _DURATIONS:
        if microseconds < bound:
            return f"{microseconds / unit:.{digits}f} {name}"
    minutes, seconds = divmod(round(microseconds / _SECOND), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"


def count(number: int) -> str:
    """Return a number with its thousands apart by narrow blanks that do not break."""
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def percent(share: float | None) -> str:
    """Return a share of 1 in percent; only what is all is 100 %."""
    if share is None:
        return ""
    if share in {0.0, 1.0}:
        return f"{100 * share:.0f} %"
    return f"{min(99.9, max(0.1, math.floor(1_000 * share) / 10)):.1f} %"


def short(digits: object) -> str:
    """Return the first ten digits of a hash or a commit."""
    text = bytes(digits).hex() if isinstance(digits, bytes | memoryview) else str(digits or "")
    return visible(text.removeprefix("sha256:")[:10])


def shown(text: object) -> str:
    """Return a name or a message from a report: bounded, control and bidi characters made visible."""
    plain = "" if text is None else str(text)
    cut = visible(plain[:_LONGEST_SHOWN])
    return cut + "…" if len(plain) > _LONGEST_SHOWN else cut


def one_line(text: object) -> str:
    """Return a message from a report on one line: as `shown`, but lines and columns are a blank apart."""
    return shown(" ".join(str(text or "")[: 2 * _LONGEST_SHOWN].split()))


def sentence(text: object) -> str:
    """Return a reason as a sentence that follows others."""
    words = shown(text)
    return f"{words[:1].upper()}{words[1:]}." if words else ""


def shown_lines(text: object) -> str:
    """Return a text of several lines from a report, control and bidi characters made visible."""
    return visible("" if text is None else str(text), multiline=True)


def grouped(rows: Iterable[Any], name: str) -> list[tuple[Any, list[Any]]]:
    """Return rows that follow each other and have the same attribute, in their order."""
    return [(key, list(group)) for key, group in groupby(rows, key=attrgetter(name))]


def _moment(microseconds: int) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC) if microseconds > 0 else _EPOCH


@lru_cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "time": exact_time,
        "datetime": machine_time,
        "ago": ago,
        "duration": duration,
        "count": count,
        "percent": percent,
        "short": short,
        "visible": shown,
        "lines": shown_lines,
        "one_line": one_line,
        "sentence": sentence,
        "groupby_order": grouped,
    }
    environment.globals |= {"Result": Result, "State": State, "Verdict": Verdict, "version": __version__}
    return environment


# --- files -----------------------------------------------------------------------------------------------------------

_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


class StaticFile:
    """A file that pages need, with the version that is in its address."""

    def __init__(self, name: str, content: bytes) -> None:
        self.name = name
        self.content = content
        self.media_type = _TYPES[Path(name).suffix]
        self.version = hashlib.sha256(content).hexdigest()[:12]


@lru_cache
def static_files() -> dict[str, StaticFile]:
    """Return the files that pages need by name: our style sheet, in one piece, our script, the icon, and htmx."""
    styles = b"\n".join(part.read_bytes() for part in sorted((_HERE / "static" / "css").glob("*.css")))
    contents = {
        "jux.css": styles,
        "jux.js": (_HERE / "static" / "jux.js").read_bytes(),
        "favicon.svg": (_HERE / "static" / "favicon.svg").read_bytes(),
        "htmx.min.js": _htmx(),
    }
    return {name: StaticFile(name, content) for name, content in contents.items()}


def _htmx() -> bytes:
    """Return htmx, which comes in a wheel that holds nothing else; it is never imported."""
    files = importlib.metadata.files("django-js-lib-htmx") or []
    found = next(file for file in files if file.name == "htmx.min.js" and file.parent.name == "htmx")
    return found.read_binary()
