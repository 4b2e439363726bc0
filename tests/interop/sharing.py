"""What is costly to make is made once, also where several processes of pytest-xdist run the tests."""

from __future__ import annotations

import fcntl
import os
import pickle
import shutil
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

T = TypeVar("T")


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], T]) -> T:
    """Return what `make` returned in the first process of this test session that asked for `name`; others wait.

    `make` gets a new directory, which stays for all of them.
    """
    base = factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    shared.mkdir(exist_ok=True)
    result = shared / f"{name}.pickle"
    with (shared / f"{name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not result.exists():
            folder = shared / name
            shutil.rmtree(folder, ignore_errors=True)  # of a process that did not come to its end
            folder.mkdir()
            partial = shared / f"{name}.partial"
            partial.write_bytes(pickle.dumps(make(folder)))
            partial.rename(result)
        made: T = pickle.loads(result.read_bytes())  # noqa: S301 - written a few lines above
    return made
