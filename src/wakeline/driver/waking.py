"""Lets a machine look at the ledger now, instead of at its timer: what its units run by themselves."""

from __future__ import annotations

import json

from wakeline.core.model import Machine
from wakeline.driver.project import Project
from wakeline.edges.agent_file import agent_file
from wakeline.edges.transports import KNOCK_S, Lost, NotReached

_SILENCE_S = 900.0


async def look_now(project: Project, machine: Machine) -> tuple[tuple[str, ...], str]:
    """What the machine said, and what went wrong there, or nothing. Never raises for what is wrong with a machine."""
    fleet, agent = project.file.fleet, agent_file()
    words = ("catch-up", "--tell", "--app", fleet.app, "--environment", fleet.environment)
    try:
        connection = await project.transport_of(machine).connect(machine, limit_s=KNOCK_S)
        try:
            conversation = await connection.converse(
                *words, agent=agent.data, digest=agent.digest, silence_s=_SILENCE_S
            )
            *lines, last = (await conversation.text()).splitlines() or [""]
        finally:
            await connection.close()
    except (NotReached, Lost) as error:
        return (), f"{error.message} ({error.hint})" if error.hint else error.message
    code = _exit(last)
    if code is None:
        return tuple(lines), f"the agent ended without its last word: {last}"
    return tuple(lines), _last_word(lines, f"{fleet.app}/{fleet.environment}: ") if code else ""


def _last_word(lines: list[str], begins: str) -> str:
    """What it said last, with all the lines of its cause."""
    first = max((index for index, line in enumerate(lines) if line.startswith(begins)), default=0)
    return "\n".join(lines[first:]).removeprefix(begins) or "it did not say why"


def _exit(line: str) -> int | None:
    """The agent's own exit code, from its last word; None when that never came."""
    try:
        word = json.loads(line)
    except ValueError:
        return None
    code = word.get("exit") if isinstance(word, dict) and word.get("event") == "ended" else None
    return code if isinstance(code, int) else None
