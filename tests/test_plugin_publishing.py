"""The plugin publishes, in real pytest runs against a real server: what is said, kept, returned, and at what cost."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from publishing.hostile import PATH, RecordingServer, answers, hangs_up, is_silent, resets, stores
from publishing.proxies import ForwardProxy

from pytest_jux.canonicalizer import canonical_hash
from pytest_jux.publishing import drain  # noqa: F401 - loaded here, so that runs in this process share the module
from pytest_jux.run import Run  # noqa: F401 - as above
from pytest_jux.signer import sign_report
from pytest_jux.storage import ReportStorage
from pytest_jux.verifier import Trust, verify_report

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="signals of POSIX"),
    pytest.mark.usefixtures("clean_environment"),
]

KEY = "k3y-that-nobody-may-see"
PASSES = "def test_a(): pass\ndef test_b(): pass\n"
FAILS = "def test_a(): pass\ndef test_b(): assert not 'this'\n"
MODES = ("both", "api", "cache")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


class Project:
    """A directory with tests and a configuration that publishes, and the ways to run pytest in it."""

    def __init__(self, pytester, monkeypatch, signer):
        self.pytester = pytester
        self.monkeypatch = monkeypatch
        self.signer = signer
        self.path = pytester.path
        self.report = self.path / "report.xml"
        self.store = ReportStorage(self.path / "store")
        for name in (*PROXIES, *(name.lower() for name in PROXIES)):
            monkeypatch.delenv(name, raising=False)
        for name in [name for name in os.environ if name.startswith("COVERAGE_")]:
            monkeypatch.setenv(name, os.environ[name])
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        pytester.makepyfile(PASSES)

    def configure(self, url, **settings):
        """Publish to `url`; the rest are further settings, None to leave one out."""
        known = {
            "enabled": "true",
            "sign": "true",
            "publish": "true",
            "key_path": self.signer.key_path,
            "cert_path": self.signer.cert_path,
            "storage_path": self.store.root,
            "api_url": url,
            "api_key": KEY,
            "api_retries": 0,
        } | settings
        lines = [f"{name} = {value}" for name, value in known.items() if value is not None]
        (self.path / ".jux.conf").write_text("\n".join(["[jux]", *lines, ""]))
        (self.path / ".jux.conf").chmod(0o600)

    @property
    def words(self):
        return ["-p", "jux", "-p", "no:cacheprovider", "--junit-xml=report.xml"]

    def run(self, *arguments):
        """Run pytest in this process."""
        return self.pytester.runpytest_inprocess(*self.words, *arguments)

    def run_apart(self, *arguments):
        """Run pytest in a process of its own."""
        return self.pytester.runpytest_subprocess(*self.words, *arguments, timeout=60)

    def start(self, *arguments, **options):
        """Start pytest in a process of its own, without waiting for it."""
        command = [sys.executable, "-m", "pytest", *self.words, *arguments]
        return subprocess.Popen(
            command, cwd=self.path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
        )

    def status(self):
        """Return the status of the only report in the store, None if there is none."""
        found = self.store.list()
        assert len(found) < 2
        return str(found[0].status) if found else None

    def kept(self, directory):
        return sorted((self.store.root / directory).glob("sha256-*.xml"))

    def is_signed(self):
        return bool(verify_report(self.report.read_bytes(), Trust([self.signer.certificate])).trusted_by)

    def leave(self, number, url, **known):
        """Let an older report wait for `url`; return its hash."""
        text = f'<testsuite name="older {number}"><testcase classname="a" name="b"/></testsuite>'
        data = sign_report(text.encode(), self.signer.key, self.signer.certificate)
        identity = canonical_hash(data)
        self.store.store(data, identity, {"hostname": "before"})
        self.store.enqueue(data, identity, {"hostname": "before"}, api_url=url)
        if known:
            self.store.note_attempt(identity, "it was down", **known)
        return identity


@pytest.fixture
def project(pytester, monkeypatch, p256):
    return Project(pytester, monkeypatch, p256)


@pytest.fixture
def server():
    with RecordingServer(key=KEY) as running:
        yield running


@pytest.fixture
def refused():
    """A URL whose port nobody listens on, and nobody can take meanwhile."""
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{kept.getsockname()[1]}{PATH}"


def section(text):
    """Return the lines of our section in pytest's output."""
    lines = (text if isinstance(text, str) else text.stdout.str()).splitlines()
    starts = [number for number, line in enumerate(lines) if re.fullmatch(r"-+ jux -+", line)]
    if not starts:
        return []
    assert len(starts) == 1, "said once"
    rest = lines[starts[0] + 1 :]
    ends = (number for number, line in enumerate(rest) if line.startswith(("=", "!")) or re.match(r"\d+ \w+ in ", line))
    return [line for line in rest[: next(ends, len(rest))] if line]


def everything(result):
    return result.stdout.str() + result.stderr.str()


# --- every mode, every server ----------------------------------------------------------------------------------------


def drips(line):
    """Read the request and answer so slowly that it never ends."""
    line.read_request()
    line.send(b"HTTP/1.1 201 Created\r\nX-Long: ")
    line.drip(b"a" * 100_000)


def loses_the_answer(line):
    """Keep the report, but hang up instead of saying so."""
    line.server.keep(line.read_request())
    line.hang_up()


REFUSED = {"status": "error", "error": "Invalid XML signature", "message": "XMLDSig signature verification failed"}
HTML = b"<!DOCTYPE html><html><body>Welcome to the hotel</body></html>"

# What the server does, what must come of it, and a pattern for what is said: the URL, or the reason.
SERVERS = {
    "fine": ([stores], "published", r"http://127\.0\.0\.1:\d+/reports/report-1"),
    "has it already": (
        [answers(409, {"status": "duplicate", "id": "r-7"})],
        "published",
        r"http://.*/reports/r-7 \(the server had it already\)",
    ),
    "loses the answer": ([loses_the_answer, stores], "published", r"http://.*/reports/report-1"),
    "503": ([answers(503)], "unavailable", "the server is overloaded or being serviced .*"),
    "hangs up": ([hangs_up], "unavailable", ".* closed the connection without an answer"),
    "resets": ([resets], "unavailable", "the connection to .* broke: .*"),
    "redirect": (
        [answers(302, b"", {"Location": "https://elsewhere.example/api"})],
        "unavailable",
        "the server redirects to https://elsewhere.example/api .*",
    ),
    "HTML": ([answers(200, HTML, {"Content-Type": "text/html"})], "unavailable", "what answered is not the Jux API .*"),
    "404": ([answers(404, HTML)], "unavailable", "what answered is not the Jux API .*"),
    "silent": ([is_silent], "unavailable", "no answer from .* within .* s"),
    "drips": ([drips], "unavailable", "no answer from .* within .* s"),
    "401": ([answers(401, REFUSED)], "failed", "the server does not accept the API key .*"),
    "403": ([answers(403)], "failed", "the API key may not publish here .*"),
    "400": ([answers(400, REFUSED)], "rejected", "Invalid XML signature.*"),
    "413": ([answers(413, HTML)], "rejected", "the report is too large for the server .*"),
}
SLOW = {"silent", "drips"}
# Settings that no server sees anything of.
MISTAKES = {
    "bad URL": ({"api_url": "jux.example.com/api/v1/reports"}, "jux.example.com/api/v1/reports .*"),
    "missing variable": (
        {"api_key": None, "api_key_env": "NOT_SET_ANYWHERE"},
        "the environment variable NOT_SET_ANYWHERE for the API key is empty or not set",
    ),
    "missing file": ({"api_key": None, "api_key_file": "none.txt"}, "cannot read .*none.txt: no such file .*"),
    "impossible key": ({"api_key": "kéy"}, "the API key has a character that is not printable ASCII in it"),
    "no authority": (
        {"api_url": "https://127.0.0.1:1/", "api_ca": "none.pem"},
        "cannot use .*none.pem as jux_api_ca.*",
    ),
}


def expected_line(outcome, mode, reason):
    """Return a pattern for the one line about publishing."""
    if outcome == "published":
        return f"✓ Published to API: {reason}"
    if outcome == "rejected":
        return rf"✗ Not published: the server refuses the report: {reason} \(kept: jux-cache list --status rejected\)"
    if outcome == "unavailable" and mode == "cache":
        return rf"⚠ API unavailable, queued for retry: {reason}( \(.*\))?"
    return rf"✗ Not published: {reason}; queued for retry( \(.*\))?"


def check(project, result, mode, outcome, reason):
    """Assert what is said, what is kept where, and that the report itself is signed."""
    stored = [] if mode == "api" else [r"✓ Stored locally: store/reports/sha256-[0-9a-f]{64}\.xml"]
    patterns = ["✓ Report signed: report.xml", *stored, expected_line(outcome, mode, reason)]
    lines = section(result)
    assert len(lines) == len(patterns), lines
    for line, pattern in zip(lines, patterns, strict=True):
        assert re.fullmatch(pattern, line), line
    assert "Traceback" not in everything(result)
    assert KEY not in everything(result)
    assert project.is_signed()
    after = {"published": None if mode == "api" else "published", "rejected": "rejected"}
    assert project.status() == after.get(outcome, "queued")
    data = project.report.read_bytes()
    assert [path.read_bytes() for path in project.kept("reports")] == ([] if mode == "api" else [data])
    waiting = {"published": [], "rejected": []}.get(outcome, [data])
    assert [path.read_bytes() for path in project.kept("queue")] == waiting
    assert [path.read_bytes() for path in project.kept("rejected")] == ([data] if outcome == "rejected" else [])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", SERVERS)
def test_every_mode_with_every_server(project, server, mode, name):
    behaviours, outcome, reason = SERVERS[name]
    server.behave(*behaviours)
    deadline = 0.5 if name in SLOW else 20
    retries = 1 if name == "loses the answer" else 0
    project.configure(server.url, storage_mode=mode, publish_deadline=deadline, api_retries=retries)
    result = project.run()
    assert result.ret == 0
    check(project, result, mode, outcome, reason)
    if outcome == "published" and stores in behaviours:
        (sent,) = server.reports.values()
        assert sent.data == project.report.read_bytes()
        assert sent.canonical_hash == canonical_hash(sent.data)
        assert {"hostname", "timestamp", "pytest_version"} <= {*sent.metadata}
        assert {"summary", "stored_at", "signed"}.isdisjoint(sent.metadata)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_with_a_server_that_is_down(project, refused, mode):
    project.configure(refused, storage_mode=mode)
    result = project.run()
    assert result.ret == 0
    check(project, result, mode, "unavailable", "127.0.0.1:.* cannot be reached: connection refused")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", MISTAKES)
def test_every_mode_with_settings_that_nothing_can_be_sent_with(project, server, mode, name):
    settings, reason = MISTAKES[name]
    project.configure(server.url, **{"storage_mode": mode} | settings)
    result = project.run()
    assert result.ret == 0
    check(project, result, mode, "failed", reason)
    assert not server.connections


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["fine", "503", "401", "400"])
def test_a_failing_suite_stays_failing_whatever_the_server_does(project, server, mode, name):
    server.behave(*SERVERS[name][0])
    project.configure(server.url, storage_mode=mode)
    project.pytester.makepyfile(FAILS)
    result = project.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    check(project, result, mode, *SERVERS[name][1:])


# In `cache` mode a server that cannot be reached is what it is for, and no failure.
ON_ERROR_FAIL = [
    *((mode, "fine", 0) for mode in MODES),
    *((mode, "503", 0 if mode == "cache" else 1) for mode in MODES),
    *((mode, name, 1) for mode in MODES for name in ("401", "400")),
]


@pytest.mark.parametrize(("mode", "name", "status"), ON_ERROR_FAIL)
def test_on_error_fail_counts_what_was_not_published(project, server, mode, name, status):
    server.behave(*SERVERS[name][0])
    project.configure(server.url, storage_mode=mode, on_error="fail")
    result = project.run()
    result.assert_outcomes(passed=2)
    assert result.ret == status
    check(project, result, mode, *SERVERS[name][1:])


@pytest.mark.parametrize("name", MISTAKES)
def test_on_error_fail_counts_settings_that_nothing_can_be_sent_with(project, server, name):
    project.configure(server.url, **MISTAKES[name][0], on_error="fail", storage_mode="cache")
    assert project.run().ret == pytest.ExitCode.TESTS_FAILED


def test_without_a_mode_the_report_is_stored_and_published(project, server):
    project.configure(server.url)
    result = project.run()
    check(project, result, "both", *SERVERS["fine"][1:])
    result.stdout.fnmatch_lines([f"jux: sign with {project.signer.key_path}, store and publish to {server.url}"])


def test_in_mode_api_the_header_does_not_say_that_it_stores(project, server):
    project.configure(server.url, storage_mode="api")
    result = project.run()
    result.stdout.fnmatch_lines([f"jux: sign with {project.signer.key_path} and publish to {server.url}"])


def test_in_mode_local_nothing_is_published_and_one_line_says_so(project, server):
    project.configure(server.url, storage_mode="local", on_error="fail")
    result = project.run()
    assert result.ret == 0
    lines = section(result)
    said = ".jux.conf:11: jux_storage_mode is 'local' though jux_publish is on: nothing is published"
    assert lines[0] == f"⚠ {said}"
    assert [line[0] for line in lines] == ["⚠", "✓", "✓"]
    assert (project.status(), server.connections) == ("local", [])
    result.stdout.fnmatch_lines([f"jux: sign with {project.signer.key_path} and store"])


def test_validate_says_that_mode_local_publishes_nothing(project, server):
    project.configure(server.url, storage_mode="local")
    script = "from pytest_jux.commands.config import main; main()"
    done = project.pytester.run(sys.executable, "-c", script, "validate", "--strict")
    assert "jux_storage_mode is 'local' though jux_publish is on: nothing is published" in everything(done)
    project.configure(server.url)
    done = project.pytester.run(sys.executable, "-c", script, "validate", "--strict")
    assert "nothing is published" not in everything(done)


def test_a_report_that_nobody_asked_for_is_published_and_not_left_behind(project, server):
    (project.path / "tmp").mkdir()
    project.monkeypatch.setenv("TMPDIR", str(project.path / "tmp"))
    project.configure(server.url, storage_mode="api")
    result = project.pytester.runpytest_inprocess("-p", "jux", "-p", "no:cacheprovider")
    assert section(result)[0] == "✓ Report signed"
    assert len(server.reports) == 1
    assert not [*(project.path / "tmp").glob("jux-*")]


# --- when the store, or signing, fails -------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_a_store_that_cannot_be_written_to_does_not_keep_a_report_from_being_published(project, server, mode):
    project.store.root.write_text("a file in the way")
    project.configure(server.url, storage_mode=mode)
    result = project.run()
    lines = section(result)
    failures = [line for line in lines if line.startswith("✗")]
    assert len(failures) == (0 if mode == "api" else 1), lines
    assert re.fullmatch("✓ Published to API: http://.*/reports/report-1", lines[-1])
    assert list(server.reports) == [canonical_hash(project.report.read_bytes())]


def test_a_report_that_can_neither_be_published_nor_wait_is_one_line_that_says_both(project, refused):
    project.store.root.write_text("a file in the way")
    project.configure(refused, storage_mode="api")
    lines = section(project.run())
    assert lines[0] == "✓ Report signed: report.xml"
    assert len(lines) == 2
    reason = r"127\.0\.0\.1:\d+ cannot be reached: connection refused"
    assert re.fullmatch(rf"✗ Not published: {reason}; not queued: cannot queue .*: .*", lines[1])


@pytest.mark.parametrize(
    ("answer", "directory", "lines"),
    [
        (
            (201, {"id": "r-1"}),
            "published",
            [
                "✓ Published to API: http://.*/reports/r-1",
                "⚠ The report stays queued: the server has the report, but that cannot be recorded: .*",
            ],
        ),
        (
            (400, REFUSED),
            "rejected",
            [
                "✗ Not published: the server refuses .*, but that cannot be recorded: .*; queued for retry .*",
            ],
        ),
    ],
)
def test_what_the_server_said_is_told_even_if_it_cannot_be_recorded(project, server, answer, directory, lines):
    def in_the_way(line):
        (project.store.root / directory).write_text("a file")
        line.read_request()
        line.answer(*answer)

    server.behave(in_the_way)
    project.configure(server.url)
    result = project.run()
    assert result.ret == 0
    said = [line for line in section(result)[2:] if "tidied" not in line]
    assert len(said) == len(lines)
    assert all(re.fullmatch(pattern, line) for pattern, line in zip(lines, said, strict=True)), said


def test_in_mode_cache_a_report_that_cannot_wait_is_a_failure(project, refused):
    project.store.root.write_text("a file in the way")
    project.configure(refused, storage_mode="cache", on_error="fail")
    result = project.run()
    assert section(result)[-1].startswith("✗ Not published: ")
    assert result.ret == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize("mode", MODES)
def test_what_could_not_be_signed_is_not_published(project, server, mode):
    project.configure(server.url, storage_mode=mode, key_path="none.pem")
    result = project.run()
    assert result.ret == 0
    assert section(result)[0].startswith("✗ Report not signed: ")
    assert not server.connections
    assert not project.kept("queue")


# --- time ------------------------------------------------------------------------------------------------------------

# Notes when the tests are over, before anything of ours is done at the end.
CLOCK = """
import time
from pathlib import Path
import pytest

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session):
    Path(session.config.rootpath / "finished-at").write_text(repr(time.time()))
    return (yield)
"""
DEADLINE = 2
BUSY = 3  # seconds that a busy machine may take for the rest, such as to sign a report of 6 MB
NOT_TLS = b"\x16\x03\x03\x40\x00\x02"  # the beginning of a TLS record that never comes to its end


def reads_nothing(line):
    line.linger()


def sends_slowly(data, rest=b"x" * 100_000):
    def behaviour(line):
        line.read_request()
        line.send(data)
        line.drip(rest)

    return behaviour


def sends_half(data):
    def behaviour(line):
        line.read_request()
        line.send(data)
        line.linger()

    return behaviour


def starts_tls_slowly(line):
    line.send(NOT_TLS)
    line.drip(b"a" * 16_000)


HEAD = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\n"
HANGING = {
    "accepts and reads nothing": ("http", [reads_nothing]),
    "reads and says nothing": ("http", [is_silent]),
    "the status line stops": ("http", [sends_half(b"HTTP/1.1 2")]),
    "the status line drips": ("http", [sends_slowly(b"HTTP/1.1 ")]),
    "the header drips": ("http", [sends_slowly(HEAD + b"X: ")]),
    "headers without end": ("http", [sends_slowly(HEAD, b"X: y\r\n" * 10_000)]),
    "100 Continue without end": ("http", [sends_slowly(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 4_000)]),
    "the body stops": ("http", [sends_half(HEAD + b'Content-Length: 50\r\n\r\n{"id"')]),
    "the body drips": ("http", [sends_slowly(HEAD + b"Content-Length: 100000\r\n\r\n")]),
    "chunks drip": ("http", [sends_slowly(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n" * 20_000)]),
    "503 again and again": ("http", [answers(503)]),
    "429 for an hour": ("http", [answers(429, b"", {"Retry-After": "3600"})]),
    "hangs up again and again": ("http", [hangs_up]),
    "the handshake is not answered": ("https", [is_silent]),
    "the handshake drips": ("https", [starts_tls_slowly]),
    "the proxy says nothing": ("proxy", [is_silent]),
    "the proxy drips": ("proxy", [sends_slowly(b"HTTP/1.1 200 ")]),
}


def seconds_at_the_end(project, *arguments):
    """Run pytest; return what it said, and the seconds from the end of the tests to the end of the process."""
    conftest = project.path / "conftest.py"
    conftest.write_text((conftest.read_text() if conftest.exists() else "") + CLOCK)
    result = project.run_apart(*arguments)
    return result, time.time() - float((project.path / "finished-at").read_text())


@pytest.mark.parametrize("name", HANGING)
@pytest.mark.parametrize("mode", ["both", "cache"])
def test_a_server_that_hangs_costs_the_deadline_and_one_line(project, server, name, mode):
    scheme, behaviours = HANGING[name]
    server.behave(*behaviours)
    url = {"http": server.url, "https": server.url.replace("http:", "https:")}
    if scheme == "proxy":
        project.monkeypatch.setenv("HTTPS_PROXY", server.origin)
    url = url.get(scheme, f"https://api.example.test{PATH}")
    # A report that does not fit into what the system keeps for a connection.
    project.pytester.makepyfile("def test_a(): print('x' * 6_000_000)")
    project.configure(url, storage_mode=mode, publish_deadline=DEADLINE, api_retries=50)
    result, seconds = seconds_at_the_end(project, "-o", "junit_logging=all")
    assert seconds < DEADLINE + 2 + BUSY
    assert result.ret == 0
    lines = section(result)
    assert len(lines) == 3, lines
    waits = "⚠ API unavailable, queued for retry: " if mode == "cache" else "✗ Not published: "
    assert lines[-1].startswith(waits)
    assert project.status() == "queued"
    assert project.is_signed()
    assert server.connections


def test_a_name_server_that_hangs_costs_the_deadline_and_one_line(project):
    (project.path / "conftest.py").write_text(
        "import socket, time\ndef hang(*a, **k): time.sleep(60)\nsocket.getaddrinfo = hang\n"
    )
    project.configure(f"http://api.example.test{PATH}", publish_deadline=DEADLINE)
    result, seconds = seconds_at_the_end(project)
    assert seconds < DEADLINE + 2 + BUSY
    assert section(result)[-1].startswith("✗ Not published: ")
    assert project.status() == "queued"


def test_older_reports_cost_no_more_time_than_the_deadline(project, server):
    server.behave(stores, stores, is_silent)
    older = [project.leave(number, server.url) for number in range(5)]
    project.configure(server.url, storage_mode="cache", publish_deadline=DEADLINE)
    result, seconds = seconds_at_the_end(project)
    assert seconds < DEADLINE + 2 + BUSY
    assert result.ret == 0
    assert section(result)[-3].startswith("✓ Published to API: ")
    assert section(result)[-2:] == [
        "✓ Published 1 report of earlier runs",
        "⚠ 4 reports of earlier runs still queued (jux-cache push)",
    ]
    assert len([one for one in older if one in server.reports]) == 1
    assert len(project.kept("queue")) == 4


@pytest.mark.parametrize("name", ["reads and says nothing", "the header drips"])
def test_a_clock_that_a_test_has_stopped_does_not_stop_the_deadline(project, server, name):
    server.behave(*HANGING[name][1])
    project.pytester.makepyfile("import time\ndef test_a(): time.monotonic = lambda: 12345.0")
    project.configure(server.url, publish_deadline=DEADLINE, api_read_timeout=600)
    result, seconds = seconds_at_the_end(project)
    assert seconds < DEADLINE + 2 + BUSY
    assert section(result)[-1].startswith("✗ Not published: ")
    assert project.status() == "queued"


# --- older reports ---------------------------------------------------------------------------------------------------

FUTURE = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=5)).isoformat(timespec="seconds")
PAST = "2020-01-01T00:00:00+00:00"


def test_in_mode_cache_older_reports_for_the_same_server_are_published_when_they_are_due(project, server):
    due = [project.leave(1, server.url), project.leave(2, server.url, next_attempt_at=PAST)]
    later = project.leave(3, server.url, next_attempt_at=FUTURE)
    foreign = project.leave(4, "https://another.example/api/v1/reports")
    project.configure(server.url, storage_mode="cache")
    result = project.run()
    own = canonical_hash(project.report.read_bytes())
    assert list(server.reports) == [own, *due]
    assert {server.reports[one].metadata["hostname"] for one in due} == {"before"}
    assert section(result)[-2:] == [
        "✓ Published 2 reports of earlier runs",
        "⚠ 1 report of earlier runs still queued (jux-cache push)",
    ]
    statuses = {one.canonical_hash: str(one.status) for one in project.store.list()}
    assert statuses == {own: "published", **dict.fromkeys(due, "published"), later: "queued", foreign: "queued"}


@pytest.mark.parametrize("mode", ["both", "api"])
def test_in_other_modes_older_reports_are_left_alone(project, server, mode):
    older = project.leave(1, server.url)
    project.configure(server.url, storage_mode=mode)
    result = project.run()
    assert list(server.reports) == [canonical_hash(project.report.read_bytes())]
    assert project.store.entry(older).attempts == 0
    assert "earlier" not in result.stdout.str()


@pytest.mark.parametrize("name", ["503", "401", "400", "HTML", "redirect"])
def test_where_the_own_report_was_not_published_older_ones_are_not_tried(project, server, name):
    server.behave(*SERVERS[name][0])
    older = project.leave(1, server.url)
    project.configure(server.url, storage_mode="cache")
    result = project.run()
    assert len(server.requests) == 1
    assert project.store.entry(older).attempts == 0
    assert "earlier" not in result.stdout.str()


def test_an_older_report_that_is_damaged_does_not_disturb(project, server):
    damaged, whole = project.leave(1, server.url), project.leave(2, server.url)
    (project.store.queue / f"{damaged.replace(':', '-')}.xml").write_bytes(b"<other/>")
    project.configure(server.url, storage_mode="cache")
    result = project.run()
    assert result.ret == 0
    assert section(result)[-2:] == [
        "✓ Published 1 report of earlier runs",
        "⚠ 1 report of earlier runs still queued (jux-cache push)",
    ]
    assert whole in server.reports
    assert damaged not in server.reports


@pytest.mark.parametrize("mode", ["both", "cache"])
def test_xdist_publishes_once(project, server, mode):
    pytest.importorskip("xdist")
    older = project.leave(1, server.url)
    project.configure(server.url, storage_mode=mode)
    result = project.run_apart("-p", "xdist", "-n", "2")
    result.assert_outcomes(passed=2)
    own = canonical_hash(project.report.read_bytes())
    assert [request.json["canonical_hash"] for request in server.requests] == [own, older][
        : 2 if mode == "cache" else 1
    ]
    assert len([line for line in section(result) if "Published to API" in line]) == 1


# --- switching it on -------------------------------------------------------------------------------------------------


def test_asking_for_publishing_enables(project, server):
    project.configure(server.url, enabled=None, publish=None)
    assert not section(project.run())
    result = project.run("--jux-publish")
    check(project, result, "both", *SERVERS["fine"][1:])


def test_everything_can_be_said_on_the_command_line(project, server):
    arguments = [f"--jux-key={project.signer.key_path}", f"--jux-cert={project.signer.cert_path}"]
    arguments += ["--jux-sign", "--jux-publish", f"--jux-api-url={server.url}", f"--jux-api-key={KEY}"]
    result = project.run_apart(*arguments, f"--jux-storage-path={project.store.root}")
    check(project, result, "both", *SERVERS["fine"][1:])
    assert server.requests[0].header("x-api-key") == KEY


@pytest.mark.parametrize(
    ("settings", "arguments", "needed"),
    [
        ({"sign": None}, [], "jux_sign"),
        ({"api_url": None}, [], "jux_api_url"),
        ({"enabled": None, "publish": None, "sign": None}, ["--jux-publish"], "jux_sign"),
        ({"key_path": None}, [], "jux_key_path"),
        ({}, ["--no-jux-sign"], "jux_sign"),
    ],
)
def test_publishing_without_what_it_needs_is_a_usage_error_at_the_start(project, server, settings, arguments, needed):
    project.configure(server.url, **settings)
    result = project.run_apart(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in result.errlines if line]
    assert re.fullmatch(f"ERROR: jux: .*: jux_(publish|sign) enabled but {needed} not set", line)
    assert "test session starts" not in result.stdout.str()
    assert not server.connections


def test_no_jux_publish_wins_over_every_file(project, server):
    project.configure(server.url)
    result = project.run("--no-jux-publish")
    assert (project.status(), server.connections) == ("local", [])
    assert len(section(result)) == 2


@pytest.mark.parametrize(
    ("auth", "key", "header", "value"),
    [
        ("api-key", KEY, "x-api-key", KEY),
        ("bearer", KEY, "authorization", f"Bearer {KEY}"),
        ("basic", "me:wörd", "authorization", "Basic bWU6d8O2cmQ="),
    ],
)
def test_every_way_to_show_the_key(project, server, auth, key, header, value):
    server.behave(answers(201, {"id": "r-1"}))
    project.configure(server.url, api_auth=auth, api_key=key)
    project.run()
    assert server.requests[0].header(header) == value


# --- environments ----------------------------------------------------------------------------------------------------

RUINED = {
    "no environment": "import os\nos.environ.clear()",
    "other settings": (
        "import os\nfor name in [name for name in os.environ if name.startswith('JUX_')]:\n"
        "    os.environ[name] = 'http://127.0.0.1:1/other'"
    ),
    "another home": "import os\nos.environ['HOME'] = '/nonexistent'",
    "a proxy": "import os\nfor n in ('HTTP', 'HTTPS', 'ALL'):\n    os.environ[n + '_PROXY'] = 'http://127.0.0.1:1'",
    "a short default timeout": "import socket\nsocket.setdefaulttimeout(0.000001)",
    "non-blocking sockets": "import socket\nsocket.setdefaulttimeout(0.0)",
    "no sleeping": "import time\ndef sleep(n): raise AssertionError('asleep')\ntime.sleep = sleep",
    "a clock that stands": "import time\ntime.monotonic = lambda: 12345.0",
    "a clock that runs backwards": (
        "import itertools, time\nticks = itertools.count(99999.0, -7.5)\ntime.monotonic = lambda: next(ticks)"
    ),
    "another year": "import time\ntime.time = lambda: 1.0",
    "no thread switch": "import sys\nsys.setswitchinterval(5)",
    "warnings are errors": "import warnings\nwarnings.simplefilter('error')",
    "no logging": "import logging\nlogging.disable()",
    "no standard streams": "import sys\nsys.stdin = None",
    "a shallow stack": "import sys\nsys.setrecursionlimit(400)",
}


# What pytest itself does not stand at its start.
RUINED_LATER = {
    "another directory": "import os\nos.mkdir('other')\nos.chdir('other')",
    "a directory that is gone": "import os\nos.mkdir('other')\nos.chdir('other')\nos.rmdir('../other')",
}
ALL_RUINS = [*((name, when) for name in RUINED for when in ("conftest", "test")), *((n, "test") for n in RUINED_LATER)]


@pytest.mark.parametrize(("name", "when"), ALL_RUINS)
def test_what_tests_do_to_their_process_does_not_keep_the_report_from_being_published(project, server, name, when):
    project.configure("http://127.0.0.1:1/none", api_key=None, enabled="false", api_retries=2)
    variables = {
        "JUX_API_URL": server.url,
        "JUX_API_KEY_ENV": "JUX_TEST_KEY",
        "JUX_TEST_KEY": KEY,
        "JUX_ENABLED": "yes",
    }
    for variable, value in variables.items():
        project.monkeypatch.setenv(variable, value)
    if when == "conftest":
        (project.path / "conftest.py").write_text(RUINED[name])
    else:
        body = (RUINED | RUINED_LATER)[name].replace("\n", "\n    ")
        project.pytester.makepyfile(f"def test_a():\n    {body}\ndef test_b(): pass\n")
    result = project.run_apart("-rN")
    assert section(result)[-1:] == [f"✓ Published to API: {server.origin}/reports/report-1"]
    assert [request.header("x-api-key") for request in server.requests] == [KEY]
    assert project.is_signed()


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize("change", ["os.environ['{}'] = '{}'", "os.environ.clear()", "os.environ['NO_PROXY'] = '*'"])
def test_the_proxy_is_that_of_the_start(project, server, variable, change):
    with RecordingServer() as trap, ForwardProxy({"api.example.test": server}) as proxy:
        project.monkeypatch.setenv(variable, proxy.address)
        (project.path / "conftest.py").write_text(f"import os\n{change.format(variable, trap.origin)}\n")
        project.configure(f"http://api.example.test{PATH}")
        result = project.run_apart()
        assert section(result)[-1].startswith("✓ Published to API: ")
        assert len(server.reports) == 1
        assert not trap.connections


def test_a_proxy_that_tests_set_gets_nothing(project):
    with RecordingServer() as trap:
        project.pytester.makepyfile(f"import os\ndef test_a(): os.environ['http_proxy'] = '{trap.origin}'\n")
        project.configure(f"http://api.example.test{PATH}")
        project.run_apart()
        assert not trap.connections


NO_SOCKETS = """
import socket

class Forbidden(socket.socket):
    def __new__(cls, *arguments, **options):
        raise RuntimeError("sockets are not allowed in these tests")

    def connect(self, *arguments):
        raise RuntimeError("sockets are not allowed in these tests")

def test_a():
    socket.socket = Forbidden

def test_b():
    socket.create_connection = socket.getaddrinfo = Forbidden
"""


def test_where_tests_forbid_sockets_the_report_waits_and_one_line_says_so(project, server):
    project.pytester.makepyfile(NO_SOCKETS)
    project.configure(server.url, storage_mode="cache")
    result = project.run_apart()
    assert result.ret == 0
    assert "Traceback" not in everything(result)
    assert len(section(result)) == 3
    assert project.status() == "queued"


def test_the_library_that_tests_debug_does_not_show_the_key(project, server):
    project.pytester.makepyfile("import http.client\ndef test_a(): http.client.HTTPConnection.debuglevel = 9\n")
    project.configure(server.url)
    result = project.run_apart("-s")
    assert len(server.reports) == 1
    assert KEY not in everything(result)


LOG_EVERYTHING = """
import logging

logging.getLogger().setLevel(1)
logging.getLogger().addHandler(logging.FileHandler("all.log"))
"""


@pytest.mark.parametrize("arguments", [["--log-cli-level=DEBUG", "-vv"], ["--log-level=DEBUG", "-rA", "-s"]])
def test_the_log_of_everything_does_not_show_the_key(project, server, arguments):
    (project.path / "conftest.py").write_text(LOG_EVERYTHING)
    server.behave(answers(503), stores)
    project.configure(server.url, api_retries=1)
    result = project.run_apart(*arguments)
    assert len(server.reports) == 1
    log = (project.path / "all.log").read_text()
    assert "POST /api/v1/reports" in log
    assert KEY not in everything(result) + log


# --- terminals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["-p", "no:terminal"], ["--no-summary"], ["-qq"], ["-q", "--no-header"]])
def test_a_run_that_shows_less_publishes_all_the_same(project, server, arguments):
    project.configure(server.url)
    assert project.run_apart(*arguments).ret == 0
    assert list(server.reports) == [canonical_hash(project.report.read_bytes())]


def test_a_quiet_run_says_that_it_published(project, server):
    project.configure(server.url)
    check(project, project.run("-q"), "both", *SERVERS["fine"][1:])


@pytest.mark.parametrize(
    ("name", "mode", "colour", "mark"),
    [("fine", "both", 32, "✓"), ("503", "cache", 33, "⚠"), ("503", "both", 31, "✗")],
)
def test_colours_say_how_it_went(project, server, name, mode, colour, mark):
    server.behave(*SERVERS[name][0])
    project.configure(server.url, storage_mode=mode)
    last = [line for line in project.run("--color=yes").stdout.lines if line.startswith(f"\x1b[{colour}m{mark}")][-1]
    assert "API" in last or "Not published" in last


def test_what_a_server_says_cannot_act_on_the_terminal(project, server):
    server.behave(answers(400, {"status": "error", "error": "\x1b[2Jno\n✓ Published to API: yes\u202e"}))
    project.configure(server.url)
    result = project.run()
    (line,) = [line for line in section(result) if line.startswith("✗")]
    assert r": the server refuses the report: \x1b[2Jno\x0a✓ Published to API: yes\u202e (kept: " in line
    assert "\x1b[2J" not in result.stdout.str()


@pytest.mark.parametrize("redirections", ["<&-", "</dev/full", "<&- >/dev/null"])
def test_a_run_without_standard_input_publishes_all_the_same(project, server, redirections):
    project.configure(server.url)
    command = f"exec {sys.executable} -m pytest {' '.join(project.words)} {redirections}"
    done = subprocess.run(["bash", "-c", command], cwd=project.path, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert list(server.reports) == [canonical_hash(project.report.read_bytes())]


@pytest.mark.parametrize("name", ["fine", "503", "HTML", "hangs up", "401"])
def test_warnings_as_errors_find_none_of_ours(project, server, name):
    server.behave(*SERVERS[name][0])
    project.configure(server.url, api_retries=1)
    command = [sys.executable, "-X", "dev", "-W", "error", "-m", "pytest", "-W", "error", *project.words]
    done = subprocess.run(command, cwd=project.path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Warning" not in done.stdout
    check_line = expected_line(SERVERS[name][1], "both", SERVERS[name][2])
    assert re.fullmatch(check_line, section(done.stdout)[-1])


# --- interruptions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["reads and says nothing", "the header drips", "the handshake is not answered"])
def test_an_interruption_while_publishing_says_what_was_done(project, server, mode, name):
    scheme, behaviours = HANGING[name]
    server.behave(*behaviours)
    project.configure(server.url.replace("http:", f"{scheme}:"), storage_mode=mode, publish_deadline=100)
    with project.start() as run:
        server.wait_for(lambda server: b"\r\n\r\n" in server.received or (scheme == "https" and server.received))
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=60)
    assert run.returncode == pytest.ExitCode.INTERRUPTED
    assert err == ""
    lines = section(out)
    assert lines[0] == "✓ Report signed: report.xml"
    assert lines[-1] == "✗ Not published: interrupted; queued for retry"
    assert len(lines) == (2 if mode == "api" else 3)
    assert project.is_signed()
    assert project.status() == "queued"
    server.behave(stores)
    with RecordingServer(key=KEY) as later:  # and it is not held by anybody
        project.configure(later.url, storage_mode=mode)
        assert drain_all(project, later) == 1


def drain_all(project, server):
    """Publish what waits, as `jux-cache push --any-server` does; return how many reports the server has then."""
    script = "from pytest_jux.commands.cache import main; main()"
    words = ["push", "--any-server", "--storage-path", project.store.root]
    done = subprocess.run(
        [sys.executable, "-c", script, *words], cwd=project.path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return len(server.reports)


def test_an_interruption_while_older_reports_are_published_says_that_the_own_one_is(project, server):
    project.leave(1, server.url)
    server.behave(stores, is_silent)
    project.configure(server.url, storage_mode="cache", publish_deadline=100)
    with project.start() as run:
        server.wait_for(lambda server: server.attempts == 2)
        server.wait_for(lambda server: server.received.count(b'"report"') == 2)
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=60)
    assert (run.returncode, err) == (2, "")
    assert section(out)[-2].startswith("✓ Published to API: ")
    assert section(out)[-1] == "⚠ Interrupted while reports of earlier runs were published"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_is_killed_while_publishing_leaves_the_report_stored_and_queued(project, server, number):
    server.behave(is_silent)
    project.configure(server.url, publish_deadline=100)
    with project.start() as run:
        server.wait_for(lambda server: b'"report"' in server.received)
        run.send_signal(number)
        run.communicate(timeout=60)
    assert run.returncode == -number
    assert project.is_signed()
    assert project.status() == "queued"
    assert [path.read_bytes() for path in project.kept("queue")] == [project.report.read_bytes()]


# --- what is loaded --------------------------------------------------------------------------------------------------

MODULES = """
import json, sys
def pytest_unconfigure(config):
    with open("modules.json", "w") as file:
        json.dump([name for name in sys.modules], file)
"""
HTTP = {"urllib3", "truststore", "ssl", "http", "pytest_jux.api_client", "pytest_jux.publishing"}


@pytest.mark.parametrize(
    ("settings", "arguments", "loads"),
    [
        ({"enabled": "false"}, [], False),
        ({"publish": "false"}, [], False),
        ({"storage_mode": "local"}, [], False),
        ({"key_path": "none.pem"}, [], False),
        ({}, ["--collect-only"], False),
        ({}, [], True),
    ],
)
def test_the_http_library_is_loaded_only_to_publish(project, server, settings, arguments, loads):
    for name in [name for name in os.environ if name.startswith("COVERAGE_")]:
        project.monkeypatch.delenv(name)  # it would load modules of its own
    (project.path / "conftest.py").write_text(MODULES)
    project.configure(server.url, **settings)
    assert project.run_apart(*arguments).ret == 0
    loaded = {*json.loads(Path(project.path / "modules.json").read_text())}
    plain_http = {"truststore"}  # for which there is no TLS
    assert loaded & HTTP == (HTTP - plain_http if loads else set())


def test_tests_find_the_same_modules_whether_the_plugin_publishes_or_not(project, server):
    project.pytester.makepyfile(
        "import sys\ndef test_a(): assert not {'urllib3', 'ssl', 'pytest_jux.api_client'} & {*sys.modules}"
    )
    for name in [name for name in os.environ if name.startswith("COVERAGE_")]:
        project.monkeypatch.delenv(name)
    project.configure(server.url)
    project.run_apart().assert_outcomes(passed=1)
    assert len(server.reports) == 1
