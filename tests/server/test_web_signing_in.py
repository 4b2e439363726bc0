"""Signing in and out, on a server that wants a key from everybody."""

from __future__ import annotations

import logging
from http.cookies import SimpleCookie
from urllib.parse import quote, urlencode

import pytest
import sqlalchemy as sa
from kept_reports import receive
from servers import running
from web_pages import BROWSER, get_page, run_of
from web_sessions import FORM, post, sign_in

from jux_server.app import Choices
from jux_server.store import schema
from jux_server.trust import create_key, revoke_key


@pytest.fixture
def closed(database):
    receive(database, run_of(1))
    with running(database, Choices(is_open_here=False)) as started:
        yield started


@pytest.fixture
def token(database):
    return create_key(database, "reader", scopes=["read"])[0]


def test_pages_lead_to_the_form_and_back(closed, token):
    answer = closed.get("/projects/shop?branch=main", headers=BROWSER, redirect=False)
    assert (answer.status, answer.headers["location"]) == (303, "/sign-in?next=%2Fprojects%2Fshop%3Fbranch%3Dmain")
    page = get_page(closed, answer.headers["location"])
    (target,) = page.all("//input[@name='next']/@value")
    entered, session = sign_in(closed, token, next=target)
    assert (entered.status, entered.headers["location"]) == (303, "/projects/shop?branch=main")
    assert "reader" in get_page(closed, entered.headers["location"], headers=session).words("//header")[0]


def test_cookie_is_kept_from_scripts_and_other_sites(closed, token):
    answer, _ = sign_in(closed, token)
    cookie = SimpleCookie(answer.headers["set-cookie"])["jux_session"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "lax"
    assert cookie["path"] == "/"
    assert cookie["max-age"] == str(12 * 3_600)
    assert not cookie["secure"]
    assert token not in answer.headers["set-cookie"]
    assert len(cookie.value) >= 43


def test_cookie_goes_over_https_only_where_there_is_https(database, token):
    with running(database, Choices(is_open_here=False, base_url="https://ci.example/jux")) as server:
        answer, _ = sign_in(server, token)
    cookie = SimpleCookie(answer.headers["set-cookie"])["jux_session"]
    assert cookie["secure"]
    assert cookie["path"] == "/jux/"


def test_behind_a_proxy_that_shows_the_server_below_a_path(database, token):
    with running(database, Choices(is_open_here=False, base_url="https://ci.example/jux")) as server:
        answer = server.get("/intake?hours=168", headers=BROWSER, redirect=False)
        assert answer.headers["location"] == "/jux/sign-in?next=%2Fjux%2Fintake%3Fhours%3D168"
        entered, _ = sign_in(server, token, next="/jux/intake?hours=168")
        assert entered.headers["location"] == "/jux/intake?hours=168"
        assert sign_in(server, token)[0].headers["location"] == "/jux/"
        page = server.get("/sign-in", headers=BROWSER).data.decode()
    assert 'action="/jux/sign-in"' in page
    assert 'src="/jux/static/jux.js' in page


@pytest.mark.parametrize(
    ("key", "status", "says"),
    [
        ("", 400, "enter an API key"),
        ("jux_nonsense", 401, "the API key is not known here"),
        ("<script>alert(1)</script>", 401, "the API key is not known here"),
    ],
)
def test_wrong_key_is_said_on_the_form(closed, key, status, says):
    answer = post(closed, "/sign-in", {"key": key, "next": "/intake"})
    assert answer.status == status
    assert says in answer.data.decode()
    assert "www-authenticate" not in answer.headers
    assert "set-cookie" not in answer.headers
    assert 'value="/intake"' in answer.data.decode()
    assert not key or key not in answer.data.decode()


def test_key_that_may_only_publish_opens_nothing(closed, database):
    publish, _ = create_key(database, "build", scopes=["publish"])
    answer, _ = sign_in(closed, publish)
    assert answer.status == 403
    assert "has not the scope read" in answer.data.decode()
    assert "set-cookie" not in answer.headers


def test_guesses_are_bounded(closed):
    statuses = [sign_in(closed, f"jux_{number:08}_x")[0].status for number in range(31)]
    assert statuses == [401] * 30 + [429]


@pytest.mark.parametrize(
    "target",
    [
        *("https://evil.example/", "//evil.example", "/\\evil.example", "\\\\evil", "javascript:alert(1)", "evil", ""),
        *("/\t/evil.example", "/a\r\nSet-Cookie: x=1", "///evil.example", "http:evil"),
        *("http://[", "//[", "http://a\u2100b", "/\u202eb", "/" + "x" * 8_000),
    ],
)
def test_signing_in_leads_nowhere_else(closed, token, target):
    answer, _ = sign_in(closed, token, next=target)
    assert answer.status == 303
    assert answer.headers["location"] == "/"
    page = get_page(closed, f"/sign-in?{urlencode({'next': target})}")
    assert page.all("//input[@name='next']/@value") == [""]


def test_signing_in_leads_back_to_the_longest_address(closed, token):
    name = "\N{SNOWMAN}" * 200
    answer = closed.get(f"/projects/{quote(name)}?branch={quote(name)}", headers=BROWSER, redirect=False)
    page = get_page(closed, answer.headers["location"])
    (target,) = page.all("//input[@name='next']/@value")
    assert sign_in(closed, token, next=target)[0].headers["location"] == f"/projects/{quote(name)}?branch={quote(name)}"


@pytest.mark.parametrize(("target", "scope"), [("/admin/keys", "admin"), ("/intake", "read"), ("", "read")])
def test_form_names_the_key_that_is_needed(closed, target, scope):
    page = get_page(closed, f"/sign-in?{urlencode({'next': target})}")
    assert page.words("//main/p/code")[-1:] == [f"jux-server key create NAME --scope {scope}"]


@pytest.mark.parametrize(
    ("host", "base_url", "is_warned"),
    [
        ("ci.example:4000", "", True),
        ("ci.example:4000", "http://ci.example:4000", True),
        ("ci.example", "https://ci.example", False),
        *(("127.0.0.1:4000", "", False), ("[::1]:4000", "", False), ("localhost", "", False)),
    ],
)
def test_form_warns_where_others_can_read_the_key(database, host, base_url, is_warned):
    with running(database, Choices(is_open_here=False, base_url=base_url)) as server:
        page = get_page(server, "/sign-in", headers={"Host": host})
    assert ("This connection is not encrypted" in page.text) == is_warned


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_other_sites_cannot_sign_anybody_in(closed, token, headers):
    answer = post(closed, "/sign-in", {"key": token}, **headers)
    assert answer.status == 403
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://ci.example:8080", 303), ("http://ci.example", 403), ("http://evil.example:8080", 403), ("null", 403)],
)
def test_forms_arrive_by_a_proxy_that_changes_the_host(database, token, origin, status):
    choices = Choices(is_open_here=False, base_url="http://ci.example:8080")
    with running(database, choices) as server:
        answer = post(server, "/sign-in", {"key": token}, Host="127.0.0.1:4000", Origin=origin)
    assert answer.status == status


def test_session_that_somebody_else_chose_is_not_taken(closed, token):
    answer = post(closed, "/sign-in", {"key": token}, Cookie="jux_session=chosen")
    assert "jux_session=chosen" not in answer.headers["set-cookie"]
    assert closed.get("/", headers=BROWSER | {"Cookie": "jux_session=chosen"}, redirect=False).status == 303


def test_signing_in_again_ends_the_session_before(closed, token):
    _, first = sign_in(closed, token)
    post(closed, "/sign-in", {"key": token}, **first)
    assert closed.get("/", headers=BROWSER | first, redirect=False).status == 303


def test_revoked_key_ends_its_sessions_at_once(closed, database, token):
    _, session = sign_in(closed, token)
    get_page(closed, "/", headers=session)
    revoke_key(database, "reader")
    assert closed.get("/", headers=BROWSER | session, redirect=False).status == 303


def test_signing_out_ends_the_session_here_and_there(closed, token):
    _, session = sign_in(closed, token)
    page = get_page(closed, "/", headers=session)
    (csrf,) = page.all("//form[contains(@action, 'sign-out')]/input[@name='csrf']/@value")
    answer = post(closed, "/sign-out", {"csrf": csrf}, **session)
    assert (answer.status, answer.headers["location"]) == (303, "/sign-in")
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert closed.get("/", headers=BROWSER | session, redirect=False).status == 303


def test_signing_out_twice_leads_to_the_form_again(closed):
    answer = post(closed, "/sign-out", {"csrf": "of a session that has ended in another window"})
    assert (answer.status, answer.headers["location"]) == (303, "/sign-in")


@pytest.mark.parametrize("csrf", ["", "x", "0" * 64, "é"])
def test_nobody_else_can_sign_one_out(closed, token, csrf):
    _, session = sign_in(closed, token)
    assert post(closed, "/sign-out", {"csrf": csrf}, **session).status == 403
    get_page(closed, "/", headers=session)


def test_session_of_one_project_sees_no_other(closed, database):
    receive(database, run_of(2, project="secret"))
    token, _ = create_key(database, "shop only", scopes=["read"], projects=["shop"])
    _, session = sign_in(closed, token)
    assert get_page(closed, "/", headers=session).words("//tbody/tr/th/a") == ["shop"]
    get_page(closed, "/projects/secret", headers=session, status=404)


def test_session_opens_pages_and_not_the_api(closed, token):
    _, session = sign_in(closed, token)
    assert closed.get("/api/v1/reports", headers=session).status == 401


@pytest.mark.parametrize(
    ("shown", "target"),
    [
        ("https://ci.example/projects/shop?branch=main", "/sign-in?next=%2Fprojects%2Fshop%3Fbranch%3Dmain"),
        ("", "/sign-in"),
        ("https://[", "/sign-in"),
    ],
)
def test_part_of_a_page_sends_the_whole_page_to_the_form(closed, shown, target):
    headers = {"HX-Request": "true", "Accept": "*/*", "HX-Current-URL": shown}
    answer = closed.get("/new-runs?project=shop", headers=headers, redirect=False)
    assert (answer.status, answer.data) == (204, b"")
    assert answer.headers["hx-redirect"] == target


def test_programs_are_told_that_they_need_a_key(closed, token):
    assert closed.get("/projects/shop").status == 401
    assert closed.get("/projects/shop", headers={"X-API-Key": token}).status == 200


def test_key_is_nowhere_on_any_page(closed, token):
    _, session = sign_in(closed, token)
    for path in ("/", "/projects/shop", "/sign-in", "/admin/keys"):
        assert token not in closed.get(path, headers=BROWSER | session).data.decode()


def test_neither_key_nor_session_is_in_the_log(database, token, caplog):
    with running(database, Choices(is_open_here=False), log_config=None) as server:
        caplog.set_level(logging.DEBUG)
        caplog.set_level(logging.DEBUG, "uvicorn.access")
        _, session = sign_in(server, token)
        sign_in(server, token + "x")
        get_page(server, "/", headers=session)
    assert '"POST /sign-in HTTP/1.1" 303' in caplog.text
    assert token not in caplog.text
    assert session["Cookie"].partition("=")[2] not in caplog.text


def test_this_machine_needs_no_session_to_read_and_one_to_administer(server):
    get_page(server, "/")
    answer = server.get("/admin/keys", headers=BROWSER, redirect=False)
    assert (answer.status, answer.headers["location"]) == (303, "/sign-in?next=%2Fadmin%2Fkeys")


@pytest.mark.parametrize("site", ["cross-site", "same-site", "same-origin", "none"])
def test_link_from_another_page_opens_pages_of_this_machine(server, site):
    answer = server.get("/", headers=BROWSER | {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}, redirect=False)
    assert answer.status == 200


@pytest.mark.parametrize("mode", ["no-cors", "cors", "same-origin"])
def test_other_pages_cannot_read_pages_of_this_machine(server, mode):
    headers = BROWSER | {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": mode}
    assert server.get("/", headers=headers, redirect=False).status == 303


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"key=x", "application/json", 415),
        (b"key=x", "multipart/form-data; boundary=x", 415),
        (b"key=\xff", FORM["Content-Type"], 400),
        (b"&".join(b"a=1" for _ in range(200)), FORM["Content-Type"], 400),
        (b"key=" + b"x" * 300_000, FORM["Content-Type"], 413),
    ],
)
def test_what_is_no_form_is_refused(closed, body, kind, status):
    answer = closed.post("/sign-in", body, headers=BROWSER | {"Content-Type": kind}, redirect=False)
    assert answer.status == status


def test_no_session_is_left_by_wrong_keys(closed, database):
    sign_in(closed, "jux_wrong")
    with database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(schema.session)).scalar() == 0


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://ci.example:8080", 303), ("http://127.0.0.1:4000", 303), ("http://evil.example", 403)],
)
def test_form_comes_from_the_address_that_users_see_whatever_host_a_proxy_passes_on(database, token, origin, status):
    with running(database, Choices(is_open_here=False, base_url="http://ci.example:8080")) as server:
        assert post(server, "/sign-in", {"key": token}, Host="127.0.0.1:4000", Origin=origin).status == status


def test_form_that_is_sent_after_its_session_has_ended_leads_back_to_its_page(closed, database):
    token, _ = create_key(database, "the admin", scopes=["admin"])
    _, session = sign_in(closed, token)
    revoke_key(database, "the admin")
    answer = post(closed, "/admin/signers", {"csrf": "x"}, **session)
    assert answer.headers["location"] == "/sign-in?next=%2Fadmin%2Fsigners"
