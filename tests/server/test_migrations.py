"""The migrations make the tables that the code expects, whole or not at all."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from servers import drop_database, make_database

from jux_server.errors import DatabaseUnusable
from jux_server.store.database import VERSION, alembic_config, connect, open_database, version_of
from jux_server.store.schema import metadata


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request, tmp_path):
    """Return the URL of a database without tables, once for each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    postgres = request.getfixturevalue("postgres")
    make_database(postgres, "migrated")
    yield postgres.replace("/postgres?", "/migrated?")
    drop_database(postgres, "migrated")


def test_migrated_tables_are_those_of_the_code(database):
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []


def test_indexes_are_those_of_the_code(database):
    with database.read() as connection:
        inspector = sa.inspect(connection)
        found = {
            index["name"]
            for table in metadata.tables
            for index in inspector.get_indexes(table)
            if not index.get("duplicates_constraint")
        }
    expected = {index.name for table in metadata.tables.values() for index in table.indexes}
    assert expected <= found
    assert {name for name in found if name.startswith("ix_")} <= expected


def test_version_of_the_code_is_the_newest_migration():
    assert ScriptDirectory.from_config(alembic_config()).get_current_head() == VERSION


def test_migration_that_fails_leaves_nothing(empty_url):
    engine, _ = connect(empty_url)
    with engine.begin() as connection:  # the name of a table that a migration comes to late
        connection.exec_driver_sql("CREATE VIEW upkeep AS SELECT 1 AS name")
    with pytest.raises(DatabaseUnusable):
        open_database(empty_url, migrate=True)
    with engine.begin() as connection:
        assert sa.inspect(connection).get_table_names() == []
        connection.exec_driver_sql("DROP VIEW upkeep")
    engine.dispose()
    database = open_database(empty_url, migrate=True)
    assert version_of(database) == VERSION
    database.close()
