"""Fifty pytest processes end at the same moment, into one store."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from crash.reports import files_below

from pytest_jux.canonicalizer import canonical_hash
from pytest_jux.storage import ReportStorage

PROCESSES = 50
GUARD = 240  # seconds; only so that a hang ends

pytestmark = pytest.mark.skipif(os.name != "posix", reason="pipes that are inherited")

SUITE = """
import os

def test_that_ends_with_all_others():
    os.write({ready}, b"r")
    assert os.read({gate}, 1) == b""  # until the gate is opened for all
"""


@pytest.fixture(scope="module")
def outputs_and_store(tmp_path_factory):
    """Run them all; a pipe that is closed lets them end together."""
    directory = tmp_path_factory.mktemp("fifty")
    gate, opener = os.pipe()
    ready, signal = os.pipe()
    (directory / "pytest.ini").write_text("[pytest]\n")
    (directory / "test_gate.py").write_text(SUITE.format(ready=signal, gate=gate))
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("JUX_", "PYTEST_", "COV"))}
    environ |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "HOME": str(directory)}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "pytest_jux.plugin",
        "-p",
        "no:cacheprovider",
        "-s",
        "--jux-enabled",
    ]
    processes = [
        subprocess.Popen(
            [*command, f"--jux-storage-path={directory / 'store'}", "-o", f"junit_suite_name=run {number}"],
            cwd=directory,
            env=environ,
            pass_fds=(gate, signal),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    os.close(signal)
    arrived = sum(len(os.read(ready, 1)) for _ in range(PROCESSES))
    os.close(opener)
    outputs = [process.communicate(timeout=GUARD)[0] for process in processes]
    os.close(gate)
    os.close(ready)
    assert arrived == PROCESSES, outputs
    return [
        (process.returncode, output) for process, output in zip(processes, outputs, strict=True)
    ], directory / "store"


def test_fifty_processes_that_end_together_store_fifty_whole_reports(outputs_and_store):
    outputs, root = outputs_and_store
    assert [output for code, output in outputs if code != 0 or "Stored locally" not in output] == []
    store = ReportStorage(root)
    listed = store.list()
    assert len(listed) == PROCESSES
    assert [entry for entry in listed if canonical_hash(entry.path.read_bytes()) != entry.canonical_hash] == []
    names = {f'name="run {number}"' for number in range(PROCESSES)}
    assert {name for entry in listed for name in names if name.encode() in store.read(entry.canonical_hash)} == names
    assert all(store.metadata(entry.canonical_hash)["canonical_hash"] == entry.canonical_hash for entry in listed)
    assert len([path for path in files_below(root) if path.parent.name != "locks"]) == 2 * PROCESSES
