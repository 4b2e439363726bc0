"""Tables as files that spreadsheets open, without formulas that a report has put there."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from jux_server.api.access import database_of
from jux_server.api.parameters import Report
from jux_server.api.reading import run_named
from jux_server.store.queries.cases import list_cases
from jux_server.store.schema import Result
from jux_server.web.access import Sees, project_meant

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from jux_server.store.database import Database

router = APIRouter()

_CASES = 20_000  # that are in memory at once
_COLUMNS = ("position", "class", "test", "result", "seconds", "type", "message")
_AT_ONCE = 500  # rows
#: What spreadsheets take for the beginning of a formula, or skip before one; some know the wide forms, too.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def csv_response(filename: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> StreamingResponse:
    """Return rows as a file in CSV (RFC 4180), in UTF-8, sent while it is made.

    A text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", filename).strip("-.")[:100] or "export"
    headers = {
        "Content-Disposition": f'attachment; filename="{name}.csv"',
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, no-store",
    }
    return StreamingResponse(_lines(header, rows), media_type="text/csv; charset=utf-8", headers=headers)


def _lines(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    written = io.StringIO(newline="")
    writer = csv.writer(written)
    writer.writerow(header)
    for number, row in enumerate(rows, start=1):
        writer.writerow([_defused(value) for value in row])
        if number % _AT_ONCE == 0:
            yield written.getvalue()
            written.seek(0)
            written.truncate()
    yield written.getvalue()


def _defused(value: object) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text


# Before the page of a run's tests, which has no suffix.
@router.get("/reports/{report}/tests.csv", include_in_schema=False)
def tests_as_csv(request: Request, sees: Sees, report: Report) -> Response:
    """Give all cases of a run as a table."""
    caller = sees.asking_or_session("read")
    database = database_of(request)
    with database.read() as connection:
        row, project = run_named(connection, caller, report, project_meant(request))
    name = f"{project}-{bytes(row.hash).hex()[:10]}-tests"
    return csv_response(name, _COLUMNS, _cases(database, row.id))


def _cases(database: Database, run_id: int) -> Iterator[tuple[object, ...]]:
    """Give the cases of a run, some at once; of a run that is deleted meanwhile the others are missing."""
    start: int | None = 0
    while start is not None:
        with database.read() as connection:
            cases, start = list_cases(connection, run_id, start=start, limit=_CASES)
        for case in cases:
            word = "flaky" if case.outcome is Result.FLAKY else case.outcome.word
            seconds = case.duration / 1_000_000
            yield case.position, case.classname, case.name, word, seconds, case.type, case.message
