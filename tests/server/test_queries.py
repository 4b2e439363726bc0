"""What the query routes answer, over HTTP, on both databases."""

from __future__ import annotations

import re

import pytest
from servers import running
from web_pages import get_page

from jux_server.api.access import HERE
from jux_server.app import Choices
from jux_server.intake import Created, Intake
from jux_server.store.database import Database, connect
from jux_server.trust import add_signer, create_key
from pytest_jux.signer import sign_report

TEST = "/api/v1/tests"


def case(name, outcome="passed", time=0.1, classname="shop.tests.test_cart"):
    body = {
        "passed": "",
        "failed": f'<failure type="AssertionError" message="assert {len(name)} == 3">trace of {name}</failure>',
        "error": '<error message="no database"/>',
        "skipped": '<skipped message="not today"/>',
        "flaky": '<flakyFailure message="once"/>',
    }[outcome]
    return f'<testcase classname="{classname}" name="{name}" time="{time}">{body}</testcase>'


def report(*cases, project="shop", branch="main", commit="c" * 40, number=0, status="clean", tags=""):
    facts = {"project": project, "git:branch": branch, "git:commit": commit, "git:status": status, "tags": tags}
    properties = "".join(f'<property name="{name}" value="{value}"/>' for name, value in facts.items() if value)
    head = (
        f'<testsuite name="pytest" timestamp="2026-01-01T00:{number // 60:02}:{number % 60:02}" hostname="h{number}">'
    )
    return f"{head}<properties>{properties}</properties>{''.join(cases)}</testsuite>".encode()


@pytest.fixture
def receive(database):
    """Return a function that takes a report in and returns its id."""
    intake = Intake(database)

    def take(*cases, **options):
        outcome = intake.receive(report(*cases, **options), HERE)
        assert isinstance(outcome, Created)
        return str(outcome.id)

    return take


def get(server, path, status=200, **options):
    answer = server.get(path, **options)
    assert answer.status == status, answer.data
    return answer.json()


def listed(server, query=""):
    return [run["id"] for run in get(server, f"/api/v1/reports?{query}")["reports"]]


# --- lists -----------------------------------------------------------------------------------------------------------


def test_newest_report_is_first(server, receive):
    ids = [receive(case("a"), number=number) for number in range(3)]
    assert listed(server) == ids[::-1]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("project=other", ["other"]),
        ("project=nowhere", []),
        ("branch=feature", ["branch"]),
        ("commit=abcd", ["commit"]),
        ("commit=" + "abcd" + "0" * 36, ["commit"]),
        ("commit=bcd0", []),
        ("status=failed", ["failed"]),
        ("status=error", ["error"]),
        ("tag=nightly", ["tagged"]),
        ("tag=nightly&tag=linux", ["tagged"]),
        ("tag=nightly&tag=windows", []),
        ("q=special", ["named"]),
        ("q=SPECIAL%20one", ["named"]),
        ("q=special%25", []),
        ("q=_pecial", []),
        ("until=2020-01-01", []),
        ("since=2999-01-01T00:00:00Z", []),
        ("state=trusted", []),
        ("signer=CN%3Dnobody", []),
    ],
)
def test_filters_find_what_they_name(server, receive, query, expected):
    made = {
        "plain": receive(case("a"), number=1),
        "other": receive(case("a"), project="other", number=2),
        "branch": receive(case("a"), branch="feature", number=3),
        "commit": receive(case("a"), commit="abcd" + "0" * 36, number=4),
        "failed": receive(case("a", "failed"), number=5),
        "error": receive(case("a", "error"), number=6),
        "tagged": receive(case("a"), tags="linux, nightly", number=7),
        "named": receive(case("Special one"), number=8),
    }
    assert listed(server, query) == [made[name] for name in expected]


def test_pages_have_every_report_once_although_others_come_in(server, receive):
    ids = [receive(case("a"), number=number) for number in range(7)]
    seen, cursor = [], ""
    while cursor is not None:
        page = get(server, f"/api/v1/reports?limit=3{cursor and f'&cursor={cursor}'}")
        seen += [run["id"] for run in page["reports"]]
        cursor = page["next"]
        receive(case("late"), number=100 + len(seen))
    assert seen == ids[::-1]


def test_search_in_test_names_goes_on_from_page_to_page(server, receive):
    ids = [receive(case("wanted" if number % 2 else "other"), number=number) for number in range(9)]
    seen, cursor = [], ""
    while cursor is not None:
        page = get(server, f"/api/v1/reports?q=want&limit=2{cursor and f'&cursor={cursor}'}")
        seen += [run["id"] for run in page["reports"]]
        cursor = page["next"]
    assert seen == [ids[7], ids[5], ids[3], ids[1]]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=1;drop table run", "limit"),
        ("cursor=1", "cursor"),
        ("cursor=bjE3IE9SIDE9MQ", "cursor"),
        ("cursor=bjk5OTk5OTk5OTk", "cursor"),
        ("since=yesterday", "since"),
        ("until=2026-13-01", "until"),
        ("status=bad", "status"),
        ("state=good", "state"),
        ("project=a%00b", "project"),
        ("branch=a%0ab", "branch"),
        ("tag=a%00", None),
    ],
)
def test_parameter_that_makes_no_sense_is_named(server, query, parameter):
    answer = get(server, f"/api/v1/reports?{query}", 400)
    assert answer["error"] == "Invalid parameter"
    if parameter:
        assert answer["details"]["parameter"] == parameter


@pytest.mark.parametrize("text", ["'; DROP TABLE run; --", "' OR 1=1 --", "\\", "%", '"', "{}", "🙂"])
def test_text_that_looks_like_sql_finds_nothing_and_harms_nothing(server, receive, text):
    only = receive(case("a"))
    for field in ("project", "branch", "signer", "q", "tag"):
        assert get(server, f"/api/v1/reports?{field}=", fields=None)["reports"] is not None
        found = server.pool.request("GET", f"{server.url}/api/v1/reports", fields={field: text})
        assert (found.status, found.json()["reports"]) == (200, [])
    assert listed(server) == [only]


# --- one report ------------------------------------------------------------------------------------------------------


def test_report_is_found_by_id_hash_and_the_beginning_of_its_hash(server, receive):
    identity = receive(case("a", "failed"), case("b"), case("c", "skipped"), case("d", "flaky"))
    found = get(server, f"/api/v1/reports/{identity}")
    digits = found["canonical_hash"].removeprefix("sha256:")
    for name in (found["canonical_hash"], digits, digits[:8], digits.upper()[:12]):
        assert get(server, f"/api/v1/reports/{name}") == found
    counts = {name: found[name] for name in ("tests", "passed", "failures", "errors", "skipped", "flaky")}
    assert counts == {"tests": 4, "passed": 2, "failures": 1, "errors": 0, "skipped": 1, "flaky": 1}
    assert (found["status"], found["branch"], found["commit"], found["dirty"]) == ("failed", "main", "c" * 40, False)
    assert found["metadata"]["git"]["branch"] == "main"
    assert found["started_at"] == "2026-01-01T00:00:00.000000Z"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", found["received_at"])


def test_hash_that_two_projects_have_needs_the_project(server, receive, database):
    data = b'<testsuite name="s"><testcase classname="a" name="b"/></testsuite>'
    for project in ("one", "two"):
        Intake(database).receive(data, HERE, sender={"project": project})
    digits = get(server, "/api/v1/reports")["reports"][0]["canonical_hash"]
    assert "name its project" in get(server, f"/api/v1/reports/{digits}", 400)["message"]
    assert get(server, f"/api/v1/reports/{digits}?project=two")["project"] == "two"


@pytest.mark.parametrize("name", ["0" * 64, "8f00829a-935a-4425-82d5-f88174c7d506", "not-a-name", "sha256:xyz"])
def test_report_that_there_is_not_is_404(server, name):
    for path in ("", ".xml", "/cases"):
        assert get(server, f"/api/v1/reports/{name}{path}", 404)["error"] == "Not found"


def test_exact_bytes_come_back_as_an_attachment(server, database, p256):
    data = b'<?xml version="1.0"?>\r\n' + report(case("a"))
    signed = sign_report(data, p256.key, p256.certificate)
    outcome = Intake(database).receive(signed, HERE)
    answer = server.get(f"/api/v1/reports/{outcome.id}.xml")
    assert answer.data == signed
    assert answer.headers["content-type"] == "application/xml"
    name = outcome.canonical_hash.replace(":", "-")
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}.xml"'
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_better_signature_is_shown_first_and_both_documents_come_back(server, database, p256):
    add_signer(database, p256.certificate)
    plain = report(case("a"))
    signed = sign_report(plain, p256.key, p256.certificate)
    identity = str(Intake(database).receive(plain, HERE).id)
    assert get(server, f"/api/v1/reports/{identity}")["signature"]["state"] == "unsigned"
    assert Intake(database).receive(signed, HERE).is_better
    found = get(server, f"/api/v1/reports/{identity}")
    assert [(one["document"], one["state"]) for one in found["documents"]] == [(1, "trusted"), (2, "unsigned")]
    assert found["signature_state"] == "trusted"
    assert found["signature"]["trusted_by"] == found["signer"] == "CN=p256 signer"
    assert found["signature"]["algorithm"] == "ECDSA-SHA256"
    assert server.get(f"/api/v1/reports/{identity}.xml").data == signed
    assert server.get(f"/api/v1/reports/{identity}.xml?document=2").data == plain
    assert server.get(f"/api/v1/reports/{identity}.xml?document=3").status == 404


# --- cases -----------------------------------------------------------------------------------------------------------


def names(answer):
    return [one["name"] for one in answer["cases"]]


def test_cases_come_in_the_order_of_the_report_with_what_was_said(server, receive):
    identity = receive(case("z", "failed", 0.5), case("a", time=2), case("m", "skipped", 0), case("f", "flaky"))
    cases = get(server, f"/api/v1/reports/{identity}/cases")
    assert names(cases) == ["z", "a", "m", "f"]
    first, second, third, fourth = cases["cases"]
    assert (first["status"], first["type"], first["message"]) == ("failed", "AssertionError", "assert 1 == 3")
    assert (first["details"], first["time"]) == ("trace of z", 0.5)
    assert (second["status"], second["message"], second["time"]) == ("passed", "", 2.0)
    assert (third["status"], third["message"]) == ("skipped", "not today")
    assert (fourth["status"], fourth["flaky"]) == ("passed", True)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("status=failed", ["z"]),
        ("status=passed", ["a", "f"]),
        ("status=flaky", ["f"]),
        ("status=error", []),
        ("order=duration", ["a", "z", "f", "m"]),
        ("q=CART", ["z", "a", "m", "f"]),
        ("q=z", ["z"]),
        ("limit=2", ["z", "a"]),
    ],
)
def test_cases_are_filtered_and_ordered(server, receive, query, expected):
    identity = receive(case("z", "failed", 0.5), case("a", time=2), case("m", "skipped", 0), case("f", "flaky", 0.3))
    assert names(get(server, f"/api/v1/reports/{identity}/cases?{query}")) == expected


def test_cases_are_paged(server, receive):
    identity = receive(*(case(f"test_{number:03}") for number in range(25)))
    first = get(server, f"/api/v1/reports/{identity}/cases?limit=10")
    second = get(server, f"/api/v1/reports/{identity}/cases?limit=10&cursor={first['next']}")
    third = get(server, f"/api/v1/reports/{identity}/cases?limit=10&cursor={second['next']}")
    assert [*names(first), *names(second), *names(third)] == [f"test_{number:03}" for number in range(25)]
    assert third["next"] is None


def test_same_test_twice_in_a_report_is_two_cases_of_one_test(server, receive):
    identity = receive(case("a"), case("a", "failed"), case("a"))
    cases = get(server, f"/api/v1/reports/{identity}/cases")["cases"]
    assert [one["status"] for one in cases] == ["passed", "failed", "passed"]
    assert len({one["test"] for one in cases}) == 1


def test_long_texts_are_shortened_and_say_so(server, receive, database):
    long = f'<testcase classname="c" name="n"><failure message="{"m" * 5000}">{"d" * 200_000}</failure></testcase>'
    identity = receive(long)
    (only,) = get(server, f"/api/v1/reports/{identity}/cases")["cases"]
    assert only["shortened"] is True
    assert len(only["message"]) == 4000
    assert len(only["details"]) == 100_000


# --- tests over runs -------------------------------------------------------------------------------------------------


def number_of(server, name):
    (found,) = [one for one in get(server, f"{TEST}?project=shop&q={name}")["tests"] if one["name"] == name]
    return found["id"]


def test_history_tells_how_a_test_fared(server, receive):
    outcomes = ["passed", "failed", "passed", "skipped"]
    ids = [receive(case("a", outcome, number + 1), number=number) for number, outcome in enumerate(outcomes)]
    receive(case("b"), number=50)
    found = get(server, f"{TEST}/{number_of(server, 'a')}/history")
    assert [one["report"] for one in found["executions"]] == ids[::-1]
    assert [one["status"] for one in found["executions"]] == outcomes[::-1]
    assert found["executions"][2]["message"] == "assert 1 == 3"
    figures = found["figures"]
    assert (figures["runs"], figures["passed"], figures["failed"], figures["skipped"]) == (4, 2, 1, 1)
    assert (figures["reliability"], figures["p50"], figures["p95"]) == (0.6667, 2.0, 3.0)


def test_history_of_one_branch(server, receive):
    receive(case("a"), number=1)
    only = receive(case("a", "failed"), branch="feature", number=2)
    found = get(server, f"{TEST}/{number_of(server, 'a')}/history?branch=feature")
    assert [one["report"] for one in found["executions"]] == [only]


def test_tests_are_paged_and_searched(server, receive):
    receive(*(case(f"test_{number:02}") for number in range(12)))
    first = get(server, f"{TEST}?limit=8")
    second = get(server, f"{TEST}?limit=8&cursor={first['next']}")
    assert sorted(one["name"] for one in first["tests"] + second["tests"]) == [f"test_{n:02}" for n in range(12)]
    assert second["next"] is None
    assert [one["name"] for one in get(server, f"{TEST}?q=_07")["tests"]] == ["test_07"]


def flaky(server, query=""):
    return {one["test"]["name"]: one for one in get(server, f"/api/v1/flaky?project=shop{query}")["tests"]}


def test_flaky_tests_switch_or_differ_on_a_commit_or_pass_on_retry(server, receive):
    for number in range(8):
        receive(
            case("steady"),
            case("broken", "failed"),
            case("broke_once", "failed" if number > 4 else "passed"),
            case("switches", "failed" if number % 2 else "passed"),
            case("same_commit", "failed" if number == 7 else "passed"),
            case("retried", "flaky" if number == 3 else "passed"),
            number=number,
            commit="d" * 40 if number > 5 else f"{number:040x}",
        )
    found = flaky(server)
    assert set(found) == {"switches", "same_commit", "retried"}
    assert (found["switches"]["switches"], found["switches"]["commits"]) == (7, 1)
    assert (found["same_commit"]["switches"], found["same_commit"]["commits"]) == (1, 1)
    assert found["retried"]["retried"] == 1
    assert found["switches"]["score"] > found["same_commit"]["score"] > 0


def test_different_branches_and_dirty_trees_do_not_make_a_test_flaky(server, receive):
    for number in range(6):
        outcome = "failed" if number % 2 else "passed"
        receive(case("a", outcome), branch=f"branch-{number % 2}", number=number, status="dirty")
    assert flaky(server) == {}


def test_slowest_tests_are_found_by_their_median(server, receive):
    for number in range(3):
        receive(case("slow", time=5), case("once", time=60 if number == 0 else 0.1), case("fast"), number=number)
    found = get(server, "/api/v1/slowest?project=shop&limit=2")
    assert [one["test"]["name"] for one in found["tests"]] == ["slow", "fast"]
    assert (found["runs"], found["tests"][0]["figures"]["p50"], found["tests"][0]["total"]) == (3, 5.0, 15.0)


def test_comparison_names_every_change(server, receive):
    base = receive(
        *(case("same"), case("breaks"), case("fixed", "failed"), case("fails", "failed")),
        *(case("gone"), case("slower", time=1), case("skipped_now", "failed")),
        number=1,
    )
    head = receive(
        *(case("same"), case("breaks", "failed"), case("fixed"), case("fails", "error")),
        *(case("new"), case("new_and_bad", "failed"), case("slower", time=3), case("skipped_now", "skipped")),
        number=2,
    )
    found = get(server, f"/api/v1/compare?base={base}&head={head}")
    changes = {
        kind: {one["test"]["name"] for one in value["tests"]}
        for kind, value in found.items()
        if kind not in {"base", "head"}
    }
    assert changes == {
        "newly_failing": {"breaks", "new_and_bad"},
        "fixed": {"fixed"},
        "still_failing": {"fails"},
        "added": {"new", "new_and_bad"},
        "removed": {"gone"},
        "slower": {"slower"},
    }
    (slower,) = found["slower"]["tests"]
    assert (slower["base_time"], slower["head_time"]) == (1.0, 3.0)


def test_runs_of_two_projects_are_not_compared(server, receive):
    one, other = receive(case("a")), receive(case("a"), project="other")
    assert "another project" in get(server, f"/api/v1/compare?base={one}&head={other}", 400)["message"]


def test_projects_with_their_newest_run(server, receive):
    receive(case("a"), number=1)
    receive(case("a"), project="other", number=2)
    newest = receive(case("a", "failed"), number=3)
    first, second = get(server, "/api/v1/projects")["projects"]
    assert (first["name"], first["reports"], first["latest"]["id"]) == ("shop", 2, newest)
    assert (second["name"], second["reports"]) == ("other", 1)


# --- who may see what ------------------------------------------------------------------------------------------------


@pytest.fixture
def closed(database):
    """Return a server that wants a key from everybody."""
    with running(database, Choices(is_open_here=False)) as started:
        yield started


def test_key_of_one_project_sees_nothing_of_another(closed, database, receive):
    mine, other = receive(case("a")), receive(case("secret_name", "failed"), project="other", number=1)
    token, _ = create_key(database, "reader", scopes=["read"], projects=["sh*"])
    headers = {"X-API-Key": token}
    assert [run["id"] for run in get(closed, "/api/v1/reports", headers=headers)["reports"]] == [mine]
    assert [one["name"] for one in get(closed, "/api/v1/projects", headers=headers)["projects"]] == ["shop"]
    assert [one["name"] for one in get(closed, TEST, headers=headers)["tests"]] == ["a"]
    hidden = get(closed, f"/api/v1/reports/{other}", 404, headers=headers)
    missing = get(closed, "/api/v1/reports/8f00829a-935a-4425-82d5-f88174c7d506", 404, headers=headers)
    assert {**hidden, "message": "", "details": ""} == {**missing, "message": "", "details": ""}
    for path in (
        *(f"/api/v1/reports/{other}.xml", f"/api/v1/reports/{other}/cases", f"/api/v1/test_runs/{other}"),
        *(f"/api/v1/compare?base={mine}&head={other}", "/api/v1/flaky?project=other", "/api/v1/slowest?project=other"),
        f"/api/v1/test_runs/{other}/test_suites",
    ):
        assert closed.get(path, headers=headers).status == 404, path
    assert get(closed, "/api/v1/reports?q=secret_name", headers=headers)["reports"] == []
    assert get(closed, "/api/v1/test_runs", headers=headers)["pagination"]["total_count"] == 1


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/reports",
        "/api/v1/reports/8f00829a-935a-4425-82d5-f88174c7d506",
        "/api/v1/reports/8f00829a-935a-4425-82d5-f88174c7d506.xml",
        "/api/v1/reports/8f00829a-935a-4425-82d5-f88174c7d506/cases",
        "/api/v1/projects",
        "/api/v1/tests",
        "/api/v1/tests/1/history",
        "/api/v1/flaky?project=a",
        "/api/v1/slowest?project=a",
        "/api/v1/compare?base=deadbeef&head=deadbeef",
        "/api/v1/test_runs",
        "/api/v1/test_runs/8f00829a-935a-4425-82d5-f88174c7d506",
        "/api/v1/test_runs/8f00829a-935a-4425-82d5-f88174c7d506/test_suites",
        "/api/v1/test_suites/8f00829a-935a-4425-82d5-f88174c7d506/test_cases",
        "/metrics",
    ],
)
def test_every_route_wants_a_key_with_the_scope(closed, database, path):
    assert get(closed, path, 401)["error"] == "Authentication required"
    publisher, _ = create_key(database, "publisher", scopes=["publish"])
    assert "has not the scope read" in get(closed, path, 403, headers={"X-API-Key": publisher})["message"]
    wrong = closed.get(path, headers={"X-API-Key": "jux_abcdefgh_" + "x" * 43})
    assert wrong.status == (403 if "/test_" in path else 401)


# --- the public contract ---------------------------------------------------------------------------------------------


def test_contract_lists_runs_with_pages(server, receive):
    ids = [receive(case("a", "failed"), *(case(f"p{n}") for n in range(number)), number=number) for number in range(5)]
    found = get(server, "/api/v1/test_runs?per_page=2&page=2")
    assert found["pagination"] == {"current_page": 2, "total_pages": 3, "total_count": 5, "per_page": 2}
    assert [run["id"] for run in found["test_runs"]] == [ids[2], ids[1]]
    assert get(server, "/api/v1/test_runs?limit=2&page=2") == found
    rates = get(server, "/api/v1/test_runs?sort_by=success_rate&sort_order=asc")["test_runs"]
    assert [run["success_rate"] for run in rates] == [0.0, 50.0, 66.67, 75.0, 80.0]
    most = get(server, "/api/v1/test_runs?sort_by=total_tests")["test_runs"]
    assert [run["total_tests"] for run in most] == [5, 4, 3, 2, 1]
    assert get(server, "/api/v1/test_runs?status=passed")["test_runs"] == []


def test_contract_shows_a_run_its_suites_and_their_cases(server, database):
    data = b"""<testsuites><testsuite name="outer" time="3"><properties><property name="project" value="p"/>
      <property name="ci:build_id" value="17"/><property name="ci:build_url" value="https://user:pass@ci.example/17"/>
      </properties><testcase classname="c" name="one"/>
      <testsuite name="inner"><testcase classname="c" name="two"><failure message="m" type="T">trace</failure>
      </testcase></testsuite></testsuite></testsuites>"""
    identity = str(Intake(database).receive(data, HERE).id)
    run = get(server, f"/api/v1/test_runs/{identity}")
    assert (run["total_tests"], run["failures"], run["success_rate"], run["total_time"]) == (2, 1, 50.0, 3.0)
    assert run["ci_metadata"]["build_number"] == "17"
    assert "pass" not in run["ci_metadata"]["pipeline_url"]
    outer, inner = get(server, f"/api/v1/test_runs/{identity}/test_suites")["test_suites"]
    assert run["test_suites"] == [outer, inner]
    assert (outer["name"], outer["tests"], inner["name"], inner["failures"]) == ("outer", 1, "inner", 1)
    (two,) = get(server, f"/api/v1/test_suites/{inner['id']}/test_cases")["test_cases"]
    expected = {"name": "two", "status": "failed", "failure_message": "m", "failure_type": "T"}
    assert {name: two[name] for name in expected} == expected
    assert two["failure_stacktrace"] == "trace"
    (one,) = get(server, f"/api/v1/test_suites/{outer['id']}/test_cases?status=passed")["test_cases"]
    assert (one["name"], one["failure_message"]) == ("one", None)
    assert get(server, f"/api/v1/test_suites/{outer['id']}/test_cases?status=failed")["test_cases"] == []


@pytest.mark.parametrize(
    "query", ["page=0", "per_page=101", "sort_by=id;drop", "sort_order=up", "status=x", "date_from=x", "page=1e9"]
)
def test_contract_refuses_a_bad_parameter(server, query):
    answer = get(server, f"/api/v1/test_runs?{query}", 400)
    assert set(answer) >= {"error", "details", "suggestions"}


# --- operation -------------------------------------------------------------------------------------------------------


def test_server_says_that_it_is_there_and_ready(server):
    assert get(server, "/healthz")["status"] == "ok"
    assert get(server, "/readyz")["status"] == "ok"


def test_server_without_its_database_is_there_but_not_ready():
    gone = Database(connect("postgresql://nobody@127.0.0.1:1/nothing")[0], "gone")
    with running(gone) as server:
        assert get(server, "/healthz")["status"] == "ok"
        assert get(server, "/readyz", 503)["error"] == "Not ready"
        answer = server.get("/api/v1/reports")
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        assert answer.json()["error"] == "Database not available"


def test_metrics_count_what_was_answered(server, receive):
    receive(case("a"))
    server.get("/api/v1/reports")
    server.get("/nowhere")
    server.post("/api/v1/junit/submit", report(case("new"), number=9), headers={"Content-Type": "text/xml"})
    text = server.get("/metrics").data.decode()
    assert 'jux_http_requests_total{method="GET",route="/api/v1/reports",status="200"} 1.0' in text
    assert 'jux_http_requests_total{method="GET",route="none",status="404"} 1.0' in text
    assert 'jux_reports_total{outcome="created"} 1.0' in text


def test_address_that_clients_print_is_the_page_of_the_report(server, receive):
    identity = receive(case("a"))
    (shown,) = get(server, "/api/v1/reports")["reports"]
    assert shown["url"] == f"/reports/{identity}"
    page = get_page(server, shown["url"])
    assert shown["canonical_hash"] in page.text


def test_description_is_not_a_page(server):
    assert get(server, "/openapi.json")["openapi"].startswith("3.")
    assert not [path for path in get(server, "/openapi.json")["paths"] if path.startswith(("/reports", "/projects"))]
