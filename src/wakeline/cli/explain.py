"""`wakeline explain MACHINE`: why it runs what it runs, and what would change that."""

from __future__ import annotations

import asyncio
from pathlib import Path

from wakeline.cli.result import Result
from wakeline.core import catch_up
from wakeline.core.catch_up import CatchUp, Verdict
from wakeline.core.state import Release, State
from wakeline.driver.project import open_project
from wakeline.errors import Usage


def run(folder: Path, *, machine: str) -> Result:
    """From the ledger alone: the machine may be asleep."""
    project = open_project(folder)
    names = [each.name for each in project.file.fleet.machines]
    if machine not in names:
        raise Usage(f"there is no machine {machine!r}", hint=f"machines: {', '.join(names)}")
    state = asyncio.run(project.writer.read())
    runs = state.runs(machine)
    decision = catch_up.decide(state, machine=machine, runs=runs)
    lines = [
        f"{machine} runs release {runs}, as far as the ledger knows" if runs else f"{machine} has run no release yet"
    ]
    lines.append(f"when it looks: {decision.verdict.value}; {decision.why}")
    lines += [_why_not(release, machine, decision) for release in _newer(state, machine, decision.release or runs)]
    data = {"machine": machine, "runs": runs, "verdict": decision.verdict.value, "why": decision.why}
    return Result("explain", data, lines=lines)


def _newer(state: State, machine: str, than: int) -> list[Release]:
    return [r for number, r in sorted(state.releases.items()) if number > than and r.stage_of(machine)]


def _why_not(release: Release, machine: str, decision: CatchUp) -> str:
    stage = release.stage_of(machine)
    name = stage.name if stage else ""
    if name in release.held_stages:
        return f"not release {release.number}: it failed in stage {name}; wakeline retry, or a newer release"
    if name not in release.approved:
        failed = [each for each, result in release.results.items() if result.outcome.value == "failed"]
        because = f"{', '.join(failed)} failed" if failed else "its gate has not passed"
        return f"not release {release.number}: not approved for stage {name}, because {because}"
    taken = decision.verdict in (Verdict.RUN, Verdict.NOTHING)
    return f"not release {release.number}: {'it has been overtaken' if taken else decision.why}"
