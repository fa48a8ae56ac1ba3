"""When a deploy would change nothing, and what is news. A table of what differs, one thing at a time."""

import dataclasses

import pytest

from wakeline.core.model import Fleet, Machine, Presence, Stage
from wakeline.core.order import Outcome
from wakeline.core.presence import Answer
from wakeline.core.standing import Found, candidate, stands
from wakeline.core.state import Claim, Lease, MachineResult, Release, Request, StagePlan, State

FLEET = Fleet(
    "shop",
    "uat",
    (
        Stage("first", (Machine("scheduler", "s"),)),
        Stage("second", (Machine("uat", "u", Presence.ON_DEMAND),)),
    ),
    "scheduler",
)
OK, ASLEEP = MachineResult(Outcome.OK), MachineResult(Outcome.ASLEEP)
RELEASE = Release(
    3,
    "c3",
    (
        StagePlan("first", ("scheduler",), frozenset({"scheduler"}), True),
        StagePlan("second", ("uat",), frozenset(), False),
    ),
    "scheduler",
    results={"scheduler": OK, "uat": OK},
    approved=frozenset({"first", "second"}),
    ended="passed",
)
STATE = State(releases={2: dataclasses.replace(RELEASE, number=2, commit="c2"), 3: RELEASE}, machines={"uat": "id-u"})
AWAKE = {
    "scheduler": Found(Answer.AWAKE, release=3, state="confirmed", machine_id="id-s"),
    "uat": Found(Answer.AWAKE, release=3, state="confirmed", machine_id="id-u"),
}


def with_release(**changes: object) -> State:
    return dataclasses.replace(STATE, releases={**STATE.releases, 3: dataclasses.replace(RELEASE, **changes)})


def ask(state: State, *, fleet: Fleet = FLEET, commit: str = "c3", pins: dict[str, str] | None = None) -> bool:
    return candidate(state, fleet, commit=commit, pins=pins or {}) is not None


def test_the_commit_that_runs_everywhere_leaves_nothing_to_do():
    assert ask(STATE)
    assert stands(STATE, RELEASE, AWAKE)


def test_a_sleeper_that_is_on_record_as_asleep_leaves_nothing_to_do():
    state = with_release(results={"scheduler": OK, "uat": ASLEEP})
    assert ask(state)
    assert stands(state, state.releases[3], {**AWAKE, "uat": Found(Answer.ASLEEP)})


@pytest.mark.parametrize(
    "state",
    [
        State(),
        with_release(ended=""),
        with_release(ended="failed"),
        with_release(ended="interrupted"),
        with_release(results={"scheduler": OK}),
        with_release(results={"scheduler": OK, "uat": MachineResult(Outcome.UNKNOWN)}),
        with_release(results={"scheduler": OK, "uat": MachineResult(Outcome.FAILED)}),
        with_release(results={"scheduler": OK, "uat": MachineResult(Outcome.WITHHELD)}),
        with_release(approved=frozenset({"first"})),
        with_release(held_stages=frozenset({"second"})),
        with_release(sent=frozenset({"uat"})),
        with_release(rollback_to=1),
        dataclasses.replace(STATE, lease=Lease(4, "bob", free=False)),
        dataclasses.replace(STATE, holds={"": "wait"}),
        dataclasses.replace(STATE, holds={"uat": "wait"}),
        dataclasses.replace(STATE, claims={"c": Claim("c", 3, "migrate", "scheduler", 4)}),
        dataclasses.replace(STATE, requests={"r": Request("r", "deploy", "c4", "bob", 9)}),
    ],
)
def test_whatever_is_open_on_the_ledger_goes_the_long_way(state):
    assert not ask(state)


def test_another_commit_or_another_pin_is_a_release_of_its_own():
    assert not ask(STATE, commit="c4")
    assert not ask(STATE, pins={"frontend": "f1"})


def test_a_fleet_that_has_changed_since_goes_the_long_way():
    grown = dataclasses.replace(FLEET, stages=(*FLEET.stages, Stage("third", (Machine("new", "n"),))))
    turned = dataclasses.replace(FLEET, stages=FLEET.stages[::-1])
    assert not ask(STATE, fleet=grown)
    assert not ask(STATE, fleet=turned)


@pytest.mark.parametrize(
    "found",
    [
        Found(Answer.AWAKE),
        Found(Answer.AWAKE, release=2, state="confirmed", machine_id="id-u"),
        Found(Answer.AWAKE, release=4, state="confirmed", machine_id="id-u"),
        Found(Answer.AWAKE, release=3, state="ready", machine_id="id-u"),
        Found(Answer.AWAKE, release=3, state="confirmed", machine_id="a clone"),
        Found(Answer.AWAKE, release=3, state="confirmed", machine_id="id-u", busy=True),
        Found(Answer.ASLEEP),
        Found(Answer.REFUSED),
    ],
)
def test_a_machine_that_is_not_as_recorded_is_news(found):
    assert not stands(STATE, RELEASE, {**AWAKE, "uat": found})


def test_a_sleeper_that_woke_is_news_even_when_it_runs_the_release():
    state = with_release(results={"scheduler": OK, "uat": ASLEEP})
    assert not stands(state, state.releases[3], AWAKE)


def test_a_machine_that_nobody_asked_is_news():
    assert not stands(STATE, RELEASE, {"scheduler": AWAKE["scheduler"]})
