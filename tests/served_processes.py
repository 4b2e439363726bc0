"""Servers in processes of their own, which can be killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager


@contextmanager
def served(database_url, directory, *, workers=1, **variables):
    """Run `jux-server serve` on a free port until the block ends; gives its address."""
    home = directory / "home"
    home.mkdir(exist_ok=True)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("JUX_", "XDG_"))}
    environ |= {"HOME": str(home), "JUX_SERVER_DATABASE": database_url, "JUX_SERVER_WORKERS": str(workers), **variables}
    command = [sys.executable, "-m", "jux_server", "serve", "--port", "0"]
    with (directory / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        found = re.search(r"http://[\w.:\[\]]+", process.stdout.readline())
        assert found, (directory / "server.log").read_text()
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield found[0]
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


_FORKING = """
import os, socket, sys
import uvicorn
from jux_server.app import create_app
from jux_server.store.database import open_database
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(128)
print(listener.getsockname()[1], flush=True)
for line in sys.stdin:
    child = os.fork()
    if not child:
        app = create_app(open_database(sys.argv[1]))
        uvicorn.Server(uvicorn.Config(app, log_level="critical")).run([listener])
        os._exit(0)
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, flush=True)
"""


class Mortal:
    """A server on one port that is killed and started again many times within a second: each time a new process."""

    def __init__(self, database_url):
        command = [sys.executable, "-c", _FORKING, database_url]
        self._parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = f"http://127.0.0.1:{self._parent.stdout.readline().strip()}"
        self._child = 0

    def start(self):
        self._say()
        self._child = int(self._parent.stdout.readline())

    def kill(self):
        """Kill the process and return the signal that ended it."""
        os.kill(self._child, signal.SIGKILL)
        return int(self._parent.stdout.readline())

    def _say(self):
        self._parent.stdin.write("start\n")
        self._parent.stdin.flush()

    def close(self):
        self._parent.stdin.close()
        self._parent.wait(60)
        self._parent.stdout.close()
