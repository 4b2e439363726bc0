"""How the text of a value becomes the value, and secrets that do not show."""

from __future__ import annotations

import math
import os
import re
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_jux.config_sources import Places
    from pytest_jux.options import Option

MASK = "***********"
_BETWEEN_PAIRS = r"\n|,(?=\s*[\w.-]+\s*=)"


class Secret:
    """A text that shows itself as asterisks wherever it is printed, formatted or logged; `reveal()` gives it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself."""
        return self._text

    def __str__(self) -> str:
        return MASK

    def __repr__(self) -> str:
        return f"Secret({MASK!r})"

    def __format__(self, specification: str) -> str:
        return format(MASK, specification)

    def __eq__(self, other: object) -> bool:
        return self._text == other._text if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Secret cannot be pickled")


def safe_value(option: Option, text: str) -> str:
    """Return the text of a value without what may be a secret in it, though its option is none."""
    names_variable = option.type == "str" and option.name.endswith("_env")
    misplaced = names_variable and not re.fullmatch(r"[A-Za-z_]\w*", text, re.ASCII)
    if option.secret or misplaced or "-----BEGIN" in text:
        return MASK
    if option.type == "pairs":
        text = "".join(_safe_pair(part) for part in re.split(rf"({_BETWEEN_PAIRS})", text))
    if option.name.endswith("_url") and "@" in text:  # one URL, whose password may have blanks in it
        head, scheme, rest = text.partition("://")
        return (head + scheme if scheme else "") + f"{MASK}@" + (rest if scheme else text).rpartition("@")[2]
    return without_userinfo(text)


def _safe_pair(text: str) -> str:
    from pytest_jux.text import names_a_secret  # noqa: PLC0415 - as in _size

    name, equals, _ = text.partition("=")
    return f"{name}={MASK}" if equals and names_a_secret(name) else text


def without_userinfo(text: str) -> str:
    """Return a text with asterisks in place of user and password in URLs."""
    return re.sub(r"\S+", lambda word: _word_without_userinfo(word[0]), text) if "@" in text else text


def _word_without_userinfo(word: str) -> str:
    before, scheme, rest = word.partition("://")
    _, at, host = rest.rpartition("@")  # the last one: a password may have others in it
    return before + scheme + (f"{MASK}@{host}" if at else rest)


_BOOLEANS = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(("false", "no", "off", "0"), False)


class InvalidValue(Exception):
    """The value is not what the option expects; the text says what it expects."""


def text_of(option: Option, raw: object) -> str:
    """Write a value as one string: TOML, click and pytest's parser have typed ones."""
    if isinstance(raw, bool):
        return str(raw).lower()
    if isinstance(raw, (str, int, float, os.PathLike)):
        return str(raw).strip()
    if isinstance(raw, (list, tuple)) and option.type in {"list", "pairs"}:
        if any(isinstance(item, (list, tuple)) for item in raw):
            raise InvalidValue(option.expected)
        return "\n".join(text_of(option, item) for item in raw)
    raise InvalidValue(option.expected)


def value_of(option: Option, text: str, base: Path, places: Places) -> Any:  # noqa: ANN401 - the table says which type
    """Return what `text` means for this option; `base` is the directory that relative paths start from."""
    if not text or ("\n" in text and option.type not in {"list", "pairs"}) or "\0" in text:
        raise InvalidValue(option.expected)
    return Secret(text) if option.secret else _READERS[option.type](option, text, base, places)


def _bool(option: Option, text: str, *_: object) -> bool:
    if text.lower() not in _BOOLEANS:
        raise InvalidValue(option.expected)
    return _BOOLEANS[text.lower()]


def _enum(option: Option, text: str, *_: object) -> str:
    if text not in option.choices:
        raise InvalidValue(option.expected)
    return text


def _str(_option: Option, text: str, *_: object) -> str:
    return text


def _list(_option: Option, text: str, *_: object) -> tuple[str, ...]:
    return tuple(item for item in re.split(r"[\s,]+", text) if item)


def _number(option: Option, text: str, *_: object) -> float:
    try:
        number = int(text) if option.type == "int" else float(text)
    except ValueError:
        raise InvalidValue(option.expected) from None
    low = -math.inf if option.minimum is None else option.minimum
    high = math.inf if option.maximum is None else option.maximum
    if not low <= number <= high or number in (-math.inf, math.inf):
        raise InvalidValue(option.expected)
    return number


def _size(option: Option, text: str, *_: object) -> int:
    from pytest_jux.text import parse_size  # noqa: PLC0415 - the tables of Unicode, which most runs do not need

    try:
        return parse_size(text)
    except ValueError:
        raise InvalidValue(option.expected) from None


def _pairs(option: Option, text: str, *_: object) -> tuple[tuple[str, str], ...]:
    """Split `team=payments, tier=3` at new lines and at the commas that another `name=` or the line's end follows."""
    pairs: dict[str, str] = {}
    for part in re.split(r"\n|,(?=\s*(?:[\w.-]+\s*=|\n|\Z))", text):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (name or equals or value):
            continue
        if not (re.fullmatch(r"[\w.-]+", name) and value) or name in pairs:
            raise InvalidValue(option.expected)
        pairs[name] = value
    return tuple(pairs.items())


def _path(option: Option, text: str, base: Path, places: Places) -> Path:
    if "-----BEGIN" in text:
        raise InvalidValue(f"{option.expected} of a file, not what is in it")

    def variable(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in places.environ:
            raise InvalidValue(f"{option.expected}; the environment variable {name} is not set")
        return places.environ[name]

    text = re.sub(r"\$(?:(\w+)|\{(\w+)\})", variable, text)
    if re.match(r"~(/|\\|$)", text):
        if places.home is None:
            raise InvalidValue(f"{option.expected}; there is no home directory")
        return places.home / text[1:].lstrip("/\\")
    expanded = os.path.expanduser(text)  # noqa: PTH111 - Path.expanduser raises RuntimeError
    if expanded.startswith("~"):
        raise InvalidValue(f"{option.expected}; there is no such user")
    return base / expanded


_READERS: dict[str, Callable[[Option, str, Path, Places], Any]] = {
    "bool": _bool,
    "str": _str,
    "int": _number,
    "float": _number,
    "enum": _enum,
    "path": _path,
    "list": _list,
    "size": _size,
    "pairs": _pairs,
}
