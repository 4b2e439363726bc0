"""Where settings are written: `[jux]` files, pytest's own files, the environment, the command line.

Every reader gives entries as they were written, each with its origin; what they mean is `config`'s business. Every
pytest run imports this module, so it needs nothing that pytest has not loaded already, and prefers named tuples, which
are made five times as fast as data classes.
"""

from __future__ import annotations

import os
import re
import stat
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_jux import options
from pytest_jux.errors import ConfigError
from pytest_jux.options import PREFIX, PROJECT_FILE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import iniconfig
    import pytest

SECTION = "jux"
USER_FILE = Path(".jux", "config")  # under the home directory
SYSTEM_FILE = Path(options.SYSTEM_FILE)
LARGEST_FILE = 1 << 20  # bytes; a larger one is not a configuration file

# Every name pytest may look for; pytest itself says which of them it reads.
_PYTEST_FILES = (
    *("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini"),
    *("pyproject.toml", "tox.ini", "setup.cfg"),
)


class Layer(Enum):
    """A kind of place where an option can be set; the value is its name for people."""

    DEFAULT = "default"
    SYSTEM = "system file"
    USER = "user file"
    PROJECT_PYTEST = "pytest's configuration"
    PROJECT = "project file"
    ENVIRONMENT = "environment variable"
    COMMAND_LINE = "command line"


#: Precedence, lowest to highest. Within a layer, what is read later wins.
ORDER = (
    Layer.DEFAULT,
    Layer.SYSTEM,
    Layer.USER,
    Layer.PROJECT_PYTEST,
    Layer.PROJECT,
    Layer.ENVIRONMENT,
    Layer.COMMAND_LINE,
)


class Origin(NamedTuple):
    """Where a value comes from; its text is `pytest.ini:3`, `environment variable JUX_SIGN`, `command line --jux-sign`.

    `source` is the file as people would name it from the working directory, the variable, or the flag ("" if unknown);
    `line` is 1-based, None where it could not be told; `path` is the file.
    """

    layer: Layer
    source: str = ""
    line: int | None = None
    path: Path | None = None

    def __str__(self) -> str:
        if self.path is None:
            return f"{self.layer.value} {self.source}".rstrip()
        return self.source if self.line is None else f"{self.source}:{self.line}"


class Entry(NamedTuple):
    """One name and value as written; `base` is the directory that a relative path starts from."""

    key: str
    raw: object
    origin: Origin
    base: Path

    def __repr__(self) -> str:
        return f"Entry({self.key!r}, {self.origin})"  # the value may be a secret


class Problem(NamedTuple):
    """Something a user should know about the configuration; `kind` is for programs, the text is one sentence.

    Kinds: `unknown-key`, `unknown-section`, `shadowed-error`, `exposed-secret`, `no-effect`, `missing`.
    """

    kind: str
    origin: Origin
    message: str

    def __str__(self) -> str:
        return f"{self.origin}: {self.message}"


class Places(NamedTuple):
    """The directories and variables that a configuration is looked up in; `home` is None where there is none."""

    start: Path
    home: Path | None
    environ: Mapping[str, str]
    system_file: Path = SYSTEM_FILE

    def __repr__(self) -> str:
        return f"Places({str(self.start)!r})"  # the variables may be secrets

    def label(self, path: Path) -> str:
        """Name a file as people would: relative to the working directory, or to home, else in full."""
        if path.is_relative_to(self.start):
            return str(path.relative_to(self.start))
        if self.home is not None and path.is_relative_to(self.home):
            return str(Path("~", path.relative_to(self.home)))
        return str(path)

    def project_file(self, rootdir: Path | None = None) -> Path | None:
        """Return the nearest `.jux.conf`, from the working directory up to its repository, home or the root.

        A `rootdir` that the working directory is not in (`pytest /another/project`) is where the search starts instead.
        """
        outside = rootdir is not None and not self.start.is_relative_to(rootdir)
        first = rootdir if outside and rootdir is not None else self.start
        for directory in (first, *first.parents):
            if os.path.lexists(directory / PROJECT_FILE):
                return directory / PROJECT_FILE
            if directory == self.home or os.path.lexists(directory / ".git"):
                break
        return None


# --- [jux] files -----------------------------------------------------------------------------------------------------


def read_jux_file(path: Path, layer: Layer, places: Places) -> tuple[list[Entry], list[Problem]]:
    """Read a file with a `[jux]` section; a file that is not there says nothing.

    Names get the prefix they may lack. Raises `ConfigError` with file and line for what cannot be read or understood.
    """
    if not os.path.lexists(path):
        return [], []
    label = places.label(path)
    text = _read_text(path, label)
    ini = _parse_ini(path, text, label)
    entries: dict[str, Entry] = {}
    problems = []
    for section in ini:
        if section.name != SECTION:
            origin = Origin(layer, label, ini.lineof(section.name), path)
            problems.append(
                Problem("unknown-section", origin, f"unknown section [{section.name}], expected [{SECTION}]")
            )
            continue
        for name, raw in section.items():
            key = name if name.startswith(PREFIX) else PREFIX + name
            origin = Origin(layer, label, ini.lineof(SECTION, name), path)
            if key in entries:
                first = entries[key].origin.line
                bare = key.removeprefix(PREFIX)
                raise ConfigError(
                    str(origin), f"{bare} and {key} are one option, set in line {first} already; expected one"
                )
            entries[key] = Entry(key, without_comment(raw), origin, path.parent)
    return list(entries.values()), problems


def without_comment(text: str) -> str:
    """Drop ` # comment` from each line: a `#` at the start or after white space; any other `#` is kept."""
    return "\n".join(re.sub(r"(^|\s)#.*", "", line).strip() for line in text.split("\n")).strip()


def _read_text(path: Path, label: str) -> str:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise ConfigError(label, "is a directory, expected a file")
        if not stat.S_ISREG(mode) and not stat.S_ISCHR(mode):  # /dev/null is a way to say "nothing"
            raise ConfigError(label, "is not a regular file")
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigError(label, f"cannot be read: {error.strerror or error}") from None
    if len(data) > LARGEST_FILE:
        raise ConfigError(label, f"is larger than {LARGEST_FILE:,} bytes, expected a configuration file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{label}:{line}", "expected UTF-8 text") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ConfigError(f"{label}:{line}", "expected text, found a NUL character")
    return text


def _parse_ini(path: Path, text: str, label: str) -> iniconfig.IniConfig:
    from iniconfig import IniConfig, ParseError  # noqa: PLC0415 - see the module's docstring

    try:
        return IniConfig(str(path), text)
    except ParseError as error:
        raise ConfigError(f"{label}:{error.lineno + 1}", _expected(error.msg, f"[{SECTION}]")) from None


def _expected(message: str, header: str) -> str:
    """Say what was expected where iniconfig stumbled, without the line itself, which may hold a secret."""
    if message.startswith("unexpected line"):
        return "expected a line like `name = value`"
    if message.startswith("unexpected value continuation"):
        return "unexpected indentation, expected `name = value` at the start of the line"
    if message.startswith("no section header"):
        return f"expected the section header {header} before the first name"
    return f"{message}, expected it once" if message.startswith("duplicate") else message


# --- pytest's own configuration --------------------------------------------------------------------------------------


class PytestSource(NamedTuple):
    """What pytest has read: its file, its root directory, the file's `jux_*` values and those of `-o name=value`."""

    path: Path | None = None
    rootdir: Path | None = None
    values: Mapping[str, object] = MappingProxyType({})
    overrides: Mapping[str, object] = MappingProxyType({})

    def __repr__(self) -> str:
        return f"PytestSource({str(self.path)!r})"  # the values may be secrets

    @classmethod
    def from_pytest_config(cls, config: pytest.Config) -> PytestSource:
        """Take the values out of a running pytest (8.0 or newer) without reading any file."""
        raw: Any = getattr(config, "_inicfg", None)
        if raw is None:
            raw = config.inicfg  # pytest 8; deprecated since pytest 9
        values, overrides = _split(raw)
        for item in getattr(config, "_override_ini", ()):  # pytest 8; merged into the values since pytest 9
            key, _, text = item.partition("=")
            if key.startswith(PREFIX):
                overrides[key] = text
        return cls(config.inipath, config.rootpath, values, overrides)

    def entries(self, places: Places, *, lines: bool = True) -> Iterator[Entry]:
        """Give the values of the file, in its order; without `lines`, no file is read."""
        if self.path is None:
            return
        values = dict(self.values)
        if lines:
            values = self._overridden() | values
        numbers = _line_numbers(self.path, values) if lines and values else {}
        for key, value in values.items():
            is_ini_text = isinstance(value, str) and self.path.suffix != ".toml"
            origin = Origin(Layer.PROJECT_PYTEST, places.label(self.path), numbers.get(key), self.path)
            yield Entry(key, without_comment(str(value)) if is_ini_text else value, origin, self.path.parent)

    def _overridden(self) -> dict[str, object]:
        """Read again what the file says about options that `-o` overrides: pytest keeps only the override."""
        if self.path is None or not self.overrides:
            return {}
        from _pytest.config.findpaths import load_config_dict_from_file  # noqa: PLC0415 - pytest has it loaded

        values, _ = _split(load_config_dict_from_file(self.path) or {})
        return values


def find_pytest_source(places: Places) -> PytestSource | None:
    """Find and read the file that `pytest` without arguments would use in the working directory, by pytest's own code.

    None means that no option is set there. pytest (0.1 s to import) is asked only if some candidate mentions one.
    """
    directories = (places.start, *places.start.parents)
    if not any(_mentions_options(directory / name) for directory in directories for name in _PYTEST_FILES):
        return None
    from inspect import signature  # noqa: PLC0415

    from _pytest.config.exceptions import UsageError  # noqa: PLC0415
    from _pytest.config.findpaths import locate_config  # noqa: PLC0415
    from _pytest.outcomes import OutcomeException  # noqa: PLC0415
    from iniconfig import ParseError  # noqa: PLC0415

    locate: Any = locate_config
    arguments: dict[str, object] = {"args": [places.start]}
    if "invocation_dir" in signature(locate).parameters:  # since pytest 8.1
        arguments["invocation_dir"] = places.start
    try:
        rootdir, path, values, *_ = locate(**arguments)
    except UsageError as error:
        if isinstance(error.__cause__, ParseError):
            where = f"{places.label(Path(error.__cause__.path))}:{error.__cause__.lineno + 1}"
            raise ConfigError(where, _expected(error.__cause__.msg, "[pytest]")) from None
        raise ConfigError(Layer.PROJECT_PYTEST.value, str(error)) from None
    except OSError as error:
        raise ConfigError(Layer.PROJECT_PYTEST.value, f"cannot be read: {error}") from None
    except (OutcomeException, ValueError, AttributeError, TypeError) as error:  # what pytest raises for odd files
        raise ConfigError(Layer.PROJECT_PYTEST.value, f"pytest cannot use it: {error}") from None
    return PytestSource(path, rootdir, _split(values)[0])


def _split(raw: Mapping[str, Any]) -> tuple[dict[str, object], dict[str, object]]:
    """Separate the values of the file from overrides; since pytest 9 a value is wrapped together with its origin."""
    values: dict[str, object] = {}
    overrides: dict[str, object] = {}
    for key, value in raw.items():
        if key.startswith(PREFIX):
            (overrides if getattr(value, "origin", "file") == "override" else values)[key] = getattr(
                value, "value", value
            )
    return values, overrides


def _mentions_options(path: Path) -> bool:
    try:
        return path.is_file() and PREFIX.encode() in path.read_bytes()
    except OSError:
        return False


def _line_numbers(path: Path, keys: Iterable[str]) -> dict[str, int]:
    """Find the lines of options in a file that pytest could read; a key that is not found for sure is left out."""
    try:
        text = _read_text(path, path.name)
        if path.suffix == ".toml":
            return _toml_lines(text, in_pyproject=path.name == "pyproject.toml")
        ini = _parse_ini(path, text, path.name)
    except ConfigError:  # it has changed since
        return {}
    section = "tool:pytest" if path.suffix == ".cfg" else "pytest"
    return {key: line for key in keys if (line := ini.lineof(section, key)) is not None}


def _toml_lines(text: str, *, in_pyproject: bool) -> dict[str, int]:
    tables = {"tool.pytest.ini_options", "tool.pytest"} | (set() if in_pyproject else {"pytest"})
    table = ""
    found: dict[str, list[int]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if header := re.match(r"\s*\[([^\[\]]+)\]\s*(#.*)?$", line):
            table = re.sub(r"[\s\"']", "", header[1])
        elif table in tables and (key := re.match(r"\s*[\"']?(\w+)[\"']?\s*=", line)):
            found.setdefault(key[1], []).append(number)
    return {key: numbers[0] for key, numbers in found.items() if len(numbers) == 1}


# --- all of them -----------------------------------------------------------------------------------------------------


class ConfigFile(NamedTuple):
    """A file that was looked for: its layer, its path, and whether it is there."""

    layer: Layer
    path: Path
    found: bool


class Sources(NamedTuple):
    """Everything that settings can come from, read layer by layer.

    `command_line` maps option names to what was given (None: nothing), `flags` maps them to their flags; the `enabling`
    options, when given as true, also say `jux_enabled`.
    """

    places: Places
    pytest: PytestSource
    command_line: Mapping[str, object]
    flags: Mapping[str, str]
    enabling: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Sources({str(self.places.start)!r})"  # arguments and variables may be secrets

    def read(self, layer: Layer, *, lines: bool = True) -> tuple[list[Entry], list[Problem]]:
        """Read one layer; within it, a later entry wins. Without `lines`, pytest's file is not opened."""
        match layer:
            case Layer.COMMAND_LINE:
                return list(self._command_line()), []
            case Layer.ENVIRONMENT:
                return list(self._environment()), []
            case Layer.PROJECT_PYTEST:
                return list(self.pytest.entries(self.places, lines=lines)), []
            case _:
                path = self.file(layer)
                return ([], []) if path is None else read_jux_file(path, layer, self.places)

    def file(self, layer: Layer) -> Path | None:
        """Return the file of a layer, which need not exist; None if the layer has none."""
        match layer:
            case Layer.SYSTEM:
                return self.places.system_file
            case Layer.USER:
                return None if self.places.home is None else self.places.home / USER_FILE
            case Layer.PROJECT_PYTEST:
                return self.pytest.path
            case Layer.PROJECT:
                return self.places.project_file(self.pytest.rootdir) or self.places.start / PROJECT_FILE
            case _:
                return None

    def files(self) -> tuple[ConfigFile, ...]:
        """List the files of all layers, lowest first."""
        paths = ((layer, self.file(layer)) for layer in ORDER)
        return tuple(ConfigFile(layer, path, os.path.lexists(path)) for layer, path in paths if path is not None)

    def _environment(self) -> Iterator[Entry]:
        for name, text in self.places.environ.items():
            if name.startswith("JUX_") and name == name.upper():
                yield Entry(name.lower(), text, Origin(Layer.ENVIRONMENT, name), self.places.start)

    def _command_line(self) -> Iterator[Entry]:
        for name in self.enabling:
            if self.command_line.get(name) is True:
                yield self._argument("jux_enabled", True, self.flags[name])  # noqa: FBT003 - a value
        for key, raw in self.pytest.overrides.items():
            if raw != "":  # as in a file, this means "not set here"
                yield self._argument(key, raw, "-o")
        for key, raw in self.command_line.items():
            if raw is not None and raw not in ([], ()):
                flag = self.flags[key]
                yield self._argument(key, raw, "--no" + flag.removeprefix("-") if raw is False else flag)

    def _argument(self, key: str, raw: object, flag: str) -> Entry:
        return Entry(key, raw, Origin(Layer.COMMAND_LINE, flag), self.places.start)
