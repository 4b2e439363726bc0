"""jux-publish: what it sends and refuses, what it says, and how it ends."""

from __future__ import annotations

import base64
import io
import json
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from crash.reports import identity, report
from publishing import measured
from publishing.hostile import RecordingServer, answers, is_silent, stores

from pytest_jux import __version__
from pytest_jux.commands import _cli
from pytest_jux.commands.publish import command
from pytest_jux.publishing import sent_metadata
from pytest_jux.signer import sign_report
from pytest_jux.storage import ReportStorage

pytestmark = pytest.mark.usefixtures("clean_environment")
BIN = Path(sys.executable).parent
GUARD = 60  # seconds; only so that a hang ends
MEMORY = 250_000_000  # bytes
KEY = "secret-api-key"
MASKED = "***********"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Be in the directory of a project, on a machine that knows no proxy, no key and no report store."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("JUX_STORAGE_PATH", str(tmp_path / "store"))
    monkeypatch.setenv("PATH", f"{BIN}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "home").mkdir()
    (tmp_path / "ours").mkdir()
    monkeypatch.chdir(tmp_path / "ours")
    return tmp_path / "ours"


@pytest.fixture
def publish(project, capfd, monkeypatch):
    """Return a function that runs the command and gives its exit code, standard output and error."""

    def run(*arguments, stdin=None):
        piped = SimpleNamespace(buffer=io.BytesIO(stdin or b""), isatty=lambda: stdin is None)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", piped)
            code = _cli.run(command, [str(argument) for argument in arguments], "jux-publish")
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        assert KEY not in out + err
        return code, out, err

    return run


@pytest.fixture
def server():
    with RecordingServer() as started:
        yield started


@pytest.fixture
def signed(p256):
    """Return a function that makes a signed report of this number."""

    def make(number):
        return sign_report(report(number), p256.key, p256.certificate)

    return make


@pytest.fixture
def put(project, signed):
    """Return a function that writes signed reports into files; the number of each is that of its place, from 1."""

    def write(*names):
        for number, name in enumerate(names, 1):
            path = project / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(signed(number))
        return [identity(report(number)) for number in range(1, len(names) + 1)]

    return write


def run_script(line, **environ):
    """Run what a user types into a shell."""
    return subprocess.run(  # noqa: S602 - the examples are lines for a shell
        line,
        shell=True,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        stdin=subprocess.DEVNULL,
        env=os.environ | environ,
        timeout=GUARD,
    )


def hashes(server):
    return [request.json["canonical_hash"] for request in server.requests]


# --- the examples of the documentation -------------------------------------------------------------------------------


def test_a_report_is_published_with_address_and_key_from_the_command_line(put, server, project):
    (name,) = put("signed-report.xml")
    done = run_script(f"jux-publish --input signed-report.xml --api-url {server.url} --api-key {KEY}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "✓ Published successfully (report-1)\n", "")
    assert server.reports[name].data == (project / "signed-report.xml").read_bytes()
    (request,) = server.requests
    assert (request.method, request.header("x-api-key"), request.header("authorization")) == ("POST", KEY, None)
    assert request.header("idempotency-key") == name
    assert request.header("user-agent") == f"pytest-jux/{__version__}"


def test_a_report_is_published_as_json_with_address_and_key_from_the_configuration(put, server, project):
    (name,) = put("signed-report.xml")
    (project / ".jux.conf").write_text(f"[jux]\napi_url = {server.url}\n")
    done = run_script("jux-publish --input signed-report.xml --json", JUX_API_KEY=KEY)
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    assert list(said)[:3] == ["status", "id", "canonical_hash"]
    assert said == {
        "status": "published",
        "id": "report-1",
        "canonical_hash": name,
        "file": "signed-report.xml",
        "url": f"{server.origin}/reports/report-1",
        "message": "Report published successfully",
        "attempts": 1,
    }
    assert server.requests[0].header("x-api-key") == KEY


def test_a_report_is_published_from_a_pipe(put, server):
    (name,) = put("signed-report.xml")
    done = run_script(f"cat signed-report.xml | jux-publish --api-url {server.url}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "✓ Published successfully (report-1)\n", "")
    assert list(server.reports) == [name]
    assert server.requests[0].header("x-api-key") is None


def test_the_umbrella_command_publishes(put, server):
    put("a.xml")
    done = run_script(f"jux publish a.xml --api-url {server.url}")
    assert (done.returncode, done.stdout) == (0, "✓ Published successfully (report-1)\n")


def test_what_pytest_wrote_and_signed_is_published_with_the_metadata_of_its_run(project, server, p256, tmp_path):
    (project / "test_a.py").write_text("def test_a():\n    pass\n")
    run_pytest = (
        f"{shlex.quote(sys.executable)} -m pytest -q -p no:cacheprovider --junit-xml=report.xml --jux-enabled "
        f"--jux-sign --jux-key={p256.key_path} --jux-storage-mode=local"
    )
    variables = {"GITLAB_CI": "true", "CI_PIPELINE_ID": "4711", "CI_JOB_NAME": "unit", "JUX_METADATA_EXTRA": "team=pay"}
    done = run_script(run_pytest, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    done = run_script(f"jux-publish report.xml --api-url {server.url} --json", JUX_PROJECT="another")
    assert done.returncode == 0, done.stderr
    identity_ = json.loads(done.stdout)["canonical_hash"]
    sent = server.reports[identity_]
    assert sent.metadata == sent_metadata(ReportStorage(tmp_path / "store").metadata(identity_))
    assert {"project", "hostname", "timestamp", "ci", "extra"} <= set(sent.metadata)
    assert sent.metadata["project"] == "ours"
    assert sent.metadata["ci"]["build_id"] == "4711"


# --- what it says ----------------------------------------------------------------------------------------------------


def test_a_duplicate_has_an_exit_code_of_its_own(publish, put, server):
    server.preload(*put("a.xml"))
    assert publish("a.xml", "--api-url", server.url) == (
        2,
        "⚠ Duplicate: the server has this report already (report-1)\n",
        "",
    )


def test_a_duplicate_may_be_fine(publish, put, server):
    server.preload(*put("a.xml"))
    code, out, _ = publish("a.xml", "--api-url", server.url, "--duplicate-ok")
    assert (code, out) == (0, "✓ Duplicate: the server has this report already (report-1)\n")
    assert len(server.requests) == 1


def test_a_duplicate_as_json(publish, put, server):
    (name,) = put("a.xml")
    server.preload(name)
    code, out, _ = publish("a.xml", "--api-url", server.url, "--json")
    said = json.loads(out)
    assert (code, said["status"], said["id"], said["canonical_hash"]) == (2, "duplicate", "report-1", name)


def test_many_reports_have_a_line_each_and_a_sum(publish, put, server, project):
    names = put("a.xml", "b.xml", "c.xml", "d.xml")
    (project / "e.xml").write_bytes(report(5))
    server.preload(names[1])
    code, out, err = publish("a.xml", "b.xml", "c.xml", "d.xml", "e.xml", "--api-url", server.url, "--jobs", 1)
    assert code == 1
    assert out == (
        "✓ a.xml: published (report-2)\n"
        "⚠ b.xml: duplicate (report-1)\n"
        "✓ c.xml: published (report-3)\n"
        "✓ d.xml: published (report-4)\n"
        "Published 3 reports, 1 duplicate, 1 failed\n"
    )
    assert err == (
        "✗ e.xml: the report carries no signature\n"
        "  Sign it with jux-sign, or send it as it is with --allow-unsigned.\n"
    )


def test_the_sum_has_the_right_plurals(publish, put, server):
    names = put("a.xml", "b.xml", "c.xml")
    server.preload(*names[1:])
    code, out, _ = publish(".", "--api-url", server.url)
    assert (code, out.splitlines()[-1]) == (2, "Published 1 report, 2 duplicates, 0 failed")
    assert publish(".", "--api-url", server.url, "--duplicate-ok")[0] == 0


def test_the_same_hint_is_not_given_twice_in_a_row(publish, project, server):
    for number in range(3):
        (project / f"{number}.xml").write_bytes(report(number))
    _, _, err = publish(".", "--api-url", server.url)
    assert (err.count("carries no signature"), err.count("--allow-unsigned")) == (3, 1)


def test_quiet_says_nothing_but_errors(publish, put, server, project):
    put("a.xml", "b.xml")
    assert publish("a.xml", "b.xml", "--api-url", server.url, "-q") == (0, "", "")
    assert publish("a.xml", "--api-url", server.url, "--quiet") == (2, "", "")
    code, out, err = publish("a.xml", "missing.xml", "--api-url", server.url, "-q", "--duplicate-ok")
    assert (code, out, err) == (1, "", "✗ cannot read missing.xml: no such file or directory\n")


def test_verbose_says_hash_address_and_attempts(publish, put, server):
    (name,) = put("a.xml")
    server.behave(answers(503, headers={"Retry-After": "0"}), stores)
    _, out, _ = publish("a.xml", "--api-url", server.url, "-v")
    assert out == (
        "✓ Published successfully (report-1)\n"
        f"  {name}\n  {server.origin}/reports/report-1\n  Report published successfully\n  2 attempts\n"
    )


def test_verbose_says_hash_and_attempts_of_failures_next_to_their_reason(publish, put, server):
    (name,) = put("a.xml")
    server.behave(answers(503))
    code, out, err = publish("a.xml", "--api-url", server.url, "-v", "--retries", 0)
    assert (code, out) == (1, "")
    assert err.splitlines()[1:] == [f"  {name}", "  1 attempt"]


REASONS = {
    "rejected": (answers(422, {"status": "error", "error": "too old", "details": {"line": 3}}), "too old"),
    "unauthorized": (
        answers(401, {"error": "who"}),
        "the server wants an API key (HTTP 401 Unauthorized): who",
    ),
    "unavailable": (answers(503), "the server is overloaded or being serviced (HTTP 503 Service Unavailable)"),
}


@pytest.mark.parametrize("kind", REASONS)
def test_an_error_as_json_says_which_kind_it_is_and_standard_error_says_it_too(publish, put, server, kind):
    (name,) = put("a.xml")
    behaviour, reason = REASONS[kind]
    server.behave(behaviour)
    code, out, err = publish("a.xml", "--api-url", server.url, "--retries", 0, "--json")
    said = json.loads(out)
    assert code == 1
    assert (said["status"], said["kind"], said["reason"], said["canonical_hash"]) == ("error", kind, reason, name)
    assert (said["file"], said["attempts"]) == ("a.xml", 1)
    assert said.get("details", {}) == ({"line": 3} if kind == "rejected" else {})
    refused = "the server refuses it: " if kind == "rejected" else ""
    assert err.splitlines()[0] == f"✗ a.xml: {refused}{reason}"


def test_a_report_that_is_not_sent_is_an_error_of_its_own_kind_in_json(publish, project, server):
    (project / "a.xml").write_bytes(report(1))
    code, out, err = publish("a.xml", "--api-url", server.url, "--json")
    assert code == 1
    assert json.loads(out) == {
        "status": "error",
        "kind": "refused",
        "reason": "the report carries no signature",
        "canonical_hash": None,
        "file": "a.xml",
    }
    assert err.startswith("✗ a.xml: the report carries no signature\n")


@pytest.mark.parametrize("names", [["a.xml", "b.xml"], ["out"], ["out/*.xml"], ["a.xml", "-i", "b.xml"]])
def test_json_of_several_names_a_directory_or_a_pattern_is_a_list(publish, put, server, names):
    put("a.xml", "b.xml", "out/c.xml")
    code, out, _ = publish(*names, "--api-url", server.url, "--json")
    assert (code, type(json.loads(out))) == (0, list)


def test_json_keeps_the_order_of_the_names_whichever_is_done_first(publish, put, server):
    put(*(f"{number:02}.xml" for number in range(12)))
    code, out, _ = publish(".", "missing.xml", "none*.xml", "--api-url", server.url, "--json", "--jobs", 4)
    rows = json.loads(out)
    assert code == 1
    assert [row["file"] for row in rows] == [*(f"{number:02}.xml" for number in range(12)), "missing.xml", "none*.xml"]


def test_what_a_server_says_of_each_of_many_reports_does_not_fill_the_memory(project, put, server, tmp_path):
    put(*(f"{number}.xml" for number in range(30)))
    server.behave(answers(422, {"error": "no", "details": {"why": [[]] * 240_000}}))  # 20 MB as objects
    code = "from pytest_jux.commands.publish import main; main()"
    result = tmp_path / "result"
    command = [sys.executable, "-I", "-S", measured.__file__, result, str(GUARD), sys.executable, "-c", code]
    done = subprocess.run(
        [*command, ".", "--api-url", server.url, "--json"], capture_output=True, text=True, check=True
    )
    rows = json.loads(done.stdout)
    assert [row["kind"] for row in rows] == ["rejected"] * 30
    assert int(result.read_text().split()[2]) < MEMORY


def test_control_characters_of_names_reach_no_terminal(publish, project, signed, server):
    if os.name != "posix":
        pytest.skip("Windows has no such names")
    name = "a\x1b[31m\n.xml"
    (project / name).write_bytes(signed(1))
    (project / f"x{name}").write_bytes(report(1))
    _, out, err = publish(name, f"x{name}", "--api-url", server.url)
    assert out.splitlines()[0] == "✓ a\\x1b[31m\\x0a.xml: published (report-1)"
    assert err.splitlines()[0] == "✗ xa\\x1b[31m\\x0a.xml: the report carries no signature"


def test_ascii_terminals_get_ascii(put, server):
    server.preload(put("a.xml", "b.xml")[0])
    done = run_script(f"jux-publish a.xml b.xml --jobs 1 --api-url {server.url}", PYTHONIOENCODING="ascii")
    assert done.stdout.splitlines()[:2] == ["! a.xml: duplicate (report-1)", "+ b.xml: published (report-2)"]


def test_colour_is_only_for_those_who_want_it(put, server):
    put("a.xml")
    line = f"jux-publish a.xml --duplicate-ok --api-url {server.url}"
    assert "\x1b" not in run_script(line).stdout
    assert "\x1b[32m" in run_script(line, FORCE_COLOR="1").stdout


# --- what it refuses -------------------------------------------------------------------------------------------------

REFUSED = {
    "unsigned": ("a.xml: the report carries no signature", "Sign it with jux-sign, or"),
    "broken": ("a.xml: the report was changed after signing", "Send the report as it was signed, or sign it again"),
    "printed": ("a.xml: the report was changed after signing (white space was added, as ", "Send the report as it was"),
    "html": ("a.xml: not a JUnit XML report: an HTML page", "Give a JUnit XML report"),
    "empty": ("a.xml: not a JUnit XML report: the file is empty", "Give a JUnit XML report"),
    "doctype": ("a.xml: report refused: ", ""),
    "missing": ("cannot read a.xml: no such file or directory", ""),
}


def unfit(kind, data):
    """Return what is in a file that is not to be sent; `data` is a signed report."""
    return {
        "unsigned": report(1),
        "broken": data.replace(b"run ", b"Run "),
        "printed": data.replace(b"<testsuite ", b"\n  <testsuite "),
        "html": b"<!DOCTYPE html><html></html>",
        "empty": b"",
        "doctype": b"<!DOCTYPE testsuites [<!ENTITY a 'b'>]>" + data,
    }[kind]


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_fit_is_refused_with_the_reason_and_the_next_step(publish, project, signed, server, kind):
    if kind != "missing":
        (project / "a.xml").write_bytes(unfit(kind, signed(1)))
    reason, hint = REFUSED[kind]
    code, out, err = publish("a.xml", "--api-url", server.url)
    assert (code, out) == (1, "")
    first, *rest = err.splitlines()
    assert first.startswith(f"✗ {reason}")
    assert "\n".join(rest).startswith(f"  {hint}" if hint else "")
    assert server.connections == []


def test_the_others_are_sent_all_the_same(publish, project, put, signed, server):
    names = put("y.xml", "z.xml")
    for kind in REFUSED:
        if kind != "missing":
            (project / f"{kind}.xml").write_bytes(unfit(kind, signed(9)))
    code, out, err = publish(".", "missing.xml", "none*.xml", "--api-url", server.url)
    assert code == 1
    assert out.splitlines()[-1] == "Published 2 reports, 8 failed"
    assert err.count("✗") == 8
    assert sorted(hashes(server)) == sorted(names)


def test_an_unsigned_report_is_sent_if_that_is_allowed(publish, project, server):
    (project / "a.xml").write_bytes(report(1))
    assert publish("a.xml", "--api-url", server.url, "--allow-unsigned")[0] == 0
    assert server.reports[identity(report(1))].data == report(1)


def test_a_broken_signature_is_refused_though_unsigned_reports_are_allowed(publish, project, signed, server):
    (project / "a.xml").write_bytes(unfit("broken", signed(1)))
    assert publish("a.xml", "--api-url", server.url, "--allow-unsigned")[0] == 1
    assert server.connections == []


def test_a_signature_without_a_certificate_is_left_for_the_server_to_check(publish, project, p256, server):
    (project / "a.xml").write_bytes(sign_report(report(1), p256.key))
    assert publish("a.xml", "--api-url", server.url)[0] == 0
    assert list(server.reports) == [identity(report(1))]


def test_a_directory_without_reports_is_an_error(publish, project, server):
    (project / "empty").mkdir()
    code, out, err = publish("empty", "--api-url", server.url)
    assert (code, out) == (1, "Published 0 reports, 1 failed\n")
    assert err == "✗ cannot publish empty: there is no *.xml file in it\n"


def test_a_pattern_that_nothing_matches_is_an_error_in_json_too(publish, server):
    code, out, err = publish("none*.xml", "--api-url", server.url, "--json")
    assert (code, err) == (1, "✗ cannot publish none*.xml: no file matches it\n")
    (row,) = json.loads(out)
    assert (row["status"], row["kind"], row["file"]) == ("error", "refused", "none*.xml")


def test_an_empty_name_sends_nothing_of_the_current_directory(publish, put, server):
    put("a.xml")
    code, out, err = publish("", "--api-url", server.url)
    assert (code, out) == (64, "")
    assert err.startswith("jux-publish: the name of a file is empty (an unset variable?)\n")
    assert server.connections == []


def test_nothing_on_standard_input_is_an_error(publish, server):
    code, out, err = publish("--api-url", server.url, stdin=b"")
    assert (code, out) == (1, "")
    assert err.startswith("✗ standard input: not a JUnit XML report: the file is empty\n")


def test_a_closed_standard_input_is_a_usage_error(server, project):
    done = run_script(f"jux-publish --api-url {server.url} <&-")
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr.startswith("jux-publish: no report given: name a file, or - for standard input\n")


def test_a_report_that_somebody_pipes_through_a_name_is_sent(put, server):
    (name,) = put("a.xml")
    done = run_script(f"bash -c 'jux-publish <(cat a.xml) --api-url {server.url}'")
    assert (done.returncode, list(server.reports)) == (0, [name])


# --- usage errors ----------------------------------------------------------------------------------------------------

URL = "http://127.0.0.1:9/api/v1/reports"
USAGE = {
    "no server": (["a.xml"], "no server given: use --api-url URL, or set jux_api_url"),
    "no report": (["--api-url", URL], "no report given: name a file, or - for standard input"),
    "no URL": (["a.xml", "--api-url", "jux.example"], "jux_api_url: jux.example is not an http:// or https:// URL"),
    "another scheme": (["a.xml", "--api-url", "ftp://h/x"], "jux_api_url: ftp://h/x is not an http:// or https:// URL"),
    "a password": (
        ["a.xml", "--api-url", f"http://me:{KEY}@h/x"],
        "jux_api_url: http://h/x has a user or a password in it",
    ),
    "the same in a dry run": (["a.xml", "--dry-run", "--api-url", "nothing"], "jux_api_url: nothing is not an http"),
    "an empty URL": (["a.xml", "--api-url", ""], "--api-url: the value is empty (an unset variable?)"),
    "an empty key": (["a.xml", "--api-url", URL, "--api-key", ""], "--api-key: the value is empty (an unset"),
    "standard input twice": (["-", "-", "--api-url", URL], "standard input can be read only once"),
    "no jobs": (["a.xml", "--api-url", URL, "--jobs", "0"], "Invalid value for '--jobs'"),
    "too many jobs": (["a.xml", "--api-url", URL, "--jobs", "65"], "Invalid value for '--jobs'"),
    "a bad deadline": (["a.xml", "--api-url", URL, "--deadline", "soon"], "--deadline: jux_publish_deadline has"),
    "bad retries": (["a.xml", "--api-url", URL, "--retries", "-1"], "--retries: jux_api_retries has invalid value"),
    "a bad way to send the key": (["a.xml", "--api-url", URL, "--auth", "digest"], "Invalid value for '--auth'"),
    "quiet and JSON": (["a.xml", "--api-url", URL, "-q", "--json"], "--quiet prints nothing but errors"),
    "quiet and verbose": (["a.xml", "--api-url", URL, "-q", "-v"], "--quiet prints nothing but errors"),
    "an unknown option": (["a.xml", "--url", URL], "No such option"),
}


@pytest.mark.parametrize("case", USAGE)
def test_a_usage_error_is_one_sentence_and_its_own_exit_code(publish, put, case):
    put("a.xml")
    arguments, sentence = USAGE[case]
    code, out, err = publish(*arguments)
    assert (code, out) == (64, "")
    assert err.startswith(f"jux-publish: {sentence}")
    assert err.endswith("  See jux-publish --help.\n")


def test_a_bad_value_in_a_file_is_no_usage_error_and_names_its_place(publish, put, project):
    put("a.xml")
    (project / ".jux.conf").write_text("[jux]\napi_retries = many\n")
    code, _, err = publish("a.xml", "--api-url", URL)
    assert code == 1
    assert re.match(r"jux-publish: \S*\.jux\.conf:2: jux_api_retries has invalid value 'many'", err)


def test_a_warning_of_the_configuration_is_said(publish, put, project, server):
    put("a.xml")
    (project / ".jux.conf").write_text("[jux]\napi_ulr = x\n")
    code, out, err = publish("a.xml", "--api-url", server.url)
    assert (code, out) == (0, "✓ Published successfully (report-1)\n")
    assert err.startswith("warning: ")
    assert "api_ulr" in err


def test_help_has_examples_and_exit_codes(publish):
    code, out, _ = publish("--help")
    assert code == 0
    for text in ("jux-publish --input signed-report.xml --api-url https://", "| jux-publish", "Exit codes: 0", "64"):
        assert text in out


# --- the key ---------------------------------------------------------------------------------------------------------


def test_a_key_on_the_command_line_counts_more_than_one_that_the_configuration_points_to(
    publish, put, project, server, monkeypatch
):
    put("a.xml")
    (project / ".jux.conf").write_text("[jux]\napi_key_env = OTHER_KEY\n")
    monkeypatch.setenv("OTHER_KEY", "another")
    publish("a.xml", "--api-url", server.url, "--api-key", KEY)
    publish("a.xml", "--api-url", server.url)
    assert [request.header("x-api-key") for request in server.requests] == [KEY, "another"]


def test_a_key_comes_from_a_variable_or_a_file(publish, put, project, server, monkeypatch):
    put("a.xml")
    monkeypatch.setenv("SOME_KEY", KEY)
    monkeypatch.setenv("JUX_API_KEY", "another")
    key_file = project / "key.txt"
    key_file.write_text(f"{KEY}\nsomething else\n")
    key_file.chmod(0o600)
    publish("a.xml", "--api-url", server.url, "--api-key-env", "SOME_KEY")
    publish("a.xml", "--api-url", server.url, "--api-key-file", "key.txt")
    assert [request.header("x-api-key") for request in server.requests] == [KEY, KEY]


@pytest.mark.parametrize(
    ("auth", "key", "header"),
    [
        ("bearer", KEY, f"Bearer {KEY}"),
        ("basic", f"me:{KEY}", f"Basic {base64.b64encode(f'me:{KEY}'.encode()).decode()}"),
    ],
)
def test_the_key_is_sent_in_the_way_that_is_asked_for(publish, put, server, auth, key, header):
    put("a.xml")
    assert publish("a.xml", "--api-url", server.url, "--auth", auth, "--api-key", key)[0] == 0
    assert (server.requests[0].header("authorization"), server.requests[0].header("x-api-key")) == (header, None)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--api-key-env", "NOT_THERE"], "the environment variable NOT_THERE for the API key is empty or not set"),
        (["--api-key-file", "nothing"], r"cannot read \S*nothing: no such file or directory"),
        (["--api-key-env", "BROKEN_KEY"], "the API key has a line break in it"),
        (["--api-key", f"{KEY}€"], "the API key has a character that is not printable ASCII"),
        (["--ca", "nothing"], r"cannot use \S*nothing as jux_api_ca: no such file or directory"),
    ],
)
def test_a_key_or_file_that_cannot_be_used_is_said_before_anything_is_sent(
    publish, put, server, monkeypatch, arguments, sentence
):
    put("a.xml")
    monkeypatch.setenv("BROKEN_KEY", f"{KEY}\nX-Other: 1")
    url = server.url.replace("http:", "https:") if "--ca" in arguments else server.url
    code, out, err = publish("a.xml", "--api-url", url, *arguments)
    assert (code, out) == (1, "")
    assert re.match(f"jux-publish: {sentence}", err)
    assert server.connections == []


@pytest.mark.parametrize("form", ["--verbose", "--json"])
def test_a_key_that_the_server_repeats_is_not_shown(publish, put, server, form):
    put("a.xml", "b.xml")
    server.behave(
        answers(422, {"error": f"bad {KEY}", "details": {KEY: KEY}}), answers(201, {"id": KEY, "message": KEY})
    )
    code, out, err = publish("a.xml", "b.xml", "--api-url", server.url, "--api-key", KEY, form)
    assert code == 1  # and `publish` looks for the key
    assert MASKED in out
    assert MASKED in err


def test_an_address_that_others_can_read_is_warned_of(publish, put, server, monkeypatch):
    put("a.xml")
    monkeypatch.setenv("HTTP_PROXY", server.origin)
    server.behave(answers(401))
    _, _, err = publish("a.xml", "--api-url", "http://jux.example.test/api/v1/reports", "--api-key", KEY)
    assert err.startswith("warning: the API is plain http:// to another machine: everybody on the way can read the key")
    _, _, err = publish("a.xml", "--api-url", server.url)
    assert "warning" not in err


# --- a dry run -------------------------------------------------------------------------------------------------------


def test_a_dry_run_needs_no_server_and_no_key(publish, put):
    (name,) = put("a.xml")
    code, out, err = publish("a.xml", "--dry-run")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert re.fullmatch(r"a\.xml \(1\.\d kB, signature intact\)", lines[0])
    assert lines[1] == "  POST (no server is configured)"
    assert "  (no API key)" in lines
    assert f"  Idempotency-Key: {name}" in lines
    assert json.loads(out[out.index("  {\n") :])["canonical_hash"] == name


def test_a_dry_run_reads_no_secret_and_sends_nothing(publish, put, server):
    put("a.xml")
    arguments = ("a.xml", "--dry-run", "--api-url", server.url, "--auth", "bearer", "--api-key-file", "not-there")
    code, out, _ = publish(*arguments)
    assert code == 0
    assert f"  POST {server.url}\n" in out
    assert f"  Authorization: Bearer {MASKED}\n" in out
    assert server.connections == []


def test_a_dry_run_shows_what_is_then_sent(publish, put, project, p256, server):
    text = b'<testsuite name="s"><properties><property name="git:commit" value="f00"/></properties></testsuite>'
    (project / "a.xml").write_bytes(sign_report(text, p256.key, p256.certificate))
    arguments = ("a.xml", "--api-url", server.url, "--api-key", KEY, "--json")
    code, out, _ = publish(*arguments, "--dry-run")
    shown = json.loads(out)
    assert code == 0
    assert publish(*arguments)[0] == 0
    (request,) = server.requests
    assert (shown["method"], shown["url"]) == (request.method, server.url)
    for name, value in shown["headers"].items():
        assert request.header(name) == (KEY if value == MASKED else value)
    body = request.json
    assert shown["body"]["metadata"] == body["metadata"] == {"git": {"commit": "f00"}}
    assert shown["body"]["canonical_hash"] == shown["canonical_hash"] == body["canonical_hash"]
    assert body["report"].startswith(shown["body"]["report"][:100])
    assert len(shown["body"]["report"]) < 200
    assert shown["size"] == (project / "a.xml").stat().st_size


def test_a_dry_run_refuses_what_would_be_refused(publish, put, project):
    put("a.xml", "b.xml")
    (project / "c.xml").write_bytes(report(3))
    code, out, err = publish(".", "none*.xml", "--dry-run", "--api-url", URL)
    assert code == 1
    assert out.splitlines()[-1] == f"Would publish 2 reports to {URL}, 2 refused"
    assert [line for line in err.splitlines() if line.startswith("✗")] == [
        "✗ c.xml: the report carries no signature",
        "✗ cannot publish none*.xml: no file matches it",
    ]
    code, out, _ = publish(".", "none*.xml", "--dry-run", "--json")
    assert [(row["file"], row["status"]) for row in json.loads(out)] == [
        ("a.xml", "dry-run"),
        ("b.xml", "dry-run"),
        ("c.xml", "error"),
        ("none*.xml", "error"),
    ]


def test_a_quiet_dry_run_only_checks(publish, put, project):
    put("a.xml")
    assert publish("a.xml", "--dry-run", "-q") == (0, "", "")


def test_a_dry_run_shows_no_secret_of_an_address_and_no_control_character_of_a_report(publish, project):
    (project / "a.xml").write_text('<testsuite name="\u202e\u009b31m"/>', encoding="utf-8")
    arguments = ("a.xml", "--dry-run", "--allow-unsigned", "--api-url", f"https://h.example/x?token={KEY}")
    code, out, _ = publish(*arguments)
    assert code == 0
    assert f"POST https://h.example/x?{MASKED}\n" in out
    assert "\\u202e\\x9b31m" in out
    assert not {"\u202e", "\x9b"} & set(out)


# --- many reports ----------------------------------------------------------------------------------------------------


def test_several_jobs_use_several_connections_at_the_same_time(publish, put, server):
    def together(line):
        request = line.read_request()
        line.server.wait_for(lambda server: len(server.requests) >= 3)
        line.answer(*line.server.keep(request))

    names = put(*(f"{number}.xml" for number in range(7)))
    server.behave(*[together] * 3, stores)
    code, out, _ = publish(".", "--api-url", server.url, "--jobs", 3)
    assert (code, out.splitlines()[-1]) == (0, "Published 7 reports, 0 failed")
    assert len(server.connections) == 3
    assert sorted(hashes(server)) == sorted(names)


def test_one_connection_is_used_for_all_reports_of_one_job(publish, put, server):
    put(*(f"{number}.xml" for number in range(5)))
    assert publish(".", "--api-url", server.url, "--jobs", 1)[0] == 0
    assert (len(server.connections), len(server.requests)) == (1, 5)


def test_a_report_that_is_named_twice_is_sent_once(publish, put, server):
    put("a.xml", "b.xml")
    assert publish("a.xml", ".", "./a.xml", "*.xml", "--api-url", server.url)[0] == 0
    assert len(server.requests) == 2


def test_when_the_server_cannot_be_reached_the_rest_is_not_tried(publish, put, server):
    put(*(f"{number}.xml" for number in range(5)))
    server.stop()
    code, out, err = publish(".", "--api-url", server.url, "--retries", 0, "--jobs", 1)
    assert (code, out) == (1, "Published 0 reports, 1 failed, 4 not tried\n")
    assert err == f"✗ 0.xml: {server.netloc} cannot be reached: connection refused\n"


def test_when_the_key_is_wrong_the_rest_is_not_tried(publish, put, server):
    put(*(f"{number}.xml" for number in range(5)))
    server.behave(answers(401))
    code, out, _ = publish(".", "--api-url", server.url, "--jobs", 1, "--json")
    assert code == 1
    assert [row["status"] for row in json.loads(out)] == ["error", *["not_tried"] * 4]
    assert len(server.requests) == 1


def test_progress_is_shown_on_a_terminal_where_nothing_else_is(put, server):
    put(*(f"{number}.xml" for number in range(200)))
    master, slave = pty.openpty()
    try:
        line = ["jux-publish", ".", "--api-url", server.url, "--quiet"]
        with subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=slave) as process:
            os.close(slave)
            shown = read_all(master)
            out, _ = process.communicate(timeout=GUARD)
    finally:
        os.close(master)
    assert (process.returncode, out) == (0, b"")
    assert b"Publishing" in shown
    assert b"100%" in shown


def read_all(descriptor):
    """Return everything that comes to a terminal until its last user is gone."""
    found = b""
    while select.select([descriptor], [], [], GUARD)[0]:
        try:
            part = os.read(descriptor, 1 << 16)
        except OSError:  # how Linux says that
            break
        if not part:
            break
        found += part
    return found


@pytest.mark.parametrize("jobs", [1, 4])
def test_an_interruption_ends_it_at_once(put, server, jobs):
    put(*(f"{number}.xml" for number in range(6)))
    server.behave(is_silent)
    line = ["jux-publish", ".", "--api-url", server.url, "--jobs", str(jobs)]
    process = subprocess.Popen(
        line,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - it may be ignored here
    )
    with process:
        server.wait_for(lambda server: b"</testsuites>" in server.received and len(server.connections) == jobs)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=GUARD / 6)  # less than the read timeout
    assert (process.returncode, out, err.strip()) == (130, b"", b"interrupted")


# --- the report store ------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path):
    return ReportStorage(tmp_path / "store")


def test_a_queued_report_of_the_store_is_published_afterwards(publish, put, signed, server, store):
    (name,) = put("a.xml")
    store.store(signed(1), name)
    store.enqueue(signed(1), name, api_url=server.url)
    assert publish("a.xml", "--api-url", server.url) == (0, "✓ Published successfully (report-1)\n", "")
    assert store.find(name).status.value == "published"
    assert store.waiting() == []


def test_where_there_is_no_store_none_is_made(publish, put, server, store):
    put("a.xml")
    assert publish("a.xml", "--api-url", server.url)[0] == 0
    assert not store.root.exists()


def test_a_store_that_cannot_be_written_to_is_a_warning_only(put, signed, server, store, without_root_rights):
    (name,) = put("a.xml")
    store.store(signed(1), name)
    directories = [store.root, *(path for path in store.root.rglob("*") if path.is_dir())]
    for directory in directories:
        directory.chmod(0o500)
    try:
        line = shlex.join([*without_root_rights, "jux-publish", "a.xml", "--api-url", server.url])
        done = run_script(line)
    finally:
        for directory in directories:
            directory.chmod(0o700)
    assert (done.returncode, done.stdout) == (0, "✓ Published successfully (report-1)\n")
    assert done.stderr.startswith("warning: a.xml: the server has it, but the report store does not know that: cannot ")
    assert len(done.stderr.splitlines()) == 1
    assert store.find(name).status.value == "local"


def test_a_report_that_waits_for_another_server_still_does_and_json_says_so(publish, put, signed, server, store):
    (name,) = put("a.xml")
    store.store(signed(1), name)
    store.enqueue(signed(1), name, api_url="https://other.example/api/v1/reports")
    code, out, err = publish("a.xml", "--api-url", server.url, "--json")
    assert code == 0
    assert "in the queue for another server" in json.loads(out)["note"]
    assert err.startswith("warning: a.xml: the report store still has it in the queue for another server")
    assert [entry.canonical_hash for entry in store.waiting()] == [name]
