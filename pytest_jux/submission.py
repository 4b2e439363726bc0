"""What is to be published by hand: which files are meant, and whether a report is fit to be sent."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_jux.errors import FileProblem, JuxError, ReportNotStored, ReportUnsigned, SignatureBroken
from pytest_jux.files import reason_of
from pytest_jux.metadata import from_properties
from pytest_jux.outcomes import Duplicate, Published, answer_of
from pytest_jux.report import properties_of
from pytest_jux.verifier import SignatureState, Trust, examine_report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pytest_jux.api_client import JuxAPIClient
    from pytest_jux.outcomes import Outcome
    from pytest_jux.storage import ReportStorage

_SUSPICIOUS = 5  # names of one file, through links
_PATTERN = ("*", "?", "[")


class Submission(NamedTuple):
    """A report that may be sent, with the metadata that it carries itself."""

    data: bytes
    canonical_hash: str
    state: SignatureState
    metadata: dict[str, Any]


def examine(data: bytes, *, allow_unsigned: bool = False, project: str = "") -> Submission:
    """Return what is to be sent of a report; `project` is its project's name if it names none itself.

    A signature that is intact, or that cannot be checked for want of a certificate, is left for the server to judge.

    Raises:
        ReportError: it is no report.
        ReportUnsigned, SignatureBroken: it has no signature, or was changed after it was signed.
    """
    found = examine_report(data, Trust())
    if found.state is SignatureState.UNSIGNED and not allow_unsigned:
        raise ReportUnsigned
    if found.state is SignatureState.BROKEN:
        raise SignatureBroken(found.reason)
    metadata = from_properties(properties_of(found.root))
    if project:
        metadata.setdefault("project", project)
    return Submission(data, found.canonical_hash, found.state, metadata)


def examine_file(
    name: str, read: Callable[[str], bytes], *, allow_unsigned: bool = False, project: str = ""
) -> Submission:
    """Return what is to be sent of the report that `read` returns for a name; raises JuxError, as `examine`."""
    try:
        data = read(name)
    except OSError as error:
        raise FileProblem(name, "read", reason_of(error)) from None
    return examine(data, allow_unsigned=allow_unsigned, project=project)


class Submitted(NamedTuple):
    """What came of one report: an outcome, or the error for which it was not sent, or neither: it was not tried.

    `note` is what went wrong beside that.
    """

    name: str
    canonical_hash: str = ""
    outcome: Outcome | None = None
    error: JuxError | None = None
    note: str = ""


def submit(
    names: Iterable[str],
    read: Callable[[str], bytes],
    client: JuxAPIClient,
    *,
    storage: ReportStorage | None = None,
    allow_unsigned: bool = False,
    project: str = "",
    jobs: int = 1,
) -> Iterator[Submitted]:
    """Examine and send reports, `jobs` at a time, and give what came of each as soon as it is known.

    `read` returns the bytes of a name. What `storage` has of them counts as published from then on, unless it waits to
    be sent to another server. When the server is plainly unavailable, the rest is not tried.
    """
    from pytest_jux.publishing import Patience, each  # noqa: PLC0415 - the HTTP library; examining alone needs none

    patience = Patience()

    def send(name: str) -> Submitted:
        if patience.is_over:
            return Submitted(name)
        try:
            fit = examine_file(name, read, allow_unsigned=allow_unsigned, project=project)
            outcome = client.publish(fit.data, fit.metadata, canonical_hash=fit.canonical_hash)
        except JuxError as error:
            return Submitted(name, error=error)
        patience.learn(outcome)
        note = ""
        if storage is not None and isinstance(outcome, (Published, Duplicate)):
            note = _note_in(storage, fit.canonical_hash, outcome, client.url)
        return Submitted(name, fit.canonical_hash, outcome, note=note)

    yield from each(send, names, jobs)


def _note_in(storage: ReportStorage, canonical_hash: str, outcome: Published | Duplicate, url: str) -> str:
    """Let a report that the store has be published; say what stands against it, else ""."""
    from pytest_jux.inventory import Status  # noqa: PLC0415 - where there is no store, nobody asks

    try:
        if storage.find(canonical_hash).status is Status.PUBLISHED:
            return ""
        if storage.entry(canonical_hash).api_url not in {"", url}:
            return "the report store still has it in the queue for another server (jux-cache show tells which)"
        storage.mark_published(canonical_hash, answer_of(outcome))
    except ReportNotStored:
        return ""
    except JuxError as error:
        return f"the server has it, but the report store does not know that: {error}"
    return ""


class Named(NamedTuple):
    """The files that names stand for, each once, and what is wrong with names that stand for none."""

    paths: list[str]
    problems: list[FileProblem]


def is_several(name: str) -> bool:
    """Tell whether a name stands for any number of files: a directory, or a pattern that is no file's name."""
    return _is_directory(name) or (any(sign in name for sign in _PATTERN) and not os.path.lexists(name))


def named_files(names: Iterable[str]) -> Named:
    """Return the files that names stand for: files, `-`, directories and patterns (`**` for any depth).

    Of a directory it is all `*.xml` below it, except hidden ones, in order; so it is of one that a pattern matches.
    """
    paths: dict[str, str] = {}
    problems: list[FileProblem] = []
    for name in names:
        known = len(problems)
        try:
            found = _below_all(_matching(name), problems) if is_several(name) else [name]
        except FileProblem as problem:
            problems.append(problem)
            continue
        for path in found:
            paths.setdefault(path if path == "-" else os.path.realpath(path), path)
        if not found and len(problems) == known:
            reason = "there is no *.xml file in it" if _is_directory(name) else "no file matches it"
            problems.append(FileProblem(name, "publish", reason))
    return Named(list(paths.values()), problems)


def _matching(name: str) -> list[str]:
    if _is_directory(name):
        return [name]
    found: list[str] = []
    distinct: set[str] = set()
    for path in glob.iglob(name, recursive=True):  # noqa: PTH207 - Path.glob takes no absolute pattern
        found.append(path)
        distinct.add(os.path.realpath(path))
        # `**` follows links, and through two of them in a circle there are more ways than anybody can go.
        if len(found) > _SUSPICIOUS * (len(distinct) + _SUSPICIOUS):
            raise FileProblem(name, "publish", "links make it match the same files again and again; name a directory")
    return sorted(found)


def _below_all(paths: Iterable[str], problems: list[FileProblem]) -> list[str]:
    """Return files as they are and the `*.xml` files of directories; note which directories cannot be read."""

    def note(error: OSError) -> None:
        problems.append(FileProblem(error.filename, "read", reason_of(error)))

    found: list[str] = []
    for path in paths:
        if not _is_directory(path):
            found.append(path)
            continue
        for root, directories, files in os.walk(path, onerror=note):
            directories[:] = sorted(name for name in directories if not name.startswith("."))
            reports = (name for name in files if name.lower().endswith(".xml") and not name.startswith("."))
            found += (str(Path(root, name)) for name in sorted(reports))
    return found


def _is_directory(name: str) -> bool:
    return os.path.isdir(name)  # noqa: PTH112 - Path("") is the current directory, and is_dir may raise
