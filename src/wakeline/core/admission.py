"""May this request become a rollout, and of which release? Asked again each time the log has moved.

Laws that live here:

- Law 4: an open claim blocks every new release, rollback and once-step of the fleet.
- Law 8: a re-run job must not turn the fleet back; of the requests waiting the last goes, a rollback before a deploy.
- Law 10: a release that failed is not tried again unless somebody says `retry`, which makes a new release.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Collection, Mapping, Sequence
from typing import Union

from wakeline.core.order import Outcome
from wakeline.core.state import Claim, Release, Request, State


class Blocked(str, enum.Enum):
    """Why a request may not go on; each has its exit code at the edge."""

    IN_DOUBT = "in-doubt"
    HELD = "held"
    FAILED_BEFORE = "failed-before"
    OLDER = "older"
    SUPERSEDED = "superseded"
    NOTHING_GOOD = "nothing-good"
    NOT_BEGUN = "not-begun"


@dataclasses.dataclass(frozen=True)
class Refused:
    """The request may not go on. `why` is a sentence, `hint` the next command."""

    blocked: Blocked
    why: str
    hint: str = ""


@dataclasses.dataclass(frozen=True)
class NewRelease:
    """Make release `number` of these commits."""

    number: int
    commit: str
    pins: Mapping[str, str]
    rollback_to: int = 0


@dataclasses.dataclass(frozen=True)
class CarryOn:
    """Walk an existing release again: what is done is `unchanged`."""

    release: int


Admission = Union[Refused, NewRelease, CarryOn]


@dataclasses.dataclass(frozen=True)
class Ancestry:
    """What git says of the commit asked for, gathered by the caller: the core has no disk."""

    older_than_newest: bool = False
    refused_by: str = ""


def deploy(
    state: State, *, commit: str, pins: Mapping[str, str], ancestry: Ancestry, again: bool = False, after: str = ""
) -> Admission:
    """A deploy of one commit of each repository. `again` is `wakeline retry`.

    `after` names the one stage that is asked for, when it is not the first: that carries on what the first has begun.
    """
    blocked = _standing_in_the_way(state)
    if blocked:
        return blocked
    newest = state.newest
    if after:
        return _next_stage(state, commit=commit, stage=after)
    if newest and (newest.commit, dict(newest.pins)) == (commit, dict(pins)):
        return _same_again(state, newest, again=again)
    if ancestry.refused_by:
        why = f"{commit[:10]} is not newer than {ancestry.refused_by[:10]}, which was rolled back"
        return Refused(Blocked.HELD, why, "deploy a newer commit, or `wakeline unhold`")
    if newest and ancestry.older_than_newest:
        why = f"{commit[:10]} is older than {newest.commit[:10]}, the commit of release {newest.number}"
        return Refused(Blocked.OLDER, why, "to go back on purpose: wakeline rollback")
    return NewRelease(_next_number(state), commit, pins)


def rollback(state: State, *, to: int = 0, after: str = "") -> Admission:
    """A new, higher release with an older commit; never one that failed. `to` 0 means: the last good one.

    One that was cut short is carried on. `after` as in `deploy`.
    """
    blocked = _standing_in_the_way(state)
    if blocked:
        return blocked
    newest = state.newest
    begun = newest if newest and newest.rollback_to and to in (0, newest.rollback_to) else None
    if after:
        if begun is None:
            return Refused(Blocked.NOT_BEGUN, "no such rollback has begun", "begin it with the first stage")
        return _carry_on(begun, stage=after)
    if begun and begun.ended in ("", "interrupted", "held"):
        return CarryOn(begun.number)
    target = _rollback_target(state, to)
    if isinstance(target, Refused):
        return target
    if target.number < state.barrier:
        why = f"release {state.barrier} changed the schema in a way that release {target.number} cannot live with"
        return Refused(Blocked.NOTHING_GOOD, why, "write a release that goes forward")
    return NewRelease(_next_number(state), target.commit, target.pins, rollback_to=target.number)


def approved_at_once(state: State, release: Release) -> frozenset[str]:
    """Stages where a rollback is approved as it begins: what it goes back to passed there, as far as is known by now.

    What comes to be known in the push that makes the release counts: a machine may have failed it by itself meanwhile.
    """
    target = state.releases.get(release.rollback_to)
    there = {stage.name for stage in release.stages}  # a stage that is gone is not its
    return frozenset(there & (target.approved - target.held_stages)) if target else frozenset()


def leave(state: State, *, machines: Collection[str]) -> Refused | None:
    """May these machines be left? Law 4: not while the journal of one may be all that knows how a once-step ended."""
    for claim in state.open_claims:
        if claim.machine in machines:
            return _in_doubt(claim)
    return None


def first_in_line(requests: Mapping[str, Request]) -> Request | None:
    """Law 8: of the requests waiting the last one goes, a rollback before a deploy."""
    return max(requests.values(), key=lambda each: (each.what == "rollback", each.position), default=None)


def _standing_in_the_way(state: State) -> Refused | None:
    for claim in state.open_claims:
        return _in_doubt(claim)
    if "" in state.holds:
        return Refused(Blocked.HELD, f"the fleet is on hold: {state.holds['']}", "wakeline unhold")
    return None


def _in_doubt(claim: Claim) -> Refused:
    why = f"once-step {claim.step} of release {claim.release} was started on {claim.machine} and has no outcome"
    return Refused(Blocked.IN_DOUBT, why, f"wakeline resolve {claim.step} --done | --not-run")


def _next_stage(state: State, *, commit: str, stage: str) -> Admission:
    """One more stage of the release that this commit became. Where further repositories are by now does not matter."""
    newest = state.newest
    if newest and newest.commit == commit:
        return _carry_on(newest, stage=stage)
    if newest and any(release.commit == commit for release in state.newest_first()):
        why = f"release {newest.number} has begun since: this commit's release is superseded"
        return Refused(Blocked.SUPERSEDED, why, "wakeline status")
    return Refused(Blocked.NOT_BEGUN, f"there is no release of {commit[:10]} yet", "begin it with the first stage")


def _carry_on(newest: Release, *, stage: str) -> Admission:
    """What failed in another stage withholds this one, and the walk says so; what failed in this one wants a retry."""
    here = [name for name, each in newest.results.items() if each.outcome is Outcome.FAILED]
    failed = sorted(name for name in here if (found := newest.stage_of(name)) and found.name == stage)
    return _failed_before(newest, failed) if failed else CarryOn(newest.number)


def _same_again(state: State, newest: Release, *, again: bool) -> Admission:
    failed = sorted(name for name, each in newest.results.items() if each.outcome is Outcome.FAILED)
    if not failed:
        return CarryOn(newest.number)
    if again:
        return NewRelease(_next_number(state), newest.commit, newest.pins)
    return _failed_before(newest, failed)


def _failed_before(newest: Release, failed: Sequence[str]) -> Refused:
    cause = newest.results[failed[0]].cause
    why = f"release {newest.number} of this commit failed on {', '.join(failed)}: {cause}"
    return Refused(Blocked.FAILED_BEFORE, why, "deploy a newer commit, or `wakeline retry`")


def _rollback_target(state: State, to: int) -> Release | Refused:
    if to:
        chosen = state.releases.get(to)
        if chosen is None:
            return Refused(Blocked.NOTHING_GOOD, f"there is no release {to}", "wakeline history")
        if not _is_good(chosen):
            return Refused(Blocked.NOTHING_GOOD, f"release {to} did not pass", "wakeline history")
        return chosen
    newest = state.newest
    for release in state.newest_first():
        if newest and _is_good(release) and not _is_same(release, newest) and not _was_left(state, release):
            return release
    return Refused(Blocked.NOTHING_GOOD, "no earlier release passed", "wakeline history")


def _is_good(release: Release) -> bool:
    return bool(release.stages) and not release.failed and release.approved >= {each.name for each in release.stages}


def _was_left(state: State, release: Release) -> bool:
    """A rollback on top of a rollback goes further back, not forward to what was just left."""
    return state.refuses(release.commit, release.pins)


def _is_same(one: Release, other: Release) -> bool:
    return (one.commit, dict(one.pins)) == (other.commit, dict(other.pins))


def _next_number(state: State) -> int:
    return state.highest + 1
