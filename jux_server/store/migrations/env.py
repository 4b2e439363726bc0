"""How Alembic runs a migration: on the connection that `database.upgrade` hands over, in its transaction."""

from __future__ import annotations

from alembic import context

from jux_server.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
context.run_migrations()
