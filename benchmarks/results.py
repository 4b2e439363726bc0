"""What was measured, and the page that shows it."""

from __future__ import annotations

import datetime as dt
import os
import platform
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING

from cryptography.hazmat.backends.openssl import backend
from lxml import etree
from operations import FLOOR, SIGN, SIGNXML, VERIFY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from measure import Comparison
    from stores import Cost

CPU_TARGET = 1.25  # times the floor, from CPU_TARGET_CASES up
CPU_TARGET_CASES = 1_000
MEMORY_TARGET = 5.0  # times the file
PLUGIN_TARGET = 1.02  # times pytest without the plugin
COMMAND_TARGET = 1.5  # times a process that imports lxml and cryptography's X.509


@dataclass
class Cell:
    """A report and its measurements; memory in multiples of the file."""

    shape: str
    cases: int
    size: int
    ours: dict[str, Comparison] = field(default_factory=dict)
    beside: dict[str, Comparison] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.shape}, {self.cases:,}"


@dataclass
class Results:
    """Everything that one run found."""

    quick: bool
    cells: list[Cell] = field(default_factory=list)
    plugin: Comparison | None = None
    command: Comparison | None = None
    costs: list[Cost] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    load: tuple[float, ...] = field(default_factory=lambda: os.getloadavg() if hasattr(os, "getloadavg") else ())
    started: float = field(default_factory=time.monotonic)
    seconds: float = 0.0


def render(found: Results) -> str:
    """Return the page as Markdown."""
    sections = (_head, _targets, _cpu, _memory, _beside, _start_up, _method)
    return "\n\n".join(section(found) for section in sections).rstrip() + "\n"


def _head(found: Results) -> str:
    when = dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
    load = f", load {found.load[0]:.1f} at the start and {os.getloadavg()[0]:.1f} at the end" if found.load else ""
    lines = [
        "# Speed and memory",
        "",
        "Written by `make bench`. Ratios are medians of rounds within one run; the 95 % interval is in parentheses.",
        "",
        f"- {when}, {found.seconds / 60:.1f} minutes{', --quick' if found.quick else ''}",
        f"- {platform.system()} on {platform.machine()}, {os.cpu_count()} processors{load}",
        f"- {_versions()}",
        *(f"- **could not be measured:** {failure}" for failure in found.failures),
    ]
    return "\n".join(lines)


def _versions() -> str:
    names = ("pytest-jux", "lxml", "cryptography", "urllib3", "signxml", "pytest")
    libxml2 = ".".join(str(part) for part in etree.LIBXML_VERSION)
    versions = [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in names)]
    versions.insert(3, f"libxml2 {libxml2}")
    xmlsec1 = shutil.which("xmlsec1")
    if xmlsec1:
        words = subprocess.run([xmlsec1, "--version"], check=False, capture_output=True, text=True).stdout.split()
        versions.append(" ".join(words[:2]))
    return ", ".join([*versions, backend.openssl_version_text()])


def _targets(found: Results) -> str:
    rows = []
    for operation in (SIGN, VERIFY):
        cells = [cell for cell in found.cells if cell.cases >= CPU_TARGET_CASES]
        what = f"CPU of {operation}, from {CPU_TARGET_CASES:,} cases up, times the floor"
        rows.append(_worst(what, CPU_TARGET, cells, lambda cell, name=operation: cell.ours[name].ratio))
    for operation in (SIGN, VERIFY):
        cells = [cell for cell in found.cells if cell.memory]
        what = f"peak memory growth of {operation}, times the file"
        rows.append(_worst(what, MEMORY_TARGET, cells, lambda cell, name=operation: cell.memory[name]))
    for what, target, comparison in (
        ("CPU of pytest with the disabled plugin, times without", PLUGIN_TARGET, found.plugin),
        ("CPU of `jux-verify` on a small report, times the imports alone", COMMAND_TARGET, found.command),
    ):
        if comparison is None:
            rows.append([what, f"≤ {target}", "not measured", "", ""])
        else:
            rows.append([what, f"≤ {target}", f"{comparison.ratio:.3f}", "", _verdict(comparison.ratio, target)])
    rows += [
        [_named(cost), f"≤ {cost.target:.3g}", f"{cost.value:.3g}", "", _verdict(cost.value, cost.target)]
        for cost in found.costs
        if cost.target is not None
    ]
    return "## Targets\n\n" + _table(["what", "target", "worst", "where", ""], rows)


def _named(cost: Cost) -> str:
    return f"{cost.what}, times {cost.baseline}" if cost.baseline else f"{cost.what}, {cost.unit}"


def _worst(what: str, target: float, cells: list[Cell], value: Callable[[Cell], float]) -> list[str]:
    if not cells:
        return [what, f"≤ {target}", "not measured", "", ""]
    worst = max(cells, key=value)
    met = sum(value(cell) <= target for cell in cells)
    verdict = _verdict(value(worst), target)
    if 0 < met < len(cells):
        verdict += f" ({met} of {len(cells)} reports meet it)"
    return [what, f"≤ {target}", f"{value(worst):.2f}", worst.name, verdict]


def _verdict(value: float, target: float) -> str:
    return "met" if value <= target else "**not met**"


def _cpu(found: Results) -> str:
    rows = []
    for cell in found.cells:
        row = [cell.shape, f"{cell.cases:,}", f"{cell.size / 1e6:.2f}"]
        for operation in (SIGN, VERIFY):
            ours = cell.ours[operation]
            row += [f"{ours.baseline * 1e3:.2f}", f"{ours.seconds * 1e3:.2f}", str(ours)]
            row.append("" if cell.cases < CPU_TARGET_CASES else _verdict(ours.ratio, CPU_TARGET))
        rows.append(row)
    head = ["shape", "cases", "MB", "floor, ms", "sign, ms", "sign", "", "floor, ms", "verify, ms", "verify", ""]
    text = (
        "## CPU against the floor\n\n"
        "The floor is what no program can do without: lxml's parser, `etree.tostring(method='c14n')`, SHA-256 and, for "
        "signing, one RSA-2048 signature. Below 1,000 cases the fixed costs show (for verifying, RSA and X.509, which "
        "its floor leaves out); there is no target for them.\n\n"
    )
    return text + _table(head, rows)


def _memory(found: Results) -> str:
    order = (FLOOR[SIGN], SIGN, SIGNXML[SIGN], FLOOR[VERIFY], VERIFY, SIGNXML[VERIFY])
    rows = []
    for cell in found.cells:
        if not cell.memory:
            continue
        met = "; ".join(f"{name}: {_verdict(cell.memory[name], MEMORY_TARGET)}" for name in (SIGN, VERIFY))
        rows.append(
            [cell.shape, f"{cell.cases:,}", f"{cell.size / 1e6:.1f}", *(f"{cell.memory[n]:.1f}" for n in order), met]
        )
    text = (
        "## Peak memory growth, times the file\n\n"
        "Each figure is a fresh process that has loaded everything and read the file. The floor is lxml's tree and the "
        "canonical form in memory; a tree of elements that have many attributes and little text is the larger part.\n\n"
    )
    return text + _table(["shape", "cases", "MB", *order, ""], rows)


def _beside(found: Results) -> str:
    names = (SIGNXML[SIGN], SIGNXML[VERIFY], "jux-verify", "xmlsec1")
    rows = []
    for cell in found.cells:
        measured = (cell.beside.get(name) for name in names)
        figures = [f"{other.ratio:.1f} ({other.seconds * 1e3:.1f} ms)" if other else "-" for other in measured]
        own = [f"{cell.ours[operation].ratio:.2f}" for operation in (SIGN, VERIFY)]
        rows.append([cell.shape, f"{cell.cases:,}", own[0], figures[0], own[1], *figures[1:]])
    text = (
        "## Beside other tools, CPU times the same floor\n\n"
        "`jux-verify` and `xmlsec1` are whole processes, their start included; the other columns are calls in a "
        "running one. signxml has the same profile, a pinned certificate and its strictest settings.\n\n"
    )
    head = ["shape", "cases", "sign", "signxml sign", "verify", "signxml verify"]
    return text + _table([*head, "`jux-verify` process", "`xmlsec1 --verify` process"], rows)


def _start_up(found: Results) -> str:
    rows = []
    for what, target, comparison in (
        ("pytest, one test: plugin installed and disabled / not installed", PLUGIN_TARGET, found.plugin),
        ("`jux-verify --cert` of a report with 10 cases / importing lxml and X.509", COMMAND_TARGET, found.command),
    ):
        if comparison is None:
            rows.append([what, "", "", "not measured", f"≤ {target}", ""])
            continue
        ratio = f"{comparison.ratio:.3f} ({comparison.low:.3f} to {comparison.high:.3f})"
        times = [f"{seconds * 1e3:.1f}" for seconds in (comparison.seconds, comparison.baseline)]
        rows.append([what, *times, ratio, f"≤ {target}", _verdict(comparison.ratio, target)])
    for cost in found.costs:
        times = ["", ""]
        if not isinstance(cost.figure, float):
            times = [f"{seconds * 1e3:.1f}" for seconds in (cost.figure.seconds, cost.figure.baseline)]
        target, verdict = "", ""
        if cost.target is not None:
            target, verdict = f"≤ {cost.target:.3g}", _verdict(cost.value, cost.target)
        rows.append([_named(cost), *times, str(cost), target, verdict])
    return "## Commands, the store and publishing\n\n" + _table(
        ["what", "ms", "baseline, ms", "ratio", "target", ""], rows
    )


def _method(_found: Results) -> str:
    return """## How it is measured

- Reports are made by `benchmarks/reports.py` as pytest writes them: *lean* has passing cases only, *typical* 5 %
  failures and 10 % captured output, *verbose* is `junit_logging=all`.
- Time is CPU time, user and system, of the one process. Both sides of a ratio take turns within the run, and
  each begins without memory that is left over from the other.
- Memory is the growth of the peak resident size over the state just before the call, in one process per figure.
- The store with 100,000 reports is made up of small files; the clock, not CPU time, counts for storing, because most of
  it is waiting for the disk.
- Publishing is measured by the clock, against `benchmarks/answering.py`: a server of one thread on this machine, which
  answers 201 at once and checks nothing. The bare side sends the same bodies with urllib3 over one connection, and has
  them in memory; `jux-publish` reads the files, checks each signature, and starts a process. 60 % of the bare loop's
  requests per second are 1.67 times its time.
- Plugin and command are measured in two fresh environments with pinned packages and compiled modules, which differ in
  pytest-jux alone; no other pytest plugin is in them."""


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
