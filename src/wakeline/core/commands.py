"""What a rollout wants done next. The driver does it, in this order: a record comes before the act that it allows."""

from __future__ import annotations

import dataclasses
from typing import Union

from wakeline.core.records import Draft


@dataclasses.dataclass(frozen=True)
class Knock:
    """See whether a machine is there."""

    machine: str


@dataclasses.dataclass(frozen=True)
class Prepare:
    """Let a machine that waits for its order fetch the release and lay it out. It is no order: nothing may run.

    With `due` the order comes next: the machine may ask the ledger already whether it has a right to be carried out.
    """

    machine: str
    due: bool = False


@dataclasses.dataclass(frozen=True)
class Send:
    """Hand a machine its order."""

    machine: str


@dataclasses.dataclass(frozen=True)
class Write:
    """Put this on record before anything that follows it in the list. The driver adds the fencing number.

    What `may_wait` allows nothing and is found again by whoever lost it: it goes with the next record that does not.
    """

    draft: Draft
    may_wait: bool = False


@dataclasses.dataclass(frozen=True)
class GiveClaim:
    """The claim is on record: the lead may start the once-step."""

    machine: str
    step: str
    claim: str


@dataclasses.dataclass(frozen=True)
class Stop:
    """Tell a machine to stop: before the switch it stops, after it, it confirms or switches back."""

    machine: str
    why: str


@dataclasses.dataclass(frozen=True)
class End:
    """The rollout is over."""

    outcome: str


Command = Union[Knock, Prepare, Send, Write, GiveClaim, Stop, End]
