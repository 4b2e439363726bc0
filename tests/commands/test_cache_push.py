"""jux-cache push: what it sends, what it leaves, what it says, and what the other commands show afterwards."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from crash.reports import identity, report
from publishing.hostile import RecordingServer, answers, is_silent, stores

from pytest_jux.commands import _cli
from pytest_jux.commands.cache import command
from pytest_jux.storage import ReportStorage

pytestmark = pytest.mark.usefixtures("clean_environment")
SCRIPT = Path(sys.executable).parent / "jux-cache"
GUARD = 60  # seconds; only so that a hang ends


@pytest.fixture
def store(tmp_path):
    return ReportStorage(tmp_path / "store")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Be in the directory of a project that is called `ours`, on a machine that knows no proxy and no key."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home" / ".jux").mkdir(parents=True)
    (tmp_path / "ours").mkdir()
    monkeypatch.chdir(tmp_path / "ours")
    return tmp_path / "ours"


@pytest.fixture
def cache(project, capfd, store):
    """Return a function that runs a subcommand on the store and gives its exit code, standard output and error."""

    def run(name, *arguments):
        given = [str(part) for part in (name, *arguments, "--storage-path", store.root)]
        code = _cli.run(command, given, "jux-cache")
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return run


@pytest.fixture
def server():
    with RecordingServer() as started:
        yield started


def put(store, *numbers, url="", project=""):
    """Store and queue reports; return their hashes."""
    for number in numbers:
        data = report(number)
        metadata = {"project": project} if project else {}
        store.store(data, identity(data), metadata)
        store.enqueue(data, identity(data), metadata, api_url=url)
    return [identity(report(number)) for number in numbers]


def queued_at(store, name, moment, **more):
    """Let an entry have been queued at another time."""
    path = store.queue / f"{name.replace(':', '-')}.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"queued_at": moment, **more}))


def order_of(server):
    return [request.json["canonical_hash"] for request in server.requests]


def statuses(store):
    return {entry.canonical_hash: entry.status.value for entry in store.list()}


def short(name):
    return f"{name[:19]}..."


# --- what it says ----------------------------------------------------------------------------------------------------


def test_an_empty_queue_needs_no_server_and_is_no_failure(cache):
    assert cache("push") == (0, "No reports are queued\n", "")


def test_an_empty_queue_as_json(cache):
    code, out, _ = cache("push", "--json")
    assert code == 0
    counts = {"published": 0, "failed": 0, "rejected": 0, "not_tried": 0, "busy": 0}
    assert json.loads(out) == counts | {"left": [], "reports": []}


def test_the_output_is_that_of_the_documentation_with_the_configured_server_and_key(cache, store, project, server):
    (name,) = put(store, 1)
    (project / ".jux.conf").write_text(f"[jux]\napi_url = {server.url}\n")
    own = project.parent / "home/.jux/config"
    own.write_text("[jux]\napi_key = secret-api-key-here\n")
    own.chmod(0o600)
    code, out, err = cache("push")
    assert (code, err) == (0, "")
    assert out == (
        f"Publishing queued reports...\n✓ {short(name)} published successfully\nPublished 1 report, 0 failed\n"
    )
    assert server.requests[0].header("x-api-key") == "secret-api-key-here"


def test_what_the_server_has_already_counts_as_published(cache, store, server):
    (name,) = put(store, 1)
    server.preload(name)
    code, out, _ = cache("push", "--api-url", server.url)
    assert code == 0
    assert f"✓ {short(name)} had been published before\nPublished 1 report, 0 failed\n" in out
    assert statuses(store) == {name: "published"}


def test_a_failure_is_a_sentence_on_standard_error_and_the_sum_counts_it(cache, store, server):
    first, second = put(store, 1, 2)
    queued_at(store, first, "2026-01-01T00:00:00+00:00")
    server.behave(answers(503), stores)
    code, out, err = cache("push", "--api-url", server.url, "--retries", 0)
    assert code == 1
    assert err == f"✗ {short(first)}: the server is overloaded or being serviced (HTTP 503 Service Unavailable)\n"
    assert out.endswith(f"✓ {short(second)} published successfully\nPublished 1 report, 1 failed\n")


def test_a_rejected_report_is_counted_apart_and_is_a_failure(cache, store, server):
    first, second = put(store, 1, 2)
    queued_at(store, first, "2026-01-01T00:00:00+00:00")
    server.behave(answers(422, {"status": "error", "error": "too \x1b[31m old"}), stores)
    code, out, err = cache("push", "--api-url", server.url)
    assert code == 1
    assert out.endswith("Published 1 report, 0 failed, 1 rejected\n")
    assert err == (
        f"✗ {short(first)}: the server refuses it: too \\x1b[31m old\n  To try it again: jux-cache push --rejected\n"
    )
    assert statuses(store) == {first: "rejected", second: "published"}


def test_json_says_all_of_every_report(cache, store, server):
    names = put(store, *range(6))
    for number, name in enumerate(names):
        queued_at(store, name, f"2026-01-0{number + 1}T00:00:00+00:00")
    server.preload(names[1])
    refusal = answers(400, {"status": "error", "error": "no", "details": {"line": 3}})
    server.behave(stores, stores, refusal, answers(401, {"error": "who"}))
    code, out, err = cache("push", "--api-url", server.url, "--json")
    found = json.loads(out)
    assert code == 1
    assert len(err.splitlines()) == 4
    assert {name: value for name, value in found.items() if name != "reports"} == {
        "published": 2,
        "failed": 1,
        "rejected": 1,
        "not_tried": 2,
        "busy": 0,
        "left": [],
    }
    assert [row["canonical_hash"] for row in found["reports"]] == names
    published, duplicate, rejected, failed, *rest = found["reports"]
    assert (published["status"], published["id"], published["duplicate"], published["attempts"]) == (
        *("published", "report-2", False, 1),
    )
    assert published["url"].startswith(server.origin)
    assert (duplicate["status"], duplicate["id"], duplicate["duplicate"]) == ("published", "report-1", True)
    assert (rejected["status"], rejected["reason"], rejected["details"]) == ("rejected", "no", {"line": 3})
    assert (failed["status"], failed["kind"], failed["http_status"]) == ("failed", "unauthorized", 401)
    assert [row["status"] for row in rest] == ["not_tried"] * 2


def test_hashes_are_as_long_as_it_takes_to_tell_them_apart(cache, store, server):
    data = report(1)
    twin = identity(data)[:25] + "0" * 46
    put(store, 1)
    (store.queue / f"{twin.replace(':', '-')}.xml").write_bytes(data)
    (store.queue / f"{twin.replace(':', '-')}.json").write_text(json.dumps({"canonical_hash": twin, "queued_at": "1"}))
    code, out, err = cache("push", "--api-url", server.url)
    assert code == 1
    assert f"✓ {identity(data)[:26]}... published successfully\n" in out
    assert re.match(f"✗ {twin[:26]}\\.\\.\\.: cannot send a report from \\S+: its content is not that of ", err)


def test_ascii_terminals_get_ascii(store, project, server):
    put(store, 1)
    done = run_script(store, "push", "--api-url", server.url, PYTHONIOENCODING="ascii")
    assert done.stdout.splitlines()[1] == f"+ {short(identity(report(1)))} published successfully"


def run_script(store, *arguments, **environ):
    given = [str(SCRIPT), *(str(one) for one in arguments), "--storage-path", str(store.root)]
    return subprocess.run(given, capture_output=True, text=True, check=False, env=os.environ | environ, timeout=GUARD)


# --- what it sends ---------------------------------------------------------------------------------------------------


def test_the_oldest_is_first_and_the_next_attempt_need_not_be_due(cache, store, server):
    names = put(store, *range(5))
    for name, day in zip(names, (3, 1, 5, 2, 4), strict=True):
        queued_at(
            store, name, f"2026-01-0{day}T00:00:00+00:00", attempts=2, next_attempt_at="2999-01-01T00:00:00+00:00"
        )
    assert cache("push", "--api-url", server.url)[0] == 0
    assert order_of(server) == [names[number] for number in (1, 3, 0, 4, 2)]


def test_reports_that_the_server_cannot_cope_with_do_not_hold_up_the_others_for_ever(cache, store, server):
    poison = put(store, 1, 2, 3)
    for name in poison:
        queued_at(store, name, "2026-01-01T00:00:00+00:00")
    fine = put(store, 4, 5)

    def chokes(line):
        request = line.read_request()
        line.answer(500) if request.json["canonical_hash"] in poison else line.answer(*line.server.keep(request))

    server.behave(chokes)
    codes = [cache("push", "--api-url", server.url, "--retries", 0)[0] for _ in range(4)]
    assert codes == [1] * 4
    assert statuses(store) == dict.fromkeys(fine, "published") | dict.fromkeys(poison, "queued")


def test_limit_sends_the_oldest_only(cache, store, server):
    names = put(store, *range(4))
    for number, name in enumerate(names):
        queued_at(store, name, f"2026-01-0{4 - number}T00:00:00+00:00")
    code, out, _ = cache("push", "--api-url", server.url, "--limit", 2)
    assert (code, out.splitlines()[-1]) == (0, "Published 2 reports, 0 failed")
    assert order_of(server) == [names[3], names[2]]


def test_several_jobs_use_several_connections_at_the_same_time(cache, store, server):
    def together(line):
        request = line.read_request()
        line.server.wait_for(lambda server: len(server.requests) >= 3)
        line.answer(*line.server.keep(request))

    names = put(store, *range(7))
    server.behave(*[together] * 3, stores)
    code, out, _ = cache("push", "--api-url", server.url, "--jobs", 3)
    assert (code, out.splitlines()[-1]) == (0, "Published 7 reports, 0 failed")
    assert len(server.connections) == 3
    assert sorted(order_of(server)) == sorted(names)


def test_what_was_rejected_is_left_alone_unless_asked_for(cache, store, server):
    (name,) = put(store, 1, url=server.url, project="ours")
    server.behave(answers(422, {"error": "no"}), stores)
    cache("push", "--api-url", server.url)
    assert cache("push", "--api-url", server.url) == (0, "No reports are queued\n", "")
    code, out, _ = cache("push", "--api-url", server.url, "--rejected")
    assert (code, out.splitlines()[-1]) == (0, "Published 1 report, 0 failed")
    assert statuses(store) == {name: "published"}
    assert list(store.rejected.iterdir()) == []
    assert server.requests[1].json == server.requests[0].json


def test_what_was_rejected_is_queued_again_only_when_it_is_tried(cache, store, server):
    names = put(store, 1, 2, 3)
    server.behave(answers(422, {"error": "no"}))
    cache("push", "--api-url", server.url)
    server.behave(answers(401))
    code, out, _ = cache("push", "--api-url", server.url, "--rejected")
    assert (code, out.splitlines()[-1]) == (1, "Published 0 reports, 1 failed, 2 not tried")
    assert sorted(statuses(store).values()) == ["queued", "rejected", "rejected"]
    assert set(statuses(store)) == set(names)


def test_a_report_that_somebody_else_is_sending_is_skipped_and_is_no_failure(cache, store, server):
    names = put(store, 1, 2)
    with ReportStorage(store.root).claim(names[0]) as is_ours:
        assert is_ours
        code, out, err = cache("push", "--api-url", server.url)
        row = json.loads(cache("push", "--api-url", server.url, "--json")[1])
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "Published 1 report, 0 failed, 1 busy"
    assert (row["busy"], row["reports"]) == (1, [{"canonical_hash": names[0], "status": "busy"}])
    assert order_of(server) == [names[1]]
    assert store.entry(names[0]).attempts == 0


def test_a_damaged_entry_is_not_sent_and_does_not_stop_the_others(cache, store, server):
    names = put(store, *range(6))
    for name in names[:4]:
        path = store.queue / f"{name.replace(':', '-')}.xml"
        path.unlink()
        path.write_bytes(b"<testsuites name='another'/>")
    code, out, err = cache("push", "--api-url", server.url)
    assert (code, out.splitlines()[-1]) == (1, "Published 2 reports, 4 failed")
    assert err.count("its content is not that of") == 4
    assert set(order_of(server)) == set(names[4:])


# --- one server per entry --------------------------------------------------------------------------------------------

ELSEWHERE = "https://somebody:hush@other.example:8443/api/v1/reports?token=hush"
SHOWN = "https://other.example:8443/api/v1/reports"


def test_what_another_project_queued_for_another_server_stays(cache, store, server):
    put(store, 1, 2, url=ELSEWHERE, project="theirs")
    (nobodys,) = put(store, 3, url=ELSEWHERE)
    (mine,) = put(store, 4, url=server.url, project="theirs, too")
    code, out, err = cache("push", "--api-url", server.url)
    assert code == 0
    assert out.splitlines()[-1] == "Published 1 report, 0 failed"
    assert order_of(server) == [mine]
    assert statuses(store)[nobodys] == "queued"
    assert err == (
        f"Left 3 reports of other projects, queued for {SHOWN}\n"
        f"  To send there: --api-url {SHOWN}; to send here what other projects left: --any-server\n"
    )


def test_where_all_is_for_others_nothing_is_sent_and_that_is_no_failure(cache, store, server):
    put(store, 1, url=ELSEWHERE, project="theirs")
    code, out, err = cache("push", "--api-url", server.url, "--json")
    assert code == 0
    assert json.loads(out)["left"] == [{"api_url": SHOWN, "reports": 1}]
    assert cache("push", "--api-url", server.url)[1] == ""
    assert "hush" not in out + err
    assert server.connections == []


def test_a_hostile_address_in_the_queue_cannot_speak_to_the_terminal(cache, store, server):
    put(store, 1, url="https://x/\x1b]0;title\x07';rm -rf ~;'", project="theirs")
    _, out, err = cache("push", "--api-url", server.url)
    assert "\x1b" not in out + err
    assert "\\x1b" in err


def test_the_project_of_this_directory_goes_to_its_new_server(cache, store, server):
    (name,) = put(store, 1, url=ELSEWHERE, project="ours")
    assert cache("push", "--api-url", server.url)[0] == 0
    assert order_of(server) == [name]


def test_the_configured_project_counts_more_than_the_directory(cache, store, server, monkeypatch):
    (named,) = put(store, 1, url=ELSEWHERE, project="named")
    put(store, 2, url=ELSEWHERE, project="ours")
    monkeypatch.setenv("JUX_PROJECT", "named")
    assert cache("push", "--api-url", server.url)[0] == 0
    assert order_of(server) == [named]


def test_the_remote_of_git_names_the_project(cache, store, server, project):
    for arguments in (["init", "-q"], ["remote", "add", "origin", "https://git.example/team/remote-name.git"]):
        subprocess.run(["git", *arguments], cwd=project, check=True, capture_output=True)
    (name,) = put(store, 1, url=ELSEWHERE, project="remote-name")
    put(store, 2, url=ELSEWHERE, project="ours")
    assert cache("push", "--api-url", server.url)[0] == 0
    assert order_of(server) == [name]


@pytest.mark.skipif(os.name != "posix", reason="a program that is a script")
def test_git_is_not_asked_where_the_server_is_the_right_one(cache, store, server, tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/git").write_text(f"#!/bin/sh\ntouch {tmp_path}/asked\nexit 1\n")
    (tmp_path / "bin/git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    put(store, 1, url=server.url, project="theirs")
    put(store, 2, project="theirs")
    put(store, 3, url=ELSEWHERE)
    cache("push", "--api-url", server.url)
    assert len(server.requests) == 2
    assert not (tmp_path / "asked").exists()
    put(store, 4, url=ELSEWHERE, project="theirs")
    cache("push", "--api-url", server.url)
    assert (tmp_path / "asked").exists()


def test_any_server_sends_what_others_queued_too(cache, store, server):
    names = put(store, 1, 2, url=ELSEWHERE, project="theirs")
    code, _, err = cache("push", "--api-url", server.url, "--any-server")
    assert (code, err) == (0, "")
    assert sorted(order_of(server)) == sorted(names)


def test_the_limit_does_not_count_what_is_left_for_others(cache, store, server):
    put(store, 1, url=ELSEWHERE, project="theirs")
    queued_at(store, identity(report(1)), "2026-01-01T00:00:00+00:00")
    (mine,) = put(store, 2)
    assert cache("push", "--api-url", server.url, "--limit", 1)[0] == 0
    assert order_of(server) == [mine]


def test_what_was_rejected_by_another_server_stays_there_too(cache, store, server):
    (name,) = put(store, 1, url=ELSEWHERE, project="theirs")
    with store.claim(name):
        store.mark_rejected(name, {"status": 422})
    code, _, err = cache("push", "--api-url", server.url, "--rejected")
    assert (code, server.connections, statuses(store)) == (0, [], {name: "rejected"})
    assert err.startswith("Left 1 report of other projects")


# --- dry run ---------------------------------------------------------------------------------------------------------


def snapshot(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_dry_run_shows_what_would_be_sent_and_where_and_changes_nothing(cache, store, server):
    first, second = put(store, 1, 2, project="theirs")
    queued_at(store, first, "2026-01-01T00:00:00+00:00", attempts=2)
    put(store, 3, url=ELSEWHERE, project="theirs")
    (moved,) = put(store, 4, url=ELSEWHERE, project="ours")
    queued_at(store, second, "2026-01-02T00:00:00+00:00")
    before = snapshot(store.root)
    code, out, err = cache("push", "--dry-run", "--api-url", server.url, "--api-key-env", "NOT_SET")
    assert code == 0
    assert out.splitlines()[:2] == [
        f"{short(first)} | queued 2026-01-01 00:00:00 UTC | theirs | 2 failed attempts",
        f"{short(second)} | queued 2026-01-02 00:00:00 UTC | theirs",
    ]
    assert re.fullmatch(
        rf"{re.escape(short(moved))} \| queued .* UTC \| ours \| queued for {SHOWN}", out.splitlines()[2]
    )
    assert out.splitlines()[3:] == [f"Would publish 3 reports to {server.url}"]
    assert err.startswith(f"Left 1 report of other projects, queued for {SHOWN}\n")
    assert snapshot(store.root) == before
    assert server.connections == []


def test_a_dry_run_as_json(cache, store, server):
    (name,) = put(store, 1, url=server.url, project="ours")
    with store.claim(name):
        store.mark_rejected(name)
    before = snapshot(store.root)
    found = json.loads(cache("push", "--dry-run", "--rejected", "--json", "--api-url", server.url)[1])
    assert (found["dry_run"], found["api_url"], found["left"]) == (True, server.url, [])
    (row,) = found["reports"]
    assert (row["canonical_hash"], row["project"], row["attempts"]) == (name, "ours", 0)
    assert snapshot(store.root) == before


# --- mistakes --------------------------------------------------------------------------------------------------------


def test_without_a_server_it_says_for_which_one_the_reports_were_queued(cache, store):
    put(store, 1, url=ELSEWHERE)
    code, out, err = cache("push")
    assert (code, out) == (64, "")
    assert f"no server given: use --api-url URL, or set jux_api_url (these reports were queued for {SHOWN})" in err


@pytest.mark.parametrize("url", ["nonsense", "ftp://host/x", "http://a b/", "https://"])
@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_an_address_that_is_none_is_a_usage_error(cache, store, url, more):
    put(store, 1)
    code, out, err = cache("push", "--api-url", url, *more)
    assert (code, out) == (64, "")
    assert re.match(r"jux-cache push: jux_api_url: \S", err)


def test_a_password_in_the_address_is_not_repeated(cache, store):
    put(store, 1)
    code, out, err = cache("push", "--api-url", "https://me:hush@host/api")
    assert code == 64
    assert "has a user or a password in it" in err
    assert "hush" not in out + err


@pytest.mark.parametrize(
    "arguments", [("--jobs", "0"), ("--jobs", "65"), ("--limit", "0"), ("--limit", "x"), ("extra",)]
)
def test_wrong_options_are_usage_errors(cache, arguments):
    assert cache("push", *arguments)[0] == 64


def test_a_key_that_cannot_be_found_stops_it_before_anything_is_sent(cache, store, server):
    put(store, 1)
    code, out, err = cache("push", "--api-url", server.url, "--api-key-env", "NOT_SET")
    assert (code, out) == (1, "")
    assert "the environment variable NOT_SET for the API key is empty or not set" in err
    assert server.connections == []


# --- a person in front of it -----------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("jobs", [1, 4])
def test_ctrl_c_ends_it_at_once_and_loses_nothing(store, project, server, jobs):
    names = put(store, *range(10))
    server.behave(stores, stores, is_silent)
    command_line = [SCRIPT, "push", "--storage-path", store.root, "--api-url", server.url, "--jobs", str(jobs)]
    process = subprocess.Popen(command_line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    server.wait_for(lambda server: len(server.reports) == 2 and server.received.count(b"POST ") > 2)
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=GUARD)
    assert (process.returncode, err.strip()) == (130, "interrupted")
    assert time.monotonic() - start < 10  # the deadline for one report is 120 s, that for an answer 30 s
    assert sorted(statuses(store)) == sorted(names)
    server.behave(stores)
    assert run_script(store, "push", "--api-url", server.url).returncode == 0
    assert statuses(store) == dict.fromkeys(names, "published")


@pytest.mark.skipif(os.name != "posix", reason="terminals of POSIX")
def test_many_reports_show_how_far_it_is_where_a_terminal_shows_nothing_else(store, project, server):
    put(store, *range(210))
    primary, secondary = pty.openpty()
    command_line = [SCRIPT, "push", "--json", "--storage-path", store.root, "--api-url", server.url]
    process = subprocess.Popen(command_line, stdout=subprocess.PIPE, stderr=secondary)
    os.close(secondary)
    shown, out = b"", b""
    while process.poll() is None or select.select([primary, process.stdout], [], [], 0)[0]:
        ready, _, _ = select.select([primary, process.stdout], [], [], 0.1)
        try:
            shown += os.read(primary, 4096) if primary in ready else b""
        except OSError:  # how Linux says that nobody has the other end any more
            break
        out += os.read(process.stdout.fileno(), 65536) if process.stdout in ready else b""
    out += process.communicate(timeout=GUARD)[0]
    os.close(primary)
    assert json.loads(out)["published"] == 210
    assert b"Publishing" in shown
    assert b"100%" in shown


# --- what the other commands show then -------------------------------------------------------------------------------


@pytest.fixture
def mixed(cache, store, server):
    """Return the hashes of four reports that are local, queued, published and rejected, after a push."""
    data = report(0)
    store.store(data, identity(data))
    published, rejected, queued = put(store, 1, 2, 3, url=server.url, project="ours")
    for number, name in enumerate((published, rejected, queued)):
        queued_at(store, name, f"2026-01-0{number + 1}T00:00:00+00:00")
    refusal = answers(422, {"status": "error", "error": "too old"})
    server.behave(stores, refusal, answers(503, b"", {"Retry-After": "3600"}))
    assert cache("push", "--api-url", server.url, "--retries", 0)[0] == 1
    return {"local": identity(data), "published": published, "rejected": rejected, "queued": queued}


def test_list_and_stats_name_every_status_rightly(cache, mixed):
    found = {row["canonical_hash"]: row["status"] for row in json.loads(cache("list", "--json")[1])}
    assert found == {name: status for status, name in mixed.items()}
    _, out, _ = cache("stats")
    assert "Queued (not published): 1\n" in out
    assert [f"{status}: 1 report," in out for status in ("Local", "Queued", "Published", "Rejected")] == [True] * 4


def test_show_says_for_what_a_report_waits_and_why(cache, mixed, server):
    _, out, _ = cache("show", mixed["queued"])
    assert "Status: queued\n" in out
    assert f"  Waits for: {server.url}\n  Queued: 2026-01-03 00:00:00 UTC\n" in out
    assert re.search(r"^  Failed attempts: 1, last \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$", out, re.MULTILINE)
    assert "  Last error: the server is overloaded or being serviced (HTTP 503 Service Unavailable)\n" in out
    assert re.search(r"^  Next attempt: after \d{4}.* UTC, or at once with jux-cache push$", out, re.MULTILINE)


def test_show_of_what_was_never_tried_is_short(cache, store):
    (name,) = put(store, 1)
    _, out, _ = cache("show", name)
    assert re.search(r"Status: queued\n  Waits for: any server\n  Queued: .* UTC\nStored: ", out)


def test_json_of_show_and_list_has_what_the_queue_knows(cache, mixed, server):
    answer = json.loads(cache("show", mixed["queued"], "--json")[1])["answer"]
    assert (answer["attempts"], answer["api_url"]) == (1, server.url)
    assert answer["last_error"].startswith("the server is overloaded")
    assert answer["next_attempt_at"] > answer["last_attempt_at"]
    rows = {row["canonical_hash"]: row.get("queue") for row in json.loads(cache("list", "--json")[1])}
    assert rows == dict.fromkeys(mixed.values()) | {mixed["queued"]: answer}


def test_no_secret_of_an_address_is_shown(cache, store):
    (name,) = put(store, 1, url=ELSEWHERE)
    shown = [cache("show", name), cache("show", name, "--json"), cache("list", "--json")]
    assert [out for _, out, _ in shown if "hush" in out] == []
    assert [out for _, out, _ in shown if SHOWN not in out] == []


def test_a_record_full_of_nonsense_is_shown_all_the_same(cache, store):
    (name,) = put(store, 1)
    queued_at(store, name, 7, attempts="\x1b[31m", api_url=["x"], last_error={"a": "\x07"}, next_attempt_at="soon")
    code, out, err = cache("show", name)
    assert (code, err) == (0, "")
    assert "\x1b" not in out
    assert "\x07" not in out


def test_clean_removes_what_was_published_and_keeps_what_waits(cache, store, mixed):
    assert cache("clean", "--keep", 0, "--status", "published", "--yes")[0] == 0
    assert cache("clean", "--keep", 0, "--yes")[0] == 0
    assert statuses(store) == {mixed["queued"]: "queued"}
