"""pytest's command line, as far as it says which file pytest reads and what our options are set to.

A command has no parser of pytest's, which costs 0.1 s to make. What is read here is what can be told from the shape of
the words; where that leaves a doubt, it is said, and pytest's own parser decides.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_jux.config_sources import Layer, read_text
from pytest_jux.errors import ConfigError
from pytest_jux.options import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

VARIABLE = "PYTEST_ADDOPTS"


class Word(NamedTuple):
    """One word of a command line; `place` is "" on the command line itself, else where it was added."""

    text: str
    place: str


# pytest's own options of one letter, and those of its long ones that are read here. A test compares them with pytest.
_SHORT_SWITCHES = "hlqsvxV"
_SHORT_VALUED = {letter: f"-{letter}" for letter in "kmprW"} | {"c": "--config-file", "o": "--override-ini"}
_LONG_VALUED = frozenset(("--config-file", "--rootdir", "--override-ini"))


class _Given(NamedTuple):
    flag: str
    value: str | None
    place: str


class Arguments:
    """The options that matter here and the paths, told apart as argparse does; `plugin` makes our flags known.

    Without it they are what they are to pytest while it looks for its file: unknown, and their values paths.
    """

    def __init__(self, words: Sequence[Word], *, plugin: bool = False) -> None:
        self.given: list[_Given] = []
        self.paths: list[str] = []
        self._doubts: list[str] = []
        self._flags = {flag: option for option in OPTIONS.values() for flag, _ in option.arguments()}
        switches = {flag for flag, option in self._flags.items() if plugin and option.type == "bool"}
        self._valued = _LONG_VALUED | ({flag for flag in self._flags if flag not in switches} if plugin else set())
        self._switches = switches
        self._read(words)

    def _read(self, words: Sequence[Word]) -> None:
        rest = iter(words)
        pending: _Given | None = None  # an option whose value comes next
        unknown = False
        for word in rest:
            is_option = word.text == "--" or self._is_option(word.text)
            if pending is not None:
                if is_option:
                    raise ConfigError(_whence(pending.place), f"{pending.flag} expects a value")
                self.given.append(pending._replace(value=word.text))
                pending = None
            elif word.text == "--":
                self.paths += [literal.text for literal in rest]
            elif not is_option:
                self.paths.append(word.text)
                self._doubts += [word.text] if unknown else []
                unknown = False
            else:
                flag, value, expects = self._option(word.text)
                unknown = not flag and expects and word.text not in self._flags  # ours are unknown to pytest for sure
                if flag and expects and value is None:
                    pending = _Given(flag, None, word.place)
                elif flag:
                    self._take(flag, value, word.place)
        if pending is not None:
            raise ConfigError(_whence(pending.place), f"{pending.flag} expects a value")

    def _take(self, flag: str, value: str | None, place: str) -> None:
        if flag in self._switches and value is not None:
            raise ConfigError(_whence(place), f"{flag} takes no value")
        self.given.append(_Given(flag, value, place))

    def _is_option(self, text: str) -> bool:
        if not text.startswith("-") or text == "-":
            return False
        if text.partition("=")[0] in self._valued | self._switches:
            return True
        if text[1] in _SHORT_SWITCHES or text[1] in _SHORT_VALUED:
            return True
        return not re.fullmatch(r"-\d+|-\d*\.\d+", text) and " " not in text

    def _option(self, text: str) -> tuple[str, str | None, bool]:
        """Return the flag ("" if unknown), the value that is part of the word, and whether another word may be one."""
        if text.startswith("--"):
            flag, equals, value = text.partition("=")
            if flag in self._valued or flag in self._switches:
                return flag, value if equals else None, flag in self._valued
            return "", None, not equals
        for index, letter in enumerate(text[1:], 1):
            if letter in _SHORT_VALUED:
                value = text[index + 1 :]
                value = value.removeprefix("=") if index == 1 else value
                return _SHORT_VALUED[letter], value or None, True
            if letter not in _SHORT_SWITCHES:
                return "", None, index == len(text) - 1
        return "", None, False

    def last(self, flag: str) -> str | None:
        """Return the value of the last such option; an empty one counts as none."""
        return next((given.value for given in reversed(self.given) if given.flag == flag and given.value), None)

    def is_doubtful(self, start: Path) -> bool:
        """Tell whether something that may be a path may as well be the value of an option that is not known here."""
        return any(exists(start, text) for text in self._doubts)

    def options(self) -> dict[str, object]:
        """Return what the plugin's flags say, by option, as pytest's parser would give it."""
        values: dict[str, Any] = {}
        for flag, value, _ in self.given:
            option = self._flags.get(flag)
            if option is None:
                continue
            if option.type == "bool":
                values[option.name] = flag == option.flag
            elif option.type in {"list", "pairs"}:
                values.setdefault(option.name, []).append(value)
            else:
                values[option.name] = value
        return values

    def overrides(self) -> dict[str, object]:
        """Return what `-o name=value` says, by name; the last one counts."""
        overrides: dict[str, object] = {}
        for flag, value, place in self.given:
            if flag == "--override-ini":
                name, equals, text = (value or "").partition("=")
                if not equals:
                    raise ConfigError(_whence(place), "-o expects name=value")
                overrides[name] = text
        return overrides

    def places(self) -> dict[str, str]:
        """Return where the flags and overrides that count stand, as far as not on the command line itself."""
        places: dict[str, str] = {}
        for flag, value, place in self.given:
            if flag == "--override-ini":
                places[f"-o {(value or '').partition('=')[0]}"] = place
            elif flag in self._flags:
                places[self._flags[flag].name] = place
        return {argument: place for argument, place in places.items() if place}


def split_words(given: object, place: str, *, only_lists: bool = False) -> list[Word]:
    """Split what is given like a shell; a list is split already."""
    if isinstance(given, (list, tuple)) and all(isinstance(text, str) for text in given):
        return [Word(text, place) for text in given]
    if given is None or given == "":
        return []
    if only_lists or not isinstance(given, str):
        raise ConfigError(place, "expected a list of strings")
    if not set(given) & set("'\"\\"):  # the same, without a module more
        return [Word(text, place) for text in re.findall(r"[^ \t\r\n]+", given)]
    from shlex import split  # noqa: PLC0415 - see above

    try:
        return [Word(text, place) for text in split(given)]
    except ValueError as error:
        raise ConfigError(place, f"cannot be split into words: {error}") from None


def expanded(words: Iterable[Word], start: Path, depth: int = 0) -> list[Word]:
    """Put the lines of `FILE` in place of `@FILE`, as pytest does since 8.2."""
    if depth > 10:  # noqa: PLR2004 - nobody nests them, but a file may name itself
        raise ConfigError("pytest's arguments", "files of arguments name each other too deeply")
    result: list[Word] = []
    for word in words:
        if not word.text.startswith("@") or _pytest_version() < (8, 2):
            result.append(word)
            continue
        lines = read_text(start / word.text[1:], word.text).splitlines()
        result += expanded([Word(line, word.place) for line in lines], start, depth + 1)
    return result


def _whence(place: str) -> str:
    return place or Layer.COMMAND_LINE.value


def may_matter(text: str) -> bool:
    """Tell whether an argument may say which file is read or what an option is set to."""
    short = text.startswith("-") and not text.startswith("--") and bool(set("co") & set(text))
    return short or text.startswith(("--config-file", "--rootdir", "--override-ini", "--jux-", "--no-jux-"))


def exists(start: Path, text: str) -> bool:
    """Tell whether an argument names a file or directory, or a test in one, seen from `start`."""
    try:
        return (start / text.partition("::")[0]).exists()
    except (OSError, ValueError):
        return False


def _pytest_version() -> tuple[int, int]:
    from _pytest._version import version_tuple  # noqa: PLC0415 - rarely needed

    return int(version_tuple[0]), int(version_tuple[1])
