"""Names of tests: which number has which, and which have a text in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from jux_server.store.results import BLOCK
from jux_server.store.schema import test

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_MOST_RANGES = 50
_PORTION = 500


def names_of(connection: sa.Connection, test_ids: Iterable[int]) -> dict[int, tuple[str, str]]:
    """Return class names and names of tests."""
    found: dict[int, tuple[str, str]] = {}
    for portion in portions(list(test_ids)):
        query = sa.select(test.c.id, test.c.classname, test.c.name).where(test.c.id.in_(portion))
        found.update({number: (classname, name) for number, classname, name in connection.execute(query)})
    return found


def named(connection: sa.Connection, text: str) -> sa.ColumnElement[bool]:
    """Return the condition that a test's class name or name contains a text, in any case."""
    columns = (test.c.name, test.c.classname)
    pattern = f"%{_escaped(text)}%"
    if connection.dialect.name != "sqlite":
        # The collation C knows the case of ASCII letters alone, and is several times as fast as those of languages.
        if text.isascii():
            return sa.or_(
                *(sa.func.lower(sa.collate(column, "C")).like(pattern.lower(), escape="/") for column in columns)
            )
        lowered = sa.func.lower(pattern)
        return sa.or_(*(sa.func.lower(column).like(lowered, escape="/") for column in columns))
    # SQLite's LIKE takes ASCII letters in any case by itself, which is three times as fast as lower(). It knows no
    # other letters; classes of GLOB do.
    found = sa.or_(*(column.like(pattern, escape="/") for column in columns))
    if text.isascii():
        return found
    glob = f"*{''.join(map(_class_of, text))}*"
    return sa.or_(*(column.op("GLOB", is_comparison=True)(glob) for column in columns))


def _escaped(text: str) -> str:
    return text.replace("/", "//").replace("%", "/%").replace("_", "/_")


def _class_of(letter: str) -> str:
    forms = sorted({form for form in (letter, letter.lower(), letter.upper()) if len(form) == 1})
    return f"[{''.join(forms)}]" if len(forms) > 1 or letter in "*?[" else letter


def numbers_named(connection: sa.Connection, text: str, blocks: Iterable[int]) -> dict[int, set[int]]:
    """Return which tests of some blocks have a text in their names: for each block, numbers less its first."""
    ranges = _ranges(sorted(set(blocks)))
    within = sa.or_(sa.false(), *(test.c.id.between(first * BLOCK, last * BLOCK + BLOCK - 1) for first, last in ranges))
    found: dict[int, set[int]] = {}
    for number in connection.execute(sa.select(test.c.id).where(within, named(connection, text))).scalars():
        found.setdefault(number // BLOCK, set()).add(number % BLOCK)
    return found


def _ranges(blocks: Sequence[int]) -> list[tuple[int, int]]:
    """Join neighbours, so that a statement stays short; where there are too many, what lies between them comes too."""
    found: list[tuple[int, int]] = []
    for block in blocks:
        if found and found[-1][1] + 1 == block:
            found[-1] = (found[-1][0], block)
        else:
            found.append((block, block))
    return found if len(found) <= _MOST_RANGES else [(blocks[0], blocks[-1])]


def portions(values: Sequence[int]) -> Iterator[Sequence[int]]:
    """Give the values in portions that one statement takes."""
    for start in range(0, len(values), _PORTION):
        yield values[start : start + _PORTION]
