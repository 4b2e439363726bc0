"""The text of a configuration file as people may see it: without secrets, and told apart for colours.

Secrets are found by the names in front of them and not by a parser, so that they stay hidden in a file that no parser
accepts, and behind a comment sign. Where it is not clear how far a secret goes, too much is hidden rather than too
little.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

from pytest_jux.config_sources import SYSTEM_FILE, USER_FILE
from pytest_jux.config_values import MASK, Secret, safe_value, without_userinfo
from pytest_jux.options import OPTIONS, PREFIX, PROJECT_FILE
from pytest_jux.text import names_a_secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from pytest_jux.config import Settings
    from pytest_jux.options import Option

_SECRETS = [option for option in OPTIONS.values() if option.secret]
_FARTHEST = 4  # characters more or less; names that differ more in length are never taken for each other
_SHORTEST_SECRET = 4  # characters; replacing shorter ones wherever they occur would make a text unreadable

# A secret's name anywhere in a line, however it is joined (`api_key`, `--jux-api-key`, `X-API-Key`, `apikey`), unless
# it goes on to name an option that says where the secret is.
_NAMED = re.compile(
    rf"(?:{'|'.join('[^a-z0-9]{0,2}'.join(option.short_name.split('_')) for option in _SECRETS)})"
    r"(?![_-](?:env|file)(?![a-z0-9]))",
    re.IGNORECASE,
)
# Names of other programs' secrets, and of what somebody may have taken for an option of ours.
_FOREIGN = re.compile(r"token|secret|passw|pass_?phrase|pwd|credential|private_?key|cookie", re.IGNORECASE)
_ASSIGNED = re.compile(r"""[\s#;]*(["']?)([A-Za-z][\w.-]*)\1\s*[=:](?P<value>.*)""")
_VALUE_FOLLOWS = re.compile(r"""["'\]]*\s*[=:]""")
_BEHIND_NAME = re.compile(r"""["'\]]*\s*[=:]?\s*""")
_HEADER = re.compile(r"\s*\[[\w\s.:-]+\]\s*([#;].*)?")
_COMPLETE = re.compile(r"""("(?:[^"\\]|\\.)*"|'[^']*')\s*(#.*)?""")  # a TOML string that ends in its line
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|x([0-9a-fA-F]{2}))")


def masked(text: str, *, is_toml: bool = False, secrets: Iterable[str] = ()) -> str:
    """Return the text of a file with asterisks in place of every secret; it has the same number of lines.

    `secrets` are known ones, which are replaced wherever they stand.
    """
    masker = _Masker(is_toml=is_toml)
    shown = "\n".join(without_userinfo(masker.line(line)) for line in text.split("\n"))
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            shown = shown.replace(secret, MASK)
    return shown


class _Masker:
    """Goes through a file line by line and knows whether a secret's value may still go on."""

    def __init__(self, *, is_toml: bool) -> None:
        self._is_toml = is_toml
        self._open = False  # the last value was a secret, and this line may belong to it
        self._in_comment = False  # that value is commented out
        self._expected = False  # nothing of that value was there yet
        self._until = ""  # a delimiter without which nothing ends
        self._in_table = False  # a table of TOML that has the name of a secret

    def line(self, line: str) -> str:  # noqa: PLR0911 - one way out for each thing that a line can be
        """Return the line as it may be shown."""
        if self._until and (not self._in_comment or _is_comment(line)):
            self._until = "" if self._until in line else self._until
            return _hidden(line)
        self._until = ""
        header = re.match(r"\s*\[+([^\[\]]*)\]+", line) if self._is_toml else None
        if header:
            parts = re.split(r"[.\s\"']+", header[1])
            self._in_table = any(_end_of_secret_name(f"{part} = x") is not None for part in parts if part)
        elif self._in_table and line.strip():
            return _hidden(line)
        if "-----BEGIN" in line:
            self._until = "" if "-----END" in line else "-----END"
            self._in_comment = False
            return line[: line.index("-----BEGIN")] + MASK
        if self._open and not self._begins_anew(line):
            return self._continued(line)
        self._open = False
        end = _end_of_secret_name(line)
        if end is None:
            if _end_of_secret_name(_unescaped(line)) is None:
                return _without_misplaced(line)
            self._follow(line, line.partition("=")[2].strip())
            return _hidden(line)
        between = _BEHIND_NAME.match(line, end)
        start = between.end() if between else end
        value = line[start:].strip()
        self._follow(line, value)
        return line[:start] + MASK if value else line

    def _follow(self, line: str, value: str) -> None:
        """Take note of where the value that begins in this line may end."""
        self._open = not (self._is_toml and _COMPLETE.fullmatch(value))
        self._in_comment = _is_comment(line)
        self._expected = not value
        for delimiter in ('"""', "'''") if self._is_toml else ():
            if value.count(delimiter) % 2:
                self._until = delimiter

    def _begins_anew(self, line: str) -> bool:
        """Tell whether a line cannot belong to the secret above it."""
        if _is_comment(line) != self._in_comment:
            return self._in_comment
        line = re.sub(r"^\s*[#;]+ ?", "", line)
        if line[:1].isspace() and not self._is_toml:
            return False
        assigned = _ASSIGNED.match(line)
        if assigned is None:
            return _HEADER.fullmatch(line) is not None
        name, value = assigned[2], assigned["value"]
        # Base64 ends in `=`, too; but a name in a file of pytest's has no capitals.
        is_name = not self._expected and name == name.lower() and not value.startswith(("=", ":"))
        return is_name or _option_named(name) is not None

    def _continued(self, line: str) -> str:
        if not line.strip():
            self._open = not self._in_comment
            return line
        if _is_comment(line):
            body = line.lstrip().lstrip("#;")
            is_prose = bool(re.match(r" ?\S", body)) and len(body.split()) > 1
            if is_prose and _end_of_secret_name(line) is None:
                self._open = self._open and not self._in_comment
                return line
        self._expected = False
        return _hidden(line)


def _end_of_secret_name(line: str) -> int | None:
    """Return where the first name of a secret in a line ends."""
    assigned = _ASSIGNED.match(line)
    if assigned is not None:
        name = assigned[2].rpartition(".")[2]
        option = _option_named(name)
        if option is not None and option.secret:
            return assigned.end(2)
        if option is None and not _NAMED.search(name) and (_FOREIGN.search(name) or _is_near_secret(name)):
            return assigned.end(2)
        if option is None and line[:1].isspace() and names_a_secret(name):  # in a list over several lines
            return assigned.end(2)
        if option is not None or _is_comment(line):
            return _end_of_assigned_secret(line)
    elif _is_comment(line):
        first = re.match(r"\W*(?:jux\W?)?", line, re.IGNORECASE)
        begins = _NAMED.match(line, first.end()) if first else None
        is_prose = begins is None or len(line[begins.end() :].split()) > 1
        return _end_of_assigned_secret(line) if is_prose or begins is None else begins.end()
    found = _NAMED.search(line)
    return found.end() if found else None


def _end_of_assigned_secret(line: str) -> int | None:
    """Return where the first name of a secret ends that is more than mentioned: given a value, or used as a flag."""
    for found in _NAMED.finditer(line):
        flag = line[max(found.start() - 6, 0) : found.start()].lower()
        if _VALUE_FOLLOWS.match(line, found.end()) or flag.endswith(("--", "--jux-")):
            return found.end()
    return None


def _option_named(name: str) -> Option | None:
    name = name.lower().replace("-", "_")
    return OPTIONS.get(name if name.startswith(PREFIX) else PREFIX + name)


def _is_near_secret(name: str) -> bool:
    from difflib import get_close_matches  # noqa: PLC0415 - only a name that nobody knows gets here

    from pytest_jux.config import suggest  # noqa: PLC0415 - as above

    plain = name.lower().replace("-", "_").removeprefix(PREFIX)
    if get_close_matches(plain, ["key_passphrase"], n=1, cutoff=0.75) and not re.search(r"_(env|file)\Z", plain):
        return True
    length = len(name.lower().removeprefix(PREFIX))
    if all(abs(length - len(option.short_name)) > _FARTHEST for option in _SECRETS):
        return False
    near = suggest(name)
    return bool(near) and OPTIONS[near].secret


def _without_misplaced(line: str) -> str:
    """Mask what stands where the name of a variable belongs and is none: it may be the secret itself."""
    assigned = _ASSIGNED.match(line)
    option = _option_named(assigned[2]) if assigned else None
    if assigned is None or option is None:
        return line
    value = re.sub(r"(^|\s)[#;].*", "", assigned["value"]).strip().strip("\"'")
    return line if not value or safe_value(option, value) == value else line[: assigned.start("value")] + f" {MASK}"


def _is_comment(line: str) -> bool:
    return line.lstrip()[:1] in {"#", ";"}


def _hidden(line: str) -> str:
    margin = re.match(r"\s*(?:[#;]+\s*)?", line)
    return (margin[0] if margin else "") + MASK


def _unescaped(line: str) -> str:
    """Return a line as TOML reads it: a key in quotes may have escapes in it."""
    return _ESCAPE.sub(lambda match: _character(int(match[1] or match[2] or match[3], 16)), line)


def _character(code: int) -> str:
    return chr(code) if code <= 0x10FFFF else ""  # noqa: PLR2004 - the last character there is


def known_secrets(settings: Settings) -> list[str]:
    """Return every secret that any layer sets, for `masked`; it must not be printed."""
    said = [setting for option in _SECRETS for layer in settings.layers(option.name).values() for setting in layer]
    return [setting.value.reveal() for setting in said if isinstance(setting.value, Secret)]


def is_config_name(path: Path) -> bool:
    """Tell whether a file's name is one that settings may be read from: a `[jux]` file, or one that pytest may use."""
    ours = path.name == PROJECT_FILE or path.parts[-2:] in {USER_FILE.parts, SYSTEM_FILE.parts[-2:]}
    return ours or path.suffix in {".ini", ".cfg", ".toml"}


# --- colours ---------------------------------------------------------------------------------------------------------


class Role(Enum):
    """What a piece of a line is."""

    SECTION = auto()
    NAME = auto()
    COMMENT = auto()
    PLAIN = auto()


class Piece(NamedTuple):
    """A part of a line."""

    text: str
    role: Role


def pieces(line: str) -> Sequence[Piece]:
    """Take one line of a configuration file apart; together the pieces are the line."""
    return [piece for piece in _pieces(line) if piece.text]


def _pieces(line: str) -> Iterator[Piece]:
    if _is_comment(line):
        yield Piece(line, Role.COMMENT)
        return
    if line.startswith("["):
        header, bracket, rest = line.rpartition("]")
        yield Piece(header + bracket, Role.SECTION)
        yield Piece(rest, Role.COMMENT if header else Role.PLAIN)
        return
    name = re.match(r"""\s*["']?[\w.-]+["']?(?=\s*[=:])""", line)
    end = name.end() if name else 0
    yield Piece(line[:end], Role.NAME)
    comment = re.search(r"\s#", line[end:])
    start = end + comment.start() if comment else len(line)
    yield Piece(line[end:start], Role.PLAIN)
    yield Piece(line[start:], Role.COMMENT)
