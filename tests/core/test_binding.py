"""A name belongs to one machine: a clone is refused, a machine built anew needs a word."""

import pytest

from wakeline.core.binding import refused
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
