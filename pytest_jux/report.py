"""The only reader of JUnit XML: from the tree of a report to its summary and cases.

Real reports are messy: counts that are wrong or missing, nested suites, retries in several dialects. What is said here
is computed from the test cases alone.
"""

from __future__ import annotations

import enum
import re
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from pytest_jux.document import local_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from lxml import etree


class Outcome(enum.StrEnum):
    """How a test case ended."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    SKIPPED = "skipped"


_OUTCOMES = {"error": Outcome.ERROR, "failure": Outcome.FAILED, "skipped": Outcome.SKIPPED}
_PASSED = Outcome.PASSED
_WORST_FIRST = ("error", "failure", "skipped")
_RETRIED = frozenset({"flakyFailure", "flakyError"})
_LONGEST_TIME = 40  # characters
_FOREVER = float("inf")
_NOT_RUN = frozenset({"notrun", "disabled", "skipped"})


class Case(NamedTuple):  # a report may have very many, and a frozen dataclass takes three times as long to make
    """One test. `time` is in seconds; `message`, `details` and `type` are of the failure, error or skip, or ""."""

    name: str
    classname: str
    file: str
    time: float
    outcome: Outcome
    flaky: bool
    message: str
    details: str
    type: str = ""


@dataclass(frozen=True, slots=True)
class Suite:
    """One suite with the cases that are directly in it; nested suites are entries of their own, with their `parent`."""

    name: str
    parent: Suite | None = field(repr=False)
    time: float
    timestamp: str
    hostname: str
    properties: tuple[tuple[str, str], ...]
    cases: tuple[Case, ...]

    @property
    def path(self) -> tuple[str, ...]:
        """The names of the suites that this one is in, outermost first."""
        names: list[str] = []
        suite = self.parent
        while suite is not None:
            names.append(suite.name)
            suite = suite.parent
        return tuple(reversed(names))


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

    def to_dict(self) -> dict[str, int | float]:
        """Return the counts as JSON values, the time rounded to microseconds."""
        return {**asdict(self), "time": round(self.time, 6)}


@dataclass(frozen=True, slots=True)
class Report:
    """What a JUnit XML report says, computed from its cases and never from its attributes' counts."""

    summary: Summary
    suites: tuple[Suite, ...]

    @property
    def properties(self) -> dict[str, str]:
        """The properties of the first suite that has any; of a repeated name, the last."""
        return dict(next((suite.properties for suite in self.suites if suite.properties), ()))


def properties_of(root: etree._Element) -> dict[str, str]:
    """Return `read(root).properties`, without reading the cases."""
    suites = (
        dict(_properties(suite.iterchildren("{*}properties"))) for suite in root.iter("{*}testsuite", "{*}testsuites")
    )
    return next((found for found in suites if found), {})


def read(root: etree._Element) -> Report:
    """Return what the report under `root` (see `parse`) says."""
    suites, time = _read_suites(root)
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
    if text is None:
        return 0.0
    try:
        seconds = float(text if len(text) <= _LONGEST_TIME else text[:_LONGEST_TIME])
    except ValueError:
        seconds = _time_with_commas(text[:_LONGEST_TIME].strip())
    return seconds if 0.0 <= seconds < _FOREVER else 0.0


def _time_with_commas(number: str) -> float:
    if "," in number and "." not in number and not re.fullmatch(r"\d{1,3}(,\d{3})+", number):
        number = number.replace(",", ".")
    try:
        return float(number.replace(",", ""))
    except ValueError:
        return 0.0


def _read_suites(root: etree._Element) -> tuple[list[Suite], float]:
    """Return all suites, outer before inner, and the time of the outermost; nested as deep as a parser allows."""
    suites: list[Suite] = []
    times: list[float] = []  # of each suite: its own, or that of its contents
    parents: list[int] = []
    waiting: list[tuple[etree._Element, int]] = [(root, -1)]
    while waiting:
        element, parent = waiting.pop()
        children = _children(element)
        inner = [*children["testsuite"], *children["testsuites"]]
        if children["testsuite"] and children["testsuites"]:  # as they stand in the report
            inner = [child for child in element if local_name(child) in {"testsuite", "testsuites"}]
        suite = _read_suite(element, children, suites[parent] if parent >= 0 else None)
        is_collection = element is root and local_name(root) == "testsuites"
        if not is_collection or suite.cases:  # some runners put cases there without a suite
            parents.append(-1 if is_collection else parent)
            suites.append(suite)
            times.append(0.0 if is_collection else suite.time)
        waiting += [(child, -1 if is_collection else len(suites) - 1) for child in reversed(inner)]
    total = 0.0
    inside = [sum(case.time for case in suite.cases) for suite in suites]
    for index in reversed(range(len(suites))):
        times[index] = times[index] or inside[index]
        if parents[index] < 0:
            total += times[index]
        else:
            inside[parents[index]] += times[index]
    complete: list[Suite] = []
    for suite, outer, time in zip(suites, parents, times, strict=True):
        complete.append(replace(suite, time=time, parent=complete[outer] if outer >= 0 else None))
    return complete, total


def _children(element: etree._Element) -> defaultdict[str, list[etree._Element]]:
    """Return the children of an element by their local names."""
    found: defaultdict[str, list[etree._Element]] = defaultdict(list)
    for child in element:
        tag: object = child.tag
        found[tag if isinstance(tag, str) and "}" not in tag else local_name(child)].append(child)
    return found


def _read_suite(
    element: etree._Element, children: Mapping[str, Sequence[etree._Element]], parent: Suite | None
) -> Suite:
    elements = children["testcase"]
    declared = element.get("tests", "").strip()
    if declared != str(len(elements)):
        finished = [child for child in elements if not _is_unfinished(child)]
        if declared == str(len(finished)):
            elements = finished
    return Suite(
        name=element.get("name", ""),
        parent=parent,
        time=parse_time(element.get("time")),
        timestamp=element.get("timestamp", ""),
        hostname=element.get("hostname", ""),
        properties=tuple(_properties(children["properties"])),
        cases=tuple(_merge_retries([_read_case(case) for case in elements], declared)),
    )


def _is_unfinished(element: etree._Element) -> bool:
    """Tell a test that pytest was interrupted in: it writes a case with nothing but a time, which it does not count."""
    return len(element) == 0 and list(element.attrib) == ["time"]


def _properties(groups: Iterable[etree._Element]) -> Iterator[tuple[str, str]]:
    for group in groups:
        for item in group:
            if local_name(item) == "property":
                yield item.get("name", ""), item.get("value") or _text(item)


def _read_case(element: etree._Element) -> Case:
    get = element.get
    if not len(element) and get("status") is None and get("result") is None:  # most cases say nothing but these
        said = (get("name", ""), get("classname", ""), get("file", ""), parse_time(get("time")))
        return tuple.__new__(Case, (*said, _PASSED, False, "", "", ""))  # as Case(...), in half the time
    found = {local_name(child): child for child in reversed(element)}
    kind = next((name for name in _WORST_FIRST if name in found), "")
    outcome = _OUTCOMES.get(kind, Outcome.PASSED)
    if not kind and _NOT_RUN & {get("status", "").lower(), get("result", "").lower()}:
        outcome = Outcome.SKIPPED
    result = found.get(kind)
    return Case(
        name=get("name", ""),
        classname=get("classname", ""),
        file=get("file", ""),
        time=parse_time(get("time")),
        outcome=outcome,
        flaky=outcome is Outcome.PASSED and not _RETRIED.isdisjoint(found),
        message="" if result is None else result.get("message", ""),
        details="" if result is None else _text(result),
        type="" if result is None else result.get("type", ""),
    )


def _text(element: etree._Element) -> str:
    return "".join(str(part) for part in element.itertext())


def _merge_retries(cases: list[Case], declared: str) -> list[Case]:
    """Keep the last of repeated cases, where the suite's own count says that the repetitions are retries."""
    if declared == str(len(cases)):
        return cases
    last = {(case.classname, case.name, case.file): case for case in cases}
    if len(last) == len(cases) or declared != str(len(last)):
        return cases
    times = Counter((case.classname, case.name, case.file) for case in cases)
    return [
        case._replace(flaky=True) if times[key] > 1 and case.outcome is Outcome.PASSED else case
        for key, case in last.items()
    ]
