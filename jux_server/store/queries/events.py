"""What arrived and what did not, as the intake noted it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from jux_server.store.queries.among import among
from jux_server.store.saving import kind_of
from jux_server.store.schema import api_key, event

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

KINDS = ("created", "attached", "duplicate", "rejected")
HOUR = 3_600_000_000  # microseconds
MOST_REASONS = 2_000  # rejected reports that are asked why


class Wanted(NamedTuple):
    """Which events are asked for. What is None does not matter."""

    since: int
    among: Collection[str] | None = None  # projects; what belongs to none is then left out
    kind: str | None = None
    project: str | None = None
    key_id: int | None = None  # 0: none


class Arrivals(NamedTuple):
    """How many reports of each kind came, in all, by hour (as `at // HOUR`), by key and by project.

    Keys are those of the wanted project, and projects those of the wanted key. `among` is for `Wanted`: the projects
    that were counted, None for all.
    """

    totals: Counter[str]
    hours: Mapping[int, Counter[str]]
    keys: Mapping[int, Counter[str]]  # 0: none
    projects: Mapping[str, Counter[str]]
    among: Collection[str] | None


class Reason(NamedTuple):
    """Why reports were rejected: the error in a few words, the newest of reasons that differ in numbers only."""

    error: str
    example: str
    times: int
    last_at: int


def arrivals(connection: sa.Connection, wanted: Wanted, sees: Callable[[str], bool] | None) -> Arrivals:
    """Return how many reports came and what became of them, whatever kind is wanted.

    `sees` tells which projects are to be seen; None: all of them, and what belongs to none.
    """
    columns = (event.c.kind, event.c.key_id, event.c.project)
    counted = sa.select(*columns, sa.func.count()).where(event.c.at >= wanted.since).group_by(*columns)
    totals: Counter[str] = Counter()
    keys: dict[int, Counter[str]] = {}
    projects: dict[str, Counter[str]] = {}
    seen: dict[str, bool] = {}
    for kind, key_id, project, times in connection.execute(counted):
        if sees is not None and not seen.setdefault(project, bool(project) and sees(project)):
            continue
        is_project = wanted.project in (None, project)
        is_key = wanted.key_id in (None, key_id or 0)
        if is_project and is_key:
            totals[kind] += times
        if is_project:
            keys.setdefault(key_id or 0, Counter())[kind] += times
        if is_key:
            projects.setdefault(project, Counter())[kind] += times
    among = None if sees is None else [project for project, is_seen in seen.items() if is_seen]
    hours = _by_hour(connection, wanted._replace(among=among, kind=None))
    return Arrivals(totals, hours, keys, projects, among)


def list_events(
    connection: sa.Connection, wanted: Wanted, *, before: int | None, limit: int
) -> tuple[list[sa.Row[Any]], int | None]:
    """Return events with the name and prefix of their keys, newest first, and where the next ones begin."""
    conditions = _conditions(wanted)
    if before is not None:
        of_theirs = sa.select(event.c.at).where(event.c.id == before, *_conditions(wanted))
        at = connection.execute(of_theirs).scalar()
        if at is None:
            return [], None
        conditions += [event.c.at <= at, sa.or_(event.c.at < at, event.c.id < before)]
    # What is left out is told by the index alone, so the rows are read of those that are shown only.
    newest = sa.select(event.c.id).where(*conditions).order_by(event.c.at.desc(), event.c.id.desc()).limit(limit + 1)
    ids = list(connection.execute(newest).scalars())
    chosen = (
        sa.select(event, api_key.c.name.label("key_name"), api_key.c.prefix.label("key_prefix"))
        .outerjoin(api_key, api_key.c.id == event.c.key_id)
        .where(event.c.id.in_(ids[:limit]))
        .order_by(event.c.at.desc(), event.c.id.desc())
    )
    return list(connection.execute(chosen)), ids[limit - 1] if len(ids) > limit else None


def reasons(connection: sa.Connection, wanted: Wanted) -> list[Reason]:
    """Return why reports were rejected, the most frequent first, as far as the newest `MOST_REASONS` tell."""
    columns = sa.select(event.c.reason, event.c.at).where(*_conditions(wanted._replace(kind="rejected")))
    newest = columns.order_by(event.c.at.desc(), event.c.id.desc()).limit(MOST_REASONS)
    kinds: dict[str, int] = {}
    found: dict[int, Reason] = {}
    for reason, at in connection.execute(newest):
        kind = kinds.get(reason)
        if kind is None:
            kind = kinds[reason] = kind_of("", reason)
        known = found.get(kind)
        first = Reason(reason.partition(":")[0], reason, 1, at)
        found[kind] = first if known is None else known._replace(times=known.times + 1)
    return sorted(found.values(), key=lambda one: (-one.times, -one.last_at, one.error))


def keys_named(connection: sa.Connection, numbers: Collection[int]) -> dict[int, tuple[str, str]]:
    """Return names and prefixes of API keys by their numbers."""
    chosen = sa.select(api_key.c.id, api_key.c.name, api_key.c.prefix).where(api_key.c.id.in_(numbers))
    return {row.id: (row.name, row.prefix) for row in connection.execute(chosen)}


def _by_hour(connection: sa.Connection, wanted: Wanted) -> dict[int, Counter[str]]:
    hour = (event.c.at // HOUR).label("hour")
    counted = sa.select(hour, event.c.kind, sa.func.count()).where(*_conditions(wanted))
    hours: dict[int, Counter[str]] = {}
    for number, kind, times in connection.execute(counted.group_by(hour, event.c.kind)):
        hours.setdefault(int(number), Counter())[kind] = times
    return hours


def _conditions(wanted: Wanted) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = [event.c.at >= wanted.since]
    if wanted.among is not None:
        conditions.append(among(event.c.project, wanted.among))
    if wanted.kind is not None:
        conditions.append(event.c.kind == wanted.kind)
    if wanted.project is not None:
        conditions.append(event.c.project == wanted.project)
    if wanted.key_id is not None:
        conditions.append(event.c.key_id == wanted.key_id if wanted.key_id else event.c.key_id.is_(None))
    return conditions
