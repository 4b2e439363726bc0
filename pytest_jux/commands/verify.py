"""jux-verify: is this report what was signed, and by whom?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pytest_jux.commands import _cli
from pytest_jux.text import plural

if TYPE_CHECKING:
    from pytest_jux.verifier import Examination, Trust

_WORDS = {
    "trusted": "Signature valid",
    "intact": "Signature intact, signer not trusted",
    "broken": "Signature broken",
    "unsigned": "Not signed",
    "unchecked": "Signature could not be checked",
}


_DATED = "To judge it as of the time of signing, use --at TIME, such as --at 2026-01-31T12:00:00Z."
_UNKNOWN = "To trust this signer, give its certificate with --cert, or its authority with --ca."


@click.command("verify", context_settings=_cli.CONTEXT)
@_cli.report_inputs("A report to verify; - is standard input.")
@_cli.trust_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON: an object, or a list when several files are given.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing; the exit code tells.")
@_cli.version_option
def command(
    files: tuple[str, ...],
    inputs: tuple[str, ...],
    certificates: tuple[str, ...],
    authorities: tuple[str, ...],
    at: str | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Verify the signatures of JUnit XML reports.

    A report is valid when it is exactly what was signed and you trust its signer: give the signer's certificate with
    --cert, or the authority that issued it with --ca. Nothing in a report can make itself trusted.

    \b
    Examples:
      jux-verify --cert signing_key.crt report.xml
      jux-verify --ca company-ca.pem --at 2026-01-31 reports/*.xml
      curl -s https://ci.example.com/report.xml | jux-verify --cert build.crt --json

    Exit codes: 0 all valid, 1 at least one is not, 64 usage error.
    """
    if quiet and as_json:
        raise click.UsageError("--quiet prints nothing, --json prints JSON; use one of them")
    names = _cli.gather_inputs(files, inputs)
    trust = _cli.load_trust(certificates, authorities, at)
    results = [_verify(name, trust) for name in names]
    if as_json:
        _cli.show_json(results[0] if len(results) == 1 else results)
    elif not quiet:
        for result in results:
            _show(result, named=len(results) > 1)
        if len(results) > 1:
            valid = sum(result["valid"] for result in results)
            _cli.show(f"{valid:,} of {plural(len(results), 'report')} valid")
    return 0 if all(result["valid"] for result in results) else _cli.FAILED


def _verify(name: str, trust: Trust) -> dict[str, Any]:
    from pytest_jux.errors import JuxError
    from pytest_jux.verifier import examine_report

    try:
        return {"file": name, **describe(examine_report(_cli.read_input(name), trust))}
    except JuxError as error:
        nothing = dict.fromkeys(("canonical_hash", "algorithm", "signer", "trusted_by", "not_before", "not_after"))
        return {"file": name, "valid": False, "state": "unchecked", "reason": str(error), **nothing}


def describe(found: Examination) -> dict[str, Any]:
    """Return what verification found as JSON values; what is not proved is null."""
    evidence = found.evidence
    return {
        "valid": found.state == "trusted",
        "state": str(found.state),
        "reason": found.reason,
        "canonical_hash": found.canonical_hash,
        "algorithm": evidence.algorithm if evidence else None,
        "signer": evidence.signer if evidence else None,
        "trusted_by": (evidence.trusted_by or None) if evidence else None,
        "not_before": evidence.not_before.isoformat() if evidence else None,
        "not_after": evidence.not_after.isoformat() if evidence else None,
    }


def _show(result: dict[str, Any], *, named: bool) -> None:
    mark, colour = ("✓", "green") if result["valid"] else ("✗", "red")
    reason = f": {result['reason']}" if result["reason"] else ""
    where = f"{result['file']}: " if named else ""
    _cli.show(f"{mark} {where}{_WORDS[result['state']]}{reason}", colour)
    if named:
        return
    if result["signer"]:
        _cli.show(f"  Signer: {result['signer']} ({result['algorithm']})")
        _cli.show(f"  Certificate valid: {result['not_before'][:10]} to {result['not_after'][:10]}")
    if result["canonical_hash"]:
        _cli.show(f"  Canonical hash: {result['canonical_hash']}")
    if result["state"] == "intact":
        dated = "expired on" in result["reason"] or "not valid before" in result["reason"]
        _cli.say(f"  {_DATED if dated else _UNKNOWN}")


main = _cli.main_of(command, "jux-verify")
