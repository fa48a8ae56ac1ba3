"""A few hundred fleets from seeds in every test run; `./dev sim --seeds N` runs as many as you like."""

import pytest

from sim.laws import Violation
from sim.world import World, run
from wakeline.core import rollout

FOUND_SOMETHING = (11, 93, 319, 586, 2358, 3676)


def test_all_laws_hold_on_fleets_from_seeds():
    assert sum(run(seed).events for seed in range(1, 301)) > 10_000


@pytest.mark.parametrize("seed", FOUND_SOMETHING)
def test_a_seed_that_once_broke_a_law_breaks_it_no_more(seed):
    assert run(seed).events > 0


def test_the_simulation_is_deterministic():
    def story(world: World) -> list[str]:
        return [record.line for record in world.log]

    assert story(run(42)) == story(run(42))


def test_the_simulation_can_fail(monkeypatch):
    """With a gate that always counts as passed, it must notice."""
    monkeypatch.setattr(rollout, "passed", lambda _stage, _results: True)
    monkeypatch.setattr(rollout, "_failed", lambda _stage, _results: False)
    with pytest.raises(Violation, match=r"law [12]"):
        for seed in range(1, 100):
            run(seed)
