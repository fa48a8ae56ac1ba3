"""`wakeline init`: looks at the repository, asks where somebody is there, writes a wakeline.toml that validates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from wakeline import starting
from wakeline.cli import render
from wakeline.cli.result import Result
from wakeline.driver.project import FILE
from wakeline.edges import git
from wakeline.errors import Usage
from wakeline.fleet import FleetFileError, load
from wakeline.starting import answering
from wakeline.starting.page import ASK


def run(folder: Path, *, ask: Callable[[str, str], str] | None = None) -> Result:
    """Never over a file that is there. Raises Usage outside of a git repository too.

    `ask` puts a question to a person, with what Enter says. Nothing is written before the last one is answered.
    """
    try:
        place = git.top(folder) / FILE
    except git.GitFailed as error:
        raise Usage(f"{folder} is not in a git checkout", hint="run it inside your app's repository") from error
    if place.exists():
        raise _there_already(place)
    draft = starting.write(starting.look(folder))
    load(draft.text, name=FILE)
    taken = [f"  took {each}" for each in draft.taken]
    text = _asked(draft.text, taken, ask) if ask else draft.text
    left = [each for each in draft.asked if f"{ASK}{each}\n" in text]
    write_new(place, text)
    lines = [f"{FILE} written", *([] if ask else taken), *(f"  could not tell: {each}" for each in left)]
    answer = "answer its TODO lines, " if left else ""
    lines.append(f"next: {answer}commit and push it, then: wakeline doctor, wakeline setup")
    data = {"file": str(place), "taken": list(draft.taken), "asked": left}
    return Result("init", data, lines=lines, warnings=draft.warnings)


def _asked(text: str, taken: list[str], ask: Callable[[str, str], str]) -> str:
    """The file with what a person answers. An answer that is none is said to be so, and asked for again."""
    for line in [*taken, "Enter takes what stands in brackets; without brackets it is left for later, as a TODO line."]:
        render.talk(line)
    later: set[str] = set()
    while question := next((each for each in answering.questions(text) if each.text not in later), None):
        answer = ask(question.text, question.default).strip()
        if not answer:
            later.add(question.text)
            continue
        try:
            changed = answering.answered(text, question, answer)
            load(changed, name=FILE)
        except FleetFileError as error:
            render.talk(render.plain(error.message))
        else:
            text = changed
    return text


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
