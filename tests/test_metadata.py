"""What is recorded about a run, and what never is."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import pwd
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import pytest_jux
from pytest_jux.git import GIT_TIME_LIMIT, ask_git
from pytest_jux.metadata import capture_metadata, known_fields, refused_names, unknown_exclusions
from pytest_jux.remotes import without_userinfo

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


@pytest.fixture
def marking(tmp_path):
    """Return a program that leaves a mark, and a function that tells whether it was run, and forgets it."""
    mark = tmp_path / "ran"
    program = tmp_path / "marking"
    program.write_text(f"#!/bin/sh\n: > '{mark}'\n")
    program.chmod(0o755)

    def was_run():
        there = mark.exists()
        mark.unlink(missing_ok=True)
        return there

    return program, was_run


def with_filter(repository, name="evil"):
    """Make `file` one that a filter is named for, and look changed, so that git has to read it."""
    (repository / ".gitattributes").write_text(f'"file" filter={name}\n')
    os.utime(repository / "file", (1, 1))


def plain_status(repository):
    command = ["git", "status", "--porcelain", "--untracked-files=no"]
    environ = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}
    return subprocess.run(command, cwd=repository, env=environ, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("setting", ["clean", "process"])
def test_a_filter_of_the_repository_is_not_run(repository, marking, setting):
    program, was_run = marking
    git(repository, "config", f"filter.evil.{setting}", str(program))
    with_filter(repository)
    plain_status(repository)
    assert was_run(), "this repository is harmless"
    assert ask_git(repository) == {"commit": git(repository, "rev-parse", "HEAD"), "branch": "main"}
    assert not was_run()


def test_a_filter_from_a_file_that_the_repository_includes_is_not_run(repository, marking):
    program, was_run = marking
    (repository / ".git" / "more").write_text(f'[filter "evil"]\n\tclean = {program}\n')
    git(repository, "config", "include.path", "more")
    with_filter(repository)
    plain_status(repository)
    assert was_run(), "this repository is harmless"
    ask_git(repository)
    assert not was_run()


def test_a_filter_of_a_work_tree_is_not_run(repository, marking):
    program, was_run = marking
    git(repository, "config", "extensions.worktreeConfig", "true")
    git(repository, "config", "--worktree", "filter.evil.clean", str(program))
    with_filter(repository)
    plain_status(repository)
    assert was_run(), "this repository is harmless"
    ask_git(repository)
    assert not was_run()


@pytest.mark.parametrize("name", ["a=b", "a.b", "a b", "\u00fc", "A"])
def test_a_filter_with_an_odd_name_is_not_run(repository, marking, name):
    program, was_run = marking
    git(repository, "config", f"filter.{name}.clean", str(program))
    with_filter(repository, name)
    assert ask_git(repository)["commit"]
    assert not was_run()


def test_a_filter_of_the_repository_that_is_not_needed_hides_nothing(repository, marking):
    program, was_run = marking
    git(repository, "config", "filter.evil.clean", str(program))
    assert ask_git(repository)["status"] == "clean"
    (repository / "file").write_text("2")
    assert ask_git(repository)["status"] == "dirty"
    assert not was_run()


def test_a_filter_that_cannot_be_run_leaves_the_remote_known(repository, marking):
    git(repository, "remote", "add", "origin", "https://example.org/tool.git")
    git(repository, "config", "filter.evil.clean", str(marking[0]))
    with_filter(repository)
    assert {*ask_git(repository)} == {"commit", "branch", "remote"}


def test_a_filter_of_the_user_is_run_as_git_would(repository, tmp_path, monkeypatch):
    # Without its filter this file, as git-lfs and the like leave it, would look changed.
    own = tmp_path / "gitconfig"
    own.write_text('[filter "upper"]\n\tclean = tr a-z A-Z\n\trequired = true\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(own))
    (repository / ".gitattributes").write_text("word filter=upper\n")
    (repository / "word").write_text("word")
    git(repository, "add", "word")
    git(repository, "commit", "-m", "word")
    os.utime(repository / "word", (1, 1))
    assert git(repository, "show", "HEAD:word") == "WORD"
    assert ask_git(repository)["status"] == "clean"
    (repository / "word").write_text("other")
    assert ask_git(repository)["status"] == "dirty"


def test_a_hook_of_the_repository_is_not_run(repository, marking):
    program, was_run = marking
    hook = repository / ".git" / "hooks" / "post-index-change"
    hook.parent.mkdir(exist_ok=True)
    hook.symlink_to(program)
    os.utime(repository / "file", (1, 1))
    ask_git(repository)
    assert not was_run()


def test_what_a_submodule_names_is_not_run(repository, tmp_path, marking):
    program, was_run = marking
    inner = repository / "inner"
    inner.mkdir()
    git(inner, "init")
    (inner / "file").write_text("1")
    git(inner, "add", "file")
    git(inner, "commit", "-m", "inner")
    git(repository, "add", "inner")
    git(repository, "commit", "-m", "with a submodule")
    git(inner, "config", "filter.evil.clean", str(program))
    with_filter(inner)
    plain_status(repository)
    assert was_run(), "this repository is harmless"
    assert ask_git(repository)["status"] == "clean"
    assert not was_run()
    git(inner, "-c", "filter.evil.clean=", "commit", "--allow-empty", "-m", "other")
    assert ask_git(repository)["status"] == "dirty"


def test_nothing_is_fetched_for_a_partial_clone(repository, tmp_path, marking):
    program, was_run = marking
    tree = git(repository, "rev-parse", "HEAD^{tree}")
    git(repository, "config", "core.repositoryFormatVersion", "1")
    git(repository, "config", "extensions.partialClone", "origin")
    git(repository, "config", "remote.origin.promisor", "true")
    git(repository, "config", "remote.origin.url", str(tmp_path / "elsewhere"))
    git(repository, "config", "remote.origin.uploadpack", f"{program};")
    (tmp_path / "elsewhere").mkdir()
    git(tmp_path / "elsewhere", "init")
    (repository / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
    plain_status(repository)
    assert was_run(), "this repository is harmless"
    facts = ask_git(repository)
    assert (facts["branch"], facts.get("status")) == ("main", None)
    assert not was_run()


def test_files_of_the_project_do_not_pose_as_a_repository(repository):
    inside = repository / "fixtures"
    inside.mkdir()
    (inside / "objects").mkdir()
    (inside / "refs").mkdir()
    (inside / "HEAD").write_text("ref: refs/heads/evil\n")
    (inside / "config").write_text("[core]\n\tbare = false\n\tworktree = .\n\trepositoryformatversion = 0\n")
    assert ask_git(inside).get("branch") != "evil"


def test_a_repository_that_git_calls_unsafe_is_nothing(repository, monkeypatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert plain_status(repository).returncode == 128
    assert ask_git(repository) == {}


def test_a_directory_that_the_environment_calls_safe_is_asked(repository, monkeypatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "safe.directory")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "*")
    assert ask_git(repository)["branch"] == "main"


# --- git: in a hook --------------------------------------------------------------------------------------------------


@pytest.fixture
def other_repository(tmp_path):
    directory = tmp_path / "other"
    directory.mkdir()
    git(directory, "init", "--initial-branch=other")
    (directory / "file").write_text("other")
    git(directory, "add", "file")
    git(directory, "commit", "-m", "other")
    git(directory, "remote", "add", "origin", "https://example.org/other.git")
    return directory


@pytest.mark.parametrize("name", ["GIT_DIR", "GIT_COMMON_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_CONFIG"])
def test_what_a_hook_inherits_does_not_answer_for_another_repository(repository, other_repository, monkeypatch, name):
    expected = ask_git(repository)
    inner = {"GIT_WORK_TREE": "", "GIT_INDEX_FILE": ".git/index", "GIT_CONFIG": ".git/config"}
    monkeypatch.setenv(name, str(other_repository / inner.get(name, ".git")))
    assert ask_git(repository) == expected
    assert expected["branch"] == "main"


def test_a_directory_outside_every_repository_is_not_in_that_of_the_hook(tmp_path, other_repository, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(other_repository / ".git"))
    assert ask_git(tmp_path) == {}


@pytest.mark.parametrize("arguments", [("-m", "x"), ("-m", "x", "-a"), ("-m", "x", "--", "file")])
def test_in_a_real_hook_the_state_of_the_project_is_told(repository, arguments):
    git(repository, "config", "user.name", "A")
    git(repository, "config", "user.email", "a@example.org")
    told = repository.parent / "told"
    hook = repository / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    code = "import sys; from pathlib import Path; from pytest_jux.git import ask_git; print(ask_git(Path.cwd()))"
    hook.write_text(f"#!/bin/sh\nexec '{sys.executable}' -c '{code}' > '{told}'\n")
    hook.chmod(0o755)
    before = git(repository, "rev-parse", "HEAD")
    (repository / "file").write_text("2")
    if len(arguments) == 2:
        git(repository, "add", "file")
    git(repository, "commit", *arguments)
    assert told.read_text() == f"{{'commit': '{before}', 'branch': 'main', 'status': 'dirty'}}\n"


# --- git: a hostile one ----------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    "script",
    [
        "trap '' TERM INT HUP; while :; do sleep 1; done",
        "cat /dev/zero",
        "yes '# branch.head x'",
        "sleep 60 & exit 0",
        "setsid sleep 3 & exit 0",
        "exec >&-; sleep 60",
        "while :; do printf x; sleep 0.05; done",
    ],
    ids=["deaf", "zeros", "lines", "child", "child-with-its-own-session", "silent", "drip"],
)
def test_a_hostile_git_costs_little_more_than_the_limit_and_tells_nothing(tmp_path, fake_git, script):
    fake_git(script)
    start = time.monotonic()
    assert ask_git(tmp_path, 0.3) == {}
    assert time.monotonic() - start < 2


FLOODED = """
import resource
from pathlib import Path
from pytest_jux.git import ask_git
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
ask_git(Path.cwd(), 1.0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_git_that_floods_costs_little_memory(tmp_path, fake_git):
    fake_git("exec cat /dev/zero")
    command = [sys.executable, "-W", "error", "-c", FLOODED]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    kilobytes = int(done.stdout) / (1024 if sys.platform == "darwin" else 1)
    assert (kilobytes < 20_000, done.stderr) == (True, "")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_process_of_a_git_that_hangs_is_left(tmp_path, fake_git):
    fake_git(f"echo $$ > {tmp_path}/pid; sleep 60 & echo $! >> {tmp_path}/pid; wait")
    ask_git(tmp_path, 0.5)
    for pid in (tmp_path / "pid").read_text().split():
        state = Path("/proc", pid, "stat")
        assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


LIMITED = """
import resource, sys
from pathlib import Path
from pytest_jux.git import ask_git
usual, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), most))
facts = ask_git(Path.cwd())
resource.setrlimit(resource.RLIMIT_NOFILE, (usual, most))
print(facts)
"""


@pytest.mark.parametrize("files", [3, 4, 5, 6])
def test_a_process_that_may_open_no_more_files_learns_nothing_from_git(repository, files):
    command = [sys.executable, "-W", "error", "-c", LIMITED, str(files)]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("{}\n", "")


def first_in_path(directory, monkeypatch):
    monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")


def test_a_directory_named_git_is_passed_over(repository, tmp_path, monkeypatch):
    (tmp_path / "bin" / "git").mkdir(parents=True)
    first_in_path(tmp_path / "bin", monkeypatch)
    assert ask_git(repository)["branch"] == "main"


def test_a_git_that_may_not_be_run_is_passed_over(repository, tmp_path, fake_git):
    fake_git("echo never")
    (tmp_path / "bin" / "git").chmod(0o644)
    assert ask_git(repository)["branch"] == "main"


def test_a_git_that_is_no_program_is_nothing(repository, tmp_path, fake_git):
    fake_git("")
    (tmp_path / "bin" / "git").write_bytes(b"\0\1\2")
    assert ask_git(repository) == {}


def test_a_git_in_the_tested_directory_is_not_run(repository, tmp_path, marking, monkeypatch):
    program, was_run = marking
    (repository / "git").symlink_to(program)
    monkeypatch.chdir(repository)
    monkeypatch.setenv("PATH", f".{os.pathsep}{os.pathsep}{os.environ['PATH']}")
    assert ask_git(repository)["branch"] == "main"
    assert not was_run()


def test_a_status_that_takes_too_long_leaves_the_commit_known(repository, fake_git):
    real = shutil.which("git")
    fake_git(f'case " $* " in *" status "*) sleep 60;; esac\nexec {real} "$@"')
    facts = ask_git(repository, 1.0)
    assert facts == {"commit": git(repository, "rev-parse", "HEAD"), "branch": "main"}


def test_a_git_that_does_not_know_scopes_tells_commit_and_branch(repository, fake_git):
    real = shutil.which("git")
    fake_git(f'case " $* " in *" --show-scope "*) exit 129;; esac\nexec {real} "$@"')
    facts = ask_git(repository)
    assert facts == {"commit": git(repository, "rev-parse", "HEAD"), "branch": "main"}


def test_more_changes_than_are_read_are_still_changes(repository, fake_git):
    real = shutil.which("git")
    flood = (
        "i=0; while [ $i -lt 40000 ]; do echo '1 .M N... 100644 100644 100644 a b a-rather-long-name'; i=$((i+1)); done"
    )
    fake_git(f'case " $* " in *" status "*) {real} "$@"; {flood}; exit 0;; esac\nexec {real} "$@"')
    assert ask_git(repository, 20.0)["status"] == "dirty"


HANGING = """
import gc, sys
from pathlib import Path
from pytest_jux.git import ask_git
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
        "printf '# branch.oid x\\n# branch.head main\\n'",
        "printf 'local\\0filter.x.clean\\0local\\0'",
        "printf 'local\\0remote.origin.url\\nhttps://example.org\\0'",
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
        ("file:///srv/git/tool@2.git", "file:///srv/git/tool@2.git"),
        ("C:\\git\\tool@2.git", "C:\\git\\tool@2.git"),
        ("c:/git/tool@2.git", "c:/git/tool@2.git"),
        ("\\\\server\\share\\tool@2.git", "\\\\server\\share\\tool@2.git"),
        ("../tool@2.git", "../tool@2.git"),
        ("codecommit::eu-central-1://profile@tool", "codecommit::eu-central-1://tool"),
        ("transport::https://user:pass@example.org/tool.git", "transport::https://example.org/tool.git"),
        ("transport::user:pass@example.org:tool.git", "transport::example.org:tool.git"),
        ("HTTPS://User:Pass@EXAMPLE.ORG/Tool.git", "HTTPS://EXAMPLE.ORG/Tool.git"),
        ("https://x-access-token:ghs_abc@github.com/example/tool", "https://github.com/example/tool"),
        ("https://user:p%40ss@example.org/tool.git", "https://example.org/tool.git"),
        ("https://user:pass%40example.org/tool.git", "https://example.org/tool.git"),
        ("https://user:pass/tool.git", "https://user/tool.git"),
        ("https://user:p?ss@example.org/tool.git", "https://example.org/tool.git"),
        ("https://user:p#ss@example.org/tool.git", "https://example.org/tool.git"),
        ("  https://user:pass@example.org/tool.git\n", "https://example.org/tool.git"),
        ("https://us er:pa\nss@example.org/tool.git", "https://example.org/tool.git"),
        ("https://user@example.org/group@2/tool.git", "https://example.org/group@2/tool.git"),
        ("https://example.org/group@2/tool.git", "https://example.org/group@2/tool.git"),
        ("https://example.org:8443/?mail=a@example.com", "https://example.org:8443/"),
        ("http://localhost:8000/@scope/tool.git", "http://localhost:8000/@scope/tool.git"),
        ("https://gitserver/@scope/tool.git", "https://gitserver/@scope/tool.git"),
        ("https://[::1]:8443/tool.git", "https://[::1]:8443/tool.git"),
        ("user:pass@[2001:db8::1]:tool.git", "[2001:db8::1]:tool.git"),
        (
            "https://proxy.example.org/https://user:pass@example.org/x",
            "https://proxy.example.org/https://example.org/x",
        ),
        ("https://example.org/x?next=https://user:pass@example.net/", "https://example.org/x"),
        ("example.org:group/@scope/tool.git", "example.org:group/@scope/tool.git"),
        ("ghp_abc@github.com/example/tool", "github.com/example/tool"),
        ("https://", "https://"),
        ("@", ""),
        ("", ""),
    ],
)
def test_a_remote_loses_what_identifies_its_user_and_nothing_else(remote, shown):
    assert without_userinfo(remote) == shown


PASSWORDS = st.text(min_size=4, max_size=20) | st.text("ab12@/:?#%.[]\\ \n&=,;", min_size=4, max_size=14)
SCHEMES = ["https", "HTTPS", "http", "ssh", "git+https", "ftp", "helper::https"]


@given(PASSWORDS, st.sampled_from(SCHEMES), st.sampled_from(["user", "", "x-access-token", "someone@example.com"]))
@example("123456/89abc", "https", "user")
@example("1234/", "https", "user")
@example("12?34", "https", "user")
@example("x/https://y", "https", "user")
@example("a.b:/c", "https", "someone@example.com")
def test_a_password_in_a_url_never_survives(password, scheme, user):
    clean = f"{scheme}://example.org/group/tool.git"
    assert password not in without_userinfo(f"{scheme}://{user}:{password}@example.org/group/tool.git").replace(
        clean, ""
    )


@given(PASSWORDS.filter(lambda text: not text.startswith("//")), st.sampled_from(["user", "first.last", "a@b.c"]))
@example(":/ab", "user")
@example("/ab/", "u")
def test_a_password_in_an_scp_like_remote_never_survives(password, user):
    assert without_userinfo(f"{user}:{password}@example.org:group/tool.git").endswith("example.org:group/tool.git")
    assert password not in without_userinfo(f"{user}:{password}@example.org:group/tool.git").replace(
        "example.org:group/tool.git", ""
    )


TOKENS = st.text("abcXYZ0189-._~", min_size=8, max_size=24)


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
    assert facts.git == {"branch": "main", "commit": "a" * 40}
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
    assert facts.ci == {"provider": "gitlab", "build_id": "12", "job": "34", "shard": "1/2", "build_url": url}
    assert facts.git == {"branch": "topic", "commit": "b" * 40}
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


def test_a_commit_that_git_knows_is_believed_before_ci(repository):
    assert capture_metadata(repository, environ=GITHUB).git["commit"] == git(repository, "rev-parse", "HEAD")


def test_a_repository_without_a_commit_does_not_get_that_of_ci(tmp_path):
    git(tmp_path, "init")
    assert "commit" not in capture_metadata(tmp_path, environ=GITHUB).git


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


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("url:https://user:s3cret@example.org/x", "url:https://example.org/x"),
        ("(https://user:s3cret@example.org/x) and more", "(https://example.org/x) and more"),
        ('{"a": "https://user:s3cret@example.org/x", "b": 1}', '{"a": "https://example.org/x", "b": 1}'),
        ("https://a.example/,https://user:s3,cret@b.example/", "https://a.example/,https://b.example/"),
        ("me@example.org, see https://example.org", "me@example.org, see https://example.org"),
        ("no address: 1 // 2", "no address: 1 // 2"),
    ],
)
def test_a_url_within_a_text_is_cleaned_and_the_rest_is_kept(tmp_path, value, shown):
    assert capture_metadata(tmp_path, environ={"X": value}, env_patterns=["X"]).env == {"X": shown}


@given(st.text(":/@,;| ahtps.", max_size=60))
def test_a_text_without_an_address_is_kept_as_it_is(text):
    text = text.replace("://", "")
    assert capture_metadata(Path("/"), exclude=["git"], environ={"X": text}, env_patterns=["X"]).env == (
        {"X": text} if text else {}
    )


@pytest.mark.parametrize("text", ["https://" + "," * 100_000, "a" * 100_000, "a://b/" * 20_000, "C:/" + "@" * 100_000])
def test_a_long_value_costs_little(tmp_path, text):
    start = time.process_time()
    capture_metadata(tmp_path, environ={"X": text}, env_patterns=["X"], extra={"x": text}, exclude=["git"])
    without_userinfo(text)
    assert time.process_time() - start < 2


# --- fields of one's own ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", [{"team": "payments", "tier": "3"}, [("team", "payments"), ("tier", "3")]])
def test_extra_fields_are_recorded_beside_the_others(tmp_path, extra):
    facts = capture_metadata(tmp_path, environ={}, extra=extra)
    assert facts.to_dict()["extra"] == {"team": "payments", "tier": "3"}
    assert facts.to_properties()[-2:] == [("jux:extra:team", "payments"), ("jux:extra:tier", "3")]


@pytest.mark.parametrize("name", ["hostname", "project", "git", "commit", "extra", "jux:hostname", "git:commit"])
def test_an_extra_field_cannot_pose_as_a_fact(repository, name):
    plain = capture_metadata(repository, environ={}, exclude=["timestamp"])
    facts = capture_metadata(repository, environ={}, exclude=["timestamp"], extra={name: "evil"})
    assert facts.to_properties() == [*plain.to_properties(), (f"jux:extra:{name}", "evil")]
    assert facts.to_dict() == plain.to_dict() | {"extra": {name: "evil"}}


def test_of_two_extra_fields_with_one_name_the_last_counts(tmp_path):
    assert capture_metadata(tmp_path, extra=[("a", "1"), ("b", "2"), ("a", "3")]).extra == {"a": "3", "b": "2"}


def test_an_extra_field_without_name_or_value_is_left_out(tmp_path):
    facts = capture_metadata(tmp_path, environ={}, extra={"": "x", "empty": ""})
    assert facts.extra == {}
    assert "extra" not in facts.to_dict()


def test_a_secret_in_an_extra_field_is_not_recorded(tmp_path):
    extra = {"api_key": "s3cret", "deploy-token": "s3cret", "index": "https://user:s3cret@example.org/simple"}
    facts = capture_metadata(tmp_path, environ={}, extra=extra)
    assert facts.extra == {"index": "https://example.org/simple"}
    assert "s3cret" not in repr(facts)
    assert refused_names(extra) == ["api_key", "deploy-token"]


def test_names_that_are_recorded_are_not_refused(tmp_path):
    names = ["team", "CI", "GITHUB_SHA", "monitor", "BUILD_URL"]
    assert refused_names(names) == []
    assert [*capture_metadata(tmp_path, environ={}, extra=dict.fromkeys(names, "x")).extra] == names


# --- names and values that are no text -------------------------------------------------------------------------------


def test_a_name_that_no_report_could_hold_is_recorded_with_escapes(tmp_path):
    facts = capture_metadata(tmp_path, environ={"A\x1bB": "1"}, env_patterns=["*"], extra={"c\x01d\udcff": "2"})
    assert (facts.env, facts.extra) == ({"A\\x1bB": "1"}, {"c\\x01d\\udcff": "2"})


def test_bytes_that_are_no_text_are_recorded_as_escapes(tmp_path):
    directory = tmp_path / "tool\udcff"
    try:
        directory.mkdir()
    except OSError:  # this filesystem takes text only
        directory = tmp_path
    facts = capture_metadata(directory, environ={"X": "a\udcffb"}, env_patterns=["X"], extra={"y": "ü\ud800"})
    assert (facts.env["X"], facts.extra["y"]) == ("a\\udcffb", "ü\\ud800")
    assert json.dumps(facts.to_dict(), ensure_ascii=False).encode()


# --- fields ----------------------------------------------------------------------------------------------------------


def test_this_machine_is_described(tmp_path):
    facts = capture_metadata(tmp_path, environ={})
    assert facts.hostname == socket.gethostname()
    assert facts.platform == platform.platform()
    assert facts.python_version.startswith(platform.python_version())
    assert facts.pytest_version == pytest.__version__
    assert facts.pytest_jux_version == pytest_jux.__version__


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere platform.platform() runs no program")
def test_no_program_but_git_is_run(tmp_path, marking):
    # platform.platform() would run the first `uname` in PATH, and wait for it for ever.
    program, was_run = marking
    (tmp_path / "bin").mkdir()
    for name in ("uname", "hostname", "whoami", "id", "sh"):
        (tmp_path / "bin" / name).symlink_to(program)
    code = "import sys; from pathlib import Path; from pytest_jux import capture_metadata; "
    code += "print(capture_metadata(Path(sys.argv[1])).platform)"
    command = [sys.executable, "-c", code, str(tmp_path)]
    environ = os.environ | {"PATH": str(tmp_path / "bin")}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == f"{platform.platform()}\n"
    assert not was_run()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere platform.platform() runs no program")
def test_the_processor_is_still_known_to_others(tmp_path):
    (tmp_path / "uname").write_text("#!/bin/sh\necho special\n")
    (tmp_path / "uname").chmod(0o755)
    code = "import platform; from pytest_jux import capture_metadata; capture_metadata(); print(platform.processor())"
    environ = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == "special\n"


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
        ("extra", {"jux:extra:team", "jux:extra:tier"}),
        ("extra:team", {"jux:extra:team"}),
        ("jux:extra:t?am", {"jux:extra:team"}),
    ],
)
def test_an_excluded_field_is_left_out_and_no_other(repository, pattern, gone):
    given_too = {"environ": GITHUB, "extra": {"team": "payments", "tier": "3"}}
    every = {name for name, _ in capture_metadata(repository, **given_too).to_properties()}
    kept = {name for name, _ in capture_metadata(repository, **given_too, exclude=[pattern]).to_properties()}
    assert every - kept == gone
    assert unknown_exclusions([pattern]) == []


@pytest.mark.parametrize("pattern", ["git", "g?t", "*"])
def test_an_excluded_git_is_not_asked(repository, marking, fake_git, pattern):
    program, was_run = marking
    fake_git(f"exec {program} < /dev/null")
    assert capture_metadata(repository, exclude=[pattern]).git == {}
    assert not was_run()


@pytest.mark.parametrize(
    "pattern",
    [
        *(
            "env:CI_*",
            "git",
            "git:remote",
            "jux:hostname",
            "hostname",
            "ci:*",
            "ci:shard",
            "extra:team",
            "extra",
            "env",
        ),
        *(
            "project",
            "jux:project",
            "*",
            "*name",
            "e*:SECRET",
            "env:X",
            "env:[A-C]*",
            "jux:extra:team",
            "jux:*",
            "?nv:*",
        ),
    ],
)
def test_an_exclusion_that_can_match_is_known(pattern):
    assert unknown_exclusions([pattern]) == []


@pytest.mark.parametrize(
    "pattern",
    [
        "hostnme",
        "hostname ",
        "Hostname",
        "git:comit",
        "ci:build",
        "jux:git",
        "environment",
        "env:",
        "hostnme*",
        "",
        "x:*",
    ],
)
def test_an_exclusion_that_matches_nothing_is_named(pattern):
    assert unknown_exclusions(["username", pattern]) == [pattern]


def test_every_recorded_field_is_known(repository):
    git(repository, "remote", "add", "origin", "https://example.org/tool.git")
    facts = capture_metadata(repository, environ=GITHUB | GITLAB, extra={"team": "x"})
    everything = {name for name, _ in facts.to_properties()}
    assert {name for name in everything if not name.startswith(("env:", "jux:extra:"))} <= known_fields()
    assert unknown_exclusions(everything) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CI_JOB_JWT_V2", "anything"),
        ("DB_PW", "anything"),
        ("SLACK_WEBHOOK_URL", "https://hooks.example.com/T0/B0/x"),
        ("AZURE_STORAGE_CONNECTION_STRING", "anything"),
        ("HARMLESS", "-----BEGIN EC PRIVATE KEY-----MHc"),
        ("HARMLESS", "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2ln"),
        ("HARMLESS", "Server=db;Uid=me;Password=zz"),
        ("HARMLESS", "ghp_0123456789abcdefghijklmn"),
    ],
)
def test_what_can_only_be_a_secret_is_not_recorded_whatever_asks_for_it(tmp_path, name, value):
    plain = {"DEPLOY_STAGE": "blue"}
    facts = capture_metadata(
        tmp_path, environ={name: value, **plain}, env_patterns=["*"], extra={name: value, "team": "x"}
    )
    assert (facts.env, facts.extra) == (plain, {"team": "x"})
