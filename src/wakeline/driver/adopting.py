"""What `wakeline setup` would do to a machine, from what it finds there: shown first, then done, word for word.

Looks only. What is found goes through core/moving.py, which says what of a unit can be moved to `current` for sure.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wakeline import agent as agent_package
from wakeline.core import moving
from wakeline.core.model import Machine
from wakeline.core.moving import Move, Place, Setting
from wakeline.core.order import Layout
from wakeline.core.presence import Answer, heard
from wakeline.driver import becoming_root, machine_script
from wakeline.driver.crowd import for_each
from wakeline.driver.machine_script import DROP_IN, Copy, Found
from wakeline.driver.project import Project
from wakeline.edges.agent_file import agent_file
from wakeline.edges.transports import Lost, NotReached
from wakeline.errors import RolloutFailed


@dataclasses.dataclass(frozen=True)
class Plan:
    """One machine. `script` is what runs there as root, `copies` what is copied when somebody consents.

    `changes` are what it does in words, `doubts` what it could not tell, `missing` shared paths that are nowhere.
    `problem` says why there is no script; `reached` is false where the machine did not answer.
    """

    machine: Machine
    found: Found = dataclasses.field(default_factory=Found)
    changes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    copies: tuple[Copy, ...] = ()
    missing: tuple[str, ...] = ()
    problem: str = ""
    reached: bool = True

    def script(self, project: Project, *, copying: bool) -> str:
        """The script as it runs: with the copies, or without."""
        found = dataclasses.replace(self.found, copies=self.copies if copying else ())
        return machine_script.render(project.file, self.machine, agent_digest=agent_file().digest, found=found)


async def plan(project: Project, machines: Sequence[Machine], *, root_user: str) -> list[Plan]:
    """Look at every machine and say what would be done to it."""
    tracked = await asyncio.to_thread(project.code.paths, project.tip)
    return await for_each(machines, lambda each: _plan(project, each, root_user=root_user, tracked=tracked))


async def _plan(project: Project, machine: Machine, *, root_user: str, tracked: frozenset[str]) -> Plan:
    if machine.address.startswith("local:"):
        return Plan(machine)
    try:
        there = await becoming_root.with_its_user(project, machine)
        script = _script(_questions(project, there))
        command = becoming_root.PYTHON
        lines = await becoming_root.run(project, there, script, verb="looking", root_user=root_user, command=command)
        facts = json.loads(lines[-1])
    except NotReached as error:
        reached = heard(error.phase) is not Answer.ASLEEP  # a machine that refuses us is not one that is off
        return Plan(
            machine, problem=f"{error.message} ({error.hint})" if error.hint else error.message, reached=reached
        )
    except (Lost, RolloutFailed) as error:
        return Plan(machine, problem=error.message)
    except (ValueError, IndexError):
        return Plan(machine, problem="what it said of itself cannot be read")
    return judge(project, there, facts, tracked=tracked)


def judge(project: Project, machine: Machine, facts: Mapping[str, Any], *, tracked: frozenset[str]) -> Plan:
    """What follows from what was found on a machine."""
    file = project.file
    moves = {} if file.deploy.layout is Layout.IN_PLACE else _moves(project, machine, facts, tracked=tracked)
    adopted, why_not = _adopted(moves, facts)
    found = Found({unit: each.lines for unit, each in moves.items()}, adopted)
    files = _files(project, machine, found, facts)
    moving_now = {unit: each for unit, each in moves.items() if machine_script.drop_in_of(unit) in files}
    changes = [f"{unit}: {line}" for unit, each in moving_now.items() for line in each.changes]
    doubts = [f"{unit}: {line}" for unit, each in moves.items() for line in each.doubts]
    doubts += [f"{unit} is {each['state']} to systemd there" for unit, each in facts["units"].items() if _odd(each)]
    doubts += [why_not] if why_not else []
    if adopted:
        changes.append(f"{file.deploy.path}/current leads to {adopted} until the first release: release 0")
    changes += [f"{path} is {how}" for path, how in files.items()]
    copies, missing = _copies(facts)
    plan_ = Plan(machine, found, tuple(changes), tuple(doubts), copies, missing)
    return dataclasses.replace(plan_, problem=_missing_tools(facts, machine))


def _odd(unit: Mapping[str, Any]) -> bool:
    return bool(unit["state"] != "loaded")


def _missing_tools(facts: Mapping[str, Any], machine: Machine) -> str:
    if not facts["user"]:
        return f"there is no user {_user(machine)} there: adduser {_user(machine)}"
    missing = ", ".join(facts["missing"])
    return f"missing there: {missing} (apt-get install {missing.replace(',', '')})" if missing else ""


def _moves(project: Project, machine: Machine, facts: Mapping[str, Any], *, tracked: frozenset[str]) -> dict[str, Move]:
    file, mine = project.file, set(machine.roles)
    steps = [step for step in file.steps if not step.roles or mine & set(step.roles)]
    made = {*file.deploy.shared, *(each.path for each in file.repositories)}
    made |= {output for step in steps for output in step.outputs}
    place = Place(file.deploy.path, tracked, frozenset(each.strip("/") for each in made))
    return {
        unit: moving.move(
            [Setting(*each) for each in found["settings"]], place=place, tops=facts["tops"], last_name=DROP_IN
        )
        for unit, found in facts["units"].items()
    }


def _adopted(moves: Mapping[str, Move], facts: Mapping[str, Any]) -> tuple[str, str]:
    """The folder that is release 0 from now on, so that no restart before the first release finds `current` missing."""
    if facts["current"]:
        return "", ""
    there = sorted({each.old for each in moves.values() if each.old in facts["folders"]})
    if len(there) > 1:
        why = "its services run from several folders: none of them is release 0, and until the first release they "
        return "", f"{why}do not start again ({', '.join(there)})"
    return (there[0] if there else ""), ""


def _files(project: Project, machine: Machine, found: Found, facts: Mapping[str, Any]) -> dict[str, str]:
    """What of our files is not yet as it should be: written, or changed."""
    changes = {}
    for path, (mode, text) in machine_script.files_of(project.file, machine, found=found).items():
        have = facts["files"].get(path, {})
        if have != {"digest": hashlib.sha256(text.encode()).hexdigest(), "mode": mode}:
            changes[path] = "changed" if have else "written"
    return changes


def _copies(facts: Mapping[str, Any]) -> tuple[tuple[Copy, ...], tuple[str, ...]]:
    """What could be copied for sure, and what is missing with nothing, or with a choice, to copy it from."""
    copies, missing = [], []
    for each in facts["shared"]:
        if each["there"]:
            continue
        if len(each["found"]) == 1:
            copies.append(Copy(each["name"], each["to"], **each["found"][0]))
        else:
            places = " and ".join(one["at"] for one in each["found"])
            missing.append(
                f"{each['to']} is missing" + (f", and {places} differ: copy the right one" if places else "")
            )
    return tuple(copies), tuple(missing)


def _questions(project: Project, machine: Machine) -> dict[str, Any]:
    file = project.file
    units = machine_script.units_of(file, machine)
    path = file.deploy.path
    in_place = file.deploy.layout is Layout.IN_PLACE
    return {
        "path": path,
        "user": _user(machine),
        "units": units,
        "drop_ins": {unit: machine_script.drop_in_of(unit) for unit in units},
        "files": sorted(machine_script.files_of(file, machine)),
        "tools": list(machine_script.TOOLS),
        "shared": list(file.deploy.shared),
        "shared_in": path if in_place else f"{path}/shared",
    }


def _user(machine: Machine) -> str:
    return machine.address.rpartition("@")[0] or "root"


def _script(questions: Mapping[str, Any]) -> str:
    text = Path(agent_package.__file__).with_name("survey.py").read_text(encoding="utf-8")
    return f"{text}\n\nmain(json.loads({json.dumps(questions)!r}))\n"
