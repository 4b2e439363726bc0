"""Take the screenshots of docs/pages.md: a real server with a made-up history, looked at with a real browser.

`python scripts/screenshots.py [DIRECTORY]` needs chromium and writes docs/screenshots/*.png.
"""

from __future__ import annotations

import datetime as dt
import random
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from browser import chromium, visiting
from servers import running

from jux_server.api.access import HERE
from jux_server.app import Choices
from jux_server.intake import Created, Intake
from jux_server.store import schema
from jux_server.store.database import Database, open_database
from jux_server.trust import Caller, add_signer, authenticate, create_key
from pytest_jux.keys import generate_private_key, self_signed_certificate
from pytest_jux.signer import sign_report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from browser import Visit

ROOT = Path(__file__).resolve().parent.parent
MODULES = ("cart.test_total", "cart.test_vat", "checkout.test_address", "checkout.test_payment", "search.test_index")
TESTS = (
    *("test_empty", "test_rounding", "test_many_items[eur]", "test_many_items[usd]", "test_negative_quantity"),
    *("test_unicode_names", "test_concurrent_updates", "test_timeout", "test_retries", "test_permissions"),
)
BROKEN = {("cart.test_vat", "test_rounding"), ("cart.test_vat", "test_many_items[eur]")}
RUNS = 40
TRACE = """    def {test}():
        cart = Cart(country="DE")
        cart.add("book", price="19.99")
>       assert cart.vat() == Decimal("1.40")
#x1B[1m#x1B[31mE       AssertionError: assert Decimal('{value}') == Decimal('1.40')#x1B[0m
#x1B[1m#x1B[31mE        +  where Decimal('{value}') = Cart(items=1).vat()#x1B[0m

#x1B[1m#x1B[31mtests/{path}.py#x1B[0m:{line}: AssertionError"""


def report(project: str, number: int, when: dt.datetime, chance: random.Random) -> bytes:
    """Return the report of one of many runs: two tests are flaky, and two broke lately."""
    broken = BROKEN if project == "shop" and number >= RUNS - 4 else set()
    cases = "".join(_case(module, test, number, broken, chance) for module in MODULES for test in TESTS)
    facts = {
        "project": project,
        "git:branch": "main" if number % 7 else "feature/vat",
        "git:commit": f"{chance.getrandbits(160):040x}",
        "git:status": "clean",
        "ci:provider": "github",
        "ci:build_url": f"https://ci.example/builds/{4000 + number}",
    }
    said = "".join(f"<property name={quoteattr(name)} value={quoteattr(value)}/>" for name, value in facts.items())
    head = f'<testsuite name="pytest" timestamp="{when.isoformat()}"><properties>{said}</properties>'
    return f"<testsuites>{head}{cases}</testsuite></testsuites>".encode()


def _case(module: str, test: str, number: int, broken: set[tuple[str, str]], chance: random.Random) -> str:
    seconds = chance.uniform(0.001, 0.2) + (number / 60 if test == "test_concurrent_updates" else 0)
    unstable = test == "test_timeout" and module == "checkout.test_payment" and chance.random() < 0.25  # noqa: PLR2004 - a quarter
    inside = ""
    if (module, test) in broken or unstable:
        value = f"1.{chance.randrange(41, 99)}"
        path = module.replace(".", "/")
        trace = TRACE.format(test=test.partition("[")[0], value=value, path=path, line=chance.randrange(10, 90))
        message = f"assert Decimal('{value}') == Decimal('1.40')"
        inside = f'<failure type="AssertionError" message={quoteattr(message)}>{escape(trace)}</failure>'
    elif test == "test_permissions" and module == "search.test_index":
        inside = '<skipped type="pytest.skip" message="needs a directory service"/>'
    names = f'classname="tests.{module}" name={quoteattr(test)}'
    return f'<testcase {names} time="{seconds:.3f}">{inside}</testcase>'


def fill(database: Database, caller: Caller) -> str:
    """Fill a database with some weeks of two projects, and return the id of the last run."""
    chance = random.Random(7)  # noqa: S311 - for pictures, not for secrets
    key = generate_private_key("ecdsa")
    certificate = self_signed_certificate(key, "shop ci")
    add_signer(database, certificate)
    intake, last, now = Intake(database), "", dt.datetime.now(dt.UTC)
    for number in range(RUNS):
        for project in ("billing", "shop"):
            when = now - dt.timedelta(minutes=18 * (RUNS - number))
            data = report(project, number, when, chance)
            data = data if number % 9 == 4 else sign_report(data, key, certificate)  # noqa: PLR2004 - some are unsigned
            stored = intake.receive(data, caller)
            assert isinstance(stored, Created)  # noqa: S101 - or the script is wrong
            _set_back(database, stored, when)
            last = str(stored.id)
    intake.receive(data, caller)
    intake.receive(data.replace(b"1.40", b"1.41"), HERE)
    intake.receive(b"<html>502 Bad Gateway</html>", caller)
    return last


def _set_back(database: Database, stored: Created, when: dt.datetime) -> None:
    at = round(when.timestamp() * 1_000_000)
    with database.write() as connection:
        run = connection.execute(
            sa.update(schema.run)
            .where(schema.run.c.public_id == stored.id)
            .values(received_at=at)
            .returning(schema.run.c.id)
        ).scalar_one()
        connection.execute(sa.update(schema.event).where(schema.event.c.run_id == run).values(at=at))
        connection.execute(sa.update(schema.document).where(schema.document.c.run_id == run).values(received_at=at))


def pictures(run: str, test: int) -> Iterator[tuple[str, str]]:
    """Give the name of each picture and the address that it shows."""
    yield "projects", "/"
    yield "runs", "/projects/shop"
    yield "run", f"/reports/{run}"
    tabs = ("tests", "errors", "slowest", "compare", "properties", "xml")
    for tab in tabs:
        yield f"run-{tab}", f"/reports/{run}/{tab}"
    yield "test", f"/tests/{test}"
    for section in ("trends", "history", "flaky", "slowest"):
        yield section, f"/{section}/shop"
    yield "intake", "/intake"
    yield "admin-keys", "/admin/keys"
    yield "admin-signers", "/admin/signers"
    yield "admin-policies", "/admin/projects"


def _take(visit: Visit, path: str, file: Path, *, whole: bool = False) -> None:
    visit.open(path)
    failure = visit.page.locator("details.failure summary").first
    if failure.count():
        failure.click()
        visit.page.locator("details.failure[open] pre").first.wait_for()
    visit.page.screenshot(path=file, full_page=whole)


def main() -> None:
    """Fill a server and take all pictures."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "screenshots"
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="jux-screenshots-") as name, chromium() as browser:
        empty = open_database(str(Path(name) / "empty.db"))
        with running(empty) as server, visiting(browser, server.url, width=1000, height=700) as visit:
            _take(visit, "/", target / "empty.png")
        database = open_database(str(Path(name) / "jux.db"))
        token, _ = create_key(database, "github-actions", scopes=["publish"])
        admin, _ = create_key(database, "eva", scopes=["admin"])
        run = fill(database, authenticate(database, token))
        with running(database, Choices(is_open_here=False)) as server:
            headers = {"X-API-Key": admin}
            (found,) = [
                one["id"]
                for one in server.get("/api/v1/tests?project=shop&q=test_timeout", headers=headers).json()["tests"]
                if "payment" in one["classname"]
            ]
            with visiting(browser, server.url, width=1000, height=700) as visit:
                _take(visit, "/sign-in", target / "sign-in.png")
                visit.page.get_by_label("API key").fill(admin)
                visit.page.get_by_role("button", name="Sign in").click()
                for picture, path in pictures(run, found):
                    _take(visit, path, target / f"{picture}.png")
                visit.page.emulate_media(media="print")
                visit.page.set_viewport_size({"width": 800, "height": 1000})
                _take(visit, f"/reports/{run}", target / "run-print.png")
                visit.page.emulate_media(media="screen", color_scheme="dark")
                visit.page.set_viewport_size({"width": 1000, "height": 700})
                for picture in ("run", "history"):
                    path = dict(pictures(run, found))[picture]
                    _take(visit, path, target / f"{picture}-dark.png")
                visit.page.set_viewport_size({"width": 360, "height": 640})
                visit.page.emulate_media(color_scheme="light")
                _take(visit, f"/reports/{run}", target / "run-narrow.png")
    for file in sorted(target.glob("*.png")):
        print(f"{file.stat().st_size:8,}  {file.name}")


if __name__ == "__main__":
    main()
