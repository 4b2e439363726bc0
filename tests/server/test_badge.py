"""The badge of a project."""

from __future__ import annotations

from xml.sax.saxutils import escape

import pytest
from kept_reports import receive
from lxml import etree
from servers import running
from web_pages import BROWSER, run_of

from jux_server.app import Choices
from jux_server.trust import create_key
from jux_server.web.links import Links
from pytest_jux.signer import sign_report


@pytest.fixture
def public(database):
    with running(database, Choices(is_open_here=False, public_badges=True)) as started:
        yield started


def badge(server, path="/badge/shop.svg", **headers):
    answer = server.get(path, headers=headers)
    assert answer.status == 200, answer.data
    assert answer.headers["content-type"] == "image/svg+xml"
    tree = etree.fromstring(answer.data)
    return answer, [text.text for text in tree.iter("{*}text")], tree


def badge_for(server, name):
    """Return the picture of a project that may not be there."""
    answer = server.get(Links().badge(name))
    assert answer.status == 200, answer.data
    return etree.fromstring(answer.data)


@pytest.mark.parametrize(
    ("failing", "says", "colour"),
    [([], "3 passed", "#1a7f4b"), ([0], "1 of 3 failed", "#b3201a")],
)
def test_badge_says_how_the_newest_run_ended(server, database, failing, says, colour):
    receive(database, run_of(1))
    receive(database, run_of(2, failing=failing))
    _, texts, tree = badge(server)
    assert texts == ["shop", says]
    assert tree.findtext("{*}title") == f"shop: {says}"
    assert colour in etree.tostring(tree).decode()


def test_badge_of_a_run_that_was_changed_is_not_green(server, database, p256):
    receive(database, sign_report(run_of(1, failing=[0]), p256.key, p256.certificate).replace(b"== 42", b"== 43"))
    _, texts, tree = badge(server)
    assert texts == ["shop", "signature broken"]
    assert "#b3201a" in etree.tostring(tree).decode()


def test_badge_is_of_the_default_branch_or_the_one_asked_for(server, database):
    receive(database, run_of(1))
    receive(database, run_of(2, branch="topic", failing=[0]))
    assert badge(server)[1][1] == "3 passed"
    assert badge(server, "/badge/shop.svg?branch=topic")[1][1] == "1 of 3 failed"
    assert badge(server, "/badge/shop.svg?branch=gone")[1][1] == "no runs"


def test_badge_that_did_not_change_is_not_sent_again(server, database):
    receive(database, run_of(1))
    first = badge(server)[0]
    assert first.headers["cache-control"] == "private, no-cache"
    again = server.get("/badge/shop.svg", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status, again.data) == (304, b"")
    receive(database, run_of(2, failing=[0]))
    assert badge(server, **{"If-None-Match": first.headers["etag"]})[1][1] == "1 of 3 failed"


@pytest.mark.parametrize("name", ["a/b", "..", "名前プロジェクト", "x" * 200, "a&b", "50 %"])
def test_badge_of_any_name_fits(server, database, name):
    receive(database, run_of(1, project=name.replace("&", "&amp;")))
    links = server.get("/", headers=BROWSER).data.decode()
    assert links
    _, texts, tree = badge(server, Links().badge(name))
    assert texts[0] == (name if len(name) <= 40 else name[:39] + "…")
    width = float(tree.get("width"))
    ends = [float(text.get("x")) + float(text.get("textLength")) / 2 for text in tree.iter("{*}text")]
    assert 0 < ends[0] < ends[1] <= width - 5


def test_badge_is_as_wide_as_its_text(public):
    names = ["iiiiiiiiii", "aaaaaaaaaa", "WWWWWWWWWW", "\u540d" * 10]
    widths = [float(badge_for(public, name).get("width")) for name in names]
    assert widths == sorted(set(widths))
    accents = badge_for(public, "e\u0301" * 10)  # ten letters, each with an accent of its own
    assert accents.get("width") == badge_for(public, "eeeeeeeeee").get("width")


@pytest.mark.parametrize(
    "name", ['"><script>alert(1)</script>', "</title><image href='//evil'/>", "{{ 7*7 }}", "\u202eevil"]
)
def test_hostile_names_are_text(server, database, name):
    receive(database, run_of(1, project=escape(name, {'"': "&quot;"})))
    tree = badge_for(server, name.replace("\u202e", "\\u202e"))
    assert [element.tag.rpartition("}")[2] for element in tree.iter()] == [
        "svg",
        "title",
        *["path"] * 2,
        "g",
        *["text"] * 2,
    ]
    assert next(tree.iter("{*}text")).text == name.replace("\u202e", "\\u202e")
    assert tree.findtext("{*}title").endswith(": 3 passed")
    for element in tree.iter():
        assert not any(attribute.startswith("on") or attribute in {"style", "href"} for attribute in element.attrib)


def test_badge_of_a_project_that_is_not_there(server):
    assert server.get("/badge/nothing.svg").status == 404


def test_badge_needs_a_key_where_pages_do(database):
    receive(database, run_of(1))
    token, _ = create_key(database, "reader", scopes=["read"], projects=["shop"])
    other, _ = create_key(database, "other", scopes=["read"], projects=["other"])
    with running(database, Choices(is_open_here=False)) as server:
        assert server.get("/badge/shop.svg", headers=BROWSER, redirect=False).status == 401
        assert badge(server, **{"X-API-Key": token})[1] == ["shop", "3 passed"]
        hidden = server.get("/badge/shop.svg", headers={"X-API-Key": other})
        absent = server.get("/badge/none.svg", headers={"X-API-Key": other})
    assert (hidden.status, absent.status) == (404, 404)
    assert hidden.data.replace(b"shop", b"none") == absent.data


def test_public_badges_need_no_key_and_do_not_say_whether_there_is_a_project(database):
    receive(database, run_of(1))
    with running(database, Choices(is_open_here=False, public_badges=True)) as server:
        answer, texts, _ = badge(server, **{"Sec-Fetch-Site": "cross-site"})
        assert texts == ["shop", "3 passed"]
        assert answer.headers["cache-control"] == "no-cache"
        assert badge(server, "/badge/nothing.svg")[1] == ["nothing", "no runs"]
        assert server.get("/projects/shop").status == 401
