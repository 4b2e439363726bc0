"""What each kind of upkeep came to when it last ran."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from jux_server.store.schema import upkeep

if TYPE_CHECKING:
    from collections.abc import Mapping


class Last(NamedTuple):
    """When it ran (microseconds), and its result as JSON values."""

    at: int
    result: dict[str, Any]


def record(connection: sa.Connection, name: str, at: int, result: Mapping[str, Any]) -> None:
    """Write down the result of a kind of upkeep in place of the one before."""
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    values = {"at": at, "result": json.dumps(result)}
    # One statement, because two processes may come to an end at once.
    new = insert(upkeep).values(name=name, **values).on_conflict_do_update(index_elements=["name"], set_=values)
    connection.execute(new)


def last_results(connection: sa.Connection) -> dict[str, Last]:
    """Return the last result of every kind of upkeep."""
    rows = connection.execute(sa.select(upkeep.c.name, upkeep.c.at, upkeep.c.result).order_by(upkeep.c.name))
    return {name: Last(at, json.loads(result)) for name, at, result in rows}
