"""What the server writes to its log: one line for each event on standard error, without queries and keys."""

from __future__ import annotations

import logging
import time
from typing import Any

from pytest_jux.text import visible


class LineFormatter(logging.Formatter):
    """`2026-11-23T10:30:00Z INFO message`, in UTC, with nothing that a terminal would obey."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback follows on lines of its own."""
        return visible(super().format(record), multiline=bool(record.exc_info or record.stack_info))


class RequestFormatter(LineFormatter):
    """A request as `127.0.0.1:40112 "GET /api/v1/reports?… HTTP/1.1" 200`: a query may have a secret in it."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line with the path alone."""
        if isinstance(record.args, tuple) and len(record.args) == 5:  # noqa: PLR2004 - as uvicorn gives them
            client, method, path, version, status = record.args
            path, question, _ = str(path).partition("?")
            shown = path + ("?…" if question else "")
            record.message = f'{client} "{method} {shown} HTTP/{version}" {status}'
        return super().formatMessage(record)


def log_config(level: str, *, access: bool) -> dict[str, Any]:
    """Return the configuration for `logging.config.dictConfig`, which uvicorn hands to its processes."""
    of_requests = {"handlers": ["requests"] if access else [], "level": "INFO", "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {"()": "jux_server.serving_logs.LineFormatter"},
            "request": {"()": "jux_server.serving_logs.RequestFormatter"},
        },
        "handlers": {
            "lines": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"},
            "requests": {"class": "logging.StreamHandler", "formatter": "request", "stream": "ext://sys.stderr"},
        },
        "loggers": {
            "uvicorn": {"handlers": ["lines"], "level": level.upper(), "propagate": False},
            "uvicorn.access": of_requests,
            "jux_server": {"handlers": ["lines"], "level": level.upper(), "propagate": False},
        },
    }
