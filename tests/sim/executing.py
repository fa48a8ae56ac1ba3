"""One order on a simulated machine, as wakeline.agent.executor carries it out: decided by the core, done by waiting."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from sim.acting import Ending
from sim.leading import Leading
from sim.machine import CONFIRMED, HALF, LAID_OUT, READY, WHOLE
from wakeline.core import carrying_out
from wakeline.core.carrying_out import Begin
from wakeline.core.order import Outcome
from wakeline.errors import Interrupted, RolloutFailed


class Executing(Leading):
    """The part of a run that carries an order out: make ready, switch, confirm or go back."""

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
            self.world.observer.switches(box, self.order, self._fence)
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
        order = self.order._replace(barrier=max(self.order.barrier, await self._barrier_now()))
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
        ends = carrying_out.WENT_BACK
        box.write_journal("switch-back", release=way.to, was=release, cause=problem, ends=ends)
        await self.work(0.01)
        self.world.observer.goes_back(box, way.to)
        box.disk.write("current", way.to)
        if start_services:
            await self.work(3.0)  # what is being restarted is in trouble, and takes its time
            box.serves = way.to
            await self.work(0.01)
            box.write_journal(carrying_out.WENT_BACK, release=way.to, was=release)
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
