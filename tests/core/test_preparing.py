"""What later stages may do while a gate is still at work: fetch and lay out, never run (law 1)."""

from __future__ import annotations

import pytest

from core.fleets import FRONTEND, SCHEDULER, asleep, awake, failed, ok, refused, rollout, sent, stage, take
from wakeline.core.commands import Knock, Prepare
from wakeline.core.events import Finished, OnceWanted, Prepared, StopAsked
from wakeline.core.order import SCRIPT, Layout, Order, Outcome, Step
from wakeline.core.rollout import PREPARE_AT_ONCE, starts_early

BOTH = frozenset({"scheduler", "uat"})


def prepares(commands) -> list[str]:
    return [command.machine for command in commands if isinstance(command, Prepare)]


def test_law_1_a_later_stage_is_prepared_and_sent_nothing_before_the_gate_has_passed():
    walk, commands = take(rollout(preparable=BOTH), awake("scheduler"), awake("uat"), Prepared("uat"))
    assert (sent(commands), prepares(commands)) == (["scheduler"], ["scheduler", "uat"])
    _, commands = take(walk, ok("scheduler"))
    assert (sent(commands), prepares(commands)) == (["uat"], ["uat"])


def test_law_1_what_was_prepared_behind_a_gate_that_failed_is_withheld():
    walk, commands = take(
        rollout(preparable=BOTH), awake("uat"), Prepared("uat"), awake("scheduler"), failed("scheduler")
    )
    assert walk.results["uat"] is Outcome.WITHHELD
    assert sent(commands) == ["scheduler"]


def test_a_machine_prepares_while_its_order_is_put_on_record_and_before_anybody_who_waits_for_it():
    _, commands = take(rollout(preparable=BOTH), awake("scheduler"), awake("uat"))
    assert [type(command).__name__ for command in commands] == ["Prepare", "Write", "Send", "Prepare"]
    assert prepares(commands) == ["scheduler", "uat"]


def test_who_waits_for_its_turn_in_the_same_stage_prepares_as_well():
    both = stage("all", "a", "b", always=("a",))
    _, commands = take(rollout(both, at_once={"all": 1}, preparable=frozenset("ab")), awake("a"), awake("b"))
    assert (sent(commands), prepares(commands)) == (["a"], ["a", "b"])


def test_law_5_who_waits_for_the_lead_in_its_own_stage_prepares_as_well():
    both = stage("all", "scheduler", "b", always=("scheduler",))
    walk = rollout(both, once=frozenset({"migrate"}), preparable=frozenset({"scheduler", "b"}))
    _, commands = take(walk, awake("scheduler"), awake("b"))
    assert (sent(commands), prepares(commands)) == (["scheduler"], ["scheduler", "b"])


@pytest.mark.parametrize("knock", [asleep, refused])
def test_who_does_not_answer_prepares_nothing(knock):
    _, commands = take(rollout(preparable=BOTH), awake("scheduler"), knock("uat"))
    assert prepares(commands) == ["scheduler"]


def test_a_machine_that_wakes_while_the_gate_is_at_work_prepares_as_well():
    walk, _ = take(rollout(preparable=BOTH), awake("scheduler"), asleep("uat"))
    _, commands = take(walk, awake("uat"))
    assert prepares(commands) == ["uat"]


@pytest.mark.parametrize(
    "changes",
    [
        {"preparable": frozenset({"scheduler"})},
        {"held": {"uat": "somebody works on it"}},
        {"reached_before": frozenset({"scheduler"})},
    ],
)
def test_in_place_on_hold_or_never_set_up_prepares_nothing(changes):
    _, commands = take(rollout(**{"preparable": BOTH, **changes}), awake("scheduler"), awake("uat"))
    assert prepares(commands) == ["scheduler"]


@pytest.mark.parametrize("end", [StopAsked("Ctrl-C"), StopAsked("the lease was taken over"), failed("scheduler")])
def test_a_rollout_that_comes_to_nothing_prepares_nothing_more(end):
    behind = stage("behind", "b")
    first = stage("first", "scheduler", "other", always=("scheduler",))
    walk, _ = take(rollout(first, behind, preparable=frozenset({"b"})), awake("scheduler"), awake("other"), end)
    _, commands = take(walk, awake("b"))
    assert prepares(commands) == []


def test_a_machine_is_asked_once_however_often_it_is_heard_of():
    walk, commands = take(rollout(preparable=BOTH), awake("scheduler"), awake("uat"), Prepared("uat"), awake("uat"))
    _, more = take(walk, Prepared("uat"), OnceWanted("scheduler", "migrate", "c1"))
    assert prepares([*commands, *more]) == ["scheduler", "uat"]


def test_only_so_many_ask_the_remote_at_once_and_the_nearest_stage_goes_first():
    near, far = stage("near", *(f"n{i}" for i in range(4))), stage("far", *(f"f{i}" for i in range(4)))
    names = [*near.machines, *far.machines]
    walk = rollout(SCHEDULER, near, far, preparable=frozenset(names))
    walk, commands = take(walk, awake("scheduler"), *(awake(name) for name in names))
    assert prepares(commands) == names[:PREPARE_AT_ONCE]
    assert prepares(take(walk, Prepared("n2"))[1]) == [names[PREPARE_AT_ONCE]]


def test_one_stage_alone_prepares_no_other():
    walk = rollout(SCHEDULER, FRONTEND, preparable=BOTH, only_stage="scheduler")
    _, commands = take(walk, awake("scheduler"), ok("scheduler"))
    assert prepares(commands) == ["scheduler"]


def test_an_order_goes_out_while_its_machine_still_prepares():
    _, commands = take(rollout(preparable=BOTH), awake("scheduler"), awake("uat"), ok("scheduler"))
    assert sent(commands) == ["scheduler", "uat"]


def test_law_3_a_machine_that_failed_this_release_and_does_not_answer_now_is_failed_and_not_asleep():
    walk, _ = take(rollout(failed_before=frozenset({"uat"})), awake("scheduler"), asleep("uat"), ok("scheduler"))
    assert (walk.results["uat"], walk.ended) == (Outcome.FAILED, "failed")


def test_law_1_an_order_whose_fetch_touches_what_runs_may_not_be_prepared():
    order = Order("shop", "uat", "web", "all", 1, "c" * 40, "git", "main", "/srv", steps=(Step("build", "make"),))
    in_place = Order(
        *(order.app, order.environment, "web", "all", 1, "c", "git", "main", "/srv"), layout=Layout.IN_PLACE
    )
    script = Order(*("shop", "uat", "web", "all", 1, "c", "git", "main", "/srv"), steps=(Step(SCRIPT, "sh deploy"),))
    assert [each.may_be_prepared for each in (order, in_place, script)] == [True, False, False]


def test_law_3_a_machine_that_went_while_it_only_prepared_is_knocked_at_again_and_may_be_asleep():
    walk, commands = take(rollout(preparable=BOTH), awake("scheduler"), awake("uat"), Prepared("uat", gone=True))
    assert Knock("uat") in commands
    walk, commands = take(walk, ok("scheduler"))
    assert sent(commands) == []
    walk, _ = take(walk, asleep("uat"))
    assert (walk.results["uat"], walk.ended) == (Outcome.ASLEEP, "passed")


def test_law_3_a_machine_whose_order_is_out_is_not_knocked_at_again():
    walk, _ = take(rollout(preparable=BOTH), awake("scheduler"), awake("uat"), ok("scheduler"))
    walk, commands = take(walk, Prepared("uat", gone=True))
    assert (commands, walk.running) == ([], {"uat"})


def test_a_late_word_of_what_was_prepared_changes_nothing():
    walk, _ = take(rollout(preparable=BOTH), awake("scheduler"), awake("uat"), ok("scheduler"))
    walk, commands = take(walk, Finished("uat", Outcome.OK), Prepared("uat"))
    assert (walk.ended, prepares(commands)) == ("passed", [])


def test_one_whose_order_comes_next_looks_at_the_ledger_ahead_also_when_it_has_prepared():
    walk, commands = take(rollout(preparable=BOTH), awake("scheduler"), awake("uat"), Prepared("uat"))
    assert [(each.machine, each.due) for each in commands if isinstance(each, Prepare)] == [
        ("scheduler", True),
        ("uat", False),
    ]
    _, commands = take(walk, ok("scheduler"))
    assert [each for each in commands if isinstance(each, Prepare)] == [Prepare("uat", due=True)]


def test_one_that_still_prepares_when_its_order_is_due_is_not_asked_twice():
    walk, _ = take(rollout(preparable=BOTH), awake("scheduler"), awake("uat"))
    assert prepares(take(walk, ok("scheduler"))[1]) == []


def test_only_as_many_of_a_stage_prepare_as_get_their_orders_at_once():
    """On each of five hundred machines an agent would wait for a turn that is minutes away, and end before it comes."""
    names = [f"n{number}" for number in range(5)]
    walk = rollout(SCHEDULER, stage("many", *names), at_once={"many": 2}, preparable=frozenset(names))
    walk, commands = take(walk, awake("scheduler"), asleep("n0"), *(awake(name) for name in names[1:]))
    assert prepares(commands) == ["n1", "n2"]
    _, commands = take(walk, Prepared("n1"), Prepared("n2"), ok("scheduler"))
    assert (sent(commands), prepares(commands)[2:]) == (["n1", "n2"], ["n3", "n4"])


def test_only_as_many_agents_of_a_stage_wait_for_their_order_as_get_it_at_once():
    names = ("n0", "n1", "n2")
    walk = rollout(SCHEDULER, stage("many", *names), at_once={"many": 2}, held={"n1": "somebody works on it"})
    assert [starts_early(walk, name, waiting=()) for name in names] == [True, False, True]
    assert [starts_early(walk, "n2", waiting=waiting) for waiting in (("n0",), ("n0", "n1"), ("n2",))] == [
        True,
        False,
        False,
    ]
