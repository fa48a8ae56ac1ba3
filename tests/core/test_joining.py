"""A machine that joins between two releases: laws 5, 6 and 8, and what the fold makes of its approval."""

from core.test_state import BOTH, STAGES, approved, made, outcome, set_up, state, taken
from wakeline.core.behind import behind_since
from wakeline.core.catch_up import Verdict
from wakeline.core.catch_up import decide as wakes
from wakeline.core.joining import Joins, Waits, decide
from wakeline.core.model import Fleet, Machine, Presence, Stage

FREED = ("lease-freed", {"fence": 1})
BARRIER = ("receipt", {"fence": 1, "release": 2, "step": "migrate", "breaks_older": True})


def stage(name: str, *machines: str, gates: bool = False):
    presence = Presence.ALWAYS if gates else Presence.ON_DEMAND
    return Stage(name, tuple(Machine(each, f"ubuntu@{each}", presence) for each in machines), gates=gates)


SCHEDULER = stage("scheduler", "scheduler", gates=True)


def fleet(*stages: Stage):
    return Fleet("shop", "uat", stages or (SCHEDULER, stage("frontend", "uat", "extra")), "scheduler")


def good(number: int, **more):
    return [made(number, **more), *approved(number, *BOTH), outcome(number, "scheduler", "ok")]


def joined(number: int, name: str = "extra", where: str = "frontend", **more):
    return ("approved", {"release": number, "stage": where, "machine": name, "presence": "on-demand", **more})


def test_a_machine_that_is_new_joins_the_newest_release_that_is_approved_for_its_stage():
    assert decide(state(taken(), *good(1), *good(2), FREED), fleet(), "extra") == Joins(2, "frontend")


def test_law_6_what_has_not_passed_its_gate_is_not_approved_for_a_new_machine():
    now = state(taken(), *good(1), made(2), outcome(2, "scheduler", "failed"), FREED)
    assert decide(now, fleet(), "extra") == Joins(1, "frontend")
    nothing = state(taken(), made(1), outcome(1, "scheduler", "failed"), FREED)
    assert isinstance(decide(nothing, fleet(), "extra"), Waits)


def test_law_6_in_the_first_stage_only_what_has_passed_there():
    first = fleet(stage("scheduler", "scheduler", "extra", gates=True), stage("frontend", "uat"))
    passed_behind = state(taken(), *good(1), made(2), *approved(2, "frontend"), FREED)
    assert decide(passed_behind, first, "extra") == Joins(1, "scheduler")
    brand_new = fleet(stage("canary", "extra"), SCHEDULER, stage("frontend", "uat"))
    answer = decide(state(taken(), *good(1), FREED), brand_new, "extra")
    assert isinstance(answer, Waits)
    assert "no release has passed the gates of stage canary" in answer.why


def test_law_6_a_stage_that_is_new_takes_what_has_passed_every_gate_ahead_of_it():
    added = fleet(SCHEDULER, stage("extra", "extra"), stage("frontend", "uat"))
    assert decide(state(taken(), *good(1), FREED), added, "extra") == Joins(1, "extra", "frontend")
    unproven = state(taken(), *good(1), made(2), *approved(2, "frontend"), outcome(2, "scheduler", "failed"), FREED)
    assert decide(unproven, added, "extra") == Joins(1, "extra", "frontend")
    gate = fleet(SCHEDULER, stage("database", "replica", gates=True), stage("extra", "extra"))
    assert isinstance(decide(state(taken(), *good(1), FREED), gate, "extra"), Waits)


def test_law_2_a_new_stage_waits_behind_a_machine_that_may_have_failed_unless_its_stage_lets_others_go_on():
    """Found by the simulation: a rollout stops behind `unknown`, and a machine that joined was let by."""
    behind = stage("extra", "extra")
    unknown = state(taken(), *good(1), outcome(1, "uat", "unknown"), FREED)
    assert isinstance(decide(unknown, fleet(SCHEDULER, stage("frontend", "uat"), behind), "extra"), Waits)
    stages = [STAGES[0], {**STAGES[1], "goes_on": True}]
    goes_on = state(taken(), *good(1, stages=stages), outcome(1, "uat", "unknown"), FREED)
    assert decide(goes_on, fleet(SCHEDULER, stage("frontend", "uat"), behind), "extra") == Joins(1, "extra")


def test_law_10_a_release_that_is_held_in_the_stage_is_not_joined():
    now = state(taken(), *good(1), *good(2), outcome(2, "uat", "failed"), FREED)
    assert decide(now, fleet(), "extra") == Joins(1, "frontend")


def test_law_5_nothing_below_the_barrier_is_joined():
    now = state(taken(), *good(1), made(2), BARRIER, outcome(2, "scheduler", "failed"), FREED)
    answer = decide(now, fleet(), "extra")
    assert isinstance(answer, Waits)
    assert "the schema has moved on since release 1" in answer.why


def test_law_8_nobody_joins_beside_a_rollout_that_does_not_know_of_it():
    answer = decide(state(taken(), *good(1)), fleet(), "extra")
    assert isinstance(answer, Waits)
    assert answer.again


def test_one_that_has_an_order_in_the_present_release_does_not_join_again():
    now = state(taken(), *good(1), FREED)
    assert decide(now, fleet(), "uat") is None
    assert decide(now, fleet(), "stranger") is None
    assert decide(state(), fleet(), "uat") is None, "before the first release nobody waits for one"
    assert isinstance(decide(state(taken(), made(1)), fleet(), "extra"), Waits)
    assert decide(state(taken(), *good(1), FREED, joined(1)), fleet(), "extra") is None


def test_law_6_an_approval_for_one_machine_is_for_that_one_alone():
    now = state(taken(), *good(1), FREED, joined(1))
    decision = wakes(now, machine="extra", runs=0)
    assert (decision.verdict, decision.release, decision.name) == (Verdict.RUN, 1, "extra")
    release = now.releases[1]
    assert now.approval(release, "extra").body["machine"] == "extra"
    assert "machine" not in now.approval(release, "uat").body
    assert release.stage("frontend").machines == ("uat", "extra")


def test_a_stage_that_a_machine_brought_with_it_stands_where_the_fleet_file_has_it():
    now = state(taken(), *good(1), FREED, joined(1, where="canary", gates=False, before="frontend"))
    assert [each.name for each in now.releases[1].stages] == ["scheduler", "canary", "frontend"]
    assert "canary" in now.releases[1].approved
    assert wakes(now, machine="extra", runs=0).release == 1


def test_a_machine_that_joined_misses_nothing_from_before():
    now = state(taken(), *good(1), *good(2), FREED)
    assert behind_since(now, "extra") == ""
    assert behind_since(state(taken(), *good(1), FREED, joined(1)), "extra") == "t"


def test_an_approval_for_a_machine_in_a_release_that_nobody_made_is_ignored():
    assert state(joined(1)).releases == {}


def test_who_is_new_is_told_apart_from_who_is_retired():
    now = state(taken(), *good(1), made(2, stages=STAGES[:1]), *approved(2, "scheduler"))
    retired = wakes(now, machine="uat", runs=1)
    assert (retired.verdict, retired.release, retired.stage) == (Verdict.RETIRED, 2, "scheduler")
    new = wakes(now, machine="extra", runs=0)
    assert (new.verdict, "wakeline setup extra" in new.why) == (Verdict.NOTHING, True)


def renamed(stages=STAGES):
    front = {**stages[1], "machines": [{"name": "web", "presence": "on-demand", "renamed_from": "uat"}]}
    return [stages[0], front]


def test_a_renamed_machine_is_known_by_both_names():
    now = state(
        set_up("uat"), ("held", {"machine": "uat", "why": "demo"}), taken(), *good(1), *good(2, stages=renamed())
    )
    assert dict(now.machines) == {"web": "id of uat"}
    assert dict(now.holds) == {"web": "demo"}
    assert wakes(now, machine="uat", runs=1).verdict is Verdict.HELD


def test_a_renamed_machine_that_slept_takes_the_order_that_has_its_new_name():
    now = state(taken(), *good(1), *good(2, stages=renamed()))
    decision = wakes(now, machine="uat", runs=1)
    assert (decision.verdict, decision.release, decision.name) == (Verdict.RUN, 2, "web")
    held = state(taken(), *good(1), made(2, stages=renamed()))
    assert wakes(held, machine="web", runs=0).name == "uat", "what was approved before is under the old name"


def test_a_name_that_is_in_use_again_is_a_machine_of_its_own():
    both = [*renamed(), {"name": "more", "gates": False, "machines": [{"name": "uat", "presence": "on-demand"}]}]
    now = state(set_up("uat"), taken(), *good(1), *good(2, stages=renamed()), made(3, stages=both))
    assert now.names_of("uat") == ("uat",)
    assert now.names_of("web") == ("web",)


def test_setup_under_a_new_name_moves_what_was_known_of_the_old_one():
    now = state(set_up("uat", unsigned=True), set_up("web", renamed_from="uat"))
    assert (dict(now.machines), now.unsigned) == ({"web": "id of web"}, frozenset())
    assert now.names_of("uat") == ("uat", "web")
