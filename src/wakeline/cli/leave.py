"""`wakeline leave`: what it would take off each machine; with --yes it does it. The application runs on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from wakeline.cli.lines import Lines
from wakeline.cli.result import Result
from wakeline.core.model import Machine
from wakeline.driver.leaving import Left, leave, look
from wakeline.driver.project import Project, open_project
from wakeline.errors import ExitCode, Usage


def run(folder: Path, *, machines: Sequence[str] = (), root_user: str = "root", yes: bool = False) -> Result:
    """Without `yes` nothing is changed, and the exit code says that nothing was done."""
    project = open_project(folder, reaches=True)
    chosen = _chosen(project, machines)
    if yes:
        found = asyncio.run(leave(project, chosen, root_user=root_user, tell=Lines(verbose=False)))
    else:
        found = asyncio.run(look(project, chosen, root_user=root_user))
    lines = [f"{each.machine}: {line}" for each in found for line in each.done or _nothing(each)]
    again = "wakeline leave --yes" + "".join(f" {name}" for name in machines)
    later = [f"{each.machine} is asleep: {each.problem}; later: {again}" for each in found if each.asleep]
    failed = [f"{each.machine}: {each.problem}" for each in found if each.problem and not each.asleep]
    data = {each.machine: {"done": list(each.done), "problem": each.problem, "asleep": each.asleep} for each in found}
    result = {"left": yes, "machines": data}
    if failed:
        return Result("leave", result, lines, later, ExitCode.FAILED, "\n".join(failed), f"then: {again}")
    if not yes:
        return Result("leave", result, lines, later, ExitCode.USAGE, "nothing was done: this was a look", again)
    gone = [each.machine for each in found if not each.problem]
    return Result("leave", result, lines, [*later, *_in_the_file(gone)])


def _chosen(project: Project, names: Sequence[str]) -> list[Machine]:
    known = {each.name: each for each in project.file.fleet.machines}
    for name in names:
        if name not in known:
            raise Usage(f"there is no machine {name!r}", hint=f"machines: {', '.join(known)}")
    return [each for each in known.values() if not names or each.name in names]


def _nothing(left: Left) -> list[str]:
    return [] if left.problem else ["nothing of wakeline's is there"]


def _in_the_file(gone: Sequence[str]) -> list[str]:
    """A machine that was left and is still in the fleet file would be a failure of the next deploy."""
    if not gone:
        return []
    return [f"{', '.join(gone)} runs on without wakeline: take it out of wakeline.toml, or set it up again"]
