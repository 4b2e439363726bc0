"""What arrived and what did not, as the intake noted it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from jux_server.store.schema import api_key, event

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

KINDS = ("created", "attached", "duplicate", "rejected")
HOUR = 3_600_000_000  # microseconds


class Arrivals(NamedTuple):
    """How many reports of each kind came in a window: in all, by hour (as `at // HOUR`), by key and by project."""

    totals: Counter[str]
    hours: Mapping[int, Counter[str]]
    keys: Mapping[int | None, Counter[str]]
    projects: Mapping[str, Counter[str]]


class Reason(NamedTuple):
    """Why reports were rejected: the error in a few words, an example of the whole reason, and how often."""

    error: str
    example: str
    times: int
    last_at: int


class Wanted(NamedTuple):
    """Which events are asked for; `sees` is None where every project is to be seen. What is None does not matter."""

    since: int
    sees: Callable[[str], bool] | None = None
    kind: str | None = None
    project: str | None = None
    key_id: int | None = None  # 0: none


def arrivals(connection: sa.Connection, wanted: Wanted) -> Arrivals:
    """Return how many reports came and what became of them."""
    hour = (event.c.at // HOUR).label("hour")
    columns = (hour, event.c.kind, event.c.key_id, event.c.project)
    counted = sa.select(*columns, sa.func.count().label("times")).where(*_conditions(connection, wanted))
    found = Arrivals(Counter(), {}, {}, {})
    hours: dict[int, Counter[str]] = {}
    keys: dict[int | None, Counter[str]] = {}
    projects: dict[str, Counter[str]] = {}
    for row in connection.execute(counted.group_by(*columns)):
        for counter in (
            found.totals,
            hours.setdefault(int(row.hour), Counter()),
            keys.setdefault(row.key_id, Counter()),
            projects.setdefault(row.project, Counter()),
        ):
            counter[row.kind] += row.times
    return found._replace(hours=hours, keys=keys, projects=projects)


def list_events(
    connection: sa.Connection, wanted: Wanted, *, before: int | None, limit: int
) -> tuple[list[sa.Row[Any]], int | None]:
    """Return events with the name and prefix of their keys, newest first, and where the next ones begin."""
    chosen = sa.select(event, api_key.c.name.label("key_name"), api_key.c.prefix.label("key_prefix")).outerjoin(
        api_key, api_key.c.id == event.c.key_id
    )
    chosen = chosen.where(*_conditions(connection, wanted))
    if before is not None:
        chosen = chosen.where(event.c.id < before)
    rows = list(connection.execute(chosen.order_by(event.c.id.desc()).limit(limit + 1)))
    return rows[:limit], rows[limit - 1].id if len(rows) > limit else None


def reasons(connection: sa.Connection, wanted: Wanted, *, most: int = 2_000) -> list[Reason]:
    """Return why reports were rejected, the most frequent first, as far as the newest `most` tell."""
    columns = sa.select(event.c.reason, event.c.at).where(*_conditions(connection, wanted._replace(kind="rejected")))
    found: dict[str, Reason] = {}
    for reason, at in connection.execute(columns.order_by(event.c.id.desc()).limit(most)):
        error = reason.partition(":")[0]
        known = found.get(error)
        found[error] = Reason(error, reason, 1, at) if known is None else known._replace(times=known.times + 1)
    return sorted(found.values(), key=lambda one: (-one.times, one.error))


def keys_named(connection: sa.Connection, numbers: Sequence[int]) -> dict[int, tuple[str, str]]:
    """Return names and prefixes of API keys by their numbers."""
    chosen = sa.select(api_key.c.id, api_key.c.name, api_key.c.prefix).where(api_key.c.id.in_(numbers))
    return {row.id: (row.name, row.prefix) for row in connection.execute(chosen)}


def _conditions(connection: sa.Connection, wanted: Wanted) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = [event.c.at >= wanted.since]
    if wanted.sees is not None:
        named = connection.execute(sa.select(event.c.project).where(event.c.at >= wanted.since).distinct()).scalars()
        conditions.append(event.c.project.in_([name for name in named if name and wanted.sees(name)]))
    if wanted.kind is not None:
        conditions.append(event.c.kind == wanted.kind)
    if wanted.project is not None:
        conditions.append(event.c.project == wanted.project)
    if wanted.key_id is not None:
        conditions.append(event.c.key_id == wanted.key_id if wanted.key_id else event.c.key_id.is_(None))
    return conditions
