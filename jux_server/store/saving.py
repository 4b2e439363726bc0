"""One report into the database, all of it in the caller's transaction."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import uuid
import zlib
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from jux_server.store import results, schema
from jux_server.store.compression import compressed
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
_PASSED, _SKIPPED, _FLAKY = int(Result.PASSED), int(Result.SKIPPED), int(Result.FLAKY)
_BROKE_DOWN = {"2", "3", "4"}  # pytest's exit status: interrupted, internal error, wrong usage
_LONGEST_TIME = 10_000_000_000.0  # seconds, 300 years
_AT_ONCE = 10_000  # parameters of one statement
_LEVEL = 6
_LONG_NAME = 1_000  # characters of a test's name that is not worth remembering
_MOST_NAMES = 200_000  # of tests, of all projects, that are remembered
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
    """What became of a report: a new run, or one that was there. `is_better`: its signature is the best one now.

    `learned` is what `TestNumbers.learn` may be told when the transaction is committed.
    """

    run_id: int
    public_id: uuid.UUID
    is_new: bool
    is_better: bool
    learned: Learned | None = None


#: The class name of a test, or its file where it has none, and its name.
TestName = tuple[str, str]


class Learned(NamedTuple):
    """Numbers of tests of a project, right as long as the project is of this generation."""

    project_id: int
    generation: int
    numbers: Mapping[TestName, int]


class TestNumbers:
    """The numbers of tests that earlier reports named, so that the next one need not ask for them."""

    __test__ = False  # no test, although it is called so

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, dict[TestName, int]]] = {}
        self._lock = threading.Lock()

    def known(self, project_id: int, generation: int) -> Mapping[TestName, int]:
        """Return what is known of a project's tests."""
        seen, numbers = self._known.get(project_id, (generation, {}))
        return numbers if seen == generation else {}

    def learn(self, learned: Learned) -> None:
        """Remember numbers, and forget others where they would be too many."""
        new = {name: number for name, number in learned.numbers.items() if len(name[0]) + len(name[1]) < _LONG_NAME}
        if not new:
            return
        with self._lock:
            generation, numbers = self._known.pop(learned.project_id, (learned.generation, {}))
            if generation > learned.generation:
                self._known[learned.project_id] = generation, numbers
                return
            if generation < learned.generation or len(numbers) + len(new) > _MOST_NAMES:
                numbers = {}
            # A copy: somebody else may be reading the one that is there.
            self._known[learned.project_id] = learned.generation, {**numbers, **new}
            while sum(len(known) for _, known in self._known.values()) > _MOST_NAMES and len(self._known) > 1:
                del self._known[next(iter(self._known))]  # the project whose tests were not learned for longest


@dataclass(slots=True)
class Contents:
    """What a report says, as columns: the n-th entry of each list is the n-th case."""

    verdict: Verdict
    counts: Mapping[str, int]  # tests, failures, errors, skipped, flaky, duration
    suites: list[dict[str, Any]]
    tests: list[TestName] = field(default_factory=list)
    outcomes: list[int] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)
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
        first = len(contents.tests)
        _add_cases(contents, suite.cases)
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


def _add_cases(contents: Contents, cases: Sequence[Case]) -> None:
    outcomes = [_FLAKY if case.flaky else _OUTCOMES[case.outcome] for case in cases]
    start = len(contents.tests)
    contents.problems += [
        _problem(start + index, outcome, case)
        for index, (outcome, case) in enumerate(zip(outcomes, cases, strict=True))
        if outcome != _PASSED and (outcome != _SKIPPED or case.message or case.details)
    ]
    contents.tests += [(case.classname or case.file, case.name) for case in cases]
    contents.outcomes += outcomes
    times = [case.time for case in cases]
    if max(times, default=0) > _LONGEST_TIME:
        times = [min(time, _LONGEST_TIME) for time in times]
    contents.durations += [round(time * 1_000_000) for time in times]


def test_key(place: str, name: str) -> bytes:
    """Return what a test is known by in its project: 16 bytes for its class name, or else its file, and its name.

    The file counts only where there is no class name, because pytest writes it in one of its two formats.
    """
    return hashlib.blake2b(f"{place}\0{name}".encode(), digest_size=16).digest()


def _problem(position: int, outcome: int, case: Case) -> dict[str, Any]:
    details = case.details[: schema.LONGEST_DETAILS]
    return {
        "position": position,
        "outcome": outcome,
        "kind": kind_of(case.type, case.message or case.details),
        "type": shortened(case.type, schema.LONGEST_NAME),
        "message": shortened(case.message, schema.LONGEST_MESSAGE),
        "details": compressed(details.encode(), _LEVEL) if details else None,
        "is_shortened": len(case.message) > schema.LONGEST_MESSAGE or len(case.details) > schema.LONGEST_DETAILS,
    }


def kind_of(exception: str, message: str) -> int:
    """Return a number that is equal for failures whose messages differ only in numbers and addresses."""
    line = message.strip().partition("\n")[0][:500]
    text = f"{exception[:200]}\0{_KEPT_PLACES.sub('#', line)}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)


def _properties(properties: Iterable[tuple[str, str]]) -> str | None:
    kept = islice(properties, schema.MOST_PROPERTIES)
    pairs = [(name[: schema.LONGEST_NAME], value[: schema.LONGEST_MESSAGE]) for name, value in kept]
    return json.dumps(pairs, separators=(",", ":")) if pairs else None


def microseconds(seconds: float) -> int:
    """Return a duration as the tables have it."""
    return round(min(seconds, _LONGEST_TIME) * 1_000_000)


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


def save(connection: sa.Connection, new: NewRun, numbers: TestNumbers | None = None) -> Saved:
    """Store a report unless its project has it; then only a better signature is added to it.

    Of any number of transactions that store the same report, one makes a new run. `numbers` spares the questions for
    tests that are known; after the transaction it may be told what was learned.
    """
    contents, document = new.contents, new.document
    project_id = project_number(connection, new.project, document.received_at)
    public_id = uuid.uuid4()
    values = {
        "public_id": public_id,
        "project_id": project_id,
        "hash": new.hash,
        "received_at": document.received_at,
        "started_at": new.started_at,
        "branch": new.branch,
        "commit": new.commit,
        "is_dirty": new.is_dirty,
        "verdict": int(contents.verdict),
        "state": int(document.seal.state),
        "signer": document.seal.signer,
        "slowest": b"",
        "facts": json.dumps(new.facts, separators=(",", ":")),
        **contents.counts,
    }
    run_id = None
    while run_id is None:
        run_id = connection.execute(_INSERT_RUN[connection.dialect.name], values).scalar()
        existing = None if run_id is not None else _add_to_existing(connection, project_id, new)
        if existing is not None:
            return existing
        # else it was there, and has been pruned since
    _add_document(connection, run_id, document)
    if contents.suites:
        connection.execute(_INSERT_SUITE, [{"run_id": run_id, **suite} for suite in contents.suites])
    if new.tags:
        connection.execute(_INSERT_TAG, [{"run_id": run_id, "name": name} for name in set(new.tags)])
    # Asked after the row of the run, whose reference to the project keeps its generation as it is until the end.
    generation = connection.execute(_GENERATION, {"number": project_id}).scalar_one()
    known = numbers.known(project_id, generation) if numbers else {}
    missing = {name for name in contents.tests if name not in known}
    found = _test_numbers(connection, project_id, missing) if missing else {}
    ids = [known[name] if name in known else found[name] for name in contents.tests]
    if ids:
        blocks = results.pack(ids, contents.outcomes, contents.durations)
        rows = [{"block": block, "run_id": run_id, "content": content} for block, content in blocks]
        connection.execute(_INSERT_RESULTS, rows)
        slowest = results.slowest_tests(ids, contents.durations)
        connection.execute(_SET_SLOWEST, {"number": run_id, "numbers": slowest})
    if contents.problems:
        problems = [{"run_id": run_id, "test_id": ids[row["position"]], **row} for row in contents.problems]
        connection.execute(_INSERT_PROBLEM, problems)
    return Saved(run_id, public_id, True, False, Learned(project_id, generation, found))  # noqa: FBT003 - a named tuple


def project_number(connection: sa.Connection, name: str, at: int) -> int:
    """Return the number of a project, which is made if there is none of that name."""
    number = connection.execute(_FIND_PROJECT, {"name": name}).scalar()
    if number is None:
        connection.execute(_INSERT_PROJECT[connection.dialect.name], {"name": name, "created_at": at})
        number = connection.execute(_FIND_PROJECT, {"name": name}).scalar_one()
    return int(number)


def _add_to_existing(connection: sa.Connection, project_id: int, new: NewRun) -> Saved | None:
    found = connection.execute(_SAME_RUN, {"project": project_id, "content": new.hash}).one_or_none()
    if found is None:
        return None
    run_id, public_id, state = found
    is_better = new.document.seal.state > state
    if is_better:
        _add_document(connection, run_id, new.document)
        seal = new.document.seal
        connection.execute(_SET_STATE, {"number": run_id, "best": int(seal.state), "by": seal.signer})
    return Saved(run_id, public_id, is_new=False, is_better=is_better)


def _add_document(connection: sa.Connection, run_id: int, new: NewDocument) -> None:
    values = {
        "run_id": run_id,
        "received_at": new.received_at,
        "key_id": new.key_id,
        "size": new.size,
        "content": new.content,
        **seal_values(new.seal),
    }
    connection.execute(_INSERT_DOCUMENT, values)


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


def _test_numbers(connection: sa.Connection, project_id: int, names: Iterable[TestName]) -> dict[TestName, int]:
    """Return the numbers of tests, those that are new included."""
    by_key = {test_key(*name): name for name in names}
    numbers = dict(_find_tests(connection, project_id, list(by_key)))
    # In one order for all, so that two reports with the same new tests wait for each other and not both at once. By
    # name, so that neighbours in a report share a block.
    missing = sorted(by_key.keys() - numbers.keys(), key=by_key.__getitem__)
    for keys in _portions(missing):
        rows = [(key, *(shortened(text, schema.LONGEST_NAME) for text in by_key[key])) for key in keys]
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql(
                "INSERT INTO test (project_id, key, classname, name) VALUES (?, ?, ?, ?)",
                [(project_id, *row) for row in rows],
            )
        else:
            connection.exec_driver_sql(
                "INSERT INTO test (project_id, key, classname, name) SELECT %s, * FROM"
                " unnest(%s::bytea[], %s::text[], %s::text[]) ON CONFLICT DO NOTHING",
                (project_id, *(list(column) for column in zip(*rows, strict=True))),
            )
        numbers.update(_find_tests(connection, project_id, keys))
    return {by_key[key]: number for key, number in numbers.items()}


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


# Statements are made once: SQLAlchemy takes longer to make one than a database to execute it.


def _insert_once(table: sa.Table, *returning: sa.ColumnElement[Any]) -> dict[str, Any]:
    once: dict[str, Any] = {
        "sqlite": sqlite.insert(table).on_conflict_do_nothing(),
        "postgresql": postgresql.insert(table).on_conflict_do_nothing(),
    }
    return {name: insert.returning(*returning) if returning else insert for name, insert in once.items()}


_FIND_PROJECT = sa.select(schema.project.c.id).where(schema.project.c.name == sa.bindparam("name"))
_INSERT_PROJECT = _insert_once(schema.project)
_GENERATION = sa.select(schema.project.c.generation).where(schema.project.c.id == sa.bindparam("number"))
_INSERT_RUN = _insert_once(schema.run, schema.run.c.id)
_INSERT_DOCUMENT = sa.insert(schema.document)
_INSERT_SUITE = sa.insert(schema.suite)
_INSERT_TAG = sa.insert(schema.tag)
_INSERT_RESULTS = sa.insert(schema.results)
_INSERT_PROBLEM = sa.insert(schema.problem)
_SET_SLOWEST = (
    sa.update(schema.run).where(schema.run.c.id == sa.bindparam("number")).values(slowest=sa.bindparam("numbers"))
)
_SAME_RUN = (
    sa.select(schema.run.c.id, schema.run.c.public_id, schema.run.c.state)
    .where(schema.run.c.project_id == sa.bindparam("project"), schema.run.c.hash == sa.bindparam("content"))
    .with_for_update()
)
_SET_STATE = (
    sa.update(schema.run)
    .where(schema.run.c.id == sa.bindparam("number"))
    .values(state=sa.bindparam("best"), signer=sa.bindparam("by"))
)
