"""Signing in and administration in a real browser, with JavaScript and without."""

from __future__ import annotations

import re

import pytest
from browser import visiting
from kept_reports import receive
from playwright.sync_api import expect
from servers import running
from web_pages import run_of

from jux_server.app import Choices
from jux_server.trust import add_signer, create_key, list_keys
from pytest_jux.keys import certificate_pem

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
ONLY_KEYS = Choices(is_open_here=False)


def sign_in(visit, key, then="/"):
    page = visit.open(f"/sign-in?next={then}")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    return page


@pytest.mark.parametrize("javascript", [True, False])
def test_signing_in_leads_to_where_one_was_and_out_means_out(browser, database, javascript):
    receive(database, run_of(1))
    token, _ = create_key(database, "reader", scopes=["read"])
    with running(database, ONLY_KEYS) as server, visiting(browser, server.url, javascript=javascript) as visit:
        page = visit.open("/projects/shop")
        page.get_by_label("API key").fill("jux_wrong")
        with visit.expecting(401):
            page.get_by_role("button", name="Sign in").click()
            expect(page.get_by_role("alert")).to_have_text("the API key is not known here")
        page.get_by_label("API key").fill(token)
        page.get_by_role("button", name="Sign in").click()
        expect(page).to_have_url(re.compile("/projects/shop$"))
        expect(page.get_by_role("link", name="Administration")).to_have_count(0)
        page.get_by_role("button", name="Sign out").click()
        expect(page).to_have_url(re.compile("/sign-in$"))
        page.go_back()
        expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


@pytest.mark.parametrize("javascript", [True, False])
def test_a_key_is_shown_once_and_revoked(browser, database, javascript):
    token, _ = create_key(database, "the admin", scopes=["admin"])
    with running(database, ONLY_KEYS) as server, visiting(browser, server.url, javascript=javascript) as visit:
        page = sign_in(visit, token)
        page.get_by_role("navigation", name="Main").get_by_role("link", name="Administration").click()
        page.get_by_label("Name", exact=True).fill("ci")
        page.get_by_role("button", name="Make the key").click()
        panel = page.get_by_role("region", name="The new API key of ci")
        made = panel.get_by_text(re.compile("^jux_")).inner_text()
        assert server.get("/api/v1/projects", headers={"X-API-Key": made}).status == 403  # known, and may publish only
        page.get_by_role("link", name="API keys").click()
        expect(page.get_by_role("row", name=re.compile("^ci "))).to_contain_text("publish")
        assert made not in page.content()
        page.get_by_role("link", name="Revoke ci").click()
        page.get_by_role("button", name="Revoke").click()
        expect(page.get_by_role("status").first).to_have_text("The API key does not work any more.")
        assert server.get("/api/v1/projects", headers={"X-API-Key": made}).status == 401
    assert {key.name: key.state for key in list_keys(database)} == {"the admin": "active", "ci": "revoked"}


def test_signers_and_policies_are_decided_on(browser, database, p256):
    receive(database, run_of(1))
    token, _ = create_key(database, "the admin", scopes=["admin"])
    with running(database, ONLY_KEYS) as server, visiting(browser, server.url) as visit:
        page = sign_in(visit, token, "/admin/signers")
        page.get_by_label("Certificate in PEM").fill(certificate_pem(p256.certificate).decode())
        page.get_by_role("button", name="Believe").click()
        expect(page.get_by_role("row", name=re.compile("CN=p256 signer"))).to_be_visible()
        page.get_by_role("link", name="Remove CN=p256 signer").click()
        page.get_by_role("link", name="No, go back").click()
        expect(page.get_by_role("row", name=re.compile("CN=p256 signer"))).to_be_visible()

        page.get_by_role("link", name="Policies").click()
        page.get_by_role("link", name="Change shop").click()
        page.get_by_label("Accepts reports that are").select_option("trusted")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("row", name=re.compile("shop"))).to_contain_text("trusted")


def test_what_was_entered_wrongly_is_said_and_kept(browser, database):
    token, _ = create_key(database, "the admin", scopes=["admin"])
    with running(database, ONLY_KEYS) as server, visiting(browser, server.url) as visit:
        page = sign_in(visit, token, "/admin/keys")
        page.get_by_label("Name", exact=True).fill("ci")
        page.get_by_label(re.compile("^Expires")).fill("soon")
        with visit.expecting(400):
            page.get_by_role("button", name="Make the key").click()
            expect(page.get_by_role("alert")).to_contain_text("soon")
        expect(page.get_by_label("Name", exact=True)).to_have_value("ci")
        assert visit.violations() == []
    assert [key.name for key in list_keys(database)] == ["the admin"]


@pytest.mark.parametrize(("scheme", "width"), [("light", 360), ("dark", 1280)])
def test_nobody_is_kept_out_of_administration(browser, database, p256, scheme, width):
    add_signer(database, p256.certificate)
    receive(database, run_of(1))
    token, _ = create_key(database, "the admin", scopes=["admin"])
    with running(database) as server, visiting(browser, server.url, width=width, scheme=scheme) as visit:
        sign_in(visit, token)
        paths = ["/admin/keys", "/admin/signers", "/admin/projects", "/admin/project/shop", "/admin/keys/1/revoke"]
        for path in [*paths, "/admin/signers/1/remove"]:
            visit.open(path)
            assert visit.violations() == [], path
            assert not visit.is_too_wide(), path
            assert [stop["html"] for stop in visit.tab_stops() if not stop["isSeen"]] == [], path
