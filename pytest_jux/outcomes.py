"""What can come of sending a report to the Jux API, as types."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Published:
    """The server has the report. `url` is its page, "" where that is not known; `attempts` counts requests."""

    id: str = ""
    url: str = ""
    message: str = ""
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The server had the report before; everything else as in `Published`."""

    id: str = ""
    url: str = ""
    message: str = ""
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class Rejected:
    """The server refuses the report for good: `status` is HTTP's, `reason` and `details` are the server's words."""

    status: int
    reason: str
    details: Mapping[str, Any] = field(default_factory=dict)
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class Unauthorized:
    """The server does not accept the API key, or wants one. `reason` is a sentence."""

    status: int
    reason: str
    hint: str = ""
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class Unavailable:
    """The report could not be delivered; `reason` is a sentence, `hint` the next step or "".

    `is_passing`: waiting may help; else somebody has to change something. `is_answered`: the report got as far as to a
    server, so that the cause may be this report. `retry_after`: the seconds after which the server wants to be asked
    again.
    """

    reason: str
    is_passing: bool = True
    is_answered: bool = False
    retry_after: float | None = None
    hint: str = ""
    attempts: int = 1


def answer_of(outcome: Published | Duplicate) -> dict[str, str]:
    """Return what the server said of a report that it has, as it is recorded; "" where it said nothing."""
    return {"id": outcome.id, "url": outcome.url, "message": outcome.message}


def to_dict(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as JSON values: `status` is `published`, `duplicate` or `error`, `kind` which error it is."""
    match outcome:
        case Published() | Duplicate():
            status = "published" if isinstance(outcome, Published) else "duplicate"
            return {
                "status": status,
                **{name: text or None for name, text in answer_of(outcome).items()},
                "attempts": outcome.attempts,
            }
        case Rejected():
            said = {"reason": outcome.reason, "http_status": outcome.status, "details": dict(outcome.details)}
            return {"status": "error", "kind": "rejected", **said, "attempts": outcome.attempts}
        case Unauthorized():
            said = {"reason": outcome.reason, "http_status": outcome.status}
            return {"status": "error", "kind": "unauthorized", **said, "attempts": outcome.attempts}
    return {"status": "error", "kind": "unavailable", "reason": outcome.reason, "attempts": outcome.attempts}


Outcome = Published | Duplicate | Rejected | Unauthorized | Unavailable
