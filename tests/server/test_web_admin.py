"""Administration by pages."""

from __future__ import annotations

import logging
import ssl
from urllib.parse import urlencode

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from kept_reports import receive
from lxml import html
from servers import running
from web_pages import BROWSER, get_page, run_of
from web_sessions import SignedIn, post

from jux_server.app import Choices
from jux_server.store import schema
from jux_server.trust import add_signer, authenticate, create_key, list_keys, list_signers
from jux_server.upkeep.projects import list_projects, set_project
from jux_server.upkeep.retention import Retention
from pytest_jux.keys import certificate_pem
from pytest_jux.signer import sign_report


@pytest.fixture
def closed(database):
    with running(database, Choices(is_open_here=False)) as started:
        yield started


@pytest.fixture
def admin(database, closed):
    token, _ = create_key(database, "the admin", scopes=["admin"])
    return SignedIn(closed, token)


@pytest.fixture
def shop_admin(database, closed):
    token, _ = create_key(database, "the shop's admin", scopes=["admin"], projects=["shop*"])
    return SignedIn(closed, token)


@pytest.fixture
def reader(database, closed):
    token, _ = create_key(database, "the reader", scopes=["read", "publish"])
    return SignedIn(closed, token)


def key_named(database, name):
    (found,) = [key for key in list_keys(database) if key.name == name]
    return found


# --- keys ------------------------------------------------------------------------------------------------------------


def test_key_is_made_and_shown_once(admin, database):
    answer = admin.fill(
        "/admin/keys", {"name": "ci", "scope": ["publish", "read"], "projects": "shop\n api/* ", "days": "30"}
    )
    made = key_named(database, "ci")
    assert (made.scopes, made.projects) == (("publish", "read"), ("shop", "api/*"))
    assert abs(made.expires_at - made.created_at - 30 * 86_400_000_000) < 10_000_000
    assert answer.status == 200
    text = answer.data.decode()
    token = text[text.index(f"jux_{made.prefix}_") :][:56]
    assert authenticate(database, token).name == "ci"
    assert "location" not in answer.headers
    assert f"jux_{made.prefix}_" not in admin.get("/admin/keys").data.decode()


def test_key_can_be_made_that_never_expires_for_all_projects(admin, database):
    admin.fill("/admin/keys", {"name": "ci", "scope": "publish", "projects": "*", "days": ""})
    assert key_named(database, "ci")[4:7] == (("*",), key_named(database, "ci").created_at, None)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"name": ""}, "the name of a key has 1 to 100 printable characters"),
        ({"name": "7"}, "would be taken for a key"),
        ({"name": "jux_x"}, "would be taken for a key"),
        ({"name": "a\u202eb"}, "the name of a key has 1 to 100 printable characters"),
        ({"name": "x" * 101}, "the name of a key has 1 to 100 printable characters"),
        ({"scope": []}, "a key needs a scope"),
        ({"scope": "everything"}, "there is no scope"),
        ({"days": "soon"}, "a number from 1 to 36,500 is expected"),
        ({"days": "0"}, "a number from 1 to 36,500 is expected"),
        ({"days": "9" * 5_000}, "a number from 1 to 36,500 is expected"),
        ({"days": "000000000001" + "9" * 30}, "a number from 1 to 36,500 is expected"),
        ({"days": "000000000001" + "9" * 5_000}, "a number from 1 to 36,500 is expected"),
        ({"name": "a\r\nSet-Cookie: x=1"}, "the name of a key has 1 to 100 printable characters"),
        ({"projects": "a\u202eb"}, "no control characters"),
        ({"projects": "x" * 251}, "at most 250 characters"),
        ({"projects": " \n "}, "a key needs the name or the pattern of a project"),
    ],
)
def test_what_is_wrong_with_a_new_key_is_said_and_the_form_kept(admin, database, fields, says):
    answer = admin.fill("/admin/keys", {"name": "ci", "scope": "publish", "projects": "shop", "days": "5"} | fields)
    assert answer.status == 400
    assert says in answer.data.decode()
    assert "shop" in answer.data.decode() or "projects" in fields
    assert len(list_keys(database)) == 1


def test_new_key_is_in_no_log(database, caplog):
    token, _ = create_key(database, "the admin", scopes=["admin"])
    with running(database, Choices(is_open_here=False), log_config=None) as server:
        caplog.set_level(logging.DEBUG)
        caplog.set_level(logging.DEBUG, "uvicorn.access")
        SignedIn(server, token).fill("/admin/keys", {"name": "ci", "scope": "publish", "projects": "*"})
    assert '"POST /admin/keys HTTP/1.1" 200' in caplog.text
    assert f"jux_{key_named(database, 'ci').prefix}" not in caplog.text


def test_oldest_keys_that_do_not_work_are_left_out(admin, database):
    for number in range(103):
        create_key(database, f"build-{number}")
    of_builds = schema.api_key.c.name.like("build-%")
    with database.write() as connection:
        connection.execute(sa.update(schema.api_key).where(of_builds).values(revoked_at=1))
    page = admin.get("/admin/keys")
    names = page.words("//tbody/tr/th")
    assert names[0] == "the admin"
    assert names[1:] == [f"build-{number}" for number in range(102, 2, -1)]
    assert "3 older keys that do not work any more are not shown" in page.text


def test_key_is_revoked_after_a_question(admin, database):
    _, made = create_key(database, "old")
    page = admin.get("/admin/keys")
    asked = admin.get(page.link("Revoke old"))
    assert f"Revoke the API key old (jux_{made.prefix}…)?" in asked.text
    assert key_named(database, "old").state == "active"
    answer = admin.fill(page.link("Revoke old"), {})
    assert (answer.status, answer.headers["location"]) == (303, "/admin/keys?said=revoked")
    assert key_named(database, "old").state == "revoked"
    assert "The API key does not work any more." in admin.get("/admin/keys?said=revoked").text


def test_revoking_the_own_key_is_warned_of_and_ends_the_session(admin, database, closed):
    own = key_named(database, "the admin")
    assert "It is the one that you are signed in with." in admin.get(f"/admin/keys/{own.id}/revoke").text
    admin.fill(f"/admin/keys/{own.id}/revoke", {})
    assert closed.get("/admin/keys", headers=BROWSER | admin.session, redirect=False).status == 303


def test_key_that_is_not_there_cannot_be_revoked(admin):
    assert "there is no API key 999" in admin.get("/admin/keys/999/revoke", status=404).text
    admin.get("/admin/keys/0/revoke", status=400)


# --- signers ---------------------------------------------------------------------------------------------------------


def test_signer_is_believed_from_then_on(admin, database, p256, closed):
    pem = certificate_pem(p256.certificate).decode()
    answer = admin.fill("/admin/signers", {"certificate": pem, "kind": "certificate", "projects": "shop"})
    assert (answer.status, answer.headers["location"]) == (303, "/admin/signers?said=added")
    (signer,) = list_signers(database)
    assert (signer.kind, signer.projects, signer.subject) == ("certificate", "shop", "CN=p256 signer")
    run = receive(database, sign_report(run_of(1), p256.key, p256.certificate))
    assert (
        "trusted" in admin.get(f"/reports/{run.id}").words("//h2")[0]
        or "trusted" in admin.get(f"/reports/{run.id}").text
    )


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"certificate": "nonsense"}, "this is no certificate in PEM"),
        ({"certificate": "é" * 9}, "this is no certificate in PEM"),
        (
            {"certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"},
            "this is no certificate in PEM",
        ),
        ({"kind": "authority"}, "is no authority"),
        ({"kind": "anybody"}, "a signer is a certificate or an authority"),
        ({"projects": "a\u202eb"}, "no control characters"),
        ({"projects": "x" * 251}, "at most 250 characters"),
        ({"projects": ""}, "a signer needs the name or the pattern of a project"),
    ],
)
def test_what_is_wrong_with_a_signer_is_said(admin, database, p256, fields, says):
    pem = certificate_pem(p256.certificate).decode()
    answer = admin.fill("/admin/signers", {"certificate": pem, "kind": "certificate", "projects": "*"} | fields)
    assert answer.status == 400
    assert says in answer.data.decode()
    assert list_signers(database) == []


def test_certificate_of_a_version_that_there_is_not_is_refused(admin, database, p256):
    der = p256.certificate.public_bytes(Encoding.DER)
    version = b"\xa0\x03\x02\x01"
    assert version + b"\x02" in der
    pem = ssl.DER_cert_to_PEM_cert(der.replace(version + b"\x02", version + b"\x07", 1))
    answer = admin.fill("/admin/signers", {"certificate": pem, "projects": "*"})
    assert answer.status == 400
    assert "this is no certificate in PEM" in answer.data.decode()
    assert list_signers(database) == []


def test_private_key_is_refused_and_shown_nowhere(admin, database, p256):
    private = p256.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    pem = certificate_pem(p256.certificate).decode()
    answer = admin.fill("/admin/signers", {"certificate": private + pem, "projects": "shop"})
    assert answer.status == 400
    assert "there is a private key in this text" in answer.data.decode()
    assert private.splitlines()[1] not in answer.data.decode()
    assert 'value="shop"' in answer.data.decode()
    assert list_signers(database) == []


def test_of_several_certificates_each_is_believed_that_can_be(admin, database, p256, rsa):
    add_signer(database, p256.certificate, projects="shop")
    both = certificate_pem(p256.certificate).decode() + certificate_pem(rsa.certificate).decode()
    answer = admin.fill("/admin/signers", {"certificate": both, "projects": "shop"})
    assert answer.status == 400
    assert "1 of 2 certificates added; not added: CN=p256 signer is believed already for shop" in answer.data.decode()
    assert len(list_signers(database)) == 2


def test_signer_is_not_added_twice(admin, database, p256):
    add_signer(database, p256.certificate)
    pem = certificate_pem(p256.certificate).decode()
    answer = admin.fill("/admin/signers", {"certificate": pem, "projects": "*"})
    assert "is believed already for *" in answer.data.decode()


def test_signer_is_removed_after_a_question(admin, database, p256):
    signer = add_signer(database, p256.certificate)
    page = admin.get("/admin/signers")
    assert signer.fingerprint.hex() in page.text
    asked = admin.get(page.link("Remove CN=p256 signer"))
    assert "Stop believing CN=p256 signer for projects *?" in asked.text
    assert admin.fill(page.link("Remove CN=p256 signer"), {}).headers["location"] == "/admin/signers?said=removed"
    assert list_signers(database) == []
    admin.get(f"/admin/signers/{signer.id}/remove", status=404)


# --- policies --------------------------------------------------------------------------------------------------------


def test_policy_of_a_project_is_decided(admin, database):
    receive(database, run_of(1))
    page = admin.get("/admin/projects")
    fields = {"accept": "trusted", "keep_days": "30", "keep_runs": "5", "default_branch": "release", "sure": "yes"}
    answer = admin.fill(page.link("Change shop"), fields)
    assert answer.headers["location"] == "/admin/projects?said=saved"
    (info,) = list_projects(database)
    assert info[3:] == ("trusted", 30, 5, "release")
    assert "trusted 30 5 release" in admin.get("/admin/projects").text
    admin.fill("/admin/project/shop", {"accept": "", "keep_days": "", "keep_runs": "", "default_branch": ""})
    assert list_projects(database)[0][3:] == (None, None, None, None)


def test_keeping_less_is_done_after_a_question(admin, database):
    receive(database, run_of(1))
    fields = {"accept": "intact", "keep_days": "30", "keep_runs": "5", "default_branch": "release"}
    asked = admin.fill("/admin/project/shop", fields)
    assert asked.status == 200
    words = " ".join(asked.data.decode().split())
    assert "older than 30 days, and those that are not among the newest 5 of their branch, are deleted" in words
    assert list_projects(database)[0][3:] == (None, None, None, None)
    (form,) = html.fromstring(asked.data.decode()).xpath("//main//form")
    hidden = {one.get("name"): one.get("value") for one in form.xpath(".//input")}
    answer = post(admin.server, form.get("action"), hidden, **admin.session)
    assert (answer.status, answer.headers["location"]) == (303, "/admin/projects?said=saved")
    assert list_projects(database)[0][3:] == ("intact", 30, 5, "release")


@pytest.mark.parametrize("fields", [{"keep_days": "31"}, {"keep_days": "30"}, {"keep_days": ""}])
def test_keeping_more_needs_no_question(admin, database, fields):
    receive(database, run_of(1))
    set_project(database, "shop", keep_days=30, keep_runs=5)
    assert admin.fill("/admin/project/shop", {"keep_days": "30", "keep_runs": "5"} | fields).status == 303


def test_falling_back_to_settings_that_keep_less_is_done_after_a_question(database):
    token, _ = create_key(database, "the admin", scopes=["admin"])
    receive(database, run_of(1))
    set_project(database, "shop", keep_days=365)
    with running(database, Choices(is_open_here=False, retention=Retention(days=7))) as server:
        asked = SignedIn(server, token).fill("/admin/project/shop", {"keep_days": ""})
    assert asked.status == 200
    assert "older than 7 days" in asked.data.decode()
    assert list_projects(database)[0].keep_days == 365


@pytest.mark.parametrize(
    "name", ["..", "a/../b", "a//b", "a\\b", "100% of?x=1#y", "\"q\"&'a'", "\N{SNOWMAN}/ \N{SNOWMAN}"]
)
def test_policy_of_a_project_of_any_name_is_decided(admin, database, name):
    set_project(database, name)
    page = admin.get("/admin/projects")
    (address,) = page.all("//td/a[@class='button']/@href")
    assert admin.fill(address, {"accept": "intact"}).status == 303
    assert [(info.name, info.accept) for info in list_projects(database)] == [(name, "intact")]


def test_policy_counts_from_the_next_report_on(admin, database, closed):
    receive(database, run_of(1))
    admin.fill("/admin/project/shop", {"accept": "intact"})
    answer = closed.post(
        "/api/v1/junit/submit", run_of(2), headers={"Content-Type": "application/xml", "X-API-Key": admin.key}
    )
    assert (answer.status, answer.json()["error"]) == (400, "Report not signed")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"accept": "nothing"}, "a project accepts"),
        ({"keep_days": "-1"}, "a number from 1 to"),
        ({"keep_runs": "many"}, "a number from 1 to"),
        ({"keep_runs": "²"}, "a number from 1 to"),
        ({"keep_runs": "000000000001" + "9" * 5_000}, "a number from 1 to"),
        ({"default_branch": "a\u202eb"}, "no control characters"),
        ({"default_branch": "x" * 251}, "at most 250 characters"),
    ],
)
def test_what_is_wrong_with_a_policy_is_said(admin, database, fields, says):
    receive(database, run_of(1))
    entered = {"keep_days": "17", "default_branch": "typed"} | fields
    answer = admin.fill("/admin/project/shop", entered)
    assert answer.status == 400
    assert says in answer.data.decode()
    page = html.fromstring(answer.data.decode())
    assert page.xpath("//input[@name='keep_days']/@value") == [entered["keep_days"]]
    assert page.xpath("//input[@name='default_branch']/@value") == [entered["default_branch"]]
    assert list_projects(database)[0][3:] == (None, None, None, None)


def test_policy_makes_no_project(admin, database):
    admin.get("/admin/project/nothing", status=404)
    fields = {"csrf": admin.csrf(), "accept": "any"}
    assert post(admin.server, "/admin/project/nothing", fields, **admin.session).status == 404
    assert list_projects(database) == []


# --- who may ---------------------------------------------------------------------------------------------------------

PAGES = ["/admin/keys", "/admin/signers", "/admin/projects", "/admin/keys/1/revoke", "/admin/project/shop"]
POSTS = ["/admin/keys", "/admin/signers", "/admin/keys/1/revoke", "/admin/signers/1/remove", "/admin/project/shop"]


@pytest.mark.parametrize("path", PAGES)
def test_readers_do_not_see_administration(reader, database, path):
    receive(database, run_of(1))
    page = reader.get(path, status=403)
    assert "has not the scope admin" in page.text
    assert "Administration" not in reader.get("/").text


@pytest.mark.parametrize("path", POSTS)
def test_readers_do_not_administer(reader, database, path):
    receive(database, run_of(1))
    answer = post(reader.server, path, {"csrf": reader.csrf(), "name": "x", "scope": "admin"}, **reader.session)
    assert answer.status == 403
    assert [key.state for key in list_keys(database)] == ["active"]


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("csrf", ["", "x", "of another session"])
def test_forms_of_other_sessions_change_nothing(admin, database, p256, path, csrf):
    receive(database, run_of(1))
    add_signer(database, p256.certificate)
    if csrf == "of another session":
        csrf = SignedIn(admin.server, admin.key).csrf()
    fields = {"csrf": csrf, "name": "x", "scope": "admin", "accept": "any"}
    assert post(admin.server, path, fields, **admin.session).status == 403
    assert [key.state for key in list_keys(database)] == ["active"]
    assert len(list_signers(database)) == 1


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}])
def test_other_sites_change_nothing(admin, database, path, headers):
    fields = {"csrf": admin.csrf(), "name": "x", "scope": "admin"}
    assert post(admin.server, path, fields, **admin.session, **headers).status == 403
    assert len(list_keys(database)) == 1


@pytest.mark.parametrize("path", POSTS)
def test_api_key_alone_sends_no_form(admin, database, path):
    answer = post(admin.server, path, {"name": "x", "scope": "admin"}, **{"X-API-Key": admin.key})
    assert answer.status == 403
    assert len(list_keys(database)) == 1


def test_many_projects_are_paged_and_searched(admin, database):
    names = [{"name": f"team/{number:03}", "created_at": 1} for number in range(205)]
    with database.write() as connection:
        connection.execute(sa.insert(schema.project), names)
    page, seen = admin.get("/admin/projects"), []
    seen += page.words("//tbody/tr/th")
    while page.all("//a[@rel='next']"):
        page = admin.get(page.link("More of 205"))
        seen += page.words("//tbody/tr/th")
    assert seen == [one["name"] for one in names]
    assert admin.get("/admin/projects?q=TEAM/20").words("//tbody/tr/th") == [f"team/20{number}" for number in range(5)]
    assert "No project has this in its name." in admin.get("/admin/projects?q=nothing").text


def test_admin_of_some_projects_decides_for_them_only(shop_admin, database):
    receive(database, run_of(1))
    receive(database, run_of(2, project="secret"))
    page = shop_admin.get("/admin/projects")
    assert page.words("//tbody/tr/th") == ["shop"]
    assert page.words("//nav[@aria-label='Administration']/a") == ["Policies"]
    assert page.link("Administration") == "/admin/projects"
    assert shop_admin.fill("/admin/project/shop", {"accept": "intact"}).status == 303
    shop_admin.get("/admin/project/secret", status=404)
    fields = {"csrf": shop_admin.csrf(), "accept": "any"}
    assert post(shop_admin.server, "/admin/project/secret", fields, **shop_admin.session).status == 404
    assert {info.name: info.accept for info in list_projects(database)} == {"shop": "intact", "secret": None}


@pytest.mark.parametrize("path", ["/admin/keys", "/admin/signers"])
def test_admin_of_some_projects_makes_no_keys_and_no_signers(shop_admin, database, path):
    assert "for some projects only" in shop_admin.get(path, status=403).text
    fields = {"csrf": shop_admin.csrf(), "name": "x", "scope": "admin", "projects": "*"}
    assert post(shop_admin.server, path, fields, **shop_admin.session).status == 403
    assert len(list_keys(database)) == 1


def test_hostile_names_are_text(admin, database, p256):
    create_key(database, "<script>alert(1)</script>", projects=['"><img src=x onerror=alert(1)>'])
    add_signer(database, p256.certificate, projects="</td><script>")
    receive(database, run_of(1, project="&lt;script&gt;x&lt;/script&gt;", branch="&quot;&gt;&lt;b&gt;"))
    with database.write() as connection:
        connection.execute(sa.update(schema.project).values(default_branch="<b>'\""))
    for path in ("/admin/keys", "/admin/signers", "/admin/projects", "/admin/keys/2/revoke", "/admin/signers/1/remove"):
        admin.get(path)
    page = admin.get(admin.get("/admin/projects").all("//td/a[@class='button']/@href")[0])
    assert page.all("//input[@name='default_branch']/@value") == ["<b>'\""]


def test_page_of_errors_does_not_show_what_was_sent(admin):
    answer = admin.fill("/admin/signers", {"certificate": "</textarea><script>alert(1)</script>"})
    assert b"<script>alert" not in answer.data


@pytest.mark.parametrize("path", POSTS)
def test_form_sent_after_the_session_ended_leads_back_to_its_page(admin, database, path):
    csrf = admin.csrf()
    with database.write() as connection:
        connection.execute(sa.delete(schema.session))
    answer = post(admin.server, path, {"csrf": csrf}, **admin.session)
    assert (answer.status, answer.headers["location"]) == (303, f"/sign-in?{urlencode({'next': path})}")


def test_nobody_is_let_in_by_an_unknown_session(closed):
    answer = closed.get("/admin/keys", headers=BROWSER | {"Cookie": "jux_session=x"}, redirect=False)
    assert answer.status == 303
    assert get_page(closed, answer.headers["location"]).words("//h1") == ["Sign in"]
