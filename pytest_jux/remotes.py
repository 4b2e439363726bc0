"""URLs and git remotes without what identifies their user."""

from __future__ import annotations

import re

_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]{0,40}://"
_HELPER = r"[A-Za-z0-9][A-Za-z0-9+-]*::(?!:)"
_HOST = r"(?:[\w.-]+|\[[\w:.%]*\])(?::\d{1,5})?"
_PATH = r"\.{0,2}[/\\]|~/|[A-Za-z]:[/\\]"
_SCOPED = r"[\w./~+-]*(?:/@[\w./~+-]*)+"  # a path such as /@scope/name
_URL_ENDS = r"[\s\"'`<>]|[,;|](?=[A-Za-z][A-Za-z0-9+.-]{0,40}://)"  # a password may have commas, too
_NESTED = 5  # URLs inside one another that are looked at; what follows is left out


def without_userinfo(url: str) -> str:
    """Return a URL or git remote without user, password, query and fragment.

    Understands `https://user:password@host/path`, `ssh://`, `user@host:path`, `helper::https://…`, a URL inside
    another's path, and passwords with any character in them. A path of a file is returned as it is. Where it could be
    a password or something else, the reading counts that shows less.
    """
    url = url.strip()
    helper = match.group() if (match := re.match(_HELPER, url)) else ""
    rest = url[len(helper) :]
    if not re.match(_SCHEME, rest):
        return helper + _scp_without_userinfo(rest)
    shown = [helper]
    for _ in range(_NESTED):
        match = re.match(_SCHEME, rest)
        if match is None:
            break
        place, rest = _split_nested(rest[match.end() :], is_file=match.group().lower() == "file://")
        shown += [match.group(), place]
    return "".join(shown)


def project_of(remote: str) -> str:
    """Return the last part of a remote's address, without `.git`, or ""."""
    return re.split(r"[/:\\]", remote.rstrip("/\\"))[-1].removesuffix(".git")


def _split_nested(rest: str, *, is_file: bool) -> tuple[str, str]:
    """Return `host/path` of what follows `scheme://`, and the URL that the path goes on with, or ""."""
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    host = authority.rpartition("@")[2]
    tail = rest[len(authority) :]
    path = re.split("[?#]", tail, maxsplit=1)[0]
    if (is_file and not authority) or (re.fullmatch(_HOST, host) and _is_authority(authority, host, path, tail)):
        nested = re.search(_SCHEME, path)
        return (host + path[: nested.start()], path[nested.start() :]) if nested else (host + path, "")
    if "@" in rest:
        rest = rest.rpartition("@")[2]
    elif "%40" in authority:
        rest = rest.rpartition("%40")[2]
    else:  # what follows the colon is no port
        rest = authority.partition(":")[0] + tail
    return re.split("[?#]", rest, maxsplit=1)[0], ""


def _is_authority(authority: str, host: str, path: str, tail: str) -> bool:
    """Tell whether the authority ends at the first slash, and the rest is not the end of a password that has one."""
    name = re.sub(r":\d+\Z", "", host)
    is_certain = "." in name or name.startswith("[") or name.lower() == "localhost"
    if "@" not in (path if is_certain else tail):
        return True
    is_scoped = re.fullmatch(_SCOPED, tail) is not None
    if name != host:  # a port, or the beginning of a password
        return is_certain and is_scoped
    return is_certain or ("@" not in authority and is_scoped)


def _scp_without_userinfo(remote: str) -> str:
    """Return `host:path` of git's `user@host:path`; a local path is returned as it is."""
    if "@" not in remote or (re.match(_PATH, remote) and ":" not in remote[remote.index("@") :]):
        return remote
    hosts = list(re.finditer(r"@(?=(?:[\w.-]+|\[[\w:.%]*\]):)", remote))
    if hosts:
        return remote[hosts[-1].end() :]
    host, colon, path = remote.partition(":")
    is_scoped = colon and "." in host and "@" not in host and re.fullmatch(_SCOPED, path)
    return remote if is_scoped else remote.rpartition("@")[2]


def urls_without_userinfo(text: str) -> str:
    """Return a text with the user information taken out of every URL in it."""
    scheme, ends = re.compile(_SCHEME), re.compile(_URL_ENDS)
    shown: list[str] = []
    done = 0
    while match := scheme.search(text, done):
        after = ends.search(text, match.end())
        end = after.start() if after else len(text)
        shown += [text[done : match.start()], without_userinfo(text[match.start() : end])]
        done = end
    return "".join([*shown, text[done:]])
