"""jux-cache list, show and stats: what is in the report store."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import click

from pytest_jux.commands import _cli, _completion
from pytest_jux.commands._cache_options import Time, open_store, status_option, statuses_of, store_options
from pytest_jux.text import plural, show_size

if TYPE_CHECKING:
    import datetime as dt

    from pytest_jux.inventory import StoredReport
    from pytest_jux.storage import ReportStorage
    from pytest_jux.verifier import Examination


@click.command("list", context_settings=_cli.CONTEXT)
@store_options
@click.option("--limit", type=click.IntRange(1, 10**9), metavar="N", help="Show at most so many.")
@click.option(
    "--since", type=Time(), metavar="TIME", help="Stored at this time or later (ISO 8601 in UTC, or 7d, 12h)."
)
@click.option("--until", type=Time(), metavar="TIME", help="Stored before this time.")
@status_option("Only with this status (repeatable).")
@click.option("--project", metavar="NAME", help="Only of this project.")
@click.option("--failed", is_flag=True, help="Only with failed tests.")
def list_reports(
    storage_path: str | None,
    limit: int | None,
    since: dt.datetime | None,
    until: dt.datetime | None,
    statuses: tuple[str, ...],
    project: str | None,
    failed: bool,
    as_json: bool,
) -> None:
    """List the stored reports, newest first.

    A line has the beginning of the hash, when the report was last stored (UTC), its tests, and what became of it.

    \b
    Examples:
      jux-cache list --limit 20
      jux-cache list --failed --since 7d
      jux-cache list --status queued --json
    """
    from pytest_jux.commands._cache_text import lines_of, rows_of

    if since is not None and until is not None and since >= until:
        raise click.UsageError("--since must be before --until")
    storage = open_store(storage_path)
    filtered = failed or project is not None
    reports = storage.list(limit=None if filtered else limit, since=since, until=until, statuses=statuses_of(statuses))
    matching = (
        row
        for row in rows_of(storage, reports)
        if (not failed or row.failed) and (project is None or row.project == project)
    )
    rows = itertools.islice(matching, limit)
    if as_json:
        _cli.show_json([row.to_dict() for row in rows])
        return
    number = 0
    for line, colour in lines_of(rows, storage, _cli.terminal_width()):
        _cli.show(line, colour)
        number += 1
    if not number:
        which = "matching reports" if filtered or statuses or since or until else "reports"
        _cli.say(f"There are no {which} in {storage.root}.")


@click.command("show", context_settings=_cli.CONTEXT)
@click.argument("report", metavar="HASH", shell_complete=_completion.stored_reports)
@store_options
@click.option("--xml", "as_xml", is_flag=True, help="Write the exact bytes of the report.")
@click.option("--all", "everything", is_flag=True, help="Show all tests and whole tracebacks.")
def show(report: str, storage_path: str | None, as_xml: bool, everything: bool, as_json: bool) -> int:
    """Show one report with its metadata and its tests, failures first.

    The hash is computed anew from the content. A report that is not what was stored is said to be damaged, and the
    exit code is 1.

    \b
    Examples:
      jux-cache show abc123
      jux-cache show sha256:abc123def456... --all
      jux-cache show abc123 --xml > report.xml
    """
    from pytest_jux.commands._cache_text import report_lines

    if as_xml and (as_json or everything):
        raise click.UsageError("--xml goes alone")
    storage = open_store(storage_path)
    stored = storage.find(storage.resolve(report))
    data = storage.read(stored.canonical_hash)
    found, damage = _examined(data, stored.canonical_hash)
    if damage:
        _cli.say(f"✗ DAMAGED: {stored.path} is not what was stored: {damage}", "Do not rely on anything that it says.")
    if as_xml:
        _cli.write_output(data)
    elif as_json:
        _cli.show_json(_described(storage, stored, found, damage))
    else:
        if damage:
            _cli.show(f"✗ DAMAGED: this is not what was stored: {damage}", "red", bold=True)
        for line, colour in report_lines(storage, stored, found, everything=everything):
            _cli.show(line, colour)
    return _cli.FAILED if damage else 0


@click.command("stats", context_settings=_cli.CONTEXT)
@store_options
def stats(storage_path: str | None, as_json: bool) -> None:
    """Show how many reports there are, how large they are, and how many wait to be published."""
    storage = open_store(storage_path)
    found = storage.statistics()
    if as_json:
        total = found.total
        _cli.show_json(
            {
                "path": str(storage.root),
                "reports": total.reports,
                "size": total.size,
                "oldest": found.oldest.isoformat() if found.oldest else None,
                "newest": found.newest.isoformat() if found.newest else None,
                "by_status": {str(status): share._asdict() for status, share in found.by_status.items()},
            }
        )
        return
    _cli.show(f"Total reports: {found.total.reports:,}")
    _cli.show(f"Total size: {show_size(found.total.size)}")
    _cli.show(f"Oldest: {found.oldest:%Y-%m-%d}" if found.oldest else "Oldest: none")
    queued = next(share.reports for status, share in found.by_status.items() if status == "queued")
    _cli.show(f"Queued (not published): {queued:,}")
    for status, share in found.by_status.items():
        _cli.show(f"{status.capitalize()}: {plural(share.reports, 'report')}, {show_size(share.size)}")
    _cli.show(f"Store: {storage.root}")


# --- parts -----------------------------------------------------------------------------------------------------------


def _examined(data: bytes, identity: str) -> tuple[Examination | None, str]:
    """Return what the content of a stored report is, and what is wrong with it; "" for what it should be."""
    from pytest_jux.errors import ReportError
    from pytest_jux.verifier import Trust, examine_report

    try:
        found = examine_report(data, Trust())
    except ReportError as error:
        return None, str(error)
    return found, "" if found.canonical_hash == identity else f"its hash is {found.canonical_hash}"


def _described(storage: ReportStorage, stored: StoredReport, found: Examination | None, damage: str) -> dict[str, Any]:
    """Return a report with all that is known about it as JSON values."""
    from pytest_jux.commands._cache_text import answer_of
    from pytest_jux.commands.verify import describe

    report = found.report if found else None
    return {
        "canonical_hash": stored.canonical_hash,
        "status": str(stored.status),
        "stored_at": stored.stored_at.isoformat(),
        "size": stored.size,
        "path": str(stored.path),
        "intact": not damage,
        "damage": damage or None,
        "answer": answer_of(storage, stored.canonical_hash),
        "metadata": storage.metadata(stored.canonical_hash),
        "signature": describe(found) if found else None,
        "summary": report.summary.to_dict() if report else None,
        "properties": report.properties if report else None,
        "cases": [{"suite": suite.name, **case._asdict()} for suite in report.suites for case in suite.cases]
        if report
        else None,
    }
