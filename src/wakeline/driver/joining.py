"""Lets machines that were set up join the release that the fleet runs, and catch up at once (design: setup MACHINE).

The approval is written beside any rollout, never in one: while somebody has the lease a new machine waits, because that
rollout's release does not know of it. No key to sign with is no failure of setup: the next deploy takes it along.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from wakeline.core import joining
from wakeline.core.model import Fleet, Machine, Presence
from wakeline.core.order import Order
from wakeline.core.records import Draft
from wakeline.core.state import State
from wakeline.driver import approving, waking
from wakeline.driver.approving import Approver
from wakeline.driver.project import Project
from wakeline.edges.agent_file import agent_file
from wakeline.errors import Usage


@dataclasses.dataclass(frozen=True)
class Joined:
    """What came of one machine: the release that was approved for it (0: none), what it said, or why it waits."""

    machine: str
    release: int = 0
    said: tuple[str, ...] = ()
    waits: str = ""
    problem: str = ""


async def join(project: Project, machines: Sequence[Machine]) -> list[Joined]:
    """Approve the present release for those of `machines` that it has no order for, and let each look at once."""
    found = [await _approve(project, machine) for machine in machines]
    return [await _catch_up(project, each) for each in found if each is not None]


async def _approve(project: Project, machine: Machine) -> Joined | None:
    fleet, agent = project.file.fleet, agent_file()
    answers: list[joining.Joining] = []

    def drafts(state: State) -> list[Draft]:
        answers[:] = [joining.decide(state, fleet, machine.name)]
        return [_draft(project, state, machine, each) for each in answers if isinstance(each, joining.Joins)]

    try:
        await project.writer.write(drafts, agents={agent.digest: agent.data})
    except Usage as error:
        return Joined(machine.name, waits=f"{error.message} ({error.hint}); the next deploy takes it along")
    answer = answers[0]
    if isinstance(answer, joining.Joins):
        return Joined(machine.name, answer.release)
    if isinstance(answer, joining.Waits):
        again = f"; when that has ended: wakeline setup {machine.name}" if answer.again else ""
        return Joined(machine.name, waits=answer.why + again)
    return None


def _draft(project: Project, state: State, machine: Machine, joins: joining.Joins) -> Draft:
    """The approval for one machine alone, signed like the others."""
    fleet = project.file.fleet
    stage = next(each for each in fleet.stages if each.name == joins.stage)
    key = approving.key_for(project, state)
    order = _order(project, state, machine, joins.release)
    approve = Approver(fleet.app, fleet.environment, {machine.name: order}, agent_file().digest, key)
    where: dict[str, object] = {"gates": stage.gates, "goes_on": stage.goes_on, "before": joins.before}
    where["fleet"] = project.tip
    body = {"release": joins.release, "stage": stage.name, "machine": machine.name, **where}
    return approve(state, Draft("approved", {**body, "presence": Presence(machine.presence).value}))


def _order(project: Project, state: State, machine: Machine, number: int) -> Order:
    """Its order in a release that is older than it: the steps of then, and the lead of then, which it never is."""
    release = state.releases[number]
    fleet: Fleet = dataclasses.replace(project.file.fleet, lead=release.lead)
    orders = project.file_at(release.commit).orders(
        fleet=fleet,
        release=number,
        commit=release.commit,
        pins=release.pins,
        rollback=bool(release.rollback_to),
        barrier=state.barrier,
    )
    return orders[machine.name]._replace(lead=False)


async def _catch_up(project: Project, joined: Joined) -> Joined:
    if not joined.release:
        return joined
    machine = next(each for each in project.file.fleet.machines if each.name == joined.machine)
    said, problem = await waking.look_now(project, machine)
    return dataclasses.replace(joined, said=said, problem=problem)
