"""The present state: what the ledger's records mean, taken together. It is made by the fold (fold.py).

What grows with the log is not looked through to answer a question of today: of a machine, only the releases between
the first and the last that speak of it are asked, newest first, until one answers. Most answers are in the newest.

Law 6: an approval is a record, never the absence of stages; it counts where its stage is approved and not held.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterable, Iterator, Mapping

from wakeline.core.archive import SHELF, newest_first, of_release
from wakeline.core.order import Outcome
from wakeline.core.records import GENESIS, Record

NO_REASON = "no reason given"


@dataclasses.dataclass(frozen=True)
class StagePlan:
    """A stage as it was when a release was made: later changes to the fleet do not rewrite history."""

    name: str
    machines: tuple[str, ...]
    always: frozenset[str]
    gates: bool
    goes_on: bool = False

    def among(self, machines: Container[str]) -> StagePlan:
        """What is left of it in a fleet that has these machines: one that was taken out since is walked no more."""
        left = tuple(name for name in self.machines if name in machines)
        return dataclasses.replace(self, machines=left, always=self.always & frozenset(left))


@dataclasses.dataclass(frozen=True)
class MachineResult:
    """How a release ended on one machine, and the first cause where it did not end well."""

    outcome: Outcome
    cause: str = ""
    at: str = ""
    was: int = 0
    seconds: float = 0.0
    asleep_at: str = ""  # when this release found it asleep, also after it has spoken for itself


@dataclasses.dataclass(frozen=True)
class Release:
    """A numbered decision to run one commit of each repository, and what came of it so far."""

    number: int
    commit: str
    stages: tuple[StagePlan, ...]
    lead: str
    pins: Mapping[str, str] = dataclasses.field(default_factory=dict)
    rollback_to: int = 0
    at: str = ""
    by: str = ""
    fleet: str = ""  # the commit whose fleet file it was made with, or the one that a machine joined it by
    results: Mapping[str, MachineResult] = dataclasses.field(default_factory=dict)
    sent: frozenset[str] = frozenset()
    approved: frozenset[str] = frozenset()
    held_stages: frozenset[str] = frozenset()
    ended: str = ""
    ended_at: str = ""

    @property
    def finished(self) -> bool:
        """True when its rollout has said how it ended."""
        return bool(self.ended)

    def stage(self, name: str) -> StagePlan:
        """The stage of that name. Raises KeyError for one that this release does not have."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KeyError(name)

    def stage_of(self, machine: str) -> StagePlan | None:
        """The stage that a machine is in, or None where this release has no order for it."""
        for stage in self.stages:
            if machine in stage.machines:
                return stage
        return None

    def passed_on(self, machine: str) -> bool:
        """True where the machine runs the release, as far as the log knows."""
        result = self.results.get(machine)
        return result is not None and result.outcome.passed

    @property
    def failed(self) -> bool:
        """True when a machine of it failed or could not be accounted for."""
        return any(result.outcome in (Outcome.FAILED, Outcome.UNKNOWN) for result in self.results.values())


@dataclasses.dataclass(frozen=True)
class Claim:
    """The right to start one once-step once, which has no outcome yet."""

    id: str
    release: int
    step: str
    machine: str
    fence: int
    replaces: str = ""
    breaks_older: bool = False


@dataclasses.dataclass(frozen=True)
class Lease:
    """The right to run a rollout. `renewed` counts the records that renewed it: a watcher sees it move, or not."""

    number: int = 0
    holder: str = ""
    length_s: float = 180.0
    renewed: int = 0
    at: str = ""
    free: bool = True


@dataclasses.dataclass(frozen=True)
class Request:
    """Somebody asked for a rollout. Of those waiting the last goes, a rollback before a deploy."""

    id: str
    what: str
    commit: str
    by: str
    position: int


@dataclasses.dataclass(frozen=True)
class State:
    """Everything that the log says now. `position` counts records, `tip` is the hash of the last one.

    `spans` has, by the name of a machine, the first and the last release that has a place or a word for it; `ends`,
    for a few releases in a row, when one of them has last ended. Both may say too much, and never too little.
    """

    position: int = 0
    tip: str = GENESIS
    releases: Mapping[int, Release] = dataclasses.field(default_factory=dict)
    lease: Lease = Lease()
    requests: Mapping[str, Request] = dataclasses.field(default_factory=dict)
    superseded: Mapping[str, int] = dataclasses.field(default_factory=dict)
    claims: Mapping[str, Claim] = dataclasses.field(default_factory=dict)
    receipts: Mapping[tuple[int, str], str] = dataclasses.field(default_factory=dict)
    holds: Mapping[str, str] = dataclasses.field(default_factory=dict)
    refused_commits: Mapping[str, str] = dataclasses.field(default_factory=dict)
    refused_pins: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    machines: Mapping[str, str] = dataclasses.field(default_factory=dict)
    unsigned: frozenset[str] = frozenset()
    left: frozenset[str] = frozenset()
    orders: Mapping[tuple[int, str], Record] = dataclasses.field(default_factory=dict)
    joined: Mapping[tuple[int, str], Record] = dataclasses.field(default_factory=dict)
    renamed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    barrier: int = 0
    breaking: Mapping[str, bool] = dataclasses.field(default_factory=dict)
    retries: Mapping[tuple[int, str], int] = dataclasses.field(default_factory=dict)
    spans: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    ends: Mapping[int, str] = dataclasses.field(default_factory=dict)

    @property
    def highest(self) -> int:
        """The number of the newest release; 0 before the first."""
        return next(newest_first(self.releases), 0)

    @property
    def newest(self) -> Release | None:
        """The release with the highest number, or None before the first."""
        return next(self.newest_first(), None)

    def newest_first(self, *, below: int | None = None) -> Iterator[Release]:
        """Releases from the newest to the first, or those below a number; whoever stops early pays for no more."""
        highest = None if below is None else below - 1
        return (self.releases[number] for number in newest_first(self.releases, highest=highest))

    def releases_of(self, names: Iterable[str]) -> Iterator[Release]:
        """Releases from the newest to the first, without those that surely say nothing of a machine of these names."""
        spans = [self.spans[name] for name in names if name in self.spans]
        if not spans:
            return
        first = min(span[0] for span in spans)
        for release in self.newest_first(below=max(span[1] for span in spans) + 1):
            if release.number < first:
                return
            yield release

    def ended_since(self, at: str) -> Iterator[Release]:
        """Releases that may have ended at a time of the ledger or later, by the clocks of those who ended them."""
        rows = [row for row, latest in self.ends.items() if latest >= at]
        numbers = (number for row in sorted(rows) for number in range(row * SHELF, (row + 1) * SHELF))
        return (self.releases[number] for number in numbers if number in self.releases)

    @property
    def open_claims(self) -> tuple[Claim, ...]:
        """Once-steps that were claimed and have no outcome."""
        return tuple(self.claims.values())

    @property
    def in_doubt(self) -> tuple[Claim, ...]:
        """Open claims whose rollout is over: nobody who could know is still at it."""
        return tuple(c for c in self.open_claims if self.lease.free or c.fence != self.lease.number)

    @property
    def present(self) -> Release | None:
        """The newest release that may run somewhere, or None."""
        return next(self.approved(), None)

    def approved(self, names: Iterable[str] | None = None) -> Iterator[Release]:
        """Releases that may run somewhere, newest first; with `names`, those that may speak of a machine."""
        found = self.newest_first() if names is None else self.releases_of(names)
        return (release for release in found if release.approved - release.held_stages)

    def receipts_of(self, number: int) -> dict[str, str]:
        """The once-steps of a release that have a receipt, and how each came to it."""
        return of_release(self.receipts, number)

    def refuses(self, commit: str, pins: Mapping[str, str]) -> bool:
        """True for what was rolled back: this very commit of each repository. Of an old record the commit alone."""
        return commit in self.refused_commits and self.refused_pins.get(commit, pins) == pins

    def names_of(self, machine: str) -> tuple[str, ...]:
        """Every name that a machine has had, the one that is asked for first."""
        names = [machine]
        while (newer := self.renamed.get(names[-1], "")) and newer not in names:
            names.append(newer)
        older = [old for old in self.renamed if self._leads_to(old, machine)]
        return (*names, *(name for name in older if name not in names))

    def knows(self, *names: str) -> bool:
        """Whether a machine was set up by any name that leads to one of these."""
        return any(each in self.machines for name in names for each in self.names_of(name))

    def has_heard_of(self, *names: str) -> bool:
        """The same, or whether one was in a release."""
        return self.knows(*names) or any(each in self.spans for name in names for each in self.names_of(name))

    def why_on_hold(self, machine: str) -> str:
        """Why a machine is on hold, by whatever name somebody said so; empty where it is not."""
        return next((self.holds[each] for each in reversed(self.names_of(machine)) if each in self.holds), "")

    def on_hold(self, machines: Iterable[str]) -> dict[str, str]:
        """Those of these machines that are on hold, and why each is."""
        return {name: why for name in machines if (why := self.why_on_hold(name))}

    def _leads_to(self, old: str, machine: str) -> bool:
        seen = {old}
        while (newer := self.renamed.get(old, "")) and newer not in seen:
            if newer == machine:
                return True
            seen.add(newer)
            old = newer
        return False

    def runs(self, machine: str) -> int:
        """The highest release that passed on a machine, as far as the log knows; 0 for none."""
        names = self.names_of(machine)
        return next((r.number for r in self.releases_of(names) if any(r.passed_on(name) for name in names)), 0)

    def last_word(self, machine: str) -> tuple[Release, MachineResult] | None:
        """The newest release that asked for a machine of this name, and how it ended there."""
        for release in self.releases_of([machine]):
            result = release.results.get(machine)
            if result is not None and result.outcome not in (Outcome.WITHHELD, Outcome.SUPERSEDED):
                return release, result
        return None

    def approval(self, release: Release, machine: str) -> Record | None:
        """The record that approves a release for a machine of that name, with its order; None where there is none."""
        stage = release.stage_of(machine)
        if stage is None or stage.name not in release.approved - release.held_stages:
            return None
        return self.joined.get((release.number, machine)) or self.orders.get((release.number, stage.name))

    def orders_none(self, release: Release, machine: str) -> bool:
        """True where the approval for a machine's stage was written without it: it had been taken out by then."""
        record = self.approval(release, machine)
        orders = record.body.get("orders") if record is not None else None
        return isinstance(orders, Mapping) and machine not in orders
