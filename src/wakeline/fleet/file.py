"""A fleet file that holds together, as values: what `reading` makes of the text, and what a rollout works with.

Nothing here judges: that is done by `reading`, with a library that takes 0.1 s to import.
So what was judged good once can be kept as JSON, and read back without it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from wakeline.core import model, order


@dataclasses.dataclass(frozen=True)
class FleetFile:
    """A fleet file that holds together."""

    fleet: model.Fleet
    git: str
    branch: str
    ledger: str
    deploy: Deploy
    steps: tuple[order.Step, ...]
    services: tuple[order.Service, ...]
    repositories: tuple[order.Repository, ...]
    url: str = ""
    receivers: tuple[model.Receiver, ...] = ()

    def orders(
        self, *, fleet: model.Fleet, release: int, commit: str, pins: Mapping[str, str], rollback: bool, barrier: int
    ) -> dict[str, order.Order]:
        """One order per machine of `fleet`, which may be newer than this file: a rollback walks today's machines."""
        return {
            machine.name: self._order(
                machine, stage=stage, lead=fleet.lead, release=release, commit=commit, pins=pins, rollback=rollback,
                barrier=barrier,
            )
            for stage in fleet.stages
            for machine in stage.machines
        }  # fmt: skip

    def _order(
        self,
        machine: model.Machine,
        *,
        stage: model.Stage,
        lead: str,
        release: int,
        commit: str,
        pins: Mapping[str, str],
        rollback: bool,
        barrier: int,
    ) -> order.Order:
        mine = frozenset(machine.roles)
        path = self.deploy.path
        if path.startswith(".") and machine.address.startswith("local:"):
            path = f"{machine.address[len('local:') :]}/{path}"
        return order.Order(
            app=self.fleet.app,
            environment=self.fleet.environment,
            machine=machine.name,
            stage=stage.name,
            release=release,
            commit=commit,
            git=self.git,
            branch=self.branch,
            path=path,
            lead=machine.name == lead,
            rollback=rollback,
            layout=self.deploy.layout,
            shared=self.deploy.shared,
            keep=self.deploy.keep,
            roles=machine.roles,
            steps=tuple(step for step in self._steps(machine) if step.once or _for(step.roles, mine)),
            services=tuple(service for service in self.services if _for(service.roles, mine)),
            repositories=tuple(each._replace(commit=pins.get(each.path, "")) for each in self.repositories),
            env_file=self.deploy.env_file,
            search_path=self.deploy.search_path,
            barrier=barrier,
            boot_limit_s=self.deploy.boot_limit_s,
            renamed_from=machine.renamed_from,
            on_retire=self.deploy.on_retire,
        )

    def _steps(self, machine: model.Machine) -> tuple[order.Step, ...]:
        if not self.deploy.script:
            return self.steps
        role = machine.roles[0] if machine.roles else machine.name
        command = self.deploy.script.replace("{role}", role).replace("{machine}", machine.name)
        once = order.Step("script-once", command, once=True, verify=command)
        own = (order.Step(order.SCRIPT, command), *((once,) if self.deploy.script_once else ()))
        return (*own, *self.steps)


@dataclasses.dataclass(frozen=True)
class Deploy:
    """Where and how a release is laid out."""

    path: str
    layout: order.Layout
    shared: tuple[str, ...]
    keep: int
    env_file: str
    search_path: tuple[str, ...]
    boot_limit_s: float
    lease_s: float
    script: str
    script_once: bool
    on_retire: str = order.KEEP


def to_json(file: FleetFile) -> dict[str, Any]:
    """The file as plain JSON data; `from_json` reads it back as an equal value."""
    parts = {name: order.plain(getattr(file, name)) for name in ("steps", "services", "repositories")}
    return {**dataclasses.asdict(file), **parts}


def from_json(data: Mapping[str, Any]) -> FleetFile:
    """Read what `to_json` made. Raises KeyError, TypeError or ValueError for anything else."""
    fleet, deploy = data["fleet"], data["deploy"]
    stages = tuple(_stage(each) for each in fleet["stages"])
    return FleetFile(
        fleet=model.Fleet(fleet["app"], fleet["environment"], stages, fleet["lead"]),
        git=data["git"],
        branch=data["branch"],
        ledger=data["ledger"],
        deploy=Deploy(**{**_tuples(deploy), "layout": order.Layout(deploy["layout"])}),
        steps=tuple(order.Step(**_tuples(each)) for each in data["steps"]),
        services=tuple(_service(each) for each in data["services"]),
        repositories=tuple(order.Repository(**each) for each in data["repositories"]),
        url=data["url"],
        receivers=tuple(model.Receiver(**_tuples(each)) for each in data["receivers"]),
    )


def _stage(data: Mapping[str, Any]) -> model.Stage:
    machines = tuple(
        model.Machine(**{**_tuples(each), "presence": model.Presence(each["presence"])}) for each in data["machines"]
    )
    return model.Stage(**{**data, "machines": machines})


def _service(data: Mapping[str, Any]) -> order.Service:
    health = data["health"]
    return order.Service(**{**_tuples(data), "health": order.Health(**health) if health else None})


def _tuples(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}


def _for(roles: tuple[str, ...], mine: frozenset[str]) -> bool:
    return not roles or bool(mine & set(roles))
