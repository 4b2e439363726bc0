"""Which projects there are, and which of them a caller may know of."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from jux_server.store.queries.among import among
from jux_server.store.schema import project, run

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable


class ProjectState(NamedTuple):
    """A project with its newest run; `latest` is None where there is none."""

    id: int
    name: str
    runs: int
    latest: sa.Row[Any] | None


class Visible:
    """The projects that a caller sees. The database is asked for those that matter, since there may be thousands."""

    def __init__(
        self, connection: sa.Connection, sees: Callable[[str], bool], among: Collection[str] | None, *, everything: bool
    ) -> None:
        self._connection = connection
        self._sees = sees
        self._among = among
        self._everything = everything

    @cached_property
    def numbers(self) -> list[int] | None:
        """The numbers of these projects; None: all that there are."""
        if self._everything:
            return None
        asked = sa.select(project.c.id, project.c.name)
        if self._among is not None:
            asked = asked.where(among(project.c.name, self._among))
        return [number for number, name in self._connection.execute(asked) if self._sees(name)]

    def number(self, name: str) -> int | None:
        """Return the number of a project, None if there is none of this name to see."""
        if not self._sees(name):
            return None
        return self._connection.execute(sa.select(project.c.id).where(project.c.name == name)).scalar_one_or_none()

    def names(self, numbers: Iterable[int]) -> dict[int, str]:
        """Return the names of those of these projects that are to be seen."""
        asked = sa.select(project.c.id, project.c.name).where(among(project.c.id, set(numbers)))
        return {number: name for number, name in self._connection.execute(asked) if self._sees(name)}


def visible_projects(
    connection: sa.Connection,
    sees: Callable[[str], bool],
    *,
    among: Collection[str] | None = None,
    everything: bool = False,
) -> Visible:
    """Return the projects whose names `sees` accepts.

    Args:
        connection: asked as long as the answer is used.
        sees: whether a project is to be seen.
        among: names besides which it accepts none, where they are known.
        everything: it accepts every name.
    """
    return Visible(connection, sees, among, everything=everything)


def of_projects(column: sa.ColumnElement[int], numbers: Collection[int] | None) -> list[sa.ColumnElement[bool]]:
    """Return the conditions that a row is of one of these projects; none where that does not matter."""
    if numbers is None:
        return []
    return [among(column, numbers)]


def list_projects(connection: sa.Connection, visible: Visible) -> list[ProjectState]:
    """Return the projects with their newest runs, those that were heard of last first."""
    newest = (
        sa.select(run.c.project_id, sa.func.max(run.c.id).label("run_id"), sa.func.count().label("runs"))
        .where(*of_projects(run.c.project_id, visible.numbers))
        .group_by(run.c.project_id)
        .subquery()
    )
    latest = {
        row.project_id: row
        for row in connection.execute(sa.select(run, newest.c.runs).join(newest, run.c.id == newest.c.run_id))
    }
    named = connection.execute(
        sa.select(project.c.id, project.c.name).where(*of_projects(project.c.id, visible.numbers))
    )
    states = [
        ProjectState(number, name, latest[number].runs if number in latest else 0, latest.get(number))
        for number, name in named
    ]
    return sorted(states, key=lambda state: (-(state.latest.received_at if state.latest else 0), state.name))
