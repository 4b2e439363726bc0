"""The pages by the keyboard alone."""

from __future__ import annotations

import pytest
from browser import visiting
from made_up_shop import every_page, fill_shop
from playwright.sync_api import expect
from servers import running

from jux_server.app import Choices
from jux_server.trust import create_key

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def shop(database, p256):
    return fill_shop(database, p256)


def test_everything_by_keys(visit, shop):
    page = visit.open("/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("j")
    expect(page.get_by_role("link", name="shop")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("shop")
    for _ in range(3):
        page.keyboard.press("j")
    page.keyboard.press("k")
    expect(page.locator("table.runs tbody tr").nth(1).get_by_role("link").first).to_be_focused()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("jk?")
    expect(page.get_by_role("searchbox")).to_have_value("jk?")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    assert visit.violations() == []
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()
    page.keyboard.press("g")
    expect(page.get_by_role("heading", level=1)).to_have_text("Projects")


def test_failure_is_opened_and_followed_by_keys(visit, shop):
    page = visit.open(f"/reports/{shop}")
    page.locator("main").focus()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    trace = page.locator("details.failure[open] pre").last
    expect(trace).to_contain_text("trace line")
    page.keyboard.press("Tab")
    expect(trace).to_be_focused()  # so that it can be scrolled
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("test_1")


def test_tab_goes_everywhere_in_order_and_is_seen(visit, shop, server):
    for path in every_page(server, shop):
        page = visit.open(path)
        links = page.locator("a:visible, button:visible, summary:visible, input:visible, select:visible").count()
        stops = visit.tab_stops()
        assert len(stops) >= min(links, 500), path
        assert [stop["html"] for stop in stops if not stop["isSeen"]] == [], path
        assert [stop["html"] for stop in stops if not stop["follows"]] == [], path


def test_signing_in_and_out_by_keys(browser, database, shop):
    token, _ = create_key(database, "reader", scopes=["read"])
    with running(database, Choices(is_open_here=False)) as server, visiting(browser, server.url) as visit:
        page = visit.open("/projects/shop")
        expect(page.get_by_label("API key")).to_be_focused()
        page.keyboard.type(token)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_contain_text("shop")
        page.get_by_role("button", name="Sign out").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_theme_is_the_systems_until_another_is_chosen(browser, server, shop):
    paper = "getComputedStyle(document.body).backgroundColor"
    with visiting(browser, server.url, scheme="dark") as visit:
        page = visit.open("/")
        assert page.evaluate(paper) == "rgb(20, 23, 26)"
        page.get_by_role("button", name="Change between light and dark").press("Enter")
        assert page.evaluate(paper) == "rgb(255, 255, 255)"
        visit.open("/projects/shop")
        assert page.evaluate(paper) == "rgb(255, 255, 255)"
