"""`wakeline leave`: takes wakeline off machines and leaves the application running there. Safe twice.

It holds the lease, so no rollout begins in the middle; the script holds the machine's own lock, so no catch-up does.
That a machine was left goes on record after it is true, never before.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence

from wakeline.core import admission
from wakeline.core.lease import is_anothers
from wakeline.core.model import Machine
from wakeline.core.presence import Answer, judge
from wakeline.core.records import Draft
from wakeline.core.state import Lease, State
from wakeline.driver import becoming_root, leaving_script, machine_script, preparing
from wakeline.driver.crowd import for_each
from wakeline.driver.leasing import Holder, until_takeable
from wakeline.driver.progress import Tell
from wakeline.driver.project import Project
from wakeline.edges.clock import boottime_s
from wakeline.edges.transports import Lost, NotReached, folder_of
from wakeline.errors import InDoubt, RolloutFailed

_LIMIT_S = 120.0


@dataclasses.dataclass(frozen=True)
class Left:
    """What came of one machine, line by line. `problem` is empty where wakeline is gone; `asleep` is no failure."""

    machine: str
    done: tuple[str, ...] = ()
    problem: str = ""
    asleep: bool = False


async def look(project: Project, machines: Sequence[Machine], *, root_user: str) -> list[Left]:
    """Say what would be done on every machine that answers. Raises InDoubt where it would be refused."""
    _refuse(await project.writer.read(), machines)
    return await for_each(machines, lambda each: _one(project, each, root_user=root_user, really=False))


async def leave(project: Project, machines: Sequence[Machine], *, root_user: str, tell: Tell) -> list[Left]:
    """Leave every machine that answers. Raises Busy while a rollout is under way, InDoubt for an open once-step."""
    holder = await _take(project, machines, tell=tell)
    lost: list[str] = []
    found: list[Left] = []
    try:
        async with holder.kept(lost.append):
            found = await for_each(machines, lambda each: _one(project, each, root_user=root_user, really=True))
    finally:
        gone = [machine for machine, left in zip(machines, found) if not left.problem]
        await holder.write(lambda state: [*_records(state, gone), Draft("lease-freed", {})])
    return found


async def _take(project: Project, machines: Sequence[Machine], *, tell: Tell) -> Holder:
    """The lease. A holder that only seems to live is watched first, as a deploy does."""
    writer, length_s = project.writer, project.file.deploy.lease_s
    while True:
        believed = (await until_takeable(writer, tell=tell, wait=False)).lease
        began_s = boottime_s()
        taken: list[int] = []

        def decide(now: State, believed: Lease = believed, taken: list[int] = taken) -> list[Draft]:
            taken.clear()
            if is_anothers(now.lease, believed):
                return []
            _refuse(now, machines)
            taken.append(now.lease.number + 1)
            return [Draft("lease-taken", {"fence": taken[0], "holder": writer.by, "length_s": length_s})]

        state = await writer.write(decide)
        if taken and (state.lease.number, state.lease.holder) == (taken[0], writer.by):
            return Holder(writer, taken[0], length_s, began_s)


def _refuse(state: State, machines: Sequence[Machine]) -> None:
    refused = admission.leave(state, machines={each.name for each in machines})
    if refused:
        raise InDoubt(refused.why, hint=refused.hint)


def _records(state: State, gone: Sequence[Machine]) -> list[Draft]:
    """One a machine, under every name that it is known by; nothing for one that was left before."""
    names = [machine.name for machine in gone if machine.name not in state.left]
    names += [machine.renamed_from for machine in gone if machine.renamed_from in state.machines]
    return [Draft("left", {"machine": name}) for name in names]


async def _one(project: Project, machine: Machine, *, root_user: str, really: bool) -> Left:
    local = machine.address.startswith("local:")
    home = str(folder_of(machine.address) / "home") if local else machine_script.HOME
    path = str(preparing.config_of(project, machine, signers="")["path"])
    script = leaving_script.render(project.file, machine, home=home, path=path, really=really)
    try:
        lines = await (
            _in_folder(project, machine, script)
            if local
            else becoming_root.run(project, machine, script, verb="leave", root_user=root_user)
        )
    except NotReached as error:
        return Left(machine.name, problem=error.message, asleep=judge(error.phase, machine.presence) is Answer.ASLEEP)
    except (Lost, RolloutFailed) as error:
        return Left(machine.name, problem=error.message)
    except asyncio.TimeoutError:
        return Left(machine.name, problem=f"no end within {_LIMIT_S:g} s")
    return Left(machine.name, tuple(lines))


async def _in_folder(project: Project, machine: Machine, script: str) -> list[str]:
    connection = await project.transport_of(machine).connect(machine, limit_s=becoming_root.CONNECT_S)
    try:
        code, out, err = await connection.run("sh -s", feed=script.encode(), limit_s=_LIMIT_S)
    finally:
        await connection.close()
    if code != 0:
        raise RolloutFailed((err or out).decode("utf-8", "replace").strip()[-500:])
    return out.decode("utf-8", "replace").splitlines()
