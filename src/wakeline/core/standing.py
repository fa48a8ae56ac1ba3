"""Whether a deploy would change nothing. Then it needs no lease and writes nothing: it has only looked (law 13).

Laws that live here:

- Law 3: a machine that is asleep now is on record as asleep; silence of one that is on record as ok is news.
- Law 8: only when nobody else is at work, and nothing waits. Anything that differs from the record is news, and goes
  the long way, with the lease.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from wakeline.core.model import Fleet
from wakeline.core.order import Outcome
from wakeline.core.presence import Answer
from wakeline.core.state import Release, State

CONFIRMED = "confirmed"


@dataclasses.dataclass(frozen=True)
class Found:
    """What a look at one machine found. `release` is what it runs, in the state that its folder says."""

    answer: Answer
    cause: str = ""
    release: int | None = None
    state: str = ""
    machine_id: str = ""
    busy: bool = False


def candidate(state: State, fleet: Fleet, *, commit: str, pins: Mapping[str, str]) -> Release | None:
    """The newest release, if the ledger knows of nothing that a deploy of this commit would have to do."""
    newest = state.newest
    if newest is None or (newest.commit, dict(newest.pins)) != (commit, dict(pins)):
        return None
    if newest.ended != "passed" or newest.held_stages or newest.sent or newest.rollback_to:
        return None
    if not state.lease.free or state.requests or state.open_claims or state.holds:
        return None
    if [(each.name, each.machines) for each in newest.stages] != [
        (stage.name, tuple(machine.name for machine in stage.machines)) for stage in fleet.stages
    ]:
        return None
    if not newest.approved >= {stage.name for stage in newest.stages}:
        return None
    known = (newest.results.get(machine.name) for machine in fleet.machines)
    quiet = all(each is not None and (each.outcome.passed or each.outcome is Outcome.ASLEEP) for each in known)
    return newest if quiet else None


def stands(state: State, release: Release, found: Mapping[str, Found]) -> bool:
    """Whether every machine is as the ledger has it: it runs the release and has confirmed it, or it still sleeps."""
    return all(
        _is_as_recorded(found.get(name), result.outcome, release=release.number, known=state.machines.get(name, ""))
        for name, result in release.results.items()
        if release.stage_of(name)
    )


def _is_as_recorded(found: Found | None, outcome: Outcome, *, release: int, known: str) -> bool:
    if found is None:
        return False
    if outcome is Outcome.ASLEEP:
        return found.answer is Answer.ASLEEP
    runs_it = (found.release, found.state) == (release, CONFIRMED) and not found.busy
    return found.answer is Answer.AWAKE and runs_it and known in ("", found.machine_id)
