"""jux-sign: put a signature into a report, in place or into another file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pytest_jux.commands import _cli, _completion

if TYPE_CHECKING:
    from pytest_jux.pipeline import Credentials, Signed


_FLAGS = {
    "jux_key_path": "--key",
    "jux_cert_path": "--cert",
    "jux_key_passphrase_env": "--passphrase-env",
    "jux_key_passphrase_file": "--passphrase-file",
}


@click.command("sign", context_settings=_cli.CONTEXT)
@_cli.report_inputs("A report to sign; - is standard input.")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    shell_complete=_completion.files,
    help="Write the signed report here; - is standard output.",
)
@click.option(
    "--key",
    metavar="FILE",
    shell_complete=_completion.files,
    help="Private key, PEM (default: jux_key_path of the configuration).",
)
@click.option(
    "--cert",
    metavar="FILE",
    shell_complete=_completion.files,
    help="The key's certificate (default: jux_cert_path of the configuration).",
)
@_cli.passphrase_options
@click.option("--replace", is_flag=True, help="Take an existing signature out and sign again.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON (not with --output -).")
@_cli.version_option
def command(
    files: tuple[str, ...],
    inputs: tuple[str, ...],
    output: str | None,
    key: str | None,
    cert: str | None,
    passphrase_env: str | None,
    passphrase_file: str | None,
    replace: bool,
    as_json: bool,
) -> int:
    """Sign JUnit XML reports, in place unless --output says where.

    The signature is inserted; every other byte stays. What is written has been verified first, and is written whole or
    not at all. Standard input is signed to standard output.

    \b
    Examples:
      jux-sign --key signing_key.pem --cert signing_key.crt report.xml
      jux-sign --input report.xml --output signed-report.xml --key signing_key.pem
      pytest-producer | jux-sign --key signing_key.pem > signed.xml

    Exit codes: 0 signed, 1 at least one was not, 64 usage error.
    """
    from pytest_jux.errors import JuxError

    names = _cli.gather_inputs(files, inputs)
    if output is not None and len(names) > 1:
        raise click.UsageError("--output takes one report; without it, each is signed in place")
    target = output if output is not None else "-" if names == ["-"] else None
    if as_json and target == "-":
        raise click.UsageError("--json and a report cannot both go to standard output; use --output FILE")
    if target is None and "-" in names:
        raise click.UsageError("standard input can only be signed on its own")
    credentials = _load_credentials(key, cert, passphrase_env, passphrase_file)
    results: list[dict[str, str | None]] = []
    failed = False
    for name in names:
        try:
            signed = _sign(name, target, credentials, replace=replace)
        except JuxError as error:
            _cli.say(f"{name}: {error}", error.hint)
            results.append({"file": name, "status": "error", "reason": str(error)})
            failed = True
            continue
        evidence = signed.evidence
        results.append(
            {
                "file": name,
                "status": "signed",
                "output": target or name,
                "canonical_hash": evidence.canonical_hash,
                "algorithm": evidence.algorithm,
                "signer": evidence.signer if credentials.certificate else None,
            }
        )
        if target != "-" and not as_json:
            _cli.show(f"✓ Report signed: {target or name}", "green")
    if as_json:
        _cli.show_json(results[0] if len(results) == 1 else results)
    return _cli.FAILED if failed else 0


def _sign(name: str, target: str | None, credentials: Credentials, *, replace: bool) -> Signed:
    from pytest_jux.files import save_file
    from pytest_jux.pipeline import sign_and_check

    signed = sign_and_check(_cli.read_input(name), credentials, replace=replace)
    if target == "-":
        _cli.write_output(signed.data)
    else:
        save_file(Path(target or name), signed.data)
    return signed


def _load_credentials(
    key: str | None, cert: str | None, passphrase_env: str | None, passphrase_file: str | None
) -> Credentials:
    from pytest_jux.config import load
    from pytest_jux.credentials import read_passphrase
    from pytest_jux.errors import PassphraseRequired
    from pytest_jux.keys import load_certificate, load_private_key
    from pytest_jux.pipeline import Credentials

    for option, value in (("--key", key), ("--cert", cert)):
        if value == "":
            raise click.UsageError(f"{option}: the name of the file is empty")
    given = {"jux_key_path": key, "jux_cert_path": cert}
    given |= {"jux_key_passphrase_env": passphrase_env, "jux_key_passphrase_file": passphrase_file}
    settings = load(command_line=given, flags=_FLAGS)
    for warning in settings.warnings:
        _cli.say(f"warning: {warning}")
    path = settings["jux_key_path"]
    if path is None:
        raise click.UsageError("no key given: use --key FILE, or set jux_key_path")
    # A configured certificate or passphrase belongs to the configured key, not to one that was named here.
    configured = settings if key is None else given
    certificate = settings["jux_cert_path"] if configured["jux_cert_path"] else None
    passphrase = read_passphrase(
        settings["jux_key_passphrase_env"] if configured["jux_key_passphrase_env"] else None,
        settings["jux_key_passphrase_file"] if configured["jux_key_passphrase_file"] else None,
    )
    try:
        loaded = load_private_key(path, passphrase)
    except PassphraseRequired:
        if not sys.stdin.isatty():
            raise
        entered = click.prompt(f"Passphrase of {path}", hide_input=True, err=True)
        loaded = load_private_key(path, entered.encode())
    return Credentials(loaded, load_certificate(certificate) if certificate else None)


main = _cli.main_of(command, "jux-sign")
