"""API keys and signers: what is made, found, believed and forgotten."""

from __future__ import annotations

import datetime as dt
import threading
import time

import pytest
import sqlalchemy as sa
from attacks.material import issued, self_signed, usage
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from jux_server.errors import Refused, Unknown
from jux_server.intake import Intake
from jux_server.store import schema
from jux_server.store.database import now
from jux_server.trust import (
    Caller,
    KeyRefused,
    Signers,
    add_signer,
    authenticate,
    create_key,
    find_key,
    find_signer,
    has_keys,
    list_keys,
    list_signers,
    remove_signer,
    revoke_key,
)
from pytest_jux.keys import subject_of
from pytest_jux.signer import sign_report

HOUR = 3_600_000_000


def refusal(database, token):
    with pytest.raises(KeyRefused) as caught:
        authenticate(database, token)
    return str(caught.value)


def set_key(database, key, **values):
    with database.write() as connection:
        connection.execute(sa.update(schema.api_key).where(schema.api_key.c.id == key.id).values(values))


# --- keys ------------------------------------------------------------------------------------------------------------


def test_key_lets_its_holder_do_what_it_is_for(database):
    token, key = create_key(database, "ci", scopes=["read", "publish"], projects=["shop", "team/*"])
    caller = authenticate(database, token)
    assert (caller.key_id, caller.name) == (key.id, "ci")
    assert [caller.may(scope) for scope in ("publish", "read", "admin")] == [True, True, False]
    seen = {name for name in ("shop", "shop2", "team/a", "team/a/b", "team", "Shop", "") if caller.sees(name)}
    assert seen == {"shop", "team/a", "team/a/b"}


def test_administrators_key_is_for_everything():
    caller = Caller(1, "boss", frozenset({"admin"}), ("*",))
    assert all(caller.may(scope) for scope in ("publish", "read", "admin"))


@pytest.mark.parametrize("name", ["team[1]", "[a]", "a*b", "what?", "!x", "*"])
def test_key_for_a_project_sees_it_whatever_its_name_is(database, name):
    token, _ = create_key(database, "ci", projects=[name])
    assert authenticate(database, token).sees(name)


def test_key_itself_is_nowhere_in_the_database(database):
    token, _ = create_key(database, "ci")
    secret = token.rpartition("_")[2]
    with database.read() as connection:
        (row,) = connection.execute(sa.select(schema.api_key)).all()
    assert secret not in repr(tuple(row))
    assert token.split("_")[1] == row.prefix


def test_no_two_keys_are_equal(database):
    tokens = [create_key(database, "ci")[0] for _ in range(20)]
    assert len({token.rpartition("_")[2] for token in tokens}) == 20
    assert all(len(token) == len("jux_") + 8 + 1 + 43 for token in tokens)


def test_unknown_and_wrong_keys_are_refused_alike(database):
    """Structure, not clocks: nothing tells whether the first part of a guess is right."""
    token, key = create_key(database, "ci")
    other, revoked = create_key(database, "old")
    revoke_key(database, str(revoked.id))
    guesses = [
        f"jux_{key.prefix}_{'x' * 43}",
        f"jux_{'x' * 8}_{token.rpartition('_')[2]}",
        f"jux_{revoked.prefix}_{'x' * 43}",
        token[:-1],
        token + "x",
        token.upper(),
        f"jux_{key.prefix}",
        other.replace(revoked.prefix, key.prefix),
    ]
    assert {refusal(database, guess) for guess in guesses} == {"the API key is not known here"}


@pytest.mark.parametrize(
    "token",
    [
        *(
            "",
            " ",
            "jux_",
            "jux__",
            "jux_%_x",
            "jux_' OR '1'='1_x",
            "jux_a\0b_x",
            "jux_\ud800_x",
            "jux_ü_x",
            "x" * 100_000,
        ),
        "jux_*_" + "x" * 43,
    ],
)
def test_what_is_no_key_is_refused(database, token):
    create_key(database, "ci")
    assert refusal(database, token) == "the API key is not known here"


def test_expired_key_is_refused_and_its_holder_told_so(database):
    token, key = create_key(database, "ci", expires_at=now() + HOUR)
    assert authenticate(database, token).key_id == key.id
    set_key(database, key, expires_at=now() - 1)
    assert refusal(database, token) == f"the API key jux_{key.prefix}… has expired"
    assert find_key(database, "ci").state == "expired"


def test_revoked_key_is_refused_and_its_holder_told_so(database):
    token, key = create_key(database, "ci")
    assert revoke_key(database, "ci").state == "revoked"
    assert refusal(database, token) == f"the API key jux_{key.prefix}… was revoked"


def test_key_that_is_revoked_again_keeps_its_time(database):
    create_key(database, "ci")
    first = revoke_key(database, "ci").revoked_at
    assert revoke_key(database, "ci").revoked_at == first


def test_last_use_is_written_down_but_not_each_time(database):
    token, key = create_key(database, "ci")
    assert key.last_used_at is None
    authenticate(database, token)
    first = find_key(database, "ci").last_used_at
    authenticate(database, token)
    assert find_key(database, "ci").last_used_at == first
    set_key(database, key, last_used_at=first - HOUR)
    authenticate(database, token)
    assert find_key(database, "ci").last_used_at >= first


def test_wrong_key_is_no_use_of_the_right_one(database):
    token, _ = create_key(database, "ci")
    refusal(database, token[:-1] + "-")
    assert find_key(database, "ci").last_used_at is None


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"scopes": ["publish", "root"]}, "there is no scope 'root'"),
        ({"scopes": []}, "a key needs a scope"),
        ({"projects": []}, "needs the name or the pattern of a project"),
        ({"projects": [" "]}, "needs the name or the pattern of a project"),
        ({"projects": ["a\nb"]}, "needs the name or the pattern of a project"),
        ({"expires_at": 0}, "expired already"),
    ],
)
def test_key_that_makes_no_sense_is_not_made(database, options, reason):
    with pytest.raises(Refused, match=reason):
        create_key(database, "ci", **options)
    assert list_keys(database) == []


def test_key_is_found_by_number_prefix_and_name_and_by_itself(database):
    token, key = create_key(database, "ci")
    create_key(database, "other")
    found = {find_key(database, name) for name in (str(key.id), key.prefix, f"jux_{key.prefix}", "ci", token)}
    assert found == {key}


def test_several_keys_of_a_name_are_not_told_apart_by_it(database):
    _, first = create_key(database, "ci")
    create_key(database, "ci")
    with pytest.raises(Refused, match="2 API keys of the name ci"):
        revoke_key(database, "ci")
    assert revoke_key(database, first.prefix).id == first.id
    assert [key.state for key in list_keys(database)] == ["revoked", "active"]


def test_key_that_is_not_there_is_not_said_aloud(database):
    token, _ = create_key(database, "ci")
    unknown = f"jux_{'x' * 8}_{token.rpartition('_')[2]}"
    with pytest.raises(Unknown) as caught:
        find_key(database, unknown)
    assert "jux_xxxxxxxx" in str(caught.value)
    assert token.rpartition("_")[2] not in str(caught.value)


def test_only_a_key_that_works_counts_as_one(database):
    assert not has_keys(database)
    _, key = create_key(database, "ci")
    assert has_keys(database)
    revoke_key(database, str(key.id))
    assert not has_keys(database)


def test_representation_of_a_key_has_no_secret(database):
    token, key = create_key(database, "ci")
    shown = f"{key!r} {authenticate(database, token)!r} {list_keys(database)!r}"
    assert token.rpartition("_")[2] not in shown


# --- signers ---------------------------------------------------------------------------------------------------------


def trusted(database, signers, project="shop", at=None):
    with database.read() as connection:
        return signers.trust(connection, project, now() if at is None else at)


def subjects(certificates):
    return sorted(subject_of(one) for one in certificates)


def test_signer_is_believed_for_the_projects_of_his_pattern(database, p256, rsa):
    add_signer(database, p256.certificate, projects="team/*")
    add_signer(database, rsa.certificate)
    signers = Signers()
    assert subjects(trusted(database, signers, "team/a").certificates) == ["CN=p256 signer", "CN=rsa signer"]
    assert subjects(trusted(database, signers, "shop").certificates) == ["CN=rsa signer"]


def test_signers_are_believed_at_the_time_that_is_asked_for(database, p256):
    add_signer(database, p256.certificate)
    assert trusted(database, Signers(), at=1_500_000).at == dt.datetime(1970, 1, 1, 0, 0, 1, 500_000, dt.UTC)


def test_change_of_signers_is_noticed_at_once(database, p256, rsa, p384):
    signers = Signers()
    found = [trusted(database, signers).certificates]
    for step in (
        lambda: add_signer(database, p256.certificate),
        lambda: add_signer(database, rsa.certificate),
        lambda: remove_signer(database, "CN=p256 signer"),
        lambda: (remove_signer(database, "CN=rsa signer"), add_signer(database, p384.certificate)),
        lambda: remove_signer(database, "CN=p384 signer"),
    ):
        step()
        found.append(trusted(database, signers).certificates)
    names = [[name.removeprefix("CN=").removesuffix(" signer") for name in subjects(one)] for one in found]
    assert names == [[], ["p256"], ["p256", "rsa"], ["rsa"], ["p384"], []]


def test_other_signers_with_the_same_numbers_are_noticed(database, p256, rsa):
    """As they are there when a backup was restored beside a running server."""
    added = add_signer(database, p256.certificate)
    signers = Signers()
    trusted(database, signers)
    with database.write() as connection:
        connection.execute(sa.delete(schema.signer))
        restored = {
            "id": added.id,
            "kind": "certificate",
            "projects": "*",
            "subject": "x",
            "added_at": added.added_at - HOUR,
            "fingerprint": rsa.certificate.fingerprint(SHA256()),
            "certificate": rsa.certificate.public_bytes(Encoding.DER),
        }
        connection.execute(sa.insert(schema.signer).values(restored))
    assert subjects(trusted(database, signers).certificates) == ["CN=rsa signer"]


def test_threads_that_ask_while_signers_change_never_keep_an_old_list(database, p256, rsa):
    signers = Signers()
    add_signer(database, rsa.certificate)
    is_over = threading.Event()

    def ask():
        while not is_over.is_set():
            trusted(database, signers)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        add_signer(database, p256.certificate)
        remove_signer(database, "CN=p256 signer")
    is_over.set()
    for thread in threads:
        thread.join()
    assert subjects(trusted(database, signers).certificates) == ["CN=rsa signer"]


def test_authority_is_believed_as_that_and_so_are_those_to_whom_it_issued_certificates(database):
    far = {"not_after": dt.datetime(2126, 1, 1, tzinfo=dt.UTC)}
    authority = self_signed("an authority", "p384", ca=True, key_usage=usage("key_cert_sign"), **far)
    signer = issued("a builder", "p256", authority, **far)
    assert add_signer(database, authority.certificate, kind="authority").kind == "authority"
    found = trusted(database, Signers())
    assert (found.certificates, subjects(found.authorities)) == ([], ["CN=an authority"])
    signed = sign_report(b'<testsuite><testcase name="a"/></testsuite>', signer.key, signer.certificate)
    outcome = Intake(database).receive(signed, Caller(None, "anyone", frozenset({"publish"}), ("*",)))
    assert (outcome.seal.state.word, outcome.seal.trusted_by) == ("trusted", "CN=an authority")
    assert outcome.seal.signer == "CN=a builder"


def test_certificate_that_may_not_issue_others_is_no_authority(database, p256):
    with pytest.raises(Refused, match="is no authority") as caught:
        add_signer(database, p256.certificate, kind="authority")
    assert "without --ca" in caught.value.hint


def test_expired_certificate_is_not_added(database, make_signer):
    past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    signer = make_signer("old", now=past, days=30)
    with pytest.raises(Refused, match="expired on 2020-01-31"):
        add_signer(database, signer.certificate)


def test_same_certificate_may_be_believed_for_several_patterns_but_once_for_each(database, p256):
    add_signer(database, p256.certificate, projects="a*")
    add_signer(database, p256.certificate, projects="b*")
    with pytest.raises(Refused, match=r"believed already for a\*"):
        add_signer(database, p256.certificate, projects="a*")
    assert [one.projects for one in list_signers(database)] == ["a*", "b*"]


def test_signer_is_found_by_number_subject_and_fingerprint(database, p256, rsa):
    added = add_signer(database, p256.certificate)
    add_signer(database, rsa.certificate)
    digits = p256.certificate.fingerprint(SHA256()).hex()
    colons = ":".join(digits[at : at + 2] for at in range(0, 64, 2)).upper()
    names = [str(added.id), "CN=p256 signer", digits, digits[:8], colons]
    assert {find_signer(database, name) for name in names} == {added}


@pytest.mark.parametrize("name", ["", "0", "CN=nobody", "abcdef", "%", "' OR 1=1 --"])
def test_signer_that_is_not_there_is_said(database, p256, name):
    add_signer(database, p256.certificate)
    with pytest.raises(Unknown):
        remove_signer(database, name)
    assert len(list_signers(database)) == 1


def test_unknown_kind_of_signer_is_refused(database, p256):
    with pytest.raises(Refused, match="a certificate or an authority"):
        add_signer(database, p256.certificate, kind="friend")
