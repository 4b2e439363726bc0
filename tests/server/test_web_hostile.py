"""A project made of nothing but attacks: every page of it is got, and shows them as text."""

from __future__ import annotations

import csv
import io
import re
import shutil
from collections import Counter
from urllib.parse import urljoin, urlsplit
from xml.sax.saxutils import escape, quoteattr

import pytest
from kept_reports import receive
from lxml import etree
from servers import running
from web_pages import BROWSER, get_page

from jux_server.app import Choices
from jux_server.store.database import open_database
from jux_server.trust import create_key
from pytest_jux.signer import sign_report

MARK = "PWNED"
ATTACKS = {
    "script": f"<script>alert('{MARK}')</script>",
    "handler": f'"><img src=x onerror="alert(\'{MARK}\')">',
    "quote": f"' autofocus onfocus='alert(\"{MARK}\")' x='",
    "address": f"javascript:alert('{MARK}')",
    "style": f"</style><script>alert('{MARK}')</script>",
    "title": f"</title></svg></textarea><script>alert('{MARK}')</script>",
    "comment": f"--><script>alert('{MARK}')</script><!--",
    "template": "{{ 7 * 7777 }}{% raw %}${7*7777}#{7*7777}{{ config }}",
    "bidi": "safe\u202egnp.exe\u2066\u200f",
    "controls": "a\x7fb\x85c\u2028d\ufeff\u00ad",
    "entity": "&lt;b&gt;&amp;amp;",
    "formula": f'=HYPERLINK("http://evil.example/","{MARK}")',
    "command": "@SUM(1+1)*cmd|' /C calc'!A0",
    "htmx": f'<a hx-get="/x" hx-on:click="alert(\'{MARK}\')" hx-trigger="load">',
    "svg": f"<svg/onload=alert('{MARK}')>",
    "slashes": "../../../\\..//",
    "terminal": "#x1B[31mred#x1B]8;;javascript:alert(1)#x07link#x1B]8;;#x07\x9b31m",
    "long": "W" * 300_000,
}
HIDDEN = re.compile("[\u202a-\u202e\u2066-\u2069\u200e\u200f\x7f-\x9f\u2028\u2029\ufeff]")


def attack(number, words, project, *, failing=True):
    """Return a report that says `words` wherever it can say anything."""
    value, text = quoteattr(words), escape(words)
    names = (
        *("git:branch", "git:commit", "git:remote", "ci:build_url", "ci:provider", "ci:job", "tags", "jux:hostname"),
        *("jux:extra:" + "x", "flavour", "env:NAME"),
    )
    said = "".join(f"<property name={quoteattr(name)} value={value}/>" for name in names)
    said += f'<property name="project" value={quoteattr(project)}/><property name={value} value={value}/>'
    bad = f"<failure type={value} message={value}>{text}</failure>" if failing else ""
    cases = f'<testcase classname={value} name={value} file={value} time="0.5">{bad}</testcase>'
    cases += f'<testcase classname={value} name="plain"><error type={value} message={value}>{text}</error></testcase>'
    cases += (
        f'<testcase classname="plain" name={value}><skipped type={value} message={value}>{text}</skipped></testcase>'
    )
    cases += (
        f'<testcase classname="plain" name="retried"><flakyFailure type={value} message={value}>{text}</flakyFailure>'
    )
    cases += f"<system-out>{text}</system-out></testcase>"
    inner = f"<testsuite name={value} hostname={value}>{cases}</testsuite>"
    stamp = f"2026-01-01T00:00:{number:02}"
    return (
        f'<testsuites><testsuite name={value} timestamp="{stamp}"><properties>{said}</properties>{inner}</testsuite>'
        f'<testsuite name="second"/></testsuites>'
    ).encode()


@pytest.fixture(scope="module", params=sorted(ATTACKS))
def attacked(request, tmp_path_factory, empty_sqlite, p256):
    """Return a server whose only project is made of one kind of attack, with the attack."""
    words = ATTACKS[request.param]
    path = tmp_path_factory.mktemp("attacked") / "jux-server.db"
    shutil.copy(empty_sqlite, path)
    database = open_database(str(path))
    project = words[:190]
    for number in range(4):
        receive(database, attack(number, words, project, failing=number % 2 == 0))
    receive(database, sign_report(attack(5, words, project), p256.key, p256.certificate))
    token, _ = create_key(database, words[:100].replace("\x85", ""), scopes=["read", "publish", "admin"])
    with running(database, Choices()) as server:
        server.post("/api/v1/junit/submit", b"<" + words.encode(), headers={"Content-Type": "application/xml"})
        yield server, words, token


def crawl(server, headers=None):
    """Get every page that can be reached from the first one, parts that pages ask for included."""
    waiting, kinds, pages = ["/"], Counter(), []
    while waiting:
        path = waiting.pop(0)
        kind = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d+", "N", path)
        kinds[kind] += 1
        if kinds[kind] > 2:  # of pages that differ in a number only, two are enough
            continue
        if path in {page.url[len(server.url) :] for page in pages}:
            continue
        answer = server.get(path, headers=BROWSER | (headers or {}), redirect=False)
        if answer.status in {302, 303, 307}:
            assert urlsplit(urljoin(server.url, answer.headers["location"])).netloc == urlsplit(server.url).netloc
            continue
        assert answer.status == 200, (path, answer.status, answer.data[:300])
        if not answer.headers["content-type"].startswith("text/html"):
            continue
        page = get_page(server, path, headers=headers, is_part=b"<html" not in answer.data)
        pages.append(page)
        for address in page.all("//a/@href | //*[@hx-get]/@hx-get"):
            found = urlsplit(urljoin(page.url, address))
            if found.netloc == urlsplit(server.url).netloc:
                waiting.append(found.path + (f"?{found.query}" if found.query else ""))
    return pages


def test_every_page_shows_attacks_as_text(attacked):
    server, words, _ = attacked
    pages = crawl(server)
    kinds = {urlsplit(page.url).path.split("/")[1] for page in pages}
    assert {"", "projects", "reports"} <= kinds
    assert len(pages) >= 20
    for page in pages:
        text = page.data.decode()
        assert not HIDDEN.search(text), page.url
        assert "54439" not in text  # 7 * 7777
        assert len(page.data) < 400_000, page.url
        for element in page.tree.iter():
            assert element.tag not in {"img", "b"} or element.get("src", "").startswith("/"), page.url
            assert not element.get("autofocus"), page.url
    assert any(words[:20].strip() in page.text for page in pages) or HIDDEN.search(words) or "#x1B" in words


def test_downloads_are_no_pages(attacked):
    server, _, _ = attacked
    listed = server.get("/api/v1/reports").json()["reports"]
    for path in [f"/reports/{listed[0]['id']}/report.xml", f"/reports/{listed[0]['id']}/tests.csv"]:
        answer = server.get(path)
        assert answer.status == 200
        assert not answer.headers["content-type"].startswith("text/html")
        assert answer.headers["content-disposition"].startswith("attachment; filename=")
        assert answer.headers["x-content-type-options"] == "nosniff"
        name = answer.headers["content-disposition"].removeprefix("attachment; filename=")
        assert re.fullmatch(r'"[A-Za-z0-9._-]{1,104}"', name)


def test_tables_for_spreadsheets_have_no_formulas(attacked):
    server, _, _ = attacked
    (project,) = server.get("/api/v1/projects").json()["projects"]
    listed = server.get("/api/v1/reports").json()["reports"]
    page = get_page(server, "/")
    (address,) = set(page.all("//tbody/tr/th/a/@href"))
    export = address + ("&" if "?" in address else "?") + "format=csv"
    assert project["reports"] == 5
    for path in [export, f"/reports/{listed[0]['id']}/tests.csv"]:
        rows = list(csv.reader(io.StringIO(server.get(path).data.decode(), newline="")))
        assert len(rows) > 2
        for cell in [cell for row in rows for cell in row]:
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r")) or re.fullmatch(r"-?[\d.]+", cell), cell


def test_badge_is_a_picture_without_scripts(attacked):
    server, _, _ = attacked
    page = get_page(server, get_page(server, "/").all("//tbody/tr/th/a/@href")[0])
    (source,) = page.all("//img/@src")
    answer = server.get(source)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("image/svg+xml")
    tree = etree.fromstring(answer.data)
    names = {etree.QName(element).localname for element in tree.iter()}
    assert not names & {"script", "foreignObject", "image", "use", "a", "style"}
    assert not [name for element in tree.iter() for name in element.attrib if name.startswith("on")]
