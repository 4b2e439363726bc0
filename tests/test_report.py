"""What a report says is computed from its cases, however messy the report is."""

from __future__ import annotations

import math
from xml.etree import ElementTree as ET
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_jux.document import parse
from pytest_jux.report import Case, Outcome, Report, Suite, Summary, parse_time, read


def report(text: str) -> Report:
    return read(parse(text.encode()))


def suite(content: str, attributes: str = "") -> Report:
    return report(f"<testsuite {attributes}>{content}</testsuite>")


def only_case(content: str, attributes: str = "") -> Case:
    (one,) = suite(f'<testcase name="a" {attributes}>{content}</testcase>').suites[0].cases
    return one


# --- outcomes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "outcome"),
    [
        ("", Outcome.PASSED),
        ("<system-out>x</system-out><properties/>", Outcome.PASSED),
        ("<failure/>", Outcome.FAILED),
        ("<error/>", Outcome.ERROR),
        ("<skipped/>", Outcome.SKIPPED),
        ("<skipped/><failure/>", Outcome.FAILED),
        ("<failure/><skipped/>", Outcome.FAILED),
        ("<skipped/><failure/><error/>", Outcome.ERROR),
        ("<error/><failure/>", Outcome.ERROR),
        ("<skipped/><error/>", Outcome.ERROR),
        ('<x:failure xmlns:x="urn:x"/>', Outcome.FAILED),
        ("<Failure/>", Outcome.PASSED),
        ("<rerunFailure/><failure/>", Outcome.FAILED),
        ("<flakyFailure/>", Outcome.PASSED),
    ],
)
def test_the_worst_of_a_case_is_its_outcome(content: str, outcome: Outcome) -> None:
    assert only_case(content).outcome is outcome


@pytest.mark.parametrize("attribute", ["status", "result"])
@pytest.mark.parametrize("value", ["notrun", "NotRun", "disabled", "skipped", "SKIPPED"])
def test_a_case_that_its_attribute_calls_not_run_is_skipped(attribute: str, value: str) -> None:
    assert only_case("", f'{attribute}="{value}"').outcome is Outcome.SKIPPED


@pytest.mark.parametrize("value", ["run", "completed", "passed", "failed", ""])
def test_other_values_of_status_say_nothing(value: str) -> None:
    assert only_case("", f'status="{value}" result="{value}"').outcome is Outcome.PASSED


def test_a_failure_counts_although_the_status_says_not_run() -> None:
    assert only_case("<failure/>", 'status="notrun"').outcome is Outcome.FAILED


def test_message_and_details_are_those_of_the_outcome() -> None:
    one = only_case('<skipped message="later">s</skipped><failure message="boom">line 1\n<b>line</b> 2</failure>')
    assert (one.message, one.details) == ("boom", "line 1\nline 2")


def test_the_first_of_several_failures_gives_the_message() -> None:
    assert only_case('<failure message="one"/><failure message="two"/>').message == "one"


def test_a_passed_case_has_no_message() -> None:
    one = only_case("<system-out>text</system-out>")
    assert (one.message, one.details) == ("", "")


def test_a_failure_without_message_and_text_has_empty_ones() -> None:
    one = only_case("<failure/>")
    assert (one.message, one.details) == ("", "")


def test_a_comment_does_not_split_a_text() -> None:
    assert only_case("<failure>not <!-- x -->passed</failure>").details == "not passed"


def test_a_case_has_the_facts_of_its_attributes() -> None:
    one = only_case("", 'classname="tests.test_a" file="tests/test_a.py" time="1.5"')
    assert one == Case("a", "tests.test_a", "tests/test_a.py", 1.5, Outcome.PASSED, flaky=False, message="", details="")


def test_a_case_without_attributes_has_empty_facts() -> None:
    (one,) = suite("<testcase/>").suites[0].cases
    assert one == Case("", "", "", 0.0, Outcome.PASSED, flaky=False, message="", details="")


# --- suites and counts -----------------------------------------------------------------------------------------------


def test_counts_come_from_the_cases_and_not_from_attributes() -> None:
    found = report(
        '<testsuites tests="99" failures="99"><testsuite tests="77" errors="7" skipped="7" failures="7">'
        '<testcase name="a"/><testcase name="b"><failure/></testcase><testcase name="c"><error/></testcase>'
        '<testcase name="d"><skipped/></testcase><testcase name="e"><flakyError/></testcase></testsuite></testsuites>'
    )
    assert found.summary == Summary(tests=5, passed=2, failures=1, errors=1, skipped=1, flaky=1, time=0.0)


@pytest.mark.parametrize("text", ["<testsuites/>", "<testsuite/>", "<testsuites><testsuite/></testsuites>"])
def test_an_empty_report_counts_nothing(text: str) -> None:
    found = report(text)
    assert found.summary == Summary(tests=0, passed=0, failures=0, errors=0, skipped=0, flaky=0, time=0.0)
    assert found.properties == {}


def test_nested_suites_are_counted_once_and_know_their_path() -> None:
    found = report(
        '<testsuites name="all"><testsuite name="outer" time="9" timestamp="t" hostname="h">'
        '<testcase name="a" time="1"/>'
        '<testsuite name="inner" time="2"><testcase name="b"/><testsuite><testcase name="c"/></testsuite></testsuite>'
        '</testsuite><testsuite name="next"/></testsuites>'
    )
    assert [(one.name, one.path, len(one.cases)) for one in found.suites] == [
        ("outer", (), 1),
        ("inner", ("outer",), 1),
        ("", ("outer", "inner"), 1),
        ("next", (), 0),
    ]
    first = found.suites[0]
    assert first == Suite("outer", None, 9.0, "t", "h", (), first.cases)
    assert (found.summary.tests, found.summary.time) == (3, 9.0)


def test_the_root_suite_is_a_suite_itself() -> None:
    found = suite('<testcase name="a"/>', 'name="pytest" time="0.5"')
    assert [(one.name, one.path, one.time) for one in found.suites] == [("pytest", (), 0.5)]
    assert found.summary.time == 0.5


def test_testsuites_inside_a_suite_are_read() -> None:
    found = suite('<testsuites name="more"><testcase name="a"/></testsuites>', 'name="s"')
    assert [(one.name, one.path, len(one.cases)) for one in found.suites] == [("s", (), 0), ("more", ("s",), 1)]


def test_testsuites_inside_testsuites_are_read() -> None:
    found = report('<testsuites><testsuites name="x"><testsuite><testcase/></testsuite></testsuites></testsuites>')
    assert [(one.name, one.path, len(one.cases)) for one in found.suites] == [("x", (), 0), ("", ("x",), 1)]


def test_cases_without_a_suite_are_read_as_one_of_the_root() -> None:
    found = report('<testsuites name="bare"><testcase name="a" time="1"/><testsuite time="2"/></testsuites>')
    assert [(one.name, len(one.cases)) for one in found.suites] == [("bare", 1), ("", 0)]
    assert (found.summary.tests, found.summary.time) == (1, 3.0)


def test_a_case_inside_a_case_is_no_case() -> None:
    assert suite("<testcase><testcase/></testcase>").summary.tests == 1


def test_namespaces_make_no_difference() -> None:
    found = report('<x:testsuites xmlns:x="urn:x"><x:testsuite><testcase xmlns="urn:y"/></x:testsuite></x:testsuites>')
    assert found.summary.tests == 1


# --- times -----------------------------------------------------------------------------------------------------------


def test_a_suite_that_states_no_time_takes_as_long_as_its_contents() -> None:
    found = report(
        '<testsuites><testsuite><testcase time="1"/><testcase time="2"/>'
        '<testsuite time="4"><testcase time="100"/></testsuite><testsuite><testcase time="8"/></testsuite></testsuite>'
        "</testsuites>"
    )
    assert found.summary.time == 15.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, 0.0),
        ("", 0.0),
        ("0", 0.0),
        ("0.12", 0.12),
        (" 0.12\n", 0.12),
        ("3,000.457", 3000.457),
        ("1,234,567.5", 1234567.5),
        ("3,000", 3000.0),
        ("12,345,678", 12345678.0),
        ("0,5", 0.5),
        ("1,25", 1.25),
        ("1234,567", 1234.567),
        ("1e-3", 0.001),
        ("-1", 0.0),
        ("-0.001", 0.0),
        ("nan", 0.0),
        ("inf", 0.0),
        ("-inf", 0.0),
        ("1e999", 0.0),
        ("soon", 0.0),
        ("1.2.3", 0.0),
        ("1,2,3", 0.0),
        ("12s", 0.0),
    ],
)
def test_times_are_read_as_runners_write_them(text: str | None, seconds: float) -> None:
    assert parse_time(text) == seconds


# --- properties ------------------------------------------------------------------------------------------------------


def test_properties_are_those_of_the_first_suite_that_has_any() -> None:
    found = report(
        "<testsuites><testsuite/><testsuite><properties><property name='a' value='1'/><property name='a' value='2'/>"
        "<property name='b'>text</property><property value='3'/><other name='c' value='4'/></properties>"
        "<testcase><properties><property name='d' value='5'/></properties></testcase></testsuite>"
        "<testsuite><properties><property name='e' value='6'/></properties></testsuite></testsuites>"
    )
    assert found.properties == {"a": "2", "b": "text", "": "3"}
    assert found.suites[1].properties == (("a", "1"), ("a", "2"), ("b", "text"), ("", "3"))
    assert found.suites[2].properties == (("e", "6"),)


# --- retries ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("element", ["flakyFailure", "flakyError"])
def test_surefire_marks_what_passed_at_last_as_flaky(element: str) -> None:
    one = only_case(f'<{element} message="first"/>')
    assert (one.outcome, one.flaky) == (Outcome.PASSED, True)


@pytest.mark.parametrize("element", ["rerunFailure", "rerunError"])
def test_surefire_reruns_that_failed_again_are_one_failure(element: str) -> None:
    found = suite(f"<testcase name='a'><failure/><{element}/><{element}/></testcase>")
    assert found.summary == Summary(tests=1, passed=0, failures=1, errors=0, skipped=0, flaky=0, time=0.0)


def test_a_failed_case_is_not_flaky() -> None:
    assert only_case("<failure/><flakyFailure/>").flaky is False


_TWICE = "<testcase classname='c' name='a'><failure/></testcase><testcase classname='c' name='a'/><testcase name='b'/>"


@pytest.mark.parametrize("declared", ["2", " 2 "])
def test_repeated_cases_are_retries_where_the_suite_counts_them_once(declared: str) -> None:
    found = suite(_TWICE, f'tests="{declared}"')
    assert [(one.name, one.outcome, one.flaky) for one in found.suites[0].cases] == [
        ("a", Outcome.PASSED, True),
        ("b", Outcome.PASSED, False),
    ]
    assert found.summary == Summary(tests=2, passed=2, failures=0, errors=0, skipped=0, flaky=1, time=0.0)


@pytest.mark.parametrize("attributes", ["", 'tests="3"', 'tests="1"', 'tests="02"', 'tests="two"'])
def test_repeated_cases_are_cases_of_their_own_where_the_suite_counts_them_all(attributes: str) -> None:
    found = suite(_TWICE, attributes)
    assert (found.summary.tests, found.summary.failures, found.summary.flaky) == (3, 1, 0)


def test_a_retry_that_failed_again_is_a_failure_and_not_flaky() -> None:
    found = suite("<testcase name='a'/><testcase name='a'><failure/></testcase>", 'tests="1"')
    assert found.summary == Summary(tests=1, passed=0, failures=1, errors=0, skipped=0, flaky=0, time=0.0)


@pytest.mark.parametrize("differing", ["classname", "file"])
def test_cases_that_differ_in_more_than_the_name_are_no_retries(differing: str) -> None:
    found = suite(f"<testcase name='a' {differing}='x'/><testcase name='a' {differing}='y'/>", 'tests="1"')
    assert found.summary.tests == 2


def test_distinct_cases_stay_although_the_count_is_right() -> None:
    found = suite("<testcase name='a'/><testcase name='b'/>", 'tests="2"')
    assert (found.summary.tests, found.summary.flaky) == (2, 0)


def test_surefire_marks_survive_merging() -> None:
    found = suite("<testcase name='a'/><testcase name='a'/><testcase name='b'><flakyError/></testcase>", 'tests="2"')
    assert found.summary.flaky == 2


# --- any report, counted a second time by another library ------------------------------------------------------------

_NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=5).map(
    lambda text: "".join(character for character in text if character not in "\ufffe\uffff")
)
_CONTENTS = st.lists(
    st.sampled_from(["<failure/>", "<error/>", "<skipped/>", "<flakyFailure/>", "<system-out>x</system-out>"]),
    max_size=3,
)
_CASES = st.builds(
    lambda name, time, contents: f'<testcase name={quoteattr(name)} time="{time}">{"".join(contents)}</testcase>',
    _NAMES,
    st.integers(0, 1000),
    _CONTENTS,
)


def _suites(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(
        lambda name, parts: f"<testsuite name={quoteattr(name)}>{''.join(parts)}</testsuite>",
        _NAMES,
        st.lists(st.one_of(_CASES, children), max_size=5),
    )


_SUITES = st.recursive(_suites(_CASES), _suites, max_leaves=6)


def count_again(text: str) -> dict[str, float]:
    root = ET.fromstring(text)  # noqa: S314 - made above
    cases = list(root.iter("testcase"))
    worst = [
        next((kind for kind in ("error", "failure", "skipped") if one.find(kind) is not None), "") for one in cases
    ]
    flaky = sum(not kind and one.find("flakyFailure") is not None for kind, one in zip(worst, cases, strict=True))
    return {
        "tests": len(cases),
        "passed": worst.count(""),
        "failures": worst.count("failure"),
        "errors": worst.count("error"),
        "skipped": worst.count("skipped"),
        "flaky": flaky,
        "time": sum(float(one.get("time", "0")) for one in cases),
    }


@given(st.lists(_SUITES, max_size=3))
def test_any_report_is_counted_like_a_second_implementation_counts_it(suites: list[str]) -> None:
    text = f"<testsuites>{''.join(suites)}</testsuites>"
    found = report(text)
    summary = {name: getattr(found.summary, name) for name in Summary.__slots__}
    assert summary == count_again(text)
    assert len(found.suites) == text.count("<testsuite ")


@given(st.floats(0, 1e9, allow_nan=False))
def test_times_are_read_back(seconds: float) -> None:
    assert math.isclose(parse_time(f"{seconds:,.6f}"), seconds, abs_tol=1e-6)
