"""Tracebacks with the colours that they had in a terminal, as text that cannot be anything else."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from ansi2html import Ansi2HTMLConverter
from markupsafe import Markup

from pytest_jux.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST = 300_000  # characters
# XML cannot hold the control character ESC; pytest writes it as `#x1B`.
_ESCAPE = re.compile(r"#x1[bB](?=[\[\]()])")
# What terminals obey besides colours (ECMA-48): other control sequences, and commands such as links with their address.
_OTHERS = re.compile(
    "\x1b\\[[0-9;:<=>?]*+[ -/]*+[@-ln-~]"  # control sequences that do not end in m
    "|\x1b\\](?:[^\x07\x1b#\n]++|#(?!x07|x1[bB]\\\\))*+(?:\x07|\x1b\\\\|#x07|#x1[bB]\\\\)"
    "|\x1b[()][0-9A-B]"
)
_COLOURS = re.compile("((?:\x1b\\[[0-9;:<=>?]*+[ -/]*+m)++)")
_PARAMETERS = re.compile("\x1b\\[([0-9;:]*+)m")  # with others it is no colour
_KNOWN = {0, 1, 2, 3, 4, 9, *range(22, 25), *range(30, 38), 39, *range(40, 48), 49, *range(90, 98), *range(100, 108)}
_ESC = "\x1b"
_DIGITS = 3  # of a code
_TEXT, _BACKGROUND = 38, 48  # codes before a colour of 256, or of all
_FIELDS_OF = {5: 1, 2: 3}  # the number of one of 256, or red, green and blue
_BRIGHT = 8  # where they begin among the sixteen
_CUBE, _GREYS = 16, 232  # where they begin among the 256
_LEVELS = (0, 95, 135, 175, 215, 255)
#: The sixteen colours that have a class, as xterm has them.
_SIXTEEN = (
    *((0, 0, 0), (205, 0, 0), (0, 205, 0), (205, 205, 0), (0, 0, 238), (205, 0, 205), (0, 205, 205), (229, 229, 229)),
    *((127, 127, 127), (255, 0, 0), (0, 255, 0), (255, 255, 0), (92, 92, 255), (255, 0, 255), (0, 255, 255)),
    (255, 255, 255),
)


def coloured(text: str) -> Markup:
    """Return a text as HTML: `span` elements with classes of `ansi.css` for colours, everything else escaped.

    Colours besides the sixteen that have a class become the nearest of these. Control and bidi characters are made
    visible; of a very long text the beginning is shown.
    """
    cut = text[:_LONGEST] + ("…" if len(text) > _LONGEST else "")
    plain = _OTHERS.sub("", _ESCAPE.sub(_ESC, cut))
    safe = "".join(_safe(plain))
    if _ESC not in safe:
        return Markup.escape(safe)
    # A converter remembers the colours that were not reset, so each text has its own.
    return Markup(Ansi2HTMLConverter(inline=False, escaped=True).convert(safe, full=False))  # noqa: S704 - it escapes


def _safe(text: str) -> Iterator[str]:
    """Give the parts of a text: colours that we have classes for, and what is between them."""
    for number, part in enumerate(_COLOURS.split(text)):
        if number % 2 == 0:
            yield visible(part, multiline=True)
            continue
        codes: dict[int, None] = {}  # the last of each, in their order
        for parameters in _PARAMETERS.findall(part):
            for code in _codes(parameters):
                codes.pop(code, None)
                codes[code] = None
        known = [str(code) for code in codes if code in _KNOWN]
        if known:
            yield f"{_ESC}[{';'.join(known)}m"


def _codes(parameters: str) -> Iterator[int]:
    """Give the codes of a sequence, those of the sixteen colours for all others."""
    fields = iter(parameters.split(";"))
    for field in fields:
        code, *more = map(_number, field.split(":"))
        if code not in {_TEXT, _BACKGROUND}:
            yield code + 20 if more == [0] and code in _KNOWN else code  # 4:0 is 24, no line
            continue
        kind, *values = more or [_number(next(fields, ""))]
        if kind in _FIELDS_OF:
            given = values if more else [_number(next(fields, "")) for _ in range(_FIELDS_OF[kind])]
            yield _nearest(tuple(given[-_FIELDS_OF[kind] :])) + code - _TEXT


def _number(digits: str) -> int:
    """Return what a field says: 0 where it is empty, -1 for what no terminal knows."""
    if not digits:
        return 0
    return int(digits) if digits.isdigit() and len(digits) <= _DIGITS else -1


@lru_cache(maxsize=1024)
def _nearest(values: tuple[int, ...]) -> int:
    """Return the code of the text colour that is most like a colour: the number of one of 256, or red, green, blue."""
    wanted = _one_of_256(values[0]) if len(values) == 1 else values
    distances = [sum((a - b) ** 2 for a, b in zip(one, wanted, strict=False)) for one in _SIXTEEN]
    nearest = distances.index(min(distances))
    return nearest + (30 if nearest < _BRIGHT else 90 - _BRIGHT)


def _one_of_256(number: int) -> tuple[int, ...]:
    if number < _CUBE:
        return _SIXTEEN[max(number, 0)]
    if number < _GREYS:
        cube = number - _CUBE
        return _LEVELS[cube // 36], _LEVELS[cube // 6 % 6], _LEVELS[cube % 6]
    return (8 + 10 * (number - _GREYS),) * 3
