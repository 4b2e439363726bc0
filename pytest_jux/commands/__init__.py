"""The command line. `jux` has every command; each is a script of its own, too (`jux-sign` is `jux sign`)."""

from __future__ import annotations

import importlib

import click

from pytest_jux.commands import _cli

_COMMANDS = {
    "keygen": "Make a signing key and its certificate.",
    "sign": "Sign reports.",
    "verify": "Verify the signatures of reports.",
    "inspect": "Show what a report says, and what its signature is worth.",
    "publish": "Publish reports to the Jux API server.",
    "cache": "Look after the reports that are stored on this machine.",
    "config": "Show, explain, check and make the configuration.",
    "completion": "Let the shell complete commands, options and names.",
}


class _Commands(click.Group):
    """Loads a command when it is used, so that `jux --help` does not pay for all of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        if cmd_name not in _COMMANDS:
            return None
        command = importlib.import_module(f"pytest_jux.commands.{cmd_name}").command
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.command("jux", cls=_Commands, context_settings=_cli.CONTEXT)
@_cli.version_option
def command() -> None:
    """Sign, inspect and verify JUnit XML reports, so that a test report is evidence."""


main = _cli.main_of(command, "jux")
