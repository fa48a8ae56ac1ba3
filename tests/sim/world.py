"""Machines, runners and a log that exist only in memory, driven by one random generator."""

from __future__ import annotations

import dataclasses
import random

from sim.laws import Observer, Violation
from wakeline.core import admission, catch_up, rollout
from wakeline.core.model import Outcome
from wakeline.core.records import GENESIS, Draft, Record, chain
from wakeline.core.state import State, fold


@dataclasses.dataclass
class Box:
    """A simulated machine: what it runs is the truth, whatever anybody believes."""

    name: str
    presence: str
    awake: bool = True
    runs: int = 0
    busy: int = 0
    attempts: dict[int, int] = dataclasses.field(default_factory=dict)


class World:
    """The log, the machines and the one source of chance. Every act goes through here and is judged."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.log: list[Record] = []
        self.state = State()
        self.observer = Observer()
        self.events = 0
        self.ids = 0
        self.database: set[str] = set()
        self.stages = self._draw_stages()
        self.boxes = {m["name"]: Box(m["name"], m["presence"]) for s in self.stages for m in s["machines"]}
        self.lead = self.stages[0]["machines"][0]["name"]

    def _draw_stages(self) -> list[dict]:
        stages = []
        for number in range(self.random.randint(1, 4)):
            machines = []
            for index in range(self.random.randint(1, 4)):
                always = number == index == 0 or self.random.random() < 0.3
                machines.append({"name": f"s{number}m{index}", "presence": "always" if always else "on-demand"})
            gates = any(each["presence"] == "always" for each in machines)
            stages.append({"name": f"s{number}", "gates": gates, "goes_on": not gates and self.random.random() < 0.5})
            stages[-1]["machines"] = machines
        return stages

    def fresh_id(self, prefix: str) -> str:
        """An id nobody has used: the simulation's stand-in for randomness at the edge."""
        self.ids += 1
        return f"{prefix}{self.ids}"

    def append(self, tip: str, *drafts: Draft) -> bool:
        """Compare-and-append: False, and nothing written, when the log has moved since `tip` was seen."""
        if tip != self.state.tip:
            return False
        ids = [self.fresh_id("r") for _ in drafts]
        last = self.log[-1].hash if self.log else GENESIS
        records = chain(drafts, ids=ids, previous=last, at="", by="sim")
        self.log += records
        self.state = fold(records, start=self.state)
        for draft in drafts:
            if draft.kind == "release-made":
                self.observer.release_made(self.log, draft.body["release"])
        return True

    def wake_up(self, box: Box) -> None:
        """A machine boots or its timer fires: it decides from the log alone."""
        box.awake = True
        if box.busy:
            return
        decision = catch_up.decide(self.state, machine=box.name, runs=box.runs, attempts=box.attempts)
        if decision.verdict is not catch_up.Verdict.RUN:
            return
        self.observer.catch_up_starts(self.log, box.name, decision.release)
        if self.random.random() < 0.15:
            box.attempts[decision.release] = box.attempts.get(decision.release, 0) + 1
            return
        box.runs = decision.release
        self.observer.ran(box.name, decision.release, passed=True)


@dataclasses.dataclass
class Runner:
    """One `wakeline deploy`: it acts in small steps, between which anything else may happen."""

    world: World
    name: str
    what: str
    commit: int
    phase: str = "ask"
    request: str = ""
    fence: int = 0
    walk: rollout.Rollout | None = None
    todo: list[rollout.Command] = dataclasses.field(default_factory=list)
    inbox: list[rollout.Event] = dataclasses.field(default_factory=list)
    seen: State | None = None

    @property
    def done(self) -> bool:
        """True when it has ended, whether it was killed, refused or finished."""
        return self.phase == "done"

    def step(self) -> None:
        """One small act. What it believes is the state that it read a step ago."""
        getattr(self, f"_{self.phase}")()

    def _write(self, *drafts: Draft) -> bool:
        """Append on the tip that was seen; when the log has moved, read again and let the caller decide again."""
        believed, self.seen = self.seen or State(), self.world.state
        return self.world.append(believed.tip, *drafts)

    def _ask(self) -> None:
        self.request = self.request or self.world.fresh_id("q")
        body = {"request": self.request, "what": self.what, "commit": f"c{self.commit}"}
        if self._write(Draft("requested", body)):
            self.phase = "lease"
            self.seen = self.world.state

    def _lease(self) -> None:
        state = self.seen = self.world.state
        if self.request not in state.requests:
            self.phase = "done"
        elif state.lease.free or not self.world_has_holder():
            number = state.lease.number + 1
            if self._write(Draft("lease-taken", {"fence": number, "holder": self.name, "length_s": 180})):
                self.fence, self.phase, self.seen = number, "admit", self.world.state

    def world_has_holder(self) -> bool:
        """Stands for the watch on the lease: a holder that is still there renews it."""
        return any(r is not self and not r.done and r.fence == self.world.state.lease.number for r in self.rivals)

    rivals: list[Runner] = dataclasses.field(default_factory=list)

    def _admit(self) -> None:
        state = self.seen or self.world.state
        chosen = admission.first_in_line(state.requests)
        if chosen is None or chosen.id != self.request:
            self._free(state)
            return
        newest = state.newest
        older = bool(newest and self.commit < int(newest.commit[1:]))
        refused = next((c for c in state.refused_commits if self.commit <= int(c[1:])), "")
        facts = admission.Ancestry(older_than_newest=older, refused_by=refused)
        answer = (
            admission.rollback(state)
            if self.what == "rollback"
            else admission.deploy(state, commit=f"c{self.commit}", pins={}, ancestry=facts, again=self.what == "retry")
        )
        if isinstance(answer, admission.Refused):
            self._free(state)
        elif isinstance(answer, admission.NewRelease):
            self._make(state, answer)
        else:
            self._begin(answer.release, frozenset())

    def _make(self, state: State, answer: admission.NewRelease) -> None:
        body = {"fence": self.fence, "release": answer.number, "commit": answer.commit, "lead": self.world.lead}
        body.update(stages=self.world.stages, rollback_to=answer.rollback_to, request=self.request)
        drafts = [Draft("release-made", body)]
        drafts += [
            Draft("request-superseded", {"fence": self.fence, "request": each, "release": answer.number})
            for each in state.requests
            if each != self.request
        ]
        if answer.rollback_to and state.newest:
            drafts.append(Draft("commits-refused", {"fence": self.fence, "commits": [state.newest.commit]}))
        drafts += [
            Draft("approved", {"fence": self.fence, "release": answer.number, "stage": each})
            for each in sorted(answer.approved_at_once)
        ]
        if self._write(*drafts):
            self._begin(answer.number, answer.approved_at_once)

    def _begin(self, number: int, approved: frozenset[str]) -> None:
        release = self.world.state.releases[number]
        known = frozenset(self.world.boxes)
        at_once = {stage.name: self.world.random.randint(1, 4) for stage in release.stages}
        walk = rollout.Rollout(
            number,
            release.stages,
            release.lead,
            at_once,
            known,
            approved=approved | release.approved,
            rollback=bool(release.rollback_to),
            sent_before=release.sent,
        )
        self.walk, self.todo = rollout.begin(walk)
        self.seen, self.phase = self.world.state, "walk"

    def _walk(self) -> None:
        if self.todo:
            self._obey(self.todo[0])
        elif self.inbox:
            index = self.world.random.randrange(len(self.inbox))
            event = self.inbox[index] if self.world.random.random() < 0.05 else self.inbox.pop(index)
            assert self.walk is not None
            self.walk, self.todo = rollout.advance(self.walk, event)

    def _obey(self, command: rollout.Command) -> None:
        state = self.world.state
        if state.lease.number != self.fence or state.lease.free:
            self.phase = "done"  # law 8: its lease is gone, and its next write is refused
            return
        if isinstance(command, rollout.Write):
            self.seen = state
            if not self._write(Draft(command.draft.kind, {**command.draft.body, "fence": self.fence})):
                return
        self.todo = self.todo[1:]
        if isinstance(command, rollout.Knock):
            self.inbox.append(self._knock(self.world.boxes[command.machine]))
        elif isinstance(command, rollout.Send):
            self._send(self.world.boxes[command.machine])
        elif isinstance(command, rollout.GiveClaim):
            self._run_once(command)
        elif isinstance(command, rollout.End):
            self._free(self.world.state)

    def _knock(self, box: Box) -> rollout.Knocked:
        if self.world.random.random() < 0.03:
            return rollout.Knocked(box.name, rollout.Answer.REFUSED, "host key")
        return rollout.Knocked(box.name, rollout.Answer.AWAKE if box.awake else rollout.Answer.ASLEEP)

    def _send(self, box: Box) -> None:
        assert self.walk is not None
        release = self.walk.release
        if not box.awake or box.busy:
            self.inbox.append(rollout.Finished(box.name, Outcome.UNKNOWN, "contact lost"))
            return
        self.world.observer.push_starts(self.world.log, box.name, release, self.fence)
        box.busy = self.fence
        wanted = self.world.state.releases[release].commit
        if box.name == self.walk.lead and wanted not in self.world.database and not self.walk.approved:
            self.inbox.append(rollout.OnceWanted(box.name, "migrate", self.world.fresh_id("k")))
            return
        self._carry_out(box)

    def _run_once(self, command: rollout.GiveClaim) -> None:
        assert self.walk is not None
        world, box = self.world, self.world.boxes[command.machine]
        world.observer.once_starts(world.log, box.name, command.claim, self.walk.release)
        world.observer.once_ends(command.claim)
        good = world.random.random() < 0.85
        if good:
            world.database.add(world.state.releases[self.walk.release].commit)
        self.inbox.append(rollout.OnceEnded(box.name, "migrate", command.claim, passed=good, cause="exit 1"))
        if good:
            self._carry_out(box)
        else:
            self._failed(box)

    def _carry_out(self, box: Box) -> None:
        assert self.walk is not None
        if self.world.random.random() < 0.1:
            self._failed(box)
            return
        box.runs, box.busy = self.walk.release, 0
        self.world.observer.ran(box.name, self.walk.release, passed=True)
        lost = self.world.random.random() < 0.08
        outcome = Outcome.UNKNOWN if lost else Outcome.OK
        self.inbox.append(rollout.Finished(box.name, outcome, "contact lost" if lost else ""))

    def _failed(self, box: Box) -> None:
        assert self.walk is not None
        box.busy = 0
        self.world.observer.ran(box.name, self.walk.release, passed=False)
        self.inbox.append(rollout.Finished(box.name, Outcome.FAILED, "step: exit 1"))

    def _free(self, state: State) -> None:
        self.seen = state
        drafts = [Draft("lease-freed", {"fence": self.fence})]
        if self.request in state.requests:
            drafts.insert(0, Draft("request-ended", {"fence": self.fence, "request": self.request}))
        if self._write(*drafts):
            self.phase = "done"

    def kill(self) -> None:
        """The process is gone; machines that it was talking to are on their own."""
        for box in self.world.boxes.values():
            if self.fence and box.busy == self.fence:
                box.busy = 0
        self.phase = "done"


def run(seed: int, *, acts: int = 150) -> World:
    """One fleet, one seed. Raises Violation with the law that was broken."""
    world = World(seed)
    runners: list[Runner] = []
    newest = 0
    for _ in range(acts):
        world.events += 1
        newest = _act(world, runners, newest)
    _calm_down(world, runners)
    return world


def _act(world: World, runners: list[Runner], newest: int) -> int:
    chance = world.random.random()
    alive = [each for each in runners if not each.done]
    if chance < 0.08 and len(alive) < 3:
        newest += world.random.random() < 0.8
        what = world.random.choice(["deploy"] * 6 + ["rollback", "retry"])
        commit = max(1, newest - (world.random.random() < 0.1))
        runners.append(Runner(world, world.fresh_id("runner"), what, commit, rivals=runners))
    elif chance < 0.10 and alive:
        world.random.choice(alive).kill()
    elif chance < 0.20:
        _sleep_or_wake(world)
    elif chance < 0.24:
        _settle_doubts(world)
    elif alive:
        world.random.choice(alive).step()
    return newest


def _sleep_or_wake(world: World) -> None:
    box = world.random.choice(list(world.boxes.values()))
    if box.awake and box.presence == "on-demand" and world.random.random() < 0.5:
        box.awake, box.busy = False, 0
    else:
        world.wake_up(box)


def _settle_doubts(world: World) -> None:
    """A person looks at the database and says what is true."""
    for claim in world.state.in_doubt:
        done = world.state.releases[claim.release].commit in world.database
        world.append(world.state.tip, Draft("resolved", {"claim": claim.id, "how": "done" if done else "not-run"}))


def _calm_down(world: World, runners: list[Runner]) -> None:
    """Faults stop: every rollout ends, every machine wakes, and each runs the newest approved or says why not."""
    for _ in range(2000):
        world.events += 1
        alive = [each for each in runners if not each.done]
        if not alive:
            break
        _settle_doubts(world)
        world.random.choice(alive).step()
    else:
        raise Violation(f"convergence: rollouts did not end: {[(r.what, r.phase) for r in runners if not r.done]}")
    for box in world.boxes.values():
        for _ in range(catch_up.ATTEMPTS + 1):
            world.wake_up(box)
        decision = catch_up.decide(world.state, machine=box.name, runs=box.runs, attempts=box.attempts)
        if decision.verdict is catch_up.Verdict.RUN:
            raise Violation(f"convergence: {box.name} still wants release {decision.release}")
