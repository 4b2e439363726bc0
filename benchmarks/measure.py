"""CPU time, compared within one run.

Contenders take turns, and the order changes from round to round. A ratio is taken within a round, so that a machine
that is busy or changes its clock disturbs both sides; what is reported is the median of these ratios.
"""

from __future__ import annotations

import ctypes
import gc
import os
import random
import subprocess
import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

Contender: TypeAlias = "Callable[[], float]"  # does its work once and returns seconds of CPU


# glibc puts small pieces of memory that are freed aside, and joins them when a large piece is next asked for. After a
# tree of a hundred thousand elements this takes a fifth of the whole time, and would fall to whoever comes next.
_LARGE = 100_000  # bytes; more is mapped from the system instead


@dataclass(frozen=True)
class Comparison:
    """One contender against the baseline: medians in seconds of CPU, the ratio and its 95 % interval."""

    baseline: float
    seconds: float
    ratio: float
    low: float
    high: float
    rounds: int

    def __str__(self) -> str:
        return f"{self.ratio:.2f} ({self.low:.2f} to {self.high:.2f})"


def compare(
    baseline: Contender,
    others: Mapping[str, Contender],
    *,
    seconds: float,
    least: int = 5,
    most: int = 60,
    warm_up: bool = True,
) -> dict[str, Comparison]:
    """Return how each of `others` compares with `baseline`.

    Rounds are played until `seconds` of wall-clock time are over, but at least `least` and at most `most`. With
    `warm_up`, one more before them does not count.
    """
    contenders = [baseline, *others.values()]
    if warm_up:
        _play(contenders)
    rounds: list[list[float]] = []
    end = time.monotonic() + seconds
    while len(rounds) < least or (len(rounds) < most and time.monotonic() < end):
        turn = len(rounds)
        order = range(len(contenders)) if turn % 2 else range(len(contenders) - 1, -1, -1)
        found = dict(zip(order, _play([contenders[index] for index in order]), strict=True))
        rounds.append([found[index] for index in range(len(contenders))])
    return {name: _compared(rounds, index) for index, name in enumerate(others, start=1)}


def in_process(function: Callable[[bytes], object], data: bytes, *, repetitions: int = 1) -> Contender:
    """A contender that calls `function` on `data`; freeing what it returns counts as its work."""

    def run() -> float:
        gc.collect()
        _give_memory_back()
        start = time.process_time()
        for _ in range(repetitions):
            function(data)
        bytes(_LARGE)  # asks the allocator to finish freeing
        return (time.process_time() - start) / repetitions

    return run


def process(command: Sequence[str | Path], *, directory: Path, environment: Mapping[str, str]) -> Contender:
    """A contender that runs a command that is to succeed, its start included."""

    def run() -> float:
        child = subprocess.Popen(
            command, cwd=directory, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        with child:
            assert child.stderr is not None
            errors = child.stderr.read()
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            raise subprocess.CalledProcessError(child.returncode, command, stderr=errors.decode(errors="replace"))
        return usage.ru_utime + usage.ru_stime

    return run


def _give_memory_back() -> None:
    """Let every sample begin as a process does that has seen no report yet.

    Whether an operation finds memory that the one before it has freed depends on what else lies in the heap, and makes
    more of a difference than most of what is measured here.
    """
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):  # not glibc
        return


def _play(contenders: Sequence[Contender]) -> list[float]:
    return [contender() for contender in contenders]


def _compared(rounds: Sequence[Sequence[float]], index: int) -> Comparison:
    ratios = [found[index] / found[0] for found in rounds]
    low, high = _interval(ratios)
    return Comparison(
        baseline=median(found[0] for found in rounds),
        seconds=median(found[index] for found in rounds),
        ratio=median(ratios),
        low=low,
        high=high,
        rounds=len(rounds),
    )


def _interval(ratios: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the median, by bootstrap."""
    choice = random.Random(0)  # noqa: S311 - statistics
    medians = sorted(median(choice.choices(ratios, k=len(ratios))) for _ in range(1_000))
    return medians[25], medians[974]
