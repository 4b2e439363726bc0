"""One option table, and from it everything else: discovery, precedence, and where each value comes from.

The plugin imports this module in every pytest run, also where it is disabled, so the import costs next to nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pytest_jux.config_problems import check, concerns, examine, secret_variables, suggest, unknown_names, unpublished
from pytest_jux.config_sources import (
    ORDER,
    SYSTEM_FILE,
    ConfigFile,
    Entry,
    Layer,
    Origin,
    Places,
    Problem,
    Sources,
)
from pytest_jux.config_values import MASK, InvalidValue, Secret, safe_value, text_of, value_of
from pytest_jux.errors import ConfigError
from pytest_jux.options import OPTIONS, Option, given
from pytest_jux.pytest_files import PytestSource, find_pytest_source

__all__ = [
    "CONFIG_SCHEMA",
    "ERRORS",
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
    "examine",
    "given",
    "is_enabled",
    "load",
    "merge",
    "secret_variables",
    "suggest",
    "unpublished",
]

#: The table as plain data: name -> type, default, description and, where there are any, choices and requires.
CONFIG_SCHEMA: dict[str, dict[str, Any]] = {
    option.name: {"type": option.type, "default": option.default, "description": option.help}
    | ({"choices": list(option.choices)} if option.choices else {})
    | ({"requires": list(option.requires)} if option.requires else {})
    for option in OPTIONS.values()
}

_LONGEST_QUOTE = 200  # characters of a bad value in an error

#: Kinds of problems among `Settings.warnings` that a run puts up with, but that are mistakes to somebody who asks.
ERRORS = frozenset({"unknown-key", "unknown-section", "shadowed-error"})


# --- settings --------------------------------------------------------------------------------------------------------


class Setting(NamedTuple):
    """The value of one option, where it comes from and as what it was written there.

    `raw` is that text, a secret as a `Secret`, "" for a default. `shadowed` are the settings of the layers below that
    it hides, highest first; the last of them is the default.
    """

    option: Option
    value: Any
    origin: Origin = Origin(Layer.DEFAULT)
    raw: str | Secret = ""
    shadowed: tuple[Setting, ...] = ()

    @property
    def shown(self) -> bool | float | str | list[str] | None:
        """The value as JSON has it, whatever may be a secret in it masked."""
        if isinstance(self.value, tuple):
            items = ("=".join(item) if isinstance(item, tuple) else item for item in self.value)
            return [safe_value(self.option, item) for item in items]
        shown = str(self.value) if isinstance(self.value, (Path, Secret)) else self.value
        return safe_value(self.option, shown) if isinstance(shown, str) else shown

    @property
    def text(self) -> str:
        """The value as people read it, a secret masked."""
        shown = self.shown
        text = ", ".join(shown) if isinstance(shown, list) else "<not set>" if shown is None else str(shown)
        return text.lower() if isinstance(shown, bool) else text

    def __str__(self) -> str:
        return f"{self.option.name} = {self.text} ({self.origin})"

    def __repr__(self) -> str:
        return f"<Setting {self}>"


class Settings(Mapping[str, Any]):
    """What every option is set to: `settings["jux_sign"]`; iterates over the names. It cannot be changed.

    `warnings` are things the user should know; those of a kind in `ERRORS` are mistakes. `files` are the files looked
    for, in order of precedence, lowest first.
    """

    def __init__(
        self, by_name: Mapping[str, Setting], warnings: tuple[Problem, ...] = (), files: tuple[ConfigFile, ...] = ()
    ) -> None:
        self._by_name = by_name
        self._warnings = warnings
        self._files = files

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """Things the user should know."""
        return self._warnings

    @property
    def files(self) -> tuple[ConfigFile, ...]:
        """The files looked for, lowest first."""
        return self._files

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

    def layers(self, name: str) -> dict[Layer, tuple[Setting, ...]]:
        """Return what each layer says of an option, highest first, both the layers and within them; () if nothing.

        The first setting of all is the one that counts. What a layer says wrongly is not here, but in `warnings` or in
        the errors of `load`.
        """
        top = self._by_name[name]
        said: dict[Layer, tuple[Setting, ...]] = dict.fromkeys(reversed(ORDER), ())
        for setting in (top._replace(shadowed=()), *top.shadowed):
            said[setting.origin.layer] += (setting,)
        return said

    def written_in(self, path: Path) -> list[Setting]:
        """Return what a file sets, also what other layers hide, in the order of its lines."""
        settings = [setting for name in self for said in self.layers(name).values() for setting in said]
        mine = [setting for setting in settings if setting.origin.path == path]
        return sorted(mine, key=lambda setting: setting.origin.line or 0)


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
    pytest_arguments: Sequence[str] = (),
    all_files: bool = False,
) -> Settings:
    """Read every layer and merge them.

    `start` is the working directory; `command_line` maps option names to what was given, None where nothing was, and
    `flags` to the caller's spelling where it is not the plugin's.

    Without `pytest_source` (a stand-alone command) pytest's file is found as `pytest PYTEST_ARGUMENTS` finds it, with
    PYTEST_ADDOPTS and the file's `addopts`; the plugin's flags among all these count as command line. `all_files` asks
    pytest for its file also where none speaks of our options, which costs time and adds to `Settings.files` only.

    Raises `ConfigError` for a file that cannot be read and for a bad value that counts. A list given as `errors` takes
    all of them instead, and such a file or value says nothing.
    """
    raised: list[ConfigError] = []
    places = _places(start, environ, home, system_file)
    source = pytest_source
    if source is None:
        try:
            source = find_pytest_source(places, pytest_arguments, mentioned_only=not all_files)
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
        settings[name], wrong, hidden = merge(option, (entry for entry in entries if entry.key == name), places)
        raised += wrong
        warnings += hidden
    if errors is not None:
        errors += raised
    elif raised:
        raise raised[0]
    warnings += unknown_names((entry for entry in entries if entry.key not in OPTIONS), settings)
    warnings += [problem for setting in settings.values() for problem in concerns(setting)]
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
        setting, _, _ = merge(option, (entry for entry in entries if entry.key == option.name), places)
        if setting.origin.layer is layer and layer is not Layer.DEFAULT:
            return bool(setting.value)
    return False


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


def merge(option: Option, entries: Iterable[Entry], places: Places) -> tuple[Setting, list[ConfigError], list[Problem]]:
    """Let the last of an option's entries win; give with it the errors in what counts, and those in what it shadows."""
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
            shown = _quoted(option, text or entry.raw)
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


def _quoted(option: Option, raw: object) -> str:
    """Show a bad value, unless it is a secret or may be one that was put into the wrong place."""
    text = repr(raw)
    if option.secret or "-----BEGIN" in text:
        return MASK
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}…"
