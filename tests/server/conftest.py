"""Real databases and real servers: every test of the store and the API runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import itertools
import shutil

import pytest
from browser import chromium, visiting
from servers import drop_database, make_database, own_postgres, running

from jux_server.store.database import open_database

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres():
    """Return the URL of a PostgreSQL server of this test process."""
    with own_postgres() as server:
        url = server.get_uri()
        make_database(url, "jux_template")
        open_database(url.replace("/postgres?", "/jux_template?"), migrate=True).close()
        yield url


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


@pytest.fixture(params=["sqlite", "postgresql"])
def other_database(request, tmp_path):
    """Return a second database, once of each kind."""
    if request.param == "sqlite":
        opened = open_database(str(tmp_path / "other.db"))
        yield opened
        opened.close()
        return
    url = request.getfixturevalue("postgres")
    make_database(url, "jux_other", "jux_template")
    opened = open_database(url.replace("/postgres?", "/jux_other?"))
    yield opened
    opened.close()
    drop_database(url, "jux_other")


@pytest.fixture
def server(database):
    """Return a running server with the usual choices: this machine needs no key, and every signature is accepted."""
    with running(database) as started:
        yield started


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def one_server(tmp_path_factory, empty_sqlite):
    """Return a server for all tests of a module, on SQLite, for requests that end before there is a database."""
    path = tmp_path_factory.mktemp("one-server") / "jux-server.db"
    shutil.copy(empty_sqlite, path)
    opened = open_database(str(path))
    with running(opened) as started:
        yield started


@pytest.fixture(scope="session")
def browser():
    """Return a browser of this test process; without Chromium tests are skipped, and fail in CI."""
    with chromium() as started:
        yield started


@pytest.fixture
def visit(browser, server):
    """Return a visitor of the server."""
    with visiting(browser, server.url) as visitor:
        yield visitor
