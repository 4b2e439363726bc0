"""Pruning while the server runs, beside what it answers."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import anyio.to_thread
from sqlalchemy.exc import SQLAlchemyError

from jux_server.errors import ServerError
from jux_server.upkeep.retention import Retention
from jux_server.upkeep.schedule import prune_when_due

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from jux_server.store.database import Database
    from pytest_jux.config import Settings

_LOOK = 600.0  # seconds after which it is looked whether pruning is due, at most
_log = logging.getLogger(__name__)


def retention_of(settings: Settings) -> Retention:
    """Return how long the settings keep reports, where their project does not say it."""
    return Retention(settings["jux_server_retention_days"] or None, settings["jux_server_retention_runs"] or None)


@asynccontextmanager
async def pruning(database: Database, retention: Retention, every_hours: float) -> AsyncIterator[None]:
    """Prune every so many hours (0: never) until the end of the block; what has begun then is left to the next time."""
    if not every_hours:
        yield
        return
    task = asyncio.create_task(_now_and_then(database, retention, every_hours))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _now_and_then(database: Database, retention: Retention, every_hours: float) -> None:
    work = partial(prune_when_due, database, retention, every_hours)
    turns = anyio.CapacityLimiter(1)
    while True:
        try:
            pruned = await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=turns)
        except (SQLAlchemyError, ServerError) as error:
            _log.warning("pruning failed, and is tried again later: %s", type(error).__name__)
        else:
            if pruned is not None and pruned.runs:
                _log.info("pruned %d reports, %d bytes given back", pruned.runs, pruned.freed_bytes)
        await asyncio.sleep(min(every_hours * 3600, _LOOK))
