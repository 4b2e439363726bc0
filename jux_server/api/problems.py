"""Errors as the API says them: one JSON object for every status."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi.responses import JSONResponse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Problem(Exception):
    """An answer that is an error. `error` is a few words, `reason` one sentence with the cause, both for people."""

    def __init__(
        self,
        status: HTTPStatus,
        error: str,
        reason: str = "",
        *,
        details: Mapping[str, Any] | None = None,
        suggestions: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.reason = reason
        self.details = dict(details or {})
        self.suggestions = list(suggestions)
        self.headers = dict(headers or {})

    def answer(self) -> JSONResponse:
        """Return the answer: the fields of the user's API and of the public contract."""
        details = {"reason": self.reason, **self.details} if self.reason else self.details
        body = {
            "status": "error",
            "error": self.error,
            "message": self.reason or self.error,
            "details": details,
            "suggestions": self.suggestions,
        }
        return JSONResponse(body, self.status, headers=self.headers)


def not_found(what: str, name: str) -> Problem:
    """Return the answer for something that is not there, or that the caller may not know of."""
    return Problem(HTTPStatus.NOT_FOUND, "Not found", f"there is no {what} {name[:100]}")


def bad_parameter(name: str, reason: str) -> Problem:
    """Return the answer for a query parameter that makes no sense."""
    return Problem(HTTPStatus.BAD_REQUEST, "Invalid parameter", f"{name}: {reason}", details={"parameter": name})
