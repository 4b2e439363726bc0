"""What users should know about a configuration that can be read: mistaken names, exposed secrets, missing parts."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

from pytest_jux.config_sources import Layer, Problem
from pytest_jux.options import OPTIONS, PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from pytest_jux.config import Setting, Settings
    from pytest_jux.config_sources import Entry

_PASSPHRASE = ("jux_key_passphrase_env", "jux_key_passphrase_file")
_CLIENT_PASSPHRASE = ("jux_api_client_key_passphrase_env", "jux_api_client_key_passphrase_file")
_API_KEY = ("jux_api_key", "jux_api_key_env", "jux_api_key_file")
_FILES = (
    *("jux_key_path", "jux_cert_path", "jux_key_passphrase_file", "jux_api_key_file"),
    *("jux_api_ca", "jux_api_client_cert", "jux_api_client_key", "jux_api_client_key_passphrase_file"),
)


def check(settings: Settings) -> list[Problem]:
    """List the options that are on without something they require; each problem points to where the option was set."""
    return [
        Problem("missing", settings.explain(name).origin, f"{name} enabled but {needed} not set")
        for name, option in OPTIONS.items()
        if settings[name] is True
        for needed in option.requires
        if not settings[needed]
    ]


def examine(settings: Settings, environ: Mapping[str, str] | None = None) -> list[Problem]:
    """List what will not work as it is set, though every value is valid; each problem points to a setting's origin.

    This comes on top of `settings.warnings` and holds what `check` says. `environ` is where variables are looked up
    that options name. Files are looked at, not read. Kinds: `missing`, `disabled`, `no-file`, `exposed-secret`,
    `no-variable`, `same-file`, `bad-url`, `exposed-key`, `ambiguous`, `unpublished`.
    """
    environ = os.environ if environ is None else environ
    problems = [*_incomplete(settings), *_disabled(settings), *_files(settings), *_variables(settings, environ)]
    problems += [*_address(settings), *unpublished(settings)]
    for names in (_API_KEY, _PASSPHRASE, _CLIENT_PASSPHRASE):
        several = [name for name in names if settings[name] is not None]
        if names is _API_KEY and settings["jux_api_key_env"] == settings.explain("jux_api_key").origin.source:
            continue  # JUX_API_KEY by either way
        if len(several) > 1:
            text = f"{' and '.join(several)} are both set" if len(several) == 2 else f"{', '.join(several)} are all set"  # noqa: PLR2004
            problems.append(Problem("ambiguous", settings.explain(several[0]).origin, f"{text}, expected one of them"))
    return problems


def _incomplete(settings: Settings) -> Iterator[Problem]:
    for name, option in OPTIONS.items():
        wanted = (*option.requires, *(("jux_cert_path",) if name == "jux_sign" else ()))
        for needed in wanted if settings[name] is True else ():
            if not settings[needed]:
                state = "enabled" if OPTIONS[needed].type == "bool" else "set"
                yield Problem("missing", settings.explain(name).origin, f"{name} enabled but {needed} not {state}")
    mode = settings.explain("jux_storage_mode")
    if mode.value != "local" and not settings["jux_api_url"]:
        yield Problem("missing", mode.origin, f"jux_storage_mode is '{mode.value}' but jux_api_url not configured")


def unpublished(settings: Settings) -> Iterator[Problem]:
    """Complain about publishing that is switched on, and that the storage mode rules out."""
    mode = settings.explain("jux_storage_mode")
    if settings["jux_publish"] and mode.value == "local" and mode.origin.layer is not Layer.DEFAULT:
        text = "jux_storage_mode is 'local' though jux_publish is on: nothing is published"
        yield Problem("unpublished", mode.origin, text)


def _disabled(settings: Settings) -> Iterator[Problem]:
    for name, option in OPTIONS.items():
        if option.enables and settings[name] and not settings["jux_enabled"]:
            text = f"{name} is on but jux_enabled is not: the plugin stays off"
            yield Problem("disabled", settings.explain(name).origin, text)


def _files(settings: Settings) -> Iterator[Problem]:
    for name in _FILES:
        path, origin = settings[name], settings.explain(name).origin
        if path is None:
            continue
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                yield Problem("no-file", origin, f"{name} names something that is not a file: {path}")
            elif not os.access(path, os.R_OK):
                yield Problem("no-file", origin, f"{name} names a file that you may not read: {path}")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            yield Problem("no-file", origin, f"{name} names a file that cannot be used: {path} ({reason})")
    key, certificate = settings["jux_key_path"], settings["jux_cert_path"]
    if key is not None and _is_exposed(key):
        text = f"jux_key_path names a private key that other users can read: {key}"
        yield Problem("exposed-secret", settings.explain("jux_key_path").origin, text)
    if key is not None and certificate is not None and _is_same(key, certificate):
        text = f"jux_key_path and jux_cert_path are the same file: {certificate}"
        yield Problem("same-file", settings.explain("jux_cert_path").origin, text)


def _variables(settings: Settings, environ: Mapping[str, str]) -> Iterator[Problem]:
    for name in ("jux_key_passphrase_env", "jux_api_key_env", "jux_api_client_key_passphrase_env"):
        variable = settings[name]
        if variable is not None and not environ.get(variable):
            # What is no variable's name may be the secret itself.
            which = f" {variable}," if re.fullmatch(r"[A-Z_][A-Z0-9_]*", variable) else ","
            text = f"{name} names an environment variable{which} which is empty or not set"
            yield Problem("no-variable", settings.explain(name).origin, text)


def _address(settings: Settings) -> Iterator[Problem]:
    """Complain about an address of the API that nothing can be sent to, or that anybody on the way can listen to."""
    setting = settings.explain("jux_api_url")
    if setting.value is None:
        return
    from pytest_jux.addresses import EXPOSED, address_problem, is_exposed  # noqa: PLC0415 - most runs do not publish

    problem = address_problem(setting.value)
    if problem:
        yield Problem("bad-url", setting.origin, f"jux_api_url {problem}")
    elif is_exposed(setting.value):
        text = f"jux_api_url is {EXPOSED}"
        yield Problem("exposed-key", setting.origin, text)


def secret_variables(settings: Settings, environ: Mapping[str, str]) -> list[str]:
    """Name the environment variables that hold a secret because the configuration, or their own content, says so.

    They are those that any layer names with an option such as `jux_api_key_env`, and those in which the secret of any
    layer stands.
    """
    said = {name: [one for layer in settings.layers(name).values() for one in layer] for name in settings}
    named = {one.value for name in said if name.endswith("_env") and OPTIONS[name].type == "str" for one in said[name]}
    known = [one.value.reveal() for name in said if OPTIONS[name].secret for one in said[name] if one.value]
    return sorted(name for name in environ if name in named or any(secret in environ[name] for secret in known))


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one == other or one.samefile(other)
    except (OSError, ValueError):
        return False


def suggest(name: str) -> str:
    """Return the option that a mistaken name is close to, or ""; flags' spellings such as `jux_key` count."""
    from difflib import get_close_matches  # noqa: PLC0415 - rarely needed

    known = {spelling.removeprefix(PREFIX): option.name for option in OPTIONS.values() for spelling in option.spellings}
    near = get_close_matches(name.lower().replace("-", "_").removeprefix(PREFIX), known, n=1, cutoff=0.75)
    return known[near[0]] if near else ""


def unknown_names(entries: Iterable[Entry], settings: Mapping[str, Setting]) -> Iterator[Problem]:
    """Complain about names that are not in the table, never with their values."""
    named = {settings[name].value for name in settings if name.endswith("_env")}
    for entry in entries:
        layer = entry.origin.layer
        is_variable = layer is Layer.ENVIRONMENT
        if is_variable and entry.origin.source in named:
            continue
        near = suggest(entry.key)
        hint = _instead_of_secret(entry.key, near, layer)
        if not hint and near:
            hint = f", did you mean {_spelled(near, layer)}?"
        if hint or not is_variable:  # other programs may have JUX_ variables of their own
            yield Problem("unknown-key", entry.origin, f"unknown option {_quotable(_spelled(entry.key, layer))}{hint}")


def _quotable(name: str) -> str:
    """Return a name as it may be shown: a secret that goes on in a line of its own looks like the name of an option."""
    return name if re.fullmatch(r"([a-z][a-z0-9_.-]*|[A-Z][A-Z0-9_]*)", name) else "in this line"


def _instead_of_secret(key: str, near: str, layer: Layer) -> str:
    """Say what to do with a passphrase, so that nobody puts it where the name of a variable belongs."""
    of_variable, of_file = _CLIENT_PASSPHRASE if "client" in key else _PASSPHRASE
    points_elsewhere = re.search(r"(_[ef]\w{1,4}|env|file|path)$", key)
    if points_elsewhere or not (near in {of_variable, of_file} or re.search(r"pass_?(phrase|word|wd)", key)):
        return ""
    if layer is Layer.ENVIRONMENT:
        return f"; to use this variable, give its name with {of_variable}"
    of_variable, of_file = _spelled(of_variable, layer), _spelled(of_file, layer)
    return (
        f"; a passphrase does not belong into a configuration file: name the environment variable that holds it with"
        f" {of_variable}, or a file with {of_file}"
    )


def _spelled(name: str, layer: Layer) -> str:
    if layer is Layer.ENVIRONMENT:
        return name.upper()
    return name.removeprefix(PREFIX) if layer in (Layer.SYSTEM, Layer.USER, Layer.PROJECT) else name


def concerns(setting: Setting) -> Iterator[Problem]:
    """Give what is dubious about a setting though it is valid."""
    option = setting.option
    if option.secret:
        for place in (setting, *setting.shadowed):
            if place.origin.path is not None and _is_exposed(place.origin.path):
                yield Problem("exposed-secret", place.origin, f"{option.name} is in a file that other users can read")
    if option.secret_file and setting.value is not None and _is_exposed(setting.value):
        text = f"{option.name} names a file that other users can read: {setting.value}"
        yield Problem("exposed-secret", setting.origin, text)


def _is_exposed(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return os.name == "posix" and stat.S_ISREG(mode) and bool(mode & (stat.S_IRGRP | stat.S_IROTH))
