"""A machine's own word settles what was asleep or unknown, once."""

import pytest

from core.test_state import BOTH, approved, made, outcome, state, taken
from wakeline.core.check_in import settled


@pytest.mark.parametrize("before", ["asleep", "unknown"])
def test_a_check_in_settles_what_nobody_had_heard(before):
    now = state(taken(), made(1), *approved(1, *BOTH), outcome(1, "uat", before))
    drafts = settled(now, [("uat", {"release": 1, "outcome": "ok"})])
    assert [(d.kind, d.body["outcome"]) for d in drafts] == [("outcome", "ok")]


@pytest.mark.parametrize(
    "body", [{"release": 1, "outcome": "ok"}, {"release": 9, "outcome": "ok"}, {"release": "1"}, {}, {"outcome": "x"}]
)
def test_late_doubled_and_meaningless_check_ins_change_nothing(body):
    now = state(taken(), made(1), *approved(1, *BOTH), outcome(1, "uat", "ok"))
    assert settled(now, [("uat", body), ("stranger", {"release": 1, "outcome": "ok"})]) == []
