"""`wakeline catch-up MACHINE`: what its units run by themselves, for somebody who wants it now."""

from __future__ import annotations

import asyncio
from pathlib import Path

from wakeline.cli import notify
from wakeline.cli.render import hide
from wakeline.cli.result import Result
from wakeline.driver.machine_script import name_of
from wakeline.driver.project import open_project
from wakeline.driver.waking import look_now
from wakeline.errors import ExitCode, Usage


def run(folder: Path, *, machine: str) -> Result:
    """Ask a machine to look at the ledger now. Exit 1 when it is not there, and when what it took up has failed."""
    project = open_project(folder, hide=hide)
    chosen = next((each for each in project.file.fleet.machines if each.name == machine), None)
    if chosen is None:
        names = ", ".join(each.name for each in project.file.fleet.machines)
        if not machine:
            here = f"on the machine itself, without a checkout: {name_of(project.file)} catch-up"
            raise Usage("which machine?", hint=f"wakeline catch-up MACHINE, of {names}; {here}")
        raise Usage(f"there is no machine {machine!r}", hint=f"machines: {names}")
    lines, problem = asyncio.run(look_now(project, chosen))
    code = ExitCode.FAILED if problem else ExitCode.DONE
    error = f"{machine}: {problem}" if problem else ""
    hint = f"wakeline explain {machine}" if problem else ""
    warnings = notify.after(project, hear=True)
    return Result("catch-up", {"machine": machine, "said": list(lines)}, lines, warnings, code, error, hint)
