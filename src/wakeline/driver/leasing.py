"""Getting the lease and keeping it. The rules are in core/lease.py; here is the waiting."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Mapping

from wakeline.core import lease
from wakeline.core.records import Draft
from wakeline.core.state import State
from wakeline.driver.progress import Notice, Tell
from wakeline.driver.writer import Writer
from wakeline.edges.clock import boottime_s
from wakeline.errors import Busy, LedgerError

_LOOK_S = 2.0


class LeaseLost(Busy):
    """Somebody else has the lease now: nothing more may be sent or written."""


@dataclasses.dataclass
class Holder:
    """The lease as its holder sees it. `renewed_s` is from before the last successful renewal began."""

    writer: Writer
    fence: int
    length_s: float
    renewed_s: float

    def check(self, state: State) -> None:
        """Law 8, before every write. Raises LeaseLost."""
        if state.lease.free or state.lease.number != self.fence:
            holder = state.lease.holder or "somebody"
            raise LeaseLost(f"the lease was taken over by {holder}", hint="wakeline status")

    def may_act(self) -> bool:
        """Whether anything may still be sent to a machine."""
        return lease.may_act(renewed_s=self.renewed_s, length_s=self.length_s, now_s=boottime_s())

    async def write(
        self,
        decide: Callable[[State], list[Draft]],
        *,
        pins: Mapping[str, str] | None = None,
        agents: Mapping[str, bytes] | None = None,
    ) -> State:
        """Write as the holder: every record carries the fencing number, and renews the lease."""
        began_s = boottime_s()
        drafts: list[Draft] = []

        def fenced(state: State) -> list[Draft]:
            self.check(state)
            drafts[:] = [Draft(each.kind, {**each.body, "fence": self.fence}) for each in decide(state)]
            return drafts

        state = await self.writer.write(fenced, pins=pins, agents=agents)
        if drafts:  # what was not written has renewed nothing
            self.renewed_s = began_s
        return state

    @contextlib.asynccontextmanager
    async def kept(self, on_lost: Callable[[str], None]) -> AsyncIterator[None]:
        """Renew in the background as long as the block runs. `on_lost` is told once when that fails for good."""
        keeper = asyncio.create_task(self._keep(on_lost))
        try:
            yield
        finally:
            keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeper

    async def _keep(self, on_lost: Callable[[str], None]) -> None:
        while True:
            await asyncio.sleep(self.length_s / 12)
            if not self.may_act():
                on_lost("the lease could not be renewed in time")
                return
            if lease.should_renew(renewed_s=self.renewed_s, length_s=self.length_s, now_s=boottime_s()):
                try:
                    await self.write(lambda _: [Draft("lease-renewed", {})])
                except LeaseLost as lost:
                    on_lost(lost.message)
                    return
                except LedgerError:
                    continue  # asked again in a moment; past two thirds of the length nothing is sent any more


async def until_takeable(writer: Writer, *, tell: Tell, wait: bool) -> State:
    """Wait until the lease may be taken. Raises Busy when its holder lives and nobody wants to wait.

    Without `wait` too, a silent holder is watched for the lease's whole length: it may have died.
    """
    watch, told = lease.Watch(), False
    while True:
        state = await writer.read()
        watch, word = lease.look(watch, state.lease, now_s=boottime_s())
        if word in (lease.Watched.FREE, lease.Watched.DEAD):
            return state
        if word is lease.Watched.ALIVE and not wait:
            raise Busy(
                f"{state.lease.holder} has the lease since {state.lease.at}",
                hint="wakeline deploy --wait waits for it; wakeline status shows what it does",
            )
        if not told:
            tell(Notice("waiting", text=f"{state.lease.holder} has the lease since {state.lease.at}; watching it"))
            told = True
        await asyncio.sleep(_LOOK_S)


async def fence_off(writer: Writer, state: State) -> State:
    """Take the lease of a holder that has died with a once-step open, and free it: now its claim is in doubt.

    Nobody may begin a rollout as long as a claim is open, and nobody may settle one whose holder may be at work. The
    caller has watched the lease until it might be taken.
    """
    dead = state.lease

    def decide(now: State) -> list[Draft]:
        if now.lease != dead or now.lease.free or not now.open_claims:
            return []
        fence = {"fence": now.lease.number + 1}
        taken = Draft("lease-taken", {**fence, "holder": writer.by, "length_s": now.lease.length_s})
        return [taken, Draft("lease-freed", fence)]

    return state if dead.free or not state.open_claims else await writer.write(decide)


async def until_settleable(writer: Writer, *, tell: Tell) -> None:
    """Wait until open claims are nobody's any more, and see to it. Raises Busy when their holder lives."""
    while (await writer.read()).open_claims:
        watched = await until_takeable(writer, tell=tell, wait=False)
        state = await fence_off(writer, watched)
        if not lease.is_anothers(state.lease, watched.lease):
            break  # or it came to life in between, and is watched anew
