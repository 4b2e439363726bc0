"""What the commands cost that people type all day, in stores of every size, and what it costs to store a report."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from measure import Comparison, Contender, compare, process

from pytest_jux.storage import ReportStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

SIZES = (1_000, 100_000)
_MEGABYTE = 1 << 20
_SHORT = 0.1  # seconds; of less, more digits are worth showing
_CASE = b'<testcase classname="suite.test_module" name="test_%06d" time="0.001"/>'


@dataclass(frozen=True)
class Cost:
    """One figure beside its target: a ratio to a baseline, or of `unit` where `baseline` is ""; None is no target."""

    what: str
    baseline: str
    target: float | None
    figure: Comparison | float
    unit: str = "s"

    @property
    def value(self) -> float:
        """The figure itself."""
        return self.figure if isinstance(self.figure, float) else self.figure.ratio

    def __str__(self) -> str:
        unit = "" if self.baseline else f" {self.unit}"
        if not isinstance(self.figure, float):
            return str(self.figure)
        return f"{self.figure:.{2 if self.figure >= _SHORT else 4}f}{unit}"


def make_store(directory: Path, reports: int) -> Path:
    """Make a store with so many small reports; nothing is flushed, and the content does not match the names."""
    for name in ("reports", "metadata"):
        (directory / name).mkdir(parents=True)
    summary = {"tests": 42, "passed": 40, "failures": 2, "errors": 0, "skipped": 0, "flaky": 0, "time": 1.5}
    for number in range(reports):
        digits = hashlib.sha256(str(number).encode()).hexdigest()
        facts = {"canonical_hash": f"sha256:{digits}", "summary": summary, "signed": True, "project": "store"}
        (directory / "reports" / f"sha256-{digits}.xml").write_bytes(b'<testsuite name="made up"/>')
        (directory / "metadata" / f"sha256-{digits}.json").write_text(json.dumps(facts), encoding="utf-8")
    return directory


def command_costs(
    programs: Path, directory: Path, variables: Mapping[str, str], *, quick: bool, say: Callable[[str], None]
) -> list[Cost]:
    """Compare `jux-config` and `jux-cache` with a bare `python -c pass`, and time them in the largest store."""
    plain, configured = directory / "plain", directory / "configured"
    for place in (plain, configured):
        place.mkdir(parents=True)
    (plain / ".jux.conf").write_text("[jux]\nenabled = true\nsign = true\nkey_path = key.pem\n", encoding="utf-8")
    (configured / "pytest.ini").write_text("[pytest]\njux_enabled = true\njux_project = bench\n", encoding="utf-8")

    def run(place: Path, *command: str | Path) -> Contender:
        return process(command, directory=place, environment=variables)

    pairs = 8 if quick else 30
    costs = []
    bare = run(plain, programs / "python", "-c", "pass")
    others = {
        ("`jux-config dump`, a `.jux.conf`", 6.0): run(plain, programs / "jux-config", "dump"),
        ("`jux-config dump`, a `pytest.ini` with our options", 6.0): run(configured, programs / "jux-config", "dump"),
    }
    smallest = make_store(directory / "small", SIZES[0])
    for arguments in (("list", "--limit", "20"), ("stats",)):
        command = (programs / "jux-cache", *arguments, "--storage-path", smallest)
        others[f"`jux-cache {' '.join(arguments)}`, {SIZES[0]:,} reports", 8.0] = run(plain, *command)
    say("jux-config and jux-cache, against a bare python")
    found = compare(bare, {what: other for (what, _), other in others.items()}, seconds=120, least=pairs, most=pairs)
    costs += [Cost(what, "`python -c pass`", target, found[what]) for what, target in others]
    if quick:
        return costs
    say(f"a store with {SIZES[1]:,} reports")
    largest = make_store(directory / "large", SIZES[1])
    for arguments in (("list", "--limit", "20"), ("stats",)):
        contender = run(plain, programs / "jux-cache", *arguments, "--storage-path", largest)
        contender()
        seconds = median(contender() for _ in range(7))
        costs.append(Cost(f"`jux-cache {' '.join(arguments)}`, {SIZES[1]:,} reports, CPU", "", 0.5, seconds))
    return costs


def storing_cost(directory: Path, *, quick: bool) -> Cost:
    """Compare storing a report of 1 MB with write, fsync and rename of the same bytes; here the clock counts."""
    directory.mkdir()
    storage = ReportStorage(directory / "store")
    numbers = iter(range(1_000_000))

    def report() -> bytes:
        number = next(numbers)
        cases = _CASE % number * (_MEGABYTE // len(_CASE))
        return b'<testsuite name="%d">%s</testsuite>' % (number, cases)

    def store() -> float:
        data = report()
        identity = f"sha256:{hashlib.sha256(data).hexdigest()}"
        start = time.perf_counter()
        storage.store(data, identity, {"hostname": "bench", "git": {"commit": "0" * 40}}, signed=True)
        return time.perf_counter() - start

    def bare() -> float:
        data = report()
        path = directory / f"{next(numbers)}.xml"
        start = time.perf_counter()
        descriptor = os.open(path.with_suffix(".tmp"), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        os.write(descriptor, data)
        os.fsync(descriptor)
        os.close(descriptor)
        path.with_suffix(".tmp").replace(path)
        return time.perf_counter() - start

    rounds = 20 if quick else 200
    found = compare(bare, {"store": store}, seconds=60, least=rounds, most=rounds)["store"]
    return Cost("storing a report of 1 MB, by the clock", "write, fsync, rename", 1.5, found)
