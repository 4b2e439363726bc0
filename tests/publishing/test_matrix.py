"""Whatever a server does: the client says what came of it, in time, in little memory, and to nobody else."""

from __future__ import annotations

import re
import time

import pytest
from publishing.behaviours import ROWS, Row, fits
from publishing.stages import CANARY, KEY, Stage, staged

from pytest_jux.api_client import JuxAPIClient
from pytest_jux.outcomes import Duplicate, Published

pytestmark = pytest.mark.usefixtures("bare_environment")

SPARE = 2.0  # seconds over the deadline; a promise
START = 3.0  # seconds for a process to start on a busy machine; no promise
MEMORY = 250_000_000  # bytes
SECRETS = (KEY.encode(), CANARY)
each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


def check_secrets(stage: Stage) -> None:
    """Nobody else got anything, and those that nobody trusts got nothing that matters."""
    assert [one.connections for one in stage.untouched] == [[]] * len(stage.untouched)
    assert not [secret for one in stage.strangers for secret in SECRETS if secret in one.received]


def check_requests(row: Row, stage: Stage) -> None:
    least, most = row.requests
    assert least <= stage.server.attempts <= most


@each_row
def test_library(row, tmp_path, report_of_size, monkeypatch):
    data, identity = report_of_size(row.size)
    with staged(row, tmp_path) as stage:
        for name, value in stage.environ.items():
            monkeypatch.setenv(name, value)
        start = time.monotonic()
        with JuxAPIClient(
            stage.url,
            KEY,
            connect_timeout=row.connect,
            read_timeout=row.read,
            retries=row.retries,
            deadline=row.deadline,
            **stage.files,
        ) as client:
            outcome = client.publish(data, {"hostname": "somewhere"})
        seconds = time.monotonic() - start
        assert fits(row, outcome), outcome
        assert seconds < row.deadline + SPARE
        assert re.search(row.says, getattr(outcome, "reason", ""), re.DOTALL), outcome
        assert KEY not in repr(outcome)
        assert identity in stage.server.reports or not isinstance(outcome, Published | Duplicate)
        check_requests(row, stage)
        check_secrets(stage)


