"""A runner or a machine whose clock is a day off, jumps back or says 1970: numbers, signatures and leases hold."""

from __future__ import annotations

import subprocess

import pytest

from stories.conftest import until
from stories.test_cut_short import began, waits
from stories.test_upgrades import looks
from wrong_clock import wrong_clock

WRONG = ["a-day-behind", "a-day-ahead", "1970", "an-hour-back-at-each-look"]


def at_release_one(fleet) -> None:
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0


def sleeps_through(fleet, *versions: str) -> None:
    fleet.power("uat", on=False)
    for version in versions:
        fleet.commit(version)
        assert fleet.wakeline("deploy").code == 0
    fleet.power("uat", on=True)


@pytest.mark.parametrize("clock", WRONG)
def test_by_a_wrong_clock_of_its_own_it_follows_the_numbers_and_what_was_signed(fleet, tmp_path, clock):
    _signed(fleet, tmp_path)
    at_release_one(fleet)
    sleeps_through(fleet, "two", "three")
    right = fleet.environment
    fleet.environment = {**right, **wrong_clock(tmp_path, clock)}
    said = looks(fleet)
    fleet.environment = right
    assert (said.code, fleet.serves("uat")) == (0, "three"), said.err
    fleet.commit("four")
    assert fleet.wakeline("deploy").code == 0
    assert fleet.serves("uat") == "four"


def test_by_a_clock_past_the_end_of_its_approval_it_keeps_what_runs_and_says_when_that_was(fleet, tmp_path):
    _signed(fleet, tmp_path)
    at_release_one(fleet)
    sleeps_through(fleet, "two")
    right = fleet.environment
    fleet.environment = {**right, **wrong_clock(tmp_path, "a-year-ahead")}
    said = looks(fleet)
    assert ("it ended at 20" in said.err, fleet.serves("uat")) == (True, "one"), said.err
    fleet.environment = right
    assert (looks(fleet).code, fleet.serves("uat")) == (0, "two")


def _signed(fleet, tmp_path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    fleet.environment["WAKELINE_SIGNING_KEY"] = str(key)
    assert fleet.wakeline("setup").code == 0


@pytest.mark.parametrize("clock", WRONG)
def test_after_a_runner_with_a_wrong_clock_the_order_is_that_of_the_records(fleet, tmp_path, clock):
    at_release_one(fleet)
    right = fleet.environment
    fleet.environment = {**right, **wrong_clock(tmp_path, clock)}
    fleet.commit("two")
    said = fleet.wakeline("deploy")
    assert (said.code, fleet.serves("uat")) == (0, "two"), said.err
    fleet.power("uat", on=False)
    fleet.commit("three")
    fleet.wakeline("deploy")
    fleet.environment = right
    fleet.power("uat", on=True)
    said = looks(fleet)
    assert (said.code, fleet.serves("uat")) == (0, "three"), said.err
    fleet.commit("four")
    assert fleet.wakeline("deploy").code == 0
    assert fleet.wakeline("rollback").code == 0
    assert fleet.serves("uat") == "three"
    assert fleet.wakeline("history", "--verify").code == 0


def test_the_lease_of_a_dead_runner_whose_clock_was_a_day_ahead_is_outlived_all_the_same(fleet, tmp_path):
    text = (fleet.app / "wakeline.toml").read_text()
    fleet.write("wakeline.toml", text.replace("[deploy]\n", '[deploy]\nlease = "10s"\n'))
    at_release_one(fleet)
    fleet.write("pages.sh", waits(fleet))
    fleet.commit("two")
    right = fleet.environment
    fleet.environment = {**right, **wrong_clock(tmp_path, "a-day-ahead")}
    running = fleet.begin("deploy")
    began(fleet)
    running.kill()
    running.communicate()
    (fleet.root / "gate").touch()
    fleet.environment = {**right, **wrong_clock(tmp_path, "1970")}
    until(lambda: not fleet.machine("scheduler")["busy"])
    said = fleet.wakeline("deploy")
    fleet.environment = right
    assert (said.code, fleet.serves("uat"), fleet.migrate_starts) == (0, "two", 1), said.err
