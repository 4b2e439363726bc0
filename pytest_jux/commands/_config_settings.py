"""The subcommands of jux-config that tell what options there are and what they are set to."""

from __future__ import annotations

import click

from pytest_jux.commands import _cli, _completion
from pytest_jux.commands._config_loading import load_all, option_of, place_options, pytest_arguments


@click.command("list", context_settings=_cli.CONTEXT)
@click.option("-v", "--verbose", is_flag=True, help="Show the names in files, environment and command line, too.")
@_cli.format_options
def list_options(form: str, verbose: bool) -> None:
    """List every option with type, description and default.

    \b
    Examples:
      jux-config list
      jux-config list --verbose
      jux-config list --format yaml

    JSON and YAML have everything: choices, environment variable, name in each kind of file, what it needs.
    """
    from pytest_jux.config_display import option_data, option_lines
    from pytest_jux.options import OPTIONS

    if form != "text":
        _cli.show_data({name: option_data(option) for name, option in OPTIONS.items()}, form)
        return
    width = _cli.terminal_width()
    lines = [line for option in OPTIONS.values() for line in option_lines(option, width, names=verbose)]
    _cli.show_lines(lines)


@click.command("dump", context_settings=_cli.CONTEXT)
@place_options
@click.option("--changed-only", is_flag=True, help="Leave out what is at its default.")
@click.option(
    "--all", "--sources", "everything", is_flag=True, help="Show what each value overrides; in JSON and YAML, sources."
)
@_cli.format_options
@pytest_arguments
def dump(
    config_file: str | None,
    rootdir: str | None,
    changed_only: bool,
    everything: bool,
    form: str,
    pytest_arguments: tuple[str, ...],
) -> int:
    """Show what every option is set to, and where.

    It is what pytest would use when started here, with the same -c, --rootdir and other arguments.

    \b
    Examples:
      jux-config dump
      jux-config dump --changed-only --all
      jux-config dump --format json
      jux-config dump -- --jux-sign tests/unit

    What is wrong with the configuration is said on standard error; what can be read is shown all the same.

    Exit codes: 0 done, 1 something is wrong with the configuration, 64 usage error.
    """
    from pytest_jux.config_display import is_changed, setting_data, setting_lines

    loaded = load_all(config_file, rootdir, pytest_arguments)
    shown = [loaded.settings.explain(name) for name in loaded.settings]
    shown = [setting for setting in shown if is_changed(setting) or not changed_only]
    if form != "text":
        data = {setting.option.name: setting_data(setting) if everything else setting.shown for setting in shown}
        _cli.show_data(data, form)
    elif not shown:
        said = "What can be read sets nothing." if loaded.errors else "Nothing is set: every option is at its default."
        _cli.show(said)
    else:
        lines = setting_lines(shown, _cli.terminal_width(), loaded.places.home, shadowed=everything)
        _cli.show_lines(["Configuration from multiple sources:", "", *lines])
    return loaded.complain()


@click.command("get", context_settings=_cli.CONTEXT)
@click.argument("key", shell_complete=_completion.settings)
@place_options
@_cli.format_options
@pytest_arguments
def get(key: str, config_file: str | None, rootdir: str | None, form: str, pytest_arguments: tuple[str, ...]) -> int:
    """Print the value of one option and nothing else; a list has one item in each line.

    KEY is the option's name with or without jux_. Where it is not set and has no default, nothing is printed and the
    exit code is 1, as with git config --get.

    \b
    Examples:
      jux-config get storage_mode
      jux-config get jux_key_path --json

    Exit codes: 0 printed, 1 not set or something is wrong with the configuration, 64 usage error, such as an unknown
    option.
    """
    from pytest_jux.config_display import is_set

    option = option_of(key)
    loaded = load_all(config_file, rootdir, pytest_arguments)
    if loaded.errors:  # a script must not go on with a value that pytest would refuse
        return loaded.complain(warnings=False)
    setting = loaded.settings.explain(option.name)
    value = setting.shown
    if form != "text":
        _cli.show_data(value, form)
    elif is_set(setting):
        for item in value if isinstance(value, list) else [value]:
            _cli.show(str(item).lower() if isinstance(item, bool) else str(item))
    return 0 if is_set(setting) else _cli.FAILED


@click.command("explain", context_settings=_cli.CONTEXT)
@click.argument("key", shell_complete=_completion.settings)
@place_options
@_cli.format_options
@pytest_arguments
def explain(
    key: str, config_file: str | None, rootdir: str | None, form: str, pytest_arguments: tuple[str, ...]
) -> int:
    """Show what each layer says of one option, from the highest to the lowest, and which one counts.

    \b
    Examples:
      jux-config explain storage_mode
      jux-config explain jux_sign --json

    Exit codes: 0 shown, 1 something is wrong with the configuration, 64 usage error, such as an unknown option.
    """
    from pytest_jux.config_display import option_lines, setting_data
    from pytest_jux.config_views import layer_data, layer_lines

    option = option_of(key)
    loaded = load_all(config_file, rootdir, pytest_arguments)
    if form != "text":
        layers = layer_data(loaded.settings, option, loaded.errors, loaded.places)
        current = setting_data(loaded.settings.explain(option.name), shadowed=False)
        _cli.show_data({"name": option.name, **current, "layers": layers}, form)
        return loaded.complain(warnings=False)
    for line in option_lines(option, _cli.terminal_width()):
        _cli.show(line)
    _cli.show("")
    for counts, line in layer_lines(loaded.settings, option, loaded.errors, loaded.places):
        _cli.show(f"✓ {line}" if counts else f"  {line}", "green" if counts else None, bold=counts)
    return loaded.complain(warnings=False)
