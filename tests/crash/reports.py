"""Reports whose content proves their name, and what a whole store looks like."""

from __future__ import annotations

import hashlib
import json
import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LARGE = 1_000_000  # bytes
# 1 where tests must be quick; `JUX_CRASH_ROUNDS=50` for a night.
ROUNDS = int(os.environ.get("JUX_CRASH_ROUNDS", "1"))
_NAME = re.compile(r"sha256-([0-9a-f]{64})\.(xml|json)")


def report(number: int, size: int = 0) -> bytes:
    """Return a report that is its own canonical form, so that its name is the plain hash of its bytes."""
    padding = "x" * size
    return (
        f'<testsuites><testsuite name="run {number}" tests="1"><testcase name="test"><system-out>{padding}</system-out>'
        "</testcase></testsuite></testsuites>"
    ).encode()


def identity(data: bytes) -> str:
    """Return the canonical hash of what `report` made."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def problem_of(path: Path, data: bytes) -> str:
    """Return what is wrong with the file `path` of a store of such reports, "" if nothing is."""
    if path.parent.name == "locks":
        return "" if data == b"" and re.fullmatch("[0-9a-f]{2}", path.name) else f"litter: {path}"
    match = _NAME.fullmatch(path.name)
    if match is None:
        return f"litter: {path}"
    if match[2] == "xml":
        found = identity(data)
    else:
        try:
            found = json.loads(data)["canonical_hash"]
        except (ValueError, LookupError):
            return f"partial: {path}: {data[:80]!r}"
    return "" if found == f"sha256:{match[1]}" else f"partial: {path}: {len(data)} bytes"


def files_below(root: Path) -> list[Path]:
    """Return every file in a store, in order."""
    return sorted(path for path in root.rglob("*") if not path.is_dir())


def problems_below(root: Path) -> list[str]:
    """Return what is wrong with a store at rest: litter, partial files, and halves of a queue entry."""
    found = [problem for path in files_below(root) if (problem := problem_of(path, path.read_bytes()))]

    def has(place: str, file: Path, suffix: str) -> bool:
        return (root / place / f"{file.stem}{suffix}").exists()

    for place in ("metadata", "published"):
        records = (root / place).glob("sha256-*.json")
        found += [f"record without a report: {record}" for record in records if not has("reports", record, ".xml")]
    for place in ("queue", "rejected"):
        records, copies = (root / place).glob("sha256-*.json"), (root / place).glob("sha256-*.xml")
        places = (place, "reports", "queue", "rejected")
        found += [
            f"entry without a report: {record}"
            for record in records
            if not any(has(other, record, ".xml") for other in places)
        ]
        found += [
            f"copy that neither waits nor was refused: {copy}" for copy in copies if not has(place, copy, ".json")
        ]
    return found
