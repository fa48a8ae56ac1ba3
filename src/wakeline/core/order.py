"""What one machine is told to do for one release, and how that may end: steps, services, order, outcome.

An order is data: a rollout hands it to a machine that is awake, and a machine that wakes finds the same on the ledger.
Times are in seconds. All values are frozen: a change is a new value.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

ORDER_VERSION = 1
SCRIPT = "script"  # the name of the step that is a team's own deploy script
KEEP, STOP = "keep", "stop"  # what a machine does that was taken out of the fleet
_LATER = {"renamed_from": "", "on_retire": KEEP}


class Outcome(str, enum.Enum):
    """How one release ended on one machine."""

    OK = "ok"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    ASLEEP = "asleep"
    UNKNOWN = "unknown"
    WITHHELD = "withheld"
    SUPERSEDED = "superseded"

    @property
    def passed(self) -> bool:
        """True where the machine runs the release."""
        return self in (Outcome.OK, Outcome.UNCHANGED)


class Layout(str, enum.Enum):
    """Where a release lives: in a folder of its own, or in the checkout that was adopted."""

    RELEASES = "releases"
    IN_PLACE = "in-place"


class Health(NamedTuple):
    """What must be true of a service before its release is confirmed. One of `http` and `run` is set.

    `contains` is looked for in the body, so that an old release that still answers 200 is not taken for the new one.
    """

    http: str = ""
    run: str = ""
    contains: str = ""
    within_s: float = 30.0


class Service(NamedTuple):
    """Something that must be restarted to run a release: a systemd unit, or a command of the user's."""

    name: str
    unit: str = ""
    restart: str = ""
    stop: str = ""
    reload: bool = False
    roles: tuple[str, ...] = ()
    health: Health | None = None


class Step(NamedTuple):
    """One command on one machine. A once-step runs once in the whole fleet and has a `verify`.

    `verify` exits 0 when the database has what this release needs, 10 when it lacks it; anything else cannot tell.
    """

    name: str
    run: str
    once: bool = False
    verify: str = ""
    backup: str = ""
    lock: str = ""
    breaks_older: bool = False
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    timeout_s: float = 1800.0


class Repository(NamedTuple):
    """A further repository that is laid into the release at `path`, pinned to a commit when the release is made."""

    path: str
    git: str
    branch: str = "main"
    commit: str = ""


class Order(NamedTuple):
    """Everything that one machine must do for one release. `barrier` is the lowest release it may go back to.

    `on_retire` is for machines that the release has no order for any more: what they do, `keep` or `stop`.
    """

    app: str
    environment: str
    machine: str
    stage: str
    release: int
    commit: str
    git: str
    branch: str
    path: str
    lead: bool = False
    rollback: bool = False
    layout: Layout = Layout.RELEASES
    shared: tuple[str, ...] = ()
    keep: int = 5
    roles: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    services: tuple[Service, ...] = ()
    repositories: tuple[Repository, ...] = ()
    env_file: str = ""
    search_path: tuple[str, ...] = ()
    barrier: int = 0
    boot_limit_s: float = 120.0
    renamed_from: str = ""
    on_retire: str = KEEP
    version: int = ORDER_VERSION

    @property
    def may_be_prepared(self) -> bool:
        """Whether its commit may be fetched and laid out before its turn: where that is beside what runs (law 1)."""
        return self.layout is Layout.RELEASES and all(step.name != SCRIPT for step in self.steps)

    def to_json(self) -> dict[str, Any]:
        """The order as plain JSON data; `order_from_json` reads it back as an equal value.

        What an agent of before does not know is left out where it says nothing: such an agent refuses unknown keys.
        """
        return {key: value for key, value in plain(self).items() if _LATER.get(key) != value}


def plain(value: object) -> Any:
    """The parts of an order as JSON data, each by the names of its fields."""
    names = getattr(value, "_fields", None)
    if names and isinstance(value, tuple):
        return dict(zip(names, map(plain, value)))
    return tuple(map(plain, value)) if isinstance(value, tuple) else value


class BadOrder(ValueError):
    """An order that this agent cannot read: of a newer version, or not an order."""


def order_from_json(data: Mapping[str, Any]) -> Order:
    """Read an order. Raises BadOrder with what was found; never guesses at a newer version."""
    if not isinstance(data, Mapping):
        raise BadOrder(f"an order is an object, found {type(data).__name__}")
    version = data.get("version")
    if version != ORDER_VERSION:
        raise BadOrder(f"order of version {version!r}; this agent reads version {ORDER_VERSION}")
    try:
        return _order(dict(data))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BadOrder(f"not a readable order: {error}") from error


def _order(fields: dict[str, Any]) -> Order:
    fields["layout"] = Layout(fields.get("layout", "releases"))
    fields["steps"] = tuple(_read(Step, step) for step in fields.get("steps", ()))
    fields["services"] = tuple(_service(service) for service in fields.get("services", ()))
    fields["repositories"] = tuple(_read(Repository, each) for each in fields.get("repositories", ()))
    return _read(Order, fields)


def _service(data: Mapping[str, Any]) -> Service:
    fields = dict(data)
    if fields.get("health"):
        fields["health"] = _read(Health, fields["health"])
    return _read(Service, fields)


_TYPES: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "bool": (bool,), "float": (int, float)}
_Part = TypeVar("_Part", Order, Step, Service, Repository, Health)


def _read(kind: type[_Part], data: Mapping[str, Any]) -> _Part:
    """One part of an order, every field of the type that it is declared with. Raises TypeError that names the field."""
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
    make: Any = kind
    for name, declared in _declared(make):
        if name not in fields:
            continue  # it has a default, or the constructor names what is missing
        wanted, value = _TYPES.get(declared), fields[name]
        if wanted and (not isinstance(value, wanted) or (bool not in wanted and isinstance(value, bool))):
            raise TypeError(f"`{name}` should be {declared}, found {type(value).__name__}")
        if declared == "tuple[str, ...]" and not (
            isinstance(value, tuple) and all(isinstance(each, str) for each in value)
        ):
            raise TypeError(f"`{name}` should be a list of texts")
    made: _Part = make(**fields)
    return made


@functools.cache
def _declared(kind: Any) -> tuple[tuple[str, str], ...]:
    """The name of each field and the type that it is declared with, as it stands above."""
    return tuple((name, getattr(each, "__forward_arg__", each)) for name, each in kind.__annotations__.items())
