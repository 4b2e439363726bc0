"""The page that says what arrived and what did not."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from kept_reports import receive
from servers import running
from web_pages import get_page, run_of

from jux_server.app import Choices
from jux_server.store import schema
from jux_server.trust import create_key, revoke_key
from jux_server.upkeep.projects import set_project
from pytest_jux.signer import sign_report

XML = {"Content-Type": "application/xml"}
SUBMIT = "/api/v1/junit/submit"


@pytest.fixture
def closed(database):
    with running(database, Choices(is_open_here=False)) as started:
        yield started


def submit(server, data, key=None, **headers):
    return server.post(SUBMIT, data, headers=XML | ({"X-API-Key": key} if key else {}) | headers)


def listed(page):
    return page.words("(//table)[last()]/tbody/tr")


def why(page):
    return page.words("//h2[text()='Why reports were rejected']/following-sibling::div[1]//tbody/tr")


def test_what_became_of_each_report_is_counted_and_listed(server, p256):
    for data in (run_of(1), run_of(1), sign_report(run_of(1), p256.key, p256.certificate), run_of(2), b"<nonsense/>"):
        submit(server, data)
    page = get_page(server, "/intake")
    assert page.words("//ul[@class='chips']/li") == ["accepted 2", "better signature 1", "duplicate 1", "rejected 1"]
    assert [row.split(" none ")[0].removeprefix("just now ") for row in listed(page)] == [
        "rejected",
        "accepted shop",
        "better signature shop",
        "duplicate shop",
        "accepted shop",
    ]
    assert len(page.all("//svg[@class='chart']/rect")) == 4


def test_reasons_are_grouped_with_a_next_step(server, database):
    set_project(database, "shop", accept="intact")
    for number in range(3):
        submit(server, run_of(number))
    submit(server, b"<nonsense/>")
    first, second = why(get_page(server, "/intake"))
    assert first.startswith("3 Report not signed: the report carries no signature")
    assert first.endswith("Sign it: pytest --jux-sign, or jux-sign.")
    assert second.startswith("1 Invalid report: not a JUnit XML report")


def test_report_leads_to_its_run_as_long_as_it_is_there(server, database):
    run = submit(server, run_of(1)).json()["test_run_id"]
    page = get_page(server, "/intake")
    assert page.all("(//table)[last()]/tbody/tr/td/a/@href") == [f"/reports/{run}"]
    with database.write() as connection:
        connection.execute(sa.update(schema.event).values(run_id=999))
    assert "deleted since" in get_page(server, "/intake").text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("kind=rejected", ["rejected"]),
        ("kind=created", ["accepted other", "accepted shop"]),
        ("project=other", ["accepted other"]),
        ("project=nothing", []),
        ("key=0", ["rejected", "accepted other", "accepted shop"]),
        ("key=5", []),
        ("kind=created&project=shop", ["accepted shop"]),
        ("hours=168", ["rejected", "accepted other", "accepted shop"]),
    ],
)
def test_filters_are_in_the_address(server, query, found):
    submit(server, run_of(1))
    submit(server, run_of(2, project="other"))
    submit(server, b"<nonsense/>")
    page = get_page(server, f"/intake?{query}")
    rows = listed(page) if found else []
    assert [row.split(" none ")[0].removeprefix("just now ") for row in rows] == found
    assert found or "Nothing matches these filters." in page.text


def test_key_is_shown_by_its_name_and_beginning(database, closed):
    token, made = create_key(database, "the build", scopes=["publish", "read"])
    submit(closed, run_of(1), token)
    page = get_page(closed, "/intake", headers={"X-API-Key": token})
    assert f"the build (jux_{made.prefix}…) 1 0 0 0" in page.words("//section[@aria-labelledby='by-key']//tr")
    assert token not in page.data.decode()
    assert listed(get_page(closed, page.link(f"the build (jux_{made.prefix}…)"), headers={"X-API-Key": token}))


def test_refused_keys_are_told_of(database, closed):
    token, _ = create_key(database, "reader", scopes=["read"])
    old, made = create_key(database, "old")
    revoke_key(database, "old")
    for key in (None, "jux_wrong000_x", old, token):
        submit(closed, run_of(1), key)
    page = get_page(closed, "/intake", headers={"X-API-Key": token})
    text = " ".join(why(page))
    assert "there is no API key in the request; from 127.0.0.1" in text
    assert "the API key 'reader' has not the scope publish" in text
    assert "jux_wrong000_x" not in page.text
    assert old not in page.text
    # One line for an address and a cause in a minute: the second refused key is not told of.
    assert "the API key is not known here" in text
    assert made.prefix not in text
    assert page.words("//ul[@class='chips']/li")[-1] == "rejected 3"


def test_bodies_that_were_not_read_are_told_of(server):
    server.post(SUBMIT, b"{}", headers={"Content-Type": "text/plain"})
    server.post("/api/v1/reports", b"{", headers={"Content-Type": "application/json"})
    server.post(SUBMIT, b"x", headers=XML | {"Content-Encoding": "br"})
    text = " ".join(why(get_page(server, "/intake")))
    for said in ("Unsupported media type", "Invalid", "Unsupported coding"):
        assert said in text


def test_flood_of_refusals_does_not_fill_the_database(closed, database):
    for _ in range(50):
        submit(closed, run_of(1))
    with database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(schema.event)).scalar() == 1


def test_key_of_a_project_sees_what_arrived_for_it_and_no_more(database, closed):
    admin, _ = create_key(database, "all", scopes=["admin"])
    token, _ = create_key(database, "shop", scopes=["read", "publish"], projects=["shop*"])
    submit(closed, run_of(1), admin)
    submit(closed, run_of(1, project="secret"), admin)
    submit(closed, run_of(1, project="secret"), token)
    submit(closed, b"<nonsense/>", admin)
    page = get_page(closed, "/intake", headers={"X-API-Key": token})
    assert page.words("//ul[@class='chips']/li")[0] == "accepted 1"
    assert len(listed(page)) == 1
    assert "secret" not in page.text
    assert "nonsense" not in page.text
    everything = get_page(closed, "/intake", headers={"X-API-Key": admin})
    assert "this API key is not for the project secret" in everything.text


def test_what_is_older_is_left_out(server, database):
    submit(server, run_of(1))
    with database.write() as connection:
        connection.execute(sa.update(schema.event).values(at=schema.event.c.at - 30 * 3_600_000_000))
    assert "Nothing arrived." in get_page(server, "/intake").text
    assert len(listed(get_page(server, "/intake?hours=168"))) == 1


def test_many_events_are_paged(server, database):
    run = receive(database, run_of(1))
    with database.write() as connection:
        (row,) = connection.execute(sa.select(schema.event)).mappings()
        values = {name: value for name, value in row.items() if name != "id"}
        connection.execute(sa.insert(schema.event), [values for _ in range(70)])
    first = get_page(server, "/intake?kind=created")
    second = get_page(server, first.link("Earlier"))
    assert (len(listed(first)), len(listed(second))) == (50, 21)
    assert str(run.id) in second.all("(//table)[last()]//a/@href")[0]
