"""Text for people: what a report or the system says, made safe for a terminal."""

from __future__ import annotations

import re
import unicodedata

_SECRET = re.compile(
    r"TOKEN|SECRET|PASS|_?PWD|_PW(?![A-Z])|KEY|CREDENTIAL|AUTH|COOKIE|SIGNATURE|JWT|BEARER|DSN|PRIVATE|WEBHOOK(_UR[IL])?(?![A-Z_])"
    r"|CONN(ECTION)?_?STR",
    re.IGNORECASE,
)
# What is secret whatever its name: private keys, JSON web tokens, tokens of well-known services, passwords in a list.
_SECRET_TEXT = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY|\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\."
    r"|\bgh[pousr]_\w{20,}|\bglpat-[\w-]{10,}|\bAKIA[A-Z0-9]{16}\b"
    r"|(?i:\b(password|passwd|pwd|accountkey|sharedaccesskey|secret)\s*=\s*\S)"
)
_KEPT = {"\n", "\t"}
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # controls, bidi overrides, surrogates, unassigned, separators


def visible(text: str, *, multiline: bool = False) -> str:
    r"""Return `text` with control characters, terminal escapes and bidi overrides written as `\x1b` and the like.

    With `multiline`, line feeds and tabs are kept.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character
        if (multiline and character in _KEPT) or unicodedata.category(character) not in _HIDDEN
        else _escape(character)
        for character in text
    )


def names_a_secret(name: str) -> bool:
    """Tell whether something of this name, a variable say, is to be kept secret whatever it holds."""
    return _SECRET.search(name) is not None


def holds_a_secret(text: str) -> bool:
    """Tell whether a text has something in it that can only be a secret."""
    return _SECRET_TEXT.search(text) is not None


def encodable(text: str, encoding: object) -> str:
    """Return `text` with what `encoding` cannot represent replaced: marks by ASCII ones, the rest by escapes."""
    try:
        text.encode(encoding if isinstance(encoding, str) else "ascii")
    except (UnicodeEncodeError, LookupError):
        for mark, ascii_mark in _ASCII_MARKS.items():
            text = text.replace(mark, ascii_mark)
        return text.encode("ascii", "backslashreplace").decode("ascii")
    return text


_ASCII_MARKS = {"✓": "+", "✗": "x", "⚠": "!", "…": "..."}


def _escape(character: str) -> str:
    code = ord(character)
    if code <= 0xFF:  # noqa: PLR2004 - two hexadecimal digits
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - four digits, or eight


def plural(number: int, noun: str) -> str:
    """Return `1 test` or `2 tests`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


_UNITS = ("kB", "MB", "GB", "TB")
_FACTORS = {"": 1, "b": 1} | {
    unit: factor**power
    for power, letter in enumerate("kmgt", 1)
    for unit, factor in ((letter, 1000), (letter + "b", 1000), (letter + "ib", 1024))
}


def parse_size(text: str) -> int:
    """Return the bytes that `500 MB`, `1.5GiB`, `2k` or `1048576` mean; raises ValueError for anything else."""
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?)\s*([a-z]*)", text.strip().lower(), re.ASCII)
    if match is None or match[2] not in _FACTORS:
        raise ValueError(f"not a size: {text!r}")
    return int(float(match[1]) * _FACTORS[match[2]])


def show_size(size: float) -> str:
    """Return a number of bytes for people: `512 bytes`, `2.4 MB`, in powers of 1000."""
    if size < 1000:  # noqa: PLR2004 - as the docstring says
        return plural(int(size), "byte")
    power = 1
    while power < len(_UNITS) and size / 1000**power >= 999.95:  # noqa: PLR2004 - what would be shown as 1000.0
        power += 1
    return f"{size / 1000**power:,.1f} {_UNITS[power - 1]}"
