"""One run of the agent on a simulated machine: the story of wakeline.agent, with the core's decisions in its places.

Each `await self.work(…)` is a moment in which anything may happen to the machine, to the contact, or to the ledger.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Coroutine, Mapping
from typing import Any

from sim.links import Wire
from sim.loop import Process
from sim.machine import CONFIRMED, HALF, LAID_OUT, PREPARED, READY, WHOLE, Box
from sim.store import Ledger
from sim.world import KEY, sign
from wakeline.core import approval, carrying_out, once
from wakeline.core.carrying_out import Begin, CutOff
from wakeline.core.catch_up import CatchUp, Verdict, decide
from wakeline.core.model import Order, Outcome, order_from_json
from wakeline.core.records import Record
from wakeline.core.state import State
from wakeline.edges.ledgers import Log
from wakeline.errors import Interrupted, LedgerError, RolloutFailed

LOCK_S = 150.0
GLANCE_S = 2.0
CLAIM_S = 180.0
BEHIND_S = 30.0
STEP_S = 300.0
FRESH_S = 5.0


@dataclasses.dataclass(frozen=True)
class Ending:
    """See wakeline.agent.executor.Ending."""

    outcome: Outcome
    cause: str = ""
    was: int = 0


class Agent:
    """One process of the agent. `wire` None is a run that nobody listens to."""

    def __init__(self, box: Box, process: Process, wire: Wire | None) -> None:
        self.box = box
        self.world = box.world
        self.process = process
        self.wire = wire
        self.stopping = ""
        self._words: list[Mapping[str, Any]] = []
        self._look: asyncio.Task[str] | None = None
        self._looked_s = 0.0
        self._fence = 0
        self._stamp = ""
        self._order: Order | None = None

    @property
    def order(self) -> Order:
        """The order that is carried out."""
        assert self._order is not None
        return self._order

    @property
    def commit(self) -> int:
        """The number of the commit that is carried out."""
        return int(self.order.commit[1:])

    # --- how it is started ---

    async def pushed(self) -> None:
        """`run`: one order over a connection (see wakeline.agent.__main__)."""
        assert self.wire is not None
        word = await self.wire.to_agent.get(limit_s=60.0)
        if word is not None and word["do"] == "prepare":
            await self._prepare(word)
            word = await self.wire.to_agent.get(limit_s=60.0)
        if word is None or word["do"] != "run":
            self._refuse("no order came")
            return
        self._order = order_from_json(word["order"])
        if not await self.box.hold(self.process, wait_s=LOCK_S):
            self._refuse("another run has this machine's lock")
            return
        self._order = dataclasses.replace(self.order, barrier=max(self.order.barrier, word["barrier"]))
        self._stamp = word["stamp"]
        disk = self.box.disk
        reports = disk.read("reports", ())
        self.say("hello", current=self.box.current, claims=self.box.claims(), reports=list(reports))
        seen = disk.read("fence", 0)
        another = "" if word["machine_id"] in ("", self.box.name) else "this is another machine"
        problem = another or carrying_out.stale(word["fence"], seen=seen)
        if problem:
            self._refuse(problem)
            return
        disk.write("fence", word["fence"])
        self.box.take_name(self.order.machine)
        self._fence = word["fence"]
        self.world.observer.push_starts(self.box, self.order.release, self._fence)
        ending = await self.carry_out(may_run_once=True, start_services=True)
        self._report(ending)
        facts = {"release": self.order.release, "cause": ending.cause, "was": ending.was}
        self.say("finished", outcome=ending.outcome.value, **facts)

    async def _prepare(self, word: Mapping[str, Any]) -> None:
        """See wakeline.agent.ahead: the folder is laid out before the order comes, and nothing of it runs."""
        box, order = self.box, order_from_json(word["order"])
        self._order = order
        why = carrying_out.stale(word["fence"], seen=box.disk.read("fence", 0))
        if not why and not await box.hold(self.process, wait_s=0, ahead=True):
            why = "another run has this machine's lock"
        if not why:
            try:
                await self._lay_out_ahead()
            except RolloutFailed as error:
                why = error.message
            box.let_lock_go(self.process)
        self.say("prepared", release=order.release, ok=not why, why=why)

    async def _lay_out_ahead(self) -> None:
        box, release = self.box, self.order.release
        if carrying_out.begin(release, runs=box.current, confirmed=True) is not Begin.MAKE_READY:
            raise RolloutFailed(f"release {box.current} runs here")
        await self._beside(1.0)
        if self.world.fault("fetch fails"):
            raise RolloutFailed("fetch: the remote does not answer")
        if self._is_laid_out():
            return
        self.world.observer.prepares(box, release)
        box.disk.write(f"release {release}", {})
        box.write_tree(release, HALF, commit=self.commit)
        await self._beside(0.5)
        box.write_tree(release, WHOLE, commit=self.commit)
        await self._beside(0.1)
        box.sync_tree(release)
        await self._beside(0.01)
        box.note_release(release, PREPARED, commit=self.commit)

    async def _beside(self, seconds: float) -> None:
        """Work that gives way: to whoever waits for the lock, and with the contact."""
        assert self.wire is not None
        await asyncio.sleep(seconds * self.world.random.choice((0.2, 0.5, 1.0, 1.0, 3.0, 40.0)))
        if self.world.fault("prepare cut off"):
            self.process.end()
            await asyncio.sleep(1.0)  # nothing of it goes on
        if self.box.lock_is_wanted or self.wire.to_agent.closed:
            raise RolloutFailed("it was asked to end")

    def _is_laid_out(self) -> bool:
        """See wakeline.agent.layout."""
        info = self.box.info(self.order.release)
        if info.get("commit") != self.commit:
            return False
        in_this_boot = info["boot"] == self.box.boots
        return info["state"] in (READY, CONFIRMED) or (info["state"] in (PREPARED, LAID_OUT) and in_this_boot)

    async def asked(self) -> None:
        """`catch-up --tell`."""
        await self._catch_up_safely(boot=False, wait_s=LOCK_S)
        self.say("ended", exit=0)

    async def timer(self) -> None:
        """The timer's unit."""
        await self._catch_up_safely(boot=False, wait_s=GLANCE_S)

    async def boot(self) -> None:
        """Before the services, then the services, then after them."""
        try:
            await asyncio.wait_for(self._catch_up_safely(boot=True, wait_s=GLANCE_S), 120.0)
        except asyncio.TimeoutError:
            self.box.let_lock_go(self.process)
        self.box.serves = self.box.current
        await self.work(1.0)
        if await self.box.hold(self.process, wait_s=GLANCE_S):
            await self._confirm_switch()
            self.box.let_lock_go(self.process)

    # --- catching up ---

    async def _catch_up_safely(self, *, boot: bool, wait_s: float) -> None:
        if not self.box.is_set_up or not await self.box.hold(self.process, wait_s=wait_s):
            return
        try:
            await self._catch_up(boot=boot)
        except (LedgerError, RolloutFailed):
            await asyncio.sleep(0)  # it keeps running what runs, and is tried again
        finally:
            self.box.let_lock_go(self.process)

    async def _catch_up(self, *, boot: bool) -> None:
        """See wakeline.agent.catch_up."""
        box, ledger = self.box, self.world.ledger_of(self.box.name)
        runs = box.current or 0
        left, order = self._cut_off(runs)
        seen = {"stamp": await asyncio.to_thread(ledger.stamp), "runs": runs, "confirmed": left is None}
        if box.disk.read("looked") == seen:
            await self._hand_in()
            return
        log = await asyncio.to_thread(self._look_at, ledger)
        state = self.world.folded(log)
        attempts = carrying_out.attempts(box.journal)
        decision = decide(state, machine=box.called, runs=runs, cut_off=left, attempts=attempts)
        if decision.verdict is Verdict.NOTHING:
            box.disk.write("looked", seen)
        if decision.verdict is Verdict.FINISH and order is not None:
            order = dataclasses.replace(order, barrier=max(order.barrier, state.barrier))
            box.disk.write(f"order {order.release}", order)
        goes_back = decision.verdict is Verdict.FINISH and left is not None and left.back
        if decision.verdict is Verdict.FINISH and (goes_back or not boot):
            self._order = order
        elif decision.verdict is Verdict.RUN:
            self._order = self._approved(state, decision, log)
            box.take_name(self.order.machine)
            self.world.observer.catch_up_starts(box, self.order.release)
        else:
            await self._hand_in()
            return
        await self.work(0.01)
        if goes_back and left is not None:
            back = self._go_back(was=self._switched_from(), problem=left.cause, start_services=not boot)
            ending = await self._to_its_end(back)
        else:
            box.write_journal("attempt", release=self.order.release, retries=decision.retries)
            ending = await self.carry_out(may_run_once=False, start_services=not boot)
        if not boot or ending.outcome is not Outcome.OK:
            await self._check_in(ending)

    def _check_signature(self, approved: Record, log: Log) -> None:
        """See wakeline.agent.catch_up: only what somebody has signed who may is acted on."""
        words = approval.payload(approved.body, app="shop", environment="sim")
        if approved.body.get("signature") != sign(words, key=KEY):
            raise RolloutFailed(f"the approval of release {approved.body.get('release')} is not signed as it must be")
        known = {record.hash for record in log.records[: log.records.index(approved)]}
        problem = approval.problem(approved.body, now_s=self.world.wall_s(), known=known)
        if problem:
            raise RolloutFailed(problem)

    def _look_at(self, ledger: Ledger) -> Log:
        """What may be taken is what stands there as it is read: the answer may take a while."""
        log = ledger.read()
        self.world.observer.looked(self.box)
        return log

    def _cut_off(self, runs: int) -> tuple[CutOff, Order] | tuple[None, None]:
        left = carrying_out.cut_off(runs, entries=self.box.journal)
        saved = self._order_of(left.release) if left else None
        if left is None or saved is None or (not left.back and self.box.info(runs).get("state") == CONFIRMED):
            return None, None
        return left, saved

    def _order_of(self, release: int | None) -> Order | None:
        kept = [self.box.disk.read(name) for name in (f"order {release}", "order")]
        return next((order for order in kept if order is not None and order.release == release), None)

    def _approved(self, state: State, decision: CatchUp, log: Log) -> Order:
        record = state.approval(state.releases[decision.release], decision.name)
        assert record is not None
        if self.world.is_signed:
            self._check_signature(record, log)
        order = order_from_json(record.body["orders"][decision.name])
        mine = (self.box.called, self.box.was_called or None)
        if order.machine not in mine and order.renamed_from != self.box.called:
            raise RolloutFailed(f"the order of release {order.release} is meant for {order.machine}, not for {mine[0]}")
        return dataclasses.replace(order, barrier=max(order.barrier, state.barrier))

    async def _confirm_switch(self) -> None:
        box = self.box
        left, order = self._cut_off(box.current or 0)
        if left is not None and left.back and left.release != box.current:
            self._order = order
            ending = await self._to_its_end(self._went_back(left))
            await self._check_in(ending)
            return
        saved = self._order_of(box.current)
        if saved is None:
            return
        self._order = saved
        if box.info(box.current).get("state") == CONFIRMED:
            return
        await self.work(1.0)
        ending = await self._to_its_end(self._healthy_or_back(was=self._switched_from()))
        await self._check_in(ending)

    async def _went_back(self, left: CutOff) -> Ending:
        now = self.box.current or 0
        self.box.write_journal("went-back", release=now, was=left.release)
        return Ending(Outcome.FAILED, left.cause, now)

    async def _check_in(self, ending: Ending) -> None:
        body = {"machine": self.order.machine, "release": self.order.release, "outcome": ending.outcome.value}
        self.box.disk.write("word", {**body, "cause": ending.cause, "was": ending.was})
        await self._hand_in()

    async def _hand_in(self) -> None:
        body = self.box.disk.read("word")
        if not body:
            return
        try:
            await asyncio.to_thread(self.world.ledger_of(self.box.name).check_in, body["machine"], body)
        except LedgerError:
            return
        self.box.disk.write("word", {})

    # --- carrying an order out ---

    async def carry_out(self, *, may_run_once: bool, start_services: bool) -> Ending:
        """See wakeline.agent.executor.Executor.carry_out."""
        return await self._to_its_end(self._carry_out(may_run_once=may_run_once, start_services=start_services))

    async def _to_its_end(self, work: Coroutine[Any, Any, Ending]) -> Ending:
        try:
            ending = await work
        except Interrupted as error:
            ending = Ending(Outcome.WITHHELD, error.message, self.box.current or 0)
        except RolloutFailed as error:
            ending = Ending(Outcome.FAILED, error.message, self.box.current or 0)
        self.world.observer.ended(self.box, self.order.release, ending.outcome.value)
        await self.work(0.01)
        self.box.write_journal("ended", release=self.order.release, outcome=ending.outcome.value)
        return ending

    async def _carry_out(self, *, may_run_once: bool, start_services: bool) -> Ending:
        box, release, was = self.box, self.order.release, self.box.current
        left = carrying_out.cut_off(was or 0, entries=box.journal)
        confirmed = was is not None and box.info(was).get("state") == CONFIRMED and not (left and left.back)
        how = carrying_out.begin(release, runs=was, confirmed=confirmed)
        if how is Begin.TOO_OLD:
            raise RolloutFailed(f"this machine runs release {was} already, which is newer than {release}")
        if how is Begin.UNCHANGED:
            return Ending(Outcome.UNCHANGED, was=release)
        if how is Begin.MAKE_READY:
            await self._make_ready(may_run_once=may_run_once)
            if self.stopping:
                raise Interrupted(f"stopped before the switch: {self.stopping}")
            await self._check_that_it_counts()
            box.disk.write(f"order {release}", self.order)
            await self.work(0.01)
            box.write_journal("switch", release=release, was=was or 0)
            await self.work(0.01)
            self.world.observer.switches(box, release, self._fence)
            box.disk.write("current", release)
            self.say("switched", was=was or 0, now=release)
        if not start_services:
            return Ending(Outcome.OK, was=was or 0)
        await self.work(0.5)
        box.serves = release
        return await self._healthy_or_back(was=self._switched_from())

    async def _make_ready(self, *, may_run_once: bool) -> None:
        box = self.box
        self._begin_to_look()
        await self.work(1.0)
        if self.world.fault("fetch fails"):
            raise RolloutFailed("fetch: the remote does not answer")
        self.say("fetched", commit=self.order.commit)
        box.disk.write("order", self.order)
        info = box.info(self.order.release)
        if info.get("state") in (READY, CONFIRMED) and info["commit"] == self.commit:
            return
        if not self._is_laid_out():
            box.disk.write(f"release {self.order.release}", {})
            box.write_tree(self.order.release, HALF, commit=self.commit)
            await self.work(0.3)
            box.write_tree(self.order.release, WHOLE, commit=self.commit)
        box.note_release(self.order.release, LAID_OUT, commit=self.commit)
        await self._check_that_it_counts()
        await self._steps()
        self._begin_to_look()
        if may_run_once and self.order.lead:
            await self._lead()
        else:
            await self._follow()
        await self.work(0.1)
        box.sync_tree(self.order.release)
        box.note_release(self.order.release, READY, commit=self.commit)

    async def _steps(self) -> None:
        self.world.observer.step_runs(self.box, self.order.release)
        await self.work(3.0)
        if self.stopping:
            raise Interrupted(f"stopped before packages: {self.stopping}")
        if self.world.breaks(self.commit, self.box.name, "step") or self.world.fault("step fails"):
            raise RolloutFailed("packages: exit 1")

    async def _healthy_or_back(self, *, was: int) -> Ending:
        await self.work(2.0)
        release = self.order.release
        if self.world.breaks(self.commit, self.box.name, "health") or self.world.fault("health fails"):
            return await self._go_back(was=was, problem="health: 503")
        self.box.note_release(release, CONFIRMED, commit=self.commit)
        self.world.observer.confirmed(self.box, release)
        await self.work(0.01)
        self.box.write_journal("confirmed", release=release)
        self.say("confirmed", release=release)
        return Ending(Outcome.OK, was=was)

    async def _go_back(self, *, was: int, problem: str, start_services: bool = True) -> Ending:
        box, release = self.box, self.order.release
        order = dataclasses.replace(self.order, barrier=max(self.order.barrier, await self._barrier_now()))
        started = [entry for entry in box.journal if entry["what"] == "once-started"]
        has_adopted = box.info(0).get("state") == CONFIRMED
        way = carrying_out.way_back(
            release,
            was=was,
            was_complete=box.is_complete(was),
            last_good=carrying_out.last_good(release, confirmed=box.confirmed, has_adopted=has_adopted),
            barrier=carrying_out.barrier(order, started=started),
        )
        if way.barred:
            await self._stay(start_services=start_services)
            return Ending(Outcome.FAILED, f"not switched back: the schema has moved\n{problem}", was)
        if way.to is None:
            box.serves = None
            return Ending(Outcome.FAILED, f"{problem}\nthere is no earlier release: its services were stopped")
        box.write_journal("switch-back", release=way.to, was=release, cause=problem)
        await self.work(0.01)
        self.world.observer.goes_back(box, way.to)
        box.disk.write("current", way.to)
        if start_services:
            await self.work(0.5)
            box.serves = way.to
            await self.work(0.01)
            box.write_journal("went-back", release=way.to, was=release)
        return Ending(Outcome.FAILED, f"{problem}\nback on release {way.to}", was)

    async def _stay(self, *, start_services: bool) -> None:
        box, release = self.box, self.order.release
        if box.current == release:
            return
        box.write_journal("switch", release=release, was=self._switched_from())
        await self.work(0.01)
        box.disk.write("current", release)
        await self.work(0.5)
        if start_services:
            box.serves = release

    def _switched_from(self) -> int:
        switches = [entry for entry in reversed(self.box.journal) if entry["what"] == "switch"]
        return carrying_out.switched_from(self.order.release, newest_first=switches)

    # --- once-steps ---

    @property
    def _step(self) -> bool:
        return any(step.once for step in self.order.steps)

    async def _verify(self) -> str:
        await self.work(0.5)
        code = 0 if self.world.database.has(self.commit) else 10
        if self.world.is_cut(f"{self.box.name} to database") or self.world.fault("verify cannot tell"):
            code = 1
        said = once.answer(code)
        self.say("verified", step="migrate", answer=said, exit=code)
        return said

    async def _follow(self) -> None:
        """See wakeline.agent.once."""
        if not self._step:
            return
        ends = self.world.loop.now + BEHIND_S
        while (said := await self._verify()) != once.HAS:
            if self.stopping:
                raise Interrupted(f"stopped at migrate: {self.stopping}")
            if self.world.loop.now >= ends:
                raise RolloutFailed(f"migrate: {said}; it is run by the lead alone, in a rollout")
            await self.work(10.0)

    async def _lead(self) -> None:
        if not self._step:
            return
        box = self.box
        running = next((each["claim"] for each in box.claims() if each["state"] == "running"), "")
        said = "" if running else await self._verify()
        if said == once.HAS:
            return
        problem = once.why_not_asked_for(running=running, said=said)
        if problem:
            raise RolloutFailed(f"migrate: {problem}")
        claim = await self._claim()
        started = {entry["claim"] for entry in box.journal if entry["what"] == "once-started"}
        problem = once.why_not_started(claim, started=started)
        if problem:
            raise RolloutFailed(f"migrate: {problem}")
        if await self._verify() == once.HAS:
            self.say("once_finished", step="migrate", claim=claim, ok=True, exit=0, answer=once.HAS, ran=False)
            return
        try:
            await self._check_that_it_counts()
        except Interrupted as error:
            facts = {"step": "migrate", "claim": claim, "ok": False, "exit": -1, "answer": once.LACKS}
            self.say("once_finished", **facts, cause=f"not started: {error.message}")
            raise
        await self._run_once(claim)

    async def _run_once(self, claim: str) -> None:
        box = self.box
        box.write_journal("once-started", claim=claim, step="migrate", release=self.order.release)
        self.say("once_started", step="migrate", claim=claim)
        await self.work(0.1)
        box.disk.write(f"kept {claim}", {"started": True})
        self.world.observer.once_starts(box, claim, self.order.release)
        session = self.world.database.begin(claim, self.commit)
        keeper = box.keepers[claim] = box.begin(f"{box.name}-keeper-{claim}")
        self.world.run(keeper, box.keep(claim, session, keeper), ends=False)
        done, _ = await asyncio.wait({asyncio.shield(session.done)}, timeout=STEP_S)
        if not done:
            raise RolloutFailed(f"migrate is not stopped, and its claim {claim} stays open: wakeline resolve")
        good = session.done.result()
        box.write_journal("once-ended", claim=claim, ok=good)
        said = await self._verify()
        cause = once.cause_of_end("migrate", cause="" if good else "migrate: exit 1", said=said)
        self.say("once_finished", step="migrate", claim=claim, ok=good, exit=int(not good), answer=said, cause=cause)
        if cause:
            raise RolloutFailed(cause)

    async def _claim(self) -> str:
        self.say("claim_wanted", step="migrate")
        ends = self.world.loop.now + CLAIM_S
        while not self.stopping and self.world.loop.now < ends and self.wire is not None:
            word = self._words.pop(0) if self._words else await self._hear(limit_s=ends - self.world.loop.now)
            if word is None:
                break
            if word.get("do") == "claimed" and word.get("claim"):
                return str(word["claim"])
        raise Interrupted(
            f"migrate was not started: {self.stopping or 'the contact was lost before its claim arrived'}"
        )

    # --- what every moment needs ---

    async def work(self, seconds: float) -> None:
        """Something takes a while; a word of the runner's is heard meanwhile."""
        await asyncio.sleep(seconds * self.world.random.choice((0.2, 0.5, 1.0, 1.0, 3.0)))
        while self.wire is not None and self.wire.to_agent.items:
            word = await self._hear(limit_s=0)
            if word is not None:
                self._words.append(word)

    async def _hear(self, *, limit_s: float) -> Mapping[str, Any] | None:
        assert self.wire is not None
        word = await self.wire.to_agent.get(limit_s=limit_s)
        if word is not None and word.get("do") == "stop":
            self.stopping = self.stopping or str(word.get("why"))
        return word

    def say(self, event: str, **fields: Any) -> None:
        """One event to whoever sent the order."""
        self.world.tell(f"{self.process.name} says {event} {fields}")
        if self.wire is not None:
            self.wire.say(self.wire.to_runner, {"event": event, **fields})

    def _refuse(self, cause: str) -> None:
        self.say("finished", outcome="failed", release=0, cause=cause)

    def _report(self, ending: Ending) -> None:
        body = {"machine": self.order.machine, "release": self.order.release, "outcome": ending.outcome.value}
        self.box.disk.write("reports", ({**body, "cause": ending.cause},))

    def _begin_to_look(self) -> None:
        """See wakeline.agent.overtaken.Watch."""
        if self._fence and self._look is None:
            self._looked_s = self.world.loop.now
            self._look = asyncio.create_task(self._overtaken())

    async def _check_that_it_counts(self) -> None:
        answer = ""
        for _ in range(carrying_out.LOOKS):
            self._begin_to_look()
            if self._look is None:
                return
            answer = await self._look
            self._look = None
            if carrying_out.is_fresh(looked_s=self._looked_s, now_s=self.world.loop.now):
                break
        if answer:
            raise Interrupted(f"stopped before the switch: {answer}")

    async def _barrier_now(self) -> int:
        if not self._fence:
            return 0
        try:
            log = await asyncio.to_thread(self.world.ledger_of(self.box.name).read_if_moved, self._stamp)
        except LedgerError:
            return 0
        return self.world.folded(log).barrier if log else 0

    async def _overtaken(self) -> str:
        try:
            log = await asyncio.to_thread(self.world.ledger_of(self.box.name).read_if_moved, self._stamp)
        except LedgerError:
            return ""
        if log is None:
            return ""
        return carrying_out.overtaken(self.world.folded(log), machine=self.order.machine, fence=self._fence)
