"""The page about the pages, compared with the code."""

from __future__ import annotations

import re
from pathlib import Path

from jux_server.store.database import open_database
from jux_server.store.schema import State
from jux_server.web import PAGES
from jux_server.web.evidence import WORDS
from jux_server.web.rendering import static_files

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
TEXT = (DOCS / "pages.md").read_text(encoding="utf-8")
#: Addresses that no reader opens: parts of pages, files, and what belongs to a page that is named.
PARTS = {"new-runs", "static", "favicon.ico", "sign-out"}


def first(path):
    return path.strip("/").split("/")[0]


def routes():
    return {route.path for router in PAGES for route in router.routes}


def test_every_page_is_named():
    named = {first(address) for address in re.findall(r"`(/[^`\s]*)`", TEXT.partition("## What broke?")[0])}
    assert {first(path) for path in routes()} - PARTS == named


def test_every_tab_of_a_run_is_described():
    tabs = {path.split("/")[3] for path in routes() if path.startswith("/reports/{report}/")}
    said = {"tests": "All tests", "errors": "Unique errors", "slowest": "Slowest", "compare": "Compare"}
    said |= {"properties": "Properties", "xml": "Raw XML"}
    assert tabs == {*said, "cases", "report.xml", "signer.pem", "tests.csv"}
    for name in said.values():
        assert f"**{name}**" in TEXT


def test_every_picture_that_is_shown_is_there():
    shown = set(re.findall(r"\(screenshots/([a-z-]+\.png)\)", TEXT))
    assert len(shown) > 5
    assert shown <= {path.name for path in (DOCS / "screenshots").glob("*.png")}


def test_states_are_explained_as_the_panel_does():
    rows = dict(re.findall(r"^\| (trusted|intact|unsigned|broken) \| (.+) \|$", TEXT, re.MULTILINE))
    assert set(rows) == {state.word for state in State} == {state.word for state in WORDS}
    for state, words in WORDS.items():
        assert rows[state.word][:25].lower() == words[:25].lower()


def test_keys_are_those_of_the_script():
    script = static_files()["jux.js"].content.decode()
    keys = set(re.findall(r'event\.key === "(.)"', script))
    line = next(line for line in TEXT.splitlines() if line.startswith("Keys:"))
    assert keys == {"j", "k", "g", "?", "/"}
    assert all(f"`{key}`" in line for key in keys)


def test_only_files_of_ours_and_htmx_are_served(tmp_path):
    open_database(str(tmp_path / "x.db")).close()
    files = static_files()
    assert set(files) == {"jux.css", "jux.js", "favicon.svg", "htmx.min.js"}
    assert files["htmx.min.js"].content.startswith(b"var htmx=")
    for name in ("jux.css", "jux.js", "favicon.svg"):
        text = files[name].content.decode()
        assert not re.search(r"https?://(?!www\.w3\.org/)|@import|url\(", text), name
