"""Take the pictures of the server's pages: a real server with a made-up history, looked at with a real browser.

`python scripts/screenshots.py [DIRECTORY]` needs chromium and writes docs/screenshots: what docs/pages.md shows, the
other looks of each page below `more`, and a page that shows them all.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from made_up_history import fill
from palette_png import shrink

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from browser import chromium, visiting
from servers import running

from jux_server.app import Choices
from jux_server.store.database import open_database
from jux_server.trust import authenticate, create_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from browser import Visit
    from playwright.sync_api import Browser
    from servers import Running

ROOT = Path(__file__).resolve().parent.parent
OUTSIDE = "https://jux.example.com"  # what commands on the pages name, and not a port of this machine
LIGHT, DARK, NARROW, PRINT = "light", "dark", "narrow", "print"
SIZES = {LIGHT: (1120, 640), DARK: (1120, 640), NARROW: (360, 640), PRINT: (800, 1000)}  # pixels
#: What docs/pages.md shows besides the light pictures.
SHOWN = {"run-print"}
TITLES = {
    "empty": "An empty server",
    "projects": "Projects",
    "runs": "Runs of a project",
    "run": "A run: failures and evidence",
    "run-tests": "All tests of a run",
    "run-errors": "Unique errors",
    "run-slowest": "Slowest tests of a run",
    "run-compare": "Two runs compared",
    "run-properties": "Properties",
    "run-xml": "Raw XML",
    "test": "A test",
    "trends": "Trends",
    "history": "History",
    "flaky": "Flaky tests",
    "slowest": "Slowest tests",
    "intake": "Intake",
    "sign-in": "Signing in",
    "admin-keys": "API keys",
    "admin-signers": "Signers",
    "admin-policies": "Policies",
}
NARROW_ONES = ("projects", "runs", "run", "test", "history", "intake", "sign-in", "admin-keys")


def addresses(run: str, test: int) -> dict[str, str]:
    """Return the address of each page whose picture is taken of a server with a history."""
    tabs = {f"run-{tab}": f"/reports/{run}/{tab}" for tab in ("tests", "errors", "slowest", "compare")}
    tabs |= {f"run-{tab}": f"/reports/{run}/{tab}" for tab in ("properties", "xml")}
    sections = {section: f"/{section}/shop" for section in ("trends", "history", "flaky", "slowest")}
    own = {"projects": "/", "runs": "/projects/shop", "run": f"/reports/{run}", "test": f"/tests/{test}"}
    admin = {"admin-keys": "/admin/keys", "admin-signers": "/admin/signers", "admin-policies": "/admin/projects"}
    return own | tabs | sections | admin | {"intake": "/intake"}


def file_of(name: str, look: str) -> str:
    """Return where the picture of a page in a look is, below the directory of all."""
    if look == LIGHT:
        return f"{name}.png"
    whole = f"{name}-{look}"
    return f"{whole}.png" if whole in SHOWN else f"more/{whole}.png"


def pictures() -> Iterator[tuple[str, str]]:
    """Give the names and looks of all pictures."""
    for name in TITLES:
        yield name, LIGHT
        yield name, DARK
        if name in NARROW_ONES:
            yield name, NARROW
    yield "run", PRINT


def gallery() -> str:
    """Return the page that shows all pictures."""
    lines = ["# Pictures of all pages", "", "Of a made-up history; `python scripts/screenshots.py` takes them anew."]
    lines += ["[What the pages are for](../pages.md)."]
    for name, title in TITLES.items():
        looks = [look for one, look in pictures() if one == name]
        lines += ["", f"## {title}", "", "| " + " | ".join(looks) + " |", "|---" * len(looks) + "|"]
        lines += ["| " + " | ".join(f"![{title}, {look}]({file_of(name, look)})" for look in looks) + " |"]
    return "\n".join(lines) + "\n"


def take(visit: Visit, path: str, file: Path) -> None:
    """Write the picture of a page, with its first failure opened."""
    visit.open(path)
    failure = visit.page.locator("details.failure summary").first
    if failure.count():
        failure.click()
        visit.page.locator("details.failure[open] pre").first.wait_for()
        visit.page.mouse.move(0, 0)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(shrink(visit.page.screenshot()))


@contextmanager
def seen(browser: Browser, server: Running, look: str) -> Iterator[Visit]:
    """Give a visitor to whom pages look so."""
    width, height = SIZES[look]
    with visiting(browser, server.url, width=width, height=height, scheme=DARK if look == DARK else LIGHT) as visit:
        yield visit


def sign_in(visit: Visit, key: str) -> None:
    """Sign a visitor in."""
    visit.open("/sign-in")
    visit.page.get_by_label("API key").fill(key)
    visit.page.get_by_role("button", name="Sign in").click()
    visit.page.get_by_role("button", name="Sign out").wait_for()


def number_of_test(server: Running, key: str) -> int:
    """Return the number of the flaky test of the shop."""
    answer = server.get("/api/v1/tests?project=shop&q=test_timeout", headers={"X-API-Key": key})
    (number,) = [one["id"] for one in answer.json()["tests"] if one["classname"].endswith("test_payment")]
    return int(number)


def take_all(browser: Browser, quiet: Running, server: Running, key: str, run: str, target: Path) -> None:
    """Take the pictures of an empty server and of one with a history; both know the key."""
    paths = addresses(run, number_of_test(server, key))
    for look in SIZES:
        names = [name for name, its in pictures() if its == look]
        with seen(browser, server, look) as visit:
            if "sign-in" in names:
                take(visit, "/sign-in", target / file_of("sign-in", look))
            sign_in(visit, key)
            visit.page.emulate_media(media=PRINT if look == PRINT else "screen")
            for name in names:
                if name in paths:
                    take(visit, paths[name], target / file_of(name, look))
        if "empty" in names:
            with seen(browser, quiet, look) as visit:
                take(visit, "/", target / file_of("empty", look))


def main() -> None:
    """Fill a server and take all pictures."""
    parser = argparse.ArgumentParser(description="Take pictures of all pages.")
    parser.add_argument("target", type=Path, nargs="?", default=ROOT / "docs" / "screenshots", help="a directory")
    target = parser.parse_args().target
    with tempfile.TemporaryDirectory(prefix="jux-screenshots-") as name, chromium() as browser:
        empty, full = (open_database(str(Path(name) / file)) for file in ("empty.db", "full.db"))
        admin, _ = create_key(full, "eva", scopes=["admin"])
        sender, _ = create_key(full, "github-actions", scopes=["publish"])
        run = fill(full, authenticate(full, sender))
        with (
            running(empty, Choices(base_url=OUTSIDE)) as quiet,
            running(full, Choices(is_open_here=False, base_url=OUTSIDE)) as server,
        ):
            take_all(browser, quiet, server, admin, run, target)
    (target / "README.md").write_text(gallery(), encoding="utf-8")
    sizes = {file: file.stat().st_size for file in sorted(target.rglob("*.png"))}
    for file, size in sizes.items():
        print(f"{size:9,}  {file.relative_to(target)}")
    print(f"{sum(sizes.values()):9,}  altogether")


if __name__ == "__main__":
    main()
