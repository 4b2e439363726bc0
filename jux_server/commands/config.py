"""jux-server config: what every setting is, and where it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from jux_server.commands import configured_by, json_option
from pytest_jux.commands import _cli, _completion

if TYPE_CHECKING:
    from pytest_jux.errors import ConfigError

_LAYERS = {"project": "config_file"}  # what `--config` names is our third file


@click.command("config", context_settings=_cli.CONTEXT)
@click.option(
    "--config", "config_file", metavar="FILE", shell_complete=_completion.files, help="Read this file of settings, too."
)
@click.option("--all", "everything", is_flag=True, help="Show what each value overrides, and the files looked for.")
@json_option
def config(config_file: str | None, everything: bool, as_json: bool) -> int:
    """Show every setting, and where it comes from.

    The layers, lowest first: defaults, /etc/jux/server, ~/.jux/server, the file of --config, JUX_SERVER_... variables,
    and the command line. Files have a section [jux-server] with lines such as port = 8080. Passwords are not shown.

    \b
    Examples:
      jux-server config
      jux-server config --all --config staging.conf
      jux-server config --json

    Exit codes: 0 shown, 1 something is wrong with the settings, 64 usage error.
    """
    from jux_server.settings_database import shown_setting
    from pytest_jux.config_display import setting_data, setting_lines

    errors: list[ConfigError] = []
    configured = configured_by({}, config_file, errors)
    said = [configured.settings.explain(name) for name in configured.settings]
    settings = [shown_setting(setting, setting.option.short_name) for setting in said]
    files = configured.settings.files
    if as_json:
        data = {setting.option.name: setting_data(setting, shadowed=everything) for setting in settings}
        for value in data.values():
            for one in (value, *value.get("shadowed", ())):
                one["layer"] = _LAYERS.get(one["layer"], one["layer"])
        _cli.show_json(data)
    else:
        if everything:
            found = [f"{file.path} ({'read' if file.found else 'not there'})" for file in files]
            _cli.show_lines(["Files, lowest first:", *(f"  {line}" for line in found), ""])
        _cli.show_lines(setting_lines(settings, _cli.terminal_width(), configured.places.home, shadowed=everything))
    for error in errors:
        _cli.say(f"✗ {error}")
    return _cli.FAILED if errors else 0
