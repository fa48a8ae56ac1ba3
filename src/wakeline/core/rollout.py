"""One walk of a release through the stages. Events go in, the next rollout and what to do about it come out.

The laws that this file holds; anything that changes what happens next is in it:

1. Order. No machine of a later stage starts before every gating stage ahead of it has passed: every `always` machine
   ok or unchanged, and no machine of it failed or unknown. Asleep does not count. Who waits for an order may be asked
   to prepare: to fetch the release and lay it out beside what runs there. Nothing of it runs, and nothing is switched.
2. A failed stage stops what is behind it: later machines are withheld and approvals do not move. A stage that does not
   gate may say that the rollout goes on.
3. Asleep is not failed, and failed is never asleep: only the knock says asleep, and never for an `always` machine, for
   one that was never reached since it was set up, for one that had begun, or for one whose own word is newer.
4. A once-step is started only when its claim is on record, by the lead, one at a time.

A machine on hold is not knocked at and not started. On demand it counts as one that sleeps does; an `always` machine on
hold keeps its stage from passing. Neither is a failure: somebody said so.

The rollout says what to do; the driver does it. A record comes before the act that it allows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Mapping, Sequence
from typing import Any

from wakeline.core.commands import Command, End, GiveClaim, Knock, Prepare, Send, Stop, Write
from wakeline.core.events import (
    CheckedIn,
    Event,
    Finished,
    Knocked,
    OnceEnded,
    OnceVerified,
    OnceWanted,
    Prepared,
    StopAsked,
)
from wakeline.core.gates import BAD, all_known_ahead, failed, gate_ahead, is_passed, passed
from wakeline.core.order import Outcome
from wakeline.core.presence import Answer
from wakeline.core.records import Draft
from wakeline.core.state import StagePlan

PREPARE_AT_ONCE = 5  # as long as somebody may fetch for a gate, the remote is not asked by a crowd


@dataclasses.dataclass(frozen=True)
class Rollout:
    """Where a rollout stands. `results` has a machine as soon as its outcome is known.

    `sent_before` are machines that got this release's order in an earlier walk, which never heard how it ended. `once`
    are its once-steps, `held` says of each machine on hold why it is, `failed_before` are machines that said so of this
    release. `preparable` are machines whose order may be laid out before its turn.
    """

    release: int
    stages: tuple[StagePlan, ...]
    lead: str
    at_once: Mapping[str, int]
    reached_before: frozenset[str]
    approved: frozenset[str] = frozenset()
    rollback: bool = False
    only_stage: str = ""
    knocks: Mapping[str, Knocked] = dataclasses.field(default_factory=dict)
    running: frozenset[str] = frozenset()
    results: Mapping[str, Outcome] = dataclasses.field(default_factory=dict)
    sent_before: frozenset[str] = frozenset()
    failed_before: frozenset[str] = frozenset()
    once: frozenset[str] = frozenset()
    held: Mapping[str, str] = dataclasses.field(default_factory=dict)
    receipted: frozenset[str] = frozenset()
    preparable: frozenset[str] = frozenset()
    preparing: frozenset[str] = frozenset()
    prepared: frozenset[str] = frozenset()
    claims: frozenset[str] = frozenset()
    open_claim: str = ""
    open_step: str = ""
    stopping: str = ""
    ended: str = ""

    @property
    def walked(self) -> tuple[StagePlan, ...]:
        """The stages that this rollout walks: all, or the one that was asked for."""
        return tuple(stage for stage in self.stages if self.only_stage in ("", stage.name))


class ImpossibleEvent(ValueError):
    """An event that cannot happen in this state: a bug of ours, with machine and state named."""


def nobody_waits_for(rollout: Rollout) -> tuple[str, ...]:
    """Machines whose silence need not be waited out: they alone are left of their stage, some machine runs the release
    already, and who stays silent of them is asleep.
    """
    for stage in rollout.walked:
        left = [name for name in stage.machines if name not in rollout.results]
        if left:
            silent = [Knocked(name, Answer.ASLEEP) for name in left if name not in rollout.knocks]
            may_sleep = [_unreached(rollout, stage, each).outcome is Outcome.ASLEEP for each in silent]
            runs = any(outcome.passed for outcome in rollout.results.values())
            return tuple(left) if runs and len(silent) == len(left) and all(may_sleep) else ()
    return ()


def starts_early(rollout: Rollout, name: str, *, waiting: Container[str]) -> bool:
    """Whether an agent is started on a machine that has answered before it has its order: as many of a stage as get
    theirs at once. `waiting` are machines that have one.
    """
    stage = next(each for each in rollout.walked if name in each.machines)
    others = sum(each in waiting for each in stage.machines)
    known = name in rollout.reached_before and name not in rollout.held
    return known and name not in waiting and others < _at_once(rollout, stage)


def begin(rollout: Rollout) -> tuple[Rollout, list[Command]]:
    """Knock on every machine of the stages that are walked, all at once; those on hold are left alone."""
    names = [name for stage in rollout.walked for name in stage.machines if name not in rollout.held]
    rollout, commands = _go_on(rollout) if rollout.held else (rollout, [])
    return rollout, [*(Knock(name) for name in names if not rollout.ended), *commands]


def advance(rollout: Rollout, event: Event) -> tuple[Rollout, list[Command]]:
    """Take one event. Raises ImpossibleEvent for one that names a machine outside this release."""
    machine = getattr(event, "machine", "")
    if machine and all(machine not in stage.machines for stage in rollout.stages):
        raise ImpossibleEvent(f"{type(event).__name__} from {machine}, which release {rollout.release} does not have")
    if rollout.ended:
        return rollout, []  # late: the rollout has said how it ended, and the machine's check-in will say the rest
    rollout, commands = _HANDLERS[type(event)](rollout, event)
    rollout, more = _go_on(rollout)
    rollout, ahead = _prepare(rollout)
    return rollout, commands + more + ahead


def _knocked(rollout: Rollout, event: Knocked) -> tuple[Rollout, list[Command]]:
    if event.machine in rollout.results or event.machine in rollout.running:
        return rollout, []  # late or repeated: it was counted already
    return dataclasses.replace(rollout, knocks={**rollout.knocks, event.machine: event}), []


def _checked_in(rollout: Rollout, event: CheckedIn) -> tuple[Rollout, list[Command]]:
    knock = rollout.knocks.get(event.machine)
    if event.machine in rollout.results or knock is None or knock.answer is not Answer.ASLEEP:
        return rollout, []
    knocks = {name: each for name, each in rollout.knocks.items() if name != event.machine}
    return dataclasses.replace(rollout, knocks=knocks), [Knock(event.machine)]


def _prepared(rollout: Rollout, event: Prepared) -> tuple[Rollout, list[Command]]:
    rollout = dataclasses.replace(rollout, preparing=rollout.preparing - {event.machine})
    if not event.gone or event.machine in rollout.results or event.machine in rollout.running:
        return rollout, []
    knocks = {name: each for name, each in rollout.knocks.items() if name != event.machine}
    return dataclasses.replace(rollout, knocks=knocks), [Knock(event.machine)]


def _finished(rollout: Rollout, event: Finished) -> tuple[Rollout, list[Command]]:
    if event.machine not in rollout.running:
        return rollout, []  # doubled, or of an earlier rollout
    rollout = dataclasses.replace(rollout, running=rollout.running - {event.machine})
    if event.outcome is Outcome.FAILED and event.machine == rollout.lead and rollout.open_claim:
        # In doubt is no failure (law 4): once it is settled, this very release is carried on.
        event = dataclasses.replace(event, outcome=Outcome.UNKNOWN)
    if event.held:
        rollout = dataclasses.replace(rollout, held={**rollout.held, event.machine: event.cause})
    return _settle(rollout, event)


def _once_wanted(rollout: Rollout, event: OnceWanted) -> tuple[Rollout, list[Command]]:
    if event.machine != rollout.lead:
        return rollout, [Stop(event.machine, f"{event.step} is for the lead, {rollout.lead}, alone")]
    if event.claim in rollout.claims:
        return rollout, []  # doubled: this claim was given once, and is never given again
    if rollout.stopping or rollout.open_claim:
        return rollout, [Stop(event.machine, rollout.stopping or "another once-step is open")]
    body: dict[str, Any] = {"claim": event.claim, "release": rollout.release, "step": event.step}
    body.update(machine=event.machine, breaks_older=event.breaks_older)
    claims = rollout.claims | {event.claim}
    rollout = dataclasses.replace(rollout, open_claim=event.claim, open_step=event.step, claims=claims)
    return rollout, [Write(Draft("claimed", body)), GiveClaim(event.machine, event.step, event.claim)]


def _once_verified(rollout: Rollout, event: OnceVerified) -> tuple[Rollout, list[Command]]:
    if event.machine != rollout.lead or event.step in rollout.receipted or rollout.open_claim:
        return rollout, []  # a follower's check writes no receipt, one is enough, and an open claim ends by its own
    rollout = dataclasses.replace(rollout, receipted=rollout.receipted | {event.step})
    body = {"release": rollout.release, "step": event.step, "how": "verified", "breaks_older": event.breaks_older}
    # A barrier is known at once; else the database says the same to whoever asks it again.
    return rollout, [Write(Draft("receipt", body), may_wait=not event.breaks_older)]


def _once_ended(rollout: Rollout, event: OnceEnded) -> tuple[Rollout, list[Command]]:
    if (event.machine, event.claim, event.step) != (rollout.lead, rollout.open_claim, rollout.open_step):
        return rollout, []  # late, doubled, or by a machine that was given no claim: claims stand on the ledger to read
    rollout = dataclasses.replace(rollout, open_claim="", open_step="")
    body: dict[str, Any] = {"claim": event.claim, "release": rollout.release, "step": event.step}
    if event.passed:
        rollout = dataclasses.replace(rollout, receipted=rollout.receipted | {event.step})
        body.update(how="ran", breaks_older=event.breaks_older)
        return rollout, [Write(Draft("receipt", body))]
    return rollout, [Write(Draft("once-failed", {**body, "cause": event.cause}))]


def _stop_asked(rollout: Rollout, event: StopAsked) -> tuple[Rollout, list[Command]]:
    if rollout.stopping:
        return rollout, []
    rollout = dataclasses.replace(rollout, stopping=event.why)
    # A running once-step is never signalled (law 4), so the lead is left alone while its claim is open.
    spared = {rollout.lead} if rollout.open_claim else set()
    return rollout, [Stop(name, event.why) for name in sorted(rollout.running - spared)]


_HANDLERS: dict[type, Any] = {
    Knocked: _knocked,
    CheckedIn: _checked_in,
    Prepared: _prepared,
    Finished: _finished,
    OnceWanted: _once_wanted,
    OnceVerified: _once_verified,
    OnceEnded: _once_ended,
    StopAsked: _stop_asked,
}


def _go_on(rollout: Rollout) -> tuple[Rollout, list[Command]]:
    """Walk as far as what is known allows: settle, start, approve, withhold, end."""
    commands: list[Command] = []
    for stage in rollout.walked:
        if _is_blocked(rollout, stage):
            rollout, more = _withhold(rollout, stage)
            commands += more
            continue
        rollout, more = _start(rollout, stage)
        commands += more
        if any(name not in rollout.results for name in stage.machines):
            return rollout, commands
        rollout, more = _approve_after(rollout, stage)
        commands += more
    outcome = _how_it_ended(rollout)
    rollout = dataclasses.replace(rollout, ended=outcome)
    body = {"release": rollout.release, "outcome": outcome}
    return rollout, [*commands, Write(Draft("release-ended", body)), End(outcome)]


def _prepare(rollout: Rollout) -> tuple[Rollout, list[Command]]:
    """What machines that must wait may do meanwhile, once each. Nothing for a release that will not come to them."""
    if rollout.stopping or any(outcome in BAD for outcome in rollout.results.values()):
        return rollout, []
    waiting = [name for stage in _not_over(rollout) for name in _next_of(rollout, stage) if _may_prepare(rollout, name)]
    names = waiting[: max(0, PREPARE_AT_ONCE - len(rollout.preparing))]
    return _asked_to_prepare(rollout, names), [Prepare(name) for name in names]


def _asked_to_prepare(rollout: Rollout, names: Sequence[str]) -> Rollout:
    asked = frozenset(names)
    return dataclasses.replace(rollout, preparing=rollout.preparing | asked, prepared=rollout.prepared | asked)


def _not_over(rollout: Rollout) -> tuple[StagePlan, ...]:
    """The stage whose turn it is, where some may wait for the lead or for others, and those behind it."""
    for index, stage in enumerate(rollout.walked):
        if any(name not in rollout.results for name in stage.machines):
            return rollout.walked[index:]
    return ()


def _next_of(rollout: Rollout, stage: StagePlan) -> list[str]:
    """The machines of a stage that are there and wait for their turn, as many as have it at once: the others' would be
    too far away for an agent that waits.
    """
    over = {*rollout.results, *rollout.running, *rollout.held}
    there = [name for name in stage.machines if name not in over and _is_there(rollout, name)]
    return there[: _at_once(rollout, stage)]


def _at_once(rollout: Rollout, stage: StagePlan) -> int:
    return rollout.at_once.get(stage.name, 10)


def _is_there(rollout: Rollout, name: str) -> bool:
    """Whether it is awake, and has been set up."""
    return name in rollout.knocks and rollout.knocks[name].answer is Answer.AWAKE and name in rollout.reached_before


def _may_prepare(rollout: Rollout, name: str) -> bool:
    return name in rollout.preparable and name not in rollout.prepared


def _is_blocked(rollout: Rollout, stage: StagePlan) -> bool:
    """Laws 1 and 2: something ahead has not passed. A rollback walks on, over a broken gate, where it is approved."""
    if rollout.stopping and not _touched(rollout, stage):
        return True
    approved_at_once = rollout.rollback and stage.name in rollout.approved
    return not approved_at_once and _gate_ahead(rollout, stage) is not None


def _touched(rollout: Rollout, stage: StagePlan) -> bool:
    return any(name in rollout.running or name in rollout.results for name in stage.machines)


def _gate_ahead(rollout: Rollout, stage: StagePlan) -> StagePlan | None:
    return gate_ahead(rollout.stages, stage, rollout.results, held=rollout.held)


def _withhold(rollout: Rollout, stage: StagePlan) -> tuple[Rollout, list[Command]]:
    commands: list[Command] = []
    cause = f"stopped: {rollout.stopping}" if rollout.stopping else _did_not_pass(rollout, stage)
    for name in stage.machines:
        if name not in rollout.results and name not in rollout.running:
            rollout, more = _settle(rollout, Finished(name, Outcome.WITHHELD, cause))
            commands += more
    return rollout, commands


def _did_not_pass(rollout: Rollout, stage: StagePlan) -> str:
    ahead = _gate_ahead(rollout, stage)
    name = ahead.name if ahead else "?"
    held = [machine for machine in (ahead.machines if ahead else ()) if machine in rollout.held]
    because = f": {', '.join(held)} is on hold" if held and ahead and not failed(ahead, rollout.results) else ""
    return f"stage {name} did not pass{because}"


def _start(rollout: Rollout, stage: StagePlan) -> tuple[Rollout, list[Command]]:
    """Hand orders to the machines that answered; settle the others by what the knock found."""
    commands: list[Command] = []
    sends: list[Command] = []
    turns = _at_once(rollout, stage) - sum(name in rollout.running for name in stage.machines)
    for name in stage.machines:
        knock = rollout.knocks.get(name)
        held = name in rollout.held
        if name in rollout.results or name in rollout.running or (knock is None and not held):
            continue
        if knock is None:
            rollout, more = _settle(rollout, _on_hold(rollout, name))
        elif rollout.stopping:
            rollout, more = _settle(rollout, Finished(name, Outcome.WITHHELD, f"stopped: {rollout.stopping}"))
        elif not _is_there(rollout, name):
            rollout, more = _settle(rollout, _unreached(rollout, stage, knock))
        elif _waits_for_the_lead(rollout, stage, name):
            continue
        elif turns > len(sends):
            rollout = dataclasses.replace(rollout, running=rollout.running | {name})
            more = []
            sends.append(Send(name))
        else:
            continue
        commands += more
    if sends:
        names = [send.machine for send in sends if isinstance(send, Send)]
        rollout, beside = _prepare_beside(rollout, names)
        commands += [*beside, Write(Draft("sent", {"release": rollout.release, "machines": names}))]
    return rollout, commands + sends


def _prepare_beside(rollout: Rollout, names: Sequence[str]) -> tuple[Rollout, list[Command]]:
    """Machines whose orders are about to go out prepare while that is put on record; one that has looks ahead only."""
    ahead = [name for name in names if name in rollout.preparable and name not in rollout.preparing]
    return _asked_to_prepare(rollout, ahead), [Prepare(name, due=True) for name in ahead]


def _waits_for_the_lead(rollout: Rollout, stage: StagePlan, name: str) -> bool:
    """Law 5, in the lead's own stage: the others check the database when the lead has said what it has, not before."""
    if name == rollout.lead or rollout.lead not in stage.machines or rollout.lead in rollout.results:
        return False
    return not rollout.once <= rollout.receipted


def _on_hold(rollout: Rollout, name: str) -> Finished:
    """Not even knocked at. What it had begun before the hold is unknown, as it was."""
    words = f"on hold: {rollout.held[name]}".rstrip(": ")
    if name in rollout.sent_before:
        return Finished(name, Outcome.UNKNOWN, f"it had begun, and is {words}")
    return Finished(name, Outcome.WITHHELD, words)


def _unreached(rollout: Rollout, stage: StagePlan, knock: Knocked) -> Finished:
    """Law 3: what may be asleep, and what has failed."""
    if knock.answer is Answer.AWAKE:
        return Finished(knock.machine, Outcome.FAILED, f"it was never set up: wakeline setup {knock.machine}")
    if knock.answer is Answer.REFUSED:
        return Finished(knock.machine, Outcome.FAILED, knock.cause)
    if knock.machine in stage.always:
        return Finished(knock.machine, Outcome.FAILED, f"cannot be reached, and it is always on: {knock.cause}")
    if knock.machine in rollout.sent_before:
        return Finished(knock.machine, Outcome.UNKNOWN, f"it had begun, and does not answer now: {knock.cause}")
    if knock.machine in rollout.failed_before:
        return Finished(knock.machine, Outcome.FAILED, f"it had failed, and does not answer now: {knock.cause}")
    if knock.machine not in rollout.reached_before:
        return Finished(knock.machine, Outcome.FAILED, f"never reached since setup: {knock.cause}")
    return Finished(knock.machine, Outcome.ASLEEP, knock.cause)


def _settle(rollout: Rollout, event: Finished) -> tuple[Rollout, list[Command]]:
    body: dict[str, Any] = {"release": rollout.release, "machine": event.machine, "outcome": event.outcome.value}
    body.update(cause=event.cause, was=event.was, seconds=round(event.seconds, 3))
    rollout = dataclasses.replace(rollout, results={**rollout.results, event.machine: event.outcome})
    return rollout, [Write(Draft("outcome", body))]


def _approve_after(rollout: Rollout, stage: StagePlan) -> tuple[Rollout, list[Command]]:
    """Laws 1 and 6: the first stage is approved when it has itself passed, a later one when its gates have."""
    commands: list[Command] = []
    names = [each.name for each in rollout.stages]
    candidates = [stage.name] if stage.name == names[0] else []
    candidates += [name for name in names[1:] if name not in rollout.approved]
    for name in candidates:
        if name in rollout.approved or not _may_be_approved(rollout, name, is_first=name == names[0]):
            continue
        rollout = dataclasses.replace(rollout, approved=rollout.approved | {name})
        commands.append(Write(Draft("approved", {"release": rollout.release, "stage": name})))
    return rollout, commands


def _may_be_approved(rollout: Rollout, name: str, *, is_first: bool) -> bool:
    stage = next(each for each in rollout.stages if each.name == name)
    if is_first:
        fine = passed(stage, rollout.results, held=rollout.held)
        return fine and any(is_passed(rollout.results.get(m)) for m in stage.machines)
    return _gate_ahead(rollout, stage) is None and all_known_ahead(rollout.stages, name, rollout.results)


def _how_it_ended(rollout: Rollout) -> str:
    if rollout.stopping:
        return "interrupted"
    walked = [(stage, name) for stage in rollout.walked for name in stage.machines]
    if any(rollout.results.get(name) in BAD for _, name in walked):
        return "failed"
    withheld = [(stage, name) for stage, name in walked if rollout.results.get(name) is Outcome.WITHHELD]
    waits = [name for stage, name in withheld if name not in rollout.held or name in stage.always]
    if not waits:
        return "passed"
    return "held" if any(name in rollout.held for stage in rollout.stages for name in stage.always) else "failed"
