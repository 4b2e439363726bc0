"""What each kind of upkeep came to when it last ran."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from jux_server.store.schema import upkeep

if TYPE_CHECKING:
    from collections.abc import Mapping


class Last(NamedTuple):
    """When it ran (microseconds), and its result as JSON values."""

    at: int
    result: dict[str, Any]


def record(connection: sa.Connection, name: str, at: int, result: Mapping[str, Any]) -> None:
    """Write down the result of a kind of upkeep in place of the one before."""
    connection.execute(sa.delete(upkeep).where(upkeep.c.name == name))
    connection.execute(sa.insert(upkeep).values(name=name, at=at, result=json.dumps(result)))


def last_results(connection: sa.Connection) -> dict[str, Last]:
    """Return the last result of every kind of upkeep."""
    rows = connection.execute(sa.select(upkeep.c.name, upkeep.c.at, upkeep.c.result).order_by(upkeep.c.name))
    return {name: Last(at, json.loads(result)) for name, at, result in rows}
