"""A server, and a database, that are killed under load: what a client was told is stored is there, whole."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import threading
import time

import pytest
import urllib3
from served_processes import Mortal
from servers import own_postgres, running

from jux_server.store.database import open_database
from pytest_jux.canonicalizer import canonical_hash
from pytest_jux.wire import request_body

KILLS = 50
CLIENTS = 4


def report(number):
    rows = "".join(f'<testcase classname="c" name="t{case}" time="0.{number}"/>' for case in range(60))
    failing = f'<testcase classname="c" name="fails"><failure message="assert {number}">trace</failure></testcase>'
    return f'<testsuite name="s" hostname="{number}">{rows}{failing}</testsuite>'.encode()


class Clients:
    """Clients that publish different reports for as long as they are let, and remember what they were told."""

    def __init__(self, url):
        self.url = url
        self.stored = {}  # id -> bytes
        self.answers = []
        self.is_over = threading.Event()
        self.numbers = itertools.count()
        self.threads = [threading.Thread(target=self.publish) for _ in range(CLIENTS)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.is_over.set()
        for thread in self.threads:
            thread.join()

    def publish(self):
        with urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(20)) as pool:
            while not self.is_over.is_set():
                data = report(next(self.numbers))
                self.publish_one(pool, data)

    def publish_one(self, pool, data):
        body = request_body(data, canonical_hash(data))
        while not self.is_over.is_set():
            try:
                answer = pool.request(
                    "POST", f"{self.url}/api/v1/reports", body=body, headers={"Content-Type": "application/json"}
                )
            except urllib3.exceptions.HTTPError:
                time.sleep(0.01)
                continue
            self.answers.append(answer.status)
            if answer.status in {201, 409}:  # the second: it was stored, but the answer to that was lost
                self.stored[answer.json()["id"]] = data
                return
            time.sleep(0.05)

    def wait_for(self, count):
        deadline = time.monotonic() + 60
        while len(self.stored) < count and time.monotonic() < deadline:
            time.sleep(0.005)
        assert len(self.stored) >= count, "the server does not answer"


def assert_all_are_there(url, stored):
    with urllib3.PoolManager(retries=False, timeout=60) as pool:
        for identity, data in stored.items():
            assert pool.request("GET", f"{url}/api/v1/reports/{identity}.xml").data == data
            found = pool.request("GET", f"{url}/api/v1/reports/{identity}").json()
            assert (found["tests"], found["failures"]) == (61, 1)
            cases = pool.request("GET", f"{url}/api/v1/reports/{identity}/cases?status=failed").json()["cases"]
            assert [case["details"] for case in cases] == ["trace"]


def test_server_that_is_killed_fifty_times_has_every_report_that_it_said_it_has(tmp_path):
    path = tmp_path / "jux.db"
    open_database(str(path)).close()
    mortal = Mortal(str(path))
    try:
        with Clients(mortal.url) as clients:
            for _ in range(KILLS):
                mortal.start()
                clients.wait_for(len(clients.stored) + 6)
                assert mortal.kill() == signal.SIGKILL
            mortal.start()
            clients.wait_for(len(clients.stored) + 1)
        assert set(clients.answers) <= {201, 409}
        assert_all_are_there(mortal.url, clients.stored)
        mortal.kill()
    finally:
        mortal.close()
    database = open_database(str(path))
    with database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
        assert connection.exec_driver_sql("SELECT count(*) FROM run").scalar() >= len(clients.stored)
    database.close()


@pytest.fixture
def mortal_postgres():
    with own_postgres() as server:
        yield server


def test_every_report_is_there_after_postgresql_was_killed(mortal_postgres):
    database = open_database(mortal_postgres.get_uri(), migrate=True)
    with running(database) as server, Clients(server.url) as clients:
        for _ in range(5):
            clients.wait_for(len(clients.stored) + 10)
            os.kill(mortal_postgres.get_pid(), signal.SIGKILL)
            start_again(mortal_postgres)
        clients.wait_for(len(clients.stored) + 10)
        clients.stop()
        assert set(clients.answers) <= {201, 409, 503}
        assert 503 in clients.answers
        assert_all_are_there(server.url, clients.stored)


def start_again(server):
    """Start PostgreSQL on the same data; its last processes may take a moment to notice that their parent is gone."""
    command = [server.bin_path / "pg_ctl", "-w", "-s", "-D", server.pgdata, "-l", server.log]
    command += ["-o", f'-h "" -k {server.pgdata}', "start"]
    for _ in range(40):
        time.sleep(0.25)
        # It names a process that a container without an init process keeps in its list for ever.
        (server.pgdata / "postmaster.pid").unlink(missing_ok=True)
        if subprocess.run(command, user=server.system_user, check=False, stdout=subprocess.DEVNULL).returncode == 0:
            server.ensure_postgres_running()
            return
    pytest.fail("PostgreSQL does not start again")
