"""How the cases of a run ended, packed into blocks of 256 test numbers.

A block holds what one run says of the tests whose number divided by 256 is the block's. So a run of 400 tests writes
two or three rows, and the history of a test reads one row of each run. The content is packed by zlib (RFC 1950):
the number of entries (32 bits), then for all of them the number within the block (8 bits), the outcome (8 bits,
`schema.Result`), the position in the report less that of the entry before (32 bits), and the duration in microseconds
(64 bits), all little-endian. A test that a report has more than once has as many entries.
"""

from __future__ import annotations

import sys
import zlib
from array import array
from heapq import nlargest
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from jux_server.store import schema
from jux_server.store.compression import compressed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

BLOCK = 256
SLOWEST = 50  # tests of each run that are remembered as its slowest
_LEVEL = 1
_PORTION = 900  # parameters of one statement
_FEW = 16  # blocks that are looked at before it is known whether more are needed


class Block(NamedTuple):
    """What one run says of the tests of one block: the n-th entry of each is the n-th case."""

    offsets: bytes  # test number = block * BLOCK + offset
    outcomes: bytes
    positions: Sequence[int]
    durations: Sequence[int]


class RunResults(NamedTuple):
    """All cases of a run in the order of the report: the n-th entry of each list is the case at position n."""

    test_ids: list[int]
    outcomes: list[int]
    durations: list[int]


class Found(NamedTuple):
    """How one test ended in one run."""

    run_id: int
    test_id: int
    position: int
    outcome: int
    duration: int


def pack(test_ids: Sequence[int], outcomes: Sequence[int], durations: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    """Give the blocks of a run, whose n-th case is the n-th entry of each list, with their contents."""
    positions: dict[int, list[int]] = {}
    for position, test_id in enumerate(test_ids):
        positions.setdefault(test_id // BLOCK, []).append(position)
    for block, found in positions.items():
        start = block * BLOCK
        numbers = array("I", [len(found)])
        steps = array("I", [found[0], *(after - before for before, after in pairwise(found))])
        lengths = array("Q", [durations[position] for position in found])
        raw = b"".join(
            (
                _bytes(numbers),
                bytes([test_ids[position] - start for position in found]),
                bytes([outcomes[position] for position in found]),
                _bytes(steps),
                _bytes(lengths),
            )
        )
        yield block, compressed(raw, _LEVEL)


def unpack(content: bytes) -> Block:
    """Return what `pack` has packed."""
    raw = zlib.decompress(content)
    (count,) = _array("I", raw[:4])
    ends = list(accumulate((4, count, count, 4 * count, 8 * count)))
    return Block(
        raw[ends[0] : ends[1]],
        raw[ends[1] : ends[2]],
        list(accumulate(_array("I", raw[ends[2] : ends[3]]))),
        _array("Q", raw[ends[3] : ends[4]]),
    )


def unpack_endings(content: bytes) -> tuple[bytes, bytes, Sequence[int]]:
    """Return offsets, outcomes and durations of what `pack` has packed, where positions do not matter."""
    raw = zlib.decompress(content)
    (count,) = _array("I", raw[:4])
    return raw[4 : 4 + count], raw[4 + count : 4 + 2 * count], _array("Q", raw[4 + 6 * count :])


def results_of_run(connection: sa.Connection, run_id: int) -> RunResults:
    """Return how all cases of a run ended."""
    table = schema.results.c
    found = connection.execute(sa.select(table.block, table.content).where(table.run_id == run_id))
    blocks = [(block, unpack(content)) for block, content in found]
    size = sum(len(entries.positions) for _, entries in blocks)
    ids, outcomes, durations = [0] * size, [0] * size, [0] * size
    for block, entries in blocks:
        start = block * BLOCK
        for offset, outcome, position, duration in zip(*entries, strict=True):
            ids[position] = start + offset
            outcomes[position] = outcome
            durations[position] = duration
    return RunResults(ids, outcomes, durations)


def results_of_tests(connection: sa.Connection, test_ids: Collection[int], run_ids: Sequence[int]) -> Iterator[Found]:
    """Give how some tests ended in some runs; a test that is in a run more than once comes as often."""
    for block, run_id, content, wanted in blocks_of_tests(connection, test_ids, run_ids):
        yield from _entries(block, run_id, unpack(content), wanted)


def blocks_of_tests(
    connection: sa.Connection, test_ids: Collection[int], run_ids: Sequence[int]
) -> Iterator[tuple[int, int, bytes, set[int]]]:
    """Give what some runs say of the blocks that some tests are in: block, run, packed content, the tests' offsets."""
    wanted = _by_block(test_ids)
    table = schema.results.c
    columns = sa.select(table.block, table.run_id, table.content)
    for portion in _portions(list(wanted)):
        for runs in _portions(run_ids):
            chosen = columns.where(table.block.in_(portion), table.run_id.in_(runs))
            for block, run_id, content in connection.execute(chosen):
                yield block, run_id, content, wanted[block]


def _by_block(test_ids: Collection[int]) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    for test_id in test_ids:
        found.setdefault(test_id // BLOCK, set()).add(test_id % BLOCK)
    return found


def runs_with_tests(connection: sa.Connection, test_ids: Collection[int], run_ids: Sequence[int]) -> set[int]:
    """Return those of the runs that have a result of any of the tests; no more is unpacked than that takes."""
    wanted = _by_block(test_ids)
    table = schema.results.c
    columns = sa.select(table.block, table.run_id, table.content)
    found: set[int] = set()
    blocks = list(wanted)
    for start in range(0, len(blocks), _FEW):
        missing = [run_id for run_id in run_ids if run_id not in found]
        chosen = columns.where(table.block.in_(blocks[start : start + _FEW]), table.run_id.in_(missing))
        for block, run_id, content in connection.execute(chosen) if missing else ():
            if run_id not in found and not wanted[block].isdisjoint(unpack(content).offsets):
                found.add(run_id)
    return found


def _entries(block: int, run_id: int, entries: Block, wanted: set[int]) -> Iterator[Found]:
    for offset in wanted:
        at = entries.offsets.find(offset)
        while at >= 0:
            yield Found(
                run_id, block * BLOCK + offset, entries.positions[at], entries.outcomes[at], entries.durations[at]
            )
            at = entries.offsets.find(offset, at + 1)


def test_numbers_in_use(connection: sa.Connection, blocks: Iterable[int]) -> Iterator[tuple[int, set[int]]]:
    """Give, for each of these blocks, the numbers of the tests that some run has results of."""
    table = schema.results.c
    for block in blocks:
        used: set[int] = set()
        for content in connection.execute(sa.select(table.content).where(table.block == block)).scalars():
            used.update(unpack(content).offsets)
        yield block, {block * BLOCK + offset for offset in used}


def slowest_tests(test_ids: Sequence[int], durations: Sequence[int]) -> bytes:
    """Return the numbers of the slowest tests of a run, slowest first, as `run.slowest` has them."""
    if len(test_ids) > SLOWEST:
        slowest = nlargest(SLOWEST, range(len(test_ids)), key=durations.__getitem__)
    else:
        slowest = sorted(range(len(test_ids)), key=durations.__getitem__, reverse=True)
    return _bytes(array("I", [test_ids[position] for position in slowest]))


def unpack_numbers(content: bytes) -> list[int]:
    """Return the test numbers that `slowest_tests` has packed."""
    return list(_array("I", content))


def _portions(values: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(values), _PORTION):
        yield values[start : start + _PORTION]


def _bytes(values: array[int]) -> bytes:
    if sys.byteorder == "big":
        values.byteswap()
    return values.tobytes()


def _array(kind: str, content: bytes) -> array[int]:
    values = array(kind)
    values.frombytes(content)
    if sys.byteorder == "big":
        values.byteswap()
    return values
