"""The keys of `wakeline.toml`, one class a table. Editors get a JSON Schema made from these classes."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from wakeline.core.lease import LENGTH_S

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])\Z")


def seconds(value: Any) -> float:
    """Read "30s", "5m", "2h", "14d". Raises ValueError that says so."""
    match = _DURATION.match(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('not a length of time such as "30s", "5m", "2h" or "14d"')
    return float(match[1]) * UNITS[match[2]]


def relative(value: Any) -> str:
    """A path inside a release. Raises ValueError for one that leaves it."""
    if not isinstance(value, str) or not value:
        raise ValueError("not a path")
    parts = value.split("/")
    if value.startswith(("/", "~")) or ".." in parts or "\0" in value:
        raise ValueError("not a path inside the release")
    return value


REFERENCES = ("env:", "file:", "cmd:")


def reference(value: Any) -> str:
    """Where a secret is found. Raises ValueError for one that stands here itself; its text is not in the error."""
    if not isinstance(value, str) or not value.startswith(REFERENCES) or not value.partition(":")[2].strip():
        raise ValueError("not a reference: env:NAME, file:PATH or cmd:COMMAND say where the address is found")
    return value


LENGTH = r"^\d+(\.\d+)?\s*[smhd]$"
FOUND_AT = r"^(env|file|cmd):\s*\S"
Duration = Annotated[float, BeforeValidator(seconds, json_schema_input_type=Annotated[str, Field(pattern=LENGTH)])]
Inside = Annotated[str, BeforeValidator(relative, json_schema_input_type=str)]
Reference = Annotated[str, BeforeValidator(reference, json_schema_input_type=Annotated[str, Field(pattern=FOUND_AT)])]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Text = Annotated[str, Field(min_length=1)]
Event = Literal["failed", "asleep", "caught-up", "approved", "in-doubt", "behind"]


class Table(BaseModel):
    """A table that knows all its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class HealthTable(Table):
    """When a service counts as healthy: an address that answers 2xx, or a command that exits 0."""

    http: str = Field("", pattern=r"^(https?://.+)?$")
    run: str = ""
    contains: str = ""
    within: Duration = 30.0


class ServiceTable(Table):
    """Something that runs the release: a systemd unit, or a command that restarts it."""

    unit: str = Field("", pattern=r"^([A-Za-z0-9:_.@\\-]+\.(service|socket))?$")
    name: str = ""
    restart: str = ""
    stop: str = ""
    reload: bool = False
    roles: tuple[Name, ...] = ()
    health: HealthTable | None = None


class StepTable(Table):
    """One command on one machine; with `once`, one command in the whole fleet."""

    name: Name
    run: Text
    once: bool = False
    verify: str = ""
    backup: str = ""
    lock: str = ""
    breaks_older: bool = False
    inputs: tuple[Inside, ...] = ()
    outputs: tuple[Inside, ...] = ()
    roles: tuple[Name, ...] = ()
    timeout: Duration = 1800.0


class MachineTable(Table):
    """One box, and whether it is expected to answer."""

    name: Name
    address: Text
    presence: Literal["always", "on-demand"]
    max_behind: Duration = 14 * 86400.0
    roles: tuple[Name, ...] = ()
    renamed_from: str = ""


class StageTable(Table):
    """Machines that go together. Stages go in the order in which they are written."""

    name: Name
    machine: tuple[MachineTable, ...] = Field(min_length=1)
    gates: bool | None = None
    at_once: int = Field(10, ge=1)
    goes_on: bool = Field(False, alias="continue")


class RepositoryTable(Table):
    """A further repository, laid into the release at `path`."""

    path: Inside
    git: Text
    branch: Text = "main"


class DeployTable(Table):
    """Where and how a release is laid out on every machine."""

    path: str = Field(pattern=r"^(/.+)$|^(\..*)$")
    layout: Literal["releases", "in-place"] = "releases"
    shared: tuple[Inside, ...] = ()
    keep: int = Field(5, ge=2)
    env_file: str = ""
    search_path: tuple[Text, ...] = Field((), alias="path_for_steps")
    boot_limit: Duration = 120.0
    script: str = ""
    script_once: bool = False
    on_retire: Literal["keep", "stop"] = "keep"
    lease: Annotated[Duration, Field(ge=10.0)] = LENGTH_S


class NotifyTable(Table):
    """Who is told of what. The address is a secret, so it is only said where it is found."""

    name: Name
    to: Reference
    events: tuple[Event, ...] = Field(get_args(Event), min_length=1)


class File(Table):
    """The whole of wakeline.toml."""

    app: Name
    environment: Name
    git: Text
    branch: Text = "main"
    ledger: Text = "git"
    lead: str = ""
    url: str = Field("", pattern=r"^(https?://\S+)?$")
    deploy: DeployTable
    stage: tuple[StageTable, ...] = Field(min_length=1)
    step: tuple[StepTable, ...] = ()
    service: tuple[ServiceTable, ...] = ()
    repository: tuple[RepositoryTable, ...] = ()
    notify: tuple[NotifyTable, ...] = ()
