"""What the pages cost: the server's time with a million results, and the bytes of a first visit.

`python pages.py [--runs 2500] [--times 21] [--directory DIR]`. The database is that of server_data.py; its project
`wide` has runs of 100,000 cases.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import server_data
from servers import Running, running

if TYPE_CHECKING:
    from jux_server.store.database import Database

BROWSER = {"Accept": "text/html"}
_FILE = re.compile(r'(?:src|href)="(/static/[^"]+)"')


def pages(server: Running) -> dict[str, str]:
    """Return the address of each page, also those of the longest runs."""

    def first(path: str, key: str) -> list[Any]:
        found: list[Any] = server.get(path).json()[key]
        return found

    failed = first("/api/v1/reports?project=large&limit=1&status=failed", "reports")[0]["id"]
    wide = first("/api/v1/reports?project=wide&limit=1", "reports")[0]["id"]
    base = first("/api/v1/reports?project=wide", "reports")[1]["id"]
    test = first("/api/v1/tests?project=large&q=number_100[", "tests")[0]["id"]
    late = first("/api/v1/tests?project=wide&q=number_99999[", "tests")[0]["id"]
    found = {
        "projects": "/",
        "projects, searched": "/?q=lar",
        "runs": "/projects/large",
        "runs, a branch": "/projects/large?branch=main",
        "runs with a test": "/projects/large?q=number_399[",
        "new runs": "/new-runs?project=large&after=1",
        "test": f"/tests/{test}",
        "wide: test": f"/tests/{late}",
        "intake": "/intake",
        "badge": "/badge/large.svg",
    }
    for project, name in (("", "large"), ("wide: ", "wide")):
        found |= {f"{project}{page}": f"/{page}/{name}" for page in ("trends", "history", "flaky", "slowest")}
    for prefix, run in (("", failed), ("wide: ", wide)):
        tabs = ("", "tests", "errors", "slowest", "compare", "properties", "xml", "cases/7")
        found |= {f"{prefix}run, {tab or 'failures'}": f"/reports/{run}/{tab}".rstrip("/") for tab in tabs}
    found["wide: run, compare with another"] = f"/reports/{wide}/compare?with={base}"
    found["wide: run, tests named"] = f"/reports/{wide}/tests?q=number_99999["
    found["wide: run, failed tests"] = f"/reports/{wide}/tests?status=failed"
    return found


def costs(database: Database, times: int) -> dict[str, tuple[float, int]]:
    """Return for each page the median seconds over HTTP, and the bytes of a first visit with all that it loads."""
    found = {}
    with running(database) as server:
        for name, path in pages(server).items():
            taken = []
            for _ in range(times + 1):
                start = time.perf_counter()
                answer = server.get(path, headers=BROWSER)
                taken.append(time.perf_counter() - start)
                assert answer.status == 200, (path, answer.status, answer.data[:300])
            files = set(_FILE.findall(answer.data.decode())) if b"<html" in answer.data else set()
            weight = len(answer.data) + sum(len(server.get(file).data) for file in files)
            found[name] = (median(taken[1:]), weight)
    return found


def main() -> None:
    """Fill, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2_500)
    parser.add_argument("--times", type=int, default=21, help="how often each page is got")
    parser.add_argument("--directory", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="jux-pages-") as name:
        directory = chosen.directory or Path(name)
        directory.mkdir(parents=True, exist_ok=True)
        with server_data.databases(directory) as both:
            for kind, database in both.items():
                server_data.fill(database, chosen.runs)
                print(f"... {kind} is filled", file=sys.stderr, flush=True)
            found = {kind: costs(database, chosen.times) for kind, database in both.items()}
    print(f"{'':36}{'milliseconds (median)':>24}{'kilobytes':>12}")
    print(f"{'page':36}", *(f"{kind:>11}" for kind in found), f"{'first load':>11}")
    for name, (_, weight) in found["SQLite"].items():
        print(f"{name:36}", *(f"{1000 * page[name][0]:11.1f}" for page in found.values()), f"{weight / 1000:11.1f}")


if __name__ == "__main__":
    main()
