"""What happens to a rollout, as the driver tells it: what machines answered and said, and that it is to stop."""

from __future__ import annotations

import dataclasses
from typing import Union

from wakeline.core.order import Outcome
from wakeline.core.presence import Answer


@dataclasses.dataclass(frozen=True)
class Knocked:
    """A knock was answered, or not. `cause` is the first cause in words, with the phase that it came from."""

    machine: str
    answer: Answer
    cause: str = ""


@dataclasses.dataclass(frozen=True)
class CheckedIn:
    """A machine that was asleep at the knock has since spoken for itself: it is awake after all."""

    machine: str


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What a machine was asked to prepare is over, whatever came of it: nothing depends on it.

    `gone`: the contact was lost. It had no order yet, so it is knocked at again, and may be asleep by now.
    """

    machine: str
    gone: bool = False


@dataclasses.dataclass(frozen=True)
class Finished:
    """The agent's own last word, or the driver's `unknown` when the contact was lost before it.

    `held`: it was withheld because it has been put on hold meanwhile.
    """

    machine: str
    outcome: Outcome
    cause: str = ""
    was: int = 0
    seconds: float = 0.0
    held: bool = False


@dataclasses.dataclass(frozen=True)
class OnceWanted:
    """The lead's database lacks a once-step. `claim` is the random id that a claim would have."""

    machine: str
    step: str
    claim: str
    breaks_older: bool = False


@dataclasses.dataclass(frozen=True)
class OnceVerified:
    """The lead's database has a once-step already: nothing is claimed, and that is put on record."""

    machine: str
    step: str
    breaks_older: bool = False


@dataclasses.dataclass(frozen=True)
class OnceEnded:
    """The claimed command has ended and `verify` has spoken."""

    machine: str
    step: str
    claim: str
    passed: bool
    cause: str = ""
    breaks_older: bool = False


@dataclasses.dataclass(frozen=True)
class StopAsked:
    """Somebody pressed Ctrl-C, or the lease is lost."""

    why: str


Event = Union[Knocked, CheckedIn, Prepared, Finished, OnceWanted, OnceVerified, OnceEnded, StopAsked]
