"""The REST routes."""

from __future__ import annotations

from jux_server.api import contract, history, operations, reading, receiving

ROUTERS = (
    receiving.router,
    reading.router,
    history.router,
    receiving.contract,
    contract.router,
    operations.router,
)
