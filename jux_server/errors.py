"""What can go wrong in the server, as types that carry facts; each text is one sentence for people."""

from __future__ import annotations

from pytest_jux.errors import JuxError


class ServerError(JuxError):
    """Base of the server's own errors."""


class DatabaseUnusable(ServerError):
    """The database cannot be used as it is; `database` is its address without a password."""

    def __init__(self, database: str, reason: str, hint: str = "") -> None:
        super().__init__(f"cannot use the database {database}: {reason}")
        self.database = database
        self.reason = reason
        self.hint = hint


class DatabaseOutdated(DatabaseUnusable):
    """The database is of an older version of the server."""

    def __init__(self, database: str) -> None:
        super().__init__(
            database, "it is of an older version of this server", "Make a backup, then run: jux-server migrate"
        )


class Unknown(ServerError):
    """There is nothing of this name; `what` is the kind of thing, `name` what was asked for."""

    def __init__(self, what: str, name: str, hint: str = "") -> None:
        super().__init__(f"there is no {what} {name}")
        self.what = what
        self.name = name
        self.hint = hint


class Refused(ServerError):
    """What was asked for makes no sense or would do harm; `reason` is the sentence."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint
