"""Whatever a server does: the client says what came of it, in time, in little memory, and to nobody else."""

from __future__ import annotations

import gc
import re
import time
from typing import TYPE_CHECKING

import pytest
from publishing.behaviours import ROWS, fits
from publishing.stages import KEY, staged

from pytest_jux.api_client import JuxAPIClient
from pytest_jux.outcomes import Duplicate, Published
from pytest_jux.storage import ReportStorage

if TYPE_CHECKING:
    from publishing.behaviours import Row
    from publishing.stages import Done, Stage

pytestmark = pytest.mark.usefixtures("bare_environment")

SPARE = 2.0  # seconds over the deadline; a promise
START = 10.0  # seconds for the start of a process on a busy machine
MEMORY = 250_000_000  # bytes
DONE, FAILED = 0, 1
each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
each_main_row = pytest.mark.parametrize("row", [row for row in ROWS if not row.is_variant], ids=lambda row: row.name)


def check_requests(row: Row, stage: Stage) -> None:
    least, most = row.requests
    assert least <= stage.server.attempts <= most


def check_command(row: Row, stage: Stage, done: Done) -> None:
    """What is asked of a command in every row: in time, in little memory, in few words, without what is secret."""
    said = done.out + done.err
    assert done.seconds < row.deadline + SPARE + START
    assert done.memory < MEMORY
    assert "Traceback" not in said
    assert KEY not in said
    assert not set(said) & {"\x1b", "\x07", "\x85", "\u202e", "\r"}
    assert all(len(line) < 2500 for line in said.splitlines())
    assert len(sentences(done.err)) == (done.code == FAILED), done.err
    check_requests(row, stage)
    stage.check_secrets()


def sentences(err: str) -> list[str]:
    """Return what a command says went wrong, without the hints below and the warnings above."""
    return [line for line in err.splitlines() if not line.startswith(("  ", "warning: "))]


def environ_of(row: Row, stage: Stage) -> dict[str, str]:
    """Return the configuration of a row as the commands read it."""
    settings = {
        "api_url": stage.url,
        "api_key": KEY,
        "api_connect_timeout": row.connect,
        "api_read_timeout": row.read,
        "api_retries": row.retries,
        "publish_deadline": row.deadline,
        **{f"api_{name}": path for name, path in stage.files.items()},
    }
    return {**{f"JUX_{name.upper()}": str(value) for name, value in settings.items()}, **stage.environ}


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
        stage.check_secrets()
        if row.place.startswith("TLS"):
            gc.collect()  # a socket that was left open is to be found here, not in another test


@each_main_row
def test_publish_command(row, tmp_path, report_of_size, run):
    data, identity = report_of_size(row.size)
    path = tmp_path / "report.xml"
    path.write_bytes(data)
    with staged(row, tmp_path) as stage:
        done = run("publish", "--input", path, environ=environ_of(row, stage))
        assert done.code in row.exit_codes, done
        assert identity in stage.server.reports or done.code == FAILED
        assert re.search(row.says, done.err, re.DOTALL), done.err
        check_command(row, stage, done)


@each_main_row
def test_push_command(row, tmp_path, report_of_size, run):
    data, identity = report_of_size(row.size)
    storage = ReportStorage(tmp_path / "store")
    storage.store(data, identity, {"hostname": "somewhere"})
    with staged(row, tmp_path) as stage:
        storage.enqueue(data, identity, {"hostname": "somewhere"}, api_url=stage.url)
        done = run("cache", "push", environ={**environ_of(row, stage), "JUX_STORAGE_PATH": str(storage.root)})
        status = storage.find(identity).status.value
        assert status in row.statuses, done
        assert done.code == (DONE if status == "published" else FAILED)
        assert storage.read(identity) == data
        assert status == "published" or storage.read(identity, waiting=True) == data
        assert identity in stage.server.reports or status != "published"
        check_command(row, stage, done)
