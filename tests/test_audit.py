"""A check of a whole store: what is wrong is found and named, and what is right is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from pytest_jux.audit import Kind, audit
from pytest_jux.bundle import receive
from pytest_jux.canonicalizer import canonical_hash
from pytest_jux.errors import ReportNotStored, StorageError
from pytest_jux.records import sealed
from pytest_jux.signer import sign_report
from pytest_jux.storage import ReportStorage
from pytest_jux.verifier import Trust

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes, links and locks of POSIX")

REPORT = b'<testsuite name="s"><testcase name="a"/><testcase name="b"><failure/></testcase></testsuite>'
OTHER = REPORT.replace(b'"s"', b'"t"')
IDENTITY = canonical_hash(REPORT)
NAME = IDENTITY.replace(":", "-")


@pytest.fixture
def store(tmp_path):
    """Return a store with one report that is stored, waits to be published and was published before."""
    storage = ReportStorage(tmp_path / "store")
    receive(storage, REPORT, {"project": "tool"}, queue=True)
    storage.mark_published(IDENTITY)
    storage.enqueue(REPORT, IDENTITY)
    return storage


@pytest.fixture(scope="session")
def signed_report(p256):
    return sign_report(REPORT, p256.key, p256.certificate)


def found(storage, *arguments, **keywords):
    """Return the findings as (path below the store, kind, message)."""
    findings = audit(storage, *arguments, **keywords).findings
    return [(item.path.relative_to(storage.root).as_posix(), item.kind, item.message) for item in findings]


def kinds(storage, *arguments, **keywords):
    return {(path, kind) for path, kind, _ in found(storage, *arguments, **keywords)}


def rot(path, content):
    """Change the content of one file, and not that of a hard link to it."""
    path.unlink()
    path.write_bytes(content)
    path.chmod(0o600)


# --- what is right ---------------------------------------------------------------------------------------------------


def test_a_store_as_we_leave_it_has_no_findings(store):
    result = audit(store)
    assert (result.reports, result.findings) == (1, ())


def test_a_store_after_everything_that_can_happen_has_no_findings(store, signed_report):
    receive(store, signed_report)
    receive(store, OTHER, queue=True)
    with store.claim(canonical_hash(OTHER)):
        store.mark_rejected(canonical_hash(OTHER), {"message": "no"})
    store.remove(store.find(IDENTITY), queued=True)
    store.flush()
    assert found(store) == []


def test_a_store_that_is_not_there_is_as_good_as_empty(tmp_path):
    result = audit(ReportStorage(tmp_path / "none"))
    assert (result.reports, result.findings) == (0, ())
    assert not (tmp_path / "none").exists()


def test_nothing_is_changed_by_looking(store):
    store.path_of(IDENTITY).write_bytes(b"rot")
    before = {path: (path.lstat().st_mtime_ns, path.lstat().st_mode) for path in store.root.rglob("*")}
    assert audit(store).problems
    assert {path: (path.lstat().st_mtime_ns, path.lstat().st_mode) for path in store.root.rglob("*")} == before


def test_progress_is_told_file_by_file(store):
    seen = []
    audit(store, on_each=lambda done, total: seen.append((done, total)))
    assert seen == [(number, 5) for number in range(1, 6)]


# --- content ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("directory", ["reports", "queue", "rejected"])
def test_every_single_wrong_bit_of_a_stored_report_is_found(tmp_path, directory):
    storage = ReportStorage(tmp_path)
    receive(storage, REPORT, queue=directory != "reports")
    if directory == "rejected":
        storage.mark_rejected(IDENTITY)
    path = storage.root / directory / f"{NAME}.xml"
    for position in range(0, len(REPORT), 7):
        rot(path, REPORT[:position] + bytes([REPORT[position] ^ 4]) + REPORT[position + 1 :])
        assert (f"{directory}/{NAME}.xml", Kind.CONTENT) in kinds(storage), position


def test_a_report_under_anothers_name_is_told_from_a_changed_one(store, signed_report, p256):
    signed_other = sign_report(OTHER, p256.key, p256.certificate)
    rot(store.path_of(IDENTITY), signed_other)
    ((path, kind, message),) = found(store, [IDENTITY])
    assert (path, kind) == (f"reports/{NAME}.xml", Kind.CONTENT)
    assert message == f"it holds another report: its hash is {canonical_hash(OTHER)}"
    rot(store.path_of(IDENTITY), signed_other.replace(b'"a"', b'"z"'))
    assert found(store, [IDENTITY])[0][2].startswith("its content is not what was stored: its hash is sha256:")


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 100, b"<testsuite>", REPORT[:-1]], ids=["nothing", "zeros", "a beginning", "not all"]
)
def test_what_is_no_report_any_more_is_named(store, content):
    rot(store.path_of(IDENTITY), content)
    ((_, kind, message),) = found(store, [IDENTITY])
    assert kind is Kind.CONTENT
    assert message.startswith("its content is not what was stored: ")


def test_a_report_that_cannot_be_read_is_named(tmp_path, without_root_rights):
    storage = ReportStorage(tmp_path / "store")
    receive(storage, REPORT)
    storage.path_of(IDENTITY).chmod(0)
    program = (
        "import sys; from pytest_jux.audit import audit; from pytest_jux.storage import ReportStorage\n"
        "from pytest_jux.records import sealed\n"
        "for finding in audit(ReportStorage(sys.argv[1])).problems: print(finding.kind, finding.message)"
    )
    command = [*without_root_rights, sys.executable, "-c", program, storage.root]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "unreadable it cannot be read: permission denied" in done.stdout.splitlines()


# --- signatures ------------------------------------------------------------------------------------------------------


def test_a_broken_signature_is_a_problem_also_without_trust(store, signed_report):
    value = signed_report.index(b"<ds:SignatureValue>") + 30
    broken = (
        signed_report[:value]
        + (b"A" if signed_report[value : value + 1] != b"A" else b"B")
        + signed_report[value + 1 :]
    )
    store.path_of(IDENTITY).write_bytes(broken)
    assert (f"reports/{NAME}.xml", Kind.SIGNATURE) in kinds(store)


def test_signers_are_judged_only_where_somebody_says_whom_to_trust(store, signed_report, p256, p384):
    store.remove(store.find(IDENTITY), queued=True)
    receive(store, signed_report)
    assert found(store) == []
    assert found(store, trust=Trust([p256.certificate])) == []
    ((path, kind, _),) = found(store, trust=Trust([p384.certificate]))
    assert (path, kind) == (f"reports/{NAME}.xml", Kind.SIGNATURE)


def test_an_unsigned_report_is_a_problem_only_where_signatures_are_asked_for(store, p256):
    assert kinds(store, trust=Trust([p256.certificate])) == {
        (f"reports/{NAME}.xml", Kind.SIGNATURE),
        (f"queue/{NAME}.xml", Kind.SIGNATURE),
    }


# --- records ---------------------------------------------------------------------------------------------------------


def change(path, **facts):
    path.write_text(json.dumps(sealed(json.loads(path.read_text()) | facts)))


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"canonical_hash": "sha256:" + "0" * 64}, "it is about another report, or does not say about which"),
        ({"canonical_hash": None}, "it is about another report, or does not say about which"),
        ({"summary": {"tests": 3, "failures": 1}}, "its counts are not the report's: tests"),
        ({"summary": {"tests": 2, "failures": 0, "errors": 1}}, "its counts are not the report's: failures, errors"),
        ({"summary": 7}, "its counts are not the report's: tests"),
        ({"signed": True}, "it says that the report is signed"),
    ],
)
def test_metadata_that_disagrees_with_its_report_is_a_problem(store, facts, message):
    change(store.metadata_directory / f"{NAME}.json", **facts)
    assert found(store) == [(f"metadata/{NAME}.json", Kind.RECORD, message)]


def test_a_record_that_was_changed_is_a_problem_whatever_was_changed(store):
    path = store.metadata_directory / f"{NAME}.json"
    path.write_text(path.read_text().replace('"tool"', '"evil"'))
    assert found(store) == [(f"metadata/{NAME}.json", Kind.RECORD, "it was changed after it was written")]


def test_bit_rot_outside_what_the_canonical_hash_covers_is_a_problem(store, signed_report):
    receive(store, signed_report)
    path = store.path_of(IDENTITY)
    for damaged in (signed_report + b"\n", signed_report.replace(b"ecdsa-sha256", b"ecdsa-sha257")):
        assert damaged != signed_report
        path.write_bytes(damaged)
        assert (f"reports/{NAME}.xml", Kind.CONTENT, "its bytes are not those that were stored") in found(store)


def test_metadata_that_calls_a_signed_report_unsigned_is_a_problem(store, signed_report):
    receive(store, signed_report)
    change(store.metadata_directory / f"{NAME}.json", signed=False)
    assert found(store) == [(f"metadata/{NAME}.json", Kind.RECORD, "it says that the report is unsigned")]


def test_metadata_without_counts_is_as_good(store):
    (store.metadata_directory / f"{NAME}.json").write_text(json.dumps({"canonical_hash": IDENTITY}))
    assert found(store) == []


@pytest.mark.parametrize("directory", ["metadata", "queue", "published"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ("[]", "it is not a JSON object"),
        ("", "it is not JSON"),
    ],
)
def test_a_damaged_record_is_a_problem(store, directory, content, message):
    (store.root / directory / f"{NAME}.json").write_text(content)
    assert found(store) == [(f"{directory}/{NAME}.json", Kind.RECORD, message)]


def test_a_report_without_metadata_is_a_problem(store):
    (store.metadata_directory / f"{NAME}.json").unlink()
    assert found(store) == [(f"reports/{NAME}.xml", Kind.RECORD, "it has no metadata")]


def test_a_queue_entry_without_any_report_is_a_problem(store):
    store.path_of(IDENTITY).unlink()
    assert audit(store).problems == ()
    (store.queue / f"{NAME}.xml").unlink()
    assert (f"queue/{NAME}.json", Kind.RECORD, "the report that it is about is missing") in found(store)


def test_a_report_that_is_gone_is_a_problem_and_its_records_say_which(store):
    for path in (store.path_of(IDENTITY), store.queue / f"{NAME}.xml", store.queue / f"{NAME}.json"):
        path.unlink()
    missing = "the report that it is about is missing"
    assert found(store) == [
        (f"metadata/{NAME}.json", Kind.RECORD, missing),
        (f"published/{NAME}.json", Kind.RECORD, missing),
    ]


def test_half_an_entry_is_a_note(store):
    (store.queue / f"{NAME}.json").unlink()
    assert kinds(store) == {(f"queue/{NAME}.xml", Kind.LEFTOVER)}


# --- permissions, links, foreign files -------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o666, 0o700, 0o400])
def test_files_that_others_can_reach_or_with_odd_modes_are_problems(store, mode):
    path = store.metadata_directory / f"{NAME}.json"
    path.chmod(mode)
    ((name, kind, message),) = found(store)
    assert (name, kind) == (f"metadata/{NAME}.json", Kind.PERMISSIONS)
    assert message.startswith(f"its mode is {mode:04o} instead of 0600")
    assert ("others can reach it" in message) is bool(mode & 0o077)


@pytest.mark.parametrize("directory", [".", "reports", "metadata", "queue", "published"])
def test_directories_that_others_can_look_into_are_problems(store, directory):
    (store.root / directory).chmod(0o755)
    assert found(store) == [
        (directory, Kind.PERMISSIONS, "its mode is 0755 instead of 0700, so others can reach it"),
    ]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_somebody_else_is_a_problem(store):
    os.chown(store.path_of(IDENTITY), 12345, -1)
    assert (f"reports/{NAME}.xml", Kind.PERMISSIONS, "it belongs to user 12345 instead of 0") in found(store)


def test_a_link_is_noted_and_not_followed(store, tmp_path):
    (tmp_path / "elsewhere.xml").write_bytes(b"not a report")
    link = store.reports / ("sha256-" + "0" * 64 + ".xml")
    link.symlink_to(tmp_path / "elsewhere.xml")
    assert found(store) == [(f"reports/{link.name}", Kind.LINK, "it is a link, which is not followed")]


def test_a_directory_that_is_a_link_is_noted_and_its_files_are_checked(store, tmp_path):
    store.reports.rename(tmp_path / "elsewhere")
    store.reports.symlink_to(tmp_path / "elsewhere")
    store.path_of(IDENTITY).write_bytes(b"rot")
    assert kinds(store) == {
        ("reports", Kind.LINK),
        (f"reports/{NAME}.xml", Kind.CONTENT),
        (f"queue/{NAME}.xml", Kind.CONTENT),  # the same file
    }


@pytest.mark.parametrize(
    "name", ["notes.txt", f"{NAME}.json", f"{NAME}.xml.bak", f"{NAME.upper()}.xml", "sha256-0.xml"]
)
def test_foreign_files_are_noted(store, name):
    (store.reports / name).write_bytes(b"?")
    assert found(store) == [(f"reports/{name}", Kind.FOREIGN, "it is none of the store's files")]


def test_what_is_no_file_is_noted_and_not_waited_for(store):
    os.mkfifo(store.reports / ("sha256-" + "1" * 64 + ".xml"))
    (store.reports / ("sha256-" + "2" * 64 + ".xml")).mkdir()
    assert [kind for _, kind, _ in found(store)] == [Kind.FOREIGN, Kind.FOREIGN]


def test_a_temporary_file_is_noted(store):
    (store.reports / ".jux-abc.tmp").write_bytes(b"half")
    assert kinds(store) == {("reports/.jux-abc.tmp", Kind.LEFTOVER)}


# --- some reports only -----------------------------------------------------------------------------------------------


def test_only_the_named_reports_are_looked_at(store):
    receive(store, OTHER)
    store.path_of(canonical_hash(OTHER)).write_bytes(b"rot")
    store.root.chmod(0o755)
    assert found(store, [IDENTITY]) == []
    assert kinds(store, [canonical_hash(OTHER)]) == {
        (store.path_of(canonical_hash(OTHER)).relative_to(store.root).as_posix(), Kind.CONTENT)
    }


def test_a_named_report_that_is_not_there_is_no_success(store):
    with pytest.raises(ReportNotStored):
        audit(store, [canonical_hash(OTHER)])


def test_a_store_that_cannot_be_listed_says_why(tmp_path):
    (tmp_path / "reports").write_text("a file")
    with pytest.raises(StorageError, match=r"cannot read .*reports: not a directory"):
        audit(ReportStorage(tmp_path))


# --- while others write ----------------------------------------------------------------------------------------------


def test_what_is_not_finished_while_it_is_looked_at_is_no_finding(store, monkeypatch):
    """A report has its name before its metadata has one; who looks in between sees a report without."""
    record = store.metadata_directory / f"{NAME}.json"
    content = record.read_bytes()
    record.unlink()
    system_open = os.open

    def finish_before_the_lock_is_had(path, *arguments, **keywords):
        if os.path.basename(os.path.dirname(path)) == "locks" and not record.exists():  # noqa: PTH119, PTH120 - any path
            record.write_bytes(content)
            record.chmod(0o600)
        return system_open(path, *arguments, **keywords)

    monkeypatch.setattr(os, "open", finish_before_the_lock_is_had)
    assert found(store) == []
    assert record.exists()


def test_a_report_that_is_removed_while_it_is_looked_at_is_no_finding(store):
    seen = []

    def remove_it(*progress):
        if not seen:
            store.remove(store.find(IDENTITY), queued=True)
        seen.append(progress)

    receive(store, OTHER)
    assert [kind for _, kind, _ in found(store, on_each=remove_it) if kind is not Kind.LEFTOVER] == []


def test_checking_while_others_store_and_remove_finds_nothing(tmp_path):
    program = (
        "import sys; from pytest_jux.bundle import receive; from pytest_jux.storage import ReportStorage\n"
        "from pytest_jux.records import sealed\n"
        "storage = ReportStorage(sys.argv[1])\n"
        "for number in range(40):\n"
        "    data = f'<testsuite name=\"{number % 5}\"/>'.encode()\n"
        "    stored = receive(storage, data, queue=number % 2 == 0).stored\n"
        "    if number % 3 == 0: storage.remove(storage.find(stored.canonical_hash), queued=True)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "store")]
    writers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    problems = []
    while any(writer.poll() is None for writer in writers):
        problems += audit(ReportStorage(tmp_path / "store")).problems
    errors = [writer.communicate()[1] for writer in writers]
    assert problems == []
    assert [error for error in errors if "Traceback" in error and "ReportNotStored" not in error] == []
    assert audit(ReportStorage(tmp_path / "store")).findings == ()


def test_the_mode_of_a_directory_that_is_not_the_stores_alone_is_not_judged(store):
    store.root.chmod(0o755)
    assert kinds(store) == {(".", Kind.PERMISSIONS)}
    (store.root / "pytest.ini").write_text("")
    assert kinds(store) == set()


def test_a_link_in_place_of_a_report_is_a_lost_report(tmp_path, signed_report):
    storage = ReportStorage(tmp_path / "store")
    path = receive(storage, signed_report).stored.path
    path.replace(tmp_path / "elsewhere.xml")
    path.symlink_to(tmp_path / "elsewhere.xml")
    problems = [(finding.path.parent.name, finding.message) for finding in audit(storage).problems]
    assert problems == [("metadata", "the report that it is about is missing")]
