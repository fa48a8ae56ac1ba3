"""Catch-up: what a machine that wakes should run. The state and what it runs go in, a decision comes out.

Laws that live here:

- Law 6: the newest release approved for its stage and nothing else; never one below what it has run; never a once-step.
- Law 10: a release that failed in its stage is held there; a release that failed on this machine is tried a few times.
- Law 11: no news means: keep running what runs.
"""

from __future__ import annotations

import dataclasses
import enum

from wakeline.core.state import Release, State

ATTEMPTS = 3


class Verdict(str, enum.Enum):
    """What a catch-up does."""

    NOTHING = "nothing"
    RUN = "run"
    HELD = "held"
    RETIRED = "retired"
    GIVEN_UP = "given-up"


@dataclasses.dataclass(frozen=True)
class CatchUp:
    """The decision and its reason, for the journal and for `explain`. `stage` says whose approval has the order."""

    verdict: Verdict
    why: str
    release: int = 0
    stage: str = ""


def decide(state: State, *, machine: str, runs: int, attempts: dict[int, int] | None = None) -> CatchUp:
    """Which release `machine` should bring itself to, when it runs release `runs` (0: none, or an adopted folder).

    `attempts` counts, per release, how often this machine has tried it and failed.
    """
    if "" in state.holds:
        return CatchUp(Verdict.HELD, f"the fleet is on hold: {state.holds['']}")
    if machine in state.holds:
        return CatchUp(Verdict.HELD, f"{machine} is on hold: {state.holds[machine]}")
    if _is_retired(state, machine):
        return CatchUp(Verdict.RETIRED, f"the newest approved release has no order for {machine}")
    wanted = _newest_approved(state, machine)
    if wanted is None:
        return CatchUp(Verdict.NOTHING, "no release is approved for it yet")
    if wanted.number <= runs:
        return CatchUp(Verdict.NOTHING, f"runs release {runs}, the newest approved is {wanted.number}")
    tried = (attempts or {}).get(wanted.number, 0)
    if tried >= ATTEMPTS:
        why = f"release {wanted.number} failed here {tried} times; `wakeline retry {machine}` or a newer release"
        return CatchUp(Verdict.GIVEN_UP, why)
    stage = _stage_name(wanted, machine)
    why = f"release {wanted.number} is the newest approved for stage {stage}"
    return CatchUp(Verdict.RUN, why, release=wanted.number, stage=stage)


def _newest_approved(state: State, machine: str) -> Release | None:
    """Highest number whose stage for this machine is approved and not held there."""
    for number in sorted(state.releases, reverse=True):
        release = state.releases[number]
        stage = _stage_name(release, machine)
        if stage in release.approved and stage not in release.held_stages:
            return release
    return None


def _stage_name(release: Release, machine: str) -> str:
    stage = release.stage_of(machine)
    return stage.name if stage else ""


def _is_retired(state: State, machine: str) -> bool:
    """True when the newest release that passed anywhere has no place for the machine, and an older one had."""
    approved = [number for number, release in state.releases.items() if release.approved - release.held_stages]
    if not approved or _stage_name(state.releases[max(approved)], machine):
        return False
    return any(_stage_name(release, machine) for release in state.releases.values())
