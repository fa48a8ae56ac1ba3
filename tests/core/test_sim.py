"""A hundred fleets from seeds in every test run; `./dev sim --seeds N` runs as many as you like."""

import pytest

from sim.chaos import run
from sim.laws import Violation
from sim.mutants import MUTANTS, applied

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


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_breaks_what_is_there_and_is_taken_back(mutant):
    with applied(mutant):
        pass


def test_the_simulation_can_fail():
    """`./dev sim --mutants` has all of them; this is the one with which it began."""
    flipped = next(each for each in MUTANTS if each.name == "a gate flipped")
    with applied(flipped), pytest.raises(Violation, match=r"law [126]|did not pass"):
        for seed in range(1, 20):
            run(seed)
