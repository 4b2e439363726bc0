"""The page that says what arrived and what did not."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa
from kept_reports import receive
from servers import running
from web_pages import get_page, run_of

from jux_server.api.access import Gate
from jux_server.app import Choices
from jux_server.store import schema
from jux_server.store.database import now, open_database
from jux_server.store.queries import events
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


def drawn(page):
    """Return how many columns the chart has of each kind."""
    return {path.get("class"): path.get("d").count("z") for path in page.all("//svg[@class='chart']/path")}


def counted(page, by):
    return {
        row.split(" ")[0]: row.split(" ")[-4:] for row in page.words(f"//section[@aria-labelledby='{by}']//tbody/tr")
    }


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
    assert drawn(page) == {"created": 1, "attached": 1, "duplicate": 1, "rejected": 1}
    assert page.words("//details//tbody/tr/td") == ["2", "1", "1", "1"]


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
    # One line for an address and a cause in a minute: an unknown key does not hide one that was revoked.
    assert "the API key is not known here" in text
    assert f"jux_{made.prefix}… was revoked" in text
    assert page.words("//ul[@class='chips']/li")[-1] == "rejected 4"


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


def test_key_of_a_project_reads_no_names_of_other_keys(database, closed):
    _, made = create_key(database, "the root", scopes=["admin"])
    token, _ = create_key(database, "shop", scopes=["read"], projects=["shop"])
    page = get_page(closed, f"/intake?key={made.id}", headers={"X-API-Key": token})
    assert "the root" not in page.text
    assert made.prefix not in page.text


def test_cursor_tells_nothing_of_what_one_does_not_see(database):
    note(database, project="shop")
    note(database, project="secret")
    wanted = events.Wanted(0, ["shop"])
    with database.read() as connection:
        hidden = connection.execute(sa.select(schema.event.c.id).where(schema.event.c.project == "secret")).scalar_one()
        for number in (hidden, hidden + 1):
            assert events.list_events(connection, wanted, before=number, limit=5) == ([], None)


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


def test_figures_are_those_of_the_wanted_project_and_key(database, closed):
    first, made = create_key(database, "first", scopes=["admin"])
    second, _ = create_key(database, "second", scopes=["publish"])
    for key, project, number in ((first, "shop", 1), (first, "other", 2), (second, "other", 3), (second, "other", 3)):
        submit(closed, run_of(number, project=project), key)
    of_project = get_page(closed, "/intake?project=other", headers={"X-API-Key": first})
    assert of_project.words("//ul[@class='chips']/li")[:3] == ["accepted 2", "better signature 0", "duplicate 1"]
    assert drawn(of_project) == {"created": 1, "duplicate": 1}
    assert counted(of_project, "by-key") == {"first": ["1", "0", "0", "0"], "second": ["1", "0", "1", "0"]}
    assert list(counted(of_project, "by-project")) == ["other", "shop"]  # the others are a click away
    assert of_project.words("//section//a[@aria-current]") == ["other"]
    of_key = get_page(closed, f"/intake?key={made.id}", headers={"X-API-Key": first})
    assert of_key.words("//ul[@class='chips']/li")[0] == "accepted 2"
    assert counted(of_key, "by-project") == {"shop": ["1", "0", "0", "0"], "other": ["1", "0", "0", "0"]}
    nothing = get_page(closed, "/intake?project=nothing", headers={"X-API-Key": first})
    assert nothing.link("Take them away") == "/intake"


def test_every_reason_has_a_next_step(database, closed):
    token, _ = create_key(database, "build", scopes=["publish", "read"], projects=["*"])
    other, _ = create_key(database, "other", scopes=["publish"], projects=["other"])
    reader, _ = create_key(database, "reader", scopes=["read"])
    set_project(database, "signed", accept="intact")
    submit(closed, run_of(1, project="signed"), token)
    submit(closed, run_of(1), other)
    submit(closed, b"<nonsense/>", token)
    for key in (None, "jux_wrong000_x", reader):
        submit(closed, run_of(1), key)
    submit(closed, b"x", token, **{"Content-Type": "text/plain"})
    submit(closed, b"x", token, **{"Content-Encoding": "br"})
    submit(closed, b"x", token, **{"Content-Encoding": "gzip"})
    for said in ({"canonical_hash": "x"}, {"canonical_hash": "sha256:" + "0" * 64}):
        body = json.dumps({"report": run_of(1).decode(), **said}).encode()
        closed.post("/api/v1/reports", body, headers={"Content-Type": "application/json", "X-API-Key": token})
    page = get_page(closed, "/intake", headers={"X-API-Key": token})
    table = "//h2[text()='Why reports were rejected']/following-sibling::div[1]//tbody/tr"
    steps = dict(zip(page.words(f"{table}/td[2]"), page.words(f"{table}/td[4]"), strict=True))
    assert {reason.partition(":")[0] for reason in steps} == {
        *("API key refused", "Authentication required", "Canonical hash differs", "Invalid body"),
        *("Invalid canonical hash", "Invalid report", "Not allowed", "Report not signed", "Unsupported coding"),
        "Unsupported media type",
    }
    assert all(steps.values()), steps


def test_report_that_is_too_large_is_told_of(database):
    with running(database, Choices(largest_report=1_000)) as server:
        submit(server, run_of(1, cases=50))
        page = get_page(server, "/intake")
    assert why(page)[0].startswith("1 Report too large: ")
    assert why(page)[0].endswith("The server's setting max_report_size is the bound.")


def test_revoked_key_is_named_by_its_beginning(database, closed):
    reader, _ = create_key(database, "reader", scopes=["read"])
    old, made = create_key(database, "old")
    revoke_key(database, "old")
    submit(closed, run_of(1), old)
    page = get_page(closed, "/intake", headers={"X-API-Key": reader})
    assert f"the API key jux_{made.prefix}… was revoked; from 127.0.0.1" in page.text
    assert old not in page.data.decode()


def test_senders_with_many_addresses_do_not_fill_the_database(database):
    gate = Gate(database, is_open_here=False)
    assert sum(gate.is_news(f"2001:db8::{number:x}", "API key refused") for number in range(500)) == 60


def note(database, **values):
    usual = {"at": now(), "kind": "created", "project": "shop", "reason": ""}
    with database.write() as connection:
        (number,) = connection.execute(sa.insert(schema.event).values(usual | values)).inserted_primary_key
    return number


def test_what_belongs_to_no_project_is_for_those_who_see_all(database):
    note(database, kind="rejected", project="")
    with database.read() as connection:
        of_all = events.arrivals(connection, events.Wanted(0), None)
        of_some = events.arrivals(connection, events.Wanted(0), lambda _: True)
    assert (of_all.totals, of_all.hours != {}) == ({"rejected": 1}, True)
    assert (of_some.totals, of_some.hours, of_some.among) == ({}, {}, [])


def test_events_that_came_late_are_listed_by_their_time(database):
    at = now()
    numbers = [note(database, at=at + later) for later in (5, 3, 4, 4, 1)]
    listed_, following, wanted = [], None, events.Wanted(at)
    with database.read() as connection:
        while len(listed_) < 5:
            rows, following = events.list_events(connection, wanted, before=following, limit=2)
            listed_ += [row.id for row in rows]
        assert following is None
        assert listed_ == [numbers[one] for one in (0, 3, 2, 1, 4)]
        assert events.list_events(connection, wanted, before=99, limit=2) == ([], None)  # deleted meanwhile


def test_key_for_very_many_projects_sees_what_arrived(database):
    note(database, project="team/7")
    note(database, project="other")
    among = [f"team/{number}" for number in range(100_000)]
    wanted = events.Wanted(0, among)
    with database.read() as connection:
        rows, _ = events.list_events(connection, wanted, before=None, limit=5)
    assert [row.project for row in rows] == ["team/7"]


def test_reasons_of_very_many_are_said_to_be_of_the_newest(server, database, monkeypatch):
    monkeypatch.setattr(events, "MOST_REASONS", 3)
    for number in range(5):
        note(database, kind="rejected", reason=f"Invalid report: {number}")
    page = get_page(server, "/intake")
    assert "Counted among the newest 3 of 5." in page.text
    assert why(page)[0].startswith("3 Invalid report: 4")


def test_week_of_very_many_is_light(server, database):
    hour = now() // events.HOUR
    kinds = [(hour - number, kind) for number in range(168) for kind in events.KINDS]
    rows = [{"at": at * events.HOUR, "kind": kind, "project": f"p{at % 30}", "reason": "x: y"} for at, kind in kinds]
    with database.write() as connection:
        connection.execute(sa.insert(schema.event), [row for row in rows for _ in range(3)])
    page = get_page(server, "/intake?hours=168")
    assert drawn(page) == dict.fromkeys(events.KINDS, 168)
    assert "and 10 more" in page.text
    assert len(page.data) < 75_000


def test_counting_reads_no_rows_of_events(empty_sqlite):
    database = open_database(str(empty_sqlite))
    asked = []
    sa.event.listen(database.engine, "before_cursor_execute", lambda *args: asked.append(args[2:4]))
    with database.read() as connection:
        events.arrivals(connection, events.Wanted(0, project="shop"), bool)
        counting = [(text, values) for text, values in asked if "count(*)" in text]
        plans = [connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values).all() for text, values in counting]
    database.close()
    assert len(plans) == 2
    assert all("USING COVERING INDEX ix_event_at" in str(plan) for plan in plans)
