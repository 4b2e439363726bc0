"""Rows of the database as the API's JSON values."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from jux_server.store.schema import Result, State, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    import sqlalchemy as sa

    from jux_server.store.queries.cases import CaseRow
    from jux_server.store.queries.history import Execution, Figures, NamedTest

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def time_text(microseconds: int | None) -> str | None:
    """Return a time as RFC 3339 has it, in UTC with microseconds."""
    if microseconds is None:
        return None
    try:
        time = _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:  # of a database that an earlier version filled
        return "9999-12-31T23:59:59.999999Z" if microseconds > 0 else "0001-01-01T00:00:00.000000Z"
    return f"{time.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def seconds(microseconds: int | None) -> float | None:
    """Return a duration in seconds."""
    return None if microseconds is None else microseconds / 1_000_000


def success_rate(row: sa.Row[Any]) -> float:
    """Return the percentage of passed cases, skipped ones left out; 100 where none ran."""
    ran = row.tests - row.skipped
    return percentage(ran - row.failures - row.errors, ran)


def percentage(passed: int, ran: int) -> float:
    """Return a share in percent with two decimals, 100 for nothing of nothing; only what is all is 100."""
    return 100.0 if passed >= ran else min(99.99, round(100 * passed / ran, 2))


def run_summary(row: sa.Row[Any], project: str, tags: Sequence[str]) -> dict[str, Any]:
    """Return a run as lists have it."""
    return {
        "id": str(row.public_id),
        "project": project,
        "canonical_hash": f"sha256:{bytes(row.hash).hex()}",
        "received_at": time_text(row.received_at),
        "started_at": time_text(row.started_at),
        "branch": row.branch,
        "commit": row.commit,
        "dirty": row.is_dirty,
        "status": Verdict(row.verdict).word,
        "tests": row.tests,
        "passed": row.tests - row.failures - row.errors - row.skipped,
        "failures": row.failures,
        "errors": row.errors,
        "skipped": row.skipped,
        "flaky": row.flaky,
        "time": seconds(row.duration),
        "signature_state": State(row.state).word,
        "signer": row.signer,
        "tags": list(tags),
        "pinned": bool(row.is_pinned),
        "url": f"/reports/{row.public_id}",
    }


def run_detail(row: sa.Row[Any], project: str, tags: Sequence[str], documents: Sequence[sa.Row[Any]]) -> dict[str, Any]:
    """Return a run with its metadata and all that is known of its signatures, the best first."""
    facts = json.loads(row.facts)
    shown = [document_of(document, number) for number, document in enumerate(documents, start=1)]
    return {
        **run_summary(row, project, tags),
        "metadata": facts.get("report", {}),
        "sender": facts.get("sender", {}),
        "signature": shown[0] if shown else None,
        "documents": shown,
    }


def document_of(row: sa.Row[Any], number: int) -> dict[str, Any]:
    """Return what is known of a document: its signature, and how it came here."""
    return {
        "document": number,
        "state": State(row.state).word,
        "reason": row.reason or None,
        "signer": row.signer,
        "algorithm": row.algorithm,
        "trusted_by": row.trusted_by,
        "fingerprint": None if row.fingerprint is None else bytes(row.fingerprint).hex(),
        "not_before": time_text(row.not_before),
        "not_after": time_text(row.not_after),
        "received_at": time_text(row.received_at),
        "received_by": row.key_name,
        "size": row.size,
    }


def case_of(row: CaseRow) -> dict[str, Any]:
    """Return a case."""
    return {
        "position": row.position,
        "test": row.test_id,
        "classname": row.classname,
        "name": row.name,
        "status": row.outcome.word,
        "flaky": row.outcome is Result.FLAKY,
        "time": seconds(row.duration),
        "type": row.type,
        "message": row.message,
        "details": row.details,
        "shortened": row.is_shortened,
    }


def test_of(test: NamedTest, project: str) -> dict[str, Any]:
    """Return a test."""
    return {"id": test.id, "project": project, "classname": test.classname, "name": test.name}


def figures_of(figures: Figures) -> dict[str, Any]:
    """Return a test's figures."""
    return {
        "runs": figures.runs,
        "passed": figures.passed,
        "failed": figures.failed,
        "skipped": figures.skipped,
        "flaky": figures.flaky,
        "reliability": None if figures.reliability is None else round(figures.reliability, 4),
        "p50": seconds(figures.p50),
        "p95": seconds(figures.p95),
    }


def execution_of(execution: Execution) -> dict[str, Any]:
    """Return how a test ended in a run."""
    row = execution.run
    return {
        "report": str(row.public_id),
        "received_at": time_text(row.received_at),
        "branch": row.branch,
        "commit": row.commit,
        "status": execution.outcome.word,
        "flaky": execution.outcome is Result.FLAKY,
        "time": seconds(execution.duration),
        "type": execution.type,
        "message": execution.message,
    }
