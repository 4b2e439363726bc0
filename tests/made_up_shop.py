"""A project with some runs, and the address of every page about it, for tests that look at all of them."""

from __future__ import annotations

from kept_reports import receive
from web_pages import run_of

from jux_server.api.access import HERE
from jux_server.intake import Intake
from jux_server.trust import add_signer
from pytest_jux.signer import sign_report

LONG_TRACE = b"trace line\n" * 30


def fill_shop(database, signer):
    """Take in eight runs, one unsigned and one on another branch, and one that is refused; return the last one's id."""
    add_signer(database, signer.certificate)
    for number in range(8):
        failing = ([1] if number % 3 == 1 else []) + ([2] if number > 5 else [])
        data = run_of(number, failing=failing, cases=12, branch="topic" if number == 3 else "main")
        data = data.replace(b">line<", b">" + LONG_TRACE + b"#x1B[31mE   assert 1 == 42#x1B[0m<")
        data = data if number == 4 else sign_report(data, signer.key, signer.certificate)
        run = receive(database, data)
    Intake(database).receive(b"<html>502 Bad Gateway</html>", HERE)
    return str(run.id)


def every_page(server, run):
    """Return the address of every page that is for readers."""
    tests = server.get("/api/v1/tests?project=shop&q=test_2").json()["tests"]
    tabs = ("", "/tests", "/errors", "/slowest", "/compare", "/properties", "/xml", "/cases/2")
    return [
        "/",
        *(f"/{section}/shop" for section in ("projects", "trends", "history", "flaky", "slowest")),
        *(f"/reports/{run}{tab}" for tab in tabs),
        f"/tests/{tests[0]['id']}",
        "/intake",
        "/sign-in",
    ]
