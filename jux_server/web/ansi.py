"""Tracebacks with the colours that they had in a terminal, as text that cannot be anything else."""

from __future__ import annotations

import re
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
    "\x1b\\[[0-9;:?<=>]*[ -/]*[@-ln-~]"  # control sequences that do not end in m
    "|\x1b\\][^\x07\x1b#\n]{0,4096}(?:\x07|\x1b\\\\|#x07)"
    "|\x1b[()][0-9A-B]"
)
_COLOUR = re.compile("(\x1b\\[[0-9;]{0,64}m)")
_EXTENDED = re.compile(r"(?:^|;)[34]8;(?:5;\d+|2;\d+;\d+;\d+)")  # of 256, or of all: there is no class for each
_KNOWN = {*range(5), 9, *range(22, 25), *range(30, 38), 39, *range(40, 48), 49, *range(90, 98), *range(100, 108)}
_ESC = "\x1b"


def coloured(text: str) -> Markup:
    """Return a text as HTML: `span` elements with classes of `ansi.css` for colours, everything else escaped.

    Control and bidi characters are made visible; of a very long text the beginning is shown.
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
    for part in _COLOUR.split(text):
        if _COLOUR.fullmatch(part):
            codes = _EXTENDED.sub("", part[2:-1]).strip(";").split(";")
            known = [code for code in codes if code.isdigit() and int(code) in _KNOWN]
            if known or codes == [""]:
                yield f"{_ESC}[{';'.join(known) or '0'}m"
        else:
            yield visible(part, multiline=True)
