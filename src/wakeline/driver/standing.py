"""A deploy that would change nothing: every machine is asked what it runs, and that is all. See core/standing."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from wakeline.core import check_in, standing
from wakeline.core.order import Outcome
from wakeline.core.state import MachineResult, Release, State
from wakeline.driver.looking import Seen, look
from wakeline.driver.progress import Notice, Tell
from wakeline.driver.project import Project


def candidate(
    project: Project, state: State, *, commit: str, pins: Mapping[str, str], said: Mapping[str, Mapping[str, Any]]
) -> Release | None:
    """The release that the machines may run already, by all that the ledger knows.

    `said` are the check-ins: one that settles something is to be put on record, with the lease.
    """
    if check_in.settled(state, said.items()):
        return None
    return standing.candidate(state, project.file.fleet, commit=commit, pins=pins)


async def ask(project: Project, state: State, release: Release) -> Mapping[str, Seen] | None:
    """What each machine said, when all of them run the release; None where there is something to do or to write."""
    seen = await look(project, closely=False)
    reports = [
        (name, each)
        for name, one in seen.items()
        if isinstance(one.said.get("reports"), list)
        for each in one.said["reports"]
        if isinstance(each, dict)
    ]
    if check_in.settled(state, reports):
        return None
    found = {name: _found(each) for name, each in seen.items()}
    return seen if standing.stands(state, release, found) else None


def tell_of(release: Release, seen: Mapping[str, Seen], *, tell: Tell) -> Release:
    """Say it as a rollout would. Returns the release as this deploy found it."""
    results = {}
    for name, one in seen.items():
        tell(Notice("knocked", name, one.cause, {"answer": one.answer.value, "hint": ""}))
    for name, result in release.results.items():
        if name in seen:
            outcome = Outcome.ASLEEP if result.outcome is Outcome.ASLEEP else Outcome.UNCHANGED
            results[name] = MachineResult(outcome, cause=seen[name].cause, at=result.at, was=release.number)
            body = {"release": release.number, "machine": name, "outcome": outcome.value, "cause": seen[name].cause}
            tell(Notice("outcome", name, data=body))
    tell(Notice("release-ended", data={"release": release.number, "outcome": release.ended}))
    return dataclasses.replace(release, results={**release.results, **results})


def _found(seen: Seen) -> standing.Found:
    said = seen.said
    return standing.Found(
        seen.answer,
        seen.cause,
        release=seen.current,
        state=str(said.get("state", "")),
        machine_id=str(said.get("machine_id", "")),
        busy=bool(said.get("busy")) or bool(said.get("problem")),
    )
