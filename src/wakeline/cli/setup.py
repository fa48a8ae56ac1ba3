"""`wakeline setup`: what it will do to each machine, then it does it. Safe twice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wakeline.cli.result import Result
from wakeline.core.model import Machine
from wakeline.driver import approving, machine_script, preparing
from wakeline.driver.joining import Joined, join
from wakeline.driver.project import Project, open_project
from wakeline.edges.agent_file import agent_file
from wakeline.errors import ExitCode, Usage
from wakeline.fleet import FleetFile


def run(
    folder: Path,
    *,
    machine: str = "",
    root_user: str = "root",
    only_print: bool = False,
    unsigned: bool = False,
    signers: str = "",
    replace: bool = False,
) -> Result:
    """Machines that do not answer are listed with the command for later; that is no failure."""
    project = open_project(folder)
    chosen = tuple(each for each in project.file.fleet.machines if machine in ("", each.name))
    if not chosen:
        names = ", ".join(each.name for each in project.file.fleet.machines)
        raise Usage(f"there is no machine {machine!r}", hint=f"machines: {names}")
    if only_print:
        shown = {each.name: _script(project.file, each) for each in chosen}
        return Result(
            "setup", {"scripts": shown}, lines=[text for name in shown for text in (f"# {name}", shown[name])]
        )
    allowed = "" if unsigned else approving.signers_of(project, signers)
    found, joined = asyncio.run(_set_up(project, chosen, root_user=root_user, signers=allowed, replace=replace))
    lines = [f"{each.machine}: {what}" for each in found for what in each.done]
    lines += [line for each in joined for line in _joined(each)]
    lines.append(_who_may_approve(allowed))
    later = [
        f"{each.machine}: {each.problem}; later: wakeline setup {each.machine}" for each in found if not each.reached
    ]
    later += [f"{each.machine}: {each.waits}" for each in joined if each.waits]
    failed = [f"{each.machine}: {each.problem}" for each in found if each.reached and each.problem]
    failed += [f"{each.machine}: {each.problem}" for each in joined if each.problem]
    data = {each.machine: {"done": list(each.done), "problem": each.problem, "reached": each.reached} for each in found}
    data = {name: {**row, "joined": _release_joined(joined, name)} for name, row in data.items()}
    code = ExitCode.FAILED if failed else ExitCode.DONE
    return Result("setup", {"machines": data}, lines=lines, warnings=later, exit_code=code, error="\n".join(failed))


async def _set_up(
    project: Project, machines: Sequence[Machine], **how: Any
) -> tuple[list[preparing.Prepared], list[Joined]]:
    found = await preparing.prepare(project, tuple(machines), **how)
    ready = {each.machine for each in found if not each.problem}
    return found, await join(project, [each for each in machines if each.name in ready])


def _release_joined(joined: Sequence[Joined], name: str) -> int:
    return next((each.release for each in joined if each.machine == name), 0)


def _joined(joined: Joined) -> list[str]:
    if not joined.release:
        return []
    head = f"{joined.machine}: release {joined.release} is approved for it, and it looks now"
    return [head, *(f"{joined.machine}: {line}" for line in joined.said)]


def _who_may_approve(signers: str) -> str:
    if not signers:
        return "whoever may push to the ledger may approve: these machines check no signature"
    count = sum(bool(line.strip()) and not line.startswith("#") for line in signers.splitlines())
    return f"these machines act on approvals signed by one of {count} in {approving.SIGNERS}; keep that file in git"


def _script(file: FleetFile, machine: Machine) -> str:
    if machine.address.startswith("local:"):
        return "# a local machine needs nothing as root"
    return machine_script.render(file, machine, agent_digest=agent_file().digest)
