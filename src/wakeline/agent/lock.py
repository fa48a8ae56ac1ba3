"""One run at a time per machine and app: a file lock that ends with its holder, so no crash leaves it behind.

Whoever only prepares (see ahead.py) holds it as well, and gives way: who waits for such a holder says so with a file.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from wakeline.errors import Busy

_LOOK_S = 0.1
AHEAD = "prepares"
_held: set[int] = set()


@contextlib.contextmanager
def hold(
    path: Path, *, wait_s: float, on_wait: Callable[[str], None] | None = None, release: int = 0, ahead: bool = False
) -> Iterator[None]:
    """Hold the lock. Waits at most `wait_s`; `on_wait` is told once who has it. Raises Busy.

    What for, and since when, can be read in the file and seen by its time: see doing.py. A holder that is `ahead` of
    its order lets go as soon as `is_wanted`.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _take(fd, path, wait_s=wait_s, on_wait=on_wait)
        os.ftruncate(fd, 0)
        about = f" {AHEAD if ahead else 'release'} {release}" if release else ""
        os.pwrite(fd, f"{os.getpid()}{about}\n".encode(), 0)
        _wanted(path).unlink(missing_ok=True)
        _held.add(fd)
        yield
    finally:
        _held.discard(fd)
        os.close(fd)


def held() -> tuple[int, ...]:
    """The descriptors of the locks that this process holds.

    A child that inherits them keeps the lock until it has ended: a git whose agent was killed goes on, and the next run
    must not meet it.
    """
    return tuple(_held)


def is_wanted(path: Path) -> bool:
    """True when somebody waits for the lock while its holder is `ahead` of its order."""
    return _wanted(path).exists()


def is_free(path: Path) -> bool:
    """True when nobody holds the lock."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def _wanted(path: Path) -> Path:
    return path.with_name(f"{path.name}.wanted")


def _take(fd: int, path: Path, *, wait_s: float, on_wait: Callable[[str], None] | None) -> None:
    ends = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 64, 0).decode("ascii", "replace").strip()
            if wait_s and AHEAD in holder:
                _wanted(path).touch(mode=0o600)
            if time.monotonic() >= ends:
                raise Busy(f"another run has this machine's lock (process {holder or 'unknown'})") from None
        else:
            return
        if on_wait is not None:
            on_wait(f"waiting for the run that has this machine's lock (process {holder or 'unknown'})")
            on_wait = None
        time.sleep(_LOOK_S)
