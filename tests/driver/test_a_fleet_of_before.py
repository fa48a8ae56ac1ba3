"""A run whose fleet file is not the one that the ledger knows: machines were renamed since."""

from __future__ import annotations

import dataclasses
import types

import pytest

from core.test_joining import fleet, good, joined
from core.test_state import made, set_up, state, taken
from wakeline.core.model import Machine, Stage
from wakeline.driver.admitting import check_fleet_file, check_names, check_walkable
from wakeline.errors import Usage


def renamed():
    """The fleet in which `uat` is called `web`."""
    web = Machine("web", "ubuntu@uat", renamed_from="uat")
    stages = fleet().stages
    return dataclasses.replace(fleet(), stages=(stages[0], Stage("frontend", (web,), gates=False)))


def test_law_1_a_release_of_before_is_not_walked_without_a_machine_that_was_only_renamed():
    """Found by the simulation: its stage was taken for empty, and what is behind it went on."""
    now = state(taken(), made(1))
    with pytest.raises(Usage, match="release 1 of this commit was made before uat was renamed to web"):
        check_walkable(now, now.releases[1], renamed(), stage="")
    check_walkable(now, now.releases[1], fleet(), stage="")


def test_law_1_a_machine_that_was_renamed_twice_is_not_left_out_of_its_stage_either():
    """Found by the simulation (seed 280764): the file has its last name but one, and the release the one before."""
    renames = set_up("site", renamed_from="uat"), set_up("web", renamed_from="site")
    once, twice = state(taken(), made(1), renames[0]), state(taken(), made(1), *renames)
    for known, was in ((once, "site"), (twice, "site"), (twice, "")):
        web = Machine("web", "ubuntu@uat", renamed_from=was)
        now = dataclasses.replace(fleet(), stages=(fleet().stages[0], Stage("frontend", (web,), gates=False)))
        with pytest.raises(Usage, match="release 1 of this commit was made before uat was renamed to web"):
            check_walkable(known, known.releases[1], now, stage="")


def test_a_run_that_read_the_fleet_file_before_a_machine_was_renamed_is_run_again():
    """A hold of the new name would not count for a machine that is walked to by its old one."""
    now = state(set_up("web", renamed_from="uat"))
    with pytest.raises(Usage, match="uat has been renamed to web since"):
        check_names(now, fleet())
    check_names(now, renamed())
    check_names(state(set_up("web", renamed_from="uat"), set_up("uat")), fleet())


def test_law_1_a_machine_whose_last_name_nobody_knows_is_not_taken_for_a_new_one():
    """Found by the simulation (seeds 551320 and 570304): renamed twice, and the first new name never got on record."""
    web = Machine("web", "ubuntu@uat", renamed_from="site")
    now = dataclasses.replace(fleet(), stages=(fleet().stages[0], Stage("frontend", (web,), gates=False)))
    for known in (state(set_up("uat")), state(taken(), made(1))):
        with pytest.raises(Usage, match="web was called site, and the ledger has never heard of either; it knows"):
            check_names(known, now)
    check_names(state(set_up("uat"), set_up("web", renamed_from="uat")), now)
    check_names(state(set_up("site")), now)
    check_names(state(), now)


def test_a_hold_by_an_older_name_keeps_a_rollout_from_the_machine():
    stages = [{"name": "all", "gates": True, "machines": [{"name": "web", "presence": "always"}]}]
    held = ("held", {"machine": "uat", "why": "a fair"})
    now = state(set_up("web", renamed_from="uat"), held, taken(), made(1, stages=stages))
    assert now.on_hold(["web", "job"]) == {"web": "a fair"}


@pytest.mark.parametrize(("tip", "outdated", "goes"), [("c2", True, True), ("c3", True, True), ("c1", True, False)])
def test_law_1_a_release_that_a_machine_joined_is_not_carried_on_with_a_fleet_file_of_before(tip, outdated, goes):
    """Found by the simulation (seed 7458): a run had waited, and its file did not have the machine that had joined."""
    release = state(taken(), *good(1, fleet="c1"), joined(1, fleet="c2")).releases[1]
    code = types.SimpleNamespace(is_older=lambda one, other: one < other)
    project = types.SimpleNamespace(tip=tip, code=code, is_outdated=lambda: outdated)
    if goes:
        check_fleet_file(project, release)
        return
    with pytest.raises(Usage, match="release 1 was made with a newer fleet file"):
        check_fleet_file(project, release)
    project.is_outdated = lambda: False  # the branch was rewritten, and its file is the one that was read
    check_fleet_file(project, release)
