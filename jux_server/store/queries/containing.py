"""Which runs have a test with a text in its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from jux_server.store import results, schema
from jux_server.store.queries.names import numbers_named

if TYPE_CHECKING:
    from collections.abc import Sequence


class Containing:
    """A search for a text, some runs at a time. Names are looked at only if these runs may have them, and each once."""

    def __init__(self, connection: sa.Connection, text: str) -> None:
        self._connection = connection
        self._text = text
        self._known: dict[int, set[int]] = {}  # block -> tests with the text, as far as blocks were looked at

    def of(self, run_ids: Sequence[int]) -> set[int]:
        """Return those of these runs that have such a test."""
        table = schema.results.c
        asked = sa.select(table.block).where(table.run_id.in_(run_ids)).distinct()
        blocks = list(self._connection.execute(asked).scalars())
        self._learn(set(blocks))
        # The blocks with most such tests first: they tell it of most runs, and the others need not be read.
        blocks.sort(key=lambda block: len(self._known[block]), reverse=True)
        numbers = [block * results.BLOCK + offset for block in blocks for offset in self._known[block]]
        return results.runs_with_tests(self._connection, numbers, run_ids)

    def _learn(self, blocks: set[int]) -> None:
        unknown = blocks - self._known.keys()
        if unknown:
            found = numbers_named(self._connection, self._text, unknown)
            self._known.update({block: found.get(block, set()) for block in unknown})
