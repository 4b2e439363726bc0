"""Some days of three made-up projects, for pictures of the server's pages: failing, flaky, signed and tampered runs."""

from __future__ import annotations

import datetime as dt
import random
from typing import TYPE_CHECKING, NamedTuple
from xml.sax.saxutils import escape, quoteattr

import sqlalchemy as sa

from jux_server.api.access import HERE
from jux_server.intake import Created, Intake
from jux_server.store import schema
from jux_server.trust import Caller, add_signer
from pytest_jux.keys import generate_private_key, self_signed_certificate
from pytest_jux.signer import sign_report

if TYPE_CHECKING:
    from jux_server.store.database import Database

RUNS = 40
_APART = dt.timedelta(minutes=34)
_MODULES = {
    "shop": ("cart.test_total", "cart.test_vat", "checkout.test_address", "checkout.test_payment", "search.test_index"),
    "billing": ("invoices.test_numbers", "invoices.test_pdf", "dunning.test_letters", "ledger.test_balance"),
    "shop/old-app": ("test_everything",),
}
_TESTS = (
    *("test_empty", "test_rounding", "test_many_items[eur]", "test_many_items[usd]", "test_negative_quantity"),
    *("test_unicode_names", "test_concurrent_updates", "test_timeout", "test_retries", "test_permissions"),
)
_RED = "#x1B[1m#x1B[31m"


class _Failure(NamedTuple):
    element: str
    type: str
    message: str
    trace: str

    def __str__(self) -> str:
        words = f"type={quoteattr(self.type)} message={quoteattr(self.message)}"
        return f"<{self.element} {words}>{escape(self.trace)}</{self.element}>"


def _wrong_vat(module: str, test: str, chance: random.Random) -> _Failure:
    value = f"1.{chance.randrange(41, 99)}"
    trace = f"""    def {test.partition("[")[0]}():
        cart = Cart(country="DE")
        cart.add("book", price="19.99")
>       assert cart.vat() == Decimal("1.40")
{_RED}E       AssertionError: assert Decimal('{value}') == Decimal('1.40')#x1B[0m
{_RED}E        +  where Decimal('{value}') = Cart(items=1).vat()#x1B[0m

{_RED}tests/{module.replace(".", "/")}.py#x1B[0m:{17 + 20 * ("[" in test)}: AssertionError"""
    return _Failure("failure", "AssertionError", f"assert Decimal('{value}') == Decimal('1.40')", trace)


def _no_answer(element: str) -> _Failure:
    message = "the payment gateway did not answer within 2.0 s"
    trace = f"""    def charge(order, gateway):
>       return gateway.post("/charges", order.total, timeout=2.0)

{_RED}shop/payment.py#x1B[0m:88:
_ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _

{_RED}E       TimeoutError: {message}#x1B[0m

{_RED}shop/gateway.py#x1B[0m:41: TimeoutError"""
    return _Failure(element, "TimeoutError", f"TimeoutError: {message}", trace)


def _refused() -> _Failure:
    message = 'failed on setup with "ConnectionRefusedError: [Errno 111] Connection refused"'
    trace = f"""    @pytest.fixture
    def index():
>       with connect("127.0.0.1", 9200) as connection:
{_RED}E       ConnectionRefusedError: [Errno 111] Connection refused#x1B[0m

{_RED}tests/search/conftest.py#x1B[0m:12: ConnectionRefusedError"""
    return _Failure("error", "ConnectionRefusedError", message, trace)


def _inside(project: str, number: int, module: str, test: str, chance: random.Random) -> str:
    """Return what is in the element of a case: two tests broke lately, two are flaky, one is never run."""
    draw = chance.random()
    found: object = ""
    match project, module, test:
        case "shop", "cart.test_vat", "test_rounding" | "test_many_items[eur]" if number >= RUNS - 4:
            found = _wrong_vat(module, test, chance)
        case "shop", "checkout.test_payment", "test_timeout" if draw < 0.2 or number == RUNS - 1:  # noqa: PLR2004 - a fifth
            found = _no_answer("failure")
        case "shop", "checkout.test_payment", "test_retries" if draw < 0.15:  # noqa: PLR2004 - now and then
            found = _no_answer("flakyFailure")
        case "shop", "search.test_index", "test_empty" | "test_concurrent_updates" if number == RUNS - 13:
            found = _refused()
        case "billing", "ledger.test_balance", "test_concurrent_updates" if number in range(12, 15):
            found = _wrong_vat(module, test, chance)
        case _, "search.test_index" | "invoices.test_pdf", "test_permissions":
            found = '<skipped type="pytest.skip" message="needs a directory service"/>'
    return str(found)


def report(project: str, number: int, when: dt.datetime, chance: random.Random) -> bytes:
    """Return the report of one of many runs, which began at a time."""
    cases = []
    for module in _MODULES[project]:
        for test in _TESTS:
            usual = random.Random(module + test).uniform(0.002, 0.25)  # noqa: S311 - for pictures
            slower = number / 60 if module == "search.test_index" and test == "test_concurrent_updates" else 0
            seconds = usual * chance.uniform(0.9, 1.15) + slower
            inside = _inside(project, number, module, test, chance)
            seconds += 2.0 if "TimeoutError" in inside else 0
            names = f'classname="tests.{module}" name={quoteattr(test)}'
            cases.append(f'<testcase {names} time="{seconds:.3f}">{inside}</testcase>')
    facts = {
        "project": project,
        "git:branch": "main" if number % 7 else "feature/vat",
        "git:commit": f"{chance.getrandbits(160):040x}",
        "git:status": "clean",
        "ci:provider": "github",
        "ci:build_url": f"https://ci.example/builds/{4000 + number}",
        "jux:pytest_version": "9.1.0",
    } | ({"tags": "nightly"} if number % 13 == 5 else {})  # noqa: PLR2004 - now and then
    said = "".join(f"<property name={quoteattr(name)} value={quoteattr(value)}/>" for name, value in facts.items())
    head = f'<testsuite name="pytest" timestamp="{when.isoformat()}"><properties>{said}</properties>'
    return f"<testsuites>{head}{''.join(cases)}</testsuite></testsuites>".encode()


def fill(database: Database, caller: Caller) -> str:
    """Take the history of all projects in, and return the id of the last run of the shop."""
    chance = random.Random(7)  # noqa: S311 - for pictures, not for secrets
    key, strange_key = generate_private_key("ecdsa"), generate_private_key("ecdsa")
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    issued = now - dt.timedelta(days=80)
    certificate = self_signed_certificate(key, "shop ci", now=issued)
    stranger = self_signed_certificate(strange_key, "laptop of eva", now=issued)
    add_signer(database, certificate)
    intake, last = Intake(database), ""
    old = sign_report(report("shop/old-app", 1, now, chance), key, certificate)
    _take(intake, database, old, caller, now - dt.timedelta(days=64))
    for number in range(RUNS):
        for project in ("billing", "shop"):
            when = now - _APART * (RUNS - number) + dt.timedelta(minutes=chance.randrange(25))
            data = report(project, number, when - dt.timedelta(seconds=20), chance)
            match number % 9:
                case 4 if project == "shop":
                    pass  # unsigned
                case 7 if project == "billing":
                    data = sign_report(data, strange_key, stranger)
                case _:
                    data = sign_report(data, key, certificate)
            last = _take(intake, database, data, caller, when)
            if project == "shop" and number == RUNS - 11:
                tampered = data.replace(b'time="0.1', b'time="0.0')
                _take(intake, database, tampered, HERE, when + dt.timedelta(minutes=4))
    intake.receive(data, caller)
    for refused in (b"<html>502 Bad Gateway</html>", b"<html>503 Service Unavailable</html>", b"{}"):
        intake.receive(refused, caller)
    return last


def _take(intake: Intake, database: Database, data: bytes, caller: Caller, when: dt.datetime) -> str:
    """Take a report in as if it had come at a time, and return the id of its run."""
    stored = intake.receive(data, caller)
    if not isinstance(stored, Created):
        raise TypeError(stored)
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
    return str(stored.id)
