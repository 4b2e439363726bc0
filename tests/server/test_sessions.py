"""Sessions of browsers."""

from __future__ import annotations

import hashlib

import pytest
import sqlalchemy as sa

from jux_server import sessions
from jux_server.store import schema
from jux_server.trust import authenticate, create_key, revoke_key
from jux_server.upkeep.backup import back_up, restore


@pytest.fixture
def key(database):
    token, made = create_key(database, "reader", scopes=["read"], projects=["shop"])
    return made, authenticate(database, token)


def expire(database, table, **where):
    with database.write() as connection:
        connection.execute(sa.update(table).values(expires_at=1))


def test_session_stands_for_the_key_that_opened_it(database, key):
    made, caller = key
    token = sessions.begin(database, made.id)
    assert sessions.caller_of(database, token) == caller


@pytest.mark.parametrize("token", ["", "x", "\0", "\ud800", "a" * 10_000])
def test_other_tokens_are_nobody(database, key, token):
    sessions.begin(database, key[0].id)
    assert sessions.caller_of(database, token) is None


def test_only_a_digest_is_kept(database, key):
    token = sessions.begin(database, key[0].id)
    with database.read() as connection:
        (row,) = connection.execute(sa.select(schema.session))
    assert bytes(row.digest) == hashlib.sha256(token.encode()).digest()
    assert token not in str(row)
    assert row.expires_at - row.created_at == sessions.SECONDS * 1_000_000


def test_session_ends_with_its_key(database, key):
    token = sessions.begin(database, key[0].id)
    revoke_key(database, str(key[0].id))
    assert sessions.caller_of(database, token) is None


def test_session_ends_when_its_key_expires(database, key):
    token = sessions.begin(database, key[0].id)
    expire(database, schema.api_key)
    assert sessions.caller_of(database, token) is None


def test_session_expires(database, key):
    token = sessions.begin(database, key[0].id)
    expire(database, schema.session)
    assert sessions.caller_of(database, token) is None


def test_ended_session_is_over_and_others_go_on(database, key):
    first, second = (sessions.begin(database, key[0].id) for _ in range(2))
    sessions.end(database, first)
    assert sessions.caller_of(database, first) is None
    assert sessions.caller_of(database, second) is not None


def test_expired_sessions_are_deleted_by_the_next_that_begins(database, key):
    sessions.begin(database, key[0].id)
    expire(database, schema.session)
    sessions.begin(database, key[0].id)
    with database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(schema.session)).scalar() == 1


def test_csrf_token_is_that_of_one_session(database, key):
    first, second = (sessions.begin(database, key[0].id) for _ in range(2))
    assert sessions.csrf_of(first) != sessions.csrf_of(second)
    assert sessions.csrf_of(first) == sessions.csrf_of(first)
    assert first not in sessions.csrf_of(first)


def test_restored_backup_ends_all_sessions(database, key, tmp_path):
    token = sessions.begin(database, key[0].id)
    back_up(database, tmp_path / "jux.zip")
    restore(database, tmp_path / "jux.zip", force=True)
    assert sessions.caller_of(database, token) is None
    with database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(schema.session)).scalar() == 0
