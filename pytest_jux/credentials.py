"""Where secrets come from: environment variables, files and the system's keyring, as the configuration names them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pytest_jux.addresses import address_problem
from pytest_jux.config import ORDER, Layer, Secret
from pytest_jux.errors import ClientMisconfigured, FileProblem, PassphraseMissing
from pytest_jux.files import read_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pytest_jux.config import Settings

_LONGEST_SECRET = 4096  # bytes
_KEYRING_TIME = 10.0  # seconds; a keyring that waits for somebody to unlock it waits for ever in CI
#: The options that give an API key or say where it is.
SOURCES = ("jux_api_key", "jux_api_key_env", "jux_api_key_file", "jux_api_keyring")
KEYRING_SERVICE = "jux"


class Environment(dict[str, str]):
    """Environment variables, which may hold secrets, so that tracebacks and debuggers do not show them."""

    @classmethod
    def at_start(cls, before: Mapping[str, str], now: Mapping[str, str]) -> Environment:
        """Return what counts for a test run: what was there before any conftest.py, and what has been added since.

        Plugins that read .env files add variables. A proxy that is added is meant for the tests.
        """
        added = {name: value for name, value in now.items() if not name.lower().endswith("_proxy")}
        return cls(added | dict(before))

    def __repr__(self) -> str:
        return f"<{len(self)} environment variables>"


def read_passphrase(variable: str | None, file: Path | None, environ: Mapping[str, str] | None = None) -> bytes | None:
    """Return the passphrase from the first line of a file or from an environment variable; None if neither is named.

    Raises:
        FileProblem: the file cannot be read.
        PassphraseMissing: the variable is not set.
    """
    if file is not None:
        return _first_line(file, "passphrase")
    if variable:
        value = (os.environ if environ is None else environ).get(variable)
        if not value:
            raise PassphraseMissing(variable)
        return os.fsencode(value)
    return None


def read_api_key(settings: Settings, environ: Mapping[str, str] | None = None) -> Secret | None:
    """Return the API key that the configuration gives or points to; None if it does neither.

    Of several, the one counts that the highest layer names; within a layer in the order value, variable, file, keyring.

    Raises:
        FileProblem, ClientMisconfigured: there is none where the configuration points.
    """
    named = [name for name in SOURCES if settings[name]]
    if not named:
        return None
    source = max(named, key=lambda name: ORDER.index(settings.explain(name).origin.layer))
    _check_server(settings, source)
    value = settings[source]
    match source:
        case "jux_api_key":
            return value if isinstance(value, Secret) else None
        case "jux_api_key_env":
            return Secret(_variable(value, os.environ if environ is None else environ))
        case "jux_api_key_file":
            return Secret(os.fsdecode(_first_line(value, "API key")))
    return Secret(_from_keyring(settings["jux_api_url"] or ""))


def _check_server(settings: Settings, source: str) -> None:
    """Refuse to give a key to a server that a project's file names, if the file with the key names another one.

    A project's files come with its repository, and so may be anybody's.
    """
    key, url = settings.explain(source).origin, settings.explain("jux_api_url")
    if key.layer not in {Layer.USER, Layer.SYSTEM} or url.origin.layer not in {Layer.PROJECT, Layer.PROJECT_PYTEST}:
        return
    meant = settings.layers("jux_api_url")[key.layer]
    if meant and urlsplit(meant[0].value)[:2] != urlsplit(url.value)[:2]:
        hint = (
            "If that is right, give a key for it with --api-key-env, JUX_API_KEY or in the project's own configuration."
        )
        raise ClientMisconfigured(
            f"the API key of {key} is for another server than the one that {url.origin} names", hint
        )


def _variable(name: str, environ: Mapping[str, str]) -> str:
    value = environ.get(name, "").strip()
    if not value:
        # What is no variable's name may be the key itself.
        shown = f" {name}" if name.isascii() and name.isidentifier() else ""
        hint = "Set it, or leave jux_api_key_env out where the server wants no key."
        raise ClientMisconfigured(f"the environment variable{shown} for the API key is empty or not set", hint)
    return value


def _first_line(file: Path, what: str) -> bytes:
    content = Secret(os.fsdecode(read_file(file, _LONGEST_SECRET)))  # not plain: tracebacks may show variables
    length = len(content.reveal().split("\n", 1)[0].rstrip("\r"))
    if length > _LONGEST_SECRET:
        raise FileProblem(file, "use", f"its first line is too long for a {what}")
    if not length:
        raise FileProblem(file, "use", f"the {what} in its first line is empty")
    return os.fsencode(content.reveal()[:length])


def _from_keyring(url: str) -> str:
    """Ask the system's keyring, but not longer than it takes without a person who unlocks it."""
    import shlex  # noqa: PLC0415 - for this one source alone
    import threading  # noqa: PLC0415 - as above

    problem = address_problem(url)
    if problem:
        raise ClientMisconfigured(f"jux_api_url {problem}, so that no key in the keyring can belong to it")

    try:
        import keyring  # noqa: PLC0415 - an extra, and slow to import
    except ImportError:
        hint = "Install it with: pip install 'pytest-jux[keyring]'"
        raise ClientMisconfigured("jux_api_keyring needs the package keyring, which is not installed", hint) from None
    found: list[str | None] = []
    failed: list[str] = []

    def ask() -> None:
        try:
            found.append(keyring.get_password(KEYRING_SERVICE, url))
        except Exception as error:  # noqa: BLE001 - a backend is somebody else's program
            failed.append(type(error).__name__)

    thread = threading.Thread(target=ask, name="jux-keyring", daemon=True)
    thread.start()
    thread.join(_KEYRING_TIME)
    if failed:
        raise ClientMisconfigured(f"the system's keyring cannot be asked for the API key ({failed[0]})")
    if not found:
        raise ClientMisconfigured(f"the system's keyring does not answer within {_KEYRING_TIME:g} s; is it locked?")
    if not found[0]:
        hint = f"Put it there with: keyring set {KEYRING_SERVICE} {shlex.quote(url)}"
        raise ClientMisconfigured("the system's keyring has no API key for this server", hint)
    return found[0]
