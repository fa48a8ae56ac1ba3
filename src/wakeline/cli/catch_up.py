"""`wakeline catch-up MACHINE`: what its units run by themselves, for somebody who wants it now."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from wakeline.cli.result import Result
from wakeline.driver.project import open_project
from wakeline.driver.walking import KNOCK_S
from wakeline.edges.agent_file import agent_file
from wakeline.edges.transports import NotReached
from wakeline.errors import ExitCode, RolloutFailed, Usage


def run(folder: Path, *, machine: str) -> Result:
    """Ask a machine to look at the ledger now. Raises RolloutFailed when it is not there."""
    project = open_project(folder)
    chosen = next((each for each in project.file.fleet.machines if each.name == machine), None)
    if chosen is None:
        names = ", ".join(each.name for each in project.file.fleet.machines)
        raise Usage(f"there is no machine {machine!r}", hint=f"machines: {names}")

    async def ask() -> str:
        connection = await project.transport_of(chosen).connect(chosen, limit_s=KNOCK_S)
        try:
            agent = agent_file()
            fleet = project.file.fleet
            which = ("--app", fleet.app, "--environment", fleet.environment)
            words = ("catch-up", "--tell", *which)
            conversation = await connection.converse(*words, agent=agent.data, digest=agent.digest, silence_s=900.0)
            return await conversation.text()
        finally:
            await connection.close()

    try:
        said = asyncio.run(ask())
    except NotReached as error:
        raise RolloutFailed(f"{machine}: {error.message}", hint=error.hint) from error
    *lines, last = said.splitlines() or [""]
    code = _exit(last)
    if code is None:
        raise RolloutFailed(f"{machine}: the agent ended without its last word: {last}", hint="wakeline doctor")
    failed = ExitCode.FAILED if code else ExitCode.DONE
    problem = f"{machine}: {lines[-1] if lines else 'it did not say why'}" if code else ""
    return Result("catch-up", {"machine": machine, "said": lines}, lines=lines, exit_code=failed, error=problem)


def _exit(line: str) -> int | None:
    """The agent's own exit code, from its last word; None when that never came."""
    try:
        word = json.loads(line)
    except ValueError:
        return None
    code = word.get("exit") if isinstance(word, dict) and word.get("event") == "ended" else None
    return code if isinstance(code, int) else None
