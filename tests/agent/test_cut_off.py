"""A run that was cut off after its switch: the machine still has the order that it was for."""

from __future__ import annotations

import pytest

from wakeline.agent import durable
from wakeline.agent.catch_up import _cut_off, _raise_barrier
from wakeline.agent.home import Home
from wakeline.agent.journal import Journal
from wakeline.core.order import Order

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
    durable.write_json(home.order_of(1), ORDER.to_json())
    durable.write_json(home.saved_order, ORDER._replace(release=2).to_json())
    journal(home).write("switch", release=1, was=0)
    assert _cut_off(home, 1, journal(home)).order == ORDER


def test_a_later_order_that_was_gone_back_from_does_not_hide_it(home):
    """Found by the simulation (seeds 2590 and 4104): release 2 was not healthy, and release 1 was never confirmed."""
    durable.write_json(home.order_of(1), ORDER.to_json())
    durable.write_json(home.order_of(2), ORDER._replace(release=2).to_json())
    for what, release, was in (("switch", 1, 0), ("switch", 2, 1), ("switch-back", 1, 2), ("went-back", 1, 2)):
        journal(home).write(what, release=release, was=was)
    journal(home).write("ended", release=2, outcome="failed")
    assert _cut_off(home, 1, journal(home)).order == ORDER


def test_orders_of_releases_that_nobody_can_go_back_to_are_forgotten(home):
    for release in (1, 2, 3):
        durable.write_json(home.order_of(release), ORDER._replace(release=release).to_json())
    home.forget_orders(but=lambda release: release > 1)
    assert [home.order_of(release).exists() for release in (1, 2, 3)] == [False, True, True]


def test_what_was_confirmed_or_is_not_known_is_not_finished_again(home):
    durable.write_json(home.order_of(1), ORDER.to_json())
    assert _cut_off(home, 1, journal(home)) is None
    journal(home).write("switch", release=1, was=0)
    journal(home).write("confirmed", release=1)
    assert _cut_off(home, 1, journal(home)) is None


def test_without_its_order_there_is_nothing_to_finish(home):
    journal(home).write("switch", release=1, was=0)
    assert _cut_off(home, 1, journal(home)) is None


def test_law_5_what_is_left_to_finish_is_judged_by_the_barrier_of_now_and_a_boot_without_news_knows_it(home):
    durable.write_json(home.order_of(1), ORDER._replace(barrier=1).to_json())
    journal(home).write("switch", release=1, was=0)
    left = _cut_off(home, 1, journal(home))
    assert _raise_barrier(home, left, 0) == left
    raised = _raise_barrier(home, left, 3)
    assert (raised.order.barrier, _cut_off(home, 1, journal(home))) == (3, raised)
