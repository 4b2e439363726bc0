"""Reports that a database takes in, also while something else is done with it; what is in it then."""

from __future__ import annotations

import threading
import zipfile
from contextlib import contextmanager, suppress

import sqlalchemy as sa

from jux_server.api.access import HERE
from jux_server.intake import Created, Intake
from jux_server.store import schema
from jux_server.store.queries.runs import documents_of
from jux_server.store.schema import State
from jux_server.upkeep.retention import find_run

DAY = 86_400_000_000


def report(number, *, project="shop", branch="main", cases=3, extra=""):
    facts = {"project": project, "git:branch": branch}
    properties = "".join(f'<property name="{name}" value="{value}"/>' for name, value in facts.items())
    rows = "".join(f'<testcase classname="tests.a" name="test_{case}{extra}" time="0.1"/>' for case in range(cases))
    head = f'<testsuite name="pytest" tests="{cases}" timestamp="2026-01-01T00:00:{number % 60:02}"'
    return f'{head} hostname="{number}"><properties>{properties}</properties>{rows}</testsuite>'.encode()


def receive(database, data):
    outcome = Intake(database).receive(data, HERE)
    assert isinstance(outcome, Created)
    return outcome


def rows_of(database, table):
    with database.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def ids(database):
    with database.read() as connection:
        return {str(found) for found in connection.execute(sa.select(schema.run.c.public_id)).scalars()}


def make_older(database, outcome, days):
    with database.write() as connection:
        older = {"received_at": schema.run.c.received_at - days * DAY}
        connection.execute(sa.update(schema.run).where(schema.run.c.public_id == outcome.id).values(older))


@contextmanager
def reports_coming_in(database, *, again=()):
    """Take new reports in from a thread until the block ends; gives the list of their outcomes.

    A report that ends in an exception of the kinds `again` is sent once more, as clients do it.
    """
    outcomes, is_over, intake = [], threading.Event(), Intake(database)

    def take():
        number = 10_000
        while not is_over.is_set():
            with suppress(*again):
                outcomes.append(intake.receive(report(number, project="busy"), HERE))
                number += 1

    thread = threading.Thread(target=take)
    thread.start()
    try:
        yield outcomes
    finally:
        is_over.set()
        thread.join()
    assert outcomes
    assert all(isinstance(outcome, Created) for outcome in outcomes)


def everything(database):
    found = {}
    with database.read() as connection:
        for table in schema.metadata.sorted_tables:
            if table.name != "upkeep":
                rows = connection.execute(sa.select(table).order_by(*table.primary_key.columns))
                found[table.name] = [tuple(bytes(v) if isinstance(v, memoryview) else v for v in row) for row in rows]
    return found


def changed_copy(source, target, name, change):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for item in old.namelist():
            new.writestr(item, change(old.read(item)) if item == name else old.read(item))


def state_of(database, outcome):
    with database.read() as connection:
        row = find_run(connection, str(outcome.id))
        return State(row.state), row.signer, [State(one.state) for one in documents_of(connection, row.id)]
