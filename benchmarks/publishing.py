"""What publishing costs beside a bare POST of the same bytes, a bare Python, and a run that signs and stores only.

`python publishing.py [--quick]` measures nothing else, with the programs of this environment.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import answering
import environments
import reports
import urllib3
from environments import CouldNotMeasure
from measure import compare
from operations import SIGN, Material, operations
from stores import Cost

from pytest_jux import canonical_hash, wire
from pytest_jux.api_client import JuxAPIClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from measure import Contender

POST, LOOP = "a bare pooled POST", "a bare pooled loop"
ONE_TARGET = 3.0  # times the bare POST
MANY_TARGET = 1 / 0.6  # times the bare loop: 60 % of its requests per second
MEMORY_TARGET = 1.1  # times the peak with a fourth of the reports
COMMAND_TARGET = 0.5  # seconds: "well under a second"
_MANY = 1_000
_KEY = "0123456789abcdef0123456789abcdef"
_METADATA = {"hostname": "build-7", "username": "ci", "project": "shop", "git": {"commit": "0" * 40, "branch": "main"}}
_SUITE = "[pytest]\njux_enabled = true\njux_sign = true\njux_key_path = key.pem\njux_cert_path = certificate.pem\n"


def costs(
    programs: Path, directory: Path, variables: Mapping[str, str], *, quick: bool, say: Callable[[str], None]
) -> Iterator[Cost]:
    """Measure with the commands in `programs`; `directory` is made. The clock counts, on both sides, not CPU time."""
    directory.mkdir(parents=True)
    material = Material.make()
    material.save(directory)
    sign = operations(material)[SIGN]
    with answering.server() as url:
        run = _Programs(programs, directory, {**variables, "JUX_API_URL": url, "JUX_API_KEY": _KEY})
        say("one publish against a bare POST of the same bytes")
        for cases in (3, 500):
            yield from _one(sign(reports.make("typical", cases)), url, quick=quick)
        signed = [sign(_numbered(reports.make("typical", 10), number)) for number in range(4 * _MANY)]
        say(f"jux-publish of {_MANY:,} reports against a bare loop")
        yield from _many(run, signed[:_MANY], url, quick=quick)
        if not quick:
            say(f"memory of jux-publish, {_MANY:,} and {4 * _MANY:,} reports")
            yield _memory(run, signed)
        say("jux-publish of one report, its start included")
        yield from _command(run, signed[0], quick=quick)
        say("a test run that publishes against one that does not")
        yield _test_run(run, quick=quick)


def _one(data: bytes, url: str, *, quick: bool) -> Iterator[Cost]:
    """One call of the library, on a connection that is open; with its hash known, as in a run, and without."""
    identity = canonical_hash(data)
    body = wire.request_body(data, identity, _METADATA)
    headers = {**wire.request_headers(identity), "X-API-Key": _KEY}
    with JuxAPIClient(url, _KEY) as client, urllib3.PoolManager() as bare:
        contenders = {
            "hash known": _repeated(lambda: client.publish(data, _METADATA, canonical_hash=identity)),
            "hash not known": _repeated(lambda: client.publish(data, _METADATA)),
        }
        post = _repeated(lambda: bare.request("POST", url, body=body, headers=headers))
        found = compare(post, contenders, seconds=60, least=15 if quick else 60, most=15 if quick else 60)
    for name, comparison in found.items():
        target = ONE_TARGET if name == "hash known" else None
        yield Cost(f"one publish, {len(data) / 1e3:.0f} KB, {name}", POST, target, comparison)


def _many(run: _Programs, signed: Sequence[bytes], url: str, *, quick: bool) -> Iterator[Cost]:
    place = run.reports("many", signed)
    requests = []
    for data in signed:
        identity = canonical_hash(data)
        headers = {**wire.request_headers(identity), "X-API-Key": _KEY}
        requests.append((wire.request_body(data, identity, _METADATA), headers))

    def loop() -> float:
        with urllib3.PoolManager() as bare:
            start = time.perf_counter()
            for body, headers in requests:
                bare.request("POST", url, body=body, headers=headers)
            return time.perf_counter() - start

    jobs = ("1", "4")
    others = {number: run.timed("jux-publish", place, "--quiet", "--jobs", number) for number in jobs}
    rounds = 3 if quick else 15
    for number, comparison in compare(loop, others, seconds=300, least=rounds, most=rounds).items():
        target = MANY_TARGET if number == "1" else None
        yield Cost(f"`jux-publish --jobs {number}` of {len(signed):,} reports", LOOP, target, comparison)


def _memory(run: _Programs, signed: Sequence[bytes]) -> Cost:
    peaks = [run.peak("jux-publish", run.reports(f"{n}", signed[:n]), "--quiet") for n in (_MANY, len(signed))]
    what = f"peak memory of `jux-publish`, {len(signed):,} reports ({peaks[1] / 1e6:.0f} MB)"
    return Cost(what, f"with {_MANY:,}", MEMORY_TARGET, peaks[1] / peaks[0])


def _command(run: _Programs, data: bytes, *, quick: bool) -> Iterator[Cost]:
    place = run.reports("one", [data])
    rounds = 8 if quick else 30
    found = compare(
        run.timed("python", "-c", "pass"),
        {"one": run.timed("jux-publish", place, "--quiet")},
        seconds=60,
        least=rounds,
        most=rounds,
    )["one"]
    yield Cost("`jux-publish` of one report", "`python -c pass`", None, found)
    yield Cost("`jux-publish` of one report, by the clock", "", COMMAND_TARGET, found.seconds)


def _test_run(run: _Programs, *, quick: bool) -> Cost:
    """An empty suite that is signed and stored, with a server that is there and without publishing."""
    directory = run.directory / "suite"
    directory.mkdir()
    (directory / "pytest.ini").write_text(_SUITE, encoding="utf-8")
    for name in ("key.pem", "certificate.pem"):
        (directory / name).write_bytes((run.directory / name).read_bytes())
    (directory / "test_one.py").write_text("def test_one():\n    pass\n", encoding="utf-8")
    command = ("pytest", "-p", "no:cacheprovider", "--junit-xml=report.xml")
    rounds = 8 if quick else 30
    found = compare(
        run.timed(*command, directory=directory),
        {"publishing": run.timed(*command, "--jux-publish", directory=directory)},
        seconds=120,
        least=rounds,
        most=rounds,
    )["publishing"]
    return Cost("a run of one test that publishes", "one that signs and stores only", None, found)


class _Programs:
    """The programs of an environment, run in `directory`; each must succeed."""

    def __init__(self, programs: Path, directory: Path, variables: Mapping[str, str]) -> None:
        self.directory = directory
        self._programs = programs
        self._variables = {**variables, "HOME": str(directory / "home"), "XDG_DATA_HOME": str(directory / "data")}
        (directory / "home").mkdir()
        if not (programs / "jux-publish").exists():
            raise CouldNotMeasure("there is no jux-publish")

    def reports(self, name: str, contents: Sequence[bytes]) -> Path:
        """Make a directory with these reports."""
        place = self.directory / name
        place.mkdir()
        for number, data in enumerate(contents):
            (place / f"{number:06}.xml").write_bytes(data)
        return place

    def timed(self, program: str, *arguments: str | Path, directory: Path | None = None) -> Contender:
        """A contender that takes seconds by the clock."""

        def run() -> float:
            start = time.perf_counter()
            self._run(program, arguments, directory)
            return time.perf_counter() - start

        return run

    def peak(self, program: str, *arguments: str | Path) -> float:
        """Return the most memory that a program has had, in bytes."""
        scale = 1 if sys.platform == "darwin" else 1024
        return float(self._run(program, arguments, None).ru_maxrss * scale)

    def _run(self, program: str, arguments: Sequence[str | Path], directory: Path | None) -> os.struct_rusage:
        with subprocess.Popen(
            (self._programs / program, *arguments),
            cwd=directory or self.directory,
            env=self._variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as child:
            assert child.stderr is not None
            errors = child.stderr.read().decode(errors="replace").strip()
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            raise CouldNotMeasure(f"`{program}` failed: {errors.splitlines()[-1] if errors else child.returncode}")
        return usage


def _repeated(function: Callable[[], object], repetitions: int = 20) -> Contender:
    """A contender that calls a function, by the clock: what it does is waiting for an answer, to a large part."""

    def run() -> float:
        start = time.perf_counter()
        for _ in range(repetitions):
            function()
        return (time.perf_counter() - start) / repetitions

    return run


def _numbered(report: bytes, number: int) -> bytes:
    """Return a report that no other is equal to."""
    return report.replace(b'name="pytest tests"', b'name="pytest tests %d"' % number, 1)


def main() -> None:
    programs = Path(sysconfig.get_path("scripts"))
    with tempfile.TemporaryDirectory(prefix="jux-bench-") as name:
        place, plain = Path(name) / "publishing", environments.variables(Path(name))
        for cost in costs(programs, place, plain, quick="--quick" in sys.argv, say=print):
            target = "" if cost.target is None else f" (target {cost.target:.3g})"
            print(f"  {cost.what}: {cost}{target}", flush=True)


if __name__ == "__main__":
    main()
