"""The documentation is compared with the code and with itself."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from publishing.hostile import RecordingServer

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def reference():
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts" / "reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["docs/commands.md", "docs/configuration.md"])
def test_the_reference_pages_are_what_the_code_says(name):
    assert (ROOT / name).read_text(encoding="utf-8") == reference().PAGES[name](), "run: make docs"


def test_every_link_between_the_pages_leads_somewhere():
    links = [(page, link) for page in PAGES for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8"))]
    assert len(links) > 5
    assert [f"{page.name}: {link}" for page, link in links if not (page.parent / link).exists()] == []


def test_every_room_is_in_the_architecture():
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    files = [*(ROOT / "pytest_jux").glob("*.py"), *(ROOT / "jux_server").glob("*.py")]
    rooms = [path.name for path in files if path.stem not in {"__init__", "__main__", "errors"}]
    assert [name for name in rooms if name not in text] == []


def test_every_state_of_a_verification_is_explained():
    from pytest_jux.verifier import SignatureState

    text = (ROOT / "docs" / "verification.md").read_text(encoding="utf-8")
    assert [state for state in SignatureState if f"| `{state}` |" not in text] == []


def test_every_accepted_algorithm_is_listed():
    from pytest_jux.signature import _METHODS

    text = (ROOT / "docs" / "verification.md").read_text(encoding="utf-8")
    families = {method.name.partition("-")[0] for method in _METHODS.values()}
    assert [family for family in families if family not in text] == []


# --- publishing ------------------------------------------------------------------------------------------------------

PUBLISHING = [ROOT / "docs" / name for name in ("publishing.md", "ci.md", "offline.md")]
API = "https://jux.example.com/api/v1/reports"
THEIRS = {"--junit-xml", "--tb"}  # pytest's own
SECRETS = {"SIGNING_PASSPHRASE": "open sesame", "JUX_API_KEY": "a key"}


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def pytest_flags():
    from pytest_jux.options import OPTIONS

    return {flag for option in OPTIONS.values() for flag, _ in option.arguments()}


def flags_of(words):
    """Return the flags of the command that a line begins with."""
    from pytest_jux.commands import command as umbrella

    found = umbrella.get_command(None, words[0].removeprefix("jux-"))
    if words[0] in {"jux-cache", "jux-config"}:
        found = found.get_command(None, words[1])
    return {flag for parameter in found.params for flag in parameter.opts}


@pytest.mark.parametrize("page", PUBLISHING, ids=lambda page: page.name)
def test_settings_and_variables_of_publishing_exist(page):
    from pytest_jux.options import OPTIONS

    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"\bjux_[a-z_]*[a-z]\b", text)) - set(OPTIONS) == set()
    variables = {option.variable for option in OPTIONS.values()}
    assert set(re.findall(r"\bJUX_[A-Z_]+\b", text)) - variables - {"JUX_TOKEN"} == set()


@pytest.mark.parametrize("page", PUBLISHING, ids=lambda page: page.name)
def test_flags_of_publishing_exist(page):
    text = page.read_text(encoding="utf-8")
    ours = re.findall(r"(?<![-/\w])jux-(?:publish|sign|keygen|cache [a-z]+|config [a-z]+)\b[^\n`|),;]*", text)
    assert len(ours) > 4
    for line in ours:
        words = line.split()
        assert set(re.findall(r"--[a-z-]*[a-z]", line)) - flags_of(words) == set(), line
    theirs = [line for line in re.findall(r"\bpytest [^\n`]*", text) if "--" in line]
    for line in theirs:
        assert set(re.findall(r"--[a-z-]*[a-z]", line)) - pytest_flags() - THEIRS == set(), line
    every = {flag for line in ours for flag in flags_of(line.split())} | pytest_flags() | THEIRS
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", text)) - every == set()


def test_the_table_of_answers_is_what_the_client_does():
    from pytest_jux.answers import Question, Reply, outcome_of
    from pytest_jux.outcomes import Unavailable

    text = (ROOT / "docs" / "publishing.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\d, ]+|any other) \| `(\w+)`(?:, ([\w ]+))? \|", text, re.MULTILINE)
    said = {status: (result, passing) for statuses, result, passing in rows for status in statuses.split(", ")}
    question = Question(API, "sha256:" + "0" * 64, has_key=True)
    for status in range(200, 600):
        word = {409: "duplicate", 200: "created", 201: "created"}.get(status, "error")
        body = b'{"status": "%s", "id": "r", "message": "words"}' % word.encode()
        outcome = outcome_of(Reply(status, {}, body), question)
        passing = ("may pass" if outcome.is_passing else "will not pass") if isinstance(outcome, Unavailable) else ""
        expected = said.get(str(status), said["any other"])
        assert (type(outcome).__name__, passing) == expected, status
    for status in (200, 201, 409, 400, 415, 422):  # as the page says below the table
        assert outcome_of(Reply(status, {}, b"<html>"), question).is_passing is False


def test_the_defaults_of_publishing_are_those_of_the_options():
    from pytest_jux.options import OPTIONS

    text = (ROOT / "docs" / "publishing.md").read_text(encoding="utf-8")
    table = dict(re.findall(r"^\| `(jux_\w+)` \| (\d+)", text, re.MULTILINE))
    assert len(table) == 4
    assert {name: float(value) for name, value in table.items()} == {name: OPTIONS[name].default for name in table}


# --- the examples for CI services run as they stand there ------------------------------------------------------------


def github(page):
    """Return the commands of the workflow, each with its environment."""
    job = yaml.safe_load(next(block for block in blocks(page, "yaml") if "runs-on" in block))["jobs"]["tests"]
    return [(step["run"], job["env"] | step.get("env", {})) for step in job["steps"] if "run" in step]


def gitlab(page):
    job = yaml.safe_load(next(block for block in blocks(page, "yaml") if "script:" in block))["tests"]
    return [(line, job["variables"] | SECRETS) for line in job["script"]]


def jenkins(page):
    (text,) = blocks(page, "groovy")
    variables = dict(re.findall(r"^ +(JUX_\w+) = '([^']*)'$", text, re.MULTILINE))
    environment = variables | {name: SECRETS[name] for name in re.findall(r"variable: '(\w+)'", text)}
    return [(line.removeprefix(".venv/bin/"), environment) for line in re.findall(r"\bsh '([^']*)'", text)]


@pytest.fixture
def project(tmp_path):
    """A project with a test and the key that the page tells to make, and a way to run a command as a CI job does."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "test_one.py").write_text("def test_one():\n    pass\n")
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    plain = {"HOME": str(tmp_path), "PATH": programs, "LC_ALL": "C.UTF-8"}

    def run(command, environment=plain):
        shell = ("bash", "-ec", command)
        return subprocess.run(
            shell, cwd=work, env=plain | environment, capture_output=True, text=True, check=False, timeout=120
        )

    page = ROOT / "docs" / "ci.md"
    made = run(next(block for block in blocks(page, "bash") if "jux-keygen" in block).replace("…", "open sesame"))
    assert made.returncode == 0, made.stderr
    return run


def as_in_a_job(value, api):
    """Return a variable's value as the service sets it."""
    value = re.sub(r"\$\{\{ secrets\.(\w+) \}\}", lambda found: SECRETS[found[1]], value)
    return value.replace("${{ github.event.pull_request.head.repo.fork != true }}", "true").replace(API, api)


@pytest.mark.parametrize("service", [github, gitlab, jenkins])
def test_the_examples_for_ci_services_publish(service, project):
    steps = [
        step for step in service(ROOT / "docs" / "ci.md") if "pip install" not in step[0] and "venv" not in step[0]
    ]
    assert [command.split()[0] for command, _ in steps] == ["pytest"]
    with RecordingServer(key="a key") as server:
        for command, variables in steps:
            environment = {name: as_in_a_job(value, server.url) for name, value in variables.items()}
            done = project(f"{command} -p no:cacheprovider", environment)
            assert done.returncode == 0, done.stdout + done.stderr
            assert "✓ Published to API: " in done.stdout
        assert len(server.reports) == 1


def test_the_example_of_publishing_once_more_works_and_prints_that_json(project):
    page = ROOT / "docs" / "ci.md"
    (step,) = yaml.safe_load(next(block for block in blocks(page, "yaml") if "--retries" in block))
    (shown,) = [json.loads(block) for block in blocks(page, "json")]
    sign = "jux-sign report.xml --key ci/signing_key.pem --cert ci/signing_key.crt --passphrase-env SIGNING_PASSPHRASE"
    with RecordingServer(key="a key") as server:
        variables = {name: as_in_a_job(value, server.url) for name, value in step["env"].items()}
        variables |= {"JUX_API_URL": server.url, "SIGNING_PASSPHRASE": "open sesame"}
        assert project(f"pytest -p no:cacheprovider --junit-xml=report.xml && {sign}", variables).returncode == 0
        done = project("jux-publish --json report.xml", variables)
        assert done.returncode == 0, done.stderr
        assert list(json.loads(done.stdout)) == list(shown)
        again = project(step["run"], variables)
        assert (again.returncode, "Duplicate" in again.stdout) == (0, True), again.stderr
        assert len(server.reports) == 1


def test_the_library_s_example_of_publishing_works(real_report, p256, capsys):
    from pytest_jux import sign_report

    example = [block for block in blocks(ROOT / "docs" / "library.md", "python") if "outcome" in block]
    assert len(example) == 2
    with RecordingServer(key="the API key") as server:
        names = {"signed": sign_report(real_report, p256.key, p256.certificate)}
        for block in example:
            exec(block.replace(API, server.url), names)  # noqa: S102 - the documentation's own code
    assert f"the server has it: {server.url.partition('/api/')[0]}/reports/" in capsys.readouterr().out
