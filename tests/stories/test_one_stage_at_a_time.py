"""`--stage`: the first stage begins a release, the next carries it on, as a workflow with a step per stage does."""

from __future__ import annotations

import json


def test_stages_one_by_one_make_one_release(fleet):
    commit = fleet.commit("one")
    first = fleet.wakeline("deploy", commit, "--stage", "scheduler")
    assert first.code == 0, first.err
    assert "stage scheduler passed; frontend comes next" in first.out
    assert (fleet.serves("scheduler"), fleet.serves("uat")) == ("one", "")
    second = fleet.wakeline("deploy", commit, "--stage", "frontend")
    assert second.code == 0, second.err
    assert fleet.serves("uat") == "one"
    assert {r["release"] for r in fleet.log() if r["kind"] == "outcome"} == {1}
    assert fleet.migrate_starts == 1


def test_a_later_stage_begins_no_release(fleet):
    commit = fleet.commit("one")
    said = fleet.wakeline("deploy", commit, "--stage", "frontend")
    assert (said.code, "begin it with the first stage" in said.err) == (2, True), said.err
    assert [r for r in fleet.log() if r["kind"] == "release-made"] == []


def test_a_stage_behind_one_that_failed_is_withheld_and_names_the_cause(fleet):
    commit = fleet.commit("one", pages_sh="test $WAKELINE_MACHINE = uat || { echo no pages; exit 1; }")
    assert fleet.wakeline("deploy", commit, "--stage", "scheduler").code == 1
    said = fleet.wakeline("deploy", commit, "--stage", "frontend")
    assert said.code == 1
    assert "no pages" in said.err
    assert "withheld" in said.out
    assert fleet.serves("uat") == ""


def test_a_sleeper_is_a_warning_of_its_own_stage_alone(fleet):
    commit = fleet.commit("one")
    fleet.wakeline("deploy", commit)
    fleet.power("uat", on=False)
    commit = fleet.commit("two")
    first = fleet.wakeline("deploy", commit, "--stage", "scheduler")
    second = fleet.wakeline("deploy", commit, "--stage", "frontend")
    assert (first.code, second.code) == (0, 0)
    assert "asleep" not in first.out
    assert "warning: uat is asleep" in second.err


def test_a_sleeper_that_is_long_behind_is_an_error_of_its_own_stage_alone(fleet):
    text = (fleet.app / "wakeline.toml").read_text()
    fleet.write("wakeline.toml", text.replace('presence = "on-demand"', 'presence = "on-demand"\nmax_behind = "0s"'))
    fleet.wakeline("deploy", fleet.commit("one"))
    fleet.power("uat", on=False)
    fleet.wakeline("deploy", fleet.commit("two"))
    commit = fleet.commit("three")
    assert fleet.wakeline("deploy", commit, "--stage", "scheduler").code == 0
    said = fleet.wakeline("deploy", commit, "--stage", "frontend")
    assert (said.code, "longer than its max_behind" in said.err) == (1, True)


def test_a_rollback_stage_by_stage_is_one_release(fleet):
    for version in ("one", "two"):
        fleet.wakeline("deploy", fleet.commit(version))
    first = fleet.wakeline("rollback", "--stage", "scheduler")
    assert first.code == 0, first.err
    assert (fleet.serves("scheduler"), fleet.serves("uat")) == ("one", "two")
    second = fleet.wakeline("rollback", "--stage", "frontend", "--json")
    assert (second.code, json.loads(second.out)["data"]["release"]) == (0, 3)
    assert fleet.serves("uat") == "one"


def test_a_job_that_is_run_again_retries_a_release_that_failed_and_leaves_one_that_passed(fleet):
    commit = fleet.commit("one", pages_sh=f"test ! -e {fleet.root}/broken")
    (fleet.root / "broken").touch()
    assert fleet.wakeline("deploy", commit, "--stage", "scheduler").code == 1
    (fleet.root / "broken").unlink()
    for _ in range(2):
        said = fleet.wakeline("retry", "--commit", commit, "--stage", "scheduler", "--json")
        assert (said.code, json.loads(said.out)["data"]["release"]) == (0, 2), said.err
        said = fleet.wakeline("deploy", commit, "--stage", "frontend")
        assert said.code == 0, said.err
    assert fleet.serves("uat") == "one"
