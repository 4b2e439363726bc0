"""jux-cache: what is in the report store, what it is worth, and what of it may go."""

from __future__ import annotations

import click

from pytest_jux.commands import _cli

_SUBCOMMANDS = {
    "list": "_cache_reports:list_reports",
    "show": "_cache_reports:show",
    "stats": "_cache_reports:stats",
    "clean": "_cache_care:clean",
    "verify": "_cache_care:verify",
    "push": "_cache_push:push",
    "add": "_cache_transfer:add",
    "export": "_cache_transfer:export",
    "import": "_cache_transfer:import_",
}


@click.group("cache", cls=_cli.Group, subcommands=_SUBCOMMANDS, context_settings=_cli.CONTEXT)
@_cli.version_option
def command() -> None:
    """Look after the reports that are stored on this machine.

    A report is named by its hash, of which the first four or more digits are enough. All times are in UTC.

    \b
    Examples:
      jux-cache list --limit 20
      jux-cache show sha256:abc123def456...
      jux-cache clean --days 30 --dry-run
      jux-cache verify --cert signing_key.crt
      jux-cache push

    Exit codes: 0 done, 1 failed or a problem was found, 64 usage error.
    """


main = _cli.main_of(command, "jux-cache")
