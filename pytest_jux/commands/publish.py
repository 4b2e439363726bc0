"""jux-publish: send signed reports to the Jux API server."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import click

from pytest_jux.commands import _cli
from pytest_jux.commands._api_options import api_options, load_api_settings

if TYPE_CHECKING:
    from pytest_jux.config import Settings
    from pytest_jux.storage import ReportStorage
    from pytest_jux.submission import Named

_DUPLICATE = 2
_JOBS = 4


@click.command("publish", context_settings=_cli.CONTEXT)
@_cli.report_inputs("A report to publish; - is standard input.", "[FILE|DIR|GLOB]...")
@api_options
@click.option("--allow-unsigned", is_flag=True, help="Send reports without a signature, too.")
@click.option("--duplicate-ok", is_flag=True, help="Exit with 0 if the server has a report already.")
@click.option("--dry-run", is_flag=True, help="Send nothing; show what would be sent. Needs no server and no key.")
@click.option(
    "--jobs", type=click.IntRange(1, 64), metavar="N", help="Send so many at a time [default: 4; to this machine: 1]."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: an object for one report, a list for many.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
@click.option("-v", "--verbose", is_flag=True, help="Print hash, address and attempts, too.")
@_cli.version_option
def command(
    files: tuple[str, ...],
    inputs: tuple[str, ...],
    allow_unsigned: bool,
    duplicate_ok: bool,
    dry_run: bool,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **api: Any,  # noqa: ANN401 - the options of the API
) -> int:
    """Publish signed JUnit XML reports to the Jux API server.

    Of a directory all *.xml files are sent; a pattern in quotes works on every system. A report that is unsigned, or
    that was changed after it was signed, is not sent.

    \b
    Examples:
      jux-publish --input signed-report.xml --api-url https://jux.example.com/api/v1/reports
      jux-publish 'build/reports/**/*.xml' --api-key-env JUX_TOKEN --duplicate-ok
      jux-publish reports/ --dry-run
      cat signed-report.xml | jux-publish --json

    Exit codes: 0 published, 1 at least one was not, 2 the server had one already, 64 usage error.
    """
    from pytest_jux.submission import is_several, named_files

    if quiet and (as_json or verbose):
        raise click.UsageError("--quiet prints nothing but errors; use it without --json and --verbose")
    names = _cli.gather_inputs(files, inputs)
    if "" in names:
        raise click.UsageError("the name of a file is empty (an unset variable?)")
    settings = load_api_settings(api)
    _check_address(settings["jux_api_url"] or "", is_needed=not dry_run)
    named = named_files(names)
    is_one = len(names) == 1 and not is_several(names[0])
    if dry_run:
        from pytest_jux.commands._publish_plan import show_plan

        return show_plan(named, settings, allow_unsigned=allow_unsigned, is_one=is_one, as_json=as_json, quiet=quiet)
    how = {"is_one": is_one, "as_json": as_json, "quiet": quiet, "verbose": verbose, "duplicate_ok": duplicate_ok}
    return _publish(named, settings, jobs, allow_unsigned=allow_unsigned, how=how)


def _publish(named: Named, settings: Settings, jobs: int | None, *, allow_unsigned: bool, how: dict[str, bool]) -> int:
    from urllib.parse import urlsplit

    from pytest_jux.addresses import EXPOSED, is_loopback
    from pytest_jux.commands._publish_text import show_each, sum_of
    from pytest_jux.publishing import configured_client
    from pytest_jux.submission import Submitted, submit

    paths = named.paths
    # A small server, as one on this machine may be, serves one connection at a time; others are far away.
    is_near = is_loopback(urlsplit(settings["jux_api_url"]).hostname or "")
    jobs = max(1, min(jobs or (1 if is_near else _JOBS), len(paths)))
    with configured_client(settings, is_command=True, connections=jobs) as client:
        if client.is_exposed:
            _cli.say(f"warning: the API is {EXPOSED}")
        done = submit(
            paths,
            _cli.read_input,
            client,
            storage=_store(settings),
            allow_unsigned=allow_unsigned,
            project=settings["jux_project"] or "",
            jobs=jobs,
        )
        wrong = [Submitted(str(problem.path), error=problem) for problem in named.problems]
        counts, rows = show_each(chain(done, wrong), len(paths) + len(wrong), **how)
    order = {path: number for number, path in enumerate(paths)}
    rows.sort(key=lambda row: order.get(row["file"], len(order)))
    if how["as_json"]:
        _cli.show_json(rows[0] if how["is_one"] else rows)
    elif not how["is_one"] and not how["quiet"]:
        _cli.show(sum_of(counts))
    if counts["error"] or counts["not_tried"]:
        return _cli.FAILED
    return _DUPLICATE if counts["duplicate"] and not how["duplicate_ok"] else 0


def _check_address(url: str, *, is_needed: bool) -> None:
    """Raise a usage error where no server is known, or none can be at this address."""
    from pytest_jux.addresses import address_problem, without_secrets

    if not url and is_needed:
        raise click.UsageError("no server given: use --api-url URL, or set jux_api_url")
    if url and (problem := address_problem(url)):
        raise click.UsageError(f"jux_api_url: {without_secrets(url)} {problem}")


def _store(settings: Settings) -> ReportStorage | None:
    """Return the report store, if there can be one; nothing is written to it but about reports that it has."""
    from pytest_jux.errors import StorageError
    from pytest_jux.storage import ReportStorage

    try:
        return ReportStorage(settings["jux_storage_path"])
    except StorageError:
        return None


main = _cli.main_of(command, "jux-publish")
