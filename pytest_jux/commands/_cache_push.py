"""jux-cache push: bring what waits in the queue to the server."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from pytest_jux.commands import _cli
from pytest_jux.commands._api_options import api_options, load_api_settings
from pytest_jux.commands._cache_options import is_terminal, open_store, progress, store_options
from pytest_jux.text import plural, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pytest_jux.publishing import Chosen, Sent
    from pytest_jux.records import Waiting
    from pytest_jux.storage import ReportStorage

_OPTIONAL = {"not_tried": "not tried", "rejected": "rejected", "busy": "busy"}  # said only where there are any


@click.command("push", context_settings=_cli.CONTEXT)
@store_options
@api_options
@click.option("--dry-run", is_flag=True, help="Send nothing; show what would be sent, and where.")
@click.option("--any-server", is_flag=True, help="Send also what other projects queued for other servers.")
@click.option("--rejected", is_flag=True, help="Try also what the server has refused for good.")
@click.option("--limit", type=click.IntRange(1, 10**9), metavar="N", help="Try at most so many.")
@click.option("--jobs", type=click.IntRange(1, 64), default=1, metavar="N", help="Send so many at a time [default: 1].")
def push(
    storage_path: str | None,
    jobs: int,
    limit: int | None,
    rejected: bool,
    any_server: bool,
    dry_run: bool,
    as_json: bool,
    **api: Any,  # noqa: ANN401 - the options of the API
) -> int:
    """Publish the reports that wait in the queue, oldest first, whether or not their next attempt is due.

    When the server is plainly unavailable, the rest is not tried. A report that was queued for another server is sent
    only if it is of the project in the current directory, or with --any-server.

    \b
    Examples:
      jux-cache push
      jux-cache push --dry-run
      jux-cache push --jobs 8 --json
      jux-cache push --rejected --limit 1

    Exit codes: 0 nothing failed, 1 a report was not published, 64 usage error.
    """
    from pytest_jux.publishing import choose, configured_client, in_order, refused
    from pytest_jux.publishing import push as push_queued

    settings = load_api_settings(api)
    storage = open_store(storage_path, settings)
    again = refused(storage) if rejected else []
    waiting = in_order([*storage.waiting(), *again])

    def project() -> str:
        from pytest_jux.config import Layer
        from pytest_jux.pipeline import configured_metadata

        # A project's files come with its repository, and could claim to be any project.
        is_claimed = settings.explain("jux_project").origin.layer in {Layer.PROJECT, Layer.PROJECT_PYTEST}
        return "" if is_claimed else configured_metadata(settings).project

    url = settings["jux_api_url"] or ""
    if waiting:
        _check_address(url, waiting)
    chosen = choose(waiting, url, project, any_server=any_server, limit=limit)
    if dry_run:
        _show_plan(storage, chosen, url, as_json=as_json)
        return 0
    results: list[Sent] = []
    if chosen.entries:
        with configured_client(settings, is_command=True, connections=jobs) as client:
            if client.is_exposed:
                from pytest_jux.addresses import EXPOSED

                _cli.say(f"warning: the API is {EXPOSED}")
            identities = [entry.canonical_hash for entry in chosen.entries]
            sent = push_queued(storage, client, identities, jobs=jobs, rejected={one.canonical_hash for one in again})
            results = _show_each(sent, storage, identities, as_json=as_json)
    return _finish(storage, chosen, results, as_json=as_json)


def _check_address(url: str, waiting: list[Waiting]) -> None:
    """Raise a usage error where no server is known, or none can be at this address."""
    from pytest_jux.addresses import address_problem, without_secrets

    if not url:
        servers = {without_secrets(entry.api_url) for entry in waiting if entry.api_url}
        known = f" (these reports were queued for {servers.pop()})" if len(servers) == 1 else ""
        raise click.UsageError(f"no server given: use --api-url URL, or set jux_api_url{known}")
    if problem := address_problem(url):
        raise click.UsageError(f"jux_api_url: {without_secrets(url)} {problem}")


def _show_each(results: Iterable[Sent], storage: ReportStorage, identities: list[str], *, as_json: bool) -> list[Sent]:
    """Say what came of each report as soon as it is known."""
    from pytest_jux.commands._cache_text import abbreviations
    from pytest_jux.outcomes import Duplicate

    shown = abbreviations(identities, storage)
    seen: list[Sent] = []
    last_hint = ""
    if not as_json:
        _cli.show("Publishing queued reports...")
    # Where people see a line for each report, they know how far it is.
    with progress("Publishing") as update:
        for sent in results:
            seen.append(sent)
            name = shown[sent.canonical_hash]
            if sent.status in {"failed", "rejected"}:
                reason, hint = _reason_of(sent)
                _cli.say(f"✗ {name}: {reason}", "" if hint == last_hint else hint)
                last_hint = hint
            elif sent.status == "published" and not as_json:
                how = "had been published before" if isinstance(sent.outcome, Duplicate) else "published successfully"
                _cli.show(f"✓ {name} {how}", "green")
            if as_json or not is_terminal(sys.stdout):
                update(len(seen), len(identities))
    return seen


def _reason_of(sent: Sent) -> tuple[str, str]:
    """Return why a report was not published, and the next step."""
    from pytest_jux.outcomes import Rejected

    if sent.error is not None:
        return str(sent.error), sent.error.hint
    reason: str = getattr(sent.outcome, "reason", "")
    if isinstance(sent.outcome, Rejected):
        return f"the server refuses it: {reason}", "To try it again: jux-cache push --rejected"
    return reason, getattr(sent.outcome, "hint", "")


def _finish(storage: ReportStorage, chosen: Chosen, results: list[Sent], *, as_json: bool) -> int:
    still = (
        {entry.canonical_hash for entry in storage.waiting()} if "skipped" in {one.status for one in results} else ()
    )
    rows = [_row(sent, is_waiting=sent.canonical_hash in still) for sent in results]
    tried = {sent.canonical_hash for sent in results}
    rows += [
        {"canonical_hash": entry.canonical_hash, "status": "not_tried"}
        for entry in chosen.entries
        if entry.canonical_hash not in tried
    ]
    counts = {
        status: sum(row["status"] == status for row in rows)
        for status in ("published", "failed", "rejected", "not_tried", "busy")
    }
    if as_json:
        _cli.show_json({**counts, "left": _left(chosen.left), "reports": rows})
    else:
        if chosen.entries:
            _cli.show(_sum(counts), "red" if counts["failed"] or counts["rejected"] else None)
        elif not chosen.left:
            _cli.show("No reports are queued")
        _say_left(chosen.left)
    return _cli.FAILED if counts["failed"] or counts["rejected"] else 0


def _row(sent: Sent, *, is_waiting: bool) -> dict[str, Any]:
    """Return what came of a report as JSON values."""
    from pytest_jux.outcomes import Duplicate, to_dict

    row: dict[str, Any] = {"canonical_hash": sent.canonical_hash, "status": sent.status}
    if sent.status == "skipped":  # what another process was sending may still wait
        return row | {"status": "busy" if is_waiting else "done_elsewhere"}
    if sent.outcome is not None:
        row |= to_dict(sent.outcome) | {"status": sent.status, "duplicate": isinstance(sent.outcome, Duplicate)}
    return row | ({} if sent.error is None else {"reason": str(sent.error)})


def _sum(counts: Mapping[str, int]) -> str:
    text = f"Published {plural(counts['published'], 'report')}, {counts['failed']:,} failed"
    return text + "".join(f", {counts[name]:,} {word}" for name, word in _OPTIONAL.items() if counts[name])


def _left(left: Mapping[str, int]) -> list[dict[str, Any]]:
    from pytest_jux.addresses import without_secrets

    return [{"api_url": without_secrets(url), "reports": number} for url, number in left.items()]


def _say_left(left: Mapping[str, int]) -> None:
    """Say what waits for other servers, and how to send it."""
    import shlex

    from pytest_jux.records import UNREADABLE

    for one in _left(left):
        number, url = plural(one["reports"], "report"), visible(one["api_url"])
        hint = f"To send there: --api-url {shlex.quote(url)}; to send here what other projects left: --any-server"
        if url == UNREADABLE:
            hint = "jux-cache verify says what is wrong; --any-server sends them here."
            _cli.say(f"Left {number} whose record in the queue cannot be read", hint)
            continue
        _cli.say(f"Left {number} of other projects, queued for {url}", hint)


def _show_plan(storage: ReportStorage, chosen: Chosen, url: str, *, as_json: bool) -> None:
    from pytest_jux.addresses import without_secrets
    from pytest_jux.commands._cache_text import abbreviations, moment

    if as_json:
        rows = [{"canonical_hash": entry.canonical_hash, **_described(entry)} for entry in chosen.entries]
        _cli.show_json({"dry_run": True, "api_url": without_secrets(url), "left": _left(chosen.left), "reports": rows})
        return
    shown = abbreviations([entry.canonical_hash for entry in chosen.entries], storage)
    for entry in chosen.entries:
        facts = [entry.project, plural(entry.attempts, "failed attempt") if entry.attempts > 0 else ""]
        facts += [f"queued for {without_secrets(entry.api_url)}" if entry.api_url not in {"", url} else ""]
        line = [shown[entry.canonical_hash], f"queued {moment(entry.queued_at)}", *filter(None, facts)]
        _cli.show(" | ".join(line))
    if chosen.entries:
        _cli.show(f"Would publish {plural(len(chosen.entries), 'report')} to {without_secrets(url)}")
    elif not chosen.left:
        _cli.show("No reports are queued")
    _say_left(chosen.left)


def _described(entry: Waiting) -> dict[str, Any]:
    from pytest_jux.addresses import without_secrets

    known = {"queued_at": entry.queued_at, "project": entry.project, "api_url": without_secrets(entry.api_url)}
    return {name: text or None for name, text in known.items()} | {"attempts": entry.attempts}
