"""jux-server prune, pin and unpin: which reports are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from jux_server.commands import Configured, json_option, settings_options
from pytest_jux.commands import _cli

if TYPE_CHECKING:
    from jux_server.upkeep.retention import Pruned


@click.command("prune", context_settings=_cli.CONTEXT)
@click.option("--dry-run", is_flag=True, help="Delete nothing; show what would be deleted.")
@settings_options(("database", "database_password_file", "retention_days", "retention_runs"))
@json_option
def prune(dry_run: bool, configured: Configured, as_json: bool) -> None:
    """Delete the reports that need not be kept, and give their space back.

    A project's own keep-days and keep-runs count, and where it has none, the settings. Pinned reports stay, and so does
    the newest of each branch.

    \b
    Examples:
      jux-server prune --dry-run
      jux-server prune --retention-days 365
      jux-server prune --retention-runs 200 --json
    """
    from jux_server.pruning import retention_of
    from jux_server.upkeep.retention import prune as prune_database

    default = retention_of(configured.settings)
    with configured.database(must_exist=True) as database:
        pruned = prune_database(database, default, dry_run=dry_run)
    if as_json:
        _cli.show_json({"dry_run": dry_run, **pruned._asdict()})
    else:
        _cli.show_lines(_lines(pruned, dry_run=dry_run))


def _lines(pruned: Pruned, *, dry_run: bool) -> list[str]:
    from pytest_jux.text import plural, show_size

    if not pruned.runs:
        return ["There is nothing to delete."]
    what = f"{plural(pruned.runs, 'report')} ({show_size(pruned.bytes)})"
    lines = [f"{'Would delete' if dry_run else 'Deleted'} {what}:"]
    lines += [f"  {name}: {plural(runs, 'report')}" for name, runs in sorted(pruned.by_project.items())]
    if dry_run:
        return lines
    freed = f"The database is {show_size(pruned.freed_bytes)} smaller."
    return [*lines, freed if pruned.freed_bytes else "Their space is left to the next reports."]


@click.command("pin", context_settings=_cli.CONTEXT)
@click.argument("report")
@settings_options()
@json_option
def pin(report: str, configured: Configured, as_json: bool) -> None:
    """Keep a report whatever is pruned. REPORT is its id or its hash, of which 8 digits are enough."""
    _set_pinned(report, configured, as_json, pinned=True)


@click.command("unpin", context_settings=_cli.CONTEXT)
@click.argument("report")
@settings_options()
@json_option
def unpin(report: str, configured: Configured, as_json: bool) -> None:
    """Let a report go like any other. REPORT is its id or its hash, of which 8 digits are enough."""
    _set_pinned(report, configured, as_json, pinned=False)


def _set_pinned(report: str, configured: Configured, as_json: bool, *, pinned: bool) -> None:
    from jux_server.upkeep.retention import set_pinned

    with configured.database(must_exist=True) as database:
        found = set_pinned(database, report, pinned=pinned)
    if as_json:
        _cli.show_json({"id": str(found.public_id), "canonical_hash": f"sha256:{found.hash.hex()}", "pinned": pinned})
    else:
        _cli.show(f"{'Pinned' if pinned else 'Not pinned any more'}: {found.public_id} sha256:{found.hash.hex()[:12]}…")
