"""jux-server backup and restore: everything in one file, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from jux_server.commands import Configured, json_option, settings_options
from jux_server.errors import Refused
from pytest_jux.commands import _cli, _completion

if TYPE_CHECKING:
    from pathlib import Path

    from jux_server.store.database import Database


@click.command("backup", context_settings=_cli.CONTEXT)
@click.argument("file", shell_complete=_completion.files)
@settings_options()
@json_option
def backup(file: str, configured: Configured, as_json: bool) -> None:
    """Write everything that the server keeps to one file, as it is at this moment.

    The file is the same for SQLite and PostgreSQL, so that this is also the way from one to the other. The hashes of
    the API keys are in it, and nobody but you can read it.

    \b
    Examples:
      jux-server backup jux-2026-11-23.zip
      jux-server backup /backups/jux.zip --database postgresql://jux@db/jux
    """
    from jux_server.upkeep.backup import back_up
    from pytest_jux.text import plural, show_size

    target = _cli.expand(file)
    with configured.database(must_exist=True) as database:
        _check_target(target, database)
        made = back_up(database, target)
    if as_json:
        _cli.show_json({"file": str(made.path), "size": made.size, "rows": dict(made.rows)})
    else:
        _cli.show(f"{made.path}: {plural(made.rows['run'], 'report')}, {show_size(made.size)}, checked")


def _check_target(target: Path, database: Database) -> None:
    """Refuse what a backup must not take the place of: directories, devices (/dev/null!), and the database itself."""
    if not target.exists():
        return
    if not target.is_file():
        raise Refused(f"{target} is there, and is no file", "Name a file for the backup.")
    if database.is_sqlite and target.samefile(database.name):
        raise Refused(f"{target} is the database itself", "Name another file for the backup.")


@click.command("restore", context_settings=_cli.CONTEXT)
@click.argument("file", shell_complete=_completion.files)
@click.option("--force", is_flag=True, help="Replace what the database has, if it has reports.")
@settings_options()
@json_option
def restore(file: str, force: bool, configured: Configured, as_json: bool) -> None:
    """Fill the database from a backup: all of it, or nothing if the file is damaged.

    \b
    Examples:
      jux-server restore jux-2026-11-23.zip
      jux-server restore jux.zip --database postgresql://jux@db/jux
    """
    from jux_server.upkeep.backup import restore as restore_database
    from pytest_jux.text import plural

    with configured.database() as database:
        made = restore_database(database, _cli.expand(file), force=force)
    if as_json:
        _cli.show_json({"file": str(made.path), "size": made.size, "rows": dict(made.rows)})
    else:
        _cli.show(f"{database.name} has {plural(made.rows['run'], 'report')} from {made.path}")
