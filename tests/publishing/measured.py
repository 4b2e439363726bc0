"""Runs a program and says how long it took and what memory it had: `python -I -S measured.py RESULT LIMIT COMMAND…`.

The system counts a process's memory from before its program was loaded, so it must not be started by a large process;
this one is small. After LIMIT seconds the program is killed. RESULT gets exit code, seconds and bytes.
"""

import os
import signal
import sys
import time


def main() -> None:
    """Run it."""
    result, limit, command = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    start = time.monotonic()
    child = os.posix_spawn(command[0], command, os.environ)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
    signal.alarm(limit)
    _, status, usage = os.wait4(child, 0)
    signal.alarm(0)
    seconds = time.monotonic() - start
    unit = 1 if sys.platform == "darwin" else 1024
    with open(result, "w", encoding="ascii") as file:  # noqa: PTH123 - pathlib is not small
        file.write(f"{os.waitstatus_to_exitcode(status)} {seconds} {usage.ru_maxrss * unit}")


if __name__ == "__main__":
    main()
