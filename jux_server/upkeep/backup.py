"""Everything in one file, and back.

A backup is a ZIP file: for each table a file of JSON lines, one object for each row, bytes in base64; and
`manifest.json` with the number of rows and the SHA-256 of each. It is the same for SQLite and PostgreSQL.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import tempfile
import uuid
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from jux_server import __version__
from jux_server.errors import Refused, ServerError
from jux_server.store import schema
from jux_server.store.database import VERSION, now
from jux_server.upkeep.records import record
from pytest_jux.errors import FileProblem
from pytest_jux.files import reason_of, sync_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jux_server.store.database import Database

_FORMAT = "jux-server backup 1"
_MANIFEST = "manifest.json"
_PIECE = 1 << 20  # bytes


class BackupDamaged(ServerError):
    """The file is no backup of this server, or not what was written."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"cannot restore {path}: {reason}")
        self.path = path
        self.reason = reason


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
        _check(temporary)
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
    """Fill a database from a backup, all of it or nothing.

    Raises:
        FileProblem: the file cannot be read.
        BackupDamaged: it is no backup, or damaged, or of another version; nothing was changed.
        Refused: the database has reports, and `force` does not say to replace them.
    """
    try:
        rows = _check(source)
        with zipfile.ZipFile(source) as archive, database.write() as connection:
            if not force and connection.execute(sa.select(schema.run.c.id).limit(1)).scalar() is not None:
                raise Refused(f"{database.name} has reports already", "Restore into an empty database, or use --force.")
            for table in reversed(schema.metadata.sorted_tables):
                connection.execute(sa.delete(table))
            for table in schema.metadata.sorted_tables:
                for portion in _portions(_read(archive, table, source), _rows_at_once(table)):
                    connection.execute(sa.insert(table), portion)
            if not database.is_sqlite:
                _set_sequences(connection)
    except OSError as error:
        raise FileProblem(source, "read", reason_of(error)) from None
    return BackedUp(source, source.stat().st_size, rows)


def _check_target(database: Database, target: Path) -> None:
    """Refuse to put a file in the place of a device, a directory or the database."""
    try:
        if target.exists() and not target.is_file():
            raise Refused(f"{target} is there already, and no file", "Name another file.")
        if database.is_sqlite and target.exists() and target.samefile(database.name):
            raise Refused(f"{target} is the database itself", "Name another file.")
    except OSError as error:
        raise FileProblem(target, "write", reason_of(error)) from None


def _write(database: Database, file: Any) -> dict[str, int]:  # noqa: ANN401 - what zipfile takes
    engine = database.engine
    if not database.is_sqlite:
        engine = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    tables: dict[str, dict[str, Any]] = {}
    with engine.connect() as connection, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for table in schema.metadata.sorted_tables:
            tables[table.name] = _write_table(connection, archive, table)
        manifest = {"format": _FORMAT, "schema": VERSION, "server": __version__, "made_at": now(), "tables": tables}
        archive.writestr(_MANIFEST, json.dumps(manifest, indent=1))
    return {name: found["rows"] for name, found in tables.items()}


def _write_table(connection: sa.Connection, archive: zipfile.ZipFile, table: sa.Table) -> dict[str, Any]:
    digest, count = hashlib.sha256(), 0
    query = sa.select(table).order_by(*table.primary_key.columns)
    with archive.open(f"{table.name}.jsonl", "w", force_zip64=True) as stream:
        for row in connection.execution_options(yield_per=_rows_at_once(table)).execute(query):
            values = {name: _to_json(value) for name, value in row._mapping.items()}  # noqa: SLF001 - public by SQLAlchemy's documentation
            line = json.dumps(values, separators=(",", ":")).encode() + b"\n"
            stream.write(line)
            digest.update(line)
            count += 1
    return {"rows": count, "sha256": digest.hexdigest()}


def _to_json(value: object) -> object:
    if isinstance(value, (bytes, memoryview)):
        return base64.b64encode(value).decode()
    return str(value) if isinstance(value, uuid.UUID) else value


def _check(path: Path) -> dict[str, int]:
    """Return the rows of each table in a backup that is what was written."""
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = json.loads(archive.read(_MANIFEST))
            if manifest.get("format") != _FORMAT:
                raise BackupDamaged(path, "it is no backup of this server")
            if manifest["schema"] != VERSION:
                version = f"schema {manifest['schema']}, and this one knows {VERSION}"
                raise BackupDamaged(path, f"it is of another version of the server ({version})")
            for table in schema.metadata.sorted_tables:
                known = manifest["tables"][table.name]
                if _sum(archive, table) != (known["rows"], known["sha256"]):
                    raise BackupDamaged(path, f"{table.name}.jsonl is not what was written")
            return {name: int(known["rows"]) for name, known in manifest["tables"].items()}
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, TypeError, AttributeError, ValueError):
        raise BackupDamaged(path, "it is no backup of this server, or damaged") from None


def _sum(archive: zipfile.ZipFile, table: sa.Table) -> tuple[int, str]:
    digest, count = hashlib.sha256(), 0
    with archive.open(f"{table.name}.jsonl") as stream:
        while piece := stream.read(_PIECE):
            digest.update(piece)
            count += piece.count(b"\n")
    return count, digest.hexdigest()


def _read(archive: zipfile.ZipFile, table: sa.Table, path: Path) -> Iterator[dict[str, Any]]:
    with archive.open(f"{table.name}.jsonl") as stream:
        for line in stream:
            try:
                values = json.loads(line)
                row = {name: _from_json(table.c[name], values.pop(name)) for name in table.c.keys()}  # noqa: SIM118 - no dictionary
                yield row | {name: values[name] for name in values if name not in row}
            except (KeyError, ValueError, AttributeError, TypeError, binascii.Error):
                raise BackupDamaged(path, f"{table.name}.jsonl has a row of another form") from None


def _from_json(column: sa.Column[Any], value: Any) -> Any:  # noqa: ANN401 - JSON
    if value is None:
        return None
    if isinstance(column.type, sa.LargeBinary):
        return base64.b64decode(value, validate=True)
    return uuid.UUID(value) if isinstance(column.type, sa.Uuid) else value


def _rows_at_once(table: sa.Table) -> int:
    """Return how many rows are in memory at once; of documents few, because each may be large."""
    return 10 if table is schema.document else 500


def _portions(rows: Iterator[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    portion: list[dict[str, Any]] = []
    for row in rows:
        portion.append(row)
        if len(portion) == size:
            yield portion
            portion = []
    if portion:
        yield portion


def _set_sequences(connection: sa.Connection) -> None:
    """Let new rows be numbered behind those that were restored."""
    for table in schema.metadata.sorted_tables:
        if "id" in table.c:
            highest = connection.execute(sa.select(sa.func.max(table.c.id))).scalar()
            sequence = sa.func.pg_get_serial_sequence(f'"{table.name}"', "id")
            connection.execute(sa.select(sa.func.setval(sequence, highest or 1, highest is not None)))
