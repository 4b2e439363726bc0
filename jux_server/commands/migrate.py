"""jux-server migrate: bring a database up to this version of the server."""

from __future__ import annotations

import click

from jux_server.commands import Configured, json_option, settings_options
from pytest_jux.commands import _cli


@click.command("migrate", context_settings=_cli.CONTEXT)
@settings_options()
@json_option
def migrate(configured: Configured, as_json: bool) -> None:
    """Bring the database up to this version of the server, or make its tables.

    A SQLite file is brought up to date whenever it is opened; PostgreSQL only by this command. It is one transaction:
    all or nothing. Stop the servers of the older version first, and make a backup.

    Exit codes: 0 up to date, 1 the database cannot be used, 64 usage error.
    """
    from jux_server.opening import migrated

    change = migrated(configured.url)
    if as_json:
        _cli.show_json({"database": change.database, "from": change.before or None, "to": change.after})
    elif change.before == change.after:
        _cli.show(f"{change.database} is up to date: version {change.after}")
    elif not change.before:
        _cli.show(f"{change.database} has its tables now: version {change.after}")
    else:
        _cli.show(f"{change.database} was of version {change.before}, and is of version {change.after} now")
