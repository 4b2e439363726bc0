"""Which database the settings mean: its address with the password, and as it may be shown."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from jux_server.errors import Refused
from pytest_jux.config_values import MASK, InvalidValue, Secret, value_of
from pytest_jux.errors import ConfigError
from pytest_jux.options import Option

if TYPE_CHECKING:
    from pytest_jux.config import Setting, Settings
    from pytest_jux.config_sources import Places

FILE_NAME = "jux-server.db"
NAME = "jux_server_database"
_FILE = Option(NAME, "path", "")


def database_url(settings: Settings, places: Places) -> Secret:
    """Return the database's address, or the path of a SQLite file, for `open_database`.

    Raises:
        ConfigError: the path makes no sense, or two passwords are given.
        FileProblem: the file with the password cannot be read.
        Refused: no database is named, and the user has no home directory.
    """
    setting = settings.explain(NAME)
    if setting.value is None:
        return Secret(str(default_database()))
    text: str = setting.value.reveal()
    if text.startswith("sqlite:///") and "?" not in text:
        text = text.removeprefix("sqlite:///")
    if "://" not in text:
        base = setting.origin.path.parent if setting.origin.path else places.start
        try:
            return Secret(str(value_of(_FILE, text, base, places)))
        except InvalidValue as invalid:
            raise ConfigError(
                str(setting.origin), f"{setting.option.name} is no such file (expected: {invalid})"
            ) from None
    file: Path | None = settings["jux_server_database_password_file"]
    return Secret(text) if file is None or text.startswith("sqlite") else _with_password(setting, text, file)


def _with_password(setting: Setting, url: str, file: Path) -> Secret:
    from pytest_jux.credentials import read_passphrase  # noqa: PLC0415 - hardly any command needs it

    scheme, _, rest = url.partition("://")
    parts = urlsplit(url)
    if parts.password:
        reason = f"{setting.option.name} has a password in it, and jux_server_database_password_file another one"
        raise ConfigError(str(setting.origin), f"{reason}, expected one of them")
    if not parts.username:
        reason = f"{setting.option.name} names no user for the password (expected: postgresql://user@host/name)"
        raise ConfigError(str(setting.origin), reason)
    password = Secret((read_passphrase(None, file) or b"").decode("utf-8", "surrogateescape"))
    user, _, place = rest.partition("@")
    user = user.removesuffix(":")
    return Secret(f"{scheme}://{user}:{quote(password.reveal(), safe='', errors='surrogateescape')}@{place}")


def default_database() -> Path:
    """Return the SQLite file in the user's data directory, `~/.local/share/jux/jux-server.db` on Linux.

    Raises:
        Refused: the user has no home directory.
    """
    import platformdirs  # noqa: PLC0415 - not needed where a database is named

    try:
        path = Path(platformdirs.user_data_dir("jux", appauthor=False))
    except RuntimeError:
        path = Path()
    if not path.is_absolute():
        raise Refused("there is no home directory for the database", "Name one with --database.")
    return path / FILE_NAME


def shown_database(text: str) -> str:
    """Return a database's address without its password."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        return MASK if "@" in text else text
    place, question, query = rest.partition("?")
    login, at, host = place.rpartition("@")
    user, colon, _ = login.partition(":")
    masked = "&".join(_shown_part(part) for part in query.split("&")) if question else ""
    return f"{scheme}://{user}{f':{MASK}' if colon else ''}{at}{host}{question}{masked}"


def shown_setting(setting: Setting, short_name: str) -> Setting:
    """Return a setting as it may be shown, by its name in files; of the database's address, all but passwords."""
    option = copy(setting.option)
    option.name, option.secret = short_name, False
    layers = [one._replace(option=option, shadowed=()) for one in (setting, *setting.shadowed)]
    if setting.option.name == NAME:
        layers = [one._replace(value=_shown_value(one.value), raw="") for one in layers]
    return layers[0]._replace(shadowed=tuple(layers[1:]))


def _shown_value(value: Secret | None) -> Path | str | None:
    if value is not None:
        return shown_database(value.reveal())
    try:
        return default_database()
    except Refused:
        return None


def has_password(text: str) -> bool:
    """Tell whether a database's address has a password in it."""
    return MASK in shown_database(text)


def _shown_part(part: str) -> str:
    name, equals, _ = part.partition("=")
    return f"{name}={MASK}" if equals and "pass" in name.lower() else part
