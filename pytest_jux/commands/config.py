"""jux-config: which settings there are, what counts here, where it comes from, and what is wrong with it."""

from __future__ import annotations

import click

from pytest_jux.commands import _cli

_SUBCOMMANDS = {
    "list": "_config_settings:list_options",
    "dump": "_config_settings:dump",
    "view": "_config_files:view",
    "init": "_config_files:init",
    "validate": "_config_files:validate",
    "get": "_config_settings:get",
    "explain": "_config_settings:explain",
}


@click.group("config", cls=_cli.Group, subcommands=_SUBCOMMANDS, context_settings=_cli.CONTEXT)
@_cli.version_option
def command() -> None:
    """Show, explain, check and make the configuration of pytest-jux.

    \b
    Examples:
      jux-config init
      jux-config dump
      jux-config explain sign
      jux-config validate --strict

    Secrets are shown as asterisks, everywhere.

    Exit codes: 0 done, 1 failed or something is wrong with the configuration, 64 usage error.
    """


main = _cli.main_of(command, "jux-config")
