"""Every system call of every operation fails, once and from then on: no false success, no damage, one sentence."""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from crash.interposed import interposed, without_flushing
from crash.reports import files_below

from pytest_jux.canonicalizer import canonical_hash
from pytest_jux.errors import JuxError, StorageError
from pytest_jux.signer import sign_report
from pytest_jux.storage import ReportStorage

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(os.name != "posix", reason="system calls of POSIX")

UNSIGNED, OTHER = (
    f'<testsuites><testsuite name="{name}" tests="1"><testcase name="test"/></testsuite></testsuites>'.encode()
    for name in ("run", "bystander")
)
ID, OTHER_ID = canonical_hash(UNSIGNED), canonical_hash(OTHER)
FIRST = {"hostname": "first", "branch": "main"}

NAMES = {"open", "mkdir", "link", "replace"}  # calls that make a name
CHANGES = NAMES | {"unlink", "chmod", "fchmod", "utime"}
# What may fail, and in which calls it does. The last two are no errors of the system.
FAULTS = {
    "ENOSPC": (errno.ENOSPC, NAMES | {"write", "fsync"}),
    "EDQUOT": (errno.EDQUOT, NAMES | {"write", "fsync"}),
    "EIO": (errno.EIO, CHANGES | {"write", "fsync", "flock", "posix_fadvise"}),
    "EROFS": (errno.EROFS, CHANGES),
    "EACCES": (errno.EACCES, CHANGES),
    "EPERM": (errno.EPERM, CHANGES),
    "EMFILE": (errno.EMFILE, {"open"}),
    "EINTR": (errno.EINTR, {"open", "write", "fsync", "flock"}),
    "ENOLCK": (errno.ENOLCK, {"flock"}),
    "short write": (None, {"write"}),
    "no write": (None, {"write"}),
}


# Without these, nothing is sure to be on the disk. (Where a link fails, there is a copy.)
VITAL = {"fsync", "open directory", "replace", "write", "mkdir"}


@dataclass(frozen=True)
class Operation:
    """Something that is done to a store: what is there before, what is done, and how one sees that it was done."""

    before: Callable[[ReportStorage, bytes], Any]
    act: Callable[[ReportStorage, bytes], Any]
    is_done: Callable[[ReportStorage, bytes], bool]
    reports: str  # which contents may be under the report's name if it fails: U(nsigned), S(igned), -(none)
    keeps: bool = True  # whether what waited still waits, or was refused, if it fails


def claimed(mark):
    def act(store, _):
        with store.claim(ID) as is_ours:
            if is_ours:
                mark(store)
        return is_ours

    return act


def stored(store, data):
    return store.path_of(ID).read_bytes() == data


def waits(store, data, place="queue"):
    directory = store.root / place
    name = ID.replace(":", "-")
    known = json.loads((directory / f"{name}.json").read_bytes()) if (directory / f"{name}.json").exists() else {}
    return known.get("metadata") == FIRST and (directory / f"{name}.xml").read_bytes() == data


def is_free(store, *places):
    return not [path for place in places for path in (store.root / place).glob(f"{ID.replace(':', '-')}*")]


def store_unsigned(store, _):
    store.store(UNSIGNED, ID, FIRST)


def store_signed(store, signed):
    store.store(signed, ID, FIRST)


def enqueue_signed(store, signed):
    store.enqueue(signed, ID, FIRST)


def both(store, signed):
    store_signed(store, signed)
    enqueue_signed(store, signed)


def refused(store, signed):
    enqueue_signed(store, signed)
    assert claimed(lambda store: store.mark_rejected(ID, {"status": 422}))(store, signed)


OPERATIONS = {
    "store the first report": Operation(
        lambda store, _: shutil.rmtree(store.root),
        store_unsigned,
        lambda store, _: stored(store, UNSIGNED) and FIRST.items() <= store.metadata(ID).items(),
        "U-",
    ),
    "store a new report": Operation(
        lambda *_: None,
        store_unsigned,
        lambda store, _: stored(store, UNSIGNED) and FIRST.items() <= store.metadata(ID).items(),
        "U-",
    ),
    "store again": Operation(
        store_unsigned,
        lambda store, _: store.store(UNSIGNED, ID, {"run": "7"}),
        lambda store, _: stored(store, UNSIGNED) and (FIRST | {"run": "7"}).items() <= store.metadata(ID).items(),
        "U",
    ),
    "store signed over unsigned": Operation(
        store_unsigned,
        lambda store, signed: store.store(signed, ID, {"run": "7"}),
        lambda store, signed: stored(store, signed) and (FIRST | {"run": "7"}).items() <= store.metadata(ID).items(),
        "US",
    ),
    "store unsigned over signed": Operation(
        store_signed,
        lambda store, _: store.store(UNSIGNED, ID, {"run": "7"}),
        lambda store, signed: stored(store, signed) and (FIRST | {"run": "7"}).items() <= store.metadata(ID).items(),
        "S",
    ),
    "queue what is stored": Operation(store_signed, enqueue_signed, waits, "S"),
    "queue what is not stored": Operation(lambda *_: None, enqueue_signed, waits, "-"),
    "queue signed what is stored unsigned": Operation(store_unsigned, enqueue_signed, waits, "U"),
    "queue again": Operation(both, enqueue_signed, waits, "S"),
    "publish": Operation(
        both,
        claimed(lambda store: store.mark_published(ID, {"id": 7})),
        lambda store, _: is_free(store, "queue") and store.answer(ID).get("answer") == {"id": 7},
        "S",
        keeps=False,
    ),
    "publish what is not stored": Operation(
        enqueue_signed,
        claimed(lambda store: store.mark_published(ID, {"id": 7})),
        lambda store, _: is_free(store, "queue", "published"),
        "-",
        keeps=False,
    ),
    "reject": Operation(
        both,
        claimed(lambda store: store.mark_rejected(ID, {"status": 422})),
        lambda store, signed: is_free(store, "queue") and waits(store, signed, "rejected"),
        "S",
    ),
    "reject what is not stored": Operation(
        enqueue_signed,
        claimed(lambda store: store.mark_rejected(ID, {"status": 422})),
        lambda store, signed: is_free(store, "queue") and waits(store, signed, "rejected"),
        "-",
    ),
    "queue what was rejected": Operation(
        refused,
        lambda store, _: store.requeue(ID),
        lambda store, signed: is_free(store, "rejected") and waits(store, signed),
        "-",
    ),
    "remove": Operation(
        store_signed,
        lambda store, _: store.remove(store.find(ID)) and store.flush() is None,
        lambda store, _: is_free(store, "reports", "metadata", "published"),
        "S-",
    ),
    "remove what waits": Operation(
        both,
        lambda store, _: store.remove(store.find(ID), queued=True) and store.flush() is None,
        lambda store, _: is_free(store, "reports", "metadata", "published", "queue", "rejected"),
        "S-",
        keeps=False,
    ),
}


class Fault:
    """Let one of the calls fail that may, or that and all after it. Nothing is really flushed: that takes time."""

    def __init__(self, kind: str = "EIO", at: int = -1, *, lasting: bool = False) -> None:
        self.kind = kind
        self.code, self.calls = FAULTS[kind]
        self.at, self.lasting = at, lasting
        self.count = 0
        self.hit = ""

    def observe(self, name: str, call: Any, arguments: Any, keywords: Any) -> Any:
        number = self.count
        self.count += name in self.calls
        if 0 <= self.at <= number and name in self.calls and (self.lasting or number == self.at):
            is_directory = name == "open" and Path(arguments[0]).is_dir()
            self.hit = self.hit or ("open directory" if is_directory else name)
            if self.kind == "short write":
                descriptor, data = arguments
                return call(descriptor, bytes(data[: max(1, len(data) // 3)]))
            if self.kind == "no write":
                return 0
            raise OSError(self.code, os.strerror(self.code), *map(str, arguments[:1]))
        return None if name == "fsync" else call(*arguments, **keywords)


@pytest.fixture(scope="module")
def signed(p256):
    return sign_report(UNSIGNED, p256.key, p256.certificate)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, signed):
    """Return a function that makes a store with what an operation needs, and some reports that it must not touch."""
    made = {}

    def prepare(name, path):
        if name not in made:
            made[name] = tmp_path_factory.mktemp("prepared")
            store = ReportStorage(made[name])
            with interposed(without_flushing):
                store.store(OTHER, OTHER_ID, FIRST)
                store.enqueue(OTHER, OTHER_ID, FIRST)
                OPERATIONS[name].before(store, signed)
        if made[name].exists():
            shutil.copytree(made[name], path)
        return ReportStorage(path)

    return prepare


def content(store, digits):
    return {
        path.relative_to(store.root).as_posix(): path.read_bytes()
        for path in (files_below(store.root) if store.root.exists() else [])
        if digits in path.name
    }


def complaints(store, operation, fault, signed):
    """Do it with a fault, and return what is wrong with how that ends."""
    try:
        with interposed(fault.observe):
            result = operation.act(store, signed)
    except StorageError as error:
        is_clean = error.__cause__ is None and (error.__suppress_context__ or error.__context__ is None)
        return [
            *([] if re.fullmatch(r"cannot [a-z]+ /\S+: [^\n]+", str(error)) else [f"says {error}"]),
            *([] if "Errno" not in str(error) and is_clean else ["shows the system's error"]),
            *([] if fault.kind not in {"short write", "ENOLCK"} else [f"fails: {error}"]),
        ]
    except Exception as error:  # noqa: BLE001 - it is what is looked for
        return [f"leaks {error!r}"]
    if result is False:  # a claim or a removal that says that it was not done
        return []
    if not operation.is_done(store, signed):
        return ["says that it succeeded"]
    may_be_foreign = fault.hit == "open directory" and fault.code in {errno.EACCES, errno.EPERM}
    if fault.hit in VITAL and fault.kind != "short write" and not may_be_foreign:
        return ["says that it succeeded"]
    return []


def damages(store, operation, signed, before):
    """Return what happened to the older entry that must not have."""
    found = []
    name = ID.replace(":", "-")
    report = content(store, ID[7:]).get(f"reports/{name}.xml")
    if report not in [{"U": UNSIGNED, "S": signed, "-": None}[kind] for kind in operation.reports]:
        found.append(f"the report is now {report!r:.60}")
    known = store.metadata(ID)
    if f"metadata/{name}.json" in before and "-" not in operation.reports and not FIRST.items() <= known.items():
        found.append(f"the older metadata is now {known}")
    waited = any(f"{place}/{name}.json" in before for place in ("queue", "rejected"))
    if waited and operation.keeps and not waits_somewhere(store, signed):
        found.append("what waited is gone")
    return found


def waits_somewhere(store, signed):
    return any(
        (store.root / place / f"{ID.replace(':', '-')}.xml").exists() and waits(store, signed, place)
        for place in ("queue", "rejected")
    )


def leftovers(store):
    """Return what is not swept although nothing needs it."""
    store.sweep()
    names = (
        {path.relative_to(store.root).as_posix() for path in files_below(store.root)} if store.root.exists() else set()
    )
    return [f"leaves {name}" for name in sorted(names) if not belongs(name, names)]


def belongs(name, names):
    directory, _, file = name.partition("/")
    stem, _, kind = file.partition(".")
    if directory == "locks":
        return len(file) == 2
    if directory in {"metadata", "published"}:
        return kind == "json" and f"reports/{stem}.xml" in names
    if directory == "reports":
        return kind == "xml"
    return {f"{directory}/{stem}.json", f"{directory}/{stem}.xml"} <= names or f"reports/{stem}.xml" in names


WRITES_NOTHING = {"queue again", "publish what is not stored", "remove", "remove what waits"}
CASES = [
    (name, kind) for name in OPERATIONS for kind in FAULTS if not (name in WRITES_NOTHING and kind.endswith(" write"))
]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_failing_call_is_no_false_success_no_damage_and_one_clear_sentence(prepared, tmp_path, signed, name, kind):
    operation = OPERATIONS[name]
    problems, strikes = [], 0
    for lasting in (False, True):
        for at in itertools.count():
            store = prepared(name, tmp_path / f"{at}-{lasting}")
            before, bystander = content(store, ID[7:]), content(store, OTHER_ID[7:])
            fault = Fault(kind, at, lasting=lasting)
            found = complaints(store, operation, fault, signed)
            if not fault.hit:
                break
            strikes += 1
            found += damages(store, operation, signed, before)
            found += ["changed another report"] if content(store, OTHER_ID[7:]) != bystander else []
            with interposed(without_flushing):
                found += leftovers(store)
                found += retried(store, operation, signed)
            problems += [f"{fault.hit} ({at}, {'from then on' if lasting else 'once'}): {text}" for text in found]
            shutil.rmtree(tmp_path / f"{at}-{lasting}", ignore_errors=True)
    assert not problems, "\n".join(problems)
    assert strikes > 0


def retried(store, operation, signed):
    """Do it once more, now that the system works again."""
    try:
        operation.act(store, signed)
    except JuxError as error:
        if operation.is_done(store, signed):  # there is nothing more to remove, to publish or to queue again
            return []
        return [f"a second try fails: {error!r}"]
    return [] if operation.is_done(store, signed) else ["a second try does nothing"]


@pytest.mark.parametrize("name", OPERATIONS)
def test_without_a_fault_every_operation_does_what_it_says(prepared, tmp_path, signed, name):
    operation = OPERATIONS[name]
    store = prepared(name, tmp_path / "store")
    operation.act(store, signed)
    assert operation.is_done(store, signed)
    assert leftovers(store) == []
