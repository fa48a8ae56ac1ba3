"""What every moment of a simulated run of the agent needs: it waits, hears, speaks, and looks at the ledger.

Each `await self.work(…)` is a moment in which anything may happen to the machine, to the contact, or to the ledger.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from sim.links import Wire
from sim.loop import Process
from sim.machine import Box
from wakeline.core import carrying_out
from wakeline.core.order import Order, Outcome
from wakeline.edges.ledgers import Log
from wakeline.errors import Interrupted, LedgerError

ANSWER_S = 2.0


@dataclasses.dataclass(frozen=True)
class Ending:
    """See wakeline.agent.executor.Ending."""

    outcome: Outcome
    cause: str = ""
    was: int = 0


class Acting:
    """One process of the agent. `wire` None is a run that nobody listens to."""

    def __init__(self, box: Box, process: Process, wire: Wire | None) -> None:
        self.box = box
        self.world = box.world
        self.process = process
        self.wire = wire
        self.stopping = ""
        self._words: list[Mapping[str, Any]] = []
        self._look: asyncio.Task[str] | None = None
        self._looked_s = -math.inf
        self._heard = False
        self._answer = ""
        self._fence = 0
        self._stamp = ""
        self._early: tuple[float, str, asyncio.Task[str]] | None = None
        self._order: Order | None = None
        self._asked: dict[str, asyncio.Future[Mapping[str, Any]]] = {}
        self._barrier = 0
        if wire is not None:
            wire.to_agent.aside = self._is_answer

    @property
    def order(self) -> Order:
        """The order that is carried out."""
        assert self._order is not None
        return self._order

    @property
    def commit(self) -> int:
        """The number of the commit that is carried out."""
        return int(self.order.commit[1:])

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
        is_young = carrying_out.is_young(looked_s=self._looked_s, now_s=self.world.loop.now)
        if self._fence and self._look is None and not (self._heard and is_young):
            self._look_now()

    def _look_early(self, told: str) -> None:
        """See wakeline.agent.overtaken.EarlyLook."""
        self._early = self.world.loop.now, told, asyncio.create_task(self._stands_at())

    async def _stands_at(self) -> str:
        try:
            return str(await asyncio.to_thread(self.world.ledger_of(self.box.name).stamp))
        except LedgerError:
            return ""

    def _look_now(self) -> None:
        early, self._early = self._early, None
        if early and not carrying_out.is_young(looked_s=early[0], now_s=self.world.loop.now):
            early = None
        self._looked_s = early[0] if early else self.world.loop.now
        self._look = asyncio.create_task(self._overtaken(early))

    async def _check_that_it_counts(self) -> None:
        for _ in range(carrying_out.LOOKS if self._fence else 0):
            if self._look is None:
                if carrying_out.is_fresh(looked_s=self._looked_s, now_s=self.world.loop.now):
                    break
                self._look_now()
            assert self._look is not None
            self._answer, self._look = await self._look, None
        if self._answer:
            raise Interrupted(f"stopped before the switch: {self._answer}")

    async def _barrier_now(self) -> int:
        if not self._fence:
            return 0
        try:
            log = await self._read_unless_known()
        except LedgerError:
            return self._barrier
        return max(self.world.folded(log).barrier if log else 0, self._barrier)

    async def _overtaken(self, early: tuple[float, str, asyncio.Task[str]] | None) -> str:
        if early is not None:
            found = await early[2]
            nothing_new = carrying_out.nothing_new(found, told=early[1], stamp=self._stamp)
            if nothing_new or await self._runner_knows(found):
                self._heard = True
                return ""
            self._looked_s = self.world.loop.now
        self._heard = False
        try:
            log = await self._read_unless_known()
        except LedgerError:
            return ""
        self._heard = True
        if log is None:
            return ""
        return carrying_out.overtaken(self.world.folded(log), machine=self.order.machine, fence=self._fence)

    async def _read_unless_known(self) -> Log | None:
        """See Ledger.read_unless."""
        log = await asyncio.to_thread(self.world.ledger_of(self.box.name).read)
        known = self._stamp and (log.tip == self._stamp or await self._runner_knows(log.tip))
        return None if known else log

    async def _runner_knows(self, found: str) -> bool:
        if not (self._stamp and found and self.wire):
            return False
        answer = self._asked[found] = self.world.loop.create_future()
        self.say("ledger_at", stamp=found)
        await asyncio.wait({answer}, timeout=ANSWER_S)
        self._asked.pop(found, None)
        if not answer.done() or not answer.result()["known"]:
            return False
        self._barrier = max(self._barrier, answer.result()["barrier"])
        self._stamp = found
        return True

    def _is_answer(self, word: Mapping[str, Any]) -> bool:
        """Answers are heard beside everything else, as wakeline.agent.wire has it."""
        asked = self._asked.get(word.get("stamp", "")) if word.get("do") == "stands" else None
        if asked is not None and not asked.done():
            asked.set_result(word)
        return word.get("do") == "stands"
