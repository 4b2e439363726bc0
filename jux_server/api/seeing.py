"""Which projects a caller may ask about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jux_server.store.queries.projects import Visible, visible_projects
from jux_server.trust import EVERYTHING

if TYPE_CHECKING:
    import sqlalchemy as sa

    from jux_server.trust import Caller

_WILD = frozenset("*?[")


def visible_to(connection: sa.Connection, caller: Caller) -> Visible:
    """Return the projects that a caller sees."""
    is_exact = all(_WILD.isdisjoint(pattern) for pattern in caller.projects)
    return visible_projects(
        connection,
        caller.sees,
        among=caller.projects if is_exact else None,
        everything=EVERYTHING in caller.projects,
    )


def chosen_projects(visible: Visible, name: str | None) -> list[int] | None:
    """Return the numbers of the projects that are asked for, None for all that there are.

    It is an empty list for a project that is not there to see.
    """
    if name is None:
        return visible.numbers
    number = visible.number(name)
    return [] if number is None else [number]
