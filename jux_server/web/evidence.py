"""Why to believe a report, or not: its signature, its certificate, its bytes, and how to check them without us."""

from __future__ import annotations

import shlex
import zlib
from typing import Annotated, Any, NamedTuple

import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from jux_server.api.access import database_of
from jux_server.api.parameters import Report
from jux_server.api.problems import not_found
from jux_server.api.reading import run_named
from jux_server.store import schema
from jux_server.store.queries import runs
from jux_server.store.saving import unpack
from jux_server.store.schema import State
from jux_server.web.access import Sees, project_meant
from jux_server.web.links import links_of
from jux_server.web.projects import base_url_of

router = APIRouter()

_NOT_BY_XMLSEC1 = "Ed25519"  # RFC 9231 has it, xmlsec1 1.2 has it not
_DOWNLOAD = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "private, no-store",
}

WORDS = {
    State.TRUSTED: "Signed by somebody this server believes, and unchanged since.",
    State.INTACT: "Unchanged since it was signed, but this server does not know the signer.",
    State.UNSIGNED: "Not signed: anybody on the way may have changed it.",
    State.BROKEN: "The signature does not hold: what was received is not what was signed, or cannot be checked.",
}


class Evidence(NamedTuple):
    """What the evidence panel shows. `document` is the one with the best signature; `others` are further ones."""

    document: sa.Row[Any]
    others: list[sa.Row[Any]]
    words: str
    certificate_kind: str  # certificate | authority: what this server believes; "" for none
    filename: str
    fetch: str
    fetch_certificate: str
    jux_verify: str
    xmlsec1: str  # "" where that program cannot verify such a signature


def evidence_of(request: Request, connection: sa.Connection, run: sa.Row[Any]) -> Evidence:
    """Return the evidence for a run."""
    document, *others = runs.documents_of(connection, run.id)
    signer = _signer_of(connection, document)
    base = base_url_of(request)
    links = links_of(request)
    prefix = links.prefix if not base.endswith(links.prefix) or not links.prefix else ""
    filename = f"sha256-{bytes(run.hash).hex()[:16]}.xml"
    key = "" if request.app.state.gate.is_open_here else '-H "X-API-Key: $JUX_API_KEY" '

    def address(tab: str) -> str:
        return shlex.quote(base + prefix + links.run(run.public_id, tab).removeprefix(links.prefix))

    kind = "" if signer is None else signer.kind
    option = "--ca" if kind == "authority" else "--cert"
    return Evidence(
        document,
        others,
        WORDS[State(document.state)],
        kind,
        filename,
        f"curl -fsS {key}-o {filename} {address('report.xml')}",
        f"curl -fsS {key}-o signer.pem {address('signer.pem')}",
        f"jux-verify {option} signer.pem {filename}",
        _xmlsec1(kind, document.algorithm, filename),
    )


def _xmlsec1(kind: str, algorithm: str | None, filename: str) -> str:
    """Return the command that verifies a report by a certificate alone, or by whom an authority certified."""
    if algorithm == _NOT_BY_XMLSEC1:
        return ""
    trust = "x509 --trusted-pem" if kind == "authority" else "key-name --pubkey-cert-pem"
    return f"xmlsec1 --verify --enabled-key-data {trust} signer.pem {filename}"


def _signer_of(connection: sa.Connection, document: sa.Row[Any]) -> sa.Row[Any] | None:
    """Return the certificate that this server believes and that the document's signature rests on, None for none."""
    if document.state != State.TRUSTED:
        return None
    signer = schema.signer
    chosen = sa.select(signer).where(signer.c.fingerprint == document.fingerprint).limit(1)
    found = connection.execute(chosen).one_or_none()
    if found is None and document.trusted_by:
        chosen = sa.select(signer).where(signer.c.subject == document.trusted_by, signer.c.kind == "authority")
        found = connection.execute(chosen.order_by(signer.c.id.desc()).limit(1)).one_or_none()
    return found


def first_bytes(content: bytes, most: int) -> bytes:
    """Return the first bytes of a document, without unpacking all the others."""
    return zlib.decompressobj().decompress(content, most)


@router.get("/reports/{report}/report.xml", include_in_schema=False)
def report_xml(
    request: Request, sees: Sees, report: Report, document: Annotated[int, Query(ge=1, le=100)] = 1
) -> Response:
    """Give the exact bytes that were received, which is what the signature is about."""
    viewer = sees.require("read")
    with database_of(request).read() as connection:
        row, _ = run_named(connection, viewer.caller, report, project_meant(request))
        documents = runs.documents_of(connection, row.id)
        if document > len(documents):
            raise not_found("document", f"{document} of this report")
        content = unpack(runs.content_of(connection, documents[document - 1].id))
    name = f"sha256-{bytes(row.hash).hex()}.xml"
    headers = {**_DOWNLOAD, "Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type="application/xml", headers=headers)


@router.get("/reports/{report}/signer.pem", include_in_schema=False)
def signer_certificate(request: Request, sees: Sees, report: Report) -> Response:
    """Give the certificate that this server believes and that the signature of a trusted report rests on."""
    viewer = sees.require("read")
    with database_of(request).read() as connection:
        row, _ = run_named(connection, viewer.caller, report, project_meant(request))
        signer = _signer_of(connection, runs.documents_of(connection, row.id)[0])
    if signer is None:
        raise not_found("certificate that this server believes for report", report)
    pem = x509.load_der_x509_certificate(signer.certificate).public_bytes(Encoding.PEM)
    headers = {**_DOWNLOAD, "Content-Disposition": 'attachment; filename="signer.pem"'}
    return Response(pem, media_type="application/x-pem-file", headers=headers)
