"""The laws as an outside observer sees them: what started where, and what the log said at that moment.

Nothing here asks the core whether the core is right: it reads raw records and the machines' own truth.
"""

from __future__ import annotations

import dataclasses

from wakeline.core.records import Record


class Violation(AssertionError):
    """A law was broken. The text names the law, the machine and the release."""


@dataclasses.dataclass
class Observer:
    """Remembers just enough of the truth to judge the next thing that happens."""

    passed: set[tuple[int, str]] = dataclasses.field(default_factory=set)
    bad: set[tuple[int, str]] = dataclasses.field(default_factory=set)
    highest: dict[str, int] = dataclasses.field(default_factory=dict)
    started_claims: set[str] = dataclasses.field(default_factory=set)
    once_running: set[str] = dataclasses.field(default_factory=set)

    def push_starts(self, log: list[Record], machine: str, release: int, fence: int) -> None:
        """Laws 1, 2 and 8, when a machine accepts an order from a rollout."""
        body = _made(log, release)
        if fence != max((r.body["fence"] for r in log if r.kind == "lease-taken"), default=0):
            raise Violation(f"law 8: {machine} got an order with fence {fence}, which is not the newest")
        if body.get("rollback_to") or release < self.highest.get(machine, 0):
            self._not_backwards(machine, release)
            return
        for stage in body["stages"]:
            names = [each["name"] for each in stage["machines"]]
            if machine in names:
                return
            self._gate(stage, names, machine, release)
        raise Violation(f"law 1: {machine} is not in release {release}")

    def _gate(self, stage: dict, names: list[str], machine: str, release: int) -> None:
        if stage["gates"]:
            for each in stage["machines"]:
                if each["presence"] == "always" and (release, each["name"]) not in self.passed:
                    raise Violation(f"law 1: {machine} started release {release} before {each['name']} passed")
        if any((release, name) in self.bad for name in names) and (stage["gates"] or not stage.get("goes_on")):
            raise Violation(f"law 2: {machine} started release {release} behind a failed stage {stage['name']}")

    def catch_up_starts(self, log: list[Record], machine: str, release: int) -> None:
        """Laws 6 and 10, when a waking machine begins a release by itself."""
        self._not_backwards(machine, release)
        allowed = [number for number in _approved_numbers(log, machine) if not _held(log, machine, number)]
        if release != max(allowed, default=0):
            raise Violation(
                f"law 6: {machine} took release {release}, the newest approved is {max(allowed, default=0)}"
            )

    def _not_backwards(self, machine: str, release: int) -> None:
        if release < self.highest.get(machine, 0):
            raise Violation(f"law 6: {machine} went from {self.highest[machine]} down to {release}")

    def once_starts(self, log: list[Record], machine: str, claim: str, release: int) -> None:
        """Laws 4 and 5, when the command of a once-step begins."""
        if claim in self.started_claims:
            raise Violation(f"law 4: claim {claim} was started twice")
        if self.once_running:
            raise Violation(f"law 4: {claim} started while {self.once_running} was running")
        if not any(r.kind == "claimed" and r.body["claim"] == claim for r in log):
            raise Violation(f"law 4: {claim} started before it was on record")
        if _made(log, release)["lead"] != machine:
            raise Violation(f"law 5: follower {machine} started a once-step")
        self.started_claims.add(claim)
        self.once_running.add(claim)

    def once_ends(self, claim: str) -> None:
        """The command has ended, whoever knows of it."""
        self.once_running.discard(claim)

    def release_made(self, log: list[Record], release: int) -> None:
        """Laws 4 and 8, when a new release goes on record."""
        numbers = [r.body["release"] for r in log if r.kind == "release-made"]
        if sorted(set(numbers)) != numbers:
            raise Violation(f"law 8: release numbers do not grow: {numbers}")
        if self.once_running:
            raise Violation(f"law 4: release {release} was made while {self.once_running} was running")

    def ran(self, machine: str, release: int, *, passed: bool) -> None:
        """What truly happened on a machine."""
        if passed:
            self.passed.add((release, machine))
            self.bad.discard((release, machine))
            self.highest[machine] = max(release, self.highest.get(machine, 0))
        else:
            self.bad.add((release, machine))


def _made(log: list[Record], release: int) -> dict:
    return next(dict(r.body) for r in log if r.kind == "release-made" and r.body["release"] == release)


def _stage(body: dict, machine: str) -> dict | None:
    return next((s for s in body["stages"] if machine in [m["name"] for m in s["machines"]]), None)


def _approved_numbers(log: list[Record], machine: str) -> list[int]:
    made = {r.body["release"]: dict(r.body) for r in log if r.kind == "release-made"}
    stages = {number: _stage(body, machine) for number, body in made.items()}
    approvals = [(r.body["release"], r.body["stage"]) for r in log if r.kind == "approved"]
    return [number for number, name in approvals if (stages[number] or {}).get("name") == name]


def _held(log: list[Record], machine: str, release: int) -> bool:
    """True when the last word of any machine of that stage about that release was bad."""
    stage = _stage(_made(log, release), machine)
    names = {each["name"] for each in stage["machines"]} if stage else set()
    last: dict[str, str] = {}
    for record in log:
        if record.kind == "outcome" and record.body["release"] == release and record.body["machine"] in names:
            last[record.body["machine"]] = record.body["outcome"]
    return any(word == "failed" for word in last.values())
