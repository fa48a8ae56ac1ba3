"""Once-steps on a simulated machine: who asks for a claim, what is started, and who waits (see wakeline.agent.once)."""

from __future__ import annotations

import asyncio

from sim.acting import Acting
from wakeline.core import once
from wakeline.errors import Interrupted, RolloutFailed

CLAIM_S = 180.0
BEHIND_S = 30.0
STEP_S = 300.0


class Leading(Acting):
    """The part of a run that is about once-steps: the lead's, and that of those who follow it."""

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
        await self.work(120.0 if self.world.fault("once-step begins late") else 0.1)
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
