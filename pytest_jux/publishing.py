"""Bringing reports to the server: one of the queue, all of the queue, and when it is not worth going on."""

from __future__ import annotations

import datetime as dt
import queue
import threading
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from pytest_jux.api_client import JuxAPIClient
from pytest_jux.canonicalizer import canonical_hash
from pytest_jux.config import Layer
from pytest_jux.credentials import read_api_key, read_passphrase
from pytest_jux.errors import JuxError, StorageError
from pytest_jux.outcomes import Duplicate, Outcome, Published, Rejected, Unauthorized, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from pytest_jux.config import Settings
    from pytest_jux.records import Waiting
    from pytest_jux.storage import ReportStorage

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_COMMAND_DEADLINE = 120.0  # seconds for one report, where a person or a job waits for this alone
_FIRST_PAUSE, _LONGEST_PAUSE = 60.0, 6 * 3600.0  # seconds between attempts that nobody asked for
_LONGEST_WAIT = 24 * 3600.0  # seconds, whatever the server wants
_PATIENCE = 3  # reports in a row that the server fails to take


class Sent(NamedTuple):
    """What came of one entry: an outcome, an error of ours, or neither, if somebody else was sending it."""

    canonical_hash: str
    outcome: Outcome | None = None
    error: JuxError | None = None


def configured_client(
    settings: Settings, environ: Mapping[str, str] | None = None, *, is_command: bool = False, connections: int = 1
) -> JuxAPIClient:
    """Return the client that the configuration describes; `is_command`: a person or a job waits for each report.

    Raises:
        ClientMisconfigured, FileProblem, PassphraseMissing: it cannot be set up.
    """
    deadline = settings.explain("jux_publish_deadline")
    is_default = deadline.origin.layer is Layer.DEFAULT
    passphrase = read_passphrase(
        settings["jux_api_client_key_passphrase_env"], settings["jux_api_client_key_passphrase_file"], environ
    )
    return JuxAPIClient(
        settings["jux_api_url"] or "",
        read_api_key(settings, environ),
        auth=settings["jux_api_auth"],
        connect_timeout=settings["jux_api_connect_timeout"],
        read_timeout=settings["jux_api_read_timeout"],
        retries=settings["jux_api_retries"],
        deadline=_COMMAND_DEADLINE if is_command and is_default else deadline.value,
        ca=settings["jux_api_ca"],
        client_cert=settings["jux_api_client_cert"],
        client_key=settings["jux_api_client_key"],
        client_key_passphrase=passphrase,
        gzip=settings["jux_api_gzip"],
        connections=connections,
    )


def publish_entry(
    storage: ReportStorage, client: JuxAPIClient, identity: str, *, deadline: float | None = None
) -> Outcome | None:
    """Send a report that waits and record what came of it; None if somebody else is sending it, or if it is gone.

    The entry is held meanwhile. Whenever this process is killed, the report is stored as before and either waits or is
    published; `deadline` is in seconds.

    Raises:
        StorageError: the report or the record of its outcome cannot be read or written; it still waits.
        ReportError: what waits is no report any more.
    """
    with storage.claim(identity) as is_ours:
        if not is_ours:
            return None
        data = storage.read(identity, waiting=True)
        if canonical_hash(data) != identity:
            raise StorageError(storage.queue, "send a report from", f"its content is not that of {identity[:19]}…")
        outcome = client.publish(
            data, sent_metadata(storage.waiting_metadata(identity)), canonical_hash=identity, deadline=deadline
        )
        match outcome:
            case Published() | Duplicate():
                storage.mark_published(identity, {"id": outcome.id, "url": outcome.url, "message": outcome.message})
            case Rejected():
                reason = {"status": outcome.status, "error": outcome.reason, "details": dict(outcome.details)}
                storage.mark_rejected(identity, reason)
            case Unauthorized() | Unavailable():
                wanted = outcome.retry_after if isinstance(outcome, Unavailable) else None
                storage.note_attempt(identity, outcome.reason, next_attempt_at=_next(storage.entry(identity), wanted))
    return outcome


def push(storage: ReportStorage, client: JuxAPIClient, identities: Iterable[str], *, jobs: int = 1) -> Iterator[Sent]:
    """Send reports that wait, and give what came of each; those not given were not tried, because it was no use.

    It is no use if the server cannot be reached, does not take the key or is none of ours, and after three reports in
    a row that it fails to take.
    """
    patience = Patience()

    def send(identity: str) -> Sent | None:
        if patience.is_over:
            return None
        try:
            outcome = publish_entry(storage, client, identity)
        except JuxError as error:
            return Sent(identity, error=error)
        patience.learn(outcome)
        return Sent(identity, outcome)

    for sent in each(send, identities, jobs):
        if sent is not None:
            yield sent


def drain(storage: ReportStorage, client: JuxAPIClient, *, until: float, clock: Callable[[], float]) -> tuple[int, int]:
    """Send what older runs left for the same server and is due; give how many were published, and how many are left.

    Nothing is begun after `clock` says `until`, and what is being sent then is given up.
    """
    published = left = 0
    patience = Patience()
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    for entry in [entry for entry in storage.waiting() if entry.api_url == client.url]:
        remaining = until - clock()
        if entry.next_attempt_at > now or remaining <= 0 or patience.is_over:
            left += 1
            continue
        try:
            outcome = publish_entry(storage, client, entry.canonical_hash, deadline=remaining)
        except JuxError:
            left += 1
            continue
        patience.learn(outcome)
        published += isinstance(outcome, (Published, Duplicate))
        left += isinstance(outcome, (Unauthorized, Unavailable))
    return published, left


class Patience:
    """Whether it is worth going on with further reports. It can be asked by several threads."""

    def __init__(self) -> None:
        self.is_over = False
        self._failures = 0
        self._lock = threading.Lock()

    def learn(self, outcome: Outcome | None) -> None:
        """Take notice of what came of a report."""
        with self._lock:
            match outcome:
                case None:
                    return
                case Unavailable(is_passing=True, is_answered=True) | Unauthorized(status=403):
                    self._failures += 1  # which may be about this report
                    self.is_over |= self._failures >= _PATIENCE
                case Unavailable() | Unauthorized():
                    self.is_over = True
                case _:
                    self._failures = 0


def each(function: Callable[[_Item], _Result], items: Iterable[_Item], jobs: int) -> Iterator[_Result]:
    """Give what a function returns for each item, `jobs` of them at a time.

    With several jobs the order is that in which they are done. The threads are such that a program can end without
    waiting for them. What the function raises is raised here.
    """
    if jobs <= 1:
        yield from map(function, items)
        return
    todo: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
    done: queue.SimpleQueue[_Result | BaseException] = queue.SimpleQueue()

    def work() -> None:
        while (item := todo.get()) is not None:
            try:
                done.put(function(item))
            except BaseException as error:  # noqa: BLE001 - raised where the results are wanted
                done.put(error)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    open_items = 0
    try:
        for item in items:
            if open_items > jobs:  # so that no more is in memory than is being worked on
                yield _unwrapped(done.get())
                open_items -= 1
            todo.put(item)
            open_items += 1
        for _ in range(open_items):
            yield _unwrapped(done.get())
    finally:
        for _ in threads:
            todo.put(None)


def _unwrapped(result: _Result | BaseException) -> _Result:
    if isinstance(result, BaseException):
        raise result
    return result


def sent_metadata(known: Mapping[str, object]) -> dict[str, object]:
    """Return that part of what is known of a report that is the API's `metadata`: the circumstances of the run."""
    return {name: value for name, value in known.items() if name not in _OURS}


_OURS = frozenset({"summary", "stored_at", "canonical_hash", "signed"})


def _next(entry: Waiting, wanted: float | None) -> str:
    """Return when to try again: the pause doubles with each failure, and is never shorter than the server wants."""
    pause = min(_FIRST_PAUSE * 2.0 ** min(entry.attempts, 20), _LONGEST_PAUSE)
    seconds = min(max(pause, wanted or 0.0), _LONGEST_WAIT)
    return (dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)).isoformat(timespec="seconds")
