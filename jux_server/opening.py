"""The database that the settings mean, opened; and what databases say on the way, as one of our own errors."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from jux_server.errors import DatabaseUnusable
from jux_server.settings_database import default_database
from jux_server.store.database import Database, connect, open_database, version_of
from pytest_jux.errors import FileProblem
from pytest_jux.files import reason_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_jux.config_values import Secret


@contextmanager
def opened(url: Secret, *, migrate: bool | None = None, must_exist: bool = False) -> Iterator[Database]:
    """Give the database at `url` to a block, and close it after; `migrate` is as for `open_database`.

    Raises:
        DatabaseUnusable: as `open_database`, and for what the database refuses within the block.
        FileProblem: a SQLite file cannot be made, or is not there though it `must_exist`.
    """
    prepare_file(url, must_exist=must_exist)
    database = open_database(url.reveal(), migrate=migrate)
    try:
        yield database
    except (DBAPIError, PoolTimeout) as error:
        cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
        words = " ".join(str(cause).split()) or type(cause).__name__
        raise DatabaseUnusable(database.name, words) from None
    finally:
        database.close()


class Migrated(NamedTuple):
    """A database that is up to date; `before` is the version that it had, "" for none."""

    database: str
    before: str
    after: str


def migrated(url: Secret) -> Migrated:
    """Bring the database at `url` up to this version; raises as `opened`."""
    prepare_file(url)
    engine, name = connect(url.reveal(), 1)
    try:
        before = version_of(Database(engine, name))
    except DBAPIError:
        before = ""  # `opened` says in a sentence what is wrong
    finally:
        engine.dispose()
    with opened(url, migrate=True) as database:
        return Migrated(name, before, version_of(database))


def prepare_file(url: Secret, *, must_exist: bool = False) -> None:
    """Make a SQLite file that is not there yet, so that its owner alone can read it: API keys' hashes are in it.

    Only the user's own data directory is made on the way; another one is more likely a mistake in writing.

    Raises:
        FileProblem: it cannot be made, or is not there though it `must_exist`.
    """
    text = url.reveal()
    if "://" in text:
        return
    path = Path(text)
    if must_exist and not path.exists():
        raise FileProblem(path, "use the database", "there is no such file; jux-server serve makes it")
    try:
        if path == default_database():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise FileProblem(path, "use the database", reason_of(error)) from None
