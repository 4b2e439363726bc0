"""The subcommands of jux-config that show, make and check configuration files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from pytest_jux.commands import _cli, _completion
from pytest_jux.commands._config_loading import load_all, place_options, pytest_arguments

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pytest_jux.commands._config_loading import Loaded
    from pytest_jux.config import Problem
    from pytest_jux.config_views import FileView
    from pytest_jux.errors import ConfigError

_COLOURS = {"SECTION": "cyan", "NAME": "green", "COMMENT": "bright_black"}
_MADE = {"minimal": "", "full": " with all options", "ci": " for CI"}


@click.command("view", context_settings=_cli.CONTEXT)
@click.argument("file", required=False, shell_complete=_completion.files)
@click.option("--all", "everything", is_flag=True, help="Show all files and what they set [default without FILE].")
@place_options
@_cli.format_options
def view(file: str | None, everything: bool, config_file: str | None, rootdir: str | None, form: str) -> int:
    """Show one configuration file, or all of them in order of precedence, highest first.

    Of one file everything is shown, of all files only what sets options of pytest-jux.

    \b
    Examples:
      jux-config view ~/.jux/config
      jux-config view --all

    Exit codes: 0 shown, 1 a file cannot be read or used, 64 usage error.
    """
    if file is not None and everything:
        raise click.UsageError("--all shows all files; leave FILE out")
    loaded = load_all(config_file, rootdir, all_files=True)
    if file is not None:
        return _view_file(_cli.expand(file), file, loaded, form)
    from pytest_jux.config_views import file_views

    views = list(file_views(loaded.settings, loaded.places))
    if form != "text":
        _cli.show_data([{**view._asdict(), "path": str(view.path)} for view in views], form)
    else:
        _cli.show("Configuration files (in precedence order):")
        for number, each in enumerate(views, 1):
            _show_view(number, each)
    return loaded.complain()


def _show_view(number: int, view: FileView) -> None:
    _cli.show("")
    state, colour = ("✓ exists", "green") if view.found else ("✗ not found", None)
    _cli.show_pieces([(f"{number}. {view.label} ({view.level}) ", None), (state, colour)])
    for section, lines in view.sections.items():
        _show_source(section, "   ")
        for line in lines:
            for part in line.split("\n"):
                _show_source(part, "   ")


def _show_source(line: str, margin: str = "") -> None:
    from pytest_jux.config_text import pieces

    _cli.show_pieces([(margin, None), *((piece.text, _COLOURS.get(piece.role.name)) for piece in pieces(line))])


def _view_file(path: Path, name: str, loaded: Loaded, form: str) -> int:
    from pytest_jux.config_sources import read_text
    from pytest_jux.config_text import is_config_name, known_secrets, masked
    from pytest_jux.errors import FileProblem

    is_used = any(_is_same(path, file.path) for file in loaded.settings.files)
    if os.path.exists(path) and not is_used and not is_config_name(path):  # noqa: PTH110 - Path.exists may raise
        error = FileProblem(name, "show", "it is not a configuration file of pytest-jux or pytest")
        error.hint = "jux-config view --all shows the files that are read here."
        raise error
    text = read_text(path, name)
    text = masked(text, is_toml=path.suffix == ".toml", secrets=known_secrets(loaded.settings))
    if form == "text":
        for line in text.removesuffix("\n").split("\n"):
            _show_source(line.expandtabs())
    else:
        _cli.show_data({"file": str(path), "used": is_used, "text": text}, form)
    if not is_used:
        _cli.say(f"⚠ {name} is not read here; jux-config view --all shows the files that are")
        return 0
    label = loaded.places.label(path.absolute())
    about = [error for error in loaded.errors if error.source == label or error.source.startswith(f"{label}:")]
    return loaded._replace(errors=about).complain(warnings=False)


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False


@click.command("init", context_settings=_cli.CONTEXT)
@click.option(
    "--path",
    metavar="FILE",
    shell_complete=_completion.files,
    help="Where to write it; - is standard output [default: ~/.jux/config].",
)
@click.option(
    "--template",
    "kind",
    type=click.Choice(["minimal", "full", "ci"]),
    default="minimal",
    show_default=True,
    help="What is in it: the most needed options, all of them, or those for a CI job.",
)
@click.option("--force", is_flag=True, help="Replace an existing file.")
@click.option("--json", "as_json", is_flag=True, help="Print what was made as JSON.")
def init(path: str | None, kind: str, force: bool, as_json: bool) -> None:
    """Make a configuration file to begin with, readable by you alone.

    Every setting in it is commented out, so that it changes nothing until you uncomment one.

    \b
    Examples:
      jux-config init
      jux-config init --path .jux.conf --template full

    Exit codes: 0 made, 1 failed, 64 usage error.
    """
    from pytest_jux.config_templates import create, template

    if path == "-":
        if as_json:
            raise click.UsageError("--path - prints the file itself; leave --json out")
        _cli.write_output(template(kind).encode())
        return
    shown = "~/.jux/config" if path is None else path
    target = _cli.expand(shown)
    create(target, kind, overwrite=force)
    if as_json:
        _cli.show_json({"file": str(target.absolute()), "template": kind})
    else:
        _cli.show(f"Created configuration file{_MADE[kind]}: {shown}")
    if target.name not in {".jux.conf", "config"}:
        _cli.say(f"⚠ pytest-jux reads ~/.jux/config and .jux.conf, and not {shown}, unless you rename it")


@click.command("validate", context_settings=_cli.CONTEXT)
@place_options
@click.option("--strict", is_flag=True, help="Warn of settings that will not work together or name missing files.")
@click.option("--strict-exit", is_flag=True, help="As --strict, and exit with 1 if there is a warning.")
@_cli.format_options
@pytest_arguments
def validate(
    config_file: str | None,
    rootdir: str | None,
    strict: bool,
    strict_exit: bool,
    form: str,
    pytest_arguments: tuple[str, ...],
) -> int:
    """Check every file, variable and value.

    \b
    Examples:
      jux-config validate && pytest
      jux-config validate --strict
      jux-config validate --strict-exit --json

    Exit codes: 0 valid, 1 an error (with --strict-exit: or a warning), 64 usage error.
    """
    from pytest_jux.config import ERRORS, check, examine
    from pytest_jux.config_display import problem_data

    loaded = load_all(config_file, rootdir, pytest_arguments)
    is_strict = strict or strict_exit
    found = [*loaded.settings.warnings]  # and at least what pytest would not start with
    found += examine(loaded.settings, os.environ) if is_strict else check(loaded.settings)
    warnings = [problem for problem in found if problem.kind not in ERRORS]
    errors: list[Problem | ConfigError] = [problem for problem in found if problem.kind in ERRORS]
    errors += loaded.errors
    if form != "text":
        data = {"valid": not errors, "errors": [*map(problem_data, errors)], "warnings": [*map(problem_data, warnings)]}
        _cli.show_data(data, form)
    else:
        _show_problems(warnings, errors)
    return _cli.FAILED if errors or (strict_exit and warnings) else 0


def _show_problems(warnings: Iterable[Problem], errors: Iterable[Problem | ConfigError]) -> None:
    from pytest_jux.config_display import problem_data

    for mark, problems, colour in (("⚠ Warning", warnings, "yellow"), ("✗ Error", errors, "red")):
        for problem in problems:
            data = problem_data(problem)
            _cli.show(f"{mark}: {data['message']}", colour)
            _cli.show(f"    {data['source']}")
    if not errors:
        words = "Configuration has warnings but is valid" if warnings else "✓ Configuration is valid"
        _cli.show(words, None if warnings else "green")
