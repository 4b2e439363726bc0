"""What the subcommands of jux-cache share: which store, and times, sizes and statuses as people write them."""

from __future__ import annotations

import datetime as dt
import re
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import click

from pytest_jux.commands import _cli, _completion
from pytest_jux.text import parse_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TextIO

    from pytest_jux.config import Settings
    from pytest_jux.inventory import Status
    from pytest_jux.storage import ReportStorage

STATUSES = ("local", "queued", "published", "rejected")  # of inventory.Status, which costs more than this to import
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}
_LONG = 200  # steps, from which on a person wants to see how far it is


def store_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--storage-path` and `--json`."""
    for decorate in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON; times are ISO 8601 in UTC."),
        click.option(
            "--storage-path",
            metavar="DIR",
            shell_complete=_completion.directories,
            help="The report store [default: jux_storage_path of the configuration, else the user's data directory].",
        ),
    ):
        command = decorate(command)
    return command


def status_option(text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add a repeatable `--status`."""
    return click.option("--status", "statuses", type=click.Choice(STATUSES), multiple=True, help=text)


def statuses_of(names: Iterable[str]) -> set[Status]:
    """Return the statuses that have these names."""
    from pytest_jux.inventory import Status

    return {Status(name) for name in names}


def open_store(storage_path: str | None, settings: Settings | None = None) -> ReportStorage:
    """Return the named store, else the configured one, else the user's; raises ConfigError, StorageError."""
    from pytest_jux.storage import ReportStorage

    if storage_path is not None:
        return ReportStorage(_cli.expand(storage_path))
    if settings is None:
        from pytest_jux.config import load

        settings = load()
    return ReportStorage(settings["jux_storage_path"])


class Time(click.ParamType[dt.datetime]):
    """A time in UTC: ISO 8601, where one without a zone means UTC, or so long ago: `12h`, `7d`, `4w`."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dt.datetime:  # noqa: ANN401 - click's signature
        """Return the time; raises a usage error."""
        text = str(value).strip()
        ago = re.fullmatch(r"([0-9]{1,6})([hdw])", text)
        try:
            if ago:
                return dt.datetime.now(dt.UTC) - dt.timedelta(**{_UNITS[ago[2]]: int(ago[1])})
            time = dt.datetime.fromisoformat(text)
            return time.replace(tzinfo=dt.UTC) if time.tzinfo is None else time.astimezone(dt.UTC)
        except (ValueError, OverflowError):
            self.fail(f"{text!r} is not a time such as 2026-11-22, 2026-11-22T10:30:00Z, 12h or 7d", param, ctx)


class Size(click.ParamType[int]):
    """A number of bytes, such as `500 MB`, `1.5GiB` or `1048576`."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ANN401 - as above
        """Return the bytes; raises a usage error."""
        try:
            return parse_size(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a size such as 500MB, 1.5GiB or 1048576", param, ctx)


@contextmanager
def progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """Show on a terminal how far long work is; gives a function to call with how much is done, and of how much."""
    with ExitStack() as stack:
        bars: list[Any] = []

        def update(done: int, total: int) -> None:
            if not bars and total >= _LONG and is_terminal(sys.stderr):
                bars.append(stack.enter_context(click.progressbar(length=total, label=label, file=sys.stderr)))
            for bar in bars:
                bar.update(done - bar.pos)

        yield update


def is_terminal(stream: TextIO | None) -> bool:
    """Tell whether a stream is a terminal; one whose descriptor is closed is None, and none."""
    return stream is not None and stream.isatty()
