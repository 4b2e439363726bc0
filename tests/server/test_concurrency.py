"""Clients at once about the same things: signatures, new projects and tests, and what is deleted meanwhile."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import sqlalchemy as sa

from jux_server.intake import Created, Duplicate, Intake
from jux_server.store import results, schema
from jux_server.store.database import open_database
from jux_server.store.saving import unpack
from jux_server.store.schema import State
from jux_server.trust import EVERYTHING, Caller, add_signer, authenticate, create_key, remove_signer
from jux_server.upkeep.retention import Retention, prune
from pytest_jux.signer import sign_report

ANYONE = Caller(None, "anyone", frozenset({"publish"}), (EVERYTHING,))


def report(number=0, project="shop", tests=30, first=0):
    cases = "".join(f'<testcase classname="c" name="t{first + case}"/>' for case in range(tests))
    properties = f'<properties><property name="project" value="{project}"/></properties>'
    return f'<testsuite name="s" hostname="{number}">{properties}{cases}</testsuite>'.encode()


def all_at_once(works):
    """Do all these works in threads that begin together, and return what they return."""
    barrier = threading.Barrier(len(works))

    def begin(work):
        barrier.wait(60)
        return work()

    with ThreadPoolExecutor(len(works)) as threads:
        return list(threads.map(begin, works))


def several(database_url, count):
    """Return as many intakes as there would be processes, each with its own connections and its own memory."""
    databases = [open_database(database_url) for _ in range(count)]
    return databases, [Intake(database) for database in databases]


def rows(database, table):
    with database.read() as connection:
        return connection.execute(sa.select(table)).all()


def names_of(database, outcome):
    """Return the names of the tests of a run, in the order of the report."""
    with database.read() as connection:
        run_id = connection.execute(sa.select(schema.run.c.id).where(schema.run.c.public_id == outcome.id)).scalar_one()
        names = {row.id: row.name for row in connection.execute(sa.select(schema.test))}
        return [names[number] for number in results.results_of_run(connection, run_id).test_ids]


def test_of_all_signatures_of_one_report_at_once_the_best_is_the_runs(database_url, database, p256, rsa):
    add_signer(database, p256.certificate)
    plain = report()
    trusted, intact = (sign_report(plain, one.key, one.certificate) for one in (p256, rsa))
    broken = intact.replace(b"<ds:SignatureValue>", b"<ds:SignatureValue>AAAA", 1)
    databases, intakes = several(database_url, 4)
    works = [
        lambda intake=intake, data=data: intake.receive(data, ANYONE)
        for intake in intakes
        for data in (broken, plain, intact, trusted)
    ]
    outcomes = all_at_once(works)
    assert sum(isinstance(outcome, Created) for outcome in outcomes) == 1
    assert len({outcome.id for outcome in outcomes}) == 1
    (run,) = rows(database, schema.run)
    assert (State(run.state), run.signer) == (State.TRUSTED, "CN=p256 signer")
    kept = [State(row.state) for row in rows(database, schema.document)]
    assert sorted(set(kept)) == sorted(kept)
    assert [unpack(row.content) for row in rows(database, schema.document) if row.state == State.TRUSTED] == [trusted]
    improved = [outcome for outcome in outcomes if isinstance(outcome, Duplicate) and outcome.is_better]
    assert len(improved) == len(kept) - 1
    for opened in databases:
        opened.close()


def test_first_reports_of_a_project_at_once_make_one_project_and_name_each_test_once(database_url, database):
    databases, intakes = several(database_url, 4)
    works = [
        lambda intake=intake, index=index, number=number: intake.receive(
            report(number * 4 + index, first=7 * number), ANYONE
        )
        for number in range(4)
        for index, intake in enumerate(intakes)
    ]
    outcomes = all_at_once(works)
    assert all(isinstance(outcome, Created) for outcome in outcomes)
    assert [row.name for row in rows(database, schema.project)] == ["shop"]
    names = [row.name for row in rows(database, schema.test)]
    assert sorted(names) == sorted(f"t{number}" for number in range(51))
    for number, outcome in enumerate(outcomes):
        first = 7 * (number // 4)
        assert names_of(database, outcome) == [f"t{first + case}" for case in range(30)]
    for opened in databases:
        opened.close()


def test_same_new_tests_in_opposite_order_do_not_block_each_other(database_url, database):
    """Two transactions that insert the same rows, each beginning with the other's last, would wait for ever."""
    databases, intakes = several(database_url, 2)
    for turn in range(5):
        cases = [f'<testcase classname="c" name="{turn}_{number}"/>' for number in range(3_000)]
        data = [f"<testsuite>{''.join(order)}</testsuite>".encode() for order in (cases, reversed(cases))]
        outcomes = all_at_once(
            [
                lambda intake=intake, one=one: intake.receive(one, ANYONE)
                for intake, one in zip(intakes, data, strict=True)
            ]
        )
        assert all(isinstance(outcome, Created) for outcome in outcomes)
    assert len(rows(database, schema.test)) == 15_000
    for opened in databases:
        opened.close()


def test_reports_whose_tests_are_pruned_meanwhile_keep_all_their_names(database_url, database):
    """Each intake remembers the numbers of tests that another process may have deleted."""
    databases, intakes = several(database_url, 2)
    is_over = threading.Event()

    def receive(index):
        found = []
        for turn in range(40):
            outcome = intakes[index].receive(report(f"{index}-{turn}", first=turn % 3 * 1_000), ANYONE)
            found.append((outcome, turn % 3 * 1_000))
        is_over.set()
        return found

    def clean():
        while not is_over.is_set():
            prune(database, Retention(runs=1))
        return []

    received = all_at_once([lambda: receive(0), lambda: receive(1), clean])
    with database.read() as connection:
        there = {row.public_id for row in connection.execute(sa.select(schema.run))}
    kept = [(outcome, first) for found in received for outcome, first in found if outcome.id in there]
    assert kept
    for outcome, first in kept:
        assert names_of(database, outcome) == [f"t{first + case}" for case in range(30)]
    for opened in databases:
        opened.close()


def test_signers_come_and_go_while_reports_come_in(database, p256, rsa):
    add_signer(database, rsa.certificate)
    intake = Intake(database)
    is_over = threading.Event()

    def receive(number):
        found = []
        for turn in range(20):
            signed = sign_report(report(f"{number}-{turn}"), rsa.key, rsa.certificate)
            found.append(intake.receive(signed, ANYONE).seal.state)
        is_over.set()
        return found

    def change():
        while not is_over.is_set():
            add_signer(database, p256.certificate)
            remove_signer(database, "CN=p256 signer")
        return []

    states = all_at_once([lambda: receive(0), lambda: receive(1), change])
    assert {state for found in states for state in found} == {State.TRUSTED}


def test_one_key_is_used_by_many_at_once(database):
    token, key = create_key(database, "ci")
    callers = all_at_once([lambda: authenticate(database, token)] * 20)
    assert {caller.key_id for caller in callers} == {key.id}
