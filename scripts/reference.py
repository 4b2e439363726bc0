"""Write docs/commands.md and docs/configuration.md from the code, or, with --check, say whether they are up to date."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pytest_jux.commands import command as umbrella
from pytest_jux.config import OPTIONS, Option
from pytest_jux.text import show_size

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 100


COMMANDS = """\
# Commands

`jux` has every command: `jux verify` is `jux-verify`. `-` stands for standard input or output. Results go to standard
output, everything else to standard error. Colours are used on a terminal only; `NO_COLOR` and `FORCE_COLOR` are obeyed.
`JUX_DEBUG=1` shows a traceback for an error.

| exit code | meaning |
|---|---|
| 0 | done; for `jux-verify`: every report is valid |
| 1 | failed; for `jux-verify`: at least one report is not valid |
| 2 | `jux-publish` alone: the server has a report already |
| 64 | usage error |
| 130 | interrupted |
"""

CONFIGURATION = """\
# Configuration

A setting is looked for in these places; the first that has it wins:

1. the command line (`--jux-sign`; for pytest also `-o jux_sign=true`)
2. the environment (`JUX_SIGN=true`)
3. the project: `.jux.conf` here or in a directory above, up to the root of the project; then pytest's own file,
   whichever pytest uses: `pytest.ini`, `pytest.toml`, `pyproject.toml`, `tox.ini` or `setup.cfg`
4. the user: `~/.jux/config`
5. the system: `/etc/jux/config`
6. the default

`.jux.conf` and the `config` files have one section, `[jux]`, in which names have no prefix (`sign = true`; with prefix
works, too). In pytest's files they have it (`jux_sign = true`). A trailing ` # comment` is not part of a value. `~` and
`$VARIABLE` are expanded in paths; a relative path is relative to the file that it is written in.

An explicit `--jux-sign` on the command line enables the plugin by itself. In files and in the environment `jux_enabled`
is needed, too. `--no-jux-enabled` switches the plugin off, whatever else is set.

A size is a number of bytes or has a unit: `500 MB`, `1.5 GiB`. A list (`jux_metadata_env`, `jux_metadata_exclude`) is
separated by blanks, commas or new lines; pairs (`jux_metadata_extra = team=payments, tier=3`) by commas or new lines.
Metadata fields are named as in the report, with or without `jux:` (`hostname`, `username`, `git`, `git:remote`,
`env:CI_*`).

With `jux_publish = true`, signed reports go to `jux_api_url`. `jux_storage_mode` is `both` then, unless it is set: the
report is stored, too. In `cache` a server that is away is no error, in `api` a report is only kept while it waits, and
`local` publishes nothing ([publishing.md](publishing.md)).

| setting | type | default | command line | environment | meaning |
|---|---|---|---|---|---|
"""


def commands() -> str:
    """Return the reference of the commands: their help, word for word."""
    parts = [COMMANDS]
    context = click.Context(umbrella)
    for name in umbrella.list_commands(context):
        command = umbrella.get_command(context, name)
        if command is None:
            raise LookupError(name)
        parts += _sections(command, "jux completion" if name == "completion" else f"jux-{name}")
    return "\n".join(parts)


def _sections(command: click.Command, name: str, parent: click.Context | None = None) -> Iterator[str]:
    """Give the help of a command and then, if it is a group, of each of its subcommands."""
    settings = {**command.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    shown = click.Context(command, parent, info_name=name, **settings)
    yield f"## {shown.command_path}\n\n```text\n{command.get_help(shown).rstrip()}\n```\n"
    if isinstance(command, click.Group):
        for subname in command.list_commands(shown):
            subcommand = command.get_command(shown, subname)
            if subcommand is not None:
                yield from _sections(subcommand, subname, shown)


def configuration() -> str:
    """Return the reference of the settings: the option table."""
    return CONFIGURATION + "".join(f"| {' | '.join(_row(option))} |\n" for option in OPTIONS.values())


def _row(option: Option) -> list[str]:
    kind = " \\| ".join(f"`{choice}`" for choice in option.choices) or option.type
    default = str(option.default).lower() if option.default not in {None, ()} else ""
    if option.type == "size" and isinstance(option.default, int):
        default = show_size(option.default)
    flag = f"`{option.flag}`"
    needs = f"; needs {', '.join(f'`{name}`' for name in option.requires)}" if option.requires else ""
    meaning = option.help.replace("|", "\\|") + needs
    return [f"`{option.name}`", kind, default, flag, f"`{option.variable}`", meaning]


PAGES = {"docs/commands.md": commands, "docs/configuration.md": configuration}


def main() -> int:
    """Write the pages; with --check, change nothing and return 1 if one is out of date."""
    stale = 0
    for name, page in PAGES.items():
        path = ROOT / name
        if "--check" in sys.argv[1:]:
            if not path.is_file() or path.read_text(encoding="utf-8") != page():
                print(f"{name} is out of date; run: make docs")
                stale = 1
        else:
            path.write_text(page(), encoding="utf-8", newline="\n")
    return stale


if __name__ == "__main__":
    sys.exit(main())
