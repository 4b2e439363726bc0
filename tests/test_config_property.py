"""Precedence: for any configuration over all layers, the loader says what a model of a few lines says.

`--hypothesis-profile=NAME` makes it longer by hand: what a profile asks for beyond the number below is run.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck
from hypothesis import given as for_all
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pytest_jux import config
from pytest_jux.config import OPTIONS, Layer, Secret

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_jux.config import Setting
    from pytest_jux.options import Option

EXAMPLES = max(300, hypothesis_settings.default.max_examples)


@dataclass
class Written:
    """An option as somebody writes it: as text, as what TOML and argparse have for it, and what it means."""

    text: str
    value: Any  # or a function from (directory of relative paths, home) to it
    native: Any = None  # a value of TOML; the text where this is None
    items: tuple[str, ...] = ()  # of what a flag is given several times for

    def means(self, base: Path, home: Path) -> object:
        return self.value(base, home) if callable(self.value) else self.value


@dataclass
class Said:
    """What one layer says: the options, where relative paths start, and where each is written."""

    layer: Layer
    base: Path
    written: dict[str, Written]
    where: dict[str, tuple[str, Path | None, int | None]] = field(default_factory=dict)  # source, path, line


def model(option: Option, layers: list[Said], home: Path) -> list[tuple[object, object]]:
    """Return value and place of everything said about an option, highest first."""
    said: list[tuple[object, object]] = [(option.default, (Layer.DEFAULT, None, None, ""))]
    for layer in layers:
        written = layer.written.get(option.name)
        if written is not None and written.text:
            value = written.means(layer.base, home)
            source, path, line = layer.where[option.name]
            said.append((Secret(value) if option.secret else value, (layer.layer, path, line, source)))
    return said[::-1]


def told(setting: Setting) -> list[tuple[object, object]]:
    everything = (setting, *setting.shadowed)
    return [
        (
            each.value,
            (each.origin.layer, each.origin.path, each.origin.line, "" if each.origin.path else each.origin.source),
        )
        for each in everything
    ]


# --- values ----------------------------------------------------------------------------------------------------------

INNER = "abcXYZ019äß語#%;:=-_./\\'\"[]{}$&@"  # a `#` at the start of a word would begin a comment, `~` a home
WORDS = st.text(INNER, min_size=1, max_size=8).filter(lambda text: text[0].isalnum())
LINES = st.lists(WORDS, min_size=1, max_size=3).map("  ".join)
NAMES = st.text("abcXYZ019_*", min_size=1, max_size=6)
SPELLED = [("true", True), ("Yes", True), ("ON", True), ("1", True), ("false", False), ("nO", False), ("off", False)]
SIZES = [("500 MB", 500_000_000), ("1.5GiB", 1_610_612_736), ("2k", 2000), ("0", 0), ("1048576", 1_048_576)]
PATHS: list[tuple[str, Callable[[Path, Path], Path]]] = [
    ("k.pem", lambda base, _: base / "k.pem"),
    ("../a b/k#1.pem", lambda base, _: base / "../a b/k#1.pem"),
    ("/keys/k.pem", lambda _base, _home: Path("/keys/k.pem")),
    ("~/k.pem", lambda _, home: home / "k.pem"),
    ("$KEYS/${NAME}.pem", lambda _base, _home: Path("/keys/mine.pem")),
]


def plain(pairs: list[tuple[str, Any]]) -> st.SearchStrategy[Written]:
    return st.sampled_from(pairs).map(lambda pair: Written(*pair))


def number(value: float) -> Written:
    return Written(repr(value), value, value)


def listed(items: list[str]) -> Written:
    return Written(", ".join(items), tuple(items), list(items), tuple(items))


def paired(pairs: dict[str, str]) -> Written:
    items = tuple(f"{name}={value}" for name, value in pairs.items())
    return Written(", ".join(items), tuple(pairs.items()), list(items), items)


def values_of(option: Option) -> st.SearchStrategy[Written]:
    """Give values as people write them; one in a few is blank, which means that nothing is said."""
    kinds: dict[str, st.SearchStrategy[Written]] = {
        "bool": plain(SPELLED) | st.booleans().map(lambda value: Written(str(value), value, value)),
        "str": LINES.map(lambda text: Written(text, text)),
        "enum": st.sampled_from(option.choices or ("",)).map(lambda text: Written(text, text)),
        "int": st.integers(int(option.minimum or 0), int(option.maximum or 10**6)).map(number),
        "float": st.floats(option.minimum, option.maximum).map(number) | plain([("30", 30.0), ("1e1", 10.0)]),
        "size": plain(SIZES) | st.integers(0, 10**9).map(lambda number: Written(str(number), number, number)),
        "path": plain(PATHS),
        "list": st.lists(NAMES, min_size=1, max_size=3).map(listed),
        "pairs": st.dictionaries(
            NAMES.filter(str.isalnum), WORDS.filter(lambda text: "," not in text), min_size=1, max_size=3
        ).map(paired),
    }
    return st.just(Written("", None)) | kinds[option.type] | kinds[option.type] | kinds[option.type]


SETS = st.fixed_dictionaries({}, optional={name: values_of(option) for name, option in OPTIONS.items()})

# --- spellings -------------------------------------------------------------------------------------------------------

NOISE = st.lists(
    st.sampled_from(["", "   ", "# a comment", "; another = 1", "    # indented", "#jux_sign = 1"]), max_size=2
)
EQUALS = st.sampled_from([" = ", "=", "  =\t", " : ", "\u00a0=\u2003"])
TAILS = st.sampled_from(["", "", "   ", "  # comment", "\t# jux_sign = true", "\u00a0#"])
ENDS = st.sampled_from(["\n", "\r\n"])


@dataclass
class Spelling:
    """A kind of file: its name, what stands above the options, and whether names need the prefix."""

    name: str
    header: str
    prefix: bool = True

    @property
    def is_toml(self) -> bool:
        return self.name.endswith(".toml")


JUX = Spelling("", "[jux]", prefix=False)
PYTEST = [
    Spelling("pytest.ini", "[pytest]"),
    Spelling(".pytest.ini", "[pytest]"),
    Spelling("tox.ini", "[pytest]"),
    Spelling("setup.cfg", "[tool:pytest]"),
    Spelling("pyproject.toml", "tool.pytest.ini_options"),
]
if pytest.version_tuple >= (9, 0):
    PYTEST += [
        Spelling("pyproject.toml", "tool.pytest"),
        Spelling("pytest.toml", "pytest"),
        Spelling(".pytest.toml", "pytest"),
    ]


def write_ini(draw: st.DrawFn, spelling: Spelling, said: Said, path: Path) -> str:
    lines = [*draw(NOISE)]
    if spelling.prefix and draw(st.booleans()):
        lines += ["[other]", "jux_sign = perhaps", "jux_project = another"]
    lines += [spelling.header + draw(st.sampled_from(["", " ", "  # mine"]))]
    for name, written in said.written.items():
        lines += draw(NOISE) if lines[-1] != "" else ()
        key = name if spelling.prefix or draw(st.booleans()) else name.removeprefix("jux_")
        said.where[name] = ("", path, len(lines) + 1)
        if written.items and draw(st.booleans()):
            indent = draw(st.sampled_from(["  ", "\t"]))
            lines += [f"{key} =", *(f"{indent}{item}{draw(TAILS)}" for item in written.items)]
        else:
            lines.append(f"{key}{draw(EQUALS)}{written.text}{draw(TAILS)}")
    return draw(st.sampled_from(["", "\ufeff"])) + draw(ENDS).join([*lines, *draw(NOISE), ""])


def write_toml(draw: st.DrawFn, spelling: Spelling, said: Said, path: Path) -> str:
    """Write a table, dotted keys, or an inline table; every one of them is the same to the reader."""
    shape = draw(st.sampled_from(["table", "table", "dotted", "inline"]))
    lines = ["[tool.other]", "jux_sign = 'perhaps'"] if shape == "table" and draw(st.booleans()) else []
    lines += [f"[{spelling.header}] # mine"] if shape == "table" else []
    parts = []
    for name, written in said.written.items():
        key = draw(st.sampled_from([name, f'"{name}"', f"'{name}'"]))
        equals = draw(st.sampled_from([" = ", "=", "\t=  "]))
        value = toml_value(draw, written)
        parts.append(f"{key}{equals}{value}")
        if shape == "inline":
            said.where[name] = ("", path, 1)
            continue
        said.where[name] = ("", path, len(lines) + 1)
        tail = draw(st.sampled_from(["", "  ", " # comment", " # jux_sign = true"]))
        lines += [(parts[-1] if shape == "table" else f"{spelling.header}.{parts[-1]}") + tail]
        if isinstance(written.native, list) and draw(st.booleans()):
            lines[-1:] = (
                lines[-1]
                .replace(
                    value,
                    "[\n" + ",\n".join(f"  {json.dumps(item, ensure_ascii=False)}" for item in written.native) + "\n]",
                    1,
                )
                .split("\n")
            )
    if shape == "inline" and parts:
        lines = [f"{spelling.header} = {{ {', '.join(parts)} }} # all"]
    return draw(ENDS).join([*lines, ""])


def toml_value(draw: st.DrawFn, written: Written) -> str:
    if written.native is not None and draw(st.booleans()):
        return json.dumps(written.native, ensure_ascii=False)
    literal = "'" not in written.text and draw(st.booleans())
    return f"'{written.text}'" if literal else json.dumps(written.text, ensure_ascii=False)


def write_file(draw: st.DrawFn, spelling: Spelling, said: Said, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = (write_toml if spelling.is_toml else write_ini)(draw, spelling, said, path)
    path.write_bytes(text.encode())
    path.chmod(0o600)


# --- the property ----------------------------------------------------------------------------------------------------


@for_all(st.data())
@hypothesis_settings(
    max_examples=EXAMPLES, deadline=None, derandomize="CI" in os.environ, suppress_health_check=list(HealthCheck)
)
def test_values_and_their_places_are_what_the_model_says(data: st.DataObject) -> None:
    with contextlib.ExitStack() as stack:
        root = Path(os.path.realpath(stack.enter_context(tempfile.TemporaryDirectory())))
        home, project, start = root / "home", root / "work", root / "work" / "sub"
        for directory in (home, start, project / ".git"):
            directory.mkdir(parents=True)
        kind = data.draw(st.sampled_from(PYTEST))
        places = {
            Layer.SYSTEM: (JUX, root / "etc" / "config"),
            Layer.USER: (JUX, home / ".jux" / "config"),
            Layer.PROJECT_PYTEST: (kind, project / kind.name),
            Layer.PROJECT: (JUX, data.draw(st.sampled_from([start, project])) / ".jux.conf"),
        }
        layers = []
        for layer, (spelling, path) in places.items():
            said = Said(layer, path.parent, data.draw(SETS))
            if said.written or data.draw(st.booleans()):
                write_file(data.draw, spelling, said, path)
            layers.append(said)

        environment = Said(Layer.ENVIRONMENT, start, data.draw(SETS))
        environment.where = {name: (name.upper(), None, None) for name in environment.written}
        overriding = Said(Layer.COMMAND_LINE, start, data.draw(SETS))
        overriding.where = dict.fromkeys(overriding.written, ("-o", None, None))
        overrides = [f"-o{name}={written.text}" for name, written in overriding.written.items()]
        flags = Said(Layer.COMMAND_LINE, start, {n: w for n, w in data.draw(SETS).items() if w.text})
        command_line: dict[str, object] = {}
        for name, written in flags.written.items():
            option = OPTIONS[name]
            command_line[name] = written.value if option.type == "bool" else list(written.items) or written.text
            flag = "--no" + option.flag.removeprefix("-") if command_line[name] is False else option.flag
            flags.where[name] = (flag, None, None)
        # A flag that switches the plugin on says so below what -o and --jux-enabled say.
        enabling = [name for name, option in OPTIONS.items() if option.enables and command_line.get(name) is True]
        implied = [
            Said(
                Layer.COMMAND_LINE,
                start,
                {"jux_enabled": Written("true", value=True)},
                {"jux_enabled": (OPTIONS[name].flag, None, None)},
            )
            for name in enabling
        ]

        settings = config.load(
            start=start,
            home=home,
            system_file=root / "etc" / "config",
            environ={"KEYS": "/keys", "NAME": "mine"} | {n.upper(): w.text for n, w in environment.written.items()},
            command_line=command_line,
            pytest_arguments=overrides,
        )
        layers += [environment, *implied, overriding, flags]
        for name, option in OPTIONS.items():
            assert told(settings.explain(name)) == model(option, layers, home)
