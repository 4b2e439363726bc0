"""Tables as files that spreadsheets open, without formulas that a report has put there."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING

from fastapi.responses import StreamingResponse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_AT_ONCE = 500  # rows
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
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
