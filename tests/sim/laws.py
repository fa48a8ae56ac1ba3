"""The laws as an outside observer sees them: what happens where, and what stands on the ledger at that moment.

Nothing here asks the core whether the core is right: it reads raw records, and the machines' own truth.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from wakeline.core.records import Record

if TYPE_CHECKING:
    from sim.machine import Box
    from sim.world import World
    from wakeline.core.order import Order

_ATTEMPTS = 3
_ONE_READ_S = 30.0
_LONG_S = 600.0
FORGER = "mallory"


class Violation(AssertionError):
    """A law was broken. The text names the law, the machine and the release."""


@dataclasses.dataclass
class Made:
    """A release as it was put on record."""

    number: int
    commit: int
    lead: str
    rollback_to: int
    stages: list[Mapping[str, Any]]
    pins: Mapping[str, str]
    said: dict[str, str] = dataclasses.field(default_factory=dict)
    approved: set[str] = dataclasses.field(default_factory=set)
    sent: set[str] = dataclasses.field(default_factory=set)
    held: set[str] = dataclasses.field(default_factory=set)  # on hold at any time of its rollouts; "" is the fleet
    orders: dict[str, set[str]] = dataclasses.field(default_factory=dict)  # whom each approval is for
    alone: bool = False  # somebody asked for one stage of it, whatever does not gate ahead of it

    def joins(self, machine: Mapping[str, Any], record: Mapping[str, Any]) -> None:
        """One more machine, in a stage that it has or in a new one."""
        names = [stage["name"] for stage in self.stages]
        if record["stage"] in names:
            at = names.index(record["stage"])
            self.stages[at] = {**self.stages[at], "machines": [*self.stages[at]["machines"], machine]}
            return
        new = {"name": record["stage"], "gates": record["gates"], "goes_on": record["goes_on"], "machines": [machine]}
        self.stages.insert(names.index(record["before"]) if record["before"] else len(names), new)

    def stage_of(self, machine: str) -> Mapping[str, Any] | None:
        return next((s for s in self.stages if machine in [m["name"] for m in s["machines"]]), None)

    def word_of(self, machine: Mapping[str, Any]) -> str:
        """How it ended on a machine. On demand and on hold counts as asleep does: nobody failed."""
        said = self.said.get(machine["name"], "")
        on_hold = machine["presence"] != "always" and self.held & {"", machine["name"]}
        return "on hold" if on_hold and said == "withheld" else said

    def orders_for(self, machine: str) -> bool:
        """Whether it is approved, and not held, in the stage of a machine that the approval has an order for."""
        stage = self.stage_of(machine)
        return stage is not None and self.runs_in(stage) and machine in self.orders.get(stage["name"], ())

    def runs_in(self, stage: Mapping[str, Any]) -> bool:
        """Whether it may run in a stage: approved there, and not held."""
        return stage["name"] in self.approved and not self.is_held(stage)

    def is_held(self, stage: Mapping[str, Any]) -> bool:
        return any(self.said.get(machine["name"]) == "failed" for machine in stage["machines"])


class Observer:
    """Remembers just enough of the truth to judge the next thing that happens."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.made: dict[int, Made] = {}
        self.fence = 0
        self.free = True
        self.renewed_s = 0.0
        self.length_s = 0.0
        self.took_over: dict[int, float] = {}
        self.holds: dict[str, float] = {}
        self._held_as: dict[str, set[str]] = {}
        self._was_called: dict[str, tuple[str, float]] = {}
        self.open_claims: dict[str, int] = {}
        self.started: set[str] = set()
        self.running: set[str] = set()
        self.unsettled: dict[int, str] = {}
        self.passed: set[tuple[int, str]] = set()
        self.highest: dict[str, int] = {}
        self.silent: set[tuple[str, str]] = set()
        self.barrier = 0
        self.barrier_s = 0.0
        self.broke_before = False
        self.may_take: dict[str, int] = {}
        self.attempts: dict[tuple[str, int], int] = {}
        self.begun: set[tuple[str, int]] = set()
        self.prepared: set[tuple[str, int]] = set()

    # --- what is put on record ---

    def recorded(self, record: Record) -> None:
        """Laws 1 to 10, as each record is written. What a forger writes is judged by what machines make of it."""
        if record.by == FORGER:
            return
        fence, now = record.body.get("fence"), self._world.loop.now
        silent_s = now - self.renewed_s
        if fence is not None:
            self.renewed_s = now
        if record.kind == "lease-taken":
            if fence <= self.fence:
                raise Violation(f"law 8: {record.by} took the lease with number {fence}, and {self.fence} was taken")
            if not self.free and silent_s < self.length_s:
                raise Violation(f"law 8: {record.by} took the lease {silent_s:.0f} s after its holder's last word")
            self.length_s = record.body["length_s"]
            self.fence, self.free = fence, False
            self.took_over[fence] = now
            return
        if fence is not None and (self.free or fence != self.fence):
            raise Violation(f"law 8: {record.kind} of rollout {fence} was written while {self.fence} has the lease")
        self._hear_names(record)
        reader = _READERS.get(record.kind)
        if reader is not None:
            reader(self, record._replace(body=self._known(record.body)))

    def _hear_names(self, record: Record) -> None:
        """Which names the ledger has for one and the same machine: nobody can act on what only people know."""
        stages = record.body.get("stages", ())
        for each in (record.body, *(each for stage in stages for each in stage["machines"])):
            if each.get("renamed_from"):
                name = each.get("machine") or each["name"]
                self._was_called.setdefault(name, (each["renamed_from"], self._world.loop.now))
        if record.kind == "held":
            self._held_as.setdefault(self._world.who(record.body["machine"]), set()).add(record.body["machine"])

    def _names_of(self, name: str) -> dict[str, float]:
        """A name and the older ones that the ledger has for it, each with when it knew."""
        found = {name: 0.0}
        while name in self._was_called and self._was_called[name][0] not in found:
            older, known_s = self._was_called[name]
            found[older] = max(known_s, found[name])
            name = older
        return found

    def _held_since(self, box: Box, order: Order) -> list[float]:
        """Since when a hold counts against an order, as far as the ledger can know that it is about that machine."""
        since = [self.holds[""]] if "" in self.holds else []
        for name in self._held_as.get(box.name, ()) if box.name in self.holds else ():
            known = [self._names_of(name).get(order.machine), self._names_of(order.machine).get(name)]
            since += [max(self.holds[box.name], each) for each in known if each is not None]
        return since

    def _known(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A record's body with the machines that its names mean: a machine is the same one whatever it is called."""
        who = self._world.who
        known = {**body, "machine": who(body["machine"])} if "machine" in body else dict(body)
        if "lead" in body:
            known["lead"] = who(body["lead"])
        if "machines" in body:
            known["machines"] = [who(name) for name in body["machines"]]
        if "stages" in body:
            known["stages"] = [
                {**stage, "machines": [{**each, "name": who(each["name"])} for each in stage["machines"]]}
                for stage in body["stages"]
            ]
        return known

    def _freed(self, _record: Record) -> None:
        self.free = True

    def _release_made(self, record: Record) -> None:
        body = record.body
        number, commit = int(body["release"]), int(body["commit"][1:])
        newest = self.made[max(self.made)] if self.made else None
        if newest and number <= newest.number:
            raise Violation(f"law 8: release {number} was made after release {newest.number}")
        if newest and not body.get("rollback_to") and commit < newest.commit:
            raise Violation(f"law 8: release {number} deploys c{commit}, older than c{newest.commit}")
        if self.open_claims or self.running:
            raise Violation(f"law 4: release {number} was made while claims {self.open_claims} {self.running} are open")
        if "" in self.holds:
            raise Violation(f"a hold on the fleet: release {number} was made all the same")
        if body.get("rollback_to"):
            self._good(int(body["rollback_to"]))
            self._goes_back_as_a_whole(number, commit, body)
        back = int(body.get("rollback_to", 0))
        self.made[number] = Made(number, commit, body["lead"], back, list(body["stages"]), body["pins"])
        self._carried_on(record)

    def _carried_on(self, record: Record) -> None:
        made = self.made[record.body["release"]]
        made.alone |= record.by in self._world.stage_alone
        made.held |= set(self.holds)

    def _goes_back_as_a_whole(self, number: int, commit: int, body: Mapping[str, Any]) -> None:
        """A release is one commit of each repository, and a rollback restores all."""
        good = self.made[int(body["rollback_to"])]
        if (commit, body["pins"]) != (good.commit, good.pins):
            raise Violation(
                f"a rollback: release {number} is c{commit} with {body['pins']}, and not what it goes back to"
            )

    def _good(self, number: int) -> None:
        good = self.made[number]
        if number < self.barrier:
            raise Violation(f"law 5: a rollback to release {number}, below the barrier {self.barrier}")
        if {stage["name"] for stage in good.stages} - good.approved or "failed" in good.said.values():
            raise Violation(f"a rollback to release {number}, which did not pass: {good.said}")

    def _sent(self, record: Record) -> None:
        for machine in record.body["machines"]:
            if self.holds.get(machine, self._world.loop.now) < self.took_over[self.fence]:
                raise Violation(f"a hold on {machine}: it was sent an order of a rollout that began after it")
        self.made[record.body["release"]].sent |= set(record.body["machines"])

    def _outcome(self, record: Record) -> None:
        body = record.body
        made, machine, outcome = self.made[body["release"]], body["machine"], body["outcome"]
        before = made.said.get(machine, "")
        if outcome in ("ok", "unchanged") and (made.number, machine) not in self.passed:
            raise Violation(
                f"an outcome nobody had: release {made.number} is {outcome} on {machine}, which never ran it"
            )
        if outcome == "asleep":
            self._asleep(made, machine, before, record.by)
        on_hold = outcome == "withheld" and machine in self.holds  # laws 1 and 3: like one that is asleep
        made.said[machine] = "on hold" if on_hold else outcome
        if outcome in ("ok", "unchanged", "failed"):
            made.sent.discard(machine)  # it has answered for what was sent

    def _asleep(self, made: Made, machine: str, before: str, by: str) -> None:
        box = self._world.boxes[machine]
        if box.always:
            raise Violation(f"law 3: {machine} is always on, and asleep in release {made.number}")
        if (by, machine) not in self.silent:
            raise Violation(f"law 3: {machine} is asleep in release {made.number}, and was never silent to {by}")
        if before == "failed":
            raise Violation(f"law 3: {machine} failed release {made.number}, and is asleep now")
        if machine in made.sent and before in ("", "unknown"):
            raise Violation(f"law 3: {machine} had begun release {made.number}, and is asleep now")

    def _approved(self, record: Record) -> None:
        made, name = self.made[record.body["release"]], record.body["stage"]
        made.orders.setdefault(name, set()).update(map(self._world.who, record.body["orders"]))
        if "machine" in record.body:
            self._joined(made, record.body)
            return
        made.approved.add(name)
        if made.rollback_to and name in self.made[made.rollback_to].approved:
            stage = next(each for each in made.stages if each["name"] == name)
            if not self.made[made.rollback_to].is_held(stage):
                return
        ahead = [each["name"] for each in made.stages].index(name)
        for stage in made.stages[: max(1, ahead)]:
            self._has_passed(made, stage, f"law 6: release {made.number} was approved for {name}", first=ahead == 0)

    def _joined(self, made: Made, body: Mapping[str, Any]) -> None:
        """Laws 5 and 6: a machine that joins gets what its stage may have, or a new stage what passed ahead of it."""
        name, what = body["stage"], f"law 6: {body['machine']} joined release {made.number}"
        if made.number < self.barrier:
            raise Violation(f"law 5: {body['machine']} joined release {made.number}, below the barrier {self.barrier}")
        if not self.free:
            raise Violation(f"{what} while rollout {self.fence} was at work, which does not know of it")
        if any(order["lead"] for order in body["orders"].values()):
            raise Violation(f"law 4: {body['machine']} joined release {made.number} as its lead")
        known = {stage["name"] for stage in made.stages}
        is_new = name not in known
        if not is_new and name not in made.approved:
            raise Violation(f"{what} in stage {name}, which it is not approved for")
        made.joins({"name": body["machine"], "presence": body["presence"]}, body)
        made.approved.add(name)
        stage = made.stage_of(body["machine"])
        if made.is_held(stage or {"machines": []}):
            raise Violation(f"{what} in stage {name}, which is held")
        ahead = [each["name"] for each in made.stages].index(name)
        if is_new and not ahead:
            raise Violation(f"{what} in a first stage that nothing has passed in")
        for each in made.stages[:ahead] if is_new else ():
            self._has_passed(made, each, what, alone=True)

    def _has_passed(
        self, made: Made, stage: Mapping[str, Any], what: str, *, first: bool = False, alone: bool = False
    ) -> None:
        machines = [each for each in stage["machines"] if each["name"] not in self._world.out]  # taken out: not walked
        words = [made.word_of(machine) for machine in machines]
        if stage["gates"] or first:
            for machine in machines:
                if machine["presence"] == "always" and (made.number, machine["name"]) not in self.passed:
                    raise Violation(f"{what} before {machine['name']} passed")
        bad = {"failed", "unknown", "withheld"} if stage["gates"] or first else {"failed", "unknown"}
        if set(words) & bad and (stage["gates"] or first or not stage.get("goes_on")):
            raise Violation(f"{what} behind stage {stage['name']}: {words}")
        if "" in words and not (alone and not stage["gates"]):
            raise Violation(f"{what} before stage {stage['name']} was known: {words}")
        everybody = {made.word_of(machine) for machine in stage["machines"]}  # one may be taken out once it has passed
        if first and not everybody & {"ok", "unchanged"}:
            raise Violation(f"{what}, where nothing has passed")

    def _claimed(self, record: Record) -> None:
        if self.open_claims:
            raise Violation(f"law 4: a claim was written while {self.open_claims} was open")
        self.open_claims[record.body["claim"]] = record.body["release"]

    def _receipt(self, record: Record) -> None:
        made = self.made[record.body["release"]]
        if not self._world.database.has(made.commit):
            raise Violation(f"law 4: a receipt for release {made.number}, and the database lacks it")
        breaks = bool(record.body.get("breaks_older"))
        ran = record.body["how"] != "verified"
        if breaks and (ran or not (made.rollback_to or self.broke_before)) and made.number > self.barrier:
            self.barrier, self.barrier_s = made.number, self._world.loop.now
        self.broke_before = breaks
        self._claim_ended(record)

    def _claim_ended(self, record: Record) -> None:
        claim = record.body.get("claim", "")
        self.open_claims.pop(claim, None)
        if claim in self.running and record.kind != "resolved":
            raise Violation(f"law 4: claim {claim} is settled ({record.kind}) while its command runs")
        self.unsettled = {release: each for release, each in self.unsettled.items() if each != claim}

    def _held(self, record: Record) -> None:
        self.holds.setdefault(record.body["machine"], self._world.loop.now)
        for made in self.made.values():
            made.held.add(record.body["machine"])

    def _unheld(self, record: Record) -> None:
        self.holds.pop(record.body["machine"], None)
        self._held_as.pop(record.body["machine"], None)

    def _retried(self, record: Record) -> None:
        made, machine = self.made[record.body["release"]], record.body["machine"]
        if made.said.get(machine) in ("failed", "unknown"):
            made.said[machine] = "retried"
        self.attempts.pop((machine, made.number), None)

    # --- what machines do ---

    def heard_nothing(self, by: str, machine: str) -> None:
        """A knock that was not answered."""
        self.silent.add((by, machine))

    def push_starts(self, box: Box, release: int, fence: int) -> None:
        """Laws 1, 2 and 8, when a machine accepts an order from a rollout."""
        made = self.made[release]
        self.begun.add((box.name, release))
        newer = [when for number, when in self.took_over.items() if number > fence]
        if newer and self._world.loop.now - min(newer) > _LONG_S:
            raise Violation(f"law 8: {box.name} takes an order of rollout {fence}, long after {self.fence} began")
        own = made.stage_of(box.name)
        if own is None:
            raise Violation(f"law 1: {box.name} is not in release {release}")
        if made.rollback_to and own["name"] in made.approved:
            return
        for stage in made.stages:
            if stage is own:
                return
            self._has_passed(made, stage, f"law 1: {box.name} started release {release}", alone=made.alone)

    def looked(self, box: Box) -> None:
        """A machine has read the ledger: what it may take is what stands there now (laws 6 and 10)."""
        self.may_take[box.name] = self._allowed(box)

    def _allowed(self, box: Box) -> int:
        """The newest release that is approved for a machine; 0 while it is on hold, and when it was taken out."""
        if "" in self.holds or box.name in self.holds:
            return 0
        newest = max((made.number for made in self.made.values() if any(map(made.runs_in, made.stages))), default=0)
        stage = self.made[newest].stage_of(box.name) if newest else None
        if stage is None or (self.made[newest].runs_in(stage) and not self.made[newest].orders_for(box.name)):
            return 0
        return max((made.number for made in self.made.values() if made.orders_for(box.name)), default=0)

    def is_left_behind(self, box: Box) -> int:
        """The release that a machine should have taken up by itself, and has not tried as often as it may; or 0."""
        allowed = self._allowed(box)
        tried = self.attempts.get((box.name, allowed), 0)
        return allowed if allowed > (box.current or 0) and tried < _ATTEMPTS else 0

    def finish_starts(self, box: Box, release: int) -> None:
        """A run that was cut off is gone to its end, which may fail: law 10 counts that as a try of its own."""
        self.attempts[box.name, release] = self.attempts.get((box.name, release), 0) + 1

    def catch_up_starts(self, box: Box, release: int) -> None:
        """Laws 6 and 10, when a waking machine begins a release by itself."""
        if release != self.may_take.get(box.name):
            allowed = self.may_take.get(box.name)
            raise Violation(f"law 6: {box.name} takes release {release} by itself; it may take {allowed}")
        self.begun.add((box.name, release))
        count = self.attempts[box.name, release] = self.attempts.get((box.name, release), 0) + 1
        if count > _ATTEMPTS:
            raise Violation(f"law 10: {box.name} tries release {release} the {count}th time")

    def prepares(self, box: Box, release: int) -> None:
        """A machine lays a release out before its order has come."""
        self.prepared.add((box.name, release))

    def step_runs(self, box: Box, release: int) -> None:
        """Law 1, when anything of a release runs on a machine: it was ordered there, whatever was prepared."""
        if (box.name, release) not in self.begun:
            raise Violation(f"law 1: {box.name} runs a step of release {release}, which it was not ordered to run")

    def switches(self, box: Box, order: Order, fence: int) -> None:
        """Laws 5, 6 and 8, as `current` is about to move."""
        release, made = order.release, self.made[order.release]
        has = (order.commit, {each.path: each.commit for each in order.repositories})
        if has != (f"c{made.commit}", made.pins):
            raise Violation(f"law 6: {box.name} switches to {has}, and release {release} is c{made.commit} {made.pins}")
        if release < self.highest.get(box.name, 0):
            raise Violation(f"law 6: {box.name} goes from {self.highest[box.name]} down to {release}")
        if not self._world.database.has(made.commit):
            raise Violation(f"law 5: {box.name} switches to release {release}, and the database lacks what it needs")
        if not box.is_complete(release) or not box.is_whole(release, commit=made.commit):
            raise Violation(f"law 7: {box.name} switches to release {release}, which is not complete")
        if not fence or self._world.is_cut(f"{box.name} to ledger") or self._world.is_faulty_now:
            return
        self._still_counts(box, order, fence)

    def _still_counts(self, box: Box, order: Order, fence: int) -> None:
        now, release = self._world.loop.now, order.release
        newer = [when for number, when in self.took_over.items() if number > fence]
        if newer and now - min(newer) > _ONE_READ_S:
            raise Violation(f"law 8: {box.name} switches to release {release} for rollout {fence}, which was overtaken")
        held = self._held_since(box, order)
        if held and now - min(held) > _ONE_READ_S:
            raise Violation(f"a hold: {box.name} switches to release {release} all the same")

    def goes_back(self, box: Box, release: int) -> None:
        """Laws 5 and 7, as a machine switches back."""
        just_now = self._world.loop.now - self.barrier_s < _ONE_READ_S
        no_news = just_now or self._world.is_cut(f"{box.name} to ledger") or self._world.is_faulty_now
        if release < self.barrier and not no_news:
            raise Violation(f"law 5: {box.name} goes back to release {release}, below the barrier {self.barrier}")
        if not box.is_complete(release):
            raise Violation(f"law 7: {box.name} goes back to release {release}, which is not complete")

    def lost_power(self, box: Box) -> None:
        """Law 7, after every power cut."""
        current = box.current
        whole = not current or box.is_whole(current, commit=self.made[current].commit)
        if current is not None and not (box.is_complete(current) and whole):
            raise Violation(f"law 7: after a power cut {box.name} has release {current}, which is not complete")

    def confirmed(self, box: Box, release: int) -> None:
        """A release truly runs here."""
        self.passed.add((release, box.name))
        self.highest[box.name] = max(release, self.highest.get(box.name, 0))

    def ended(self, box: Box, release: int, outcome: str) -> None:
        """A machine's own last word, before anybody hears it."""
        if outcome == "unchanged" and (release, box.name) not in self.passed:
            raise Violation(f"{box.name} says unchanged of release {release}, which was never good there")

    # --- once-steps ---

    def once_starts(self, box: Box, claim: str, release: int) -> None:
        """Laws 4 and 5, when the command of a once-step begins."""
        made = self.made[release]
        if claim in self.started:
            raise Violation(f"law 4: claim {claim} was started twice")
        if self.running:
            raise Violation(f"law 4: {claim} starts while {self.running} is running")
        if claim not in self.open_claims:
            raise Violation(f"law 4: {claim} starts, and is not an open claim on record")
        if made.lead != box.name:
            raise Violation(f"law 5: {box.name} is no lead, and starts a once-step")
        if self._world.database.has(made.commit):
            raise Violation(f"law 4: {claim} starts what the database has already")
        if release in self.unsettled:
            raise Violation(f"law 4: {claim} starts while the outcome of {self.unsettled[release]} is not on record")
        self.started.add(claim)
        self.running.add(claim)
        self.unsettled[release] = claim

    def once_ends(self, claim: str) -> None:
        """The command has ended in the database, whoever knows of it."""
        self.running.discard(claim)


_READERS: dict[str, Callable[[Observer, Record], None]] = {
    "lease-freed": Observer._freed,
    "release-made": Observer._release_made,
    "carried-on": Observer._carried_on,
    "sent": Observer._sent,
    "outcome": Observer._outcome,
    "approved": Observer._approved,
    "claimed": Observer._claimed,
    "receipt": Observer._receipt,
    "once-failed": Observer._claim_ended,
    "resolved": Observer._claim_ended,
    "held": Observer._held,
    "unheld": Observer._unheld,
    "retried": Observer._retried,
}
