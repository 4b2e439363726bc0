"""Stand between the store and the system: see every call that changes a disk, and decide what becomes of it."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CALLS = (
    *("open", "write", "fsync", "replace", "rename", "link", "unlink", "mkdir", "rmdir", "utime"),
    *("chmod", "fchmod", "posix_fadvise", "truncate", "ftruncate", "symlink", "close", "sendfile", "pwrite"),
)


@contextlib.contextmanager
def interposed(observe: Callable[..., Any]) -> Iterator[None]:
    """Call `observe(name, call, arguments, keywords)` in place of each system call, also of those of pathlib."""
    import fcntl

    with pytest.MonkeyPatch.context() as patch:
        for module, names in ((os, CALLS), (fcntl, ("flock",))):
            for name in names:
                if not hasattr(module, name):
                    continue
                call = getattr(module, name)
                wrapped = _wrapped(observe, name, call)
                for support in ("supports_fd", "supports_dir_fd", "supports_follow_symlinks"):
                    if call in getattr(os, support):
                        patch.setattr(os, support, getattr(os, support) | {wrapped})
                patch.setattr(module, name, wrapped)
        yield


def _wrapped(observe: Callable[..., Any], name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*arguments: Any, **keywords: Any) -> Any:
        return observe(name, call, arguments, keywords)

    return wrapped


def without_flushing(name: str, call: Callable[..., Any], arguments: Any, keywords: Any) -> Any:
    """Do everything but wait for the disk."""
    return None if name == "fsync" else call(*arguments, **keywords)
