"""The server's settings: one table, read from files, the environment and the command line, each value with its origin.

The layers, lowest first: defaults, `/etc/jux/server`, `~/.jux/server`, the file named by `--config`, `JUX_SERVER_…`
variables, the command line. Files have a section `[jux-server]` with the short names, such as `port = 8080`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jux_server.settings_checks import CHECKS
from jux_server.settings_database import has_password
from pytest_jux.config import Setting, Settings, merge
from pytest_jux.config_problems import concerns
from pytest_jux.config_sources import (
    ConfigFile,
    Entry,
    IniFile,
    Layer,
    Origin,
    Places,
    Problem,
    read_text,
    without_comment,
)
from pytest_jux.config_values import Secret
from pytest_jux.errors import ConfigError
from pytest_jux.gate import DEFAULT_LIMITS
from pytest_jux.options import Option

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

PREFIX = "jux_server_"
SECTION = "jux-server"
SYSTEM_FILE = Path("/etc/jux/server")
USER_FILE = Path(".jux", "server")  # under the home directory

# What Kubernetes sets for a service of the name `jux-server`; such variables are not meant for us.
_OF_KUBERNETES = re.compile(r"JUX_SERVER_(SERVICE_(HOST|PORT).*|PORT_\d+_(TCP|UDP|SCTP).*)")
_LINK = re.compile(r"(tcp|udp|sctp)://")


class ServerOption(Option):
    """An option of the server: `jux_server_port` in the table, `port` in files, `--port`, `JUX_SERVER_PORT`."""

    def __init__(self, name: str, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - as Option has them
        super().__init__(PREFIX + name, *arguments, flag="--" + name.replace("_", "-"), **options)

    @property
    def short_name(self) -> str:
        """The name in `[jux-server]` files, such as `port`."""
        return self.name.removeprefix(PREFIX)


_TABLE = (
    ServerOption("host", "str", "Address to listen on; other machines need 0.0.0.0 or ::", default="127.0.0.1"),
    ServerOption("port", "int", "Port to listen on; 0 for any free one", default=4000, minimum=0, maximum=65535),
    ServerOption(
        "database",
        "str",
        "postgresql://user@host/name, or a SQLite file [jux-server.db in the user's data directory]",
        metavar="URL|FILE",
        secret=True,  # it may have a password in it; `settings_database.shown_database` shows the rest
    ),
    ServerOption("database_password_file", "path", "File that holds the database's password", secret_file=True),
    ServerOption(
        "workers",
        "int",
        "Processes that answer; more than one needs PostgreSQL to be of use",
        default=1,
        minimum=1,
        maximum=64,
    ),
    ServerOption(
        "accept",
        "enum",
        "Which signatures a report must have, at least, where its project does not say it",
        default="any",
        choices=("any", "intact", "trusted"),
    ),
    ServerOption("max_report_size", "size", "Largest report that is taken", default=DEFAULT_LIMITS.bytes),
    ServerOption("rate_limit", "str", "Requests of one caller, such as 600/minute [any number]", metavar="N/PERIOD"),
    ServerOption("require_keys", "bool", "Ask callers on this machine for an API key, too", default=False),
    ServerOption(
        "public_badges", "bool", "Show badges, project names and verdicts, to those without a key", default=False
    ),
    ServerOption(
        "retention_days",
        "int",
        "Delete reports after so many days; 0 to keep them",
        default=0,
        minimum=0,
        maximum=36500,
    ),
    ServerOption(
        "retention_runs",
        "int",
        "Keep so many of the newest reports of each branch; 0 to keep all",
        default=0,
        minimum=0,
        maximum=1_000_000_000,
    ),
    ServerOption(
        "prune_every",
        "float",
        "Hours after which what need not be kept is deleted again; 0 for never",
        default=24,
        minimum=0,
        maximum=8760,
        metavar="HOURS",
    ),
    ServerOption("base_url", "str", "Address of the server as its users see it, behind a proxy say", metavar="URL"),
    ServerOption(
        "trusted_proxies",
        "list",
        "Addresses or networks of proxies whose X-Forwarded-For is believed",
        default=(),
        metavar="ADDRESS",
    ),
    ServerOption(
        "log_level",
        "enum",
        "What is written to the log",
        default="info",
        choices=("critical", "error", "warning", "info", "debug"),
    ),
    ServerOption("access_log", "bool", "Write each request to the log, without its query", default=True),
    ServerOption(
        "graceful_timeout",
        "float",
        "Seconds that requests may go on when the server is stopped",
        default=30,
        minimum=0,
        maximum=3600,
        metavar="SECONDS",
    ),
)

#: Every option by its name, in the order in which people read them.
OPTIONS: Mapping[str, Option] = {option.name: option for option in _TABLE}


class _Read(NamedTuple):
    entries: list[Entry]
    problems: list[Problem]


def load(
    *,
    command_line: Mapping[str, object] | None = None,
    config_file: Path | None = None,
    start: Path | None = None,
    environ: Mapping[str, str] | None = None,
    home: Path | None = None,
    system_file: Path = SYSTEM_FILE,
    errors: list[ConfigError] | None = None,
) -> Settings:
    """Read every layer and merge them.

    `command_line` maps names such as `jux_server_port` to what was given, None where nothing was; `config_file` is
    what `--config` names, and has to be there. `start` is the working directory.

    Raises `ConfigError` for a file that cannot be read and for a bad value that counts. A list given as `errors` takes
    all of them instead, and such a file or value says nothing.
    """
    places = places_of(start=start, environ=environ, home=home, system_file=system_file)
    raised: list[ConfigError] = []
    read = _Read([], [])
    files = [(Layer.SYSTEM, places.system_file)]
    files += [] if places.home is None else [(Layer.USER, places.home / USER_FILE)]
    files += [] if config_file is None else [(Layer.PROJECT, places.start / config_file)]
    for layer, path in files:
        try:
            said = _file(path, layer, places, must_exist=layer is Layer.PROJECT)
        except ConfigError as error:
            raised.append(error)
        else:
            read.entries.extend(said.entries)
            read.problems.extend(said.problems)
    read.entries.extend(_environment(places))
    read.entries.extend(_command_line(command_line or {}, places))
    settings = {}
    for name, option in OPTIONS.items():
        settings[name], wrong, hidden = merge(option, (entry for entry in read.entries if entry.key == name), places)
        raised += wrong
        read.problems.extend(hidden)
        implausible = _implausible(settings[name])
        if implausible:
            raised += implausible
            settings[name] = _below(settings[name])
    if errors is not None:
        errors += raised
    elif raised:
        raise raised[0]
    read.problems.extend(_unknown(entry for entry in read.entries if entry.key not in OPTIONS))
    read.problems.extend(problem for setting in settings.values() for problem in _concerns(setting))
    found = tuple(ConfigFile(layer, path, os.path.lexists(path)) for layer, path in files)
    return Settings(settings, tuple(read.problems), found)


def places_of(
    *,
    start: Path | None = None,
    environ: Mapping[str, str] | None = None,
    home: Path | None = None,
    system_file: Path = SYSTEM_FILE,
) -> Places:
    """Return where settings are looked up; what is not given is this process's own.

    Raises:
        ConfigError: the working directory is gone.
    """
    try:
        start = Path(os.path.abspath(start or Path.cwd()))  # noqa: PTH100 - links stay as the user wrote them
    except OSError as error:
        raise ConfigError("working directory", f"cannot be used: {error.strerror}") from None
    if home is None:
        try:
            home = Path.home()
        except RuntimeError:  # no HOME and no entry in the password database, as in containers
            home = None
    return Places(start, home, os.environ if environ is None else environ, system_file)


# --- layers ----------------------------------------------------------------------------------------------------------


def _file(path: Path, layer: Layer, places: Places, *, must_exist: bool) -> _Read:
    """Read a file with a section `[jux-server]`; one that is not there says nothing, unless it must be."""
    label = places.label(path)
    if not os.path.lexists(path):
        if must_exist:
            raise ConfigError(label, "does not exist")
        return _Read([], [])
    ini = IniFile(path, read_text(path, label), label, f"[{SECTION}]")
    read = _Read([], [])
    for section in ini.sections:
        if section.name != SECTION:
            origin = Origin(layer, label, ini.line(section.name), path)
            # The name is not shown: it may be anything, and a file may be another program's.
            text = f"unknown section, expected [{SECTION}]"
            read.problems.append(Problem("unknown-section", origin, text))
            continue
        for name, raw in section.items():
            origin = Origin(layer, label, ini.line(SECTION, name), path)
            key = PREFIX + name.removeprefix(PREFIX)
            if any(entry.key == key for entry in read.entries):
                raise ConfigError(str(origin), f"{name.removeprefix(PREFIX)} is set a second time, expected it once")
            read.entries.append(Entry(key, without_comment(raw), origin, path.parent))
    return read


def _environment(places: Places) -> Iterator[Entry]:
    for name, text in places.environ.items():
        if not name.startswith(PREFIX.upper()) or name != name.upper() or _OF_KUBERNETES.fullmatch(name):
            continue
        if name == "JUX_SERVER_PORT" and _LINK.match(text):
            continue
        yield Entry(name.lower(), text, Origin(Layer.ENVIRONMENT, name), places.start)


def _command_line(given: Mapping[str, object], places: Places) -> Iterator[Entry]:
    for name, raw in given.items():
        if raw is not None and raw not in ([], ()):
            flag = OPTIONS[name].flag
            flag = "--no" + flag.removeprefix("-") if raw is False else flag
            yield Entry(name, raw, Origin(Layer.COMMAND_LINE, flag), places.start)


# --- problems --------------------------------------------------------------------------------------------------------


def _implausible(setting: Setting) -> list[ConfigError]:
    """Return what is wrong with a value that has the right type."""
    check = CHECKS.get(setting.option.name.removeprefix(PREFIX))
    reason = check(setting.value) if check and setting.origin.layer is not Layer.DEFAULT else ""
    return [ConfigError(str(setting.origin), f"{setting.option.name} {reason}")] if reason else []


def _below(setting: Setting) -> Setting:
    """Return what counted if the highest layer did not say anything."""
    return setting.shadowed[0]._replace(shadowed=setting.shadowed[1:])


def _concerns(setting: Setting) -> Iterator[Problem]:
    """Give what is dubious about a setting though it is valid; an address without a password is no secret."""
    said = [one.value for one in (setting, *setting.shadowed) if isinstance(one.value, Secret)]
    if not setting.option.secret or any(has_password(value.reveal()) for value in said):
        yield from concerns(setting)


def _unknown(entries: Iterable[Entry]) -> Iterator[Problem]:
    """Complain about names that are not in the table, never with their values."""
    from difflib import get_close_matches  # noqa: PLC0415 - rarely needed

    for entry in entries:
        is_variable = entry.origin.layer is Layer.ENVIRONMENT
        near = get_close_matches(entry.key, OPTIONS, n=1, cutoff=0.8)
        if is_variable and not near:
            continue  # other programs may have variables that begin so
        name = entry.key.upper() if is_variable else entry.key.removeprefix(PREFIX)
        shown = name if re.fullmatch(r"[a-z][a-z0-9_-]{0,60}|[A-Z][A-Z0-9_]{0,60}", name) else "in this line"
        meant = OPTIONS[near[0]] if near else None
        hint = f", did you mean {meant.variable if is_variable else meant.short_name}?" if meant else ""
        yield Problem("unknown-key", entry.origin, f"unknown option {shown}{hint}")
