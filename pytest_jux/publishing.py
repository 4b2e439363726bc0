"""Bringing reports to the server: one of the queue, all of the queue, and when it is not worth going on."""

from __future__ import annotations

import datetime as dt
import queue
import threading
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

from pytest_jux.api_client import JuxAPIClient
from pytest_jux.canonicalizer import canonical_hash
from pytest_jux.config import Layer
from pytest_jux.credentials import read_api_key, read_passphrase
from pytest_jux.errors import ClientMisconfigured, JuxError, StorageError
from pytest_jux.inventory import Status
from pytest_jux.outcomes import Duplicate, Outcome, Published, Rejected, Unauthorized, Unavailable, answer_of
from pytest_jux.records import Waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping

    from pytest_jux.config import Settings
    from pytest_jux.storage import ReportStorage

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_COMMAND_DEADLINE = 120.0  # seconds for one report, where a person or a job waits for this alone
_FIRST_PAUSE, _LONGEST_PAUSE = 60.0, 6 * 3600.0  # seconds between attempts that nobody asked for
_LONGEST_WAIT = 24 * 3600.0  # seconds, whatever the server wants
_PATIENCE = 3  # reports in a row that the server fails to take


class Sent(NamedTuple):
    """What came of one entry: an outcome, an error of ours, or neither, if somebody else was sending it.

    With both, the outcome could not be recorded, so that the report still waits.
    """

    canonical_hash: str
    outcome: Outcome | None = None
    error: JuxError | None = None

    @property
    def status(self) -> Literal["published", "rejected", "failed", "skipped"]:
        """What that means for the report; `skipped`: somebody else was sending it."""
        match self:
            case Sent(outcome=None, error=None):
                return "skipped"
            case Sent(outcome=Published() | Duplicate(), error=None):
                return "published"
            case Sent(outcome=Rejected(), error=None):
                return "rejected"
        return "failed"


class NotRecorded(StorageError):
    """A report was sent, but what came of it, `outcome`, could not be recorded; it waits as before."""

    def __init__(self, outcome: Outcome, problem: StorageError) -> None:
        super().__init__(problem.path, problem.action, problem.reason)
        self.outcome = outcome
        if isinstance(outcome, (Published, Duplicate)):
            known = "the server has the report"
        else:
            refused = "the server refuses the report: " if isinstance(outcome, Rejected) else ""
            known = f"{refused}{outcome.reason}"
        self.args = (f"{known}, but that cannot be recorded: {problem}",)


class Chosen(NamedTuple):
    """What of a queue is to be sent to a server, in this order, and how many others wait for which other server."""

    entries: list[Waiting]
    left: Mapping[str, int]


def configured_client(
    settings: Settings, environ: Mapping[str, str] | None = None, *, is_command: bool = False, connections: int = 1
) -> JuxAPIClient:
    """Return the client that the configuration describes; `is_command`: a person or a job waits for each report.

    Raises:
        ClientMisconfigured, FileProblem, PassphraseMissing: it cannot be set up.
    """
    if not settings["jux_api_url"]:
        raise ClientMisconfigured("jux_api_url is not set", "It is the whole address of the API.")
    deadline = settings.explain("jux_publish_deadline")
    is_default = deadline.origin.layer is Layer.DEFAULT
    passphrase = read_passphrase(
        settings["jux_api_client_key_passphrase_env"], settings["jux_api_client_key_passphrase_file"], environ
    )
    return JuxAPIClient(
        settings["jux_api_url"],
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
        environ=environ,
    )


def publish_entry(
    storage: ReportStorage, client: JuxAPIClient, identity: str, *, deadline: float | None = None
) -> Outcome | None:
    """Send a report that waits and record what came of it; None if somebody else is sending it, or if it is gone.

    The entry is held meanwhile. Whenever this process is killed, the report is stored as before and either waits or is
    published; `deadline` is in seconds.

    Raises:
        NotRecorded: it was sent, but the store cannot be written to; it still waits.
        StorageError: it cannot be read, and was not sent; it still waits.
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
        try:
            _record(storage, identity, outcome)
        except StorageError as problem:
            raise NotRecorded(outcome, problem) from None
    return outcome


def _record(storage: ReportStorage, identity: str, outcome: Outcome) -> None:
    match outcome:
        case Published() | Duplicate():
            storage.mark_published(identity, answer_of(outcome))
        case Rejected():
            reason = {"status": outcome.status, "error": outcome.reason, "details": dict(outcome.details)}
            storage.mark_rejected(identity, reason)
        case Unauthorized() | Unavailable():
            wanted = outcome.retry_after if isinstance(outcome, Unavailable) else None
            storage.note_attempt(identity, outcome.reason, next_attempt_at=_next(storage.entry(identity), wanted))


def refused(storage: ReportStorage) -> list[Waiting]:
    """Return what the server has refused for good, as if it waited."""

    def entry(identity: str) -> Waiting:
        known = {**storage.answer(identity), "metadata": storage.metadata(identity), "attempts": 0}
        return Waiting.of(identity, known)

    return [entry(report.canonical_hash) for report in storage.list(statuses=[Status.REJECTED])]


def in_order(entries: Iterable[Waiting]) -> list[Waiting]:
    """Return entries in the order in which to send them: oldest first, but what has failed three times comes last.

    So reports that a server cannot cope with do not hold up the others.
    """
    return sorted(entries, key=lambda entry: (entry.attempts >= _PATIENCE, entry.queued_at))


def choose(
    entries: Iterable[Waiting],
    url: str,
    project: Callable[[], str],
    *,
    any_server: bool = False,
    limit: int | None = None,
) -> Chosen:
    """Return which entries may be sent to the server at `url`, at most `limit`, and how many are meant for others.

    An entry may be sent that was queued for this server or for none, or that is of this project; `project` is asked
    for its name only when that matters. With `any_server`, all may.
    """
    sent: list[Waiting] = []
    left: dict[str, int] = {}
    ours: str | None = None
    for entry in entries:
        if not (any_server or entry.api_url in {"", url}):
            if entry.project and ours is None:
                ours = project()
            if not entry.project or entry.project != ours:
                left[entry.api_url] = left.get(entry.api_url, 0) + 1
                continue
        sent.append(entry)
    return Chosen(sent[:limit], left)


def push(
    storage: ReportStorage,
    client: JuxAPIClient,
    identities: Iterable[str],
    *,
    jobs: int = 1,
    rejected: Container[str] = (),
) -> Iterator[Sent]:
    """Send reports that wait, and give what came of each; those not given were not tried, because it was no use.

    It is no use if the server cannot be reached, does not take the key or is none of ours, and after three reports in
    a row that it fails to take, or for which that cannot be recorded. Those among `rejected` that the server has
    refused before are queued again when it is their turn.
    """
    patience = Patience()

    def send(identity: str) -> Sent | None:
        if patience.is_over:
            return None
        try:
            if identity in rejected and storage.find(identity).status is Status.REJECTED:
                storage.requeue(identity)
            outcome = publish_entry(storage, client, identity)
        except NotRecorded as error:
            patience.learn(error.outcome, is_recorded=False)
            return Sent(identity, error.outcome, error)
        except JuxError as error:
            return Sent(identity, error=error)
        patience.learn(outcome)
        return Sent(identity, outcome)

    for sent in each(send, identities, jobs):
        if sent is not None:
            yield sent


class Drained(NamedTuple):
    """How many reports of older runs were published, how many still wait, and how many the server refuses for good."""

    published: int
    left: int
    refused: int = 0


def drain(storage: ReportStorage, client: JuxAPIClient, *, until: float, clock: Callable[[], float]) -> Drained:
    """Send what older runs left for the same server and is due; give what came of it.

    Nothing is begun after `clock` says `until`, and what is being sent then is given up.
    """
    published = left = refused = 0
    patience = Patience()
    time = dt.datetime.now(dt.UTC)
    now = time.isoformat(timespec="seconds")
    latest = (time + dt.timedelta(seconds=_LONGEST_WAIT)).isoformat(timespec="seconds")  # else a clock was wrong
    waiting = [report.canonical_hash for report in reversed(storage.list(statuses=[Status.QUEUED]))]
    for number, identity in enumerate(waiting):
        remaining = until - clock()
        if remaining <= 0:  # nobody has looked whom the rest is for
            left += len(waiting) - number
            break
        entry = storage.entry(identity)
        if entry.api_url != client.url:
            continue
        if now < entry.next_attempt_at <= latest or patience.is_over:
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
        refused += isinstance(outcome, Rejected)
    return Drained(published, left, refused)


class Patience:
    """Whether it is worth going on with further reports. It can be asked by several threads."""

    def __init__(self) -> None:
        self.is_over = False
        self._failures = 0
        self._lock = threading.Lock()

    def learn(self, outcome: Outcome | None, *, is_recorded: bool = True) -> None:
        """Take notice of what came of a report, and of whether that could be recorded."""
        with self._lock:
            match outcome:
                case None:
                    return
                case Unavailable(is_passing=True, is_answered=True) | Unauthorized(status=403):
                    self._failures += 1  # which may be about this report
                case Unavailable() | Unauthorized():
                    self.is_over = True
                case _ if is_recorded:
                    self._failures = 0
                case _:
                    self._failures += 1
            self.is_over |= self._failures >= _PATIENCE


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
