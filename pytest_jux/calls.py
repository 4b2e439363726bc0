"""Requests that end in time: a call can be cut from another thread, and a watchdog does so at its deadline."""

from __future__ import annotations

import contextlib
import math
import os
import socket
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Abandoned(Exception):
    """The call is over; nothing further is sent."""


class Call:
    """A request with its retries, which another thread can end. `deadline` is of `time.monotonic()`."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.is_sending = False  # or was: what was to be sent may have arrived
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._line: socket.socket | None = None
        self._kept: list[socket.socket] = []

    @property
    def left(self) -> float:
        """The seconds until the deadline; never less than a moment, so that it can be a timeout."""
        return max(self.deadline - time.monotonic(), 0.001)

    def wait(self, seconds: float) -> None:
        """Sleep; raises Abandoned."""
        if self._over.wait(seconds):
            raise Abandoned

    def check(self) -> None:
        """Raise Abandoned if the call is over."""
        if self._over.is_set():
            raise Abandoned

    def use(self, line: socket.socket | None) -> None:
        """Remember what the call is connected with; raises Abandoned."""
        with self._lock:
            self.check()
            self._line = line

    def keep(self, line: socket.socket) -> None:
        """Close a line only when the call ends: an answer may still be read, though its connection is closed."""
        with self._lock:
            self._kept.append(line)

    def abandon(self) -> None:
        """End the call: its connection goes dead, and it will not make another one."""
        with self._lock:
            self._over.set()
            if self._line is not None:
                with contextlib.suppress(OSError):
                    self._line.shutdown(socket.SHUT_RDWR)

    def let_go(self) -> None:
        """Forget the connection, which others may use from now on."""
        with self._lock:
            self._line = None
            for line in self._kept:
                line.close()
            self._kept.clear()


class Watchdog:
    """Abandons calls at their deadlines, from a thread of its own, which sleeps as long as none is near."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._calls: set[Call] = set()
        self._wakes = math.inf  # at this time the thread looks again by itself
        self._thread: object | None = None
        self._process = 0

    @contextlib.contextmanager
    def watching(self, call: Call) -> Iterator[None]:
        """Look after a call."""
        with self._condition:
            self._calls.add(call)
            if self._thread is None or self._process != os.getpid():  # a fork does not take threads along
                self._process = os.getpid()
                mine = object()
                thread = threading.Thread(target=self._watch, args=(mine,), name="jux-deadline", daemon=True)
                self._thread = mine
                try:
                    thread.start()
                except RuntimeError:  # the system allows no more
                    self._thread = None
            elif call.deadline < self._wakes:
                self._condition.notify()
        try:
            yield
        finally:
            with self._condition:
                self._calls.discard(call)

    def stop(self) -> None:
        """End the thread; calls that are still being made have no deadline any more but their timeouts."""
        with self._condition:
            self._thread = None
            self._condition.notify_all()

    def _watch(self, mine: object) -> None:
        with self._condition:
            now = time.monotonic()
            while self._thread is mine:
                for call in [call for call in self._calls if call.deadline <= now]:
                    self._calls.discard(call)
                    call.abandon()
                self._wakes = min((call.deadline for call in self._calls), default=math.inf)
                is_woken = self._condition.wait(None if self._wakes == math.inf else self._wakes - now)
                now = time.monotonic() if is_woken else max(time.monotonic(), self._wakes)  # clocks can be stopped
