"""Eight processes do everything at once in one store and are killed all the time; a ninth reads without a pause.

Run as a program with the store's root, a seed and a number of kills; prints what happened as JSON. It forks, which a
process with threads (pytest under xdist) must not.
"""

from __future__ import annotations

import json
import os
import random
import selectors
import signal
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from crash.reports import LARGE, identity, problem_of, report

from pytest_jux.errors import JuxError, ReportNotStored
from pytest_jux.storage import ReportStorage

WRITERS = 8
CONTESTED = range(12)  # numbers of the reports that everybody stores, queues and removes; two of them are large
CALLS = ("open", "write", "fsync", "link", "unlink", "replace", "mkdir", "utime", "close", "fchmod")


def size_of(number: int) -> int:
    """Return how large the report with this number is."""
    return LARGE if number in {0, 1} or number % 97 == 0 else 0


def main() -> None:
    """Start, kill and start again."""
    root, seed, kills = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    os.umask(0)
    chance = random.Random(seed)  # noqa: S311 - chance, not a secret
    stop_reading, reader = start_reader(root)
    writers = selectors.DefaultSelector()
    result = {"attempts": [], "violations": [], "kills": 0, "unfinished": 0}
    lives = WRITERS
    for life in range(1, WRITERS + 1):
        start_writer(root, writers, chance, life)
    while result["kills"] < kills:
        next_death = min(key.data["dies_at"] for key in writers.get_map().values())
        for key, _ in writers.select(max(0.0, min(1.0, next_death - time.monotonic()))):
            if not receive(key):
                bury(writers, key, result)
                lives += 1
                start_writer(root, writers, chance, lives)
        for key in list(writers.get_map().values()):
            if key.data["dies_at"] <= time.monotonic():
                os.kill(key.data["pid"], signal.SIGKILL)
                key.data["dies_at"] = float("inf")  # now its end of the pipe closes
    for key in list(writers.get_map().values()):
        os.kill(key.data["pid"], signal.SIGKILL)
        while receive(key):
            pass
        bury(writers, key, result)
    os.close(stop_reading)
    passes = json.loads(read_all(reader))
    result["violations"] += passes["violations"]
    result["passes"] = passes["passes"]
    json.dump(result, sys.stdout)


def read_all(descriptor: int) -> bytes:
    """Return what comes until the other end is closed."""
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


# --- writers ---------------------------------------------------------------------------------------------------------


def start_writer(root: Path, writers: selectors.BaseSelector, chance: random.Random, life: int) -> None:
    """Fork a process that works until it is killed: by us after a while, or by itself at a chosen system call."""
    ours, theirs = os.pipe()
    seed = chance.random()
    calls = chance.randrange(1, 120) if chance.random() < 0.6 else 0
    pid = os.fork()
    if pid == 0:
        try:
            work(root, theirs, random.Random(seed), life, calls)  # noqa: S311 - as above
        except BaseException:  # noqa: BLE001 - the border of a process
            say(theirs, "V", traceback.format_exc().replace("\n", "|"))
        finally:
            os._exit(1)
    os.close(theirs)
    # A hang guard where it is to die by its own hand.
    dies_at = time.monotonic() + (20.0 if calls else chance.uniform(0.002, 0.08))
    writers.register(ours, selectors.EVENT_READ, {"pid": pid, "dies_at": dies_at, "heard": bytearray()})


def say(descriptor: int, *words: object) -> None:
    """Write one line, in one piece."""
    os.writev(descriptor, [(" ".join(str(word) for word in words))[:4000].encode() + b"\n"])


def die_at(calls: int) -> None:
    """Make the process kill itself at its n-th system call that matters, before or after it."""
    left = calls

    def deadly(call):
        def counted(*arguments, **keywords):
            nonlocal left
            left -= 1
            if left == 0 and calls % 2:
                os.kill(os.getpid(), signal.SIGKILL)
            result = call(*arguments, **keywords)
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return counted

    for name in CALLS:
        setattr(os, name, deadly(getattr(os, name)))


def work(root: Path, out: int, chance: random.Random, life: int, calls: int) -> None:
    """Do one thing after the other, and say before and after each what it is."""
    store = ReportStorage(root)
    if calls:
        die_at(calls)
    unique = life * 1000
    weights = {store_one: 40, enqueue: 18, publish: 10, reject: 5, requeue: 5, remove: 14, sweep: 6, look: 2}
    deeds = chance.choices([*weights], [*weights.values()], k=100_000)
    for deed in deeds:
        unique += 1
        number = unique if deed in {store_one, enqueue} and chance.random() < 0.5 else chance.choice(CONTESTED)
        try:
            deed(store, out, number, chance)
        except ReportNotStored:  # removed or published by another meanwhile
            say(out, "E", deed.__name__, number, time.monotonic_ns())
        except JuxError as error:
            say(out, "V", f"{deed.__name__} {number}: {error}")
            return


def begin(out: int, deed: str, number: int, seen: int = 0) -> None:
    say(out, "B", deed, number, time.monotonic_ns(), seen)


def end(out: int, deed: str, number: int) -> None:
    say(out, "A", deed, number, time.monotonic_ns())


def store_one(store: ReportStorage, out: int, number: int, _: random.Random) -> None:
    data = report(number, size_of(number))
    begin(out, "store_one", number)
    entry = store.store(data, identity(data), {"number": number})
    end(out, "store_one", number)
    if entry.size != len(data):
        say(out, "V", f"stored {number} with {entry.size} of {len(data)} bytes")


def enqueue(store: ReportStorage, out: int, number: int, _: random.Random) -> None:
    data = report(number, size_of(number))
    begin(out, "enqueue", number)
    store.enqueue(data, identity(data), {"number": number})
    end(out, "enqueue", number)


def publish(store: ReportStorage, out: int, number: int, _: random.Random) -> None:
    data = report(number, size_of(number))
    begin(out, "publish", number)
    with store.claim(identity(data)) as claimed:
        if claimed:
            store.mark_published(identity(data), {"id": number})
    end(out, "publish", number)


def reject(store: ReportStorage, out: int, number: int, _: random.Random) -> None:
    data = report(number, size_of(number))
    begin(out, "reject", number)
    with store.claim(identity(data)) as claimed:
        if claimed:
            store.mark_rejected(identity(data), {"status": 400})
    end(out, "reject", number)


def requeue(store: ReportStorage, out: int, number: int, _: random.Random) -> None:
    data = report(number, size_of(number))
    if (store.rejected / f"{identity(data).replace(':', '-')}.json").exists():
        begin(out, "requeue", number)
        store.requeue(identity(data))
        end(out, "requeue", number)


def remove(store: ReportStorage, out: int, number: int, chance: random.Random) -> None:
    data = report(number, size_of(number))
    entry = store.find(identity(data))
    begin(out, "remove", number, time.monotonic_ns())
    if chance.random() < 0.5:
        time.sleep(chance.random() / 500)  # so that others store again what was listed
    if store.remove(entry):
        store.flush()
    end(out, "remove", number)


def sweep(store: ReportStorage, out: int, number: int, _: random.Random) -> None:
    store.sweep()


def look(store: ReportStorage, out: int, number: int, _: random.Random) -> None:
    store.statistics()
    store.list(limit=20)


# --- what the parent hears -------------------------------------------------------------------------------------------


def receive(key: selectors.SelectorKey) -> bool:
    """Keep what a writer says; false at its end."""
    data = os.read(key.fd, 65536)
    key.data["heard"] += data
    return bool(data)


def bury(writers: selectors.BaseSelector, key: selectors.SelectorKey, result: dict) -> None:
    """Record what a dead writer had said it would do, and what of it it acknowledged."""
    _, status = os.waitpid(key.data["pid"], 0)
    died = time.monotonic_ns()
    writers.unregister(key.fd)
    os.close(key.fd)
    result["kills"] += os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    current = None
    for line in key.data["heard"].decode().splitlines():
        kind, rest = line[0], line[2:]
        if kind == "V":
            result["violations"].append(rest)
            continue
        deed, number, when, *seen = rest.split()
        if kind == "B":
            current = [deed, int(number), int(when), 0, int(seen[0]), False]
            result["attempts"].append(current)
        elif current is not None:
            current[3] = int(when)
            current[5] = kind == "A"
            current = None
    if current is not None:
        current[3] = died
        result["unfinished"] += 1


# --- the reader ------------------------------------------------------------------------------------------------------


def start_reader(root: Path) -> tuple[int, int]:
    """Fork the process that reads until told to stop; returns where to tell it, and where it answers."""
    stopped, stop = os.pipe()
    answer, answering = os.pipe()
    if os.fork() == 0:
        os.close(stop)
        os.close(answer)
        try:
            found = read_without_a_pause(root, stopped)
        except BaseException:  # noqa: BLE001 - the border of a process
            found = {"passes": 0, "violations": [traceback.format_exc()]}
        os.write(answering, json.dumps(found).encode()[:60000])
        os._exit(0)
    os.close(stopped)
    os.close(answering)
    return stop, answer


def read_without_a_pause(root: Path, stopped: int) -> dict:
    """Look at everything under a final name, again and again."""
    violations: list[str] = []
    passes = 0
    chance = random.Random(0)  # noqa: S311 - as above
    with selectors.DefaultSelector() as stop:
        stop.register(stopped, selectors.EVENT_READ)
        while not stop.select(0) and len(violations) < 20:
            passes += 1
            for directory in ("reports", "metadata", "queue", "rejected", "published"):
                try:
                    names = os.listdir(root / directory)  # noqa: PTH208 - names will do
                except FileNotFoundError:
                    continue
                names = [name for name in names if not name.startswith(".")]
                for name in chance.sample(names, min(40, len(names))):
                    violations += look_at(root / directory / name)
    return {"passes": passes, "violations": violations}


def look_at(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            problem = problem_of(path, file.read())
    except FileNotFoundError:
        return []
    return [*([problem] if problem else []), *([f"mode {mode:o}: {path}"] if mode != 0o600 else [])]


if __name__ == "__main__":
    main()
