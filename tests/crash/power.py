"""A model of what a disk keeps when the power goes: content after its fsync, a name after its directory's."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

Change = tuple[tuple[str, "int | None"], ...]  # names and what they then mean, in one step


@dataclass
class File:
    """A file's content now, and what of it is surely on the disk."""

    now: bytes = b""
    kept: bytes = b""
    is_flushed: bool = True

    def copy(self) -> File:
        return File(self.now, self.kept, self.is_flushed)


@dataclass
class Directory:
    """A directory's names now, those surely on the disk, and the changes that may or may not have got there."""

    now: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    pending: list[Change] = field(default_factory=list)

    def copy(self) -> Directory:
        return Directory(dict(self.now), dict(self.kept), list(self.pending))

    def change(self, *pairs: tuple[str, int | None]) -> None:
        self.pending.append(pairs)
        _apply(self.now, pairs)


def _apply(names: dict[str, int], change: Change) -> None:
    for name, node in change:
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


class Disk:
    """What is below `root`, followed call by call; `observe` goes to `interposed`.

    `history` gets a `Moment` before the first and after every call that changed something, with `mark` as it was then.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.nodes: list[File | Directory] = []
        self.descriptors: dict[int, int] = {}
        self.inodes: dict[int, int] = {}
        self.mark: Any = None
        self.kill_after = -1  # changes; then the process is dead, and nothing that it does reaches the system
        self.changes = 0
        self._adopt(root)
        self.history: list[Moment] = [self.moment()]

    def _adopt(self, path: Path) -> int:
        """Take what is there already as long since on the disk."""
        number = len(self.nodes)
        if not path.is_dir():
            self.nodes.append(File(path.read_bytes(), path.read_bytes()))
            return number
        directory = Directory()
        self.nodes.append(directory)
        known: dict[int, int] = {}
        for below in sorted(path.iterdir()):
            inode = below.lstat().st_ino
            directory.now[below.name] = known.setdefault(inode, -1) if inode in known else self._adopt(below)
            known[inode] = directory.now[below.name]
        directory.kept = dict(directory.now)
        return number

    def moment(self) -> Moment:
        return Moment([node.copy() for node in self.nodes], self.mark)

    def bury(self) -> None:
        """Let the dead process have no descriptors any more, and so no locks."""
        self.kill_after = -1
        for descriptor in [*self.descriptors]:
            with contextlib.suppress(OSError):
                if os.fstat(descriptor).st_ino == self.inodes.get(descriptor):
                    os.close(descriptor)

    # --- following

    def _place(self, path: Any) -> tuple[Directory, str] | None:
        """Return the directory and the name that `path` is in, None outside of the disk."""
        parts = Path(os.path.abspath(os.fspath(path))).relative_to(self.root).parts  # noqa: PTH100 - no links here
        node = self.nodes[0]
        for part in parts[:-1]:
            assert isinstance(node, Directory)
            node = self.nodes[node.now[part]]
        assert isinstance(node, Directory)
        return node, parts[-1] if parts else "."

    def observe(self, name: str, call: Callable[..., Any], arguments: Any, keywords: Any) -> Any:
        """Do it, and follow it."""
        if 0 <= self.kill_after <= self.changes and name != "close":
            raise Killed
        result = None if name == "fsync" else call(*arguments, **keywords)  # the model keeps it; the disk need not
        follow = getattr(self, f"_{name}", None)
        if follow is not None and follow(result, *arguments, **keywords):
            self.changes += 1
            self.history.append(self.moment())
        return result

    def _open(self, result: int, path: Any, flags: int, *_: Any, **__: Any) -> bool:
        if not Path(os.path.abspath(os.fspath(path))).is_relative_to(self.root):  # noqa: PTH100 - as above
            return False
        directory, name = self._place(path)
        if name == ".":
            self.descriptors[result] = 0
            return False
        is_new = name not in directory.now
        if is_new:
            self.nodes.append(File())
            directory.change((name, len(self.nodes) - 1))
        self.descriptors[result] = directory.now[name]
        self.inodes[result] = os.fstat(result).st_ino
        file = self.nodes[directory.now[name]]
        if flags & os.O_TRUNC and isinstance(file, File):
            file.now, file.is_flushed = b"", False
        return is_new or bool(flags & os.O_TRUNC)

    def _close(self, _: None, descriptor: int) -> bool:
        self.descriptors.pop(descriptor, None)
        return False

    def _write(self, result: int, descriptor: int, data: Any) -> bool:
        if descriptor not in self.descriptors:
            return False
        file = self.nodes[self.descriptors[descriptor]]
        assert isinstance(file, File)
        file.now += bytes(data[:result])  # whoever writes here appends
        file.is_flushed = False
        return True

    def _fsync(self, _: None, descriptor: int) -> bool:
        if descriptor not in self.descriptors:
            return False
        node = self.nodes[self.descriptors[descriptor]]
        if isinstance(node, File):
            node.kept, node.is_flushed = node.now, True
        else:
            node.kept = dict(node.now)
            node.pending.clear()
        return True

    def _replace(self, _: None, source: Any, target: Any) -> bool:
        (directory, name), (other, new_name) = self._place(source), self._place(target)
        assert directory is other, "a rename between directories is not one step for a disk"
        directory.change((name, None), (new_name, directory.now[name]))
        return True

    _rename = _replace

    def _link(self, _: None, source: Any, target: Any, **__: Any) -> bool:
        (directory, name), (other, new_name) = self._place(source), self._place(target)
        other.change((new_name, directory.now[name]))
        return True

    def _unlink(self, _: None, path: Any, **__: Any) -> bool:
        directory, name = self._place(path)
        directory.change((name, None))
        return True

    def _mkdir(self, _: None, path: Any, *__: Any, **___: Any) -> bool:
        directory, name = self._place(path)
        self.nodes.append(Directory())
        directory.change((name, len(self.nodes) - 1))
        return True


class Killed(BaseException):
    """The process is dead; nothing may catch this, and nothing that is done on its way out has an effect."""


@dataclass
class Moment:
    """Everything on a disk at one moment."""

    nodes: list[File | Directory]
    mark: Any

    def now(self, node: int = 0) -> dict[str, Any] | bytes:
        """Return what the running system sees, as a tree."""
        found = self.nodes[node]
        if isinstance(found, File):
            return found.now
        return {name: self.now(below) for name, below in found.now.items()}

    def after_power_cuts(self, chance: random.Random, several: int) -> Iterator[dict[str, Any]]:
        """Give trees that may be found when the power comes back: the barest, the fullest with lost content, others."""
        yield self._found(chance, names=0.0, content=0.0)
        yield self._found(chance, names=1.0, content=0.0)
        for _ in range(several):
            yield self._found(chance, names=chance.random(), content=0.5)

    def _found(self, chance: random.Random, names: float, content: float) -> dict[str, Any]:
        files = {
            number: self._content(node, chance, content)
            for number, node in enumerate(self.nodes)
            if isinstance(node, File)
        }

        def tree(number: int) -> dict[str, Any] | bytes:
            node = self.nodes[number]
            if isinstance(node, File):
                return files[number]
            found = dict(node.kept)
            for change in node.pending:
                if chance.random() < names:
                    # A disk without a journal may keep the old name beside the new one.
                    _apply(found, change[1:] if len(change) > 1 and chance.random() < 0.3 else change)
            return {name: tree(below) for name, below in found.items()}

        result = tree(0)
        assert isinstance(result, dict)
        return result

    @staticmethod
    def _content(file: File, chance: random.Random, luck: float) -> bytes:
        if file.is_flushed:
            return file.now
        if chance.random() < luck:
            return file.now
        return chance.choice([file.kept, file.now[: chance.randrange(len(file.now) + 1)], bytes(len(file.now))])


def write_tree(root: Path, tree: dict[str, Any]) -> None:
    """Put a tree on a real disk."""
    root.mkdir(mode=0o700)
    for name, below in tree.items():
        if isinstance(below, dict):
            write_tree(root / name, below)
        else:
            (root / name).write_bytes(below)
            (root / name).chmod(stat.S_IRUSR | stat.S_IWUSR)


def read_tree(root: Path) -> dict[str, Any]:
    """Return what is on a real disk."""
    return {path.name: read_tree(path) if path.is_dir() else path.read_bytes() for path in root.iterdir()}
