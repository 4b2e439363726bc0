"""The projects, and what was decided for each of them."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from jux_server.errors import Refused
from jux_server.intake import ACCEPT
from jux_server.store.database import now
from jux_server.store.saving import project_number
from jux_server.store.schema import project, run
from pytest_jux.text import visible

if TYPE_CHECKING:
    from typing import Any, Literal

    from jux_server.store.database import Database

_LONGEST_NAME = 200
_MOST = 1_000_000  # days, or runs


class Unset(enum.Enum):
    """The type of `UNSET`, which leaves a value as it is."""

    UNSET = enum.auto()


UNSET = Unset.UNSET


class ProjectInfo(NamedTuple):
    """A project; what is None is as the server's settings say. Times are microseconds."""

    name: str
    runs: int
    last_received_at: int | None
    accept: str | None
    keep_days: int | None
    keep_runs: int | None
    default_branch: str | None


def list_projects(database: Database) -> list[ProjectInfo]:
    """Return all projects by name."""
    counted = (
        sa.select(
            project.c.name,
            sa.func.count(run.c.id),
            sa.func.max(run.c.received_at),
            *(project.c.accept, project.c.keep_days, project.c.keep_runs, project.c.default_branch),
        )
        .outerjoin(run, run.c.project_id == project.c.id)
        .group_by(project.c.id)
        .order_by(project.c.name)
    )
    with database.read() as connection:
        return [ProjectInfo(*row) for row in connection.execute(counted)]


def set_project(
    database: Database,
    name: str,
    *,
    accept: str | Literal[Unset.UNSET] | None = UNSET,
    keep_days: int | Literal[Unset.UNSET] | None = UNSET,
    keep_runs: int | Literal[Unset.UNSET] | None = UNSET,
    default_branch: str | Literal[Unset.UNSET] | None = UNSET,
) -> None:
    """Decide something for a project, which is made if there is none; None leaves it to the server's settings.

    Raises:
        Refused: a value that makes no sense.
    """
    given: dict[str, Any] = {
        "accept": accept,
        "keep_days": keep_days,
        "keep_runs": keep_runs,
        "default_branch": default_branch,
    }
    values = {field: value for field, value in given.items() if value is not UNSET}
    if not name.strip() or len(name) > _LONGEST_NAME:
        raise Refused(f"a project's name has 1 to {_LONGEST_NAME} characters")
    if name != visible(name.strip()):  # no report could ever be of such a project
        raise Refused(f"{visible(name)!r} is no project's name: it has blanks around it, or control characters")
    if values.get("accept") not in {None, *ACCEPT}:
        raise Refused(f"a project accepts {', '.join(ACCEPT)}, not {values['accept']!r}")
    for field in ("keep_days", "keep_runs"):
        value = values.get(field)
        if value is not None and not 1 <= value <= _MOST:
            raise Refused(f"{field.replace('_', '-')} is a number from 1 to {_MOST:,}, not {value}")
    with database.write() as connection:
        number = project_number(connection, name, now())
        if values:
            connection.execute(sa.update(project).where(project.c.id == number).values(values))
