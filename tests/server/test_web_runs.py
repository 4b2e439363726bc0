"""The runs of a project."""

from __future__ import annotations

import csv
import io

import pytest
from kept_reports import receive
from servers import running
from web_pages import BROWSER, get_page, run_of

from jux_server.trust import add_signer, create_key
from pytest_jux.signer import sign_report

ROWS = "//table[contains(@class, 'runs')]/tbody/tr"


def tagged(number, tags, **values):
    data = run_of(number, **values)
    return data.replace(b"<properties>", f'<properties><property name="tags" value="{tags}"/>'.encode(), 1)


def table(page):
    return page.words(ROWS)


def test_runs_are_listed_newest_first_with_their_counts(server, database):
    receive(database, run_of(1, cases=1500))
    receive(database, run_of(2, failing=[0, 2], branch="topic"))
    page = get_page(server, "/projects/shop")
    first, second = table(page)
    assert first.startswith("failed topic 0000000000")
    assert first.endswith("300 ms 3 tests 2 failed unsigned")
    assert second.endswith("1 500 tests unsigned")


def test_counts_lead_to_the_tests_that_they_count(server, database):
    receive(database, run_of(1, failing=[1]))
    page = get_page(server, "/projects/shop")
    tests = get_page(server, page.link("1 failed"))
    assert tests.words("//tr[@data-row]/td[1]/a") == ["test_1"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("branch=topic", ["2"]),
        ("status=failed", ["3"]),
        ("status=passed", ["4", "2", "1"]),
        ("commit=00000000000000000000000000000000000000a4", ["4"]),
        ("tag=nightly", ["4"]),
        ("state=unsigned", ["4", "3", "2", "1"]),
        ("state=trusted", []),
        ("q=TEST_7", ["1"]),
        ("branch=&commit=&q=", ["4", "3", "2", "1"]),
    ],
)
def test_filters_are_in_the_address(server, database, query, found):
    receive(database, run_of(1, cases=8))
    receive(database, run_of(2, branch="topic"))
    receive(database, run_of(3, failing=[0]))
    receive(database, tagged(4, "nightly, slow", commit=f"{0xA4:040x}"))
    page = get_page(server, f"/projects/shop?{query}")
    commits = {f"{number:010x}": str(number) for number in range(4)}
    rows = page.all(f"{ROWS}/td[2]/a/span/@title")
    assert [
        commits.get(commit[:10], "?") if commit[-2:] == "ff" else str(int(commit[-1], 16)) for commit in rows
    ] == found


def test_chip_sets_a_filter_and_takes_it_away(server, database):
    receive(database, run_of(1, failing=[0], branch="topic"))
    receive(database, run_of(2, branch="topic"))
    page = get_page(server, "/projects/shop?branch=topic")
    failed = get_page(server, page.link("failed", "chip"))
    assert failed.url.endswith("/projects/shop?branch=topic&status=failed")
    assert len(table(failed)) == 1
    assert failed.words("//a[@aria-current='true']") == ["failed \N{MULTIPLICATION SIGN}"]
    assert failed.all("//select[@name='branch']/option[@selected]/text()") == ["topic"]
    assert failed.link("failed \N{MULTIPLICATION SIGN}") == "/projects/shop?branch=topic"


def test_signer_is_a_filter(server, database, p256, p384):
    for number, signer in enumerate((p256, p384)):
        receive(database, sign_report(run_of(number), signer.key, signer.certificate))
    page = get_page(server, "/projects/shop?signer=CN%3Dp384+signer")
    assert len(table(page)) == 1
    assert "CN=p384 signer" in table(page)[0]
    assert page.words("//a[@aria-current='true']") == ["signed by CN=p384 signer \N{MULTIPLICATION SIGN}"]


def test_older_runs_are_on_further_pages_with_the_same_filters(server, database):
    for number in range(60):
        receive(database, run_of(number, cases=1, branch="main" if number % 20 else "topic"))
    first = get_page(server, "/projects/shop?branch=main")
    second = get_page(server, first.link("Older runs"))
    assert (len(table(first)), len(table(second))) == (50, 7)
    assert "branch=main" in second.url


def test_no_match_offers_all_runs(server, database):
    receive(database, run_of(1))
    page = get_page(server, "/projects/shop?branch=gone")
    assert "No run matches these filters." in page.text
    assert page.link("Show all runs") == "/projects/shop"


def test_page_asks_for_new_runs_which_are_counted(server, database):
    receive(database, run_of(1))
    page = get_page(server, "/projects/shop?branch=main")
    (address,) = page.all("//div[@role='status']/@hx-get")
    assert get_page(server, address, is_part=True).text == ""
    receive(database, run_of(2))
    receive(database, run_of(3, branch="topic"))
    part = get_page(server, address, is_part=True)
    assert part.text == "1 new run"
    assert part.link("1 new run") == "/projects/shop?branch=main"


def test_project_that_is_not_there_is_said_on_a_page(server):
    page = get_page(server, "/projects/nothing", status=404)
    assert "there is no project nothing" in page.text
    assert page.link("All projects") == "/"


def test_project_of_others_looks_as_if_it_were_not_there(database):
    receive(database, run_of(1, project="secret"))
    token, _ = create_key(database, "reader", scopes=["read"], projects=["shop"])
    with running(database) as server:
        theirs = get_page(server, "/projects/secret", status=404, headers={"X-API-Key": token})
        nobodys = get_page(server, "/projects/nobody", status=404, headers={"X-API-Key": token})
        part = server.get("/new-runs?project=secret", headers=BROWSER | {"X-API-Key": token})
    assert theirs.text.replace("secret", "nobody") == nobodys.text
    assert part.status == 404


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/projects/shop?status=maybe", "status:"),
        ("/projects/shop?cursor=nonsense", "cursor: is not one that an answer of this server named as next"),
        ("/projects/shop?q=%00", "q: has a control character in it"),
        ("/projects/", "project: a name has 1 to 200 characters"),
        ("/projects/" + "x" * 201, "project: a name has 1 to 200 characters"),
        ("/projects/?project=a%0ab", "project: has a control character in it"),
        ("/?start=-1", "start:"),
    ],
)
def test_wrong_addresses_are_said_on_a_page(server, path, says):
    page = get_page(server, path, status=400)
    assert says in page.text


def test_address_that_there_is_not_is_said_on_a_page(server):
    assert get_page(server, "/nothing/here", status=404).title == "Not Found · Jux"


def test_programs_get_errors_as_json(server):
    answer = server.get("/projects/nothing")
    assert (answer.status, answer.json()["error"]) == (404, "Not found")


def test_runs_as_csv(server, database, p256):
    add_signer(database, p256.certificate)
    receive(database, run_of(1, branch="=HYPERLINK(1)"))
    receive(database, sign_report(run_of(2, failing=[0]), p256.key, p256.certificate))
    answer = server.get("/projects/shop?format=csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="shop-runs.csv"'
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    second, first = csv.DictReader(io.StringIO(answer.data.decode(), newline=""))
    assert (second["verdict"], second["failures"], second["signature"]) == ("failed", "1", "trusted")
    assert second["signer"] == "CN=p256 signer"
    assert first["branch"] == "'=HYPERLINK(1)"
