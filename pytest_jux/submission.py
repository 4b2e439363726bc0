"""What is to be published by hand: which files are meant, and whether a report is fit to be sent."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_jux.errors import FileProblem, JuxError, ReportNotStored, ReportUnsigned, SignatureBroken
from pytest_jux.metadata import from_properties
from pytest_jux.outcomes import Duplicate, Published
from pytest_jux.report import properties_of
from pytest_jux.verifier import SignatureState, Trust, examine_report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pytest_jux.api_client import JuxAPIClient
    from pytest_jux.outcomes import Outcome
    from pytest_jux.storage import ReportStorage

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

    `read` returns the bytes of a name. What `storage` has of them counts as published from then on. When the server is
    plainly unavailable, the rest is not tried.
    """
    from pytest_jux.publishing import Patience, each  # noqa: PLC0415 - the HTTP library; examining alone needs none

    patience = Patience()

    def send(name: str) -> Submitted:
        if patience.is_over:
            return Submitted(name)
        try:
            fit = examine(read(name), allow_unsigned=allow_unsigned, project=project)
            outcome = client.publish(fit.data, fit.metadata, canonical_hash=fit.canonical_hash)
        except JuxError as error:
            return Submitted(name, error=error)
        patience.learn(outcome)
        note = ""
        if storage is not None and isinstance(outcome, (Published, Duplicate)):
            note = _note_in(storage, fit.canonical_hash, outcome)
        return Submitted(name, fit.canonical_hash, outcome, note=note)

    yield from each(send, names, jobs)


def _note_in(storage: ReportStorage, canonical_hash: str, outcome: Published | Duplicate) -> str:
    """Let a report that the store has be published; say why that could not be noted, else ""."""
    from pytest_jux.inventory import Status  # noqa: PLC0415 - where there is no store, nobody asks

    try:
        if storage.find(canonical_hash).status is not Status.PUBLISHED:
            known = {"id": outcome.id, "url": outcome.url, "message": outcome.message}
            storage.mark_published(canonical_hash, known)
    except ReportNotStored:
        pass
    except JuxError as error:
        return f"published, but the report store does not know it: {error}"
    return ""


def is_several(name: str) -> bool:
    """Tell whether a name stands for any number of files: a directory, or a pattern that is no file's name."""
    return os.path.isdir(name) or (_has_pattern(name) and not os.path.lexists(name))  # noqa: PTH112 - "" is no path


def named_files(names: Iterable[str]) -> Iterator[str]:
    """Give the files that names stand for, each once: files, `-`, directories and patterns (`**` for any depth).

    Of a directory it is all `*.xml` below it, except hidden ones, in order.

    Raises:
        FileProblem: a directory or a pattern stands for none.
    """
    seen: set[str] = set()
    for name in names:
        found = _below(Path(name)) if Path(name).is_dir() else _matching(name) if is_several(name) else [name]
        is_empty = True
        for path in found:
            is_empty = False
            key = path if path == "-" else os.path.realpath(path)
            if key not in seen:
                seen.add(key)
                yield path
        if is_empty:
            reason = "there is no *.xml file in it" if Path(name).is_dir() else "no file matches it"
            raise FileProblem(name, "publish", reason)


def _below(directory: Path) -> Iterator[str]:
    """Give the `*.xml` files of a directory tree; one whose directories cannot be read is not taken for empty."""

    def fail(error: OSError) -> None:
        raise FileProblem(error.filename, "read", (error.strerror or str(error)).lower())

    for root, directories, files in os.walk(directory, onerror=fail):
        directories[:] = sorted(name for name in directories if not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(".xml") and not name.startswith("."):
                yield str(Path(root, name))


def _matching(pattern: str) -> Iterator[str]:
    paths = sorted(glob.iglob(pattern, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
    return (path for path in paths if not Path(path).is_dir())


def _has_pattern(name: str) -> bool:
    return any(sign in name for sign in _PATTERN)
