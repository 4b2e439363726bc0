"""Restoring beside a server that runs, and from files that nobody wrote for it."""

from __future__ import annotations

import hashlib
import json
import time
import zipfile

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.serialization import Encoding
from kept_reports import changed_copy, ids, receive, report, reports_coming_in

from jux_server.api.access import HERE
from jux_server.errors import Refused
from jux_server.intake import Intake
from jux_server.store import schema
from jux_server.store.results import results_of_run
from jux_server.store.schema import State
from jux_server.trust import add_signer, remove_signer
from jux_server.upkeep.backup import BackupDamaged, back_up, restore
from jux_server.upkeep.retention import find_run
from jux_server.upkeep.state import server_state
from pytest_jux.signer import sign_report


def names_of_tests(database, outcome):
    with database.read() as connection:
        numbers = results_of_run(connection, find_run(connection, str(outcome.id)).id).test_ids
        names = dict(connection.execute(sa.select(schema.test.c.id, schema.test.c.name)).all())
    return [names.get(number) for number in numbers]


# --- beside a server -------------------------------------------------------------------------------------------------


def test_restore_goes_beside_reports_that_come_in(database, tmp_path):
    kept = [receive(database, report(number)) for number in range(20)]
    back_up(database, tmp_path / "jux.zip")
    with reports_coming_in(database) as outcomes:  # its project was there a moment ago
        for _ in range(5):
            restore(database, tmp_path / "jux.zip", force=True)
        before, deadline = len(outcomes), time.monotonic() + 60
        while len(outcomes) < before + 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert {str(one.id) for one in (*kept, outcomes[-1])} <= ids(database)
    assert names_of_tests(database, outcomes[-1]) == ["test_0", "test_1", "test_2"]


def test_server_names_tests_rightly_after_their_numbers_have_changed(database, tmp_path):
    receive(database, report(0, project="first"))
    back_up(database, tmp_path / "jux.zip")
    intake = Intake(database)
    intake.receive(report(1, extra="_a"), HERE)
    intake.receive(report(2, extra="_b"), HERE)
    restore(database, tmp_path / "jux.zip", force=True)
    receive(database, report(3, extra="_c"))  # by another process
    again = intake.receive(report(4, extra="_b"), HERE)
    assert names_of_tests(database, again) == ["test_0_b", "test_1_b", "test_2_b"]


def test_server_believes_nobody_whom_a_restore_took_away(database, tmp_path, p256, make_signer):
    other = make_signer("other")
    added = add_signer(database, p256.certificate)
    back_up(database, tmp_path / "jux.zip")
    remove_signer(database, str(added.id))
    with database.write() as connection:  # as in a backup of another server, whose signers have the same numbers
        connection.execute(sa.delete(schema.signer))
    restore(database, tmp_path / "jux.zip")
    intake = Intake(database)
    assert intake.receive(sign_report(report(1), p256.key, p256.certificate), HERE).seal.state is State.TRUSTED
    changed = {"certificate": other.certificate.public_bytes(Encoding.DER), "fingerprint": b"other"}
    with database.write() as connection:
        connection.execute(sa.update(schema.signer).values(changed))
    back_up(database, tmp_path / "other.zip")
    restore(database, tmp_path / "other.zip", force=True)
    assert intake.receive(sign_report(report(2), p256.key, p256.certificate), HERE).seal.state is State.INTACT
    assert intake.receive(sign_report(report(3), other.key, other.certificate), HERE).seal.state is State.TRUSTED


def test_numbers_of_a_restored_database_go_on_where_they_were(database, tmp_path):
    back_up(database, tmp_path / "empty.zip")
    receive(database, report(1))
    with database.read() as connection:
        before = connection.execute(sa.select(sa.func.max(schema.run.c.id))).scalar_one()
    restore(database, tmp_path / "empty.zip", force=True)
    receive(database, report(2))
    with database.read() as connection:
        assert connection.execute(sa.select(schema.run.c.id)).scalar_one() > before  # a cursor may still name the first


def test_restore_is_there_to_see(database, tmp_path):
    receive(database, report(1))
    back_up(database, tmp_path / "jux.zip")
    restore(database, tmp_path / "jux.zip", force=True)
    assert server_state(database).upkeep["restore"].result["reports"] == 1


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_restore_gives_up_when_somebody_does_not_let_go(database, tmp_path, monkeypatch):
    kept = receive(database, report(1))
    back_up(database, tmp_path / "jux.zip")
    monkeypatch.setattr("jux_server.upkeep.backup._TRIES", 2)
    with database.engine.begin() as connection:
        connection.execute(sa.select(schema.run.c.id).with_for_update())
        with pytest.raises(Refused, match="others do not let go"):
            restore(database, tmp_path / "jux.zip", force=True)
    assert ids(database) == {str(kept.id)}


# --- files of anybody ------------------------------------------------------------------------------------------------


def forged(source, target, table, change):
    """Copy a backup with other rows in a table, and a manifest that agrees with them."""

    def with_rows(data):
        return b"".join(change(json.loads(line)) for line in data.splitlines())

    def with_sum(data):
        manifest = json.loads(data)
        manifest["tables"][table] = {"rows": rows.count(b"\n"), "sha256": hashlib.sha256(rows).hexdigest()}
        return json.dumps(manifest).encode()

    with zipfile.ZipFile(source) as archive:
        rows = with_rows(archive.read(f"{table}.jsonl"))
    changed_copy(source, target.with_suffix(".1"), f"{table}.jsonl", lambda _: rows)
    changed_copy(target.with_suffix(".1"), target, "manifest.json", with_sum)


def line(row, **others):
    return json.dumps(row | others).encode() + b"\n"


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("run", lambda row: line({name: value for name, value in row.items() if name != "facts"})),
        ("run", lambda row: line(row, superfluous=1)),
        ("run", lambda row: line(row, tests="3")),
        ("run", lambda row: line(row, tests=True)),
        ("run", lambda row: line(row, tests=3.0)),
        ("run", lambda row: line(row, tests=1 << 31)),
        ("run", lambda row: line(row, state=1 << 15)),
        ("run", lambda row: line(row, received_at=1 << 63)),
        ("run", lambda row: line(row, is_pinned=0)),
        ("run", lambda row: line(row, public_id="x")),
        ("run", lambda row: line(row, public_id=7)),
        ("run", lambda row: line(row, facts="\ud800")),
        ("run", lambda row: line(row, branch=["main"])),
        ("run", lambda row: line(row, hash="#")),
        ("run", lambda _: b"[]\n"),
        ("run", lambda _: b"7\n"),
        ("run", lambda _: b"[" * 100_000 + b"\n"),
        ("run", lambda _: b"\xff\n"),
    ],
)
def test_row_of_another_form_is_refused_although_the_manifest_agrees(database, tmp_path, table, change):
    kept = receive(database, report(1))
    back_up(database, tmp_path / "jux.zip")
    forged(tmp_path / "jux.zip", tmp_path / "forged.zip", table, change)
    with pytest.raises(BackupDamaged, match=f"{table}.jsonl has a row of another form"):
        restore(database, tmp_path / "forged.zip", force=True)
    assert ids(database) == {str(kept.id)}


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("run", lambda row: line(row) * 2),
        ("run", lambda row: line(row, project_id=row["project_id"] + 1)),
        ("run", lambda row: line(row, project_id=None)),
        ("run", lambda row: line(row, facts=None)),
        ("run", lambda row: line(row, project_id=(1 << 31) - 1)),
        ("document", lambda row: line(row, run_id=row["run_id"] + 1)),
    ],
)
def test_rows_that_do_not_belong_together_are_refused(database, tmp_path, table, change):
    kept = receive(database, report(1))
    back_up(database, tmp_path / "jux.zip")
    forged(tmp_path / "jux.zip", tmp_path / "forged.zip", table, change)
    with pytest.raises(BackupDamaged, match=f"{table}.jsonl has rows that do not belong together"):
        restore(database, tmp_path / "forged.zip", force=True)
    assert ids(database) == {str(kept.id)}


@pytest.mark.parametrize(
    "manifest",
    [b"[" * 100_000, b" " * 2_000_000 + b"{}", b"[]", b"null", b"\xff", b'{"format": "jux-server backup 1"}'],
)
def test_manifest_that_is_none_is_refused(database, tmp_path, manifest):
    back_up(database, tmp_path / "jux.zip")
    changed_copy(tmp_path / "jux.zip", tmp_path / "forged.zip", "manifest.json", lambda _: manifest)
    with pytest.raises(BackupDamaged, match="no backup of this server"):
        restore(database, tmp_path / "forged.zip")


def test_encrypted_file_is_no_backup(database, tmp_path):
    back_up(database, tmp_path / "jux.zip")
    data = bytearray((tmp_path / "jux.zip").read_bytes())
    for mark, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):  # APPNOTE.TXT 4.3.7 and 4.3.12: bit 0 is encryption
        at = data.find(mark)
        while at >= 0:
            data[at + flags] |= 1
            at = data.find(mark, at + 4)
    (tmp_path / "locked.zip").write_bytes(data)
    with pytest.raises(BackupDamaged, match="no backup of this server, or damaged"):
        restore(database, tmp_path / "locked.zip")


def test_version_of_another_server_is_told_without_what_could_harm_a_terminal(database, tmp_path):
    back_up(database, tmp_path / "jux.zip")
    change = {"schema": "\x1b[31m" + "9" * 1000}
    changed_copy(
        tmp_path / "jux.zip",
        tmp_path / "other.zip",
        "manifest.json",
        lambda data: json.dumps(json.loads(data) | change).encode(),
    )
    with pytest.raises(BackupDamaged, match="of another version") as caught:
        restore(database, tmp_path / "other.zip")
    assert str(caught.value).isprintable()
    assert "9" * 30 not in str(caught.value)
