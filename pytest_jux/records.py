"""The JSON records of a report store: what is known about a report, one file each, with its own digest in it."""

from __future__ import annotations

import datetime as dt
import errno
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_jux.files import read_regular

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SEAL, DIGEST = "record_sha256", "file_sha256"  # of a record itself, and of the bytes of its report
UNREADABLE = "(unknown: the record cannot be read)"  # the server of an entry; it is no address
_MOST_ATTEMPTS = 1_000_000  # more are damage
LARGEST_RECORD = 10_000_000  # bytes; a larger one is none of ours
# What stands in a report's place and is none: a link, a pipe, a directory.
NOT_OURS = frozenset({errno.ELOOP, errno.EMLINK, errno.EINVAL})


class Waiting(NamedTuple):
    """An entry of the queue. Times are ISO 8601 in UTC, `attempts` counts failed ones; texts are "" where unknown."""

    canonical_hash: str
    queued_at: str = ""
    attempts: int = 0
    next_attempt_at: str = ""
    api_url: str = ""
    project: str = ""

    @classmethod
    def of(cls, canonical_hash: str, facts: Mapping[str, Any]) -> Waiting:
        """Return what a record says, as far as it makes sense."""
        if not facts:
            return cls(canonical_hash, api_url=UNREADABLE)
        metadata = facts.get("metadata")
        texts = {name: facts.get(name) for name in ("queued_at", "next_attempt_at", "api_url")}
        texts["project"] = metadata.get("project") if isinstance(metadata, dict) else ""
        attempts = facts.get("attempts")
        if not isinstance(facts.get("api_url", ""), str):
            texts["api_url"] = UNREADABLE
        return cls(
            canonical_hash,
            attempts=min(max(attempts, 0), _MOST_ATTEMPTS) if isinstance(attempts, int) else 0,
            **{name: value for name, value in texts.items() if isinstance(value, str)},
        )


def read_record(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; {} where there is none. Raises OSError if it cannot be known."""
    try:
        facts = json.loads(read_regular(path, LARGEST_RECORD))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    except OSError as error:
        if error.errno not in NOT_OURS:
            raise
        return {}
    return facts if isinstance(facts, dict) else {}


def read_for_update(path: Path, identity: str) -> dict[str, Any]:
    """Return what a record says of this report, if it is about it and can be written again."""
    facts = read_record(path)
    if facts.get("canonical_hash") != identity or (SEAL in facts and sealed(facts) != facts):
        return {}
    try:
        to_json(facts)
    except (RecursionError, ValueError):  # nested deeper than anything that we write, or with too long a number
        return {}
    return facts


def sha256(data: bytes) -> str:
    """Return the SHA-256 of a file's bytes, 64 hex digits; the canonical hash is another, and does not cover all."""
    import hashlib  # noqa: PLC0415 - who lists a store needs none

    return hashlib.sha256(data).hexdigest()


def sealed(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with its own digest, which tells damage (and nothing more: whoever can write can seal)."""
    content = {name: value for name, value in facts.items() if name != SEAL}
    try:
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    except RecursionError:
        return content
    return content | {SEAL: sha256(text.encode())}


def to_json(facts: Mapping[str, Any]) -> bytes:
    """Return a record as it is written: the same facts, the same bytes."""
    return json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=True).encode()


def now() -> str:
    """Return the time as it stands in records: ISO 8601, UTC, to the second."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
