"""The space that a database takes, and what is given back of it."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from jux_server.store import schema

if TYPE_CHECKING:
    from jux_server.store.database import Database

_PAGES = 2_000  # of a SQLite file that are given back at once


def size_of(database: Database) -> int:
    """Return the bytes that a database takes."""
    with database.read() as connection:
        if not database.is_sqlite:
            return int(connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one())
        pages = int(connection.exec_driver_sql("PRAGMA page_count").scalar_one())
        return pages * int(connection.exec_driver_sql("PRAGMA page_size").scalar_one())


def give_back(database: Database) -> None:
    """Give the space of deleted rows back: to the system by SQLite, to later rows by PostgreSQL."""
    if not database.is_sqlite:
        _outside_of_transactions(database, "VACUUM (ANALYZE)")
        return
    # Outside of transactions, as a checkpoint has to be; and as a script, because Python takes one step only of a
    # statement that has no columns, which is one page here.
    with closing(database.engine.raw_connection()) as raw:
        driver: Any = raw.driver_connection
        free, before = _free_pages(driver), None
        while free and free != before:  # a file that another program has written anew may not give any
            driver.executescript(f"PRAGMA incremental_vacuum({_PAGES})")
            free, before = _free_pages(driver), free
        # Without waiting for readers, because writers would have to wait as long; what is left, the next one does.
        driver.execute("PRAGMA busy_timeout = 200")
        try:
            driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            driver.execute("PRAGMA busy_timeout = 60000")


def refresh(database: Database) -> None:
    """Tell the database that almost everything in it is new: PostgreSQL plans queries by what it counted last."""
    if database.is_sqlite:
        give_back(database)
    else:
        _outside_of_transactions(database, "ANALYZE")


def _outside_of_transactions(database: Database, command: str) -> None:
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for table in schema.metadata.sorted_tables:
            connection.exec_driver_sql(f'{command} "{table.name}"')


def _free_pages(driver: Any) -> int:  # noqa: ANN401 - a connection of sqlite3
    return int(driver.execute("PRAGMA freelist_count").fetchone()[0])
