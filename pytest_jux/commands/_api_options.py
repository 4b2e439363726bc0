"""The options by which a command reaches the API, and the configuration that they are part of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pytest_jux.commands import _cli, _completion

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_jux.config import Settings

# Flag, option of the configuration, metavar, completion, help.
_FILE, _NAME = _completion.files, _completion.variables
_OPTIONS: tuple[tuple[str, str, str, Any, str], ...] = (
    ("--api-url", "jux_api_url", "URL", None, "The API's whole address."),
    ("--api-key", "jux_api_key", "KEY", None, "The API key; others can see it in the list of processes."),
    ("--api-key-env", "jux_api_key_env", "NAME", _NAME, "Variable that holds the API key."),
    ("--api-key-file", "jux_api_key_file", "FILE", _FILE, "File whose first line is the API key."),
    ("--auth", "jux_api_auth", "", None, "How the key is sent."),
    ("--deadline", "jux_publish_deadline", "SECONDS", None, "Time for each report, retries included [default: 120]."),
    ("--retries", "jux_api_retries", "N", None, "How often to repeat what failed for reasons that may pass."),
    ("--connect-timeout", "jux_api_connect_timeout", "SECONDS", None, "Time to wait for a connection."),
    ("--read-timeout", "jux_api_read_timeout", "SECONDS", None, "Time to wait for the next part of an answer."),
    ("--ca", "jux_api_ca", "FILE", _FILE, "Certificate of a further authority to trust."),
    ("--client-cert", "jux_api_client_cert", "FILE", _FILE, "Client certificate, if the server wants one."),
    ("--client-key", "jux_api_client_key", "FILE", _FILE, "Its private key, if in another file."),
)
_FLAGS = {name: flag for flag, name, *_ in _OPTIONS}
_AUTH = ("api-key", "bearer", "basic")


def api_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--api-url`, `--api-key` and the like; the command gets them under the names of the configuration."""
    for flag, name, metavar, completion, text in reversed(_OPTIONS):
        kind = click.Choice(_AUTH) if flag == "--auth" else None
        option = click.option(
            flag, name, type=kind, metavar=metavar or None, shell_complete=completion, help=f"{text} [{name}]"
        )
        command = option(command)
    return command


def load_api_settings(given: Mapping[str, Any]) -> Settings:
    """Return the configuration with what was given on the command line; says its warnings on standard error.

    Raises ConfigError, and a usage error for a flag with an empty value, such as that of an unset variable.
    """
    from pytest_jux.config import Layer, load
    from pytest_jux.errors import ConfigError

    for name, value in given.items():
        if value == "":
            raise click.UsageError(f"{_FLAGS[name]}: the value is empty (an unset variable?)")
    try:
        settings = load(command_line=dict(given), flags=_FLAGS)
    except ConfigError as error:
        if not error.source.startswith(Layer.COMMAND_LINE.value):
            raise
        raise click.UsageError(f"{error.source.rpartition(' ')[2]}: {error.reason}") from None
    for warning in settings.warnings:
        _cli.say(f"warning: {warning}")
    return settings
