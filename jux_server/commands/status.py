"""jux-server status: what there is, how large it is, and what upkeep did last."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from jux_server.commands import Configured, _words, json_option, settings_options
from pytest_jux.commands import _cli

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jux_server.upkeep.state import ServerState

_NAMES = {"project": "projects", "run": "reports", "document": "documents", "test": "tests", "result": "test results"}
_NAMES |= {"api_key": "API keys", "signer": "signers", "event": "events"}


@click.command("status", context_settings=_cli.CONTEXT)
@settings_options()
@json_option
def status(configured: Configured, as_json: bool) -> None:
    """Show how much the server keeps, and what pruning, backup and verification came to when they last ran."""
    from jux_server.upkeep.state import server_state

    with configured.database(must_exist=True) as database:
        state, name = server_state(database), database.name
    if as_json:
        upkeep = {job: {"at": _words.written(last.at), **last.result} for job, last in state.upkeep.items()}
        _cli.show_json({"database": name, "size": state.size, "rows": dict(state.rows), "upkeep": upkeep})
    else:
        _cli.show_lines(_lines(name, state))


def _lines(name: str, state: ServerState) -> Iterator[str]:
    from pytest_jux.text import show_size

    yield f"{name}: {show_size(state.size)}"
    for table, noun in _NAMES.items():
        if table in state.rows:
            yield f"  {noun:13} {state.rows[table]:>12,}"
    for job, last in state.upkeep.items():
        told = ", ".join(f"{word.replace('_', ' ')} {value}" for word, value in last.result.items() if is_plain(value))
        yield f"  {f'last {job}':13} {_words.shown(last.at)}{f': {told}' if told else ''}"


def is_plain(value: object) -> bool:
    """Tell whether a value fits into a line."""
    return isinstance(value, (str, int, float, bool))
