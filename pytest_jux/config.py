"""One option table, and from it everything else: discovery, precedence, and where each value comes from.

The plugin imports this module in every pytest run, also where it is disabled, so the import costs next to nothing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pytest_jux.config_sources import (
    ORDER,
    SYSTEM_FILE,
    ConfigFile,
    Entry,
    Layer,
    Origin,
    Places,
    Problem,
    PytestSource,
    Sources,
    find_pytest_source,
)
from pytest_jux.config_values import MASK, InvalidValue, Secret, text_of, value_of
from pytest_jux.errors import ConfigError
from pytest_jux.options import OPTIONS, PREFIX, Option, given

__all__ = [
    "CONFIG_SCHEMA",
    "MASK",
    "OPTIONS",
    "ORDER",
    "SYSTEM_FILE",
    "ConfigFile",
    "Layer",
    "Option",
    "Origin",
    "Problem",
    "PytestSource",
    "Secret",
    "Setting",
    "Settings",
    "check",
    "given",
    "is_enabled",
    "load",
    "suggest",
]

#: The table as plain data: name -> type, default, description and, where there are any, choices and requires.
CONFIG_SCHEMA: dict[str, dict[str, Any]] = {
    option.name: {"type": option.type, "default": option.default, "description": option.help}
    | ({"choices": list(option.choices)} if option.choices else {})
    | ({"requires": list(option.requires)} if option.requires else {})
    for option in OPTIONS.values()
}


# --- settings --------------------------------------------------------------------------------------------------------


class Setting(NamedTuple):
    """The value of one option, where it comes from and as what it was written there.

    `shadowed` are the settings of the layers below that it hides, highest first; the last of them is the default.
    """

    option: Option
    value: Any
    origin: Origin = Origin(Layer.DEFAULT)
    raw: str | Secret = ""
    shadowed: tuple[Setting, ...] = ()

    @property
    def shown(self) -> bool | float | str | list[str] | None:
        """The value as JSON has it, a secret masked."""
        if isinstance(self.value, tuple):
            return ["=".join(item) if isinstance(item, tuple) else item for item in self.value]
        return str(self.value) if isinstance(self.value, (Path, Secret)) else self.value

    def __str__(self) -> str:
        shown = self.shown
        text = ", ".join(shown) if isinstance(shown, list) else "<not set>" if shown is None else str(shown)
        text = text.lower() if isinstance(shown, bool) else text
        return f"{self.option.name} = {text} ({self.origin})"


@dataclass(frozen=True, eq=False, repr=False)
class Settings(Mapping[str, Any]):
    """What every option is set to: `settings["jux_sign"]`; iterates over the names.

    `warnings` are things the user should know; `files` are the files looked for, in order of precedence, lowest first.
    """

    _by_name: Mapping[str, Setting]
    warnings: tuple[Problem, ...] = ()
    files: tuple[ConfigFile, ...] = ()

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - the table says which type
        return self._by_name[name].value

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def __repr__(self) -> str:
        changed = (str(setting) for setting in self._by_name.values() if setting.origin.layer is not Layer.DEFAULT)
        return f"<Settings {'; '.join(changed)}>"

    def explain(self, name: str) -> Setting:
        """Return the value with its origin and what it shadows."""
        return self._by_name[name]


# --- layers ----------------------------------------------------------------------------------------------------------


def load(
    *,
    start: Path | None = None,
    command_line: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    pytest_source: PytestSource | None = None,
    home: Path | None = None,
    system_file: Path = SYSTEM_FILE,
    flags: Mapping[str, str] | None = None,
    errors: list[ConfigError] | None = None,
) -> Settings:
    """Read every layer and merge them.

    `start` is the working directory; `command_line` maps option names to what was given, None where nothing was, and
    `flags` to the caller's spelling where it is not the plugin's. Without `pytest_source` (a stand-alone command)
    pytest's file is found as pytest finds it.

    Raises `ConfigError` for a file that cannot be read and for a bad value that counts. A list given as `errors` takes
    all of them instead, and such a file or value says nothing.
    """
    raised: list[ConfigError] = []
    places = _places(start, environ, home, system_file)
    source = pytest_source
    if source is None:
        try:
            source = find_pytest_source(places)
        except ConfigError as error:
            raised.append(error)
    origins = _sources(places, source, command_line, flags)
    entries: list[Entry] = []
    warnings: list[Problem] = []
    for layer in ORDER:
        try:
            written, problems = origins.read(layer)
        except ConfigError as error:
            raised.append(error)
        else:
            entries += written
            warnings += problems
    settings = {}
    for name, option in OPTIONS.items():
        settings[name], wrong, hidden = _merge(option, (entry for entry in entries if entry.key == name), places)
        raised += wrong
        warnings += hidden
    if errors is not None:
        errors += raised
    elif raised:
        raise raised[0]
    warnings += _unknown(entry for entry in entries if entry.key not in OPTIONS)
    warnings += [problem for setting in settings.values() for problem in _concerns(setting)]
    return Settings(settings, tuple(warnings), origins.files())


def is_enabled(
    *,
    start: Path | None = None,
    command_line: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    pytest_source: PytestSource | None = None,
    home: Path | None = None,
    system_file: Path = SYSTEM_FILE,
) -> bool:
    """Tell whether the plugin is switched on, as `load(...)["jux_enabled"]` does where nothing is wrong.

    Opens nothing but `[jux]` files, and those only while no higher layer has said it. Never raises and never warns:
    what cannot be read or understood says nothing.
    """
    try:
        places = _places(start, environ, home, system_file)
    except ConfigError:
        return False
    origins = _sources(places, pytest_source, command_line, None)
    option = OPTIONS["jux_enabled"]
    for layer in reversed(ORDER):
        try:
            entries, _ = origins.read(layer, lines=False)
        except ConfigError:
            continue
        setting, _, _ = _merge(option, (entry for entry in entries if entry.key == option.name), places)
        if setting.origin.layer is layer and layer is not Layer.DEFAULT:
            return bool(setting.value)
    return False


def check(settings: Settings) -> list[Problem]:
    """List the options that are on without something they require; each problem points to where the option was set."""
    return [
        Problem("missing", settings.explain(name).origin, f"{name} enabled but {needed} not set")
        for name, option in OPTIONS.items()
        if option.plugin and settings[name] is True
        for needed in option.requires
        if not settings[needed]
    ]


def suggest(name: str) -> str:
    """Return the option that a mistaken name is close to, or ""; flags' spellings such as `jux_key` count."""
    from difflib import get_close_matches  # noqa: PLC0415 - rarely needed

    known = {spelling.removeprefix(PREFIX): option.name for option in OPTIONS.values() for spelling in option.spellings}
    near = get_close_matches(name.lower().replace("-", "_").removeprefix(PREFIX), known, n=1, cutoff=0.75)
    return known[near[0]] if near else ""


def _places(start: Path | None, environ: Mapping[str, str] | None, home: Path | None, system_file: Path) -> Places:
    try:
        start = Path(os.path.abspath(start or Path.cwd()))  # noqa: PTH100 - links stay as the user wrote them
    except OSError as error:
        raise ConfigError("working directory", f"cannot be used: {error.strerror}") from None
    if home is None:
        try:
            home = Path.home()
        except RuntimeError:  # no HOME and no entry in the password database
            home = None
    return Places(start, home, os.environ if environ is None else environ, system_file)


def _sources(
    places: Places,
    source: PytestSource | None,
    command_line: Mapping[str, object] | None,
    flags: Mapping[str, str] | None,
) -> Sources:
    spelled = {name: option.flag for name, option in OPTIONS.items()} | dict(flags or {})
    enabling = tuple(name for name, option in OPTIONS.items() if option.enables)
    return Sources(places, source or PytestSource(), command_line or {}, spelled, enabling)


def _merge(
    option: Option, entries: Iterable[Entry], places: Places
) -> tuple[Setting, list[ConfigError], list[Problem]]:
    """Let the highest entry win; give with it the errors in what counts, and those in what it shadows."""
    settings = [Setting(option, option.default)]
    wrong: list[tuple[Origin, str]] = []
    hidden: list[Problem] = []
    for entry in entries:
        text = ""
        try:
            text = text_of(option, entry.raw)
            if not text and entry.origin.layer is not Layer.COMMAND_LINE:
                continue  # an empty value means "not set here", except after a flag
            value = value_of(option, text, entry.base, places)
        except InvalidValue as invalid:
            shown = MASK if option.secret else repr(text or entry.raw)
            wrong.append((entry.origin, f"{option.name} has invalid value {shown} (expected: {invalid})"))
        else:
            settings.append(Setting(option, value, entry.origin, Secret(text) if option.secret else text))
            hidden += [
                Problem("shadowed-error", origin, f"{reason}; {entry.origin} counts") for origin, reason in wrong
            ]
            wrong = []
    *lower, top = settings
    errors = [ConfigError(str(origin), reason) for origin, reason in reversed(wrong)]
    return top._replace(shadowed=tuple(reversed(lower))), errors, hidden


def _unknown(entries: Iterable[Entry]) -> Iterator[Problem]:
    for entry in entries:
        layer = entry.origin.layer
        near = suggest(entry.key)
        if near or layer is not Layer.ENVIRONMENT:  # other programs may have JUX_ variables of their own
            hint = f", did you mean {_spelled(near, layer)}?" if near else ""
            yield Problem("unknown-key", entry.origin, f"unknown option {_spelled(entry.key, layer)}{hint}")


def _spelled(name: str, layer: Layer) -> str:
    if layer is Layer.ENVIRONMENT:
        return name.upper()
    return name.removeprefix(PREFIX) if layer in (Layer.SYSTEM, Layer.USER, Layer.PROJECT) else name


def _concerns(setting: Setting) -> Iterator[Problem]:
    """Give what is dubious about a setting though it is valid."""
    option = setting.option
    if option.secret:
        for place in (setting, *setting.shadowed):
            if place.origin.path is not None and _is_exposed(place.origin.path):
                yield Problem("exposed-secret", place.origin, f"holds {option.name}, and other users can read the file")
    if option.secret_file and setting.value is not None and _is_exposed(setting.value):
        text = f"{option.name} names a file that other users can read: {setting.value}"
        yield Problem("exposed-secret", setting.origin, text)
    if option.type == "bool" and setting.value and not option.plugin:
        yield Problem("no-effect", setting.origin, f"this version of pytest-jux does not act on {option.name}")


def _is_exposed(path: Path) -> bool:
    try:
        return os.name == "posix" and bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
    except OSError:
        return False
