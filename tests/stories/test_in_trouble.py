"""What somebody in trouble reads: how each machine stands, why, and the next command."""

from __future__ import annotations

import dataclasses
import getpass
import subprocess
from pathlib import Path

import pytest

from wakeline.core.model import Machine
from wakeline.driver.machine_script import files_of
from wakeline.fleet import load


@pytest.fixture
def troubled(fleet):
    """Release 1 everywhere; uat asleep through 2; 3 fails on the scheduler."""
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    fleet.power("uat", on=False)
    fleet.commit("two")
    assert fleet.wakeline("deploy").code == 0
    fleet.commit("three", pages_sh="echo no such module; exit 3")
    assert fleet.wakeline("deploy").code == 1
    return fleet


def row(fleet, name: str) -> str:
    return next(line for line in fleet.wakeline("status").out.splitlines() if line.strip().startswith(name))


def test_status_has_two_words_a_machine_and_what_matters_beside_them(troubled):
    said = troubled.wakeline("status")
    assert "shop uat: release 3 (" in said.out
    scheduler, uat = row(troubled, "scheduler"), row(troubled, "uat")
    assert "release 2 (" in scheduler
    assert scheduler.endswith("awake   release 3 failed: pages: exit 3")
    assert "release 1 (" in uat
    assert "asleep  since " in uat
    assert uat.endswith("; goes to release 2 when it wakes")
    assert "release 3 failed: fix it and deploy a newer commit, or: wakeline rollback" in said.err


def test_status_says_a_hold_and_how_it_is_lifted(troubled):
    troubled.wakeline("hold", "uat", "--why", "the auditors are on it")
    assert row(troubled, "uat").endswith("; on hold: it stays where it is when it wakes")
    assert (
        "uat is on hold: the auditors are on it; lift it with: wakeline unhold uat" in troubled.wakeline("status").err
    )


def test_status_names_catch_up_for_a_machine_that_is_awake_and_behind(troubled):
    troubled.power("uat", on=True)
    assert row(troubled, "uat").endswith("awake  release 2 is approved for it: wakeline catch-up uat")


def test_explain_says_why_and_what_would_change_it(troubled):
    lines = troubled.wakeline("explain", "uat").out.splitlines()
    assert (
        lines[0]
        == "uat runs release 1, as far as the ledger knows; the last rollout that asked for it: release 2, asleep"
    )
    assert lines[1].startswith("when it looks at the ledger, it goes on: release 2 is the newest approved")
    assert lines[2] == "not release 3: not approved for stage frontend, because scheduler failed"
    troubled.wakeline("hold", "uat", "--why", "a fair")
    lines = troubled.wakeline("explain", "uat").out.splitlines()
    assert lines[1] == "when it looks at the ledger, it stays where it is: uat is on hold: a fair"
    assert lines[2] == "not yet release 2, which is approved for it; to lift the hold: wakeline unhold uat"


def test_history_says_who_came_by_itself_and_what_ran_once(troubled):
    troubled.power("uat", on=True)
    troubled.wakeline("catch-up", "uat")
    troubled.commit("four", pages_sh="true", schema="0002")
    assert troubled.wakeline("deploy").code == 0
    said = troubled.wakeline("history").out
    assert "    uat        ok          (asleep at the rollout; it came by itself)" in said
    assert "    migrate: ran once" in said


def test_catch_up_without_a_machine_names_the_machines_and_the_command_there(fleet):
    said = fleet.wakeline("catch-up")
    assert said.code == 2
    assert "of scheduler, uat; on the machine itself, without a checkout: wakeline-shop-uat catch-up" in said.err


def command_on(fleet, name: str, user: str) -> Path:
    """The command that `setup` puts on a machine, with the machine's folder as the agent's home."""
    file = load((fleet.app / "wakeline.toml").read_text())
    machine = dataclasses.replace(Machine(name, f"{user}@{name}"))
    mode, text = files_of(file, machine)["/usr/local/bin/wakeline-shop-uat"]
    place = fleet.root / "wakeline-shop-uat"
    place.write_text(text.replace("/var/lib/wakeline", str(fleet.root / "machines" / name / "home")))
    place.chmod(mode)
    return place


def test_somebody_on_the_machine_has_a_command_that_catches_up(fleet):
    fleet.commit("one")
    fleet.wakeline("deploy")
    fleet.power("uat", on=False)
    fleet.commit("two")
    fleet.wakeline("deploy")
    command = command_on(fleet, "uat", getpass.getuser())

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        argv = [str(command), *words]
        return subprocess.run(argv, capture_output=True, text=True, env=fleet.environment, check=False)

    said = run("status")
    assert said.stdout.startswith("shop/uat: uat runs release 1 ("), said
    said = run("catch-up")
    assert said.returncode == 0, said
    assert fleet.current("uat") == "releases/2"
    assert (run().returncode, run("help").stdout.startswith("usage: wakeline-shop-uat catch-up")) == (0, True)
    said = run("deploy")
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr.startswith("error: wakeline-shop-uat knows no such word: deploy\nusage: ")
    said = run("catch-up", "--boot")
    assert (said.returncode, said.stderr) == (2, "error: wakeline-shop-uat catch-up takes no more words\n")
    (fleet.root / "machines/uat/home/agent.pyz").rename(fleet.root / "agent")
    said = run("status")
    assert (said.returncode, "wakeline setup MACHINE" in said.stderr) == (1, True), said


def test_another_user_on_the_machine_is_told_who_may(fleet):
    text = command_on(fleet, "uat", "deployer").read_text()
    place = fleet.root / "as-nobody"
    place.write_text(text.replace("$(id -un)", "nobody").replace("$(id -u)", "65534"))
    said = subprocess.run(["sh", place, "status"], capture_output=True, text=True, check=False)
    assert said.returncode == 2
    assert "this is for the user deployer, or for root: sudo wakeline-shop-uat status" in said.stderr
