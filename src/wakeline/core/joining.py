"""A machine that joins: which release is approved for it, so that it catches up instead of waiting for the next deploy.

Law 6 holds as for any approval: only a release whose gates ahead of the machine's stage have passed, in the first stage
only what has itself passed there, and never below a barrier (law 5). It never makes a machine the lead of a release.
"""

from __future__ import annotations

import dataclasses
from typing import Union

from wakeline.core.gates import passed
from wakeline.core.model import Fleet, Stage
from wakeline.core.order import Outcome
from wakeline.core.state import Release, State


@dataclasses.dataclass(frozen=True)
class Joins:
    """Approve `release` for the machine, in `stage`, which comes before the stage `before` where it is a new one."""

    release: int
    stage: str
    before: str = ""


@dataclasses.dataclass(frozen=True)
class Waits:
    """Nothing is approved for it now, and why. `again` is true where setup is the way, once that has changed."""

    why: str
    again: bool = False


Joining = Union[Joins, Waits, None]


def decide(state: State, fleet: Fleet, machine: str) -> Joining:
    """What joins a machine to the fleet as it runs now. None where the present release has an order for it."""
    stage = fleet.stage_of(machine)
    if stage is None:
        return None
    present = state.present
    if present is None:
        new = state.newest is not None and not _has(state, state.newest, machine)
        return Waits("no release is approved yet: the next deploy takes it along") if new else None
    if _has(state, present, machine):
        return None
    if not state.lease.free:
        return Waits(f"{state.lease.holder} is at work on a release without it", again=True)
    for release in state.approved():
        if _has(state, release, machine):
            return None
        if not _may_run(release, stage, fleet):
            continue
        if release.number < state.barrier:
            return Waits(f"the schema has moved on since release {release.number}: the next deploy takes it along")
        return Joins(release.number, stage.name, _next_of(release, stage, fleet))
    return Waits(f"no release has passed the gates of stage {stage.name} yet: the next deploy takes it along")


def _has(state: State, release: Release, machine: str) -> bool:
    return any(release.stage_of(name) for name in state.names_of(machine))


def _may_run(release: Release, stage: Stage, fleet: Fleet) -> bool:
    """Law 6 for a stage that the release has, and for one that came into the fleet after it."""
    if any(each.name == stage.name for each in release.stages):
        return stage.name in release.approved and stage.name not in release.held_stages
    ahead = fleet.stages[: fleet.stages.index(stage)]
    return bool(ahead) and all(_passed(release, each) for each in ahead)


def _passed(release: Release, ahead: Stage) -> bool:
    """A stage ahead lets others by: it has passed, or it keeps nobody. One that the release never saw has not."""
    if all(each.name != ahead.name for each in release.stages):
        return not ahead.gates
    plan = release.stage(ahead.name)
    outcomes = {name: each.outcome for name, each in release.results.items()}
    if plan.gates:
        return passed(plan, outcomes)
    return plan.goes_on or not any(outcomes.get(name) in (Outcome.FAILED, Outcome.UNKNOWN) for name in plan.machines)


def _next_of(release: Release, stage: Stage, fleet: Fleet) -> str:
    """The stage of the release that comes behind a stage that it does not have; empty where it is the last."""
    known = {each.name for each in release.stages}
    if stage.name in known:
        return ""
    behind = fleet.stages[fleet.stages.index(stage) + 1 :]
    return next((each.name for each in behind if each.name in known), "")
