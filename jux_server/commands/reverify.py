"""jux-server reverify: judge the reports that are there by what is believed now."""

from __future__ import annotations

import click

from jux_server.commands import Configured, json_option, settings_options
from pytest_jux.commands import _cli


@click.command("reverify", context_settings=_cli.CONTEXT)
@click.option("--project", metavar="NAME", help="The reports of this project alone.")
@settings_options()
@json_option
def reverify(project: str | None, configured: Configured, as_json: bool) -> None:
    """Verify the reports that are there again, after signers were added or removed.

    Certificates are judged as of the time when each report was received.
    """
    from jux_server.upkeep.reverify import reverify as reverify_database
    from pytest_jux.text import plural

    with configured.database(must_exist=True) as database:
        done = reverify_database(database, project=project)
    changed = [
        {"from": before.word, "to": after.word, "count": count} for (before, after), count in done.changed.items()
    ]
    if as_json:
        _cli.show_json({"examined": done.examined, "changed": changed})
        return
    _cli.show(f"{plural(done.examined, 'report')} verified again{'' if changed else '; nothing changed'}")
    for change in changed:
        _cli.show(f"  {change['from']} -> {change['to']}: {change['count']:,}")
