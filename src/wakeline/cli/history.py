"""`wakeline history`: what was decided and how it ended, from the ledger alone."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from wakeline.cli.result import Result
from wakeline.core.state import Release
from wakeline.driver.project import open_project


def run(folder: Path, *, verify: bool, last: int) -> Result:
    """Newest first. With `verify`, only the chain is looked at; a bad record raises LedgerError that names it."""
    project = open_project(folder)
    state = asyncio.run(project.writer.read())
    if verify:
        line = f"{state.position} records, every hash fits; the last is {state.tip[:12]}"
        return Result("history", {"records": state.position, "tip": state.tip}, lines=[line])
    chosen = sorted(state.releases, reverse=True)[:last]
    rows = [_row(state.releases[number]) for number in chosen]
    lines = [line for number in chosen for line in _lines(state.releases[number])]
    for row in rows:
        row["receipts"] = {step: how for (number, step), how in state.receipts.items() if number == row["release"]}
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


def _lines(release: Release) -> list[str]:
    back = f" back to {release.rollback_to}" if release.rollback_to else ""
    head = f"release {release.number:<4} {release.commit[:10]}{back}  {release.ended or 'unfinished':<12}"
    head += f" {release.at}  {release.by}"
    return [head, *(f"    {name:<14} {_how(result)}" for name, result in release.results.items())]


def _how(result: Any) -> str:
    cause = f"  {result.cause.splitlines()[0]}" if result.cause else ""
    return f"{result.outcome.value:<10}{cause}".rstrip()
