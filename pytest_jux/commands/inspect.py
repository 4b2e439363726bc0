"""jux-inspect: what does this report say, and what is its signature worth?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pytest_jux.commands import _cli
from pytest_jux.text import plural

if TYPE_CHECKING:
    from pytest_jux.report import Report, Suite
    from pytest_jux.verifier import Examination, Trust

_NAMES_SHOWN = 4
_LONGEST_NAME = 80  # characters, of a suite around another
_WORDS = {
    "trusted": "valid",
    "intact": "intact, signer not trusted",
    "broken": "broken",
    "unsigned": "none",
    "unchecked": "could not be checked",
}


@click.command("inspect", context_settings=_cli.CONTEXT)
@_cli.report_inputs("A report to show; - is standard input.")
@_cli.trust_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON: an object, or a list when several files are given.")
@_cli.version_option
def command(
    files: tuple[str, ...],
    inputs: tuple[str, ...],
    certificates: tuple[str, ...],
    authorities: tuple[str, ...],
    at: str | None,
    as_json: bool,
) -> int:
    """Show what JUnit XML reports say: counts, suites, metadata, hash and signature.

    Works on any runner's report, signed or not. Whether a signer is trusted is only judged with --cert or --ca;
    use jux-verify for a verdict.

    \b
    Examples:
      jux-inspect report.xml
      jux-inspect --cert signing_key.crt --json report.xml

    Exit codes: 0 shown, 1 not a report that can be read, 64 usage error.
    """
    names = _cli.gather_inputs(files, inputs)
    trust = _cli.load_trust(certificates, authorities, at)
    results: list[dict[str, Any]] = []
    failed = False
    for name in names:
        result = _inspect(name, trust)
        failed = failed or "error" in result
        results.append(result)
        if "error" in result:
            _cli.say(f"{name}: {result['error']}")
        elif not as_json:
            _show(result, named=len(names) > 1)
    if as_json:
        _cli.show_json(results[0] if len(results) == 1 else results)
    return _cli.FAILED if failed else 0


def _inspect(name: str, trust: Trust) -> dict[str, Any]:
    from pytest_jux.errors import JuxError
    from pytest_jux.verifier import examine_report

    try:
        found = examine_report(_cli.read_input(name), trust)
    except JuxError as error:
        return {"file": name, "error": str(error)}
    return {"file": name, **_describe(found.report), "canonical_hash": found.canonical_hash, **_signature(found)}


def _describe(report: Report) -> dict[str, Any]:
    summary = report.summary
    return {
        "tests": summary.tests,
        "passed": summary.passed,
        "failures": summary.failures,
        "errors": summary.errors,
        "skipped": summary.skipped,
        "flaky": summary.flaky,
        "time": round(summary.time, 6),
        "suites": [
            {
                "name": _name_of(suite),
                "tests": len(suite.cases),
                "failed": sum(case.outcome in {"failed", "error"} for case in suite.cases),
                "time": round(suite.time, 6),
            }
            for suite in report.suites
        ],
        "metadata": report.properties,
    }


def _name_of(suite: Suite) -> str:
    """Return the suite's name behind those of the suites around it, the outer ones cut where there are many."""
    names = [suite.name]
    around = suite.parent
    while around is not None and len(names) < _NAMES_SHOWN:
        names.append(around.name[:_LONGEST_NAME])
        around = around.parent
    return " / ".join(["…"] * (around is not None) + names[::-1])


def _signature(found: Examination) -> dict[str, Any]:
    from pytest_jux.commands.verify import describe

    verdict = describe(found)
    del verdict["canonical_hash"]
    return {"signature": verdict}


def _show(result: dict[str, Any], *, named: bool) -> None:
    if named:
        _cli.show(result["file"], bold=True)
    for label, key in (
        ("Tests", "tests"),
        ("Passed", "passed"),
        ("Failures", "failures"),
        ("Errors", "errors"),
        ("Skipped", "skipped"),
        ("Flaky", "flaky"),
    ):
        bad = result[key] and key in {"failures", "errors"}
        _cli.show(f"{label}: {result[key]:,}", "red" if bad else None)
    _cli.show(f"Time: {result['time']:.3f} s")
    for suite in result["suites"]:
        failed = f", {suite['failed']:,} failed" if suite["failed"] else ""
        tests = plural(suite["tests"], "test")
        _cli.show(f"Suite: {suite['name'] or '(no name)'} ({tests}{failed}, {suite['time']:.3f} s)")
    _cli.show(f"Canonical Hash: {result['canonical_hash']}")
    signature = result["signature"]
    words = _WORDS[signature["state"]]
    algorithm = f"{signature['algorithm']} ({words})" if signature["algorithm"] else words
    colour = {"trusted": "green", "broken": "red"}.get(signature["state"])
    _cli.show(f"Signature: {algorithm}", colour)
    if signature["reason"] and signature["state"] != "unsigned":
        _cli.show(f"  {signature['reason']}")
    if signature["signer"]:
        _cli.show(f"Signer: {signature['signer']}")
        _cli.show(f"Certificate: valid from {signature['not_before'][:10]} to {signature['not_after'][:10]}")
    if result["metadata"]:
        _cli.show("Metadata:")
        width = min(24, max(len(name) for name in result["metadata"]))
        for name, value in result["metadata"].items():
            _cli.show(f"  {name:<{width}}  {value}")


main = _cli.main_of(command, "jux-inspect")
