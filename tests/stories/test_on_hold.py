"""`wakeline hold MACHINE`: nothing is started there, it is no failure, and it is told at every turn."""

from __future__ import annotations

import pytest


@pytest.fixture
def deployed(fleet):
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    return fleet


def sent_to(fleet, machine: str) -> list[int]:
    return [r["release"] for r in fleet.log() if r["kind"] == "sent" and machine in r["machines"]]


def test_an_on_demand_machine_on_hold_is_left_out_and_the_run_is_good(deployed):
    assert deployed.wakeline("hold", "uat", "--why", "a demo at ten").code == 0
    deployed.commit("two")
    said = deployed.wakeline("plan")
    assert "withheld   on hold: a demo at ten" in said.out
    said = deployed.wakeline("deploy")
    assert said.code == 0, said.err
    assert "uat is on hold: a demo at ten; after `wakeline unhold uat` it comes to release 2" in said.err
    assert (deployed.serves("scheduler"), deployed.serves("uat")) == ("two", "one")
    assert sent_to(deployed, "uat") == [1]
    assert deployed.releases("uat") == ["1"], "nothing was even laid out there"
    assert "uat is on hold: a demo at ten" in deployed.wakeline("status").err
    explained = deployed.wakeline("explain", "uat").out
    assert "it stays where it is: uat is on hold: a demo at ten" in explained
    assert "to lift the hold: wakeline unhold uat" in explained


def test_a_hold_that_somebody_gave_no_reason_for_is_told_as_one_all_the_same(deployed):
    assert deployed.wakeline("hold", "uat").code == 0
    deployed.commit("two")
    assert "withheld   on hold: no reason given" in deployed.wakeline("plan").out
    said = deployed.wakeline("deploy")
    assert "uat is on hold: no reason given; after `wakeline unhold uat` it comes to release 2" in said.err
    (row,) = (line for line in deployed.wakeline("status").out.splitlines() if line.lstrip().startswith("uat"))
    assert row.rstrip().endswith("on hold"), row
    assert "uat is on hold: no reason given" in deployed.wakeline("catch-up", "uat").out


def test_a_hold_survives_setup_and_stops_catch_up_until_it_is_lifted(deployed):
    deployed.wakeline("hold", "uat", "--why", "a demo at ten")
    deployed.commit("two")
    assert deployed.wakeline("deploy").code == 0
    assert deployed.wakeline("setup", "uat", "--unsigned").code == 0
    assert "on hold: a demo at ten" in deployed.wakeline("catch-up", "uat").out
    assert deployed.serves("uat") == "one"
    said = deployed.wakeline("unhold", "uat")
    assert "wakeline catch-up uat" in said.out
    assert deployed.wakeline("catch-up", "uat").code == 0
    assert deployed.serves("uat") == "two"


def test_an_always_machine_on_hold_keeps_what_is_behind_it_waiting_and_exits_3(deployed):
    deployed.wakeline("hold", "scheduler", "--why", "audit")
    deployed.commit("two")
    said = deployed.wakeline("deploy")
    assert said.code == 3
    assert "scheduler is on hold, and is always on" in said.err
    assert "wakeline unhold scheduler" in said.err
    assert "stage scheduler did not pass: scheduler is on hold" in said.out
    assert (deployed.serves("scheduler"), deployed.serves("uat")) == ("one", "one")
    assert deployed.migrate_starts == 1
    deployed.wakeline("unhold", "scheduler")
    said = deployed.wakeline("deploy")
    assert said.code == 0, said.err
    assert (deployed.serves("scheduler"), deployed.serves("uat")) == ("two", "two")
    assert [r["release"] for r in deployed.log() if r["kind"] == "release-made"] == [1, 2], "it was carried on"


def test_a_rollback_leaves_a_machine_on_hold_alone_too(deployed):
    deployed.commit("two")
    assert deployed.wakeline("deploy").code == 0
    deployed.wakeline("hold", "uat")
    said = deployed.wakeline("rollback")
    assert said.code == 0, said.err
    assert "uat is on hold" in said.err
    assert (deployed.serves("scheduler"), deployed.serves("uat")) == ("one", "two")
