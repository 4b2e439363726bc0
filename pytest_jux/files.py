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

from pytest_jux.errors import FileProblem

PRIVATE = 0o600
PUBLIC = 0o644


def reason_of(error: OSError) -> str:
    """Return the system's words for what went wrong, such as `no space left on device`."""
    return (error.strerror or str(error)).lower()


def read_file(path: Path, limit: int) -> bytes:
    """Return the bytes of a file, at most `limit` + 1 of them, so that a caller can tell that there are more.

    Raises:
        FileProblem: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise FileProblem(path, "read", reason_of(error)) from None


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
    import tempfile  # noqa: PLC0415 - it loads five compression libraries, and who only reads needs none

    descriptor, name = tempfile.mkstemp(prefix=".jux-", suffix=".tmp", dir=path.parent)  # 0600, O_EXCL
    temporary = Path(name)
    try:
        try:
            write_all(descriptor, data)
            if hasattr(os, "fchmod"):  # also where it is mkstemp's own mode: a umask may have taken bits away
                os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if overwrite:
            temporary.replace(path)
        else:
            _rename_without_overwriting(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    if sync:
        sync_directory(path.parent)


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
    if not path.parent.is_dir():
        make_private_directory(path.parent)
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        if not path.is_dir():
            raise
        return
    path.chmod(0o700)


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
        temporary.unlink()
