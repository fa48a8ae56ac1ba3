"""An old agent finds its way to the one that its newest approval names, whatever else the log says."""

import pytest

from wakeline.core.records import GENESIS, Draft, chain
from wakeline.core.succession import newest_approval, successor

A, B, C = "a" * 64, "b" * 64, "c" * 64


def log(*drafts: tuple[str, dict]):
    return chain([Draft(*each) for each in drafts], ids=map(str, range(99)), previous=GENESIS, at="t", by="ann")


def approved(release, agent=A, machines=("uat",), **more):
    return ("approved", {"release": release, "agent": agent, "orders": {name: {} for name in machines}, **more})


def test_the_newest_approval_is_found_among_kinds_that_nobody_knows():
    records = log(("party", {"release": 9}), approved(1), approved(2, B), ("tomorrow", {"orders": {"uat": {}}}))
    assert newest_approval(records, machine="uat") == records[2]


def test_it_is_the_highest_release_and_of_equals_the_last():
    records = log(approved(2, A), approved(1, B), approved(2, C))
    assert newest_approval(records, machine="uat") == records[2]


def test_approvals_for_others_and_ones_that_cannot_be_read_are_passed_over():
    records = log(approved(1), approved(2, machines=["scheduler"]), approved("3"), ("approved", {"release": 4}))
    assert newest_approval(records, machine="uat") == records[0]
    assert newest_approval(records, machine="nobody") is None


@pytest.mark.parametrize(
    ("named", "mine", "came_by", "next_one"),
    [
        (B, A, (), B),
        (A, A, (), ""),
        (B, "", (), ""),  # one that was not started from its place cannot be come back to
        ("../../bin/sh", A, (), ""),
        (None, A, (), ""),
        (A, B, (A,), ""),  # A says B, B says A: B carries on
        (C, A, (A, B), ""),  # who runs for the second time goes nowhere any more
        (C, B, (A,), C),
    ],
)
def test_a_look_comes_by_each_agent_once(named, mine, came_by, next_one):
    (record,) = log(approved(1, named))
    assert successor(record, mine=mine, came_by=came_by) == next_one
