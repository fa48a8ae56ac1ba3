"""`wakeline setup`: what it will do to each machine, then it does it. Safe twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from wakeline.cli import render
from wakeline.cli.result import Result
from wakeline.driver import approving, preparing
from wakeline.driver.adopting import Plan, plan
from wakeline.driver.joining import Joined, join
from wakeline.driver.machine_script import Copy
from wakeline.driver.project import Project, open_project
from wakeline.errors import ExitCode, Usage


def run(
    folder: Path,
    *,
    machine: str = "",
    root_user: str = "root",
    only_print: bool = False,
    unsigned: bool = False,
    signers: str = "",
    replace: bool = False,
    copy_shared: bool = False,
    ask: Callable[[str], bool] | None = None,
) -> Result:
    """Machines that do not answer are listed with the command for later; that is no failure.

    `ask` puts a question to a person; without it nothing is copied that `copy_shared` has not said.
    """
    project = open_project(folder, reaches=True)
    chosen = tuple(each for each in project.file.fleet.machines if machine in ("", each.name))
    if not chosen:
        names = ", ".join(each.name for each in project.file.fleet.machines)
        raise Usage(f"there is no machine {machine!r}", hint=f"machines: {names}")
    plans = asyncio.run(plan(project, chosen, root_user=root_user))
    if only_print:
        shown = {each.machine.name: _script(project, each, copying=copy_shared) for each in plans}
        lines = [text for name in shown for text in (f"# {name}", shown[name])]
        return Result("setup", {"scripts": shown}, lines=lines)
    allowed = "" if unsigned else approving.signers_of(project, signers)
    for line in (line for each in plans for line in _planned(each)):
        render.talk(render.plain(line))
    copying = copy_shared or _consents(plans, ask)
    how = {"root_user": root_user, "signers": allowed, "replace": replace, "copying": copying}
    found, joined = asyncio.run(_set_up(project, plans, **how))
    lines = [f"{each.machine}: {what}" for each in found for what in each.done]
    lines += [line for each in joined for line in _joined(each)]
    lines.append(_who_may_approve(allowed))
    later = [
        f"{each.machine}: {each.problem}; later: wakeline setup {each.machine}" for each in found if not each.reached
    ]
    later += [line for each in plans for line in _left(each, copying=copying)]
    later += [f"{each.machine}: {each.waits}" for each in joined if each.waits]
    failed = [f"{each.machine}: {each.problem}" for each in found if each.reached and each.problem]
    failed += [f"{each.machine}: {each.problem}" for each in joined if each.problem]
    data = {each.machine: {"done": list(each.done), "problem": each.problem, "reached": each.reached} for each in found}
    data = {name: {**row, "joined": _release_joined(joined, name)} for name, row in data.items()}
    code = ExitCode.FAILED if failed else ExitCode.DONE
    return Result("setup", {"machines": data}, lines=lines, warnings=later, exit_code=code, error="\n".join(failed))


async def _set_up(project: Project, plans: Sequence[Plan], **how: Any) -> tuple[list[preparing.Prepared], list[Joined]]:
    found = await preparing.prepare(project, plans, **how)
    ready = {each.machine for each in found if not each.problem}
    return found, await join(project, [each.machine for each in plans if each.machine.name in ready])


def _planned(planned: Plan) -> list[str]:
    """What would be done, before it is done."""
    name = planned.machine.name
    if planned.problem:
        return []
    lines = [f"{name}: will do: {line}" for line in planned.changes]
    lines += [f"{name}: could be copied: {_shown(each)}" for each in planned.copies]
    return lines or [f"{name}: nothing to change"]


def _consents(plans: Sequence[Plan], ask: Callable[[str], bool] | None) -> bool:
    copies = [f"{each.machine.name}: {_shown(copy)}" for each in plans for copy in each.copies]
    return bool(copies) and ask is not None and ask(render.plain(f"copy what is missing ({'; '.join(copies)})?"))


def _shown(copy: Copy) -> str:
    return f"{copy.at} to {copy.to} ({copy.kind}, {copy.mode}, {copy.owner})"


def _left(planned: Plan, *, copying: bool) -> list[str]:
    """What is still for a person to do."""
    name = planned.machine.name
    lines = [f"{name}: {line}" for line in (*planned.doubts, *planned.missing)]
    if planned.copies and not copying:
        copies = "; ".join(_shown(each) for each in planned.copies)
        lines.append(f"{name}: not copied without your word: {copies}: wakeline setup {name} --copy-shared")
    return lines


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


def _script(project: Project, planned: Plan, *, copying: bool) -> str:
    if planned.machine.address.startswith("local:"):
        return "# a local machine needs nothing as root"
    words = [*planned.changes, *planned.doubts, *planned.missing]
    if planned.problem:
        words.insert(0, f"written without a look at the machine: {planned.problem}")
    return "".join(f"# {line}\n" for line in words) + planned.script(project, copying=copying)
