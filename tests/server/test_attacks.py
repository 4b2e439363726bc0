"""Requests that try to reach something else than they may: paths, SQL, headers, sort orders, cursors, ids."""

from __future__ import annotations

import base64
import socket

import pytest
import sqlalchemy as sa
from servers import running

from jux_server.app import Choices
from jux_server.intake import Created, Intake
from jux_server.serving_protocol import BoundedHttp
from jux_server.store import schema
from jux_server.trust import EVERYTHING, Caller, create_key
from pytest_jux.canonicalizer import canonical_hash

ANYONE = Caller(None, "anyone", frozenset({"publish"}), (EVERYTHING,))
SQL = [
    "' OR '1'='1",
    "'; DROP TABLE run; --",
    '" OR 1=1 --',
    "1) UNION SELECT digest FROM api_key --",
    "%",
    "_",
    "\\",
    "%(name)s",
    ":name",
    "$1",
    "?",
    "{0}",
    "%s%s%s%n",
]
HOSTILE = [
    *SQL,
    "../../etc/passwd",
    "<script>alert(1)</script>",
    "a\r\nSet-Cookie: x=1",
    "\u202egnp.exe",
    "${jndi:ldap://x}",
]


def report(project="shop", name="a", **properties):
    said = {"project": project, **properties}
    inside = "".join(f'<property name="{key}" value="{escaped(value)}"/>' for key, value in said.items())
    case = f'<testcase classname="c" name="{escaped(name)}"/>'
    return f'<testsuite name="{escaped(name)}"><properties>{inside}</properties>{case}</testsuite>'.encode()


def escaped(text):
    for sign in '&<>"\r\n':
        text = text.replace(sign, f"&#{ord(sign)};")
    return text


@pytest.fixture
def raw(one_server):
    """Return a function that sends bytes on a connection of its own and returns all that comes back."""

    def send(data):
        host, port = one_server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            connection.sendall(data)
            received = b""
            while more := connection.recv(65_536):
                received += more
        return received

    return send


def get(path, host="127.0.0.1"):
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()


# --- paths and headers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/api/v1/reports/../../../etc/passwd",
        "/api/v1/reports/..%2f..%2f..%2fetc%2fpasswd",
        "/api/v1/reports/%2e%2e%2f%2e%2e.xml",
        "/api/v1/reports/..%5c..%5cetc%5cpasswd.xml",
        "/api/v1/reports/%00.xml",
        "/api/v1/reports/sha256:" + "0" * 64 + "%2f..%2fx.xml",
        "/api/v1/reports/file%3a%2f%2f%2fetc%2fpasswd",
        "//etc/passwd",
        "/static/../../etc/passwd",
        "/reports/..%2f..%2fetc%2fpasswd",
        "/.git/config",
        "/docs",
        "/redoc",
    ],
)
def test_path_leads_to_no_file(raw, path):
    answer = raw(get(path))
    assert int(answer.split()[1]) in {307, 400, 404}
    assert b"root:" not in answer


@pytest.mark.parametrize(
    "path",
    ["/", "/api/v1/reports/", "/healthz/", "/reports/x", "/reports/aaaaaaaa/", "//x/", "/reports//x/"],
)
def test_no_answer_leads_to_where_the_host_header_says(raw, path):
    assert b"elsewhere" not in raw(get(path, "elsewhere.example"))


@pytest.mark.parametrize(
    "path",
    ["/reports/%0d%0aSet-Cookie:x=1", "/reports/%0aX-Evil:1", "/%0d%0aX-Evil:1/", "/api/v1/reports/%0d%0aX-Evil:1.xml"],
)
def test_line_breaks_in_a_path_make_no_header(raw, path):
    head = raw(get(path)).partition(b"\r\n\r\n")[0].lower()
    assert b"\nset-cookie" not in head
    assert b"\nx-evil" not in head


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\0b\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /api/v1/reports HTTP/1.1\r\nHost : 127.0.0.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /api/v1/reports HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: xchunked\r\n\r\nabcd",
    ],
)
def test_what_is_no_http_is_refused(raw, one_server, data):
    assert raw(data + b"\r\n\r\n").startswith((b"HTTP/1.1 400", b"HTTP/1.1 501"))
    assert one_server.get("/healthz").status == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "OPTIONS", "PROPFIND"])
def test_other_methods_change_nothing(server, database, method):
    stored = Intake(database).receive(report(), ANYONE)
    for path in ("/api/v1/reports", f"/api/v1/reports/{stored.id}", "/api/v1/junit/submit", "/api/v1/projects"):
        assert server.pool.request(method, server.url + path).status in {400, 405}
    headers = {"X-HTTP-Method-Override": "DELETE", "X-Method-Override": "DELETE"}
    assert server.post(f"/api/v1/reports/{stored.id}", headers=headers).status == 405
    assert server.get(f"/api/v1/reports/{stored.id}").status == 200


@pytest.mark.parametrize(
    "path", ["/", "/healthz", "/api/v1/reports", "/reports/{id}/report.xml", "/nothing", "/sign-out"]
)
def test_head_is_answered_as_get_without_the_body(server, database, path):
    path = path.format(id=Intake(database).receive(report(), ANYONE).id)
    asked, head = (server.pool.request(method, server.url + path) for method in ("GET", "HEAD"))
    assert (head.status, head.data) == (asked.status, b"")
    assert head.headers["Content-Length"] == str(len(asked.data))
    assert head.headers["Content-Type"] == asked.headers["Content-Type"]


def test_answers_are_for_no_page_of_another_origin(one_server):
    answer = one_server.get("/api/v1/reports", headers={"Origin": "https://evil.example"})
    assert not [name for name in answer.headers if name.lower().startswith("access-control-")]


# --- what reports say ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_of_a_report_is_only_text(server, database, text):
    properties = {"git:branch": text, "git:commit": text, "tags": text, "jux:hostname": text, "env:X": text}
    stored = Intake(database).receive(report(text, text, **properties), ANYONE)
    assert isinstance(stored, Created)
    other = Intake(database).receive(report("other", "b"), ANYONE)
    detail = server.get(f"/api/v1/reports/{stored.id}")
    assert detail.json()["metadata"]["env"]["X"] == text
    listed = server.get("/api/v1/reports", fields={"project": stored.project}).json()["reports"]
    assert [run["id"] for run in listed] == [str(stored.id)]
    if len(text) > 2 and "\r" not in text and "\u202e" not in text:
        found = server.get("/api/v1/reports", fields={"q": text}).json()["reports"]
        assert [run["id"] for run in found] == [str(stored.id)]
    with database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(schema.run)).scalar() == 2
    document = server.get(f"/api/v1/reports/{stored.id}.xml")
    assert document.headers["Content-Disposition"].startswith('attachment; filename="sha256-')
    assert document.headers["X-Content-Type-Options"] == "nosniff"
    assert server.get(f"/api/v1/reports/{other.id}").status == 200


# --- parameters ------------------------------------------------------------------------------------------------------

PARAMETERS = {
    "/api/v1/reports": [
        "project",
        "branch",
        "commit",
        "status",
        "state",
        "signer",
        "tag",
        "since",
        "until",
        "q",
        "limit",
        "cursor",
    ],
    "/api/v1/tests": ["project", "q", "limit", "cursor"],
    "/api/v1/flaky": ["project", "branch", "runs"],
    "/api/v1/slowest": ["project", "branch", "runs", "limit"],
    "/api/v1/compare": ["base", "head", "limit", "project"],
    "/api/v1/test_runs": [
        "project",
        "branch",
        "status",
        "date_from",
        "date_to",
        "tags",
        "page",
        "per_page",
        "sort_by",
        "sort_order",
    ],
}
ODD = [
    *SQL,
    "",
    "-1",
    "0",
    "1e9",
    "9" * 30,
    "\0",
    "\ud800".encode("utf-8", "surrogatepass"),
    b"\xff\xfe",
    "id; --",
    "(SELECT 1)",
    "x" * 60_000,
]


@pytest.mark.parametrize(("path", "name"), [(path, name) for path, names in PARAMETERS.items() for name in names])
def test_odd_value_of_a_parameter_is_refused_or_finds_nothing(one_server, path, name):
    """Never an error of the server, and never what was not asked for."""
    for value in ODD:
        fields = {"project": "nowhere", "base": "deadbeef", "head": "deadbeef", name: value}
        answer = one_server.get(path, fields={key: fields[key] for key in (*PARAMETERS[path], name) if key in fields})
        assert answer.status in {200, 400, 404}, (value, answer.data)
        assert b"sqlite" not in answer.data.lower()
        if answer.status == 200:
            assert not next(found for found in answer.json().values() if isinstance(found, list))


@pytest.mark.parametrize(
    "column", ["id", "facts", "inserted_at; DROP TABLE run", "(SELECT digest FROM api_key)", "received_at", "1", ""]
)
def test_nothing_can_be_sorted_by_but_what_is_named(one_server, column):
    for fields in ({"sort_by": column}, {"sort_order": column}):
        answer = one_server.get("/api/v1/test_runs", fields=fields)
        assert answer.status == 400
        assert next(iter(fields)) in answer.json()["message"]


@pytest.mark.parametrize(
    "cursor",
    [
        *("x", "0", "-1", "MQ==", "' OR 1=1", "../..", "\0", "9" * 100),
        base64.urlsafe_b64encode(b"1 OR 1=1").decode(),
        base64.urlsafe_b64encode(b'{"id": "1 OR 1=1"}').decode(),
        base64.urlsafe_b64encode(b"[" * 1_000).decode(),
        base64.urlsafe_b64encode(b"\x80\x04cos\nsystem\n").decode(),
        base64.urlsafe_b64encode(b"9" * 200).decode(),
    ],
)
@pytest.mark.parametrize("path", ["/api/v1/reports", "/api/v1/tests"])
def test_made_up_cursor_is_refused_or_leads_nowhere(one_server, path, cursor):
    answer = one_server.get(path, fields={"project": "shop", "cursor": cursor})
    assert answer.status in {200, 400}
    if answer.status == 400:
        assert "cursor" in answer.json()["message"]


# --- other projects --------------------------------------------------------------------------------------------------


def test_cursor_of_one_caller_shows_another_nothing_of_his(database):
    for number in range(4):
        Intake(database).receive(report("secret", f"s{number}"), ANYONE)
        Intake(database).receive(report("shop", f"a{number}"), ANYONE)
    everything, _ = create_key(database, "all", scopes=["read"])
    shop, _ = create_key(database, "shop", scopes=["read"], projects=["shop"])
    with running(database, Choices(is_open_here=False), http=BoundedHttp) as server:
        page = server.get("/api/v1/reports?limit=2", headers={"X-API-Key": everything}).json()
        rest = server.get("/api/v1/reports", fields={"cursor": page["next"]}, headers={"X-API-Key": shop})
    assert rest.status == 200
    assert {run["project"] for run in rest.json()["reports"]} == {"shop"}


@pytest.mark.parametrize("length", [8, 12, 63, 64])
def test_hash_of_another_projects_report_answers_as_one_that_nobody_has(database, length):
    data = report("secret")
    Intake(database).receive(data, ANYONE)
    shop, _ = create_key(database, "shop", scopes=["read", "publish"], projects=["shop"])
    headers = {"X-API-Key": shop}
    real = canonical_hash(data).removeprefix("sha256:")[:length]
    made_up = "".join("f" if digit == "0" else "0" for digit in real)
    with running(database, Choices(is_open_here=False)) as server:
        for path in (
            "/api/v1/reports/{}",
            "/api/v1/reports/{}.xml",
            "/api/v1/reports/{}/cases",
            "/api/v1/compare?base={0}&head={0}",
        ):
            found, missing = (server.get(path.format(one), headers=headers) for one in (real, made_up))
            assert found.status == missing.status == 404
            assert found.data.replace(real.encode(), b"") == missing.data.replace(made_up.encode(), b"")


def test_numbers_of_another_projects_tests_and_suites_answer_as_those_that_there_are_not(database):
    Intake(database).receive(report("secret"), ANYONE)
    with database.read() as connection:
        (suite,) = connection.execute(sa.select(schema.suite.c.public_id)).scalars()
        (test,) = connection.execute(sa.select(schema.test.c.id)).scalars()
    shop, _ = create_key(database, "shop", scopes=["read"], projects=["shop"])
    headers = {"X-API-Key": shop}
    nobody = "8f00829a-935a-4425-82d5-f88174c7d506"
    with running(database, Choices(is_open_here=False)) as server:
        suites = [server.get(f"/api/v1/test_suites/{one}/test_cases", headers=headers) for one in (suite, nobody)]
        tests = [server.get(f"/api/v1/tests/{one}/history", headers=headers) for one in (test, 4_711)]
    assert [answer.status for answer in (*suites, *tests)] == [404] * 4
    assert suites[0].data.replace(str(suite).encode(), b"") == suites[1].data.replace(nobody.encode(), b"")
    assert tests[0].data.replace(str(test).encode(), b"") == tests[1].data.replace(b"4711", b"")
