"""What is to be told of a rollout: the facts of a summary, gathered by the driver. Frozen values, no words yet."""

from __future__ import annotations

import dataclasses

from wakeline.core.order import Outcome


@dataclasses.dataclass(frozen=True)
class MachineRow:
    """One machine: the release it ran, the one it runs now (0: none, None: nobody knows), how it went."""

    name: str
    stage: str
    was: int
    now: int | None
    outcome: Outcome
    cause: str = ""
    seconds: float = 0.0
    promise: str = ""


@dataclasses.dataclass(frozen=True)
class Commit:
    """A commit's id, and what its author wrote: somebody else's words."""

    id: str
    author: str
    subject: str


@dataclasses.dataclass(frozen=True)
class OnceRow:
    """A once-step of this release: who ran or verified it, and the receipt."""

    step: str
    machine: str
    how: str
    claim: str = ""
    at: str = ""


@dataclasses.dataclass(frozen=True)
class Bar:
    """A stretch of time of one machine, in seconds since 1970. `kind` is done, active or crit."""

    machine: str
    label: str
    began_s: float
    ended_s: float
    kind: str = "done"


@dataclasses.dataclass(frozen=True)
class Report:
    """A rollout, or one stage of it, that has ended. `since` is the last release that was approved everywhere."""

    app: str
    environment: str
    url: str
    repository: str
    release: int
    commit: str
    ended: str
    machines: tuple[MachineRow, ...]
    stages: tuple[str, ...]
    stage: str = ""
    to_come: tuple[str, ...] = ()
    rollback_to: int = 0
    since: int = 0
    commits: tuple[Commit, ...] = ()
    more_commits: bool = False
    once: tuple[OnceRow, ...] = ()
    bars: tuple[Bar, ...] = ()
    in_doubt: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    hint: str = ""

    def of(self, *outcomes: Outcome) -> tuple[MachineRow, ...]:
        """The machines with one of these outcomes."""
        return tuple(row for row in self.machines if row.outcome in outcomes)

    @property
    def bad(self) -> tuple[MachineRow, ...]:
        """Machines that failed, or of which nobody knows."""
        return self.of(Outcome.FAILED, Outcome.UNKNOWN)

    @property
    def asleep(self) -> tuple[MachineRow, ...]:
        """Machines that will catch up."""
        return self.of(Outcome.ASLEEP)

    @property
    def passed(self) -> tuple[MachineRow, ...]:
        """Machines that run the release now."""
        return self.of(Outcome.OK, Outcome.UNCHANGED)
