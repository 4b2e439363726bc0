"""Administration of API keys and signers, which are for keys that are for all projects."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cryptography import x509
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import RedirectResponse, Response

from jux_server.api.access import database_of
from jux_server.api.problems import Problem, not_found
from jux_server.errors import Refused
from jux_server.store.database import now
from jux_server.trust import (
    EVERYTHING,
    SCOPES,
    add_signer,
    create_key,
    list_keys,
    list_signers,
    name_problem,
    remove_signer,
    revoke_key,
)
from jux_server.web.access import Sees, Viewer
from jux_server.web.forms import Fields, Form, check_text, number_of, one
from jux_server.web.links import links_of
from jux_server.web.rendering import HEADERS, page

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jux_server.trust import KeyInfo, SignerInfo
    from jux_server.web.access import Viewing

router = APIRouter()

Number = Annotated[int, Path(ge=1, le=2**31 - 1)]
Said = Annotated[Literal["", "revoked", "added", "removed", "saved"], Query()]
_DAY = 86_400_000_000  # microseconds
LONGEST = 36_500  # days
_MOST_SHOWN = 100  # keys that do not work any more
_MOST_REASONS = 5  # why certificates were not added
_PRIVATE = "PRIVATE KEY-----"


def _administrator(viewer: Viewer) -> Viewer:
    """Return the viewer, if nothing is out of their reach: keys and signers could be made for any project."""
    if EVERYTHING not in viewer.caller.projects:
        reason = "this API key is for some projects only; keys and signers are for one that is for all of them (*)"
        hint = "What this key decides for its projects is on the page Policies (admin/projects)."
        raise Problem(HTTPStatus.FORBIDDEN, "Not allowed", reason, suggestions=[hint])
    return viewer


# --- keys ------------------------------------------------------------------------------------------------------------


@router.get("/admin/keys", include_in_schema=False)
def keys_page(request: Request, sees: Sees, said: Said = "") -> Response:
    """List the API keys, with a form for a new one."""
    return _keys(request, _administrator(sees.require("admin")), said=said)


@router.post("/admin/keys", include_in_schema=False)
def make_key(request: Request, sees: Sees, form: Form) -> Response:
    """Make an API key, and show it the only time."""
    viewer = _administrator(sender(sees, form))
    name, days = one(form, "name"), one(form, "days")
    patterns = [line.strip() for line in one(form, "projects").splitlines() if line.strip()]
    try:
        _check_name(name)
        check_text("a project's name", *patterns)
        valid_days = number_of("the days until it expires", days, LONGEST)
        token, made = create_key(
            database_of(request),
            name,
            scopes=form.get("scope", []),
            projects=patterns,
            expires_at=now() + valid_days * _DAY if valid_days else None,
        )
    except Refused as refused:
        return _keys(request, viewer, status=HTTPStatus.BAD_REQUEST, reason=str(refused), form=form)
    return _keys(request, viewer, token=token, made=made)


@router.get("/admin/keys/{number}/revoke", include_in_schema=False)
def ask_before_revoking(request: Request, sees: Sees, number: Number) -> Response:
    """Ask whether a key is to be revoked."""
    viewer = _administrator(sees.require("admin"))
    key = _key(request, number)
    words = f"Revoke the API key {key.name} (jux_{key.prefix}…)? Whoever uses it is refused from then on."
    if key.id == viewer.caller.key_id:
        words += " It is the one that you are signed in with."
    return confirm(request, viewer, "keys", words, "Revoke")


@router.post("/admin/keys/{number}/revoke", include_in_schema=False)
def revoke(request: Request, sees: Sees, form: Form, number: Number) -> Response:
    """Make a key useless."""
    _administrator(sender(sees, form))
    revoke_key(database_of(request), str(_key(request, number).id))
    return back(request, "admin/keys", "revoked")


def _check_name(name: str) -> None:
    problem = name_problem(name)
    if problem:
        raise Refused(problem)


def _key(request: Request, number: int) -> KeyInfo:
    for key in list_keys(database_of(request)):
        if key.id == number:
            return key
    raise not_found("API key", str(number))


def _keys(request: Request, viewer: Viewer, **values: Any) -> Response:  # noqa: ANN401 - the template's
    shown = {"said": "", "reason": "", "form": {}, "token": "", "made": None} | values
    newest_first = list_keys(database_of(request))[::-1]
    ended = [key for key in newest_first if key.state != "active"]
    shown["keys"] = [key for key in newest_first if key.state == "active"] + ended[:_MOST_SHOWN]
    shown["left_out"] = len(ended[_MOST_SHOWN:])
    return page(request, viewer, "admin_keys.html", title="API keys", nav="admin", scopes=SCOPES, **shown)


# --- signers ---------------------------------------------------------------------------------------------------------


@router.get("/admin/signers", include_in_schema=False)
def signers_page(request: Request, sees: Sees, said: Said = "") -> Response:
    """List whom the server believes, with a form for another one."""
    return _signers(request, _administrator(sees.require("admin")), said=said)


@router.post("/admin/signers", include_in_schema=False)
def believe(request: Request, sees: Sees, form: Form) -> Response:
    """Believe the holders of certificates, of several each that can be believed."""
    viewer = _administrator(sender(sees, form))
    pattern, kind = one(form, "projects"), one(form, "kind") or "certificate"
    added, refused = 0, []
    try:
        _check_pattern(pattern)
        certificates = _certificates(one(form, "certificate"))
    except Refused as error:
        certificates, refused = [], [str(error)]
    for certificate in certificates:
        try:
            add_signer(database_of(request), certificate, kind=kind, projects=pattern)
            added += 1
        except Refused as error:
            refused.append(str(error))
    if not refused:
        return back(request, "admin/signers", "added")
    reason = "; ".join(refused[:_MOST_REASONS])
    if len(certificates) > 1:
        reason = f"{added} of {len(certificates)} certificates added; not added: {reason}"
    if _PRIVATE in one(form, "certificate"):  # it must not be on any page
        form = form | {"certificate": [""]}
    return _signers(request, viewer, status=HTTPStatus.BAD_REQUEST, reason=reason, form=form)


@router.get("/admin/signers/{number}/remove", include_in_schema=False)
def ask_before_removing(request: Request, sees: Sees, number: Number) -> Response:
    """Ask whether a signer is to be believed no longer."""
    viewer = _administrator(sees.require("admin"))
    signer = _signer(request, number)
    words = f"Stop believing {signer.subject} for projects {signer.projects}?"
    rest = "Reports that are there stay as they were judged, until jux-server reverify judges them anew."
    return confirm(request, viewer, "signers", f"{words} {rest}", "Remove")


@router.post("/admin/signers/{number}/remove", include_in_schema=False)
def disbelieve(request: Request, sees: Sees, form: Form, number: Number) -> Response:
    """Stop believing a signer."""
    _administrator(sender(sees, form))
    remove_signer(database_of(request), str(_signer(request, number).id))
    return back(request, "admin/signers", "removed")


def _signer(request: Request, number: int) -> SignerInfo:
    for signer in list_signers(database_of(request)):
        if signer.id == number:
            return signer
    raise not_found("signer", str(number))


def _signers(request: Request, viewer: Viewer, **values: Any) -> Response:  # noqa: ANN401 - the template's
    shown = {"said": "", "reason": "", "form": {}} | values
    signers = [(signer, signer.load().not_valid_after_utc) for signer in list_signers(database_of(request))]
    return page(request, viewer, "admin_signers.html", title="Signers", nav="admin", signers=signers, **shown)


def _check_pattern(pattern: str) -> None:
    if not pattern:  # what was left out must not stand for everything
        raise Refused("a signer needs the name or the pattern of a project; * is for all")
    check_text("a project's name", pattern)


def _certificates(text: str) -> list[x509.Certificate]:
    """Return the certificates of a form; raises `Refused`, which says nothing of what a private key is made of."""
    if _PRIVATE in text:
        raise Refused("there is a private key in this text; it was not kept; send the certificate alone")
    try:
        return x509.load_pem_x509_certificates(text.encode())
    except (ValueError, x509.InvalidVersion):
        hint = "it begins with -----BEGIN CERTIFICATE-----"
        raise Refused(f"this is no certificate in PEM; {hint}") from None


# --- shared ----------------------------------------------------------------------------------------------------------


def sender(sees: Viewing, form: Fields) -> Viewer:
    """Return who sent a form of administration; raises as `Viewing.require_form`."""
    return sees.require_form("admin", one(form, "csrf"))


def back(request: Request, name: str, said: str) -> Response:
    """Lead to a page, which says what was done."""
    return RedirectResponse(links_of(request).page(name, said=said), HTTPStatus.SEE_OTHER, headers=HEADERS)


def confirm(
    request: Request, viewer: Viewer, area: str, words: str, verb: str, entered: Mapping[str, str] | None = None
) -> Response:
    """Ask before something is done that nobody can take back; `entered` is sent again with the answer."""
    shown: dict[str, Any] = {"area": area, "words": words, "verb": verb, "entered": entered or {}}
    return page(request, viewer, "admin_confirm.html", title="Are you sure?", nav="admin", **shown)
