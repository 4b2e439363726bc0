"""What a shell can complete for an argument or for the value of an option.

click calls these functions, each named as a parameter's `shell_complete`. Whatever one raises means that there is
nothing to offer (`completion.py`).
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import click
    from click.shell_completion import CompletionItem

    from pytest_jux.inventory import StoredReport
    from pytest_jux.storage import ReportStorage

_LABEL = "sha256:"
_HASH = re.compile(r"(sha256:)?([0-9a-f]{0,64})")
_DIGITS = 12  # of a hash, as `jux-cache list` shows them
_MOST = 50  # reports; more are no help to anybody
_VARIABLE = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def files(_context: click.Context, _parameter: click.Parameter, _incomplete: str) -> list[CompletionItem[str]]:
    """Let the shell complete the name of a file or directory, by its own rules and with its own quoting."""
    from click.shell_completion import CompletionItem

    return [CompletionItem("", type="file")]


def directories(_context: click.Context, _parameter: click.Parameter, _incomplete: str) -> list[CompletionItem[str]]:
    """Let the shell complete the name of a directory."""
    from click.shell_completion import CompletionItem

    return [CompletionItem("", type="dir")]


def variables(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Offer the names of environment variables, never their values."""
    from click.shell_completion import CompletionItem

    names = sorted(name for name in os.environ if _VARIABLE.fullmatch(name))
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def settings(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Offer the names of options in the configuration, with `jux_` if that is how the word begins."""
    from click.shell_completion import CompletionItem

    from pytest_jux.options import OPTIONS, PREFIX

    is_long = bool(incomplete) and (PREFIX.startswith(incomplete) or incomplete.startswith(PREFIX))
    named = {option.name if is_long else option.short_name: option.help for option in OPTIONS.values()}
    return [CompletionItem(name, help=text) for name, text in named.items() if name.startswith(incomplete)]


def pytest_arguments(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem[str]]:
    """Offer the plugin's flags, or else files."""
    from click.shell_completion import CompletionItem

    from pytest_jux.options import OPTIONS

    if not incomplete.startswith("-"):
        return [CompletionItem("", type="file")]
    flags = (argument for option in OPTIONS.values() for argument in option.arguments())
    return [CompletionItem(flag, help=more["help"]) for flag, more in flags if flag.startswith(incomplete)]


def stored_reports(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Offer the hashes of stored reports, as short as `jux-cache list` shows them where that is enough.

    They come with `sha256:` if that is how the word begins. Without any digits, the newest are offered.
    """
    from click.shell_completion import CompletionItem

    from pytest_jux.commands._cache_options import open_store

    word = _LABEL if incomplete and _LABEL.startswith(incomplete) else incomplete
    match = _HASH.fullmatch(word)
    if match is None:
        return []
    label, typed = match[1] or "", match[2]
    given = context.params.get(parameter.name or "") if parameter.nargs == -1 else ()
    others = tuple(str(other).removeprefix(_LABEL) for other in given or ())
    reports = list(_beginning_with(open_store(context.params.get("storage_path")), typed))
    digits = [report.canonical_hash.removeprefix(_LABEL) for report in reports]
    short = [full[:_DIGITS] for full in digits]
    return [
        CompletionItem(
            label + (brief if len(typed) <= _DIGITS and short.count(brief) == 1 else full),
            help=f"{report.stored_at:%Y-%m-%d %H:%M:%S}, {report.status}",
        )
        for report, full, brief in zip(reports, digits, short, strict=True)
        if not full.startswith(others or " ")
    ]


def _beginning_with(storage: ReportStorage, typed: str) -> Iterator[StoredReport]:
    if not typed:
        yield from storage.list(limit=_MOST)
        return
    from pytest_jux.inventory import matching

    for canonical_hash in _thinned(matching(storage.root, typed)):
        yield storage.find(canonical_hash)


def _thinned(hashes: Sequence[str]) -> Sequence[str]:
    """Return at most `_MOST`, with the first and the last, so that what all of them begin with stays the same."""
    if len(hashes) <= _MOST:
        return hashes
    return [hashes[index * (len(hashes) - 1) // (_MOST - 1)] for index in range(_MOST)]
