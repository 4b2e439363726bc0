"""The file of a backup.

It is a ZIP file: for each table a file of JSON lines, one object for each row, bytes in base64; and `manifest.json`
with the number of rows and the SHA-256 of each. It is the same for SQLite and PostgreSQL. A file that is read may be
anybody's.
"""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
import zipfile
import zlib
from itertools import islice
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from jux_server import __version__
from jux_server.errors import ServerError
from jux_server.store import schema
from jux_server.store.database import VERSION, now

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FORMAT = "jux-server backup 1"
_MANIFEST = "manifest.json"
_PIECE = 1 << 20  # bytes
_LONGEST_MANIFEST = 1 << 20  # bytes
_LONGEST_LINE = 1 << 30  # bytes
_BITS = {sa.SmallInteger: 16, sa.BigInteger: 64, sa.Integer: 32}  # in this order, because all are kinds of the last
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, KeyError, TypeError, AttributeError, ValueError)
_REFUSED = (RuntimeError, OverflowError)  # of zipfile: encrypted, an unknown method; of json: nested too deeply


class BackupDamaged(ServerError):
    """The file is no backup of this server, or not what was written."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"cannot restore {path}: {reason}")
        self.path = path
        self.reason = reason


def write(connection: sa.Connection, file: Any) -> dict[str, int]:  # noqa: ANN401 - what zipfile takes
    """Write all tables that are kept to a file as one transaction sees them, and return the rows of each."""
    tables: dict[str, dict[str, Any]] = {}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for table in schema.BACKED_UP:
            tables[table.name] = _write_table(connection, archive, table)
        manifest = {"format": _FORMAT, "schema": VERSION, "server": __version__, "made_at": now(), "tables": tables}
        archive.writestr(_MANIFEST, json.dumps(manifest, indent=1))
    return {name: found["rows"] for name, found in tables.items()}


def check(path: Path) -> dict[str, int]:
    """Return the rows of each table in a backup that is what was written.

    Raises:
        OSError: the file cannot be read.
        BackupDamaged: it is no backup, damaged, or of another version of the server.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(_MANIFEST).file_size > _LONGEST_MANIFEST:
                raise BackupDamaged(path, "it is no backup of this server, or damaged")
            manifest = json.loads(archive.read(_MANIFEST))
            if manifest.get("format") != _FORMAT:
                raise BackupDamaged(path, "it is no backup of this server")
            if manifest["schema"] != VERSION:
                version = f"schema {str(manifest['schema'])[:20]!r}, and this one knows {VERSION}"
                raise BackupDamaged(path, f"it is of another version of the server ({version})")
            rows: dict[str, int] = {}
            for table in schema.BACKED_UP:
                known = manifest["tables"][table.name]
                rows[table.name], digest = _sum(archive, table)
                if (rows[table.name], digest) != (known["rows"], known["sha256"]):
                    raise BackupDamaged(path, f"{table.name}.jsonl is not what was written")
            return rows
    except (*_DAMAGED, *_REFUSED):
        raise BackupDamaged(path, "it is no backup of this server, or damaged") from None


def rows_of(archive: zipfile.ZipFile, table: sa.Table, path: Path) -> Iterator[list[dict[str, Any]]]:
    """Give the rows of a table, some at once, with values that are of their columns' types.

    Raises:
        BackupDamaged: a row is of another form.
    """
    with archive.open(f"{table.name}.jsonl") as stream:
        lines = iter(lambda: stream.readline(_LONGEST_LINE), b"")
        while portion := list(islice(lines, rows_at_once(table))):
            try:
                yield [_row(table, line) for line in portion]
            except (KeyError, AttributeError, TypeError, ValueError, RecursionError):
                raise BackupDamaged(path, f"{table.name}.jsonl has a row of another form") from None


def rows_at_once(table: sa.Table) -> int:
    """Return how many rows are in memory at once; of documents few, because each may be large."""
    return 10 if table is schema.document else 500


def _write_table(connection: sa.Connection, archive: zipfile.ZipFile, table: sa.Table) -> dict[str, Any]:
    digest, count = hashlib.sha256(), 0
    query = sa.select(table).order_by(*table.primary_key.columns)
    with archive.open(f"{table.name}.jsonl", "w", force_zip64=True) as stream:
        for row in connection.execution_options(yield_per=rows_at_once(table)).execute(query):
            values = {name: _to_json(value) for name, value in row._mapping.items()}  # noqa: SLF001 - public by SQLAlchemy's documentation
            line = json.dumps(values, separators=(",", ":")).encode() + b"\n"
            stream.write(line)
            digest.update(line)
            count += 1
    return {"rows": count, "sha256": digest.hexdigest()}


def _sum(archive: zipfile.ZipFile, table: sa.Table) -> tuple[int, str]:
    digest, count = hashlib.sha256(), 0
    with archive.open(f"{table.name}.jsonl") as stream:
        while piece := stream.read(_PIECE):
            digest.update(piece)
            count += piece.count(b"\n")
    return count, digest.hexdigest()


def _row(table: sa.Table, line: bytes) -> dict[str, Any]:
    values = json.loads(line)
    row = {column.name: _from_json(column, values.pop(column.name)) for column in table.columns}
    if values:
        raise KeyError(*values)
    return row


def _to_json(value: object) -> object:
    if isinstance(value, (bytes, memoryview)):
        return base64.b64encode(value).decode()
    return str(value) if isinstance(value, uuid.UUID) else value


def _from_json(column: sa.Column[Any], value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return a value as the column has it; raises KeyError, TypeError, ValueError or AttributeError for others."""
    if value is None:
        return None
    if isinstance(column.type, sa.LargeBinary):
        return base64.b64decode(value, validate=True)
    if isinstance(column.type, sa.Uuid):
        return uuid.UUID(value)
    expected = column.type.python_type
    if type(value) is not expected:
        raise TypeError(column.name)
    bits = next((bits for kind, bits in _BITS.items() if isinstance(column.type, kind)), None)
    if bits is not None and not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise ValueError(column.name)
    if expected is str:
        value.encode()  # a half of a character is no text
    return value
