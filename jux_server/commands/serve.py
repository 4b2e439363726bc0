"""jux-server serve: start the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from jux_server.commands import Configured, settings_options
from pytest_jux.commands import _cli

if TYPE_CHECKING:
    from jux_server.serving import Listening

_SETTINGS = (
    *("host", "port", "database", "database_password_file", "workers", "accept", "max_report_size", "rate_limit"),
    *(
        "require_keys",
        "public_badges",
        "retention_days",
        "retention_runs",
        "prune_every",
        "base_url",
        "trusted_proxies",
        "log_level",
    ),
    *("access_log", "graceful_timeout"),
)


@click.command("serve", context_settings=_cli.CONTEXT)
@settings_options(_SETTINGS)
def serve(configured: Configured) -> None:
    """Start the server, and serve until it is told to stop.

    \b
    Examples:
      jux-server serve
      jux-server serve --database reports.db --port 8080
      jux-server serve --host 0.0.0.0 --database postgresql://jux@db/jux --workers 4

    Programs on this machine need no API key, unless --require-keys is given. Before other machines can reach the
    server, there must be a key: jux-server key create NAME.

    SIGTERM and SIGINT (Ctrl+C) stop it; requests that are under way are finished first. The log is on standard error.

    Exit codes: 0 stopped, 1 it cannot start, 64 usage error.
    """
    from jux_server.serving import serve as serve_settings

    base_url: str | None = configured.settings["jux_server_base_url"]
    serve_settings(configured.settings, configured.url, lambda listens: _announce(listens, base_url))


def _announce(listens: Listening, base_url: str | None) -> None:
    address = f"{(base_url or listens.url).rstrip('/')}/api/v1/reports"
    _cli.show(f"Jux API server: {listens.url}", bold=True)
    _cli.show(f"  database  {listens.database}")
    if listens.workers > 1:
        _cli.show(f"  processes {listens.workers}")
    _cli.show(f"  API key   {'not needed on this machine' if listens.is_open_here else 'needed'}")
    _cli.show("Publish a first report:")
    with_key = "" if listens.is_open_here else "JUX_API_KEY=… "
    _cli.show(f"  {with_key}jux-publish report.xml --allow-unsigned --api-url {address}")
    _cli.show("Stop with Ctrl+C.")
