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


def test_law_9_a_machine_that_was_renamed_since_settles_what_it_did_under_its_older_name():
    renamed = ("set-up", {"machine": "web", "machine_id": "id of uat", "renamed_from": "uat"})
    now = state(taken(), made(1), *approved(1, *BOTH), outcome(1, "uat", "unknown"), renamed)
    drafts = settled(now, [("web", {"release": 1, "outcome": "failed", "cause": "503"})])
    assert [(d.body["machine"], d.body["outcome"]) for d in drafts] == [("uat", "failed")]
