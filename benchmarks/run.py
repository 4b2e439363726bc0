"""Measure speed and memory and write benchmarks/RESULTS.md.

Ratios, not times: whether they meet the targets is written down, never asserted. The exit status is 0 if everything
could be measured.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

import environments
import memory
import publishing
import reports
import results
import serving
import stores
from environments import CouldNotMeasure
from measure import Comparison, Contender, compare, in_process, process
from operations import FLOOR, SIGN, SIGNXML, VERIFY, Material, operations
from results import Cell, Results

RESULTS = Path(__file__).resolve().parent / "RESULTS.md"
_IMPORTS = "from lxml import etree; from cryptography import x509"
_SUITE = "def test_one():\n    assert 1 + 1 == 2\n"
_MEMORY_FROM = 10_000  # cases; below, a file is smaller than the allocator's steps
_LARGEST = 100_000  # cases; a round with every tool takes long, and the first is no different from the others


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a rough idea within a minute; RESULTS.md is not written")
    quick = parser.parse_args().quick
    found = Results(quick=quick)
    with tempfile.TemporaryDirectory(prefix="jux-bench-") as name:
        bench = Bench(Path(name), found, quick=quick)
        for step in (bench.start_up, bench.publishing, bench.storing, bench.serving, bench.reports):
            try:
                step()
            except CouldNotMeasure as error:
                found.failures.append(str(error))
                print(f"could not measure: {error}", file=sys.stderr)
    found.seconds = time.monotonic() - found.started
    text = results.render(found)
    print(text)
    if not quick:
        RESULTS.write_text(text, encoding="utf-8")
        print(f"written to {RESULTS.relative_to(environments.ROOT)}", file=sys.stderr)
    return 1 if found.failures else 0


class Bench:
    """The measurements, in a directory of their own."""

    def __init__(self, directory: Path, found: Results, *, quick: bool) -> None:
        self.directory = directory
        self.found = found
        self.quick = quick
        self.material = Material.make()
        self.material.save(directory)
        self.certificate = directory / "certificate.pem"
        self.run = operations(self.material)
        self.home = directory / "plain-home"
        self.home.mkdir()
        self.both: environments.Environments | None = None

    def start_up(self) -> None:
        """What the disabled plugin costs every pytest run, and what `jux-verify` costs before it does anything."""
        _say("making two fresh environments")
        directory = self.directory / "environments"
        both = self.both = environments.make(directory)
        suite = directory / "suite"
        suite.mkdir()
        (suite / "test_one.py").write_text(_SUITE, encoding="utf-8")

        def in_suite(*command: str | Path) -> Contender:
            return process(command, directory=suite, environment=both.variables)

        pairs = 12 if self.quick else 60
        _say(f"pytest with the plugin installed and disabled, {pairs} pairs")
        self.found.plugin = compare(
            in_suite(both.without / "pytest"),
            {"plugin": in_suite(both.installed / "pytest")},
            seconds=120,
            least=pairs,
            most=pairs,
        )["plugin"]
        small = directory / "small.xml"
        small.write_bytes(self._signed(reports.make("typical", 10)))
        if not (both.installed / "jux-verify").exists():
            raise CouldNotMeasure("there is no jux-verify")
        _say("jux-verify on a small report")
        self.found.command = compare(
            in_suite(both.installed / "python", "-c", _IMPORTS),
            {"command": in_suite(both.installed / "jux-verify", "--cert", self.certificate, small)},
            seconds=60,
            least=pairs // 2,
            most=pairs // 2,
        )["command"]
        self.found.costs += stores.command_costs(
            both.installed, directory / "stores", both.variables, quick=self.quick, say=_say
        )

    def publishing(self) -> None:
        """What publishing costs beside what no client can do without."""
        if self.both is None:
            raise CouldNotMeasure("there are no fresh environments to publish from")
        place = self.directory / "publishing"
        self.found.costs += publishing.costs(
            self.both.installed, place, self.both.variables, quick=self.quick, say=_say
        )

    def storing(self) -> None:
        """What it costs to store a report, on the disk that the project is on."""
        _say("storing reports of 1 MB")
        with tempfile.TemporaryDirectory(prefix=".bench-", dir=environments.ROOT) as name:
            self.found.costs.append(stores.storing_cost(Path(name) / "disk", quick=self.quick))

    def serving(self) -> None:
        """What the server costs: taking reports in, space, answers with a million results, reading under load."""
        self.found.costs += serving.costs(quick=self.quick, say=_say)

    def reports(self) -> None:
        """Time and memory of signing and verifying reports of every shape and size."""
        shapes = ("lean", "typical") if self.quick else reports.SHAPES
        sizes = (10, 1_000, 10_000) if self.quick else reports.SIZES
        for shape in shapes:
            for cases in sizes:
                _say(f"a {shape} report with {cases:,} cases")
                self.found.cells.append(self._cell(shape, cases))

    def _cell(self, shape: str, cases: int) -> Cell:
        data = reports.make(shape, cases)
        signed = self._signed(data)
        files = {SIGN: self.directory / "report.xml", VERIFY: self.directory / "signed.xml"}
        files[SIGN].write_bytes(data)
        files[VERIFY].write_bytes(signed)
        cell = Cell(shape, cases, len(data))
        for operation, document in ((SIGN, data), (VERIFY, signed)):
            cell.ours[operation] = self._against_floor(operation, document, cases)
            cell.beside |= self._beside(operation, document, files[VERIFY], cases)
        if cases >= _MEMORY_FROM:
            for operation in (FLOOR[SIGN], SIGN, SIGNXML[SIGN], FLOOR[VERIFY], VERIFY, SIGNXML[VERIFY]):
                file = files[VERIFY if "verify" in operation else SIGN]
                cell.memory[operation] = memory.growth(operation, file, self.directory) / file.stat().st_size
        return cell

    def _against_floor(self, operation: str, data: bytes, cases: int) -> Comparison:
        repetitions = max(1, 2_000 // cases)  # a sample of a few milliseconds
        floor = in_process(self.run[FLOOR[operation]], data, repetitions=repetitions)
        ours = in_process(self.run[operation], data, repetitions=repetitions)
        seconds = 0.5 if self.quick else 3.0
        return compare(floor, {operation: ours}, seconds=seconds, least=5)[operation]

    def _beside(self, operation: str, data: bytes, file: Path, cases: int) -> dict[str, Comparison]:
        """Compare other people's tools with the floor; processes include their start."""
        repetitions = max(1, 200 // cases)
        floor = in_process(self.run[FLOOR[operation]], data, repetitions=repetitions)
        others = {SIGNXML[operation]: in_process(self.run[SIGNXML[operation]], data, repetitions=repetitions)}
        if operation == VERIFY:
            plain = environments.variables(self.home)
            jux_verify = Path(sysconfig.get_path("scripts")) / "jux-verify"
            command = (jux_verify, "--cert", self.certificate, file)
            others["jux-verify"] = process(command, directory=self.directory, environment=plain)
            xmlsec1 = shutil.which("xmlsec1")
            if xmlsec1:
                command = (xmlsec1, "--verify", "--enabled-key-data", "x509", "--trusted-pem", self.certificate, file)
                others["xmlsec1"] = process(command, directory=self.directory, environment=plain)
        seconds = 0.3 if self.quick else 1.0
        return compare(floor, others, seconds=seconds, least=3, warm_up=cases < _LARGEST)

    def _signed(self, data: bytes) -> bytes:
        signed = self.run[SIGN](data)
        assert isinstance(signed, bytes)
        return signed


def _say(what: str) -> None:
    load = f" (load {os.getloadavg()[0]:.1f})" if hasattr(os, "getloadavg") else ""
    print(f"... {what}{load}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
