"""The verdict of a project as a picture, for readme files and dashboards."""

from __future__ import annotations

import hashlib
import unicodedata
from http import HTTPStatus
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from fastapi.responses import Response

from jux_server.api.access import HERE, database_of
from jux_server.api.parameters import Branch
from jux_server.api.problems import not_found
from jux_server.api.seeing import visible_to
from jux_server.store.queries.overview import branch_shown, find_known, newest_runs
from jux_server.store.schema import State, Verdict
from jux_server.web.access import ProjectName, Sees
from jux_server.web.rendering import count, render, shown

if TYPE_CHECKING:
    import sqlalchemy as sa

    from jux_server.trust import Caller

router = APIRouter()

_COLOURS = {"passed": "#1a7f4b", "failed": "#b3201a", "error": "#b3201a", "unknown": "#59646d"}
_LONGEST_LABEL = 40  # characters
#: How wide characters are in Verdana of 11 pixels, as far as they differ from most.
_WIDTHS = {
    **dict.fromkeys("ijl'", 3.1),
    **dict.fromkeys('ft .,:;!|/-()[]I"\N{NARROW NO-BREAK SPACE}', 4.4),
    **dict.fromkeys("rJ", 4.9),
    **dict.fromkeys("csz", 5.8),
    **dict.fromkeys("ABCDEFGHKLNOPQRSTUVXYZ&", 7.7),
    **dict.fromkeys("wmM+=<>~#", 9.4),
    **dict.fromkeys("W@%", 11.0),
}
_USUAL, _WIDE = 6.8, 11.5


@router.get("/badge/{project:path}.svg", include_in_schema=False)
def badge(request: Request, sees: Sees, project: ProjectName, branch: Branch = None) -> Response:
    """Draw how the newest run of a branch (the default one) ended.

    Where a key is needed it is needed here, too, unless the settings make badges public. Then a badge of a project that
    is not there looks like one without runs.
    """
    is_public: bool = request.app.state.has_public_badges
    caller: Caller = HERE if is_public else sees.asking_or_session("read")
    with database_of(request).read() as connection:
        number = visible_to(connection, caller).number(project)
        if number is None and not is_public:
            raise not_found("project", project)
        run = None if number is None else _newest(connection, number, branch or None)
    word = "unknown" if run is None else "failed" if run.state == State.BROKEN else Verdict(run.verdict).word
    label = shown(project)
    label = label if len(label) <= _LONGEST_LABEL else f"{label[: _LONGEST_LABEL - 1]}…"
    text = "no runs" if run is None else _says(run)
    values = {"label": label, "text": text, "colour": _COLOURS[word], "left": _width(label), "right": _width(text)}
    content = render("badge.svg", **values).encode()
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {
        "Cache-Control": "no-cache" if is_public else "private, no-cache",
        "ETag": tag,
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
    }
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(content, media_type="image/svg+xml", headers=headers)


def _newest(connection: sa.Connection, number: int, branch: str | None) -> sa.Row[tuple[object, ...]] | None:
    known = find_known(connection, number)
    found = newest_runs(connection, number, branch or branch_shown(connection, known), 1)
    return found[0] if found else None


def _says(run: sa.Row[tuple[object, ...]]) -> str:
    if run.state == State.BROKEN:  # what it says is not what its signer signed
        return "signature broken"
    failing = run.failures + run.errors
    if failing:
        return f"{count(failing)} of {count(run.tests)} failed"
    if run.verdict != Verdict.PASSED:
        return Verdict(run.verdict).word
    return f"{count(run.tests - run.skipped)} passed"


def _width(text: str) -> int:
    """Return about how wide a text is at 11 pixels, with room at both ends; the picture makes it fit exactly."""
    return max(1, round(sum(map(_advance, text)))) + 12


def _advance(character: str) -> float:
    if unicodedata.category(character) in {"Mn", "Me", "Cf"}:  # drawn onto the one before
        return 0
    return _WIDE if unicodedata.east_asian_width(character) in {"W", "F"} else _WIDTHS.get(character, _USUAL)
