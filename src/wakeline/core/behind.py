"""How long a machine has been behind: law 3, an on-demand machine past its `max_behind` is an error, not a warning.

Counted from the approval of the oldest release that it misses, by the clock of whoever wrote that. Times come in as
arguments, in seconds since 1970.
"""

from __future__ import annotations

import datetime

from wakeline.core.model import Machine
from wakeline.core.state import State


def behind_since(state: State, machine: str) -> str:
    """When the oldest approved release that a machine misses was approved for it, as it stands on record; or nothing.

    A machine that joined misses nothing from before it did.
    """
    runs = state.runs(machine)
    newer = (release for number, release in state.releases.items() if number > runs)
    missed = [record.at for release in newer if (record := state.approval(release, machine))]
    return min(missed, default="")


def overdue(state: State, machine: Machine, *, now_s: float) -> str:
    """Why a machine is further behind than it may be, or nothing."""
    since = behind_since(state, machine.name)
    try:
        began = datetime.datetime.strptime(f"{since}+0000", "%Y-%m-%dT%H:%M:%SZ%z").timestamp()
    except ValueError:
        return ""
    if now_s - began <= machine.max_behind_s:
        return ""
    return f"{machine.name} is behind since {since}, longer than its max_behind of {_shown(machine.max_behind_s)}"


def _shown(seconds: float) -> str:
    for length, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "m")):
        if seconds >= length:
            return f"{seconds / length:g}{unit}"
    return f"{seconds:g}s"
