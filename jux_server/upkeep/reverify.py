"""Judging the reports that are there by what is believed now."""

from __future__ import annotations

import zlib
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from jux_server.errors import Unknown
from jux_server.intake import seal_of
from jux_server.store import schema
from jux_server.store.database import now
from jux_server.store.saving import Seal, seal_values, unpack
from jux_server.store.schema import State
from jux_server.trust import Signers
from jux_server.upkeep.records import record
from pytest_jux.document import DEFAULT_LIMITS
from pytest_jux.errors import ReportError
from pytest_jux.text import visible
from pytest_jux.verifier import examine_report

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from jux_server.store.database import Database
    from pytest_jux.verifier import Trust

_SEAL = ("state", "reason", "signer", "algorithm", "trusted_by", "fingerprint", "not_before", "not_after")
_AT_ONCE = 50  # documents whose seals are written down at once
_NO_LIMIT = DEFAULT_LIMITS._replace(bytes=1 << 31)  # what was accepted once is not too large now

run, document, projects = schema.run, schema.document, schema.project


class Reverified(NamedTuple):
    """How many documents were examined, and how many of them went from one state to another."""

    examined: int
    changed: Mapping[tuple[State, State], int]


class _Judged(NamedTuple):
    number: int
    run_id: int
    before: Mapping[str, Any]
    seal: Seal

    @property
    def is_different(self) -> bool:
        return self.before != seal_values(self.seal)


def reverify(database: Database, *, project: str | None = None) -> Reverified:
    """Verify every document again, dates judged at the time when it was received, and record what is found.

    Documents that come in meanwhile are not examined again. One that cannot be read any more is broken.

    Raises:
        Unknown: there is no project of that name.
    """
    signers = Signers()
    examined, changed = 0, Counter[tuple[State, State]]()
    for numbers in _portions(database, project):
        judged = [one for number in numbers if (one := _judge(database, signers, number)) is not None]
        examined += len(judged)
        changed.update(_write_down(database, [one for one in judged if one.is_different]))
    with database.write() as connection:
        words = {f"{before.word} to {after.word}": count for (before, after), count in changed.items()}
        record(connection, "reverify", now(), {"examined": examined, **words})
    return Reverified(examined, dict(changed))


def _portions(database: Database, project_name: str | None) -> Iterator[Sequence[int]]:
    """Give the numbers of the documents that there are now."""
    chosen = sa.select(document.c.id)
    with database.read() as connection:
        if project_name is not None:
            of_name = sa.select(projects.c.id).where(projects.c.name == project_name)
            project_id = connection.execute(of_name).scalar()
            if project_id is None:
                raise Unknown("project", project_name, "jux-server project list shows them all.")
            chosen = chosen.join(run, run.c.id == document.c.run_id).where(run.c.project_id == project_id)
        newest = connection.execute(sa.select(sa.func.max(document.c.id))).scalar() or 0
    last = 0
    while True:
        some = chosen.where(document.c.id.between(last + 1, newest)).order_by(document.c.id).limit(_AT_ONCE)
        with database.read() as connection:
            numbers = connection.execute(some).scalars().all()
        if not numbers:
            return
        last = numbers[-1]
        yield numbers


def _judge(database: Database, signers: Signers, number: int) -> _Judged | None:
    """Return what is found of a document now; None if it has been deleted meanwhile."""
    whole = (
        sa.select(document, projects.c.name.label("project"))
        .join(run, run.c.id == document.c.run_id)
        .join(projects, projects.c.id == run.c.project_id)
        .where(document.c.id == number)
    )
    # Nothing is held while the signature is verified, which takes long for large reports.
    with database.read() as connection:
        row = connection.execute(whole).one_or_none()
        if row is None:
            return None
        trust = signers.trust(connection, row.project, row.received_at)
    before = {name: row._mapping[name] for name in _SEAL}  # noqa: SLF001 - public by SQLAlchemy's documentation
    return _Judged(number, row.run_id, before, _seal(row.content, trust))


def _seal(content: bytes, trust: Trust) -> Seal:
    try:
        return seal_of(examine_report(unpack(content), trust, limits=_NO_LIMIT))
    except ReportError as error:
        return Seal(State.BROKEN, f"it could not be checked: {visible(str(error))}")
    except zlib.error:
        return Seal(State.BROKEN, "it could not be checked: the database does not have its bytes any more")


def _write_down(database: Database, judged: Sequence[_Judged]) -> Counter[tuple[State, State]]:
    """Record what was found, and return the changes of state."""
    changes: Counter[tuple[State, State]] = Counter()
    if not judged:
        return changes
    with database.write() as connection:
        runs = sorted({one.run_id for one in judged})
        # Held until the end, so that nobody adds a better signature in between.
        connection.execute(sa.select(run.c.id).where(run.c.id.in_(runs)).order_by(run.c.id).with_for_update())
        for one in judged:
            new = sa.update(document).where(document.c.id == one.number).values(seal_values(one.seal))
            before = State(one.before["state"])
            if connection.execute(new).rowcount and before is not one.seal.state:
                changes[before, one.seal.state] += 1
        for number in runs:
            _set_best(connection, number)
    return changes


def _set_best(connection: sa.Connection, run_id: int) -> None:
    best = sa.select(document.c.state, document.c.signer).where(document.c.run_id == run_id)
    found = connection.execute(best.order_by(document.c.state.desc(), document.c.id).limit(1)).one_or_none()
    if found is not None:
        values = {"state": found.state, "signer": found.signer}
        connection.execute(sa.update(run).where(run.c.id == run_id).values(values))
