"""Run every test on all processors, measure branch coverage of the client, and hold its threshold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def coverage(*arguments: str) -> int:
    """Run one coverage command in the repository and return its exit code."""
    return subprocess.run([sys.executable, "-m", "coverage", *arguments], check=False, cwd=ROOT).returncode


def main() -> int:
    """Run the tests with the given pytest arguments; return pytest's exit code, else that of the coverage gate."""
    arguments = sys.argv[1:]
    coverage("erase")
    # The plugin is loaded before pytest's own plugins could start to measure, hence `coverage run` around pytest.
    tests = coverage("run", "-m", "pytest", "-n", "auto", "--dist", "worksteal", *arguments)
    coverage("combine", "--quiet")
    report = coverage("report", *(["--fail-under=0"] if arguments else []))
    return tests or report


if __name__ == "__main__":
    sys.exit(main())
