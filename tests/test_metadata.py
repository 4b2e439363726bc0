"""What is recorded about a run, and what never is."""

from __future__ import annotations

import datetime as dt
import os
import platform
import pwd
import socket
import subprocess
import sys
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import pytest_jux
from pytest_jux.metadata import GIT_TIME_LIMIT, ask_git, capture_metadata, without_userinfo

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="uses shell scripts"),
    pytest.mark.usefixtures("clean_environment"),
]


def git(directory, *arguments):
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")
    done = subprocess.run(["git", *identity, *arguments], cwd=directory, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(autouse=True)
def own_git_configuration(monkeypatch, tmp_path):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))


@pytest.fixture
def repository(tmp_path):
    directory = tmp_path / "project"
    directory.mkdir()
    git(directory, "init")
    (directory / "file").write_text("1")
    git(directory, "add", "file")
    git(directory, "commit", "-m", "first")
    return directory


@pytest.fixture
def fake_git(tmp_path, monkeypatch):
    """Return a function that puts a script of this name first in PATH."""

    def fake(script):
        program = tmp_path / "bin" / "git"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")

    return fake


# --- git -------------------------------------------------------------------------------------------------------------


def test_a_clean_repository(repository):
    assert ask_git(repository) == {"commit": git(repository, "rev-parse", "HEAD"), "branch": "main", "status": "clean"}


def test_a_subdirectory_belongs_to_its_repository(repository):
    (repository / "sub").mkdir()
    assert ask_git(repository / "sub")["branch"] == "main"


def test_a_changed_file_makes_it_dirty(repository):
    (repository / "file").write_text("2")
    assert ask_git(repository)["status"] == "dirty"


def test_a_staged_file_makes_it_dirty(repository):
    (repository / "new").write_text("2")
    git(repository, "add", "new")
    assert ask_git(repository)["status"] == "dirty"


def test_an_untracked_file_such_as_the_report_does_not_make_it_dirty(repository):
    (repository / "report.xml").write_text("")
    assert ask_git(repository)["status"] == "clean"


def test_a_detached_head_is_called_head(repository):
    git(repository, "checkout", "--detach")
    assert ask_git(repository)["branch"] == "HEAD"


def test_a_repository_without_a_commit_has_none(tmp_path):
    git(tmp_path, "init")
    assert ask_git(tmp_path) == {"branch": "main", "status": "clean"}


def test_no_repository_is_nothing(tmp_path):
    assert ask_git(tmp_path) == {}


def test_no_git_is_nothing(repository, monkeypatch):
    monkeypatch.setenv("PATH", str(repository / "nowhere"))
    assert ask_git(repository) == {}


def test_a_directory_that_is_not_there_is_nothing(tmp_path):
    assert ask_git(tmp_path / "none") == {}


def test_a_branch_with_unicode_keeps_its_name(repository):
    git(repository, "checkout", "-b", "zweig/größe")
    assert ask_git(repository)["branch"] == "zweig/größe"


def test_the_remote_is_recorded_without_its_password(repository):
    git(repository, "remote", "add", "origin", "https://user:s3cret@example.org/group/tool.git")
    assert ask_git(repository)["remote"] == "https://example.org/group/tool.git"


def test_asking_does_not_write_into_the_repository(repository):
    index = repository / ".git" / "index"
    os.utime(repository / "file", (1, 1))  # a plain `git status` would refresh the index now
    before = index.stat().st_mtime_ns
    ask_git(repository)
    assert index.stat().st_mtime_ns == before


def test_a_program_that_the_repository_names_is_not_run(repository, tmp_path):
    (repository / "evil").write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\n")
    (repository / "evil").chmod(0o755)
    git(repository, "config", "core.fsmonitor", str(repository / "evil"))
    assert ask_git(repository)["branch"] == "main"
    assert not (tmp_path / "ran").exists()


def test_a_git_that_hangs_costs_no_more_than_the_limit(tmp_path, fake_git):
    fake_git("exec sleep 60")
    start = time.monotonic()
    assert ask_git(tmp_path, 0.3) == {}
    assert 0.25 < time.monotonic() - start < 2
    assert GIT_TIME_LIMIT <= 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the next test is about those
def test_a_git_whose_child_hangs_costs_little_more_than_the_limit(tmp_path, fake_git):
    fake_git("sleep 5; true")
    start = time.monotonic()
    assert ask_git(tmp_path, 0.3) == {}
    assert time.monotonic() - start < 2


HANGING = """
import gc, sys
from pathlib import Path
from pytest_jux.metadata import ask_git
ask_git(Path.cwd(), 0.2)
gc.collect()
"""


def test_a_git_whose_child_hangs_leaves_no_open_pipe_and_no_unreaped_process(tmp_path, fake_git):
    fake_git("sleep 5; true")
    command = [sys.executable, "-W", "error", "-c", HANGING]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "script",
    [
        "head -c 3000 /dev/urandom",
        "printf '\\377\\376\\000# branch.oid\\n# branch.head\\n'",
        "printf '# branch.oid \\n# branch.head \\n'",
        "kill -9 $$",
        "exit 128",
    ],
)
def test_a_git_that_prints_garbage_breaks_nothing(tmp_path, fake_git, script):
    fake_git(script)
    facts = capture_metadata(tmp_path)
    assert all(isinstance(value, str) for value in facts.git.values())
    assert "commit" not in facts.git or facts.git["commit"]


def test_a_git_that_fails_is_not_believed(tmp_path, fake_git):
    fake_git("echo '# branch.head wrong'; exit 1")
    assert ask_git(tmp_path) == {}


# --- remotes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("remote", "shown"),
    [
        ("https://example.org/group/tool.git", "https://example.org/group/tool.git"),
        ("https://user@example.org/tool.git", "https://example.org/tool.git"),
        ("https://user:pass@example.org:8443/tool.git", "https://example.org:8443/tool.git"),
        ("https://user:p@ss@example.org/tool.git", "https://example.org/tool.git"),
        ("https://user:p/ss@example.org/tool.git", "https://example.org/tool.git"),
        ("https://token:x-oauth-basic@example.org", "https://example.org"),
        ("https://example.org/tool.git?private_token=abc", "https://example.org/tool.git"),
        ("https://example.org/tool.git#token=abc", "https://example.org/tool.git"),
        ("https://example.org/@scope/tool.git", "https://example.org/@scope/tool.git"),
        ("https://example.org:8443/@scope/tool.git", "https://example.org:8443/@scope/tool.git"),
        ("https://user:pass@[2001:db8::1]:8443/tool.git", "https://[2001:db8::1]:8443/tool.git"),
        ("https://[2001:db8::1]/@scope/tool.git", "https://[2001:db8::1]/@scope/tool.git"),
        ("ssh://git@example.org:2222/tool.git", "ssh://example.org:2222/tool.git"),
        ("git+ssh://git@example.org/tool.git", "git+ssh://example.org/tool.git"),
        ("git@example.org:group/tool.git", "example.org:group/tool.git"),
        ("user:pass@example.org:group/tool.git", "example.org:group/tool.git"),
        ("example.org:group/tool.git", "example.org:group/tool.git"),
        ("file:///srv/git/tool.git", "file:///srv/git/tool.git"),
        ("/srv/git/tool@2.git", "/srv/git/tool@2.git"),
        ("../tool.git", "../tool.git"),
        ("C:\\git\\tool.git", "C:\\git\\tool.git"),
        ("codecommit::eu-central-1://profile@tool", "codecommit::eu-central-1://tool"),
        ("", ""),
    ],
)
def test_a_remote_loses_what_identifies_its_user_and_nothing_else(remote, shown):
    assert without_userinfo(remote) == shown


# Long enough not to be part of the rest of a URL by chance. Not ? and #: they end the part where user names can be.
SECRETS = st.text("abcXYZ0189-._~!$&'()*+,;=%:@/", min_size=8, max_size=24).filter(
    lambda text: text.strip("@/:") == text
)
TOKENS = st.text("abcXYZ0189-._~", min_size=8, max_size=24)


@given(SECRETS, st.sampled_from(["https", "http", "ssh", "git+https", "ftp"]))
@example("123456/89abc", "https")
def test_a_password_in_a_url_never_survives(secret, scheme):
    assert secret not in without_userinfo(f"{scheme}://user:{secret}@example.org/group/tool.git")


@given(
    TOKENS,
    st.sampled_from(
        [
            "https://{}@example.org/tool.git",
            "https://{}:@example.org/tool.git",
            "https://{}:x-oauth-basic@example.org/tool.git",
            "https://{}@example.org",
            "https://{}@example.org:8443/group@2/tool.git",
            "HTTPS://{}@EXAMPLE.ORG/tool.git",
            "ssh://{}@example.org:22/tool.git",
            "{}@example.org:group/tool.git",
            "user:{}@example.org:group/tool.git",
            "{}@example.org:group/tool@2.git",
            "user:{}@example.org:tool@2.git",
            "https://example.org/tool.git?access_token={}",
            "https://example.org/tool.git#{}",
        ],
    ),
)
def test_a_token_in_any_form_of_remote_never_survives(token, form):
    assert token not in without_userinfo(form.format(token))


# --- CI --------------------------------------------------------------------------------------------------------------

GITHUB = {
    "CI": "true",
    "GITHUB_ACTIONS": "true",
    "GITHUB_RUN_ID": "4711",
    "GITHUB_JOB": "tests",
    "GITHUB_RUN_ATTEMPT": "2",
    "GITHUB_REF_NAME": "main",
    "GITHUB_REF": "refs/heads/main",
    "GITHUB_SHA": "a" * 40,
    "GITHUB_ACTOR": "octocat",
    "GITHUB_WORKFLOW": "checks",
    "GITHUB_EVENT_NAME": "push",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "example/tool",
    "RUNNER_OS": "Linux",
    "GITHUB_TOKEN": "ghs_s3cret",
    "HOME": "/home/runner",
}
GITLAB = {
    "CI": "true",
    "GITLAB_CI": "true",
    "CI_PIPELINE_ID": "12",
    "CI_JOB_ID": "34",
    "CI_JOB_NAME": "tests",
    "CI_JOB_STAGE": "test",
    "CI_COMMIT_REF_NAME": "topic",
    "CI_COMMIT_SHA": "b" * 40,
    "CI_PIPELINE_SOURCE": "push",
    "CI_JOB_URL": "https://gitlab.example.org/group/tool/-/jobs/34",
    "CI_NODE_INDEX": "1",
    "CI_NODE_TOTAL": "2",
    "CI_JOB_TOKEN": "glcbt-s3cret",
    "CI_REPOSITORY_URL": "https://gitlab-ci-token:glcbt-s3cret@gitlab.example.org/group/tool.git",
}
JENKINS = {
    "JENKINS_URL": "https://jenkins.example.org/",
    "BUILD_ID": "56",
    "BUILD_NUMBER": "56",
    "JOB_NAME": "tool/main",
    "BRANCH_NAME": "main",
    "BUILD_URL": "https://admin:s3cret@jenkins.example.org/job/tool/56/",
    "NODE_NAME": "agent-1",
    "STAGE_NAME": "Test",
    "CHANGE_ID": "78",
}


def test_github_actions_is_recognised(tmp_path):
    facts = capture_metadata(tmp_path, environ=GITHUB)
    url = "https://github.com/example/tool/actions/runs/4711"
    assert facts.ci == {"provider": "github", "build_id": "4711", "job": "tests", "attempt": "2", "build_url": url}
    assert facts.git == {"branch": "main"}
    assert facts.env == {
        "CI": "true",
        "GITHUB_WORKFLOW": "checks",
        "GITHUB_EVENT_NAME": "push",
        "GITHUB_REF": "refs/heads/main",
        "GITHUB_SHA": "a" * 40,
        "GITHUB_ACTOR": "octocat",
        "RUNNER_OS": "Linux",
    }


def test_a_pull_request_on_github_names_its_own_branch(tmp_path):
    environ = GITHUB | {"GITHUB_HEAD_REF": "topic", "GITHUB_REF_NAME": "17/merge"}
    assert capture_metadata(tmp_path, environ=environ).git["branch"] == "topic"


def test_gitlab_ci_is_recognised(tmp_path):
    facts = capture_metadata(tmp_path, environ=GITLAB)
    url = "https://gitlab.example.org/group/tool/-/jobs/34"
    assert facts.ci == {"provider": "gitlab", "build_id": "12", "job": "34", "build_url": url}
    assert facts.git == {"branch": "topic"}
    assert facts.env["CI_JOB_STAGE"] == "test"


def test_jenkins_is_recognised(tmp_path):
    facts = capture_metadata(tmp_path, environ=JENKINS)
    url = "https://jenkins.example.org/job/tool/56/"
    assert facts.ci == {"provider": "jenkins", "build_id": "56", "job": "tool/main", "build_url": url}
    assert facts.env["NODE_NAME"] == "agent-1"


def test_another_ci_is_at_least_known_to_be_one(tmp_path):
    facts = capture_metadata(tmp_path, environ={"CI": "1"})
    assert (facts.ci, facts.env) == ({"provider": "generic"}, {"CI": "1"})


@pytest.mark.parametrize("value", ["", "false", "False", "0"])
def test_ci_may_be_denied(tmp_path, value):
    assert capture_metadata(tmp_path, environ={"CI": value}).ci == {}


def test_a_url_with_a_part_that_is_not_known_is_left_out(tmp_path):
    environ = {name: value for name, value in GITHUB.items() if name != "GITHUB_REPOSITORY"}
    assert "build_url" not in capture_metadata(tmp_path, environ=environ).ci


def test_ci_names_the_branch_of_a_detached_checkout(repository):
    git(repository, "checkout", "--detach")
    assert capture_metadata(repository, environ=GITLAB).git["branch"] == "topic"


def test_a_branch_that_git_knows_is_believed_before_ci(repository):
    assert capture_metadata(repository, environ=GITLAB).git["branch"] == "main"


@pytest.mark.parametrize("environ", [GITHUB, GITLAB, JENKINS], ids=["github", "gitlab", "jenkins"])
def test_no_secret_of_a_ci_job_is_recorded(tmp_path, environ):
    facts = capture_metadata(tmp_path, environ=environ, env_patterns=["*"])
    assert "s3cret" not in repr(facts)


# --- variables that the user asks for --------------------------------------------------------------------------------


def test_without_patterns_and_without_ci_no_variable_is_recorded(tmp_path):
    assert capture_metadata(tmp_path, environ={"HOME": "/root", "DEPLOY_TARGET": "staging"}).env == {}


def test_patterns_choose_variables(tmp_path):
    environ = {"DEPLOY_TARGET": "staging", "DEPLOY_ZONE": "eu", "OTHER": "x", "deploy_x": "y", "STAGE": "1"}
    facts = capture_metadata(tmp_path, environ=environ, env_patterns=["DEPLOY_*", "STAG?"])
    assert facts.env == {"DEPLOY_TARGET": "staging", "DEPLOY_ZONE": "eu", "STAGE": "1"}


@pytest.mark.parametrize(
    "name",
    [
        "DEPLOY_TOKEN",
        "deploy_token",
        "DB_PASSWORD",
        "PGPASSWORD",
        "MYSQL_PASSWD",
        "CLIENT_SECRET",
        "AWS_SECRET_ACCESS_KEY",
        "JUX_API_KEY",
        "SSH_KEY",
        "GOOGLE_CREDENTIALS",
        "BASIC_AUTH",
        "SESSION_COOKIE",
        "SIGNING_PASSPHRASE",
        "JUX_KEY_PASSPHRASE",
        "GPG_PASSPHRASE",
        "DB_PASS",
        "MYSQL_PWD",
    ],
)
def test_a_variable_whose_name_looks_secret_is_never_recorded(tmp_path, name):
    facts = capture_metadata(tmp_path, environ={name: "s3cret", "FINE": "1"}, env_patterns=[name, "*"])
    assert facts.env == {"FINE": "1"}


def test_a_url_in_a_variable_loses_its_password(tmp_path):
    environ = {"INDEX": "https://user:s3cret@example.org/simple"}
    assert capture_metadata(tmp_path, environ=environ, env_patterns=["*"]).env == {
        "INDEX": "https://example.org/simple"
    }


@pytest.mark.parametrize("between", [" ", ",", "\n", ";"])
def test_every_url_in_a_variable_loses_its_password(tmp_path, between):
    environ = {"INDEXES": f"https://example.org/simple{between}https://user:s3cret@example.net/simple"}
    assert "s3cret" not in repr(capture_metadata(tmp_path, environ=environ, env_patterns=["*"]))


# --- fields ----------------------------------------------------------------------------------------------------------


def test_this_machine_is_described(tmp_path):
    facts = capture_metadata(tmp_path, environ={})
    assert facts.hostname == socket.gethostname()
    assert facts.platform == platform.platform()
    assert facts.python_version.startswith(platform.python_version())
    assert facts.pytest_version == pytest.__version__
    assert facts.pytest_jux_version == pytest_jux.__version__


def test_the_timestamp_is_rfc_3339_in_utc(tmp_path):
    moment = dt.datetime.fromisoformat(capture_metadata(tmp_path).timestamp)
    assert moment.utcoffset() == dt.timedelta(0)
    assert abs(dt.datetime.now(dt.UTC) - moment) < dt.timedelta(minutes=1)


def test_a_user_whom_the_system_does_not_know_has_no_name(tmp_path, monkeypatch):
    def no_entry(_):
        raise KeyError("uid not found")

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    facts = capture_metadata(tmp_path)
    assert facts.username == ""
    assert "username" not in facts.to_dict()
    assert "jux:username" not in dict(facts.to_properties())


def test_the_library_without_pytest_knows_no_pytest_version(tmp_path):
    code = "from pytest_jux import capture_metadata; print(repr(capture_metadata().pytest_version))"
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout == "''\n"


@pytest.mark.parametrize(
    ("remote", "project"),
    [
        ("https://example.org/group/tool.git", "tool"),
        ("git@example.org:tool.git", "tool"),
        ("https://example.org/group/tool/", "tool"),
        ("/srv/git/tool.git", "tool"),
        ("C:\\git\\tool.git", "tool"),
    ],
)
def test_the_project_is_named_after_its_remote(repository, remote, project):
    git(repository, "remote", "add", "origin", remote)
    assert capture_metadata(repository).project == project


def test_without_a_remote_the_project_is_named_after_its_directory(repository):
    assert capture_metadata(repository).project == "project"


def test_the_project_can_be_named(repository):
    assert capture_metadata(repository, project="given").project == "given"


def test_the_current_directory_is_the_default(repository, monkeypatch):
    monkeypatch.chdir(repository)
    assert capture_metadata().git["branch"] == "main"


def test_properties_have_the_public_prefixes_and_a_fixed_order(repository):
    facts = capture_metadata(repository, environ=GITHUB, project="tool")
    names = [name for name, _ in facts.to_properties()]
    assert names[:4] == ["project", "jux:hostname", "jux:username", "jux:platform"]
    assert {name.partition(":")[0] for name in names} == {"project", "jux", "git", "ci", "env"}
    assert {"git:commit", "git:branch", "git:status", "ci:provider", "ci:build_id", "env:GITHUB_SHA"} <= {*names}
    assert len(names) == len({*names})


def test_the_json_form_has_the_plain_keys_at_the_top_and_groups_beside_them(repository):
    facts = capture_metadata(repository, environ=GITHUB, project="tool").to_dict()
    assert facts["project"] == "tool"
    assert facts["ci"]["provider"] == "github"
    assert facts["git"]["branch"] == "main"
    assert facts["env"]["CI"] == "true"
    plain = {"project", "hostname", "username", "platform", "python_version", "pytest_version", "pytest_jux_version"}
    assert {*facts} == plain | {"timestamp", "git", "ci", "env"}


def test_what_is_not_known_is_left_out(tmp_path):
    facts = capture_metadata(tmp_path, environ={})
    assert {"git", "ci", "env"}.isdisjoint(facts.to_dict())
    assert all(value for _, value in facts.to_properties())


@pytest.mark.parametrize(
    ("pattern", "gone"),
    [
        ("username", {"jux:username"}),
        ("jux:hostname", {"jux:hostname"}),
        ("project", {"project"}),
        ("platform", {"jux:platform"}),
        ("python_version", {"jux:python_version"}),
        ("pytest_version", {"jux:pytest_version"}),
        ("git:commit", {"git:commit"}),
        ("git", {"git:commit", "git:branch", "git:status"}),
        ("git:*", {"git:commit", "git:branch", "git:status"}),
        ("ci:build_*", {"ci:build_id", "ci:build_url"}),
        ("env:GITHUB_ACTOR", {"env:GITHUB_ACTOR"}),
    ],
)
def test_an_excluded_field_is_left_out_and_no_other(repository, pattern, gone):
    every = {name for name, _ in capture_metadata(repository, environ=GITHUB).to_properties()}
    kept = {name for name, _ in capture_metadata(repository, environ=GITHUB, exclude=[pattern]).to_properties()}
    assert every - kept == gone
