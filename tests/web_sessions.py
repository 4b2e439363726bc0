"""A browser without JavaScript, with its session."""

from __future__ import annotations

from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from urllib.parse import urlencode

from web_pages import BROWSER, get_page

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def post(server, path, fields=(), **headers):
    body = urlencode(fields, doseq=True).encode()
    return server.post(path, body, headers=BROWSER | FORM | headers, redirect=False)


def sign_in(server, key, **fields):
    """Sign in and return the answer and the header that keeps the session."""
    answer = post(server, "/sign-in", {"key": key} | fields)
    cookie = SimpleCookie(answer.headers.get("set-cookie", ""))
    value = cookie["jux_session"].value if "jux_session" in cookie else ""
    return answer, {"Cookie": f"jux_session={value}"}


@dataclass
class SignedIn:
    """Somebody who is signed in and sends the forms that pages have."""

    server: object
    key: str = field(repr=False)

    def __post_init__(self):
        self.session = sign_in(self.server, self.key)[1]

    def get(self, path, status=200):
        return get_page(self.server, path, status=status, headers=self.session)

    def fill(self, path, fields, **headers):
        """Get a page and send its last form with these values, others as they are."""
        page = self.get(path)
        form = page.all("//main//form[@method='post']")[-1]
        hidden = {one.get("name"): one.get("value", "") for one in form.xpath(".//input[@type='hidden']")}
        return post(self.server, form.get("action"), hidden | fields, **(self.session | headers))

    def csrf(self):
        return self.get("/").all("//input[@name='csrf']/@value")[0]
