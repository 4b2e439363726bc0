"""What becomes of one report: refused, created, a duplicate, or a better signature of one that is there."""

from __future__ import annotations

import json
import math

import pytest
import sqlalchemy as sa

from jux_server.intake import Created, Duplicate, Intake, Rejected
from jux_server.store import schema
from jux_server.store.saving import unpack
from jux_server.store.schema import State
from jux_server.trust import EVERYTHING, Caller, add_signer
from jux_server.upkeep.projects import set_project
from pytest_jux.canonicalizer import canonical_hash
from pytest_jux.document import Limits
from pytest_jux.signer import sign_report

ANYONE = Caller(None, "anyone", frozenset({"publish"}), (EVERYTHING,))
SHOP_ONLY = Caller(None, "shop", frozenset({"publish"}), ("shop",))


def report(*, name="a", project="shop", timestamp="2026-01-01T00:00:00", **properties):
    said = {"project": project, **properties}
    inside = "".join(f'<property name="{key}" value="{value}"/>' for key, value in said.items() if value)
    head = f'<testsuite name="s" timestamp="{timestamp}"><properties>{inside}</properties>'
    return f'{head}<testcase classname="c" name="{name}"/></testsuite>'.encode()


def broken(data, signer):
    return sign_report(data, signer.key, signer.certificate).replace(b'name="a"', b'name="b"', 1)


def run_of(database, outcome):
    with database.read() as connection:
        return connection.execute(sa.select(schema.run).where(schema.run.c.public_id == outcome.id)).one()


def documents(database):
    with database.read() as connection:
        found = connection.execute(sa.select(schema.document).order_by(schema.document.c.id)).all()
    return [(State(row.state).word, unpack(row.content)) for row in found]


def events(database):
    with database.read() as connection:
        return connection.execute(sa.select(schema.event).order_by(schema.event.c.id)).all()


# --- what is stored --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        report(),
        b"\xef\xbb\xbf" + report(),
        b'<?xml version="1.0" encoding="iso-8859-15"?>\r\n<!-- \xa4 -->' + report(),
        report().replace(b"</testsuite>", b"<system-out><![CDATA[<a>]]>\r\n</system-out></testsuite>\n\n"),
    ],
)
def test_received_bytes_are_kept_as_they_are(database, data):
    outcome = Intake(database).receive(data, ANYONE)
    assert isinstance(outcome, Created)
    assert outcome.canonical_hash == canonical_hash(data)
    assert documents(database) == [("unsigned", data)]


def test_signature_is_recorded_as_what_it_is(database, p256, rsa):
    add_signer(database, p256.certificate)
    data = [report(name="a"), report(name="b"), report(name="c"), report(name="d")]
    sent = [
        sign_report(data[0], p256.key, p256.certificate),
        sign_report(data[1], rsa.key, rsa.certificate),
        data[2],
        sign_report(data[3], p256.key, p256.certificate).replace(b'name="d"', b'name="e"'),
    ]
    found = [Intake(database).receive(one, ANYONE) for one in sent]
    assert [outcome.seal.state.word for outcome in found] == ["trusted", "intact", "unsigned", "broken"]
    assert [(outcome.seal.reason == "") for outcome in found] == [True, False, False, False]
    assert [outcome.seal.trusted_by for outcome in found] == ["CN=p256 signer", None, None, None]
    assert documents(database) == [(outcome.seal.state.word, one) for outcome, one in zip(found, sent, strict=True)]


def test_report_that_was_printed_after_it_was_signed_is_broken_and_the_reason_says_so(database, p256):
    signed = sign_report(report(), p256.key, p256.certificate)
    outcome = Intake(database).receive(signed.replace(b"<testcase", b"\n  <testcase"), ANYONE)
    assert outcome.seal.state is State.BROKEN
    assert "white space was added" in outcome.seal.reason


def test_trust_depends_on_the_project(database, p256):
    add_signer(database, p256.certificate, projects="shop*")
    found = [
        Intake(database).receive(sign_report(report(project=name), p256.key, p256.certificate), ANYONE).seal.state
        for name in ("shop", "shop/cart", "other")
    ]
    assert found == [State.TRUSTED, State.TRUSTED, State.INTACT]


def test_running_server_believes_a_signer_from_the_moment_he_is_added(database, p256):
    intake = Intake(database)
    signed = sign_report(report(), p256.key, p256.certificate)
    first = intake.receive(signed, ANYONE)
    add_signer(database, p256.certificate)
    second = intake.receive(signed, ANYONE)
    assert (first.seal.state, second.seal.state) == (State.INTACT, State.TRUSTED)
    assert isinstance(second, Duplicate)
    assert second.is_better


def test_second_signature_is_kept_beside_the_first_only_if_it_is_better(database, p256, rsa):
    add_signer(database, p256.certificate)
    plain = report()
    intact, trusted = (sign_report(plain, one.key, one.certificate) for one in (rsa, p256))
    found = [Intake(database).receive(data, ANYONE) for data in (plain, intact, trusted, intact, plain)]
    assert [getattr(outcome, "is_better", None) for outcome in found] == [None, True, True, False, False]
    assert len({outcome.id for outcome in found}) == 1
    assert documents(database) == [("unsigned", plain), ("intact", intact), ("trusted", trusted)]
    assert run_of(database, found[0]).signer == "CN=p256 signer"


def test_key_that_sent_a_report_is_recorded(database):
    from jux_server.trust import create_key

    _, key = create_key(database, "ci")
    Intake(database).receive(report(), Caller(key.id, "ci", frozenset({"publish"}), (EVERYTHING,)))
    with database.read() as connection:
        assert connection.execute(sa.select(schema.document.c.key_id)).scalars().all() == [key.id]


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "accepted"),
    [("any", {"trusted", "intact", "unsigned", "broken"}), ("intact", {"trusted", "intact"}), ("trusted", {"trusted"})],
)
def test_policy_decides_which_signatures_are_accepted(database, p256, rsa, accept, accepted):
    add_signer(database, p256.certificate)
    sent = {
        "trusted": sign_report(report(name="t"), p256.key, p256.certificate),
        "intact": sign_report(report(name="i"), rsa.key, rsa.certificate),
        "unsigned": report(name="u"),
        "broken": broken(report(), p256),
    }
    intake = Intake(database, accept=accept)
    found = {state: intake.receive(data, ANYONE) for state, data in sent.items()}
    assert {state for state, outcome in found.items() if isinstance(outcome, Created)} == accepted
    refused = {state: outcome for state, outcome in found.items() if isinstance(outcome, Rejected)}
    assert all(outcome.reason and outcome.suggestion for outcome in refused.values())
    assert {state for state, _ in documents(database)} == accepted


def test_projects_own_policy_counts_more_than_the_servers(database):
    set_project(database, "strict", accept="trusted")
    set_project(database, "lax", accept="any")
    strict, lax = (Intake(database, accept=accept) for accept in ("any", "trusted"))
    assert isinstance(strict.receive(report(project="strict"), ANYONE), Rejected)
    assert isinstance(strict.receive(report(project="shop"), ANYONE), Created)
    assert isinstance(lax.receive(report(project="lax"), ANYONE), Created)
    assert isinstance(lax.receive(report(project="other"), ANYONE), Rejected)


def test_duplicate_that_the_policy_does_not_accept_any_more_is_refused(database):
    Intake(database).receive(report(), ANYONE)
    outcome = Intake(database, accept="trusted").receive(report(), ANYONE)
    assert isinstance(outcome, Rejected)
    assert outcome.error == "Report not signed"


@pytest.mark.parametrize(
    ("claimed", "error"),
    [
        ("sha256:" + "0" * 64, "Canonical hash differs"),
        ("0" * 64, "Canonical hash differs"),
        ("", "Invalid canonical hash"),
        ("sha256:", "Invalid canonical hash"),
        ("sha256:" + "A" * 64, "Invalid canonical hash"),
        ("sha512:" + "0" * 64, "Invalid canonical hash"),
        ("sha256:" + "0" * 64 + "\n", "Invalid canonical hash"),
        ("x" * 1_000_000, "Invalid canonical hash"),
    ],
)
def test_claimed_hash_that_is_not_the_reports_is_refused(database, claimed, error):
    outcome = Intake(database).receive(report(), ANYONE, claimed_hash=claimed)
    assert isinstance(outcome, Rejected)
    assert outcome.error == error
    assert len(outcome.reason) < 300
    assert documents(database) == []


@pytest.mark.parametrize("prefix", ["sha256:", ""])
def test_claimed_hash_that_is_the_reports_is_accepted(database, prefix):
    claimed = prefix + canonical_hash(report()).removeprefix("sha256:")
    assert isinstance(Intake(database).receive(report(), ANYONE, claimed_hash=claimed), Created)


@pytest.mark.parametrize(
    "data",
    [
        *(
            b"",
            b"\0",
            b"<",
            b"<testsuite>",
            b"{}",
            b"\x1f\x8b\x08",
            b"<html/>",
            b"\xff\xfe<\0",
            b"<testsuite>\0</testsuite>",
        ),
        b'<!DOCTYPE a [<!ENTITY b "c">]><testsuite>&b;</testsuite>',
        b'<?xml version="1.0" encoding="punycode"?><testsuite/>',
        b"<testsuite name='" + b"\xff" + b"'/>",
        b'<testsuite name="&#0;"/>',
        b'<testsuite name="&#xD800;"/>',
        b"<testsuite " + b" ".join(b'a%d=""' % number for number in range(1_000)) + b"/>",
        b"<testsuite>" * 600 + b"</testsuite>" * 600,
    ],
)
def test_what_is_no_report_is_refused_with_one_short_line(database, data):
    outcome = Intake(database).receive(data, ANYONE)
    assert isinstance(outcome, Rejected)
    assert outcome.error == "Invalid report"
    assert outcome.reason.isprintable()
    assert len(outcome.reason) < 500
    assert [event.kind for event in events(database)] == ["rejected"]


def test_report_that_is_too_large_is_refused_as_that(database):
    outcome = Intake(database, limits=Limits(bytes=100)).receive(report(), ANYONE)
    assert isinstance(outcome, Rejected)
    assert outcome.is_too_large


# --- who may ---------------------------------------------------------------------------------------------------------


def test_caller_of_another_project_learns_nothing_of_a_report(database, p256):
    """Whether it is there, or would be accepted: the answer is the same."""
    there = sign_report(report(project="secret"), p256.key, p256.certificate)
    Intake(database).receive(there, ANYONE)
    set_project(database, "secret", accept="trusted")
    not_there = report(project="secret", name="other")
    sent = [
        (there, None),
        (not_there, None),
        (there, "sha256:" + "0" * 64),
        (broken(report(project="secret"), p256), None),
    ]
    found = {Intake(database).receive(data, SHOP_ONLY, claimed_hash=claimed) for data, claimed in sent}
    (only,) = found
    assert isinstance(only, Rejected)
    assert only.is_forbidden
    assert len(documents(database)) == 1


def test_caller_is_judged_by_the_reports_own_project_and_not_by_what_he_says(database):
    outcome = Intake(database).receive(report(project="secret"), SHOP_ONLY, sender={"project": "shop"})
    assert isinstance(outcome, Rejected)
    assert outcome.is_forbidden


def test_caller_of_one_project_may_say_which_it_is_where_the_report_does_not(database):
    outcome = Intake(database).receive(report(project=""), SHOP_ONLY, sender={"project": " shop "})
    assert isinstance(outcome, Created)
    assert outcome.project == "shop"
    other = Intake(database).receive(report(project="", name="b"), SHOP_ONLY)
    assert isinstance(other, Rejected)


# --- what the report and its sender say ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("properties", "sender", "project"),
    [
        ({"project": "own"}, {"project": "sent"}, "own"),
        ({"project": ""}, {"project": "sent"}, "sent"),
        ({"project": " \t "}, {}, "unknown"),
        ({"project": "", "git:remote": "git@example.org:team/shop.git"}, {}, "shop"),
        ({"project": "", "git:remote": "https://me:pw@example.org/team/shop"}, {"project": "sent"}, "sent"),
        ({"project": ""}, {"git": {"remote": "https://me:pw@example.org/team/shop.git"}}, "shop"),
        ({"project": ""}, {"project": 5, "git": ["remote"]}, "unknown"),
        ({"project": ""}, {"project": None, "git": {"remote": {"a": 1}}}, "unknown"),
        ({"project": ""}, {"project": "a\0b\x1b[31m\ud800\u202e"}, "a\\x00b\\x1b[31m\\ud800\\u202e"),
        ({"project": ""}, {"project": "x" * 1_000}, "x" * 199 + "…"),
    ],
)
def test_project_is_what_the_report_says_else_its_sender_else_its_remote(database, properties, sender, project):
    outcome = Intake(database).receive(report(**properties), ANYONE, sender=sender)
    assert isinstance(outcome, Created)
    assert outcome.project == project


def test_branch_and_commit_are_those_of_the_report(database):
    said = {"git:branch": " main\t", "git:commit": "c" * 40}
    sender = {"git": {"branch": "other", "commit": "d" * 40}}
    run = run_of(database, Intake(database).receive(report(**said), ANYONE, sender=sender))
    assert (run.branch, run.commit) == ("main", "c" * 40)


@pytest.mark.parametrize(
    ("status", "git", "expected"),
    [
        ("dirty", {}, True),
        ("clean", {}, False),
        ("dirty", {"status": "clean", "dirty": "clean"}, True),
        ("clean", {"dirty": True}, False),
        ("", {"dirty": True}, True),
        ("", {"dirty": False}, False),
        ("", {"status": "Modified "}, True),
        ("", {"dirty": "false"}, False),
        ("", {"dirty": 5, "status": " "}, None),
        ("", {}, None),
    ],
)
def test_state_of_the_tree_is_what_the_report_says_else_its_sender(database, status, git, expected):
    outcome = Intake(database).receive(report(**{"git:status": status}), ANYONE, sender={"git": git})
    assert run_of(database, outcome).is_dirty is expected


def test_what_the_report_does_not_say_comes_from_its_sender(database):
    sender = {"git": {"branch": "main", "commit": "c" * 40, "status": "clean"}, "hostname": "h"}
    run = run_of(database, Intake(database).receive(report(), ANYONE, sender=sender))
    assert (run.branch, run.commit, run.is_dirty) == ("main", "c" * 40, False)
    assert json.loads(run.facts) == {"report": {"project": "shop"}, "sender": sender}


@pytest.mark.parametrize(
    "git", [None, 5, [], "main", {"branch": 5, "commit": [], "dirty": {}}, {"branch": " ", "commit": "", "dirty": None}]
)
def test_metadata_of_odd_types_says_nothing(database, git):
    run = run_of(database, Intake(database).receive(report(), ANYONE, sender={"git": git, "tags": 5, "timestamp": []}))
    assert (run.branch, run.commit, run.is_dirty) == (None, None, None)


def test_long_names_of_branches_are_shortened_to_what_an_index_takes(database):
    properties = {"git:branch": "ü" * 100_000, "git:commit": "漢" * 100_000, "tags": "語" * 100_000}
    run = run_of(database, Intake(database).receive(report(**properties), ANYONE))
    assert (len(run.branch), len(run.commit)) == (250, 250)
    with database.read() as connection:
        assert [len(name) for name in connection.execute(sa.select(schema.tag.c.name)).scalars()] == [100]


@pytest.mark.parametrize(
    ("timestamp", "sender", "expected"),
    [
        ("2026-01-01T00:00:00", {}, 1767225600_000000),
        ("2026-01-01T01:00:00.5+01:00", {}, 1767225600_500000),
        ("", {"timestamp": "2026-01-01T00:00:00Z"}, 1767225600_000000),
        ("yesterday", {"timestamp": "2026-01-01"}, 1767225600_000000),
        ("0001-01-01T00:00:00+14:00", {}, None),
        ("9999-12-31T23:59:59-14:00", {"timestamp": 5}, None),
        ("x" * 100_000, {}, None),
    ],
)
def test_start_is_the_reports_own_time_or_none(database, timestamp, sender, expected):
    outcome = Intake(database).receive(report(timestamp=timestamp), ANYONE, sender=sender)
    assert run_of(database, outcome).started_at == expected


def test_tags_come_from_the_report_and_its_sender_once_each(database):
    sender = {"tags": ["b", " c ", 5, None, "", "d\0\x1b"]}
    Intake(database).receive(report(tags="a, b,,", **{"jux:tags": "e"}), ANYONE, sender=sender)
    with database.read() as connection:
        found = set(connection.execute(sa.select(schema.tag.c.name)).scalars())
    assert found == {"a", "b", "c", "d\\x00\\x1b", "e"}


def test_tags_are_bounded(database):
    Intake(database).receive(report(tags=",".join(f"t{number}" for number in range(10_000))), ANYONE)
    with database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(schema.tag)).scalar() == 50


def test_passwords_in_addresses_are_not_stored(database):
    said = {"git:remote": "https://me:s3cret@example.org/shop.git"}
    sender = {"urls": [{"a": "see ftp://you:pa55@host/x"}]}
    run = run_of(database, Intake(database).receive(report(**said), ANYONE, sender=sender))
    assert "s3cret" not in run.facts
    assert "pa55" not in run.facts
    assert "example.org/shop" in run.facts


def test_metadata_is_stored_so_that_it_can_be_shown(database):
    sender = {"a\0\ud800": "b\0\udc80", "list": [1, 2.5, True, None, {"ü": "漢"}], "huge": int("9" * 4_000)}
    run = run_of(database, Intake(database).receive(report(), ANYONE, sender=sender))
    shown = json.loads(run.facts)["sender"]
    json.dumps(shown, ensure_ascii=False, allow_nan=False).encode()
    assert shown["list"] == sender["list"]
    assert shown["huge"] == sender["huge"]
    assert shown["a?"] == "b?"


def test_metadata_of_a_report_is_bounded(database):
    many = {f"env:VAR_{number}": "v" * 10_000 for number in range(2_000)}
    run = run_of(database, Intake(database).receive(report(**many), ANYONE))
    assert len(run.facts) < 3_000_000


@pytest.mark.parametrize("time", ["1e308", "1e400", "-1e308", "nan", "1" * 1_000_000])
def test_time_of_any_size_is_stored_as_one_that_can_be_shown(database, time):
    data = f'<testsuite time="{time}"><testcase name="a" time="{time}"/><testcase name="b" time="{time}"/></testsuite>'
    outcome = Intake(database).receive(data.encode(), ANYONE)
    assert isinstance(outcome, Created)
    assert 0 <= run_of(database, outcome).duration <= 10**16
    assert math.isfinite(outcome.counts["duration"])


# --- what is written down --------------------------------------------------------------------------------------------


def test_every_report_that_came_is_written_down(database, p256):
    plain = report()
    for data in (plain, plain, sign_report(plain, p256.key, p256.certificate), b"<html/>"):
        Intake(database).receive(data, ANYONE)
    Intake(database).receive(report(project="other"), SHOP_ONLY)
    found = events(database)
    assert [event.kind for event in found] == ["created", "duplicate", "attached", "rejected", "rejected"]
    assert [event.project for event in found] == ["shop", "shop", "shop", "", "other"]
    assert found[0].hash.hex() == canonical_hash(plain)[7:]
    assert "HTML" in found[3].reason
    assert "not for the project" in found[4].reason
