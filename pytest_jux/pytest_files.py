"""pytest's own configuration: which file it reads, what that says of our options, and which arguments add to it.

pytest is asked, not imitated: its own functions find and read the file. Every pytest run that may sign a report imports
this module, so it needs nothing that pytest has not loaded already.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from functools import partial
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_jux.config_sources import (
    Entry,
    IniFile,
    Layer,
    Origin,
    Places,
    edited_line,
    expected_ini,
    read_text,
    without_comment,
)
from pytest_jux.errors import ConfigError
from pytest_jux.options import PREFIX
from pytest_jux.pytest_arguments import VARIABLE, Arguments, Word, exists, expanded, may_matter, split_words

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    import pytest

# Every name pytest may look for; pytest itself says which of them it reads.
_NAMES = ("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")
_MENTION = re.compile(rb"jux[_\\-]")  # not the name of the distribution, but also an escape in TOML

_ADDOPTS = "addopts"  # of pytest's file
_OVERRIDDEN = "addopts given with -o"


class PytestSource(NamedTuple):
    """What pytest has read: its file, its root directory, the file's `jux_*` values and those of `-o name=value`.

    `arguments` are the plugin's flags in PYTEST_ADDOPTS, in `addopts` and among pytest's arguments, by option; empty
    within pytest, which has parsed them. `where` says of which arguments they do not stand on the command line itself:
    `jux_sign` for a flag, `-o jux_sign` for an override.
    """

    path: Path | None = None
    rootdir: Path | None = None
    values: Mapping[str, object] = MappingProxyType({})
    overrides: Mapping[str, object] = MappingProxyType({})
    arguments: Mapping[str, object] = MappingProxyType({})
    where: Mapping[str, str] = MappingProxyType({})

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
            overrides[key] = text
        given = overrides.get(_ADDOPTS, values.get(_ADDOPTS))
        try:
            words = split_words(given, _OVERRIDDEN if _ADDOPTS in overrides else _ADDOPTS)
            words += split_words(os.environ.get(VARIABLE), VARIABLE)
            words += [Word(str(argument), "") for argument in config.invocation_params.args]
            where = Arguments(expanded(words, config.invocation_params.dir), plugin=True).places()
        except ConfigError:  # pytest would not have come this far; anyway it costs the place, not a value
            where = {}
        return cls(config.inipath, config.rootpath, _ours(values), _ours(overrides), where=where)

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

    def place(self, argument: str, places: Places, *, lines: bool = True) -> str:
        """Say where a flag or override stands if not on the command line: ` in addopts of pytest.ini:3`, else ""."""
        where = self.where.get(argument, "")
        if where != _ADDOPTS or self.path is None:
            return f" in {where}" if where else ""
        return f" in {_place_of_addopts(self.path, places, lines=lines)}"

    def _overridden(self) -> dict[str, object]:
        """Read again what the file says about options that `-o` overrides: pytest keeps only the override."""
        if self.path is None or not self.overrides:
            return {}
        return _ours(_split(_rules().load_config_dict_from_file(self.path) or {})[0])


def find_pytest_source(
    places: Places, arguments: Sequence[str] = (), *, mentioned_only: bool = True
) -> PytestSource | None:
    """Find and read the file that `pytest ARGUMENTS` would use in the working directory, by pytest's own code.

    PYTEST_ADDOPTS and the file's `addopts` count as they do for pytest. None means that no option is set there; with
    `mentioned_only` pytest is not even asked as long as neither a file nor an argument gives a reason to. Raises
    `ConfigError` for what pytest could not use either.
    """
    words = split_words(places.environ.get(VARIABLE), VARIABLE) + [Word(text, "") for text in arguments]
    words = expanded(words, places.start)
    first = Arguments(words)
    paths = [path for path in first.paths if exists(places.start, path)]
    matters = paths or not mentioned_only or any(may_matter(word.text) for word in words)
    if not matters and not any(map(_mentions_options, _candidates([places.start]))):
        return None
    if first.is_doubtful(places.start):
        first, paths = _as_pytest_parses(words, places.start)
    rootdir, path, raw = _determine(first, paths, places)
    values, _ = _split(raw)
    overrides = first.overrides()
    mode = getattr(raw.get(_ADDOPTS), "mode", "ini")
    if _ADDOPTS in overrides:
        extra = split_words(overrides[_ADDOPTS], _OVERRIDDEN)
    else:
        extra = _own_words(path, values, places, only_lists=mode == "toml")
    try:
        second = Arguments(expanded(extra + words, places.start), plugin=True)
    except ConfigError as error:
        if error.source != _ADDOPTS or path is None:
            raise
        raise ConfigError(_place_of_addopts(path, places), error.reason) from None
    if any(may_matter(word.text) for word in extra) and _heeds_overrides_in_addopts():
        overrides = second.overrides()
    return PytestSource(path, rootdir, _ours(values), _ours(overrides), second.options(), second.places())


def _own_words(path: Path | None, values: Mapping[str, object], places: Places, *, only_lists: bool) -> list[Word]:
    """Split the `addopts` of the file, which errors name."""
    try:
        return split_words(values.get(_ADDOPTS), _ADDOPTS, only_lists=only_lists)
    except ConfigError as error:
        raise ConfigError(_ADDOPTS if path is None else _place_of_addopts(path, places), error.reason) from None


def _place_of_addopts(path: Path, places: Places, *, lines: bool = True) -> str:
    number = _line_numbers(path, [_ADDOPTS]).get(_ADDOPTS) if lines else None
    return f"addopts of {places.label(path)}" + ("" if number is None else f":{number}")


# --- pytest's own functions ------------------------------------------------------------------------------------------


def _rules() -> Any:  # noqa: ANN401 - a module, whose functions differ from pytest to pytest
    """Import pytest's rules for configuration files without all the rest of pytest.

    Their package, `_pytest.config`, imports nearly all of pytest (0.1 s of CPU), which they do not need. Where pytest
    is not there already, they are loaded from their file into a package under another name, which leaves pytest's
    modules alone: whoever imports pytest later gets what they always get.
    """
    if "_pytest.config" not in sys.modules:
        from importlib import import_module  # noqa: PLC0415 - see above

        name = "_jux_pytest_config"
        try:
            import _pytest  # noqa: PLC0415 - see above

            package = ModuleType(name, "A part of pytest's configuration.")
            package.__path__ = [os.path.join(place, "config") for place in _pytest.__path__]  # noqa: PTH118 - as there
            sys.modules.setdefault(name, package)
            return import_module(f"{name}.findpaths")
        except Exception:  # noqa: BLE001 - whatever a future pytest may need, the plain import has it
            for module in [module for module in sys.modules if module.partition(".")[0] == name]:
                del sys.modules[module]
    from _pytest.config import findpaths  # noqa: PLC0415 - see above

    return findpaths


def _determine(arguments: Arguments, paths: list[str], places: Places) -> tuple[Path, Path | None, dict[str, Any]]:
    """Let pytest find its root directory and its file, and read that; the file's errors become one sentence."""
    inifile, rootdir = arguments.last("--config-file"), arguments.last("--rootdir")
    if not _is_current(places.start):  # pytest starts from the process's directory
        paths = [os.path.join(places.start, path) for path in paths] or [str(places.start)]  # noqa: PTH118 - with ::
        inifile = inifile and str(places.start / inifile)
        rootdir = rootdir and str(places.start / os.path.expandvars(rootdir))
    if inifile is not None:
        _refuse_pipe(places.start / inifile, places)
    rules = _rules()
    from inspect import signature  # noqa: PLC0415 - pytest's rules have imported it

    wanted = {"inifile": inifile, "args": paths, "rootdir_cmd_arg": rootdir, "invocation_dir": places.start}
    if "override_ini" in signature(rules.determine_setup).parameters:  # since pytest 9
        wanted["override_ini"] = None
    try:
        root, path, raw, *_ = _explaining(lambda: rules.determine_setup(**wanted), rules, places)
    except ConfigError as error:
        known = error.source != Layer.PROJECT_PYTEST.value
        starts = [places.start / path.partition("::")[0] for path in paths] or [places.start]
        candidates = [places.start / inifile] if inifile else _candidates(starts)
        raise error if known else next(_culprits(candidates, rules, places), error) from None
    return root, path, raw


def _refuse_pipe(path: Path, places: Places) -> None:
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return  # which pytest says itself
    if path.suffix in {".ini", ".cfg", ".toml"} and not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise ConfigError(places.label(path), "is not a regular file")


def _candidates(starts: Iterable[Path]) -> Iterator[Path]:
    """Give the files that pytest looks at, in its order."""
    for start in starts:
        for directory in (start, *start.parents):
            yield from (directory / name for name in _NAMES)


def _culprits(candidates: Iterable[Path], rules: Any, places: Places) -> Iterator[ConfigError]:  # noqa: ANN401 - as in _rules
    """Find the files that pytest stumbles over, where it does not say so itself."""
    for path in candidates:
        try:
            if path.is_file():
                _explaining(partial(rules.load_config_dict_from_file, path), rules, places, path)
        except ConfigError as error:
            yield error


def _explaining(read: Any, rules: Any, places: Places, path: Path | None = None) -> Any:  # noqa: ANN401 - as in _rules
    """Call pytest's function and turn what it raises for odd files into a `ConfigError`."""
    from _pytest.outcomes import OutcomeException  # noqa: PLC0415 - pytest's rules have imported it
    from iniconfig import ParseError  # noqa: PLC0415 - as above

    label = Layer.PROJECT_PYTEST.value if path is None else places.label(path)
    try:
        return read()
    except rules.UsageError as error:
        match error.__cause__:
            case ParseError() as cause:
                label = places.label(Path(cause.path))
                label += f":{edited_line(read_text(Path(cause.path), label), cause.lineno + 1)}"
                reason = expected_ini(cause.msg, "[pytest]")
            case ValueError() as cause:  # TOML
                where = Path(str(error).removesuffix(f": {cause}"))
                line = re.search(r" \(at line (\d+), column \d+\)$", str(cause))
                reason = str(cause).removesuffix(line[0]) if line else str(cause)
                label = f"{places.label(where)}:{line[1]}" if line else places.label(where)
            case _:
                reason = str(error).removeprefix(f"{path}: ")
        raise ConfigError(label, reason) from None
    except OSError as error:
        label = places.label(Path(error.filename)) if isinstance(error.filename, str) else label
        raise ConfigError(label, f"cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        if path is not None:
            read_text(path, label)
        raise ConfigError(label, f"expected UTF-8 text: {error.reason}") from None
    except (OutcomeException, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise ConfigError(label, f"pytest cannot use it: {error}") from None


def _as_pytest_parses(words: Sequence[Word], start: Path) -> tuple[Arguments, list[str]]:
    """Let pytest's own parser tell values of its options from paths."""
    from copy import copy  # noqa: PLC0415 - rarely needed

    from _pytest.config import UsageError, get_config  # noqa: PLC0415 - rarely needed, and all of pytest

    texts = [word.text for word in words]
    try:
        config = get_config(list(texts))
        known, unknown = config._parser.parse_known_and_unknown_args(texts, namespace=copy(config.option))  # noqa: SLF001 - as pytest does
    except UsageError as error:
        raise ConfigError("pytest's arguments", str(error).strip().splitlines()[-1]) from None
    paths = [path for path in (*known.file_or_dir, *unknown) if not path.startswith("-") and exists(start, path)]
    return Arguments(words), paths


def _heeds_overrides_in_addopts() -> bool:
    """Tell whether this pytest lets `-o` in `addopts` count; since 9.0.4 it does."""
    loaded = sys.modules.get("_pytest.config")
    if loaded is not None:
        return hasattr(loaded, "parse_override_ini")
    import _pytest  # noqa: PLC0415 - loaded already

    text = Path(_pytest.__path__[0], "config", "__init__.py").read_text("utf-8")
    return "import parse_override_ini" in text


def _is_current(start: Path) -> bool:
    try:
        return os.getcwd() == str(start)  # noqa: PTH109 - a string is what is compared
    except OSError:
        return False


# --- values and lines ------------------------------------------------------------------------------------------------


def _split(raw: Mapping[str, Any]) -> tuple[dict[str, object], dict[str, object]]:
    """Separate the values of the file from overrides; since pytest 9 a value is wrapped together with its origin."""
    values: dict[str, object] = {}
    overrides: dict[str, object] = {}
    for key, value in raw.items():
        (overrides if getattr(value, "origin", "file") == "override" else values)[key] = getattr(value, "value", value)
    return values, overrides


def _ours(values: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in values.items() if key.startswith(PREFIX)}


def _mentions_options(path: Path) -> bool:
    try:
        return path.is_file() and bool(_MENTION.search(path.read_bytes()))
    except OSError:
        return True  # and pytest says what is wrong with it


def _line_numbers(path: Path, keys: Collection[str]) -> dict[str, int]:
    """Find the lines of options in a file that pytest could read; a key that is not found for sure is left out."""
    try:
        text = read_text(path, path.name)
        if path.suffix == ".toml":
            return _toml_lines(text, path.name, keys)
        ini = IniFile(path, text, path.name, "[pytest]")
    except ConfigError:  # it has changed since
        return {}
    section = "tool:pytest" if path.suffix == ".cfg" else "pytest"
    return {key: line for key in keys if (line := ini.line(section, key)) is not None}


def _toml_lines(text: str, name: str, keys: Collection[str]) -> dict[str, int]:
    """Find lines in TOML: mark every word that may be a key with its line, and see which marks the parser returns."""
    from tomllib import loads  # noqa: PLC0415 - pytest has imported it for this file

    mark = re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, keys))})(?=[\"']?[ \t]*=)")
    marked = [mark.sub(rf"\1-in-line-{number}", line) for number, line in enumerate(text.split("\n"), 1)]
    try:
        document = loads("\n".join(marked))
        tool = document.get("tool", {}).get("pytest", {})
        tables = [] if name in {"pytest.toml", ".pytest.toml"} else [tool, tool.get("ini_options", {})]
        tables += [] if name == "pyproject.toml" else [document.get("pytest", {})]
        found = [tuple(key.split("-in-line-")) for table in tables for key in table if "-in-line-" in key]
    except (ValueError, AttributeError, TypeError, RecursionError):  # it has changed since
        return {}
    return {key: int(line) for key, line in found if sum(other == key for other, _ in found) == 1}
