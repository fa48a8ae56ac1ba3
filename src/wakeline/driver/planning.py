"""`wakeline plan`: what deploy would do on each machine, and why. Runs no step and writes nothing (law 13)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from wakeline.core import admission
from wakeline.core.model import Presence
from wakeline.core.order import Order
from wakeline.core.presence import Answer
from wakeline.core.state import State
from wakeline.driver.admitting import Wish, admit, check_names
from wakeline.driver.crowd import both
from wakeline.driver.looking import Seen, look
from wakeline.driver.project import Project


@dataclasses.dataclass(frozen=True)
class Act:
    """What would happen on one machine: deploy, unchanged, asleep, failed or withheld, and why."""

    stage: str
    machine: str
    act: str
    why: str
    runs: int = 0
    steps: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Plan:
    """`release` is the number that it would have; `refused` says why there would be none."""

    commit: str
    release: int = 0
    carries_on: bool = False
    refused: admission.Refused | None = None
    acts: tuple[Act, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def something_to_do(self) -> bool:
        """True when a deploy would change a machine."""
        return any(act.act != "unchanged" for act in self.acts)


async def plan(project: Project, wish: Wish) -> Plan:
    """Ask the ledger and every machine, and say what deploy would do. Raises Usage for a commit that is none."""
    commit = project.code.resolve(wish.commit, checkout=project.checkout)
    state, seen = await both(project.writer.read(), look(project))
    check_names(state, project.file.fleet)
    pins = project.pins(commit)
    answer = admit(project, state, wish, commit, pins)
    notes = _notes(state)
    if isinstance(answer, admission.Refused):
        return Plan(commit, refused=answer, notes=notes)
    carries_on = isinstance(answer, admission.CarryOn)
    number = answer.release if isinstance(answer, admission.CarryOn) else answer.number
    file = project.file_at(commit)
    orders = file.orders(
        fleet=project.file.fleet, release=number, commit=commit, pins=pins, rollback=False, barrier=state.barrier
    )
    holds = state.on_hold(orders)
    return Plan(commit, number, carries_on, None, tuple(_acts(project, orders, seen, number, holds)), notes)


def _acts(
    project: Project, orders: dict[str, Order], seen: dict[str, Seen], number: int, holds: Mapping[str, str]
) -> list[Act]:
    """Stage by stage: a gating stage that would fail already now withholds what is behind it, and so does a hold."""
    acts: list[Act] = []
    blocked = ""
    for stage in project.file.fleet.stages:
        here = [
            _held(orders[each.name], seen[each.name], holds[each.name])
            if each.name in holds
            else _act(orders[each.name], seen[each.name], number)
            for each in stage.machines
        ]
        if blocked:
            here = [dataclasses.replace(act, act="withheld", why=f"stage {blocked} would not pass") for act in here]
        acts += here
        failed = any(act.act == "failed" for act in here)
        waits = any(each.presence is Presence.ALWAYS and each.name in holds for each in stage.machines)
        if not blocked and (((stage.gates or not stage.goes_on) and failed) or (stage.gates and waits)):
            blocked = stage.name
    return acts


def _held(order: Order, seen: Seen, why: str) -> Act:
    return Act(order.stage, order.machine, "withheld", f"on hold: {why}", seen.current or 0)


def _act(order: Order, seen: Seen, number: int) -> Act:
    runs = seen.current or 0
    if seen.answer is Answer.ASLEEP:
        return Act(order.stage, order.machine, "asleep", f"{seen.cause}; it catches up when it wakes", runs)
    if seen.answer is Answer.REFUSED:
        return Act(order.stage, order.machine, "failed", seen.cause, runs)
    if not seen.said and seen.cause:
        return Act(order.stage, order.machine, "failed", seen.cause, runs)
    if runs == number and seen.said.get("state") == "confirmed":
        return Act(order.stage, order.machine, "unchanged", f"runs release {runs}", runs)
    if runs > number:
        return Act(order.stage, order.machine, "failed", f"runs release {runs}, which is newer", runs)
    steps = tuple(_step(step.name, once=step.once, inputs=bool(step.inputs), lead=order.lead) for step in order.steps)
    services = ", ".join(service.name for service in order.services)
    why = f"runs release {runs}" if runs else "has run no release yet"
    return Act(order.stage, order.machine, "deploy", f"{why}; restarts {services or 'nothing'}", runs, steps)


def _step(name: str, *, once: bool, inputs: bool, lead: bool) -> str:
    if once:
        return f"{name}: verified, and run once where the database lacks it" if lead else f"{name}: verified, never run"
    return f"{name}: run where its inputs changed" if inputs else f"{name}: run"


def _notes(state: State) -> tuple[str, ...]:
    notes = [f"{name or 'the fleet'} is on hold: {why}" for name, why in state.holds.items()]
    if not state.lease.free:
        notes.append(f"{state.lease.holder} has the lease since {state.lease.at}: deploy would wait or say busy")
    return tuple(notes)
