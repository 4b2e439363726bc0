"""The option table.

Every pytest run imports this module, also where the plugin is disabled, so it is kept to what that costs next to
nothing: no other module, no generated classes, no compiled patterns.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any, Literal

PREFIX = "jux_"
PROJECT_FILE = ".jux.conf"
SYSTEM_FILE = "/etc/jux/config"
_REGULAR_FILE = 0o100000  # stat.S_IFREG


class Option:
    """One option, known by the same name to pytest's files, to `Settings` and, in capitals, to the environment.

    `requires` names options that must be set when this one is on. `enables`: its flag on the command line switches the
    plugin on. `secret` masks the value; `secret_file` says that the value names a file with a secret in it. `minimum`
    and `maximum` are inclusive. `list` and `pairs` (`name=value`) are given several times on the command line; `size`
    is a number of bytes.
    """

    def __init__(
        self,
        name: str,
        type: Literal["bool", "str", "int", "float", "enum", "path", "list", "size", "pairs"],  # noqa: A002 - the field's own word
        help: str,  # noqa: A002 - as above
        *,
        default: bool | float | str | tuple[str, ...] | None = None,
        choices: tuple[str, ...] = (),
        requires: tuple[str, ...] = (),
        minimum: float | None = None,
        maximum: float | None = None,
        metavar: str | None = None,
        flag: str = "",
        enables: bool = False,
        secret: bool = False,
        secret_file: bool = False,
    ) -> None:
        self.name = name
        self.type = type
        self.help = help
        self.default = default
        self.choices = choices
        self.requires = requires
        self.minimum = minimum
        self.maximum = maximum
        self.metavar = metavar
        self.flag = flag or "--" + name.replace("_", "-")
        self.enables = enables
        self.secret = secret
        self.secret_file = secret_file

    @property
    def variable(self) -> str:
        """The environment variable, such as `JUX_SIGN`."""
        return self.name.upper()

    @property
    def short_name(self) -> str:
        """The name in `[jux]` files, such as `sign`."""
        return self.name.removeprefix(PREFIX)

    @property
    def spellings(self) -> tuple[str, str]:
        """The name, and the name that the flag suggests."""
        return self.flag.removeprefix("--").replace("-", "_"), self.name

    @property
    def expected(self) -> str:
        """What a value must look like, for people: `true|false`, `local|api|both|cache`, `an integer from 1 to 9`."""
        words = {"bool": "true|false", "int": "an integer", "float": "a number", "path": "a path", "list": "a list"}
        words |= {"size": "a size such as 500 MB", "pairs": "name=value, separated by commas or new lines"}
        text = "|".join(self.choices) or words.get(self.type, "one line of text")
        text += "" if self.minimum is None else f" from {self.minimum:g}"
        return text + ("" if self.maximum is None else f" to {self.maximum:g}")

    def arguments(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Give the flags and keyword arguments for `addoption` or argparse; a flag that is not given leaves None."""
        if self.type == "bool":
            common = {"dest": self.name, "action": "store_const", "default": None}
            yield self.flag, common | {"const": True, "help": self.help}
            yield (
                "--no" + self.flag.removeprefix("-"),
                common | {"const": False, "help": f"the opposite of {self.flag}"},
            )
        elif self.type in {"list", "pairs"}:
            yield self.flag, {"dest": self.name, "action": "append", "metavar": self.metavar, "help": self.help}
        else:
            metavar = self.metavar or "|".join(self.choices) or self.type.upper()
            yield self.flag, {"dest": self.name, "default": None, "metavar": metavar, "help": self.help}


_TABLE = (
    Option("jux_enabled", "bool", "Enable pytest-jux plugin", default=False),
    Option("jux_sign", "bool", "Enable report signing", default=False, requires=("jux_key_path",), enables=True),
    Option("jux_key_path", "path", "Path to signing key (PEM format)", flag="--jux-key"),
    Option("jux_cert_path", "path", "Path to the key's certificate (PEM format)", flag="--jux-cert"),
    Option("jux_key_passphrase_env", "str", "Variable that holds the key's passphrase", metavar="NAME"),
    Option("jux_key_passphrase_file", "path", "File that holds the key's passphrase", secret_file=True),
    Option("jux_storage_mode", "enum", "Storage mode", default="local", choices=("local", "api", "both", "cache")),
    Option("jux_storage_path", "path", "Directory of the report store [the user's data directory]"),
    Option(
        "jux_storage_max_size",
        "size",
        "Size of the stored reports above which to warn; 0 for no limit",
        default=1_000_000_000,
    ),
    Option(
        "jux_storage_retention_days",
        "int",
        "Remove stored reports after so many days, except queued ones; 0 to keep them",
        default=0,
        minimum=0,
        metavar="DAYS",
    ),
    Option("jux_project", "str", "Project name in the report's metadata", metavar="NAME"),
    Option(
        "jux_metadata_env", "list", "Variables to keep as metadata, such as DEPLOY_*", default=(), metavar="PATTERN"
    ),
    Option(
        "jux_metadata_extra",
        "pairs",
        "Metadata fields of your own, such as team=payments",
        default=(),
        metavar="NAME=VALUE",
    ),
    Option("jux_metadata_exclude", "list", "Metadata fields to leave out", default=(), metavar="FIELD"),
    Option("jux_on_error", "enum", "What our failures mean for the test run", default="warn", choices=("warn", "fail")),
    Option(
        "jux_publish",
        "bool",
        "Enable API publishing",
        default=False,
        requires=("jux_sign", "jux_api_url"),
        enables=True,
    ),
    Option("jux_api_url", "str", "API endpoint URL", metavar="URL"),
    Option("jux_api_key", "str", "API authentication key", secret=True, metavar="KEY"),
    Option("jux_api_key_env", "str", "Variable that holds the API authentication key", metavar="NAME"),
    Option("jux_api_key_file", "path", "File that holds the API authentication key", secret_file=True),
    Option("jux_api_keyring", "bool", "Take the API key from the system's keyring", default=False),
    Option(
        "jux_api_auth",
        "enum",
        "How the API key is sent",
        default="api-key",
        choices=("api-key", "bearer", "basic"),
    ),
    Option(
        "jux_publish_deadline",
        "float",
        "Seconds that publishing may take in all; the commands count them for each report [the commands: 120]",
        default=30,
        minimum=0.1,
        maximum=86400,
        metavar="SECONDS",
    ),
    Option(
        "jux_api_connect_timeout",
        "float",
        "Seconds to wait for a connection",
        default=10,
        minimum=0.1,
        maximum=3600,
        metavar="SECONDS",
    ),
    Option(
        "jux_api_read_timeout",
        "float",
        "Seconds to wait for the next part of an answer",
        default=30,
        minimum=0.1,
        maximum=3600,
        metavar="SECONDS",
    ),
    Option(
        "jux_api_retries",
        "int",
        "How often to repeat a request that failed for reasons that may pass",
        default=3,
        minimum=0,
        maximum=100,
        metavar="N",
    ),
    Option("jux_api_ca", "path", "Certificate of a further authority to trust (PEM format)"),
    Option("jux_api_client_cert", "path", "Client certificate for the API (PEM format)"),
    Option("jux_api_client_key", "path", "Private key of the client certificate [in its own file]"),
    Option(
        "jux_api_client_key_passphrase_env",
        "str",
        "Variable that holds the passphrase of the client certificate's key",
        metavar="NAME",
    ),
    Option(
        "jux_api_client_key_passphrase_file",
        "path",
        "File that holds the passphrase of the client certificate's key",
        secret_file=True,
    ),
    Option(
        "jux_api_gzip",
        "enum",
        "Whether to pack requests with gzip; auto: if the server takes them",
        default="auto",
        choices=("auto", "always", "never"),
    ),
)


#: Every option by its name, in the order in which people read them.
OPTIONS: Mapping[str, Option] = {option.name: option for option in _TABLE}


def given(namespace: object) -> dict[str, Any]:
    """Take the plugin's options out of `config.option` or another argparse namespace, for `load` and `is_enabled`."""
    return {name: getattr(namespace, name, None) for name in OPTIONS}


def may_be_enabled(command_line: Mapping[str, Any], written: object, directories: tuple[str, ...]) -> bool:
    """Tell whether anything speaks of the plugin, so that `config.is_enabled` has to be asked.

    `written` is what pytest's own file or `-o` says of `jux_enabled`; `directories` are where `.jux.conf` is looked
    for, each with all that are above it.
    """
    switches = [option.name for option in OPTIONS.values() if option.enables or option.name == "jux_enabled"]
    if written or "JUX_ENABLED" in os.environ or any(command_line.get(name) for name in switches):
        return True
    places = {SYSTEM_FILE, os.path.join(os.path.expanduser("~"), ".jux", "config")}  # noqa: PTH111, PTH118 - see above
    for directory in directories:
        while True:
            places.add(os.path.join(directory, PROJECT_FILE))  # noqa: PTH118 - pathlib costs more than the rest here
            if os.path.lexists(os.path.join(directory, ".git")):  # noqa: PTH118 - as above
                break
            above = os.path.dirname(directory)  # noqa: PTH120 - as above
            if above == directory:
                break
            directory = above  # noqa: PLW2901 - upwards is the way
    return any(_speaks_of_it(place) for place in places)


def _speaks_of_it(path: str) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # a pipe is not waited for
    except OSError:
        return False
    try:
        is_file = os.fstat(descriptor).st_mode & 0o170000 == _REGULAR_FILE
        return is_file and b"enabled" in os.read(descriptor, 1 << 20)
    except OSError:
        return False
    finally:
        os.close(descriptor)
