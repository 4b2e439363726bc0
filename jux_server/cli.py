"""The command `jux-server`: everything about the server, from starting it to looking after what it keeps."""

from __future__ import annotations

import sys

import click

from jux_server.commands import Group
from pytest_jux.commands import _cli

_SUBCOMMANDS = {
    "serve": "serve:serve",
    "config": "config:config",
    "migrate": "migrate:migrate",
    "key": "key:key",
    "signer": "signer:signer",
    "project": "project:project",
    "prune": "keeping:prune",
    "pin": "keeping:pin",
    "unpin": "keeping:unpin",
    "backup": "backups:backup",
    "restore": "backups:restore",
    "reverify": "reverify:reverify",
    "status": "status:status",
}


@click.group("jux-server", cls=Group, subcommands=_SUBCOMMANDS, context_settings=_cli.CONTEXT)
@_cli.version_option
def command() -> None:
    """Receive signed test reports, verify them, keep each once, and answer questions about them.

    jux-server serve needs no set-up: it serves programs on this machine, and keeps everything in one file.

    Every command works while the server runs. Settings come from options, JUX_SERVER_... variables and files; see
    jux-server config --all.
    """


def main() -> None:
    """Run the command; a missing part of the server is said in a sentence."""
    try:
        code = _cli.run(command, name="jux-server")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0].replace("-", "_") not in _EXTRA:  # a package or a module
            raise
        _cli.say(f"jux-server: {error.name} is not installed", "Install the server: pip install 'pytest-jux[server]'")
        code = _cli.FAILED
    sys.exit(code)


_EXTRA = {"fastapi", "starlette", "pydantic", "uvicorn", "httptools", "sqlalchemy", "alembic", "psycopg", "limits"}
_EXTRA |= {"anyio", "prometheus_client", "jinja2", "markupsafe", "ansi2html", "django_js_lib_htmx"}
