"""One report into the database, all of it in the caller's transaction."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
import zlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from jux_server.store import schema
from jux_server.store.schema import Result, State, Verdict
from pytest_jux.report import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pytest_jux.report import Case, Report

_OUTCOMES = {
    Outcome.PASSED: int(Result.PASSED),
    Outcome.FAILED: int(Result.FAILED),
    Outcome.ERROR: int(Result.ERROR),
    Outcome.SKIPPED: int(Result.SKIPPED),
}
_FLAKY = int(Result.FLAKY)
_BROKE_DOWN = {"2", "3", "4"}  # pytest's exit status: interrupted, internal error, wrong usage
_LONGEST_TIME = 10_000_000_000_000_000  # microseconds, 300 years
_AT_ONCE = 10_000  # parameters of one statement
_LEVEL = 6
_KEPT_PLACES = re.compile(r"0x[0-9a-fA-F]+|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|\d+(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class Seal:
    """What verification found: `reason` says why the state is not `TRUSTED`; the rest is None where there is none."""

    state: State
    reason: str = ""
    signer: str | None = None
    algorithm: str | None = None
    trusted_by: str | None = None
    fingerprint: bytes | None = None
    not_before: int | None = None
    not_after: int | None = None


@dataclass(frozen=True, slots=True)
class NewDocument:
    """The bytes of one report as they were received, packed by `pack`, and what is known of them."""

    size: int
    content: bytes
    received_at: int
    seal: Seal
    key_id: int | None = None


@dataclass(frozen=True, slots=True)
class NewRun:
    """A report on its way into the database. `hash` is the canonical hash's 32 bytes, `facts` JSON values."""

    project: str
    hash: bytes
    document: NewDocument
    contents: Contents
    facts: Mapping[str, Any]
    started_at: int | None = None
    branch: str | None = None
    commit: str | None = None
    is_dirty: bool | None = None
    tags: Sequence[str] = ()


class Saved(NamedTuple):
    """What became of a report: a new run, or one that was there. `is_better`: its signature is the best one now."""

    run_id: int
    public_id: uuid.UUID
    is_new: bool
    is_better: bool


@dataclass(slots=True)
class Contents:
    """What a report says, as columns: the n-th entry of each list is the n-th case."""

    verdict: Verdict
    counts: Mapping[str, int]  # tests, failures, errors, skipped, flaky, duration
    suites: list[dict[str, Any]]
    keys: list[bytes] = field(default_factory=list)
    outcomes: list[int] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)
    names: dict[bytes, tuple[str, str]] = field(default_factory=dict)  # key -> class name and name
    problems: list[dict[str, Any]] = field(default_factory=list)


# --- from a report to rows -------------------------------------------------------------------------------------------


def contents_of(report: Report) -> Contents:
    """Return the rows of a report, without the numbers that only the database can give."""
    summary = report.summary
    exit_status = report.properties.get("jux:pytest_exit_status", "")
    if summary.failures:
        verdict = Verdict.FAILED
    elif summary.errors or exit_status in _BROKE_DOWN:
        verdict = Verdict.ERROR
    else:
        verdict = Verdict.FAILED if exit_status == "1" else Verdict.PASSED
    counts = {name: getattr(summary, name) for name in ("tests", "failures", "errors", "skipped", "flaky")}
    contents = Contents(verdict, {**counts, "duration": microseconds(summary.time)}, [])
    positions = {id(suite): position for position, suite in enumerate(report.suites)}
    for position, suite in enumerate(report.suites):
        first = len(contents.keys)
        for case in suite.cases:
            _add_case(contents, case)
        found = Counter(contents.outcomes[first:])
        contents.suites.append(
            {
                "position": position,
                "public_id": uuid.uuid4(),
                "parent": None if suite.parent is None else positions.get(id(suite.parent)),
                "name": shortened(suite.name, schema.LONGEST_NAME),
                "first": first,
                "tests": len(suite.cases),
                "failures": found[Result.FAILED],
                "errors": found[Result.ERROR],
                "skipped": found[Result.SKIPPED],
                "duration": microseconds(suite.time),
                "properties": _properties(suite.properties),
            }
        )
    return contents


def _add_case(contents: Contents, case: Case) -> None:
    place = case.classname or case.file
    key = test_key(place, case.name)
    outcome = _FLAKY if case.flaky else _OUTCOMES[case.outcome]
    if case.message or case.details or outcome in {Result.FAILED, Result.ERROR}:
        contents.problems.append(_problem(len(contents.keys), case))
    contents.keys.append(key)
    contents.outcomes.append(outcome)
    contents.durations.append(microseconds(case.time))
    if key not in contents.names:
        contents.names[key] = (shortened(place, schema.LONGEST_NAME), shortened(case.name, schema.LONGEST_NAME))


def test_key(place: str, name: str) -> bytes:
    """Return what a test is known by in its project: 16 bytes for its class name, or else its file, and its name.

    The file counts only where there is no class name, because pytest writes it in one of its two formats.
    """
    return hashlib.blake2b(f"{place}\0{name}".encode(), digest_size=16).digest()


def _problem(position: int, case: Case) -> dict[str, Any]:
    details = case.details[: schema.LONGEST_DETAILS]
    return {
        "position": position,
        "kind": kind_of(case.type, case.message or case.details),
        "type": shortened(case.type, schema.LONGEST_NAME),
        "message": shortened(case.message, schema.LONGEST_MESSAGE),
        "details": zlib.compress(details.encode(), _LEVEL) if details else None,
        "is_shortened": len(case.message) > schema.LONGEST_MESSAGE or len(case.details) > schema.LONGEST_DETAILS,
    }


def kind_of(exception: str, message: str) -> int:
    """Return a number that is equal for failures whose messages differ only in numbers and addresses."""
    line = message.strip().partition("\n")[0][:500]
    text = f"{exception[:200]}\0{_KEPT_PLACES.sub('#', line)}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)


def _properties(properties: Iterable[tuple[str, str]]) -> str | None:
    pairs = [(name[: schema.LONGEST_NAME], value[: schema.LONGEST_MESSAGE]) for name, value in properties]
    return json.dumps(pairs, separators=(",", ":")) if pairs else None


def microseconds(seconds: float) -> int:
    """Return a duration as the tables have it."""
    return min(round(seconds * 1_000_000), _LONGEST_TIME)


def shortened(text: str, longest: int) -> str:
    """Return a text that the database can hold: at most `longest` characters, without NUL and halves of characters."""
    text = text if len(text) <= longest else f"{text[: longest - 1]}…"
    return text if text.isascii() and "\0" not in text else text.replace("\0", "").encode("utf-8", "replace").decode()


def pack(data: bytes) -> bytes:
    """Return a report's bytes as they are stored."""
    return zlib.compress(data, _LEVEL)


def unpack(content: bytes) -> bytes:
    """Return the bytes that were given to `pack`."""
    return zlib.decompress(content)


# --- into the database -----------------------------------------------------------------------------------------------


def save(connection: sa.Connection, new: NewRun) -> Saved:
    """Store a report unless its project has it; then only a better signature is added to it.

    Of any number of transactions that store the same report, one makes a new run.
    """
    project_id = project_number(connection, new.project, new.document.received_at)
    public_id = uuid.uuid4()
    insert = _insert(connection, schema.run).values(
        public_id=public_id,
        project_id=project_id,
        hash=new.hash,
        received_at=new.document.received_at,
        started_at=new.started_at,
        branch=new.branch,
        commit=new.commit,
        is_dirty=new.is_dirty,
        verdict=int(new.contents.verdict),
        state=int(new.document.seal.state),
        signer=new.document.seal.signer,
        facts=json.dumps(new.facts, separators=(",", ":")),
        **new.contents.counts,
    )
    run_id = connection.execute(insert.on_conflict_do_nothing().returning(schema.run.c.id)).scalar()
    if run_id is None:
        return _add_to_existing(connection, project_id, new)
    _add_document(connection, run_id, new.document)
    if new.contents.suites:
        connection.execute(sa.insert(schema.suite), [{"run_id": run_id, **suite} for suite in new.contents.suites])
    if new.tags:
        connection.execute(sa.insert(schema.tag), [{"run_id": run_id, "name": name} for name in set(new.tags)])
    numbers = _test_numbers(connection, project_id, new.contents.names)
    rows = zip(
        *(range(len(new.contents.keys)), (numbers[key] for key in new.contents.keys)),
        *(new.contents.outcomes, new.contents.durations),
        strict=True,
    )
    _add_results(connection, run_id, rows)
    if new.contents.problems:
        connection.execute(sa.insert(schema.problem), [{"run_id": run_id, **row} for row in new.contents.problems])
    return Saved(run_id, public_id, is_new=True, is_better=False)


def project_number(connection: sa.Connection, name: str, at: int) -> int:
    """Return the number of a project, which is made if there is none of that name."""
    find = sa.select(schema.project.c.id).where(schema.project.c.name == name)
    number = connection.execute(find).scalar()
    if number is None:
        made = _insert(connection, schema.project).values(name=name, created_at=at).on_conflict_do_nothing()
        connection.execute(made)
        number = connection.execute(find).scalar_one()
    return int(number)


def _insert(connection: sa.Connection, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)


def _add_to_existing(connection: sa.Connection, project_id: int, new: NewRun) -> Saved:
    run = schema.run.c
    same = (run.project_id == project_id) & (run.hash == new.hash)
    find = sa.select(run.id, run.public_id, run.state).where(same).with_for_update()
    run_id, public_id, state = connection.execute(find).one()
    is_better = new.document.seal.state > state
    if is_better:
        _add_document(connection, run_id, new.document)
        seal = new.document.seal
        connection.execute(
            sa.update(schema.run).where(run.id == run_id).values(state=int(seal.state), signer=seal.signer)
        )
    return Saved(run_id, public_id, is_new=False, is_better=is_better)


def _add_document(connection: sa.Connection, run_id: int, new: NewDocument) -> None:
    connection.execute(
        sa.insert(schema.document).values(
            run_id=run_id,
            received_at=new.received_at,
            key_id=new.key_id,
            size=new.size,
            content=new.content,
            **seal_values(new.seal),
        )
    )


def seal_values(seal: Seal) -> dict[str, Any]:
    """Return the columns of `document` that say what verification found."""
    return {
        "state": int(seal.state),
        "reason": shortened(seal.reason, schema.LONGEST_MESSAGE),
        "signer": seal.signer,
        "algorithm": seal.algorithm,
        "trusted_by": seal.trusted_by,
        "fingerprint": seal.fingerprint,
        "not_before": seal.not_before,
        "not_after": seal.not_after,
    }


def _test_numbers(
    connection: sa.Connection, project_id: int, names: Mapping[bytes, tuple[str, str]]
) -> dict[bytes, int]:
    """Return the numbers of tests, those that are new included."""
    numbers = dict(_find_tests(connection, project_id, list(names)))
    # In one order for all, so that two reports with the same new tests wait for each other and not both at once.
    missing = sorted(names.keys() - numbers.keys())
    for keys in _portions(missing):
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql(
                "INSERT INTO test (project_id, key, classname, name) VALUES (?, ?, ?, ?)",
                [(project_id, key, *names[key]) for key in keys],
            )
        else:
            connection.exec_driver_sql(
                "INSERT INTO test (project_id, key, classname, name) SELECT %s, * FROM"
                " unnest(%s::bytea[], %s::text[], %s::text[]) ON CONFLICT DO NOTHING",
                (project_id, keys, [names[key][0] for key in keys], [names[key][1] for key in keys]),
            )
        numbers.update(_find_tests(connection, project_id, keys))
    return numbers


def _find_tests(connection: sa.Connection, project_id: int, keys: Sequence[bytes]) -> Iterator[tuple[bytes, int]]:
    for portion in _portions(keys):
        if connection.dialect.name == "sqlite":
            marks = ",".join("?" * len(portion))
            query = f"SELECT key, id FROM test WHERE project_id = ? AND key IN ({marks})"  # noqa: S608 - only marks
            found = connection.exec_driver_sql(query, (project_id, *portion))
        else:
            query = "SELECT key, id FROM test WHERE project_id = %s AND key = ANY(%s::bytea[])"
            found = connection.exec_driver_sql(query, (project_id, portion))
        for key, number in found:
            yield bytes(key), number


def _portions(keys: Sequence[bytes]) -> Iterator[list[bytes]]:
    for start in range(0, len(keys), _AT_ONCE):
        yield list(keys[start : start + _AT_ONCE])


def _add_results(connection: sa.Connection, run_id: int, rows: Iterable[tuple[int, int, int, int]]) -> None:
    if connection.dialect.name == "sqlite":
        values = [(run_id, *row) for row in rows]
        if values:
            connection.exec_driver_sql(
                "INSERT INTO result (run_id, position, test_id, outcome, duration) VALUES (?, ?, ?, ?, ?)", values
            )
        return
    lines = "".join(f"{run_id}\t{at}\t{test}\t{outcome}\t{duration}\n" for at, test, outcome, duration in rows)
    driver: Any = connection.connection.driver_connection
    with (
        driver.cursor() as cursor,
        cursor.copy("COPY result (run_id, position, test_id, outcome, duration) FROM STDIN") as copy,
    ):
        copy.write(lines)
