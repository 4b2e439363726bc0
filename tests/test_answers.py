"""What answers mean, without any network: the table of statuses, and what is never repeated of what a server says."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_jux.answers import Question, Reply, outcome_of
from pytest_jux.config_values import Secret
from pytest_jux.outcomes import Duplicate, Published, Rejected, Unauthorized, Unavailable, to_dict
from pytest_jux.text import visible

URL = "https://jux.example.com/api/v1/reports"
HASH = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64
QUESTION = Question(URL, HASH)
PAGE = "https://jux.example.com/reports/7"
HTML = b"<!DOCTYPE html><html><body>Sign in</body></html>"
MASK = "***********"


def reply(status, body=b"", **headers):
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, data)


def judge(status, body=b"", question=QUESTION, **headers):
    return outcome_of(reply(status, body, **headers), question)


# --- stored ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201])
def test_a_report_that_the_server_names_is_published(status):
    said = {"status": "created", "id": "7", "canonical_hash": HASH, "message": "Done"}
    assert judge(status, said) == Published("7", PAGE, "Done")


@pytest.mark.parametrize(
    "said", [{"id": "7"}, {"id": 7}, {"id": "7", "canonical_hash": ""}, {"id": "7", "error": None}]
)
def test_an_id_is_enough(said):
    assert judge(201, said) == Published("7", PAGE)


def test_the_hash_is_enough():
    assert judge(200, {"canonical_hash": HASH}) == Published()


@pytest.mark.parametrize("status", [200, 201, 409])
def test_an_answer_for_another_report_is_no_answer(status):
    outcome = judge(status, {"id": "7", "canonical_hash": OTHER})
    assert isinstance(outcome, Unavailable)
    assert (outcome.is_passing, outcome.is_answered) == (False, True)
    assert OTHER in outcome.reason


@pytest.mark.parametrize("status", [200, 201, 409])
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "nothing"),
        (b"OK", "something that is not JSON"),
        (HTML, "an HTML page"),
        ([], "JSON, but no object"),
        ({}, "JSON that names no report"),
        ({"message": "Welcome"}, "JSON that names no report"),
        (None, "an answer of more than 1 MB"),
    ],
)
def test_what_does_not_name_the_report_is_not_the_api(status, body, words):
    outcome = judge(status, body)
    assert isinstance(outcome, Unavailable)
    assert (outcome.is_passing, outcome.is_answered) == (False, True)
    assert "not the Jux API" in outcome.reason
    assert words in outcome.reason
    assert str(status) in outcome.reason
    assert "jux_api_url" in outcome.hint


@pytest.mark.parametrize("said", [{"status": "error"}, {"error": "It went wrong"}])
def test_an_error_that_calls_itself_ok_is_not_published(said):
    assert isinstance(judge(200, {"id": "7", **said}), Unavailable)


# --- duplicates ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "word"), [(409, "duplicate"), (409, ""), (409, "error"), (200, "duplicate"), (201, "duplicate")]
)
def test_a_report_that_the_server_had_before_is_a_duplicate(status, word):
    said = {"status": word, "id": "7", "canonical_hash": HASH, "message": "Report already exists"}
    assert judge(status, said) == Duplicate("7", PAGE, "Report already exists")


def test_a_conflict_may_come_with_an_error_text():
    assert judge(409, {"error": "Conflict", "id": "7"}) == Duplicate("7", PAGE)


def test_a_duplicate_of_what_an_earlier_attempt_may_have_brought_is_published():
    assert judge(409, {"id": "7"}, replace(QUESTION, is_first=False)) == Published("7", PAGE)


# --- refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_a_report_that_is_refused_for_good_comes_with_the_servers_words(status):
    said = {"status": "error", "error": "Invalid signature", "details": {"reason": "Digest mismatch", "line": 3}}
    outcome = judge(status, said)
    assert outcome == Rejected(status, "Invalid signature (Digest mismatch)", said["details"])


@pytest.mark.parametrize(("status", "name"), [(400, "Bad Request"), (422, "Unprocessable")])
def test_a_refusal_without_words_is_named_by_its_status(status, name):
    outcome = judge(status, {})
    assert isinstance(outcome, Rejected)
    assert str(status) in outcome.reason
    assert name in outcome.reason


@pytest.mark.parametrize("body", [b"", HTML, None])
def test_too_large_is_too_large_whoever_says_so(body):
    outcome = judge(413, body)
    assert isinstance(outcome, Rejected)
    assert "too large" in outcome.reason


@pytest.mark.parametrize("status", [400, 415, 422])
@pytest.mark.parametrize("body", [b"", HTML, [], None])
def test_a_refusal_in_foreign_words_is_not_the_apis(status, body):
    outcome = judge(status, body)
    assert isinstance(outcome, Unavailable)
    assert not outcome.is_passing


def test_halves_of_characters_become_question_marks():
    outcome = judge(400, rb'{"error": "a\ud800", "details": {"reason": "\udfff!", "\ud800": ["\udcff"]}}')
    assert outcome == Rejected(400, "a? (?!)", {"reason": "?!", "?": ["?"]})


@pytest.mark.parametrize(("reason", "kept"), [("Digest mismatch", "Digest mismatch"), (None, None), ({"a": 1}, None)])
def test_details_are_not_longer_than_anybody_keeps(reason, kept):
    details = {"reason": reason, "all": [[] for _ in range(100_000)]}
    outcome = judge(400, {"error": "Invalid", "details": details})
    assert isinstance(outcome, Rejected)
    assert outcome.details.get("reason") == kept
    assert "too long" in outcome.details["left out"]
    assert "all" not in outcome.details
    assert len(json.dumps(outcome.details)) < 1000
    assert outcome.reason == ("Invalid (Digest mismatch)" if kept else "Invalid")


def test_a_key_in_details_that_are_left_out_is_not_shown():
    details = {"reason": f"key {KEY}", "all": ["x"] * 100_000}
    assert KEY not in shown(judge(400, {"error": "Invalid", "details": details}, KNOWING))


def test_details_are_not_deeper_than_anybody_reads():
    details = {"a": 1}
    for _ in range(500):
        details = {"a": details, "b": [details["a"]]} if len(str(details)) < 100 else {"a": details}
    outcome = judge(400, {"error": "x", "details": details})
    assert isinstance(outcome, Rejected)
    assert json.dumps(outcome.details, indent=1).count("\n") < 100
    assert "…" in str(outcome.details)


# --- keys ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", HTML, {}, {"message": "No such key"}, None])
def test_a_server_that_wants_a_key(body):
    outcome = judge(401, body)
    assert isinstance(outcome, Unauthorized)
    assert outcome.status == 401
    assert "wants an API key" in outcome.reason


@pytest.mark.parametrize("body", [b"", HTML, {}, {"message": "No such key"}, None])
def test_a_server_that_does_not_know_the_key(body):
    outcome = judge(401, body, replace(QUESTION, has_key=True))
    assert isinstance(outcome, Unauthorized)
    assert "does not accept the API key" in outcome.reason
    assert "jux-config" in outcome.hint


@pytest.mark.parametrize("body", [b"", HTML, {}, {"message": "No such key"}])
def test_a_key_that_may_not_publish(body):
    outcome = judge(403, body, replace(QUESTION, has_key=True))
    assert isinstance(outcome, Unauthorized)
    assert outcome.status == 403
    assert "may not publish" in outcome.reason


def test_the_servers_words_about_the_key_are_shown_harmlessly():
    assert judge(401, {"error": "Expired\x1b[2J"}).reason.endswith(r": Expired\x1b[2J")


# --- later -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("body", [b"", HTML, {"id": "7", "canonical_hash": HASH}, None])
def test_what_passes_is_worth_another_attempt(status, body):
    outcome = outcome_of(reply(status, body), QUESTION, 17.5)
    assert isinstance(outcome, Unavailable)
    assert (outcome.is_passing, outcome.is_answered, outcome.retry_after) == (True, True, 17.5)
    assert f"HTTP {status}" in outcome.reason


@pytest.mark.parametrize("status", [202, 204, 206, 402, 404, 405, 410, 418, 451, 501, 505, 511])
@pytest.mark.parametrize("body", [b"", {"id": "7", "canonical_hash": HASH}])
def test_any_other_status_is_not_the_apis(status, body):
    outcome = judge(status, body)
    assert isinstance(outcome, Unavailable)
    assert (outcome.is_passing, outcome.is_answered) == (False, True)
    assert f"HTTP {status}" in outcome.reason


@pytest.mark.parametrize("status", [199, 299, 499, 599, 600, 999])
def test_a_status_that_has_no_name_is_a_number(status):
    assert f"(HTTP {status})" in judge(status, {}).reason


def test_a_proxy_that_wants_to_know_who_asks():
    outcome = judge(407, HTML)
    assert isinstance(outcome, Unavailable)
    assert (outcome.is_passing, outcome.is_answered) == (False, False)
    assert "proxy" in outcome.reason
    assert "user:password" in outcome.hint


# --- redirects -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 305, 307, 308, 399])
def test_a_redirect_names_its_target_and_is_not_followed(status):
    outcome = judge(status, {"id": "7", "canonical_hash": HASH}, location="https://login.example.com/")
    assert isinstance(outcome, Unavailable)
    assert (outcome.is_passing, outcome.is_answered) == (False, True)
    assert "https://login.example.com/ " in outcome.reason
    assert f"HTTP {status}" in outcome.reason
    assert "jux_api_url" in outcome.hint


@pytest.mark.parametrize("headers", [{}, {"location": ""}])
def test_a_redirect_to_nowhere(headers):
    outcome = judge(302, **headers)
    assert "nowhere" in outcome.reason
    assert "whole address" in outcome.hint


def test_a_target_is_shown_short_harmless_and_without_a_password():
    outcome = judge(302, location="http://me:pa55word@login.example.com/\x1b[2J" + "x" * 5000)
    assert "login.example.com" in outcome.reason
    assert "pa55word" not in outcome.reason
    assert outcome.reason.isprintable()
    assert len(outcome.reason) < 400


# --- secrets ---------------------------------------------------------------------------------------------------------

KEY = "k3y-that-nobody-may-see-0123456789"
KNOWING = replace(QUESTION, has_key=True, secrets=(Secret(f"Bearer {KEY}"), Secret(KEY)))
_TEXTS = ("status", "id", "canonical_hash", "message", "error", "url")


def shown(outcome):
    """Return everything that a program could show of an outcome."""
    return repr(outcome) + json.dumps(to_dict(outcome), ensure_ascii=False) + str(getattr(outcome, "hint", ""))


@pytest.mark.parametrize("status", [200, 201, 302, 400, 401, 403, 409, 413, 418, 422, 503])
@pytest.mark.parametrize("name", [*_TEXTS, "details"])
@pytest.mark.parametrize("said", [KEY, f"you sent Bearer {KEY}!", f"https://jux.example.com/?key={KEY}", KEY * 2])
def test_a_key_that_the_server_repeats_is_never_shown(status, name, said):
    right = {"id": "7", "canonical_hash": HASH, "error": "It is refused" if status >= 400 else ""}
    value = {said: [said, {"reason": said}], "reason": said} if name == "details" else said
    outcome = judge(status, {**right, name: value}, KNOWING, location=said)
    assert KEY not in shown(outcome)


def test_where_the_key_was_there_are_asterisks():
    assert judge(400, {"error": f"no such key: {KEY}"}, KNOWING).reason == f"no such key: {MASK}"


@pytest.mark.parametrize("cut", [1950, 1966, 1970, 1990, 1999])
@pytest.mark.parametrize("name", ["error", "message", "id"])
def test_a_key_is_not_shown_in_part_either(cut, name):
    """Texts are cut somewhere; that must not be in the middle of a key, which then is no key to be found any more."""
    status = 201 if name == "id" else 400
    outcome = judge(status, {"error": "", "message": "", name: "x" * cut + KEY}, KNOWING)
    assert KEY[:8] not in shown(outcome)


@pytest.mark.parametrize("key", ["a", "aaaa", "sha256", ":", HASH])
@pytest.mark.parametrize("status", [200, 201, 409])
def test_a_key_that_is_a_part_of_the_hash_does_not_make_it_another(status, key):
    outcome = judge(status, {"id": "7", "canonical_hash": HASH}, replace(QUESTION, secrets=(Secret(key),)))
    assert isinstance(outcome, Published | Duplicate)


@pytest.mark.parametrize("key", ["created", "duplicate", "dup", "error", "e"])
def test_a_key_that_is_a_word_of_the_api_does_not_change_what_it_says(key):
    question = replace(QUESTION, secrets=(Secret(key),))
    assert isinstance(judge(200, {"status": "duplicate", "id": "7"}, question), Duplicate)
    assert isinstance(judge(200, {"status": "error", "id": "7"}, question), Unavailable)


def test_long_texts_are_cut():
    said = {"error": "e" * 5000, "details": {"reason": "r" * 5000, "more": ["m" * 5000]}}
    outcome = judge(400, said)
    assert outcome.reason == "e" * 2000 + "… (" + "r" * 2000 + "…)"
    assert outcome.details["more"] == ["m" * 2000 + "…"]


def test_a_key_across_the_end_of_a_hash_is_not_shown_in_part():
    outcome = judge(201, {"id": "7", "canonical_hash": "x" * 60 + KEY}, KNOWING)
    assert KEY[:8] not in shown(outcome)


def test_a_key_at_the_end_of_a_targets_first_characters_is_not_shown_in_part():
    outcome = judge(302, b"", KNOWING, location="http://login.example.com/".ljust(190, "x") + KEY)
    assert KEY[:8] not in shown(outcome)


def test_a_question_does_not_show_its_secrets():
    assert KEY not in repr(KNOWING)
    assert KEY not in f"{KNOWING}"


_ECHOES = st.sampled_from([KEY, f"Bearer {KEY}", f"<{KEY}>", f"{KEY}{KEY}", KEY[:-1], "x" * 1980 + KEY])
_LEAVES = _ECHOES | st.text(st.characters()) | st.none() | st.booleans() | st.integers() | st.floats()
_ANY = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_ECHOES | st.text(), inner, max_size=3)
)
_HASHES = st.just(HASH) | _ECHOES | st.none()
_OBJECTS = st.fixed_dictionaries(
    {}, optional={**dict.fromkeys(_TEXTS, _LEAVES), "canonical_hash": _HASHES, "details": _ANY, KEY: _ANY, "more": _ANY}
)
_BODIES = (_OBJECTS | _ANY).map(json.dumps).map(str.encode) | st.binary() | st.none()
_STATUSES = st.sampled_from([200, 201, 302, 400, 401, 403, 409, 413, 422, 503]) | st.integers(100, 999)


@settings(max_examples=max(300, settings.default.max_examples))
@given(_STATUSES, _BODIES, _ECHOES | st.text(), st.booleans(), st.none() | st.floats(0))
def test_any_answer_is_an_outcome_and_shows_no_secret(status, body, location, is_first, retry_after):
    question = replace(KNOWING, is_first=is_first)
    outcome = outcome_of(Reply(status, {"location": location}, body), question, retry_after)
    assert isinstance(outcome, Published | Duplicate | Rejected | Unauthorized | Unavailable)
    assert KEY not in shown(outcome)
    assert isinstance(outcome, Published | Duplicate | Rejected) or outcome.reason == visible(outcome.reason) != ""
    assert shown(outcome).encode("utf-8")  # so that it can be printed


@settings(max_examples=max(300, settings.default.max_examples))
@given(_STATUSES, _BODIES)
def test_nothing_is_published_that_the_server_did_not_name(status, body):
    outcome = outcome_of(Reply(status, {}, body), QUESTION)
    if isinstance(outcome, Published | Duplicate):
        said = json.loads(body)
        assert status in {200, 201, 409}
        assert said.get("canonical_hash") == HASH or said.get("id") not in {None, ""}


# --- as JSON ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "values"),
    [
        (
            Published("7", PAGE, "Done", attempts=2),
            {"status": "published", "id": "7", "url": PAGE, "message": "Done", "attempts": 2},
        ),
        (
            Duplicate(),
            {"status": "duplicate", "id": None, "url": None, "message": None, "attempts": 1},
        ),
        (
            Rejected(400, "Refused", {"a": 1}),
            {
                "status": "error",
                "kind": "rejected",
                "reason": "Refused",
                "http_status": 400,
                "details": {"a": 1},
                "attempts": 1,
            },
        ),
        (
            Unauthorized(401, "Who?", "a hint", attempts=3),
            {"status": "error", "kind": "unauthorized", "reason": "Who?", "http_status": 401, "attempts": 3},
        ),
        (
            Unavailable("Nobody there", attempts=4),
            {"status": "error", "kind": "unavailable", "reason": "Nobody there", "attempts": 4},
        ),
    ],
)
def test_an_outcome_as_json(outcome, values):
    assert to_dict(outcome) == values


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"NaN", b"Infinity"])
def test_what_a_server_says_can_always_be_written_as_json(number):
    body = b'{"error": "no", "details": {"limit": [' + number + b"]}}"
    outcome = outcome_of(Reply(422, {}, body), KNOWING)
    assert isinstance(outcome, Rejected)
    assert json.loads(json.dumps(dict(outcome.details), allow_nan=False))
