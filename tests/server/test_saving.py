"""From a report to rows and back: what is stored, once, whole, in one transaction."""

from __future__ import annotations

import hashlib
import json
import threading
import zlib

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from jux_server.store import results, schema
from jux_server.store.compression import compressed
from jux_server.store.saving import (
    NewDocument,
    NewRun,
    Seal,
    TestNumbers,
    contents_of,
    kind_of,
    microseconds,
    pack,
    save,
    shortened,
    unpack,
)
from jux_server.store.saving import test_key as key_of
from jux_server.store.schema import Result, State, Verdict
from pytest_jux.document import parse
from pytest_jux.report import read


def report(text):
    return read(parse(text.encode()))


def suite(*cases, name="s", inner="", **properties):
    said = "".join(f'<property name="{key}" value="{value}"/>' for key, value in properties.items())
    return f'<testsuite name="{name}"><properties>{said}</properties>{"".join(cases)}{inner}</testsuite>'


def case(name, body="", **attributes):
    said = "".join(f' {key}="{value}"' for key, value in {"classname": "c", **attributes}.items())
    return f'<testcase name="{name}"{said}>{body}</testcase>'


FAILURE = '<failure message="assert 1 == 2" type="AssertionError">trace</failure>'
STATES = {"broken": State.BROKEN, "unsigned": State.UNSIGNED, "intact": State.INTACT, "trusted": State.TRUSTED}


def new(text, state="unsigned", project="shop", at=1_000):
    data = text.encode()
    seal = Seal(STATES[state], signer=state)
    document = NewDocument(len(data), pack(data), at, seal)
    return NewRun(project, hashlib.sha256(data).digest(), document, contents_of(report(text)), {})


def stored(database, text, numbers=None, **options):
    with database.write() as connection:
        saved = save(connection, new(text, **options), numbers)
    if numbers and saved.learned:
        numbers.learn(saved.learned)
    return saved


def rows(database, table):
    with database.read() as connection:
        return connection.execute(sa.select(table)).all()


def cases_of(database, run_id):
    """Return what is stored of each case: class name, name, outcome and duration, in the order of the report."""
    with database.read() as connection:
        found = results.results_of_run(connection, run_id)
        tests = {row.id: row for row in connection.execute(sa.select(schema.test))}
    return [
        (tests[number].classname, tests[number].name, Result(outcome).name.lower(), duration)
        for number, outcome, duration in zip(*found, strict=True)
    ]


# --- what a report comes to ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (suite(case("a")), Verdict.PASSED),
        (suite(), Verdict.PASSED),
        (suite(case("a"), case("b", FAILURE)), Verdict.FAILED),
        (suite(case("a", "<error/>")), Verdict.ERROR),
        (suite(case("a", "<error/>"), case("b", FAILURE)), Verdict.FAILED),
        (suite(case("a"), **{"jux:pytest_exit_status": "0"}), Verdict.PASSED),
        (suite(case("a"), **{"jux:pytest_exit_status": "1"}), Verdict.FAILED),
        (suite(case("a"), **{"jux:pytest_exit_status": "2"}), Verdict.ERROR),
        (suite(case("a", FAILURE), **{"jux:pytest_exit_status": "3"}), Verdict.FAILED),
        (suite(**{"jux:pytest_exit_status": "5"}), Verdict.PASSED),
    ],
)
def test_verdict_is_that_of_the_worst(text, verdict):
    assert contents_of(report(text)).verdict is verdict


def test_nested_suites_know_their_parents_and_their_cases():
    inner = suite(case("b"), case("c", FAILURE), name="inner")
    found = contents_of(report(suite(case("a"), name="outer", inner=inner + suite(case("d"), name="last")))).suites
    assert [(row["name"], row["parent"], row["first"], row["tests"], row["failures"]) for row in found] == [
        ("outer", None, 0, 1, 0),
        ("inner", 0, 1, 2, 1),
        ("last", 0, 3, 1, 0),
    ]


def test_only_cases_of_which_something_was_said_are_problems():
    cases = [
        case("passed"),
        case("skipped", "<skipped/>"),
        case("why", '<skipped message="not today"/>'),
        case("failed", "<failure/>"),
        case("flaky", '<flakyFailure message="once"/>'),
    ]
    found = contents_of(report(suite(*cases))).problems
    assert [(row["position"], Result(row["outcome"]).name) for row in found] == [
        (2, "SKIPPED"),
        (3, "FAILED"),
        (4, "FLAKY"),
    ]


def test_failures_that_differ_in_numbers_and_addresses_are_of_one_kind():
    first = kind_of("E", "object at 0x7f00 took 1.5 s for 8f00829a-935a-4425-82d5-f88174c7d506\ntrace")
    assert first == kind_of("E", "object at 0xabcdef took 22 s for 00000000-935a-4425-82d5-f88174c7d506\nother trace")
    assert first != kind_of("F", "object at 0x7f00 took 1.5 s for 8f00829a-935a-4425-82d5-f88174c7d506")
    assert first != kind_of("E", "another object")


def test_key_of_a_test_does_not_mix_up_its_parts():
    assert key_of("ab", "c") != key_of("a", "bc")
    assert len(key_of("a", "b")) == 16


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.0, 0), (0.0000004, 0), (1.5, 1_500_000), (1e18, 10**16), (1e308, 10**16), (float("inf"), 10**16)],
)
def test_duration_is_whole_microseconds_and_fits(seconds, expected):
    assert microseconds(seconds) == expected


@given(st.text(max_size=30), st.integers(1, 30))
def test_shortened_text_can_be_stored(text, longest):
    short = shortened(text, longest)
    assert len(short) <= longest
    assert "\0" not in short
    assert short.encode().decode() == short
    if len(text) <= longest and "\0" not in text and text.isascii():
        assert short == text


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30))
def test_text_that_fits_is_kept_as_it_is(text):
    assert shortened(text, 30) == text


@given(st.binary(max_size=2000))
def test_packed_bytes_come_back(data):
    assert unpack(pack(data)) == data


# --- into the database -----------------------------------------------------------------------------------------------


def test_stored_cases_come_back_in_their_order(database):
    text = suite(
        case("a", time="1.5"), case("b", FAILURE), case("a", "<skipped/>", time="0.000001"), case("e", "<error/>")
    )
    saved = stored(database, text)
    assert cases_of(database, saved.run_id) == [
        ("c", "a", "passed", 1_500_000),
        ("c", "b", "failed", 0),
        ("c", "a", "skipped", 1),
        ("c", "e", "error", 0),
    ]


def test_texts_of_a_failure_come_back(database):
    saved = stored(database, suite(case("a"), case("b", FAILURE)))
    (row,) = rows(database, schema.problem)
    assert (row.run_id, row.position, row.type, row.message) == (saved.run_id, 1, "AssertionError", "assert 1 == 2")
    assert zlib.decompress(row.details).decode() == "trace"
    assert not row.is_shortened


def test_test_without_a_class_is_known_by_its_file(database):
    saved = stored(
        database, suite(case("a", classname="", file="tests/a.py"), case("a", classname="", file="tests/b.py"))
    )
    assert [found[:2] for found in cases_of(database, saved.run_id)] == [("tests/a.py", "a"), ("tests/b.py", "a")]


def test_tests_are_named_once_for_all_runs_of_a_project(database):
    for time in ("1", "2"):
        stored(database, suite(case("a", time=time), case("b")))
    stored(database, suite(case("a")), project="other")
    assert len(rows(database, schema.test)) == 3


def test_names_that_differ_only_where_they_are_shortened_are_different_tests(database):
    start = "n" * 3_000
    saved = stored(database, suite(case(start + "1"), case(start + "2", FAILURE), case(start + "1")))
    first, second, third = rows_of_run(database, saved.run_id)
    assert first == third != second
    assert {len(row.name) for row in rows(database, schema.test)} == {schema.LONGEST_NAME}


def rows_of_run(database, run_id):
    with database.read() as connection:
        return results.results_of_run(connection, run_id).test_ids


def test_texts_of_megabytes_are_stored_shortened(database):
    long = "x" * 1_000_000
    text = suite(case(long, f'<failure message="{long}" type="{long}">{long}</failure>', classname=long), name=long)
    saved = stored(database, text)
    (problem,) = rows(database, schema.problem)
    assert (len(problem.message), len(problem.type), problem.is_shortened) == (4_000, 2_000, True)
    assert len(zlib.decompress(problem.details)) == schema.LONGEST_DETAILS
    assert [len(row.name) for row in rows(database, schema.suite)] == [schema.LONGEST_NAME]
    assert len(cases_of(database, saved.run_id)) == 1


def test_properties_of_a_suite_are_stored_in_their_order(database):
    stored(database, suite(case("a"), b="1", a="2"))
    (row,) = rows(database, schema.suite)
    assert json.loads(row.properties) == [["b", "1"], ["a", "2"]]


def test_properties_of_a_suite_are_bounded(database):
    stored(database, suite(case("a"), **{f"p{number}": "v" * 5_000 for number in range(2_000)}))
    (row,) = rows(database, schema.suite)
    assert len(row.properties) < 3_000_000


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 20_001])
def test_report_of_any_size_comes_back_whole(database, count):
    saved = stored(database, suite(*(case(f"t{number}", time=str(number)) for number in range(count))))
    found = cases_of(database, saved.run_id)
    assert [(name, duration) for _, name, _, duration in found] == [
        (f"t{number}", number * 1_000_000) for number in range(count)
    ]


def test_many_cases_of_one_test_come_back_whole(database):
    saved = stored(database, suite(*(case("same", time=str(number)) for number in range(1_000))))
    assert [found[3] for found in cases_of(database, saved.run_id)] == [number * 1_000_000 for number in range(1_000)]
    assert len(rows(database, schema.test)) == 1


@given(
    st.lists(
        st.tuples(st.integers(1, 2_000), st.sampled_from([int(one) for one in Result]), st.integers(0, 10**16)),
        max_size=600,
    )
)
def test_packed_results_come_back(entries):
    ids, outcomes, durations = ([entry[column] for entry in entries] for column in range(3))
    found = {}
    for number, content in results.pack(ids, outcomes, durations):
        block = results.unpack(content)
        for offset, outcome, position, duration in zip(*block, strict=True):
            found[position] = (number * results.BLOCK + offset, outcome, duration)
    assert [found[position] for position in range(len(entries))] == entries


# --- once ------------------------------------------------------------------------------------------------------------


def test_same_report_again_is_the_same_run(database):
    first, second = (stored(database, suite(case("a"))) for _ in range(2))
    assert (first.is_new, second.is_new, second.is_better) == (True, False, False)
    assert (first.run_id, first.public_id) == (second.run_id, second.public_id)
    assert len(rows(database, schema.document)) == 1


def test_other_project_has_its_own_run_of_the_same_report(database):
    first, second = stored(database, suite(case("a"))), stored(database, suite(case("a")), project="other")
    assert first.is_new
    assert second.is_new
    assert first.public_id != second.public_id


@pytest.mark.parametrize("order", [["broken", "unsigned", "intact", "trusted"], ["unsigned", "trusted"]])
def test_each_better_signature_is_added(database, order):
    found = [stored(database, suite(case("a")), state=state) for state in order]
    assert [saved.is_better for saved in found[1:]] == [True] * (len(order) - 1)
    (run,) = rows(database, schema.run)
    assert (State(run.state).word, run.signer) == ("trusted", "trusted")
    assert [State(row.state).word for row in rows(database, schema.document)] == order


@pytest.mark.parametrize("state", ["trusted", "intact", "unsigned", "broken"])
def test_signature_that_is_not_better_is_not_added(database, state):
    stored(database, suite(case("a")), state="trusted")
    assert not stored(database, suite(case("a")), state=state).is_better
    (run,) = rows(database, schema.run)
    assert (State(run.state), run.signer) == (State.TRUSTED, "trusted")
    assert len(rows(database, schema.document)) == 1


def test_transaction_that_fails_leaves_nothing_of_a_report(database):
    def fail():
        with database.write() as connection:
            save(connection, new(suite(case("a"), case("b", FAILURE), tags="x")))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    for table in schema.metadata.tables.values():
        assert rows(database, table) == [], table.name


def test_report_whose_first_transaction_fails_is_stored_by_the_second(database):
    """The second transaction waits for the first, which has the same row and then does not keep it."""
    is_saved, may_fail, outcome = threading.Event(), threading.Event(), []

    def first():
        with database.write() as connection:
            save(connection, new(suite(case("a"))))
            is_saved.set()
            may_fail.wait(30)
            raise ZeroDivisionError

    def fail():
        with pytest.raises(ZeroDivisionError):
            first()

    def second():
        outcome.append(stored(database, suite(case("a"))))

    threads = [threading.Thread(target=fail), threading.Thread(target=second)]
    threads[0].start()
    assert is_saved.wait(30)
    threads[1].start()
    threading.Timer(0.2, may_fail.set).start()
    for thread in threads:
        thread.join()
    assert outcome[0].is_new
    assert len(rows(database, schema.run)) == 1
    assert len(rows(database, schema.document)) == 1


# --- numbers that are remembered -------------------------------------------------------------------------------------


def test_remembered_numbers_are_the_right_ones(database):
    numbers = TestNumbers()
    for time in range(3):
        saved = stored(database, suite(case("a", time=str(time)), case("b"), case(f"new{time}")), numbers)
        assert [name for _, name, *_ in cases_of(database, saved.run_id)] == ["a", "b", f"new{time}"]
    assert numbers.known(1, 0).keys() == {("c", name) for name in ("a", "b", "new0", "new1", "new2")}


def test_numbers_are_forgotten_when_tests_were_deleted(database):
    numbers = TestNumbers()
    stored(database, suite(case("a"), case("b")), numbers)
    with database.write() as connection:
        for table in (schema.results, schema.suite, schema.document, schema.run, schema.test):
            connection.execute(sa.delete(table))
        connection.execute(sa.update(schema.project).values(generation=schema.project.c.generation + 1))
    stored(database, suite(case("other")), numbers)  # takes a number that was free
    saved = stored(database, suite(case("b"), case("a")), numbers)
    assert [name for _, name, *_ in cases_of(database, saved.run_id)] == ["b", "a"]


def test_numbers_of_a_transaction_that_failed_are_not_remembered(database):
    numbers = TestNumbers()

    def fail():
        with database.write() as connection:
            save(connection, new(suite(case("a"))), numbers)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    stored(database, suite(case("b")), numbers)
    saved = stored(database, suite(case("a"), case("b")), numbers)
    assert [name for _, name, *_ in cases_of(database, saved.run_id)] == ["a", "b"]


def test_what_was_learned_late_does_not_hide_what_is_newer():
    numbers = TestNumbers()
    numbers.learn(learned(generation=2, a=2))
    numbers.learn(learned(generation=1, a=1, b=1))
    assert numbers.known(1, 2) == {("c", "a"): 2}
    assert numbers.known(1, 1) == {}


def test_remembered_numbers_are_bounded():
    numbers = TestNumbers()
    for start in range(0, 1_000_000, 50_000):
        numbers.learn(learned(**{f"t{number}": number for number in range(start, start + 50_000)}))
        assert len(numbers.known(1, 0)) <= 200_000
    for project in range(2, 30):
        numbers.learn(learned(project, **{f"t{number}": number for number in range(50_000)}))
    assert sum(len(numbers.known(project, 0)) for project in range(1, 30)) <= 200_000
    assert len(numbers.known(29, 0)) == 50_000


def test_names_of_a_megabyte_are_not_remembered(database):
    numbers = TestNumbers()
    stored(database, suite(case("n" * 1_000_000), case("short")), numbers)
    assert list(numbers.known(1, 0)) == [("c", "short")]


def learned(project=1, generation=0, **found):
    from jux_server.store.saving import Learned

    return Learned(project, generation, {("c", name): number for name, number in found.items()})


@pytest.mark.parametrize("size", [0, 1, 4_096, 4_097, 300_000])
def test_compressed_bytes_of_any_length_come_back(size):
    data = bytes(number * 7 % 251 for number in range(size))
    assert zlib.decompress(compressed(data, 6)) == data
