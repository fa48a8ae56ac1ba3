"""Runs a script of ours on a machine as root: what `setup` and `leave` do, and what setup looks at before."""

from __future__ import annotations

import dataclasses
import re

from wakeline.core.model import Machine
from wakeline.driver.project import Project
from wakeline.edges.transports.way import address_of
from wakeline.errors import RolloutFailed

CONNECT_S = 10.0
LIMIT_S = 120.0
SHELL, PYTHON = "sh -s", "python3 -I -"
_NOT_FOUND = 127
_USER = re.compile(r"[a-z_][a-z0-9_.-]*\$?\Z", re.IGNORECASE)


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
    there = dataclasses.replace(machine, address=f"{root_user}@{await _place(machine)}")
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


async def with_its_user(project: Project, machine: Machine) -> Machine:
    """The machine with an address that says who deploys there: what ~/.ssh/config or a `cmd:` says is asked for.

    Raises NotReached, Lost, and RolloutFailed for an answer that is no user's name.
    """
    connection = await project.transport_of(machine).connect(machine, limit_s=CONNECT_S)
    try:
        _, out, _ = await connection.run("id -un")
    finally:
        await connection.close()
    user = out.decode("utf-8", "replace").strip()
    if not _USER.match(user):
        raise RolloutFailed(f"`id -un` did not say who deploys there: {user[:80]!r}")
    return dataclasses.replace(machine, address=f"{user}@{await _place(machine)}")


async def _place(machine: Machine) -> str:
    """Host and port of a machine, without who logs in."""
    if not machine.address.startswith("cmd:"):
        return machine.address.rpartition("@")[2]
    said = await address_of(machine, limit_s=CONNECT_S)
    host = f"[{said.host}]" if ":" in said.host else said.host
    return f"{host}:{said.port}" if said.port else host


def _hint(words: str, code: int, root_user: str) -> str:
    """What to do about the failures that are met most; everything else speaks for itself."""
    if words.startswith("sudo:") and "password" in words:
        return f" ({root_user} needs sudo without a password for this; or --root-user root)"
    if code == _NOT_FOUND or "command not found" in words:
        return " (apt-get install what is not found)"
    if "Read-only file system" in words:
        return " (make it writable for the set-up; what was written stays, and setup is safe twice)"
    return ""
