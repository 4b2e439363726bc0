"""A really full filesystem, a really read-only one, and a directory that this user may not write to."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mount namespaces are of Linux")

# Given the size to leave free, a directory on the small filesystem and a directory for files; prints what happened.
STORE_ON_FULL = """
import json, os, pathlib, sys
sys.path.insert(0, sys.argv[3])
from crash.reports import identity, problems_below, report
from pytest_jux.errors import JuxError
from pytest_jux.storage import ReportStorage

disk, free = pathlib.Path(sys.argv[1]), int(sys.argv[2])
store = ReportStorage(disk / "store")
older, large = report(1), report(2, 200_000)
store.store(older, identity(older), {"older": "yes"})
with (disk / "filler").open("wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(4096))
    except OSError:
        size = file.tell()
    os.ftruncate(file.fileno(), size - free)

said = []
for deed in (
    lambda: store.store(large, identity(large)),
    lambda: store.enqueue(large, identity(large)),
    lambda: store.store(older, identity(older), {"again": "x" * 300_000}),
):
    try:
        deed()
        said.append("done")
    except JuxError as error:
        said.append(f"{type(error).__name__}: {error}")
names = {entry.canonical_hash: entry.size for entry in store.list()}
kept = store.read(identity(older)) == older and store.metadata(identity(older))["older"] == "yes"
litter = [path.name for path in disk.rglob(".jux-*")]
could_clean = store.remove(store.find(identity(older)))
(disk / "filler").unlink()
store.store(large, identity(large))
print(json.dumps({
    "said": said, "listed": [*names], "large": identity(large), "kept": kept, "litter": litter, "clean": could_clean,
    "works": store.read(identity(large)) == large, "problems": problems_below(store.root),
}))
"""

SUITE = """
def test_passes():
    print("output " * 20_000)

def test_fails():
    assert 1 + 1 == 3
"""


@functools.cache
def namespace():
    """Return the start of a command that may mount what only it sees; skips where that is not allowed."""
    for command in (["unshare", "--mount"], ["unshare", "--map-root-user", "--mount"]):
        probe = [*command, "sh", "-c", "mount -t tmpfs tmpfs /mnt && touch /mnt/x"]
        if shutil.which("unshare") and subprocess.run(probe, capture_output=True, check=False).returncode == 0:
            return command
    pytest.skip("neither root nor a user namespace may mount a filesystem here")


def mounted(script, disk, *command):
    """Run a command after a shell script in which `$1` is the directory to mount on."""
    done = subprocess.run(
        [*namespace(), "sh", "-c", f'{script}\nshift; exec "$@"', "sh", str(disk), *command],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
        cwd=Path(disk).parent,
    )
    assert "mount:" not in done.stderr, done.stderr
    return done


def environment():
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("JUX_", "PYTEST_", "COV"))}
    return environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


SMALL = 'set -e; mount -t tmpfs -o size=1m,mode=0755 tmpfs "$1"'
READ_ONLY = 'set -e; mount -t tmpfs -o size=1m,mode=0755 tmpfs "$1"; mkdir "$1/store"; mount -o remount,ro "$1"'
BOUND_READ_ONLY = 'set -e; mkdir -p "$1/store"; mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"'


@pytest.fixture
def disk(tmp_path):
    (tmp_path / "disk").mkdir()
    return tmp_path / "disk"


# --- through the library ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("free", [0, 4096, 8192, 16384, 100_000])
def test_a_full_disk_is_one_sentence_and_keeps_what_is_there(disk, free):
    tests = str(Path(__file__).resolve().parent.parent)
    done = mounted(SMALL, disk, sys.executable, "-c", STORE_ON_FULL, str(disk), str(free), tests)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    sentence = r"StorageError: cannot (store|queue) \S+: no space left on device"
    assert [one for one in found["said"] if not re.fullmatch(sentence, one)] == []
    assert found["large"] not in found["listed"]
    assert (found["kept"], found["clean"], found["works"]) == (True, True, True)
    assert (found["litter"], found["problems"]) == ([], [])


STORE = """
import sys
from pytest_jux.errors import JuxError
from pytest_jux.storage import ReportStorage
data = b"<testsuites/>"
for deed in (ReportStorage(sys.argv[1]).store, ReportStorage(sys.argv[1]).enqueue):
    try:
        deed(data, "sha256:" + "0" * 64)
    except JuxError as error:
        print(type(error).__name__, error)
print(ReportStorage(sys.argv[1]).list())
"""


@pytest.mark.parametrize("script", [READ_ONLY, BOUND_READ_ONLY])
def test_a_read_only_disk_is_one_sentence(disk, script):
    done = mounted(script, disk, sys.executable, "-c", STORE, str(disk / "store"))
    stored, queued, listed = done.stdout.splitlines()
    assert re.fullmatch(r"StorageError cannot store \S+: read-only file system", stored)
    assert re.fullmatch(r"StorageError cannot queue \S+: read-only file system", queued)
    assert (listed, done.stderr, done.returncode) == ("[]", "", 0)


# --- through a whole run ---------------------------------------------------------------------------------------------


def run_pytest(disk, *, prefix=None, script=""):
    """Run a suite of which one test fails, into a store on `disk`; return the run and the report file's path."""
    suite = disk.parent / "suite"
    suite.mkdir()
    (suite / "test_suite.py").write_text(SUITE)
    (suite / "pytest.ini").write_text("[pytest]\n")
    report = suite / "report.xml"
    command = [
        *(sys.executable, "-m", "pytest", "-p", "pytest_jux.plugin", "-p", "no:cacheprovider", "--jux-enabled"),
        *(f"--jux-storage-path={disk / 'store'}", f"--junit-xml={report}", f"--rootdir={suite}", str(suite)),
    ]
    if prefix is None:
        return mounted(script, disk, *command), report
    return subprocess.run(
        [*prefix, *command], capture_output=True, text=True, check=False, env=environment(), cwd=suite
    ), report


def complaints_of(done):
    return [
        line for line in done.stdout.splitlines() if line.startswith(("✗", "[x]", "x ", "X ")) or "not stored" in line
    ]


def is_whole(report):
    data = report.read_bytes()
    return data.endswith(b"</testsuites>") and b'tests="2"' in data and b'failures="1"' in data


FULL = f'{SMALL}; mkdir "$1/store"; dd if=/dev/zero of="$1/filler" bs=4096 2>/dev/null || true'


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (FULL, "no space left on device"),
        (READ_ONLY, "read-only file system"),
        (BOUND_READ_ONLY, "read-only file system"),
    ],
)
def test_a_run_that_cannot_store_says_so_in_one_line_and_ends_as_without_us(disk, script, reason):
    done, report = run_pytest(disk, script=script)
    (complaint,) = complaints_of(done)
    assert re.fullmatch(rf"\S+ Report not stored: cannot store \S+: {reason}( \([^()]+\))?", complaint)
    assert done.returncode == 1  # a test failed; nothing else did
    assert "Traceback" not in done.stdout + done.stderr
    assert is_whole(report)


def test_a_run_that_may_not_write_to_the_store_says_so_in_one_line_and_ends_as_without_us(disk, without_root_rights):
    (disk / "store").mkdir(mode=0o555)
    done, report = run_pytest(disk, prefix=without_root_rights)
    (complaint,) = complaints_of(done)
    assert re.fullmatch(r"\S+ Report not stored: cannot store \S+: permission denied( \([^()]+\))?", complaint)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert is_whole(report)
    assert list((disk / "store").iterdir()) == []


def test_a_disk_with_room_gets_the_report_of_the_same_run(disk):
    done, report = run_pytest(disk, script='set -e; mount -t tmpfs -o size=4m tmpfs "$1"')
    assert complaints_of(done) == []
    assert re.search(r"Stored locally: \S+\.xml", done.stdout)
    assert (done.returncode, is_whole(report)) == (1, True)
