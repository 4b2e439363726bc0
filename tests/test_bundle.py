"""Reports that come from elsewhere: on their own or bundled, believed as little as possible."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zipfile

import pytest

from pytest_jux.bundle import (
    LARGEST_METADATA,
    Arrival,
    BundleRefused,
    ReportDamaged,
    export,
    pack,
    receive,
    unpack,
)
from pytest_jux.canonicalizer import canonical_hash
from pytest_jux.document import DEFAULT_LIMITS
from pytest_jux.errors import NotAReport, ReportMalformed, ReportNotStored, ReportRefused, ReportTooLarge
from pytest_jux.inventory import Status
from pytest_jux.signer import sign_report
from pytest_jux.storage import ReportStorage

REPORT = b'<testsuite name="s"><testcase name="a"/><testcase name="b"><failure/></testcase></testsuite>'
IDENTITY = canonical_hash(REPORT)


@pytest.fixture
def store(tmp_path):
    return ReportStorage(tmp_path / "store")


@pytest.fixture(scope="session")
def signed_report(p256):
    return sign_report(REPORT, p256.key, p256.certificate)


# --- receiving -------------------------------------------------------------------------------------------------------


def test_a_report_is_stored_byte_for_byte_with_its_counts_and_metadata(store):
    received = receive(store, REPORT, {"project": "tool"})
    assert (received.arrival, received.stored.canonical_hash) == (Arrival.STORED, IDENTITY)
    assert store.read(IDENTITY) == REPORT
    known = store.metadata(IDENTITY)
    assert (known["project"], known["signed"], known["summary"]["tests"]) == ("tool", False, 2)


def test_a_signed_report_is_known_as_signed(store, signed_report):
    receive(store, signed_report)
    assert store.metadata(IDENTITY)["signed"] is True


def test_the_same_report_again_changes_nothing(store):
    receive(store, REPORT)
    assert receive(store, REPORT).arrival is Arrival.UNCHANGED


def test_a_signed_copy_replaces_an_unsigned_one_and_stays(store, signed_report):
    receive(store, REPORT)
    assert receive(store, signed_report).arrival is Arrival.REPLACED
    assert receive(store, REPORT).arrival is Arrival.KEPT
    assert store.read(IDENTITY) == signed_report


def test_a_report_whose_signature_is_broken_is_refused(store, signed_report):
    with pytest.raises(ReportRefused, match="its signature is broken: the report was changed after signing"):
        receive(store, signed_report.replace(b'name="a"', b'name="z"'))
    assert not store.root.exists()


def test_what_is_no_report_is_refused(store):
    with pytest.raises(NotAReport):
        receive(store, b"{}")
    assert not store.root.exists()


def test_a_queued_report_waits_with_its_metadata(store):
    received = receive(store, REPORT, {"project": "tool"}, queue=True)
    assert received.stored.status is Status.QUEUED
    store.path_of(IDENTITY).unlink()
    (store.metadata_directory / f"{store.path_of(IDENTITY).stem}.json").unlink()
    assert (store.read(IDENTITY), store.metadata(IDENTITY)["project"]) == (REPORT, "tool")
    assert store.summary(IDENTITY)["failures"] == 1


def test_of_two_copies_the_signed_one_is_queued(store, signed_report):
    receive(store, signed_report)
    assert receive(store, REPORT, queue=True).arrival is Arrival.KEPT
    assert store.read(IDENTITY, waiting=True) == signed_report


def test_what_only_waited_before_is_stored(store):
    store.enqueue(REPORT, IDENTITY)
    assert receive(store, REPORT).arrival is Arrival.STORED
    assert store.path_of(IDENTITY).read_bytes() == REPORT


# --- there and back --------------------------------------------------------------------------------------------------


def test_a_bundle_brings_the_exact_bytes_and_the_metadata(store, tmp_path, signed_report):
    receive(store, signed_report, {"project": "tool", "git": {"branch": "mäin"}})
    bundle = unpack(export(store, IDENTITY))
    assert (bundle.report, bundle.canonical_hash) == (signed_report, IDENTITY)
    assert bundle.metadata == {"project": "tool", "git": {"branch": "mäin"}}


def test_what_became_of_a_report_stays_where_it_became_so(store, tmp_path):
    receive(store, REPORT, queue=True)
    store.mark_published(IDENTITY, {"id": "7"})
    other = ReportStorage(tmp_path / "other")
    bundle = unpack(export(store, IDENTITY))
    assert receive(other, bundle.report, bundle.metadata).stored.status is Status.LOCAL
    assert other.answer(IDENTITY) == {}


def test_the_same_report_always_gives_the_same_bundle(store, monkeypatch):
    receive(store, REPORT, {"b": "2", "a": "1"})
    first = export(store, IDENTITY)
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    assert export(store, IDENTITY) == first
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        assert [entry.filename for entry in archive.infolist()] == ["metadata.json", "report.xml"]
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert archive.testzip() is None


def test_other_programs_can_read_and_make_bundles(tmp_path):
    (tmp_path / "bundle.zip").write_bytes(pack(REPORT, {"canonical_hash": IDENTITY, "project": "tool"}))
    subprocess.run([sys.executable, "-m", "zipfile", "-e", "bundle.zip", "."], cwd=tmp_path, check=True)
    assert (tmp_path / "report.xml").read_bytes() == REPORT
    command = [sys.executable, "-m", "zipfile", "-c", "again.zip", "report.xml", "metadata.json"]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert unpack((tmp_path / "again.zip").read_bytes()) == (REPORT, IDENTITY, {"project": "tool"})


def test_a_report_without_metadata_can_be_exported(store):
    receive(store, REPORT)
    (store.metadata_directory / f"{store.path_of(IDENTITY).stem}.json").unlink()
    assert unpack(export(store, IDENTITY)).metadata == {}


@pytest.mark.parametrize("damage", [REPORT.replace(b"failure", b"skipped"), b"", b"<testsuites>"])
def test_a_damaged_report_is_not_exported(store, damage):
    receive(store, REPORT)
    store.path_of(IDENTITY).write_bytes(damage)
    with pytest.raises(ReportDamaged, match=IDENTITY):
        export(store, IDENTITY)


def test_a_report_that_is_not_there_is_not_exported(store):
    with pytest.raises(ReportNotStored):
        export(store, IDENTITY)


def test_metadata_that_no_store_would_read_back_is_not_exported(store):
    with pytest.raises(BundleRefused, match="the metadata has more than 1,000,000 bytes"):
        pack(REPORT, {"note": "x" * (LARGEST_METADATA + 20_000)})


@pytest.mark.parametrize("value", ["1e999", "-1e999", "NaN"])
def test_metadata_with_a_number_that_json_has_not_is_refused(store, value):
    content = RECORD[:-1] + b', "odd": %s}' % value.encode()
    with pytest.raises(BundleRefused, match="not JSON"):
        unpack(archive_of(("metadata.json", content), ("report.xml", REPORT)))


def test_what_was_imported_can_be_exported_however_large_its_metadata_is(store):
    record = json.dumps({"canonical_hash": IDENTITY, "many": [1] * 480_000}, separators=(",", ":")).encode()
    bundle = unpack(archive_of(("metadata.json", record), ("report.xml", REPORT)))
    receive(store, bundle.report, bundle.metadata)
    assert unpack(export(store, IDENTITY)).metadata["many"] == [1] * 480_000


# --- hostile bundles -------------------------------------------------------------------------------------------------

RECORD = json.dumps({"canonical_hash": IDENTITY}).encode()


def archive_of(*entries, compression=zipfile.ZIP_DEFLATED, comment=b""):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name, content in entries:
            archive.writestr(name, content)
        archive.comment = comment
    return target.getvalue()


def good():
    return archive_of(("metadata.json", RECORD), ("report.xml", REPORT))


def test_the_archives_of_these_tests_are_good_but_for_what_is_wrong_with_them():
    assert unpack(good()).report == REPORT


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it is not a ZIP archive"),
        (REPORT, "it is not a ZIP archive"),
        (b"PK\x03\x04", "it has no proper end"),
        (good()[:-1], "it has no proper end"),
        (good() + b"tail", "it has no proper end"),
        (archive_of(("metadata.json", RECORD), ("report.xml", REPORT), comment=b"hello"), "it has no proper end"),
        (archive_of(), "it must have metadata.json and report.xml"),
        (archive_of(("report.xml", REPORT)), "it must have metadata.json and report.xml"),
        (archive_of(("metadata.json", RECORD), ("../report.xml", REPORT)), "it must have"),
        (archive_of(("metadata.json", RECORD), ("/report.xml", REPORT)), "it must have"),
        (archive_of(("metadata.json", RECORD), ("report.xml", REPORT), ("more", b"")), "it must have"),
        (archive_of(*((str(number), b"") for number in range(1000))), "it has more entries"),
        (archive_of(("metadata.json", b"{"), ("report.xml", REPORT)), "metadata.json is not JSON"),
        (archive_of(("metadata.json", b"\xff\xfe"), ("report.xml", REPORT)), "metadata.json is not JSON"),
        (archive_of(("metadata.json", b'{"a": NaN}'), ("report.xml", REPORT)), "metadata.json is not JSON"),
        (archive_of(("metadata.json", b"[" * 100_000), ("report.xml", REPORT)), "metadata.json is not JSON"),
        (archive_of(("metadata.json", b"[]"), ("report.xml", REPORT)), "metadata.json is not a JSON object"),
        (
            archive_of(("metadata.json", b'{"a": ' + b"[" * 300 + b"]" * 300 + b"}"), ("report.xml", REPORT)),
            "nested more than 8 levels",
        ),
        (archive_of(("metadata.json", b"{}"), ("report.xml", REPORT)), "not the one that its metadata names"),
        (
            archive_of(("metadata.json", RECORD), ("report.xml", REPORT.replace(b"failure", b"skipped"))),
            "not the one that its metadata names",
        ),
        (
            archive_of(("metadata.json", RECORD), ("report.xml", REPORT), compression=zipfile.ZIP_BZIP2),
            "compressed in a way that bundles are not",
        ),
    ],
)
def test_what_is_no_bundle_is_refused_with_the_reason(data, reason):
    with pytest.raises(BundleRefused, match=reason):
        unpack(data)


def test_an_entry_that_is_there_twice_is_refused():
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = archive_of(("report.xml", REPORT), ("report.xml", REPORT))
    with pytest.raises(BundleRefused, match="each once"):
        unpack(data)


@pytest.mark.parametrize("position", [0, 30, 60, 100, -60, -30])
def test_a_bundle_that_was_damaged_on_its_way_is_refused(position):
    data = bytearray(good())
    data[position] ^= 0xFF
    with pytest.raises(BundleRefused):
        unpack(bytes(data))


def test_no_single_wrong_byte_makes_another_report_of_a_bundle():
    data = good()
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 0x41
        try:
            bundle = unpack(bytes(changed))
        except BundleRefused:
            continue
        assert (bundle.report, bundle.canonical_hash) == (REPORT, IDENTITY)


def test_an_encrypted_entry_is_refused():
    data = bytearray(good())
    for start, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        data[data.index(start) + offset] |= 1
    with pytest.raises(BundleRefused, match=r"metadata\.json is encrypted"):
        unpack(bytes(data))


def test_a_zip64_archive_is_refused():
    data = good()
    locator = b"PK\x06\x07" + struct.pack("<LQL", 0, 0, 1)
    with pytest.raises(BundleRefused, match="ZIP64"):
        unpack(data[:-22] + locator + data[-22:])


def test_a_report_that_is_none_is_refused():
    for content, error in ((b"{}", NotAReport), (b"<testsuites>", ReportMalformed)):
        with pytest.raises(error):
            unpack(archive_of(("metadata.json", RECORD), ("report.xml", content)))


def test_a_bundle_says_nothing_about_what_a_store_knows_better(store):
    record = {"canonical_hash": IDENTITY, "signed": True, "stored_at": "1999", "summary": {"tests": 0}, "project": "p"}
    bundle = unpack(archive_of(("metadata.json", json.dumps(record)), ("report.xml", REPORT)))
    assert bundle.metadata == {"project": "p"}
    receive(store, bundle.report, bundle.metadata)
    known = store.metadata(IDENTITY)
    assert (known["signed"], known["summary"]["tests"]) == (False, 2)
    assert known["stored_at"] > "2026"


BOMBS = {
    "a report of a gigabyte": lambda: bomb("report.xml", 1 << 30),
    "metadata of a gigabyte": lambda: bomb("metadata.json", 1 << 30),
    "a million entries": lambda: many_entries(1_000_000),
}


def bomb(name, size):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for other, content in (("metadata.json", RECORD), ("report.xml", REPORT)):
            if other != name:
                archive.writestr(other, content)
                continue
            with archive.open(name, "w") as file:
                for _ in range(size >> 20):
                    file.write(b" " * (1 << 20))
    return target.getvalue()


def many_entries(number):
    entry = b"PK\x01\x02" + bytes(24) + struct.pack("<HHH", 1, 0, 0) + bytes(12) + b"a"
    directory = entry * number
    return directory + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(directory), 0, 0)


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.skipif(sys.platform != "linux", reason="the bound on memory is Linux's")
def test_a_bomb_costs_little_memory(tmp_path, name):
    (tmp_path / "bomb.zip").write_bytes(BOMBS[name]())
    program = (
        "import resource, sys; from pathlib import Path\n"
        "from pytest_jux import bundle; from pytest_jux.errors import JuxError\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "data = Path(sys.argv[1]).read_bytes(); before = peak()\n"
        "try: bundle.unpack(data)\n"
        "except JuxError as error: print(peak() - before, error)\n"
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    command = [sys.executable, "-c", program, tmp_path / "bomb.zip"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
    megabytes, _, sentence = done.stdout.partition(" ")
    assert int(megabytes) < 256
    assert "refused" in sentence


def test_a_report_that_claims_to_be_small_is_read_no_further():
    data = bytearray(bomb("report.xml", 1 << 24))
    for start, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        position = data.rindex(start) + offset
        data[position : position + 4] = struct.pack("<L", len(REPORT))
    with pytest.raises(BundleRefused, match="damaged ZIP archive"):
        unpack(bytes(data))


def test_a_report_of_more_than_the_limit_is_refused():
    with pytest.raises(ReportTooLarge):
        unpack(bomb("report.xml", DEFAULT_LIMITS.bytes + (2 << 20)))
