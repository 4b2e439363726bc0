"""Options and settings for people and programs: lines of text, or values as JSON and YAML have them.

Nothing here prints, and no secret gets into what it returns.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_jux.config_sources import Layer
from pytest_jux.errors import ConfigError
from pytest_jux.options import OPTIONS
from pytest_jux.text import show_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_jux.config import Origin, Problem, Setting
    from pytest_jux.options import Option

NOT_SET = "<not set>"
_NAME_WIDTH = 20
_TYPE_WIDTH = 29  # with the name
_WIDEST_LEFT = 60
_NARROWEST = 60  # columns of a terminal; below, there is one column

# --- options ---------------------------------------------------------------------------------------------------------


def option_data(option: Option) -> dict[str, Any]:
    """Return everything that the table says of an option."""
    default = list(option.default) if isinstance(option.default, tuple) else option.default
    return {
        "type": option.type,
        "default": default,
        "choices": list(option.choices),
        "description": option.help,
        "expected": option.expected,
        "environment": option.variable,
        "ini": option.name,
        "key": option.short_name,
        "flag": option.flag,
        "requires": list(option.requires),
        "secret": option.secret,
    }


def option_lines(option: Option, width: int | None = None, *, names: bool = False) -> Iterator[str]:
    """Give the lines that describe an option, one if `width` allows; with `names`, another one of its other names."""
    left = f"{f'{option.name:{_NAME_WIDTH}} ({option.type})':{_TYPE_WIDTH}} "
    right = option.help + (f": {'|'.join(option.choices)}" if option.choices else "")
    right += f" [default: {_default(option)}]" if option.default not in {None, ()} else ""
    yield from _columns(left, right, width)
    if names:
        known = {"[jux]": option.short_name, "pytest's files": option.name, "environment": option.variable}
        known["command line"] = option.flag
        known |= {"needs": ", ".join(option.requires)} if option.requires else {}
        yield from _columns("    ", "; ".join(f"{place}: {name}" for place, name in known.items()), width)


def _default(option: Option) -> str:
    if option.type == "size" and isinstance(option.default, int):
        return show_size(option.default)
    return str(option.default).lower() if isinstance(option.default, bool) else str(option.default)


def _columns(left: str, right: str, width: int | None) -> list[str]:
    """Put `right` behind `left`, in several lines if need be, and below it where the terminal is narrow."""
    if width is None or len(left + right) <= width:
        return [left + right]
    from textwrap import wrap  # noqa: PLC0415 - for terminals alone

    if left.strip() and width < _NARROWEST:
        return [left.rstrip(), *wrap(right, max(width - 4, 16), initial_indent="    ", subsequent_indent="    ")]
    indent = " " * len(left)
    return wrap(right, max(width, 20), initial_indent=left, subsequent_indent=indent, break_on_hyphens=False)


# --- settings --------------------------------------------------------------------------------------------------------


def setting_text(setting: Setting, home: Path | None = None) -> str:
    """Return the value as people read it, without secrets; a path under `home` begins with `~`."""
    if isinstance(setting.value, Path) and home is not None and setting.value.is_relative_to(home):
        return str(Path("~", setting.value.relative_to(home)))
    value = setting.shown
    if isinstance(value, bool):
        return str(value).lower()
    text = ", ".join(value) if isinstance(value, list) else "" if value is None else str(value)
    return text or NOT_SET


def is_set(setting: Setting) -> bool:
    """Tell whether there is a value, be it a default."""
    return setting.value is not None and setting.value != ()


def is_changed(setting: Setting) -> bool:
    """Tell whether the value was given somewhere."""
    return setting.origin.layer is not Layer.DEFAULT


def setting_data(setting: Setting, *, shadowed: bool = True) -> dict[str, Any]:
    """Return the value with its source: in words, as a layer's name, and as file and line where it has them."""
    origin = setting.origin
    data = {
        "value": setting.shown,
        "source": str(origin),
        "layer": origin.layer.name.lower(),
        "file": None if origin.path is None else str(origin.path),
        "line": origin.line,
    }
    hidden = {"shadowed": [setting_data(lower, shadowed=False) for lower in setting.shadowed]}
    return data | (hidden if shadowed else {})


def setting_lines(
    settings: Sequence[Setting], width: int | None = None, home: Path | None = None, *, shadowed: bool = False
) -> Iterator[str]:
    """Give `name = value (source: where)` for each, the sources below each other; with `shadowed`, what they hide."""
    rows: list[tuple[str, Origin | None]] = []
    for setting in settings:
        said = is_set(setting) or is_changed(setting)
        rows.append((f"{setting.option.name} = {setting_text(setting, home)}", setting.origin if said else None))
        hidden = setting.shadowed if shadowed else ()
        rows += [(f"  overrides {setting_text(lower, home)}", lower.origin) for lower in hidden]
    lengths = [len(left) for left, origin in rows if origin is not None and len(left) <= _WIDEST_LEFT]
    column = max(lengths, default=0)
    for left, origin in rows:
        source = f"(source: {origin})" if origin is not None else ""
        line = f"{left:{column}} {source}".rstrip()
        if width is None or len(line) <= width or not source:
            yield line
        else:
            yield from (left, f"    {source}")


# --- problems --------------------------------------------------------------------------------------------------------


def problem_data(problem: Problem | ConfigError) -> dict[str, Any]:
    """Return what is wrong and where: in words, and as file and line where there are any."""
    if isinstance(problem, ConfigError):
        place = re.fullmatch(r"(.+?)(?::(\d+))?", problem.source)
        path = Path(os.path.abspath(os.path.expanduser(place[1]))) if place else None  # noqa: PTH100, PTH111 - no links followed, never raises
        exists = path is not None and os.path.lexists(path)
        return {
            "kind": "error",
            "message": problem.reason,
            "source": problem.source,
            "file": str(path) if exists else None,
            "line": int(place[2]) if exists and place and place[2] else None,
        }
    origin = problem.origin
    return {
        "kind": problem.kind,
        "message": problem.message,
        "source": str(origin),
        "file": None if origin.path is None else str(origin.path),
        "line": origin.line,
    }


def option_named(name: str) -> Option | None:
    """Return the option that a person means by `sign`, `jux_sign`, `JUX_SIGN` or `jux-sign`."""
    plain = name.strip().lower().replace("-", "_")
    return OPTIONS.get(plain) or OPTIONS.get(f"jux_{plain}")
