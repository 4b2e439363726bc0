"""The only reader of JUnit XML: from the tree of a report to its summary and cases.

Real reports are messy: counts that are wrong or missing, nested suites, retries in several dialects. What is said here
is computed from the test cases alone.
"""

from __future__ import annotations

import enum
import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_jux.document import local_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxml import etree


class Outcome(enum.StrEnum):
    """How a test case ended."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    SKIPPED = "skipped"


_OUTCOMES = {"error": Outcome.ERROR, "failure": Outcome.FAILED, "skipped": Outcome.SKIPPED}
_WORST_FIRST = ("error", "failure", "skipped")
_RETRIED = frozenset({"flakyFailure", "flakyError"})
_NOT_RUN = frozenset({"notrun", "disabled", "skipped"})


@dataclass(frozen=True, slots=True)
class Case:
    """One test. `time` is in seconds; `message` and `details` are of the failure, error or skip, or ""."""

    name: str
    classname: str
    file: str
    time: float
    outcome: Outcome
    flaky: bool
    message: str
    details: str


@dataclass(frozen=True, slots=True)
class Suite:
    """One suite with the cases that are directly in it; nested suites are entries of their own, `path` says where."""

    name: str
    path: tuple[str, ...]
    time: float
    timestamp: str
    hostname: str
    properties: tuple[tuple[str, str], ...]
    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts of a report's cases; `tests` is their number, `flaky` those that passed only when tried again.

    `time` is in seconds: the sum of the outermost suites' own times, or of their contents where they state none.
    """

    tests: int
    passed: int
    failures: int
    errors: int
    skipped: int
    flaky: int
    time: float


@dataclass(frozen=True, slots=True)
class Report:
    """What a JUnit XML report says, computed from its cases and never from its attributes' counts."""

    summary: Summary
    suites: tuple[Suite, ...]

    @property
    def properties(self) -> dict[str, str]:
        """The properties of the first suite that has any; of a repeated name, the last."""
        return dict(next((suite.properties for suite in self.suites if suite.properties), ()))


def read(root: etree._Element) -> Report:
    """Return what the report under `root` (see `parse`) says."""
    suites: list[Suite] = []
    time = _read_suite(root, (), suites) if local_name(root) == "testsuite" else _read_children(root, (), suites)
    cases = [case for suite in suites for case in suite.cases]
    outcomes = Counter(case.outcome for case in cases)
    summary = Summary(
        tests=len(cases),
        passed=outcomes[Outcome.PASSED],
        failures=outcomes[Outcome.FAILED],
        errors=outcomes[Outcome.ERROR],
        skipped=outcomes[Outcome.SKIPPED],
        flaky=sum(case.flaky for case in cases),
        time=time,
    )
    return Report(summary, tuple(suites))


def parse_time(text: str | None) -> float:
    """Return seconds from a `time` attribute such as `0.12`, `3,000.457` or `0,5`; 0.0 where it is no such number."""
    number = (text or "").strip()
    if "," in number and "." not in number and not re.fullmatch(r"\d{1,3}(,\d{3})+", number):
        number = number.replace(",", ".")
    try:
        seconds = float(number.replace(",", ""))
    except ValueError:
        return 0.0
    return seconds if 0.0 <= seconds < float("inf") else 0.0


def _read_children(root: etree._Element, path: tuple[str, ...], suites: list[Suite]) -> float:
    """Read a `testsuites` element: its suites, and cases that some runners put there without one."""
    time = 0.0
    stray = [child for child in root if local_name(child) == "testcase"]
    if stray:
        time += _add_suite(root, stray, path, suites)
    for child in root:
        if local_name(child) in {"testsuite", "testsuites"}:
            time += _read_suite(child, path, suites)
    return time


def _read_suite(element: etree._Element, path: tuple[str, ...], suites: list[Suite]) -> float:
    """Append the suite and those nested in it to `suites`, outer before inner; return its time."""
    cases = [child for child in element if local_name(child) == "testcase"]
    inside = _add_suite(element, cases, path, suites)
    inner = (*path, element.get("name", ""))
    inside += sum(
        _read_suite(child, inner, suites) for child in element if local_name(child) in {"testsuite", "testsuites"}
    )
    return parse_time(element.get("time")) or inside


def _add_suite(
    element: etree._Element, elements: list[etree._Element], path: tuple[str, ...], suites: list[Suite]
) -> float:
    cases = _merge_retries([_read_case(case) for case in elements], element.get("tests", ""))
    suite = Suite(
        name=element.get("name", ""),
        path=path,
        time=parse_time(element.get("time")),
        timestamp=element.get("timestamp", ""),
        hostname=element.get("hostname", ""),
        properties=tuple(_properties(element)),
        cases=tuple(cases),
    )
    suites.append(suite)
    return sum(case.time for case in cases)


def _properties(element: etree._Element) -> Iterator[tuple[str, str]]:
    for child in element:
        if local_name(child) == "properties":
            for item in child:
                if local_name(item) == "property":
                    yield item.get("name", ""), item.get("value") or _text(item)


def _read_case(element: etree._Element) -> Case:
    found = {local_name(child): child for child in reversed(element)}
    kind = next((name for name in _WORST_FIRST if name in found), "")
    outcome = _OUTCOMES.get(kind, Outcome.PASSED)
    if not kind and _NOT_RUN & {element.get("status", "").lower(), element.get("result", "").lower()}:
        outcome = Outcome.SKIPPED
    result = found.get(kind)
    return Case(
        name=element.get("name", ""),
        classname=element.get("classname", ""),
        file=element.get("file", ""),
        time=parse_time(element.get("time")),
        outcome=outcome,
        flaky=outcome is Outcome.PASSED and not _RETRIED.isdisjoint(found),
        message="" if result is None else result.get("message", ""),
        details="" if result is None else _text(result),
    )


def _text(element: etree._Element) -> str:
    return "".join(str(part) for part in element.itertext())


def _merge_retries(cases: list[Case], declared: str) -> list[Case]:
    """Keep the last of repeated cases, where the suite's own count says that the repetitions are retries."""
    last = {(case.classname, case.name, case.file): case for case in cases}
    if len(last) == len(cases) or declared.strip() != str(len(last)):
        return cases
    times = Counter((case.classname, case.name, case.file) for case in cases)
    return [
        replace(case, flaky=True) if times[key] > 1 and case.outcome is Outcome.PASSED else case
        for key, case in last.items()
    ]
