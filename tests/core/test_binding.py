"""A name belongs to one machine: a clone is refused, a machine built anew needs a word."""

import pytest

from wakeline.core.binding import name_before, refused
from wakeline.core.state import State

STATE = State(machines={"uat": "a" * 32, "old": "b" * 32})


@pytest.mark.parametrize(
    ("name", "machine_id", "more", "why"),
    [
        ("uat", "a" * 32, {}, ""),
        ("new", "c" * 32, {}, ""),
        ("uat", "c" * 32, {}, "built anew"),
        ("uat", "c" * 32, {"replace": True}, ""),
        ("new", "a" * 32, {}, "is uat already"),
        ("new", "a" * 32, {"replace": True}, "is uat already"),
        ("new", "b" * 32, {}, ""),  # `old` is no longer in the fleet
        ("web", "a" * 32, {"renamed_from": "uat"}, ""),
    ],
)
def test_who_may_be_set_up(name, machine_id, more, why):
    said = refused(STATE, name=name, machine_id=machine_id, names=["uat", "new", "web"], **more)
    assert (why in said) if why else said == ""


@pytest.mark.parametrize(
    ("name", "machine_id", "renamed_from", "was"),
    [
        ("web", "b" * 32, "", "old"),  # the fleet file says nothing of it
        ("web", "b" * 32, "second", "old"),  # `second` never got on record
        ("web", "b" * 32, "old", "old"),
        ("web", "b" * 32, "uat", "uat"),  # built anew: what the file says is known
        ("web", "c" * 32, "second", "second"),  # nobody knows better
        ("web", "a" * 32, "", ""),  # `uat` is a machine of today's fleet
        ("old", "b" * 32, "", ""),
    ],
)
def test_a_machine_is_the_one_that_the_ledger_has_by_its_id_whatever_it_was_called_meanwhile(
    name, machine_id, renamed_from, was
):
    found = name_before(STATE, name=name, machine_id=machine_id, names=["uat", "web"], renamed_from=renamed_from)
    assert found == was
