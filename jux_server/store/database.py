"""One database, SQLite or PostgreSQL: connections, transactions, and whether it is one of ours and of this version."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.pool import QueuePool

from jux_server.errors import DatabaseOutdated, DatabaseUnusable
from pytest_jux.text import names_a_secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from alembic.config import Config

VERSION = "0003"  # the newest of `migrations/versions`
_VERSION_TABLE = "alembic_version"
_APPLICATION_ID = 0x4A555853  # "JUXS", in the header of a SQLite file
_BUSY = 60  # seconds that a writer waits for another process


def now() -> int:
    """Return the time as the tables have it: microseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1000


class Database:
    """A database that answers; made by `open_database`.

    `with database.read() as connection` and `with database.write() as connection` are one transaction each; the second
    is committed at the end, or rolled back by an exception.
    """

    def __init__(self, engine: sa.Engine, name: str) -> None:
        self.engine = engine
        self.name = name
        self._writers = engine.execution_options(jux_writes=True)
        one_state = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        self._readers = engine if self.is_sqlite else engine.execution_options(**one_state)
        self._one_writer = threading.Lock()

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a SQLite file, which has one writer at a time."""
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Give a connection that sees one state of the database."""
        with self._readers.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Give a connection whose changes are all kept or none; in SQLite, one at a time, in order of arrival."""
        if not self.is_sqlite:
            with self.engine.begin() as connection:
                yield connection
            return
        with self._one_writer, self._writers.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def open_database(url: str, *, migrate: bool | None = None, pool_size: int = 10) -> Database:
    """Return the database at `url`, which is of this server's version.

    Args:
        url: `sqlite:///file`, `postgresql://user@host/name`, or the path of a SQLite file.
        migrate: bring an older or empty database up to this version; None: only a SQLite file.
        pool_size: connections that are kept open.

    Raises:
        DatabaseUnusable: it cannot be reached or read, is not ours, or is of a newer version of the server.
        DatabaseOutdated: it is of an older version, and `migrate` does not allow to change it.
    """
    engine, name = connect(url, pool_size)
    database = Database(engine, name)
    try:
        _prepare(database, migrate=database.is_sqlite if migrate is None else migrate)
    except (DBAPIError, sqlite3.Error, OSError) as error:
        database.close()
        raise DatabaseUnusable(name, _words_of(error), _hint_for(database, error)) from None
    except BaseException:
        database.close()
        raise
    return database


def version_of(database: Database) -> str:
    """Return the version of the schema, "" for a database without tables.

    Raises:
        DatabaseUnusable: it has tables, but none of ours.
    """
    with database.read() as connection:
        names = set(sa.inspect(connection).get_table_names())
        found: Sequence[str] = []
        if _VERSION_TABLE in names:
            found = (
                connection.execute(sa.select(sa.column("version_num")).select_from(sa.table(_VERSION_TABLE)))
                .scalars()
                .all()
            )
        if database.is_sqlite:
            mark = connection.exec_driver_sql("PRAGMA application_id").scalar()
            is_ours = mark == _APPLICATION_ID or not (mark or names)
        else:
            is_ours = not names or (bool(found) and {"run", "document", "upkeep"} <= names)
    if not is_ours:
        hint = "Name a database that is empty or that this server made."
        raise DatabaseUnusable(database.name, "it has tables of another program", hint)
    return found[0] if found else ""


def _prepare(database: Database, *, migrate: bool) -> None:
    version = version_of(database)
    if version == VERSION:
        return
    if version > VERSION:
        reason = f"it is of a newer version of this server (schema {version}, and this one knows {VERSION})"
        raise DatabaseUnusable(database.name, reason, "Upgrade pytest-jux on this machine.")
    if not migrate and not version:
        raise DatabaseUnusable(database.name, "it has no tables yet", "Make them: jux-server migrate")
    if not migrate:
        raise DatabaseOutdated(database.name)
    upgrade(database)


def upgrade(database: Database) -> None:
    """Bring the schema up to this version, in one transaction; of several processes that try, one does it."""
    from alembic import command  # noqa: PLC0415 - a database that is up to date does not need it

    with database.write() as connection:
        if not database.is_sqlite:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:number)"), {"number": _APPLICATION_ID})
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        if database.is_sqlite:
            connection.exec_driver_sql(f"PRAGMA application_id = {_APPLICATION_ID}")


def alembic_config() -> Config:
    """Return Alembic's configuration; the connection to use goes into its `attributes`."""
    from alembic.config import Config  # noqa: PLC0415 - as in `upgrade`

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


# --- connections -----------------------------------------------------------------------------------------------------


def connect(url: str, pool_size: int = 10) -> tuple[sa.Engine, str]:
    """Return an engine for a database, whatever is in it, and the name to call it by; raises DatabaseUnusable."""
    options: dict[str, Any] = {
        "poolclass": QueuePool,
        "pool_size": pool_size,
        "max_overflow": 20,
        "pool_timeout": _BUSY,
    }
    options["hide_parameters"] = True  # an error must not put what somebody sent into a log
    try:
        parsed = sa.make_url(url) if "://" in url else sa.URL.create("sqlite", database=str(Path(url).absolute()))
    except ArgumentError:
        raise DatabaseUnusable("given", "its address is not a URL", _EXAMPLE) from None
    shown = parsed.difference_update_query([name for name in parsed.query if names_a_secret(name)])
    name = shown.render_as_string(hide_password=True)
    match parsed.get_backend_name():
        case "sqlite" if parsed.database and parsed.database != ":memory:":
            engine = sa.create_engine(parsed, connect_args={"timeout": _BUSY}, **options)
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
            return engine, parsed.database
        case "postgresql" | "postgres":
            parsed = parsed.set(drivername="postgresql+psycopg")
            arguments = {"connect_timeout": 10, "application_name": "jux-server"}
            arguments = {key: value for key, value in arguments.items() if key not in parsed.query}
            return sa.create_engine(parsed, connect_args=arguments, pool_pre_ping=True, **options), name
    raise DatabaseUnusable(name, "neither SQLite nor PostgreSQL", _EXAMPLE)


_EXAMPLE = "Give postgresql://user@host/name, or the path of a SQLite file."


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # transactions begin when `_begin_sqlite` says so
    is_empty = connection.execute("PRAGMA page_count").fetchone()[0] == 0
    if is_empty:  # of no other: it takes the lock of a writer
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # so that pruning can give pages back one by one
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "cache_size = -16000"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("jux_writes")
    # A transaction that reads first and writes later could not wait for another writer, only fail.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _words_of(error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    return " ".join(str(cause).split()) or type(cause).__name__


def _hint_for(database: Database, error: Exception) -> str:
    if database.is_sqlite:
        return "Name another file with --database."
    return (
        "Is PostgreSQL running, and are host, user and password right?" if isinstance(error, OperationalError) else ""
    )
