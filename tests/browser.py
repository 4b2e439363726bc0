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
    bytes: int = 0

    def open(self, path):
        answer = self.page.goto(self.url + path)
        assert answer is not None
        assert answer.status < 400, (path, answer.status)
        return self.page

    def expect_problems(self):
        """Forget what happened so far, which was expected."""
        self.problems.clear()

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


@contextmanager
def visiting(browser, url, *, width=1280, height=900, javascript=True, scheme="light", **options):
    """Give a visitor of a server; what went wrong at their visit fails the test at the end."""
    context = browser.new_context(
        viewport={"width": width, "height": height},
        java_script_enabled=javascript,
        color_scheme=scheme,
        **options,
    )
    context.set_default_timeout(15_000)
    page = context.new_page()
    visit = Visit(url, page)
    own = urlsplit(url).netloc

    def told(message):
        if message.type in {"error", "warning"}:
            visit.problems.append(f"console: {message.text}")

    def asked(request):
        parts = urlsplit(request.url)
        if parts.netloc != own and parts.scheme not in {"data", "blob", "about"}:
            visit.problems.append(f"another host: {request.url}")

    def answered(response):
        if response.status >= 500:
            visit.problems.append(f"{response.status}: {response.url}")

    page.on("console", told)
    page.on("pageerror", lambda error: visit.problems.append(f"script: {error}"))
    page.on("request", asked)
    page.on("response", answered)
    page.on("dialog", lambda dialog: (visit.problems.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    if javascript:
        page.add_init_script(_REPORT_VIOLATIONS)
    try:
        yield visit
    finally:
        context.close()
    assert visit.problems == []
