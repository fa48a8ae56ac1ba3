"""A run that was cut off after its switch: the machine still has the order that it was for."""

from __future__ import annotations

import dataclasses

import pytest

from wakeline.agent import durable
from wakeline.agent.catch_up import _cut_off
from wakeline.agent.home import Home
from wakeline.agent.journal import Journal
from wakeline.core.model import Order

ORDER = Order("shop", "uat", "uat", "web", 1, "c" * 40, "remote.git", "main", "/nowhere")


@pytest.fixture
def home(tmp_path):
    made = Home(tmp_path, "shop", "uat")
    made.make()
    return made


def journal(home: Home) -> Journal:
    return Journal(home.folder / "journal.jsonl", boot_id="b")


def test_a_later_order_that_came_to_nothing_does_not_hide_it(home):
    """Found by the simulation: release 2 failed in its steps, and nobody confirmed release 1, which ran."""
    durable.write_json(home.switched_order, ORDER.to_json())
    durable.write_json(home.saved_order, dataclasses.replace(ORDER, release=2).to_json())
    journal(home).write("switch", release=1, was=0)
    assert _cut_off(home, 1, journal(home)) == ORDER


def test_what_was_confirmed_or_is_not_known_is_not_finished_again(home):
    durable.write_json(home.switched_order, ORDER.to_json())
    assert _cut_off(home, 1, journal(home)) is None
    journal(home).write("switch", release=1, was=0)
    journal(home).write("confirmed", release=1)
    assert _cut_off(home, 1, journal(home)) is None


def test_without_its_order_there_is_nothing_to_finish(home):
    journal(home).write("switch", release=1, was=0)
    assert _cut_off(home, 1, journal(home)) is None
