"""The REST routes."""

from __future__ import annotations

from jux_server.api import receiving

ROUTERS = (receiving.router, receiving.contract)
