"""Questions that are easily answered wrongly: doubled and old tests, other alphabets, keys for few projects."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from servers import running

from jux_server.api.access import HERE
from jux_server.app import Choices
from jux_server.intake import Created, Intake
from jux_server.store import schema
from jux_server.store.queries import history
from jux_server.trust import create_key


@pytest.fixture
def receive(database):
    """Return a function that takes a report in and returns its id."""
    intake = Intake(database)

    def take(body, project="shop", branch="main", commit="c" * 40, number=0):
        facts = {"project": project, "git:branch": branch, "git:commit": commit, "git:status": "clean"}
        properties = "".join(f'<property name="{name}" value="{value}"/>' for name, value in facts.items())
        head = f'<testsuite name="outer" hostname="h{number}"><properties>{properties}</properties>'
        outcome = intake.receive(f"{head}{body}</testsuite>".encode(), HERE)
        assert isinstance(outcome, Created)
        return str(outcome.id)

    return take


def get(server, path, status=200, **options):
    answer = server.get(path, **options)
    assert answer.status == status, answer.data
    return answer.json()


def case(name, problem="", time=0.1):
    return f'<testcase classname="c" name="{name}" time="{time}">{problem}</testcase>'


FAILS = '<failure message="no"/>'


def number_of(server, name):
    (found,) = [one for one in get(server, "/api/v1/tests?limit=1000")["tests"] if one["name"] == name]
    return found["id"]


# --- a test that a report has twice ----------------------------------------------------------------------------------


def test_doubled_test_that_always_ends_alike_is_not_flaky(server, receive):
    for number in range(4):
        receive(case("twice", FAILS) + case("twice"), number=number)
    assert get(server, "/api/v1/flaky?project=shop")["tests"] == []


def test_history_of_a_doubled_test_has_its_worst_result_and_longest_time(server, receive):
    receive(case("twice", time=3) + case("twice", FAILS, time=1) + case("twice", time=2))
    found = get(server, f"/api/v1/tests/{number_of(server, 'twice')}/history")
    (one,) = found["executions"]
    assert (one["status"], one["message"], one["time"]) == ("failed", "no", 3)
    assert found["figures"]["runs"] == 1


def test_slow_doubled_test_counts_once_in_each_run(server, receive):
    receive(case("twice", time=3) + case("twice", time=1))
    (one,) = get(server, "/api/v1/slowest?project=shop")["tests"]
    assert (one["figures"]["runs"], one["total"]) == (1, 3)


def test_comparison_counts_a_doubled_test_once(server, receive):
    base = receive(case("twice") + case("twice"), number=1)
    head = receive(case("twice") + case("twice", FAILS), number=2)
    found = get(server, f"/api/v1/compare?base={base}&head={head}")
    assert found["newly_failing"]["count"] == 1
    assert found["added"]["count"] == found["removed"]["count"] == 0


# --- old tests -------------------------------------------------------------------------------------------------------


def test_history_goes_back_to_runs_before_those_without_the_test(server, receive):
    old = [receive(case("nightly"), number=number) for number in range(2)]
    for number in range(2, 8):
        receive(case("often"), number=number)
    found = get(server, f"/api/v1/tests/{number_of(server, 'nightly')}/history?limit=2")
    assert [one["report"] for one in found["executions"]] == old[::-1]


def test_history_has_the_newest_runs_only(server, receive):
    made = [receive(case("a"), number=number) for number in range(5)]
    found = get(server, f"/api/v1/tests/{number_of(server, 'a')}/history?limit=3")
    assert [one["report"] for one in found["executions"]] == made[:1:-1]


def test_history_of_hundreds_of_runs_is_complete(server, receive):
    made = [receive(case("a"), number=number, branch=("main", "topic")[number % 2]) for number in range(260)]
    path = f"/api/v1/tests/{number_of(server, 'a')}/history?limit=1000"
    assert [one["report"] for one in get(server, path)["executions"]] == made[::-1]
    topic = get(server, f"{path}&branch=topic")["executions"]
    assert [one["report"] for one in topic] == made[::-2]


# --- text ------------------------------------------------------------------------------------------------------------

NAMES = ("Größe*1", "größeX1", "plain*1", "plainX1", "a[b]c", "abc", "x/y_z%", "Ärger[neu]?", "ÄRGERn")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GRÖSSE", set()),
        ("gRÖß", {"Größe*1", "größeX1"}),
        ("größe*", {"Größe*1"}),
        ("PLAIN*", {"plain*1"}),
        ("a[b", {"a[b]c"}),
        ("ärger[NEU]?", {"Ärger[neu]?"}),
        ("äRGER", {"Ärger[neu]?", "ÄRGERn"}),
        ("y_z", {"x/y_z%"}),
        ("/y", {"x/y_z%"}),
        ("x_y", set()),
        ("z%", {"x/y_z%"}),
        ("ä^", set()),
    ],
)
def test_search_takes_letters_in_any_case_and_everything_literally(server, receive, text, expected):
    ids = {name: receive(case(name), number=number) for number, name in enumerate(NAMES)}
    names = {one["name"] for one in get(server, "/api/v1/tests", fields={"q": text})["tests"]}
    assert names == expected
    found = {run["id"] for run in get(server, "/api/v1/reports", fields={"q": text})["reports"]}
    assert found == {ids[name] for name in expected}


def test_search_finds_tests_in_every_block_of_a_large_report(server, receive):
    report = receive("".join(case(f"test_{number}") for number in range(1_000)))
    for number in (0, 255, 256, 999):
        cases = get(server, f"/api/v1/reports/{report}/cases?q=test_{number}")["cases"]
        assert f"test_{number}" in {one["name"] for one in cases}
        assert all(f"test_{number}" in one["name"] for one in cases)
        assert [run["id"] for run in get(server, f"/api/v1/reports?q=test_{number}")["reports"]] == [report]


@pytest.mark.parametrize(
    ("commit", "expected"),
    [
        ("abcdef0", ["first"]),
        ("abcdef", ["second", "first"]),
        ("abcdef9", ["second"]),
        ("abcdf", []),
        ("r1234", ["third"]),
        ("r123", ["third"]),
        ("ffff", ["fourth"]),
    ],
)
def test_commits_are_found_by_their_beginning(server, receive, commit, expected):
    made = {
        "first": receive(case("a"), commit="abcdef0" + "1" * 33, number=1),
        "second": receive(case("a"), commit="abcdef9" + "f" * 33, number=2),
        "third": receive(case("a"), commit="r12345", number=3),
        "fourth": receive(case("a"), commit="f" * 40, number=4),
    }
    found = get(server, f"/api/v1/reports?commit={commit}")["reports"]
    assert [run["id"] for run in found] == [made[name] for name in expected]


def test_plus_sign_of_a_time_zone_may_be_left_as_it_is(server, receive):
    report = receive(case("a"))
    found = get(server, "/api/v1/reports?since=2020-01-01T00:00:00+02:00")["reports"]
    assert [run["id"] for run in found] == [report]
    assert get(server, "/api/v1/reports?since=2999-01-01T00:00:00.5+02:00")["reports"] == []


# --- suites ----------------------------------------------------------------------------------------------------------


def test_cases_of_one_suite(server, receive):
    inner = f'<testsuite name="inner">{case("b")}{case("c", FAILS)}</testsuite>'
    report = receive(f"{case('a')}{inner}{case('d')}")
    suites = get(server, f"/api/v1/test_runs/{report}/test_suites")["test_suites"]
    (suite,) = [one["id"] for one in suites if one["name"] == "inner"]
    path = f"/api/v1/reports/{report}/cases?suite={suite}"
    assert [one["name"] for one in get(server, path)["cases"]] == ["b", "c"]
    assert [one["name"] for one in get(server, f"{path}&status=failed")["cases"]] == ["c"]


def test_suite_of_another_report_is_not_in_this_one(server, receive):
    report, other = receive(case("a"), number=1), receive(case("a"), number=2)
    suite = get(server, f"/api/v1/test_runs/{other}/test_suites")["test_suites"][0]["id"]
    assert "no suite in this report" in get(server, f"/api/v1/reports/{report}/cases?suite={suite}", 404)["message"]


# --- keys ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def closed(database):
    """Return a server that wants a key from everybody."""
    with running(database, Choices(is_open_here=False)) as started:
        yield started


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["shop"], ["shop"]),
        (["shop", "team/a", "gone"], ["team/a", "shop"]),
        (["team/*"], ["team/b", "team/a"]),
        (["shop", "team/*"], ["team/b", "team/a", "shop"]),
        (["*"], ["team/b", "team/a", "shop"]),
        (["nothing"], []),
        (["sho[op]"], ["shop"]),
    ],
)
def test_key_sees_the_projects_of_its_patterns_everywhere(closed, database, receive, patterns, expected):
    for number, project in enumerate(("shop", "team/a", "team/b")):
        receive(case(f"of {project}"), project=project, number=number)
    token, _ = create_key(database, "reader", scopes=["read"], projects=patterns)
    headers = {"X-API-Key": token}
    lists = {
        "/api/v1/reports": "reports",
        "/api/v1/reports?q=of": "reports",
        "/api/v1/test_runs": "test_runs",
        "/api/v1/tests": "tests",
    }
    for path, name in lists.items():
        found = [one["project"] for one in get(closed, path, headers=headers)[name]]
        assert sorted(found) == sorted(expected), path
    assert [one["name"] for one in get(closed, "/api/v1/projects", headers=headers)["projects"]] == expected


@pytest.mark.parametrize(
    "time", ["9999-12-31T23:59:59.999999", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"]
)
def test_time_at_the_end_of_all_times_breaks_no_answer(server, database, time):
    report = f'<testsuite name="x" timestamp="{time}"><testcase name="t"/></testsuite>'.encode()
    saved = Intake(database).receive(report, HERE)
    for path in ("reports", "projects", "test_runs", f"reports/{saved.id}", f"test_runs/{saved.id}"):
        get(server, f"/api/v1/{path}")
    for path in ("/", "/projects/unknown", f"/reports/{saved.id}", "/trends/unknown", "/history/unknown"):
        assert server.get(path, headers={"Accept": "text/html"}).status == 200


def test_history_does_not_end_where_others_are_busy(server, database, receive, monkeypatch):
    monkeypatch.setattr(history, "_IN_VAIN", 3)
    receive(case("mine", FAILS), project="alpha")
    for number in range(8):
        receive(case("theirs"), project="beta", number=number)
    found = get(server, f"/api/v1/tests/{number_of(server, 'mine')}/history")
    assert len(found["executions"]) == 1


def test_share_that_is_not_all_is_not_a_hundred_percent(server, receive):
    run = receive("".join(case(f"t{number}", FAILS if number == 7 else "") for number in range(30_000)))
    assert get(server, f"/api/v1/test_runs/{run}")["success_rate"] == 99.99


def test_metrics_are_for_keys_of_all_projects(closed, database):
    some, _ = create_key(database, "some", scopes=["read"], projects=["shop"])
    every, _ = create_key(database, "every", scopes=["read"])
    get(closed, "/metrics", 403, headers={"X-API-Key": some})
    assert closed.get("/metrics", headers={"X-API-Key": every}).status == 200


def test_key_for_more_projects_than_a_question_has_parameters(closed, database, receive):
    for number, project in enumerate(("shop", "team/a", "team/b")):
        receive(case(f"of {project}"), project=project, number=number)
    names = [{"name": f"team/{number}", "created_at": 1} for number in range(70_000)]
    with database.write() as connection:
        connection.execute(sa.insert(schema.project), names)
    token, _ = create_key(database, "reader", scopes=["read"], projects=["team/*"])
    headers = {"X-API-Key": token}
    for path, name in {"reports": "reports", "tests": "tests", "test_runs": "test_runs"}.items():
        found = [one["project"] for one in get(closed, f"/api/v1/{path}", headers=headers)[name]]
        assert sorted(found) == ["team/a", "team/b"]
    assert closed.get("/", headers=headers).status == 200


def test_tests_and_suites_of_another_project_are_not_there(closed, database, receive):
    report = receive(case("a"), project="other")
    reader, _ = create_key(database, "all", scopes=["read"])
    suites = get(closed, f"/api/v1/test_runs/{report}/test_suites", headers={"X-API-Key": reader})["test_suites"]
    token, _ = create_key(database, "reader", scopes=["read"], projects=["shop"])
    headers = {"X-API-Key": token}
    assert get(closed, "/api/v1/tests/1/history", headers={"X-API-Key": reader})["test"]["name"] == "a"
    get(closed, "/api/v1/tests/1/history", 404, headers=headers)
    get(closed, f"/api/v1/test_suites/{suites[0]['id']}/test_cases", 404, headers=headers)
