"""Power cuts at random moments of pushes and catch-ups: what boots is the old release or the new one, serving.

A full run cuts 100 times (WAKELINE_CUTS), on two fleets side by side, each with its database beside the scheduler. The
seed is printed, and WAKELINE_SEED brings it back: it cuts at about the same moments. `WAKELINE_CUTS=1000` is the soak.
"""

from __future__ import annotations

import collections
import concurrent.futures
import os
import random
import secrets
import time
from pathlib import Path

from machines.conftest import Fleet
from machines.machine import Machine, until
from machines.testbed import Testbed

CUTS = int(os.environ.get("WAKELINE_CUTS", "100"))
SEED = int(os.environ.get("WAKELINE_SEED", "0")) or secrets.randbelow(1 << 31)
SIDE_BY_SIDE = 2
PUSH_S, BOOT_S = 4.0, 3.0
MIGRATION = """\
from django.db import migrations

class Migration(migrations.Migration):
    dependencies = [("orders", "{after}")]
    operations = [migrations.RunSQL("create table t{number} (id int)")]
"""


class Storm:
    """One fleet that is cut again and again."""

    def __init__(self, fleet: Fleet, *, seed: str, cuts: int) -> None:
        self.fleet = fleet
        self.random = random.Random(seed)
        self.left = cuts
        self.done: collections.Counter[str] = collections.Counter()
        self.release = 0
        self.settled_by_a_person = 0

    def run(self) -> Storm:
        self.fleet.commit("v0")
        self._deploy_all("v0")
        while self.left > 0:
            self._round()
        return self

    def _round(self) -> None:
        """A push that is cut, boots that are cut, and then everything must come right without a manual unlock."""
        fleet, old = self.fleet, f"v{self.release}"
        self.release += 1
        new = f"v{self.release}"
        after = "0002_one_order" if self.release == 1 else f"{self.release + 1:04}_next"
        name = f"orders/migrations/{self.release + 2:04}_next.py"
        fleet.commit(new, {name: MIGRATION.format(after=after, number=self.release)})
        victim = self.random.choice([fleet.scheduler, fleet.uat])
        pushed = fleet.begin("deploy")
        self._cut(victim, within_s=PUSH_S, what="push")
        for _ in range(self.random.randint(0, 2)):
            if self.left > 0:
                victim.boot(wait=False)
                self._cut(victim, within_s=BOOT_S, what="boot")
        victim.boot()
        victim.wait_for_boot()
        pushed.communicate(timeout=240)
        self._serves(victim, {old, new})
        self._deploy_all(new)
        self._started_once()

    def _cut(self, machine: Machine, *, within_s: float, what: str) -> None:
        time.sleep(self.random.uniform(0, within_s))  # a moment, not a wait: any is as good as another
        machine.power_cut()
        self.left -= 1
        self.done[what] += 1

    def _serves(self, machine: Machine, versions: set[str]) -> None:
        until(lambda: machine.http() in versions, limit_s=60, what=f"{machine.name} serves one of {versions}")

    def _deploy_all(self, version: str) -> None:
        """The next deploy carries on. Only what nobody but a person can know is told by one, who looks first."""
        for _ in range(3):
            said = self.fleet.wakeline("deploy", limit_s=240)
            if said.code != 4:
                break
            self.settled_by_a_person += 1
            has = "--done" if self._applied() else "--not-run"
            self.fleet.wakeline("resolve", "migrate", has)
        assert said.code == 0, said.err + said.out
        for machine in self.fleet.machines.values():
            self._serves(machine, {version})

    def _applied(self) -> bool:
        return self.release == 0 or f"{self.release + 2:04}_next" in self.fleet.applied

    def _started_once(self) -> None:
        """Starts as the database counted them, against settlements as the ledger has them."""
        log = self.fleet.log()
        claims = {each["claim"]: each["release"] for each in log if each["kind"] == "claimed"}
        settled = [claims.get(each["claim"]) for each in log if each["kind"] in ("resolved", "once-failed")]
        starts = collections.Counter(self.fleet.migrate_starts)
        for start, count in starts.items():
            release = int(start.partition(":")[2])
            assert count <= 1 + settled.count(release), f"{start} started {count} times, settled {settled}"


def test_whatever_is_cut_boots_old_or_new_and_no_once_step_is_started_twice(tmp_path: Path):
    print(f"WAKELINE_SEED={SEED} WAKELINE_CUTS={CUTS}")
    beds = [Testbed() for _ in range(SIDE_BY_SIDE)]  # a bridge of its own each: their machines have the same names
    try:
        fleets = []
        for number, testbed in enumerate(beds):
            (tmp_path / f"fleet{number}").mkdir()
            fleets.append(Fleet(testbed, tmp_path / f"fleet{number}"))
            fleets[-1].start()
            fleets[-1].scheduler.run("systemctl enable postgresql")
        storms = [Storm(fleet, seed=f"{SEED} {n}", cuts=CUTS // SIDE_BY_SIDE) for n, fleet in enumerate(fleets)]
        with concurrent.futures.ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            done = list(pool.map(Storm.run, storms))
        cuts: collections.Counter[str] = sum((each.done for each in done), collections.Counter())
        by_a_person = sum(each.settled_by_a_person for each in done)
        releases = sum(each.release for each in done)
        print(f"cuts: {dict(cuts)} releases: {releases} settled by a person: {by_a_person} violations: 0")
        assert sum(cuts.values()) >= CUTS // SIDE_BY_SIDE * SIDE_BY_SIDE
    finally:
        for testbed in beds:
            testbed.close()
