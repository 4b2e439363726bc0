"""What is published by hand: which files names stand for, which reports are fit to be sent, and with which metadata."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from crash.reports import identity, report
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from publishing.hostile import RecordingServer, answers, stores

from pytest_jux.api_client import JuxAPIClient
from pytest_jux.document import parse
from pytest_jux.errors import FileProblem, NotAReport, ReportUnsigned, SignatureBroken
from pytest_jux.metadata import EnvironmentMetadata, capture_metadata, from_properties
from pytest_jux.outcomes import Duplicate, Published, Rejected, Unauthorized, Unavailable
from pytest_jux.report import properties_of, read
from pytest_jux.signer import sign_report
from pytest_jux.storage import ReportStorage
from pytest_jux.submission import examine, examine_file, is_several, named_files, submit
from pytest_jux.verifier import SignatureState

pytestmark = pytest.mark.usefixtures("clean_environment")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Be in an empty directory, on a machine that knows no proxy."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    directory = tmp_path / "here"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


def fill(*paths):
    for path in paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text("<testsuite/>")


def names_of(*names):
    """Return the files that names stand for, where nothing is wrong with them."""
    found = named_files(names)
    assert found.problems == []
    return found.paths


def local(*names):
    """Return names as this system writes them."""
    return [name.replace("/", os.sep) for name in names]


# --- which files -----------------------------------------------------------------------------------------------------


def test_a_directory_stands_for_all_reports_below_it_in_order(here):
    fill("out/b.xml", "out/a.xml", "out/A.XML", "out/deep/er/c.xml", "out/notes.txt", "out/xml")
    assert names_of("out") == local("out/A.XML", "out/a.xml", "out/b.xml", "out/deep/er/c.xml")


def test_what_is_hidden_in_a_directory_is_left_out(here):
    fill("out/a.xml", "out/.b.xml", "out/.venv/c.xml", "out/deep/.d.xml")
    assert names_of("out") == local("out/a.xml")


def test_a_hidden_directory_that_is_named_is_meant(here):
    fill(".out/a.xml", ".out/.b.xml")
    assert names_of(".out") == local(".out/a.xml")


def test_the_current_directory_is_a_directory_and_an_empty_name_is_not(here):
    fill("a.xml")
    assert names_of(".") == ["a.xml"]
    assert names_of("") == [""]
    assert not is_several("")


def test_a_pattern_stands_for_what_matches_it_in_order(here):
    fill("b1.xml", "a1.xml", "a2.xml", "a1.txt")
    assert names_of("*1.xml") == ["a1.xml", "b1.xml"]
    assert names_of("a[12].xml") == ["a1.xml", "a2.xml"]
    assert names_of("?1.txt") == ["a1.txt"]


def test_two_asterisks_match_any_depth(here):
    fill("a.xml", "x/b.xml", "x/y/c.xml", "x/.hidden/d.xml")
    assert names_of("**/*.xml") == local("a.xml", "x/b.xml", "x/y/c.xml")


def test_a_directory_that_a_pattern_matches_stands_for_its_reports(here):
    fill("api/reports/a.xml", "web/reports/b.xml", "web/reports/b.txt")
    assert names_of("*/reports") == local("api/reports/a.xml", "web/reports/b.xml")


def test_an_absolute_pattern_works(here):
    fill("a.xml")
    assert names_of(str(here / "*.xml")) == [str(here / "a.xml")]


@pytest.mark.skipif(os.name != "posix", reason="names that Windows does not allow")
def test_a_file_whose_name_looks_like_a_pattern_is_that_file(here):
    fill("a[1].xml", "a1.xml", "what?.xml", "whats.xml")
    assert names_of("a[1].xml", "what?.xml") == ["a[1].xml", "what?.xml"]
    assert not is_several("a[1].xml")


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_a_file_that_is_named_in_several_ways_is_sent_once(here):
    fill("out/a.xml", "out/b.xml")
    Path("link.xml").symlink_to("out/b.xml")
    Path("other").symlink_to("out")
    found = names_of("out/a.xml", "out", "./out/a.xml", "link.xml", str(here / "out" / "b.xml"), "other", "*/*.xml")
    assert found == ["out/a.xml", "out/b.xml"]


def test_names_keep_their_order_and_standard_input_is_no_file(here):
    fill("b.xml", "a.xml", "-")
    assert names_of("b.xml", "-", "a.xml", "./-") == ["b.xml", "-", "a.xml", "./-"]


def test_what_is_not_there_is_left_to_whoever_reads_it(here):
    assert names_of("missing.xml") == ["missing.xml"]


@pytest.mark.parametrize(
    ("name", "reason"), [("empty", "there is no *.xml file in it"), ("none*.xml", "no file matches it")]
)
def test_names_that_stand_for_nothing_are_a_problem_and_do_not_stop_the_others(here, name, reason):
    fill("a.xml", "empty/notes.txt")
    found = named_files(["a.xml", name])
    assert found.paths == ["a.xml"]
    assert [str(problem) for problem in found.problems] == [f"cannot publish {name}: {reason}"]


def test_a_directory_that_cannot_be_read_is_not_taken_for_empty(here, without_root_rights):
    fill("out/a.xml", "out/locked/b.xml")
    Path("out/locked").chmod(0)
    code = (
        "from pytest_jux.submission import named_files; found = named_files(['out'])\n"
        "print(found.paths, [str(problem) for problem in found.problems])"
    )
    try:
        done = subprocess.run(
            [*without_root_rights, sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
    finally:
        Path("out/locked").chmod(0o700)
    assert done.stdout == "['out/a.xml'] ['cannot read out/locked: permission denied']\n"


# --- which reports ---------------------------------------------------------------------------------------------------


def test_what_is_signed_is_fit_though_nobody_vouches_for_the_signer(p256, real_report):
    data = sign_report(real_report, p256.key, p256.certificate)
    fit = examine(data)
    assert (fit.data, fit.state) == (data, SignatureState.INTACT)


def test_a_signature_that_only_the_server_can_check_is_fit(p256, real_report):
    assert examine(sign_report(real_report, p256.key)).state is SignatureState.UNCHECKED


def test_a_report_without_a_signature_is_fit_only_if_that_is_allowed(real_report):
    with pytest.raises(ReportUnsigned):
        examine(real_report)
    assert examine(real_report, allow_unsigned=True).state is SignatureState.UNSIGNED


@pytest.mark.parametrize("allow_unsigned", [True, False])
def test_a_report_that_was_changed_after_signing_is_never_fit(p256, real_report, allow_unsigned):
    data = sign_report(real_report, p256.key, p256.certificate).replace(b"test_fails", b"test_passed")
    with pytest.raises(SignatureBroken):
        examine(data, allow_unsigned=allow_unsigned)


def test_what_is_no_report_is_never_fit():
    with pytest.raises(NotAReport):
        examine(b"<html/>", allow_unsigned=True)


def test_a_file_that_the_system_does_not_let_be_read_is_a_problem_of_that_file():
    def read_badly(name):
        raise PermissionError(13, "Permission denied", name)

    with pytest.raises(FileProblem, match=r"^cannot read a\.xml: permission denied$"):
        examine_file("a.xml", read_badly)


# --- with which metadata ---------------------------------------------------------------------------------------------

# What XML can hold; a white space character other than a blank is written as a reference.
_text = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), min_size=1)
_texts = st.one_of(st.just(""), _text)
_open = st.dictionaries(_text, _text, max_size=4)


def _some_of(names):
    return st.fixed_dictionaries({}, optional=dict.fromkeys(names, _text))


_metadata = st.builds(
    EnvironmentMetadata,
    **dict.fromkeys(
        [
            *("hostname", "username", "platform", "python_version", "pytest_version", "pytest_jux_version"),
            *("timestamp", "pytest_exit_status", "project"),
        ],
        _texts,
    ),
    git=_some_of(["commit", "branch", "status", "remote"]),
    ci=_some_of(["provider", "build_id", "job", "attempt", "shard", "build_url"]),
    env=_open,
    extra=_open,
)


def with_properties(properties):
    root = etree.Element("testsuites")
    suite = etree.SubElement(root, "testsuite", name="s")
    holder = etree.SubElement(suite, "properties")
    for name, value in properties:
        etree.SubElement(holder, "property", name=name, value=value)
    return etree.tostring(root)


@given(_metadata)
def test_metadata_comes_out_of_a_report_as_it_went_in(metadata):
    root = parse(with_properties(metadata.to_properties()))
    assert from_properties(properties_of(root)) == metadata.to_dict()


@given(_metadata)
def test_what_others_write_into_a_report_is_no_metadata(metadata):
    others = [("ticket", "42"), ("jux:", "x"), ("jux:admin", "x"), ("git:", "x"), ("git:owner", "x"), ("ci:x", "x")]
    root = parse(with_properties([*others, *metadata.to_properties(), ("hostname", "x"), ("Project", "x")]))
    assert from_properties(properties_of(root)) == metadata.to_dict()


def test_everything_that_is_captured_comes_out_again(tmp_path):
    (tmp_path / "repository").mkdir()
    repository = tmp_path / "repository"
    for command in (
        ["init", "-q", "-b", "main"],
        ["remote", "add", "origin", "https://git.example/shop.git"],
        ["-c", "user.name=x", "-c", "user.email=x@example", "commit", "-q", "--allow-empty", "-m", "x"],
    ):
        subprocess.run(["git", *command], cwd=repository, check=True)
    environ = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_RUN_ID": "7",
        "GITHUB_RUN_ATTEMPT": "2",
        "GITHUB_JOB": "test",
        "GITHUB_SERVER_URL": "https://github.example",
        "GITHUB_REPOSITORY": "shop/shop",
        "DEPLOY_STAGE": "blue",
    }
    captured = capture_metadata(
        repository, environ=environ, env_patterns=["DEPLOY_*"], extra={"team": "payments"}, exit_status=1
    )
    found = from_properties(properties_of(parse(with_properties(captured.to_properties()))))
    assert found == captured.to_dict()
    assert {"project", "git", "ci", "env", "extra", "hostname", "pytest_exit_status"} <= set(found)


def test_the_properties_are_those_of_the_first_suite_that_has_any():
    text = (
        b'<testsuites><testsuite name="a"><testcase name="t"><properties><property name="project" value="case"/>'
        b'</properties></testcase></testsuite><testsuite name="b"><properties><property name="project" value="first"/>'
        b'</properties></testsuite><testsuite name="c"><properties><property name="project" value="second"/>'
        b'<property name="git:commit" value="f"/></properties></testsuite></testsuites>'
    )
    assert properties_of(parse(text)) == read(parse(text)).properties == {"project": "first"}
    assert examine(text, allow_unsigned=True).metadata == {"project": "first"}


def test_a_project_that_the_report_names_counts_and_only_without_one_the_given_one():
    named = with_properties([("project", "shop")])
    assert examine(named, allow_unsigned=True, project="other").metadata == {"project": "shop"}
    assert examine(report(1), allow_unsigned=True, project="other").metadata == {"project": "other"}
    assert examine(report(1), allow_unsigned=True).metadata == {}


# --- sending ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(here):
    with RecordingServer() as started:
        yield started


@pytest.fixture
def client(server):
    with JuxAPIClient(server.url, retries=0, connections=4) as started:
        yield started


def number_of(name):
    return report(int(name))


def submitted(client, names, **options):
    """Submit unsigned reports whose names are their numbers, and return what came of them."""
    return list(submit(names, number_of, client, allow_unsigned=True, **options))


def test_what_came_of_each_is_given_in_order_with_one_job(client, server):
    server.preload(identity(report(2)))
    first, second, third = submitted(client, ["1", "2", "3"])
    assert (first.name, first.canonical_hash) == ("1", identity(report(1)))
    assert isinstance(first.outcome, Published)
    assert isinstance(second.outcome, Duplicate)
    assert third.outcome.id == "report-3"
    assert [request.json["canonical_hash"] for request in server.requests] == [
        identity(report(number)) for number in (1, 2, 3)
    ]


def test_what_is_not_fit_is_not_sent_and_does_not_stop_the_others(client, server):
    def read_any(name):
        return b"<html/>" if name == "2" else report(int(name))

    found = list(submit(["1", "2", "3"], read_any, client, allow_unsigned=True))
    assert [type(one.outcome) for one in found] == [Published, type(None), Published]
    assert isinstance(found[1].error, NotAReport)
    assert len(server.requests) == 2


@pytest.mark.parametrize("jobs", [1, 4])
def test_no_more_reports_are_read_than_are_being_sent(client, jobs):
    taken = []

    def names():
        for number in range(60):
            taken.append(number)
            yield str(number)

    for done, one in enumerate(submit(names(), number_of, client, allow_unsigned=True, jobs=jobs), 1):
        assert isinstance(one.outcome, Published)
        assert len(taken) <= done + jobs + 1
    assert len(taken) == 60


@pytest.mark.parametrize(
    ("behaviour", "kind", "tried"),
    [
        (answers(401), Unauthorized, 1),
        (answers(404, b"<html>"), Unavailable, 1),
        (answers(503), Unavailable, 3),
        (answers(422, {"error": "no"}), Rejected, 6),
    ],
    ids=["key not accepted", "not the API", "three in a row fail", "about the report alone"],
)
def test_the_rest_is_not_tried_when_that_is_no_use(client, server, behaviour, kind, tried):
    server.behave(behaviour)
    found = submitted(client, [str(number) for number in range(6)])
    assert [type(one.outcome) for one in found] == [kind] * tried + [type(None)] * (6 - tried)
    assert [one.error for one in found] == [None] * 6
    assert len(server.requests) == tried


def test_one_that_succeeds_in_between_makes_it_worth_going_on(client, server):
    server.behave(*[answers(503), answers(503), stores] * 3, answers(503))
    found = submitted(client, [str(number) for number in range(9)])
    assert [type(one.outcome) for one in found] == [Unavailable, Unavailable, Published] * 3


# --- the store -------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path):
    return ReportStorage(tmp_path / "store")


def status_in(store, number=1):
    return store.find(identity(report(number))).status.value


def test_a_stored_report_is_published_afterwards(client, store):
    store.store(report(1), identity(report(1)))
    (one,) = submitted(client, ["1"], storage=store)
    assert (status_in(store), one.note) == ("published", "")
    assert store.answer(identity(report(1)))["answer"]["id"] == "report-1"


def test_a_stored_report_is_published_too_if_the_server_had_it(client, server, store):
    store.store(report(1), identity(report(1)))
    server.preload(identity(report(1)))
    submitted(client, ["1"], storage=store)
    assert status_in(store) == "published"


@pytest.mark.parametrize("waits_for", ["this server", ""])
def test_a_queued_report_waits_no_longer(client, store, waits_for):
    store.store(report(1), identity(report(1)))
    store.enqueue(report(1), identity(report(1)), api_url=client.url if waits_for else "")
    submitted(client, ["1"], storage=store)
    assert status_in(store) == "published"
    assert store.waiting() == []


def test_a_rejected_report_that_the_server_takes_now_is_published(client, server, store):
    store.store(report(1), identity(report(1)))
    store.enqueue(report(1), identity(report(1)))
    store.mark_rejected(identity(report(1)), {"error": "no"})
    submitted(client, ["1"], storage=store)
    assert status_in(store) == "published"


def test_a_report_that_waits_for_another_server_still_does(client, store):
    store.store(report(1), identity(report(1)))
    store.enqueue(report(1), identity(report(1)), api_url="https://other.example/api/v1/reports")
    (one,) = submitted(client, ["1"], storage=store)
    assert isinstance(one.outcome, Published)
    assert "still has it in the queue for another server" in one.note
    assert [entry.api_url for entry in store.waiting()] == ["https://other.example/api/v1/reports"]


def test_a_report_that_could_not_be_sent_stays_what_it_is(client, server, store):
    server.behave(answers(503))
    store.store(report(1), identity(report(1)))
    (one,) = submitted(client, ["1"], storage=store)
    assert (status_in(store), one.note) == ("local", "")


def test_a_report_that_the_store_does_not_have_leaves_it_alone(client, store):
    store.store(report(2), identity(report(2)))
    before = sorted(str(path) for path in store.root.rglob("*"))
    (one,) = submitted(client, ["1"], storage=store)
    assert (one.note, status_in(store, 2)) == ("", "local")
    assert sorted(str(path) for path in store.root.rglob("*")) == before


def test_a_store_that_fails_is_a_note_and_no_error(client, store):
    store.store(report(1), identity(report(1)))
    store.published.write_text("something that is no directory")
    (one,) = submitted(client, ["1"], storage=store)
    assert isinstance(one.outcome, Published)
    assert one.note.startswith("the server has it, but the report store does not know that: cannot ")
    assert str(store.published) in one.note
    assert status_in(store) == "local"


def test_links_in_a_circle_do_not_make_a_pattern_endless(here):
    fill("loop/a/x.xml")
    for name in ("one", "two"):
        Path("loop", name).symlink_to(".")
    found = named_files(["loop/**/*.xml"])
    assert found.paths == []
    assert "again and again" in str(found.problems[0])
    assert names_of("loop") == ["loop/a/x.xml"]
