"""Reports under their own hashes: what is found again, and what is left when something goes wrong."""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import fcntl
import hashlib
import json
import os
import pwd
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from crash.interposed import interposed
from foreign_systems import pretend_windows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_jux.canonicalizer import canonical_hash
from pytest_jux.errors import AmbiguousHash, InvalidHash, ReportNotStored, StorageError
from pytest_jux.inventory import Status
from pytest_jux.signer import sign_report
from pytest_jux.storage import ReportStorage, default_storage_path

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="modes and links of POSIX"),
    pytest.mark.usefixtures("clean_environment"),
]


@pytest.fixture
def store(tmp_path):
    return ReportStorage(tmp_path / "store")


@pytest.fixture(scope="session")
def signed_report(real_report, p256):
    return sign_report(real_report, p256.key, p256.certificate)


def fill(store, *hashes):
    """Put files under made-up hashes, for tests that only look at names."""
    store.reports.mkdir(parents=True, exist_ok=True)
    for number in hashes:
        (store.reports / f"sha256-{number}.xml").write_bytes(b"<testsuites/>")


def everything_below(path):
    """Return every file but the locks, which are empty and stay."""
    files = (file for file in path.rglob("*") if file.is_file() and file.parent.name != "locks")
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in files}


def failing(code):
    def fail(*_, **__):
        raise OSError(code, os.strerror(code))

    return fail


# --- storing and finding again ---------------------------------------------------------------------------------------


def test_a_stored_report_is_read_back_byte_for_byte(store, real_report):
    identity = canonical_hash(real_report)
    entry = store.store(real_report, identity)
    assert store.read(identity) == entry.path.read_bytes() == real_report


def test_the_file_name_is_the_hash_of_the_canonical_form(store, signed_report):
    entry = store.store(signed_report, canonical_hash(signed_report))
    assert entry.path == store.root / "reports" / (canonical_hash(signed_report).replace(":", "-") + ".xml")


def test_an_entry_says_how_large_and_how_old_it_is(store, real_report):
    entry = store.store(real_report, canonical_hash(real_report))
    assert (entry.size, entry.canonical_hash) == (len(real_report), canonical_hash(real_report))
    assert abs(entry.stored_at - dt.datetime.now(dt.UTC)) < dt.timedelta(minutes=1)


def test_metadata_is_kept_beside_the_report(store, real_report):
    identity = canonical_hash(real_report)
    store.store(real_report, identity, {"hostname": "build-7", "git": {"branch": "mäin"}})
    written = json.loads((store.root / "metadata" / f"{identity.replace(':', '-')}.json").read_bytes())
    digests = {"file_sha256": hashlib.sha256(real_report).hexdigest(), "record_sha256": written["record_sha256"]}
    assert written == store.metadata(identity) | digests
    assert store.metadata(identity)["hostname"] == written["hostname"] == "build-7"
    assert written["git"] == {"branch": "mäin"}
    assert written["canonical_hash"] == identity
    assert dt.datetime.fromisoformat(written["stored_at"]).tzinfo is not None


def test_metadata_that_is_missing_or_damaged_is_empty(store, real_report):
    identity = canonical_hash(real_report)
    assert store.metadata(identity) == {}
    store.store(real_report, identity)
    for damage in (b"{", b"[1]", b"\xff"):
        (store.metadata_directory / f"{identity.replace(':', '-')}.json").write_bytes(damage)
        assert store.metadata(identity) == {}


def test_storing_the_same_report_again_makes_it_new_without_writing_it_again(store, real_report):
    first = store.store(real_report, canonical_hash(real_report)).path.stat()
    again = store.store(real_report, canonical_hash(real_report)).path.stat()
    assert again.st_ino == first.st_ino
    assert again.st_mtime_ns // 1000 > first.st_mtime_ns // 1000


def test_a_report_from_the_future_is_still_newer_when_it_is_stored_again(store, real_report):
    entry = store.store(real_report, canonical_hash(real_report))
    os.utime(entry.path, (entry.path.stat().st_mtime + 10**6,) * 2)
    future = store.find(canonical_hash(real_report)).stored_at
    assert store.store(real_report, canonical_hash(real_report)).stored_at > future


def test_what_is_known_about_a_report_grows_and_is_never_lost(store, real_report, signed_report):
    identity = canonical_hash(real_report)
    store.store(real_report, identity, {"hostname": "first", "branch": "main"})
    store.store(signed_report, identity, {"hostname": "second", "run": "7"})
    known = store.metadata(identity)
    assert (known["hostname"], known["branch"], known["run"], known["signed"]) == ("first", "main", "7", True)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("elsewhere")])
def test_what_stands_in_place_of_the_metadata_is_not_taken_for_it(store, real_report, make):
    identity = canonical_hash(real_report)
    store.metadata_directory.mkdir(parents=True)
    make(store.metadata_directory / f"{identity.replace(':', '-')}.json")
    assert store.metadata(identity) == {}


def test_the_counts_are_those_that_were_recorded_or_else_those_of_the_report(store, real_report):
    identity = canonical_hash(real_report)
    store.store(real_report, identity)
    counted = {name: store.summary(identity)[name] for name in ("tests", "failures", "errors", "skipped")}
    assert counted == {"tests": 3, "failures": 1, "errors": 0, "skipped": 1}
    recorded = {"tests": 9, "failures": 0, "errors": 0, "skipped": 0}
    store.store(real_report, identity, {"summary": recorded})
    assert store.summary(identity) == recorded


def test_there_are_no_counts_of_what_is_no_report_and_none_of_what_is_not_there(store):
    fill(store, FULL)
    (store.path_of(f"sha256:{FULL}")).write_bytes(b"garbage")
    assert store.summary(f"sha256:{FULL}") == {}
    with pytest.raises(ReportNotStored):
        store.summary(f"sha256:{OTHER}")


def test_a_report_that_is_not_stored_cannot_be_read(store):
    with pytest.raises(ReportNotStored):
        store.read("sha256:" + "0" * 64)


def test_looking_into_a_store_does_not_make_it(store):
    assert store.list() == []
    with pytest.raises(ReportNotStored):
        store.resolve("abcd")
    assert not store.root.exists()


# --- where it is -----------------------------------------------------------------------------------------------------


def test_a_path_that_ends_in_reports_means_its_parent(tmp_path):
    assert ReportStorage(tmp_path / "jux" / "reports").root == ReportStorage(f"{tmp_path}/jux").root == tmp_path / "jux"


def test_the_default_is_the_users_data_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert ReportStorage().root == default_storage_path()
    assert default_storage_path().is_relative_to(tmp_path)
    assert default_storage_path().name == "jux"


def test_without_a_home_directory_there_is_no_default_and_no_directory_that_is_called_tilde(monkeypatch):
    def no_entry(_):
        raise KeyError("uid not found")

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    with pytest.raises(StorageError, match="home directory"):
        ReportStorage()


# --- abbreviations and names from outside ----------------------------------------------------------------------------

FULL = "abcd" + "0" * 60
OTHER = "abce" + "0" * 60


@pytest.mark.parametrize("start", ["", "sha256:", "sha256-", "SHA256:"])
@pytest.mark.parametrize("length", [4, 10, 64])
def test_a_hash_may_be_abbreviated_in_every_form(store, start, length):
    fill(store, FULL, OTHER)
    assert store.resolve(start + FULL[:length]) == f"sha256:{FULL}"


def test_capital_digits_are_the_same_digits(store):
    fill(store, FULL)
    assert store.resolve("ABCD0") == f"sha256:{FULL}"


def test_an_ambiguous_abbreviation_names_all_it_could_be(store):
    near = "abcd0" + "1" * 59
    fill(store, FULL, near, OTHER)
    with pytest.raises(AmbiguousHash, match="2 stored reports") as caught:
        store.resolve("sha256:abcd0")
    assert caught.value.matches == (f"sha256:{FULL}", f"sha256:{near}")


def test_an_abbreviation_of_nothing_is_not_stored(store):
    fill(store, FULL)
    with pytest.raises(ReportNotStored):
        store.resolve("ffff")


GARBAGE = [
    "",
    "abc",
    "../../etc/passwd",
    "sha256-../../x",
    "sha256:" + "g" * 64,
    FULL + "0",
    FULL + "\n",
    f"sha256-{FULL}.xml",
    "sha256:abcd/..",
    "abcd\0",
    "٣٣٣٣",
]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_what_is_no_hash_is_not_resolved(store, garbage):
    fill(store, FULL)
    with pytest.raises(InvalidHash):
        store.resolve(garbage)


@pytest.mark.parametrize("garbage", [*GARBAGE, FULL, f"sha256-{FULL}", f"sha256:{FULL.upper()}", f"sha256:{FULL}\n"])
def test_only_a_full_hash_becomes_a_path(store, garbage):
    for use in (store.path_of, store.read, store.metadata, lambda name: store.store(b"<testsuites/>", name)):
        with pytest.raises(InvalidHash):
            use(garbage)
    assert not store.root.exists()


@given(st.text())
def test_no_text_leads_out_of_the_store(text):
    store = ReportStorage("/somewhere")
    try:
        path = store.path_of(text)
    except InvalidHash:
        return
    assert path.parent == Path("/somewhere/reports")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(st.sets(st.text("0123456789abcdef", min_size=4, max_size=8), min_size=1, max_size=8), st.data())
def test_an_abbreviation_finds_its_report_or_says_that_it_is_ambiguous(tmp_path_factory, starts, data):
    hashes = {start + hashlib.sha256(start.encode()).hexdigest()[: 64 - len(start)] for start in starts}
    store = ReportStorage(tmp_path_factory.mktemp("store"))
    fill(store, *hashes)
    wanted = data.draw(st.sampled_from(sorted(hashes)))
    given_digits = wanted[: data.draw(st.integers(4, 64))]
    if sum(known.startswith(given_digits) for known in hashes) == 1:
        assert store.resolve(given_digits) == f"sha256:{wanted}"
    else:
        with pytest.raises(AmbiguousHash):
            store.resolve(given_digits)


# --- rights ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_reports_are_for_their_owner_alone_whatever_the_umask(store, real_report, umask):
    before = os.umask(umask)
    try:
        store.store(real_report, canonical_hash(real_report))
    finally:
        os.umask(before)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [store.root, *store.root.rglob("*")]}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}
    assert len(modes) == 7  # the root, its directories for reports, metadata and locks, and one file in each


def test_a_link_in_place_of_a_report_is_not_read(store, tmp_path):
    (tmp_path / "secret").write_text("secret")
    store.reports.mkdir(parents=True)
    store.path_of(f"sha256:{FULL}").symlink_to(tmp_path / "secret")
    with pytest.raises(StorageError):
        store.read(f"sha256:{FULL}")


@pytest.mark.parametrize("content", [b"precious", None])
def test_a_link_in_place_of_a_report_is_replaced_and_its_target_left_alone(store, tmp_path, real_report, content):
    target = tmp_path / "target"
    target.write_bytes(content or real_report)
    store.reports.mkdir(parents=True)
    path = store.path_of(canonical_hash(real_report))
    path.symlink_to(target)
    store.store(real_report, canonical_hash(real_report))
    assert (path.is_symlink(), path.read_bytes()) == (False, real_report)
    assert target.read_bytes() == (content or real_report)


STORE = """
from pytest_jux.storage import ReportStorage
from pytest_jux.errors import StorageError
try:
    ReportStorage(path).store(b"<testsuites/>", "sha256:" + "0" * 64)
except StorageError as error:
    print(error)
"""


def test_a_read_only_store_is_one_clear_sentence(tmp_path, without_root_rights):
    root = tmp_path / "store"
    root.mkdir(mode=0o555)
    code = f"import sys; path = sys.argv[1]\n{STORE}"
    done = subprocess.run(
        [*without_root_rights, sys.executable, "-c", code, str(root)], capture_output=True, text=True, check=False
    )
    assert re.fullmatch(r"cannot store .*sha256-0{64}\.xml: permission denied\n", done.stdout), done


# --- what is kept when two reports have one hash ---------------------------------------------------------------------


def test_a_signed_report_takes_the_place_of_the_unsigned_one(store, real_report, signed_report):
    identity = canonical_hash(real_report)
    store.store(real_report, identity)
    store.store(signed_report, identity)
    assert store.read(identity) == signed_report


@pytest.mark.parametrize("signed", [False, None])
def test_a_signed_report_is_not_replaced_by_the_unsigned_one(store, real_report, signed_report, signed):
    identity = canonical_hash(real_report)
    store.store(signed_report, identity)
    store.store(real_report, identity, signed=signed)
    assert store.read(identity) == signed_report


def test_a_signed_report_is_not_replaced_by_an_unsigned_one_that_only_mentions_signatures(store, real_report, p256):
    mention = b"http://www.w3.org/2000/09/xmldsig#"
    unsigned = real_report.replace(b"not today", mention)
    assert mention in unsigned
    signed = sign_report(unsigned, p256.key)
    store.store(signed, canonical_hash(signed))
    store.store(unsigned, canonical_hash(unsigned))
    assert store.read(canonical_hash(signed)) == signed


def test_an_intact_signature_is_not_replaced_by_somebody_elses(store, real_report, signed_report, p384):
    identity = canonical_hash(real_report)
    store.store(signed_report, identity)
    store.store(sign_report(real_report, p384.key, p384.certificate), identity)
    assert store.read(identity) == signed_report


def test_a_signature_that_cannot_be_checked_replaces_none_and_gives_way_to_one_that_can(store, real_report, p256):
    identity = canonical_hash(real_report)
    signed, anonymous = (sign_report(real_report, p256.key, cert) for cert in (p256.certificate, None))
    store.store(anonymous, identity)
    store.store(signed, identity)
    assert store.read(identity) == signed
    store.store(anonymous, identity)
    assert store.read(identity) == signed


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data.replace(b"42", b"43"), lambda _: b""])
@pytest.mark.parametrize("again", ["real_report", "signed_report"])
def test_bit_rot_is_healed_by_storing_again(store, signed_report, damage, again, request):
    data = request.getfixturevalue(again)
    identity = canonical_hash(data)
    path = store.store(signed_report, identity).path
    path.write_bytes(damage(signed_report))
    store.store(data, identity)
    assert store.read(identity) == data


# --- failures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_failing_system_call_leaves_the_old_entry_and_no_litter(
    store, real_report, signed_report, monkeypatch, call, code
):
    identity = canonical_hash(real_report)
    store.store(real_report, identity, {"hostname": "first"})
    before = everything_below(store.root)
    monkeypatch.setattr(os, call, failing(code))
    with pytest.raises(StorageError) as caught:
        store.store(signed_report, identity, {"hostname": "second"})
    monkeypatch.undo()
    assert caught.value.reason == os.strerror(code).lower()
    assert str(store.path_of(identity)) in str(caught.value)
    assert everything_below(store.root) == before


def test_the_metadata_is_written_last_so_that_it_vouches_for_the_report(store, real_report, monkeypatch):
    identity = canonical_hash(real_report)
    replace = os.replace

    def not_the_metadata(source, target):
        if str(target).endswith(".json"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    monkeypatch.setattr(os, "replace", not_the_metadata)
    with pytest.raises(StorageError, match="no space left on device"):
        store.store(real_report, identity)
    monkeypatch.undo()
    assert not [*everything_below(store.root)]  # nothing was stored, as the error says


KILLED = """
import os, signal, sys
from pytest_jux.storage import ReportStorage
step, count = sys.argv[2], int(sys.argv[3])
call = getattr(os, step)
def kill(*arguments, **keywords):
    global count
    count -= 1
    if count < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return call(*arguments, **keywords)
setattr(os, step, kill)
ReportStorage(sys.argv[1]).store(sys.stdin.buffer.read(), sys.argv[4], {"hostname": "x"})
"""


@pytest.mark.parametrize(("step", "count"), [("write", 0), ("fsync", 0), ("replace", 0), ("write", 1), ("replace", 1)])
def test_a_kill_at_any_point_leaves_a_whole_report_or_none(store, real_report, step, count):
    identity = canonical_hash(real_report)
    command = [sys.executable, "-c", KILLED, str(store.root), step, str(count), identity]
    done = subprocess.run(command, input=real_report, check=False)
    assert done.returncode == -9
    found = [entry.path.read_bytes() for entry in store.list()]
    assert found in ([], [real_report])
    assert store.metadata(identity) == {}
    store.store(real_report, identity)
    assert store.read(identity) == real_report


def test_what_a_killed_process_left_is_swept_at_once_and_nothing_else(store, real_report):
    store.store(real_report, canonical_hash(real_report))
    names = {".jux-new.tmp", "notes.txt", ".jux-old.xml", "x.tmp"}
    for directory in (store.reports, store.metadata_directory):
        for name in names:
            (directory / name).write_bytes(b"x")
    assert store.sweep() == 2
    for directory in (store.reports, store.metadata_directory):
        assert {path.name for path in directory.iterdir()} & names == names - {".jux-new.tmp"}
    assert store.read(canonical_hash(real_report)) == real_report


def test_sweeping_what_is_not_there_does_not_make_it(store):
    assert store.sweep() == 0
    assert not store.root.exists()


def test_a_stray_temporary_that_cannot_be_removed_does_not_hinder_anything(store, real_report):
    store.reports.mkdir(parents=True)
    (store.reports / ".jux-directory.tmp").mkdir()
    assert store.sweep() == 0
    store.store(real_report, canonical_hash(real_report))
    assert store.read(canonical_hash(real_report)) == real_report


def test_something_else_in_place_of_a_report_is_an_error_and_stays(store, real_report):
    path = store.path_of(canonical_hash(real_report))
    path.mkdir(parents=True)
    with pytest.raises(StorageError, match="is a directory"):
        store.store(real_report, canonical_hash(real_report))
    assert path.is_dir()


# --- several processes -----------------------------------------------------------------------------------------------

CONCURRENT = """
import sys
from pathlib import Path
from pytest_jux.storage import ReportStorage
store, identity = ReportStorage(sys.argv[1]), sys.argv[2]
versions = [Path(name).read_bytes() for name in sys.argv[3:]]
sys.stdout.write("ready\\n"); sys.stdout.flush(); sys.stdin.readline()
for number in range(30):
    store.store(versions[number % len(versions)], identity)
    assert store.read(identity) in versions, "torn"
"""


def test_several_processes_store_the_same_report_at_once(store, tmp_path, real_report, p256, p384):
    versions = [sign_report(real_report, signer.key, signer.certificate) for signer in (p256, p384)]
    names = [str(tmp_path / f"{number}.xml") for number in range(2)]
    for name, data in zip(names, versions, strict=True):
        Path(name).write_bytes(data)
    command = [sys.executable, "-c", CONCURRENT, str(store.root), canonical_hash(real_report), *names]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(3)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    assert store.read(canonical_hash(real_report)) in versions
    assert sorted(Path(name).suffix for name in everything_below(store.root)) == [".json", ".xml"]


ADDING = """
import sys
from pathlib import Path
from pytest_jux.storage import ReportStorage
store, identity, data = ReportStorage(sys.argv[1]), sys.argv[2], Path(sys.argv[3]).read_bytes()
sys.stdout.write("ready\\n"); sys.stdout.flush(); sys.stdin.readline()
for number in range(15):
    store.store(data, identity, {f"{sys.argv[4]}-{number}": "known"})
"""


def test_what_several_processes_know_about_one_report_is_all_kept(store, tmp_path, real_report):
    (tmp_path / "report.xml").write_bytes(real_report)
    identity = canonical_hash(real_report)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", ADDING, str(store.root), identity, str(tmp_path / "report.xml")]
    processes = [subprocess.Popen([*command, str(number)], **pipes) for number in range(3)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    outputs = [process.communicate("go\n", timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    assert {f"{one}-{two}" for one in range(3) for two in range(15)} <= store.metadata(identity).keys()


# --- the queue -------------------------------------------------------------------------------------------------------


def name_of(data):
    return canonical_hash(data).replace(":", "-")


def publish(store, identity, answer=None):
    with store.claim(identity) as claimed:
        assert claimed
        store.mark_published(identity, answer)


def reject(store, identity, reason=None):
    with store.claim(identity) as claimed:
        assert claimed
        store.mark_rejected(identity, reason)


def test_what_is_queued_waits_whether_or_not_it_is_stored(store, real_report, signed_report):
    identity = canonical_hash(real_report)
    store.enqueue(signed_report, identity, {"hostname": "build-7"})
    entry = store.find(identity)
    assert (entry.path, entry.status, entry.size) == (
        store.queue / f"{name_of(real_report)}.xml",
        Status.QUEUED,
        len(signed_report),
    )
    assert store.read(identity) == signed_report
    assert store.metadata(identity) == {"hostname": "build-7"}
    assert store.answer(identity)["attempts"] == 0


def test_a_queued_report_takes_no_second_room_where_it_is_stored(store, real_report):
    identity = canonical_hash(real_report)
    entry = store.store(real_report, identity)
    store.enqueue(real_report, identity)
    assert (store.queue / entry.path.name).samefile(entry.path)
    assert [one.status for one in store.list()] == [Status.QUEUED]


@pytest.mark.parametrize(
    "error", [OSError(errno.EPERM, "not permitted"), OSError(errno.EXDEV, "x"), NotImplementedError()]
)
def test_a_queued_report_is_a_copy_where_there_are_no_hard_links(store, real_report, monkeypatch, error):
    def no_links(*_, **__):
        raise error

    identity = canonical_hash(real_report)
    store.store(real_report, identity)
    monkeypatch.setattr(os, "link", no_links)
    store.enqueue(real_report, identity)
    copy = store.queue / f"{name_of(real_report)}.xml"
    assert copy.read_bytes() == real_report
    assert not copy.samefile(store.path_of(identity))


def test_queueing_again_changes_nothing_and_other_bytes_take_the_place(store, real_report, signed_report):
    identity = canonical_hash(real_report)
    store.enqueue(real_report, identity, {"hostname": "one"})
    before = everything_below(store.root)
    store.enqueue(real_report, identity, {"hostname": "two"})
    assert everything_below(store.root) == before
    store.enqueue(signed_report, identity, {"hostname": "three"})
    assert store.read(identity, waiting=True) == signed_report
    assert store.metadata(identity) == {"hostname": "three"}


def test_what_waits_is_what_was_queued_and_not_what_is_stored(store, real_report, signed_report):
    identity = canonical_hash(real_report)
    store.store(real_report, identity)
    store.enqueue(signed_report, identity)
    assert store.read(identity) == real_report
    assert store.read(identity, waiting=True) == signed_report
    reject(store, identity)
    assert (store.rejected / f"{name_of(real_report)}.xml").read_bytes() == signed_report
    store.requeue(identity)
    assert (store.queue / f"{name_of(real_report)}.xml").read_bytes() == signed_report


def test_a_published_report_stays_with_the_servers_answer_and_leaves_the_queue(store, real_report):
    identity = canonical_hash(real_report)
    store.store(real_report, identity)
    store.enqueue(real_report, identity)
    publish(store, identity, {"id": 42})
    assert store.find(identity).status is Status.PUBLISHED
    assert store.answer(identity)["answer"] == {"id": 42}
    assert not [*store.queue.iterdir()]
    assert store.read(identity) == real_report


def test_a_report_that_was_only_queued_is_gone_when_it_is_published(store, real_report):
    store.enqueue(real_report, canonical_hash(real_report))
    publish(store, canonical_hash(real_report))
    assert store.list() == []
    assert everything_below(store.root) == {}


def test_a_rejected_report_is_kept_with_the_reason_and_can_be_queued_again(store, real_report):
    identity = canonical_hash(real_report)
    store.enqueue(real_report, identity, {"hostname": "build-7"})
    reject(store, identity, {"status": 422, "detail": "no"})
    assert store.find(identity).status is Status.REJECTED
    assert store.answer(identity)["reason"] == {"status": 422, "detail": "no"}
    assert store.metadata(identity) == {"hostname": "build-7"}
    store.requeue(identity)
    assert store.find(identity).status is Status.QUEUED
    assert store.metadata(identity) == {"hostname": "build-7"}
    assert not [*store.rejected.iterdir()]


def test_a_rejected_report_that_is_published_after_all_is_not_rejected_any_more(store, real_report):
    identity = canonical_hash(real_report)
    store.store(real_report, identity)
    store.enqueue(real_report, identity)
    reject(store, identity)
    store.mark_published(identity)
    assert store.find(identity).status is Status.PUBLISHED


def test_a_report_on_its_way_back_into_the_queue_is_read(store, real_report, monkeypatch):
    identity = canonical_hash(real_report)
    store.enqueue(real_report, identity)
    reject(store, identity)
    open_file, moved = os.open, []

    def move_after_the_look_into_the_queue(path, *arguments, **keywords):
        if not moved and str(path).endswith(f"queue/{name_of(real_report)}.xml"):
            moved.append(path)
            try:
                return open_file(path, *arguments, **keywords)
            finally:
                ReportStorage(store.root).requeue(identity)
        return open_file(path, *arguments, **keywords)

    monkeypatch.setattr(os, "open", move_after_the_look_into_the_queue)
    assert store.read(identity) == real_report
    assert moved


def test_what_never_was_in_the_store_cannot_be_rejected_or_queued_again(store):
    for use in (store.mark_rejected, store.requeue):
        with pytest.raises(ReportNotStored):
            use(f"sha256:{FULL}")
    assert store.list() == []


def test_only_one_at_a_time_has_the_claim(store, real_report):
    identity = canonical_hash(real_report)
    store.enqueue(real_report, identity)
    with store.claim(identity) as first, ReportStorage(store.root).claim(identity) as second:
        assert (first, second) == (True, False)
    with store.claim(identity) as again:
        assert again


def test_there_is_no_claim_to_what_does_not_wait(store, real_report):
    identity = canonical_hash(real_report)
    store.store(real_report, identity)
    with store.claim(identity) as claimed:
        assert not claimed


KILLED_WITH_A_CLAIM = """
import os, sys
from pytest_jux.storage import ReportStorage
with ReportStorage(sys.argv[1]).claim(sys.argv[2]) as claimed:
    assert claimed
    os.kill(os.getpid(), 9)
"""


def test_a_claim_ends_with_its_owner(store, real_report):
    identity = canonical_hash(real_report)
    store.enqueue(real_report, identity)
    done = subprocess.run([sys.executable, "-c", KILLED_WITH_A_CLAIM, str(store.root), identity], check=False)
    assert done.returncode == -9
    with store.claim(identity) as claimed:
        assert claimed


def test_what_was_queued_anew_while_the_older_was_sent_still_waits(store, real_report, signed_report):
    identity = canonical_hash(real_report)
    store.enqueue(real_report, identity)
    with store.claim(identity) as claimed:
        assert claimed
        ReportStorage(store.root).enqueue(signed_report, identity)
        store.mark_published(identity)
    assert store.read(identity, waiting=True) == signed_report
    assert store.find(identity).status is Status.QUEUED


@pytest.mark.parametrize("half", [".xml", ".json"])
def test_half_an_entry_is_no_entry_and_is_swept(store, real_report, half):
    identity = canonical_hash(real_report)
    store.enqueue(real_report, identity)
    (store.queue / f"{name_of(real_report)}{half}").unlink()
    assert store.list() == []
    assert store.sweep() == 1
    assert everything_below(store.root) == {}
    store.enqueue(real_report, identity)
    publish(store, identity)


@pytest.mark.parametrize("half", [".xml", ".json"])
def test_half_an_entry_is_completed_by_queueing_again(store, real_report, half):
    identity = canonical_hash(real_report)
    store.enqueue(real_report, identity, {"hostname": "x"})
    (store.queue / f"{name_of(real_report)}{half}").unlink()
    store.enqueue(real_report, identity, {"hostname": "x"})
    assert store.find(identity).status is Status.QUEUED
    assert (store.read(identity, waiting=True), store.metadata(identity)) == (real_report, {"hostname": "x"})


def test_an_entry_whose_report_is_only_stored_is_not_swept(store, real_report):
    identity = canonical_hash(real_report)
    store.store(real_report, identity)
    store.enqueue(real_report, identity)
    (store.queue / f"{name_of(real_report)}.xml").unlink()
    assert store.sweep() == 0
    assert store.read(identity, waiting=True) == real_report
    publish(store, identity)
    assert store.find(identity).status is Status.PUBLISHED


# --- removing --------------------------------------------------------------------------------------------------------


def test_a_removed_report_leaves_nothing(store, real_report):
    identity = canonical_hash(real_report)
    entry = store.store(real_report, identity, {"hostname": "x"})
    store.enqueue(real_report, identity)
    publish(store, identity)
    assert store.remove(store.find(identity))
    store.flush()
    assert everything_below(store.root) == {}
    assert store.remove(entry)  # it is gone, as was asked for


def test_a_report_that_waits_is_removed_only_by_name(store, real_report):
    identity = canonical_hash(real_report)
    store.store(real_report, identity)
    store.enqueue(real_report, identity)
    before = everything_below(store.root)
    assert not store.remove(store.find(identity))
    assert everything_below(store.root) == before
    assert store.remove(store.find(identity), queued=True)
    assert everything_below(store.root) == {}


def test_a_report_that_is_being_sent_is_not_removed(store, real_report):
    identity = canonical_hash(real_report)
    store.enqueue(real_report, identity)
    before = everything_below(store.root)
    with store.claim(identity):
        assert not ReportStorage(store.root).remove(store.find(identity), queued=True)
    assert everything_below(store.root) == before


def test_a_rejected_report_is_removed(store, real_report):
    store.enqueue(real_report, canonical_hash(real_report))
    reject(store, canonical_hash(real_report))
    assert store.remove(store.find(canonical_hash(real_report)))
    assert everything_below(store.root) == {}


def test_a_report_that_was_stored_again_since_it_was_listed_stays(store, real_report):
    identity = canonical_hash(real_report)
    (listed,) = [store.store(real_report, identity), *store.list()][1:]
    store.store(real_report, identity)
    assert not store.remove(listed)
    assert store.read(identity) == real_report


def test_a_report_that_was_listed_as_rejected_and_stored_since_stays(store, real_report):
    identity = canonical_hash(real_report)
    store.enqueue(real_report, identity)
    reject(store, identity)
    (listed,) = store.list()
    store.store(real_report, identity, {"hostname": "x"})
    assert not store.remove(listed)
    assert store.read(identity) == real_report
    assert store.metadata(identity)["hostname"] == "x"


def test_a_report_that_was_listed_as_queued_and_stored_and_published_since_stays(store, real_report):
    identity = canonical_hash(real_report)
    store.enqueue(real_report, identity)
    (listed,) = store.list()
    store.store(real_report, identity)
    publish(store, identity)
    assert not store.remove(listed)
    assert store.read(identity) == real_report


def test_a_report_that_somebody_works_on_is_not_removed(store, real_report):
    identity = canonical_hash(real_report)
    entry = store.store(real_report, identity)
    for path in (store.root / "locks").iterdir():
        with path.open("rb+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert not store.remove(entry)
    assert store.remove(entry)


def test_flushing_what_is_not_there_is_nothing(store):
    store.flush()
    assert not store.root.exists()


# --- what the system refuses -----------------------------------------------------------------------------------------


def test_a_store_whose_directory_is_a_file_is_one_sentence_for_every_use(store, real_report):
    store.root.write_text("a file")
    identity = canonical_hash(real_report)
    uses = (
        lambda: store.store(real_report, identity),
        lambda: store.enqueue(real_report, identity),
        lambda: store.mark_published(identity),
        lambda: store.mark_rejected(identity),
        lambda: store.requeue(identity),
        lambda: store.read(identity),
        lambda: store.find(identity),
        store.list,
        store.statistics,
        lambda: store.resolve("abcd"),
    )
    for use in uses:
        with pytest.raises(StorageError, match=r"cannot \w+ .*: (not a directory|file exists)"):
            use()


def test_a_name_with_a_nul_is_refused():
    with pytest.raises(StorageError, match="NUL"):
        ReportStorage("reports\0")


UNSEARCHABLE = """
from pytest_jux.storage import ReportStorage
(path / "queue").chmod(0)
entry = ReportStorage(path).store(b"<testsuites/>", "sha256:" + "0" * 64)
(path / "queue").chmod(0o700)
print(entry.status)
"""


def test_a_queue_that_may_not_be_searched_does_not_hinder_storing(store, without_root_rights):
    store.queue.mkdir(parents=True)
    code = f"import sys, pathlib; path = pathlib.Path(sys.argv[1])\n{UNSEARCHABLE}"
    done = subprocess.run(
        [*without_root_rights, sys.executable, "-c", code, str(store.root)], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("local\n", "")


LOCKED_OUT = """
from pytest_jux.storage import ReportStorage
from pytest_jux.errors import StorageError
lock = path / "locks" / "00"
lock.touch()
lock.chmod(0)
try:
    ReportStorage(path).store(b"<testsuites/>", "sha256:" + "0" * 64)
except StorageError as error:
    print(error)
"""


def test_a_lock_that_may_not_be_used_is_named(store, without_root_rights):
    (store.root / "locks").mkdir(parents=True)
    code = f"import sys, pathlib; path = pathlib.Path(sys.argv[1])\n{LOCKED_OUT}"
    done = subprocess.run(
        [*without_root_rights, sys.executable, "-c", code, str(store.root)], capture_output=True, text=True, check=False
    )
    assert done.stdout == f"cannot use {store.root / 'locks' / '00'}: permission denied\n"


UNREADABLE = """
from pytest_jux.storage import ReportStorage
from pytest_jux.errors import StorageError
(reported,) = (path / "reports").iterdir()
for file in (reported, *(path / "metadata").iterdir()):
    file.chmod(0)
    try:
        ReportStorage(path).store(b"<testsuites/>", reported.stem.replace("-", ":"))
    except StorageError as error:
        print(error.reason)
    file.chmod(0o600)
"""


def test_what_may_not_be_read_is_not_overwritten(store, signed_report, without_root_rights):
    store.store(signed_report, canonical_hash(signed_report), {"hostname": "x"})
    before = everything_below(store.root)
    code = f"import sys, pathlib; path = pathlib.Path(sys.argv[1])\n{UNREADABLE}"
    done = subprocess.run(
        [*without_root_rights, sys.executable, "-c", code, str(store.root)], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("permission denied\n" * 2, "")
    assert everything_below(store.root) == before


# --- rights, at every moment -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_nothing_is_readable_by_others_even_for_a_moment(tmp_path, real_report, signed_report, umask):
    store = ReportStorage(tmp_path / "new" / "store")
    identity = canonical_hash(real_report)
    seen = []

    def observe(_, call, arguments, keywords):
        result = call(*arguments, **keywords)
        paths = [tmp_path / "new", *(tmp_path / "new").rglob("*")] if (tmp_path / "new").exists() else []
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                seen.append((stat.S_IMODE(path.lstat().st_mode), path))
        return result

    before = os.umask(umask)
    try:
        with interposed(observe):
            store.store(real_report, identity, {"hostname": "x"})
            store.enqueue(signed_report, identity, {"hostname": "x"})
            reject(store, identity, {"status": 400})
            store.requeue(identity)
            publish(store, identity, {"id": 1})
            store.store(signed_report, identity, {"run": "7"})
    finally:
        os.umask(before)
    assert len(seen) > 1000
    assert {(mode, path.name) for mode, path in seen if mode not in {0o700, 0o600}} == set()
    assert {path.is_dir() for mode, path in seen if mode == 0o700 and path.exists()} == {True}


# --- other filesystems, other systems --------------------------------------------------------------------------------


@pytest.fixture
def windows(monkeypatch):
    return pretend_windows(monkeypatch)


def whole_life(store, real_report, signed_report):
    identity = canonical_hash(real_report)
    store.store(real_report, identity, {"hostname": "one"})
    store.store(real_report, identity, {"run": "7"})
    store.store(signed_report, identity)
    store.enqueue(real_report, identity, {"hostname": "one"})
    store.enqueue(signed_report, identity, {"hostname": "two"})
    reject(store, identity, {"status": 400})
    assert store.metadata(identity)["hostname"] == "one"
    assert json.loads((store.rejected / f"{name_of(real_report)}.json").read_bytes())["metadata"] == {"hostname": "two"}
    store.requeue(identity)
    publish(store, identity, {"id": 1})
    assert (store.read(identity), store.find(identity).status) == (signed_report, Status.PUBLISHED)
    assert store.metadata(identity)["run"] == "7"
    assert sorted(everything_below(store.root)) == [
        f"{directory}/{name_of(real_report)}.{kind}"
        for directory, kind in (("metadata", "json"), ("published", "json"), ("reports", "xml"))
    ]
    store.enqueue(signed_report, identity)
    assert store.remove(store.find(identity), queued=True)
    store.flush()
    assert store.sweep() == 0
    assert everything_below(store.root) == {}


def test_a_whole_life(store, real_report, signed_report):
    whole_life(store, real_report, signed_report)


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_whole_life_where_the_filesystem_has_no_locks(store, real_report, signed_report, monkeypatch, code):
    monkeypatch.setattr(fcntl, "flock", failing(code))
    whole_life(store, real_report, signed_report)


def test_a_whole_life_where_the_filesystem_has_no_hard_links(store, real_report, signed_report, monkeypatch):
    monkeypatch.setattr(os, "link", failing(errno.EPERM))
    whole_life(store, real_report, signed_report)


def test_a_whole_life_where_open_files_can_be_neither_renamed_nor_removed(store, real_report, signed_report, windows):
    whole_life(store, real_report, signed_report)
    assert windows.refusals == []


@pytest.mark.parametrize("call", ["write", "replace"])
def test_a_failure_leaves_no_litter_where_open_files_cannot_be_removed(store, real_report, monkeypatch, windows, call):
    monkeypatch.setattr(os, call, failing(errno.ENOSPC))
    with pytest.raises(StorageError, match="no space left on device"):
        store.store(real_report, canonical_hash(real_report))
    assert everything_below(store.root) == {}


def test_a_record_that_is_nested_too_deep_to_be_written_again_is_replaced(store, real_report):
    identity = canonical_hash(real_report)
    store.store(real_report, identity, {"hostname": "old"})
    (record,) = store.metadata_directory.iterdir()
    record.write_text(f'{{"canonical_hash": "{identity}", "deep": {"[" * 900}{"]" * 900}}}')
    store.store(real_report, identity, {"hostname": "new"})
    assert store.metadata(identity)["hostname"] == "new"


def test_a_record_speaks_at_no_moment_of_other_bytes_than_those_that_are_there(store, real_report, signed_report):
    identity = canonical_hash(real_report)
    store.store(real_report, identity)
    (record,) = store.metadata_directory.iterdir()

    def check(name, call, arguments, keywords):
        result = call(*arguments, **keywords)
        if name in {"replace", "rename", "link"}:
            known = json.loads(record.read_bytes()).get("file_sha256")
            assert known in {None, hashlib.sha256(store.read(identity)).hexdigest()}
        return result

    with interposed(check):
        store.store(signed_report, identity)
    assert json.loads(record.read_bytes())["file_sha256"] == hashlib.sha256(signed_report).hexdigest()
