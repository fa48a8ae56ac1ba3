"""Rollbacks, holds, retries, and what a person settles."""

from stories.conftest import interrupt, until


def test_a_rollback_is_a_higher_release_and_a_sleeper_follows_it(fleet):
    for version in ("one", "two"):
        fleet.commit(version)
        fleet.wakeline("deploy")
    fleet.power("uat", on=False)
    said = fleet.wakeline("rollback")
    assert said.code == 0, said.err
    assert fleet.serves("scheduler") == "one"
    fleet.power("uat", on=True)
    fleet.wakeline("catch-up", "uat")
    assert (fleet.serves("uat"), fleet.current("uat")) == ("one", "releases/3")


def test_a_rollback_never_lands_on_a_release_that_failed(fleet):
    fleet.commit("one")
    fleet.wakeline("deploy")
    fleet.commit("two", pages_sh="exit 1")
    fleet.wakeline("deploy")
    fleet.commit("three", pages_sh="exit 0")
    fleet.wakeline("deploy")
    assert fleet.wakeline("rollback", "--to", "2").code == 2
    assert fleet.wakeline("rollback").code == 0
    assert fleet.serves("scheduler") == "one"


def test_after_a_rollback_the_same_commit_is_refused_until_a_newer_one(fleet):
    for version in ("one", "two"):
        fleet.commit(version)
        fleet.wakeline("deploy")
    fleet.wakeline("rollback")
    said = fleet.wakeline("deploy")
    assert said.code == 3
    assert "was rolled back" in said.err
    fleet.commit("three")
    assert fleet.wakeline("deploy").code == 0
    assert fleet.serves("uat") == "three"


def test_a_rerun_job_does_not_turn_the_fleet_back(fleet):
    first = fleet.commit("one")
    fleet.wakeline("deploy")
    fleet.commit("two")
    fleet.wakeline("deploy")
    said = fleet.wakeline("deploy", first)
    assert said.code == 3
    assert "is older than" in said.err
    assert fleet.serves("uat") == "two"


def test_a_failed_release_is_tried_again_only_by_retry(fleet):
    fleet.commit("one")
    (fleet.root / "broken").touch()
    fleet.commit("two", pages_sh=f"test ! -e {fleet.root}/broken")
    assert fleet.wakeline("deploy").code == 1
    said = fleet.wakeline("deploy")
    assert said.code == 3
    assert "wakeline retry" in said.err
    (fleet.root / "broken").unlink()
    assert fleet.wakeline("retry").code == 0
    assert fleet.serves("uat") == "two"


def test_a_hold_stops_rollouts_and_catch_up_and_shows(fleet):
    fleet.commit("one")
    fleet.wakeline("deploy")
    assert fleet.wakeline("hold", "--why", "audit until noon").code == 0
    fleet.commit("two")
    said = fleet.wakeline("deploy")
    assert (said.code, "audit until noon" in said.err) == (3, True)
    assert "audit until noon" in fleet.wakeline("status").err
    fleet.wakeline("unhold")
    assert fleet.wakeline("deploy").code == 0


def test_ctrl_c_in_a_step_is_on_record_and_the_next_deploy_carries_on(fleet):
    fleet.commit("one")
    fleet.wakeline("deploy")
    gate = fleet.root / "gate"
    fleet.commit("two", pages_sh=f"touch {gate}.reached; while [ ! -e {gate} ]; do sleep 0.05; done")
    runner = fleet.begin("deploy")
    until((fleet.root / "gate.reached").exists)
    said = interrupt(runner)
    assert said.code == 130, said.err
    assert fleet.serves("scheduler") == "one"
    assert fleet.log()[-1]["kind"] == "lease-freed"
    gate.touch()
    again = fleet.wakeline("deploy")
    assert again.code == 0, again.err
    assert (fleet.serves("uat"), fleet.migrate_starts) == ("two", 1)


def test_ctrl_c_in_a_once_step_leaves_it_running_and_in_doubt_until_it_is_settled(fleet):
    gate = fleet.root / "gate"
    slow = (
        f"echo started >>$1.starts; touch {gate}.reached; while [ ! -e {gate} ]; do sleep 0.05; done; cat schema >>$1"
    )
    fleet.commit("one", migrate_sh=slow)
    runner = fleet.begin("deploy")
    until((fleet.root / "gate.reached").exists)
    said = interrupt(runner)
    assert said.code == 130
    assert "nobody knows how it ended" in said.err
    fleet.commit("two")
    assert fleet.wakeline("deploy").code == 4
    assert fleet.wakeline("rollback").code == 4
    gate.touch()
    until(lambda: fleet.database == ["0001"])
    assert fleet.wakeline("resolve", "migrate").code == 2, "a person must say which"
    assert fleet.wakeline("resolve", "migrate", "--done").code == 0
    assert fleet.wakeline("deploy").code == 0
    assert (fleet.serves("uat"), fleet.migrate_starts) == ("two", 1)


def test_two_runners_at_once_one_goes_and_nothing_runs_twice(fleet):
    fleet.commit("one")
    runners = [fleet.begin("deploy", "--wait") for _ in range(2)]
    said = [runner.communicate(timeout=60) for runner in runners]
    codes = sorted(runner.returncode for runner in runners)
    assert codes in ([0, 0], [0, 3]), said
    assert (fleet.serves("uat"), fleet.migrate_starts) == ("one", 1)
    assert len([record for record in fleet.log() if record["kind"] == "release-made"]) == 1


def test_history_is_whole_and_its_hashes_fit(fleet):
    fleet.commit("one")
    fleet.wakeline("deploy")
    said = fleet.wakeline("history", "--verify")
    assert (said.code, "every hash fits" in said.out) == (0, True)
    assert "release 1" in fleet.wakeline("history").out
    assert (
        "release 1 is the newest approved" in fleet.wakeline("explain", "uat").out
        or fleet.machine("uat")["release"] == 1
    )
