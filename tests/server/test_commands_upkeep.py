"""The commands of jux-server that look after what is there: projects, pruning, backups, verification anew, status."""

from __future__ import annotations

import json
import os
import re
import stat
import time
from http import HTTPStatus

import pytest
import sqlalchemy as sa
from servers import drop_database, make_database, running

from jux_server.app import Choices
from jux_server.cli import command
from jux_server.store import schema
from jux_server.store.database import open_database
from jux_server.upkeep.projects import list_projects
from jux_server.upkeep.retention import Retention
from jux_server.upkeep.state import server_state
from pytest_jux.canonicalizer import canonical_hash
from pytest_jux.commands import _cli
from pytest_jux.signer import sign_report
from pytest_jux.wire import request_body

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def run(tmp_path, clean_environment, monkeypatch, capfd):
    """Return a function that runs the command and gives its exit code, what it printed, and what it complained of."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        capfd.readouterr()
        code = _cli.run(command, [str(argument) for argument in arguments], name="jux-server")
        printed = capfd.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def here(run, database_url):
    """Return the same for the database of this test, where it has to succeed; JSON if that is asked for."""

    def here(*arguments):
        code, out, err = run(*arguments, f"--database={database_url}")
        assert code == 0, err
        return json.loads(out) if "--json" in arguments else out

    return here


@pytest.fixture
def refuses(run, database_url):
    """Return the same, where it has to fail; gives exit code and complaint."""

    def refuses(*arguments):
        code, out, err = run(*arguments, f"--database={database_url}")
        assert code != 0
        assert out == ""
        assert "Traceback" not in err
        return code, err

    return refuses


@pytest.fixture
def publish(server):
    """Return a function that publishes reports of a branch and gives their hashes."""

    def publish(number=3, project="shop", branch="main"):
        hashes = []
        for index in range(number):
            report = f'<testsuite tests="1"><testcase classname="c" name="t{index}-{project}-{branch}"/></testsuite>'
            hashes.append(canonical_hash(report.encode()))
            sender = {"project": project, "git": {"branch": branch}}
            answer = server.post("/api/v1/reports", request_body(report.encode(), hashes[-1], sender), headers=JSON)
            assert answer.status == HTTPStatus.CREATED, answer.data
        return hashes

    return publish


def runs_in(database):
    with database.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(schema.run)).scalar_one()


# --- projects --------------------------------------------------------------------------------------------------------


def test_projects_are_listed_with_what_was_decided_for_them(here, publish):
    publish(2, "shop")
    here("project", "set", "web", "--accept=trusted", "--keep-days=30")
    assert re.search(r"^shop +2 +\d{4}-\d\d-\d\d \d\d:\d\d UTC +- +- +- +-$", here("project", "list"), re.MULTILINE)
    assert re.search(r"^web +0 +never +trusted +30 +- +-$", here("project", "list"), re.MULTILINE)
    listed = {one["name"]: one for one in here("project", "list", "--json")}
    assert listed["shop"]["reports"] == 2
    assert (listed["web"]["accept"], listed["web"]["keep_days"], listed["web"]["keep_runs"]) == ("trusted", 30, None)


def test_no_projects_is_said(here):
    assert here("project", "list") == "There are no projects.\n"


def test_what_is_set_for_a_project_counts_at_once_in_a_server_that_runs(here, server):
    here("project", "set", "unknown", "--accept=intact")
    answer = server.post("/api/v1/junit/submit", b"<testsuite/>", headers={"Content-Type": "application/xml"})
    assert answer.status == HTTPStatus.BAD_REQUEST
    assert answer.json()["error"] == "Report not signed"


def test_set_changes_what_is_named_and_leaves_the_rest(here, database):
    here("project", "set", "shop", "--accept=trusted", "--keep-runs=5")
    said = here("project", "set", "shop", "--keep-runs=7", "--default-branch=trunk", "--json")
    assert (said["accept"], said["keep_runs"], said["default_branch"]) == ("trusted", 7, "trunk")
    (project,) = list_projects(database)
    assert (project.accept, project.keep_days, project.keep_runs) == ("trusted", None, 7)


def test_unset_leaves_what_is_named_to_the_settings_or_everything(here, database):
    here("project", "set", "shop", "--accept=trusted", "--keep-runs=5", "--keep-days=6")
    assert "as the settings say" in here("project", "unset", "shop", "--keep-runs")
    (project,) = list_projects(database)
    assert (project.accept, project.keep_days, project.keep_runs) == ("trusted", 6, None)
    here("project", "unset", "shop")
    (project,) = list_projects(database)
    assert (project.accept, project.keep_days, project.keep_runs) == (None, None, None)


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["set", "shop"], 64, "nothing to set"),
        (["set", "shop", "--accept=some"], 64, "'some' is not one of"),
        (["set", "shop", "--keep-days=0"], 64, "--keep-days"),
        (["set", "shop", "--keep-runs=-1"], 64, "--keep-runs"),
        (["set", " ", "--keep-runs=1"], 64, "the name of the project is empty"),
        (["set", "s" * 201, "--keep-runs=1"], 1, "1 to 200 characters"),
        (["set", "a\nb", "--keep-runs=1"], 64, "control character"),
        (["set", "shop", "--default-branch="], 64, "--default-branch"),
        (["unset", "nobody"], 1, "there is no project nobody"),
    ],
)
def test_what_makes_no_sense_for_a_project_is_refused(refuses, database, arguments, code, complaint):
    given, said = refuses("project", *arguments)
    assert given == code
    assert complaint in said
    assert list_projects(database) == []


# --- pruning ---------------------------------------------------------------------------------------------------------


def test_dry_run_tells_what_would_be_deleted_and_deletes_nothing(here, publish, database):
    publish(3, "shop")
    publish(2, "web")
    said = here("prune", "--retention-runs=1", "--dry-run")
    assert re.match(r"Would delete 3 reports \(\d+ bytes\):\n  shop: 2 reports\n  web: 1 report\n$", said)
    assert runs_in(database) == 5


def test_prune_deletes_what_need_not_be_kept(here, publish, database):
    publish(3, branch="main")
    publish(2, branch="topic")
    pruned = here("prune", "--retention-runs=1", "--json")
    assert (pruned["dry_run"], pruned["runs"], pruned["by_project"]) == (False, 3, {"shop": 3})
    assert runs_in(database) == 2
    assert here("prune", "--retention-runs=1") == "There is nothing to delete.\n"


def test_without_any_retention_everything_stays(here, publish, database):
    publish(3)
    assert here("prune") == "There is nothing to delete.\n"
    assert runs_in(database) == 3


def test_retention_may_come_from_the_settings(here, publish, database, monkeypatch):
    publish(3)
    monkeypatch.setenv("JUX_SERVER_RETENTION_RUNS", "2")
    assert "shop: 1 report" in here("prune")


def test_project_s_own_retention_counts_more_than_the_settings(here, publish, database):
    publish(3)
    here("project", "set", "shop", "--keep-runs=3")
    assert here("prune", "--retention-runs=1") == "There is nothing to delete.\n"


def test_pinned_report_stays_until_it_is_unpinned(here, publish, database):
    oldest, *_ = publish(3)
    assert here("pin", oldest[:20]).startswith("Pinned: ")
    assert here("prune", "--retention-runs=1", "--json")["runs"] == 1
    assert here("unpin", oldest, "--json")["canonical_hash"] == oldest
    assert here("prune", "--retention-runs=1", "--json")["runs"] == 1


@pytest.mark.parametrize("name", ["sha256:" + "0" * 64, "00000000", "x", "", "0" * 7, "%"])
def test_report_that_is_not_there_cannot_be_pinned(refuses, name):
    code, said = refuses("pin", name)
    assert code == 1
    assert "there is no report" in said


def test_server_prunes_by_itself_where_a_retention_is_set(publish, database, database_url):
    publish(3)
    choices = Choices(retention=Retention(runs=1), prune_every=1)
    deadline = time.monotonic() + 60
    again = open_database(database_url)  # which the server closes when it ends
    with running(again, choices):
        while runs_in(database) > 1 and time.monotonic() < deadline:
            time.sleep(0.05)
    assert runs_in(database) == 1


def test_server_that_is_not_to_prune_does_not(publish, database, database_url):
    publish(3)
    with running(open_database(database_url), Choices(retention=Retention(runs=1), prune_every=0)) as second:
        assert second.get("/api/v1/nothing").status == HTTPStatus.NOT_FOUND
    assert server_state(database).upkeep == {}
    assert runs_in(database) == 3


# --- backups ---------------------------------------------------------------------------------------------------------


def test_backup_is_restored_into_a_database_of_the_other_kind(here, run, publish, database, postgres, tmp_path):
    hashes = publish(3)
    here("key", "create", "ci")
    said = here("backup", tmp_path / "jux.zip")
    assert re.match(rf"{re.escape(str(tmp_path))}/jux\.zip: 3 reports, [\d.]+ kB, checked\n$", said)
    assert stat.S_IMODE((tmp_path / "jux.zip").stat().st_mode) == 0o600
    if database.is_sqlite:
        make_database(postgres, "jux_other", "jux_template")
        other = postgres.replace("/postgres?", "/jux_other?")
    else:
        other = str(tmp_path / "other.db")
    code, out, err = run("restore", tmp_path / "jux.zip", f"--database={other}", "--json")
    assert code == 0, err
    assert json.loads(out)["rows"]["run"] == 3
    opened = open_database(other)
    with running(opened) as server:
        found = [server.get(f"/api/v1/reports/{one}").status for one in hashes]
    assert found == [HTTPStatus.OK] * 3
    if database.is_sqlite:
        drop_database(postgres, "jux_other")


def test_restore_replaces_reports_only_if_that_is_wanted(here, refuses, publish, database, tmp_path):
    publish(2)
    here("backup", tmp_path / "jux.zip", "--json")
    publish(1, "web")
    code, said = refuses("restore", tmp_path / "jux.zip")
    assert code == 1
    assert "--force" in said
    assert runs_in(database) == 3
    assert "has 2 reports" in here("restore", tmp_path / "jux.zip", "--force")
    assert runs_in(database) == 2


def test_file_that_is_no_backup_changes_nothing(refuses, publish, database, tmp_path):
    publish(1)
    (tmp_path / "letter.txt").write_text("Dear server")
    for file in ("letter.txt", "nowhere.zip", tmp_path):
        code, said = refuses("restore", "--force", file)
        assert code == 1
        assert str(file) in said
    assert runs_in(database) == 1


def test_backup_where_nothing_can_be_written_is_said(refuses, tmp_path):
    code, said = refuses("backup", tmp_path / "nowhere/jux.zip")
    assert code == 1
    assert "nowhere/jux.zip: no such file or directory" in said


@pytest.mark.parametrize("what", ["directory", "pipe"])
def test_backup_does_not_replace_what_is_no_file(refuses, tmp_path, what):
    target = tmp_path / what
    target.mkdir() if what == "directory" else os.mkfifo(target)
    before = target.stat()
    code, said = refuses("backup", target)
    assert code == 1
    assert f"{what} is there, and is no file" in said
    assert target.stat().st_mode == before.st_mode


def test_backup_does_not_replace_the_database_itself(run, tmp_path):
    assert run("key", "create", "ci", "--database=mine.db")[0] == 0
    before = (tmp_path / "mine.db").read_bytes()
    code, _, said = run("backup", "mine.db", "--database=mine.db")
    assert code == 1
    assert "is the database itself" in said
    assert (tmp_path / "mine.db").read_bytes()[:16] == before[:16]


# --- verification anew -----------------------------------------------------------------------------------------------


def test_reports_are_judged_anew_after_a_signer_was_added(here, server, make_signer, real_report):
    signer = make_signer("ci")
    signed = sign_report(real_report, signer.key, signer.certificate)
    answer = server.post("/api/v1/junit/submit", signed, headers={"Content-Type": "application/xml"}).json()
    assert answer["signature"]["state"] == "intact"
    here("signer", "add", signer.cert_path)
    assert here("reverify") == "1 report verified again\n  intact -> trusted: 1\n"
    found = server.get(f"/api/v1/reports/{answer['canonical_hash']}").json()
    assert found["signature"]["state"] == "trusted"
    assert here("reverify", "--json") == {"examined": 1, "changed": []}


def test_one_project_alone_can_be_verified_again(here, refuses, publish):
    publish(2, "shop")
    publish(1, "web")
    assert here("reverify", "--project=shop", "--json")["examined"] == 2
    code, said = refuses("reverify", "--project=nobody")
    assert code == 1
    assert "there is no project nobody" in said


# --- status ----------------------------------------------------------------------------------------------------------


def test_status_shows_how_much_there_is_and_what_upkeep_did(here, publish):
    publish(3)
    here("prune", "--retention-runs=1")
    text = here("status")
    assert re.search(r"^  reports +1$", text, re.MULTILINE)
    assert re.search(r"^  projects +1$", text, re.MULTILINE)
    assert re.search(r"^  last prune +\d{4}-\d\d-\d\d \d\d:\d\d UTC: runs 2, ", text, re.MULTILINE)
    data = here("status", "--json")
    assert data["rows"]["run"] == 1
    assert data["size"] > 10_000
    assert data["upkeep"]["prune"]["runs"] == 2
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", data["upkeep"]["prune"]["at"])


def test_status_names_the_database_without_its_password(here):
    assert "hunter2" not in here("status")
