"""Reads wakeline.toml: every problem in one go, each with its path, what was found, what is wanted, and a guess."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping
from typing import Any, get_args

import tomllib
from pydantic import BaseModel, ValidationError

from wakeline.core import model, order
from wakeline.errors import Usage
from wakeline.fleet.file import Deploy, FleetFile
from wakeline.fleet.schema import File, MachineTable, ServiceTable, StageTable


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing that is wrong in the file. `guess` is what was perhaps meant."""

    path: str
    message: str
    guess: str = ""


class FleetFileError(Usage):
    """The fleet file cannot be used; `problems` has all of them."""

    def __init__(self, name: str, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        lines = []
        for problem in problems:
            where = f"{name}: {problem.path}: " if problem.path else f"{name}: "
            lines.append(where + problem.message + (f" (did you mean `{problem.guess}`?)" if problem.guess else ""))
        super().__init__("\n".join(lines), hint="wakeline docs shows every key with an example")


def load(text: str, *, name: str = "wakeline.toml") -> FleetFile:
    """Read and judge the whole file. Raises FleetFileError with every problem."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FleetFileError(name, (Problem("", f"not TOML: {error}"),)) from error
    problems: list[Problem] = []
    file = None
    try:
        file = File.model_validate(data)
    except ValidationError as error:
        problems += [_problem(dict(each)) for each in error.errors()]
    if file is not None:
        problems += _across(file)
    if problems or file is None:
        raise FleetFileError(name, tuple(problems))
    return _fleet_file(file)


def _problem(error: Mapping[str, Any]) -> Problem:
    """One error of the schema, in our words."""
    where = error["loc"]
    path = _path(where)
    kind = error["type"]
    if kind == "missing":
        return Problem(path, "is missing")
    if kind == "extra_forbidden":
        known = _known_keys(where[:-1])
        close = difflib.get_close_matches(str(where[-1]), known, n=1)
        return Problem(path, "is not a key here", close[0] if close else "")
    found = (
        _hidden(error.get("input"))
        if where[:1] == ("notify",) and kind != "literal_error"
        else _shown(error.get("input"))
    )
    if where == ("notify",):
        return Problem(path, "is a list of tables: begin each with [[notify]]")
    if kind == "literal_error":
        choices = [each.strip(" '") for each in error["ctx"]["expected"].replace(" or ", ", ").split(",")]
        close = difflib.get_close_matches(str(error.get("input")), choices, n=1)
        return Problem(path, f"{found} is not one of {', '.join(choices)}", close[0] if close else "")
    if kind == "string_pattern_mismatch":
        return Problem(path, f"{found} does not look right; wanted {_wanted(where)}")
    message = str(error["ctx"]["error"]) if kind == "value_error" else str(error["msg"])
    return Problem(path, f"{found} is {message}" if kind == "value_error" else f"{found}: {message}")


def _wanted(where: tuple[Any, ...]) -> str:
    """What a patterned key looks like when it is right."""
    by_key = {
        "unit": "a unit's full name, such as gunicorn.service",
        "http": "an http:// or https:// address",
        "url": "an http:// or https:// address",
        "path": "an absolute path, such as /opt/app",
    }
    return by_key.get(str(where[-1]), "small letters, digits, - and _, starting with a letter or digit")


def _path(where: tuple[Any, ...]) -> str:
    text = ""
    for part in where:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _shown(value: Any) -> str:
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _hidden(value: Any) -> str:
    """What was found where an address may stand: at most its scheme, since the rest of it is a secret."""
    scheme, mark, _ = str(value).partition("://") if isinstance(value, str) else ("", "", "")
    return f'"{scheme}://…"' if mark and scheme.isalnum() else f"a {type(value).__name__}, which is not shown,"


def _known_keys(where: tuple[Any, ...]) -> list[str]:
    """The keys of the table at a place in the file."""
    table: Any = File
    for part in where:
        if isinstance(part, int):
            continue
        table = next(each for each in _tables(table.model_fields[part].annotation))
    return [field.alias or key for key, field in table.model_fields.items()]


def _tables(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _tables(inner)


def _across(file: File) -> Iterator[Problem]:
    """What no single table can see."""
    machines = [
        (f"stage[{s}].machine[{m}]", each) for s, st in enumerate(file.stage) for m, each in enumerate(st.machine)
    ]
    yield from _twice("stage", [stage.name for stage in file.stage])
    yield from _twice("step", [step.name for step in file.step])
    yield from _twice("notify", [each.name for each in file.notify])
    seen: dict[str, str] = {}
    for path, machine in machines:
        if machine.name in seen:
            yield Problem(f"{path}.name", f'"{machine.name}" is a machine already, at {seen[machine.name]}')
        seen.setdefault(machine.name, path)
    for path, machine in machines:
        if machine.renamed_from in seen:
            taken = f'"{machine.renamed_from}" is a machine of this fleet, at {seen[machine.renamed_from]}'
            yield Problem(f"{path}.renamed_from", f"{taken}; a name that is in use is nobody's old one")
    if file.lead and file.lead not in seen:
        close = difflib.get_close_matches(file.lead, seen, n=1)
        yield Problem("lead", f'"{file.lead}" is no machine of this fleet', close[0] if close else "")
    roles = {role for _, machine in machines for role in machine.roles}
    yield from _steps(file, roles)
    for index, service in enumerate(file.service):
        yield from _service(f"service[{index}]", service, roles)
    for index, stage in enumerate(file.stage):
        if stage.goes_on and _gates(stage):
            yield Problem(f"stage[{index}].continue", "a stage that gates cannot continue after a failure")
    yield from _deploy(file)


def _steps(file: File, roles: set[str]) -> Iterator[Problem]:
    for index, step in enumerate(file.step):
        path = f"step[{index}]"
        yield from _unknown_roles(path, step.roles, roles)
        if step.once and not step.verify:
            wanted = "a once-step needs one: exit 0 has it, 10 lacks it, anything else cannot tell"
            yield Problem(f"{path}.verify", f"is missing; {wanted}")
        if step.once and step.roles:
            yield Problem(f"{path}.roles", "a once-step runs on the lead and is verified everywhere; it has no roles")
        if not step.once and (step.verify or step.backup or step.lock or step.breaks_older):
            yield Problem(f"{path}.once", "verify, backup, lock and breaks_older are for once-steps; add `once = true`")
        if step.outputs and not step.inputs:
            yield Problem(f"{path}.inputs", "is missing; outputs are kept by their inputs")
        if step.once and step.outputs:
            yield Problem(f"{path}.outputs", "a once-step changes a database; it has no outputs")


def _service(path: str, service: ServiceTable, roles: set[str]) -> Iterator[Problem]:
    yield from _unknown_roles(path, service.roles, roles)
    if bool(service.unit) == bool(service.restart):
        yield Problem(path, "needs one of `unit` and `restart`, and not both")
    if service.restart and not service.name:
        yield Problem(f"{path}.name", "is missing; a service without a unit needs a name")
    if service.health and bool(service.health.http) == bool(service.health.run):
        yield Problem(f"{path}.health", "needs one of `http` and `run`, and not both")


def _deploy(file: File) -> Iterator[Problem]:
    local = all(machine.address.startswith("local:") for stage in file.stage for machine in stage.machine)
    if not file.deploy.path.startswith("/") and not local:
        yield Problem("deploy.path", f'"{file.deploy.path}" must be absolute; only `local:` machines may say otherwise')
    ordinary = [step.name for step in file.step if not step.once]
    if file.deploy.script and ordinary:
        names = ", ".join(ordinary)
        yield Problem("deploy.script", f"a script stands for all ordinary steps; leave it out, or {names}")
    if file.deploy.script_once and not file.deploy.script:
        yield Problem("deploy.script_once", "says how `script` is called, and there is none")


def _unknown_roles(path: str, wanted: tuple[str, ...], roles: set[str]) -> Iterator[Problem]:
    for role in wanted:
        if role not in roles:
            close = difflib.get_close_matches(role, roles, n=1)
            yield Problem(f"{path}.roles", f'"{role}" is no machine\'s role', close[0] if close else "")


def _twice(what: str, names: list[str]) -> Iterator[Problem]:
    for index, name in enumerate(names):
        if name in names[:index]:
            yield Problem(f"{what}[{index}].name", f'"{name}" is a {what} already, at {what}[{names.index(name)}]')


def _gates(stage: StageTable) -> bool:
    return any(m.presence == "always" for m in stage.machine) if stage.gates is None else stage.gates


def _fleet_file(file: File) -> FleetFile:
    stages = tuple(_stage(stage) for stage in file.stage)
    lead = file.lead or stages[0].machines[0].name
    fields = file.deploy.model_dump(exclude={"boot_limit", "layout", "lease"})
    layout = order.Layout(file.deploy.layout)
    return FleetFile(
        fleet=model.Fleet(file.app, file.environment, stages, lead),
        git=file.git,
        branch=file.branch,
        ledger=file.git if file.ledger == "git" else file.ledger,
        deploy=Deploy(**fields, layout=layout, boot_limit_s=file.deploy.boot_limit, lease_s=file.deploy.lease),
        steps=tuple(order.Step(**s.model_dump(exclude={"timeout"}), timeout_s=s.timeout) for s in file.step),
        services=tuple(_core_service(service) for service in file.service),
        repositories=tuple(order.Repository(**each.model_dump()) for each in file.repository),
        url=file.url,
        receivers=tuple(model.Receiver(**each.model_dump()) for each in file.notify),
    )


def _stage(stage: StageTable) -> model.Stage:
    machines = tuple(_machine(machine) for machine in stage.machine)
    return model.Stage(stage.name, machines, gates=_gates(stage), goes_on=stage.goes_on, at_once=stage.at_once)


def _machine(machine: MachineTable) -> model.Machine:
    fields = machine.model_dump(exclude={"max_behind", "presence"})
    return model.Machine(**fields, presence=model.Presence(machine.presence), max_behind_s=machine.max_behind)


def _core_service(service: ServiceTable) -> order.Service:
    fields = service.model_dump(exclude={"health", "name"})
    health = None
    if service.health:
        health = order.Health(**service.health.model_dump(exclude={"within"}), within_s=service.health.within)
    return order.Service(name=service.name or service.unit, health=health, **fields)
