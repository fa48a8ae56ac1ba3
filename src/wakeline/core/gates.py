"""Laws 1 and 2: what keeps a stage from starting, judged by what is known of the machines ahead of it."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

from wakeline.core.order import Outcome
from wakeline.core.state import StagePlan

BAD = (Outcome.FAILED, Outcome.UNKNOWN)


def passed(stage: StagePlan, results: Mapping[str, Outcome], *, held: Container[str] = ()) -> bool:
    """Law 1: every always machine ok or unchanged, none failed or unknown; asleep and on hold do not count."""
    outcomes = [results.get(name) for name in stage.machines if name not in held or results.get(name) in BAD]
    if any(outcome in (*BAD, Outcome.WITHHELD) for outcome in outcomes):
        return False
    return all(is_passed(results.get(name)) for name in stage.always) and None not in outcomes


def gate_ahead(
    stages: Sequence[StagePlan], stage: StagePlan, results: Mapping[str, Outcome], *, held: Container[str] = ()
) -> StagePlan | None:
    """The first stage ahead that keeps this one from starting."""
    for ahead in stages:
        if ahead.name == stage.name:
            return None
        fine = passed(ahead, results, held=held)
        if ahead.gates and not fine:
            return ahead
        if not ahead.gates and not ahead.goes_on and failed(ahead, results):
            return ahead
    return None


def failed(stage: StagePlan, results: Mapping[str, Outcome]) -> bool:
    """Whether a machine of it has failed, or nobody knows."""
    return any(results.get(name) in BAD for name in stage.machines)


def all_known_ahead(stages: Sequence[StagePlan], name: str, results: Mapping[str, Outcome]) -> bool:
    """Also a stage that does not gate goes before the next one: stages go in order."""
    for stage in stages:
        if stage.name == name:
            return True
        if any(machine not in results for machine in stage.machines):
            return False
    return True


def is_passed(outcome: Outcome | None) -> bool:
    """Whether it is known, and is ok or unchanged."""
    return outcome is not None and outcome.passed
