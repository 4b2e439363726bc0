"""Reports that come from elsewhere or go there: on their own, or as a bundle, one file with all that is known of it.

A bundle is a ZIP archive with exactly two entries, `metadata.json` and `report.xml`. What is in one is not believed:
everything is bounded before it is read, and the report's identity is computed anew.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
import zlib
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from pytest_jux.canonicalizer import canonical_hash
from pytest_jux.document import DEFAULT_LIMITS
from pytest_jux.errors import JuxError, ReportNotStored, ReportRefused, ReportTooLarge
from pytest_jux.verifier import SignatureState, Trust, examine_report

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_jux.inventory import StoredReport
    from pytest_jux.storage import ReportStorage

REPORT = "report.xml"
METADATA = "metadata.json"
LARGEST_METADATA = 1_000_000  # bytes
_DEEPEST_METADATA = 8  # levels, of which ours has two

_COMPUTED_SIZE = 10_000  # bytes of what a store adds
_COMPUTED = (
    "canonical_hash",
    "file_sha256",
    "signed",
    "stored_at",
    "summary",
)  # what a store says itself about each of its reports
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a ZIP archive can have
_OWNER_ALONE = 0o100600 << 16
_UNIX = 3
_END = b"PK\x05\x06"
_END_SIZE = 22
_LOCATOR_64 = b"PK\x06\x07"
_LOCATOR_64_SIZE = 20
_LARGEST_DIRECTORY = 4096  # bytes, of which two entries need some hundred
_ENCRYPTED = 0x1
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError)


class BundleRefused(JuxError):
    """A file is not a bundle, or not one that can be believed."""

    hint = "Bundles are made with jux-cache export."

    def __init__(self, reason: str) -> None:
        super().__init__(f"bundle refused: {reason}")
        self.reason = reason


class ReportDamaged(JuxError):
    """The content of a stored report is not what its name says."""

    hint = "jux-cache verify tells more."

    def __init__(self, identity: str) -> None:
        super().__init__(f"the stored report {identity} is damaged: its content is not what was stored")
        self.identity = identity


class Arrival(StrEnum):
    """What storing a report changed: it is new, was there already, or one copy of it is preferred to another."""

    STORED = "stored"
    UNCHANGED = "unchanged"
    REPLACED = "replaced"
    KEPT = "kept"


class Received(NamedTuple):
    """A report that was taken into a store."""

    stored: StoredReport
    arrival: Arrival


class Bundle(NamedTuple):
    """The exact bytes of a report, its identity as computed from them, and what was known about it."""

    report: bytes
    canonical_hash: str
    metadata: dict[str, Any]


def receive(
    storage: ReportStorage, data: bytes, metadata: Mapping[str, Any] | None = None, *, queue: bool = False
) -> Received:
    """Store a report of any runner, signed or not, with its metadata; with `queue`, it waits to be published, too.

    Raises:
        ReportError: it is no report, or its signature is broken.
        StorageError: it was not stored, or not queued.
    """
    found = examine_report(data, Trust())
    if found.state is SignatureState.BROKEN:
        raise ReportRefused(f"its signature is broken: {found.reason}")
    identity, summary = found.canonical_hash, found.report.summary
    before = _stored_content(storage, identity)
    signed = found.state is not SignatureState.UNSIGNED
    stored = storage.store(data, identity, metadata, signed=signed, summary=summary)
    after = data if before is None or before == data else storage.read(identity)
    if queue:
        storage.enqueue(after, identity, {**(metadata or {}), "summary": summary.to_dict()})
        stored = storage.find(identity)
    if before is None:
        return Received(stored, Arrival.STORED)
    if before == data:
        return Received(stored, Arrival.UNCHANGED)
    return Received(stored, Arrival.REPLACED if after == data else Arrival.KEPT)


def export(storage: ReportStorage, identity: str) -> bytes:
    """Return the bundle of the stored report with this full hash; the same report always gives the same bytes.

    Raises:
        ReportNotStored, StorageError: it is not there, or cannot be read.
        ReportDamaged: its content is not what its name says.
    """
    report = storage.read(identity)
    try:
        found = canonical_hash(report)
    except JuxError:
        found = ""
    if found != identity:
        raise ReportDamaged(identity)
    return pack(report, {**storage.metadata(identity), "canonical_hash": identity})


def pack(report: bytes, metadata: Mapping[str, Any]) -> bytes:
    """Return a bundle of a report and its metadata, which names the report's hash as `canonical_hash`."""
    record = json.dumps(metadata, indent=1, sort_keys=True, ensure_ascii=True).encode()
    if len(record) > LARGEST_METADATA:  # as short as it can be: whatever was imported can be exported
        record = json.dumps(metadata, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    if len(record) > LARGEST_METADATA + _COMPUTED_SIZE:
        raise BundleRefused(f"the metadata has more than {LARGEST_METADATA:,} bytes")
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in ((METADATA, record), (REPORT, report)):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = _UNIX  # also where it is not, for the same bytes
            entry.external_attr = _OWNER_ALONE
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return target.getvalue()


def unpack(data: bytes) -> Bundle:
    """Return what is in a bundle, after checking that it is the report that it says it is.

    The metadata is what the bundle's maker says; what a store computes itself is left out of it.

    Raises:
        BundleRefused: it is no bundle, or one that cannot be believed.
        ReportError: its report is none, or one that is not read.
    """
    _check_end(data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _check_entries(entries)
            sizes = {METADATA: LARGEST_METADATA, REPORT: DEFAULT_LIMITS.bytes}
            contents = {entry.filename: _read(archive, entry, sizes[entry.filename]) for entry in entries}
    except _UNREADABLE as error:
        raise BundleRefused(f"it is a damaged ZIP archive ({_reason_of(error)})") from None
    metadata = _parse(contents[METADATA])
    identity = canonical_hash(contents[REPORT])
    if metadata.get("canonical_hash") != identity:
        raise BundleRefused(f"its report is {identity}, which is not the one that its metadata names")
    known = {name: value for name, value in metadata.items() if name not in _COMPUTED}
    return Bundle(contents[REPORT], identity, known)


# --- parts -----------------------------------------------------------------------------------------------------------


def _stored_content(storage: ReportStorage, identity: str) -> bytes | None:
    """Return what is stored under this hash; None where it only waits or was rejected, or is not there."""
    try:
        if storage.find(identity).path != storage.path_of(identity):
            return None
        return storage.read(identity)
    except ReportNotStored:
        return None


def _check_end(data: bytes) -> None:
    """Refuse what is no plain ZIP archive with a short directory, before anything reads that directory.

    The end of central directory record (APPNOTE 4.3.16) must be the end of the file, which leaves no other reading.
    """
    end = data[-_END_SIZE:]
    if len(end) < _END_SIZE or not end.startswith(_END) or end[-2:] != b"\0\0":
        raise BundleRefused("it is not a ZIP archive" if data[:2] != b"PK" else "it has no proper end")
    if data[-_END_SIZE - _LOCATOR_64_SIZE :].startswith(_LOCATOR_64):
        raise BundleRefused("it is a ZIP64 archive")
    if int.from_bytes(end[12:16], "little") > _LARGEST_DIRECTORY:
        raise BundleRefused("it has more entries than a report and its metadata")


def _check_entries(entries: list[zipfile.ZipInfo]) -> None:
    if sorted(entry.filename for entry in entries) != [METADATA, REPORT]:
        raise BundleRefused(f"it must have {METADATA} and {REPORT}, each once, and nothing else")
    for entry in entries:
        if entry.flag_bits & _ENCRYPTED:
            raise BundleRefused(f"{entry.filename} is encrypted")
        if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise BundleRefused(f"{entry.filename} is compressed in a way that bundles are not")


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limit: int) -> bytes:
    """Read an entry, whatever it claims, no further than its limit."""
    with archive.open(entry) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        if entry.filename == REPORT:
            raise ReportTooLarge("bytes", limit)
        raise BundleRefused(f"{entry.filename} has more than {limit:,} bytes")
    return content


def _parse(content: bytes) -> dict[str, Any]:
    try:
        metadata = json.loads(content, parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        raise BundleRefused(f"{METADATA} is not JSON") from None
    if not isinstance(metadata, dict):
        raise BundleRefused(f"{METADATA} is not a JSON object")
    if _is_deeper(metadata, _DEEPEST_METADATA):
        raise BundleRefused(f"{METADATA} is nested more than {_DEEPEST_METADATA} levels deep")
    return metadata


def _is_deeper(value: object, levels: int) -> bool:
    """Tell whether JSON values are nested deeper than that; `levels` bounds the recursion, too."""
    if not isinstance(value, (dict, list)):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(item, levels - 1) for item in inner)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _reason_of(error: Exception) -> str:
    return str(error).partition("\n")[0][:200] or type(error).__name__
