"""What is no longer wanted: set aside by a rename, which costs nothing, and removed when nobody waits for it.

Law that lives here: a folder is gone under its name at once or is there as a whole, so that what was cut short while it
was removed is never taken for anything. Whoever comes next removes what was left.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import time
from pathlib import Path

_PREFIX = ".removing-"
_STUCK_S = 3600.0


def set_aside(folder: Path) -> Path:
    """Take a folder out of the way, under a name that nobody else uses."""
    aside = folder.with_name(f"{_PREFIX}{folder.name}-{os.getpid()}-{time.monotonic_ns()}")
    folder.rename(aside)
    return aside


def sweep(parent: Path) -> None:
    """Remove what was set aside in a folder, by whomever. What cannot be removed is `stuck` from then on.

    Needs no lock: another that sweeps here at the same time is in nobody's way.
    """
    for aside in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # it is tried again, and told when it has stayed: see stuck
            remove_tree(aside)


def stuck(parent: Path) -> list[Path]:
    """What was set aside long ago and is still there: somebody else's files are in it. Nobody is at it any more."""
    long_ago = time.time() - _STUCK_S
    return sorted(aside for aside in parent.glob(f"{_PREFIX}*") if aside.lstat().st_ctime < long_ago)


def remove_tree(folder: Path) -> None:
    """Remove a folder with everything in it, read-only folders too. Never follows a link."""
    if not folder.is_dir() or folder.is_symlink():
        return
    for each, _names, _files in os.walk(folder):
        if not os.access(each, os.W_OK | os.X_OK):
            Path(each).chmod(stat.S_IRWXU)  # a complete output is read-only: its folders must give up their names
    shutil.rmtree(folder)
