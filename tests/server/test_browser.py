"""The pages in a real browser: the ways that people go through them."""

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
from playwright.sync_api import expect
from servers import running
from web_pages import run_of

from jux_server.app import Choices
from jux_server.trust import add_signer, create_key, list_keys
from pytest_jux.keys import certificate_pem
from pytest_jux.signer import sign_report

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

SCRIPTS = Path(sys.executable).parent
LONG = b"trace line\n" * 30


@pytest.fixture
def shop(database, p256):
    """Fill a database with runs of a shop, and return the id of the last one."""
    add_signer(database, p256.certificate)
    for number in range(8):
        failing = ([1] if number % 3 == 1 else []) + ([2] if number > 5 else [])
        data = run_of(number, failing=failing, cases=12, branch="topic" if number == 3 else "main")
        data = data.replace(b">line<", b">" + LONG + b"#x1B[31mE   assert 1 == 42#x1B[0m<")
        data = data if number == 4 else sign_report(data, p256.key, p256.certificate)
        run = receive(database, data)
    return str(run.id)


def every_page(server, run):
    """Return the address of every page."""
    tests = server.get("/api/v1/tests?project=shop&q=test_2").json()["tests"]
    tabs = ("", "/tests", "/errors", "/slowest", "/compare", "/properties", "/xml", "/cases/2")
    return [
        "/",
        *(f"/{section}/shop" for section in ("projects", "trends", "history", "flaky", "slowest")),
        *(f"/reports/{run}{tab}" for tab in tabs),
        f"/tests/{tests[0]['id']}",
        "/intake",
        "/sign-in",
    ]


# --- the ways --------------------------------------------------------------------------------------------------------


def test_commands_of_the_empty_page_lead_to_the_first_run(visit, database_url, tmp_path):
    page = visit.open("/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Send the first report")
    (tmp_path / "test_first.py").write_text("def test_one():\n    assert 1 + 1 == 2\n")
    environ = {
        **{name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ},
        "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path / "home"),
        "JUX_SERVER_DATABASE": database_url,
        "PYTEST_ADDOPTS": "-p no:schemathesis -p no:cacheprovider",
    }
    (tmp_path / "home").mkdir()
    steps = page.locator("ol.steps .copyable code").all_inner_texts()
    assert steps[0] == "pip install ."
    for command in steps[1:]:
        done = subprocess.run(
            ["bash", "-ec", command],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
    page.reload()
    row = page.get_by_role("row").nth(1)
    expect(row).to_contain_text(tmp_path.name)
    expect(row).to_contain_text("passed")
    expect(row).to_contain_text("trusted")


def test_what_broke(visit, shop):
    page = visit.open("/")
    page.get_by_role("link", name="failed", exact=True).first.click()
    expect(page).to_have_title("failed: Failures · shop · Jux")
    failure = page.locator("details.failure").filter(has_text="test_2")
    expect(failure).to_contain_text("failing since")
    failure.locator("summary").click()
    expect(failure.locator("pre").last).to_contain_text("trace line")
    expect(failure.locator("pre .ansi31")).to_have_text("E   assert 1 == 42")
    failure.get_by_role("link", name="All runs of this test").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("test_2")
    expect(page.locator("dl.figures")).to_contain_text("Reliability")


def test_is_it_getting_better(visit, shop):
    page = visit.open("/projects/shop")
    page.get_by_role("link", name="Trends").click()
    expect(page.get_by_role("img", name=re.compile("^Pass rate over the last 7 runs"))).to_be_visible()
    page.get_by_role("link", name="History").click()
    first = page.locator("table.grid tbody tr").first
    expect(first).to_contain_text("test_1")
    page.get_by_role("link", name="Flaky").click()
    page.get_by_role("link", name="test_1", exact=True).click()
    expect(page.get_by_role("heading", name="Distinct failures")).to_be_visible()


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


def test_list_is_filtered_while_one_types(visit, shop):
    page = visit.open(f"/reports/{shop}/tests")
    expect(page.locator("tr[data-row]")).to_have_count(12)
    page.get_by_role("searchbox").press_sequentially("test_1")
    expect(page.locator("tr[data-row]")).to_have_count(3)
    expect(page).to_have_url(re.compile("q=test_1"))
    expect(page.get_by_role("searchbox")).to_be_focused()


def test_new_runs_announce_themselves(visit, shop, database):
    page = visit.open("/projects/shop?branch=main")
    receive(database, run_of(100))
    receive(database, run_of(101, branch="topic"))
    new = page.get_by_role("link", name="1 new run")
    expect(new).to_be_visible(timeout=25_000)
    new.click()
    expect(page.locator("table.runs tbody tr")).to_have_count(8)
    expect(page).to_have_url(re.compile("branch=main"))


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
    focused = page.locator("table.runs tbody tr").nth(1).get_by_role("link").first
    expect(focused).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("jk?")
    expect(page.get_by_role("searchbox")).to_have_value("jk?")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()
    page.keyboard.press("g")
    expect(page.get_by_role("heading", level=1)).to_have_text("Projects")


def test_failure_is_opened_by_keys(visit, shop):
    page = visit.open(f"/reports/{shop}")
    page.locator("main").focus()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator("details.failure[open] pre").last).to_contain_text("trace line")


def test_theme_is_the_systems_until_another_is_chosen(browser, server, shop):
    paper = "getComputedStyle(document.body).backgroundColor"
    with visiting(browser, server.url, scheme="dark") as visit:
        page = visit.open("/")
        assert page.evaluate(paper) == "rgb(20, 23, 26)"
        page.get_by_role("button", name="Change between light and dark").click()
        assert page.evaluate(paper) == "rgb(255, 255, 255)"
        visit.open("/projects/shop")
        assert page.evaluate(paper) == "rgb(255, 255, 255)"


def test_signing_in_and_administering(browser, database, p256):
    receive(database, run_of(1))
    token, _ = create_key(database, "the admin", scopes=["admin"])
    with running(database, Choices(is_open_here=False)) as server, visiting(browser, server.url) as visit:
        page = visit.open("/projects/shop")
        page.get_by_label("API key").fill("jux_wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_have_text("the API key is not known here")
        visit.expect_problems()  # the browser's console tells of the status 401
        page.get_by_label("API key").fill(token)
        page.get_by_role("button", name="Sign in").click()
        expect(page).to_have_url(re.compile("/projects/shop$"))

        page.get_by_role("link", name="Administration").click()
        page.get_by_label("Name", exact=True).fill("ci")
        page.get_by_role("button", name="Make the key").click()
        panel = page.get_by_role("region", name="The new API key of ci")
        made = panel.locator("code").inner_text()
        assert made.startswith("jux_")
        page.get_by_role("link", name="API keys").click()
        assert made not in page.content()
        page.get_by_role("link", name="Revoke ci").click()
        page.get_by_role("button", name="Revoke").click()
        expect(page.get_by_role("status").first).to_have_text("The API key does not work any more.")

        page.get_by_role("link", name="Signers").click()
        page.get_by_label("Certificate in PEM").fill(certificate_pem(p256.certificate).decode())
        page.get_by_role("button", name="Believe").click()
        expect(page.get_by_role("row", name=re.compile("CN=p256 signer"))).to_be_visible()

        page.get_by_role("link", name="Policies").click()
        page.get_by_role("link", name="Change shop").click()
        page.get_by_label("Accepts reports that are").select_option("trusted")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("row", name=re.compile("shop"))).to_contain_text("trusted")

        page.get_by_role("button", name="Sign out").click()
        expect(page).to_have_url(re.compile("/sign-in$"))
        page.go_back()
        expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    assert {key.name: key.state for key in list_keys(database)} == {"the admin": "active", "ci": "revoked"}


# --- what holds for all ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_kept_out(browser, server, shop, scheme):
    with visiting(browser, server.url, scheme=scheme) as visit:
        for path in every_page(server, shop):
            page = visit.open(path)
            page.locator("details").evaluate_all("all => all.forEach((one) => { one.open = true; })")
            assert visit.violations() == [], path


def test_nobody_is_kept_out_of_administration(browser, database, p256):
    add_signer(database, p256.certificate)
    receive(database, run_of(1))
    token, _ = create_key(database, "the admin", scopes=["admin"])
    with running(database) as server, visiting(browser, server.url, width=360) as visit:
        page = visit.open("/sign-in")
        page.get_by_label("API key").fill(token)
        page.get_by_role("button", name="Sign in").click()
        paths = ["/admin/keys", "/admin/signers", "/admin/projects", "/admin/project/shop", "/admin/keys/1/revoke"]
        for path in paths:
            visit.open(path)
            assert visit.violations() == [], path
            assert not visit.is_too_wide(), path


def test_narrow_screens_need_no_scrolling_sideways(browser, server, shop):
    with visiting(browser, server.url, width=360, height=640) as visit:
        for path in every_page(server, shop):
            page = visit.open(path)
            page.locator("details").evaluate_all("all => all.forEach((one) => { one.open = true; })")
            assert not visit.is_too_wide(), path


def test_narrow_screens_and_endless_names(browser, server, database):
    words = "x" * 3_000
    data = run_of(1, failing=[0], cases=2, branch=words[:200], project="p" * 190)
    data = data.replace(b'name="test_0"', f'name="{words}"'.encode()).replace(b"tests.cart", words.encode())
    run = receive(database, data.replace(b"assert 1 == 42", words.encode())).id
    with visiting(browser, server.url, width=360, height=640) as visit:
        for path in (
            "/",
            f"/projects/{'p' * 190}",
            f"/reports/{run}",
            f"/reports/{run}/tests",
            f"/history/{'p' * 190}",
        ):
            visit.open(path)
            assert not visit.is_too_wide(), path


def test_everything_can_be_read_without_javascript(browser, server, shop):
    with visiting(browser, server.url, javascript=False) as visit:
        for path in every_page(server, shop):
            page = visit.open(path)
            expect(page.get_by_role("heading", level=1)).to_be_visible()
        page = visit.open(f"/reports/{shop}")
        page.locator("details.failure").filter(has_text="test_2").locator("summary").click()
        page.get_by_role("link", name="Message and traceback").first.click()
        expect(page.locator("pre").filter(has_text="trace line")).to_be_visible()
        page.get_by_role("link", name="All tests").click()
        page.get_by_role("searchbox").fill("test_11")
        page.get_by_role("button", name="Search").click()
        expect(page.locator("tr[data-row]")).to_have_count(1)
        expect(page.get_by_role("button", name="Copy").first).to_be_hidden()


def test_print_is_a_document_with_its_evidence_and_no_navigation(visit, shop):
    page = visit.open(f"/reports/{shop}")
    page.emulate_media(media="print", color_scheme="light")
    expect(page.get_by_role("region", name=re.compile("Evidence"))).to_be_visible()
    expect(page.get_by_text("Canonical hash")).to_be_visible()
    expect(page.locator("details.failure").first).to_be_visible()
    for gone in ("header.top", "nav.tabs", "footer"):
        expect(page.locator(gone)).to_be_hidden()
    order = page.evaluate(
        "document.querySelector('#evidence').getBoundingClientRect().top"
        " < document.querySelector('.run-tab').getBoundingClientRect().top"
    )
    assert order, "the evidence comes first"
    assert page.pdf().startswith(b"%PDF")


def test_first_visit_loads_little(browser, server, database):
    for number in range(31):
        receive(database, run_of(number, cases=30, failing=range(5)))
    run = receive(database, run_of(99, cases=5_000, failing=range(500))).id
    for path in every_page(server, run):
        sizes = []
        with visiting(browser, server.url) as visit:
            visit.page.on("response", lambda answer, sizes=sizes: sizes.append(answer))
            visit.open(path)
            visit.page.wait_for_load_state("networkidle")
            total = sum(len(answer.body()) for answer in sizes)
        assert 40_000 < total < 150_000, (path, total)


def test_attacks_do_nothing_in_a_browser(browser, server, database):
    attack = "&lt;script&gt;document.title='PWNED'&lt;/script&gt;&lt;img src=x onerror=document.title='PWNED'&gt;"
    data = run_of(1, failing=[0], project=attack, branch=attack).replace(b"assert 1 == 42", attack.encode())
    run = receive(database, data.replace(b">line<", f">{attack}#x1B]8;;javascript:alert(1)#x07x<".encode())).id
    with visiting(browser, server.url) as visit:
        for path in ("/", f"/reports/{run}", f"/reports/{run}/cases/0", f"/reports/{run}/xml", "/intake"):
            page = visit.open(path)
            page.locator("details").evaluate_all("all => all.forEach((one) => { one.open = true; })")
            assert "PWNED" not in page.title() or "script" in page.title()
            assert page.locator("img[src=x]").count() == 0
            assert page.evaluate("document.title !== 'PWNED'")
