"""`wakeline explain MACHINE`: why it runs what it runs, and what would change that."""

from __future__ import annotations

import asyncio
import itertools

from wakeline.cli.result import Result
from wakeline.core import catch_up
from wakeline.core.catch_up import CatchUp, Verdict
from wakeline.core.state import Release, State
from wakeline.driver.machine_script import name_of
from wakeline.driver.project import Project
from wakeline.errors import Usage

WILL = {
    Verdict.NOTHING: "it stays where it is",
    Verdict.RUN: "it goes on",
    Verdict.HELD: "it stays where it is",
    Verdict.RETIRED: "it keeps what it runs",
    Verdict.GIVEN_UP: "it stays where it is",
}
SHOWN_MAX = 5


def run(project: Project, *, machine: str) -> Result:
    """From the ledger alone: the machine may be asleep."""
    names = [each.name for each in project.file.fleet.machines]
    if machine not in names:
        raise Usage(f"there is no machine {machine!r}", hint=f"machines: {', '.join(names)}")
    state = asyncio.run(project.writer.read())
    runs = state.runs(machine)
    decision = catch_up.decide(state, machine=machine, runs=runs)
    last = state.last_word(machine)
    heard = f"; the last rollout that asked for it: release {last[0].number}, {last[1].outcome.value}" if last else ""
    head = f"{machine} runs release {runs}, as far as the ledger knows" if runs else f"{machine} has run no release yet"
    lines = [f"{head}{heard}", f"when it looks at the ledger, {WILL[decision.verdict]}: {decision.why}"]
    lines += [
        _why_not(state, release, machine, decision) for release in _newer(state, machine, decision.release or runs)
    ]
    there = f"; or on the machine itself: {name_of(project.file)} catch-up" if _has_command(project, machine) else ""
    lines.append(f"to let it look now: wakeline catch-up {machine}{there}")
    data = {"machine": machine, "runs": runs, "verdict": decision.verdict.value, "why": decision.why}
    return Result("explain", data, lines=lines)


def _has_command(project: Project, machine: str) -> bool:
    """Machines that are folders were set up without a file outside of them."""
    address = next((each.address for each in project.file.fleet.machines if each.name == machine), "")
    return not address.startswith("local:")


def _newer(state: State, machine: str, than: int) -> list[Release]:
    """Those that say why it is where it is: the newest that may run in its stage, and all that came after that one."""
    newer = itertools.takewhile(lambda release: release.number > than, state.releases_of([machine]))
    mine = [release for release in newer if release.stage_of(machine)][::-1]
    runnable = [release.number for release in mine if _may_run(release, machine)]
    return [release for release in mine if release.number >= max(runnable, default=0)][-SHOWN_MAX:]


def _may_run(release: Release, machine: str) -> bool:
    stage = release.stage_of(machine)
    return stage is not None and stage.name in release.approved - release.held_stages


def _why_not(state: State, release: Release, machine: str, decision: CatchUp) -> str:
    stage = release.stage_of(machine)
    name = stage.name if stage else ""
    head = f"not release {release.number}"
    if name in release.held_stages:
        return f"{head}: it failed in stage {name}; deploy a newer commit, or: wakeline retry {machine}"
    if name not in release.approved:
        failed = [each for each, result in release.results.items() if result.outcome.value == "failed"]
        because = f"{', '.join(failed)} failed" if failed else "its gate has not passed"
        return f"{head}: not approved for stage {name}, because {because}"
    held = state.why_on_hold(machine)
    if held or "" in state.holds:
        lift = f"wakeline unhold {machine if held else ''}".rstrip()
        return f"not yet release {release.number}, which is approved for it; to lift the hold: {lift}"
    taken = decision.verdict in (Verdict.RUN, Verdict.NOTHING)
    return f"{head}: {'it has been overtaken' if taken else decision.why}"
