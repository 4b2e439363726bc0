"""The OpenAPI document says what the server does; a fuzzer that knows nothing else finds no difference."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from servers import running

from jux_server.api.access import HERE
from jux_server.app import Choices
from jux_server.intake import Intake
from jux_server.trust import create_key

CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"),
    *("response_headers_conformance", "unsupported_method", "ignored_auth"),
)


@pytest.fixture
def some_reports(database):
    intake = Intake(database)
    for number in range(3):
        body = f'<testcase classname="c" name="n{number}"><failure message="m"/></testcase>'
        intake.receive(f'<testsuite name="s">{body}</testsuite>'.encode(), HERE)


def fuzz(server, directory, *options, checks=CHECKS):
    program = Path(sys.executable).parent / "schemathesis"
    command = [program, "run", f"{server.url}/openapi.json", "--seed", "20261123", "--max-examples", "25", *options]
    command += ["--phases", "examples,coverage,fuzzing", "--checks", ",".join(checks), "--no-color"]
    command += ["--suppress-health-check", "all"]
    environ = {**os.environ, "NO_PROXY": "127.0.0.1", "HOME": str(directory)}
    return subprocess.run(command, capture_output=True, text=True, cwd=directory, env=environ, check=False)


@pytest.mark.usefixtures("some_reports")
def test_fuzzer_finds_no_answer_that_the_document_does_not_name(database, tmp_path):
    with running(database) as server:
        done = fuzz(server, tmp_path, checks=CHECKS[:-1])  # nobody needs a key here
    assert done.returncode == 0, done.stdout[-5000:]
    assert "Tested: 19" in done.stdout


@pytest.mark.usefixtures("some_reports")
def test_fuzzer_finds_no_way_around_the_keys(database, tmp_path):
    token, _ = create_key(database, "fuzzer", scopes=["publish", "read"])
    with running(database, Choices(is_open_here=False)) as server:
        done = fuzz(server, tmp_path, "--header", f"X-API-Key: {token}")
        assert done.returncode == 0, done.stdout[-5000:]
        # The answers without a key are in the document, too.
        done = fuzz(server, tmp_path, checks=CHECKS[:-1])
        assert done.returncode == 0, done.stdout[-5000:]


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    from jux_server.app import create_app
    from jux_server.store.database import open_database

    database = open_database(str(tmp_path_factory.mktemp("document") / "a.db"))
    yield create_app(database).openapi()
    database.close()


def operations(document):
    return [(path, verb, found) for path, item in document["paths"].items() for verb, found in item.items()]


def test_every_operation_and_parameter_is_described(document):
    for path, verb, found in operations(document):
        assert found["summary"], (path, verb)
        assert found["description"], (path, verb)
        for parameter in found.get("parameters", []):
            assert parameter.get("description"), (path, parameter["name"])


def test_every_operation_documents_its_errors_in_one_form(document):
    for path, verb, found in operations(document):
        assert "422" not in found["responses"], (path, verb)
        if path not in {"/healthz", "/readyz"}:
            assert {"401", "403", "429"} <= set(found["responses"]), (path, verb)
        for status, answer in found["responses"].items():
            if int(status) >= 400 and status != "409":
                schema = answer["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Problem"}, (path, verb, status)


def test_ways_to_authenticate_are_named(document):
    schemes = document["components"]["securitySchemes"]
    assert schemes["apiKey"] == {"type": "apiKey", "in": "header", "name": "X-API-Key"}
    assert {scheme["type"] for scheme in schemes.values()} == {"apiKey", "http"}
