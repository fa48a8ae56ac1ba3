"""One fleet that is hit again and again at random moments, and what must hold after each time."""

from __future__ import annotations

import collections
import random
import time

from machines.conftest import Fleet
from machines.machine import Machine, until

MIGRATION = """\
from django.db import migrations

class Migration(migrations.Migration):
    dependencies = [("orders", "{after}")]
    operations = [migrations.RunSQL("create table t{number} (id int)")]
"""


class Storm:
    """Every release has a migration of its own, so that each has one once-step to start."""

    def __init__(self, fleet: Fleet, *, seed: str) -> None:
        self.fleet = fleet
        self.random = random.Random(seed)
        self.release = 0
        self.settled_by_a_person = 0
        fleet.commit("v0")
        self.deploy_all("v0")

    def next_release(self) -> tuple[str, str]:
        """Commit one more version. Returns the old one and the new one."""
        old = f"v{self.release}"
        self.release += 1
        after = "0002_one_order" if self.release == 1 else f"{self.release + 1:04}_next"
        text = MIGRATION.format(after=after, number=self.release)
        self.fleet.commit(f"v{self.release}", {f"orders/migrations/{self.release + 2:04}_next.py": text})
        return old, f"v{self.release}"

    def moment(self, within_s: float) -> None:
        """A moment, not a wait: any is as good as another."""
        time.sleep(self.random.uniform(0, within_s))

    def serves(self, machine: Machine, versions: set[str]) -> None:
        until(lambda: machine.http() in versions, limit_s=90, what=f"{machine.name} serves one of {versions}")

    def deploy_all(self, version: str) -> None:
        """The next deploy carries on; a release that failed, where the storm hit the database, is asked for by `retry`.

        Only what nobody but a person can know is told by one, who looks first.
        """
        verb = "deploy"
        for _ in range(5):
            until(self._has_database, limit_s=90, what="the database is back")
            said = self.fleet.wakeline(verb, limit_s=300)
            if said.code == 0:
                break
            if said.code == 4:
                self.settled_by_a_person += 1
                self.fleet.wakeline("resolve", "migrate", "--done" if self._has_it() else "--not-run")
            verb = "retry" if said.code == 3 else "deploy"
        assert said.code == 0, said.err + said.out
        for machine in self.fleet.machines.values():
            self.serves(machine, {version})

    def started_once(self) -> None:
        """Starts as the database counted them, against settlements as the ledger has them."""
        log = self.fleet.log()
        claims = {each["claim"]: each["release"] for each in log if each["kind"] == "claimed"}
        settled = [claims.get(each["claim"]) for each in log if each["kind"] in ("resolved", "once-failed")]
        for start, count in collections.Counter(self.fleet.migrate_starts).items():
            release = int(start.partition(":")[2])
            assert count <= 1 + settled.count(release), f"{start}: {count} starts, settled: {settled}"

    def _has_database(self) -> bool:
        ready = "pg_isready -q -h /var/run/postgresql && echo ready"
        return bool(self.fleet.scheduler.run(ready, check=False))

    def _has_it(self) -> bool:
        return self.release == 0 or f"{self.release + 2:04}_next" in self.fleet.applied
