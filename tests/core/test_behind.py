"""Law 3: further behind than `max_behind` is an error. Counted from the oldest approved release that is missed."""

import datetime

import pytest

from wakeline.core.behind import behind_since, overdue, promise
from wakeline.core.model import Machine, Presence
from wakeline.core.order import Outcome
from wakeline.core.records import Record
from wakeline.core.state import MachineResult, Release, StagePlan, State

STAGE = StagePlan("web", ("uat",), always=frozenset(), gates=False)
DAY_S = 86400.0


def day(number: int) -> str:
    return f"2026-11-{number:02}T00:00:00Z"


def seconds(number: int) -> float:
    return datetime.datetime(2026, 11, number, tzinfo=datetime.timezone.utc).timestamp()


def state(outcomes: dict[int, Outcome], held: frozenset[str] = frozenset()) -> State:
    """Release N was approved on day N."""
    releases, orders = {}, {}
    for number, outcome in outcomes.items():
        results = {"uat": MachineResult(outcome)}
        releases[number] = Release(
            number, "c", (STAGE,), "uat", results=results, approved=frozenset({"web"}), held_stages=held
        )
        orders[number, "web"] = Record("i", "p", "approved", day(number), "ann", {})
    spans = {"uat": (min(outcomes), max(outcomes))} if outcomes else {}
    return State(releases=releases, orders=orders, spans=spans)


UAT = Machine("uat", "ubuntu@uat", Presence.ON_DEMAND, max_behind_s=3 * DAY_S)


@pytest.mark.parametrize(
    ("outcomes", "since"),
    [
        ({}, ""),
        ({1: Outcome.OK}, ""),
        ({1: Outcome.OK, 2: Outcome.ASLEEP, 3: Outcome.ASLEEP}, day(2)),
        ({1: Outcome.ASLEEP, 2: Outcome.OK}, ""),  # one hop: what was missed before it does not count
        ({1: Outcome.ASLEEP}, day(1)),
    ],
)
def test_since_when(outcomes, since):
    assert behind_since(state(outcomes), "uat") == since


def test_a_release_that_is_held_is_not_missed():
    assert behind_since(state({1: Outcome.ASLEEP}, frozenset({"web"})), "uat") == ""


def test_within_its_limit_it_is_a_warning_and_past_it_an_error():
    now = state({1: Outcome.OK, 2: Outcome.ASLEEP})
    assert overdue(now, UAT, now_s=seconds(5)) == ""
    assert "longer than its max_behind of 3d" in overdue(now, UAT, now_s=seconds(5) + 1)


def test_a_sleeper_is_promised_nothing_of_a_release_that_failed_in_its_stage():
    """Law 10: it stays on what last passed there. Seen in a run's summary: asleep beside a machine that had failed."""
    awaited, held = state({1: Outcome.ASLEEP}), state({1: Outcome.ASLEEP}, frozenset({"web"}))
    assert promise(awaited.releases[1], UAT) == "when it wakes, it brings itself to release 1"
    assert promise(held.releases[1], UAT) == (
        "release 1 has failed in its stage, so when it wakes it stays where it is"
    )
