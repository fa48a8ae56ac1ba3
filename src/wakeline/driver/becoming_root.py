"""Runs a script of ours on a machine as root: what `setup` and `leave` do, and what setup looks at before."""

from __future__ import annotations

import dataclasses

from wakeline.core.model import Machine
from wakeline.driver.project import Project
from wakeline.errors import RolloutFailed

CONNECT_S = 10.0
LIMIT_S = 120.0
SHELL, PYTHON = "sh -s", "python3 -I -"
_NOT_FOUND = 127


async def run(
    project: Project,
    machine: Machine,
    script: str,
    *,
    verb: str,
    root_user: str,
    command: str = SHELL,
    limit_s: float = LIMIT_S,
) -> list[str]:
    """The script's lines. `root_user` is root, or a user who may sudo. Raises NotReached, Lost and RolloutFailed."""
    address = machine.address.rpartition("@")[2]
    there = dataclasses.replace(machine, address=f"{root_user}@{address}")
    connection = await project.transport_of(there).connect(there, limit_s=CONNECT_S)
    try:
        full = command if root_user == "root" else f"sudo -n {command}"
        code, out, err = await connection.run(full, feed=script.encode(), limit_s=limit_s)
    finally:
        await connection.close()
    if code != 0:
        words = (err or out).decode("utf-8", "replace").strip()[-500:]
        raise RolloutFailed(f"{verb} as {root_user} failed: {words}{_hint(words, code, root_user)}")
    return out.decode("utf-8", "replace").split("\n")[:-1]


def _hint(words: str, code: int, root_user: str) -> str:
    """What to do about the failures that are met most; everything else speaks for itself."""
    if words.startswith("sudo:") and "password" in words:
        return f" ({root_user} needs sudo without a password for this; or --root-user root)"
    if code == _NOT_FOUND or "command not found" in words:
        return " (apt-get install what is not found)"
    if "Read-only file system" in words:
        return " (make it writable for the set-up; what was written stays, and setup is safe twice)"
    return ""
