"""jux-server project: what is decided for one project and not for all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from jux_server.commands import Configured, Group, _words, json_option, settings_options
from pytest_jux.commands import _cli

if TYPE_CHECKING:
    from jux_server.upkeep.projects import ProjectInfo

_SUBCOMMANDS = {"list": "project:show_projects", "set": "project:set_values", "unset": "project:unset"}
_FIELDS = ("accept", "keep_days", "keep_runs", "default_branch")


@click.group("project", cls=Group, subcommands=_SUBCOMMANDS, context_settings=_cli.CONTEXT)
def project() -> None:
    """Show the projects, and decide for one of them what the server's settings decide for all."""


@click.command("list", context_settings=_cli.CONTEXT)
@settings_options()
@json_option
def show_projects(configured: Configured, as_json: bool) -> None:
    """List the projects; a dash stands for what the server's settings say."""
    from jux_server.upkeep.projects import list_projects

    with configured.database(must_exist=True) as database:
        projects = list_projects(database)
    if as_json:
        _cli.show_json([_data(one) for one in projects])
        return
    titles = ("PROJECT", "REPORTS", "LAST RECEIVED", "ACCEPT", "KEEP DAYS", "KEEP RUNS", "DEFAULT BRANCH")
    _cli.show_lines(_words.table(titles, map(_row, projects)) if projects else ["There are no projects."])


@click.command("set", context_settings=_cli.CONTEXT)
@click.argument("name")
@click.option(
    "--accept", type=click.Choice(["any", "intact", "trusted"]), help="Which signatures a report must have, at least."
)
@click.option(
    "--keep-days", type=click.IntRange(1, 36500), metavar="DAYS", help="Delete its reports after so many days."
)
@click.option(
    "--keep-runs", type=click.IntRange(1), metavar="N", help="Keep so many of the newest reports of each branch."
)
@click.option("--default-branch", metavar="NAME", help="The branch that is meant where none is named.")
@settings_options()
@json_option
def set_values(name: str, configured: Configured, as_json: bool, **given: Any) -> None:  # noqa: ANN401 - the four options
    """Decide something for one project, which need not have reports yet.

    \b
    Examples:
      jux-server project set shop --accept trusted
      jux-server project set shop --keep-days 365 --keep-runs 500
    """
    from jux_server.upkeep.projects import set_project

    name = _words.harmless(name, "the name of the project")
    values = {field: value for field, value in given.items() if value is not None}
    if "default_branch" in values:
        values["default_branch"] = _words.harmless(values["default_branch"], "--default-branch")
    if not values:
        raise click.UsageError("nothing to set: give --accept, --keep-days, --keep-runs or --default-branch")
    with configured.database() as database:
        set_project(database, name, **values)
    _report(name, configured, as_json)


@click.command("unset", context_settings=_cli.CONTEXT)
@click.argument("name")
@click.option("--accept", is_flag=True, help="Forget what it accepts.")
@click.option("--keep-days", is_flag=True, help="Forget how many days its reports are kept.")
@click.option("--keep-runs", is_flag=True, help="Forget how many reports of each branch are kept.")
@click.option("--default-branch", is_flag=True, help="Forget its default branch.")
@settings_options()
@json_option
def unset(name: str, configured: Configured, as_json: bool, **given: bool) -> None:
    """Let the server's settings decide again for a project: in what is named, or else in everything."""
    from jux_server.errors import Unknown
    from jux_server.upkeep.projects import list_projects, set_project

    fields = [field for field in _FIELDS if given[field]] or list(_FIELDS)
    with configured.database(must_exist=True) as database:
        if name not in {one.name for one in list_projects(database)}:
            raise Unknown("project", name, "jux-server project list shows them all.")
        cleared: dict[str, Any] = dict.fromkeys(fields)
        set_project(database, name, **cleared)
    _report(name, configured, as_json)


def _report(name: str, configured: Configured, as_json: bool) -> None:
    from jux_server.upkeep.projects import list_projects

    with configured.database(must_exist=True) as database:
        found = next(one for one in list_projects(database) if one.name == name)
    if as_json:
        _cli.show_json(_data(found))
        return
    _cli.show(f"Project {found.name}:")
    for field in _FIELDS:
        value = getattr(found, field)
        _cli.show(f"  {field.replace('_', ' '):15} {'as the settings say' if value is None else value}")


def _row(one: ProjectInfo) -> tuple[str, ...]:
    own = (getattr(one, field) for field in _FIELDS)
    cells = ("-" if value is None else str(value) for value in own)
    return one.name, f"{one.runs:,}", _words.shown(one.last_received_at), *cells


def _data(one: ProjectInfo) -> dict[str, Any]:
    own = {field: getattr(one, field) for field in _FIELDS}
    return {"name": one.name, "reports": one.runs, "last_received_at": _words.written(one.last_received_at), **own}
