"""The subcommands of `jux-server`: each parses, calls and renders; `--help` needs neither web server nor database."""

from __future__ import annotations

from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from pytest_jux.commands import _cli, _completion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from jux_server.store.database import Database
    from pytest_jux.config import Settings
    from pytest_jux.config_sources import Places
    from pytest_jux.config_values import Secret
    from pytest_jux.options import Option


class Group(_cli.Group):
    """A command with subcommands, `module:name` in this package, which are imported when they are used."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a subcommand; all of them are known to click afterwards if there is none of that name."""
        if cmd_name in self._subcommands and cmd_name not in self.commands:
            module, _, name = self._subcommands[cmd_name].partition(":")
            self.add_command(getattr(import_module(f"{__name__}.{module}"), name), cmd_name)
        return super().get_command(ctx, cmd_name)


class Configured(NamedTuple):
    """The settings that a command works with, and where they were looked up."""

    settings: Settings
    places: Places

    @property
    def url(self) -> Secret:
        """The database's address, with its password."""
        from jux_server.settings_database import database_url

        with _explained():
            return database_url(self.settings, self.places)

    @contextmanager
    def database(self, *, must_exist: bool = False) -> Iterator[Database]:
        """Give the database to a block; raises as `opening.opened`."""
        from jux_server.opening import opened

        with opened(self.url, must_exist=must_exist) as database:
            yield database


def settings_options(names: Iterable[str] = ("database", "database_password_file")) -> Callable[..., Any]:
    """Add `--config` and options of the table by their short names; the command gets `configured`."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        from functools import wraps

        from jux_server.settings import OPTIONS, PREFIX

        chosen = [OPTIONS[PREFIX + name] for name in names]

        @wraps(command)
        def with_settings(*arguments: object, config_file: str | None, **options: Any) -> Any:  # noqa: ANN401 - as given
            given = {option.name: options.pop(option.name) for option in chosen}
            return command(*arguments, configured=configured_by(given, config_file), **options)

        for option in reversed(chosen):
            with_settings = _flag_of(option)(with_settings)
        help_text = "Read this file of settings, too."
        return click.option(
            "--config", "config_file", metavar="FILE", shell_complete=_completion.files, help=help_text
        )(with_settings)

    return decorate


def configured_by(given: Mapping[str, object], config_file: str | None, errors: list[Any] | None = None) -> Configured:
    """Return the settings; says on standard error what is dubious about them. Raises ConfigError, see `load`."""
    from jux_server.settings import load, places_of

    places = places_of()
    file = None if config_file is None else _cli.expand(config_file)
    with _explained():
        settings = load(command_line=given, config_file=file, errors=errors)
    for problem in settings.warnings:
        _cli.say(f"⚠ {problem}")
    return Configured(settings, places)


@contextmanager
def _explained() -> Iterator[None]:
    """Make of what is wrong on the command line a usage error, and say of the rest how to see all of it."""
    from pytest_jux.config_sources import Layer
    from pytest_jux.errors import ConfigError

    try:
        yield
    except ConfigError as error:
        if error.source.startswith(Layer.COMMAND_LINE.value):
            raise click.UsageError(str(error)) from None
        error.hint = "jux-server config shows all that is wrong."
        raise


def _flag_of(option: Option) -> Callable[..., Any]:
    text = f"{option.help}{_default(option)}"
    if option.type == "bool":
        flag = option.flag.removeprefix("--")
        return click.option(f"--{flag}/--no-{flag}", option.name, default=None, help=text)
    metavar = option.metavar or "|".join(option.choices) or {"size": "SIZE", "path": "FILE"}.get(option.type)
    is_list = option.type == "list"
    complete = _completion.files if option.type == "path" else None
    return click.option(
        option.flag,
        option.name,
        metavar=metavar or option.type.upper(),
        multiple=is_list,
        help=text + (" (repeatable)." if is_list else "."),
        shell_complete=complete,
    )


def _default(option: Option) -> str:
    if option.default is None or option.default == ():
        return ""
    if option.type == "size" and isinstance(option.default, int):
        from pytest_jux.text import show_size

        return f" [default: {show_size(option.default)}]"
    return f" [default: {str(option.default).lower() if option.type == 'bool' else option.default}]"


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
