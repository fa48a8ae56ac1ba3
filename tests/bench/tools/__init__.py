"""The tools that are measured, one file each."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from bench.job import Commit
from bench.scene import Scene

__all__ = ["Tool", "environment", "plain_path"]


class Tool(Protocol):
    """One way to do the job. `name` is what it is called in the figures and on the machines."""

    name: str

    def ensure(self) -> str:
        """Have it here; returns its version. Raises CannotRun with the reason."""

    def prepare(self, scene: Scene) -> None:
        """Write its files, as its own documentation recommends, and make the machines ready where it asks for that."""

    def clean(self) -> None:
        """After its place on the machines was emptied: forget what it knew of them."""

    def commands(self, commit: Commit) -> Sequence[Sequence[str]]:
        """What is measured: deploy this commit, by these commands, one after the other."""

    @property
    def cwd(self) -> Path: ...

    @property
    def env(self) -> Mapping[str, str]: ...


def environment(**more: str) -> dict[str, str]:
    """The environment that every tool alike starts from."""
    kept = {name: os.environ[name] for name in ("HOME", "USER", "LANG", "TERM") if name in os.environ}
    return {"PATH": plain_path(), "LC_ALL": "C.UTF-8", **kept, **more}


def plain_path() -> str:
    """The system's programs, without shims that stand before them."""
    return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
