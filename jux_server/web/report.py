"""A run: what went wrong, all that was tested, and the evidence that it is what its signer signed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from jux_server.api.access import database_of
from jux_server.api.parameters import Report, Search, Text
from jux_server.api.problems import bad_parameter, not_found
from jux_server.api.reading import run_named
from jux_server.store.queries import failures, runs
from jux_server.store.queries.cases import list_cases
from jux_server.store.queries.compare import KINDS, OTHERWISE, compare_runs
from jux_server.store.queries.names import names_of
from jux_server.store.queries.overview import newest_runs
from jux_server.store.schema import Result, State
from jux_server.web.access import Sees, Viewer, project_meant
from jux_server.web.ansi import coloured
from jux_server.web.evidence import Evidence, evidence_of, first_bytes
from jux_server.web.links import links_of
from jux_server.web.rendering import page

if TYPE_CHECKING:
    import sqlalchemy as sa

router = APIRouter()

_FAILURES = 25  # on a page
_CASES = 100
_CAUSES = 50
_SLOWEST = 50
_SUITES = 200
_LONGEST_LINE = 300  # characters of a message, as in report_failures.html
_COMPARED = 40  # tests of each kind
_XML_SHOWN = 40_000  # bytes

Start = Annotated[int, Query(ge=0, le=10_000_000)]
Status = Literal["passed", "failed", "error", "skipped", "flaky"]
_OUTCOMES: dict[str, tuple[Result, ...]] = {
    "passed": (Result.PASSED, Result.FLAKY),
    "failed": (Result.FAILED,),
    "error": (Result.ERROR,),
    "skipped": (Result.SKIPPED,),
    "flaky": (Result.FLAKY,),
}


class Opened(NamedTuple):
    """A run that a viewer looks at, and what the heading of all its tabs shows."""

    viewer: Viewer
    run: sa.Row[Any]
    project: str
    facts: dict[str, Any]
    tags: list[str]
    evidence: Evidence
    number: int  # how many runs of its branch came before it, at most those that are looked at
    previous: sa.Row[Any] | None


def _open(request: Request, connection: sa.Connection, viewer: Viewer, report: str) -> Opened:
    row, project = run_named(connection, viewer.caller, report, project_meant(request))
    before = newest_runs(connection, row.project_id, row.branch, 2, upto=row.id)
    return Opened(
        viewer,
        row,
        project,
        json.loads(row.facts),
        runs.tags_of(connection, [row.id]).get(row.id, []),
        evidence_of(request, connection, row),
        len(before),
        before[1] if len(before) > 1 else None,
    )


def _tab(request: Request, opened: Opened, tab: str, template: str, title: str, **values: Any) -> Response:  # noqa: ANN401 - the template's
    build_url = _said(opened.facts, "ci", "build_url")
    return page(
        request,
        opened.viewer,
        template,
        title=title,
        nav="projects",
        tab=tab,
        run=opened.run,
        project=opened.project,
        tags=opened.tags,
        evidence=opened.evidence,
        previous=opened.previous,
        build_url=build_url if build_url.startswith(("https://", "http://")) else "",
        **values,
    )


def _said(facts: dict[str, Any], group: str, name: str) -> str:
    """Return what the report says of itself, else what its sender says, else ""."""
    for whose in ("report", "sender"):
        values = facts.get(whose, {}).get(group)
        if isinstance(values, dict) and isinstance(values.get(name), str):
            return str(values[name])
    return ""


@router.get("/reports/{report}", include_in_schema=False)
def failures_tab(request: Request, sees: Sees, report: Report, start: Start = 0) -> Response:
    """Show what went wrong in a run."""
    viewer = sees.require("read")
    with database_of(request).read() as connection:
        opened = _open(request, connection, viewer, report)
        row = opened.run
        cases = failures.list_failures(connection, row.id, start=start, limit=_FAILURES)
        window = newest_runs(connection, row.project_id, row.branch, upto=row.id) if cases else []
        pasts = failures.pasts_of(connection, sorted({case.test_id for case in cases}), [one.id for one in window])
    bad = row.failures + row.errors + row.flaky
    return _tab(
        request,
        opened,
        "",
        "report_failures.html",
        "Failures",
        cases=cases,
        pasts=pasts,
        window=window,
        start=start,
        bad=bad,
        following=start + _FAILURES if bad > start + _FAILURES else None,
    )


@router.get("/reports/{report}/cases/{position}", include_in_schema=False)
def case_page(
    request: Request, sees: Sees, report: Report, position: Annotated[int, Path(ge=0, le=100_000_000)]
) -> Response:
    """Show one case of a run with all that was said of it; only that, to the page of the failures."""
    viewer = sees.require("read")
    with database_of(request).read() as connection:
        opened = _open(request, connection, viewer, report)
        if position >= opened.run.tests:
            raise not_found("case in this report:", str(position))
        cases, _ = list_cases(connection, opened.run.id, positions=range(position, position + 1), limit=1)
    is_part = "hx-request" in request.headers
    values: dict[str, Any] = {
        "case": cases[0],
        "message": coloured(cases[0].message),
        "details": coloured(cases[0].details),
        "is_told": is_part and _is_whole_on_one_line(cases[0].message),
    }
    if is_part:
        return page(request, viewer, "case_details.html", **values)
    return _tab(request, opened, "case", "report_case.html", cases[0].name[:100], **values)


def _is_whole_on_one_line(message: str) -> bool:
    """Tell whether the line that is opened for a trace says all of a message."""
    return len(message) <= _LONGEST_LINE and "#x1B" not in message and " ".join(message.split()).isprintable()


@router.get("/reports/{report}/tests", include_in_schema=False)
def all_tests_tab(
    request: Request,
    sees: Sees,
    report: Report,
    status: Annotated[Status | None, Query()] = None,
    q: Search = None,
    suite: Annotated[UUID | None, Query()] = None,
    start: Start = 0,
) -> Response:
    """Show the cases of a run, suite by suite."""
    viewer = sees.require("read")
    with database_of(request).read() as connection:
        opened = _open(request, connection, viewer, report)
        row = opened.run
        chosen = None if suite is None else runs.suite_of(connection, row.id, suite)
        if suite is not None and chosen is None:
            raise not_found("suite in this report:", str(suite))
        inner = runs.suites_in(connection, row.id, None if chosen is None else chosen.position, limit=_SUITES + 1)
        if chosen is None and len(inner) == 1:  # pytest's reports have one suite, which needs no choice
            inner = runs.suites_in(connection, row.id, inner[0].position, limit=_SUITES + 1)
        shown = {one.position for one in inner} | ({chosen.position} if chosen else set())
        wholes = runs.wholes_of(connection, row.id, shown) if shown else {}
        cases, following = list_cases(
            connection,
            row.id,
            outcomes=() if status is None else _OUTCOMES[status],
            text=q or "",
            positions=None if chosen is None else range(chosen.first, chosen.first + wholes[chosen.position].tests),
            start=start,
            limit=_CASES,
        )
    links = links_of(request)
    kept = {"q": q, "suite": suite}
    chips = [
        (label, links.run(row.public_id, "tests", status=None if status == name else name, **kept), status == name)
        for name, label in _chips(row)
    ]
    query = {**kept, "status": status}
    return _tab(
        request,
        opened,
        "tests",
        "report_tests.html",
        "All tests",
        cases=cases,
        chips=chips,
        suites=inner[:_SUITES],
        wholes=wholes,
        more_suites=len(inner) > _SUITES,
        suite=chosen,
        result=status,
        q=q or "",
        following=None if following is None else links.run(row.public_id, "tests", start=following, **query),
    )


def _chips(run: sa.Row[Any]) -> list[tuple[str, str]]:
    passed = run.tests - run.failures - run.errors - run.skipped
    counts = {
        "passed": passed,
        "failed": run.failures,
        "error": run.errors,
        "skipped": run.skipped,
        "flaky": run.flaky,
    }
    return [(name, f"{name} {number}") for name, number in counts.items() if number]


@router.get("/reports/{report}/errors", include_in_schema=False)
def errors_tab(request: Request, sees: Sees, report: Report, start: Start = 0) -> Response:
    """Show what the failures of a run have in common."""
    viewer = sees.require("read")
    with database_of(request).read() as connection:
        opened = _open(request, connection, viewer, report)
        causes, following = failures.unique_errors(connection, opened.run.id, start=start, limit=_CAUSES)
    return _tab(request, opened, "errors", "report_errors.html", "Unique errors", causes=causes, following=following)


@router.get("/reports/{report}/slowest", include_in_schema=False)
def slowest_tab(request: Request, sees: Sees, report: Report) -> Response:
    """Show the cases of a run that took longest."""
    viewer = sees.require("read")
    with database_of(request).read() as connection:
        opened = _open(request, connection, viewer, report)
        cases, _ = list_cases(connection, opened.run.id, by_duration=True, limit=_SLOWEST)
    longest = max((case.duration for case in cases), default=0)
    return _tab(request, opened, "slowest", "report_slowest.html", "Slowest tests", cases=cases, longest=longest)


@router.get("/reports/{report}/compare", include_in_schema=False)
def compare_tab(
    request: Request,
    sees: Sees,
    report: Report,
    with_: Annotated[str, Query(alias="with", max_length=80), Text] = "",
) -> Response:
    """Show what changed since the run before on the same branch, or since any other run of the project."""
    viewer = sees.require("read")
    with database_of(request).read() as connection:
        opened = _open(request, connection, viewer, report)
        base = opened.previous
        if with_.strip():
            base, other = run_named(connection, viewer.caller, with_.strip(), opened.project)
            if other != opened.project:
                raise bad_parameter("with", "it is a run of another project")
        recent = newest_runs(connection, opened.run.project_id, opened.run.branch)
        changes = None if base is None else compare_runs(connection, base.id, opened.run.id)
        listed = {} if changes is None else {kind: changes[kind][:_COMPARED] for kind in (*KINDS, OTHERWISE)}
        names = names_of(connection, {change.test_id for kind in listed.values() for change in kind})
    return _tab(
        request,
        opened,
        "compare",
        "report_compare.html",
        "Compare",
        base=base,
        recent=[one for one in recent if one.id != opened.run.id],
        listed=listed,
        totals={} if changes is None else {kind: len(changes[kind]) for kind in (*KINDS, OTHERWISE)},
        names=names,
    )


@router.get("/reports/{report}/properties", include_in_schema=False)
def properties_tab(request: Request, sees: Sees, report: Report) -> Response:
    """Show what the report says of its run, and what its sender says, which no signature covers."""
    viewer = sees.require("read")
    with database_of(request).read() as connection:
        opened = _open(request, connection, viewer, report)
        suites = runs.suites_in(connection, opened.run.id, None, limit=20)
    is_signed = opened.run.state >= State.INTACT
    of_report = _flat(opened.facts.get("report", {}))
    said = [
        (f"Of the report{', covered by its signature' if is_signed else ''}", of_report),
        ("Of the sender, not covered by any signature", _flat(opened.facts.get("sender", {}))),
    ]
    for suite in suites:  # what stands above is not said again
        pairs = [(name, value) for name, value in json.loads(suite.properties or "[]")]
        others = [(name, value) for name, value in pairs if (name.replace(":", "."), value) not in of_report]
        said.append((f"{'More properties' if others != pairs else 'Properties'} of the suite {suite.name}", others))
    return _tab(request, opened, "properties", "report_properties.html", "Properties", said=said)


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return nested values as pairs of a name with dots in it and a text."""
    found: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            found += _flat(value, f"{prefix}{name}.")
        else:
            found.append((prefix + name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)))
    return found


@router.get("/reports/{report}/xml", include_in_schema=False)
def xml_tab(request: Request, sees: Sees, report: Report) -> Response:
    """Show the beginning of the report as it was received."""
    viewer = sees.require("read")
    with database_of(request).read() as connection:
        opened = _open(request, connection, viewer, report)
        document = opened.evidence.document
        data = first_bytes(runs.content_of(connection, document.id), _XML_SHOWN)
    return _tab(
        request,
        opened,
        "xml",
        "report_xml.html",
        "Raw XML",
        text=data.decode("utf-8", "replace"),
        is_all=len(data) >= document.size,
    )
