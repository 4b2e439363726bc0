"""What jux-publish --dry-run prints: the requests that would be made."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from pytest_jux.commands import _cli
from pytest_jux.commands._publish_text import hint_of, refusal, refused_row, shown_name

if TYPE_CHECKING:
    from pytest_jux.config import Settings
    from pytest_jux.submission import Named, Submission

_LONGEST = 120  # characters of a report, which are more than a line of it
_SCHEMES = {"api-key": "", "bearer": "Bearer ", "basic": "Basic "}


def show_plan(
    named: Named, settings: Settings, *, allow_unsigned: bool, is_one: bool, as_json: bool, quiet: bool
) -> int:
    """Show what would be sent of these reports, and return the exit code; no secret is read for that."""
    from pytest_jux.errors import JuxError
    from pytest_jux.submission import examine_file

    project = settings["jux_project"] or ""
    request = {"method": "POST", "url": _address(settings)}
    key = _key(settings)
    plans: list[dict[str, Any]] = []
    counts = {"dry-run": 0, "error": 0}
    last_hint = ""
    for path, problem in chain(
        ((path, None) for path in named.paths), ((str(one.path), one) for one in named.problems)
    ):
        try:
            if problem is not None:
                raise problem
            fit = examine_file(path, _cli.read_input, allow_unsigned=allow_unsigned, project=project)
            plan = {"file": path, "status": "dry-run", **request, **_described(fit, key)}
        except JuxError as error:
            hint = hint_of(error)
            _cli.say(f"✗ {refusal(path, error)}", "" if hint == last_hint else hint)
            last_hint = hint
            plan = refused_row(path, error)
        counts[plan["status"]] += 1
        if as_json:
            plans.append(plan)
        elif plan["status"] == "dry-run" and not quiet:
            _show_request(plan)
    if as_json:
        _cli.show_json(plans[0] if is_one else plans)
    elif not (is_one or quiet):
        _show_sum(counts["dry-run"], counts["error"], request["url"])
    return _cli.FAILED if counts["error"] else 0


def _address(settings: Settings) -> str | None:
    """Return the server's address without what may be secret in it; None if none is configured."""
    from pytest_jux.addresses import without_secrets
    from pytest_jux.config import MASK

    url = settings["jux_api_url"]
    if not url:
        return None
    return without_secrets(url) + (f"?{MASK}" if "?" in url else "")


def _key(settings: Settings) -> dict[str, str]:
    """Return the header that the key would be in, masked; {} if no key is configured."""
    from pytest_jux.config import MASK
    from pytest_jux.credentials import SOURCES

    if not any(settings[source] for source in SOURCES):
        return {}
    auth = settings["jux_api_auth"]
    return {"X-API-Key" if auth == "api-key" else "Authorization": f"{_SCHEMES[auth]}{MASK}"}


def _described(fit: Submission, key: dict[str, str]) -> dict[str, Any]:
    from pytest_jux.wire import report_text, request_headers

    return {
        "headers": {**request_headers(fit.canonical_hash), **key},
        "body": {
            "report": _shortened(report_text(fit.data)),
            "canonical_hash": fit.canonical_hash,
            "metadata": fit.metadata,
        },
        "canonical_hash": fit.canonical_hash,
        "signature": str(fit.state),
        "size": len(fit.data),
    }


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"


def _show_request(plan: dict[str, Any]) -> None:
    import json

    from pytest_jux.text import show_size

    facts = f"{show_size(plan['size'])}, signature {plan['signature']}"
    _cli.show(f"{shown_name(plan['file'])} ({facts})", bold=True)
    lines = [f"{plan['method']} {plan['url'] or '(no server is configured)'}"]
    lines += [f"{name}: {value}" for name, value in plan["headers"].items()]
    if not {"X-API-Key", "Authorization"} & set(plan["headers"]):
        lines.append("(no API key)")
    lines += json.dumps(plan["body"], indent=2, ensure_ascii=False).splitlines()
    _cli.show_lines(f"  {line}" for line in lines)


def _show_sum(number: int, refused: int, url: str | None) -> None:
    from pytest_jux.text import plural

    where = f" to {url}" if url else ""
    _cli.show(f"Would publish {plural(number, 'report')}{where}" + (f", {refused:,} refused" if refused else ""))
