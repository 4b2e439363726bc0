"""The option table, and how the text of a value becomes the value.

Every pytest run imports this module, so it needs nothing that pytest has not loaded already.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from pytest_jux.config_sources import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pytest_jux.config_sources import Places

MASK = "***********"


@dataclass(frozen=True)
class Option:
    """One option, known by the same name to pytest's files, to `Settings` and, in capitals, to the environment.

    `requires` names options that must be set when this one is on. `enables`: its flag on the command line switches the
    plugin on. `secret` masks the value; `secret_file` says that the value names a file with a secret in it. `plugin` is
    false for options that the plugin has no flag for. `minimum` and `maximum` are inclusive.
    """

    name: str
    type: Literal["bool", "str", "int", "float", "enum", "path", "list"]
    help: str
    _: KW_ONLY
    default: bool | float | str | tuple[str, ...] | None = None
    choices: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    metavar: str | None = None
    flag: str = ""
    enables: bool = False
    secret: bool = False
    secret_file: bool = False
    plugin: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "flag", self.flag or "--" + self.name.replace("_", "-"))

    @property
    def variable(self) -> str:
        """The environment variable, such as `JUX_SIGN`."""
        return self.name.upper()

    @property
    def short_name(self) -> str:
        """The name in `[jux]` files, such as `sign`."""
        return self.name.removeprefix(PREFIX)

    @property
    def spellings(self) -> tuple[str, str]:
        """The name, and the name that the flag suggests."""
        return self.flag.removeprefix("--").replace("-", "_"), self.name

    @property
    def expected(self) -> str:
        """What a value must look like, for people: `true|false`, `local|api|both|cache`, `an integer from 1 to 9`."""
        words = {"bool": "true|false", "int": "an integer", "float": "a number", "path": "a path", "list": "a list"}
        text = "|".join(self.choices) or words.get(self.type, "one line of text")
        text += "" if self.minimum is None else f" from {self.minimum:g}"
        return text + ("" if self.maximum is None else f" to {self.maximum:g}")

    def arguments(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Give the flags and keyword arguments for `addoption` or argparse; a flag that is not given leaves None."""
        if self.type == "bool":
            common = {"dest": self.name, "action": "store_const", "default": None}
            yield self.flag, common | {"const": True, "help": self.help}
            yield (
                "--no" + self.flag.removeprefix("-"),
                common | {"const": False, "help": f"the opposite of {self.flag}"},
            )
        elif self.type == "list":
            yield self.flag, {"dest": self.name, "action": "append", "metavar": self.metavar, "help": self.help}
        else:
            metavar = self.metavar or "|".join(self.choices) or self.type.upper()
            yield self.flag, {"dest": self.name, "default": None, "metavar": metavar, "help": self.help}


_TABLE = (
    Option("jux_enabled", "bool", "Enable pytest-jux plugin", default=False),
    Option("jux_sign", "bool", "Enable report signing", default=False, requires=("jux_key_path",), enables=True),
    Option("jux_key_path", "path", "Path to signing key (PEM format)", flag="--jux-key"),
    Option("jux_cert_path", "path", "Path to the key's certificate (PEM format)", flag="--jux-cert"),
    Option("jux_key_passphrase_env", "str", "Variable that holds the key's passphrase", metavar="NAME"),
    Option("jux_key_passphrase_file", "path", "File that holds the key's passphrase", secret_file=True),
    Option("jux_storage_mode", "enum", "Storage mode", default="local", choices=("local", "api", "both", "cache")),
    Option("jux_storage_path", "path", "Directory of the report store [the user's data directory]"),
    Option("jux_project", "str", "Project name in the report's metadata", metavar="NAME"),
    Option(
        "jux_metadata_env", "list", "Variables to keep as metadata, such as DEPLOY_*", default=(), metavar="PATTERN"
    ),
    Option("jux_metadata_exclude", "list", "Metadata fields to leave out", default=(), metavar="FIELD"),
    Option("jux_on_error", "enum", "What our failures mean for the test run", default="warn", choices=("warn", "fail")),
    # Read and checked, so that files written for publishing are understood; nothing acts on them yet.
    Option(
        "jux_publish",
        "bool",
        "Enable API publishing",
        default=False,
        requires=("jux_sign", "jux_api_url"),
        enables=True,
        plugin=False,
    ),
    Option("jux_api_url", "str", "API endpoint URL", metavar="URL", plugin=False),
    Option("jux_api_key", "str", "API authentication key", secret=True, plugin=False),
    Option("jux_api_key_env", "str", "Variable that holds the API authentication key", metavar="NAME", plugin=False),
    Option("jux_api_key_file", "path", "File that holds the API authentication key", secret_file=True, plugin=False),
)

#: Every option by its name, in the order in which people read them.
OPTIONS: Mapping[str, Option] = {option.name: option for option in _TABLE}

#: The table as plain data: name -> type, default, description and, where there are any, choices and requires.
CONFIG_SCHEMA: dict[str, dict[str, Any]] = {
    option.name: {"type": option.type, "default": option.default, "description": option.help}
    | ({"choices": list(option.choices)} if option.choices else {})
    | ({"requires": list(option.requires)} if option.requires else {})
    for option in OPTIONS.values()
}


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


_BOOLEANS = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(("false", "no", "off", "0"), False)


class InvalidValue(Exception):
    """The value is not what the option expects; the text says what it expects."""


def text_of(option: Option, raw: object) -> str:
    """Write a value as one string: TOML, click and pytest's parser have typed ones."""
    if isinstance(raw, bool):
        return str(raw).lower()
    if isinstance(raw, (str, int, float, os.PathLike)):
        return str(raw).strip()
    if isinstance(raw, (list, tuple)) and option.type == "list":
        return "\n".join(text_of(option, item) for item in raw)
    raise InvalidValue(option.expected)


def value_of(option: Option, text: str, base: Path, places: Places) -> Any:  # noqa: ANN401 - the table says which type
    """Return what `text` means for this option; `base` is the directory that relative paths start from."""
    if not text:
        raise InvalidValue(option.expected)
    if option.type == "list":
        return tuple(item for item in re.split(r"\s*[,\n]\s*", text) if item)
    if "\n" in text or "\0" in text:
        raise InvalidValue(option.expected)
    match option.type:
        case "bool":
            return _or_invalid(option, _BOOLEANS.get(text.lower()))
        case "int" | "float":
            return _number(option, text)
        case "path":
            return _path(option, text, base, places)
        case "enum":
            return _or_invalid(option, text if text in option.choices else None)
    return Secret(text) if option.secret else text


def _or_invalid(option: Option, value: bool | str | None) -> bool | str:
    if value is None:
        raise InvalidValue(option.expected)
    return value


def _number(option: Option, text: str) -> float:
    try:
        number = int(text) if option.type == "int" else float(text)
    except ValueError:
        raise InvalidValue(option.expected) from None
    low = -math.inf if option.minimum is None else option.minimum
    high = math.inf if option.maximum is None else option.maximum
    if not low <= number <= high or number in (-math.inf, math.inf):
        raise InvalidValue(option.expected)
    return number


def _path(option: Option, text: str, base: Path, places: Places) -> Path:
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
