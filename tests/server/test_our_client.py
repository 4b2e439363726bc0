"""Our own plugin and commands against our own server, end to end; and curl, for everybody else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from servers import running

from jux_server.app import Choices
from jux_server.trust import add_signer, create_key

SUITE = "def test_passes(): pass\ndef test_fails(): assert 1 + 1 == 3\n"
PROGRAMS = Path(sys.executable).parent


class Project:
    """A project whose tests run with the plugin."""

    def __init__(self, directory, signer):
        self.directory = directory
        (directory / "test_some.py").write_text(SUITE)
        lines = f"jux_sign = true\njux_key_path = {signer.key_path}\njux_cert_path = {signer.cert_path}\n"
        (directory / "pytest.ini").write_text(f"[pytest]\njux_enabled = true\njux_project = shop\n{lines}")
        subprocess.run(["git", "init", "-q", "-b", "trunk"], cwd=directory, check=True)

    def run(self, program, *arguments, code=0, **variables):
        names = ("JUX_", "PYTEST_", "XDG_", "GIT_", "CI", "GITHUB_")
        environ = {name: value for name, value in os.environ.items() if not name.startswith(names)}
        environ |= {"HOME": str(self.directory), "NO_PROXY": "127.0.0.1", "JUX_STORAGE_PATH": str(self.store)}
        command = [PROGRAMS / program, *arguments]
        done = subprocess.run(
            command, cwd=self.directory, env={**environ, **variables}, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def test(self, url, mode, **variables):
        settings = {"JUX_API_URL": f"{url}/api/v1/reports", "JUX_STORAGE_MODE": mode, "JUX_API_MAX_RETRIES": "0"}
        report = ["--junit-xml=report.xml", "-p", "no:cacheprovider"]
        return self.run("pytest", *report, code=1, JUX_PUBLISH="true", **settings, **variables)

    @property
    def store(self):
        return self.directory / "store"

    @property
    def report(self):
        return (self.directory / "report.xml").read_bytes()

    def queued(self):
        return list((self.store / "queue").glob("*.json"))


@pytest.fixture
def project(tmp_path, p256, clean_environment):
    return Project(tmp_path, p256)


def runs(server):
    return server.get("/api/v1/reports").json()["reports"]


@pytest.mark.parametrize("mode", ["api", "both", "cache"])
def test_run_publishes_the_exact_bytes_of_its_report(server, database, project, p256, mode):
    add_signer(database, p256.certificate)
    said = project.test(server.url, mode)
    (run,) = runs(server)
    assert f"Published to API: {server.url}/reports/{run['id']}" in said
    assert (run["project"], run["branch"], run["status"], run["signature_state"]) == (
        "shop",
        "trunk",
        "failed",
        "trusted",
    )
    assert server.get(f"/api/v1/reports/{run['id']}.xml").data == project.report
    assert project.queued() == []


def test_local_run_sends_nothing(server, project):
    project.test(server.url, "local")
    assert runs(server) == []


def test_report_waits_for_the_server_and_the_next_run_sends_both(server, project):
    assert "queued for retry" in project.test("http://127.0.0.1:1", "cache")
    assert len(project.queued()) == 1
    project.run("jux-cache", "list")
    (project.directory / "test_more.py").write_text("def test_more(): pass\n")
    url = f"{server.url}/api/v1/reports"
    waiting = json.loads(project.queued()[0].read_text())
    assert waiting["api_url"].startswith("http://127.0.0.1:1/")
    project.run("jux-cache", "push", "--any-server", JUX_API_URL=url)
    assert project.queued() == []
    project.test(server.url, "cache")
    assert sorted(run["tests"] for run in runs(server)) == [2, 3]


def test_report_published_by_hand_and_again_is_a_duplicate(server, project):
    project.test(server.url, "local")
    url = f"{server.url}/api/v1/reports"
    first = json.loads(project.run("jux-publish", "report.xml", "--api-url", url, "--json"))
    again = json.loads(project.run("jux-publish", "report.xml", "--api-url", url, "--json", code=2))
    assert (first["status"], again["status"]) == ("published", "duplicate")
    assert first["id"] == again["id"] == runs(server)[0]["id"]


def test_api_key_is_needed_and_a_wrong_one_keeps_the_report(database, project):
    token, _ = create_key(database, "ci", scopes=["publish"], projects=["shop"])
    with running(database, Choices(is_open_here=False)) as server:
        said = project.test(server.url, "both", JUX_API_KEY="jux_abcdefgh_wrong")
        assert "the API key" in said
        assert len(project.queued()) == 1
        project.run("jux-cache", "push", JUX_API_URL=f"{server.url}/api/v1/reports", JUX_API_KEY=token)
        assert project.queued() == []
        for auth in ("bearer", "basic"):
            (project.directory / f"test_{auth}.py").write_text("def test_more(): pass\n")
            key = f"ci:{token}" if auth == "basic" else token
            assert "Published to API" in project.test(server.url, "both", JUX_API_KEY=key, JUX_API_AUTH=auth)


SUREFIRE_REPORT = """<?xml version="1.0" encoding="UTF-8"?>
<testsuite name="com.example.CartTest" time="0.123" tests="4" errors="1" skipped="1" failures="1">
  <properties><property name="java.version" value="17"/><property name="project" value="cart"/></properties>
  <testcase name="adds" classname="com.example.CartTest" time="0.01"/>
  <testcase name="removes" classname="com.example.CartTest" time="0.02">
    <failure message="expected: &lt;1&gt; but was: &lt;2&gt;" type="AssertionFailedError">at line 12</failure>
  </testcase>
  <testcase name="pays" classname="com.example.CartTest" time="0.03"><error type="java.io.IOException"/></testcase>
  <testcase name="ships" classname="com.example.CartTest" time="0"><skipped message="not yet"/></testcase>
</testsuite>
"""


def test_curl_submits_a_surefire_report(server, tmp_path):
    curl = shutil.which("curl")
    assert curl, "curl is not installed (Debian: apt-get install curl)"
    (tmp_path / "TEST-com.example.CartTest.xml").write_text(SUREFIRE_REPORT)
    command = [curl, "-sS", "--noproxy", "*", "-H", "Content-Type: application/xml"]
    command += ["--data-binary", "@TEST-com.example.CartTest.xml", f"{server.url}/api/v1/junit/submit"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    expected = {"test_count": 4, "failure_count": 1, "error_count": 1, "skipped_count": 1, "success_rate": 33.33}
    assert {name: answer[name] for name in expected} == expected
    assert answer["project"] == "cart"
    suites = server.get(f"/api/v1/test_runs/{answer['test_run_id']}/test_suites").json()["test_suites"]
    assert [suite["name"] for suite in suites] == ["com.example.CartTest"]
