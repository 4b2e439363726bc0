"""Several kinds of upkeep at once, more of everything than goes at once, and what is damaged."""

from __future__ import annotations

import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from kept_reports import DAY, ids, receive, report, reports_coming_in, rows_of, state_of

from jux_server.api.access import HERE
from jux_server.intake import Intake
from jux_server.store import schema
from jux_server.store.database import now, open_database
from jux_server.store.schema import State
from jux_server.trust import add_signer
from jux_server.upkeep.records import last_results, record
from jux_server.upkeep.retention import Retention, prune
from jux_server.upkeep.reverify import reverify
from pytest_jux.signer import sign_report


def names_of(database, project):
    of_project = sa.select(schema.test.c.name).join(schema.project).where(schema.project.c.name == project)
    with database.read() as connection:
        return set(connection.execute(of_project).scalars())


def test_two_who_prune_at_once_delete_everything_once(database):
    for number in range(120):
        receive(database, report(number))
    with ThreadPoolExecutor(2) as threads:
        pruned = list(threads.map(lambda _: prune(database, Retention(runs=1)), range(2)))
    assert sum(one.runs for one in pruned) == 119
    assert sum(one.documents for one in pruned) == 119
    assert rows_of(database, schema.run) == 1


def test_results_of_upkeep_are_written_down_at_once_by_many(database):
    def write_down(number):
        with database.write() as connection:
            record(connection, "prune", number, {"runs": number})
            time.sleep(0.05)  # all of them are in the middle

    with database.write() as connection:
        record(connection, "prune", 1000, {"runs": 1000})
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(write_down, range(6)))
    with database.read() as connection:
        last = last_results(connection)["prune"]
    assert last.at in range(6)
    assert last.result == {"runs": last.at}


def test_pruning_and_verification_anew_go_beside_each_other(database, p256):
    for number in range(120):
        receive(database, sign_report(report(number), p256.key, p256.certificate))
    last = receive(database, sign_report(report(1000), p256.key, p256.certificate))
    add_signer(database, p256.certificate)
    with ThreadPoolExecutor(2) as threads:
        pruned = threads.submit(prune, database, Retention(runs=1))
        verified = threads.submit(reverify, database)
        assert pruned.result().runs == 120
        assert 1 <= verified.result().examined <= 121
    assert state_of(database, last)[0] is State.TRUSTED


def test_verification_anew_ends_although_reports_come_in(database):
    there = [receive(database, report(number)) for number in range(60)]
    with reports_coming_in(database) as outcomes:
        examined = reverify(database).examined
    assert len(there) <= examined <= len(there) + len(outcomes)


@pytest.mark.parametrize("content", [b"not packed", b"x\x9c\x03\x00\x00\x00\x00\x01"], ids=["damaged", "empty"])
def test_document_that_cannot_be_read_any_more_is_broken_and_the_others_are_verified(database, p256, content):
    lost, good = (receive(database, sign_report(report(n), p256.key, p256.certificate)) for n in range(2))
    with database.write() as connection:
        of_lost = sa.select(schema.run.c.id).where(schema.run.c.public_id == lost.id).scalar_subquery()
        damage = sa.update(schema.document).where(schema.document.c.run_id == of_lost).values(content=content)
        connection.execute(damage)
    add_signer(database, p256.certificate)
    assert reverify(database).changed == {(State.INTACT, State.BROKEN): 1, (State.INTACT, State.TRUSTED): 1}
    assert state_of(database, lost) == (State.BROKEN, None, [State.BROKEN])
    assert state_of(database, good)[0] is State.TRUSTED


def test_names_of_tests_go_where_no_run_has_them_and_stay_elsewhere(database):
    intake = Intake(database)
    for extra in ("_a", "_b"):
        intake.receive(report(1, cases=400, extra=extra), HERE)
        intake.receive(report(1, project="other", cases=100, extra=extra), HERE)
    assert prune(database, Retention(runs=1)).tests == 500
    assert names_of(database, "shop") == {f"test_{case}_b" for case in range(400)}
    assert names_of(database, "other") == {f"test_{case}_b" for case in range(100)}


def test_names_of_tests_are_right_for_who_takes_reports_in_while_they_are_pruned(database):
    for number in range(20):
        receive(database, report(number, project="busy", extra=f"_{number}"))
    with reports_coming_in(database) as outcomes:
        for _ in range(5):
            prune(database, Retention(runs=1))
    assert {"test_0", "test_1", "test_2"} <= names_of(database, "busy")
    assert str(outcomes[-1].id) in ids(database)


def test_old_events_go_and_new_ones_stay(database):
    kept = receive(database, report(1))
    old = {"at": now() - 91 * DAY, "kind": "duplicate", "project": "shop", "reason": ""}
    with database.write() as connection:
        connection.execute(sa.insert(schema.event), [old] * 12_000)
    assert prune(database, Retention()).events == 12_000
    with database.read() as connection:
        assert connection.execute(sa.select(schema.event.c.kind)).scalars().all() == ["created"]
    assert ids(database) == {str(kept.id)}


def test_file_that_gives_no_space_back_is_pruned_all_the_same(tmp_path):
    path = tmp_path / "jux.db"
    open_database(str(path)).close()
    raw = sqlite3.connect(path, isolation_level=None)  # another program writes the file anew
    for command in ("PRAGMA journal_mode = DELETE", "PRAGMA auto_vacuum = NONE", "VACUUM"):
        raw.execute(command).fetchall()
    assert raw.execute("PRAGMA auto_vacuum").fetchone() == (0,)
    raw.close()
    database = open_database(str(path))
    try:
        for number in range(40):
            receive(database, report(number, cases=500, extra="x" * 2000 + str(number)))
        pruned = prune(database, Retention(runs=1))
        assert (pruned.runs, pruned.freed_bytes) == (39, 0)
    finally:
        database.close()
