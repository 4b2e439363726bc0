"""The published tool of the same name, unchanged, against our server."""

from __future__ import annotations

import os
import subprocess

import pytest
from interop.environments import published_client
from servers import running

from jux_server.app import Choices
from jux_server.trust import create_key
from jux_server.upkeep.projects import set_project

SUITE = """
import pytest
def test_passes(): pass
def test_fails(): assert 1 + 1 == 3
@pytest.mark.skip(reason="not today")
def test_skipped(): pass
"""
WHY_BROKEN = "the report was changed after signing (white space was added, as pretty-printing does)"


@pytest.fixture(scope="module")
def programs():
    with published_client() as path:
        yield path


class Client:
    """A project whose tests run with the published client's plugin."""

    def __init__(self, programs, directory):
        self.programs = programs
        self.directory = directory
        (directory / "test_some.py").write_text(SUITE)
        (directory / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")
        self.run("jux-keygen", "--type", "rsa", "--bits", "2048", "--output", "key.pem", "--cert")
        for command in (["init", "-q", "-b", "main"], ["remote", "add", "origin", "https://example.com/team/shop.git"]):
            subprocess.run(["git", *command], cwd=directory, check=True)

    def run(self, program, *arguments, code=0, **variables):
        names = ("JUX_", "PYTEST_", "XDG_", "GIT_")
        environ = {name: value for name, value in os.environ.items() if not name.startswith(names)}
        environ |= {"HOME": str(self.directory), "NO_PROXY": "127.0.0.1", **variables}
        command = [self.programs / program, *arguments]
        done = subprocess.run(command, cwd=self.directory, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def test(self, url, mode="api", **variables):
        """Run the tests and publish; the token comes from the environment, as its documentation says."""
        options = ["--junit-xml=report.xml", "--jux-sign", "--jux-publish", "--jux-key=key.pem", "--jux-cert=key.crt"]
        settings = {"JUX_API_URL": f"{url}/api/v1", "JUX_STORAGE_MODE": mode, "JUX_API_MAX_RETRIES": "0"}
        settings["JUX_STORAGE_PATH"] = str(self.directory / "store")
        return self.run("pytest", *options, code=1, **settings, **variables)


@pytest.fixture
def client(programs, tmp_path):
    return Client(programs, tmp_path)


def test_its_report_is_stored_with_a_broken_signature_and_the_reason(server, client):
    said = client.test(server.url)
    assert "Report published to Jux API: test_run_id=" in said
    (run,) = server.get("/api/v1/reports").json()["reports"]
    assert (run["tests"], run["failures"], run["skipped"]) == (3, 1, 1)
    assert run["signature_state"] == "broken"
    found = server.get(f"/api/v1/reports/{run['id']}").json()
    assert found["signature"]["reason"] == WHY_BROKEN
    assert (
        server.get(f"/api/v1/reports/{run['id']}.xml").data.rstrip()
        == (client.directory / "report.xml").read_bytes().rstrip()
    )


def test_its_report_is_refused_where_the_project_accepts_intact_ones_only(server, client, database):
    project = "unknown"
    client.test(server.url)
    (run,) = server.get("/api/v1/reports").json()["reports"]
    project = run["project"]
    set_project(database, project, accept="intact")
    (client.directory / "test_some.py").write_text(SUITE + "\ndef test_more(): pass\n")
    said = client.test(server.url)
    assert "Failed to publish report to Jux API" in said
    assert WHY_BROKEN in said
    assert len(server.get("/api/v1/reports").json()["reports"]) == 1


def test_its_report_published_again_is_the_same_run(server, client):
    client.test(server.url)
    publish = ("jux-publish", "--file", "report.xml", "--api-url", f"{server.url}/api/v1", "--json")
    first, second = client.run(*publish), client.run(*publish)
    (run,) = server.get("/api/v1/reports").json()["reports"]
    assert run["id"] in first
    assert run["id"] in second


def test_its_queue_empties(server, client):
    """Its plugin never fills the queue, so the report is put there by its own storage class."""
    client.test("http://127.0.0.1:1", mode="cache")
    queue = (
        "from pathlib import Path; from juxlib.storage.filesystem import ReportStorage as S;"
        "S(Path('store')).queue_report(Path('report.xml').read_bytes(), 'sha256-' + 'a' * 64)"
    )
    client.run("python", "-c", queue)
    publish = ("jux-publish", "--queue", "--api-url", f"{server.url}/api/v1", "--storage-path", "store")
    client.run(*publish)
    assert list((client.directory / "store" / "queue").glob("*.xml")) == []
    assert len(server.get("/api/v1/reports").json()["reports"]) == 1


def test_its_bearer_token_is_an_api_key(client, database):
    token, _ = create_key(database, "old client", scopes=["publish"])
    with running(database, Choices(is_open_here=False)) as server:
        said = client.test(server.url)
        assert "401" in said
        said = client.test(server.url, JUX_BEARER_TOKEN=token[:-1])
        assert "403" in said
        said = client.test(server.url, JUX_BEARER_TOKEN=token)
        assert "Report published to Jux API" in said
