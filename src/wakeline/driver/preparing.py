"""`wakeline setup`: makes machines ready, one after the other looked at, all of them safe to do twice."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wakeline.core import binding
from wakeline.core.model import Machine
from wakeline.core.presence import Answer, heard
from wakeline.core.records import Draft
from wakeline.core.state import State
from wakeline.driver import becoming_root
from wakeline.driver.adopting import Plan
from wakeline.driver.becoming_root import CONNECT_S
from wakeline.driver.crowd import for_each
from wakeline.driver.project import Project
from wakeline.edges.agent_file import agent_file
from wakeline.edges.transports import Connection, Lost, NotReached
from wakeline.errors import RolloutFailed

_COPY_S = 3600.0


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What came of one machine. `problem` is empty where it is ready; `reached` is false where it did not answer."""

    machine: str
    done: tuple[str, ...] = ()
    problem: str = ""
    reached: bool = True


async def prepare(
    project: Project,
    plans: Sequence[Plan],
    *,
    root_user: str,
    signers: str,
    replace: bool = False,
    copying: bool = False,
) -> list[Prepared]:
    """Do what was planned on every machine that answers; the others are named, with why.

    `signers` is the text of an allowed signers file: whose approvals the machines act on. Empty: anybody's. With
    `replace` a name may be bound to another machine than before, with `copying` missing shared paths are copied.
    """
    work = _Work(project, await project.writer.read(), root_user, signers, replace, copying)
    found = _each_its_own(await for_each(plans, lambda each: _one(work, each)))
    machines = {each.machine.name: each.machine for each in plans}
    ids = {each.machine: machine_id for each, machine_id in found if machine_id}
    unsigned = {} if signers else {"unsigned": True}
    names = [each.name for each in project.file.fleet.machines]

    def was(state: State, machine: Machine, machine_id: str) -> dict[str, str]:
        known = {"name": machine.name, "machine_id": machine_id, "renamed_from": machine.renamed_from}
        before = binding.name_before(state, **known, names=names)
        return {"renamed_from": before} if before else {}

    def decide(state: State) -> list[Draft]:
        fresh = {
            name: each
            for name, each in ids.items()
            if state.machines.get(name) != each or (name in state.unsigned) == bool(signers)
        }
        return [
            Draft("set-up", {"machine": name, "machine_id": each, **was(state, machines[name], each), **unsigned})
            for name, each in fresh.items()
        ]

    await project.writer.write(decide)
    return [each for each, _ in found]


def _each_its_own(found: list[tuple[Prepared, str]]) -> list[tuple[Prepared, str]]:
    """Two names that are one machine are refused, the second of them, also when both are new."""
    kept: dict[str, str] = {}
    checked = []
    for prepared, machine_id in found:
        other = kept.setdefault(machine_id, prepared.machine) if machine_id else prepared.machine
        if other != prepared.machine:
            problem = (
                f"it has the machine-id of {other}: a clone that kept it? systemd-machine-id-setup makes a new one"
            )
            checked.append((dataclasses.replace(prepared, problem=problem), ""))
        else:
            checked.append((prepared, machine_id))
    return checked


def config_of(project: Project, machine: Machine, *, signers: str) -> dict[str, Any]:
    """What the agent on a machine must know to catch up by itself."""
    file = project.file
    path = file.deploy.path
    local = machine.address.startswith("local:")
    if local and not path.startswith("/"):
        path = str(Path(machine.address[len("local:") :]) / path)
    config = {
        "version": 1,
        "app": file.fleet.app,
        "environment": file.fleet.environment,
        "machine": machine.name,
        **({"renamed_from": machine.renamed_from} if machine.renamed_from else {}),
        "ledger": file.ledger,
        "git": file.git,
        "path": path,
        "boot_limit_s": file.deploy.boot_limit_s,
        **({"signers": signers} if signers else {"unsigned": True}),
    }
    if local:
        config["machine_id"] = hashlib.sha256(machine.address.encode()).hexdigest()[:32]
        config["local"] = True
    return config


@dataclasses.dataclass(frozen=True)
class _Work:
    """One call of setup: what is asked of every machine alike."""

    project: Project
    state: State
    root_user: str
    signers: str
    replace: bool
    copying: bool

    def refused(self, machine: Machine, machine_id: str) -> str:
        names = [each.name for each in self.project.file.fleet.machines]
        return binding.refused(
            self.state,
            name=machine.name,
            machine_id=machine_id,
            names=names,
            renamed_from=machine.renamed_from,
            replace=self.replace,
        )


async def _one(work: _Work, planned: Plan) -> tuple[Prepared, str]:
    """One machine, and the id that its name is bound to from now on."""
    project, machine = work.project, planned.machine
    if planned.problem:
        return Prepared(machine.name, (), planned.problem, reached=planned.reached), ""
    local = machine.address.startswith("local:")
    if local:
        Path(machine.address[len("local:") :]).mkdir(parents=True, exist_ok=True)
    done: list[str] = []
    try:
        if not local:
            script = planned.script(project, copying=work.copying)
            limit_s = _COPY_S if work.copying and planned.copies else becoming_root.LIMIT_S
            done += await becoming_root.run(
                project, machine, script, verb="setup", root_user=work.root_user, limit_s=limit_s
            )
        connection = await project.transport_of(machine).connect(machine, limit_s=CONNECT_S)
        try:
            config = config_of(project, machine, signers=work.signers)
            machine_id = await _configure(connection, {**config, "replace": work.replace})
        finally:
            await connection.close()
    except NotReached as error:
        reached = heard(error.phase) is not Answer.ASLEEP  # what refuses us is not off
        return Prepared(machine.name, tuple(done), f"{error.message}", reached=reached), ""
    except (Lost, RolloutFailed) as error:
        return Prepared(machine.name, tuple(done), error.message), ""
    refused = work.refused(machine, machine_id)
    if refused:
        return Prepared(machine.name, tuple(done), refused), ""
    return Prepared(machine.name, (*done, "knows its fleet, its ledger and its name")), machine_id


async def _configure(connection: Connection, config: Mapping[str, Any]) -> str:
    agent = agent_file()
    conversation = await connection.converse("configure", agent=agent.data, digest=agent.digest, silence_s=30.0)
    await conversation.send(config)
    said = await conversation.text()
    try:
        answer = json.loads(said)
    except ValueError as error:
        raise RolloutFailed(f"the agent did not answer: {said[:200]!r}") from error
    if "machine_id" not in answer:
        raise RolloutFailed(str(answer.get("problem") or "the agent refused"))
    return str(answer["machine_id"])
