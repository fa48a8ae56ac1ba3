"""`wakeline doctor`: every precondition, each with its remedy. Looks only."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

from wakeline.cli.render import hide
from wakeline.cli.result import Result
from wakeline.driver.examining import Finding, examine
from wakeline.driver.project import open_project
from wakeline.errors import ExitCode, Usage

_SHOWN = {"ok": "ok", "warning": "warning", "problem": "PROBLEM", "cannot-tell": "cannot tell"}


def run(folder: Path, *, machine: str = "", verbose: bool = False) -> Result:
    """All machines, or one. Exit 1 where something would keep a rollout from going through."""
    project = open_project(folder, hide=hide)
    chosen = tuple(each for each in project.file.fleet.machines if machine in ("", each.name))
    if not chosen:
        names = ", ".join(each.name for each in project.file.fleet.machines)
        raise Usage(f"there is no machine {machine!r}", hint=f"machines: {names}")
    findings = asyncio.run(examine(project, chosen))
    problems = [each for each in findings if each.state == "problem"]
    lines = [line for each in findings if verbose or each.state != "ok" for line in _lines(each)]
    fine = sum(each.state == "ok" for each in findings)
    lines.append(f"{fine} of {len(findings)} are as they should be" + ("" if verbose else "; -v shows them too"))
    error = f"{len(problems)} would keep a rollout from going through" if problems else ""
    code = ExitCode.FAILED if problems else ExitCode.DONE
    data = {"findings": [dataclasses.asdict(each) for each in findings]}
    return Result("doctor", data, lines=lines, exit_code=code, error=error)


def _lines(finding: Finding) -> list[str]:
    line = f"  {finding.machine:<12} {_SHOWN.get(finding.state, finding.state):<12} {finding.what}: {finding.found}"
    wanted = finding.wanted and finding.state != "ok"
    return [line, f"  {'':<12} {'':<12} → {finding.wanted}"] if wanted else [line]
