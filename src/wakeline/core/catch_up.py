"""Catch-up: what a machine that wakes should run. The state and what it runs go in, a decision comes out.

Laws that live here:

- Law 6: the newest release approved for its stage and nothing else; never one below what it has run; never a once-step.
- Law 10: a release that failed in its stage is held there; a release that failed on this machine is tried a few times.
- Law 7: what was switched to and never confirmed is confirmed or gone back from, not left as it is.
- Law 11: no news means: keep running what runs.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping

from wakeline.core.carrying_out import CutOff
from wakeline.core.state import Release, State

ATTEMPTS = 3
Attempts = Mapping[tuple[int, int], int]


class Verdict(str, enum.Enum):
    """What a catch-up does."""

    NOTHING = "nothing"
    RUN = "run"
    FINISH = "finish"
    HELD = "held"
    RETIRED = "retired"
    GIVEN_UP = "given-up"


@dataclasses.dataclass(frozen=True)
class CatchUp:
    """The decision and its reason, for the journal and for `explain`.

    `stage` says whose approval has the order, `name` the name that the machine has there: it may have been renamed. Of
    a retired machine they are those of a release that has no order for it. `retries` is how often somebody has asked
    for `release` once more by now: what the machine writes down with this attempt.
    """

    verdict: Verdict
    why: str
    release: int = 0
    stage: str = ""
    name: str = ""
    retries: int = 0


def decide(
    state: State, *, machine: str, runs: int, cut_off: CutOff | None = None, attempts: Attempts | None = None
) -> CatchUp:
    """Which release `machine` should bring itself to, when it runs release `runs` (0: none, or an adopted folder).

    `cut_off` is the run that was cut off between its switch and its end. `attempts` counts, per release and the retries
    that were known then, how often this machine has tried it by itself.
    """
    names = state.names_of(machine)
    if "" in state.holds:
        return CatchUp(Verdict.HELD, f"the fleet is on hold: {state.holds['']}")
    for name in names:
        if name in state.holds:
            return CatchUp(Verdict.HELD, f"{name} is on hold: {state.holds[name]}")
    wanted = _newest_approved(state, names)
    attempts = attempts or {}
    if cut_off and (wanted is None or wanted.number <= runs):
        return _finish(state, cut_off, machine=machine, attempts=attempts)
    present = state.present
    if present is None:
        return CatchUp(Verdict.NOTHING, "no release is approved for it yet")
    if not _name_in(present, names) or state.orders_none(present, _name_in(present, names)):
        return _without_order(state, present, machine)
    if wanted is None:
        return CatchUp(Verdict.NOTHING, "no release is approved for it yet")
    if wanted.number <= runs:
        return CatchUp(Verdict.NOTHING, f"runs release {runs}, the newest approved is {wanted.number}")
    retries = _retries(state, wanted.number, names)
    tried = attempts.get((wanted.number, retries), 0)
    if tried >= ATTEMPTS and cut_off:
        return _finish(state, cut_off, machine=machine, attempts=attempts)  # what runs is still nobody's
    if tried >= ATTEMPTS:
        return CatchUp(Verdict.GIVEN_UP, _given_up(wanted.number, machine=machine, tried=tried))
    name = _name_in(wanted, names)
    stage = _stage_name(wanted, name)
    why = f"release {wanted.number} is the newest approved for stage {stage}"
    return CatchUp(Verdict.RUN, why, release=wanted.number, stage=stage, name=name, retries=retries)


def _without_order(state: State, present: Release, machine: str) -> CatchUp:
    """Retired, or new: the newest approved release has no place for it, and an older one had or had not."""
    names = state.names_of(machine)
    if any(_name_in(release, names) for release in state.releases_of(names) if release.number <= present.number):
        stage = min(present.approved - present.held_stages)
        why = f"{machine} is retired: release {present.number}, the newest approved, has no order for it"
        return CatchUp(Verdict.RETIRED, why, release=present.number, stage=stage)
    why = f"{machine} is new: `wakeline setup {machine}` approves release {present.number} for it"
    return CatchUp(Verdict.NOTHING, why)


def _retries(state: State, release: int, names: tuple[str, ...]) -> int:
    """How often somebody has asked for a release once more here. Each begins the count of attempts anew.

    What was tried before it does not matter: the machine writes down with each attempt which one it belongs to.
    """
    return sum(state.retries.get((release, name), 0) for name in ("", *names))


def _finish(state: State, cut_off: CutOff, *, machine: str, attempts: Attempts) -> CatchUp:
    """The way back is gone to its end however often: nothing new is tried on it."""
    release = cut_off.release
    retries = _retries(state, release, state.names_of(machine))
    if cut_off.back:
        why = f"the run that was going back from release {release} was cut off: its services are restarted now"
        return CatchUp(Verdict.FINISH, why, release=release, retries=retries)
    tried = attempts.get((release, retries), 0)
    if tried >= ATTEMPTS:
        return CatchUp(Verdict.GIVEN_UP, _given_up(release, machine=machine, tried=tried))
    why = f"the run that switched to release {release} was cut off: it is confirmed now, or gone back from"
    return CatchUp(Verdict.FINISH, why, release=release, retries=retries)


def _given_up(release: int, *, machine: str, tried: int) -> str:
    return f"release {release} failed here {tried} times; `wakeline retry {machine}` or a newer release"


def _newest_approved(state: State, names: tuple[str, ...]) -> Release | None:
    """Highest number whose stage for this machine is approved and not held there."""
    for release in state.approved(names):
        name = _name_in(release, names)
        if state.approval(release, name) and not state.orders_none(release, name):
            return release
    return None


def _name_in(release: Release, names: tuple[str, ...]) -> str:
    return next((name for name in names if release.stage_of(name)), "")


def _stage_name(release: Release, machine: str) -> str:
    stage = release.stage_of(machine)
    return stage.name if stage else ""
