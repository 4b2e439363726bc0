"""Taking reports in over HTTP: answers of both routes, and what makes no sense."""

from __future__ import annotations

import gzip
import json
import tracemalloc

import pytest
from servers import running

from jux_server.app import Choices
from jux_server.trust import add_signer
from pytest_jux.canonicalizer import canonical_hash
from pytest_jux.signer import sign_report
from pytest_jux.wire import request_body

JSON = {"Content-Type": "application/json"}
XML = {"Content-Type": "application/xml"}
SMALL = '<testsuite name="s"><testcase classname="c" name="a"/></testsuite>'
PUBLISH, SUBMIT = "/api/v1/reports", "/api/v1/junit/submit"


def publish(server, data, metadata=None, **headers):
    return server.post(PUBLISH, request_body(data, canonical_hash(data), metadata), headers={**JSON, **headers})


def post_json(server, said):
    body = said if isinstance(said, bytes | str) else json.dumps(said)
    return server.post(PUBLISH, body, headers=JSON)


def submit(server, data, **headers):
    return server.post(SUBMIT, data, headers={**XML, **headers})


# --- the user's API --------------------------------------------------------------------------------------------------


def test_new_report_is_created_and_the_same_again_is_a_duplicate(server, real_report):
    body = request_body(real_report, canonical_hash(real_report), {"project": "shop"})
    first, second = (server.post("/api/v1/reports", body, headers=JSON) for _ in range(2))
    assert (first.status, second.status) == (201, 409)
    created, duplicate = first.json(), second.json()
    assert (created["status"], duplicate["status"]) == ("created", "duplicate")
    assert created["id"] == duplicate["id"]
    assert created["canonical_hash"] == duplicate["canonical_hash"] == canonical_hash(real_report)
    assert created["project"] == "shop"


def test_other_hash_than_the_report_has_is_refused(server, real_report):
    body = json.dumps({"report": real_report.decode(), "canonical_hash": "sha256:" + "0" * 64})
    answer = server.post("/api/v1/reports", body, headers=JSON)
    assert answer.status == 400
    assert answer.json()["error"] == "Canonical hash differs"
    assert canonical_hash(real_report) in answer.json()["message"]


def test_answer_names_the_signature_and_where_the_report_is(server, database, real_report, p256):
    add_signer(database, p256.certificate)
    signed = sign_report(real_report, p256.key, p256.certificate)
    answer = publish(server, signed).json()
    assert answer["signature"] == {"state": "trusted", "reason": None, "signer": "CN=p256 signer"}
    assert answer["message"] == "Report published successfully"
    assert server.get(f"/api/v1{answer['url']}").json()["canonical_hash"] == canonical_hash(real_report)


def test_better_signature_of_the_same_report_is_a_duplicate_that_is_added(server, real_report, p256):
    first = publish(server, real_report)
    second = publish(server, sign_report(real_report, p256.key, p256.certificate))
    assert (first.status, second.status) == (201, 409)
    assert second.json()["id"] == first.json()["id"]
    assert "better signature was added" in second.json()["message"]
    assert second.json()["signature"]["state"] == "intact"


@pytest.mark.parametrize("encoding", ["utf-8", "iso-8859-1", "windows-1252", "koi8-r", "us-ascii"])
def test_report_in_any_encoding_that_is_read_comes_back_as_it_was(server, p256, encoding):
    text = {"koi8-r": "тест", "us-ascii": "test"}.get(encoding, "tést")
    data = f'<?xml version="1.0" encoding="{encoding}"?>\r\n{SMALL.replace("c", text, 1)}'.encode(encoding)
    data = sign_report(data, p256.key, p256.certificate)
    answer = publish(server, data)
    assert (answer.status, answer.json()["signature"]["state"]) == (201, "intact")
    assert server.get(f"/api/v1/reports/{answer.json()['id']}.xml").data == data


def test_hash_may_be_left_out_or_null_as_may_metadata(server):
    assert post_json(server, {"report": SMALL}).status == 201
    assert post_json(server, {"report": SMALL, "canonical_hash": None, "metadata": None}).status == 409
    assert post_json(server, {"report": SMALL, "metadata": {}, "other": 1}).status == 409


@pytest.mark.parametrize(
    "said",
    [
        *(
            b"",
            b"{",
            b"null",
            b"[]",
            b'"x"',
            b"5",
            b"\xff\xfe",
            b"\0",
            b'{"report": "x"} {}',
            b'{"report": NaN}',
            b"x" * 100_000,
        ),
        json.dumps({"report": SMALL}).encode("utf-16"),
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"report": ' + b"9" * 100_000 + b"}",
        *({}, {"report": None}, {"report": 5}, {"report": [SMALL]}, {"report": {"a": SMALL}}, {"Report": SMALL}),
        *({"report": SMALL, "canonical_hash": wrong} for wrong in (5, [], {}, True)),
        *({"report": SMALL, "metadata": wrong} for wrong in (5, [], "x", True)),
        {"report": '<testsuite name="\ud800"/>'},
        {"report": '<?xml version="1.0" encoding="iso-8859-1"?><testsuite name="漢"/>'},
    ],
)
def test_body_that_makes_no_sense_is_refused_and_the_right_form_is_shown(one_server, said):
    answer = post_json(one_server, said)
    assert answer.status == 400
    assert answer.json()["error"] == "Invalid body"
    assert answer.json()["message"]
    assert "canonical_hash" in answer.json()["suggestions"][0]


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ('{"a": "' + "x" * 70_000 + '"}', "metadata is larger than 65,536"),
        ('{"a": [' + "0," * 40_000 + "0]}", "larger than 65,536"),
        ('{"a":' + "[" * 25 + "]" * 25 + "}", "nested deeper than 20"),
        ('{"a":' + "[" * 900 + "]" * 900 + "}", "nested deeper than 20"),
        ('{"a":' * 25 + "1" + "}" * 25, "nested deeper than 20"),
        ('{"a": 1e999}', "not JSON"),
        ('{"a": -1e999}', "not JSON"),
        ('{"a": Infinity}', "not JSON"),
    ],
)
def test_metadata_without_measure_are_refused(one_server, metadata, reason):
    answer = post_json(one_server, f'{{"report": {json.dumps(SMALL)}, "metadata": {metadata}}}')
    assert answer.status == 400
    assert reason in answer.json()["message"]


@pytest.mark.parametrize(
    "metadata",
    [
        r'{"project": "a\u0000b", "x\ud800": "\udc80", "git": {"branch": "\u0000"}, "tags": ["\ud800"]}',
        '{"a": ' + "9" * 4_000 + ', "b": 1e300, "c": -0.0, "d": 1e-999}',
        '{"a":' + "[" * 15 + "]" * 15 + "}",
        '{"timestamp": "0001-01-01T00:00:00", "git": 5, "ci": [], "env": null, "project": {}}',
        '{"": "", "a": {"": [[], {}]}}',
        '{"a": 1, "a": 2}',
        r'{"project": "\u202e\u001b[31m<script>alert(1)</script>"}',
    ],
)
def test_odd_metadata_are_stored_and_can_be_shown(server, metadata):
    answer = post_json(server, f'{{"report": {json.dumps(SMALL)}, "metadata": {metadata}}}')
    assert answer.status == 201
    stored = answer.json()["id"]
    for path in (f"/reports/{stored}", "/reports", "/projects", f"/test_runs/{stored}", "/test_runs", "/tests"):
        assert server.get(f"/api/v1{path}").status == 200, path


def test_text_that_declares_an_encoding_of_pythons_own_is_refused_at_once(one_server):
    """Punycode would take a day for this one."""
    text = "".join(chr(0x4E00 + number % 20_000) for number in range(200_000))
    report = f'<?xml version="1.0" encoding="punycode"?><testsuite name="{text}"/>'
    answer = post_json(one_server, {"report": report})
    assert answer.status == 400
    assert "its encoding is punycode" in answer.json()["message"]


@pytest.mark.parametrize("piece", [b"[],", b"{},", b'"",', b"0,", b"[[]],"])
def test_json_of_many_small_things_takes_little_memory(one_server, piece):
    body = b'{"report":"x","y":[' + piece * (5_000_000 // len(piece)) + b"0]}"
    tracemalloc.start()
    try:
        answer = post_json(one_server, body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert answer.status == 400
    assert peak < 30_000_000


# --- the public contract ---------------------------------------------------------------------------------------------


def test_contract_answers_with_counts_and_again_with_those_of_the_run_that_is_there(server, real_report):
    first, second = submit(server, real_report), submit(server, real_report)
    assert (first.status, second.status) == (201, 200)
    said = first.json()
    names = ["test_count", "failure_count", "error_count", "skipped_count", "success_rate"]
    assert [said[name] for name in names] == [3, 1, 0, 1, 50.0]
    assert {name: second.json()[name] for name in ("test_run_id", *names)} == {
        name: said[name] for name in ("test_run_id", *names)
    }


@pytest.mark.parametrize("data", ["<testsuite/>", '<testsuite><testcase name="a"><skipped/></testcase></testsuite>'])
def test_run_in_which_nothing_ran_is_a_success(server, data):
    assert submit(server, data).json()["success_rate"] == 100.0


def test_both_routes_know_each_others_reports(server, real_report):
    created = submit(server, real_report).json()["test_run_id"]
    duplicate = publish(server, real_report)
    assert (duplicate.status, duplicate.json()["id"]) == (409, created)


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"<html/>", b"<testsuite", b"<!DOCTYPE a><testsuite/>", b"\0\xff", gzip.compress(b"x", mtime=0)],
)
def test_contract_refuses_what_is_no_report_in_its_own_form(one_server, data):
    answer = submit(one_server, data)
    assert answer.status == 400
    assert set(answer.json()) >= {"error", "details", "suggestions"}
    assert answer.json()["details"]["reason"]


# --- both ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("route", "media"),
    [
        (PUBLISH, "application/xml"),
        (PUBLISH, "text/plain"),
        (PUBLISH, "application/jsonx"),
        (PUBLISH, ""),
        (PUBLISH, "multipart/form-data; boundary=x"),
        (SUBMIT, "application/json"),
        (SUBMIT, "text/html"),
        (SUBMIT, "\x7f" * 10),
        (SUBMIT, "x" * 10_000),
    ],
)
def test_other_media_types_are_refused_and_the_right_one_is_named(one_server, route, media):
    answer = one_server.post(route, SMALL, headers={"Content-Type": media})
    if answer.headers["Content-Type"] == "application/json":
        assert answer.status == 415
        assert f"application/{'json' if route == PUBLISH else 'xml'}" in answer.json()["message"]
        assert len(answer.data) < 1_000
    else:
        assert answer.status == 400  # what is no HTTP header does not come this far


@pytest.mark.parametrize("media", ["application/xml", "text/xml", "TEXT/XML; charset=utf-8", " application/xml ;x=y"])
def test_both_names_of_xml_are_accepted(server, media):
    assert submit(server, SMALL, **{"Content-Type": media}).status == 201


@pytest.mark.parametrize("route", [PUBLISH, SUBMIT])
def test_report_that_is_too_large_is_413(database, route, real_report):
    with running(database, Choices(largest_report=len(real_report) - 1)) as server:
        answer = publish(server, real_report) if route == PUBLISH else submit(server, real_report)
    assert answer.status == 413
    assert answer.json()["error"]


@pytest.mark.parametrize("accept", ["trusted", "intact"])
@pytest.mark.parametrize("route", [PUBLISH, SUBMIT])
def test_report_that_the_policy_refuses_is_400_with_what_to_do(database, accept, route, real_report):
    with running(database, Choices(accept=accept)) as server:
        answer = publish(server, real_report) if route == PUBLISH else submit(server, real_report)
        assert server.get("/api/v1/reports").json()["reports"] == []
    assert (answer.status, answer.json()["error"]) == (400, "Report not signed")
    assert "Sign the report" in answer.json()["suggestions"][0]


@pytest.mark.parametrize(
    "data",
    [
        "<testsuites>"
        + "".join(f'<testsuite name="s{n}"><testcase name="a"/></testsuite>' for n in range(20_000))
        + "</testsuites>",
        '<testsuite name="d">' + '<testcase classname="c" name="same"/>' * 50_000 + "</testsuite>",
        '<testsuite name="n">' * 500 + '<testcase name="a"/>' + "</testsuite>" * 500,
        '<testsuite time="1e308"><testcase name="a" time="1e308"/><testcase name="b" time="-1"/></testsuite>',
        '<testsuite name="{0}"><testcase classname="{0}" name="{0}"/></testsuite>'.format("x" * 1_000_000),
        '<testsuite><testcase/><testcase name=""/><testcase classname=""/></testsuite>',
        '<testsuite tests="-1" failures="x" time="" timestamp="x"><testcase name="a"/></testsuite>',
        '<testsuite><properties><property/><property name=""/><property value="x"/></properties></testsuite>',
    ],
    ids=["suites", "same", "nested", "times", "names", "nameless", "numbers", "properties"],
)
def test_report_of_any_shape_is_stored_and_can_be_shown(server, data):
    answer = submit(server, data)
    assert answer.status == 201, answer.data
    stored = answer.json()["test_run_id"]
    for path in (f"/reports/{stored}", f"/reports/{stored}/cases", f"/test_runs/{stored}", "/reports", "/tests"):
        shown = server.get(f"/api/v1{path}")
        assert shown.status == 200, path
        assert json.loads(shown.data)
    assert server.get(f"/api/v1/reports/{stored}.xml").data == data.encode()
