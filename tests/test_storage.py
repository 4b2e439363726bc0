"""Reports under their own hashes: what is found again, and what is left when something goes wrong."""

from __future__ import annotations

import datetime as dt
import errno
import hashlib
import json
import os
import pwd
import re
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_jux.canonicalizer import canonical_hash
from pytest_jux.errors import AmbiguousHash, InvalidHash, ReportNotStored, StorageError
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
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


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
    assert written == store.metadata(identity)
    assert written["hostname"] == "build-7"
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


def test_storing_the_same_report_again_does_not_write_it_again(store, real_report):
    first = store.store(real_report, canonical_hash(real_report)).path.stat()
    again = store.store(real_report, canonical_hash(real_report)).path.stat()
    assert (again.st_ino, again.st_mtime_ns) == (first.st_ino, first.st_mtime_ns)


def test_a_report_that_is_not_stored_cannot_be_read(store):
    with pytest.raises(ReportNotStored):
        store.read("sha256:" + "0" * 64)


def test_looking_into_a_store_does_not_make_it(store):
    assert store.list() == []
    with pytest.raises(ReportNotStored):
        store.resolve("abcd")
    assert not store.root.exists()


def test_the_list_is_newest_first_and_ties_are_in_a_fixed_order(store):
    fill(store, "a" * 64, "b" * 64, "c" * 64)
    for digit, when in (("a", 100), ("b", 300), ("c", 100)):
        os.utime(store.reports / f"sha256-{digit * 64}.xml", (when, when))
    assert [entry.canonical_hash[7] for entry in store.list()] == ["b", "c", "a"]


def test_the_list_shows_reports_and_nothing_else(store, tmp_path):
    fill(store, "a" * 64)
    (store.reports / ("sha256-" + "b" * 63 + ".xml")).write_bytes(b"")
    (store.reports / ("sha256-" + "B" * 64 + ".xml")).write_bytes(b"")
    (store.reports / ".jux-x.tmp").write_bytes(b"")
    (store.reports / ("sha256-" + "c" * 64 + ".xml")).mkdir()
    (store.reports / ("sha256-" + "d" * 64 + ".xml")).symlink_to(tmp_path)
    assert [entry.canonical_hash for entry in store.list()] == ["sha256:" + "a" * 64]


def test_a_report_that_vanishes_while_listing_is_left_out(store, monkeypatch):
    fill(store, "a" * 64, "b" * 64)
    names = store._names

    def removing():
        for entry, digits in names():
            if digits == "a" * 64:
                Path(entry.path).unlink()
            yield entry, digits

    monkeypatch.setattr(store, "_names", removing)
    assert [entry.canonical_hash[7] for entry in store.list()] == ["b"]


def test_a_store_that_cannot_be_listed_says_why(store):
    store.root.mkdir()
    store.reports.write_text("a file")
    with pytest.raises(StorageError, match=r"cannot read .*reports: not a directory"):
        store.list()


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
    assert len(modes) == 5


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


def test_the_latest_signature_is_kept(store, real_report, signed_report, p384):
    identity = canonical_hash(real_report)
    other = sign_report(real_report, p384.key, p384.certificate)
    store.store(signed_report, identity)
    store.store(other, identity)
    assert store.read(identity) == other


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
    with pytest.raises(StorageError, match=r"\.json: no space left on device"):
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


def test_stray_temporaries_go_after_a_day_and_fresh_ones_stay(store, real_report):
    store.store(real_report, canonical_hash(real_report))
    day = 24 * 60 * 60
    ages = {".jux-old.tmp": day + 60, ".jux-fresh.tmp": day - 60, "notes.txt": 9 * day, ".jux-old.xml": 9 * day}
    for directory in (store.reports, store.metadata_directory):
        for name, age in ages.items():
            (directory / name).write_bytes(b"x")
            os.utime(directory / name, (time.time() - age,) * 2)
    store.store(real_report, canonical_hash(real_report))
    for directory in (store.reports, store.metadata_directory):
        assert {path.name for path in directory.iterdir()} & {*ages} == {*ages} - {".jux-old.tmp"}


def test_a_stray_temporary_that_cannot_be_removed_does_not_hinder_storing(store, real_report):
    store.reports.mkdir(parents=True)
    (store.reports / ".jux-directory.tmp").mkdir()
    os.utime(store.reports / ".jux-directory.tmp", (0, 0))
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
    assert sorted(path.suffix for path in store.root.rglob("*") if path.is_file()) == [".json", ".xml"]
