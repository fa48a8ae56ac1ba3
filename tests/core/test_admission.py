"""Which request becomes which release: laws 4, 8 and 10 at the door."""

from core.test_state import BOTH, approved, claimed, made, outcome, state, taken
from wakeline.core.admission import (
    Ancestry,
    Blocked,
    CarryOn,
    NewRelease,
    Refused,
    approved_at_once,
    deploy,
    first_in_line,
    leave,
    rollback,
)

FRESH = Ancestry()


def good(number: int, **more):
    return [made(number, **more), *approved(number, *BOTH), outcome(number, "scheduler", "ok")]


def ended(number: int, outcome: str):
    return ("release-ended", {"fence": 1, "release": number, "outcome": outcome})


def ask(now, commit: str = "c9", ancestry: Ancestry = FRESH, **more):
    return deploy(now, commit=commit, pins={}, ancestry=ancestry, **more)


def test_the_first_release_is_number_one():
    assert ask(state()) == NewRelease(1, "c9", {})


def test_law_4_an_open_claim_blocks_deploy_and_rollback():
    now = state(taken(), *good(1), claimed())
    for answer in (ask(now), rollback(now)):
        assert isinstance(answer, Refused)
        assert answer.blocked is Blocked.IN_DOUBT
        assert "wakeline resolve migrate" in answer.hint


def test_law_4_a_machine_with_an_open_claim_is_not_left():
    now = state(taken(), *good(1), claimed())
    answer = leave(now, machines={"scheduler", "uat"})
    assert isinstance(answer, Refused)
    assert "was started on scheduler" in answer.why
    assert leave(now, machines={"uat"}) is None


def test_an_unfinished_release_is_carried_on():
    assert ask(state(taken(), made(1)), "c1") == CarryOn(1)
    assert ask(state(taken(), made(1), outcome(1, "uat", "unknown")), "c1") == CarryOn(1)


def test_law_10_a_failed_release_is_tried_again_only_by_retry_with_a_new_number():
    now = state(taken(), made(1), outcome(1, "scheduler", "failed"))
    answer = ask(now, "c1")
    assert isinstance(answer, Refused)
    assert answer.blocked is Blocked.FAILED_BEFORE
    assert "wakeline retry" in answer.hint
    assert ask(now, "c1", again=True) == NewRelease(2, "c1", {})


def test_law_8_a_rerun_job_does_not_turn_the_fleet_back():
    answer = ask(state(taken(), *good(1), *good(2)), "c1", Ancestry(older_than_newest=True))
    assert isinstance(answer, Refused)
    assert answer.blocked is Blocked.OLDER


def test_law_8_one_stage_of_an_older_release_is_superseded():
    answer = ask(state(taken(), *good(1), *good(2)), "c1", Ancestry(older_than_newest=True), after="frontend")
    assert isinstance(answer, Refused)
    assert answer.blocked is Blocked.SUPERSEDED


def test_law_8_the_last_request_goes_and_a_rollback_before_a_deploy():
    def asked(name, what):
        return ("requested", {"request": name, "what": what, "commit": ""})

    assert first_in_line(state(asked("a", "deploy"), asked("b", "deploy")).requests).id == "b"
    assert first_in_line(state(asked("a", "rollback"), asked("b", "deploy")).requests).id == "a"
    assert first_in_line({}) is None


def test_another_repository_that_moved_makes_a_new_release():
    now = state(taken(), *good(1, pins={"frontend": "f1"}))
    assert deploy(now, commit="c1", pins={"frontend": "f1"}, ancestry=FRESH) == CarryOn(1)
    assert deploy(now, commit="c1", pins={"frontend": "f2"}, ancestry=FRESH) == NewRelease(2, "c1", {"frontend": "f2"})


def test_rollback_makes_a_higher_release_of_the_last_good_commit():
    answer = rollback(state(taken(), *good(1), *good(2)))
    assert answer == NewRelease(3, "c1", {}, rollback_to=1)


def test_law_6_a_rollback_is_approved_at_once_where_what_it_goes_back_to_has_passed_as_far_as_is_known_by_now():
    back = [*good(1), *good(2), made(3, commit="c1", rollback_to=1)]
    now = state(taken(), *back)
    assert approved_at_once(now, now.releases[3]) == frozenset(BOTH)
    now = state(taken(), *back, outcome(1, "uat", "failed"))
    assert approved_at_once(now, now.releases[3]) == {"scheduler"}
    assert approved_at_once(now, now.releases[2]) == frozenset()


def test_rollback_skips_what_failed():
    bad = [made(2), *approved(2, "scheduler"), outcome(2, "uat", "failed")]
    answer = rollback(state(taken(), *good(1), *bad, *good(3)))
    assert isinstance(answer, NewRelease)
    assert answer.rollback_to == 1


def test_rollback_to_one_that_failed_is_refused():
    answer = rollback(state(taken(), *good(1), made(2), outcome(2, "uat", "failed"), *good(3)), to=2)
    assert isinstance(answer, Refused)
    assert answer.why == "release 2 did not pass"


def test_a_second_rollback_goes_further_back():
    left = ("commits-refused", {"commits": ["c3"], "why": "rolled back"})
    now = state(taken(), *good(1), *good(2), *good(3), left, *good(4, commit="c2", rollback_to=2), ended(4, "passed"))
    answer = rollback(now)
    assert isinstance(answer, NewRelease)
    assert answer.rollback_to == 1


def test_law_5_no_rollback_goes_below_the_barrier():
    receipt = ("receipt", {"fence": 1, "release": 2, "step": "migrate", "breaks_older": True})
    answer = rollback(state(taken(), *good(1), *good(2), receipt))
    assert isinstance(answer, Refused)
    assert "schema" in answer.why


def test_a_held_fleet_takes_nothing():
    now = state(("held", {"machine": "", "why": "audit"}))
    answer = ask(now)
    assert isinstance(answer, Refused)
    assert "audit" in answer.why


def test_after_a_rollback_what_was_left_is_refused_until_a_newer_commit():
    answer = ask(state(taken(), *good(1)), "c0", Ancestry(refused_by="c5"))
    assert isinstance(answer, Refused)
    assert answer.blocked is Blocked.HELD


def test_the_first_stage_begins_a_release_and_the_next_carries_it_on():
    now = state(taken(), made(1), outcome(1, "scheduler", "ok"))
    assert ask(now, "c1", after="frontend") == CarryOn(1)


def test_a_later_stage_begins_nothing():
    for answer in (ask(state(), after="frontend"), rollback(state(taken(), *good(1)), after="frontend")):
        assert isinstance(answer, Refused)
        assert answer.blocked is Blocked.NOT_BEGUN
        assert "first stage" in answer.hint


def test_another_repository_that_moves_between_two_stages_does_not_stop_the_second():
    now = state(taken(), made(1, pins={"front": "f1"}), outcome(1, "scheduler", "ok"))
    answer = deploy(now, commit="c1", pins={"front": "f2"}, ancestry=FRESH, after="frontend")
    assert answer == CarryOn(1)


def test_a_stage_behind_one_that_failed_is_walked_to_be_withheld_and_one_that_failed_itself_wants_a_retry():
    assert ask(state(taken(), made(1), outcome(1, "scheduler", "failed")), "c1", after="frontend") == CarryOn(1)
    answer = ask(state(taken(), made(1), outcome(1, "uat", "failed")), "c1", after="frontend")
    assert isinstance(answer, Refused)
    assert answer.blocked is Blocked.FAILED_BEFORE


def test_the_next_stage_of_a_rollback_carries_on_the_one_that_was_begun():
    now = state(taken(), *good(1), *good(2), made(3, commit="c1", rollback_to=1))
    assert rollback(now, after="frontend") == CarryOn(3)
    assert rollback(now, to=1, after="frontend") == CarryOn(3)
    assert isinstance(rollback(now, to=2, after="frontend"), Refused)


def test_a_rollback_that_was_cut_short_is_carried_on_and_does_not_go_further_back():
    left = ("commits-refused", {"commits": ["c3"], "why": "rolled back"})
    begun = [*good(1), *good(2), *good(3), left, made(4, commit="c2", rollback_to=2)]
    for more in ((), (ended(4, "interrupted"),), (ended(4, "held"),)):
        assert rollback(state(taken(), *begun, *more)) == CarryOn(4)
    answer = rollback(state(taken(), *begun, ended(4, "passed")))
    assert isinstance(answer, NewRelease)
    assert answer.rollback_to == 1


def test_rollback_goes_back_to_the_same_commit_where_another_repository_had_moved():
    moved = [*good(1, commit="c", pins={"front": "f1"}), *good(2, commit="c", pins={"front": "f2"})]
    answer = rollback(state(taken(), *moved))
    assert isinstance(answer, NewRelease)
    assert (answer.rollback_to, answer.pins) == (1, {"front": "f1"})


def test_what_was_rolled_back_is_refused_with_its_pins_and_not_what_came_after():
    left = ("commits-refused", {"commits": ["c"], "pins": {"front": "f2"}, "why": "rolled back"})
    now = state(taken(), *good(1, commit="c", pins={"front": "f1"}), left)
    assert now.refuses("c", {"front": "f2"})
    assert not now.refuses("c", {"front": "f3"})
    assert state(("commits-refused", {"commits": ["c"], "why": "rolled back"})).refuses("c", {"front": "f3"})
