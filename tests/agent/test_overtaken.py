"""A look at the ledger before a switch: how old it may be, and what becomes of a ledger that is slow to answer."""

from __future__ import annotations

import dataclasses
import types

import pytest

from wakeline.agent import durable, overtaken
from wakeline.agent.home import Home
from wakeline.core.carrying_out import FRESH_S, LOOKS
from wakeline.core.records import GENESIS, Draft, chain
from wakeline.edges.ledgers import Log
from wakeline.errors import Interrupted

TAKEN = [Draft("lease-taken", {"fence": number, "holder": "ann", "length_s": 180}) for number in (1, 2)]
RECORDS = chain(TAKEN, ids=["a", "b"], previous=GENESIS, at="t", by="ann")


@dataclasses.dataclass
class SlowLedger:
    """Each read takes as long as is said, and finds as many records as there were when it began."""

    reads: list[tuple[float, int]]
    now_s: float = 1000.0

    def read_if_moved(self, _since: str) -> Log:
        seconds, count = self.reads.pop(0)
        self.now_s += seconds
        return Log(RECORDS[count - 1].hash, RECORDS[:count])


@pytest.fixture
def look(tmp_path, monkeypatch):
    home = Home(tmp_path, "shop", "uat")
    home.make()
    durable.write_json(home.folder / "config.json", {"ledger": "slow"})

    def begun(*reads: tuple[float, int]) -> tuple[overtaken.Watch, SlowLedger]:
        ledger = SlowLedger(list(reads))
        monkeypatch.setattr(overtaken, "open_ledger", lambda *_, **__: ledger)
        monkeypatch.setattr(overtaken, "time", types.SimpleNamespace(monotonic=lambda: ledger.now_s))
        return overtaken.Watch(home, "uat", 1), ledger

    return begun


SLOW = FRESH_S + 100.0


def test_law_8_a_second_look_whose_answer_was_long_under_way_is_made_again(look):
    """Found by the simulation (seed 7995): the second answer was 200 s old, and was believed."""
    watch, _ = look((SLOW, 1), (SLOW, 1), (0.1, 2))
    with pytest.raises(Interrupted, match="rollout 2 has taken over"):
        watch.check()


def test_a_ledger_that_is_always_slow_keeps_no_order_from_being_carried_out(look):
    watch, ledger = look(*[(SLOW, 1)] * (LOOKS + 1))
    watch.check()
    assert len(ledger.reads) == 1


def test_a_fresh_look_is_made_once(look):
    watch, ledger = look((FRESH_S / 2, 1), (FRESH_S / 2, 2))
    watch.check()
    assert len(ledger.reads) == 1
