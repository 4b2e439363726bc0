"""Pruning now and then, by one of any number of processes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from jux_server.store.database import now
from jux_server.store.schema import upkeep
from jux_server.upkeep.retention import Pruned, Retention, prune

if TYPE_CHECKING:
    from jux_server.store.database import Database

_HOUR = 3_600_000_000  # microseconds


def prune_when_due(database: Database, default: Retention, every_hours: float) -> Pruned | None:
    """Prune, unless somebody has pruned or begun to within these hours; then return None."""
    time = now()
    with database.write() as connection:
        insert = sqlite.insert(upkeep) if database.is_sqlite else postgresql.insert(upkeep)
        first = insert.values(name="prune", at=time, result=json.dumps({})).on_conflict_do_nothing()
        is_mine = connection.execute(first.returning(upkeep.c.name)).scalar() is not None
        if not is_mine:
            due = (upkeep.c.name == "prune") & (upkeep.c.at <= time - round(every_hours * _HOUR))
            claim = sa.update(upkeep).where(due).values(at=time).returning(upkeep.c.name)
            is_mine = connection.execute(claim).scalar() is not None
    return prune(database, default) if is_mine else None
