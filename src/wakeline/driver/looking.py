"""Looks at machines and changes nothing there (law 13): what each says of itself, or why it says nothing."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from wakeline.core.model import Machine
from wakeline.core.presence import Answer, judge
from wakeline.driver.crowd import together
from wakeline.driver.project import Project
from wakeline.edges.transports import KNOCK_S, Lost, NotReached


@dataclasses.dataclass(frozen=True)
class Seen:
    """One machine. `said` is its agent's own word on this app; empty where there is no agent, or none of this app."""

    machine: str
    answer: Answer
    cause: str = ""
    said: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def current(self) -> int | None:
        """The release that it runs, as it says; None where it cannot say."""
        found = self.said.get("current")
        return found if isinstance(found, int) else None


async def look(project: Project, *, closely: bool = True, names: Collection[str] | None = None) -> dict[str, Seen]:
    """Every machine of the fleet, or those of `names`, all at once.

    Not `closely` leaves out whether files were changed by hand, which costs git a look at each of them; an agent
    that is too old to leave it out is as if it were not there.
    """
    machines = [each for each in project.file.fleet.machines if names is None or each.name in names]
    verb = ("status",) if closely else ("status", "--brief")
    found = await together(_one(project, machine, verb) for machine in machines)
    return {each.machine: each for each in found}


async def sessions(project: Project, machine: Machine, claims: Sequence[str]) -> dict[str, str]:
    """What the database says of the sessions of some claims, as asked by a machine. Empty where it cannot be asked."""
    fleet = project.file.fleet
    try:
        connection = await project.transport_of(machine).connect(machine, limit_s=KNOCK_S)
        try:
            words = ("sessions", "--app", fleet.app, "--environment", fleet.environment, *claims)
            found = json.loads(await connection.look(*words) or "{}")
        finally:
            await connection.close()
    except (NotReached, Lost, asyncio.TimeoutError, ValueError):
        return {}
    return {str(claim): str(words) for claim, words in found.items()} if isinstance(found, dict) else {}


async def _one(project: Project, machine: Machine, verb: tuple[str, ...]) -> Seen:
    try:
        connection = await project.transport_of(machine).connect(machine, limit_s=KNOCK_S)
    except NotReached as error:
        return Seen(machine.name, judge(error.phase, machine.presence), error.message)
    try:
        said = await connection.look(*verb)
    except (Lost, asyncio.TimeoutError) as error:
        return Seen(machine.name, Answer.REFUSED, f"the contact was lost: {error}")
    finally:
        await connection.close()
    if said is None:
        return Seen(machine.name, Answer.AWAKE, f"no agent there: wakeline setup {machine.name}")
    return Seen(machine.name, Answer.AWAKE, "", _mine(said, project, machine))


def _mine(said: str, project: Project, machine: Machine) -> Mapping[str, Any]:
    """What an agent said of this app and machine; what is not readable is as if it had said nothing."""
    try:
        rows = json.loads(said)
    except ValueError:
        return {}
    fleet = project.file.fleet
    wanted = (fleet.app, fleet.environment)
    for row in rows if isinstance(rows, list) else []:
        ours = isinstance(row, dict) and (row.get("app"), row.get("environment")) == wanted
        if ours and row.get("machine") in (machine.name, machine.renamed_from, ""):
            return dict(row)
    return {}
