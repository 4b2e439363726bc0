"""Pruning, backups and verification anew, on real databases that take reports in meanwhile."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import resource
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.serialization import Encoding
from kept_reports import (
    changed_copy,
    everything,
    ids,
    make_older,
    receive,
    report,
    reports_coming_in,
    rows_of,
    state_of,
)

from jux_server.api.access import HERE
from jux_server.errors import Refused, Unknown
from jux_server.intake import Created, Intake
from jux_server.store import schema
from jux_server.store.database import VERSION
from jux_server.store.queries.runs import content_of, documents_of
from jux_server.store.saving import unpack
from jux_server.store.schema import State
from jux_server.trust import add_signer, create_key, remove_signer
from jux_server.upkeep.backup import BackupDamaged, back_up, restore
from jux_server.upkeep.projects import list_projects, set_project
from jux_server.upkeep.retention import Retention, find_run, prune, set_pinned, size_of
from jux_server.upkeep.reverify import reverify
from jux_server.upkeep.schedule import prune_when_due
from jux_server.upkeep.state import server_state
from pytest_jux.errors import FileProblem
from pytest_jux.signer import sign_report

# --- pruning ---------------------------------------------------------------------------------------------------------


def test_reports_older_than_their_days_go_with_all_that_belongs_to_them(database):
    old, new = receive(database, report(1, extra="_old")), receive(database, report(2))
    make_older(database, old, 31)
    pruned = prune(database, Retention(days=30))
    assert (pruned.runs, pruned.documents, pruned.tests, pruned.by_project) == (1, 1, 3, {"shop": 1})
    assert ids(database) == {str(new.id)}
    for table in (schema.document, schema.results, schema.suite):
        assert rows_of(database, table) == 1
    assert rows_of(database, schema.test) == 3


def test_only_the_newest_reports_of_each_branch_stay(database):
    main = [receive(database, report(number)) for number in range(4)]
    other = receive(database, report(10, branch="feature"))
    assert prune(database, Retention(runs=2)).runs == 2
    assert ids(database) == {str(one.id) for one in (*main[2:], other)}


def test_newest_report_of_a_branch_stays_however_old_it_is(database):
    only = receive(database, report(1))
    make_older(database, only, 1000)
    assert prune(database, Retention(days=1)).runs == 0
    assert ids(database) == {str(only.id)}


def test_pinned_report_stays_until_it_is_unpinned(database):
    old, _ = receive(database, report(1)), receive(database, report(2))
    make_older(database, old, 31)
    set_pinned(database, str(old.id), pinned=True)
    assert prune(database, Retention(days=30)).runs == 0
    set_pinned(database, old.canonical_hash[:20], pinned=False)
    assert prune(database, Retention(days=30)).runs == 1


def test_dry_run_deletes_nothing_and_tells_the_same(database):
    old, _ = receive(database, report(1)), receive(database, report(2))
    make_older(database, old, 31)
    told = prune(database, Retention(days=30), dry_run=True)
    assert (told.runs, told.by_project) == (1, {"shop": 1})
    assert rows_of(database, schema.run) == 2
    done = prune(database, Retention(days=30))
    assert (done.runs, done.documents, done.bytes) == (told.runs, told.documents, told.bytes)


def test_what_a_project_says_itself_counts_more_than_the_default(database):
    for number in range(3):
        receive(database, report(number))
        receive(database, report(number, project="archive"))
    set_project(database, "archive", keep_runs=1000)
    assert prune(database, Retention(runs=1)).by_project == {"shop": 2}


def test_nothing_goes_where_nothing_is_set(database):
    for number in range(3):
        receive(database, report(number))
    assert prune(database, Retention()).runs == 0


def test_reports_with_known_tests_are_taken_in_right_after_their_names_were_pruned(database):
    intake = Intake(database)
    first = intake.receive(report(1, extra="_old"), HERE)
    intake.receive(report(2), HERE)
    make_older(database, first, 31)
    assert prune(database, Retention(days=30)).tests == 3
    intake.receive(report(3, extra="_old"), HERE)
    with database.read() as connection:
        names = set(connection.execute(sa.select(schema.test.c.name)).scalars())
    assert names == {f"test_{case}{extra}" for case in range(3) for extra in ("", "_old")}


def test_sqlite_file_shrinks(database):
    if not database.is_sqlite:
        assert size_of(database) > 0  # PostgreSQL keeps the space for what comes next
        return
    intake = Intake(database)
    for number in range(60):
        intake.receive(report(number, cases=500, extra="x" * 100), HERE)
    before = size_of(database)
    pruned = prune(database, Retention(runs=1))
    assert pruned.runs == 59
    assert pruned.freed_bytes == before - size_of(database) > 0.4 * before


def test_result_of_pruning_is_there_to_see(database):
    for number in range(3):
        receive(database, report(number))
    prune(database, Retention(runs=1))
    last = server_state(database).upkeep["prune"]
    assert last.result["runs"] == 2
    assert last.at > 0


def test_prune_is_done_once_when_it_is_due(database):
    for number in range(3):
        receive(database, report(number))
    found = prune_when_due(database, Retention(runs=1), 24)
    assert found is not None
    assert found.runs == 2
    assert prune_when_due(database, Retention(runs=1), 24) is None
    assert prune_when_due(database, Retention(runs=1), 0) is not None


def test_pruning_goes_beside_reports_that_come_in(database):
    for number in range(120):
        receive(database, report(number, extra=f"_{number}"))
    with reports_coming_in(database) as outcomes:
        assert prune(database, Retention(runs=1)).by_project["shop"] == 119
    with database.read() as connection:
        for outcome in outcomes[-1:]:
            assert find_run(connection, str(outcome.id)).tests == 3


@pytest.mark.parametrize("name", ["deadbeef" * 8, "no hash", "sha256:", "8f00829a-935a-4425-82d5-f88174c7d506"])
def test_unknown_report_cannot_be_pinned(database, name):
    with pytest.raises(Unknown, match="there is no report"):
        set_pinned(database, name, pinned=True)


# --- projects --------------------------------------------------------------------------------------------------------


def test_projects_are_listed_with_what_was_decided(database):
    receive(database, report(1))
    set_project(database, "shop", accept="trusted", keep_days=30)
    set_project(database, "empty", default_branch="trunk")
    set_project(database, "shop", keep_days=None)
    empty, shop = list_projects(database)
    assert (empty.name, empty.runs, empty.last_received_at, empty.default_branch) == ("empty", 0, None, "trunk")
    assert (shop.name, shop.runs, shop.accept, shop.keep_days) == ("shop", 1, "trusted", None)


@pytest.mark.parametrize("wrong", [{"accept": "all"}, {"keep_days": 0}, {"keep_runs": -1}, {"keep_days": 10**9}])
def test_decision_that_makes_no_sense_is_refused(database, wrong):
    with pytest.raises(Refused, match=next(iter(wrong)).replace("_", "-").replace("accept", "accepts")):
        set_project(database, "shop", **wrong)


@pytest.mark.parametrize("name", ["", " ", " shop", "shop\n", "sh\x1bop", "x" * 201])
def test_name_that_no_report_can_give_is_no_project(database, name):
    with pytest.raises(Refused, match="name"):
        set_project(database, name)
    assert list_projects(database) == []


# --- backups ---------------------------------------------------------------------------------------------------------


def test_backup_of_either_kind_is_restored_into_either_kind(database, other_database, tmp_path, p256):
    add_signer(database, p256.certificate)
    create_key(database, "ci")
    for number in range(3):
        receive(database, sign_report(report(number), p256.key, p256.certificate))
    made = back_up(database, tmp_path / "jux.zip")
    assert made.rows["run"] == 3
    assert made.size == (tmp_path / "jux.zip").stat().st_size
    assert restore(other_database, tmp_path / "jux.zip").rows == made.rows
    assert everything(other_database) == everything(database)
    assert isinstance(Intake(other_database).receive(report(99), HERE), Created)


def test_backup_is_consistent_while_reports_come_in(database, other_database, tmp_path):
    with reports_coming_in(database) as outcomes:
        while len(outcomes) < 5:
            time.sleep(0.01)
        back_up(database, tmp_path / "jux.zip")
    restore(other_database, tmp_path / "jux.zip")
    with other_database.read() as connection:
        runs = list(connection.execute(sa.select(schema.run.c.id, schema.run.c.tests)))
        with_documents = set(connection.execute(sa.select(schema.document.c.run_id)).scalars())
        with_results = set(connection.execute(sa.select(schema.results.c.run_id)).scalars())
    assert {number for number, _ in runs} == with_documents == with_results
    assert len(runs) >= 5


def test_backup_can_be_read_by_its_owner_alone(database, tmp_path):
    back_up(database, tmp_path / "jux.zip")
    assert (tmp_path / "jux.zip").stat().st_mode & 0o077 == 0


def test_restore_into_a_database_with_reports_needs_force(database, tmp_path):
    receive(database, report(1))
    back_up(database, tmp_path / "jux.zip")
    later = receive(database, report(2))
    with pytest.raises(Refused, match="has reports already"):
        restore(database, tmp_path / "jux.zip")
    assert str(later.id) in ids(database)
    restore(database, tmp_path / "jux.zip", force=True)
    assert str(later.id) not in ids(database)


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("run.jsonl", lambda data: data.replace(b'"tests":3', b'"tests":4'), "run.jsonl is not what was written"),
        ("document.jsonl", lambda _: b"", "document.jsonl is not what was written"),
        ("manifest.json", lambda data: data.replace(VERSION.encode(), b"0009"), "of another version"),
        ("manifest.json", lambda _: b"{}", "no backup"),
        ("manifest.json", lambda _: b"[", "damaged"),
    ],
)
def test_damaged_backup_changes_nothing(database, tmp_path, name, change, reason):
    kept = receive(database, report(1))
    back_up(database, tmp_path / "jux.zip")
    changed_copy(tmp_path / "jux.zip", tmp_path / "damaged.zip", name, change)
    with pytest.raises(BackupDamaged, match=reason):
        restore(database, tmp_path / "damaged.zip", force=True)
    assert ids(database) == {str(kept.id)}


def test_row_of_another_form_changes_nothing_although_the_manifest_agrees(database, tmp_path):
    kept = receive(database, report(1))
    back_up(database, tmp_path / "jux.zip")
    forged = b'{"id":1}\n'

    def manifest(data):
        told = json.loads(data)
        told["tables"]["document"] = {"rows": 1, "sha256": hashlib.sha256(forged).hexdigest()}
        return json.dumps(told).encode()

    changed_copy(tmp_path / "jux.zip", tmp_path / "one.zip", "document.jsonl", lambda _: forged)
    changed_copy(tmp_path / "one.zip", tmp_path / "two.zip", "manifest.json", manifest)
    with pytest.raises(BackupDamaged, match="a row of another form"):
        restore(database, tmp_path / "two.zip", force=True)
    assert ids(database) == {str(kept.id)}


def test_what_is_no_zip_file_is_no_backup(database, tmp_path):
    (tmp_path / "jux.zip").write_text("hello")
    with pytest.raises(BackupDamaged, match="no backup"):
        restore(database, tmp_path / "jux.zip")


def test_backup_into_a_directory_that_there_is_not_leaves_nothing(database, tmp_path):
    with pytest.raises(FileProblem, match="cannot write"):
        back_up(database, tmp_path / "missing" / "jux.zip")
    with pytest.raises(FileProblem, match="cannot read"):
        restore(database, tmp_path / "missing.zip")
    assert [path.name for path in tmp_path.iterdir() if "zip" in path.name] == []


def test_backup_takes_the_place_of_no_device_directory_or_database(database, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for target in (tmp_path / "pipe", tmp_path):
        with pytest.raises(Refused, match="is there already, and no file"):
            back_up(database, target)
    if database.is_sqlite:
        with pytest.raises(Refused, match="is the database itself"):
            back_up(database, Path(database.name))
    assert rows_of(database, schema.run) == 0
    assert (tmp_path / "pipe").is_fifo()


def test_full_disk_leaves_the_backup_before_as_it_was(database, tmp_path):
    back_up(database, tmp_path / "jux.zip")
    before = (tmp_path / "jux.zip").read_bytes()
    receive(database, report(1, cases=1000))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # bytes of each file
    try:
        with pytest.raises(FileProblem, match="cannot write"):
            back_up(database, tmp_path / "jux.zip")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "jux.zip").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if "zip" in path.name] == ["jux.zip"]


# --- verification anew -----------------------------------------------------------------------------------------------


def test_report_becomes_trusted_when_its_signer_is_added_and_loses_it_with_him(database, p256):
    outcome = receive(database, sign_report(report(1), p256.key, p256.certificate))
    assert state_of(database, outcome)[0] is State.INTACT
    added = add_signer(database, p256.certificate)
    assert reverify(database).changed == {(State.INTACT, State.TRUSTED): 1}
    assert state_of(database, outcome)[0] is State.TRUSTED
    remove_signer(database, str(added.id))
    assert reverify(database).changed == {(State.TRUSTED, State.INTACT): 1}
    assert state_of(database, outcome)[0] is State.INTACT
    assert reverify(database) == (1, {})


def test_certificate_is_judged_at_the_time_of_receipt(database, make_signer):
    short = make_signer("short lived", now=dt.datetime(2020, 1, 1, tzinfo=dt.UTC), days=30)
    outcome = receive(database, sign_report(report(1), short.key, short.certificate))
    with database.write() as connection:
        add = {
            "kind": "certificate",
            "projects": "*",
            "subject": "CN=short lived",
            "fingerprint": b"x",
            "certificate": short.certificate.public_bytes(Encoding.DER),
            "added_at": 0,
        }
        connection.execute(sa.insert(schema.signer).values(add))
    reverify(database)
    assert state_of(database, outcome)[0] is State.INTACT
    then = int(dt.datetime(2020, 1, 15, tzinfo=dt.UTC).timestamp()) * 1_000_000
    with database.write() as connection:
        connection.execute(sa.update(schema.document).values(received_at=then))
    reverify(database)
    assert state_of(database, outcome)[0] is State.TRUSTED


def test_only_the_named_project_is_verified_again(database, p256):
    mine = receive(database, sign_report(report(1), p256.key, p256.certificate))
    other = receive(database, sign_report(report(1, project="other"), p256.key, p256.certificate))
    add_signer(database, p256.certificate)
    assert reverify(database, project="shop").examined == 1
    assert state_of(database, mine)[0] is State.TRUSTED
    assert state_of(database, other)[0] is State.INTACT
    with pytest.raises(Unknown, match="there is no project nowhere"):
        reverify(database, project="nowhere")


def test_verification_anew_goes_beside_reports_that_come_in(database, p256):
    outcomes = [receive(database, sign_report(report(n), p256.key, p256.certificate)) for n in range(60)]
    add_signer(database, p256.certificate)
    with reports_coming_in(database):
        assert reverify(database, project="shop").changed == {(State.INTACT, State.TRUSTED): 60}
    assert state_of(database, outcomes[-1])[0] is State.TRUSTED


def test_bytes_of_a_document_stay_as_they_were(database, p256):
    signed = sign_report(report(1), p256.key, p256.certificate)
    outcome = receive(database, signed)
    add_signer(database, p256.certificate)
    reverify(database)
    with database.read() as connection:
        document = documents_of(connection, find_run(connection, str(outcome.id)).id)[0]
        assert unpack(content_of(connection, document.id)) == signed
