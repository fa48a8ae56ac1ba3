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
from wakeline.errors import Interrupted, LedgerError

TAKEN = [Draft("lease-taken", {"fence": number, "holder": "ann", "length_s": 180}) for number in (1, 2)]
RECORDS = chain(TAKEN, ids=["a", "b"], previous=GENESIS, at="t", by="ann")


@dataclasses.dataclass
class SlowLedger:
    """Each read takes as long as is said, and finds as many records as there were when it began."""

    reads: list[tuple[float, int]]
    now_s: float = 1000.0

    stands_at: str = ""

    def stamp(self) -> str:
        if not self.stands_at:
            raise LedgerError("no answer")
        return self.stands_at

    def read_unless(self, known, **_held) -> Log | None:
        if known(self.stands_at):
            return None
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
        return overtaken.Watch(home, "uat", fence=1), ledger

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


def test_a_look_that_still_counts_is_asked_again_by_nobody(look):
    watch, ledger = look((0.1, 1), (0.1, 2))
    watch.begin()
    watch.check()
    watch.begin()
    watch.check()
    assert len(ledger.reads) == 1


def test_law_8_a_look_that_counts_no_longer_is_made_anew(look):
    watch, ledger = look((0.1, 1), (0.1, 2))
    watch.check()
    ledger.now_s += FRESH_S
    with pytest.raises(Interrupted, match="rollout 2 has taken over"):
        watch.check()


def test_a_look_that_will_soon_count_no_longer_is_made_anew_beside_other_work(look):
    watch, ledger = look((0.1, 1), (0.1, 2))
    watch.check()
    ledger.now_s += FRESH_S / 2
    watch.begin()
    with pytest.raises(Interrupted, match="rollout 2 has taken over"):
        watch.check()


def test_a_look_that_brought_no_news_is_made_again_though_it_was_just_now(look, monkeypatch):
    watch, ledger = look((0.1, 2))
    read = ledger.read_unless

    def cannot(_known, **_held):
        monkeypatch.setattr(ledger, "read_unless", read)
        raise LedgerError("no answer")

    monkeypatch.setattr(ledger, "read_unless", cannot)
    watch.check()
    watch.begin()
    with pytest.raises(Interrupted, match="rollout 2 has taken over"):
        watch.check()


def test_law_5_the_barrier_of_a_way_back_is_asked_for_now(look):
    watch, ledger = look((0.1, 1), (0.1, 2))
    watch.check()
    watch.barrier()
    assert ledger.reads == []


def given(watch: overtaken.Watch, **facts) -> overtaken.Watch:
    """The same order, with more that came with it."""
    for name, fact in facts.items():
        setattr(watch, name, fact)
    return watch


def early(watch: overtaken.Watch, *, told: str, stamp: str) -> overtaken.Watch:
    """The same order, with a look from before it came, when the runner had the ledger at `told`."""
    return given(watch, stamp=stamp, early=overtaken.EarlyLook(watch.home, told=told))


@pytest.mark.parametrize("found", ["s1", "s2"])
def test_a_look_from_before_the_order_came_spares_its_own(look, found):
    watch, ledger = look()
    ledger.stands_at = found
    watch = early(watch, told="s1", stamp="s2")
    watch.begin()
    watch.check()


@pytest.mark.parametrize(("found", "stamp"), [("s3", "s2"), ("", "s2"), ("s1", "")])
def test_law_8_a_look_from_before_the_order_came_that_found_news_or_nothing_is_made_again(look, found, stamp):
    """Without a stamp the runner knows of a hold that came meanwhile, and the machine must read for itself."""
    watch, ledger = look((0.1, 2))
    ledger.stands_at = found
    watch = early(watch, told="s1", stamp=stamp)
    with pytest.raises(Interrupted, match="rollout 2 has taken over"):
        watch.check()


def test_law_8_a_look_from_long_before_the_order_came_is_made_again(look):
    watch, ledger = look((0.1, 2))
    ledger.stands_at = "s1"
    watch = early(watch, told="s1", stamp="s2")
    ledger.now_s += FRESH_S
    with pytest.raises(Interrupted, match="rollout 2 has taken over"):
        watch.check()


def test_a_look_at_another_app_s_ledger_says_nothing(look, tmp_path):
    watch, ledger = look((0.1, 2))
    ledger.stands_at = "s1"
    watch = early(watch, told="s1", stamp="s2")
    watch = given(watch, home=Home(tmp_path, "shop", "production"))
    watch.home.make()
    durable.write_json(watch.home.folder / "config.json", {"ledger": "slow"})
    with pytest.raises(Interrupted, match="rollout 2 has taken over"):
        watch.check()


@dataclasses.dataclass
class Runner:
    """Answers what it is asked with the same words, each time."""

    word: dict
    asked: list[str] = dataclasses.field(default_factory=list)

    def ask(self, stamp: str, *, timeout_s: float) -> dict:
        assert timeout_s < FRESH_S, "the look would be too old by then"
        self.asked.append(stamp)
        return self.word


KNOWN = {"known": True, "barrier": 7}


def test_a_ledger_that_moved_is_read_by_nobody_where_the_runner_knows_it_and_is_asked_about_once(look):
    watch, ledger = look()
    runner = Runner(KNOWN)
    ledger.stands_at = "s2"
    watch = given(watch, stamp="s1", runner=runner)
    watch.check()
    ledger.now_s += 2 * FRESH_S
    watch.check()
    assert runner.asked == ["s2"]
    assert watch.barrier() == 7


def test_the_runner_is_asked_about_what_an_early_look_found(look):
    watch, ledger = look()
    runner = Runner(KNOWN)
    ledger.stands_at = "s3"
    watch = given(early(watch, told="s1", stamp="s2"), runner=runner)
    watch.check()
    assert runner.asked == ["s3"]


@pytest.mark.parametrize("word", [{}, {"known": False}, {"known": "yes"}, {"known": None}])
def test_law_8_a_ledger_that_moved_is_read_where_the_runner_does_not_say_that_it_knows_it(look, word):
    watch, ledger = look((0.1, 2))
    ledger.stands_at = "s2"
    watch = given(watch, stamp="s1", runner=Runner(word))
    with pytest.raises(Interrupted, match="rollout 2 has taken over"):
        watch.check()


def test_law_8_a_runner_that_had_something_against_the_order_as_it_sent_it_is_not_asked(look):
    watch, ledger = look((0.1, 2))
    runner = Runner(KNOWN)
    ledger.stands_at = "s2"
    watch = given(watch, stamp="", runner=runner)
    with pytest.raises(Interrupted, match="rollout 2 has taken over"):
        watch.check()
    assert runner.asked == []


@pytest.mark.parametrize("barrier", ["9", None, {}])
def test_a_barrier_that_is_no_number_is_none(look, barrier):
    watch, ledger = look()
    ledger.stands_at = "s2"
    watch = given(watch, stamp="s1", runner=Runner({"known": True, "barrier": barrier}))
    assert watch.barrier() == 0
