"""A hundred fleets from seeds in every test run; `./dev sim --seeds N` runs as many as you like."""

import pytest

from sim.chaos import run
from sim.laws import Violation
from wakeline.core import rollout

# Each broke a law once; what it found is in docs/track-record.md.
FOUND_SOMETHING = (13, 18)


def test_all_laws_hold_on_fleets_from_seeds():
    assert sum(run(seed).loop.events for seed in range(1, 101)) > 50_000


@pytest.mark.parametrize("seed", FOUND_SOMETHING)
def test_a_seed_that_once_broke_a_law_breaks_it_no_more(seed):
    assert run(seed).loop.events > 0


def test_the_simulation_is_deterministic():
    def story(seed: int) -> list[str]:
        lines: list[str] = []
        run(seed, story=lines)
        return lines

    assert story(42) == story(42)


def test_the_simulation_can_fail(monkeypatch):
    """With a gate that always counts as passed, it must notice."""
    monkeypatch.setattr(rollout, "passed", lambda _stage, _results, **_more: True)
    monkeypatch.setattr(rollout, "_failed", lambda _stage, _results: False)
    with pytest.raises(Violation, match=r"law [126]"):
        for seed in range(1, 100):
            run(seed)
