"""`wakeline init`: looks at the repository and writes a commented wakeline.toml that validates."""

from __future__ import annotations

from pathlib import Path

from wakeline import starting
from wakeline.cli.result import Result
from wakeline.driver.project import FILE
from wakeline.edges import git
from wakeline.errors import Usage
from wakeline.fleet import load


def run(folder: Path) -> Result:
    """Never over a file that is there. Raises Usage outside of a git repository too."""
    try:
        place = git.top(folder) / FILE
    except git.GitFailed as error:
        raise Usage(f"{folder} is not in a git checkout", hint="run it inside your app's repository") from error
    if place.exists():
        raise _there_already(place)
    draft = starting.write(starting.look(folder))
    load(draft.text, name=FILE)
    write_new(place, draft.text)
    lines = [f"{FILE} written", *(f"  took {each}" for each in draft.taken)]
    lines += [f"  could not tell: {each}" for each in draft.asked]
    lines.append("next: answer its TODO lines, commit and push it, then: wakeline doctor, wakeline setup")
    data = {"file": str(place), "taken": list(draft.taken), "asked": list(draft.asked)}
    return Result("init", data, lines=lines, warnings=draft.warnings)


def write_new(place: Path, text: str) -> None:
    """A file that has appeared since we looked is not written over either, nor one that a link leads to."""
    try:
        with place.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise _there_already(place) from error
    except OSError as error:
        raise Usage(f"{place} cannot be written: {error.strerror}", hint=f"ls -ld {place.parent}") from error


def _there_already(place: Path) -> Usage:
    return Usage(f"{place} is there already", hint="wakeline doctor looks whether it is right")
