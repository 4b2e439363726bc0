"""A system on which an open file can be neither renamed, replaced nor removed, and whose locks are mandatory."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_jux import files

if TYPE_CHECKING:
    import pytest


class Windows:
    """What is refused as Windows would, and the locks of its C library; `refusals` names what was tried in vain."""

    LK_NBLCK = 2

    def __init__(self) -> None:
        self.locks: dict[int, os.stat_result] = {}
        self.refusals: list[str] = []

    @staticmethod
    def descriptors() -> list[os.stat_result]:
        """Return what this process has open."""
        found = []
        for name in os.listdir("/dev/fd"):  # noqa: PTH208 - numbers, not paths
            try:
                found.append(os.fstat(int(name)))
            except OSError:  # the one that listed them
                continue
        return found

    def locking(self, descriptor: int, mode: int, count: int) -> None:
        """Lock a byte at the file's position; behind the end, where it keeps nobody from reading."""
        assert (mode, count) == (self.LK_NBLCK, 1)
        assert os.lseek(descriptor, 0, os.SEEK_CUR) > 10**8
        wanted = os.fstat(descriptor)
        for other, held in self.locks.items():
            if other != descriptor and os.path.samestat(held, wanted) and self._is_open(other, held):
                raise PermissionError(errno.EACCES, "Permission denied")
        self.locks[descriptor] = wanted

    @staticmethod
    def _is_open(descriptor: int, held: os.stat_result) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), held)
        except OSError:
            return False

    def refusing(self, call):
        """Wrap a call that changes names, so that it fails for files that are open."""

        def wrapped(*paths, **keywords):
            for path in paths:
                if Path(path).is_file() and any(os.path.samestat(Path(path).stat(), one) for one in self.descriptors()):
                    self.refusals.append(f"{call.__name__} {path}")
                    raise PermissionError(errno.EACCES, "The process cannot access the file", str(path))
            return call(*paths, **keywords)

        return wrapped


def pretend_windows(monkeypatch: pytest.MonkeyPatch) -> Windows:
    """Let the rest of a test run as if this were Windows, as far as the store can tell."""
    system = Windows()
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(files, "_fcntl", None)
    monkeypatch.setattr(files, "_msvcrt", system)
    for name in ("fchmod", "posix_fadvise"):
        monkeypatch.delattr(os, name, raising=False)
    for name in ("rename", "replace", "unlink", "remove"):
        monkeypatch.setattr(os, name, system.refusing(getattr(os, name)))
    return system
