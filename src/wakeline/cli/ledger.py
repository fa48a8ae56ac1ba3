"""`wakeline ledger adopt`: a person says that the ledger, as it stands now, is the one to believe."""

from __future__ import annotations

import asyncio
from pathlib import Path

from wakeline.cli.result import Result
from wakeline.core.model import Machine
from wakeline.driver.crowd import for_each
from wakeline.driver.project import Project, open_project
from wakeline.edges.agent_file import agent_file
from wakeline.edges.ledgers import memory
from wakeline.edges.transports import KNOCK_S, Lost, NotReached
from wakeline.errors import ExitCode


def run(folder: Path) -> Result:
    """Forget what was seen before, here and on every machine that answers; the others are named."""
    project = open_project(folder)
    if project.writer.seen is not None:
        memory.forget(project.writer.seen)
    state = asyncio.run(project.writer.read())
    found = asyncio.run(_adopt(project))
    lines = [f"here: record {state.position} ({state.tip[:12]}) is the end of the log that is believed from now on"]
    lines += [f"{name}: adopted" for name, problem in found.items() if not problem]
    missed = [f"{name}: {problem}; later: wakeline ledger adopt" for name, problem in found.items() if problem]
    data = {"tip": state.tip, "machines": {name: problem or "adopted" for name, problem in found.items()}}
    return Result("ledger adopt", data, lines=lines, warnings=missed, exit_code=ExitCode.DONE)


async def _adopt(project: Project) -> dict[str, str]:
    machines = project.file.fleet.machines
    problems = await for_each(machines, lambda each: _one(project, each))
    return {machine.name: problem for machine, problem in zip(machines, problems)}


async def _one(project: Project, machine: Machine) -> str:
    """Why a machine has not adopted it, or nothing."""
    fleet, agent = project.file.fleet, agent_file()
    words = ("adopt", "--app", fleet.app, "--environment", fleet.environment)
    try:
        connection = await project.transport_of(machine).connect(machine, limit_s=KNOCK_S)
        try:
            conversation = await connection.converse(*words, agent=agent.data, digest=agent.digest, silence_s=30.0)
            said = await conversation.text()
        finally:
            await connection.close()
    except (NotReached, Lost) as error:
        return error.message
    return "" if '"exit": 0' in said else f"the agent did not do it: {said[-200:]}"
