"""Pages as a reader sees them, got from a real server; what holds for every page is checked for each that is got."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from lxml import html

BROWSER = {"Accept": "text/html,application/xhtml+xml"}
URL_ATTRIBUTES = {"href", "src", "action", "hx-get", "hx-post", "formaction", "poster", "data", "xlink:href"}


@dataclass(frozen=True)
class Page:
    """An answer: `tree` is its HTML."""

    status: int
    headers: dict
    url: str
    data: bytes
    tree: html.HtmlElement

    @property
    def title(self):
        return self.tree.findtext(".//title")

    @property
    def text(self):
        """All that is there to read, blanks as one."""
        body = self.tree.find("body") if self.tree.find("body") is not None else self.tree
        return _words(body)

    def all(self, path):
        return self.tree.xpath(path)

    def words(self, path):
        return [_words(found) for found in self.tree.xpath(path)]

    def link(self, words, kind=""):
        """Return the address of the only link with these words (and this class)."""
        links = [link for link in self.tree.iter("a") if kind in link.get("class", "")]
        found = {link.get("href") for link in links if _words(link) == words}
        assert len(found) == 1, f"{len(found)} links with {words!r} on {self.url}: {sorted(found)}"
        return found.pop()

    def commands(self):
        """Return the commands that the page offers to copy."""
        return [code.text_content() for code in self.tree.xpath("//div[@class='copyable']//code")]


def _words(element):
    return " ".join(" ".join(element.itertext()).split())


def get_page(server, path, *, status=200, headers=None, is_part=False):
    """Get a page as a browser does, and check what holds for all."""
    answer = server.get(path, headers=BROWSER | (headers or {}), redirect=False)
    assert answer.status == status, answer.data[:500]
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    text = answer.data.decode()
    tree = html.fromstring(text if text.strip() else "<p></p>")
    page = Page(answer.status, dict(answer.headers.items()), server.url + path, answer.data, tree)
    check_headers(page.headers)
    check_content(page, is_part=is_part)
    return page


def check_headers(headers):
    said = {name.lower(): value for name, value in headers.items()}
    policy = dict(part.strip().split(" ", 1) for part in said["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["form-action"] == "'self'"
    assert said["x-content-type-options"] == "nosniff"
    assert "no-store" in said["cache-control"]


def check_content(page, *, is_part=False):
    """Check that nothing on a page can run or load but what we put there, and what every reader needs."""
    for element in page.tree.iter():
        if not isinstance(element.tag, str):
            continue
        assert element.tag not in {"style", "iframe", "object", "embed", "base", "foreignobject"}, element.tag
        if element.tag == "script":
            assert element.get("src", "").split("?")[0].endswith(("/static/jux.js", "/static/htmx.min.js"))
            assert not (element.text or "").strip()
        for name, value in element.attrib.items():
            assert not name.lower().startswith("on"), (element.tag, name, value)
            assert not name.lower().startswith("hx-on"), (element.tag, name, value)
            assert name.lower() != "style", (element.tag, value)
            if name.lower() in URL_ATTRIBUTES:
                check_address(page, element, value)
    ids = Counter(element.get("id") for element in page.tree.iter() if isinstance(element.tag, str))
    assert not [name for name, times in ids.items() if name and times > 1]
    if is_part:
        return
    assert len(page.tree.findall(".//h1")) == 1
    assert page.title.endswith("· Jux")
    for field in page.tree.xpath("//input[not(@type='hidden')] | //select | //textarea"):
        is_named = field.get("aria-label") or field.xpath("ancestor::label") or field.get("id")
        assert is_named, html.tostring(field)
    for table in page.tree.iter("table"):
        assert table.find("caption") is not None
        assert all(head.get("scope") for head in table.iter("th"))


def check_address(page, element, value):
    """Check that an address stays on this server, or is a link to the web that says so."""
    parts = urlsplit(urljoin(page.url, value))
    assert parts.scheme in {"http", "https"}, value
    if parts.netloc != urlsplit(page.url).netloc:
        assert element.tag == "a", value
        assert "noopener" in element.get("rel", ""), value


def run_of(number, *, project="shop", branch="main", failing=(), cases=3, seconds=0.1, commit=None):
    """Return a report whose cases of these numbers fail."""
    properties = {"project": project, "git:branch": branch, "git:commit": commit or f"{number:040x}"}
    said = "".join(f'<property name="{name}" value="{value}"/>' for name, value in properties.items())
    rows = "".join(
        f'<testcase classname="tests.cart" name="test_{case}" time="{seconds}">'
        + (f'<failure type="AssertionError" message="assert {number} == 42">line</failure>' if case in failing else "")
        + "</testcase>"
        for case in range(cases)
    )
    head = f'<testsuite name="pytest" tests="{cases}" timestamp="2026-01-01T00:00:{number % 60:02}"'
    return f'{head} hostname="{number}"><properties>{said}</properties>{rows}</testsuite>'.encode()
