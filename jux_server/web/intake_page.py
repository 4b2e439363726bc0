"""What arrived and what did not, so that somebody whose reports are missing sees why."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from jux_server.api.access import database_of
from jux_server.api.parameters import Cursor, Text, cursor, cursor_number
from jux_server.store.database import now
from jux_server.store.queries import events
from jux_server.store.schema import run
from jux_server.trust import EVERYTHING
from jux_server.web.access import Sees
from jux_server.web.charts import columns_of
from jux_server.web.links import links_of
from jux_server.web.rendering import count, page

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jux_server.store.queries.events import Arrivals
    from jux_server.web.charts import Chart

router = APIRouter()

_AT_ONCE = 50
_LISTED = 20  # keys, projects and reasons
WORDS = {"created": "accepted", "attached": "better signature", "duplicate": "duplicate", "rejected": "rejected"}
_NEXT_STEPS = {
    "API key refused": "Make a new key, and give it to the build: jux-server key create.",
    "Authentication required": "Give the build a key: JUX_API_KEY, or jux_api_key_file.",
    "Canonical hash differs": "The report was changed after its sender looked at it; send it as it is.",
    "Invalid XML signature": "Something changes the report between signing and sending; send it as it was signed.",
    "Invalid body": "Send what docs/server-api.md shows, or let jux-publish send it.",
    "Invalid canonical hash": "Leave canonical_hash out, or send sha256: and 64 digits.",
    "Invalid report": "Look at the file: jux-inspect report.xml.",
    "Not allowed": "Give the build a key with the scope publish that is for this project.",
    "Report not signed": "Sign it: pytest --jux-sign, or jux-sign.",
    "Report too large": "The server's setting max_report_size is the bound.",
    "Signer not trusted": "Add the signer's certificate: jux-server signer add.",
    "Too slow": "Look at the network, and at the proxy before this server.",
    "Unsupported coding": "Send the report as it is, or compressed by gzip.",
    "Unsupported media type": "Send XML as application/xml, or JSON as application/json.",
}


@router.get("/intake", include_in_schema=False)
def intake_page(
    request: Request,
    sees: Sees,
    kind: Annotated[Literal["created", "attached", "duplicate", "rejected"] | None, Query()] = None,
    project: Annotated[str | None, Query(max_length=200), Text] = None,
    key: Annotated[int | None, Query(ge=0, le=2**31 - 1)] = None,
    hours: Annotated[Literal["24", "168"], Query()] = "24",
    cursor_: Annotated[Cursor, Query(alias="cursor")] = None,
) -> Response:
    """Show what came in the last day or week, and what became of it."""
    viewer = sees.require("read")
    since = (now() // events.HOUR - int(hours) + 1) * events.HOUR
    wanted = events.Wanted(since, kind=kind, project=project or None, key_id=key)
    is_admin = EVERYTHING in viewer.caller.projects
    with database_of(request).read() as connection:
        found = events.arrivals(connection, wanted, None if is_admin else viewer.caller.sees)
        wanted = wanted._replace(among=found.among)
        rows, following = events.list_events(connection, wanted, before=cursor_number(cursor_), limit=_AT_ONCE)
        why = events.reasons(connection, wanted) if found.totals["rejected"] else []
        by_key, by_project = _most(found.keys, key), _most(found.projects, project)
        names = events.keys_named(connection, {number for number, _ in by_key} - {0})
        ids = [row.run_id for row in rows if row.run_id is not None]
        asked = sa.select(run.c.id, run.c.public_id).where(run.c.id.in_(ids))
        stored = {found_.id: found_.public_id for found_ in connection.execute(asked)}
    links = links_of(request)
    query = {"kind": kind, "project": project, "key": key, "hours": None if hours == "24" else hours}
    chips = [
        (label, links.page("intake", **query | {name: None if query[name] == value else value}), query[name] == value)
        for name, value, label in [
            *(("kind", one, f"{WORDS[one]} {count(found.totals[one])}") for one in events.KINDS),
            *([("project", project, f"project {project}")] if project else []),
            *([("key", key, _key_name(key, names))] if key is not None else []),
        ]
    ]
    return page(
        request,
        viewer,
        "intake.html",
        title="Intake",
        nav="intake",
        totals=found.totals,
        chart=_chart(found, since, int(hours)),
        by_hour=sorted(found.hours.items(), reverse=True),
        by_key=[(number, _key_name(number, names), counter) for number, counter in by_key],
        by_project=by_project,
        others=[max(0, len(counters) - _LISTED) for counters in (found.keys, found.projects)],
        events=rows,
        stored=stored,
        reasons=why[:_LISTED],
        other_reasons=max(0, len(why) - _LISTED),
        newest=events.MOST_REASONS if found.totals["rejected"] > events.MOST_REASONS else None,
        steps=_NEXT_STEPS,
        words=WORDS,
        chips=chips,
        query=query,
        kind=kind,
        project=project,
        key=key,
        hours=hours,
        hour=events.HOUR,
        following=None if following is None else links.page("intake", cursor=cursor(following), **query),
    )


def _most(counters: Mapping[Any, Counter[str]], wanted: object) -> list[tuple[Any, Counter[str]]]:
    """Return the one that is wanted, and those of which most came."""
    return sorted(counters.items(), key=lambda one: (one[0] != wanted, -one[1].total(), str(one[0])))[:_LISTED]


def _key_name(number: int, names: Mapping[int, tuple[str, str]]) -> str:
    """Return how a key is shown: its name and the beginning of it, and never more."""
    if not number:
        return "without a key"
    name, prefix = names.get(number, (f"key {number}", ""))
    return f"{name} (jux_{prefix}…)" if prefix else name


def _chart(found: Arrivals, since: int, hours: int) -> Chart:
    first = since // events.HOUR
    nothing: Counter[str] = Counter()
    columns = [
        [(kind, found.hours.get(hour, nothing)[kind]) for kind in events.KINDS] for hour in range(first, first + hours)
    ]
    return columns_of(columns, lambda value: count(round(value)) if value == round(value) else "")
