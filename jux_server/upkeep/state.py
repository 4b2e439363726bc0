"""How much there is, and what upkeep did last."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from jux_server.store import schema
from jux_server.upkeep.records import Last, last_results
from jux_server.upkeep.space import size_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jux_server.store.database import Database

_COUNTED = (
    schema.project,
    schema.run,
    schema.document,
    schema.test,
    schema.api_key,
    schema.signer,
    schema.event,
)


class ServerState(NamedTuple):
    """`size` in bytes, `rows` of each table, the last result of each kind of upkeep."""

    size: int
    rows: Mapping[str, int]
    upkeep: Mapping[str, Last]


def server_state(database: Database) -> ServerState:
    """Return how much a database holds, and what upkeep did last."""
    size = size_of(database)
    with database.read() as connection:
        rows = {
            table.name: int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())
            for table in _COUNTED
        }
        # Cases are counted by their runs: the results themselves are packed.
        cases = connection.execute(sa.select(sa.func.coalesce(sa.func.sum(schema.run.c.tests), 0))).scalar_one()
        return ServerState(size, {**rows, "result": int(cases)}, last_results(connection))
