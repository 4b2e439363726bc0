"""Where settings are written: `[jux]` files, the environment, the command line; pytest's files are `pytest_files`.

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
from typing import TYPE_CHECKING, NamedTuple

from pytest_jux import options
from pytest_jux.errors import ConfigError
from pytest_jux.options import PREFIX, PROJECT_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import iniconfig

    from pytest_jux.pytest_files import PytestSource

SECTION = "jux"
USER_FILE = Path(".jux", "config")  # under the home directory
SYSTEM_FILE = Path(options.SYSTEM_FILE)
LARGEST_FILE = 1 << 20  # bytes; a larger one is not a configuration file


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
        key = self.key if self.key in options.OPTIONS else "…"  # the value may be a secret, and so may an unknown name
        return f"Entry({key!r}, {self.origin})"


class Problem(NamedTuple):
    """Something a user should know about the configuration; `kind` is for programs, the text is one sentence.

    Kinds: `unknown-key`, `unknown-section`, `shadowed-error`, `exposed-secret`, `missing`.
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


def _with_one_header(text: str) -> str:
    """Blank the headers that only repeat that a line belongs to `[jux]`, as after appending to a file of `init`."""
    section = ""
    lines = text.split("\n")
    for number, line in enumerate(lines):
        header = re.match(r"\[([^\]]*)\]\s*([#;].*)?$", line)
        if header:
            if header[1] == section == SECTION:
                lines[number] = ""
            section = header[1]
    return "\n".join(lines)


def read_jux_file(path: Path, layer: Layer, places: Places) -> tuple[list[Entry], list[Problem]]:
    """Read a file with a `[jux]` section; a file that is not there says nothing.

    Names get the prefix they may lack. Raises `ConfigError` with file and line for what cannot be read or understood.
    """
    if not os.path.lexists(path):
        return [], []
    label = places.label(path)
    ini = IniFile(path, _with_one_header(read_text(path, label)), label, f"[{SECTION}]")
    entries: dict[str, Entry] = {}
    problems = []
    for section in ini.sections:
        if section.name != SECTION:
            origin = Origin(layer, label, ini.line(section.name), path)
            problems.append(
                Problem("unknown-section", origin, f"unknown section [{section.name}], expected [{SECTION}]")
            )
            continue
        for name, raw in section.items():
            key = name if name.startswith(PREFIX) else PREFIX + name
            origin = Origin(layer, label, ini.line(SECTION, name), path)
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


def read_text(path: Path, label: str) -> str:
    r"""Return the text of a configuration file, with `\n` at the end of lines; `label` names it in errors.

    Raises `ConfigError` for what is no file, is too large or no text. A pipe is not waited for.
    """
    try:
        data = _read_bytes(path, label)
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
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _read_bytes(path: Path, label: str) -> bytes:
    if path.is_dir():  # which cannot be opened on Windows
        raise ConfigError(label, "is a directory, expected a file")
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
    with open(os.open(path, flags), "rb") as file:  # noqa: PTH123 - a descriptor
        mode = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISCHR(mode):  # /dev/null is a way to say "nothing"
            raise ConfigError(label, "is not a regular file")
        return file.read(LARGEST_FILE + 1) or b""  # a terminal that has nothing to say gives None


class IniFile:
    """The sections of a file, as pytest's own parser splits them, with line numbers as editors count them.

    Raises `ConfigError` with the line and what was expected there, without the line itself, which may hold a secret.
    """

    def __init__(self, path: Path, text: str, label: str, header: str) -> None:
        from iniconfig import IniConfig, ParseError  # noqa: PLC0415 - see the module's docstring

        self._text = text
        try:
            self.sections: iniconfig.IniConfig = IniConfig(str(path), text)
        except ParseError as error:
            where = f"{label}:{edited_line(text, error.lineno + 1)}"
            raise ConfigError(where, expected_ini(error.msg, header)) from None

    def line(self, section: str, name: str | None = None) -> int | None:
        """Return the line of a section's header or of a name in it; None where there is none."""
        line = self.sections.lineof(section, name)
        return None if line is None else edited_line(self._text, line)


def edited_line(text: str, line: int) -> int:
    """Turn the parser's line number into an editor's: the parser begins new lines at form feeds and the like, too."""
    return "".join(text.splitlines(keepends=True)[: line - 1]).count("\n") + 1


def expected_ini(message: str, header: str) -> str:
    """Say what was expected where the parser stumbled, which says so itself with the line in question."""
    if message.startswith("unexpected line"):
        return "expected a line like `name = value`"
    if message.startswith("unexpected value continuation"):
        return "unexpected indentation, expected `name = value` at the start of the line"
    if message.startswith("no section header"):
        return f"expected the section header {header} before the first name"
    return f"{message}, expected it once" if message.startswith("duplicate") else message


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
                return list(self._command_line(lines=lines)), []
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
                return self.pytest.path or self.places.start / "pytest.ini"
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

    def _command_line(self, *, lines: bool) -> Iterator[Entry]:
        """Give pytest's own arguments, where pytest did not parse them, and above them the caller's."""
        own = {name: option.flag for name, option in options.OPTIONS.items()}
        within = {} if self.pytest.arguments else self.pytest.where  # pytest parsed what the caller gives
        both = ((self.pytest.arguments, own, self.pytest.where), (self.command_line, self.flags, within))
        for given, flags, where in both:
            for name in self.enabling:
                if given.get(name) is True:
                    yield self._argument("jux_enabled", True, flags[name], name if name in where else "", lines)  # noqa: FBT003 - a value
        for key, raw in self.pytest.overrides.items():
            if raw != "":  # as in a file, this means "not set here"
                yield self._argument(key, raw, "-o", f"-o {key}", lines)
        for given, flags, where in both:
            for key, raw in given.items():
                if raw is not None and raw not in ([], ()):
                    flag = "--no" + flags[key].removeprefix("-") if raw is False else flags[key]
                    yield self._argument(key, raw, flag, key if key in where else "", lines)

    def _argument(self, key: str, raw: object, flag: str, place: str, lines: bool) -> Entry:
        where = self.pytest.place(place, self.places, lines=lines) if place else ""
        return Entry(key, raw, Origin(Layer.COMMAND_LINE, flag + where), self.places.start)
