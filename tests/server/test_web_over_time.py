"""A project and a test over many runs."""

from __future__ import annotations

import pytest
from kept_reports import receive
from web_pages import get_page, run_of

from jux_server.upkeep.projects import set_project

CELLS = {"✓": "p", "✗": "f", "!": "e", "~": "r", "s": "s", "": "-"}


def changed(data, name, inner):
    """Return a report in which this test has something else inside."""
    start = data.index(f'name="{name}" time="0.1">'.encode())
    begin = data.index(b">", start) + 1
    return data[:begin] + inner + data[data.index(b"</testcase>", begin) :]


def grid(page):
    """Return the rows of the grid as text: name -> how it ended, oldest first."""
    rows = page.all("//table[@class='grid']/tbody/tr")
    return {row.findtext("th/a"): "".join(CELLS[cell.text_content()] for cell in row.findall("td")) for row in rows}


# --- history grid ----------------------------------------------------------------------------------------------------


def test_grid_has_those_that_failed_last_first(server, database):
    receive(database, run_of(1, failing=[3], cases=5))
    receive(database, run_of(2, failing=[1], cases=5))
    receive(database, changed(run_of(3, cases=5), "test_2", b"<skipped/>"))
    page = get_page(server, "/history/shop")
    assert list(grid(page).items()) == [
        ("test_1", "pfp"),
        ("test_3", "fpp"),
        ("test_0", "ppp"),
        ("test_2", "pps"),
        ("test_4", "ppp"),
    ]
    assert page.words("//thead/tr/th")[0] == "Test"
    assert [words.split()[1] for words in page.words("//thead/tr/th")[1:]] == ["failed", "failed", "passed"]


def test_grid_shows_errors_retries_and_where_a_test_did_not_run(server, database):
    receive(database, run_of(1, cases=2))
    receive(database, changed(run_of(2, cases=3), "test_0", b'<error message="x"/>'))
    receive(database, changed(run_of(3, cases=3), "test_1", b'<flakyFailure message="x"/>'))
    assert grid(get_page(server, "/history/shop")) == {"test_1": "ppr", "test_0": "pep", "test_2": "-pp"}


def test_grid_is_of_the_default_branch_or_the_one_asked_for(server, database):
    receive(database, run_of(1))
    receive(database, run_of(2, branch="topic", failing=[0]))
    assert set(grid(get_page(server, "/history/shop")).values()) == {"p"}
    assert grid(get_page(server, "/history/shop?branch=topic"))["test_0"] == "f"
    set_project(database, "shop", default_branch="topic")
    assert grid(get_page(server, "/history/shop"))["test_0"] == "f"


def test_grid_is_of_thirty_runs(server, database):
    for number in range(33):
        receive(database, run_of(number, cases=1, failing=[0] if number == 2 else []))
    page = get_page(server, "/history/shop")
    assert grid(page) == {"test_0": "p" * 30}


def test_grid_is_paged_and_searched(server, database):
    receive(database, run_of(1, cases=120, failing=[77]))
    first = get_page(server, "/history/shop")
    second = get_page(server, first.link("More of 120"))
    third = get_page(server, second.link("More of 120"))
    names = [name for page in (first, second, third) for name in grid(page)]
    assert names == ["test_77", *sorted(f"test_{number}" for number in range(120) if number != 77)]
    assert list(grid(get_page(server, "/history/shop?q=TEST_11"))) == ["test_11", *(f"test_11{n}" for n in range(10))]
    assert "No test has this in its name." in get_page(server, "/history/shop?q=nothing").text


def test_test_that_a_run_has_twice_counts_as_the_worse(server, database):
    data = run_of(1, cases=2).replace(b'name="test_1"', b'name="test_0"')
    receive(database, changed(data, "test_0", b"<failure/>"))
    assert grid(get_page(server, "/history/shop")) == {"test_0": "f"}


@pytest.mark.parametrize("section", ["history", "trends"])
def test_branch_without_runs_is_said(server, database, section):
    receive(database, run_of(1))
    page = get_page(server, f"/{section}/shop?branch=gone")
    assert "There is no run of this branch." in page.text
    assert page.all("//select[@name='branch']/option[@selected]/text()") == ["gone"]


# --- trends ----------------------------------------------------------------------------------------------------------


def test_trends_say_in_words_and_in_a_table_what_the_charts_show(server, database):
    receive(database, run_of(1, cases=4, failing=[0, 1]))
    receive(database, changed(run_of(2, cases=10, failing=[0]), "test_9", b"<skipped/>"))
    page = get_page(server, "/trends/shop")
    assert page.words("//section/p[@class='muted']") == [
        "88.8 % in the last run, at the lowest 50.0 %",
        "10 in the last run, 4 in the first of these",
        "1.00 s in the last run, 400 ms in the first of these",
    ]
    rows = page.words("//tbody/tr")
    assert rows[0].startswith("failed just now 88.8 % 10 1 1 1.00 s")
    assert rows[1].startswith("failed just now 50.0 % 4 2 0 400 ms")
    assert len(page.all("//svg/title")) >= 3
    assert [len(page.all(f"//svg//rect[@class='{word}']")) for word in ("passed", "failed", "skipped")] == [2, 4, 1]


def test_trends_of_runs_in_which_nothing_ran(server, database):
    data = run_of(1, cases=1)
    receive(database, changed(data, "test_0", b"<skipped/>"))
    receive(
        database,
        b'<testsuite name="s"><properties><property name="project" value="shop"/>'
        b'<property name="git:branch" value="main"/></properties></testsuite>',
    )
    page = get_page(server, "/trends/shop")
    assert "nothing ran in the last run" in page.text
    assert page.all("//polyline") == []


def test_line_of_the_pass_rate_is_broken_where_nothing_ran(server, database):
    receive(database, run_of(1))
    receive(database, changed(run_of(2, cases=1), "test_0", b"<skipped/>"))
    receive(database, run_of(3))
    assert len(get_page(server, "/trends/shop").all("//polyline")) == 2


# --- flaky and slow --------------------------------------------------------------------------------------------------


def test_flaky_tests_are_listed_with_what_tells_of_it(server, database):
    for number in range(6):
        receive(database, run_of(number, failing=[0] if number % 2 else [], commit="c" * 40 if number < 2 else None))
    page = get_page(server, "/flaky/shop")
    (row,) = page.words("//tbody/tr")
    assert row.startswith("test_0 tests.cart Last 6 runs: 3 passed, 3 failed 1.0 5 1 0 50.0 %")
    assert page.all("//tbody/tr/th/a/@href")[0].startswith("/tests/")


def test_change_of_the_code_on_two_branches_is_not_flaky(server, database):
    for number in range(8):
        branch = "main" if number % 2 else "topic"
        receive(database, run_of(number, branch=branch, failing=[0] if number > 3 else []))
    assert "No test was flaky." in get_page(server, "/flaky/shop").text
    assert get_page(server, "/").words("//tbody/tr/td[5]") == ["0"]


def test_flaky_tests_of_a_branch_and_of_few_runs(server, database):
    for number in range(8):
        receive(
            database, run_of(number, branch="main" if number % 2 else "topic", failing=[0] if number in {3, 5} else [])
        )
    assert len(get_page(server, "/flaky/shop").all("//tbody/tr")) == 1
    assert get_page(server, "/flaky/shop?branch=topic").all("//tbody/tr") == []
    assert get_page(server, "/flaky/shop?branch=main&runs=2").all("//tbody/tr") == []


def test_slowest_tests_by_their_median(server, database):
    for number, seconds in enumerate([2, 4, 90]):
        data = run_of(number).replace(b'name="test_1" time="0.1"', f'name="test_1" time="{seconds}"'.encode())
        receive(database, data)
    rows = get_page(server, "/slowest/shop").words("//tbody/tr")
    assert rows[0].startswith("4.00 s test_1 tests.cart 1 min 30 s 1 min 36 s 3")
    assert rows[1].startswith("100 ms test_0")


@pytest.mark.parametrize(
    "path", ["/flaky/shop?runs=0", "/slowest/shop?runs=1000", "/trends/shop?runs=x", "/history/shop?start=-1"]
)
def test_figures_out_of_range_are_said(server, database, path):
    receive(database, run_of(1))
    get_page(server, path, status=400)


@pytest.mark.parametrize("section", ["history", "trends", "flaky", "slowest"])
def test_pages_of_a_project_that_is_not_there(server, section):
    assert "there is no project nothing" in get_page(server, f"/{section}/nothing", status=404).text


@pytest.mark.parametrize("section", ["history", "trends", "flaky", "slowest"])
def test_pages_of_a_project_without_runs(server, database, section):
    set_project(database, "prepared", accept="any")
    assert get_page(server, f"/{section}/prepared").words("//h1")[0].endswith("of prepared")


# --- one test --------------------------------------------------------------------------------------------------------


def page_of_test(server, name="test_0", project="shop", query=""):
    tests = server.get(f"/api/v1/tests?project={project}&q={name}").json()["tests"]
    (number,) = [test["id"] for test in tests if test["name"] == name]
    return get_page(server, f"/tests/{number}{query}")


def figures(page):
    return dict(zip(page.words("//dl[@class='figures']//dt"), page.words("//dl[@class='figures']//dd"), strict=True))


def test_test_says_how_reliable_it_is_and_how_long_it_takes(server, database):
    for number in range(8):
        receive(database, run_of(number, failing=[0] if number in {2, 5} else [], seconds=number + 1))
    receive(database, changed(run_of(9), "test_0", b"<skipped/>"))
    page = page_of_test(server)
    assert page.title == "test_0 · shop · Jux"
    assert figures(page) == {
        "Reliability": "75.0 %",
        "Median duration": "4.50 s",
        "95 % within": "8.00 s",
        "Runs": "9",
        "Passed": "6",
        "Failed": "2",
        "Skipped": "1",
        "Retried": "0",
    }
    assert page.words("//span[@class='strip']/a") == ["passed"] * 2 + ["failed"] + ["passed"] * 2 + ["failed"] + [
        "passed"
    ] * 2 + ["skipped"]
    assert len(page.all("//svg[@class='chart']/rect")) == 9


def test_failures_with_the_same_cause_are_one_with_first_and_last_run(server, database):
    runs = [receive(database, run_of(number, failing=[0])).id for number in range(3)]
    other = receive(database, changed(run_of(4), "test_0", b'<error type="OSError" message="no disk"/>')).id
    page = page_of_test(server)
    first, second = page.words("//table[1]/tbody/tr[@data-row]")[:2]
    assert first.startswith("1 OSError: no disk")
    assert second.startswith("3 AssertionError: assert 2 == 42")
    addresses = page.all("(//table)[1]/tbody/tr/td/a/@href")
    assert addresses == [
        f"/reports/{other}",
        f"/reports/{other}/cases/0",
        f"/reports/{runs[0]}",
        f"/reports/{runs[2]}/cases/0",
    ]


def test_executions_lead_to_the_case_in_its_run(server, database):
    run = receive(database, run_of(1, cases=5)).id
    page = page_of_test(server, "test_3")
    (address,) = page.all("(//table)[last()]/tbody/tr/th/a/@href")
    assert address == f"/reports/{run}/cases/3"
    assert get_page(server, address).words("//h2")[0] == "passed test_3"


def test_executions_are_paged_and_filtered_by_branch(server, database):
    for number in range(40):
        receive(database, run_of(number, cases=1, branch="main" if number % 4 else "topic"))
    page = page_of_test(server)
    second = get_page(server, page.link("Older runs"))
    assert [len(one.all("(//table)[last()]/tbody/tr")) for one in (page, second)] == [30, 10]
    assert figures(page_of_test(server, query="?branch=topic"))["Runs"] == "10"
    assert "It did not run on this branch." in page_of_test(server, query="?branch=gone").text


def test_test_that_only_was_skipped(server, database):
    receive(database, changed(run_of(1, cases=1), "test_0", b"<skipped/>"))
    assert figures(page_of_test(server))["Reliability"] == "never ran"


@pytest.mark.parametrize(("path", "status"), [("/tests/99999", 404), ("/tests/0", 400), ("/tests/x", 400)])
def test_test_that_is_not_there(server, path, status):
    get_page(server, path, status=status)
