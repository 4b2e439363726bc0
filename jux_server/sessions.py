"""Sessions of browsers: an API key opens one, and it lasts no longer than the key does.

A browser keeps a random token in a cookie, the database its SHA-256. What a form of the session has to bring along (its
CSRF token) follows from the token, so that nothing more is kept.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING

import sqlalchemy as sa

from jux_server.store.database import now
from jux_server.store.schema import api_key, session
from jux_server.trust import caller_of_key

if TYPE_CHECKING:
    from jux_server.store.database import Database
    from jux_server.trust import Caller

SECONDS = 12 * 3_600  # that a session lasts
_BYTES = 32


def begin(database: Database, key_id: int) -> str:
    """Begin a session of the API key with this number and return its token, which is the only time it can be seen."""
    token = secrets.token_urlsafe(_BYTES)
    time = now()
    values = {"digest": _digest(token), "key_id": key_id, "created_at": time, "expires_at": time + SECONDS * 1_000_000}
    with database.write() as connection:
        connection.execute(sa.delete(session).where(session.c.expires_at <= time))
        connection.execute(sa.insert(session).values(values))
    return token


def caller_of(database: Database, token: str) -> Caller | None:
    """Return who has this session; None if it is none, has ended, or its key does not work any more."""
    chosen = (
        sa.select(api_key)
        .join(session, session.c.key_id == api_key.c.id)
        .where(session.c.digest == _digest(token), session.c.expires_at > now())
    )
    with database.read() as connection:
        row = connection.execute(chosen).one_or_none()
    return None if row is None else caller_of_key(row)


def end(database: Database, token: str) -> None:
    """End a session, if there is one."""
    with database.write() as connection:
        connection.execute(sa.delete(session).where(session.c.digest == _digest(token)))


def csrf_of(token: str) -> str:
    """Return what the forms of a session bring along, which other pages cannot know."""
    return hmac.new(token.encode("utf-8", "replace"), b"csrf", hashlib.sha256).hexdigest()


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
