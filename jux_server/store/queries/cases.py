"""The cases of a run, and what was said of them."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from jux_server.store import results
from jux_server.store.queries.names import names_of, numbers_named, portions
from jux_server.store.schema import Result, problem

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


class CaseRow(NamedTuple):
    """One case of a run; what was said of it is there only for what failed, was flaky, or was skipped with a reason."""

    position: int
    test_id: int
    classname: str
    name: str
    outcome: Result
    duration: int
    type: str = ""
    message: str = ""
    details: str = ""
    is_shortened: bool = False


def list_cases(
    connection: sa.Connection,
    run_id: int,
    *,
    outcomes: Collection[Result] = (),
    text: str = "",
    positions: range | None = None,
    by_duration: bool = False,
    start: int = 0,
    limit: int = 100,
) -> tuple[list[CaseRow], int | None]:
    """Return cases of a run, and where the next ones begin, in the order of the report or slowest first.

    `start` counts among the cases that are asked for.
    """
    found = results.results_of_run(connection, run_id)
    chosen: Sequence[int] = range(len(found.test_ids)) if positions is None else positions
    if outcomes:
        numbers = {int(outcome) for outcome in outcomes}
        chosen = [position for position in chosen if found.outcomes[position] in numbers]
    if text:
        wanted = _tests_named(connection, text, found.test_ids)
        chosen = [position for position in chosen if found.test_ids[position] in wanted]
    if by_duration:
        chosen = sorted(chosen, key=found.durations.__getitem__, reverse=True)  # equal ones stay in order
    page = chosen[start : start + limit]
    names = names_of(connection, {found.test_ids[position] for position in page})
    said = _problems(connection, run_id, [position for position in page if found.outcomes[position] != Result.PASSED])
    rows = [
        CaseRow(
            position,
            found.test_ids[position],
            *names.get(found.test_ids[position], ("", "")),
            Result(found.outcomes[position]),
            found.durations[position],
            *said.get(position, ()),
        )
        for position in page
    ]
    return rows, start + limit if len(chosen) > start + limit else None


def _tests_named(connection: sa.Connection, text: str, test_ids: Sequence[int]) -> set[int]:
    blocks = {number // results.BLOCK for number in test_ids}
    found = numbers_named(connection, text, blocks)
    return {block * results.BLOCK + offset for block, offsets in found.items() for offset in offsets}


def _problems(connection: sa.Connection, run_id: int, positions: list[int]) -> dict[int, tuple[str, str, str, bool]]:
    found = {}
    columns = (problem.c.position, problem.c.type, problem.c.message, problem.c.details, problem.c.is_shortened)
    for portion in portions(positions):
        query = sa.select(*columns).where(problem.c.run_id == run_id, problem.c.position.in_(portion))
        for position, kind, message, details, is_shortened in connection.execute(query):
            found[position] = (kind, message, text_of(details), is_shortened)
    return found


def text_of(details: bytes | None) -> str:
    """Return the text that `problem.details` holds."""
    return "" if details is None else zlib.decompress(details).decode()
