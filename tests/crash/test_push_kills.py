"""Pushes that compete, are killed at any moment, or cannot record an answer: nothing is lost, stuck or sent twice."""

from __future__ import annotations

import collections
import errno
import itertools
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from crash.interposed import interposed
from crash.pushers import Pushers
from crash.reports import ROUNDS, identity, problems_below, report
from crash.test_real_filesystems import SMALL, mounted
from publishing.hostile import RecordingServer, answers, resets, stores

from pytest_jux.commands import _cli
from pytest_jux.commands.cache import command
from pytest_jux.storage import ReportStorage

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kill -9 and fork are of POSIX")

KILLS, REPORTS = 50 * ROUNDS, 40 * ROUNDS
CALLS = 70  # of a push that change or say something, for two reports
GUARD = 120  # seconds; only so that a hang ends


@pytest.fixture
def environ(tmp_path, clean_environment, monkeypatch):
    """Return the environment of a client that knows nothing, which is that of this process, too."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setenv("HOME", str(home))
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", "*")
    return dict(os.environ)


@pytest.fixture
def pushers(tmp_path, environ):
    (tmp_path / "pushers").mkdir()
    with Pushers(tmp_path / "pushers", environ) as started:
        yield started


@pytest.fixture
def store(tmp_path):
    return ReportStorage(tmp_path / "store")


def queue(store, url, numbers):
    """Store and queue reports with these numbers; return their content by hash."""
    found = {}
    for number in numbers:
        data = report(number)
        found[identity(data)] = data
        store.store(data, identity(data), {"number": number})
        store.enqueue(data, identity(data), {"number": number}, api_url=url)
    return found


def push_of(store, server, *more):
    return ("--storage-path", store.root, "--api-url", server.url, "--api-key", "key", *more)


def sent(server):
    """Return how often each report was sent."""
    return collections.Counter(request.json["canonical_hash"] for request in server.requests)


def statuses(store):
    return {entry.canonical_hash: entry.status.value for entry in store.list()}


def test_four_pushes_at_once_send_every_report_once(store, pushers):
    for turn in range(5 * ROUNDS):

        def together(line):
            """Answer the first four requests when all of them are there, so that nobody is done before others begin."""
            request = line.read_request()
            line.server.wait_for(lambda server: len(server.requests) >= 4)
            line.answer(*line.server.keep(request))

        with RecordingServer(*[together] * 4, stores) as server:
            reports = queue(store, server.url, range(turn * 100, turn * 100 + 25))
            started = [pushers.start(*push_of(store, server)) for _ in range(4)]
            assert [pushers.wait(process) for process, _ in started] == [0] * 4
            assert sent(server) == dict.fromkeys(reports, 1)
            assert len({request.connection for request in server.requests}) == 4
            assert {identity: statuses(store)[identity] for identity in reports} == dict.fromkeys(reports, "published")
            said = [output.read_text() for _, output in started]
            assert (
                sum(int(re.search(r"Published (\d+) reports?, 0 failed(, [1-3] busy)?\n$", text)[1]) for text in said)
                == 25
            )


class Storm:
    """Kills one push after the other, at moments of every kind, each while there is something to push."""

    # Where much waits, a moment may come late; else it must not, so that something is left for the others.
    plenty = itertools.cycle(["stored", "call", "time", "stored", "call", "asked"])
    few = itertools.cycle(["asked", "call", "call"])

    def __init__(self, store, server, pushers, environ, seed, *, jobs=1, at_once=1):
        print(f"seed {seed}")  # noqa: T201 - for who looks into a failure
        self.store, self.server, self.pushers, self.environ = store, server, pushers, environ
        self.jobs, self.at_once = jobs, at_once
        self.chance = random.Random(seed)  # noqa: S311 - chance, not a secret
        self.kills = collections.Counter()
        self.further = {}  # reports that were queued because all others were published
        start = time.monotonic()
        self._whole().communicate(timeout=GUARD)
        self.seconds = time.monotonic() - start  # how long a push takes

    def rage(self, kills):
        while (left := kills - self.kills.total()) > 0:
            waiting = len(self.store.waiting())
            if not waiting:
                number = 10_000 + len(self.further)
                self.further |= queue(self.store, self.server.url, [number])
            kind = next(self.plenty if waiting > left * 0.8 else self.few)
            getattr(self, f"_at_{kind}")()
        print(self.kills, f"{len(self.store.waiting())} left")  # noqa: T201 - as above

    def _at_asked(self):
        """When the server has the request, but did not keep the report."""
        self._at_request("asked", keeps=False)

    def _at_stored(self):
        """When the server has the report, but nobody knows yet; the first or the second of this push."""
        self._at_request("stored", *[stores] * self.chance.randint(0, 1), keeps=True)

    def _at_request(self, kind, *before, keeps):
        victim, is_started = [], threading.Event()

        def kills(line):
            request = line.read_request()
            if keeps:
                line.server.keep(request)
            is_started.wait(GUARD)
            os.kill(victim[0], signal.SIGKILL)
            line.listen()

        self.server.behave(*before, kills, stores)
        victim.append(self.pushers.start(*self._arguments())[0])
        is_started.set()
        self._bury(kind, self.pushers.wait(victim[0]))
        self.server.behave(stores)

    def _at_call(self):
        """At a system call of the client: when it reads the queue, connects, sends, reads the answer or records it."""
        moments = [self.chance.randint(1, CALLS) for _ in range(self.at_once)]
        started = [self.pushers.start(*self._arguments("--limit", 2), calls=moment) for moment in moments]
        for process, _ in started:
            self._bury("call", self.pushers.wait(process))

    def _at_time(self):
        """Whenever, in the life of a process that was started as people start it."""
        process = self._whole()
        try:
            process.communicate(timeout=self.chance.uniform(0, self.seconds))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate(timeout=GUARD)
        self._bury("time", process.returncode)

    def _bury(self, kind, code):
        assert code in {0, -signal.SIGKILL}
        self.kills[kind] += code == -signal.SIGKILL

    def _arguments(self, *more):
        return push_of(self.store, self.server, "--jobs", self.jobs, *more)

    def _whole(self):
        code = "from pytest_jux.commands.cache import main; main()"
        command = [sys.executable, "-c", code, "push", *(str(one) for one in self._arguments("--limit", 1))]
        return subprocess.Popen(command, env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@pytest.mark.parametrize(("jobs", "seed"), [(1, 20261122), (1, 2), (3, 3)])
def test_kills_at_any_moment_lose_nothing_and_repeat_no_more_than_was_cut_off(store, pushers, environ, jobs, seed):
    with RecordingServer() as server:
        reports = queue(store, server.url, range(REPORTS))
        storm = Storm(store, server, pushers, environ, seed, jobs=jobs)
        storm.rage(KILLS)
        reports |= storm.further
        assert storm.kills["stored"] >= KILLS / 10
        assert storm.kills["call"] >= KILLS / 10
        check_the_end(store, server, pushers, reports)
        assert len(server.requests) <= len(reports) + jobs * KILLS


def test_what_runs_queue_while_pushes_are_killed_arrives_too(store, pushers, environ):
    with RecordingServer() as server:
        reports = queue(store, server.url, range(5))
        storm = Storm(store, server, pushers, environ, 7, at_once=2)
        writers = [pushers.start_queueing(store.root, server.url, list(range(first, 240, 2))) for first in (5, 6)]
        storm.rage(KILLS // 2)
        assert [pushers.wait(writer) for writer in writers] == [0, 0]
        reports |= {identity(report(number)): report(number) for number in range(240)} | storm.further
        check_the_end(store, server, pushers, reports)
        assert len(server.requests) <= len(reports) + storm.kills.total()


def check_the_end(store, server, pushers, reports):
    """Let one more push bring the rest, and see that then everything is in order."""
    assert [one for one, data in reports.items() if store.read(one) != data] == []
    last, output = pushers.start(*push_of(store, server))
    assert pushers.wait(last) == 0, output.read_text()
    assert statuses(store) == dict.fromkeys(reports, "published")
    assert {one.canonical_hash: one.data for one in server.reports.values()} == reports
    assert [one for one, data in reports.items() if store.read(one) != data] == []
    store.sweep()
    assert problems_below(store.root) == []
    assert store.waiting() == []


def test_two_pushes_with_many_jobs_count_the_attempts_of_a_failing_server(store, pushers):
    with RecordingServer(answers(503)) as server:
        reports = queue(store, server.url, range(30))
        started = [pushers.start(*push_of(store, server, "--jobs", 4, "--retries", 0)) for _ in range(2)]
        assert [pushers.wait(process) for process, _ in started] == [1, 1]
        said = [output.read_text() for _, output in started]
        assert [text for text in said if "Traceback" in text] == []
        attempts = {entry.canonical_hash: entry.attempts for entry in store.waiting()}
        assert {one: number for one, number in attempts.items() if number} == sent(server)
        assert set(attempts) == set(reports)
        # Each gives up after three failures; up to three more are on their way then.
        assert 6 <= len(server.requests) <= 12
        counted = [
            re.search(r"^Published 0 reports, (\d+) failed, (\d+) not tried(, \d busy)?$", text, re.MULTILINE)
            for text in said
        ]
        assert sum(int(found[1]) for found in counted) == len(server.requests)


def test_a_server_that_dies_in_the_middle_keeps_the_rest_waiting(store, pushers):
    def dies(line):
        line.server.keep(line.read_request())
        line.reset()

    with RecordingServer(*[stores] * 7, dies, resets) as server:
        reports = queue(store, server.url, range(20))
        process, output = pushers.start(*push_of(store, server, "--retries", 0))
        assert pushers.wait(process) == 1
        assert output.read_text().endswith("\nPublished 7 reports, 3 failed, 10 not tried\n")
        assert len(server.requests) == 10
        assert collections.Counter(statuses(store).values()) == {"published": 7, "queued": 13}
        server.behave(stores)
        check_the_end(store, server, pushers, reports)
        assert sent(server).total() == 23


def test_a_server_that_is_gone_is_asked_once(store, pushers):
    with RecordingServer() as server:
        reports = queue(store, server.url, range(20))
    process, output = pushers.start(*push_of(store, server, "--retries", 0))
    assert pushers.wait(process) == 1
    assert output.read_text().endswith("\nPublished 0 reports, 1 failed, 19 not tried\n")
    assert sorted(entry.attempts for entry in store.waiting()) == [*[0] * 19, 1]
    assert statuses(store) == dict.fromkeys(reports, "queued")


# --- the answer cannot be recorded ----------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO])
def test_an_answer_that_cannot_be_recorded_is_no_loss_and_the_next_push_makes_up_for_it(store, environ, capfd, code):
    names = {"mkdir", "replace", "write", "fsync"} if code != errno.EACCES else {"mkdir", "replace"}

    def observe(name, call, arguments, keywords):
        is_store = name in names and server.requests
        if is_store and not (name == "write" and arguments[0] in {1, 2}):
            raise OSError(code, os.strerror(code), *map(str, arguments[:1]))
        return call(*arguments, **keywords)

    with RecordingServer() as server:
        reports = queue(store, server.url, range(5))
        arguments = ["push", *map(str, push_of(store, server))]
        with interposed(observe):
            assert _cli.run(command, arguments, "jux-cache") == 1
        out, err = capfd.readouterr()
        assert out == "Publishing queued reports...\nPublished 0 reports, 3 failed, 2 not tried\n"
        complaint = (
            r"✗ sha256:[0-9a-f]{12}\.\.\.: the server has the report, but that cannot be recorded: cannot [a-z]+ \S+: "
        )
        assert re.fullmatch(f"({complaint}{os.strerror(code).lower()}\n)" + "{3}", err)
        assert statuses(store) == dict.fromkeys(reports, "queued")
        assert len(server.reports) == 3
        assert _cli.run(command, arguments, "jux-cache") == 0
        assert statuses(store) == dict.fromkeys(reports, "published")
        assert sent(server).total() == 8
        assert "Published 5 reports, 0 failed\n" in capfd.readouterr().out


def test_from_a_read_only_store_nothing_is_sent(store, environ, capfd):
    def observe(name, call, arguments, keywords):
        is_store = arguments and str(arguments[0]).startswith(str(store.root))
        if is_store and (name != "open" or arguments[1] & (os.O_WRONLY | os.O_RDWR)):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(arguments[0]))
        return call(*arguments, **keywords)

    with RecordingServer() as server:
        (name,) = queue(store, server.url, [1])
        with interposed(observe):
            assert _cli.run(command, ["push", *map(str, push_of(store, server))], "jux-cache") == 1
        assert re.fullmatch(rf"✗ {name[:19]}\.\.\.: cannot [a-z]+ \S+: read-only file system\n", capfd.readouterr().err)
        assert server.connections == []
        assert statuses(store) == {name: "queued"}


PUSH_ON_FULL = """
import pathlib, sys
sys.path.insert(0, sys.argv[2])
from crash.reports import identity, report
from pytest_jux.commands import _cli
from pytest_jux.commands.cache import command
from pytest_jux.storage import ReportStorage

disk, url = pathlib.Path(sys.argv[1]), sys.argv[3]
store = ReportStorage(disk / "store")
for number in range(4):
    data = report(number)
    store.store(data, identity(data))
    store.enqueue(data, identity(data), api_url=url)
with (disk / "filler").open("wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(4096))
    except OSError:
        pass
push = ["push", "--storage-path", str(store.root), "--api-url", url]
print("code", _cli.run(command, push), [report.status.value for report in store.list()], flush=True)
(disk / "filler").unlink()
print("code", _cli.run(command, push), [report.status.value for report in store.list()], flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mount namespaces are of Linux")
def test_a_really_full_disk_is_no_loss_and_the_next_push_makes_up_for_it(tmp_path, environ):
    (tmp_path / "disk").mkdir()
    tests = str(Path(__file__).resolve().parent.parent)
    with RecordingServer() as server:
        done = mounted(
            SMALL, tmp_path / "disk", sys.executable, "-c", PUSH_ON_FULL, str(tmp_path / "disk"), tests, server.url
        )
        codes = [line for line in done.stdout.splitlines() if line.startswith("code")]
        assert codes == [f"code 1 {['queued'] * 4}", f"code 0 {['published'] * 4}"]
        complaint = (
            r"✗ \S+ the server has the report, but that cannot be recorded: cannot update \S+: no space left on device"
        )
        assert re.fullmatch(rf"({complaint}\n){{3}}", done.stderr)
        assert len(server.reports) == 4
        assert max(sent(server).values()) == 2
