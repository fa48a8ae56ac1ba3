"""How long a machine has been behind: law 3, an on-demand machine past its `max_behind` is an error, not a warning.

Counted from the approval of the oldest release that it misses, by the clock of whoever wrote that. Times come in as
arguments, in seconds since 1970.
"""

from __future__ import annotations

import datetime

from wakeline.core.model import Machine
from wakeline.core.state import State


def behind_since(state: State, machine: str) -> str:
    """When the oldest approved release that a machine misses was approved, as it stands on record; or nothing."""
    passed = (number for number, release in state.releases.items() if _passed(state, number, machine))
    runs = max(passed, default=0)
    missed = []
    for (number, stage), record in state.orders.items():
        release = state.releases.get(number)
        mine = release.stage_of(machine) if release else None
        if release and mine and mine.name == stage and number > runs and stage not in release.held_stages:
            missed.append(record.at)
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


def _passed(state: State, number: int, machine: str) -> bool:
    result = state.releases[number].results.get(machine)
    return result is not None and result.outcome.passed


def _shown(seconds: float) -> str:
    for length, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "m")):
        if seconds >= length:
            return f"{seconds / length:g}{unit}"
    return f"{seconds:g}s"
