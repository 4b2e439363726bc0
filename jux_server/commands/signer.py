"""jux-server signer: whose signatures make a report trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from jux_server.commands import Configured, Group, _words, json_option, settings_options
from jux_server.errors import Refused
from pytest_jux.commands import _cli, _completion

if TYPE_CHECKING:
    from jux_server.trust import SignerInfo

_SUBCOMMANDS = {"add": "signer:add", "list": "signer:show_signers", "remove": "signer:remove"}
_REVERIFY = "Reports that are here already are judged anew by: jux-server reverify"


@click.group("signer", cls=Group, subcommands=_SUBCOMMANDS, context_settings=_cli.CONTEXT)
def signer() -> None:
    """Say whose signatures make a report trusted: certificates, and authorities that issue them."""


@click.command("add", context_settings=_cli.CONTEXT)
@click.argument("file", shell_complete=_completion.files)
@click.option("--ca", "is_authority", is_flag=True, help="Believe all to whom this authority issued a certificate.")
@click.option("--project", "pattern", default="*", show_default=True, metavar="PATTERN", help="For these projects.")
@settings_options()
@json_option
def add(file: str, is_authority: bool, pattern: str, configured: Configured, as_json: bool) -> int:
    """Believe the signer whose certificate is in FILE (PEM or DER; of several, each).

    \b
    Examples:
      jux-server signer add ~/.jux/signing.crt
      jux-server signer add company-ca.pem --ca
      jux-server signer add ci.pem --project "shop/*"

    Exit codes: 0 added, 1 not all of them were added, 64 usage error.
    """
    from jux_server.trust import add_signer
    from pytest_jux.keys import load_certificates

    pattern = _words.harmless(pattern, "--project")
    certificates = load_certificates(_cli.expand(file))
    kind = "authority" if is_authority else "certificate"
    added: list[SignerInfo] = []
    refused: list[Refused] = []
    with configured.database() as database:
        for certificate in certificates:
            try:
                added.append(add_signer(database, certificate, kind=kind, projects=pattern))
            except Refused as error:
                refused.append(error)
    if as_json:
        _cli.show_json([_data(one) for one in added])
    for one in () if as_json else added:
        whom = f"whom {one.subject} issued a certificate" if is_authority else one.subject
        _cli.show(f"Believed from now on, projects {one.projects}: {whom}")
    for refusal in refused:
        _cli.say(f"not added: {refusal}", refusal.hint)
    if added:
        _cli.say(_REVERIFY)
    return _cli.FAILED if refused else 0


@click.command("list", context_settings=_cli.CONTEXT)
@settings_options()
@json_option
def show_signers(configured: Configured, as_json: bool) -> None:
    """List the certificates that are believed."""
    from jux_server.trust import list_signers

    with configured.database(must_exist=True) as database:
        signers = list_signers(database)
    if as_json:
        _cli.show_json([_data(one) for one in signers])
        return
    titles = ("ID", "KIND", "SUBJECT", "PROJECTS", "VALID UNTIL", "FINGERPRINT")
    _cli.show_lines(_words.table(titles, map(_row, signers)) if signers else ["No signer is believed."])


@click.command("remove", context_settings=_cli.CONTEXT)
@click.argument("name", metavar="ID|SUBJECT|FINGERPRINT")
@settings_options()
@json_option
def remove(name: str, configured: Configured, as_json: bool) -> None:
    """Stop believing a signer; of a fingerprint, the first 8 digits are enough."""
    from jux_server.trust import remove_signer

    with configured.database(must_exist=True) as database:
        removed = remove_signer(database, name)
    if as_json:
        _cli.show_json(_data(removed))
    else:
        _cli.show(f"Not believed any more, projects {removed.projects}: {removed.subject}")
    _cli.say(_REVERIFY)


def _row(one: SignerInfo) -> tuple[str, ...]:
    until = f"{one.load().not_valid_after_utc:%Y-%m-%d}"
    return str(one.id), one.kind, one.subject, one.projects, until, one.fingerprint.hex()[:16]


def _data(one: SignerInfo) -> dict[str, Any]:
    certificate = one.load()
    return {
        "id": one.id,
        "kind": one.kind,
        "subject": one.subject,
        "projects": one.projects,
        "fingerprint": f"sha256:{one.fingerprint.hex()}",
        "not_before": f"{certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}",
        "not_after": f"{certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
        "added_at": _words.written(one.added_at),
    }
