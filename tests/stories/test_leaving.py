"""Moving out: wakeline goes, the application runs on, and nothing that nobody else has is lost."""

from __future__ import annotations

import fcntl
import json

import pytest

from stories.conftest import interrupt, until
from stories.test_looking import everything


@pytest.fixture
def deployed(fleet):
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    return fleet


def home(fleet, machine: str):
    return fleet.root / "machines" / machine / "home"


def left(fleet) -> list[str]:
    return [record["machine"] for record in fleet.log() if record["kind"] == "left"]


def test_without_yes_it_says_what_it_would_do_and_changes_nothing(deployed):
    before = everything(deployed)
    said = deployed.wakeline("leave")
    assert said.code == 2
    assert "home/agents would be removed" in said.out
    assert "nothing was done" in said.err
    assert "wakeline leave --yes" in said.err
    assert everything(deployed) == before


def test_the_agent_goes_and_the_application_its_logs_and_its_journal_stay(deployed):
    said = deployed.wakeline("leave", "--yes")
    assert said.code == 0, said.err
    for name in ("scheduler", "uat"):
        assert (deployed.serves(name), deployed.current(name)) == ("one", "releases/1")
        assert sorted(each.name for each in home(deployed, name).iterdir()) == ["shop"]
        kept = sorted(each.name for each in (home(deployed, name) / "shop/uat").iterdir())
        assert kept == ["journal.jsonl", "logs", "reports"]
    current = deployed.root / "machines/uat/app/current"
    assert deployed.git("show", "HEAD:version", at=current) == "one", "it is still a work tree of git"
    assert left(deployed) == ["scheduler", "uat"]
    assert deployed.log()[-1]["kind"] == "lease-freed"


def test_changes_that_somebody_made_by_hand_stay_where_they_were_saved(deployed):
    saved = home(deployed, "uat") / "shop/uat/saved/release-1/changes.patch"
    saved.parent.mkdir(parents=True)
    saved.write_text("a change")
    said = deployed.wakeline("leave", "uat", "--yes")
    assert said.code == 0, said.err
    assert "saved stays" in said.out
    assert saved.read_text() == "a change"


def test_twice_is_as_good_as_once(deployed):
    assert deployed.wakeline("leave", "--yes").code == 0
    before = everything(deployed)
    said = deployed.wakeline("leave", "--yes")
    assert said.code == 0, said.err
    assert "removed" not in said.out
    assert left(deployed) == ["scheduler", "uat"], "one record a machine"
    machines = {name: text for name, text in everything(deployed).items() if name != "refs"}
    assert machines == {name: text for name, text in before.items() if name != "refs"}


def test_a_machine_that_sleeps_is_named_and_left_later(deployed):
    deployed.power("uat", on=False)
    said = deployed.wakeline("leave", "--yes")
    assert said.code == 0, said.err
    assert "uat is asleep" in said.err
    assert left(deployed) == ["scheduler"]
    deployed.power("uat", on=True)
    assert deployed.wakeline("leave", "uat", "--yes").code == 0
    assert left(deployed) == ["scheduler", "uat"]


def test_a_machine_that_was_left_is_no_sleeper_any_more_and_setup_takes_it_back(deployed):
    assert deployed.wakeline("leave", "uat", "--yes").code == 0
    deployed.power("uat", on=False)
    deployed.commit("two")
    said = deployed.wakeline("deploy")
    assert (said.code, "uat: never reached since setup" in said.err) == (1, True), said
    deployed.power("uat", on=True)
    assert deployed.wakeline("setup", "uat", "--unsigned").code == 0
    assert deployed.wakeline("retry").code == 0
    assert deployed.serves("uat") == "two"


def test_a_machine_at_work_is_not_left(deployed):
    with (home(deployed, "uat") / "shop/uat/lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = deployed.wakeline("leave", "--yes")
    assert said.code == 1
    assert "uat: its agent is at work" in said.err
    assert (home(deployed, "uat") / "shop/uat/config.json").exists()
    assert left(deployed) == ["scheduler"]
    assert deployed.log()[-1]["kind"] == "lease-freed"


def test_the_agent_stays_where_it_has_another_fleet(deployed):
    other = home(deployed, "uat") / "shop/production"
    other.mkdir()
    (other / "config.json").write_text("{}")
    said = deployed.wakeline("leave", "uat", "--yes")
    assert f"the agent stays: it has another fleet here, {other}" in said.out
    assert (home(deployed, "uat") / "agent.pyz").exists()
    assert not (home(deployed, "uat") / "shop/uat/config.json").exists()


def test_leave_in_json_is_the_one_envelope(deployed):
    said = deployed.wakeline("leave", "uat", "--yes", "--json")
    envelope = json.loads(said.out)
    assert (envelope["wakeline"], envelope["verb"], envelope["status"]) == (1, "leave", "partial")
    assert envelope["data"]["left"] is True
    assert any(line.endswith("agent.pyz removed") for line in envelope["data"]["machines"]["uat"]["done"])


def test_a_machine_that_is_none_is_told_with_those_that_are(fleet):
    said = fleet.wakeline("leave", "uta")
    assert (said.code, "machines: scheduler, uat" in said.err) == (2, True), said


def test_law_8_a_machine_is_not_left_while_a_rollout_is_under_way(deployed):
    text = (deployed.app / "wakeline.toml").read_text()
    deployed.write("wakeline.toml", text.replace("[deploy]\n", '[deploy]\nlease = "10s"\n'))
    gate = deployed.root / "gate"
    deployed.commit("two", pages_sh=f"touch {gate}.reached; while [ ! -e {gate} ]; do sleep 0.05; done")
    running = deployed.begin("deploy")
    until((deployed.root / "gate.reached").exists)
    said = deployed.wakeline("leave", "--yes")
    gate.touch()
    assert (said.code, "has the lease since" in said.err) == (3, True), said
    assert left(deployed) == []
    assert running.wait(60) == 0
    running.communicate()


def test_law_4_a_machine_whose_journal_may_know_how_a_once_step_ended_is_not_left(fleet):
    gate = fleet.root / "gate"
    fleet.commit("one", migrate_sh=f"touch {gate}.reached; while [ ! -e {gate} ]; do sleep 0.05; done; cat schema >>$1")
    running = fleet.begin("deploy")
    until((fleet.root / "gate.reached").exists)
    assert interrupt(running).code == 130
    for words in (("leave", "scheduler"), ("leave", "scheduler", "--yes")):
        said = fleet.wakeline(*words)
        assert (said.code, "wakeline resolve migrate" in said.err) == (4, True), said
    assert fleet.wakeline("leave", "uat", "--yes").code == 0, "nothing is in doubt on that one"
    gate.touch()
    until(lambda: fleet.database == ["0001"])
