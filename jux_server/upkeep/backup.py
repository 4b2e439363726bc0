"""Everything in one file, and back."""

from __future__ import annotations

import os
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import REGCLASS
from sqlalchemy.exc import DataError, IntegrityError, OperationalError

from jux_server.errors import Refused
from jux_server.store import schema
from jux_server.store.database import now
from jux_server.upkeep import backup_file
from jux_server.upkeep.backup_file import BackupDamaged
from jux_server.upkeep.records import record
from jux_server.upkeep.space import refresh
from pytest_jux.errors import FileProblem
from pytest_jux.files import reason_of, sync_directory

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import IO

    from jux_server.store.database import Database

__all__ = ["BackedUp", "BackupDamaged", "back_up", "restore"]

_TRIES = 100  # for all locks of PostgreSQL at once
_PATIENCE = "300ms"  # for each; less than the second after which PostgreSQL looks for those who wait for each other
_TABLES = schema.metadata.sorted_tables


class BackedUp(NamedTuple):
    """A backup: its file, its size in bytes, and the rows of each table."""

    path: Path
    size: int
    rows: Mapping[str, int]


def back_up(database: Database, target: Path) -> BackedUp:
    """Write everything as it is at one moment to a file, which nobody else can read, and check what was written.

    The server may go on meanwhile. A file of that name is replaced when the backup is complete.

    Raises:
        FileProblem: the file cannot be written.
        Refused: there is something of that name that is no file, or it is the database itself.
    """
    target = target.absolute()
    _check_target(database, target)
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise FileProblem(target, "write", reason_of(error)) from None
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            rows = _write(database, file)
            file.flush()
            os.fsync(file.fileno())
        backup_file.check(temporary)
        temporary.replace(target)
        sync_directory(target.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise FileProblem(target, "write", reason_of(error)) from None
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    made = BackedUp(target, target.stat().st_size, rows)
    with database.write() as connection:
        record(connection, "backup", now(), {"file": str(target), "size": made.size, "reports": rows["run"]})
    return made


def restore(database: Database, source: Path, *, force: bool = False) -> BackedUp:
    """Fill a database from a backup, all of it or nothing; a server that runs goes on with what is restored.

    Projects and signers get other numbers than any that the database has had, because a server that runs remembers
    what it knows by those numbers.

    Raises:
        FileProblem: the file cannot be read.
        BackupDamaged: it is no backup, or damaged, or of another version; nothing was changed.
        Refused: the database has reports, and `force` does not say to replace them; or others do not let go of it.
    """
    try:
        rows = backup_file.check(source)
        size = source.stat().st_size
        with zipfile.ZipFile(source) as archive, database.write() as connection:
            if not database.is_sqlite:
                _keep_others_out(connection, database.name)
            if not force and connection.execute(sa.select(schema.run.c.id).limit(1)).scalar() is not None:
                raise Refused(f"{database.name} has reports already", "Restore into an empty database, or use --force.")
            _replace_all(connection, archive, source)
            record(connection, "restore", now(), {"file": str(source), "size": size, "reports": rows["run"]})
    except OSError as error:
        raise FileProblem(source, "read", reason_of(error)) from None
    refresh(database)
    return BackedUp(source, size, rows)


def _check_target(database: Database, target: Path) -> None:
    """Refuse to put a file in the place of a device, a directory or the database."""
    try:
        if target.exists() and not target.is_file():
            raise Refused(f"{target} is there already, and no file", "Name another file.")
        if database.is_sqlite and target.exists() and target.samefile(database.name):
            raise Refused(f"{target} is the database itself", "Name another file.")
    except OSError as error:
        raise FileProblem(target, "write", reason_of(error)) from None


def _write(database: Database, file: IO[bytes]) -> dict[str, int]:
    engine = database.engine
    if not database.is_sqlite:
        engine = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    with engine.connect() as connection:
        return backup_file.write(connection, file)


# --- into the database -----------------------------------------------------------------------------------------------


def _keep_others_out(connection: sa.Connection, name: str) -> None:
    """Let nobody else write to PostgreSQL until the end of the transaction.

    Whoever takes a report in locks the tables in an order of his own, so that each try gives up, and lets go of all,
    before PostgreSQL would take the two for a deadlock and end one of them.
    """
    names = ", ".join(f'"{table.name}"' for table in _TABLES)
    for _ in range(_TRIES):
        try:
            with connection.begin_nested():
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_PATIENCE}'")
                connection.exec_driver_sql(f"LOCK TABLE {names} IN EXCLUSIVE MODE")
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", "") != _LOCK_NOT_AVAILABLE:
                raise
        else:
            connection.exec_driver_sql("SET LOCAL lock_timeout TO DEFAULT")
            return
    raise Refused(f"others do not let go of {name}", "Stop the server, and try again.")


_LOCK_NOT_AVAILABLE = "55P03"  # PostgreSQL's table of error codes


def _replace_all(connection: sa.Connection, archive: zipfile.ZipFile, source: Path) -> None:
    highest = connection.execute(sa.select(sa.func.max(schema.project.c.id))).scalar() or 0
    projects = max(highest, _highest_ever(connection, schema.project))
    signers = _highest_ever(connection, schema.signer)
    raised = {
        ("project", "id"): projects,
        ("run", "project_id"): projects,
        ("test", "project_id"): projects,
        ("signer", "id"): signers,
    }
    for table in reversed(_TABLES):
        connection.execute(sa.delete(table))
    for table in schema.BACKED_UP:
        by = {column: raised[table.name, column] for column in table.c.keys() if (table.name, column) in raised}  # noqa: SIM118 - no dictionary
        for rows in backup_file.rows_of(archive, table, source):
            try:
                for row in rows:
                    row.update({column: row[column] + number for column, number in by.items()})
                connection.execute(sa.insert(table), rows)
            except (IntegrityError, DataError, TypeError):
                raise BackupDamaged(source, f"{table.name}.jsonl has rows that do not belong together") from None
    if connection.dialect.name == "postgresql":
        _set_sequences(connection)


def _highest_ever(connection: sa.Connection, table: sa.Table) -> int:
    """Return the highest number that a row of the table has had, as far as the database remembers it."""
    if connection.dialect.name == "postgresql":
        return int(connection.execute(sa.select(sa.func.pg_sequence_last_value(_sequence(table)))).scalar() or 0)
    query = sa.text("SELECT seq FROM sqlite_sequence WHERE name = :name")
    return int(connection.execute(query, {"name": table.name}).scalar() or 0)


def _set_sequences(connection: sa.Connection) -> None:
    """Let new rows be numbered behind those that were restored, and behind all that were there before."""
    for table in _TABLES:
        if "id" in table.c:
            highest = connection.execute(sa.select(sa.func.max(table.c.id))).scalar() or 0
            highest = max(highest, _highest_ever(connection, table))
            if highest:
                connection.execute(sa.select(sa.func.setval(_sequence(table), highest)))


def _sequence(table: sa.Table) -> sa.ColumnElement[str]:
    name = sa.func.pg_get_serial_sequence(f'"{table.name}"', "id")
    return sa.cast(name, REGCLASS)
