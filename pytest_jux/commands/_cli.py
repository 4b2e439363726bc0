"""What the commands share: how errors become one sentence and an exit code, and how text reaches a terminal."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pytest_jux import __version__
from pytest_jux.commands import _completion
from pytest_jux.errors import FileProblem, JuxError, ReportTooLarge
from pytest_jux.text import encodable, visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pytest_jux.verifier import Trust

FAILED = 1
USAGE_ERROR = 64
INTERRUPTED = 130

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def run(command: click.Command, arguments: Sequence[str] | None = None, name: str | None = None) -> int:
    """Run `command` and return its exit code; every error becomes one sentence with a next step on standard error."""
    if "_JUX_COMPLETE" in os.environ:  # a shell asks, in the way of our own script
        import_module("pytest_jux.commands.completion")
    try:
        result = command.main(arguments, prog_name=name, standalone_mode=False)
    except (click.ClickException, click.Abort, KeyboardInterrupt, JuxError, OSError) as error:
        return _explain(error, name or command.name or "jux")
    return result if isinstance(result, int) else 0


def _explain(error: BaseException, name: str) -> int:
    """Say what went wrong and return the exit code that stands for it."""
    match error:
        case click.exceptions.NoArgsIsHelpError():
            click.echo(error.format_message(), err=True)
            return USAGE_ERROR
        case click.UsageError():
            path = error.ctx.command_path if error.ctx else name
            say(f"{path}: {error.format_message()}", f"See {path} --help.")
            return USAGE_ERROR
        case click.Abort() | KeyboardInterrupt():
            say("interrupted")
            return INTERRUPTED
    if os.environ.get("JUX_DEBUG") == "1":
        raise error
    say(f"{name}: {error}", getattr(error, "hint", ""))
    return FAILED


def main_of(command: click.Command, name: str) -> Callable[[], None]:
    """Return the entry point of a console script."""

    def main() -> None:
        import gc

        gc.set_threshold(100_000)  # a process that lives this short has little to collect, and looks for it often
        sys.exit(run(command, name=name))

    return main


def version_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--version`."""
    return click.version_option(__version__, "-V", "--version", package_name="pytest-jux", prog_name="pytest-jux")(
        command
    )


def say(sentence: str, hint: str = "") -> None:
    """Print an error or a note on standard error, with the next step on a line of its own."""
    click.echo(encodable(visible(sentence), _encoding(sys.stderr)), err=True)
    if hint:
        click.echo(encodable(visible(f"  {hint}"), _encoding(sys.stderr)), err=True)


def show(text: str, colour: str | None = None, *, bold: bool = False) -> None:
    """Print one line of text for people on standard output, safe for a terminal and in colour where there is one."""
    safe = encodable(visible(text), _encoding(sys.stdout))
    click.echo(click.style(safe, fg=colour, bold=bold or None) if colour or bold else safe, color=use_colour())


def _encoding(stream: object) -> str | None:
    return getattr(stream, "encoding", None)  # the stream is None where its descriptor is closed


def show_json(value: object) -> None:
    """Print a value as JSON, in ASCII, so that no control character reaches a terminal raw."""
    import json

    click.echo(json.dumps(value, indent=2, ensure_ascii=True))


def use_colour() -> bool | None:
    """Obey NO_COLOR and FORCE_COLOR; None leaves it to whether standard output is a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    return True if os.environ.get("FORCE_COLOR") else None


def write_output(data: bytes) -> None:
    """Write all of `data` to standard output or raise OSError: a full disk or a closed pipe is no success."""
    from pytest_jux.files import write_all

    stream: object = sys.stdout
    if stream is None:
        raise FileProblem("standard output", "write", "it is closed")
    try:
        descriptor = sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):  # a stream without a file behind it, as under a test runner
        sys.stdout.buffer.write(data)
        return
    sys.stdout.flush()
    write_all(descriptor, data)


def expand(path: str) -> Path:
    """Return `path` with `~` expanded; raises a usage error for an empty one, and where there is no such home."""
    if not path:  # an unset variable in a script; pathlib would take it for the current directory
        raise click.UsageError("the name of a file is empty (an unset variable?)")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise click.UsageError(f"{path}: there is no such home directory") from None


def report_inputs(help_text: str, metavar: str = "[FILE]...") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the reports that a command is about, as arguments `files` and as `--input`, `inputs`; see `gather_inputs`."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        given = click.option(
            "-i",
            "--input",
            "inputs",
            multiple=True,
            metavar="FILE",
            shell_complete=_completion.files,
            help=help_text,
        )(command)
        return click.argument("files", nargs=-1, metavar=metavar, shell_complete=_completion.files)(given)

    return decorate


def gather_inputs(files: Iterable[str], given: Iterable[str]) -> list[str]:
    """Return the names from arguments and from `--input`, standard input for none when something is piped in."""
    names = [*given, *files]
    if not names:
        if not _has_input() or sys.stdin.isatty():
            raise click.UsageError("no report given: name a file, or - for standard input")
        return ["-"]
    if names.count("-") > 1:
        raise click.UsageError("standard input can be read only once")
    return names


def read_input(name: str) -> bytes:
    """Return the bytes of a file, or of standard input for `-`; raises FileProblem or ReportTooLarge."""
    from pytest_jux.document import DEFAULT_LIMITS
    from pytest_jux.files import read_file

    limit = DEFAULT_LIMITS.bytes
    if name == "-":
        if not _has_input():
            raise FileProblem("standard input", "read", "it is closed")
        data = sys.stdin.buffer.read(limit + 1)
    elif os.path.isdir(name):  # noqa: PTH112 - Path.is_dir raises for names that are too long
        raise FileProblem(name, "read", "it is a directory")
    else:
        data = read_file(Path(name), limit)
    if len(data) > limit:
        raise ReportTooLarge("bytes", limit)
    return data


def _has_input() -> bool:
    stream: object = sys.stdin  # None where the descriptor is closed
    return stream is not None


def trust_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--cert`, `--ca` and `--at`."""
    for decorate in (
        click.option(
            "--at",
            metavar="TIME",
            help="Judge certificate dates at this time (ISO 8601, a date means 00:00 UTC; default: now).",
        ),
        click.option(
            "--ca",
            "authorities",
            metavar="FILE|DIR",
            multiple=True,
            shell_complete=_completion.files,
            help="Trust signers whose certificate this authority issued (PEM or DER file, or a directory; repeatable).",
        ),
        click.option(
            "--cert",
            "certificates",
            metavar="FILE|DIR",
            multiple=True,
            shell_complete=_completion.files,
            help="Trust this signer's certificate (PEM or DER file, or a directory of them; repeatable).",
        ),
    ):
        command = decorate(command)
    return command


def load_trust(certificates: Iterable[str], authorities: Iterable[str], at: str | None) -> Trust:
    """Return the trust that the options describe; raises CertificateUnreadable or a usage error."""
    import datetime as dt

    from pytest_jux.keys import load_certificates
    from pytest_jux.verifier import Trust

    time: dt.datetime | None = None
    if at is not None:
        try:
            time = dt.datetime.fromisoformat(at)
            time = (time.replace(tzinfo=dt.UTC) if time.tzinfo is None else time).astimezone(dt.UTC)
        except (ValueError, OverflowError):
            raise click.UsageError(f"--at: {at!r} is not a time such as 2026-11-22 or 2026-11-22T10:30:00Z") from None
    return Trust(
        [certificate for path in certificates for certificate in load_certificates(expand(path))],
        [certificate for path in authorities for certificate in load_certificates(expand(path))],
        time,
    )


def passphrase_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--passphrase-env` and `--passphrase-file`; a passphrase itself is never an argument."""
    for decorate in (
        click.option(
            "--passphrase-file",
            metavar="FILE",
            shell_complete=_completion.files,
            help="File whose first line is the key's passphrase.",
        ),
        click.option(
            "--passphrase-env",
            metavar="NAME",
            shell_complete=_completion.variables,
            help="Environment variable that holds the key's passphrase.",
        ),
    ):
        command = decorate(command)
    return command


class Group(click.Group):
    """A command with subcommands, which are imported when they are used and listed in the given order.

    `subcommands` maps their names to `module:name` in this package.
    """

    def __init__(self, *arguments: Any, subcommands: Mapping[str, str], **options: Any) -> None:  # noqa: ANN401 - click's
        super().__init__(*arguments, **options)
        self._subcommands = subcommands

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of the subcommands."""
        return list(self._subcommands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a subcommand; all of them are known to click afterwards if there is none of that name."""
        if cmd_name in self._subcommands and cmd_name not in self.commands:
            module, _, name = self._subcommands[cmd_name].partition(":")
            self.add_command(getattr(import_module(f"pytest_jux.commands.{module}"), name), cmd_name)
        elif cmd_name not in self.commands:
            for known in self._subcommands:  # so that click can tell which one may have been meant
                self.get_command(ctx, known)
        return self.commands.get(cmd_name)


def format_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--format` and `--json`; the command gets `form`: `text`, `json` or `yaml`."""
    from functools import wraps

    @wraps(command)
    def with_form(*args: object, form: str | None, as_json: bool, **options: object) -> Any:  # noqa: ANN401 - as given
        if as_json and form not in {None, "json"}:
            raise click.UsageError(f"--json means --format json, not --format {form}; use one of them")
        return command(*args, form="json" if as_json else form or "text", **options)

    for decorate in (
        click.option("--json", "as_json", is_flag=True, help="Short for --format json."),
        click.option(
            "--format", "form", type=click.Choice(["text", "json", "yaml"]), help="How to print it [default: text]."
        ),
    ):
        with_form = decorate(with_form)
    return with_form


def show_data(value: object, form: str) -> None:
    """Print a value as JSON or YAML, both in ASCII, so that no control character reaches a terminal raw."""
    if form == "json":
        show_json(value)
        return
    import yaml

    click.echo(yaml.safe_dump(value, sort_keys=False, allow_unicode=False, width=1_000_000), nl=False)


def show_lines(lines: Iterable[str]) -> None:
    """Print lines of text as `show` prints one, all of them at once, without colour."""
    click.echo("\n".join(encodable(visible(line), _encoding(sys.stdout)) for line in lines))


def show_pieces(pieces: Iterable[tuple[str, str | None]]) -> None:
    """Print one line made of pieces, each with its colour, as `show` prints a whole one."""
    safe = [(encodable(visible(text), _encoding(sys.stdout)), colour) for text, colour in pieces]
    click.echo("".join(click.style(text, fg=colour) if colour else text for text, colour in safe), color=use_colour())


def terminal_width() -> int | None:
    """Return the columns of the terminal that standard output is; None where it is none, and lines may be long."""
    stream: Any = sys.stdout
    if stream is None or stream.closed or not stream.isatty():
        return None
    from shutil import get_terminal_size

    return get_terminal_size().columns
