"""Law 8: of the requests that wait the last one goes, a rollback before a deploy; the others are superseded."""

from __future__ import annotations

import subprocess

import pytest

from stories.conftest import until


def slow(fleet) -> None:
    root = fleet.root
    fleet.write("pages.sh", f"touch {root}/began\nwhile ! test -e {root}/gate; do sleep 0.02; done\n")


def requests(fleet) -> list[str]:
    return [record["what"] for record in fleet.log() if record["kind"] == "requested"]


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, err = process.communicate(timeout=90)
    return process.returncode, err


def test_a_rollback_goes_before_the_deploys_that_wait_and_they_are_superseded(fleet):
    for version in ("one", "two"):
        fleet.commit(version)
        assert fleet.wakeline("deploy").code == 0
    slow(fleet)
    fleet.commit("three")
    running = fleet.begin("deploy")
    until((fleet.root / "began").exists)
    fleet.commit("four")
    waiting = [fleet.begin("deploy", "--wait"), fleet.begin("rollback", "--to", "1", "--wait")]
    until(lambda: sorted(requests(fleet)) == ["deploy", "rollback"])
    (fleet.root / "gate").touch()
    assert end(running)[0] == 0
    (deploy, said), (rollback, told) = [end(each) for each in waiting]
    assert rollback == 0, told
    assert (deploy, "superseded: release 4 took over" in said) == (3, True), said
    assert fleet.serves("uat") == "one"


def test_a_request_whose_owner_died_holds_nobody_up_for_long(fleet):
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    slow(fleet)
    fleet.commit("two")
    running = fleet.begin("deploy")
    until((fleet.root / "began").exists)
    dies = fleet.begin("rollback", "--to", "1", "--wait")
    until(lambda: requests(fleet) == ["rollback"])
    dies.kill()
    end(dies)
    fleet.commit("three")
    waits = fleet.begin("deploy", "--wait")
    until(lambda: requests(fleet) == ["rollback", "deploy"])
    (fleet.root / "gate").touch()
    assert end(running)[0] == 0
    code, said = end(waits)
    assert code == 0, said
    assert fleet.serves("uat") == "three"


@pytest.mark.parametrize("at_once", ["older-first", "newer-first"])
def test_law_8_two_rollouts_of_two_commits_in_the_same_second_end_on_the_newer_one(fleet, at_once):
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    older, newer = fleet.commit("two", schema="0002"), fleet.commit("three", schema="0002")
    commits = (older, newer) if at_once == "older-first" else (newer, older)
    runners = {commit: fleet.begin("deploy", commit, "--wait") for commit in commits}
    said = {commit: runner.communicate(timeout=90)[1] for commit, runner in runners.items()}
    assert runners[newer].returncode == 0, said[newer]
    assert runners[older].returncode in (0, 3), said[older]
    assert (fleet.serves("scheduler"), fleet.serves("uat"), fleet.migrate_starts) == ("three", "three", 2)
    assert fleet.wakeline("history", "--verify").code == 0
