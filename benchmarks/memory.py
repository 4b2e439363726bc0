"""How much one operation adds to the memory of a fresh process, at its peak.

`python memory.py OPERATION REPORT DIRECTORY`, where the directory holds the key and the certificate, prints bytes.
"""

from __future__ import annotations

import gc
import resource
import subprocess
import sys
from pathlib import Path

import reports
from operations import SIGN, Material, operations


def growth(operation: str, report: Path, material: Path) -> int:
    """Return the bytes by which the peak of a new process grows over its state before the operation."""
    command = [sys.executable, __file__, operation, str(report), str(material)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main(operation: str, report: str, material: str) -> None:
    run = operations(Material.load(Path(material)))
    small = reports.make("lean", 10)
    signed = run[SIGN](small)
    run[operation](signed if "verify" in operation else small)  # loads what is loaded on first use
    data = Path(report).read_bytes()
    gc.collect()
    _forget_peak()
    before = _peak()
    run[operation](data)
    print(_peak() - before)


def _forget_peak() -> None:
    """Lower the recorded peak to what is in memory now, where the system can; else it may hide some of the growth."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def _peak() -> int:
    """Bytes. VmHWM rather than ru_maxrss where there is one: a child's ru_maxrss begins at its parent's."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        scale = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
