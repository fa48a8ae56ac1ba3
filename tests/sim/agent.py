"""One run of the agent on a simulated machine: the story of wakeline.agent, with the core's decisions in its places.

Each `await self.work(…)` is a moment in which anything may happen to the machine, to the contact, or to the ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from sim.acting import Ending
from sim.executing import Executing
from sim.machine import CONFIRMED, HALF, LAID_OUT, PREPARED, READY, WHOLE
from sim.store import Ledger
from sim.world import KEY, sign
from wakeline.core import approval, carrying_out
from wakeline.core.carrying_out import Begin, CutOff
from wakeline.core.catch_up import CatchUp, Verdict, decide
from wakeline.core.order import Order, Outcome, order_from_json
from wakeline.core.records import Record
from wakeline.core.state import State
from wakeline.edges.ledgers import Log, remembered
from wakeline.errors import LedgerError, RolloutFailed

LOCK_S = 150.0
GLANCE_S = 2.0


class Agent(Executing):
    """One process of the agent: how it is started, and how it catches up."""

    # --- how it is started ---

    async def pushed(self) -> None:
        """`run`: one order over a connection (see wakeline.agent.__main__)."""
        assert self.wire is not None
        word = await self.wire.to_agent.get(limit_s=60.0)
        while word is not None and word["do"] == "prepare":
            await self._prepare(word)
            word = await self.wire.to_agent.get(limit_s=60.0)
        if word is None or word["do"] != "run":
            self._refuse("no order came")
            return
        self._order = order_from_json(word["order"])
        if not await self.box.hold(self.process, wait_s=LOCK_S):
            self._refuse("another run has this machine's lock")
            return
        self._order = self.order._replace(barrier=max(self.order.barrier, word["barrier"]))
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
            if word.get("stamp"):
                self._look_early(word["stamp"])
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
        if self._is_laid_out():
            return
        await self._beside(1.0)
        if self.world.fault("fetch fails"):
            raise RolloutFailed("fetch: the remote does not answer")
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
        """The unit before the services."""
        try:
            await asyncio.wait_for(self._catch_up_safely(boot=True, wait_s=GLANCE_S), 120.0)
        except asyncio.TimeoutError:
            self.box.let_lock_go(self.process)

    async def confirm(self) -> None:
        """The unit after the services."""
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
            order = order._replace(barrier=max(order.barrier, state.barrier))
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
            if decision.verdict is Verdict.FINISH:
                self.world.observer.finish_starts(box, self.order.release)
            box.write_journal("attempt", release=self.order.release, retries=decision.retries)
            ending = await self.carry_out(may_run_once=False, start_services=not boot)
        if not boot or ending.outcome is not Outcome.OK:
            await self._check_in(ending)

    def _check_signature(self, approved: Record, log: Log) -> None:
        """See wakeline.agent.catch_up: only what somebody has signed who may is acted on."""
        words = approval.payload(approved.body, app="shop", environment="sim")
        if approved.body.get("signature") != sign(words, key=KEY):
            raise RolloutFailed(f"the approval of release {approved.body.get('release')} is not signed as it must be")
        known = remembered.before(approved, log)
        if log.start is not None and approved.body.get("after") not in known:
            known = remembered.before(approved, self.world.store.log)
        problem = approval.problem(approved.body, now_s=self.world.wall_s(), known=known)
        if problem:
            raise RolloutFailed(problem)

    def _look_at(self, ledger: Ledger) -> Log:
        """What may be taken is what stands there as it is read: the answer may take a while."""
        log = ledger.read(start=self.world.remembered)
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
        return order._replace(barrier=max(order.barrier, state.barrier))

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
        self.box.write_journal(carrying_out.WENT_BACK, release=now, was=left.release)
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
