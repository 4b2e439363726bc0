"""The ways that people go through the pages, in a real browser."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from browser import visiting
from kept_reports import receive
from made_up_shop import fill_shop
from playwright.sync_api import expect
from servers import running
from web_pages import run_of

from jux_server.app import Choices
from jux_server.trust import create_key

SCRIPTS = Path(sys.executable).parent
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def shop(database, p256):
    return fill_shop(database, p256)


def run_copied(command, directory, database_url):
    """Run a command as somebody does who copied it into a shell, in a directory of their project."""
    home = directory / "home"
    home.mkdir(exist_ok=True)
    environ = {
        **{name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ},
        "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "JUX_SERVER_DATABASE": database_url,
        "PYTEST_ADDOPTS": "-p no:schemathesis -p no:cacheprovider",
    }
    done = subprocess.run(
        ["bash", "-ec", command], cwd=directory, env=environ, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


@on_sqlite
def test_commands_of_the_empty_page_lead_to_the_first_run(visit, database_url, tmp_path):
    page = visit.open("/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Send the first report")
    (tmp_path / "test_first.py").write_text("def test_one():\n    assert 1 + 1 == 2\n")
    steps = page.locator("ol.steps .copyable code").all_inner_texts()
    assert steps[0] == "pip install ."
    for command in steps[1:]:
        run_copied(command, tmp_path, database_url)
    page.reload()
    row = page.get_by_role("row").nth(1)
    expect(row).to_contain_text(tmp_path.name)
    expect(row).to_contain_text("passed")
    expect(row).to_contain_text("trusted")


@on_sqlite
def test_commands_of_the_empty_page_send_a_report_that_is_there_already(visit, database_url, tmp_path, real_report):
    page = visit.open("/")
    ours, others = page.locator("main > .copyable code").all_inner_texts()
    (tmp_path / "report.xml").write_bytes(real_report)
    run_copied(ours, tmp_path, database_url)
    (tmp_path / "report.xml").write_bytes(run_of(1, project="of another runner"))
    assert '"test_run_id"' in run_copied(others, tmp_path, database_url)
    page.reload()
    expect(page.get_by_role("row")).to_have_count(3)
    expect(page.get_by_role("row", name=re.compile("of another runner"))).to_contain_text("unsigned")


def test_what_broke(visit, shop):
    page = visit.open("/")
    page.get_by_role("link", name="shop", exact=True).click()
    page.get_by_role("row").nth(1).get_by_role("link", name="failed", exact=True).click()
    expect(page).to_have_title("failed: Failures · shop · Jux")
    failure = page.get_by_role("group").filter(has_text="test_2")
    expect(failure).to_contain_text("failing since")
    failure.locator("summary").click()
    expect(failure.locator("pre").last).to_contain_text("trace line")
    expect(failure.locator("pre .ansi31")).to_have_text("E   assert 1 == 42")
    failure.get_by_role("link", name="All runs of this test").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("test_2")
    expect(page.get_by_text("Reliability", exact=True)).to_be_visible()


@on_sqlite
def test_is_it_getting_better(visit, shop):
    page = visit.open("/projects/shop")
    page.get_by_role("link", name="Trends").click()
    expect(page.get_by_role("img", name=re.compile("^Pass rate over the last 7 runs"))).to_be_visible()
    page.get_by_role("link", name="History").click()
    expect(page.get_by_role("row").nth(1)).to_contain_text("test_1")
    page.get_by_role("link", name="Flaky").click()
    page.get_by_role("link", name="test_1", exact=True).click()
    expect(page.get_by_role("heading", name="Distinct failures")).to_be_visible()


@on_sqlite
def test_who_signed_this(browser, server, shop, tmp_path):
    with visiting(browser, server.url, permissions=["clipboard-read", "clipboard-write"]) as visit:
        page = visit.open(f"/reports/{shop}")
        panel = page.get_by_role("region", name=re.compile("Evidence"))
        expect(panel).to_contain_text("Signed by somebody this server believes, and unchanged since.")
        expect(panel).to_contain_text("CN=p256 signer")
        panel.get_by_text("Check it yourself").click()
        commands = []
        for button in panel.get_by_role("button", name="Copy").all():
            button.click()
            expect(button).to_have_text("Copied")
            commands.append(page.evaluate("navigator.clipboard.readText()"))
        with page.expect_download() as download:
            panel.get_by_role("link", name="Download the report as it was received").click()
        kept = Path(download.value.path()).read_bytes()
    assert [shlex.split(command)[0] for command in commands] == ["curl", "curl", "jux-verify", "xmlsec1"]
    for command in commands:
        words = shlex.split(command)
        if words[0] == "xmlsec1" and not shutil.which("xmlsec1"):
            assert "CI" not in os.environ, "xmlsec1 is missing in CI"
            continue
        words[0] = str(SCRIPTS / words[0]) if words[0].startswith("jux") else words[0]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
    (fetched,) = tmp_path.glob("sha256-*.xml")
    assert fetched.read_bytes() == kept


@on_sqlite
def test_filters_are_kept_in_the_address_and_by_the_back_button(visit, shop):
    page = visit.open("/projects/shop")
    rows = page.locator("table.runs tbody tr")
    expect(rows).to_have_count(8)
    page.get_by_role("link", name="failed", exact=True).first.click()
    expect(page).to_have_url(re.compile(r"\?status=failed$"))
    expect(rows).to_have_count(4)
    page.get_by_label("Branch").select_option("topic")
    expect(page).to_have_url(re.compile("branch=topic"))
    expect(page.get_by_text("No run matches these filters.")).to_be_visible()
    page.go_back()
    expect(rows).to_have_count(4)
    page.go_back()
    expect(rows).to_have_count(8)


@on_sqlite
def test_a_chip_that_is_set_is_taken_away_by_a_click(visit, shop):
    page = visit.open("/projects/shop?branch=main")
    chips = page.get_by_role("list", name="Filters")
    chips.get_by_role("link", name="unsigned").click()
    expect(page.locator("table.runs tbody tr")).to_have_count(1)
    chips.get_by_role("link", name="unsigned").click()
    expect(page).to_have_url(re.compile(r"\?branch=main$"))
    expect(page.locator("table.runs tbody tr")).to_have_count(7)


@on_sqlite
def test_list_is_filtered_while_one_types(visit, shop):
    page = visit.open(f"/reports/{shop}/tests")
    expect(page.locator("tr[data-row]")).to_have_count(12)
    page.get_by_role("searchbox").press_sequentially("test_1")
    expect(page.locator("tr[data-row]")).to_have_count(3)
    expect(page).to_have_url(re.compile("q=test_1"))
    expect(page.get_by_role("searchbox")).to_be_focused()


@on_sqlite
def test_list_that_could_not_be_filtered_says_so(visit, shop):
    page = visit.open(f"/reports/{shop}/tests")
    page.route("**/tests?q=*", lambda route: route.fulfill(status=503, body="busy"))
    with visit.expecting(503):
        page.get_by_role("searchbox").press_sequentially("x")
        expect(page.get_by_text("The server did not answer as it should")).to_be_visible()
    visit.problems[:] = [one for one in visit.problems if "Response Status Error Code 503" not in one]  # htmx's own
    expect(page.locator("tr[data-row]")).to_have_count(12)
    page.unroute("**/tests?q=*")
    page.get_by_role("searchbox").press("Backspace")
    page.get_by_role("searchbox").press_sequentially("test_1")
    expect(page.locator("tr[data-row]")).to_have_count(3)
    expect(page.get_by_text("The server did not answer as it should")).to_be_hidden()


@on_sqlite
def test_narrow_pages_open_where_the_newest_is(browser, server, shop):
    with visiting(browser, server.url, width=360) as visit:
        page = visit.open("/trends/shop?branch=main")
        chart = page.locator(".wide.newest").first
        assert chart.evaluate("one => one.scrollWidth > one.clientWidth")
        newest = chart.locator("text.when.last")
        expect(newest).to_be_in_viewport()


@on_sqlite
def test_new_runs_announce_themselves(visit, shop, database):
    page = visit.open("/projects/shop?branch=main")
    receive(database, run_of(100))
    receive(database, run_of(101, branch="topic"))
    new = page.get_by_role("link", name="1 new run")
    expect(new).to_be_visible(timeout=25_000)
    new.click()
    expect(page.locator("table.runs tbody tr")).to_have_count(8)
    expect(page).to_have_url(re.compile("branch=main"))


@on_sqlite
def test_who_is_signed_out_elsewhere_gets_back_to_what_they_looked_at(browser, database, shop):
    token, _ = create_key(database, "reader", scopes=["read"])
    with running(database, Choices(is_open_here=False)) as server, visiting(browser, server.url) as visit:
        page = visit.open(f"/sign-in?next=/reports/{shop}/tests")
        page.get_by_label("API key").fill(token)
        page.get_by_role("button", name="Sign in").click()
        other = page.context.new_page()
        other.goto(server.url)
        other.get_by_role("button", name="Sign out").click()
        expect(other.get_by_role("heading", level=1)).to_have_text("Sign in")
        page.get_by_role("searchbox").press_sequentially("t")
        expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
        page.get_by_label("API key").fill(token)
        page.get_by_role("button", name="Sign in").click()
        expect(page).to_have_url(re.compile(f"/reports/{shop}/tests"))
