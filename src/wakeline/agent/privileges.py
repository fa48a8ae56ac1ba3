"""What the agent may do as root: one table of argv, for the calls, the sudoers lines of `setup` and the helper units.

A sudoers line without `--no-pager` does not match a call with it, so neither is written by hand. `systemctl status`
is not here: through sudo it opens a pager as root (CVE-2023-26604).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

SYSTEMCTL = "/usr/bin/systemctl"
SUDO = "/usr/bin/sudo"
VERBS = ("restart", "reload", "stop", "reset-failed")
SUDO_WAY, HELPER_WAY, ROOT_WAY = "sudo", "helper", "root"
_UNIT = re.compile(r"[A-Za-z0-9:_.\\][A-Za-z0-9:_.\\@-]*\.(?:service|target|socket|timer)\Z")


def is_unit(name: str) -> bool:
    """True for a unit's name that may stand in an argv and in a sudoers line."""
    return bool(_UNIT.match(name))


def argv(verb: str, unit: str, *, way: str) -> list[str]:
    """The command that does `verb` to `unit`: as root, through sudo, or through the root-owned helper unit."""
    if verb not in VERBS or not is_unit(unit):
        raise ValueError(f"not something that the agent may do as root: {verb} {unit}")
    if way == HELPER_WAY:
        return [SYSTEMCTL, "--no-pager", "--wait", "start", helper_unit(verb, unit)]
    plain = [SYSTEMCTL, "--no-pager", verb, unit]
    return plain if way == ROOT_WAY else [SUDO, "-n", *plain]


def helper_unit(verb: str, unit: str) -> str:
    """The helper's instance for one unit: `wakeline-restart@gunicorn.service`."""
    return f"wakeline-{verb}@{unit if unit.endswith('.service') else unit + '.service'}"


def sudoers(user: str, units: Iterable[str]) -> list[str]:
    """One exact line for each verb and unit: no wildcard, no other argument."""
    lines = []
    for unit in units:
        for verb in VERBS:
            lines.append(f"{user} ALL=(root) NOPASSWD: {' '.join(argv(verb, unit, way=ROOT_WAY))}")
    return lines


def present_way(*, without_sudo: bool = False) -> str:
    """How this process can act as root: a unit of ours has NoNewPrivileges, and sudo refuses there."""
    if os.geteuid() == 0:
        return ROOT_WAY
    return HELPER_WAY if without_sudo else SUDO_WAY
