"""Laws 1 to 4 on the rollout itself: no doubles, events in and commands out."""

import dataclasses

import pytest

from core.fleets import FRONTEND, SCHEDULER, asleep, awake, failed, ok, refused, rollout, sent, stage, take, written
from wakeline.core.commands import End, GiveClaim, Knock, Send, Stop, Write
from wakeline.core.events import CheckedIn, Finished, OnceEnded, OnceVerified, OnceWanted, StopAsked
from wakeline.core.order import Outcome
from wakeline.core.rollout import ImpossibleEvent, advance, begin, nobody_waits_for
from wakeline.core.state import StagePlan


def test_every_machine_is_knocked_on_at_once():
    walk = rollout()
    assert begin(walk)[1] == [Knock("scheduler"), Knock("uat")]


def test_law_1_the_frontend_starts_only_after_the_scheduler_passed():
    walk, commands = take(rollout(), awake("uat"), awake("scheduler"))
    assert sent(commands) == ["scheduler"]
    walk, commands = take(walk, ok("scheduler"))
    assert sent(commands) == ["uat"]
    walk, commands = take(walk, ok("uat"))
    assert walk.ended == "passed"


def test_law_1_asleep_does_not_count_in_a_gate():
    first = stage("first", "a", "b", always=("a",))
    walk, commands = take(rollout(first, FRONTEND), awake("a"), asleep("b"), awake("uat"), ok("a"))
    assert walk.results["b"] is Outcome.ASLEEP
    assert sent(commands) == ["a", "uat"]


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.UNKNOWN])
def test_law_1_one_bad_on_demand_machine_closes_the_gate(outcome):
    first = stage("first", "a", "b", always=("a",))
    walk, commands = take(
        rollout(first, FRONTEND), awake("a"), awake("b"), awake("uat"), ok("a"), Finished("b", outcome, "lost")
    )
    assert walk.results["uat"] is Outcome.WITHHELD
    assert "uat" not in sent(commands)


def test_law_2_failed_scheduler_withholds_the_frontend_and_moves_no_approval():
    walk, commands = take(rollout(), awake("scheduler"), awake("uat"), failed("scheduler"))
    assert walk.results == {"scheduler": Outcome.FAILED, "uat": Outcome.WITHHELD}
    assert written(commands, "approved") == []
    assert walk.ended == "failed"


def test_law_2_a_stage_that_does_not_gate_may_let_the_rollout_go_on():
    canary = stage("canary", "c", gates=False, goes_on=True)
    walk, commands = take(rollout(canary, FRONTEND, lead="c"), awake("c"), awake("uat"), failed("c"))
    assert sent(commands) == ["c", "uat"]
    walk, _ = take(walk, ok("uat"))
    assert walk.ended == "failed"


def test_law_3_an_on_demand_machine_that_does_not_answer_is_asleep_and_the_run_is_good():
    walk, commands = take(rollout(), asleep("uat"), awake("scheduler"), ok("scheduler"))
    assert walk.results["uat"] is Outcome.ASLEEP
    assert walk.ended == "passed"
    assert [each["stage"] for each in written(commands, "approved")] == ["scheduler", "frontend"]


@pytest.mark.parametrize("knock", [asleep, refused])
def test_law_3_an_always_machine_that_cannot_be_reached_has_failed(knock):
    walk, _ = take(rollout(), knock("scheduler"), awake("uat"))
    assert walk.results == {"scheduler": Outcome.FAILED, "uat": Outcome.WITHHELD}


def test_law_3_a_machine_that_refuses_is_never_asleep():
    walk, commands = take(rollout(), awake("scheduler"), refused("uat"), ok("scheduler"))
    assert walk.results["uat"] is Outcome.FAILED
    assert written(commands, "outcome")[-1]["cause"] == "host key: changed"
    assert walk.ended == "failed"


def test_law_3_a_machine_never_reached_since_setup_is_not_asleep():
    walk, _ = take(rollout(reached_before=frozenset({"scheduler"})), awake("scheduler"), asleep("uat"), ok("scheduler"))
    assert walk.results["uat"] is Outcome.FAILED


def test_law_3_a_machine_that_had_begun_and_does_not_answer_is_unknown_not_asleep():
    walk, _ = take(rollout(sent_before=frozenset({"uat"})), awake("scheduler"), asleep("uat"), ok("scheduler"))
    assert walk.results["uat"] is Outcome.UNKNOWN


def test_law_4_a_doubled_event_starts_no_second_once_step():
    wanted = OnceWanted("scheduler", "migrate", "c1")
    walk, _ = take(rollout(), awake("scheduler"), wanted, OnceEnded("scheduler", "migrate", "c1", passed=True))
    assert take(walk, wanted)[1] == []


def test_that_an_order_is_sent_is_on_record_before_it_is_sent():
    _, commands = take(rollout(), awake("scheduler"))
    assert [type(each) for each in commands] == [Write, Send]
    assert written(commands, "sent") == [{"release": 7, "machines": ["scheduler"]}]


def test_law_3_a_machine_whose_check_in_is_newer_than_the_knock_is_knocked_on_again():
    walk, _ = take(rollout(), awake("scheduler"), asleep("uat"))
    walk, commands = take(walk, CheckedIn("uat"))
    assert commands == [Knock("uat")]
    walk, commands = take(walk, ok("scheduler"))
    assert not walk.ended, "it waits for the second knock"
    _, commands = take(walk, awake("uat"))
    assert sent(commands) == ["uat"]


def test_law_4_a_claim_is_on_record_before_the_lead_may_start():
    walk, _ = take(rollout(), awake("scheduler"), awake("uat"))
    walk, commands = take(walk, OnceWanted("scheduler", "migrate", "c1"))
    assert [type(each) for each in commands] == [Write, GiveClaim]
    assert written(commands, "claimed")[0]["claim"] == "c1"
    walk, commands = take(walk, OnceEnded("scheduler", "migrate", "c1", passed=True, breaks_older=True))
    assert written(commands, "receipt")[0]["breaks_older"] is True


def test_law_4_a_second_start_is_refused_while_the_first_is_open():
    walk, _ = take(rollout(), awake("scheduler"), OnceWanted("scheduler", "migrate", "c1"))
    _, commands = take(walk, OnceWanted("scheduler", "migrate", "c2"))
    assert [type(each) for each in commands] == [Stop]


def test_law_4_nothing_is_claimed_where_nothing_is_pending():
    walk, _ = take(rollout(), awake("scheduler"))
    _, commands = take(walk, OnceVerified("scheduler", "migrate"))
    assert written(commands, "claimed") == []
    assert written(commands, "receipt")[0]["how"] == "verified"


def test_law_5_a_follower_never_gets_a_claim():
    walk, _ = take(rollout(), awake("scheduler"), awake("uat"), ok("scheduler"))
    _, commands = take(walk, OnceWanted("uat", "migrate", "c1"))
    assert [type(each) for each in commands] == [Stop]


def test_a_running_once_step_is_never_signalled():
    walk, _ = take(rollout(), awake("scheduler"), awake("uat"), OnceWanted("scheduler", "migrate", "c1"))
    walk, commands = take(walk, StopAsked("Ctrl-C"))
    assert commands == []
    walk, _ = take(walk, OnceEnded("scheduler", "migrate", "c1", passed=True), ok("scheduler"))
    assert (walk.ended, walk.results["uat"]) == ("interrupted", Outcome.WITHHELD)


def test_law_4_a_lead_that_fails_with_its_claim_open_is_in_doubt_and_not_failed():
    walk, _ = take(rollout(), awake("scheduler"), awake("uat"), OnceWanted("scheduler", "migrate", "c1"))
    walk, commands = take(walk, failed("scheduler"))
    assert walk.results == {"scheduler": Outcome.UNKNOWN, "uat": Outcome.WITHHELD}
    assert [each["outcome"] for each in written(commands, "outcome")] == ["unknown", "withheld"]
    walk, _ = take(rollout(), awake("scheduler"), awake("uat"), OnceWanted("scheduler", "migrate", "c1"))
    walk, _ = take(walk, OnceEnded("scheduler", "migrate", "c1", passed=False), failed("scheduler"))
    assert walk.results["scheduler"] is Outcome.FAILED


def test_a_stop_reaches_every_running_machine_and_starts_nothing_new():
    first = stage("first", "a", "b", always=("a", "b"))
    walk, _ = take(rollout(first, FRONTEND), awake("a"), awake("b"), awake("uat"))
    walk, commands = take(walk, StopAsked("Ctrl-C"))
    assert [each.machine for each in commands] == ["a", "b"]
    walk, commands = take(walk, ok("a"), failed("b"))
    assert sent(commands) == []
    assert walk.ended == "interrupted"


def test_at_once_bounds_how_many_go_side_by_side():
    names = ("a", "b", "c")
    walk, commands = take(rollout(stage("all", *names, always=names), at_once={"all": 2}), *map(awake, names))
    assert sent(commands) == ["a", "b"]
    _, commands = take(walk, ok("b"))
    assert sent(commands) == ["c"]


class Counted(tuple):
    """A stage's machines, and how often somebody went over them."""

    times = 0

    def __iter__(self):
        type(self).times += 1
        return super().__iter__()


@pytest.mark.parametrize("waiting", [10, 200])
def test_machines_that_wait_for_their_turn_cost_one_look_each_and_not_one_at_all_others(waiting, monkeypatch):
    names = [f"m{number}" for number in range(waiting + 2)]
    walk = rollout(StagePlan("all", Counted(names), frozenset(), gates=False), at_once={"all": 2})
    walk, _ = take(walk, *map(awake, names))
    monkeypatch.setattr(Counted, "times", 0)
    _, commands = take(walk, ok("m0"))
    assert sent(commands) == ["m2"]
    assert Counted.times < 10  # went over all of them as often as machines waited: four seconds with five hundred


def test_a_rollback_to_what_passed_before_walks_on_over_a_broken_gate():
    walk = rollout(approved=frozenset({"scheduler", "frontend"}), rollback=True)
    walk, commands = take(walk, awake("scheduler"), awake("uat"), failed("scheduler"))
    assert "uat" in sent(commands)
    walk, _ = take(walk, ok("uat"))
    assert walk.ended == "failed"


def test_law_2_a_release_that_is_carried_on_stops_at_a_broken_gate_though_it_was_approved_once():
    """Found by the simulation (seed 3676): approvals of the first walk let the second one pass a failed stage."""
    walk = rollout(approved=frozenset({"scheduler", "frontend"}))
    walk, _ = take(walk, awake("scheduler"), awake("uat"), failed("scheduler"))
    assert walk.results["uat"] is Outcome.WITHHELD


def test_one_stage_alone_is_withheld_while_its_gate_has_not_passed():
    walk, _ = take(rollout(only_stage="frontend"), awake("uat"))
    assert walk.results == {"uat": Outcome.WITHHELD}
    walk, commands = take(rollout(only_stage="frontend", results={"scheduler": Outcome.OK}), awake("uat"))
    assert sent(commands) == ["uat"]


def test_late_and_doubled_events_are_ignored_on_purpose():
    walk, _ = take(rollout(), awake("scheduler"), awake("uat"), ok("scheduler"), ok("uat"))
    assert take(walk, ok("uat"), failed("scheduler"), asleep("uat")) == (walk, [])
    early, commands = take(rollout(), awake("scheduler"), ok("uat"))
    assert written(commands, "outcome") == []
    assert "uat" not in early.results


def test_an_event_from_a_machine_outside_the_release_is_impossible():
    with pytest.raises(ImpossibleEvent, match="stranger"):
        advance(rollout(), ok("stranger"))


def test_the_rollout_ends_with_its_outcome_on_record():
    _, commands = take(rollout(), awake("scheduler"), asleep("uat"), ok("scheduler"))
    assert commands[-1] == End("passed")
    assert written(commands, "release-ended") == [{"release": 7, "outcome": "passed"}]


def test_a_first_stage_that_sleeps_is_not_approved():
    walk, commands = take(rollout(FRONTEND, dataclasses.replace(SCHEDULER)), asleep("uat"), awake("scheduler"))
    walk, more = take(walk, ok("scheduler"))
    assert [each["stage"] for each in written(commands + more, "approved")] == ["scheduler"]


def test_law_5_in_the_leads_stage_the_others_start_when_the_lead_has_said_what_the_database_has():
    """Seen: they waited half a minute for a migration that took longer, and failed the stage."""
    web = stage("web", "b", "a", "c", always=("a", "b", "c"))
    walk = rollout(web, lead="a", once=frozenset({"migrate"}), at_once={"web": 1})
    walk, commands = take(walk, awake("b"), awake("c"), awake("a"))
    assert sent(commands) == ["a"]
    walk, commands = take(walk, OnceWanted("a", "migrate", "k1"), OnceEnded("a", "migrate", "k1", passed=True))
    assert sent(commands) == []  # one at once
    walk, commands = take(walk, ok("a"))
    assert sent(commands) == ["b"]


@pytest.mark.parametrize("word", [OnceVerified("a", "migrate"), failed("a")])
def test_the_others_of_the_leads_stage_go_on_as_soon_as_the_lead_has_spoken(word):
    walk = rollout(stage("web", "a", "b", always=("a", "b")), lead="a", once=frozenset({"migrate"}))
    walk, commands = take(walk, awake("b"), awake("a"))
    assert sent(commands) == ["a"]
    assert sent(take(walk, word)[1]) == ["b"]


def test_a_lead_that_is_asleep_keeps_nobody_waiting():
    walk = rollout(stage("web", "a", "b"), lead="a", once=frozenset({"migrate"}))
    assert sent(take(walk, awake("b"), asleep("a"))[1]) == ["b"]


def test_a_machine_on_hold_is_neither_knocked_at_nor_sent_an_order():
    walk, commands = begin(rollout(held={"uat": "demo at ten"}))
    assert commands == [Knock("scheduler")]
    walk, commands = take(walk, awake("scheduler"), ok("scheduler"))
    assert sent(commands) == ["scheduler"]
    assert written(commands, "outcome")[-1]["cause"] == "on hold: demo at ten"
    assert walk.results["uat"] is Outcome.WITHHELD


def test_law_1_on_hold_an_on_demand_machine_counts_as_one_that_sleeps():
    first = stage("first", "a", "b", always=("a",))
    walk, commands = take(rollout(first, FRONTEND, held={"b": ""}), awake("a"), awake("uat"), ok("a"), ok("uat"))
    assert sent(commands) == ["a", "uat"]
    assert [each["stage"] for each in written(commands, "approved")] == ["first", "frontend"]
    assert walk.ended == "passed"


def test_law_1_an_always_machine_on_hold_keeps_its_stage_from_passing_and_that_is_no_failure():
    walk, commands = begin(dataclasses.replace(rollout(), held={"scheduler": "audit"}))
    assert walk.results == {"scheduler": Outcome.WITHHELD, "uat": Outcome.WITHHELD}
    assert written(commands, "outcome")[1]["cause"] == "stage scheduler did not pass: scheduler is on hold"
    assert written(commands, "approved") == []
    assert commands[-1] == End("held")
    assert [each for each in commands if isinstance(each, Knock)] == []


def test_a_failure_beside_a_hold_is_a_failure():
    first = stage("first", "a", "b", always=("a", "b"))
    walk, _ = take(rollout(first, FRONTEND, held={"a": ""}), awake("b"), awake("uat"), failed("b"))
    assert walk.ended == "failed"


def test_law_3_what_a_machine_had_begun_before_it_was_put_on_hold_is_unknown():
    walk = rollout(held={"uat": "why"}, sent_before=frozenset({"uat"}))
    walk, _ = take(walk, awake("scheduler"), ok("scheduler"))
    assert walk.results["uat"] is Outcome.UNKNOWN
    assert walk.ended == "failed"


def test_a_machine_that_is_put_on_hold_in_the_middle_has_withheld_itself():
    stopped = Finished("uat", Outcome.WITHHELD, "stopped before the switch: uat is on hold", held=True)
    walk, _ = take(rollout(), awake("scheduler"), awake("uat"), ok("scheduler"), stopped)
    assert walk.ended == "passed"
    walk, _ = take(
        rollout(), awake("scheduler"), awake("uat"), ok("scheduler"), dataclasses.replace(stopped, held=False)
    )
    assert walk.ended == "failed"


def test_one_stage_alone_goes_behind_an_on_demand_machine_on_hold():
    first = stage("first", "a", "b", always=("a",))
    results = {"a": Outcome.OK, "b": Outcome.WITHHELD}
    _, commands = take(rollout(first, FRONTEND, only_stage="frontend", results=results, held={"b": ""}), awake("uat"))
    assert sent(commands) == ["uat"]


def test_law_4_the_end_of_a_once_step_is_told_by_the_lead_alone_and_of_the_step_that_was_claimed():
    """Claims stand on the ledger for every machine to read."""
    walk, _ = take(rollout(), awake("scheduler"), awake("uat"), OnceWanted("scheduler", "migrate", "k1"))
    for stranger in (
        OnceEnded("uat", "migrate", "k1", passed=True),
        OnceEnded("scheduler", "other", "k1", passed=True),
    ):
        walk, commands = take(walk, stranger)
        assert (commands, walk.open_claim) == ([], "k1")
    walk, commands = take(walk, OnceEnded("scheduler", "migrate", "k1", passed=True))
    assert len(written(commands, "receipt")) == 1


@pytest.mark.parametrize(("breaks_older", "may_wait"), [(False, True), (True, False)])
def test_what_the_database_says_anyway_is_recorded_with_the_next_record_and_a_barrier_at_once(breaks_older, may_wait):
    walk, _ = take(rollout(), awake("scheduler"))
    _, commands = take(walk, OnceVerified("scheduler", "migrate", breaks_older))
    assert [each.may_wait for each in commands if isinstance(each, Write)] == [may_wait]


def test_the_silence_of_those_who_alone_are_left_is_not_waited_out():
    walk = rollout(stage("first", "a", "b", "c", always=("a",)), FRONTEND)
    walk, _ = take(walk, awake("a"), awake("b"))
    assert nobody_waits_for(walk) == ()
    walk, _ = take(walk, ok("a"))
    assert nobody_waits_for(walk) == (), "b is still at work"
    walk, _ = take(walk, ok("b"))
    assert nobody_waits_for(walk) == ("c",)
    walk, _ = take(walk, asleep("c"))
    assert nobody_waits_for(walk) == ("uat",)


@pytest.mark.parametrize(
    "changes",
    [
        {"sent_before": frozenset({"uat"})},
        {"failed_before": frozenset({"uat"})},
        {"reached_before": frozenset({"scheduler"})},
    ],
)
def test_law_3_a_silence_that_is_no_sleep_is_waited_out(changes):
    walk, _ = take(rollout(**changes), awake("scheduler"), ok("scheduler"))
    assert nobody_waits_for(walk) == ()


def test_law_3_the_silence_of_an_always_machine_is_waited_out_and_so_is_that_of_the_whole_fleet():
    walk, _ = take(rollout(stage("first", "a", "b", always=("a", "b"))), awake("a"), ok("a"))
    assert nobody_waits_for(walk) == ()
    assert nobody_waits_for(rollout(stage("only", "a"))) == ()
