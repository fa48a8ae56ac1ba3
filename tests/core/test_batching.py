"""A record waits for others of its kind only as long as nobody waits for it."""

import pytest

from core.fleets import asleep, awake, failed, ok, rollout, stage, take
from wakeline.core.batching import may_wait
from wakeline.core.commands import Prepare
from wakeline.core.events import Event, Finished, OnceVerified, OnceWanted, StopAsked
from wakeline.core.order import Outcome

TWO = stage("first", "a", "b", always=("a", "b"))
THIRD = stage("second", "c", always=("c",))
BOTH_RUN = (awake("a"), awake("b"))
CASES = [
    ("an order, while another machine of the stage has not answered", (), (awake("a"),), True),
    ("orders, when all have answered", (), BOTH_RUN, False),
    ("an order, while a machine of a later stage has not answered", BOTH_RUN[:1], (awake("b"),), False),
    ("a machine that passed, while another still runs", BOTH_RUN, (ok("a"),), True),
    ("the last machine of the stage", (*BOTH_RUN, ok("a")), (ok("b"),), False),
    ("both at once", BOTH_RUN, (ok("a"), ok("b")), False),
    ("a machine that had it already", BOTH_RUN, (Finished("a", Outcome.UNCHANGED),), True),
    ("a machine that failed", BOTH_RUN, (failed("a"),), False),
    ("a machine that failed behind one that passed", BOTH_RUN, (ok("a"), failed("b")), False),
    ("a machine that is asleep", (awake("a"),), (asleep("b"),), False),
    ("a claim", BOTH_RUN, (OnceWanted("a", "migrate", "claim", False),), False),
    ("what the database has", BOTH_RUN, (OnceVerified("a", "migrate", False),), False),
    ("a stop", BOTH_RUN, (ok("a"), StopAsked("Ctrl-C")), False),
]


@pytest.mark.parametrize(("before", "now", "waits"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_may_wait(before: tuple[Event, ...], now: tuple[Event, ...], waits: bool):
    walk, _ = take(rollout(TWO, THIRD, lead="a"), *before)
    walk, commands = take(walk, *now)
    assert may_wait(walk, [each for each in commands if not isinstance(each, Prepare)]) is waits


def test_a_machine_that_passed_never_keeps_the_next_one_waiting_for_its_turn():
    walk, _ = take(rollout(TWO, THIRD, lead="a", at_once={"first": 1}), *BOTH_RUN)
    walk, commands = take(walk, ok("a"))
    assert may_wait(walk, commands) is False


def test_nothing_to_record_waits_for_nothing():
    walk, _ = take(rollout(TWO, THIRD, lead="a"), *BOTH_RUN)
    assert may_wait(walk, []) is False
