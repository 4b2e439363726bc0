"""Reports to measure with, as pytest writes them: one line of markup, no white space between elements.

The same arguments give the same bytes. Three shapes:

- lean: passing cases only, so almost nothing but attributes;
- typical: 5 % failures with tracebacks, 10 % of the cases with captured output;
- verbose: as with `junit_logging=all`, where every case has its log, its output and its errors.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterator

SHAPES = ("lean", "typical", "verbose")
SIZES = (10, 1_000, 10_000, 100_000)

_FAILURES = 0.05
_CAPTURED = 0.10

_MODULES = (
    "tests.test_cart",
    "tests.api.test_orders",
    "tests.api.test_customers",
    "tests.storage.test_migrations",
    "tests.unit.pricing.test_discounts.TestVolumeDiscount",
    "tests.unit.pricing.test_tax.TestReverseCharge",
)
_SUBJECTS = ("total", "discount", "shipment", "invoice", "refund", "stock", "address", "currency")
_CONDITIONS = (
    "is_kept",
    "of_an_empty_basket",
    "after_a_retry",
    "rejects_negative_amounts",
    "survives_a_restart[sqlite]",
    "survives_a_restart[postgresql]",
    "in_locale[de_DE-1.234,50 €]",
    "in_locale[ja_JP-¥1,234]",
)

_TRACEBACK = """\
self = <{module} object at 0x7f{address:010x}>, basket = [{{'price': 3}}, {{'price': {number}}}]

    def test_{name}(self, basket):
        service = PricingService(rates=load_rates("EUR"))
>       assert service.total(basket) == {{"total": 8, "currency": "EUR"}}
E       AssertionError: assert {{'total': {number}, ...rency': 'EUR'}} == {{'total': 8, ...rency': 'EUR'}}
E{space}
E         Omitting 1 identical items, use -vv to show
E         Differing items:
E         {{'total': {number}}} != {{'total': 8}}
E         Use -v to get more diff

{path}:{line}: AssertionError
_ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _

items = [{{'price': 3}}, {{'price': {number}}}], rates = <Rates EUR/USD & 31 others>

    def _sum(items, rates):
        if not items or rates is None:
            return 0
>       return sum(rates.convert(item["price"]) for item in items if item["price"] > 0)

src/shop/pricing.py:{line}: AssertionError"""
_MESSAGE = """\
AssertionError: assert {{'total': {number}, ...rency': 'EUR'}} == {{'total': 8, ...rency': 'EUR'}}
{space}
  Omitting 1 identical items, use -vv to show
  Differing items:
  {{'total': {number}}} != {{'total': 8}}
  Use -v to get more diff"""
_LOG = """\
INFO     shop.pricing:pricing.py:{line} loaded 31 rates in {number} ms
DEBUG    shop.storage:storage.py:88 SELECT id, price FROM item WHERE basket = {number} AND price > 0
WARNING  shop.cart:cart.py:141 basket {address:010x} is older than 30 minutes -> refreshed"""
_OUT = """\
connecting to <postgresql://localhost/shop_test> ...
basket {address:010x}: {number} items & 1 voucher"""
_ERR = "DeprecationWarning: Rates.convert(amount) is deprecated, use Rates.exchange(amount, to=...)"


def make(shape: str, cases: int) -> bytes:
    """Return a report of this shape with this many cases."""
    choice = random.Random(f"{shape} {cases}")  # noqa: S311 - reproducible, not secret
    failures = 0
    parts = []
    for case, failed in _cases(shape, cases, choice):
        failures += failed
        parts.append(case)
    head = (
        '<?xml version="1.0" encoding="utf-8"?><testsuites name="pytest tests">'
        f'<testsuite name="pytest" errors="0" failures="{failures}" skipped="0" tests="{cases}" '
        f'time="{cases * 0.0031:.3f}" timestamp="2026-03-02T09:14:07.345041+00:00" hostname="build-7">'
    )
    return "".join((head, *parts, "</testsuite></testsuites>")).encode()


def _cases(shape: str, cases: int, choice: random.Random) -> Iterator[tuple[str, bool]]:
    for number in range(cases):
        module, condition = choice.choice(_MODULES), choice.choice(_CONDITIONS)
        name = f"{choice.choice(_SUBJECTS)}_{number}_{condition}"
        facts = {
            "module": module,
            "name": name.partition("[")[0],
            "path": module.partition(".Test")[0].replace(".", "/") + ".py",
            "number": choice.randrange(2, 1_000),
            "line": choice.randrange(10, 400),
            "address": choice.randrange(1 << 40),
            "space": "  ",  # pytest ends such lines with white space
        }
        failed = shape == "typical" and choice.random() < _FAILURES
        captured = shape == "verbose" or (shape == "typical" and choice.random() < _CAPTURED)
        content = _failure(facts) if failed else ""
        if captured:
            content += _output(facts, everything=shape == "verbose")
        start = f'<testcase classname="{module}" name="test_{name}" time="{choice.expovariate(200):.3f}"'
        yield (f"{start}>{content}</testcase>" if content else f"{start} />"), failed


def _failure(facts: dict[str, object]) -> str:
    message = escape(_MESSAGE.format(**facts), {'"': "&quot;", "\n": "&#10;"})
    return f'<failure message="{message}">{escape(_TRACEBACK.format(**facts))}</failure>'


def _output(facts: dict[str, object], *, everything: bool) -> str:
    out = _section("Out", _OUT.format(**facts))
    if not everything:
        return f"<system-out>{out}</system-out>"
    log = _section("Log", _LOG.format(**facts))
    return f"<system-out>{log}{out}</system-out><system-err>{_section('Err', _ERR)}</system-err>"


def _section(name: str, text: str) -> str:
    return f"{f' Captured {name} '.center(80, '-')}\n{escape(text)}\n"
