"""Opening databases: which are ours, of which version, and what a transaction keeps."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import threading

import psycopg
import pytest
import sqlalchemy as sa
from servers import make_database

from jux_server.errors import DatabaseOutdated, DatabaseUnusable
from jux_server.store import schema
from jux_server.store.database import VERSION, open_database, version_of


def refused(url, **options):
    with pytest.raises(DatabaseUnusable) as caught:
        open_database(str(url), **options)
    return caught.value


def projects(database):
    with database.read() as connection:
        return set(connection.execute(sa.select(schema.project.c.name)).scalars())


def add_project(connection, name):
    connection.execute(sa.insert(schema.project).values(name=name, created_at=0))


# --- which one -------------------------------------------------------------------------------------------------------


def test_new_file_is_made_and_opens_again(tmp_path):
    path = tmp_path / "with ? and % and ü.db"
    database = open_database(str(path))
    assert version_of(database) == VERSION
    with database.write() as connection:
        add_project(connection, "shop")
    database.close()
    again = open_database(str(path))
    assert projects(again) == {"shop"}
    again.close()
    assert path.is_file()


@pytest.mark.parametrize("url", ["mysql://host/name", "sqlite://", "sqlite:///:memory:", "://", "postgres//x://y"])
def test_address_of_neither_kind_is_refused_with_an_example(url):
    assert "postgresql://user@host/name" in refused(url).hint


def test_file_that_is_no_database_is_refused_and_stays_as_it_is(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_bytes(b"These are my notes, and no database at all.\n" * 100)
    before = path.read_bytes()
    assert "file is not a database" in str(refused(path))
    assert path.read_bytes() == before


def test_directory_is_refused(tmp_path):
    assert str(tmp_path) in str(refused(tmp_path))


def test_file_of_another_program_is_refused_and_stays_as_it_is(tmp_path):
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE run (id INTEGER)")
    other.close()
    assert "tables of another program" in str(refused(path))
    with sqlite3.connect(path) as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("run",)]
    other.close()


def test_database_of_another_program_is_refused(postgres):
    make_database(postgres, "foreign_tables")
    url = postgres.replace("/postgres?", "/foreign_tables?")
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("CREATE TABLE run (id INTEGER)")
    assert "tables of another program" in str(refused(url, migrate=True))


def test_damaged_file_is_refused_with_a_sentence(tmp_path, empty_sqlite):
    path = tmp_path / "damaged.db"
    whole = empty_sqlite.read_bytes()
    path.write_bytes(whole[:100] + b"\xff" * 4000 + whole[4100:])
    assert "malformed" in str(refused(path))


def test_postgresql_that_does_not_answer_is_refused_without_its_password(tmp_path):
    error = refused(f"postgresql://jux:s3cret@/name?host={tmp_path}&sslpassword=t0psecret")
    assert "s3cret" not in f"{error}{error!r}{error.hint}"
    assert "t0psecret" not in f"{error}{error!r}{error.hint}"
    assert "Is PostgreSQL running" in error.hint


# --- which version ---------------------------------------------------------------------------------------------------


def set_version(database, version):
    with database.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :version"), {"version": version})


def test_newer_database_is_refused_and_stays_as_it_is(database, database_url):
    set_version(database, "0999")
    error = refused(database_url, migrate=True)
    assert "newer version" in str(error)
    assert "Upgrade" in error.hint
    assert version_of(database) == "0999"


def test_older_database_is_changed_only_if_that_is_allowed(database, database_url):
    set_version(database, "0000")
    with pytest.raises(DatabaseOutdated) as caught:
        open_database(database_url, migrate=False)
    assert "jux-server migrate" in caught.value.hint
    assert version_of(database) == "0000"


def test_empty_postgresql_gets_its_tables_only_if_that_is_allowed(postgres):
    make_database(postgres, "still_empty")
    url = postgres.replace("/postgres?", "/still_empty?")
    assert "no tables yet" in str(refused(url))
    open_database(url, migrate=True).close()
    database = open_database(url)
    assert version_of(database) == VERSION
    database.close()


OPEN = (
    "import sys; from jux_server.store.database import open_database; open_database(sys.argv[1], migrate=True).close()"
)


def test_of_several_processes_that_find_an_empty_database_all_can_open_it(request, tmp_path):
    urls = [str(tmp_path / "new.db")]
    postgres = request.getfixturevalue("postgres")
    make_database(postgres, "opened_by_many")
    urls.append(postgres.replace("/postgres?", "/opened_by_many?"))
    for url in urls:
        started = [
            subprocess.Popen([sys.executable, "-c", OPEN, url], stderr=subprocess.PIPE, text=True) for _ in range(4)
        ]
        assert [(process.communicate()[1], process.returncode) for process in started] == [("", 0)] * 4
        database = open_database(url)
        assert version_of(database) == VERSION
        database.close()


# --- transactions ----------------------------------------------------------------------------------------------------


def test_transaction_that_fails_leaves_nothing(database):
    def fail():
        with database.write() as connection:
            add_project(connection, "shop")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert projects(database) == set()


def test_reader_sees_one_state_while_somebody_writes(database):
    with database.read() as connection:
        count = sa.select(sa.func.count()).select_from(schema.project)
        before = connection.execute(count).scalar()
        with database.write() as writer:
            add_project(writer, "shop")
            assert connection.execute(count).scalar() == before == 0
    assert projects(database) == {"shop"}


def test_writers_wait_for_each_other(database):
    def write(number):
        with database.write() as connection:
            connection.execute(sa.select(schema.project)).all()
            add_project(connection, f"p{number}")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert projects(database) == {f"p{number}" for number in range(20)}


def test_second_process_may_write_to_the_same_file(tmp_path, empty_sqlite):
    path = tmp_path / "shared.db"
    shutil.copy(empty_sqlite, path)
    first, second = open_database(str(path)), open_database(str(path))
    is_held, may_end = threading.Event(), threading.Event()

    def hold():
        with first.write() as connection:
            add_project(connection, "first")
            is_held.set()
            may_end.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    is_held.wait(30)
    threading.Timer(0.3, may_end.set).start()
    with second.write() as connection:
        add_project(connection, "second")
    thread.join()
    assert projects(second) == {"first", "second"}
    first.close()
    second.close()


def test_sqlite_keeps_what_was_committed_when_the_power_fails(tmp_path):
    database = open_database(str(tmp_path / "jux.db"))
    with database.read() as connection:
        asked = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in PRAGMAS}
    database.close()
    assert asked == PRAGMAS


PRAGMAS = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "auto_vacuum": 2}


def test_row_that_belongs_to_nothing_is_refused(database):
    def orphan():
        with database.write() as connection:
            connection.execute(sa.insert(schema.tag).values(run_id=4711, name="x"))

    with pytest.raises(sa.exc.IntegrityError):
        orphan()


def test_error_of_a_statement_does_not_tell_its_values(database):
    def wrong():
        with database.write() as connection:
            connection.execute(sa.text("INSERT INTO nowhere VALUES (:value)"), {"value": "s3cret"})

    with pytest.raises(sa.exc.DBAPIError) as caught:
        wrong()
    assert "s3cret" not in str(caught.value)
