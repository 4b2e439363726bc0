"""jux-cache clean and verify: what of the store may go, and whether the rest is what was stored."""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING

import click

from pytest_jux.commands import _cli, _completion
from pytest_jux.commands._cache_options import (
    Size,
    is_terminal,
    open_store,
    progress,
    status_option,
    statuses_of,
    store_options,
)
from pytest_jux.text import plural, show_size

if TYPE_CHECKING:
    from pytest_jux.audit import Audit, Finding
    from pytest_jux.errors import JuxError
    from pytest_jux.inventory import StoredReport
    from pytest_jux.retention import Removal
    from pytest_jux.storage import ReportStorage

_MUCH = 20, 100_000_000  # reports, and bytes, above which a person is asked
_SHOWN = 20  # findings of the kinds that come in thousands


@click.command("clean", context_settings=_cli.CONTEXT)
@store_options
@click.option("--days", type=click.IntRange(0, 36500), metavar="N", help="Remove what was stored more than N days ago.")
@click.option("--keep", type=click.IntRange(0, 10**9), metavar="N", help="Remove all but the newest N.")
@click.option("--max-size", type=Size(), metavar="SIZE", help="Remove the oldest until the rest is no larger.")
@status_option("Look only at reports with this status (repeatable).")
@click.option("--dry-run", is_flag=True, help="Remove nothing; show what would be removed.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def clean(
    storage_path: str | None,
    days: int | None,
    keep: int | None,
    max_size: int | None,
    statuses: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Remove old reports, and what interrupted processes left.

    A report goes if any of the criteria says so; at least one is needed. What waits in the queue stays unless --status
    queued names it. On a terminal you are asked when it is much (over 20 reports or 100 MB), and always when it is
    about the queue.

    \b
    Examples:
      jux-cache clean --days 30 --dry-run
      jux-cache clean --days 30
      jux-cache clean --max-size 500MB --keep 1000
      jux-cache clean --status published --keep 0
    """
    import datetime as dt

    from pytest_jux.inventory import Status
    from pytest_jux.retention import Criteria, outdated, remove, share_of

    if days is None and keep is None and max_size is None:
        raise click.UsageError("say what may go: --days N, --keep N or --max-size SIZE")
    storage = open_store(storage_path)
    now = dt.datetime.now(dt.UTC)
    criteria = Criteria(days, keep, max_size, statuses_of(statuses))
    going = outdated(storage.list(statuses=criteria.statuses), criteria, now)
    if dry_run:
        _show_going(storage, going, as_json=as_json)
        return 0
    queued = sum(report.status is Status.QUEUED for report in going)
    share = share_of(going)
    if not yes and (queued or share.reports > _MUCH[0] or share.size > _MUCH[1]) and _may_ask():
        waiting = f", {queued:,} of them waiting to be published" if queued else ""
        question = f"Remove {plural(share.reports, 'report')} ({show_size(share.size)}{waiting})?"
        if not click.confirm(question, err=True):
            _cli.say("Nothing was removed.")
            return _cli.FAILED
    with progress("Removing") as update:
        done = itertools.count(1)
        removal = remove(storage, going, queued=queued > 0, on_each=lambda _report: update(next(done), len(going)))
    return _finish_cleaning(storage, removal, as_json=as_json)


@click.command("verify", context_settings=_cli.CONTEXT)
@click.argument("reports", nargs=-1, metavar="[HASH]...", shell_complete=_completion.stored_reports)
@store_options
@_cli.trust_options
def verify(
    reports: tuple[str, ...],
    storage_path: str | None,
    certificates: tuple[str, ...],
    authorities: tuple[str, ...],
    at: str | None,
    as_json: bool,
) -> int:
    """Check every stored file: its content against its name, its signature, its records and its permissions.

    A broken signature is always a problem. With --cert or --ca, a report is also one that is unsigned, or whose signer
    you did not name. Links, foreign files and what interrupted processes left are notes. Nothing is changed.

    \b
    Examples:
      jux-cache verify
      jux-cache verify --cert signing_key.crt
      jux-cache verify abc123 --json
    """
    from pytest_jux.audit import audit

    if at is not None and not (certificates or authorities):
        raise click.UsageError("--at goes with --cert or --ca")
    trust = _cli.load_trust(certificates, authorities, at) if certificates or authorities else None
    storage = open_store(storage_path)
    if not reports and not storage.root.is_dir():
        _cli.say(f"There is no report store at {storage.root}.")
        return 0 if storage_path is None else _cli.FAILED
    hashes = [storage.resolve(given) for given in reports]
    with progress("Checking") as update:
        result = audit(storage, hashes, trust, on_each=update)
    if as_json:
        _cli.show_json(
            {
                "reports": result.reports,
                "problems": [_finding(finding) for finding in result.problems],
                "notes": [_finding(finding) for finding in result.notes],
            }
        )
    else:
        _show_audit(storage, result)
    return _cli.FAILED if result.problems else 0


# --- parts -----------------------------------------------------------------------------------------------------------


def _may_ask() -> bool:
    """Tell whether there is somebody who can see a question and answer it."""
    return is_terminal(sys.stdin) and is_terminal(sys.stderr)


def _show_going(storage: ReportStorage, going: list[StoredReport], *, as_json: bool) -> None:
    from pytest_jux.commands._cache_text import lines_of, rows_of
    from pytest_jux.retention import share_of

    share = share_of(going)
    if as_json:
        rows = [row.to_dict() for row in rows_of(storage, going)]
        _cli.show_json({"dry_run": True, "size": share.size, "reports": rows})
        return
    for line, colour in lines_of(rows_of(storage, going), storage, _cli.terminal_width()):
        _cli.show(line, colour)
    _cli.show(f"Would remove {plural(share.reports, 'report')} ({show_size(share.size)})")


def _finish_cleaning(storage: ReportStorage, removal: Removal, *, as_json: bool) -> int:
    errors: list[JuxError] = [*removal.errors]
    leftovers = storage.sweep()
    if as_json:
        _cli.show_json(
            {
                "dry_run": False,
                "size": removal.freed.size,
                "reports": [report.canonical_hash for report in removal.removed],
                "left": [report.canonical_hash for report in removal.left],
                "leftovers": leftovers,
                "errors": [str(problem) for problem in errors],
            }
        )
    else:
        _cli.show(f"Removed {plural(removal.freed.reports, 'report')} ({show_size(removal.freed.size)} freed)")
        if leftovers:
            _cli.show(f"Removed {plural(leftovers, 'file')} that interrupted processes left")
        if removal.left:
            _cli.say(f"Left {plural(len(removal.left), 'report')}: in use, queued, or stored again meanwhile")
    for problem in errors[:_SHOWN]:
        _cli.say(f"jux-cache: {problem}")
    return _cli.FAILED if errors else 0


def _finding(finding: Finding) -> dict[str, str]:
    return {"path": str(finding.path), "kind": str(finding.kind), "message": finding.message}


def _show_audit(storage: ReportStorage, result: Audit) -> None:
    seen: dict[str, int] = {}
    for finding in result.findings:
        seen[finding.kind] = seen.get(finding.kind, 0) + 1
        if seen[finding.kind] > _SHOWN and (finding.kind == "permissions" or not finding.is_problem):
            continue
        path = finding.path if finding.path == storage.root else finding.path.relative_to(storage.root)
        mark, colour = ("✗", "red") if finding.is_problem else ("-", None)
        _cli.show(f"{mark} {path}: {finding.message}", colour)
    hidden = {kind: number - _SHOWN for kind, number in seen.items() if number > _SHOWN}
    for kind in [kind for kind in hidden if kind in {"permissions", "link", "foreign", "leftover"}]:
        _cli.show(f"… and {hidden[kind]:,} more of the kind {kind} (--json shows them)")
    if "permissions" in seen:
        import shlex

        from pytest_jux.inventory import DIRECTORIES, LOCKS

        own = [str(storage.root / name) for name in (*DIRECTORIES, LOCKS) if (storage.root / name).is_dir()]
        _cli.say(f"To make the store yours alone: {shlex.join(['chmod', '-R', 'u=rwX,go=', *own])}")
        if any(finding.path == storage.root for finding in result.problems):
            _cli.say(f"  and: {shlex.join(['chmod', 'u=rwx,go=', str(storage.root)])}")
    problems = plural(len(result.problems), "problem") if result.problems else "no problems"
    notes = f", {plural(len(result.notes), 'note')}" if result.notes else ""
    _cli.show(f"Checked {plural(result.reports, 'report')}: {problems}{notes}", "red" if result.problems else "green")
