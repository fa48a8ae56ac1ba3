"""Writing so that a power cut leaves the old or the new, never a half: fsync of the file, then of its folder.

Seen: `write` and `rename` without fsync came back after a power cut as a file of 0 bytes.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(folder: Path, *, mode: int = 0o755) -> None:
    """Make a folder and the ones above it, durable; one that is there is left as it is."""
    if folder.is_dir():
        return
    make_folder(folder.parent, mode=mode)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=mode)
    sync_folder(folder.parent)


def write_bytes(path: Path, data: bytes, *, mode: int = 0o600, synced: bool = True) -> None:
    """Replace a file as a whole. One that is not `synced` may be empty after a power cut."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            if synced:
                os.fsync(file.fileno())
        fresh.rename(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    if synced:
        sync_folder(path.parent)


def write_json(path: Path, data: Mapping[str, Any], *, mode: int = 0o600, synced: bool = True) -> None:
    """Replace a JSON file as a whole."""
    write_bytes(path, json.dumps(data, indent=1, sort_keys=True).encode() + b"\n", mode=mode, synced=synced)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; an empty one for a file that is missing, cut, zeroed or not an object.

    Raises OSError for a disk that cannot read it: what is there and unknown must not be taken for nothing.
    """
    try:
        data = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def point_link(link: Path, target: str) -> None:
    """Let a symbolic link point to `target`, by rename: at every instant it is the old one or the new one."""
    fresh = link.with_name(f".{link.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.rename(link)
    sync_folder(link.parent)


def sync_tree(root: Path, *others: Path) -> None:
    """Make everything below `root` durable, and `others` of the same file system with what is below them.

    One syncfs does it where its word is good. Elsewhere, such as on FUSE, which does not pass it on, every file and
    folder is synced by itself: that costs a flush of the disk each (measured: 200 files 1.2 s, against 0.1 s).
    """
    if _syncfs(root) and _may_be_trusted(root):
        return
    for folder, _names, files in itertools.chain.from_iterable(map(os.walk, (root, *others))):
        for name in files:
            path = os.path.join(folder, name)  # noqa: PTH118 - tens of thousands of files: Path costs seconds here
            if os.path.islink(path):  # noqa: PTH114 - same
                continue
            _sync_file(path)
        sync_folder(Path(folder))
    for other in others:
        sync_folder(other.parent)


def sync_files(root: Path, names: Iterable[str]) -> None:
    """Make some files below `root` durable, and the names of the folders that they are in."""
    _syncfs(root)
    folders = {root}
    for name in names:
        path = root / name
        if path.is_file() and not path.is_symlink():
            _sync_file(str(path))
        folders |= {each for each in path.parents if root in each.parents}
    for folder in folders:
        if folder.is_dir():
            sync_folder(folder)


def _sync_file(path: str) -> None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return  # unreadable for us, or a socket: syncfs has done what can be done
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _NOT_SYNCABLE:
            raise
    finally:
        os.close(fd)


_NOT_SYNCABLE = (22, 30)  # EINVAL: a pipe or a device; EROFS: nothing of ours to write


_WAITS_AND_TELLS = frozenset(
    {
        0xEF53,  # ext2, ext3, ext4
        0x58465342,  # xfs
        0x9123683E,  # btrfs
        0xF2F52010,  # f2fs
        0x794C7630,  # overlayfs, which syncs the file system below
        0x01021994,  # tmpfs, where nothing outlives a power cut anyway
    }
)
_TELLS_SINCE = (5, 8)  # syncfs(2): since this kernel an error of writing back is reported


def _syncfs(root: Path) -> bool:
    """Write everything of a file system out. True when the kernel says that it is on disk."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
        if syncfs is not None and syncfs(fd) == 0:
            return True
    finally:
        os.close(fd)
    os.sync()
    return False


def _may_be_trusted(root: Path) -> bool:
    """Whether the file system's syncfs waits for its disk, and the kernel tells of what went wrong."""
    statfs = getattr(ctypes.CDLL(None, use_errno=True), "statfs", None)
    found = (ctypes.c_long * 64)()  # struct statfs is 120 bytes; its first word is f_type, see statfs(2)
    if statfs is None or statfs(os.fsencode(root), ctypes.byref(found)) != 0:
        return False
    return found[0] in _WAITS_AND_TELLS and _kernel() >= _TELLS_SINCE


def _kernel() -> tuple[int, ...]:
    return tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2] if part.isdigit())
