"""Which projects there are, and which of them a caller may know of."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from jux_server.store.schema import project, run

if TYPE_CHECKING:
    from collections.abc import Callable


class Visible(NamedTuple):
    """The projects that a caller sees: names by number."""

    names: dict[int, str]

    def number(self, name: str) -> int | None:
        """Return the number of a project, None if there is none of this name to see."""
        return next((number for number, known in self.names.items() if known == name), None)


class ProjectState(NamedTuple):
    """A project with its newest run; `latest` is None where there is none."""

    id: int
    name: str
    runs: int
    latest: sa.Row[tuple[object, ...]] | None


def visible_projects(connection: sa.Connection, sees: Callable[[str], bool]) -> Visible:
    """Return the projects whose names `sees` accepts."""
    found = connection.execute(sa.select(project.c.id, project.c.name))
    return Visible({number: name for number, name in found if sees(name)})


def list_projects(connection: sa.Connection, visible: Visible) -> list[ProjectState]:
    """Return the projects with their newest runs, those that were heard of last first."""
    newest = (
        sa.select(run.c.project_id, sa.func.max(run.c.id).label("run_id"), sa.func.count().label("runs"))
        .where(run.c.project_id.in_(list(visible.names)))
        .group_by(run.c.project_id)
        .subquery()
    )
    latest = {
        row.project_id: row
        for row in connection.execute(sa.select(run, newest.c.runs).join(newest, run.c.id == newest.c.run_id))
    }
    states = [
        ProjectState(number, name, latest[number].runs if number in latest else 0, latest.get(number))
        for number, name in visible.names.items()
    ]
    return sorted(states, key=lambda state: (-(state.latest.received_at if state.latest else 0), state.name))
