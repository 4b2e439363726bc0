"""All projects at a glance: how the newest runs of each went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from jux_server.store.queries.projects import of_projects
from jux_server.store.schema import project, run

if TYPE_CHECKING:
    from jux_server.store.queries.projects import Visible

WINDOW = 30  # runs that an overview looks at
_USUAL_BRANCHES = ("main", "master")
_BRIEF = (
    *(run.c.id, run.c.public_id, run.c.branch, run.c.commit, run.c.is_dirty, run.c.received_at, run.c.started_at),
    *(run.c.tests, run.c.failures, run.c.errors, run.c.skipped, run.c.flaky, run.c.duration, run.c.verdict),
    *(run.c.state, run.c.signer),
)


class Known(NamedTuple):
    """A project, the number of its newest run, and when that was received (microseconds); None: it has none."""

    id: int
    name: str
    default_branch: str | None
    run_id: int | None
    received_at: int | None


def known_projects(connection: sa.Connection, visible: Visible, text: str = "") -> list[Known]:
    """Return the projects whose name has a text in it, in any case, those that were heard of last first."""
    newest = sa.select(sa.func.max(run.c.id)).where(run.c.project_id == project.c.id).scalar_subquery()
    numbers = (
        sa.select(project.c.id, project.c.name, project.c.default_branch, newest.label("run_id"))
        .where(*of_projects(project.c.id, visible.numbers))
        .subquery()
    )
    chosen = sa.select(numbers, run.c.received_at).outerjoin(run, run.c.id == numbers.c.run_id)
    found = [Known(*row) for row in connection.execute(chosen)]
    if text:
        found = [one for one in found if text.casefold() in one.name.casefold()]
    return sorted(found, key=lambda one: (-(one.received_at or 0), one.name))


def branch_shown(connection: sa.Connection, one: Known) -> str | None:
    """Return a project's default branch: the one that was set, else main, else master, else that of its newest run.

    None is the branch of runs that do not name theirs.
    """
    if one.default_branch is not None:
        return one.default_branch
    for name in _USUAL_BRANCHES:
        if connection.execute(_ANY_OF_BRANCH, {"project": one.id, "branch": name}).scalar() is not None:
            return name
    return connection.execute(_BRANCH_OF, {"run": one.run_id}).scalar()


def find_known(connection: sa.Connection, number: int) -> Known:
    """Return the project with this number, which must be there."""
    newest = sa.select(sa.func.max(run.c.id)).where(run.c.project_id == number).scalar_subquery()
    chosen = sa.select(project.c.id, project.c.name, project.c.default_branch, newest).where(project.c.id == number)
    return Known(*connection.execute(chosen).one(), None)


def newest_runs(
    connection: sa.Connection, project_id: int, branch: str | None, size: int = WINDOW, *, upto: int | None = None
) -> list[sa.Row[Any]]:
    """Return the newest runs of a branch, newest first; with `upto` those not newer than the run of that number."""
    chosen = sa.select(*_BRIEF).where(run.c.project_id == sa.bindparam("project"))
    chosen = chosen.where(run.c.branch == sa.bindparam("branch") if branch is not None else run.c.branch.is_(None))
    values: dict[str, object] = {"project": project_id, "size": size} | ({} if branch is None else {"branch": branch})
    if upto is not None:
        chosen = chosen.where(run.c.id <= sa.bindparam("upto"))
        values["upto"] = upto
    return list(connection.execute(chosen.order_by(run.c.id.desc()).limit(sa.bindparam("size")), values))


def branches_of(connection: sa.Connection, project_id: int, limit: int = 50) -> list[str]:
    """Return the branches of a project, those that were heard of last first."""
    newest = sa.func.max(run.c.id)
    chosen = sa.select(run.c.branch).where(run.c.project_id == project_id, run.c.branch.is_not(None))
    return list(connection.execute(chosen.group_by(run.c.branch).order_by(newest.desc()).limit(limit)).scalars())


_ANY_OF_BRANCH = (
    sa.select(run.c.id)
    .where(run.c.project_id == sa.bindparam("project"), run.c.branch == sa.bindparam("branch"))
    .limit(1)
)
_BRANCH_OF = sa.select(run.c.branch).where(run.c.id == sa.bindparam("run"))
