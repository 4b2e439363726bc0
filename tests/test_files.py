"""Whole files or none: what is left on the disk when writing succeeds, and when it does not."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from foreign_systems import pretend_windows
from hypothesis import given
from hypothesis import strategies as st

from pytest_jux import files
from pytest_jux.errors import FileProblem
from pytest_jux.files import read_file

NEW = b"new content\r\n" * 100
OLD = b"old content"

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes, links and special files of POSIX")


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "report.xml"
    path.write_bytes(OLD)
    return path


def failing(code):
    def fail(*_, **__):
        raise OSError(code, os.strerror(code))

    return fail


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


# --- reading ---------------------------------------------------------------------------------------------------------


def test_a_file_is_read_whole_up_to_the_limit(old):
    assert files.read_file(old, len(OLD)) == OLD


def test_one_byte_over_the_limit_shows_that_there_is_more(old):
    assert files.read_file(old, 3) == OLD[:4]


def test_a_missing_file_is_named_with_the_systems_reason(tmp_path):
    with pytest.raises(FileProblem) as caught:
        files.read_file(tmp_path / "none.xml", 10)
    assert str(caught.value) == f"cannot read {tmp_path / 'none.xml'}: no such file or directory"


def test_an_error_without_the_systems_words_still_has_some():
    assert files.reason_of(OSError("odd")) == "odd"


# --- replacing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o666, 0o755])
def test_a_replaced_file_keeps_its_mode(old, mode):
    old.chmod(mode)
    files.replace_file(old, NEW)
    assert (old.read_bytes(), mode_of(old)) == (NEW, mode)


def test_a_replaced_file_is_a_new_file_so_that_readers_of_the_old_one_are_not_torn(old):
    with old.open("rb") as reader:
        files.replace_file(old, NEW)
        assert reader.read() == OLD


def test_replacing_through_a_link_changes_the_target_and_keeps_the_link(old, tmp_path):
    link = tmp_path / "link.xml"
    link.symlink_to(old.name)
    files.replace_file(link, NEW)
    assert link.is_symlink()
    assert old.read_bytes() == NEW


def test_replacing_leaves_nothing_else_behind(old):
    files.replace_file(old, NEW)
    assert [path.name for path in old.parent.iterdir()] == [old.name]


def test_a_fifo_is_refused_without_waiting_for_a_reader(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(FileProblem, match="it is not a regular file"):
        files.replace_file(tmp_path / "fifo", NEW)
    assert stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)


def test_a_directory_is_refused(tmp_path):
    with pytest.raises(FileProblem, match="it is not a regular file"):
        files.replace_file(tmp_path, NEW)


def test_a_device_is_refused():
    with pytest.raises(FileProblem, match="it is not a regular file"):
        files.replace_file(Path("/dev/null"), NEW)


def test_what_is_not_there_is_not_replaced(tmp_path):
    with pytest.raises(FileProblem, match=r"cannot replace .*: no such file or directory"):
        files.replace_file(tmp_path / "none.xml", NEW)
    assert not [*tmp_path.iterdir()]


def in_a_process_without_rights(prefix, code, path):
    return subprocess.run(
        [*prefix, sys.executable, "-c", f"import sys, pathlib; path = pathlib.Path(sys.argv[1])\n{code}", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )


REPLACE = """
from pytest_jux.files import replace_file
from pytest_jux.errors import FileProblem
try:
    replace_file(path, b"new")
except FileProblem as error:
    print(error)
"""


def test_a_read_only_file_is_refused_although_its_directory_could_be_changed(old, without_root_rights):
    old.chmod(0o444)
    done = in_a_process_without_rights(without_root_rights, REPLACE, old)
    assert done.stdout == f"cannot replace {old}: it is read-only\n"
    assert (old.read_bytes(), mode_of(old)) == (OLD, 0o444)


def test_a_file_in_a_read_only_directory_is_refused_and_kept(old, without_root_rights):
    old.parent.chmod(0o555)
    try:
        done = in_a_process_without_rights(without_root_rights, REPLACE, old)
    finally:
        old.parent.chmod(0o755)
    assert done.stdout == f"cannot replace {old}: permission denied\n"
    assert old.read_bytes() == OLD


@pytest.mark.parametrize("call", ["write", "fsync", "fchmod", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_failing_system_call_keeps_the_old_file_and_leaves_no_litter(old, monkeypatch, call, code):
    old.chmod(0o640)
    monkeypatch.setattr(os, call, failing(code))
    with pytest.raises(FileProblem) as caught:
        files.replace_file(old, NEW)
    monkeypatch.undo()
    assert caught.value.reason == os.strerror(code).lower()
    assert {path: path.read_bytes() for path in old.parent.iterdir()} == {old: OLD}


def test_an_interrupt_while_writing_keeps_the_old_file_and_leaves_no_litter(old, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.replace_file(old, NEW)
    assert {path: path.read_bytes() for path in old.parent.iterdir()} == {old: OLD}


# --- saving ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o000, 0o666), (0o027, 0o640)])
def test_a_new_file_gets_the_mode_that_the_umask_leaves(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        files.save_file(tmp_path / "new.xml", NEW)
        assert os.umask(umask) == umask  # and the umask is as it was
    finally:
        os.umask(before)
    assert ((tmp_path / "new.xml").read_bytes(), mode_of(tmp_path / "new.xml")) == (NEW, mode)


def test_an_existing_file_is_replaced_and_keeps_its_mode(old):
    old.chmod(0o604)
    files.save_file(old, NEW)
    assert (old.read_bytes(), mode_of(old)) == (NEW, 0o604)


def test_saving_into_a_missing_directory_says_so(tmp_path):
    with pytest.raises(FileProblem, match=r"cannot write .*: no such file or directory"):
        files.save_file(tmp_path / "none" / "new.xml", NEW)


def test_a_dangling_link_is_refused(tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(FileProblem, match="no such file or directory"):
        files.save_file(tmp_path / "link", NEW)
    assert not (tmp_path / "nowhere").exists()


def test_a_link_to_itself_is_refused(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(FileProblem):
        files.save_file(tmp_path / "loop", NEW)


# --- writing atomically ----------------------------------------------------------------------------------------------


def test_without_overwrite_an_existing_file_is_kept(old):
    with pytest.raises(FileExistsError):
        files.write_atomically(old, NEW, overwrite=False)
    assert {path: path.read_bytes() for path in old.parent.iterdir()} == {old: OLD}


def test_without_overwrite_a_dangling_link_is_kept_too(tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(FileExistsError):
        files.write_atomically(tmp_path / "link", NEW, overwrite=False)
    assert [path.readlink() for path in tmp_path.iterdir()] == [Path("nowhere")]


def test_without_overwrite_a_new_file_is_written(tmp_path):
    files.write_atomically(tmp_path / "new", NEW, overwrite=False)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"new": NEW}


@pytest.fixture(params=[errno.EPERM, errno.ENOTSUP, errno.EMLINK])
def no_hard_links(monkeypatch, request):
    monkeypatch.setattr(os, "link", failing(request.param))


def test_a_filesystem_without_hard_links_gets_the_new_file_too(tmp_path, no_hard_links):
    files.write_atomically(tmp_path / "new", NEW, overwrite=False)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"new": NEW}


def test_a_filesystem_without_hard_links_keeps_the_existing_file_too(old, no_hard_links):
    with pytest.raises(FileExistsError):
        files.write_atomically(old, NEW, overwrite=False)
    assert {path: path.read_bytes() for path in old.parent.iterdir()} == {old: OLD}


def test_a_file_is_private_before_its_first_byte_is_written(tmp_path, monkeypatch):
    seen = []
    write = os.write

    def watch(descriptor, data):
        seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", watch)
    before = os.umask(0)
    try:
        files.write_atomically(tmp_path / "secret", NEW)
    finally:
        os.umask(before)
    assert set(seen) == {0o600}
    assert mode_of(tmp_path / "secret") == 0o600


def test_everything_is_on_the_disk_before_the_file_has_its_name(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, os.replace
    path = tmp_path / "new"

    def watch_fsync(descriptor):
        kind = "directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        events.append((f"fsync {kind}", path.exists()))
        fsync(descriptor)

    def watch_replace(source, target):
        events.append(("rename", path.exists()))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watch_fsync)
    monkeypatch.setattr(os, "replace", watch_replace)
    files.write_atomically(path, NEW)
    assert events == [("fsync file", False), ("rename", False), ("fsync directory", True)]


@given(st.binary(max_size=300), st.integers(min_value=1, max_value=50))
def test_short_writes_are_completed(data, at_most):
    write = os.write
    reader, writer = os.pipe()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, rest: write(descriptor, bytes(rest[:at_most])))
        files.write_all(writer, data)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        assert file.read() == data


def test_a_write_that_makes_no_progress_is_an_error_and_not_an_endless_loop(old, monkeypatch):
    monkeypatch.setattr(os, "write", lambda *_: 0)
    with pytest.raises(FileProblem, match="input/output error"):
        files.replace_file(old, NEW)
    assert old.read_bytes() == OLD


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_a_filesystem_that_cannot_flush_directories_is_good_enough(tmp_path, monkeypatch, code):
    fsync = os.fsync

    def only_files(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(code, os.strerror(code))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", only_files)
    files.write_atomically(tmp_path / "new", NEW)
    assert (tmp_path / "new").read_bytes() == NEW


def test_a_directory_that_fails_to_flush_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        files.sync_directory(tmp_path)


def test_windows_has_no_directories_to_flush(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(os, "open", failing(errno.EACCES))
    files.sync_directory(tmp_path)


def test_a_system_without_fchmod_still_writes(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "fchmod")
    files.write_atomically(tmp_path / "new", NEW, mode=0o644)
    assert (tmp_path / "new").read_bytes() == NEW


# --- private directories ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o277])
def test_new_directories_are_private_whatever_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        files.make_private_directory(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    assert [mode_of(tmp_path / "a"), mode_of(tmp_path / "a" / "b")] == [0o700, 0o700]


def test_an_existing_directory_is_left_as_it_is(tmp_path):
    tmp_path.chmod(0o755)
    files.make_private_directory(tmp_path)
    assert mode_of(tmp_path) == 0o755


def test_a_file_in_the_way_of_a_directory_is_an_error(old):
    with pytest.raises(FileExistsError):
        files.make_private_directory(old / "below")
    assert old.read_bytes() == OLD


def test_a_directory_that_another_process_makes_meanwhile_is_used(tmp_path, monkeypatch):
    mkdir = os.mkdir

    def late(path, mode=0o777, **_):
        mkdir(path, mode)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    monkeypatch.setattr(os, "mkdir", late)
    files.make_private_directory(tmp_path / "new")
    assert (tmp_path / "new").is_dir()


def test_whoever_makes_a_directory_makes_sure_that_its_parent_has_a_name_on_the_disk(tmp_path, monkeypatch):
    (tmp_path / "made by a process that was killed").mkdir()
    flushed, fsync = [], os.fsync

    def watch(descriptor):
        flushed.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    files.make_private_directory(tmp_path / "made by a process that was killed" / "below")
    assert flushed == [path.stat().st_ino for path in (tmp_path, tmp_path / "made by a process that was killed")]


def test_a_drive_that_is_not_there_is_an_error_and_no_endless_recursion(monkeypatch):
    monkeypatch.setattr(Path, "is_dir", lambda *_, **__: False)
    with pytest.raises(OSError, match=r"\[Errno"):
        files.make_private_directory(Path("/"))


# --- new files -------------------------------------------------------------------------------------------------------


def test_a_new_file_that_is_not_moved_is_removed(tmp_path):
    with files.new_file(tmp_path, NEW) as file:
        assert file.path.read_bytes() == NEW
        assert mode_of(file.path) == 0o600
    assert not [*tmp_path.iterdir()]


def test_a_new_file_that_is_moved_stays(tmp_path):
    with files.new_file(tmp_path, NEW) as file:
        file.move_to(tmp_path / "name")
        assert file.is_at(tmp_path / "name")
        assert file.path == tmp_path / "name"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"name": NEW}


def test_an_error_while_a_new_file_is_there_removes_it(tmp_path):
    with pytest.raises(KeyError), files.new_file(tmp_path, NEW):
        raise KeyError
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("flush", [True, False])
def test_a_file_gets_its_name_only_when_its_content_is_on_the_disk(tmp_path, monkeypatch, flush):
    events = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (events.append("fsync"), fsync(descriptor))[1])
    monkeypatch.setattr(os, "replace", lambda *names: (events.append("replace"), replace(*names))[1])
    with files.new_file(tmp_path, NEW, flush=flush) as file:
        assert events == (["fsync"] if flush else [])
        file.move_to(tmp_path / "name")
    assert events == ["fsync", "replace"]


def test_a_content_that_does_not_reach_the_disk_gets_no_name(tmp_path, monkeypatch):
    with files.new_file(tmp_path, NEW, flush=False) as file:
        monkeypatch.setattr(os, "fsync", failing(errno.EIO))
        with pytest.raises(OSError, match="Input/output error"):
            file.move_to(tmp_path / "name")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP])
def test_advice_that_the_system_does_not_take_is_no_failure(tmp_path, monkeypatch, code):
    monkeypatch.setattr(os, "posix_fadvise", failing(code), raising=False)
    with files.new_file(tmp_path, NEW, flush=False) as file:
        file.move_to(tmp_path / "name")
    assert (tmp_path / "name").read_bytes() == NEW


def test_a_second_name_that_cannot_be_removed_is_no_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "unlink", failing(errno.EIO))
    files.write_atomically(tmp_path / "name", NEW, overwrite=False)
    monkeypatch.undo()
    assert (tmp_path / "name").read_bytes() == NEW
    files.sweep_strays(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["name"]


def test_a_file_that_was_replaced_is_not_at_its_path_any_more(tmp_path):
    with files.new_file(tmp_path, NEW) as file:
        file.move_to(tmp_path / "name")
        files.write_atomically(tmp_path / "name", OLD)
        assert not file.is_at(tmp_path / "name")
        assert not file.is_at(tmp_path / "nothing")


def test_closing_twice_is_harmless(tmp_path):
    with files.new_file(tmp_path, NEW) as file:
        file.close()
        file.close()
    assert not [*tmp_path.iterdir()]


# --- reading regular files -------------------------------------------------------------------------------------------


def open_descriptors():
    return len(os.listdir("/dev/fd"))  # noqa: PTH208 - numbers, not paths


def test_a_regular_file_is_read_whole_or_up_to_a_limit(old):
    assert (files.read_regular(old), files.read_regular(old, 3)) == (OLD, OLD[:3])


@pytest.mark.parametrize("use", [files.read_regular, files.claimed])
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path, make, use):
    make(tmp_path / "other")
    with pytest.raises(OSError, match="not a regular file") as caught:
        use(tmp_path / "other")
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize("use", [files.read_regular, files.claimed])
def test_a_link_is_not_followed(old, tmp_path, use):
    (tmp_path / "link").symlink_to(old)
    with pytest.raises(OSError, match="symbolic links"):
        use(tmp_path / "link")


def test_what_was_refused_is_not_kept_open(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    before = open_descriptors()
    with pytest.raises(OSError, match="not a regular file"):
        files.read_regular(tmp_path / "fifo")
    assert open_descriptors() == before


# --- locks -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_waiting(monkeypatch):
    """Let the time that a process would wait pass at once."""
    clock = itertools.count()
    monkeypatch.setattr(time, "monotonic", lambda: next(clock) / 10)
    monkeypatch.setattr(time, "sleep", lambda _: None)


def take(path, seconds=0.0):
    with files.locked(path, seconds=seconds):
        pass


def test_a_lock_is_held_by_one_at_a_time(tmp_path):
    with files.locked(tmp_path / "lock", seconds=0), pytest.raises(files.Busy, match="another process is using it"):
        take(tmp_path / "lock")
    take(tmp_path / "lock")
    assert ((tmp_path / "lock").read_bytes(), mode_of(tmp_path / "lock")) == (b"", 0o600)


def test_a_lock_is_waited_for(tmp_path, monkeypatch):
    pauses = []
    first = contextlib.ExitStack()
    first.enter_context(files.locked(tmp_path / "lock", seconds=0))

    def release_the_third_time(pause):
        pauses.append(pause)
        if len(pauses) == 3:
            first.close()

    monkeypatch.setattr(time, "sleep", release_the_third_time)
    take(tmp_path / "lock", seconds=60)
    assert len(pauses) == 3
    assert pauses == sorted(pauses)


KILLED_WITH_A_LOCK = """
import os, pathlib, sys
from pytest_jux.files import locked
with locked(pathlib.Path(sys.argv[1]), seconds=0):
    os.kill(os.getpid(), 9)
"""


def test_a_lock_ends_with_its_owner(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED_WITH_A_LOCK, str(tmp_path / "lock")], check=False)
    assert done.returncode == -9
    take(tmp_path / "lock")
    assert (tmp_path / "lock").exists()


def test_a_lock_is_given_up_after_an_error(tmp_path):
    with pytest.raises(KeyError), files.locked(tmp_path / "lock", seconds=0):
        raise KeyError
    take(tmp_path / "lock")
    assert (tmp_path / "lock").exists()


def test_a_link_in_place_of_a_lock_is_not_followed(tmp_path):
    (tmp_path / "lock").symlink_to("target")
    with pytest.raises(OSError, match="symbolic links"):
        take(tmp_path / "lock")
    assert not (tmp_path / "target").exists()


NO_LOCKS = [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF]


@pytest.mark.parametrize("code", NO_LOCKS)
def test_where_there_are_no_locks_nobody_is_kept_out(old, tmp_path, monkeypatch, code):
    monkeypatch.setattr(fcntl, "flock", failing(code))
    with files.locked(tmp_path / "lock", seconds=0), files.locked(tmp_path / "lock", seconds=0):
        claim = files.claimed(old)
    assert not claim.is_locked
    claim.close()


@pytest.mark.parametrize(
    "use", [lambda path: take(path.parent / "lock"), files.claimed, lambda path: files.write_atomically(path, NEW)]
)
def test_a_lock_that_fails_is_an_error_and_keeps_nothing_open(old, monkeypatch, use):
    monkeypatch.setattr(fcntl, "flock", failing(errno.EIO))
    before = open_descriptors()
    with pytest.raises(OSError, match="Input/output error"):
        use(old)
    assert open_descriptors() == before
    assert {path.name for path in old.parent.iterdir()} - {"lock"} == {old.name}
    assert old.read_bytes() == OLD


def test_a_claim_excludes_others_and_ends_when_it_is_closed(old):
    claim = files.claimed(old)
    assert claim.is_locked
    with pytest.raises(files.Busy):
        files.claimed(old)
    claim.close()
    again = files.claimed(old)
    assert again.is_at(old)
    again.close()


def test_there_is_no_claim_to_a_file_that_is_not_there(tmp_path):
    assert files.claimed(tmp_path / "nothing") is None


def test_a_claim_is_to_the_file_that_has_the_name_now(old, monkeypatch, no_waiting):
    flock, replaced = fcntl.flock, []

    def replace_first(descriptor, operation):
        flock(descriptor, operation)
        if not replaced:
            replaced.append(True)
            old.unlink()
            old.write_bytes(NEW)

    monkeypatch.setattr(fcntl, "flock", replace_first)
    claim = files.claimed(old)
    assert os.read(claim.descriptor, 100) == NEW[:100]
    claim.close()


def test_a_file_that_never_is_the_same_is_given_up(old, monkeypatch, no_waiting):
    monkeypatch.setattr(os.path, "samestat", lambda *_: False)
    with pytest.raises(files.Busy):
        files.claimed(old)
    with pytest.raises(files.Busy):
        files.write_atomically(old, NEW)
    assert {path: path.read_bytes() for path in old.parent.iterdir()} == {old: OLD}


# --- strays ----------------------------------------------------------------------------------------------------------


def stray(directory, name=".jux-stray.tmp", age=0.0):
    path = directory / name
    path.write_bytes(b"half a rep")
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_a_stray_is_swept_as_soon_as_its_writer_is_dead_and_a_living_one_is_not(tmp_path):
    stray(tmp_path)
    with files.new_file(tmp_path, NEW) as file:
        assert files.sweep_strays(tmp_path) == 1
        assert [*tmp_path.iterdir()] == [file.path]
        file.move_to(tmp_path / "name")
    assert (tmp_path / "name").read_bytes() == NEW


def test_only_strays_are_swept(tmp_path):
    for name in ("report.xml", ".jux-x.xml", "x.tmp", ".other-x.tmp"):
        stray(tmp_path, name, age=10**7)
    (tmp_path / ".jux-link.tmp").symlink_to("report.xml")
    (tmp_path / ".jux-directory.tmp").mkdir()
    os.mkfifo(tmp_path / ".jux-fifo.tmp")
    before = sorted(tmp_path.iterdir())
    assert files.sweep_strays(tmp_path) == 0
    assert sorted(tmp_path.iterdir()) == before


def test_sweeping_what_is_no_directory_is_no_failure(tmp_path, old):
    assert files.sweep_strays(tmp_path / "nothing") == 0
    assert files.sweep_strays(old) == 0


def test_a_stray_that_cannot_be_removed_does_not_keep_others_from_being_swept(tmp_path, monkeypatch):
    stray(tmp_path, ".jux-a.tmp")
    stray(tmp_path, ".jux-b.tmp")
    unlink = os.unlink

    def refuse_one(path, **keywords):
        if str(path).endswith("a.tmp"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        unlink(path, **keywords)

    monkeypatch.setattr(os, "unlink", refuse_one)
    assert files.sweep_strays(tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir()] == [".jux-a.tmp"]


@pytest.mark.parametrize("code", NO_LOCKS)
def test_where_there_are_no_locks_only_old_strays_are_swept(tmp_path, monkeypatch, code):
    monkeypatch.setattr(fcntl, "flock", failing(code))
    day = 24 * 60 * 60
    stray(tmp_path, ".jux-old.tmp", age=day + 60)
    stray(tmp_path, ".jux-fresh.tmp", age=day - 60)
    assert files.sweep_strays(tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir()] == [".jux-fresh.tmp"]


def test_a_writer_whose_file_is_swept_before_it_has_its_lock_takes_another(tmp_path, monkeypatch, no_waiting):
    flock, calls = fcntl.flock, []

    def sweep_first(descriptor, operation):
        calls.append(descriptor)
        if len(calls) == 1:  # the writer's; the sweeper's is the second
            assert files.sweep_strays(tmp_path) == 1
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", sweep_first)
    files.write_atomically(tmp_path / "name", NEW)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"name": NEW}


# --- Windows ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def windows(monkeypatch):
    return pretend_windows(monkeypatch)


def test_the_pretended_windows_refuses_what_windows_does(old, windows):
    with old.open("rb"):
        with pytest.raises(PermissionError):
            old.unlink()
        with pytest.raises(PermissionError):
            old.replace(old.parent / "new")
    old.unlink()
    assert len(windows.refusals) == 2


@pytest.mark.parametrize("overwrite", [True, False])
def test_on_windows_a_file_is_closed_before_it_gets_its_name(tmp_path, windows, overwrite):
    files.write_atomically(tmp_path / "name", NEW, overwrite=overwrite)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"name": NEW}
    assert windows.refusals == []


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_on_windows_a_failure_leaves_the_older_file_and_no_litter(old, windows, monkeypatch, call):
    monkeypatch.setattr(os, call, failing(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        files.write_atomically(old, NEW)
    assert {path: path.read_bytes() for path in old.parent.iterdir()} == {old: OLD}


def test_on_windows_a_claim_excludes_others_and_the_file_can_be_read(old, windows):
    claim = files.claimed(old)
    with pytest.raises(files.Busy):
        files.claimed(old)
    assert files.read_regular(old) == os.read(claim.descriptor, 100) == OLD
    claim.close()
    files.claimed(old).close()


def test_on_windows_a_lock_is_held_by_one_at_a_time(tmp_path, windows):
    with files.locked(tmp_path / "lock", seconds=0), pytest.raises(files.Busy):
        take(tmp_path / "lock")
    take(tmp_path / "lock")
    assert (tmp_path / "lock").exists()


def test_on_windows_a_stray_is_swept_and_a_living_one_is_not(tmp_path, windows):
    stray(tmp_path)
    with files.new_file(tmp_path, NEW) as file:
        assert files.sweep_strays(tmp_path) == 1
        assert [*tmp_path.iterdir()] == [file.path]
    assert not [*tmp_path.iterdir()]
    assert windows.refusals == []


@pytest.mark.skipif(os.name != "posix", reason="named pipes of POSIX")
def test_a_pipe_is_read_to_its_end(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = subprocess.Popen(["sh", "-c", f"(printf one; sleep 0.2; printf two) > '{tmp_path}/pipe'"])
    assert read_file(tmp_path / "pipe", 100) == b"onetwo"
    assert writer.wait() == 0


@pytest.mark.skipif(os.name != "posix", reason="named pipes of POSIX")
def test_a_pipe_that_nobody_writes_to_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("pytest_jux.files._PIPE_TIME", 0.05)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileProblem, match="nobody writes to this pipe"):
        read_file(tmp_path / "pipe", 100)
