"""jux-keygen: make a signing key and, if asked for, its certificate."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pytest_jux.commands import _cli, _completion

if TYPE_CHECKING:
    from pytest_jux.keys import PrivateKey

DEFAULT_KEY = Path("~/.jux/signing_key.pem")


@click.command("keygen", context_settings=_cli.CONTEXT)
@click.option(
    "--type",
    "kind",
    type=click.Choice(["rsa", "ecdsa", "ed25519"]),
    default="rsa",
    show_default=True,
    help="Kind of key.",
)
@click.option("--bits", type=click.IntRange(2048, 16384), default=3072, show_default=True, help="Size of an RSA key.")
@click.option(
    "--curve", type=click.Choice(["P-256", "P-384"]), default="P-256", show_default=True, help="Curve for ecdsa."
)
@click.option("--cert/--no-cert", default=False, help="Make a self-signed certificate, too, beside the key (*.crt).")
@click.option(
    "--cert-output",
    metavar="FILE",
    shell_complete=_completion.files,
    help="Where the certificate goes; implies --cert.",
)
@click.option("--subject", metavar="NAME", help="The certificate's common name [default: this machine's name].")
@click.option("--organization", metavar="NAME", default="", help="The certificate's organization.")
@click.option(
    "--days", type=click.IntRange(1, 36500), default=365, show_default=True, help="Validity of the certificate."
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    shell_complete=_completion.files,
    help=f"Where the private key goes [default: {DEFAULT_KEY}].",
)
@click.option("--force", is_flag=True, help="Overwrite existing files.")
@click.option("--encrypt", is_flag=True, help="Ask for a passphrase and encrypt the key.")
@_cli.passphrase_options
@click.option("--json", "as_json", is_flag=True, help="Print what was made as JSON.")
@_cli.version_option
@click.pass_context
def command(
    context: click.Context,
    kind: str,
    bits: int,
    curve: str,
    cert: bool,
    cert_output: str | None,
    subject: str | None,
    organization: str,
    days: int,
    output: str | None,
    force: bool,
    encrypt: bool,
    passphrase_env: str | None,
    passphrase_file: str | None,
    as_json: bool,
) -> int:
    """Make a private key for signing reports, readable by you alone, and its certificate for those who verify.

    \b
    Examples:
      jux-keygen --cert
      jux-keygen --type rsa --bits 2048 --cert --output ~/.jux/signing_key.pem
      jux-keygen --type ecdsa --cert --subject build-7 --organization Example --days 730

    RSA and ECDSA signatures verify with every XML signature tool. Ed25519 ones do not: xmlsec1 1.2 and signxml
    cannot verify them.

    Exit codes: 0 made, 1 failed, 64 usage error.
    """
    from pytest_jux.errors import FileProblem
    from pytest_jux.keys import generate_private_key, private_key_pem

    _refuse_useless(context, kind)
    key_path = _cli.expand(output or str(DEFAULT_KEY))
    _refuse_directory(key_path)
    cert_path = _certificate_path(key_path, cert_output) if cert or cert_output else None
    _check_targets([path for path in (key_path, cert_path) if path is not None], force=force)
    passphrase = _passphrase(passphrase_env, passphrase_file, encrypt=encrypt)
    key = generate_private_key(kind, bits=bits, curve=curve)
    old_certificate: bytes | None = None
    if cert_path is not None:  # before the key, so that a key never stands without the certificate asked for
        old_certificate = cert_path.read_bytes() if cert_path.exists() else None
        name = socket.gethostname() or "pytest-jux" if subject is None else subject
        _write(cert_path, _certify(key, name, organization, days), mode=0o644, force=force)
    try:
        _write(key_path, private_key_pem(key, passphrase), mode=0o600, force=force)
    except FileProblem:
        if cert_path is not None and old_certificate is not None:
            _write(cert_path, old_certificate, mode=0o644, force=True)
        elif cert_path is not None:
            cert_path.unlink(missing_ok=True)
        raise
    _report(key, key_path, cert_path, as_json=as_json)
    return 0


def _report(key: PrivateKey, key_path: Path, cert_path: Path | None, *, as_json: bool) -> None:
    from pytest_jux.keys import describe, load_certificate, subject_of

    certificate = load_certificate(cert_path) if cert_path else None
    if as_json:
        made = {"type": describe(key), "key": str(key_path), "certificate": str(cert_path) if cert_path else None}
        _cli.show_json(
            made
            | {
                "subject": subject_of(certificate) if certificate else None,
                "not_after": certificate.not_valid_after_utc.isoformat() if certificate else None,
            }
        )
        return
    _cli.show(f"✓ Private key: {key_path} ({describe(key)})", "green")
    if certificate is not None:
        until = f"{certificate.not_valid_after_utc:%Y-%m-%d}"
        _cli.show(f"✓ Certificate: {cert_path} ({subject_of(certificate)}, valid until {until})", "green")
    if describe(key) == "Ed25519":
        _cli.say("Ed25519 signatures cannot be verified with xmlsec1 1.2 or signxml; jux-verify and Java 17 can.")


def _refuse_useless(context: click.Context, kind: str) -> None:
    """Refuse options that would be ignored, so that nobody believes that they had an effect."""
    for option, belongs in (("bits", "rsa"), ("curve", "ecdsa")):
        given = context.get_parameter_source(option) is click.core.ParameterSource.COMMANDLINE
        if given and kind != belongs:
            raise click.UsageError(f"--{option} goes with --type {belongs}, not with --type {kind}")


def _certificate_path(key_path: Path, given: str | None) -> Path:
    path = _cli.expand(given) if given else key_path.with_suffix(".crt")
    if os.path.realpath(path) == os.path.realpath(key_path):
        raise click.UsageError(f"key and certificate cannot both be {key_path}; name another with --cert-output")
    return path


def _check_targets(paths: list[Path], *, force: bool) -> None:
    """Refuse before anything is made, so that a key never stands without the certificate asked for."""
    from pytest_jux.errors import FileProblem

    for path in paths:
        _refuse_directory(path)
        if not force and (path.exists() or path.is_symlink()):
            error = FileProblem(path, "write", "it exists already")
            error.hint = (
                "Choose another --output, or use --force to replace it. "
                "Keep the old certificate: reports signed with the old key verify only with that."
            )
            raise error


def _refuse_directory(path: Path) -> None:
    from pytest_jux.errors import FileProblem

    if path.is_dir():
        raise FileProblem(path, "write", "it is a directory")


def _passphrase(variable: str | None, file: str | None, *, encrypt: bool) -> bytes | None:
    from pytest_jux.credentials import read_passphrase

    passphrase = read_passphrase(variable, _cli.expand(file) if file else None)
    if passphrase is None and encrypt:
        try:
            entered: str = click.prompt("Passphrase", hide_input=True, confirmation_prompt=True, err=True)
        except click.Abort:
            if sys.stdin.isatty():
                raise
            asks = "--encrypt asks on a terminal; use --passphrase-env or --passphrase-file instead"
            raise click.UsageError(asks) from None
        passphrase = entered.encode()
    if passphrase == b"":
        raise click.UsageError("the passphrase is empty")
    return passphrase


def _certify(key: PrivateKey, name: str, organization: str, days: int) -> bytes:
    from pytest_jux.keys import certificate_pem, self_signed_certificate

    try:
        return certificate_pem(self_signed_certificate(key, name, organization=organization, days=days))
    except (ValueError, OverflowError):  # RFC 5280: names of 1 to 64 characters, dates up to the year 9999
        reason = "--subject and --organization have 1 to 64 characters, and dates end with the year 9999"
        raise click.UsageError(f"the certificate cannot be made: {reason}") from None


def _write(path: Path, data: bytes, *, mode: int, force: bool) -> None:
    from pytest_jux.errors import FileProblem
    from pytest_jux.files import make_private_directory, reason_of, write_atomically

    try:
        make_private_directory(path.parent)
        write_atomically(path, data, mode=mode, overwrite=force)
    except OSError as error:
        raise FileProblem(path, "write", reason_of(error)) from None


main = _cli.main_of(command, "jux-keygen")
