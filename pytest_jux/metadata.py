"""What is worth knowing about a test run: this machine, the project's git state and the CI job, as one frozen value."""

from __future__ import annotations

import datetime as dt
import fnmatch
import getpass
import os
import platform
import re
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_jux import __version__
from pytest_jux.ci import job_facts, recognise
from pytest_jux.git import ask_git
from pytest_jux.remotes import project_of, urls_without_userinfo
from pytest_jux.text import holds_a_secret, names_a_secret, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


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
    pytest_exit_status: str = ""
    project: str = ""
    git: Mapping[str, str] = field(default_factory=dict)
    ci: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return what is known as JSON values: the plain facts at the top, `git`, `ci`, `env`, `extra` as objects."""
        facts: dict[str, Any] = {name: getattr(self, name) for name in _SIMPLE if getattr(self, name)}
        facts.update({name: dict(getattr(self, name)) for name in _GROUPS if getattr(self, name)})
        return facts

    def to_properties(self) -> list[tuple[str, str]]:
        """Return what is known as the names and values of JUnit XML properties, in a fixed order."""
        named = [("project", self.project)] if self.project else []
        named += [(f"jux:{name}", getattr(self, name)) for name in _SIMPLE if name != "project" and getattr(self, name)]
        for group, prefix in _GROUPS.items():
            named += [(f"{prefix}:{name}", value) for name, value in getattr(self, group).items() if value]
        return named


# Groups of fields, and the prefix of their properties. That of extra fields is such that none can pose as another fact.
_CONFIGURING = ("JUX_", "PYTEST_ADDOPTS")
_GROUPS = {"git": "git", "ci": "ci", "env": "env", "extra": "jux:extra"}
_GROUP_FIELDS = {
    "git": ("commit", "branch", "status", "remote"),
    "ci": ("provider", "build_id", "job", "attempt", "shard", "build_url"),
}
_OPEN_GROUPS = ("env:", "extra:", "jux:extra:")  # whose names are not known beforehand
_SIMPLE = (
    "project",
    "hostname",
    "username",
    "platform",
    "python_version",
    "pytest_version",
    "pytest_jux_version",
    "timestamp",
    "pytest_exit_status",
)


def capture_metadata(
    directory: Path | None = None,
    *,
    project: str = "",
    environ: Mapping[str, str] | None = None,
    env_patterns: Iterable[str] = (),
    extra: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    exclude: Iterable[str] = (),
    exit_status: int | None = None,
) -> EnvironmentMetadata:
    """Return the metadata of a run in `directory` (default: here).

    Args:
        directory: where git is asked, and whose name is the project's name when nothing better is known.
        project: the project's name; default the last part of git's remote, else the directory's name.
        environ: environment variables; default the process's own.
        env_patterns: shell patterns of further variables to record. Names that look secret are never recorded.
        extra: further fields by name; of two with one name the last counts. `refused_names` tells what is left out.
        exit_status: pytest's, of the run that the metadata is about.
        exclude: fields to leave out, such as `username`, `git`, `git:remote`, `env:CI_*` or `extra:team`.
    """
    environ = os.environ if environ is None else environ
    directory = directory or Path.cwd()
    excluded = tuple(exclude)

    def kept(group: str, values: Mapping[str, str]) -> dict[str, str]:
        return {
            visible(name): _storable(value)
            for name, value in values.items()
            if value and not _matches(excluded, group, f"{group}:{name}", f"{_GROUPS[group]}:{name}")
        }

    def field_value(name: str, value: str) -> str:
        return "" if _matches(excluded, name, f"jux:{name}") else _storable(value)

    git = ask_git(directory) if not _matches(excluded, "git") else {}
    facts, env = _ask_ci(environ, env_patterns)
    commit, branch = facts.pop("commit", ""), facts.pop("branch", "")
    if commit and not git:
        git["commit"] = commit  # many images to test in have no git
    if branch and git.get("branch", "") in {"", "HEAD"}:
        git["branch"] = branch  # CI services check out a commit, not a branch
    name = project or project_of(git.get("remote", "")) or directory.resolve().name
    return EnvironmentMetadata(
        hostname=field_value("hostname", socket.gethostname()),
        username=field_value("username", _username()),
        platform=field_value("platform", _platform()),
        python_version=field_value("python_version", sys.version.replace("\n", " ")),
        pytest_version=field_value("pytest_version", _pytest_version()),
        pytest_jux_version=field_value("pytest_jux_version", __version__),
        timestamp=field_value("timestamp", dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")),
        pytest_exit_status=field_value("pytest_exit_status", "" if exit_status is None else str(exit_status)),
        project=field_value("project", name),
        git=kept("git", git),
        ci=kept("ci", facts),
        env=kept("env", env),
        extra=kept("extra", _clean_extra(extra)),
    )


def from_properties(properties: Mapping[str, str]) -> dict[str, Any]:
    """Return what a report's properties say of its test run, in the form of `EnvironmentMetadata.to_dict`.

    Only what pytest-jux writes itself is taken; a report has properties of others, too.
    """
    names = {("project" if name == "project" else f"jux:{name}"): name for name in _SIMPLE}
    facts: dict[str, Any] = {names[key]: value for key, value in properties.items() if key in names}
    for group, prefix in _GROUPS.items():
        known = _GROUP_FIELDS.get(group)
        found = {
            key.removeprefix(f"{prefix}:"): value for key, value in properties.items() if key.startswith(f"{prefix}:")
        }
        found = {name: value for name, value in found.items() if known is None or name in known}
        facts |= {group: found} if found else {}
    return facts


def refused_names(names: Iterable[str]) -> list[str]:
    """Return those of the names of variables or extra fields that are never recorded, because they look secret.

    So are variables that configure pytest and pytest-jux: any part of a command line may be in them.
    """
    return [name for name in names if not name or names_a_secret(name) or name.startswith(_CONFIGURING)]


def known_fields() -> frozenset[str]:
    """Return the names that `exclude` knows, apart from those of single variables (`env:…`) and extra fields."""
    named = [f"{group}:{name}" for group, names in _GROUP_FIELDS.items() for name in names]
    return frozenset([*_SIMPLE, *(f"jux:{name}" for name in _SIMPLE), *_GROUPS, *named])


def unknown_exclusions(patterns: Iterable[str]) -> list[str]:
    """Return those of the patterns for `exclude` that cannot match any field, such as a misspelt `hostnme`."""
    known = known_fields()
    return [p for p in patterns if not any(fnmatch.fnmatchcase(name, p) for name in known) and not _may_be_open(p)]


def _may_be_open(pattern: str) -> bool:
    """Tell whether a pattern can match the name of a variable or of an extra field."""
    fixed = re.split(r"[*?\[]", pattern, maxsplit=1)[0]  # what a name must begin with
    if fixed == pattern:
        return any(pattern.startswith(group) and pattern != group for group in _OPEN_GROUPS)
    return any(group.startswith(fixed) or fixed.startswith(group) for group in _OPEN_GROUPS)


def _ask_ci(environ: Mapping[str, str], patterns: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    provider = recognise(environ)
    facts = job_facts(provider, environ, urls_without_userinfo) if provider else {}
    chosen = {"CI", *provider.variables} if provider else set()
    for pattern in patterns:
        chosen.update(name for name in environ if fnmatch.fnmatchcase(name, pattern))
    named = [name for name in sorted(chosen) if name in environ and not refused_names([name])]
    return facts, {name: urls_without_userinfo(environ[name]) for name in named if not holds_a_secret(environ[name])}


def _clean_extra(extra: Mapping[str, str] | Iterable[tuple[str, str]]) -> dict[str, str]:
    fields = dict(extra)
    kept = {name: value for name, value in fields.items() if not refused_names([name]) and not holds_a_secret(value)}
    return {name: urls_without_userinfo(value) for name, value in kept.items()}


def _storable(value: str) -> str:
    """Return a text that every encoding of Unicode can hold: bytes that are no text are shown as escapes."""
    return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode("utf-8")


def _matches(patterns: tuple[str, ...], *names: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns for name in names)


def _username() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no passwd entry, and no variable that names the user
        return ""


def _platform() -> str:
    """Return `platform.platform()`, which would run the program `uname` first thing to learn the processor's name."""
    named = vars(platform.uname())
    asks = sys.platform == "linux" and "processor" not in named
    if asks:
        named["processor"] = ""  # which platform.platform() leaves out of its answer, as it does with the machine's
    try:
        return platform.platform()
    finally:
        if asks:
            del named["processor"]


def _pytest_version() -> str:
    module = sys.modules.get("pytest")
    return str(getattr(module, "__version__", ""))
