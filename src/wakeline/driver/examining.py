"""`wakeline doctor`: every precondition of a rollout, looked at from here and on each machine, each with its remedy."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wakeline import agent as agent_package
from wakeline.agent import privileges
from wakeline.core.model import Machine, Presence, Receiver
from wakeline.core.order import Layout, Order
from wakeline.core.presence import Answer, judge
from wakeline.driver import approving
from wakeline.driver.crowd import together
from wakeline.driver.machine_script import HOME
from wakeline.driver.project import FILE, Project
from wakeline.edges import git, notify
from wakeline.edges.notify import NotSent
from wakeline.edges.transports import Lost, NotReached
from wakeline.errors import WakelineError

CONNECT_S = 5.0
_EXAMINE_S = 120.0
_WORD = re.compile(r"(?:^|&&|\|\||[;|(])\s*((?:[A-Za-z_]\w*=\S*\s+)*)([A-Za-z0-9_.+-]+)(?=\s|$|;)")
_BUILT_IN = frozenset(
    {
        *("cd", ".", ":", "test", "[", "echo", "printf", "exit", "export", "set", "true", "false", "umask", "exec"),
        *("eval", "if", "then", "else", "fi", "while", "do", "done", "for", "case", "esac"),
    }
)


@dataclasses.dataclass(frozen=True)
class Finding:
    """One precondition: what was looked at, how it stands (ok, warning, problem, cannot-tell), and the remedy."""

    machine: str
    what: str
    state: str
    found: str
    wanted: str = ""


async def examine(project: Project, machines: tuple[Machine, ...]) -> list[Finding]:
    """Look at everything, all machines at once."""
    orders = project.file.orders(
        fleet=project.file.fleet, release=0, commit=project.tip, pins={}, rollback=False, barrier=0
    )
    there = [_there(project, each, orders[each.name]) for each in machines]
    found = await together([_here(project), _receivers(project), *there])
    return [finding for some in found for finding in some]


async def _here(project: Project) -> list[Finding]:
    """What must be true of the runner and of the ledger."""
    found = [_git_here(project), *_fleet_file(project)]
    try:
        state = await project.writer.read()
    except WakelineError as error:
        return [*found, Finding("here", "ledger", "problem", error.message, error.hint)]
    found.append(Finding("here", "ledger", "ok", f"can be read, {state.position} records"))
    problem = await asyncio.to_thread(project.writer.ledger.may_write)
    remedy = "whoever deploys needs the right to push to refs/wakeline/"
    found.append(Finding("here", "ledger", "problem" if problem else "ok", problem or "can be written", remedy))
    try:
        key = approving.key_for(project, state)
    except WakelineError as error:
        return [*found, Finding("here", "signing", "problem", error.message, error.hint)]
    signed = f"approvals are signed with {key}" if key else "no machine asks for signed approvals"
    return [*found, Finding("here", "signing", "ok", signed)]


def _fleet_file(project: Project) -> Iterator[Finding]:
    """Whether the fleet file that everybody goes by is the one that lies here: a deploy reads it from the branch."""
    if project.checkout is None:
        return
    branch, there = project.file.branch, project.code.file(project.tip, FILE)
    publish = f"git add {FILE} && git commit, and push it to {branch}"
    if there is None:
        yield Finding("here", FILE, "problem", f"{branch} has none, and a deploy reads it from there", publish)
    elif there != (project.checkout / FILE).read_text(encoding="utf-8"):
        yield Finding("here", FILE, "warning", f"is another one on {branch}, which is what a deploy goes by", publish)
    else:
        yield Finding("here", FILE, "ok", f"is the one on {branch}")


async def _receivers(project: Project) -> list[Finding]:
    """Whether each [[notify]] can be told. Nothing is sent, and one that cannot be told keeps no rollout from going."""
    return list(await asyncio.gather(*(asyncio.to_thread(_receiver, project, each) for each in project.file.receivers)))


def _receiver(project: Project, receiver: Receiver) -> Finding:
    what = f"notify {receiver.name}"
    try:
        notify.check(project.addresses.find(receiver.to))
    except NotSent as error:
        return Finding("here", what, "warning", error.message, error.hint)
    return Finding("here", what, "ok", f"{receiver.to} holds an address that apprise knows")


def _git_here(project: Project) -> Finding:
    found = git.version(at=project.checkout or Path())
    shown = ".".join(map(str, found))
    wanted = f"{'.'.join(map(str, git.VERSION_WANTED))} or newer"
    return Finding("here", "git", "ok" if found >= git.VERSION_WANTED else "problem", shown, wanted)


async def _there(project: Project, machine: Machine, order: Order) -> list[Finding]:
    """What must be true of one machine. It is reached as a rollout reaches it."""
    try:
        connection = await project.transport_of(machine).connect(machine, limit_s=CONNECT_S)
    except NotReached as error:
        asleep = judge(error.phase, machine.presence) is Answer.ASLEEP
        wanted = "asleep: nothing to do" if asleep else error.hint or _remedy(machine)
        return [Finding(machine.name, "reach", "warning" if asleep else "problem", error.message, wanted)]
    try:
        code, out, err = await connection.run(
            "python3 -I -", feed=_script(_questions(machine, order)), limit_s=_EXAMINE_S
        )
    except (Lost, asyncio.TimeoutError) as error:
        return [Finding(machine.name, "reach", "problem", f"the contact was lost: {error}", "try again")]
    finally:
        await connection.close()
    reached = Finding(machine.name, "reach", "ok", f"{machine.address} answers, and its host key is the one we know")
    findings = [
        Finding(machine.name, *each) for line in out.decode("utf-8", "replace").splitlines() if (each := _row(line))
    ]
    if code != 0:
        words = err.decode("utf-8", "replace").strip().splitlines()
        missing = "Python 3.9 or newer: apt-get install python3"
        findings.append(Finding(machine.name, "python", "problem", words[-1] if words else f"exit {code}", missing))
    return [reached, *findings]


def _remedy(machine: Machine) -> str:
    if machine.presence is Presence.ALWAYS:
        return "it is always on: switch it on, or look at its network"
    return "wakeline status"


def _row(line: str) -> tuple[str, str, str, str] | None:
    """One finding as the machine said it, or None for what is none."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    if not isinstance(row, list) or len(row) != 4:
        return None
    what, state, found, wanted = (str(part)[:500] for part in row)
    return what, state, found, wanted


def _script(questions: Mapping[str, Any]) -> bytes:
    text = Path(agent_package.__file__).with_name("examination.py").read_text(encoding="utf-8")
    return f"{text}\n\nmain(json.loads({json.dumps(questions)!r}))\n".encode()


def _questions(machine: Machine, order: Order) -> dict[str, Any]:
    local = machine.address.startswith("local:")
    home = f"{machine.address[len('local:') :]}/home" if local else HOME
    shared = order.path if order.layout is Layout.IN_PLACE else f"{order.path}/shared"
    units = [service.unit for service in order.services if service.unit]
    app = f"wakeline-{order.app}-{order.environment}"
    repositories = [("code", order.git, f"refs/heads/{order.branch}")]
    repositories += [(f"repository {each.path}", each.git, f"refs/heads/{each.branch}") for each in order.repositories]
    return {
        "machine": machine.name,
        "now": time.time(),
        "home": home,
        "path": order.path,
        "in_place": order.layout is Layout.IN_PLACE,
        "shared": [f"{shared}/{name}" for name in order.shared],
        "env_file": order.env_file if order.env_file.startswith("/") else f"{shared}/{order.env_file}",
        "search_path": [*order.search_path, *_SYSTEM_PATH],
        "commands": {step.name: commands_of(step.run, step.verify, step.backup, step.lock) for step in order.steps},
        "repositories": repositories,
        "units": [] if local else units,
        "as_root": [
            privileges.argv(verb, unit, way=privileges.ROOT_WAY) for unit in units for verb in privileges.VERBS
        ],
        "own_units": [] if local else [f"{app}-boot.service", f"{app}-confirm.service", f"{app}-catchup.timer"],
    }


_SYSTEM_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


def commands_of(*commands: str) -> list[str]:
    """The programs that shell commands call by name; paths and what the shell has itself left out."""
    names = {match[2] for command in commands for match in _WORD.finditer(command)}
    return sorted(name for name in names if name not in _BUILT_IN and not name.startswith((".", "-")))
