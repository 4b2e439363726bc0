"""The attacks of the verifier's corpus, sent to a real server: none of them counts as trusted or intact."""

from __future__ import annotations

import shutil

import pytest
import sqlalchemy as sa
from attacks.corpus import CORPUS, Attack
from attacks.material import NOW
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from servers import running

from jux_server.store import schema
from jux_server.store.database import open_database
from jux_server.store.saving import unpack
from jux_server.store.schema import State
from jux_server.upkeep.reverify import reverify
from pytest_jux.errors import ReportError, SignerUntrusted
from pytest_jux.keys import subject_of

# Certificates that were not valid yet at the corpus' own time are valid now, which is when the server receives them.
YOUNG = {"certificate: not yet valid", "authority: leaf not yet valid"}
ATTACKS = {name: attack for name, attack in CORPUS.items() if attack.error is not None and name not in YOUNG}


@pytest.fixture(scope="module")
def served(tmp_path_factory, empty_sqlite):
    path = tmp_path_factory.mktemp("attacked") / "jux.db"
    shutil.copy(empty_sqlite, path)
    database = open_database(str(path))
    with running(database) as server:
        yield server, database


def believe(database, trust):
    """Believe exactly those whom the attack's victim believes, expired ones included."""
    rows = [
        {
            "kind": kind,
            "projects": "*",
            "subject": subject_of(certificate),
            "fingerprint": certificate.fingerprint(SHA256()),
            "certificate": certificate.public_bytes(Encoding.DER),
            "added_at": 0,
        }
        for kind, certificates in (("certificate", trust.certificates), ("authority", trust.authorities))
        for certificate in certificates
    ]
    unique = {row["fingerprint"]: row for row in rows}
    with database.write() as connection:
        connection.execute(sa.delete(schema.signer))
        if unique:
            connection.execute(sa.insert(schema.signer), list(unique.values()))


def forget(database):
    """Delete all reports, so that the next attack with the same content is new, too."""
    with database.write() as connection:
        for table in (schema.problem, schema.results, schema.suite, schema.tag, schema.document, schema.run):
            connection.execute(sa.delete(table))


def worst_that_may_be(attack: Attack) -> set[str]:
    if issubclass(attack.error, SignerUntrusted):
        return {"intact", "unsigned", "broken"}
    return {"unsigned", "broken"}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_attack_is_refused_or_recorded_as_what_it_is(served, attack):
    server, database = served
    data = attack.make()
    believe(database, attack.trust())
    answer = server.post("/api/v1/junit/submit", data, headers={"Content-Type": "application/xml"})
    if issubclass(attack.error, ReportError):
        assert answer.status in {400, 413}, answer.data
        return
    assert answer.status in {200, 201}, answer.data
    assert answer.json()["signature"]["state"] in worst_that_may_be(attack)
    with database.read() as connection:
        kept = [
            State(row.state).word
            for row in connection.execute(sa.select(schema.document))
            if unpack(row.content) == data
        ]
    assert set(kept) <= worst_that_may_be(attack)
    forget(database)


@pytest.mark.parametrize("name", sorted(YOUNG))
def test_certificate_that_was_not_valid_when_its_report_was_received_is_not_trusted(served, name):
    server, database = served
    attack = CORPUS[name]
    data = attack.make()
    believe(database, attack.trust())
    answer = server.post("/api/v1/junit/submit", data, headers={"Content-Type": "application/xml"}).json()
    with database.write() as connection:
        connection.execute(sa.update(schema.document).values(received_at=int(NOW.timestamp()) * 1_000_000))
    reverify(database)
    found = server.get(f"/api/v1/reports/{answer['test_run_id']}").json()["signature"]
    forget(database)
    assert found["state"] == "intact"
    assert "not valid" in found["reason"]
