"""Taking reports in over HTTP."""

from __future__ import annotations

import json

from pytest_jux.canonicalizer import canonical_hash
from pytest_jux.wire import request_body

JSON = {"Content-Type": "application/json"}


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
