"""One received report: read, verified, stored once; what came of it as a value."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from cryptography.hazmat.primitives.hashes import SHA256
from sqlalchemy.exc import IntegrityError

from jux_server.store import schema
from jux_server.store.database import now
from jux_server.store.saving import NewDocument, NewRun, Seal, TestNumbers, contents_of, pack, save, shortened
from jux_server.store.schema import State
from jux_server.trust import Caller, Signers
from pytest_jux.document import DEFAULT_LIMITS
from pytest_jux.errors import ReportError, ReportTooLarge
from pytest_jux.metadata import from_properties
from pytest_jux.remotes import project_of, urls_without_userinfo
from pytest_jux.report import properties_of
from pytest_jux.text import visible
from pytest_jux.verifier import SignatureState, examine_report

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from uuid import UUID

    from lxml import etree

    from jux_server.store.database import Database
    from jux_server.store.saving import Saved
    from pytest_jux.document import Limits
    from pytest_jux.report import Report
    from pytest_jux.verifier import Examination, Trust

UNKNOWN_PROJECT = "unknown"
ACCEPT = ("trusted", "intact", "any")
_LOWEST = {"trusted": State.TRUSTED, "intact": State.INTACT, "any": State.BROKEN}
_STATES = {
    SignatureState.TRUSTED: State.TRUSTED,
    SignatureState.INTACT: State.INTACT,
    SignatureState.BROKEN: State.BROKEN,
    SignatureState.UNSIGNED: State.UNSIGNED,
    SignatureState.UNCHECKED: State.BROKEN,  # what cannot be checked is no evidence
}
_REFUSED = {
    State.BROKEN: "Invalid XML signature",
    State.UNSIGNED: "Report not signed",
    State.INTACT: "Signer not trusted",
}
_SUGGESTIONS = {
    State.BROKEN: "Sign the report anew, and change nothing after that: jux-sign --replace.",
    State.UNSIGNED: "Sign the report: pytest --jux-sign, or jux-sign.",
    State.INTACT: "Let an administrator add the signer's certificate: jux-server signer add.",
}
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_LONGEST_PROJECT = 200  # characters, as are the following
_LONGEST_REF = 250
_LONGEST_TAG = 100
_MOST_TAGS = 50
_HASH = re.compile(r"(?:sha256:)?[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Created:
    """The report was new and is stored."""

    id: UUID
    canonical_hash: str
    project: str
    seal: Seal
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The project has this report. `is_better`: its signature was better than what was there, and was added."""

    id: UUID
    canonical_hash: str
    project: str
    seal: Seal
    counts: Mapping[str, int]
    is_better: bool


@dataclass(frozen=True, slots=True)
class Rejected:
    """The report is not stored. `error` is a few words, `reason` one sentence; two causes have their own answers."""

    error: str
    reason: str
    is_too_large: bool = False
    is_forbidden: bool = False
    suggestion: str = ""


Outcome = Created | Duplicate | Rejected


class Intake:
    """Takes reports in. `accept` is the policy of projects that have none of their own."""

    def __init__(self, database: Database, *, accept: str = "any", limits: Limits = DEFAULT_LIMITS) -> None:
        self.database = database
        self.accept = accept
        self.limits = limits
        self._signers = Signers()
        self._numbers = TestNumbers()

    def receive(
        self, data: bytes, caller: Caller, *, claimed_hash: str | None = None, sender: Mapping[str, Any] | None = None
    ) -> Outcome:
        """Verify a report and store it, unless its project has it or does not accept it.

        Args:
            data: the report as it was sent; these very bytes are kept.
            caller: who sends it.
            claimed_hash: what the sender says the canonical hash is; another one is refused.
            sender: what the sender says about the run, JSON values; what the report itself says counts more.
        """
        received_at = now()
        project, policy = "", self.accept

        def trust_for(root: etree._Element) -> Trust:
            nonlocal project, policy
            project = project_named(properties_of(root), sender or {})
            if not caller.sees(project):
                raise _Refusal(_forbidden(project))
            with self.database.read() as connection:
                policy = connection.execute(_POLICY, {"name": project}).scalar() or self.accept
                return self._signers.trust(connection, project, received_at)

        try:
            examined = _examine(data, trust_for, self.limits, claimed_hash)
            seal = seal_of(examined)
            _check_policy(policy, seal)
        except _Refusal as refusal:
            self._note_rejection(refusal.outcome, project, caller, received_at)
            return refusal.outcome
        document = NewDocument(len(data), pack(data), received_at, seal, caller.key_id)
        new = _new_run(project, examined, document, sender or {})
        try:
            saved = self._keep(new, caller)
        except IntegrityError:  # its project was replaced meanwhile, as a restored backup does
            saved = self._keep(new, caller)
        if saved.learned is not None:
            self._numbers.learn(saved.learned)
        known = (saved.public_id, examined.canonical_hash, project, seal, new.contents.counts)
        return Created(*known) if saved.is_new else Duplicate(*known, saved.is_better)

    def _keep(self, new: NewRun, caller: Caller) -> Saved:
        """Store a report, with a note of its arrival, in one transaction."""
        at = new.document.received_at
        with self.database.write() as connection:
            saved = save(connection, new, self._numbers)
            kind = "created" if saved.is_new else "attached" if saved.is_better else "duplicate"
            _note(connection, at, kind, new.project, caller, new.hash, run_id=saved.run_id)
        return saved

    def note_turned_away(self, error: str, reason: str, key_id: int | None = None) -> None:
        """Write down that a report did not come as far as being read, so that somebody who misses it finds out why."""
        with self.database.write() as connection:
            _note(connection, now(), "rejected", "", Caller(key_id, "", frozenset(), ()), reason=f"{error}: {reason}")

    def _note_rejection(self, rejected: Rejected, project: str, caller: Caller, at: int) -> None:
        with self.database.write() as connection:
            _note(connection, at, "rejected", project, caller, reason=f"{rejected.error}: {rejected.reason}")


class _Refusal(Exception):
    """Carries the outcome of a report that is not stored."""

    def __init__(self, outcome: Rejected) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


# --- reading ---------------------------------------------------------------------------------------------------------


def _examine(
    data: bytes, trust: Callable[[etree._Element], Trust], limits: Limits, claimed_hash: str | None
) -> Examination:
    """Return what verification finds; raises `_Refusal` for what is no report, or another one than claimed."""
    if claimed_hash is not None and not _HASH.fullmatch(claimed_hash):
        reason = "canonical_hash is not sha256: and 64 hexadecimal digits"
        raise _Refusal(Rejected("Invalid canonical hash", reason))
    try:
        examined = examine_report(data, trust, limits=limits)
    except ReportError as error:
        reason = visible(str(error))
        raise _Refusal(
            Rejected("Invalid report", reason, isinstance(error, ReportTooLarge), suggestion=error.hint)
        ) from None
    if claimed_hash is not None and claimed_hash.removeprefix("sha256:") != examined.canonical_hash[7:]:
        reason = f"the report's canonical hash is {examined.canonical_hash}, and not {claimed_hash}"
        raise _Refusal(Rejected("Canonical hash differs", reason, suggestion=_SUGGESTIONS[State.BROKEN]))
    return examined


def seal_of(examined: Examination) -> Seal:
    """Return what verification found, as it is stored."""
    state, evidence = _STATES[examined.state], examined.evidence
    reason = visible(examined.reason)
    if examined.state is SignatureState.UNCHECKED:
        reason = f"it could not be checked: {reason}"
    if evidence is None:
        return Seal(state, reason)
    return Seal(
        state,
        reason,
        signer=shortened(evidence.signer, schema.LONGEST_NAME),
        algorithm=evidence.algorithm,
        trusted_by=shortened(evidence.trusted_by, schema.LONGEST_NAME) or None,
        fingerprint=evidence.certificate.fingerprint(SHA256()),
        not_before=_micro(evidence.not_before),
        not_after=_micro(evidence.not_after),
    )


def _check_policy(policy: str, seal: Seal) -> None:
    """Raise `_Refusal` for a signature that is not good enough."""
    if seal.state < _LOWEST[policy]:
        raise _Refusal(Rejected(_REFUSED[seal.state], seal.reason, suggestion=_SUGGESTIONS[seal.state]))


def project_named(properties: Mapping[str, str], sender: Mapping[str, Any]) -> str:
    """Return the project of a report: its own word, else its sender's, else by its git remote, else `unknown`."""
    facts = from_properties(properties)
    for said in (facts, sender):
        name = said.get("project")
        if isinstance(name, str) and name.strip():
            return shortened(visible(name.strip()), _LONGEST_PROJECT)
    for said in (facts, sender):
        git = said.get("git")
        remote = git.get("remote") if isinstance(git, dict) else None
        if isinstance(remote, str) and project_of(remote.strip()).strip():
            return shortened(visible(project_of(remote.strip()).strip()), _LONGEST_PROJECT)
    return UNKNOWN_PROJECT


def _new_run(project: str, examined: Examination, document: NewDocument, sender: Mapping[str, Any]) -> NewRun:
    report = examined.report
    own = from_properties(report.properties)
    others = {name: value for name, value in sender.items() if own.get(name) != value}
    git = {**_group(sender, "git"), **_group(own, "git")}
    return NewRun(
        project=project,
        hash=bytes.fromhex(examined.canonical_hash.removeprefix("sha256:")),
        document=document,
        contents=contents_of(report),
        facts=_kept({"report": own, **({"sender": others} if others else {})}),
        started_at=_started_at(own, sender, report),
        branch=_ref(git.get("branch")),
        commit=_ref(git.get("commit")),
        is_dirty=_is_dirty(own, sender),
        tags=_tags(report.properties, sender),
    )


def _kept(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return JSON values as they are stored: bounded, text only that can be shown, and addresses without passwords.

    Other clients than ours send user and password along; ours sends halves of characters where a name is no UTF-8.
    """
    if isinstance(value, dict):
        kept = islice(value.items(), schema.MOST_PROPERTIES)
        return {shortened(name, schema.LONGEST_NAME): _kept(inner) for name, inner in kept}
    if isinstance(value, list):
        return [_kept(inner) for inner in islice(value, schema.MOST_PROPERTIES)]
    if isinstance(value, str):
        text = shortened(value, schema.LONGEST_MESSAGE)
        return urls_without_userinfo(text) if "@" in text else text
    return value


def _group(facts: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    group = facts.get(name)
    return group if isinstance(group, dict) else {}


def _is_dirty(own: Mapping[str, Any], sender: Mapping[str, Any]) -> bool | None:
    """Tell whether the tree had changes that no commit has; the report's own word counts first."""
    for git in (_group(own, "git"), _group(sender, "git")):
        for said in (git.get("status"), git.get("dirty")):
            if isinstance(said, bool):
                return said
            if isinstance(said, str) and said.strip():
                return said.strip().lower() in {"dirty", "true", "1", "modified"}
    return None


def _ref(value: object) -> str | None:
    return shortened(visible(value.strip()), _LONGEST_REF) or None if isinstance(value, str) else None


def _tags(properties: Mapping[str, str], sender: Mapping[str, Any]) -> list[str]:
    said: list[object] = [*(properties.get(name, "") for name in ("tags", "jux:tags")), sender.get("tags")]
    words: list[str] = []
    for value in said:
        given = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else []
        words += [visible(word.strip()) for word in given if isinstance(word, str) and word.strip()]
    return sorted({shortened(word, _LONGEST_TAG) for word in words})[:_MOST_TAGS]


def _started_at(own: Mapping[str, Any], sender: Mapping[str, Any], report: Report) -> int | None:
    """Return when the run began, as far as that is said; a time without a zone is taken for UTC."""
    for said in (*(suite.timestamp for suite in report.suites[:1]), own.get("timestamp"), sender.get("timestamp")):
        if isinstance(said, str) and said:
            try:
                time = dt.datetime.fromisoformat(said.strip())
                return _micro((time if time.tzinfo else time.replace(tzinfo=dt.UTC)).astimezone(dt.UTC))
            except (ValueError, OverflowError):
                continue
    return None


def _micro(time: dt.datetime) -> int:
    return (time - _EPOCH) // dt.timedelta(microseconds=1)


def _forbidden(project: str) -> Rejected:
    reason = f"this API key is not for the project {project}"
    return Rejected("Not allowed", reason, is_forbidden=True, suggestion="Use a key of that project.")


def _note(
    connection: sa.Connection,
    at: int,
    kind: str,
    project: str,
    caller: Caller,
    content_hash: bytes | None = None,
    *,
    reason: str = "",
    run_id: int | None = None,
) -> None:
    values = {
        "at": at,
        "kind": kind,
        "project": project,
        "hash": content_hash,
        "reason": shortened(reason, schema.LONGEST_NAME),
        "key_id": caller.key_id,
        "run_id": run_id,
    }
    connection.execute(_INSERT_EVENT, values)


_INSERT_EVENT = sa.insert(schema.event)
_POLICY = sa.select(schema.project.c.accept).where(schema.project.c.name == sa.bindparam("name"))
