"""The page about the API and the API itself name the same, and the page's examples give the answers that it has."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path
from typing import NamedTuple

import pytest

from jux_server.api.access import HERE
from jux_server.app import create_app
from jux_server.intake import Intake
from jux_server.store.database import open_database

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "server-api.md").read_text(encoding="utf-8")
HOST = "http://127.0.0.1:4000"
PROGRAMS = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TIMES = {"received_at", "inserted_at", "not_before", "not_after"}
DIFFERENT = {"fingerprint", "size", "version"}  # of the key, the certificate and the program
NUMBERS = {"next", "test"}  # given by the database in its own way


class Example(NamedTuple):
    command: str
    answer: str


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def examples(text=TEXT):
    """Return all commands of the page with what follows them there."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command = re.match(r"(?:.*\\\n)*.*", step)[0]
            found.append(Example(command, step[len(command) :].strip()))
    return found


TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def sections():
    """Return what the page says of each route."""
    parts = re.split(r"^### `((?:GET|POST) [^`]*)`\n", TEXT, flags=re.MULTILINE)
    return {
        name: re.split(r"^## ", text, flags=re.MULTILINE)[0]
        for name, text in zip(parts[1::2], parts[2::2], strict=True)
    }


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def routes(tmp_path_factory):
    """Return the operations of the OpenAPI document by names such as `GET /healthz`."""
    database = open_database(str(tmp_path_factory.mktemp("document") / "a.db"))
    paths = create_app(database).openapi()["paths"]
    database.close()
    return {f"{verb.upper()} {path}": operation for path, item in paths.items() for verb, operation in item.items()}


def test_every_route_has_a_section_and_every_section_a_route(routes):
    assert set(sections()) == set(routes)


def test_every_address_of_the_page_is_there(routes):
    shapes = [re.compile(re.sub(r"\{\w+\}", "[^/]+", name.partition(" ")[2])) for name in routes]
    named = re.findall(r"(?:127\.0\.0\.1:4000|(?<=`)(?:(?:GET|POST) )?)(/(?:api/v1|\w+z\b|metrics)[^\s`'?]*)", TEXT)
    assert len(named) > 50
    assert [path for path in named if not any(shape.fullmatch(path) for shape in shapes)] == []


def test_every_parameter_of_a_route_is_in_its_section_and_no_other(routes):
    for name, text in sections().items():
        given = {one["name"] for one in routes[name].get("parameters", ()) if one["in"] == "query"}
        assert {one for one in given if f"`{one}`" not in text} == set(), name
        rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", text, re.MULTILINE) if name.startswith("GET") else []
        assert set(re.findall(r"\w+", " ".join(rows))) <= given, name


def test_bounds_and_defaults_of_parameters_are_those_of_the_code(routes):
    checked = 0
    for name, operation in routes.items():
        for one in operation.get("parameters", ()):
            schema = one["schema"]
            schema = next((kind for kind in schema.get("anyOf", ()) if "maximum" in kind), schema) | schema
            if one["in"] == "query" and one["name"] in {"limit", "runs", "document", "per_page"}:
                text = " ".join(sections()[name].split())
                bounds = f"{schema['minimum']} to {schema['maximum']}, else {schema.get('default', 20)}"
                assert re.search(rf"`{one['name']}`[^`]*\b{bounds}\b", text), (name, one["name"])
                checked += 1
    assert checked > 10


def test_choices_of_parameters_are_those_of_the_code(routes):
    for name, operation in routes.items():
        for one in operation.get("parameters", ()):
            kinds = [one["schema"], *one["schema"].get("anyOf", ())]
            choices = [choice for kind in kinds for choice in kind.get("enum", ())]
            assert [choice for choice in choices if f"`{choice}`" not in sections()[name]] == [], (name, one["name"])


def test_every_status_is_explained(routes):
    named = set(re.findall(r"^\| (\d{3}) \|", TEXT, re.MULTILINE))
    answered = {status for operation in routes.values() for status in operation["responses"]}
    assert named - {"405"} == answered - {"200", "201"}


# --- the examples ----------------------------------------------------------------------------------------------------


class Session:
    """Runs the commands of the page one after another; what differs from the page each time is put in for it."""

    def __init__(self, directory, url, database_url):
        self.directory = directory
        self.url = url
        self.environ = {
            "PATH": PROGRAMS,
            "HOME": str(directory),
            "LC_ALL": "C.UTF-8",
            "JUX_SERVER_DATABASE": database_url,
        }
        self.meant = {}  # what the page has: what this server has

    def run(self, command):
        variable = re.fullmatch(r"export (\w+)=\$\((.*)\)", command)
        text = variable[2] if variable else command
        text = ID.sub(lambda found: self.meant.get(found[0], found[0]), text).replace(HOST, self.url)
        for name, value in self.meant.items():
            text = text.replace(f"cursor={name}", f"cursor={value}").replace(f"/tests/{name}/", f"/tests/{value}/")
        text = re.sub(r"\bcurl\b", "curl --noproxy '*'", text)
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {text}"],
            cwd=self.directory,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if variable or "curl" in command else subprocess.STDOUT,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        if variable:
            self.environ[variable[1]] = done.stdout.strip()
            return ""
        return done.stdout.strip()

    def alike(self, said, found, name=""):
        """Return an answer with what the page has for what differs each time, and remember which is which."""
        if isinstance(said, dict) and isinstance(found, dict):
            return {key: self.alike(said.get(key), value, key) for key, value in found.items()}
        if isinstance(said, list) and isinstance(found, list) and len(said) == len(found):
            return [self.alike(one, other, name) for one, other in zip(said, found, strict=True)]
        is_time = name in TIMES and all(isinstance(one, str) and TIME.fullmatch(one) for one in (said, found))
        if is_time or (name in DIFFERENT and type(said) is type(found)):
            return said
        if name in NUMBERS and said is not None and found is not None:
            return said if self.meant.setdefault(str(said), str(found)) == str(found) else found
        if isinstance(said, str) and isinstance(found, str):
            here, there = ID.findall(said), ID.findall(found)
            if len(here) == len(there) and all(
                self.meant.setdefault(a, b) == b for a, b in zip(here, there, strict=True)
            ):
                back = dict(zip(there, here, strict=True))
                return ID.sub(lambda one: back[one[0]], found)
        return found


@pytest.fixture
def session(server, database_url, tmp_path):
    for block in blocks("xml"):
        name = re.match(r"<!-- (\S+) -->\n", block)[1]
        (tmp_path / name).write_text(block.partition("\n")[2], encoding="utf-8")
    return Session(tmp_path, server.url, database_url)


def test_examples_give_the_answers_of_the_page(session):
    asked = set()
    for command, answer in examples():
        given = session.run(command)
        if answer.startswith("{"):
            said, found = json.loads(answer), json.loads(given)
            assert session.alike(said, found) == said, command
        else:
            assert given == answer, command
        asked.update(re.findall(rf"{HOST}(/[^\s'?]*)", command))
    assert len(asked) > 18


def test_every_route_has_an_example(routes):
    asked = [path for example in examples() for path in re.findall(rf"{HOST}(/[^\s'?]*)", example.command)]
    for name in routes:
        shape = re.compile(
            re.sub(r"\{\w+\}", r"[\\w-]+", re.escape(name.partition(" ")[2]).replace(r"\{", "{").replace(r"\}", "}"))
        )
        assert any(shape.fullmatch(path) for path in asked), name


def test_answers_of_the_page_have_all_fields_of_the_code(routes):
    """An example that the server answers is compared with the schema, so that no field is only in the code."""
    assert {example.answer[:1] for example in examples() if "curl" in example.command} >= {"{"}
    created = [example for example in examples() if '"status": "created"' in example.answer]
    assert created


# --- for auditors ----------------------------------------------------------------------------------------------------


@pytest.fixture
def audited(tmp_path):
    """Return a directory with a database as the page's programs expect it, and the bytes of its one report."""
    names = "".join(f'<testcase classname="c" name="n{number}" time="0.5"/>' for number in range(300))
    data = f'<testsuite>{names}<testcase classname="c" name="n7"><error message="m"/></testcase></testsuite>'.encode()
    database = open_database(str(tmp_path / "jux-server.db"))
    Intake(database).receive(data, HERE)
    database.close()
    return tmp_path, data


def test_program_of_the_page_gets_the_bytes_out_of_the_database(audited):
    directory, data = audited
    (program,) = [block for block in blocks("python") if "document" in block]
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], cwd=directory, check=True)
    assert (directory / "run-1.xml").read_bytes() == data


def test_program_of_the_page_gets_every_case_out_of_the_database(audited):
    directory, _ = audited
    (program,) = [block for block in blocks("python") if "FROM results" in block]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], cwd=directory, check=True, capture_output=True, text=True
    )
    lines = done.stdout.splitlines()
    assert lines[:300] == [f"1 {number} c n{number} 0 500000" for number in range(300)]
    assert lines[300:] == ["1 300 c n7 2 0"]


def test_the_table_of_packed_results_is_what_is_packed():
    from jux_server.store.results import pack

    (made,) = pack([256, 511], [1, 4], [3, 70_000])
    raw = zlib.decompress(made[1])
    sizes = re.findall(r"^\| [^|]* \| (?:n . )?(\d+) bits \|$", TEXT, re.MULTILINE)
    fields = []
    start = 0
    for place, bits in enumerate(sizes):
        for _ in range(1 if place == 0 else 2):
            fields.append(int.from_bytes(raw[start : start + int(bits) // 8], "little"))
            start += int(bits) // 8
    assert (made[0], fields, start) == (1, [2, 0, 255, 1, 4, 0, 1, 3, 70_000], len(raw))
