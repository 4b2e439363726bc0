"""What becomes of one report: each step alone, and what a failing step leaves to the others."""

from __future__ import annotations

import datetime as dt
import os

import pytest
from publishing.hostile import RecordingServer, answers, stores

from pytest_jux import pipeline
from pytest_jux.api_client import JuxAPIClient
from pytest_jux.canonicalizer import canonical_hash
from pytest_jux.credentials import read_passphrase
from pytest_jux.document import Limits
from pytest_jux.errors import (
    AlreadySigned,
    FileProblem,
    KeyMismatch,
    NotAReport,
    PassphraseMissing,
    ReportTooLarge,
    SignerUntrusted,
    StorageError,
)
from pytest_jux.inventory import Status
from pytest_jux.outcomes import Published, Rejected, Unavailable
from pytest_jux.pipeline import Credentials, deliver, load_report, process_report, sign_and_check
from pytest_jux.signer import remove_signatures
from pytest_jux.storage import ReportStorage
from pytest_jux.verifier import Trust, verify_report


@pytest.fixture
def report(tmp_path, real_report):
    path = tmp_path / "report.xml"
    path.write_bytes(real_report)
    return path


@pytest.fixture
def store(tmp_path):
    return ReportStorage(tmp_path / "store")


@pytest.fixture(params=["rsa", "p256", "p384", "ed25519"])
def signer(request):
    return request.getfixturevalue(request.param)


def steps(outcome):
    return [failure.step for failure in outcome.failures]


def test_one_byte_string_is_in_the_file_in_the_store_and_in_the_outcome(report, store, signer, real_report):
    credentials = Credentials(signer.key, signer.certificate)
    outcome = process_report(report, credentials=credentials, storage=store, metadata={"hostname": "h"})
    assert outcome.failures == ()
    assert report.read_bytes() == outcome.stored.path.read_bytes() == outcome.signed.data
    assert outcome.canonical_hash == outcome.signed.evidence.canonical_hash == canonical_hash(real_report)
    assert verify_report(report.read_bytes(), Trust([signer.certificate]))
    assert store.metadata(outcome.canonical_hash)["hostname"] == "h"


def test_a_bare_key_is_checked_too(report, signer):
    outcome = process_report(report, credentials=Credentials(signer.key))
    assert outcome.failures == ()
    assert verify_report(report.read_bytes(), Trust([signer.certificate]))


def test_without_credentials_the_report_is_stored_as_it_is(report, store, real_report):
    outcome = process_report(report, storage=store)
    assert (outcome.signed, report.read_bytes()) == (None, real_report)
    assert outcome.stored.path.read_bytes() == real_report


def test_without_a_store_the_report_is_only_signed(report, p256, real_report):
    outcome = process_report(report, credentials=Credentials(p256.key))
    assert outcome.stored is None
    assert remove_signatures(report.read_bytes()) == real_report


def test_a_report_that_is_not_there_is_neither_signed_nor_stored(tmp_path, store, p256):
    outcome = process_report(tmp_path / "none.xml", credentials=Credentials(p256.key), storage=store)
    assert steps(outcome) == ["read"]
    assert isinstance(outcome.failures[0].error, FileProblem)
    assert (outcome.canonical_hash, outcome.signed, outcome.stored) == (None, None, None)
    assert not store.root.exists()


def test_a_report_that_is_too_large_is_not_touched(report, store, real_report, monkeypatch):
    monkeypatch.setattr(pipeline, "DEFAULT_LIMITS", Limits(bytes=len(real_report) - 1))
    outcome = process_report(report, storage=store)
    assert isinstance(outcome.failures[0].error, ReportTooLarge)
    monkeypatch.setattr(pipeline, "DEFAULT_LIMITS", Limits(bytes=len(real_report)))
    assert load_report(report) == real_report


def test_what_is_no_report_is_neither_signed_nor_stored_and_stays(report, store, p256):
    report.write_text("{}")
    outcome = process_report(report, credentials=Credentials(p256.key), storage=store)
    assert steps(outcome) == ["sign", "store"]
    assert all(isinstance(failure.error, NotAReport) for failure in outcome.failures)
    assert report.read_text() == "{}"
    assert store.list() == []


def test_a_failing_signature_leaves_the_file_and_stores_it_unsigned(report, store, p256, rsa, real_report):
    outcome = process_report(report, credentials=Credentials(p256.key, rsa.certificate), storage=store)
    assert steps(outcome) == ["sign"]
    assert isinstance(outcome.failures[0].error, KeyMismatch)
    assert report.read_bytes() == outcome.stored.path.read_bytes() == real_report


def test_an_expired_certificate_does_not_sign(report, make_signer, real_report):
    old = make_signer("old", days=1, now=dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
    outcome = process_report(report, credentials=Credentials(old.key, old.certificate))
    assert isinstance(outcome.failures[0].error, SignerUntrusted)
    assert (outcome.signed, report.read_bytes()) == (None, real_report)


def test_a_file_that_cannot_be_replaced_is_not_called_signed(report, store, p256, real_report, monkeypatch):
    replace = os.replace

    def not_the_report(source, target):
        if str(target) == str(report):
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", not_the_report)
    outcome = process_report(report, credentials=Credentials(p256.key), storage=store)
    assert steps(outcome) == ["sign"]
    assert outcome.signed is None
    assert report.read_bytes() == outcome.stored.path.read_bytes() == real_report


def test_a_failing_store_leaves_the_signed_file(report, tmp_path, p256):
    (tmp_path / "store").write_text("in the way")
    outcome = process_report(report, credentials=Credentials(p256.key), storage=ReportStorage(tmp_path / "store"))
    assert steps(outcome) == ["store"]
    assert isinstance(outcome.failures[0].error, StorageError)
    assert report.read_bytes() == outcome.signed.data


def test_a_signed_report_is_stored_as_signed_by_whoever_it_was(report, store, p256, rsa):
    first = sign_and_check(report.read_bytes(), Credentials(rsa.key, rsa.certificate))
    report.write_bytes(first.data)
    outcome = process_report(report, credentials=Credentials(p256.key), storage=store)
    assert isinstance(outcome.failures[0].error, AlreadySigned)
    assert report.read_bytes() == outcome.stored.path.read_bytes() == first.data


def test_replacing_a_signature_keeps_the_identity(real_report, p256, rsa):
    first = sign_and_check(real_report, Credentials(rsa.key))
    second = sign_and_check(first.data, Credentials(p256.key), replace=True)
    assert second.evidence.canonical_hash == first.evidence.canonical_hash
    with pytest.raises(AlreadySigned):
        sign_and_check(first.data, Credentials(p256.key))


def test_nothing_secret_is_in_the_text_of_credentials_and_results(real_report, p256):
    credentials = Credentials(p256.key, p256.certificate)
    assert "Private" not in repr(credentials)
    assert real_report.decode()[:40] not in repr(sign_and_check(real_report, credentials))


def test_nobody_named_a_passphrase():
    assert read_passphrase(None, None) is None


def test_the_passphrase_file_comes_before_the_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("PHRASE", "from the environment")
    (tmp_path / "phrase").write_bytes(b"from the file \r\nsecond line\n")
    assert read_passphrase("PHRASE", tmp_path / "phrase") == b"from the file "
    assert read_passphrase("PHRASE", None) == b"from the environment"


@pytest.mark.parametrize("value", [None, ""])
def test_a_variable_that_is_not_set_is_not_an_empty_passphrase(monkeypatch, value):
    monkeypatch.delenv("PHRASE", raising=False)
    if value is not None:
        monkeypatch.setenv("PHRASE", value)
    with pytest.raises(PassphraseMissing, match="PHRASE"):
        read_passphrase("PHRASE", None)


# --- queue and delivery ----------------------------------------------------------------------------------------------


@pytest.fixture
def server():
    with RecordingServer() as running:
        yield running


@pytest.fixture
def client(server):
    with JuxAPIClient(server.url, retries=0) as made:
        yield made


@pytest.fixture
def queue(report, store, p256, server):
    """Return a function that signs and queues the report."""

    def process(**arguments):
        options = {"credentials": Credentials(p256.key), "storage": store, "metadata": {"hostname": "h"}}
        return process_report(report, **options | {"queue_for": server.url} | arguments)

    return process


def test_a_signed_report_waits_for_its_server(queue, store, server):
    outcome = queue()
    assert (outcome.failures, outcome.is_queued) == ((), True)
    entry = store.entry(outcome.canonical_hash)
    assert (entry.api_url, entry.attempts) == (server.url, 0)
    assert store.waiting_metadata(outcome.canonical_hash)["hostname"] == "h"
    assert store.read(outcome.canonical_hash, waiting=True) == outcome.signed.data
    assert not server.connections


def test_a_report_that_is_not_signed_does_not_wait(queue, store):
    outcome = queue(credentials=None)
    assert not outcome.is_queued
    assert store.waiting() == []


def test_a_report_can_wait_without_being_kept(queue, store):
    outcome = queue(keep=False)
    assert (outcome.stored, outcome.is_queued) == (None, True)
    assert not (store.root / "reports").exists()


def test_what_is_delivered_waits_no_longer(queue, store, server, client):
    outcome = deliver(queue(), client, store)
    assert isinstance(outcome.delivery, Published)
    assert (outcome.is_queued, outcome.failures) == (False, ())
    (sent,) = server.reports.values()
    assert (sent.data, sent.canonical_hash) == (outcome.signed.data, outcome.canonical_hash)
    assert sent.metadata == {"hostname": "h"}
    assert store.find(outcome.canonical_hash).status is Status.PUBLISHED


@pytest.mark.parametrize(
    ("status", "kind", "is_queued"), [(503, Unavailable, True), (404, Unavailable, True), (422, Rejected, False)]
)
def test_what_is_not_delivered_waits_unless_it_was_refused(queue, store, server, client, status, kind, is_queued):
    server.behave(answers(status, {"error": "no"}))
    outcome = deliver(queue(), client, store)
    assert isinstance(outcome.delivery, kind)
    assert outcome.is_queued is is_queued
    assert len(store.waiting()) == is_queued


def test_a_report_that_cannot_wait_is_sent_all_the_same(queue, server, client, tmp_path):
    (tmp_path / "store").write_text("in the way")
    processed = queue()
    assert steps(processed) == ["store", "queue"]
    outcome = deliver(processed, client, ReportStorage(tmp_path / "store"), {"hostname": "h"})
    assert isinstance(outcome.delivery, Published)
    (sent,) = server.reports.values()
    assert (sent.data, sent.metadata) == (outcome.signed.data, {"hostname": "h"})


def test_what_is_not_signed_is_not_sent(queue, store, server, client):
    processed = queue(credentials=None)
    assert deliver(processed, client, store) == processed
    assert not server.connections


def test_a_report_that_somebody_else_is_sending_is_not_sent_twice(queue, store, server, client):
    processed = queue()
    with ReportStorage(store.root).claim(processed.canonical_hash) as is_held:
        assert is_held
        outcome = deliver(processed, client, store)
    assert (outcome.delivery, outcome.is_queued, outcome.failures) == (None, True, ())
    assert not server.connections


def test_what_the_server_said_is_known_even_if_it_cannot_be_recorded(queue, store, server, client):
    def in_the_way(line):
        (store.root / "published").write_text("in the way")
        stores(line)

    server.behave(in_the_way)
    outcome = deliver(queue(), client, store)
    assert isinstance(outcome.delivery, Published)
    assert (outcome.is_queued, steps(outcome)) == (True, ["record"])
    assert str(outcome.failures[0].error).startswith("the server has the report, but that cannot be recorded: ")
    assert len([*store.queue.glob("*.json")]) == 1


def test_an_entry_that_is_damaged_is_not_sent(queue, store, server, client):
    processed = queue()
    (entry,) = store.queue.glob("*.xml")
    entry.unlink()
    entry.write_bytes(b"<testsuite/>")
    outcome = deliver(processed, client, store)
    assert (steps(outcome), outcome.is_queued) == (["publish"], True)
    assert not server.connections


def test_a_delivery_ends_at_its_deadline(queue, store, server, client):
    server.behave(lambda line: line.listen())
    outcome = deliver(queue(), client, store, deadline=0.3)
    assert isinstance(outcome.delivery, Unavailable)
    assert "within 0.3 s" in outcome.delivery.reason
    assert outcome.is_queued
