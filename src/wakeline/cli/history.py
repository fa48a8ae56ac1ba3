"""`wakeline history`: what was decided and how it ended, from the ledger alone."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from wakeline.cli.result import Result
from wakeline.core.state import MachineResult, Release, State
from wakeline.driver.project import Project

_RECEIPTS = {"ran": "ran once", "verified": "the database had it", "resolved": "settled by a person"}


def run(project: Project, *, verify: bool, last: int) -> Result:
    """Newest first. With `verify`, only the chain is looked at; a bad record raises LedgerError that names it."""
    state = asyncio.run(project.writer.read())
    if verify:
        state = asyncio.run(project.writer.read_whole())
        line = f"{state.position} records, every hash fits; the last is {state.tip[:12]}"
        return Result("history", {"records": state.position, "tip": state.tip}, lines=[line])
    chosen = list(itertools.islice(state.newest_first(), last))
    rows = [{**_row(release), "receipts": state.receipts_of(release.number)} for release in chosen]
    wide = max((len(name) for release in chosen for name in release.results), default=0)
    lines = [line for release in chosen for line in _lines(state, release, wide)]
    return Result("history", {"releases": rows}, lines=lines or ["no release yet"])


def _row(release: Release) -> dict[str, Any]:
    return {
        "release": release.number,
        "commit": release.commit,
        "at": release.at,
        "by": release.by,
        "ended": release.ended,
        "rollback_to": release.rollback_to,
        "approved": sorted(release.approved),
        "machines": {
            name: {"outcome": each.outcome.value, "cause": each.cause} for name, each in release.results.items()
        },
    }


def _lines(state: State, release: Release, wide: int) -> list[str]:
    back = f", back to what release {release.rollback_to} was" if release.rollback_to else ""
    head = f"release {release.number} ({release.commit[:10]}{back}): {release.ended or 'not walked to its end'}"
    rows = [f"    {name:<{wide}}  {_how(result)}" for name, result in release.results.items()]
    receipts = state.receipts_of(release.number)
    rows += [f"    {step}: {_RECEIPTS.get(how, how)}" for step, how in receipts.items()]
    return [f"{head}; {release.at} by {release.by}", *rows]


def _how(result: MachineResult) -> str:
    cause = next((line for line in result.cause.splitlines() if line.strip()), "")
    later = "  (asleep at the rollout; it came by itself)" if result.asleep_at and result.outcome.passed else ""
    return f"{result.outcome.value:<10}{f'  {cause}' if cause else ''}{later}".rstrip()
