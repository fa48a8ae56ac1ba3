"""A machine that wakes to a database that is behind, a release that fails there, or a switch that was cut off."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path

from stories.test_cut_short import began, restarts_by_script, waits
from stories.test_upgrades import looks
from wakeline.core.catch_up import ATTEMPTS


def at_release_one(fleet) -> None:
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0


def sleeps_through(fleet, *versions: str, **files: str) -> None:
    fleet.power("uat", on=False)
    for version in versions:
        fleet.commit(version, **files)
        said = fleet.wakeline("deploy")
        assert said.code == 0, said.err
    fleet.power("uat", on=True)


def attempted(fleet) -> int:
    """How often the page step ran on the frontend."""
    counted = fleet.root / "attempts"
    return len(counted.read_text().split()) if counted.exists() else 0


def behind_s(fleet, seconds: float) -> None:
    """How long the frontend waits for a database that is behind."""
    place = fleet.root / "machines/uat/home/shop/uat/config.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), "behind_s": seconds}))


def test_law_5_to_a_database_that_is_behind_it_keeps_what_runs_and_when_that_is_level_it_follows(fleet):
    at_release_one(fleet)
    behind_s(fleet, 0.3)
    sleeps_through(fleet, "two", schema="0002")
    whole = (fleet.root / "database").read_text()
    (fleet.root / "database").write_text("0001\n")  # somebody put an older copy back
    said = looks(fleet)
    assert ("run by the lead alone" in said.err, fleet.serves("uat")) == (True, "one"), said.err
    assert fleet.migrate_starts == 2, "a machine that wakes runs no once-step"
    (fleet.root / "database").write_text(whole)
    said = looks(fleet)
    assert (said.code, fleet.serves("uat"), fleet.migrate_starts) == (0, "two", 2), said.err


def test_law_5_a_database_that_is_ahead_of_its_release_is_fine(fleet):
    at_release_one(fleet)
    sleeps_through(fleet, "two", schema="0002")
    with (fleet.root / "database").open("a") as database:
        database.write("0003\n")
    said = looks(fleet)
    assert (said.code, fleet.serves("uat"), fleet.migrate_starts) == (0, "two", 2), said.err


def test_law_10_to_a_release_that_fails_there_it_is_tried_some_times_and_not_at_every_boot(fleet):
    at_release_one(fleet)
    fails = f"test $WAKELINE_MACHINE = scheduler || {{ echo x >>{fleet.root}/attempts; exit 1; }}"
    sleeps_through(fleet, "two", pages_sh=fails)
    for look in range(ATTEMPTS + 3):
        said = looks(fleet)
        assert (attempted(fleet), fleet.serves("uat")) == (min(look + 1, ATTEMPTS), "one"), said.err
    assert f"failed here {ATTEMPTS} times; `wakeline retry uat`" in said.err
    fleet.commit("three", pages_sh="exit 0")
    assert fleet.wakeline("deploy").code == 0
    assert fleet.serves("uat") == "three"


def test_one_hop_three_releases_after_its_agent_was_killed_in_the_middle_of_a_switch(fleet):
    restart = restarts_by_script(fleet)
    fleet.commit("one", restart_sh=restart)
    assert fleet.wakeline("deploy").code == 0
    only_here = f"if test $WAKELINE_MACHINE = uat; then\n{waits(fleet)}\nfi\n"
    fleet.commit("two", restart_sh=only_here + restart)
    running = fleet.begin("deploy")
    began(fleet)
    _kill_the_agent(fleet, "uat")
    fleet.power("uat", on=False)
    assert running.wait(timeout=60) == 1
    running.communicate()
    assert (fleet.current("uat"), fleet.serves("uat")) == ("releases/2", "one")
    for version in ("three", "four", "five"):
        fleet.commit(version, restart_sh=restart)
        said = fleet.wakeline("deploy")
        assert (said.code, fleet.serves("scheduler")) == (0, version), said.err
    fleet.power("uat", on=True)
    said = looks(fleet)
    assert (said.code, fleet.serves("uat"), fleet.current("uat")) == (0, "five", "releases/5"), said.err
    assert not {"3", "4"} & set(fleet.releases("uat"))


def _kill_the_agent(fleet, name: str) -> None:
    """The agent, and what it had started: power is lost."""
    machine = fleet.root / "machines" / name
    lock = machine / "home" / "shop" / "uat" / "lock"
    os.killpg(int(lock.read_text().split()[0]), signal.SIGKILL)
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is not ours to ask
            if machine in (process / "cwd").readlink().parents:
                os.kill(int(process.name), signal.SIGKILL)
