"""What jux-publish prints about reports that it sends: a line for each, JSON, and the sum."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from pytest_jux.commands import _cli
from pytest_jux.commands._cache_options import is_terminal, progress

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_jux.errors import JuxError
    from pytest_jux.submission import Submitted

_WORDS = {"duplicate": "duplicate", "error": "failed", "not_tried": "not tried"}
_LONGEST_DETAILS = 2000  # characters of what a server says of one report among many


def show_each(
    done: Iterable[Submitted],
    total: int,
    *,
    is_one: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    duplicate_ok: bool,
) -> tuple[Counter[str], list[dict[str, Any]]]:
    """Say what came of each report as soon as it is known; return how many there are of each status.

    For JSON all is returned, else nothing of it is kept.
    """
    counts: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    last_hint = ""
    # Where people see a line for each report, they know how far it is.
    is_bar_wanted = as_json or quiet or not is_terminal(sys.stdout)
    with progress("Publishing") as update:
        for submitted in done:
            row = _row(submitted, is_one=is_one)
            counts[row["status"]] += 1
            if as_json:
                rows.append(row)
            if row["status"] == "error":
                hint = _hint(submitted)
                _cli.say(f"✗ {_failure(submitted, row, is_one=is_one)}", "" if hint == last_hint else hint)
                last_hint = hint
            elif row["status"] != "not_tried" and not (quiet or as_json):
                _show_success(row, is_one=is_one, is_fine=duplicate_ok or row["status"] == "published")
            if verbose and not as_json:
                _show_details(row)
            if submitted.note:
                _cli.say(f"warning: {shown_name(submitted.name)}: {submitted.note}")
            if is_bar_wanted:
                update(counts.total(), total)
    return counts, rows


def shown_name(name: str) -> str:
    """Return a report's name for people."""
    return "standard input" if name == "-" else name


def refusal(name: str, error: JuxError) -> str:
    """Return why a report is not sent, with its name."""
    from pytest_jux.errors import FileProblem

    is_named = isinstance(error, FileProblem) and str(error.path) in {name, shown_name(name)}
    return str(error) if is_named else f"{shown_name(name)}: {error}"


def hint_of(error: JuxError) -> str:
    """Return what to do about a report that is not sent."""
    from pytest_jux.errors import ReportUnsigned, SignatureBroken

    if isinstance(error, ReportUnsigned):
        return "Sign it with jux-sign, or send it as it is with --allow-unsigned."
    if isinstance(error, SignatureBroken):
        return "Send the report as it was signed, or sign it again with jux-sign --replace."
    return error.hint


def refused_row(name: str, error: JuxError) -> dict[str, Any]:
    """Return what came of a report that is not sent as JSON values."""
    return {"status": "error", "kind": "refused", "reason": str(error), "canonical_hash": None, "file": name}


def sum_of(counts: Counter[str]) -> str:
    """Return how many reports there are of each status, in one line."""
    from pytest_jux.text import plural

    said = {**_WORDS, "duplicate": "duplicate" if counts["duplicate"] == 1 else "duplicates"}
    others = [f", {counts[status]:,} {word}" for status, word in said.items() if counts[status] or status == "error"]
    return f"Published {plural(counts['published'], 'report')}{''.join(others)}"


def _row(submitted: Submitted, *, is_one: bool) -> dict[str, Any]:
    """Return what came of a report as JSON values."""
    import json

    from pytest_jux.outcomes import to_dict

    if submitted.error is not None:
        return refused_row(submitted.name, submitted.error)
    known = {"canonical_hash": submitted.canonical_hash or None, "file": submitted.name}
    if submitted.outcome is None:
        return {"status": "not_tried", **known}
    row = to_dict(submitted.outcome)
    if not is_one and len(json.dumps(row.get("details"))) > _LONGEST_DETAILS:
        row["details"] = {}  # of thousands of reports, they would fill the memory
    first: dict[str, Any] = {name: row.pop(name) for name in ("status", "id") if name in row}
    return {**first, **known, **row} | ({"note": submitted.note} if submitted.note else {})


def _failure(submitted: Submitted, row: dict[str, Any], *, is_one: bool) -> str:
    if submitted.error is not None:
        return refusal(submitted.name, submitted.error)
    reason = f"the server refuses it: {row['reason']}" if row["kind"] == "rejected" else row["reason"]
    return reason if is_one and submitted.name == "-" else f"{shown_name(submitted.name)}: {reason}"


def _hint(submitted: Submitted) -> str:
    return getattr(submitted.outcome, "hint", "") if submitted.error is None else hint_of(submitted.error)


def _show_success(row: dict[str, Any], *, is_one: bool, is_fine: bool) -> None:
    named = f" ({row['id']})" if row["id"] else ""
    if not is_one:
        text = f"{shown_name(row['file'])}: {row['status']}{named}"
    elif row["status"] == "published":
        text = f"Published successfully{named}"
    else:
        text = f"Duplicate: the server has this report already{named}"
    _cli.show(f"{'✓' if is_fine else '⚠'} {text}", "green" if is_fine else "yellow")


def _show_details(row: dict[str, Any]) -> None:
    """Print hash, address, the server's words and attempts, as far as there are any, next to what they belong to."""
    from pytest_jux.text import plural

    texts = [row["canonical_hash"], row.get("url"), row.get("message")]
    texts += [plural(row["attempts"], "attempt")] if "attempts" in row else []
    tell = _cli.say if row["status"] == "error" else _cli.show
    for text in texts:
        if text:
            tell(f"  {text}")
