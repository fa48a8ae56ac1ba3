"""What the agent may do as root: one table of argv, for the calls, the sudoers lines of `setup` and the helper units.

A sudoers line without `--no-pager` does not match a call with it, so neither is written by hand. `systemctl status`
is not here: through sudo it opens a pager as root (CVE-2023-26604).
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable

SYSTEMCTL = "/usr/bin/systemctl"
SUDO = "/usr/bin/sudo"
VERBS = ("restart", "reload", "stop", "reset-failed")
SUDO_WAY, HELPER_WAY, ROOT_WAY = "sudo", "helper:", "root"
HOLD_OFF = "hold off"  # what the helper is asked, to keep a shutdown waiting for as long as it is listened to
HOLD_OFF_ARGV = (
    *("/usr/bin/systemd-inhibit", "--what=shutdown:sleep", "--mode=delay"),
    *("--who=wakeline", "--why=a release is being switched", "/bin/cat"),
)
_UNIT = re.compile(r"[A-Za-z0-9:_.\\][A-Za-z0-9:_.\\@-]*\.(?:service|target|socket|timer)\Z")


def is_unit(name: str) -> bool:
    """True for a unit's name that may stand in an argv and in a sudoers line."""
    return bool(_UNIT.match(name))


def argv(verb: str, unit: str, *, way: str) -> list[str]:
    """The command that does `verb` to `unit`: as root, or through sudo."""
    if verb not in VERBS or not is_unit(unit):
        raise ValueError(f"not something that the agent may do as root: {verb} {unit}")
    plain = [SYSTEMCTL, "--no-pager", verb, unit]
    return plain if way == ROOT_WAY else [SUDO, "-n", *plain]


def ask_helper(verb: str, unit: str, *, way: str, timeout_s: float) -> tuple[int, str]:
    """Ask the root-owned helper on its socket. Returns its exit code and words. Raises OSError when it is not there."""
    if verb not in VERBS or not is_unit(unit):
        raise ValueError(f"not something that the agent may do as root: {verb} {unit}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        connection.connect(way[len(HELPER_WAY) :])
        connection.sendall(f"{verb} {unit}\n".encode())
        said = b"".join(iter(lambda: connection.recv(65536), b"")).decode("utf-8", "replace")
    words, _, code = said.rstrip("\n").rpartition("exit ")
    return (int(code), words.strip()) if code.isdigit() else (1, said.strip() or "the helper said nothing")


def sudoers(user: str, units: Iterable[str]) -> list[str]:
    """One exact line for each verb and unit: no wildcard, no other argument."""
    lines = []
    for unit in units:
        for verb in VERBS:
            lines.append(f"{user} ALL=(root) NOPASSWD: {' '.join(argv(verb, unit, way=ROOT_WAY))}")
    return lines


def present_way(*, without_sudo: bool, app: str, environment: str) -> str:
    """How this process can act as root: a unit of ours has NoNewPrivileges, so sudo refuses there.

    A machine without sudo has the helper for a push as well.
    """
    if os.geteuid() == 0:
        return ROOT_WAY
    helper = without_sudo or not os.path.exists(SUDO)  # noqa: PTH110 - a look, at every start
    return f"{HELPER_WAY}{helper_socket(app=app, environment=environment)}" if helper else SUDO_WAY


def helper_socket(*, app: str, environment: str) -> str:
    """Where root's helper listens, for the deploy user alone."""
    return f"/run/wakeline-{app}-{environment}.sock"
