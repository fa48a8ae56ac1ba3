"""What a machine decides while it carries an order out: as plain values, without a machine."""

import pytest

from wakeline.core.carrying_out import (
    WENT_BACK,
    Begin,
    CutOff,
    WayBack,
    attempts,
    barrier,
    begin,
    cut_off,
    last_good,
    overtaken,
    stale,
    stamp_to_say,
    switched_from,
    way_back,
)
from wakeline.core.order import Order, Step
from wakeline.core.state import Lease, State

ORDER = Order("shop", "uat", "uat", "web", 7, "c" * 40, "remote.git", "main", "/srv/shop", barrier=3)


@pytest.mark.parametrize(
    ("runs", "confirmed", "how"),
    [
        (None, False, Begin.MAKE_READY),
        (0, True, Begin.MAKE_READY),
        (6, False, Begin.MAKE_READY),
        (7, True, Begin.UNCHANGED),
        (7, False, Begin.CONFIRM),
        (8, True, Begin.TOO_OLD),
        (8, False, Begin.TOO_OLD),
    ],
)
def test_how_an_order_begins_depends_on_what_runs(runs, confirmed, how):
    assert begin(7, runs=runs, confirmed=confirmed) is how


@pytest.mark.parametrize(
    ("was", "was_complete", "good", "lowest", "way"),
    [
        (6, True, 5, 0, WayBack(6)),
        (6, False, 5, 0, WayBack(5)),
        (7, True, 5, 0, WayBack(5)),
        (6, False, None, 0, WayBack(None)),
        (6, True, 5, 7, WayBack(6, barred=True)),
        (0, True, None, 0, WayBack(0)),
    ],
)
def test_law_5_no_way_back_goes_below_the_barrier(was, was_complete, good, lowest, way):
    assert way_back(7, was=was, was_complete=was_complete, last_good=good, barrier=lowest) == way


def test_a_once_step_that_breaks_older_releases_raises_the_barrier_where_it_was_started():
    breaking = ORDER._replace(steps=(Step("migrate", "x", once=True, verify="y", breaks_older=True),))
    started = [{"step": "migrate", "release": 7}]
    assert (barrier(breaking, started=started), barrier(breaking, started=[]), barrier(ORDER, started=started)) == (
        7,
        3,
        3,
    )


def test_the_last_good_release_is_an_older_one_or_the_adopted_folder():
    assert last_good(7, confirmed=[8, 7, 5, 4], has_adopted=True) == 5
    assert last_good(7, confirmed=[8, 7], has_adopted=True) == 0
    assert last_good(7, confirmed=[], has_adopted=False) is None


def test_law_8_an_order_of_a_rollout_that_was_overtaken_is_refused():
    assert stale(4, seen=4) == ""
    assert "has seen rollout 5" in stale(4, seen=5)
    assert "without a fencing number" in stale(None, seen=0)
    taken = State(lease=Lease(5, "ann", free=False))
    assert "rollout 5 has taken over" in overtaken(taken, machine="uat", fence=4)
    assert overtaken(taken, machine="uat", fence=5) == ""


@pytest.mark.parametrize("name", ["", "uat"])
def test_a_hold_stops_an_order_that_is_under_way(name):
    assert "on hold: a fair" in overtaken(State(holds={name: "a fair"}), machine="uat", fence=0)
    assert overtaken(State(holds={"another": "a fair"}), machine="uat", fence=0) == ""


def test_a_machine_is_told_where_the_ledger_stands_only_where_nothing_there_is_against_its_order():
    """Found by the simulation (seed 494): with a hold on the ledger already, nothing had moved, and nobody looked."""
    held, taken = State(holds={"uat": "a fair"}), State(lease=Lease(5, "ann", free=False))
    assert stamp_to_say("c1", state=State(), machine="uat", fence=4) == "c1"
    assert stamp_to_say("c1", state=held, machine="another", fence=4) == "c1"
    assert stamp_to_say("c1", state=held, machine="uat", fence=4) == ""
    assert stamp_to_say("c1", state=taken, machine="uat", fence=4) == ""


def test_a_hold_by_a_new_name_stops_an_order_that_is_under_way_under_the_older_one():
    """Found by the simulation (seed 1334): renamed, and put on hold, while a migration ran there."""
    held = State(holds={"web": "a fair"}, renamed={"uat": "web"})
    assert "web is on hold: a fair" in overtaken(held, machine="uat", fence=0)


def test_attempts_and_what_ran_before_are_read_from_the_journal_whatever_else_stands_in_it():
    entries = [
        {"what": "attempt", "release": 3},
        {"what": "attempt", "release": "three"},
        {"what": "attempt"},
        {"what": "switch", "release": 3, "was": 2},
        {"what": "switch", "release": 4, "was": "x"},
        {"what": "attempt", "release": 3},
    ]
    assert attempts(entries) == {(3, 0): 2}
    switches = [each for each in reversed(entries) if each["what"] == "switch"]
    assert (switched_from(3, newest_first=switches), switched_from(4, newest_first=switches)) == (2, 0)


TO_7 = {"what": "switch", "release": 7, "was": 6}
TO_8 = {"what": "switch", "release": 8, "was": 7}
BACK_TO_6 = {"what": "switch-back", "release": 6, "was": 7, "cause": "503", "ends": WENT_BACK}
BACK_TO_7 = {"what": "switch-back", "release": 7, "was": 8, "ends": WENT_BACK}
IS_BACK_ON_7 = {"what": WENT_BACK, "release": 7, "was": 8}
ENDED_OK = {"what": "ended", "release": 7, "outcome": "ok"}
FAILED_8 = {"what": "ended", "release": 8, "outcome": "failed"}
CONFIRMED_7 = {"what": "confirmed", "release": 7}


@pytest.mark.parametrize(
    ("entries", "found"),
    [
        ([TO_7], CutOff(7)),
        ([TO_7, ENDED_OK], CutOff(7)),  # a boot's first unit
        ([TO_7, CONFIRMED_7], None),
        ([TO_7, {**ENDED_OK, "outcome": "failed"}], None),
        ([TO_7, BACK_TO_6], CutOff(7, back=True, cause="503")),  # before `current` was moved
        ([TO_7, BACK_TO_6, CONFIRMED_7], None),  # a boot found it healthy after all
        ([TO_7, CONFIRMED_7, TO_8, BACK_TO_7], CutOff(8, back=True)),
        ([TO_7, CONFIRMED_7, TO_8, BACK_TO_7, FAILED_8], CutOff(8, back=True)),  # a boot moved `current` alone
        ([TO_7, CONFIRMED_7, TO_8, BACK_TO_7, IS_BACK_ON_7, FAILED_8], None),
        ([TO_7, TO_8, BACK_TO_7, IS_BACK_ON_7, FAILED_8], CutOff(7)),  # nobody has ever confirmed 7
        ([TO_7, BACK_TO_6, TO_8, BACK_TO_7, IS_BACK_ON_7, FAILED_8], CutOff(7)),  # nor is it left (seed 8616)
        ([TO_7, {**BACK_TO_6, "ends": None}], None),  # by an agent of before, which never wrote that end
        ([{**TO_7, "release": 6}], None),
        ([{**BACK_TO_6, "was": "seven"}], None),
        ([], None),
    ],
)
def test_a_run_was_cut_off_when_the_journal_knows_its_switch_or_its_way_back_and_no_end_of_it(entries, found):
    assert cut_off(7, entries=entries) == found


def test_an_attempt_that_was_asked_to_stop_before_its_switch_does_not_count():
    def begun(release, outcome=""):
        ended = [{"what": "ended", "release": release, "outcome": outcome}] if outcome else []
        return [{"what": "attempt", "release": release}, {"what": "step", "release": release}, *ended]

    counts = attempts([*begun(3, "withheld"), *begun(3, "failed"), *begun(3), *begun(4, "withheld")])
    assert counts == {(3, 0): 2, (4, 0): 0}
    pushed = {"what": "ended", "release": 3, "outcome": "withheld"}
    assert attempts([*begun(3, "failed"), pushed]) == {(3, 0): 1}, "a push that was stopped is not an attempt of ours"


def test_each_retry_begins_a_count_of_attempts_of_its_own():
    entries = [{"what": "attempt", "release": 3}, {"what": "attempt", "release": 3, "retries": 1}] * 2
    assert attempts([*entries, {"what": "attempt", "release": 3, "retries": "one"}]) == {(3, 0): 2, (3, 1): 2}
