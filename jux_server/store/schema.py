"""The tables. What a report says is read from it once, when it is received; nothing parses XML again.

Times are whole microseconds since 1970-01-01 UTC, durations whole microseconds. How each case ended is in `results`,
the names are in `test`, once per project, and the texts of failures in `problem`.
"""

from __future__ import annotations

import enum

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

LONGEST_NAME = 2_000  # characters of a name or a message that the database keeps; the report itself has it all
LONGEST_MESSAGE = 4_000
LONGEST_DETAILS = 100_000
MOST_PROPERTIES = 500  # of a suite, and of each group of metadata


class State(enum.IntEnum):
    """What the server holds of a report's signature, the better the higher."""

    BROKEN = 0
    UNSIGNED = 1
    INTACT = 2
    TRUSTED = 3

    @property
    def word(self) -> str:
        """The name in the API: `broken`, `unsigned`, `intact` (the signer is unknown) or `trusted`."""
        return self.name.lower()


class Result(enum.IntEnum):
    """How a test case ended; `FLAKY` passed, but only when it was tried again."""

    PASSED = 0
    FAILED = 1
    ERROR = 2
    SKIPPED = 3
    FLAKY = 4

    @property
    def word(self) -> str:
        """The outcome in the API: `passed`, `failed`, `error` or `skipped`."""
        return "passed" if self is Result.FLAKY else self.name.lower()


class Verdict(enum.IntEnum):
    """What a whole run came to. `ERROR`: no failure, but an error, or pytest was interrupted or broke down."""

    PASSED = 0
    FAILED = 1
    ERROR = 2

    @property
    def word(self) -> str:
        """The name in the API: `passed`, `failed` or `error`."""
        return self.name.lower()


BAD = (Result.FAILED, Result.ERROR, Result.FLAKY)  # outcomes worth finding without reading all the others

#: A row number; SQLite numbers rows by itself only in a column that is declared INTEGER.
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

project = sa.Table(
    "project",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("accept", sa.Text),  # trusted | intact | any; NULL: as the server's settings say
    sa.Column("keep_days", sa.Integer),  # NULL: as the server's settings say
    sa.Column("keep_runs", sa.Integer),  # of each branch
    sa.Column("default_branch", sa.Text),  # NULL: main, else master, else the branch of the newest run
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("generation", sa.Integer, nullable=False, server_default="0"),  # grows when tests are deleted
    sqlite_autoincrement=True,  # a server remembers tests by the number of their project
)

api_key = sa.Table(
    "api_key",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("prefix", sa.Text, nullable=False, unique=True),
    sa.Column("digest", sa.LargeBinary, nullable=False),  # SHA-256 of the whole key
    sa.Column("scopes", sa.Text, nullable=False),  # publish read admin, separated by blanks
    sa.Column("projects", sa.Text, nullable=False),  # patterns, one on each line
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger),
    sa.Column("revoked_at", sa.BigInteger),
    sa.Column("last_used_at", sa.BigInteger),
)

signer = sa.Table(
    "signer",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),  # certificate | authority
    sa.Column("projects", sa.Text, nullable=False),  # a pattern
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.LargeBinary, nullable=False),  # SHA-256 of the certificate
    sa.Column("certificate", sa.LargeBinary, nullable=False),  # DER
    sa.Column("added_at", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("fingerprint", "projects"),
    sqlite_autoincrement=True,  # so that the highest number tells whether one was added, see `trust.Signers`
)

run = sa.Table(
    "run",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("public_id", sa.Uuid, nullable=False, unique=True),
    sa.Column("project_id", sa.ForeignKey("project.id"), nullable=False),
    sa.Column("hash", sa.LargeBinary, nullable=False),  # the canonical hash, 32 bytes
    sa.Column("received_at", sa.BigInteger, nullable=False),
    sa.Column("started_at", sa.BigInteger),
    sa.Column("branch", sa.Text),
    sa.Column("commit", sa.Text),
    sa.Column("is_dirty", sa.Boolean),
    sa.Column("tests", sa.Integer, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("errors", sa.Integer, nullable=False),
    sa.Column("skipped", sa.Integer, nullable=False),
    sa.Column("flaky", sa.Integer, nullable=False),
    sa.Column("duration", sa.BigInteger, nullable=False),
    sa.Column("verdict", sa.SmallInteger, nullable=False),  # Verdict
    sa.Column("state", sa.SmallInteger, nullable=False),  # State of the best document
    sa.Column("signer", sa.Text),  # of that document
    sa.Column("slowest", sa.LargeBinary, nullable=False),  # the numbers of its slowest tests, see `results`
    sa.Column("facts", sa.Text, nullable=False),  # the metadata, as JSON
    sa.Column("is_pinned", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.UniqueConstraint("project_id", "hash"),
    sa.Index("ix_run_project_id_id", "project_id", "id"),
    sa.Index("ix_run_branch", "project_id", "branch", "id"),
    sa.Index("ix_run_commit", "commit"),
    sa.Index("ix_run_hash", "hash"),
    sa.Index("ix_run_received_at", "received_at"),
    sqlite_autoincrement=True,  # a cursor must not meet the number of a deleted run again
)

document = sa.Table(
    "document",
    metadata,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("run_id", sa.ForeignKey("run.id"), nullable=False, index=True),
    sa.Column("received_at", sa.BigInteger, nullable=False),
    sa.Column("key_id", sa.ForeignKey("api_key.id")),  # NULL: from this machine, without a key
    sa.Column("size", sa.Integer, nullable=False),  # bytes of the report
    sa.Column("content", sa.LargeBinary, nullable=False),  # the report's bytes, as zlib packs them (RFC 1950)
    sa.Column("state", sa.SmallInteger, nullable=False),  # State
    sa.Column("reason", sa.Text, nullable=False),  # why it is not trusted, or ""
    sa.Column("signer", sa.Text),
    sa.Column("algorithm", sa.Text),
    sa.Column("trusted_by", sa.Text),
    sa.Column("fingerprint", sa.LargeBinary),
    sa.Column("not_before", sa.BigInteger),
    sa.Column("not_after", sa.BigInteger),
)

suite = sa.Table(
    "suite",
    metadata,
    sa.Column("run_id", sa.ForeignKey("run.id"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("public_id", sa.Uuid, nullable=False, unique=True),
    sa.Column("parent", sa.Integer),  # position
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("first", sa.Integer, nullable=False),  # position of its first case; the others follow
    sa.Column("tests", sa.Integer, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("errors", sa.Integer, nullable=False),
    sa.Column("skipped", sa.Integer, nullable=False),
    sa.Column("duration", sa.BigInteger, nullable=False),
    sa.Column("properties", sa.Text),  # JSON, a list of pairs
)

test = sa.Table(
    "test",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("project_id", sa.ForeignKey("project.id"), nullable=False),
    sa.Column("key", sa.LargeBinary, nullable=False),  # see `saving.test_key`
    sa.Column("classname", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.UniqueConstraint("project_id", "key"),
)

# How the cases of a run ended, packed: see `results`. A row for each case and an index over them would cost ten times
# as much to write, four times the space, and a write to as many pages as a report has cases.
results = sa.Table(
    "results",
    metadata,
    sa.Column("block", sa.Integer, primary_key=True, autoincrement=False),  # of test numbers
    sa.Column("run_id", sa.ForeignKey("run.id"), primary_key=True, autoincrement=False, index=True),
    sa.Column("content", sa.LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

# The cases that are worth finding without unpacking all of them, and what was said of them.
problem = sa.Table(
    "problem",
    metadata,
    sa.Column("run_id", sa.ForeignKey("run.id"), primary_key=True, autoincrement=False),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("test_id", sa.Integer, nullable=False),
    sa.Column("outcome", sa.SmallInteger, nullable=False),  # Result
    sa.Column("kind", sa.BigInteger, nullable=False),  # equal for messages that differ in numbers and addresses only
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("details", sa.LargeBinary),  # text in UTF-8, as zlib packs it; NULL: there is none
    sa.Column("is_shortened", sa.Boolean, nullable=False),
    sa.Index(
        "ix_problem_bad",
        "run_id",
        "test_id",
        sqlite_where=sa.text("outcome IN (1, 2, 4)"),
        postgresql_where=sa.text("outcome IN (1, 2, 4)"),
    ),
    sqlite_with_rowid=False,
)

tag = sa.Table(
    "tag",
    metadata,
    sa.Column("run_id", sa.ForeignKey("run.id"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Index("ix_tag_name", "name", "run_id"),
    sqlite_with_rowid=False,
)

event = sa.Table(
    "event",
    metadata,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),  # created | attached | duplicate | rejected
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("hash", sa.LargeBinary),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("key_id", sa.Integer),
    sa.Column("run_id", sa.Integer),
    # All that is counted is in it, so that counting a week does not read the rows.
    sa.Index("ix_event_at", "at", "kind", "key_id", "project"),
)

#: The last result of each kind of upkeep, as JSON.
upkeep = sa.Table(
    "upkeep",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("result", sa.Text, nullable=False),
)

#: Sessions of browsers, see `jux_server.sessions`. A restored backup ends them all.
session = sa.Table(
    "session",
    metadata,
    sa.Column("digest", sa.LargeBinary, primary_key=True),  # SHA-256 of what the browser keeps
    sa.Column("key_id", sa.Integer, nullable=False),  # the API key that opened it
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False, index=True),
)

#: What a backup holds, a table after those that it refers to.
BACKED_UP = [table for table in metadata.sorted_tables if table is not session]
