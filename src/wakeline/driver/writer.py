"""Writing to the ledger: read, decide, append; when the log has moved, read again and decide again.

A writer that lost a race waits a little, by chance, before it tries again. Seen: ten writers at once on one git ref
need up to 58 tries without jitter and 10 with it; none loses a record either way.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from wakeline.core.fold import fold
from wakeline.core.records import BadLog, Draft, Record, chain
from wakeline.core.state import State
from wakeline.edges.ledgers import Ledger, Log, memory, remembered
from wakeline.errors import LedgerError

TRIES_MAX = 200
BACKOFF_S_MAX = 2.0

Decide = Callable[[State], Sequence[Draft]]


@dataclasses.dataclass
class Writer:
    """One process's view of the ledger: the log as last read, folded, and who writes.

    `seen` is where this user remembers the end of the log between processes.
    """

    ledger: Ledger
    by: str
    seen: Path | None = None
    log: Log | None = None
    state: State = dataclasses.field(default_factory=State)
    one_at_a_time: asyncio.Lock = dataclasses.field(default_factory=asyncio.Lock)
    stamps: set[str] = dataclasses.field(default_factory=set)

    async def read(self) -> State:
        """The present state. Only records that are new since the last read are folded."""
        async with self.one_at_a_time:
            return await self._read()

    async def read_whole(self) -> State:
        """The present state from all of the log, every link checked, whatever is remembered: for its history."""
        async with self.one_at_a_time:
            self.state = State()
            return self._believe(await asyncio.to_thread(self.ledger.read))

    async def knows(self, stamp: str) -> bool:
        """Whether the log stood there when it was read or written here. What is being written just now is waited for:
        a machine may have seen it before we have its answer.
        """
        if stamp not in self.stamps:
            async with self.one_at_a_time:
                return stamp in self.stamps
        return True

    async def write(
        self,
        decide: Decide,
        *,
        pins: Mapping[str, str] | None = None,
        agents: Mapping[str, bytes] | None = None,
    ) -> State:
        """Put on record what `decide` wants, given the state that it is then appended to.

        `decide` is asked again whenever the log has moved; an empty answer writes nothing. What it raises is raised.
        Raises LedgerError when the log moves under every one of many tries.
        """
        async with self.one_at_a_time:
            return await self._write(decide, pins=pins or {}, agents=agents or {})

    async def _read(self) -> State:
        if self.seen is None:
            return self._believe(await asyncio.to_thread(self.ledger.read))
        first = self.log is None
        log = await asyncio.to_thread(memory.read, self.ledger, place=self.seen)
        state = self._believe(log)
        if first and remembered.is_due(log):
            await asyncio.to_thread(remembered.keep, log, state, place=self.seen)
        return state

    async def _write(self, decide: Decide, *, pins: Mapping[str, str], agents: Mapping[str, bytes]) -> State:
        for attempt in range(TRIES_MAX):
            state = self.state if attempt == 0 and self.log is not None else await self._read()
            drafts = decide(state)
            if not drafts:
                return state
            records = self._chained(drafts, previous=state.tip)
            if await asyncio.to_thread(self.ledger.append, records, pins=pins, agents=agents):
                return self._append(records)
            await asyncio.sleep(backoff_s(attempt))
        raise LedgerError(f"the log moved under {TRIES_MAX} tries in a row", hint="wakeline history shows who writes")

    def _chained(self, drafts: Sequence[Draft], *, previous: str) -> tuple[Record, ...]:
        ids = [new_id() for _ in drafts]
        return chain(drafts, ids=ids, previous=previous, at=timestamp(), by=self.by)

    def _believe(self, log: Log) -> State:
        start, fresh = remembered.unfolded(log, self.state)
        try:
            self.log, self.state = log, fold(fresh, start=start)
        except BadLog as error:
            raise LedgerError(
                f"the ledger: {error}", hint="this wakeline is too old for it; nothing was changed"
            ) from error
        self.stamps.add(self.ledger.stamp_of(self.state.tip))
        return self.state

    def _append(self, records: tuple[Record, ...]) -> State:
        before = self.log or Log()
        self.log = Log(records[-1].hash, before.records + records, start=before.start)
        self.state = fold(records, start=self.state)
        self.stamps.add(self.ledger.stamp_of(self.state.tip))
        if self.seen is not None and memory.last_seen(self.seen) == records[0].previous:
            memory.remember(self.log.tip, place=self.seen)  # else another runner of this user has seen more
        return self.state


def backoff_s(attempt: int) -> float:
    """How long a writer that lost a race waits, by chance."""
    return _by_chance(min(BACKOFF_S_MAX, 0.05 * 2**attempt))


def _by_chance(most: float) -> float:
    import random  # noqa: PLC0415 - who only reads the ledger needs no chance

    return random.uniform(0, most)  # noqa: S311 - jitter


def new_id() -> str:
    """The id of a record: no other has it."""
    import secrets  # noqa: PLC0415 - same

    return secrets.token_hex(8)


def timestamp() -> str:
    """Now, for people: order comes from the chain, never from this."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
