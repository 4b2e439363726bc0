"""A real browser, Debian's Chromium, that reports everything a page must not do."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)
_REPORT_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) => {
  console.error(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
});
"""
_TO_THE_BEGINNING = """
() => {
  document.body.tabIndex = -1;
  document.body.focus();
  document.body.removeAttribute("tabindex");
}
"""
#: Where the keyboard is: what can be told of it, and whether one can see that it is there.
_FOCUS = """
() => {
  const one = document.activeElement, before = window.lastFocus;
  if (!one || one === document.body) return null;
  const box = one.getBoundingClientRect(), style = getComputedStyle(one);
  window.lastFocus = one;
  return {
    html: one.outerHTML.slice(0, 200),
    follows: !before || Boolean(before.compareDocumentPosition(one) & Node.DOCUMENT_POSITION_FOLLOWING),
    isSeen: box.width > 4 && box.height > 4 && box.bottom > 0 && box.top < innerHeight
      && style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
  };
}
"""


def find_browser():
    """Return the path of Chromium; without one, tests are skipped, and fail in CI."""
    found = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if found is None:
        assert "CI" not in os.environ, "chromium is missing in CI"
        pytest.skip("chromium is not installed")
    return found


@contextmanager
def chromium():
    """Give the browser, without a profile, a screen or connections of its own."""
    path = find_browser()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visit:
    """A visitor with a browser of their own; `page` is Playwright's, `problems` what must not have happened."""

    url: str
    page: object
    problems: list = field(default_factory=list)
    refused: list = field(default_factory=list)

    def wrongs(self):
        """Return all that must not have happened so far, as readable lines."""
        return self.problems + [f"status {status}" for status in self.refused]

    def open(self, path, *, status=200):
        """Go to a page that is answered with this status."""
        before = len(self.refused)
        answer = self.page.goto(self.url + path)
        assert answer is not None, f"{path} was not loaded anew"
        assert answer.status == status, f"{path}: {answer.status}"
        if status >= 400:
            assert self.refused[before:] == [status], f"{path}: {self.refused[before:]}"
            del self.refused[before:]
        return self.page

    @contextmanager
    def expecting(self, status):
        """Let the server answer with an error just once."""
        before = len(self.refused)
        yield
        assert self.refused[before:] == [status], f"answers with errors: {self.refused[before:]}"
        del self.refused[before:]

    def open_all_details(self):
        self.page.locator("details").evaluate_all("all => all.forEach((one) => { one.open = true; })")

    def violations(self):
        """Return what axe finds that keeps people out, as readable lines."""
        found = Axe().run(self.page).response["violations"]
        return [
            f"{one['id']}: {one['help']}: {node['html'][:200]} {node.get('failureSummary', '')[:300]}"
            for one in found
            if one["impact"] in {"serious", "critical"}
            for node in one["nodes"]
        ]

    def is_too_wide(self):
        """Tell whether the page can be scrolled sideways."""
        return self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")

    def tab_stops(self):
        """Press Tab from the beginning until the page has been left; return what had the focus, in that order."""
        self.page.evaluate(_TO_THE_BEGINNING)
        stops = []
        while len(stops) < 500:
            self.page.keyboard.press("Tab")
            stop = self.page.evaluate(_FOCUS)
            if stop is None or (len(stops) > 1 and stop["html"] == stops[0]["html"]):
                return stops
            stops.append(stop)
        raise AssertionError("the keyboard does not get out of the page")


@contextmanager
def visiting(browser, url, *, width=1280, height=900, javascript=True, scheme="light", **options):
    """Give a visitor of a server; what went wrong at their visit fails the test at the end.

    Options are those of Playwright's contexts, such as `reduced_motion` and `permissions`.
    """
    context = browser.new_context(
        viewport={"width": width, "height": height},
        java_script_enabled=javascript,
        color_scheme=scheme,
        **options,
    )
    context.set_default_timeout(15_000)
    if javascript:
        context.add_init_script(_REPORT_VIOLATIONS)
    visit = Visit(url, None)
    _listen(context, visit)
    visit.page = context.new_page()
    try:
        yield visit
    finally:
        context.close()
    assert not visit.wrongs(), "\n".join(visit.wrongs())


def _listen(context, visit):
    """Note what happens in all windows of a visitor."""
    own = urlsplit(visit.url).netloc

    def told(message):
        is_status = message.text.startswith("Failed to load resource: the server responded with a status of")
        if message.type in {"error", "warning"} and not is_status:  # `answered` notes these
            visit.problems.append(f"console: {message.text}")

    def asked(request):
        parts = urlsplit(request.url)
        if parts.netloc != own and parts.scheme not in {"data", "blob", "about"}:
            visit.problems.append(f"another host: {request.url}")

    def failed(request):
        if request.failure != "net::ERR_ABORTED":  # a download, or a page that was left
            visit.problems.append(f"no answer: {request.url} {request.failure}")

    def answered(response):
        if response.status >= 400:
            visit.refused.append(response.status)

    def asked_back(dialog):
        visit.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    context.on("console", told)
    context.on("weberror", lambda error: visit.problems.append(f"script: {error.error}"))
    context.on("request", asked)
    context.on("requestfailed", failed)
    context.on("response", answered)
    context.on("dialog", asked_back)
    context.on("page", lambda page: page.on("websocket", lambda one: visit.problems.append(f"socket: {one.url}")))
