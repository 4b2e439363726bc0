"""Whom the server believes: API keys, which say who may do what, and signers, whose certificates it was given.

An API key is `jux_<8 characters>_<43 characters>`. Only its SHA-256 is stored: the key is random, so that a slow hash
would protect nothing more.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy.exc import IntegrityError

from jux_server.errors import Refused, Unknown
from jux_server.store.database import now
from jux_server.store.schema import api_key, signer
from pytest_jux.keys import subject_of, validity_of
from pytest_jux.verifier import Trust

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jux_server.store.database import Database

SCOPES = ("publish", "read", "admin")
EVERYTHING = "*"
_MARK = "jux_"
_ALPHABET = string.ascii_letters + string.digits
_PREFIX = 8  # characters that a key is looked up by
_LONGEST_NAME = 100
_SECRET = 43  # characters, 256 bits
_RECENTLY = 60_000_000  # microseconds in which the last use of a key is not written down again
_NOBODY = hashlib.sha256(b"").digest()


class KeyRefused(Exception):
    """The API key is not accepted; the text is a sentence that does not help to guess one."""


class Caller(NamedTuple):
    """Who asks: the key's number (None: this machine, without a key), its name, and what it may do and see."""

    key_id: int | None
    name: str
    scopes: frozenset[str]
    projects: tuple[str, ...]

    def may(self, scope: str) -> bool:
        """Tell whether the caller has a scope; `admin` has them all."""
        return scope in self.scopes or "admin" in self.scopes

    def sees(self, project: str) -> bool:
        """Tell whether the caller's projects include this one."""
        return _matches(self.projects, project)


class KeyInfo(NamedTuple):
    """What is known of an API key; times are microseconds, None for never."""

    id: int
    name: str
    prefix: str
    scopes: tuple[str, ...]
    projects: tuple[str, ...]
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    last_used_at: int | None

    @property
    def state(self) -> str:
        """`active`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now() else "active"


class SignerInfo(NamedTuple):
    """A certificate whose holder, or whose holders' holders, are believed for the projects that match a pattern."""

    id: int
    kind: str  # certificate | authority
    projects: str
    subject: str
    fingerprint: bytes
    certificate: bytes  # DER
    added_at: int

    def load(self) -> x509.Certificate:
        """Return the certificate."""
        return x509.load_der_x509_certificate(self.certificate)


def _matches(patterns: Iterable[str], project: str) -> bool:
    # A name with brackets is no pattern of itself.
    return any(project == pattern or fnmatchcase(project, pattern) for pattern in patterns)


# --- API keys --------------------------------------------------------------------------------------------------------


def create_key(
    database: Database,
    name: str,
    *,
    scopes: Sequence[str] = ("publish",),
    projects: Sequence[str] = (EVERYTHING,),
    expires_at: int | None = None,
) -> tuple[str, KeyInfo]:
    """Make an API key and return it, which is the only time it can be seen, and what is kept of it.

    Raises:
        Refused: a scope that there is not, no scope, no project, or an expiry that has passed.
    """
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        raise Refused(f"there is no scope {unknown[0]!r}" if unknown else "a key needs a scope", _SCOPES_ARE)
    if not projects or not all(pattern.strip() and "\n" not in pattern for pattern in projects):
        raise Refused("a key needs the name or the pattern of a project", "Use * for every project.")
    if expires_at is not None and expires_at <= now():
        raise Refused("the key would have expired already", "Give a time to come.")
    prefix = _random(_PREFIX)
    token = f"{_MARK}{prefix}_{_random(_SECRET)}"
    values = {
        "name": name,
        "prefix": prefix,
        "digest": _digest(token),
        "scopes": " ".join(scope for scope in SCOPES if scope in scopes),
        "projects": "\n".join(dict.fromkeys(projects)),
        "created_at": now(),
        "expires_at": expires_at,
    }
    with database.write() as connection:
        number = connection.execute(sa.insert(api_key).values(values).returning(api_key.c.id)).scalar_one()
    return token, find_key(database, str(number))


_SCOPES_ARE = f"Scopes are {', '.join(SCOPES)}."


def name_problem(name: str) -> str:
    """Return what is wrong with a name for an API key, "" for nothing: it must be possible to name the key by it."""
    if not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
        return f"the name of a key has 1 to {_LONGEST_NAME} printable characters"
    if name.isdigit() or name.startswith(_MARK):
        return f"{name!r} would be taken for a key's number or for a key; choose another name"
    return ""


def list_keys(database: Database) -> list[KeyInfo]:
    """Return all API keys, oldest first, those that do not work any more included."""
    with database.read() as connection:
        return [_key_info(row) for row in connection.execute(sa.select(api_key).order_by(api_key.c.id))]


def find_key(database: Database, name: str) -> KeyInfo:
    """Return the API key with this number, prefix or (if it is the only one) name.

    Of a whole key the prefix counts, and nothing of the rest is ever said.

    Raises:
        Unknown: there is none.
        Refused: there are several of that name.
    """
    if name.startswith(_MARK):
        name = "_".join(name.split("_")[:2])
    found = [key for key in list_keys(database) if name in {str(key.id), key.prefix, f"{_MARK}{key.prefix}"}]
    found = found or [key for key in list_keys(database) if key.name == name]
    if not found:
        raise Unknown("API key", name, "jux-server key list shows them all.")
    if len(found) > 1:
        raise Refused(f"there are {len(found)} API keys of the name {name}", "Name the prefix of one.")
    return found[0]


def revoke_key(database: Database, name: str) -> KeyInfo:
    """Make an API key useless from now on and return what is known of it; raises as `find_key`."""
    key = find_key(database, name)
    with database.write() as connection:
        revoke = sa.update(api_key).where(api_key.c.id == key.id, api_key.c.revoked_at.is_(None))
        connection.execute(revoke.values(revoked_at=now()))
    return find_key(database, str(key.id))


def has_keys(database: Database) -> bool:
    """Tell whether there is an API key that works."""
    return any(key.state == "active" for key in list_keys(database))


def authenticate(database: Database, token: str) -> Caller:
    """Return the caller whose API key this is.

    An unknown key takes as long as a wrong one, and the comparison does not end at the first difference.

    Raises:
        KeyRefused: it is none, or it has expired or was revoked.
    """
    given = _digest(token)
    prefix = token.removeprefix(_MARK).partition("_")[0]
    row = None
    if token.startswith(_MARK) and prefix.isascii() and prefix.isalnum():
        with database.read() as connection:
            row = connection.execute(sa.select(api_key).where(api_key.c.prefix == prefix)).one_or_none()
    is_right = hmac.compare_digest(given, _NOBODY if row is None else bytes(row.digest))
    if row is None or not is_right:
        raise KeyRefused("the API key is not known here")
    key = _key_info(row)
    if key.state != "active":
        raise KeyRefused(
            f"the API key {_MARK}{key.prefix}… {'has expired' if key.state == 'expired' else 'was revoked'}"
        )
    time = now()
    if key.last_used_at is None or time - key.last_used_at > _RECENTLY:
        with database.write() as connection:
            connection.execute(sa.update(api_key).where(api_key.c.id == key.id).values(last_used_at=time))
    return _caller(key)


def caller_of_key(row: sa.Row[Any]) -> Caller | None:
    """Return the caller with an API key, given by its row; None if it has expired or was revoked."""
    key = _key_info(row)
    return _caller(key) if key.state == "active" else None


def _caller(key: KeyInfo) -> Caller:
    return Caller(key.id, key.name, frozenset(key.scopes), key.projects)


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def _key_info(row: sa.Row[Any]) -> KeyInfo:
    values = {name: value for name, value in row._mapping.items() if name in KeyInfo._fields}  # noqa: SLF001 - public by SQLAlchemy's documentation
    values |= {"scopes": tuple(values["scopes"].split()), "projects": tuple(values["projects"].split("\n"))}
    return KeyInfo(**values)


# --- signers ---------------------------------------------------------------------------------------------------------


def add_signer(
    database: Database, certificate: x509.Certificate, *, kind: str = "certificate", projects: str = EVERYTHING
) -> SignerInfo:
    """Believe the holder of a certificate, or those to whom an authority issued one, for the projects of a pattern.

    Reports that are there already are judged anew by `reverify` only.

    Raises:
        Refused: it is believed already, has expired, or is not of that kind.
    """
    if kind not in {"certificate", "authority"}:
        raise Refused(f"a signer is a certificate or an authority, not {kind!r}")
    if kind == "authority" and not _is_authority(certificate):
        hint = "Add it without --ca to believe its holder alone."
        raise Refused(f"{subject_of(certificate)} is no authority: its certificate may not issue others", hint)
    if validity_of(certificate).not_after <= datetime.now(UTC):
        until = f"{validity_of(certificate).not_after:%Y-%m-%d}"
        raise Refused(f"the certificate of {subject_of(certificate)} expired on {until}")
    values = {
        "kind": kind,
        "projects": projects,
        "subject": subject_of(certificate),
        "fingerprint": certificate.fingerprint(SHA256()),
        "certificate": certificate.public_bytes(Encoding.DER),
        "added_at": now(),
    }
    try:
        with database.write() as connection:
            number = connection.execute(sa.insert(signer).values(values).returning(signer.c.id)).scalar_one()
    except IntegrityError:
        raise Refused(f"{values['subject']} is believed already for {projects}") from None
    return find_signer(database, str(number))


def list_signers(database: Database) -> list[SignerInfo]:
    """Return all certificates that are believed, oldest first."""
    with database.read() as connection:
        return _all_signers(connection)


def find_signer(database: Database, name: str) -> SignerInfo:
    """Return the signer with this number, subject, or beginning of its fingerprint (at least 8 characters).

    Raises:
        Unknown: there is none.
        Refused: there are several.
    """
    signers = list_signers(database)
    digits = name.replace(":", "").lower()
    found = [one for one in signers if str(one.id) == name]
    found = found or [one for one in signers if one.subject == name]
    if not found and len(digits) >= _PREFIX:
        found = [one for one in signers if one.fingerprint.hex().startswith(digits)]
    if not found:
        raise Unknown("signer", name, "jux-server signer list shows them all.")
    if len(found) > 1:
        raise Refused(f"there are {len(found)} signers that {name} may mean", "Name the number of one.")
    return found[0]


def remove_signer(database: Database, name: str) -> SignerInfo:
    """Stop believing a signer and return what was known of it; raises as `find_signer`."""
    found = find_signer(database, name)
    with database.write() as connection:
        connection.execute(sa.delete(signer).where(signer.c.id == found.id))
    return found


class Signers:
    """The certificates that are believed, read from the database when they have changed."""

    def __init__(self) -> None:
        # One value, because several threads read and replace it.
        self._known: tuple[tuple[object, ...], list[tuple[SignerInfo, x509.Certificate]]] = ((), [])

    def trust(self, connection: sa.Connection, project: str, at: int) -> Trust:
        """Return whom the server believes for a project, dates judged at a time in microseconds."""
        version = tuple(connection.execute(_SIGNERS_VERSION).one())
        known, signers = self._known
        if version != known:
            signers = [(one, one.load()) for one in _all_signers(connection)]
            self._known = version, signers
        mine = [(one.kind, loaded) for one, loaded in signers if _matches([one.projects], project)]
        return Trust(
            [loaded for kind, loaded in mine if kind == "certificate"],
            [loaded for kind, loaded in mine if kind == "authority"],
            datetime.fromtimestamp(at / 1_000_000, UTC),
        )


# A restored backup may have other signers with the same numbers.
_SIGNERS_VERSION = sa.select(
    sa.func.count(), sa.func.max(signer.c.id), sa.func.max(signer.c.added_at), sa.func.min(signer.c.added_at)
)


def _all_signers(connection: sa.Connection) -> list[SignerInfo]:
    return [SignerInfo(*row) for row in connection.execute(sa.select(signer).order_by(signer.c.id))]


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return False
