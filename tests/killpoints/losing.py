"""A file layer that keeps what was not fsynced in memory alone, and drops it at the cut: what a power cut does.

Seen on real disks: `write` and `rename` without fsync came back as a file of 0 bytes. Three kinds of cut, as file
systems differ: `names` keeps every name and loses the bytes that no fsync followed; `all` loses the names as well,
unless their folder was fsynced after them; `some` keeps every name, and the bytes of one file and not of the next, by a
coin for each that the cut's number decides. Every operation that changes something is a point: at the Nth one all
processes of the run are killed at once, or that one operation is refused with ENOSPC or EIO, whoever asked for it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import multiprocessing
import multiprocessing.connection
import multiprocessing.process
import os
import random
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

mfusepy: Any = None
with contextlib.suppress(ImportError, OSError):  # no package, or no libfuse3: `missing` says so
    import mfusepy

NEVER = 1 << 60
_HAND_OVER_S = 5.0
_MOUNT_S = 60.0
_BY_SIGNAL = 8  # what fuse_main returns when a signal has ended its loop
Base = object if mfusepy is None else mfusepy.Operations


def missing() -> str:
    """Why this layer cannot be used here, or nothing."""
    if mfusepy is None:
        return "mfusepy or libfuse3 is missing (pip install mfusepy, apt-get install fuse3)"
    if not Path("/dev/fuse").exists() or shutil.which("fusermount3") is None:
        return "no /dev/fuse, or no fusermount3 (apt-get install fuse3)"
    return ""


@dataclasses.dataclass
class Node:
    """A file, folder or link. `kept_*` is what a power cut leaves of it; None for a file that was never fsynced."""

    mode: int
    data: bytearray = dataclasses.field(default_factory=bytearray)
    names: dict[str, Node] = dataclasses.field(default_factory=dict)
    target: str = ""
    kept_data: bytes | None = None
    kept_names: dict[str, Node] = dataclasses.field(default_factory=dict)
    changed_ns: int = 0
    links: int = 1


def load(place: Path) -> Node:
    """A folder of the real disk as a tree in which everything is fsynced."""
    facts = place.lstat()
    node = Node(facts.st_mode, changed_ns=facts.st_mtime_ns)
    if place.is_symlink():
        node.target = str(place.readlink())
    elif place.is_dir():
        node.names = {each.name: load(each) for each in sorted(place.iterdir())}
        node.kept_names = dict(node.names)
    else:
        node.data = bytearray(place.read_bytes())
        node.kept_data = bytes(node.data)
    return node


def after_the_cut(node: Node, *, cut: str, coins: random.Random, seen: dict[int, Node] | None = None) -> Node:
    """What a machine that lost its power finds on this disk: `names`, `all` or `some` says what was lost."""
    seen = {} if seen is None else seen
    if id(node) in seen:
        return seen[id(node)]
    left = seen[id(node)] = Node(node.mode, target=node.target, changed_ns=node.changed_ns)
    names = node.kept_names if cut == "all" else node.names
    left.names = {name: after_the_cut(each, cut=cut, coins=coins, seen=seen) for name, each in names.items()}
    left.kept_names = dict(left.names)
    was_written = cut == "some" and coins.random() < 0.5
    left.data = bytearray(node.data if was_written else node.kept_data or b"")
    left.kept_data = bytes(left.data)
    return left


@dataclasses.dataclass(frozen=True)
class Fault:
    """What happens at the Nth change. `error` 0 is a cut: everything that runs is killed."""

    at: int = NEVER
    error: int = 0


class Disk(Base):  # type: ignore[misc, valid-type]
    """The file system itself. Paths are looked up in the tree anew: fast enough for a few thousand calls."""

    use_ns = True

    def __init__(self, root: Node, fault: Fault, on_cut: Callable[[], None]) -> None:
        self.root = root
        self.changes = 0
        self.was_cut = False
        self._fault = fault
        self._on_cut = on_cut
        self._open: dict[int, Node] = {}
        self._next = 1

    # --- looking ---

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        node = self._open[fh] if fh in self._open else self._node(path)
        size = len(node.target) if node.target else len(node.data)
        times = dict.fromkeys(("st_atime", "st_mtime", "st_ctime"), node.changed_ns)
        owner = {"st_uid": os.getuid(), "st_gid": os.getgid()}
        return {"st_mode": node.mode, "st_size": size, "st_nlink": node.links, **owner, **times}

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", *self._node(path).names]

    def readlink(self, path: str) -> str:
        return self._node(path).target

    def open(self, path: str, flags: int) -> int:
        node = self._node(path)
        if flags & os.O_TRUNC:
            self._change()
            node.data.clear()
        return self._handle(node)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return bytes(self._open[fh].data[offset : offset + size])

    def release(self, path: str, fh: int) -> int:
        self._open.pop(fh, None)
        return 0

    def destroy(self, path: str) -> None:
        """The loop is over. From here on nobody may end this process: it is about to hand the disk over."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def statfs(self, path: str) -> dict[str, int]:
        room = 1 << 22
        return {
            "f_bsize": 4096,
            "f_frsize": 4096,
            "f_blocks": room,
            "f_bfree": room,
            "f_bavail": room,
            "f_namemax": 255,
        }

    # --- changing ---

    def create(self, path: str, mode: int, fi: object = None) -> int:
        return self._handle(self._add(path, Node(stat.S_IFREG | stat.S_IMODE(mode))))

    def mkdir(self, path: str, mode: int) -> int:
        self._add(path, Node(stat.S_IFDIR | mode, links=2))
        return 0

    def symlink(self, target: str, source: str) -> int:
        self._add(target, Node(stat.S_IFLNK | 0o777, target=source))
        return 0

    def link(self, target: str, source: str) -> int:
        node = self._node(source)
        self._add(target, node)
        node.links += 1
        return 0

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        self._change()
        node = self._open[fh]
        node.data.extend(b"\0" * (offset - len(node.data)))
        node.data[offset : offset + len(data)] = data
        node.changed_ns = time.time_ns()
        return len(data)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        self._change()
        node = self._open[fh] if fh in self._open else self._node(path)
        node.data.extend(b"\0" * (length - len(node.data)))
        del node.data[length:]
        return 0

    def unlink(self, path: str) -> int:
        self._change()
        folder, name = self._place(path)
        folder.names.pop(name).links -= 1
        return 0

    def rmdir(self, path: str) -> int:
        if self._node(path).names:
            raise OSError(errno.ENOTEMPTY, path)
        return self.unlink(path)

    def rename(self, old: str, new: str) -> int:
        node, (folder, name) = self._node(old), self._place(new)
        there = folder.names.get(name)
        if there is not None and there.names:
            raise OSError(errno.ENOTEMPTY, new)
        self._change()
        before, old_name = self._place(old)
        del before.names[old_name]
        folder.names[name] = node
        return 0

    def chmod(self, path: str, mode: int) -> int:
        self._change()
        node = self._node(path)
        node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(mode)
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        self._node(path).changed_ns = times[1] if times else time.time_ns()
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        self._change()
        node = self._open[fh]
        node.kept_data = bytes(node.data)
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        self._change()
        node = self._node(path)
        node.kept_names = dict(node.names)
        return 0

    # --- helpers ---

    def _change(self) -> None:
        """Count a change; at the fault's number it does not happen, and after a cut nothing ever does again."""
        if self.was_cut:
            raise OSError(errno.EIO, "the power is off")
        self.changes += 1
        if self.changes == self._fault.at:
            if self._fault.error:
                raise OSError(self._fault.error, os.strerror(self._fault.error))
            self.was_cut = True
            self._on_cut()
            raise OSError(errno.EIO, "the power is off")

    def _node(self, path: str) -> Node:
        node = self.root
        for name in path.split("/"):
            if name:
                if name not in node.names:
                    raise OSError(errno.ENOENT, path)
                node = node.names[name]
        return node

    def _place(self, path: str) -> tuple[Node, str]:
        above, _, name = path.rpartition("/")
        return self._node(above), name

    def _add(self, path: str, node: Node) -> Node:
        folder, name = self._place(path)
        if name in folder.names:
            raise OSError(errno.EEXIST, path)
        self._change()
        node.changed_ns = time.time_ns()
        folder.names[name] = node
        return node

    def _handle(self, node: Node) -> int:
        self._next += 1
        self._open[self._next] = node
        return self._next


@dataclasses.dataclass
class Mounted:
    """A disk that is mounted; `take_out` gives back what is on it, and how often it was changed."""

    mountpoint: Path
    _server: multiprocessing.process.BaseProcess
    _end: multiprocessing.connection.Connection

    @property
    def pid(self) -> int:
        """The process that is the disk: it must not be ended while it is mounted."""
        return self._server.pid or 0

    def take_out(self, *, cut: str = "") -> tuple[Node, int, bool]:
        """Unmount. With `cut` what was not fsynced is lost, as after_the_cut says. Also: whether the fault was met."""
        ends = time.monotonic() + _MOUNT_S
        while subprocess.run(["fusermount3", "-u", self.mountpoint], check=False, capture_output=True).returncode:
            assert time.monotonic() < ends, f"{self.mountpoint} stays busy"
            time.sleep(0.02)
        # Another mount namespace (a container that started meanwhile) may have a copy of the mount: the kernel then
        # keeps it, and the server would wait for ever. libfuse ends its loop on SIGTERM; one that has ended its loop by
        # itself would die of it before it has handed the disk over, so it is asked for that first.
        if not self._end.poll(_HAND_OVER_S):
            os.kill(self.pid, signal.SIGTERM)
        root, changes, met = self._end.recv()
        self._server.join()
        coins = random.Random(changes)  # a change is refused after a cut, so this is where it was
        return (after_the_cut(root, cut=cut, coins=coins) if cut else root), changes, met


def mount(root: Node, mountpoint: Path, fault: Fault = Fault()) -> Mounted:
    """Mount a disk. A cut kills every process that descends from the caller, but for the disk itself."""
    forked = multiprocessing.get_context("fork")  # the tree is handed over by it
    ours, theirs = forked.Pipe()
    server = forked.Process(target=_serve, args=(root, mountpoint, fault, os.getpid(), theirs), daemon=True)
    server.start()
    ends = time.monotonic() + _MOUNT_S
    while not os.path.ismount(mountpoint):
        assert server.is_alive(), f"{mountpoint} could not be mounted"
        assert time.monotonic() < ends, f"{mountpoint} is not mounted"
        time.sleep(0.005)
    return Mounted(mountpoint, server, ours)


def _serve(root: Node, mountpoint: Path, fault: Fault, above: int, end: multiprocessing.connection.Connection) -> None:
    disk = Disk(root, fault, on_cut=lambda: kill_below(above, spare=os.getpid()))
    try:
        mfusepy.FUSE(disk, str(mountpoint), foreground=True, nothreads=True)
    except RuntimeError as error:
        if error.args != (_BY_SIGNAL,):
            raise
    end.send((root, disk.changes, disk.changes >= fault.at))
    end.close()


def kill_below(pid: int, *, spare: int = 0) -> None:
    """End every process that descends from one, by id, until there is none."""
    while found := [each for each in descendants(pid) if each != spare]:
        for each in found:
            try:
                os.kill(each, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if spare:
            return  # those that wait for this very disk end when it answers


def descendants(pid: int) -> Iterator[int]:
    """Every process below one that has not ended."""
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):  # a thread has children of its own
        try:
            children += map(int, task.read_text().split())
        except OSError:
            continue
    for child in children:
        yield from descendants(child)
        if not _has_ended(child):
            yield child


def _has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
