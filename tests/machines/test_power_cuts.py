"""Power cuts at random moments of pushes and catch-ups: what boots is the old release or the new one, serving.

A full run cuts 100 times (WAKELINE_CUTS), on two fleets side by side, each with its database beside the scheduler. The
seed is printed, and WAKELINE_SEED brings it back: it cuts at about the same moments. `WAKELINE_CUTS=1000` is the soak.
"""

from __future__ import annotations

import collections
import concurrent.futures
import os
import secrets
from pathlib import Path

from machines.conftest import Fleet, watched
from machines.machine import Machine
from machines.storm import Storm
from machines.testbed import Testbed

CUTS = int(os.environ.get("WAKELINE_CUTS", "100"))
SEED = int(os.environ.get("WAKELINE_SEED", "0")) or secrets.randbelow(1 << 31)
SIDE_BY_SIDE = 2
PUSH_S, BOOT_S = 4.0, 3.0


class PowerCuts(Storm):
    """A fleet whose machines lose their power."""

    def cut(self, times: int) -> collections.Counter[str]:
        """So many cuts, in pushes and in the boots after them."""
        done: collections.Counter[str] = collections.Counter()
        while sum(done.values()) < times:
            old, new = self.next_release()
            victim = self.random.choice([self.fleet.scheduler, self.fleet.uat])
            pushed = self.fleet.begin("deploy")
            self._cut(victim, PUSH_S)
            done["push"] += 1
            for _ in range(self.random.randint(1, 4)):
                victim.boot(wait=False)
                self._cut(victim, BOOT_S)
                done["boot"] += 1
            victim.boot()
            victim.wait_for_boot()
            pushed.communicate(timeout=300)
            self.serves(victim, {old, new})
            self.deploy_all(new)
            self.started_once()
        return done

    def _cut(self, machine: Machine, within_s: float) -> None:
        self.moment(within_s)
        machine.power_cut()


def test_whatever_is_cut_boots_old_or_new_and_no_once_step_is_started_twice(tmp_path: Path):
    print(f"WAKELINE_SEED={SEED} WAKELINE_CUTS={CUTS}")
    beds = [Testbed() for _ in range(SIDE_BY_SIDE)]  # a bridge of its own each: their machines have the same names

    def one(number: int) -> tuple[collections.Counter[str], PowerCuts]:
        (tmp_path / f"fleet{number}").mkdir()
        fleet = Fleet(beds[number], tmp_path / f"fleet{number}")
        with watched(fleet):
            fleet.start()
            fleet.scheduler.run("systemctl enable postgresql")
            storm = PowerCuts(fleet, seed=f"{SEED} {number}")
            return storm.cut(CUTS // SIDE_BY_SIDE), storm

    try:
        with concurrent.futures.ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            ended = list(pool.map(one, range(SIDE_BY_SIDE)))
    finally:
        for testbed in beds:
            testbed.close()
    cuts: collections.Counter[str] = sum((done for done, _ in ended), collections.Counter())
    by_a_person = sum(storm.settled_by_a_person for _, storm in ended)
    releases = sum(storm.release for _, storm in ended)
    print(f"cuts: {dict(cuts)} releases: {releases} settled by a person: {by_a_person} violations: 0")
    assert sum(cuts.values()) >= CUTS // SIDE_BY_SIDE * SIDE_BY_SIDE
