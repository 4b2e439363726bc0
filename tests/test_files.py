"""Whole files or none: what is left on the disk when writing succeeds, and when it does not."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_jux import files
from pytest_jux.errors import FileProblem

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
