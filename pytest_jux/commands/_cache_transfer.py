"""jux-cache add, export and import: reports that come into the store and leave it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pytest_jux.commands import _cli, _completion
from pytest_jux.commands._cache_options import is_terminal, open_store, store_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pytest_jux.bundle import Received

_WORDS = {
    "stored": "stored",
    "unchanged": "already stored",
    "replaced": "stored in place of another copy",
    "kept": "the copy that was already stored stays",
}


@click.command("add", context_settings=_cli.CONTEXT)
@click.argument("files", nargs=-1, metavar="[FILE]...", shell_complete=_completion.files)
@store_options
@click.option("--queue", is_flag=True, help="Let the reports wait to be published, too.")
def add(files: tuple[str, ...], storage_path: str | None, queue: bool, as_json: bool) -> int:
    """Store reports of any runner, signed or not; - is standard input.

    This machine's metadata is kept beside each report, as the configuration says (jux_project, jux_metadata_*). The
    report itself is not changed. One whose signature is broken is refused.

    \b
    Examples:
      jux-cache add build/test-results/*.xml
      jux-cache add --queue report.xml
      curl -s https://ci.example.com/report.xml | jux-cache add -
    """
    from pytest_jux.bundle import receive
    from pytest_jux.config import load
    from pytest_jux.pipeline import configured_metadata

    names = _cli.gather_inputs(files, ())
    settings = load()
    for warning in settings.warnings:
        _cli.say(f"warning: {warning}")
    storage = open_store(storage_path, settings)
    metadata = configured_metadata(settings).to_dict()
    return _each(names, lambda name: receive(storage, _cli.read_input(name), metadata, queue=queue), as_json=as_json)


@click.command("export", context_settings=_cli.CONTEXT)
@click.argument("report", metavar="HASH", shell_complete=_completion.stored_reports)
@store_options
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    shell_complete=_completion.files,
    help="Where it goes; - is standard output [default: jux-<digits>.zip].",
)
def export(report: str, storage_path: str | None, output: str | None, as_json: bool) -> None:
    """Write a report and its metadata as one file, a ZIP archive with report.xml and metadata.json.

    The report is byte for byte the stored one, and the same report always gives the same file.

    \b
    Examples:
      jux-cache export abc123
      jux-cache export abc123 -o - | ssh archive jux-cache import -
    """
    from pytest_jux.bundle import export as export_bundle
    from pytest_jux.files import save_file

    if output == "-" and (as_json or is_terminal(sys.stdout)):
        what = "JSON and a bundle cannot both" if as_json else "a bundle is binary and does not"
        raise click.UsageError(f"{what} go to standard output; use --output FILE")
    path = Path("-") if output == "-" else _cli.expand(output) if output is not None else None
    storage = open_store(storage_path)
    identity = storage.resolve(report)
    data = export_bundle(storage, identity)
    if output == "-":
        _cli.write_output(data)
        return
    path = path or Path(f"jux-{identity.removeprefix('sha256:')[:12]}.zip")
    save_file(path, data)
    if as_json:
        _cli.show_json({"file": str(path), "canonical_hash": identity})
    else:
        _cli.show(f"✓ Exported: {path}", "green")


@click.command("import", context_settings=_cli.CONTEXT)
@click.argument("files", nargs=-1, metavar="[FILE]...", shell_complete=_completion.files)
@store_options
def import_(files: tuple[str, ...], storage_path: str | None, as_json: bool) -> int:
    """Store reports that jux-cache export wrote; - is standard input.

    Nothing in such a file is believed: the report's hash is computed anew, and what became of the report elsewhere is
    not taken over.

    \b
    Examples:
      jux-cache import jux-abc123def456.zip
    """
    from pytest_jux.bundle import receive, unpack

    names = _cli.gather_inputs(files, ())
    storage = open_store(storage_path)

    def take(name: str) -> Received:
        bundle = unpack(_cli.read_input(name))
        return receive(storage, bundle.report, bundle.metadata)

    return _each(names, take, as_json=as_json)


def _each(names: Iterable[str], take: Callable[[str], Received], *, as_json: bool) -> int:
    """Take one file after the other into the store, and say what became of each."""
    from pytest_jux.errors import JuxError

    results: list[dict[str, Any]] = []
    for name in names:
        try:
            stored, arrival = take(name)
        except JuxError as error:
            _cli.say(f"{name}: {error}", error.hint)
            results.append({"file": name, "result": "error", "reason": str(error)})
            continue
        results.append(
            {
                "file": name,
                "result": str(arrival),
                "canonical_hash": stored.canonical_hash,
                "status": str(stored.status),
            }
        )
        if not as_json:
            queued = ", queued" if stored.status == "queued" else ""
            _cli.show(f"✓ {name}: {_WORDS[arrival]}{queued}: {stored.canonical_hash}", "green")
    if as_json:
        _cli.show_json(results[0] if len(results) == 1 else results)
    return _cli.FAILED if any(result["result"] == "error" for result in results) else 0
