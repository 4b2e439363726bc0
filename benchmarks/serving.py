"""What the server costs: taking reports in, the space they need, and its answers when it has a million results.

`python serving.py [--quick]` measures nothing else. pages.py has every page, also of runs of 100,000 cases.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING

import urllib3
from measure import compare, in_process
from stores import Cost

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from served_processes import served
from servers import Running, own_postgres, running

from jux_server.api.access import HERE
from jux_server.intake import Created, Intake
from jux_server.store.database import open_database
from jux_server.store.saving import pack
from jux_server.trust import add_signer
from pytest_jux.keys import generate_private_key, self_signed_certificate
from pytest_jux.signer import sign_report
from pytest_jux.verifier import Trust, verify_report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cryptography import x509

    from jux_server.store.database import Database

FLOOR = "parse + verify + compress"
INTAKE_TARGET = 2.5  # times the floor
DISK_TARGET = 25.0  # KB for each stored report of 400 cases
MEMORY_TARGET = 1.0  # GB for a report of 100,000 cases
ANSWER_TARGET = 0.05  # seconds, at the median
PAGE_TARGET = 0.1  # seconds, at the median
LOAD_TARGET = 5.0  # times the idle server
LINEAR_TARGET = 1.2  # times the cost of each case in a report of 10,000
_CASES = 400


def make_report(cases: int, run: int) -> bytes:
    """Return a report such as pytest writes; one case in forty fails, with a trace."""
    rows = []
    for number in range(cases):
        name = f'classname="tests.unit.test_module_{number // 20}" name="test_behaviour_number_{number}[param]"'
        problem = ""
        if number % 40 == run % 40:
            trace = "\n".join(f"tests/unit/test_module.py:{line}: in step_{line}" for line in range(20))
            problem = f'<failure message="assert {run} == {number}">{trace}</failure>'
        rows.append(f'<testcase {name} time="{(number * 7 + run) % 97 / 1000:.3f}">{problem}</testcase>')
    facts = {"project": "shop", "git:branch": "main", "git:commit": f"{run:040x}", "jux:hostname": "build-7"}
    properties = "".join(f'<property name="{name}" value="{value}"/>' for name, value in facts.items())
    head = f'<testsuite name="pytest" tests="{cases}" timestamp="2026-11-23T00:00:00+00:00" hostname="build-7">'
    body = f"{head}<properties>{properties}</properties>{''.join(rows)}</testsuite>"
    return f'<?xml version="1.0" encoding="utf-8"?><testsuites name="pytest tests">{body}</testsuites>'.encode()


@contextmanager
def databases(directory: Path) -> Iterator[dict[str, Database]]:
    """Give an empty database of each kind."""
    with own_postgres() as server:
        found = {
            "SQLite": open_database(str(directory / "jux.db")),
            "PostgreSQL": open_database(server.get_uri(), migrate=True),
        }
        try:
            yield found
        finally:
            for database in found.values():
                database.close()


def costs(*, quick: bool, say: Callable[[str], None]) -> Iterator[Cost]:
    """Measure with the packages of this environment."""
    key = generate_private_key("ecdsa")
    certificate = self_signed_certificate(key, "ci")
    count = 100 if quick else 400
    with tempfile.TemporaryDirectory(prefix="jux-bench-server-") as name, databases(Path(name)) as both:
        signed = [sign_report(make_report(_CASES, run), key, certificate) for run in range(4 * count)]
        for kind, database in both.items():
            add_signer(database, certificate)
            say(f"taking reports of {_CASES} cases in, {kind}")
            yield from _intake(kind, database, certificate, iter(signed))
            before = _size(database)
            intake = Intake(database)
            more = [sign_report(make_report(_CASES, 1_000_000 + run), key, certificate) for run in range(count)]
            for data in more:
                intake.receive(data, HERE)
            yield Cost(
                f"disk of a stored report of {_CASES} cases, {kind}",
                "",
                DISK_TARGET,
                (_size(database) - before) / count / 1000,
                "KB",
            )
            yield from _answers(kind, database, quick=quick, say=say)
    say("a report of 100,000 cases")
    yield from _large()


def _intake(kind: str, database: Database, certificate: x509.Certificate, signed: Iterator[bytes]) -> Iterator[Cost]:
    trust, intake = Trust([certificate]), Intake(database)
    sample = next(signed)

    def floor(data: bytes) -> object:
        return verify_report(data, trust), pack(data)

    def take(_: bytes) -> object:
        outcome = intake.receive(next(signed), HERE)
        assert isinstance(outcome, Created)
        return outcome

    found = compare(
        in_process(floor, sample, repetitions=5),
        {"intake": in_process(take, sample, repetitions=5)},
        seconds=20,
        least=10,
        most=15,
    )
    yield Cost(
        f"taking a report of {_CASES} cases in, {kind}",
        FLOOR,
        INTAKE_TARGET if kind == "SQLite" else None,
        found["intake"],
    )


def _answers(kind: str, database: Database, *, quick: bool, say: Callable[[str], None]) -> Iterator[Cost]:
    """Ask a server that has a million results, idle and while many clients post to it."""
    runs = 250 if quick else 2_500
    say(f"filling {kind} with {runs * _CASES:,} results")
    intake = Intake(database)
    for run in range(runs):
        intake.receive(make_run(run), HERE)
    if not database.is_sqlite:
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
    with running(database) as server:
        newest = server.get("/api/v1/reports?limit=1").json()["reports"][0]["id"]
        test = server.get("/api/v1/tests?project=large&q=number_40[&limit=1").json()["tests"][0]["id"]
        for what, path in {
            "the list of reports": "/api/v1/reports?project=large",
            "a report": f"/api/v1/reports/{newest}",
            "a page of its cases": f"/api/v1/reports/{newest}/cases",
            "the history of a test": f"/api/v1/tests/{test}/history",
            "the flaky tests": "/api/v1/flaky?project=large",
            "the slowest tests": "/api/v1/slowest?project=large",
            "a search in test names": "/api/v1/reports?q=number_399",
        }.items():
            yield Cost(
                f"{what} with {runs * _CASES:,} results, {kind}", "", ANSWER_TARGET, median(_times(server, path, 31))
            )
        for what, path in {
            "projects": "/",
            "runs": "/projects/large",
            "a run": f"/reports/{newest}",
            "all its tests": f"/reports/{newest}/tests",
            "a test": f"/tests/{test}",
            "the history grid": "/history/large",
            "flaky tests": "/flaky/large",
            "trends": "/trends/large",
            "intake": "/intake",
        }.items():
            yield Cost(
                f"the page of {what} with {runs * _CASES:,} results, {kind}",
                "",
                PAGE_TARGET,
                median(_times(server, path, 31)),
            )
    say(f"reading while 32 clients post, {kind}")
    yield from _under_load(kind, database, quick=quick)


def make_run(run: int) -> bytes:
    """Return one of many runs of a project with three branches, some failures and some flaky tests."""
    chance = random.Random(run)  # noqa: S311 - for figures, not for secrets
    rows = []
    for number in range(_CASES):
        fails = (number % 40 == 0 and chance.random() < 0.3) or (number % 97 == 5 and run % 50 < 10)
        problem = '<failure message="assert 1 == 2">one line\nof a trace</failure>' if fails else ""
        name = f'classname="tests.unit.test_module_{number // 20}" name="test_behaviour_number_{number}[param]"'
        rows.append(f'<testcase {name} time="{chance.random():.3f}">{problem}</testcase>')
    facts = {"project": "large", "git:branch": f"branch-{run % 3}", "git:commit": f"{run // 2:040x}"}
    properties = "".join(f'<property name="{name}" value="{value}"/>' for name, value in facts.items())
    head = f'<testsuite name="pytest" tests="{_CASES}" hostname="build-{run}"><properties>{properties}</properties>'
    return f"{head}{''.join(rows)}</testsuite>".encode()


def _times(server: Running, path: str, count: int) -> list[float]:
    found = []
    for _ in range(count):
        start = time.perf_counter()
        answer = server.get(path)
        found.append(time.perf_counter() - start)
        assert answer.status == 200, answer.data
    return found


_POST = """
import sys, threading
sys.path.insert(0, {here!r})
import urllib3
from serving import make_report
pool = urllib3.PoolManager(maxsize=32, retries=False)
print("ready", flush=True)
def post(client):
    for turn in range(10_000):
        body = make_report(400, 10_000_000 + client * 10_000 + turn)
        answer = pool.request("POST", {url!r}, body=body, headers={{"Content-Type": "application/xml"}})
        assert answer.status == 201, answer.data
for client in range(32):
    threading.Thread(target=post, args=(client,), daemon=True).start()
sys.stdin.read()
"""


def _under_load(kind: str, database: Database, *, quick: bool) -> Iterator[Cost]:
    """Compare the 95th percentile of the list's time under load with that of an idle server, in one process."""
    count = 60 if quick else 300
    url = str(database.engine.url.render_as_string(hide_password=False))
    workers = 1 if database.is_sqlite else 4
    with (
        tempfile.TemporaryDirectory(prefix="jux-bench-server-") as name,
        served(url, Path(name), workers=workers) as address,
        urllib3.PoolManager() as pool,
    ):
        server = Running(address, pool)
        idle = quantiles(_times(server, "/api/v1/reports?project=large", count), n=20)[-1]
        script = _POST.format(here=str(Path(__file__).parent), url=f"{address}/api/v1/junit/submit")
        with subprocess.Popen(
            [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as posting:
            assert posting.stdout
            posting.stdout.readline()
            time.sleep(2)
            before = server.get("/api/v1/test_runs?project=shop").json()["pagination"]["total_count"]
            start = time.perf_counter()
            busy = quantiles(_times(server, "/api/v1/reports?project=large", count), n=20)[-1]
            seconds = time.perf_counter() - start
            after = server.get("/api/v1/test_runs?project=shop").json()["pagination"]["total_count"]
            posting.kill()
    processes = "one process" if database.is_sqlite else "four processes"
    yield Cost(
        f"95th percentile of the list while 32 clients post to {processes}, {kind}", "idle", LOAD_TARGET, busy / idle
    )
    yield Cost(
        f"reports taken in each second meanwhile, {kind} (the clients take part of the two processors)",
        "",
        None,
        (after - before) / seconds,
        "per second",
    )


_TAKE = """
import resource, sys, time
sys.path.insert(0, {here!r})
from serving import make_report
from jux_server.api.access import HERE
from jux_server.intake import Intake
from jux_server.store.database import open_database
intake = Intake(open_database({path!r}))
intake.receive(make_report(10, 0), HERE)
data = make_report({cases}, 1)
start = time.process_time()
print(type(intake.receive(data, HERE)).__name__, time.process_time() - start)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def _large() -> Iterator[Cost]:
    """Take reports of 10,000 and of 100,000 cases in, each in a process of its own."""
    seconds, peaks = {}, {}
    for cases in (10_000, 100_000):
        with tempfile.TemporaryDirectory(prefix="jux-bench-server-") as name:
            script = _TAKE.format(here=str(Path(__file__).parent), path=os.path.join(name, "a.db"), cases=cases)  # noqa: PTH118 - text
            done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        word, spent, peak = done.stdout.split()
        assert word == "Created"
        seconds[cases], peaks[cases] = float(spent) / cases, int(peak)
    ratio = seconds[100_000] / seconds[10_000]
    yield Cost("CPU of each case in a report of 100,000, against one of 10,000", "10,000 cases", LINEAR_TARGET, ratio)
    yield Cost("memory of the process that takes 100,000 cases in", "", MEMORY_TARGET, peaks[100_000] / 1e6, "GB")


def _size(database: Database) -> int:
    if database.is_sqlite:
        with database.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        return Path(database.name).stat().st_size
    with database.read() as connection:
        return int(connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one())


if __name__ == "__main__":
    for cost in costs(quick="--quick" in sys.argv, say=lambda what: print(f"... {what}", file=sys.stderr, flush=True)):
        target = "" if cost.target is None else f"(target {cost.target:g})"
        print(f"{cost.what}: {cost} {f'times {cost.baseline}' if cost.baseline else ''} {target}")
