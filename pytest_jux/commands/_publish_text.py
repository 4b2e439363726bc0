"""What jux-publish prints: what came of each report, and what would be sent."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from pytest_jux.commands import _cli
from pytest_jux.commands._cache_options import is_terminal, progress

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_jux.config import Settings
    from pytest_jux.submission import Submitted


def show_each(
    done: Iterable[Submitted],
    total: int,
    *,
    is_one: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    duplicate_ok: bool,
) -> list[dict[str, Any]]:
    """Say what came of each report as soon as it is known, and return all of it."""
    rows = []
    last_hint = ""
    with progress("Publishing") as update:
        for submitted in done:
            row, hint = _row(submitted)
            rows.append(row)
            where = "" if is_one and row["file"] == "-" else f"{row['file']}: "
            if row["status"] == "error":
                _cli.say(f"✗ {where}{row['reason']}", "" if hint == last_hint else hint)
                last_hint = hint
            elif not quiet and not as_json and row["status"] != "not_tried":
                _show_success(row, "" if is_one else where, is_fine=duplicate_ok or row["status"] == "published")
                if verbose:
                    _show_details(row)
            if submitted.note:
                _cli.say(f"{where}{submitted.note}")
            if as_json or quiet or not is_terminal(sys.stdout):
                update(len(rows), total)
    return rows


def _row(submitted: Submitted) -> tuple[dict[str, Any], str]:
    """Return what came of a report as JSON values, and the next step where there is one."""
    from pytest_jux.outcomes import to_dict

    known = {"canonical_hash": submitted.canonical_hash or None, "file": submitted.name}
    if submitted.error is not None:
        error = submitted.error
        return {"status": "error", "kind": "refused", "reason": str(error), **known}, _hint_of(error)
    if submitted.outcome is None:
        return {"status": "not_tried", **known}, ""
    row = to_dict(submitted.outcome)
    first: dict[str, Any] = {name: row.pop(name) for name in ("status", "id") if name in row}
    return {**first, **known, **row}, getattr(submitted.outcome, "hint", "")


def _hint_of(error: Exception) -> str:
    from pytest_jux.errors import ReportUnsigned, SignatureBroken

    if isinstance(error, ReportUnsigned):
        return "Sign it with jux-sign, or send it as it is with --allow-unsigned."
    if isinstance(error, SignatureBroken):
        return "Send the report as it was signed, or sign it again with jux-sign --replace."
    return getattr(error, "hint", "")


def _show_success(row: dict[str, Any], where: str, *, is_fine: bool) -> None:
    named = f" ({row['id']})" if row["id"] else ""
    if row["status"] == "published":
        text = f"{where}published{named}" if where else f"Published successfully{named}"
    else:
        text = f"{where}duplicate{named}" if where else f"Duplicate: the server has this report already{named}"
    _cli.show(f"{'✓' if is_fine else '⚠'} {text}", "green" if is_fine else "yellow")


def _show_details(row: dict[str, Any]) -> None:
    from pytest_jux.text import plural

    for text in (row["canonical_hash"], row["url"], row["message"], plural(row["attempts"], "attempt")):
        if text:
            _cli.show(f"  {text}")


STATUSES = {"published": "", "duplicate": "duplicate", "error": "failed", "not_tried": "not tried"}


def sum_of(counts: dict[str, int]) -> str:
    """Return how many reports there are of each status, in one line."""
    from pytest_jux.text import plural

    others = [f", {counts['duplicate']:,} {'duplicate' if counts['duplicate'] == 1 else 'duplicates'}"]
    others += [f", {counts[status]:,} {STATUSES[status]}" for status in ("error", "not_tried")]
    shown = zip(("duplicate", "error", "not_tried"), others, strict=True)
    text = "".join(other for status, other in shown if counts[status] or status == "error")
    return f"Published {plural(counts['published'], 'report')}{text}"


def show_plan(paths: Iterable[str], settings: Settings, *, allow_unsigned: bool, as_json: bool, is_one: bool) -> int:
    """Show the requests that would be made; nothing secret is read for that."""
    from pytest_jux.config import MASK
    from pytest_jux.config_values import without_userinfo
    from pytest_jux.credentials import SOURCES
    from pytest_jux.errors import JuxError
    from pytest_jux.submission import examine
    from pytest_jux.wire import report_text, request_headers

    url = without_userinfo(settings["jux_api_url"] or "<jux_api_url is not set>")
    name = "X-API-Key" if settings["jux_api_auth"] == "api-key" else "Authorization"
    key = {name: MASK} if any(settings[source] for source in SOURCES) else {}
    plans: list[dict[str, Any]] = []
    failed = False
    for path in paths:
        try:
            project = settings["jux_project"] or ""
            fit = examine(_cli.read_input(path), allow_unsigned=allow_unsigned, project=project)
            text = report_text(fit.data)
        except JuxError as error:
            _cli.say(f"✗ {path}: {error}", _hint_of(error))
            plans.append({"file": path, "status": "error", "kind": "refused", "reason": str(error)})
            failed = True
            continue
        body = {"report": _shortened(text), "canonical_hash": fit.canonical_hash, "metadata": fit.metadata}
        request = {
            "method": "POST",
            "url": url,
            "headers": {**request_headers(fit.canonical_hash), **key},
            "body": body,
        }
        plans.append({"file": path, "status": "dry-run", "signature": str(fit.state), "size": len(fit.data), **request})
        if not as_json:
            _show_request(plans[-1])
    if as_json:
        _cli.show_json(plans[0] if is_one else plans)
    return _cli.FAILED if failed else 0


def _shortened(text: str) -> str:
    return text if len(text) <= 120 else f"{text[:100]}… ({len(text):,} characters)"  # noqa: PLR2004 - a line or so


def _show_request(plan: dict[str, Any]) -> None:
    import json

    _cli.show(f"{plan['file']}: {plan['method']} {plan['url']}", bold=True)
    _cli.show_lines(f"  {name}: {value}" for name, value in plan["headers"].items())
    _cli.show_lines(f"  {line}" for line in json.dumps(plan["body"], indent=2, ensure_ascii=False).splitlines())
