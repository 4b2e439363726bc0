"""Whole files or none: reading with a bound, and writing that a crash, a full disk or another process cannot tear.

What differs between systems (directory fsync, hard links, file modes) is told apart here and nowhere else.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_jux.errors import FileProblem

if TYPE_CHECKING:
    from collections.abc import Iterator

_fcntl: Any = None
_msvcrt: Any = None
try:
    import fcntl

    _fcntl = fcntl
except ImportError:  # Windows
    import msvcrt

    _msvcrt = msvcrt

PRIVATE = 0o600
PUBLIC = 0o644
# Neither follow a link nor wait for the writer of a pipe that somebody put there.
READ_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_PIPE_TIME = 10.0  # seconds
_STRAY_PREFIX = ".jux-"
_STRAY_SUFFIX = ".tmp"
_STRAY_AGE = 24 * 60 * 60  # seconds; where there are no locks, an older one belongs to nobody who still lives
_LOCKED_BYTE = 1 << 30
_NO_LOCKS = {errno.EBADF, errno.ENOLCK, errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}


def reason_of(error: OSError) -> str:
    """Return the system's words for what went wrong, such as `no space left on device`."""
    return (error.strerror or str(error)).lower()


def read_file(path: Path, limit: int) -> bytes:
    """Return the bytes of a file, at most `limit` + 1 of them, so that a caller can tell that there are more.

    Raises:
        FileProblem: it cannot be read.
    """
    try:
        if stat.S_ISFIFO(path.stat().st_mode):
            return _read_pipe(path, limit + 1)
        with path.open("rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise FileProblem(path, "read", reason_of(error)) from None


def _read_pipe(path: Path, size: int) -> bytes:
    """Read a named pipe, as shells make them for `<(…)`, but wait for its writer only so long."""
    import select  # noqa: PLC0415 - hardly anybody passes a pipe

    data = bytearray()
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        while len(data) < size:
            ready, _, _ = select.select([descriptor], [], [], _PIPE_TIME)
            chunk = os.read(descriptor, size - len(data)) if ready else None
            if chunk is None:
                raise FileProblem(path, "read", "nobody writes to this pipe")
            if not chunk:
                break
            data += chunk
    finally:
        os.close(descriptor)
    return bytes(data)


def replace_file(path: Path, data: bytes) -> None:
    """Put `data` in place of the regular file `path` (or of the one that it links to), in one step and for good.

    The file keeps its mode. On any error it keeps its content, too.

    Raises:
        FileProblem: it is not a regular file, or it could not be written.
    """
    try:
        target = Path(os.path.realpath(path, strict=True))
        mode = target.stat().st_mode
        if not stat.S_ISREG(mode):
            raise FileProblem(path, "replace", "it is not a regular file")
        if not os.access(target, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            raise FileProblem(path, "replace", "it is read-only")
        # Old or new, the file is whole after a crash; that its name is flushed, too, is not worth failing for.
        write_atomically(target, data, mode=stat.S_IMODE(mode), sync=False)
    except OSError as error:
        raise FileProblem(path, "replace", reason_of(error)) from None


def save_file(path: Path, data: bytes) -> None:
    """Write `data` to `path`, as `replace_file` does where there is a file, else as a new one under the umask.

    Raises:
        FileProblem: it could not be written, or `path` is something else than a regular file.
    """
    if path.exists() or path.is_symlink():
        replace_file(path, data)
        return
    umask = os.umask(0o077)
    os.umask(umask)
    try:
        write_atomically(path, data, mode=0o666 & ~umask)
    except OSError as error:
        raise FileProblem(path, "write", reason_of(error)) from None


def write_atomically(
    path: Path, data: bytes, *, mode: int = PRIVATE, overwrite: bool = True, sync: bool = True
) -> None:
    """Write `data` under a temporary name beside `path`, flush it to the disk, then give it its name.

    The file has `mode` from its first byte on. With `sync`, its name is on the disk, too, on return. Without
    `overwrite`, an existing file is kept and FileExistsError raised. Raises OSError; nothing is left behind then.
    """
    with new_file(path.parent, data, mode) as file:
        file.move_to(path, overwrite=overwrite)
    if sync:
        sync_directory(path.parent)


class OpenFile:
    """A file held open and locked; the system gives the lock up when its owner dies, so no stale one can exist."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self.descriptor = descriptor
        self.path = path
        self.is_locked = False
        self._is_flushed = False

    def lock(self) -> bool:
        """Try to get the lock; true also where the filesystem has no locks, in which case `is_locked` stays false."""
        is_ours, self.is_locked = _try_lock(self.descriptor)
        return is_ours

    def flush(self) -> None:
        """Wait until the content is on the disk."""
        os.fsync(self.descriptor)
        self._is_flushed = True

    def is_at(self, path: Path) -> bool:
        """Tell whether `path` still names this very file."""
        try:
            return os.path.samestat(os.fstat(self.descriptor), path.lstat())
        except FileNotFoundError:
            return False

    def move_to(self, path: Path, *, overwrite: bool = True) -> None:
        """Give the file its name, in one step and only when its content is on the disk.

        Without `overwrite`, raises FileExistsError where the name is taken.
        """
        if not self._is_flushed:
            self.flush()
        if sys.platform == "win32":  # where an open file cannot be renamed
            self.close()
        if overwrite:
            self.path.replace(path)
        else:
            _rename_without_overwriting(self.path, path)
        self.path = path

    def close(self) -> None:
        """Give the lock up; a second time does nothing."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


@contextlib.contextmanager
def new_file(directory: Path, data: bytes, mode: int = PRIVATE, *, flush: bool = True) -> Iterator[OpenFile]:
    """Write `data` to a temporary file in `directory` and flush it; it is removed unless it was moved meanwhile.

    Without `flush`, the system only begins to write it to the disk, and moving it waits for that.
    It is locked until the end, so that `sweep_strays` can tell it from one that a killed process left behind. Raises
    OSError.
    """
    file = _temporary_file(directory)
    temporary = file.path
    try:
        write_all(file.descriptor, data)
        if hasattr(os, "fchmod"):  # also where it is mkstemp's own mode: a umask may have taken bits away
            os.fchmod(file.descriptor, mode)
        if flush:
            file.flush()
        elif hasattr(os, "posix_fadvise"):
            with contextlib.suppress(OSError):  # it is advice
                os.posix_fadvise(file.descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        yield file
    finally:
        if sys.platform == "win32":  # where an open file cannot be removed
            file.close()
        if file.path == temporary:
            with contextlib.suppress(OSError):
                temporary.unlink()
        file.close()


@contextlib.contextmanager
def locked(path: Path, *, seconds: float) -> Iterator[None]:
    """Hold the lock that the file `path` stands for, and that nothing else is in; it is made where it is missing.

    Waits for other owners at most so long. Where the filesystem has no locks, this excludes nobody. Raises `Busy`, or
    another OSError.
    """
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    file = OpenFile(os.open(path, flags, PRIVATE), path)
    try:
        for _ in _attempts(path, seconds):
            if file.lock():
                break
        yield
    finally:
        file.close()


def claimed(path: Path) -> OpenFile | None:
    """Open a regular file and lock it without waiting; None if there is none. The caller closes it.

    Raises `Busy`, or another OSError: ELOOP for a link, EINVAL for anything else that is not a regular file.
    """
    flags = READ_FLAGS | os.O_RDWR  # some network filesystems lock only what is open for writing
    for _ in _attempts(path, 1.0):
        try:
            file = OpenFile(open_regular(path, flags), path)
        except FileNotFoundError:
            return None
        try:
            is_ours = file.lock()
            if is_ours and file.is_at(path):
                return file
        except BaseException:
            file.close()
            raise
        file.close()
        if not is_ours:
            raise Busy(path)
        # It was replaced between its opening and its lock.
    raise Busy(path)


def open_regular(path: Path, flags: int) -> int:
    """Open a regular file and return its descriptor; raises OSError, for anything else with EINVAL or ELOOP."""
    try:
        descriptor = os.open(path, flags)
    except IsADirectoryError:
        raise OSError(errno.EINVAL, "it is not a regular file") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file")
    return descriptor


def read_regular(path: Path, limit: int = -1) -> bytes:
    """Return the bytes of a regular file, at most `limit` of them; raises OSError, as `open_regular`."""
    with os.fdopen(open_regular(path, READ_FLAGS), "rb") as file:
        return file.read(limit)


class Busy(OSError):
    """Another process holds the lock of a file."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.EAGAIN, "another process is using it", str(path))


def sweep_strays(directory: Path) -> int:
    """Remove temporary files whose writer is dead, and return how many; what cannot be removed is left."""
    removed = 0
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.startswith(_STRAY_PREFIX) and entry.name.endswith(_STRAY_SUFFIX):
                with contextlib.suppress(OSError):
                    removed += _remove_stray(Path(entry.path))
    return removed


def _remove_stray(path: Path) -> bool:
    import time  # noqa: PLC0415 - only who locks needs it

    is_old = time.time() - path.lstat().st_mtime >= _STRAY_AGE
    file = claimed(path)
    if file is None:
        return False
    try:
        if not file.is_locked and not is_old:
            return False
        if sys.platform == "win32":
            file.close()
        path.unlink()
    finally:
        file.close()
    return True


def _temporary_file(directory: Path) -> OpenFile:
    """Make a locked temporary file; between its creation and its lock, somebody may have swept it away."""
    import tempfile  # noqa: PLC0415 - it loads five compression libraries, and who only reads needs none

    for _ in _attempts(directory, 1.0):
        descriptor, name = tempfile.mkstemp(prefix=_STRAY_PREFIX, suffix=_STRAY_SUFFIX, dir=directory)  # 0600, O_EXCL
        file = OpenFile(descriptor, Path(name))
        is_ours = False
        try:
            is_ours = file.lock() and file.is_at(file.path)
            if is_ours:
                return file
        finally:
            if not is_ours:
                file.close()
                with contextlib.suppress(OSError):
                    file.path.unlink()
    raise Busy(directory)


def _attempts(path: Path, seconds: float) -> Iterator[None]:
    """Give a number of attempts, at least one, in growing intervals; raise `Busy` when the time is over."""
    import time  # noqa: PLC0415 - only who locks needs it

    give_up = time.monotonic() + seconds
    pause = 0.001
    while True:
        yield
        if time.monotonic() >= give_up:
            raise Busy(path)
        time.sleep(pause)
        pause = min(2 * pause, 0.05)


def _try_lock(descriptor: int) -> tuple[bool, bool]:
    """Lock a file for its descriptor alone; return whether it may be used, and whether that is for a lock."""
    try:
        if _fcntl is not None:
            _fcntl.flock(descriptor, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
        else:  # one byte, which nobody else can then read, so it is one far behind the end
            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            try:
                _msvcrt.locking(descriptor, _msvcrt.LK_NBLCK, 1)
            finally:
                os.lseek(descriptor, 0, os.SEEK_SET)
    except OSError as error:
        if error.errno in {errno.EAGAIN, errno.EACCES, errno.EDEADLK}:
            return False, False
        if error.errno not in _NO_LOCKS:
            raise
        return True, False
    return True, True


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte: a short write is not an error to the system, but half a report is one to us."""
    view = memoryview(data)
    while view:
        written = os.write(descriptor, view)
        if written == 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        view = view[written:]


def sync_directory(path: Path) -> None:
    """Flush a directory's names to the disk, where the system can (Windows cannot open directories)."""
    if sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:  # some network filesystems have nothing to flush
            raise
    finally:
        os.close(descriptor)


def make_private_directory(path: Path) -> None:
    """Make a directory and its missing parents for their owner alone (0700, whatever the umask); raises OSError."""
    if path.is_dir():
        return
    if path.parent != path and not path.parent.is_dir():
        make_private_directory(path.parent)
    with contextlib.suppress(PermissionError):  # in what belongs to others, we cannot have made the parent
        # Whoever puts the first name into a directory makes sure that the directory's own is on the disk: the process
        # that made it may have been killed before it could.
        sync_directory(path.parent.parent)
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        if not path.is_dir():
            raise
        return
    path.chmod(0o700)
    sync_directory(path.parent)


def _rename_without_overwriting(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # no hard links here, or none to this file
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        temporary.replace(path)
    else:
        with contextlib.suppress(OSError):  # it has its name; a second one does no harm
            temporary.unlink()
