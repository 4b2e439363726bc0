"""The page about the API and the API itself name the same routes."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from jux_server.api.access import HERE
from jux_server.app import create_app
from jux_server.intake import Intake
from jux_server.store.database import open_database

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "server-api.md").read_text()


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    database = open_database(str(tmp_path_factory.mktemp("document") / "a.db"))
    yield create_app(database).openapi()["paths"]
    database.close()


def test_every_route_is_on_the_page_and_every_route_of_the_page_is_there(paths):
    there = {f"{verb.upper()} {path}" for path, item in paths.items() for verb in item}
    said = set(re.findall(r"`((?:GET|POST) /[^`]*)`", TEXT))
    assert said == there


def test_every_filter_of_the_list_is_on_the_page(paths):
    (row,) = [line for line in TEXT.splitlines() if line.startswith("| `GET /api/v1/reports` |")]
    names = {parameter["name"] for parameter in paths["/api/v1/reports"]["get"]["parameters"]}
    assert {name for name in names if f"`{name}`" not in row} == {"limit", "cursor"}


def test_questions_of_the_page_are_answered(server, database):
    body = '<testcase classname="a" name="b"><failure message="m"/></testcase>'
    data = f'<testsuite><properties><property name="project" value="shop"/></properties>{body}</testsuite>'
    digits = Intake(database).receive(data.encode(), HERE).canonical_hash[7:15]
    commands = re.findall(r"\$ (curl 'http://127\.0\.0\.1:4000/[^\n]*)", TEXT)
    assert len(commands) == 3
    for command in commands:
        words = shlex.split(command.replace("http://127.0.0.1:4000", server.url).replace("3fd15aa7", digits))
        done = subprocess.run([*words, "-sS", "--fail", "--noproxy", "*"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert '"tests":' in done.stdout or '"cases":' in done.stdout


def test_first_example_of_the_page_is_created(server):
    (example,) = re.findall(r"\$ (curl -H 'Content-Type: application/json'.*?)\n\{", TEXT, re.DOTALL)
    command = example.replace('-H "X-API-Key: $JUX_API_KEY"', "").replace("http://127.0.0.1:4000", server.url)
    words = shlex.split(command.replace("\\\n", " "))
    done = subprocess.run([*words, "-sS", "--noproxy", "*"], capture_output=True, text=True, check=True)
    assert '"status":"created"' in done.stdout
