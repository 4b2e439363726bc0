"""What each place says, for people and programs: one option in every layer, and every file with what it sets.

Nothing here prints, and no secret gets into what it returns.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_jux.config_display import setting_data, setting_text
from pytest_jux.config_sources import SECTION, Layer, Places, read_text
from pytest_jux.config_values import safe_value
from pytest_jux.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path

    from pytest_jux.config import Setting, Settings
    from pytest_jux.options import Option

_WIDEST_VALUE = 30
_LEVELS = {
    Layer.PROJECT: "project-level",
    Layer.PROJECT_PYTEST: "project-level",
    Layer.USER: "user-level",
    Layer.SYSTEM: "system-level",
}


# --- one option in every layer ---------------------------------------------------------------------------------------


class _LayerView(NamedTuple):
    layer: Layer
    place: str  # what is looked at, "" where the layer's name says it
    file: Path | None
    found: bool
    said: tuple[Setting, ...]
    counts: bool
    wrong: list[str]


def _views(settings: Settings, option: Option, errors: Iterable[ConfigError], places: Places) -> Iterator[_LayerView]:
    files = {file.layer: file for file in settings.files}
    counted = False
    for layer, said in settings.layers(option.name).items():
        file = files.get(layer)
        place = option.variable if layer is Layer.ENVIRONMENT else places.label(file.path) if file else ""
        origins = {f"{layer.value} {option.variable}"} if layer is Layer.ENVIRONMENT else {layer.value, place}
        wrong = [error.reason for error in errors if _is_about(error, option) and _place_of(error) in origins]
        wrong += [
            problem.message
            for problem in settings.warnings
            if problem.origin.layer is layer and problem.message.startswith(f"{option.name} has ")
        ]
        counts = bool(said) and not counted
        counted = counted or counts
        yield _LayerView(layer, place, file.path if file else None, bool(file and file.found), said, counts, wrong)


def _place_of(error: ConfigError) -> str:
    if error.source.startswith(Layer.COMMAND_LINE.value):
        return Layer.COMMAND_LINE.value
    return re.sub(r":\d+$", "", error.source)


def _is_about(error: ConfigError, option: Option) -> bool:
    """Tell an unreadable file, which concerns every option, from another option's bad value."""
    return " has invalid value " not in error.reason or error.reason.startswith(f"{option.name} has ")


def layer_data(
    settings: Settings, option: Option, errors: Iterable[ConfigError], places: Places
) -> list[dict[str, Any]]:
    """Return what each layer says of an option, highest first."""
    return [
        {
            "layer": view.layer.name.lower(),
            "counts": view.counts,
            "file": None if view.file is None else str(view.file),
            "exists": None if view.file is None else view.found,
            "says": [setting_data(setting, shadowed=False) for setting in view.said],
            "errors": view.wrong,
        }
        for view in _views(settings, option, errors, places)
    ]


def layer_lines(
    settings: Settings, option: Option, errors: Collection[ConfigError], places: Places
) -> Iterator[tuple[bool, str]]:
    """Give what each layer says of an option, highest first, each line with whether it is the one that counts."""
    rows: list[tuple[bool, str, str, str]] = []
    for view in _views(settings, option, errors, places):
        place = view.place
        if view.layer is Layer.ENVIRONMENT:
            place += ", not set"
        elif view.file is not None and not view.found:
            place += ", not found"
        for index, setting in enumerate(view.said):
            where = "" if view.layer is Layer.DEFAULT else str(setting.origin)
            rows.append((view.counts and index == 0, view.layer.value, setting_text(setting, places.home), where))
        rows += [(False, view.layer.value, "invalid", reason) for reason in view.wrong]
        if not view.said and not view.wrong:
            rows.append((False, view.layer.value, "-", place))
    wide = max(len(name) for _, name, _, _ in rows)
    values = max((len(value) for _, _, value, _ in rows if len(value) <= _WIDEST_VALUE), default=0)
    for counts, name, value, place in rows:
        yield counts, f"{name:{wide}}  {value:{values}}  {f'({place})' if place else ''}".rstrip()


# --- files -----------------------------------------------------------------------------------------------------------


class FileView(NamedTuple):
    """A file that is looked for: `level` is `user-level` or the like, `sections` hold the lines that set our options.

    `label` is its name as people would write it.
    """

    label: str
    path: Path
    level: str
    found: bool
    sections: dict[str, list[str]]


def file_views(settings: Settings, places: Places) -> Iterator[FileView]:
    """Give the files of all layers, highest first, with what each says of our options and nothing else."""
    for file in reversed(settings.files):
        sections: dict[str, list[str]] = {}
        is_ours = file.layer is not Layer.PROJECT_PYTEST
        written = settings.written_in(file.path)
        text = _lines_of(file.path) if written and file.path.suffix == ".toml" and not is_ours else []
        for setting in written:
            section = f"[{SECTION}]" if is_ours else _section(file.path, setting.origin.line, text)
            name = setting.option.short_name if is_ours else setting.option.name
            sections.setdefault(section, []).append(f"{name} ={_raw(setting)}")
        yield FileView(places.label(file.path), file.path, _LEVELS[file.layer], file.found, sections)


def _raw(setting: Setting) -> str:
    text = safe_value(setting.option, str(setting.raw))
    return "".join(f"\n    {line}" for line in text.split("\n")) if "\n" in text else f" {text}"


def _section(path: Path, line: int | None, text: list[str]) -> str:
    if path.suffix == ".cfg":
        return "[tool:pytest]"
    for above in reversed(text[: line or 0]):
        if header := re.match(r"\s*(\[[^\[\]]+\])", above):
            return header[1]
    return "[tool.pytest.ini_options]" if path.name == "pyproject.toml" else "[pytest]"


def _lines_of(path: Path) -> list[str]:
    try:
        return read_text(path, path.name).split("\n")
    except ConfigError:  # it has changed since
        return []
