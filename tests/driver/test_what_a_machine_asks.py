"""What the runner answers a machine that found the ledger moved since its order was sent."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from wakeline.core import rollout
from wakeline.core.records import Draft
from wakeline.core.state import StagePlan
from wakeline.driver.leasing import Holder
from wakeline.driver.walking import Party, Walk
from wakeline.driver.writer import Writer
from wakeline.edges.agent_file import AgentFile
from wakeline.edges.clock import boottime_s
from wakeline.edges.ledgers.sqlite import SqliteLedger

STAGE = StagePlan("all", ("uat",), frozenset(), gates=False)
TAKEN = Draft("lease-taken", {"fence": 1, "holder": "ann", "length_s": 180})
RENEWED = Draft("lease-renewed", {"fence": 1})
HELD = Draft("held", {"machine": "uat", "why": "somebody works on it"})
TAKEN_OVER = Draft("lease-taken", {"fence": 2, "holder": "ben", "length_s": 180})


class Hearing:
    """A machine's end: what it is told."""

    def __init__(self) -> None:
        self.words: list[dict] = []

    async def send(self, word) -> None:
        self.words.append(dict(word))


def writer(folder: Path, *, by: str) -> Writer:
    return Writer(SqliteLedger(folder / "ledger.sqlite", app="shop", environment="uat"), by=by)


async def put(store: Writer, draft: Draft) -> str:
    """A record; where the ledger stands with it."""
    state = await store.write(lambda _: [draft])
    return store.ledger.stamp_of(state.tip)


class Asking:
    """A walk of ann's whose machine asks, and what ben writes meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.ann, self.ben = writer(folder, by="ann"), writer(folder, by="ben")
        self.hearing = Hearing()
        self.holder = Holder(self.ann, 1, 180.0, boottime_s())
        begun = rollout.Rollout(1, (STAGE,), "uat", {}, frozenset())
        party = Party({}, {}, lambda _: None, AgentFile(b"", "early"))
        self.walk = Walk(begun, party=party, holder=self.holder, approve=lambda _, draft: draft, tell=lambda _: None)
        self.walk._conversations["uat"] = self.hearing

    async def ask(self, stamp: str) -> dict:
        await self.walk._say_whether_known("uat", stamp)
        assert self.hearing.words[-1]["stamp"] == stamp
        return self.hearing.words[-1]


def test_where_it_stands_now_and_where_it_stood_before_are_known(tmp_path):
    async def run():
        asking = Asking(tmp_path)
        places = [await put(asking.ann, TAKEN), await put(asking.ann, RENEWED)]
        return [await asking.ask(place) for place in places]

    assert [word["known"] for word in asyncio.run(run())] == [True, True]


def test_law_8_what_another_has_written_is_not_known_before_it_is_read(tmp_path):
    async def run():
        asking = Asking(tmp_path)
        await put(asking.ann, TAKEN)
        place = await put(asking.ben, Draft("held", {"machine": "another", "why": "x"}))
        before = await asking.ask(place)
        await asking.ann.read()
        return before, await asking.ask(place)

    before, after = asyncio.run(run())
    assert (before["known"], after["known"]) == (False, True)


@pytest.mark.parametrize("against", [HELD, TAKEN_OVER], ids=["a hold", "a takeover"])
def test_law_8_what_is_known_and_speaks_against_the_order_is_never_called_known(tmp_path, against):
    async def run():
        asking = Asking(tmp_path)
        place = await put(asking.ann, TAKEN)
        await put(asking.ben, against)
        await asking.ann.read()
        return await asking.ask(place)

    assert asyncio.run(run())["known"] is False


def test_law_8_a_holder_that_may_not_act_any_more_knows_nothing(tmp_path):
    async def run():
        asking = Asking(tmp_path)
        place = await put(asking.ann, TAKEN)
        asking.holder.renewed_s -= 180.0
        return await asking.ask(place)

    assert asyncio.run(run())["known"] is False


def test_a_record_that_is_being_written_is_waited_for(tmp_path):
    """A machine may see it on the remote before the remote's answer is here."""

    async def run():
        asking = Asking(tmp_path)
        await put(asking.ann, TAKEN)
        store, there, go_on = asking.ann.ledger, asyncio.Event(), asyncio.Event()
        loop, append = asyncio.get_running_loop(), store.append

        def slowly(records, **more):
            written = append(records, **more)
            loop.call_soon_threadsafe(there.set)
            asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()
            return written

        store.append = slowly
        writing = asyncio.create_task(put(asking.ann, RENEWED))
        await there.wait()
        asked = asyncio.create_task(asking.ask(store.stamp()))
        await asyncio.sleep(0)
        assert not asked.done()
        go_on.set()
        await writing
        return await asked

    assert asyncio.run(run())["known"] is True


def test_nothing_is_known_of_a_ledger_that_stands_nowhere(tmp_path):
    async def run():
        asking = Asking(tmp_path)
        await put(asking.ann, TAKEN)
        return await asking.ask("")

    assert asyncio.run(run())["known"] is False
