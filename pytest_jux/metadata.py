"""What is worth knowing about a test run: this machine, the project's git state and the CI job, as one frozen value."""

from __future__ import annotations

import contextlib
import datetime as dt
import fnmatch
import getpass
import os
import platform
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_jux import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Up to white space, or to a comma or the like that another URL follows: a password may have commas, too.
_URL = r"[A-Za-z][\w+.-]*://(?:(?![,;|]+[A-Za-z][\w+.-]*://)\S)+"
GIT_TIME_LIMIT = 2.0  # seconds, for all that git is asked
_SECRET = re.compile(r"TOKEN|SECRET|PASS|_?PWD|KEY|CREDENTIAL|AUTH|COOKIE|SIGNATURE", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Provider:
    """A CI service: the variable that gives it away, and those that name the job (documented by each service)."""

    name: str
    marker: str
    build_id: str = ""
    job: str = ""
    attempt: str = ""
    branch: tuple[str, ...] = ()
    url: str = ""  # a template of variables, such as "{SERVER}/runs/{ID}"
    variables: tuple[str, ...] = ()


_PROVIDERS = (
    Provider(
        "github",
        "GITHUB_ACTIONS",
        "GITHUB_RUN_ID",
        "GITHUB_JOB",
        "GITHUB_RUN_ATTEMPT",
        ("GITHUB_HEAD_REF", "GITHUB_REF_NAME"),
        "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}",
        ("GITHUB_WORKFLOW", "GITHUB_EVENT_NAME", "GITHUB_REF", "GITHUB_SHA", "GITHUB_ACTOR", "RUNNER_OS"),
    ),
    Provider(
        "gitlab",
        "GITLAB_CI",
        "CI_PIPELINE_ID",
        "CI_JOB_ID",
        "",
        ("CI_COMMIT_REF_NAME",),
        "{CI_JOB_URL}",
        ("CI_JOB_NAME", "CI_JOB_STAGE", "CI_COMMIT_SHA", "CI_PIPELINE_SOURCE", "CI_NODE_INDEX", "CI_NODE_TOTAL"),
    ),
    Provider(
        "jenkins",
        "JENKINS_URL",
        "BUILD_ID",
        "JOB_NAME",
        "",
        ("BRANCH_NAME",),
        "{BUILD_URL}",
        ("BUILD_NUMBER", "NODE_NAME", "STAGE_NAME", "CHANGE_ID"),
    ),
    Provider("generic", "CI"),
)


@dataclass(frozen=True, slots=True)
class EnvironmentMetadata:
    """The circumstances of one test run. `timestamp` is RFC 3339 in UTC; empty strings mean unknown."""

    hostname: str
    username: str
    platform: str
    python_version: str
    pytest_version: str
    pytest_jux_version: str
    timestamp: str
    project: str = ""
    git: Mapping[str, str] = field(default_factory=dict)
    ci: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return what is known as JSON values: the user's keys at the top, `git`, `ci` and `env` as objects."""
        facts: dict[str, Any] = {name: getattr(self, name) for name in _SIMPLE if getattr(self, name)}
        facts.update({name: dict(getattr(self, name)) for name in _GROUPS if getattr(self, name)})
        return facts

    def to_properties(self) -> list[tuple[str, str]]:
        """Return what is known as the names and values of JUnit XML properties, in a fixed order."""
        named = [("project", self.project)] if self.project else []
        named += [(f"jux:{name}", getattr(self, name)) for name in _SIMPLE if name != "project" and getattr(self, name)]
        for group in _GROUPS:
            named += [(f"{group}:{name}", value) for name, value in getattr(self, group).items() if value]
        return named


_GROUPS = ("git", "ci", "env")
_SIMPLE = (
    "project",
    "hostname",
    "username",
    "platform",
    "python_version",
    "pytest_version",
    "pytest_jux_version",
    "timestamp",
)


def capture_metadata(
    directory: Path | None = None,
    *,
    project: str = "",
    environ: Mapping[str, str] | None = None,
    env_patterns: Iterable[str] = (),
    exclude: Iterable[str] = (),
) -> EnvironmentMetadata:
    """Return the metadata of a run in `directory` (default: here).

    Args:
        directory: where git is asked, and whose name is the project's name when nothing better is known.
        project: the project's name; default the last part of git's remote, else the directory's name.
        environ: environment variables; default the process's own.
        env_patterns: shell patterns of further variables to record. Names that look secret are never recorded.
        exclude: fields to leave out, such as `username`, `git`, `git:remote` or `env:CI_*`.
    """
    environ = os.environ if environ is None else environ
    directory = directory or Path.cwd()
    excluded = tuple(exclude)

    def kept(group: str, values: Mapping[str, str]) -> dict[str, str]:
        return {k: v for k, v in values.items() if v and not _matches(excluded, group, f"{group}:{k}")}

    def field_value(name: str, value: str) -> str:
        return "" if _matches(excluded, name, f"jux:{name}") else value

    git = ask_git(directory) if "git" not in excluded else {}
    ci, env = _ask_ci(environ, env_patterns)
    if ci.get("branch") and git.get("branch", "") in {"", "HEAD"}:
        git["branch"] = ci["branch"]  # CI services check out a commit, not a branch
    ci.pop("branch", None)
    name = project or _project_of(git.get("remote", "")) or directory.resolve().name
    return EnvironmentMetadata(
        hostname=field_value("hostname", socket.gethostname()),
        username=field_value("username", _username()),
        platform=field_value("platform", platform.platform()),
        python_version=field_value("python_version", sys.version.replace("\n", " ")),
        pytest_version=field_value("pytest_version", _pytest_version()),
        pytest_jux_version=field_value("pytest_jux_version", __version__),
        timestamp=field_value("timestamp", dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")),
        project=field_value("project", name),
        git=kept("git", git),
        ci=kept("ci", ci),
        env=kept("env", env),
    )


def ask_git(directory: Path, time_limit: float = GIT_TIME_LIMIT) -> dict[str, str]:
    """Return `commit`, `branch`, `status` (clean or dirty) and `remote` (without user information), as far as known.

    git has no one command for all of it, so two run side by side; both are killed at the time limit (seconds).
    """
    deadline = time.monotonic() + time_limit
    state = _start_git(directory, "status", "--porcelain=v2", "--branch", "--untracked-files=no")
    remote = _start_git(directory, "config", "--get", "remote.origin.url")
    answers = [_finish_git(process, deadline) for process in (state, remote)]
    facts = _read_status(answers[0])
    if answers[1].strip():
        facts["remote"] = without_userinfo(answers[1].strip())
    return facts


def without_userinfo(url: str) -> str:
    """Return a URL or git remote without user, password, query and fragment.

    Understands `https://user:password@host/path`, `ssh://`, `user@host:path`, and passwords with an unescaped `@` or
    `/` in them.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return _scp_without_userinfo(url)
    authority, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    if "@" not in authority and ":" in authority and not authority.startswith("[") and re.search("[^/]@", path):
        # Not a port, but a password with a slash in it; where it could be either, the safe reading counts.
        authority, slash, path = path.rpartition("@")[2].partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"


def _scp_without_userinfo(remote: str) -> str:
    """Return `host:path` of git's `user@host:path`; a local path is returned as it is."""
    before, colon, _ = remote.partition(":")
    if not colon or "/" in before:
        return remote
    if "@" in before:
        return remote[before.rindex("@") + 1 :]
    rests = [remote[match.end() :] for match in re.finditer("@", remote)]  # user:password@host:path
    return next((rest for rest in reversed(rests) if ":" in rest), remote)


def _urls_without_userinfo(text: str) -> str:
    return re.sub(_URL, lambda match: without_userinfo(match.group()), text)


def _start_git(directory: Path, *arguments: str) -> subprocess.Popen[bytes] | None:
    environ = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    command = ["git", "-c", "core.fsmonitor=false", *arguments]
    try:
        return subprocess.Popen(  # noqa: S603 - fixed arguments, no shell
            command,
            start_new_session=True,  # so that what git itself starts can be stopped with it
            cwd=directory,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError:  # there is no git
        return None


def _finish_git(process: subprocess.Popen[bytes] | None, deadline: float) -> str:
    if process is None:
        return ""
    try:
        output, _ = process.communicate(timeout=max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        with contextlib.suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        if process.stdout is not None:
            process.stdout.close()
        process.wait()
        return ""
    return output.decode("utf-8", "replace") if process.returncode == 0 else ""


def _read_status(output: str) -> dict[str, str]:
    facts: dict[str, str] = {}
    for line in output.splitlines():
        if line.startswith("# branch.oid ") and not line.endswith("(initial)"):
            facts["commit"] = line.split()[-1]
        elif line.startswith("# branch.head "):
            head = line.removeprefix("# branch.head ")
            facts["branch"] = "HEAD" if head == "(detached)" else head
        elif not line.startswith("#"):
            facts["status"] = "dirty"
    if facts:
        facts.setdefault("status", "clean")
    return facts


def _ask_ci(environ: Mapping[str, str], patterns: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    provider = next((p for p in _PROVIDERS if environ.get(p.marker, "").lower() not in {"", "false", "0"}), None)
    chosen: list[str] = []
    facts: dict[str, str] = {}
    if provider is not None:
        chosen += ["CI", *provider.variables]
        facts = {
            "provider": provider.name,
            "build_id": environ.get(provider.build_id, ""),
            "job": environ.get(provider.job, ""),
            "attempt": environ.get(provider.attempt, ""),
            "branch": next((environ[name] for name in provider.branch if environ.get(name)), ""),
            "build_url": without_userinfo(_fill(provider.url, environ)),
        }
    chosen += [name for name in environ if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
    named = [name for name in sorted(set(chosen)) if name in environ and not _SECRET.search(name)]
    env = {name: _urls_without_userinfo(environ[name]) for name in named}
    return {name: value for name, value in facts.items() if value}, env


def _fill(template: str, environ: Mapping[str, str]) -> str:
    names = re.findall(r"\{(\w+)\}", template)
    if not names or not all(environ.get(name) for name in names):
        return ""
    return re.sub(r"\{(\w+)\}", lambda match: environ[match.group(1)], template)


def _matches(patterns: tuple[str, ...], *names: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns for name in names)


def _project_of(remote: str) -> str:
    return re.split(r"[/:\\]", remote.rstrip("/\\"))[-1].removesuffix(".git")


def _username() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no passwd entry, and no variable that names the user
        return ""


def _pytest_version() -> str:
    module = sys.modules.get("pytest")
    return str(getattr(module, "__version__", ""))
