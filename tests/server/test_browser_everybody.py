"""What holds for every page in a real browser: everybody can read it, on small screens, on paper, on a slow line."""

from __future__ import annotations

import re

import pytest
from browser import visiting
from kept_reports import receive
from made_up_shop import every_page, fill_shop
from playwright.sync_api import expect
from web_pages import run_of

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def shop(database, p256):
    return fill_shop(database, p256)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_kept_out(browser, server, shop, scheme):
    with visiting(browser, server.url, scheme=scheme) as visit:
        for path in every_page(server, shop):
            visit.open(path)
            visit.open_all_details()
            assert visit.violations() == [], path
        visit.open("/projects/shop?q=nothing-is-called-so")
        assert visit.violations() == []
        visit.open("/projects/nobody", status=404)
        assert visit.violations() == []
        page = visit.open(f"/reports/{shop}")
        page.locator("details.failure summary").first.click()
        expect(page.locator("details.failure[open] pre").last).to_contain_text("trace line")
        assert visit.violations() == []


def test_nobody_is_kept_out_of_an_empty_server(browser, server):
    for scheme, width in (("light", 360), ("dark", 1280)):
        with visiting(browser, server.url, scheme=scheme, width=width) as visit:
            for path in ("/", "/intake"):
                visit.open(path)
                assert visit.violations() == [], path
                assert not visit.is_too_wide(), path


def test_narrow_screens_need_no_scrolling_sideways(browser, server, shop):
    with visiting(browser, server.url, width=360, height=640) as visit:
        for path in every_page(server, shop):
            visit.open(path)
            visit.open_all_details()
            assert not visit.is_too_wide(), path
        page = visit.open(f"/reports/{shop}")
        page.locator("details.failure summary").first.click()
        expect(page.locator("details.failure[open] pre").last).to_contain_text("trace line")
        assert not visit.is_too_wide()


def test_narrow_screens_and_endless_names(browser, server, database):
    words = "x" * 3_000
    data = run_of(1, failing=[0], cases=2, branch=words[:200], project="p" * 190)
    data = data.replace(b'name="test_0"', f'name="{words}"'.encode()).replace(b"tests.cart", words.encode())
    run = receive(database, data.replace(b"assert 1 == 42", words.encode())).id
    test = server.get(f"/api/v1/tests?project={'p' * 190}").json()["tests"][0]["id"]
    with visiting(browser, server.url, width=360, height=640) as visit:
        for path in (
            "/",
            "/intake",
            f"/tests/{test}",
            *(f"/{section}/{'p' * 190}" for section in ("projects", "trends", "history", "flaky", "slowest")),
            *(f"/reports/{run}{tab}" for tab in ("", "/tests", "/errors", "/slowest", "/compare", "/xml", "/cases/0")),
        ):
            visit.open(path)
            assert not visit.is_too_wide(), path


def test_everything_can_be_read_without_javascript(browser, server, shop):
    with visiting(browser, server.url, javascript=False) as visit:
        for path in every_page(server, shop):
            page = visit.open(path)
            expect(page.get_by_role("heading", level=1)).to_be_visible()
            expect(page.locator(".script-only").locator("visible=true")).to_have_count(0)
        page = visit.open(f"/reports/{shop}")
        page.locator("details.failure").filter(has_text="test_2").locator("summary").click()
        page.get_by_role("link", name="Message and traceback").first.click()
        expect(page.locator("pre").filter(has_text="trace line")).to_be_visible()
        page.get_by_role("link", name="All tests").click()
        page.get_by_role("searchbox").fill("test_11")
        page.get_by_role("button", name="Search").click()
        expect(page.locator("tr[data-row]")).to_have_count(1)
        page = visit.open("/projects/shop")
        page.get_by_label("Branch").select_option("topic")
        page.get_by_role("button", name="Filter").click()
        expect(page.locator("table.runs tbody tr")).to_have_count(1)


def test_print_is_a_document_with_its_evidence_and_no_navigation(visit, shop):
    page = visit.open(f"/reports/{shop}")
    page.locator("details.failure summary").first.click()
    trace = page.locator("details.failure[open] pre").last
    expect(trace).to_contain_text("trace line")
    page.emulate_media(media="print")
    expect(page.get_by_role("heading", level=1)).to_contain_text("failed")
    expect(page.get_by_role("region", name=re.compile("Evidence"))).to_be_visible()
    for words in ("Canonical hash", "jux-verify", "xmlsec1 --verify", "CN=p256 signer"):
        expect(page.get_by_text(words).first).to_be_visible()
    expect(page.locator("details.failure")).to_have_count(2)
    expect(page.locator("details.failure").last).to_be_visible()
    assert trace.evaluate("one => one.scrollHeight <= one.clientHeight + 1"), "all of the trace is on paper"
    for gone in ("header.top", "nav.tabs", "footer", "button", "form"):
        expect(page.locator(gone).locator("visible=true")).to_have_count(0)
    order = page.evaluate(
        "document.querySelector('#evidence').getBoundingClientRect().top"
        " < document.querySelector('.run-tab').getBoundingClientRect().top"
    )
    assert order, "the evidence comes first"
    assert page.pdf().startswith(b"%PDF")


def test_print_is_dark_on_light_also_of_dark_pages(browser, server, shop):
    colours = "() => { const style = getComputedStyle(document.body); return [style.color, style.colorScheme]; }"
    with visiting(browser, server.url, scheme="light") as visit:
        page = visit.open(f"/reports/{shop}")
        light = page.evaluate(colours)
        page.get_by_role("button", name="Change between light and dark").click()
        assert page.evaluate(colours) != light
        page.emulate_media(media="print")
        assert page.evaluate(colours)[0] == light[0]
    with visiting(browser, server.url, scheme="dark") as visit:
        page = visit.open(f"/reports/{shop}")
        page.emulate_media(media="print")
        assert page.evaluate(colours)[0] == light[0]


def test_forced_colours_hide_nothing(browser, server, shop):
    colour = "one => [getComputedStyle(one).backgroundColor, getComputedStyle(document.body).backgroundColor]"
    border = "all => all.map((one) => getComputedStyle(one).borderBottomColor)"
    with visiting(browser, server.url, forced_colors="active") as visit:
        test = server.get("/api/v1/tests?project=shop&q=test_1").json()["tests"][0]["id"]
        for path, shape in ((f"/tests/{test}", ".strip .cell.failed"), ("/history/shop", ".grid thead .cell.failed")):
            page = visit.open(path)
            drawn, paper = page.locator(shape).first.evaluate(colour)
            assert drawn != paper, path
        current = page.locator(".tabs a[aria-current]").evaluate_all(border)
        others = page.locator(".tabs a:not([aria-current])").evaluate_all(border)
        assert not set(current) & set(others)


def test_nothing_moves_for_those_who_want_that(browser, server, shop):
    moving = "() => [...document.querySelectorAll('*')].filter((one) => {"
    moving += " const style = getComputedStyle(one);"
    moving += " return style.animationName !== 'none' || parseFloat(style.transitionDuration) > 0; }).length"
    for preference, is_moving in (("reduce", False), ("no-preference", True)):
        with visiting(browser, server.url, reduced_motion=preference) as visit:
            assert bool(visit.open("/projects/shop").evaluate(moving)) is is_moving


def test_first_visit_loads_little(browser, server, database):
    for number in range(31):
        receive(database, run_of(number, cases=30, failing=range(5)))
    run = receive(database, run_of(99, cases=5_000, failing=range(500))).id
    for path in every_page(server, run):
        sizes = []
        with visiting(browser, server.url) as visit:
            network = visit.page.context.new_cdp_session(visit.page)
            network.send("Network.enable")
            network.on("Network.loadingFinished", lambda done, sizes=sizes: sizes.append(done["encodedDataLength"]))
            visit.open(path)
            visit.page.wait_for_load_state("networkidle")
        assert len(sizes) >= 4, "the page, the styles, and two scripts"
        assert 50_000 < sum(sizes) < 150_000, (path, sizes)


def test_attacks_do_nothing_in_a_browser(browser, server, database):
    attack = "&lt;script&gt;document.title='PWNED'&lt;/script&gt;&lt;img src=x onerror=document.title='PWNED'&gt;"
    data = run_of(1, failing=[0], project=attack, branch=attack).replace(b"assert 1 == 42", attack.encode())
    run = receive(database, data.replace(b">line<", f">{attack}#x1B]8;;javascript:alert(1)#x07x<".encode())).id
    with visiting(browser, server.url) as visit:
        for path in ("/", f"/reports/{run}", f"/reports/{run}/cases/0", f"/reports/{run}/xml", "/intake"):
            page = visit.open(path)
            visit.open_all_details()
            assert "PWNED" not in page.title() or "script" in page.title()
            assert page.locator("img[src=x]").count() == 0
            assert page.evaluate("document.title !== 'PWNED'")
