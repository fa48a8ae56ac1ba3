"""`hold`, `unhold`, `resolve`, and `retry MACHINE`: what a person says, put on record."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from wakeline.cli.result import Result
from wakeline.cli.teller import telling
from wakeline.core.model import Fleet
from wakeline.core.records import Draft
from wakeline.core.state import NO_REASON, State
from wakeline.driver.leasing import until_settleable
from wakeline.driver.progress import Tell
from wakeline.driver.project import Project, open_project
from wakeline.driver.writer import Decide
from wakeline.errors import Usage


def run(folder: Path, *, what: str, machine: str = "", why: str = "", step: str = "", how: str = "") -> Result:
    """Check it against the fleet and the ledger, and write it. Raises Usage for what is not there."""
    project = open_project(folder)
    meant = _meant(project.file.fleet, machine)
    said: list[str] = []
    warned: list[str] = []

    def decide(state: State) -> list[Draft]:
        said[:], warned[:] = [], []
        if what == "resolve":
            return [_resolved(state, step=step, how=how, said=said)]
        if what == "retry":
            return [_retried(state, meant=meant, said=said)]
        whose = machine or "the fleet"
        now = f"wakeline catch-up {machine}"
        if what == "hold":
            said.append(f"{whose} is on hold: {why or NO_REASON}; lift it with: wakeline unhold {machine}".rstrip())
            warned.extend(_not_known(state, meant))
            return [Draft("held", {**meant, "why": why})]
        said.append(f"{whose} is no longer on hold{f'; it looks at its timer, or now: {now}' if machine else ''}")
        return [Draft("unheld", {**meant})]

    with telling(verbose=False) as tell:
        asyncio.run(write(project, decide, watches=what == "resolve", tell=tell))
    return Result(what, {"machine": machine, "step": step, "how": how, "why": why}, lines=said, warnings=warned)


def _meant(fleet: Fleet, name: str) -> dict[str, str]:
    """The machine that is meant, "" for all, and what it was called: the ledger may not know its new name yet."""
    machine = next((each for each in fleet.machines if each.name == name), None)
    if name and machine is None:
        names = ", ".join(each.name for each in fleet.machines)
        raise Usage(f"there is no machine {name!r}", hint=f"machines: {names}")
    was = {"renamed_from": machine.renamed_from} if machine and machine.renamed_from else {}
    return {"machine": name, **was}


def _not_known(state: State, meant: Mapping[str, str]) -> list[str]:
    """A hold stops what the ledger knows to be the same machine: it cannot stop what is under way by another name."""
    name, was = meant["machine"], meant.get("renamed_from", "")
    if not name or state.knows(name, was):
        return []
    hint = f"wakeline setup {name}, or hold all of them: wakeline hold"
    return [f"nothing was set up as {_names(meant)}: what is under way there by another name goes on; next: {hint}"]


def _names(meant: Mapping[str, str]) -> str:
    name, was = meant["machine"], meant.get("renamed_from", "")
    return f"{name}, nor as {was}" if was else name


async def write(project: Project, decide: Decide, *, watches: bool, tell: Tell) -> None:
    """A claim is settled by nobody else while its holder is at work, and a holder that has died says nothing of it."""
    if watches:
        await until_settleable(project.writer, tell=tell)
    await project.writer.write(decide)


def _resolved(state: State, *, step: str, how: str, said: list[str]) -> Draft:
    if not how:
        raise Usage("say what the database has", hint=f"wakeline resolve {step} --done | --not-run")
    claim = next((each for each in state.open_claims if each.step == step), None)
    if claim is None:
        raise Usage(f"no once-step {step!r} is open", hint="wakeline history")
    if claim not in state.in_doubt:
        raise Usage(f"{step} is being run by {state.lease.holder}", hint="wait for it: wakeline status")
    said.append(f"{step} of release {claim.release} is settled: {how}; deploys go on")
    return Draft("resolved", {"claim": claim.id, "how": how})


def _retried(state: State, *, meant: Mapping[str, str], said: list[str]) -> Draft:
    machine, newest = meant["machine"], state.newest
    if newest is None:
        raise Usage("there is no release yet", hint="wakeline deploy")
    if not state.has_heard_of(machine, meant.get("renamed_from", "")):
        raise Usage(f"nothing was set up or deployed as {_names(meant)}", hint=f"wakeline setup {machine}")
    said.append(f"{machine} may try release {newest.number} again: at its next look, or with wakeline deploy")
    return Draft("retried", {"release": newest.number, **meant})
