"""`wakeline plan`: what deploy would do, machine by machine. Looks only."""

from __future__ import annotations

import asyncio
import dataclasses

from wakeline.cli.result import Result
from wakeline.driver.admitting import Wish
from wakeline.driver.planning import Act, Plan, plan
from wakeline.driver.project import Project
from wakeline.errors import ExitCode


def run(project: Project, *, commit: str = "", exit_code: bool = False) -> Result:
    """With `exit_code`, 8 says that there is something to do."""
    found = asyncio.run(plan(project, Wish(commit=commit)))
    code = ExitCode.SOMETHING_TO_DO if exit_code and found.something_to_do else ExitCode.DONE
    return Result("plan", _data(found), lines=_lines(found), warnings=found.notes, exit_code=code)


def _data(found: Plan) -> dict[str, object]:
    refused = {"why": found.refused.why, "hint": found.refused.hint} if found.refused else None
    return {
        "commit": found.commit,
        "release": found.release,
        "carries_on": found.carries_on,
        "refused": refused,
        "machines": [dataclasses.asdict(act) for act in found.acts],
        "something_to_do": found.something_to_do,
    }


def _lines(found: Plan) -> list[str]:
    if found.refused:
        return [f"{found.commit[:10]} would not be deployed: {found.refused.why}", f"→ {found.refused.hint}"]
    how = "carried on" if found.carries_on else "made"
    lines = [f"release {found.release} would be {how} of {found.commit[:10]}"]
    for act in found.acts:
        lines += _act_lines(act)
    if not found.something_to_do:
        lines.append("nothing to do")
    return lines


def _act_lines(act: Act) -> list[str]:
    return [
        f"  {act.stage:<12} {act.machine:<16} {act.act:<10} {act.why}",
        *(f"  {'':<29} {step}" for step in act.steps),
    ]
