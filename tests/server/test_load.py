"""Many clients at once, against one process and against four."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import urllib3
from served_processes import served

from jux_server.store.database import open_database
from jux_server.store.schema import run
from pytest_jux.canonicalizer import canonical_hash
from pytest_jux.wire import request_body

JSON = {"Content-Type": "application/json"}


def report(number, cases=20):
    rows = "".join(f'<testcase classname="c{case % 3}" name="t{case}" time="0.{number}"/>' for case in range(cases))
    properties = '<properties><property name="project" value="busy"/></properties>'
    return f'<testsuite name="s" hostname="{number}">{properties}{rows}</testsuite>'.encode()


def all_at_once(count, work):
    """Run `work(number)` in as many threads, which begin together, and return what they return."""
    barrier = threading.Barrier(count)

    def begin(number):
        barrier.wait(60)
        return work(number)

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(begin, range(count)))


@pytest.mark.parametrize("route", ["/api/v1/reports", "/api/v1/junit/submit"])
def test_of_a_hundred_identical_reports_at_once_one_is_created(server, route):
    data = report(0)
    is_contract = route.endswith("submit")
    body = data if is_contract else request_body(data, canonical_hash(data))
    headers = {"Content-Type": "application/xml"} if is_contract else JSON
    with urllib3.PoolManager(maxsize=100, retries=False, timeout=60) as pool:
        answers = all_at_once(100, lambda _: pool.request("POST", server.url + route, body=body, headers=headers))
    statuses = sorted(answer.status for answer in answers)
    assert statuses == ([200] * 99 + [201] if is_contract else [201] + [409] * 99)
    assert len({answer.json()["test_run_id" if is_contract else "id"] for answer in answers}) == 1


def test_thirty_two_connections_post_to_four_processes_or_one_without_an_error(database_url, tmp_path):
    processes = 1 if database_url.startswith("sqlite") else 4
    each = 8
    with served(database_url, tmp_path, workers=processes) as url:

        def post(connection):
            with urllib3.PoolManager(maxsize=1, retries=False, timeout=60) as pool:
                return [
                    pool.request(
                        "POST",
                        f"{url}/api/v1/reports",
                        body=request_body(data := report(connection * each + turn), canonical_hash(data)),
                        headers=JSON,
                    )
                    for turn in range(each)
                ]

        answers = [answer for several in all_at_once(32, post) for answer in several]
    assert {answer.status for answer in answers} == {201}, {answer.data for answer in answers if answer.status != 201}
    database = open_database(database_url)
    with database.read() as connection:
        kept = {str(found) for found in connection.execute(run.select().with_only_columns(run.c.public_id)).scalars()}
    database.close()
    assert kept == {answer.json()["id"] for answer in answers}
    assert len(kept) == 32 * each
