"""How long a machine has been behind, or asleep: law 3, one past its `max_behind` is an error, not a warning.

Counted from the approval of the oldest release that it misses, by the clock of whoever wrote that. Times come in as
arguments, in seconds since 1970.
"""

from __future__ import annotations

import itertools

from wakeline.core.model import Machine
from wakeline.core.order import Outcome
from wakeline.core.state import Release, State
from wakeline.core.times import seconds_of

_NOT_ASKED = (Outcome.WITHHELD, Outcome.SUPERSEDED)


def behind_since(state: State, machine: str) -> str:
    """When the oldest approved release that a machine misses was approved for it, as it stands on record; or nothing.

    A machine that joined misses nothing from before it did.
    """
    runs = state.runs(machine)
    newer = itertools.takewhile(lambda release: release.number > runs, state.releases_of([machine]))
    missed = [record.at for release in newer if (record := state.approval(release, machine))]
    return min(missed, default="")


def overdue(state: State, machine: Machine, *, now_s: float) -> str:
    """Why a machine is further behind than it may be, or nothing."""
    since = behind_since(state, machine.name)
    began = seconds_of(since)
    if began is None or now_s - began <= machine.max_behind_s:
        return ""
    return f"{machine.name} is behind since {since}, longer than its max_behind of {_shown(machine.max_behind_s)}"


def asleep_since(state: State, machine: str) -> str:
    """When a machine that is asleep was first not there, of the releases in a row that found it so."""
    since = ""
    for release in state.releases_of([machine]):
        result = release.results.get(machine)
        if result is None or result.outcome in _NOT_ASKED:
            continue
        if result.outcome is not Outcome.ASLEEP:
            break
        since = result.asleep_at or result.at
    return since


def is_awaited(release: Release, machine: str) -> bool:
    """Whether a machine that is asleep brings itself to this release: approved for its stage, and not held there."""
    stage = release.stage_of(machine)
    return stage is not None and stage.name in release.approved - release.held_stages


def promise(release: Release, machine: Machine) -> str:
    """What a machine that is asleep will do when it wakes, as far as this release is concerned."""
    if is_awaited(release, machine.name):
        return f"when it wakes, it brings itself to release {release.number}"
    stage = release.stage_of(machine.name)
    why = "has failed in its stage" if stage and stage.name in release.held_stages else "is not approved for its stage"
    return f"release {release.number} {why}, so when it wakes it stays where it is"


def runs_before(state: State, number: int, machine: str) -> int:
    """The newest release below `number` that a machine is known to have run; 0 for none."""
    earlier = (each for each in state.releases_of([machine]) if each.number < number)
    return next((each.number for each in earlier if each.passed_on(machine)), 0)


def last_approved_before(state: State, number: int) -> Release | None:
    """The newest release below `number` that has passed, or been approved, in every stage of it."""
    for release in state.newest_first(below=number):
        if not release.failed and release.approved >= {stage.name for stage in release.stages}:
            return release
    return None


def shown(seconds: float) -> str:
    """A length of time as it is written in the fleet file."""
    return _shown(seconds)


def _shown(seconds: float) -> str:
    for length, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "m")):
        if seconds >= length:
            return f"{seconds / length:g}{unit}"
    return f"{seconds:g}s"
