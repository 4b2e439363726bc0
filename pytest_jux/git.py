"""What git knows about a directory, learnt without running anything that a repository names."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from pytest_jux.remotes import without_userinfo

if TYPE_CHECKING:
    from pathlib import Path

GIT_TIME_LIMIT = 2.0  # seconds, for all that git is asked
_GIT_OUTPUT_LIMIT = 1 << 20  # bytes of one answer; the rest of a longer one is not read
_OBJECT_ID = "[0-9a-f]{40}|[0-9a-f]{64}"


def ask_git(directory: Path, time_limit: float = GIT_TIME_LIMIT) -> dict[str, str]:
    """Return `commit`, `branch`, `status` (clean or dirty) and `remote` (without user information), as far as known.

    No program that the repository names is run for that, nothing is fetched, and nothing is written. `status` speaks
    of tracked files, and not of what is inside submodules; it is left out where only a filter of the repository's own
    configuration could tell. All of it takes no more than the time limit (seconds) and a bounded amount of memory.
    """
    program = _find_git()
    if program is None:
        return {}
    start = time.monotonic()
    # Two processes where one would do, because what `git status` must not run has to be known before it starts: the
    # clean filters that the repository's own configuration defines. The user's own filters (git-lfs, say) are run.
    answer = _run_git(program, directory, ("config", "--list", "-z", "--show-scope"), start + time_limit)
    config = _read_config(answer)
    facts: dict[str, str] = {}
    if config.is_repository and config.can_be_disarmed:
        command = (*config.disarming, "status", "--porcelain=v2", "--branch", "--untracked-files=no")
        command += ("--ignore-submodules=dirty", "--no-renames", "--no-ahead-behind")
        # The last quarter of the time is for the question below: in a huge repository status takes too long.
        facts = _read_status(_run_git(program, directory, command, start + 0.75 * time_limit, cut=True))
    if not facts and (config.is_repository or answer is None):
        # A third one where status got nowhere, or could not be asked safely: this needs no look at any file.
        answer = _run_git(program, directory, ("rev-parse", "HEAD", "--abbrev-ref", "HEAD"), start + time_limit)
        facts = _read_head(answer)
    if facts and config.remote:
        facts["remote"] = without_userinfo(config.remote)
    return facts


class _Config(NamedTuple):
    is_repository: bool = False
    can_be_disarmed: bool = False
    disarming: tuple[str, ...] = ()  # options that keep the repository's filters from being run
    remote: str = ""


def _read_config(answer: bytes | None) -> _Config:
    """Read what `git config --list -z --show-scope` says."""
    if answer is None:  # such as from a git older than 2.26, which does not know scopes
        return _Config()
    parts = os.fsdecode(answer).split("\0")
    remotes: list[str] = []
    filters: list[str] = []
    scopes = set()
    for scope, entry in zip(parts[::2], parts[1::2], strict=False):
        scopes.add(scope)
        key, _, value = entry.partition("\n")
        if key == "remote.origin.url":
            remotes.append(value)
        elif key.startswith("filter.") and key.count(".") > 1 and scope not in {"system", "global", "command"}:
            filters.append(key[: key.rindex(".")])
    # A required filter without a command makes git give up where it would be needed, instead of running anything.
    options = [f"{name}.{setting}" for name in dict.fromkeys(filters) for setting in _DISARMED]
    return _Config(
        is_repository=not scopes <= {"system", "global", "command"},
        can_be_disarmed=not any("=" in name for name in filters),  # -c takes the first = for the end of the name
        disarming=tuple(argument for option in options for argument in ("-c", option)),
        remote=remotes[0] if remotes else "",  # the one that git fetches from
    )


_DISARMED = ("clean=", "process=", "required=true")
# A hook of git inherits these, and they would answer for that hook's repository and index, whatever directory is asked
# about. What the environment says of configuration is kept: that is the user's, and may say that a directory is safe.
_INHERITED = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
)
_GIT_OPTIONS = (
    "--no-pager",
    "-c",
    "core.fsmonitor=false",  # else a program that the repository names
    "-c",
    f"core.hooksPath={os.devnull}",
    "-c",
    "safe.bareRepository=explicit",  # else files of the project could pose as a repository of their own
)


def _find_git() -> str | None:
    """Return the path of git, looked for in the absolute directories of PATH: never in the one that is tested."""
    name = "git.exe" if os.name == "nt" else "git"
    for directory in filter(os.path.isabs, os.get_exec_path()):
        path = os.path.join(directory, name)  # noqa: PTH118 - as PATH is written
        if os.path.isfile(path) and os.access(path, os.X_OK):  # noqa: PTH113 - as above
            return path
    return None


def _run_git(
    program: str, directory: Path, arguments: tuple[str, ...], deadline: float, *, cut: bool = False
) -> bytes | None:
    """Return what git prints, or None if it fails, is not done in time or prints too much; `cut` keeps its beginning.

    Whatever git does, this returns at the deadline, has read no more than the limit, and leaves no git behind.
    """
    started = _start_git([program, *_GIT_OPTIONS, *arguments], directory) if time.monotonic() < deadline else None
    if started is None:
        return None
    process, reading = started
    output = bytearray()
    # The thread owns the pipe: a process that got away may hold the other end for ever, and reading has no time limit.
    reader = threading.Thread(target=_read_pipe, args=(reading, output), daemon=True)
    try:
        reader.start()
        reader.join(max(0.0, deadline - time.monotonic()))
        if reader.is_alive():
            return None
        if len(output) > _GIT_OUTPUT_LIMIT:
            return bytes(output) if cut else None
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return None
    finally:
        _end(process)
    return bytes(output) if process.returncode == 0 else None


def _start_git(command: list[str], directory: Path) -> tuple[subprocess.Popen[bytes], int] | None:
    """Return the process and the descriptor from which its output can be read, or None if it cannot be started."""
    environ = {name: value for name, value in os.environ.items() if name not in _INHERITED}
    environ |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    # In a partial clone objects may be missing; fetching them could run what the repository names as transport.
    environ |= {"GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": ""}
    try:
        reading, writing = os.pipe()
    except OSError:  # too many files are open
        return None
    try:
        process = subprocess.Popen(  # noqa: S603 - no shell, and the only variable arguments are names of options
            command,
            start_new_session=True,  # so that what git itself starts can be stopped with it
            cwd=directory,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=subprocess.DEVNULL,
        )
    except (OSError, ValueError):  # no program after all, or no such directory
        os.close(reading)
        return None
    finally:
        os.close(writing)
    return process, reading


def _read_pipe(reading: int, output: bytearray) -> None:
    try:
        while len(output) <= _GIT_OUTPUT_LIMIT and (chunk := os.read(reading, 1 << 16)):
            output += chunk
    except OSError:
        pass
    finally:
        os.close(reading)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process with all that is in its group, unless it has ended well."""
    if process.returncode is not None:
        return
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)  # before it is waited for, so that the number is still its own
    process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(1.0)  # not for ever: a process that waits for a lost network drive cannot be killed


def _read_status(answer: bytes | None) -> dict[str, str]:
    facts: dict[str, str] = {}
    is_dirty = False
    for line in (answer or b"").decode("utf-8", "replace").split("\n"):
        if line.startswith("# branch.oid "):
            facts["commit"] = line.removeprefix("# branch.oid ")
        elif line.startswith("# branch.head "):
            head = line.removeprefix("# branch.head ")
            facts["branch"] = "HEAD" if head == "(detached)" else head
        elif line and not line.startswith("#"):
            is_dirty = True
            break
    if not facts.get("branch") or not (
        re.fullmatch(_OBJECT_ID, commit := facts.pop("commit", "")) or commit == "(initial)"
    ):
        return {}  # this was not git
    known = {"commit": commit} if commit != "(initial)" else {}
    return known | facts | {"status": "dirty" if is_dirty else "clean"}


def _read_head(answer: bytes | None) -> dict[str, str]:
    commit, _, branch = (answer or b"").decode("utf-8", "replace").removesuffix("\n").partition("\n")
    return {"commit": commit, "branch": branch} if branch and re.fullmatch(_OBJECT_ID, commit) else {}
