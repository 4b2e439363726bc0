"""Real processes that run `jux-cache push`, or queue reports, as soon as they are told to, and die where they are told.

Run as a program, it reads orders from standard input, one JSON object a line, and answers each with one line:

    {"push": [arguments], "calls": n, "output": path}   the process's id; it kills itself at its n-th call, 0 for never
    {"queue": [numbers], "store": root, "url": url}      the same for a process that stores and queues these reports
    {"wait": id}                                         its exit code when it has ended, negative for a signal

It forks, which a process with threads (a test's server) must not; and its children need no time to import anything.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from crash.reports import identity, report

from pytest_jux import publishing  # noqa: F401 - imported once, for all children
from pytest_jux.commands import _cache_push, _cli  # noqa: F401 - as above
from pytest_jux.commands.cache import command
from pytest_jux.storage import ReportStorage

if TYPE_CHECKING:
    from collections.abc import Callable

CALLS = ("open", "write", "fsync", "link", "unlink", "replace", "mkdir", "close", "fchmod")


class Pushers:
    """The program, as a test uses it; the processes get `environ`."""

    def __init__(self, directory: Path, environ: dict[str, str]) -> None:
        self._directory = directory
        self._program = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environ,
            cwd=directory,
        )
        self._started = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._program.communicate(timeout=60)
        assert self._program.returncode == 0

    def start(self, *arguments: object, calls: int = 0) -> tuple[int, Path]:
        """Start `jux-cache push` with these arguments; return its id and where its output goes."""
        self._started += 1
        output = self._directory / f"output-{self._started}"
        return self._ask(push=[str(one) for one in arguments], calls=calls, output=str(output)), output

    def start_queueing(self, store: Path, url: str, numbers: list[int]) -> int:
        """Start a process that stores and queues the reports with these numbers; return its id."""
        return self._ask(queue=numbers, store=str(store), url=url)

    def wait(self, process: int) -> int:
        """Return the exit code of a process when it has ended; negative for a signal."""
        return self._ask(wait=process)

    def _ask(self, **order: object) -> int:
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.write(json.dumps(order) + "\n")
        self._program.stdin.flush()
        return int(self._program.stdout.readline())


def main() -> None:
    """Do what standard input says."""
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            say(os.waitstatus_to_exitcode(status))
            continue
        child = os.fork()
        if child == 0:
            code = 99
            try:
                code = push(order) if "push" in order else queue(order)
            finally:
                os._exit(code)
        say(child)


def say(number: int) -> None:
    """Answer."""
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def push(order: dict[str, Any]) -> int:
    """Be `jux-cache push`."""
    descriptor = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    if order["calls"]:
        die_at(order["calls"])
    code = _cli.run(command, ["push", *order["push"]], "jux-cache")
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def queue(order: dict[str, Any]) -> int:
    """Do what the plugin does at the end of a run, again and again."""
    store = ReportStorage(order["store"])
    for number in order["queue"]:
        data = report(number)
        store.store(data, identity(data), {"number": number})
        store.enqueue(data, identity(data), {"number": number}, api_url=order["url"])
    return 0


def die_at(calls: int) -> None:
    """Make the process kill itself at its n-th call that changes or says something: before it, or after."""
    left = calls

    def deadly(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: object, **keywords: object) -> Any:
            nonlocal left
            left -= 1
            if left == 0 and calls % 2:
                os.kill(os.getpid(), signal.SIGKILL)
            result = call(*arguments, **keywords)
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return counted

    for name in CALLS:
        setattr(os, name, deadly(getattr(os, name)))
    for name in ("connect", "sendall", "recv_into"):
        setattr(socket.socket, name, deadly(getattr(socket.socket, name)))


if __name__ == "__main__":
    main()
