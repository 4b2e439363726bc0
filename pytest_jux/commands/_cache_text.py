"""How jux-cache shows reports: lines of a list that fit their terminal, and one report in full."""

from __future__ import annotations

import itertools
import os
import sys
import unicodedata
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_jux.errors import ReportNotStored
from pytest_jux.text import encodable, plural, show_size, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pytest_jux.inventory import StoredReport
    from pytest_jux.report import Case
    from pytest_jux.storage import ReportStorage
    from pytest_jux.verifier import Examination

    Line = tuple[str, str | None]  # text and colour

_DIGITS, _FEWEST_DIGITS, _ALL_DIGITS = 12, 8, 64
_PREFIX = "sha256:"
_TIME = "%Y-%m-%d %H:%M:%S"
_BATCH = 500  # rows that columns are aligned over, so that a long list begins at once
_NARROWEST_PROJECT = 12
_LARGEST_COUNT = 10**9  # what is beyond was not counted by anybody
_COUNTS = ("tests", "passed", "failures", "errors", "skipped")
_COMPUTED = {"canonical_hash", "signed", "stored_at", "summary"}
_FEW = 20  # cases of each outcome
_DETAILS = 40  # lines of one failure
_LONGEST_LINE = 500  # characters
_WIDEST_NAME = 24


class Row(NamedTuple):
    """A stored report and what a list says of it; `summary` is None where it cannot be read."""

    report: StoredReport
    summary: Mapping[str, Any] | None
    project: str
    signed: bool | None
    queue: Mapping[str, Any] | None = None  # what the queue knows of it, where it waits

    @property
    def failed(self) -> int:
        """How many tests failed or ended with an error."""
        return 0 if self.summary is None else self.summary["failures"] + self.summary["errors"]

    @property
    def counts(self) -> str:
        """Such as `42 tests, 2 failed`."""
        return "not readable" if self.summary is None else f"{_tests(self.summary['tests'])}, {self.failed:,} failed"

    def to_dict(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        queue = {"queue": self.queue} if self.queue else {}
        return {
            "canonical_hash": self.report.canonical_hash,
            "stored_at": self.report.stored_at.isoformat(),
            "size": self.report.size,
            "status": str(self.report.status),
            "signed": self.signed,
            "project": self.project or None,
            "summary": self.summary,
        } | queue


def rows_of(storage: ReportStorage, reports: Iterable[StoredReport]) -> Iterator[Row]:
    """Give a row for each report that is still there."""
    for report in reports:
        try:
            yield _row_of(storage, report)
        except ReportNotStored:  # removed since it was listed
            continue


def _row_of(storage: ReportStorage, report: StoredReport) -> Row:
    metadata = storage.metadata(report.canonical_hash)
    summary = metadata.get("summary")
    if not _is_summary(summary):
        summary = storage.summary(report.canonical_hash)
    project, signed = metadata.get("project"), metadata.get("signed")
    return Row(
        report,
        summary if _is_summary(summary) else None,
        project if isinstance(project, str) else "",
        signed if isinstance(signed, bool) else None,
        answer_of(storage, report.canonical_hash) if report.status == "queued" else None,
    )


def _is_summary(value: object) -> bool:
    return isinstance(value, dict) and all(
        type(value.get(name)) is int and 0 <= value[name] <= _LARGEST_COUNT for name in _COUNTS
    )


# --- a list ----------------------------------------------------------------------------------------------------------


def lines_of(rows: Iterable[Row], storage: ReportStorage, columns: int | None) -> Iterator[Line]:
    """Give a line for each row, aligned and no wider than `columns`; None is no terminal, where nothing depends on it.

    On a narrow terminal the hashes get shorter, as far as they stay unambiguous; on a wide one the project follows.
    """
    rows = iter(rows)
    counts = status = 0
    while batch := list(itertools.islice(rows, _BATCH)):
        if columns is not None:
            counts = max(counts, *(len(row.counts) for row in batch))
            status = max(status, *(len(row.report.status) for row in batch))
        around = len(f"{_PREFIX}... | 2025-10-17 10:30:00 |  | ") + counts + status
        digits = _DIGITS if columns is None else max(_FEWEST_DIGITS, min(_DIGITS, columns - around))
        digits = _unambiguous({row.report.canonical_hash for row in batch}, digits, storage)
        for row in batch:
            line = (
                f"{row.report.canonical_hash[: len(_PREFIX) + digits]}... | {row.report.stored_at:{_TIME}} | "
                f"{row.counts:<{counts}} | {row.report.status}"
            )
            yield _fitted(line, row, columns, around + digits), "red" if row.failed or row.summary is None else None


def _fitted(line: str, row: Row, columns: int | None, width: int) -> str:
    if columns is None:
        return line
    room = columns - width - len(" | ")
    if row.project and room >= _NARROWEST_PROJECT:
        project = encodable(visible(row.project), getattr(sys.stdout, "encoding", None))
        return f"{line:<{width}} | {_clipped(project, room)}"
    return line[:columns]


def _unambiguous(hashes: set[str], digits: int, storage: ReportStorage) -> int:
    """Return how many digits tell these reports from each other and, of fewer than usual, from all in the store."""
    others = set(hashes)
    if digits < _DIGITS:
        for directory in (storage.reports, storage.queue, storage.rejected):
            if directory.is_dir():
                # Taken for hashes whether they are or not: what is none of ours makes a hash longer at worst.
                others |= {f"{_PREFIX}{name[7:71]}" for name in os.listdir(directory)}  # noqa: PTH208 - see inventory
    while digits < _ALL_DIGITS:
        end = len(_PREFIX) + digits
        shown = {hash_[:end] for hash_ in hashes}
        if sum(other[:end] in shown for other in others) == len(shown) == len(hashes):
            break
        digits += 1
    return digits


def abbreviations(hashes: Iterable[str], storage: ReportStorage) -> dict[str, str]:
    """Return hashes as a list shows them, `sha256:def456abc123...`, in as many digits as tell them apart."""
    known = set(hashes)
    end = len(_PREFIX) + _unambiguous(known, _DIGITS, storage)
    return {hash_: f"{hash_[:end]}..." for hash_ in known}


def _clipped(text: str, width: int) -> str:
    """Return as much of a text as fits into so many columns of a terminal."""
    end = 0
    for character in text:
        width -= 2 if unicodedata.east_asian_width(character) in "WF" else not unicodedata.combining(character)
        if width < 0:
            break
        end += 1
    return text[:end]


# --- one report ------------------------------------------------------------------------------------------------------


def report_lines(
    storage: ReportStorage, stored: StoredReport, found: Examination | None, *, everything: bool
) -> Iterator[Line]:
    """Give the lines about one report: what is known of it, then its tests, failures first."""
    metadata = storage.metadata(stored.canonical_hash)
    yield stored.canonical_hash, None
    yield f"Status: {stored.status}", None
    answer = answer_of(storage, stored.canonical_hash)
    for name, value in _waiting(answer) if stored.status == "queued" else flattened(answer):
        yield f"  {name}: {_short(value, everything)}", None
    yield f"Stored: {stored.stored_at:{_TIME}} UTC, {show_size(stored.size)}", None
    yield f"File: {stored.path}", None
    if found is not None:
        yield f"Signature: {_signature(found)}", "red" if found.state == "broken" else None
    facts = [item for item in flattened(metadata) if item[0] not in _COMPUTED and not item[0].startswith("summary:")]
    yield from _table("Metadata", facts, everything=everything)
    if found is not None:
        report = found.report
        known = set(facts)
        own = [item for item in report.properties.items() if (item[0].removeprefix("jux:"), item[1]) not in known]
        yield from _table("Properties in the report", own, everything=everything)
        yield from _tests_of([case for suite in report.suites for case in suite.cases], everything=everything)
        summary = report.summary
        failed = summary.failures + summary.errors
        flaky = f" ({summary.flaky:,} flaky)" if summary.flaky else ""
        counts = f"{failed:,} failed, {summary.skipped:,} skipped, {summary.passed:,} passed{flaky}"
        yield f"{_tests(summary.tests)}: {counts} in {summary.time:.3f} s", "red" if failed else None


def answer_of(storage: ReportStorage, canonical_hash: str) -> dict[str, Any]:
    """Return what is recorded of a report's publication, as `ReportStorage.answer`, without secrets in addresses."""
    answer = storage.answer(canonical_hash)
    if isinstance(answer.get("api_url"), str):
        from pytest_jux.addresses import without_secrets

        answer["api_url"] = without_secrets(answer["api_url"])
    return answer


def _waiting(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Give what the queue knows of a report, for people."""
    yield "Waits for", _text(entry.get("api_url") or "any server")
    yield "Queued", moment(entry.get("queued_at"))
    attempts = entry.get("attempts")
    if not attempts:
        return
    yield "Failed attempts", f"{_text(attempts)}, last {moment(entry.get('last_attempt_at'))}"
    yield "Last error", _text(entry.get("last_error"))
    if entry.get("next_attempt_at"):
        yield "Next attempt", f"after {moment(entry.get('next_attempt_at'))}, or at once with jux-cache push"


def moment(text: object) -> str:
    """Return a time of a record as lists show it, in UTC."""
    import datetime as dt

    try:
        return f"{dt.datetime.fromisoformat(str(text)).astimezone(dt.UTC):{_TIME}} UTC"
    except (ValueError, OverflowError):
        return "at an unknown time"


def flattened(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return facts as names and texts, those in groups as `git:commit`, as reports have them."""
    found: list[tuple[str, str]] = []
    for name, value in facts.items():
        if isinstance(value, dict):
            found += [(f"{name}:{inner}", _text(item)) for inner, item in value.items()]
        else:
            found.append((name, _text(value)))
    return found


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    import json

    return json.dumps(value)


def _signature(found: Examination) -> str:
    if found.evidence is None:
        return found.state if found.state == "unsigned" else f"{found.state} ({found.reason})"
    return f"{found.evidence.algorithm} by {found.evidence.signer} ({found.state}; jux-verify judges the signer)"


def _table(title: str, items: list[tuple[str, str]], *, everything: bool) -> Iterator[Line]:
    if items:
        yield f"{title}:", None
        width = min(_WIDEST_NAME, max(len(name) for name, _ in items))
        for name, value in items:
            yield f"  {_short(name, everything):<{width}}  {_short(value, everything)}", None


def _tests_of(cases: list[Case], *, everything: bool) -> Iterator[Line]:
    """Give the tests, failed ones with all that is known about them."""
    failed = [case for case in cases if case.outcome in {"failed", "error"}]
    for title, group in (
        ("Failed", failed),
        ("Skipped", [case for case in cases if case.outcome == "skipped"]),
        ("Passed", [case for case in cases if case.outcome == "passed"]),
    ):
        if not group:
            continue
        yield f"{title}:", None
        shown = group if everything else group[:_FEW]
        for case in shown:
            flaky = ", flaky" if case.flaky else ""
            yield (
                f"  {_short(_name_of(case), everything)} ({case.time:.3f} s{flaky})",
                "red" if group is failed else None,
            )
            yield from _reasons(case, everything=everything)
        if len(group) > len(shown):
            yield f"  … and {len(group) - len(shown):,} more (--all shows them)", None


def _reasons(case: Case, *, everything: bool) -> Iterator[Line]:
    details = [] if case.outcome == "skipped" else _lines(case.details)
    for line in _lines(case.message):
        yield f"    {_short(line, everything)}", None
    shown = details if everything else details[:_DETAILS]
    for line in shown:
        yield f"      {_short(line, everything)}".rstrip(), None
    if len(details) > len(shown):
        yield f"      … and {plural(len(details) - len(shown), 'more line')} (--all shows them)", None


def _name_of(case: Case) -> str:
    where = case.classname or case.file
    return f"{where}::{case.name}" if where else case.name or "(no name)"


def _lines(text: str) -> list[str]:
    return text.replace("\r\n", "\n").expandtabs().strip("\n").split("\n") if text.strip() else []


def _short(text: str, everything: bool) -> str:
    if everything or len(text) <= _LONGEST_LINE:
        return text
    return f"{text[:_LONGEST_LINE]}… ({len(text):,} characters)"


def _tests(number: int) -> str:
    return plural(number, "test")
