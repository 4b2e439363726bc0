"""Events are counted by what their index holds."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add to the index of times what the page of the intake counts by."""
    op.drop_index("ix_event_at", "event")
    op.create_index("ix_event_at", "event", ["at", "kind", "key_id", "project"])
