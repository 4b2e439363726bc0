"""Configuration files to begin with, made from the option table.

A new file changes nothing: every setting in it is commented out with `#`, every explanation with `;`. So a file stays
valid whatever lines are uncommented.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_jux.config_sources import SECTION
from pytest_jux.errors import FileProblem
from pytest_jux.options import OPTIONS
from pytest_jux.text import show_size

if TYPE_CHECKING:
    from pytest_jux.options import Option

#: The kinds of templates, the first being the default.
KINDS = ("minimal", "full", "ci")

# Only pytest reads these, and it has its own sections and names.
_PYTEST_NAMES = frozenset(
    ("pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "pyproject.toml", "tox.ini", "setup.cfg")
)

_HEAD = """\
; Settings of pytest-jux{of}.
; A line with # is a setting that is switched off: remove the # to use it.
; `jux-config list` explains all settings, `jux-config dump` shows what counts and where it comes from.
"""
_CI_ADVICE = """\
;
; This file is for what every run of the project shares. Let the CI job itself switch signing on and name the key,
; so that nobody needs a key to run the tests at home:
;
;   JUX_ENABLED=true JUX_SIGN=true JUX_KEY_PATH=... JUX_CERT_PATH=... pytest --junit-xml=report.xml
;
; Secrets do not belong here. Keep them in the CI's own store of secrets and give them to the job as variables.
; `jux-config validate --strict-exit` as a step before the tests finds mistakes early.
"""

# What to write where there is no default, or where the default is not what somebody would uncomment the line for.
_EXAMPLES = {
    "jux_key_path": "~/.jux/signing_key.pem",
    "jux_cert_path": "~/.jux/signing_key.crt",
    "jux_key_passphrase_env": "JUX_KEY_PASSPHRASE",
    "jux_key_passphrase_file": "~/.jux/passphrase",
    "jux_storage_path": "~/.local/share/jux",
    "jux_project": "my-project",
    "jux_metadata_env": "DEPLOY_*",
    "jux_metadata_extra": "team=payments, tier=3",
    "jux_metadata_exclude": "username, git:remote",
    "jux_api_url": "https://jux.example.com/api/v1/reports",
    "jux_api_key": "",
    "jux_api_key_env": "JUX_API_KEY",
    "jux_api_key_file": "~/.jux/api_key",
    "jux_api_ca": "~/.jux/ca.pem",
    "jux_api_client_cert": "~/.jux/client.crt",
    "jux_api_client_key": "~/.jux/client.key",
    "jux_api_client_key_passphrase_env": "JUX_CLIENT_KEY_PASSPHRASE",
    "jux_api_client_key_passphrase_file": "~/.jux/client_passphrase",
}
_MINIMAL = {
    "jux_enabled": "true",
    "jux_sign": "true",
    "jux_key_path": "~/.jux/signing_key.pem",
    "jux_cert_path": "~/.jux/signing_key.crt",
    "jux_storage_mode": "local",
}
_CI = {
    "jux_enabled": "true",
    "jux_sign": "true",
    "jux_key_path": "ci/signing_key.pem",
    "jux_cert_path": "ci/signing_key.crt",
    "jux_key_passphrase_env": "SIGNING_PASSPHRASE",
    "jux_project": "my-project",
    "jux_metadata_env": "DEPLOY_*",
    "jux_metadata_extra": "team=payments",
    "jux_on_error": "fail",
}


def template(kind: str) -> str:
    """Return the text of a `[jux]` file; `kind` is one of `KINDS`."""
    values = {"minimal": _MINIMAL, "ci": _CI, "full": {name: _example(OPTIONS[name]) for name in OPTIONS}}[kind]
    head = _HEAD.format(of=" for a project and its CI jobs" if kind == "ci" else "")
    parts = [head + (_CI_ADVICE if kind == "ci" else ""), f"[{SECTION}]\n"]
    parts += [_setting(OPTIONS[name], value) for name, value in values.items()]
    return "\n".join(parts)


def create(path: Path, kind: str, *, overwrite: bool = False) -> None:
    """Write a template to `path`, readable by its owner alone, in one step; a link is followed when overwriting.

    Missing directories are made, 0700.

    Raises:
        FileProblem: it exists and `overwrite` is not given, it is not a file, it is pytest's, or it cannot be written.
    """
    from pytest_jux.files import make_private_directory, reason_of, write_atomically  # noqa: PLC0415 - for `init` alone

    if path.name in _PYTEST_NAMES:
        error = FileProblem(path, "write", "it is pytest's own file, in which settings have other names")
        error.hint = "Choose another --path, such as .jux.conf."
        raise error
    if path.is_dir():
        raise FileProblem(path, "write", "it is a directory")
    try:
        target = Path(os.path.realpath(path)) if overwrite else path
        make_private_directory(target.parent)
        if target.exists() and not target.is_file():
            raise FileProblem(path, "write", "it is not a regular file")
        write_atomically(target, template(kind).encode(), overwrite=overwrite)
    except FileExistsError as problem:
        if not os.path.lexists(path):  # one of its directories is in the way
            raise FileProblem(path, "write", reason_of(problem)) from None
        error = FileProblem(path, "write", "it exists already")
        error.hint = "Choose another --path, or use --force to replace it."
        raise error from None
    except OSError as problem:
        raise FileProblem(path, "write", reason_of(problem)) from None


def _setting(option: Option, value: str) -> str:
    needs = f"; needs {', '.join(OPTIONS[name].short_name for name in option.requires)}" if option.requires else ""
    expected = f" ({option.expected})" if option.type not in {"bool", "str", "path"} else ""
    return f"; {option.help}{expected}{needs}\n# {option.short_name} = {value}".rstrip() + "\n"


def _example(option: Option) -> str:
    if option.name in _EXAMPLES:
        return _EXAMPLES[option.name]
    if option.type == "size" and isinstance(option.default, int):
        return show_size(option.default)
    if isinstance(option.default, bool):
        return str(option.default).lower()
    return "" if option.default is None or isinstance(option.default, tuple) else str(option.default)
