"""A record waits for others of its kind only as long as nobody waits for it."""

import pytest

from core.fleets import asleep, awake, failed, ok, rollout, stage, take
from wakeline.core.batching import LONGEST_S, MOMENT_S, waits_s
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
    wanted = [each for each in commands if not isinstance(each, Prepare)]
    assert waits_s(walk, wanted, waited_s=0.0) == (MOMENT_S if waits else 0.0)


def test_a_machine_that_passed_never_keeps_the_next_one_waiting_for_its_turn():
    walk, _ = take(rollout(TWO, THIRD, lead="a", at_once={"first": 1}), *BOTH_RUN)
    walk, commands = take(walk, ok("a"))
    assert waits_s(walk, commands, waited_s=0.0) == 0.0


def test_nothing_to_record_waits_for_nothing():
    walk, _ = take(rollout(TWO, THIRD, lead="a"), *BOTH_RUN)
    assert waits_s(walk, [], waited_s=0.0) == 0.0


@pytest.mark.parametrize(
    ("waited_s", "order_s", "passed_s"),
    [
        (0.0, MOMENT_S, MOMENT_S),
        (MOMENT_S, 0.0, MOMENT_S),
        (LONGEST_S - MOMENT_S / 4, 0.0, MOMENT_S / 4),
        (LONGEST_S + 1.0, 0.0, 0.0),
    ],
)
def test_an_order_waits_a_moment_in_all_and_a_machine_that_passed_a_moment_after_each(waited_s, order_s, passed_s):
    walk, commands = take(rollout(TWO, THIRD, lead="a"), awake("a"))
    orders = [each for each in commands if not isinstance(each, Prepare)]
    assert waits_s(walk, orders, waited_s=waited_s) == pytest.approx(order_s)
    walk, _ = take(walk, awake("b"))
    walk, commands = take(walk, ok("a"))
    assert waits_s(walk, commands, waited_s=waited_s) == pytest.approx(passed_s)
