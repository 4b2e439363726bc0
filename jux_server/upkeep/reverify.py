"""Judging the reports that are there by what is believed now."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from jux_server.errors import Unknown
from jux_server.intake import seal_of
from jux_server.store import schema
from jux_server.store.database import now
from jux_server.store.queries.runs import content_of
from jux_server.store.saving import seal_values, unpack
from jux_server.store.schema import State
from jux_server.trust import Signers
from jux_server.upkeep.records import record
from pytest_jux.document import DEFAULT_LIMITS
from pytest_jux.verifier import examine_report

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from jux_server.store.database import Database
    from jux_server.store.saving import Seal

_SEAL = ("state", "reason", "signer", "algorithm", "trusted_by", "fingerprint", "not_before", "not_after")
_AT_ONCE = 50  # documents that are read, and then written down, at once
_NO_LIMIT = DEFAULT_LIMITS._replace(bytes=1 << 31)  # what was accepted once is not too large now

run, document, projects = schema.run, schema.document, schema.project
_WITHOUT_CONTENT = [column for column in document.c if column.name != "content"]  # of many at once it may be too much


class Reverified(NamedTuple):
    """How many documents were examined, and how many of them went from one state to another."""

    examined: int
    changed: Mapping[tuple[State, State], int]


def reverify(database: Database, *, project: str | None = None) -> Reverified:
    """Verify every document again, dates judged at the time when it was received, and record what is found.

    Raises:
        Unknown: there is no project of that name.
    """
    signers = Signers()
    examined, changed = 0, Counter[tuple[State, State]]()
    for portion in _portions(database, project):
        found: dict[int, Seal] = {}
        with database.read() as connection:
            for row in portion:
                trust = signers.trust(connection, row.project, row.received_at)
                data = unpack(content_of(connection, row.id))
                found[row.id] = seal_of(examine_report(data, trust, limits=_NO_LIMIT))
        examined += len(portion)
        changed.update(_write_down(database, portion, found))
    with database.write() as connection:
        words = {f"{before.word} to {after.word}": count for (before, after), count in changed.items()}
        record(connection, "reverify", now(), {"examined": examined, **words})
    return Reverified(examined, dict(changed))


def _portions(database: Database, project_name: str | None) -> Iterator[list[sa.Row[Any]]]:
    chosen = (
        sa.select(*_WITHOUT_CONTENT, projects.c.name.label("project"))
        .join(run, run.c.id == document.c.run_id)
        .join(projects, projects.c.id == run.c.project_id)
    )
    if project_name is not None:
        with database.read() as connection:
            if connection.execute(sa.select(projects.c.id).where(projects.c.name == project_name)).scalar() is None:
                raise Unknown("project", project_name, "jux-server project list shows them all.")
        chosen = chosen.where(projects.c.name == project_name)
    last = 0
    while True:
        with database.read() as connection:
            rows = list(connection.execute(chosen.where(document.c.id > last).order_by(document.c.id).limit(_AT_ONCE)))
        if not rows:
            return
        last = rows[-1].id
        yield rows


def _write_down(
    database: Database, rows: Sequence[sa.Row[Any]], found: Mapping[int, Seal]
) -> Counter[tuple[State, State]]:
    """Record what was found where it is something else than before, and return these changes of state."""
    different = [row for row in rows if _known(row) != seal_values(found[row.id])]
    changes = Counter((State(row.state), found[row.id].state) for row in different if found[row.id].state != row.state)
    if different:
        with database.write() as connection:
            runs = sorted({row.run_id for row in different})
            # Held until the end, so that nobody adds a better signature in between.
            connection.execute(sa.select(run.c.id).where(run.c.id.in_(runs)).order_by(run.c.id).with_for_update())
            for row in different:
                values = seal_values(found[row.id])
                connection.execute(sa.update(document).where(document.c.id == row.id).values(values))
            for number in runs:
                _set_best(connection, number)
    return changes


def _known(row: sa.Row[Any]) -> dict[str, Any]:
    known = {name: row._mapping[name] for name in _SEAL}  # noqa: SLF001 - public by SQLAlchemy's documentation
    return known | {"fingerprint": None if row.fingerprint is None else bytes(row.fingerprint)}


def _set_best(connection: sa.Connection, run_id: int) -> None:
    best = sa.select(document.c.state, document.c.signer).where(document.c.run_id == run_id)
    found = connection.execute(best.order_by(document.c.state.desc(), document.c.id).limit(1)).one_or_none()
    if found is not None:
        values = {"state": found.state, "signer": found.signer}
        connection.execute(sa.update(run).where(run.c.id == run_id).values(values))
