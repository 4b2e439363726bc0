"""jux-server key: who may publish and read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from jux_server.commands import Configured, Group, _words, json_option, settings_options
from pytest_jux.commands import _cli

if TYPE_CHECKING:
    from jux_server.trust import KeyInfo

_SUBCOMMANDS = {"create": "key:create", "list": "key:show_keys", "revoke": "key:revoke"}


@click.group("key", cls=Group, subcommands=_SUBCOMMANDS, context_settings=_cli.CONTEXT)
def key() -> None:
    """Make, list and revoke the API keys of those who publish and read.

    A key is shown once, when it is made. The server keeps no more of it than what it takes to recognise it.
    """


@click.command("create", context_settings=_cli.CONTEXT)
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(["publish", "read", "admin"]),
    default=("publish",),
    show_default=True,
    help="What it may do (repeatable); admin is all of it.",
)
@click.option(
    "--project",
    "projects",
    multiple=True,
    default=("*",),
    show_default=True,
    metavar="PATTERN",
    help="For which projects (repeatable).",
)
@click.option("--expires", metavar="TIME", help="When it ends: 90d, 12h, 2027-01-31 [default: never].")
@settings_options()
@json_option
def create(
    name: str,
    scopes: tuple[str, ...],
    projects: tuple[str, ...],
    expires: str | None,
    configured: Configured,
    as_json: bool,
) -> None:
    """Make an API key, and print it on standard output; it is never shown again.

    \b
    Examples:
      jux-server key create ci
      jux-server key create dashboard --scope read --expires 90d
      jux-server key create shop-ci --scope publish --scope read --project "shop/*"

    Exit codes: 0 made, 1 not made, 64 usage error.
    """
    from jux_server.store.database import now
    from jux_server.trust import create_key

    name = _words.name_of_key(name)
    projects = tuple(_words.harmless(pattern, "--project") for pattern in projects)
    expires_at = None if expires is None else _words.time_to_come(expires, now())
    with configured.database() as database:
        token, made = create_key(database, name, scopes=scopes, projects=projects, expires_at=expires_at)
    if as_json:
        _cli.show_json({"key": token, **_data(made)})
        return
    click.echo(token)
    _cli.say(f"API key {made.name}: may {' and '.join(made.scopes)}, projects {', '.join(made.projects)}")
    end = "It does not expire" if made.expires_at is None else f"It expires on {_words.shown(made.expires_at)}"
    _cli.say(f"{end}. Keep it now: it is not shown again.")


@click.command("list", context_settings=_cli.CONTEXT)
@settings_options()
@json_option
def show_keys(configured: Configured, as_json: bool) -> None:
    """List the API keys, those that do not work any more included."""
    from jux_server.trust import list_keys

    with configured.database(must_exist=True) as database:
        keys = list_keys(database)
    if as_json:
        _cli.show_json([_data(one) for one in keys])
        return
    titles = ("ID", "KEY", "NAME", "STATE", "SCOPES", "PROJECTS", "EXPIRES", "LAST USED")
    _cli.show_lines(_words.table(titles, map(_row, keys)) if keys else ["There are no API keys."])


@click.command("revoke", context_settings=_cli.CONTEXT)
@click.argument("name", metavar="ID|NAME|KEY")
@settings_options()
@json_option
def revoke(name: str, configured: Configured, as_json: bool) -> None:
    """Make an API key useless from now on. KEY is the beginning of it that the list shows."""
    from jux_server.trust import revoke_key

    with configured.database(must_exist=True) as database:
        revoked = revoke_key(database, name)
    if as_json:
        _cli.show_json(_data(revoked))
    else:
        _cli.show(f"The API key {revoked.name} (jux_{revoked.prefix}…) does not work any more.")


def _row(one: KeyInfo) -> tuple[str, ...]:
    return (
        str(one.id),
        f"jux_{one.prefix}…",
        one.name,
        one.state,
        ",".join(one.scopes),
        ",".join(one.projects),
        _words.shown(one.expires_at),
        _words.shown(one.last_used_at),
    )


def _data(one: KeyInfo) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": one.name,
        "prefix": f"jux_{one.prefix}",
        "state": one.state,
        "scopes": list(one.scopes),
        "projects": list(one.projects),
        "created_at": _words.written(one.created_at),
        "expires_at": _words.written(one.expires_at),
        "revoked_at": _words.written(one.revoked_at),
        "last_used_at": _words.written(one.last_used_at),
    }
