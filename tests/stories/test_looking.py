"""Law 13: `plan`, `doctor`, `status` and `explain` say what is, and change nothing."""

from __future__ import annotations

import hashlib
import json

import pytest


def everything(fleet) -> dict[str, str]:
    """Every file of the machines and every ref of the remote, by name and content."""
    found = {}
    for place in sorted((fleet.root / "machines").rglob("*")):
        if place.is_symlink():
            found[str(place)] = str(place.readlink())
        elif place.is_file():
            found[str(place)] = hashlib.sha256(place.read_bytes()).hexdigest()
    found["refs"] = fleet.git("for-each-ref", at=fleet.root / "remote.git")
    return found


@pytest.mark.parametrize("verb", [("plan",), ("doctor",), ("status",), ("explain", "uat"), ("history",)])
@pytest.mark.parametrize("deployed", [False, True])
def test_looking_changes_nothing(fleet, verb, deployed):
    fleet.commit("one")
    if deployed:
        assert fleet.wakeline("deploy").code == 0
        fleet.commit("two")
    before = everything(fleet)
    assert fleet.wakeline(*verb).code in (0, 1)
    assert everything(fleet) == before


def test_plan_says_what_deploy_would_do_and_deploy_does_it(fleet):
    fleet.commit("one")
    said = fleet.wakeline("plan", "--exit-code", "--json")
    assert said.code == 8
    acts = {act["machine"]: act["act"] for act in said.data["machines"]}
    assert (said.data["release"], acts) == (1, {"scheduler": "deploy", "uat": "deploy"})
    assert fleet.wakeline("deploy").code == 0
    said = fleet.wakeline("plan", "--exit-code")
    assert (said.code, "nothing to do" in said.out) == (0, True), said


def test_plan_says_who_sleeps_and_what_deploy_would_refuse(fleet):
    old = fleet.commit("one")
    fleet.commit("two")
    assert fleet.wakeline("deploy").code == 0
    fleet.power("uat", on=False)
    fleet.commit("three")
    said = fleet.wakeline("plan")
    assert "asleep" in said.out
    refused = fleet.wakeline("plan", old, "--json").data["refused"]
    assert "is older than" in refused["why"]
    assert refused["hint"].endswith("wakeline rollback")


def test_plan_withholds_behind_a_stage_that_cannot_be_reached(fleet):
    fleet.commit("one")
    fleet.power("scheduler", on=False)
    acts = {act["machine"]: act["act"] for act in fleet.wakeline("plan", "--json").data["machines"]}
    assert acts == {"scheduler": "failed", "uat": "withheld"}


def findings(fleet) -> dict[tuple[str, str], dict]:
    said = fleet.wakeline("doctor", "--json")
    return {(each["machine"], each["what"]): each for each in json.loads(said.out)["data"]["findings"]}


def test_doctor_finds_a_fleet_in_order(fleet):
    said = fleet.wakeline("doctor")
    assert said.code == 0, said.out
    found = findings(fleet)
    assert found["here", "ledger"]["state"] == "ok"
    assert found["uat", "code"]["state"] == "ok"
    assert found["uat", "git"]["state"] == "ok"


def test_doctor_names_what_is_missing_and_the_remedy(fleet):
    file = (fleet.app / "wakeline.toml").read_text()
    file = file.replace("[deploy]\n", '[deploy]\nshared = [".env"]\n').replace('run = "', 'run = "no-such-tool && ', 1)
    fleet.write("wakeline.toml", file)
    fleet.commit("one")
    said = fleet.wakeline("doctor")
    assert said.code == 1
    assert "no-such-tool: not found" in said.out
    assert ".env: is missing" in said.out
    assert "add its folder to path_for_steps" in said.out


def test_doctor_says_that_a_fleet_file_which_nobody_has_pushed_is_not_what_a_deploy_goes_by(fleet):
    assert findings(fleet)["here", "wakeline.toml"]["state"] == "ok"
    file = (fleet.app / "wakeline.toml").read_text()
    fleet.write("wakeline.toml", f"# not yet\n{file}")
    found = findings(fleet)["here", "wakeline.toml"]
    assert (found["state"], "push it to main" in found["wanted"]) == ("warning", True)
    fleet.git("rm", "-q", "--cached", "wakeline.toml")
    fleet.git("commit", "-qm", "without it")
    fleet.git("push", "-qf", str(fleet.root / "remote.git"), "HEAD:main")
    found = findings(fleet)["here", "wakeline.toml"]
    assert (found["state"], found["found"]) == ("problem", "main has none, and a deploy reads it from there")
    assert fleet.wakeline("doctor").code == 1


def test_doctor_says_asleep_and_a_machine_that_was_never_set_up(fleet):
    fleet.power("uat", on=False)
    assert findings(fleet)["uat", "reach"]["state"] == "warning"
    (fleet.root / "machines/scheduler/home/agent.pyz").unlink()
    agent = findings(fleet)["scheduler", "agent"]
    assert (agent["state"], agent["wanted"]) == ("problem", "wakeline setup scheduler")


def test_doctor_without_a_remote_says_so_in_words(fleet):
    (fleet.root / "remote.git").rename(fleet.root / "moved.git")
    said = fleet.wakeline("doctor")
    assert said.code == 1
    assert "remote.git" in said.err
    assert "Traceback" not in said.err
