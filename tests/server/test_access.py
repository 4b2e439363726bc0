"""Who is let in, and to what: with keys, without one from this machine itself, and too often."""

from __future__ import annotations

import base64
import time

import pytest
from servers import running

from jux_server.api.access import HERE
from jux_server.app import Choices
from jux_server.store.database import now
from jux_server.trust import create_key, revoke_key
from pytest_jux.canonicalizer import canonical_hash
from pytest_jux.wire import request_body

LIST = "/api/v1/reports"
XML = {"Content-Type": "application/xml"}
JSON = {"Content-Type": "application/json"}
ROUTES = ["/api/v1/reports", "/api/v1/junit/submit"]
WRONG = "jux_abcdefgh_" + "x" * 43


def report(project="shop", name="a"):
    properties = f'<properties><property name="project" value="{project}"/></properties>'
    return f'<testsuite name="s">{properties}<testcase classname="c" name="{name}"/></testsuite>'.encode()


def send(server, route, data, **headers):
    """Publish a report by one of the two routes."""
    if route.endswith("submit"):
        return server.post(route, data, headers={**XML, **headers})
    return server.post(route, request_body(data, canonical_hash(data)), headers={**JSON, **headers})


@pytest.fixture
def closed(database):
    """Return a server that wants a key from everybody."""
    with running(database, Choices(is_open_here=False)) as started:
        yield started


@pytest.fixture
def token(database):
    return create_key(database, "all", scopes=["publish", "read"])[0]


def basic(text):
    return "Basic " + base64.b64encode(text.encode()).decode()


# --- without a key ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:4000", "localhost", "LOCALHOST:80", "[::1]:4000", "[::1]"])
def test_this_machine_itself_needs_no_key(one_server, host):
    assert one_server.get(LIST, headers={"Host": host}).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "localhost.evil.example:4000"},
        {"Host": "127.0.0.1@evil.example"},
        {"Host": "evil.example:80:127.0.0.1"},
        {"Host": "[::1].evil.example"},
        {"Host": ""},
        {"Forwarded": "for=127.0.0.1"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Forwarded-Host": "localhost"},
        {"X-Forwarded-Proto": "http"},
        {"X-Real-IP": "127.0.0.1"},
        {"Via": "1.1 proxy"},
        {"x-forwarded-for": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "nonsense"},
    ],
)
@pytest.mark.parametrize("route", ROUTES)
def test_what_was_passed_on_or_comes_from_another_page_needs_a_key(one_server, headers, route):
    assert one_server.get(LIST, headers=headers).status == 401
    assert send(one_server, route, report(), **headers).status == 401


@pytest.mark.parametrize("site", ["none", "same-origin"])
def test_page_of_this_server_and_a_person_at_a_browser_need_no_key(one_server, site):
    assert one_server.get(LIST, headers={"Sec-Fetch-Site": site}).status == 200


@pytest.mark.parametrize("route", ROUTES)
def test_without_a_key_a_closed_server_lets_nobody_in_and_says_how_to_come_in(closed, route):
    for answer in (closed.get(LIST), send(closed, route, report())):
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert answer.json()["status"] == "error"
        assert "X-API-Key" in answer.json()["suggestions"][0]


def test_caller_without_a_key_may_not_do_what_is_for_administrators(server):
    assert not HERE.may("admin")


# --- with a key ------------------------------------------------------------------------------------------------------


def test_key_comes_in_three_ways(closed, token):
    ways = [
        {"X-API-Key": token},
        {"X-API-Key": f"  {token}\t"},
        {"Authorization": f"Bearer {token}"},
        {"Authorization": f"bearer   {token}"},
        {"Authorization": basic(f"anybody:{token}")},
        {"Authorization": basic(f":{token}")},
        {"Authorization": basic(f"{token}:")},
        {"Authorization": basic(token)},
        {"X-API-Key": token, "Authorization": "Bearer nonsense"},
    ]
    assert [closed.get(LIST, headers=headers).status for headers in ways] == [200] * len(ways)


@pytest.mark.parametrize("is_open_here", [True, False])
@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": WRONG},
        {"Authorization": f"Bearer {WRONG}"},
        {"Authorization": basic(f"user:{WRONG}")},
        {"Authorization": basic("user:")},
        {"Authorization": basic(":")},
        {"Authorization": "Basic"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic /////w=="},
        {"Authorization": b"Basic \xe9\xff"},
        {"Authorization": b"Bearer \xe9\xff"},
        {"X-API-Key": b"jux_\xe9\xff_\xb2"},
        {"X-API-Key": "' OR 1=1 --"},
        {"X-API-Key": "x" * 20_000},
    ],
)
def test_wrong_key_is_refused_also_where_none_is_needed(database, is_open_here, headers):
    with running(database, Choices(is_open_here=is_open_here)) as server:
        answer = server.get(LIST, headers=headers)
    assert answer.status == 401
    assert answer.json()["error"] == "API key refused"
    assert "WWW-Authenticate" in answer.headers


def test_wrong_key_is_answered_with_403_on_the_routes_of_the_contract(closed):
    for answer in (
        closed.get("/api/v1/test_runs", headers={"X-API-Key": WRONG}),
        send(closed, ROUTES[1], report(), **{"X-API-Key": WRONG}),
    ):
        assert answer.status == 403
        assert answer.json()["error"] == "API key refused"


def test_key_is_in_no_answer(closed, database, token):
    secret = token.rpartition("_")[2]
    revoked, key = create_key(database, "old")
    revoke_key(database, str(key.id))
    for sent in (token[:-1] + "-", revoked):
        answer = closed.get(LIST, headers={"X-API-Key": sent})
        assert answer.status == 401
        assert secret[:-1].encode() not in answer.data
        assert revoked.rpartition("_")[2].encode() not in answer.data


@pytest.mark.parametrize(("scope", "may_publish", "may_read"), [("publish", 1, 0), ("read", 0, 1), ("admin", 1, 1)])
@pytest.mark.parametrize("route", ROUTES)
def test_scope_decides_what_a_key_is_for(closed, database, route, scope, may_publish, may_read):
    headers = {"X-API-Key": create_key(database, "k", scopes=[scope])[0]}
    assert send(closed, route, report(), **headers).status == (201 if may_publish else 403)
    assert closed.get(LIST, headers=headers).status == (200 if may_read else 403)


def test_key_stops_to_work_when_it_is_revoked_or_expires(closed, database):
    token, key = create_key(database, "k", scopes=["read"])
    assert closed.get(LIST, headers={"X-API-Key": token}).status == 200
    revoke_key(database, str(key.id))
    answer = closed.get(LIST, headers={"X-API-Key": token})
    assert (answer.status, answer.json()["message"]) == (401, f"the API key jux_{key.prefix}… was revoked")
    short, _ = create_key(database, "short", scopes=["read"], expires_at=now() + 1_000)
    time.sleep(0.01)
    assert "has expired" in closed.get(LIST, headers={"X-API-Key": short}).json()["message"]


@pytest.mark.parametrize("route", ROUTES)
def test_other_projects_reports_cannot_be_probed_with_a_key(closed, database, token, route):
    """A report that is there and one that is not get the same answer: 403 before 409."""
    assert send(closed, route, report("secret", "there"), **{"X-API-Key": token}).status == 201
    shop, _ = create_key(database, "shop", projects=["shop"])
    answers = [send(closed, route, report("secret", name), **{"X-API-Key": shop}) for name in ("there", "not_there")]
    assert [answer.status for answer in answers] == [403, 403]
    assert answers[0].data == answers[1].data
    assert send(closed, route, report("shop"), **{"X-API-Key": shop}).status == 201


# --- too often -------------------------------------------------------------------------------------------------------


def test_more_requests_than_allowed_are_refused_until_later(database):
    with running(database, Choices(rate="5/hour")) as server:
        answers = [server.get(LIST) for _ in range(7)]
    assert [answer.status for answer in answers] == [200] * 5 + [429] * 2
    headers = answers[-1].headers
    assert 0 < int(headers["Retry-After"]) <= 3600
    assert (headers["X-RateLimit-Limit"], headers["X-RateLimit-Remaining"]) == ("5", "0")
    assert int(headers["X-RateLimit-Reset"]) > now() // 1_000_000


def test_each_key_is_counted_for_itself(database, token):
    other, _ = create_key(database, "other", scopes=["read"])
    with running(database, Choices(is_open_here=False, rate="3/hour")) as server:
        first = [server.get(LIST, headers={"X-API-Key": token}).status for _ in range(4)]
        second = [server.get(LIST, headers={"X-API-Key": other}).status for _ in range(4)]
    assert first == second == [200, 200, 200, 429]


def test_guessing_is_slowed_down_without_locking_out_who_has_a_key(closed, token):
    guesses = [closed.get(LIST, headers={"X-API-Key": f"jux_abcdefgh_{number:043}"}).status for number in range(40)]
    assert guesses == [401] * 30 + [429] * 10
    last = closed.get(LIST, headers={"X-API-Key": "jux_abcdefgh_x"}).json()
    assert last["message"].startswith("more than 30 wrong API keys from this address in 60 seconds")
    assert closed.get(LIST, headers={"X-API-Key": token}).status == 200
