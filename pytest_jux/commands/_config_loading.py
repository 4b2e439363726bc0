"""What the subcommands of jux-config share: their options, and the configuration that they are about."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from pytest_jux.commands import _cli, _completion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pytest_jux.config import Settings
    from pytest_jux.config_sources import Places
    from pytest_jux.errors import ConfigError
    from pytest_jux.options import Option

pytest_arguments = click.argument(
    "pytest_arguments",
    nargs=-1,
    type=click.UNPROCESSED,
    metavar="[-- PYTEST_ARGUMENT...]",
    shell_complete=_completion.pytest_arguments,
)


def place_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for decorate in (
        click.option(
            "--rootdir",
            metavar="DIR",
            shell_complete=_completion.directories,
            help="As for pytest: the root directory of the tests.",
        ),
        click.option(
            "-c",
            "--config-file",
            metavar="FILE",
            shell_complete=_completion.files,
            help="As for pytest: read this instead of the file pytest would find.",
        ),
    ):
        command = decorate(command)
    return command


class Loaded(NamedTuple):
    settings: Settings
    errors: list[ConfigError]
    places: Places

    def complain(self, *, warnings: bool = True) -> int:
        """Say on standard error what is wrong, and return the exit code."""
        for problem in self.settings.warnings if warnings else ():
            _cli.say(f"⚠ {problem}")
        for error in self.errors:
            _cli.say(f"✗ {error}")
        return _cli.FAILED if self.errors else 0


def load_all(
    config_file: str | None, rootdir: str | None, arguments: Iterable[str] = (), *, all_files: bool = False
) -> Loaded:
    from pytest_jux.config import load
    from pytest_jux.config_sources import Places

    given = [] if config_file is None else ["-c", str(_cli.expand(config_file))]
    given += [] if rootdir is None else [f"--rootdir={_cli.expand(rootdir)}"]
    errors: list[ConfigError] = []
    settings = load(errors=errors, pytest_arguments=[*given, *arguments], all_files=all_files)
    try:
        home: Path | None = Path.home()
    except RuntimeError:  # no HOME and no entry in the password database
        home = None
    return Loaded(settings, errors, Places(Path.cwd(), home, os.environ))


def option_of(name: str) -> Option:
    from pytest_jux.config import suggest
    from pytest_jux.config_display import option_named

    option = option_named(name)
    if option is None:
        near = suggest(name)
        hint = f", did you mean {near}?" if near else "; jux-config list shows them all"
        raise click.UsageError(f"unknown option {name}{hint}")
    return option
