"""Who there is: machines, the stages that they go in, the fleet that they are; and who is told of it.

All values are frozen: a change is a new value. What a machine is told to do is in core/order.py.
"""

from __future__ import annotations

import dataclasses
import enum


class Presence(str, enum.Enum):
    """Whether a machine is expected to answer."""

    ALWAYS = "always"
    ON_DEMAND = "on-demand"


@dataclasses.dataclass(frozen=True)
class Machine:
    """One box. `max_behind_s` is how long an on-demand machine may be behind before that is an error."""

    name: str
    address: str
    presence: Presence = Presence.ALWAYS
    roles: tuple[str, ...] = ()
    max_behind_s: float = 14 * 86400.0
    renamed_from: str = ""


@dataclasses.dataclass(frozen=True)
class Stage:
    """Machines that go together. A stage that gates must pass before a later stage may start."""

    name: str
    machines: tuple[Machine, ...]
    gates: bool = True
    goes_on: bool = False
    at_once: int = 10


@dataclasses.dataclass(frozen=True)
class Fleet:
    """All machines of one app in one environment, in the order of their stages."""

    app: str
    environment: str
    stages: tuple[Stage, ...]
    lead: str

    @property
    def machines(self) -> tuple[Machine, ...]:
        """Every machine, in the order in which the stages go."""
        return tuple(machine for stage in self.stages for machine in stage.machines)

    def stage_of(self, machine: str) -> Stage | None:
        """The stage that a machine belongs to, or None for a machine that is not in the fleet."""
        for stage in self.stages:
            if any(each.name == machine for each in stage.machines):
                return stage
        return None


@dataclasses.dataclass(frozen=True)
class Receiver:
    """Who is told of which events. `to` says where the address is found; the address is not here."""

    name: str
    to: str
    events: tuple[str, ...]
