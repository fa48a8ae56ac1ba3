"""A runner that dies around each record that it writes, in simulated fleets: all laws hold, and the next goes on."""

from __future__ import annotations

import pytest

from sim.chaos import Chaos
from sim.world import World, inside
from wakeline.driver.admitting import Wish

SEEDS = (2, 3, 5, 7, 11)


class Killed:
    """A fleet without any other fault, whose second runner is killed around its Nth append; the first one was fine."""

    def __init__(self, seed: int, *, at: int = 0, after: bool = False) -> None:
        self.world = world = World(seed)
        self.count, self._at, self._after = 0, at, after
        with inside(world):
            world.is_calm = True
            chaos = Chaos(world)
            try:
                self._rolls_out(chaos)
                self._append = world.store.append
                world.store.append = self._kills
                self._rolls_out(chaos)
                world.store.append = self._append
                chaos.calm_down()
                chaos.all_is_well()
            finally:
                world.loop.bury(world.started)

    def _rolls_out(self, chaos: Chaos) -> None:
        self.world.commit(good=True)
        self._victim = self.world.deploy(Wish())
        ends = self.world.loop.now + 4000.0
        while not self._victim.dead and self.world.loop.now < ends:
            self.world.loop.run_until(self.world.loop.now + 5.0)

    def _kills(self, records):
        if records[0].by != self._victim.name or self._victim.dead:
            return self._append(records)
        self.count += 1
        if self.count != self._at:
            return self._append(records)
        written = self._append(records) if self._after else False
        self._victim.end()
        return written


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_runner_that_dies_around_any_record_loses_nothing_and_the_next_deploy_carries_on(seed, after):
    appends = Killed(seed).count
    assert appends > 3
    for number in range(1, appends + 1):
        assert Killed(seed, at=number, after=after).count == number, "it was killed there"
