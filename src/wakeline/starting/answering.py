"""The TODO lines of a fleet file that a person can answer in a word, for where there is a terminal to ask on. Pure.

A line is a question when what it is about stands below it: `key = "…"`, or a health check that is written as a comment.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator

from wakeline.starting.page import ASK, quoted

_VALUE = re.compile(r'(environment|presence|address|git) = ("(?:[^"\\]|\\.)*")\Z')
_HEALTH = "# health = "
_MAY_STAY = ("environment", "presence")  # what stands there is an answer; an address that was made up is none


@dataclasses.dataclass(frozen=True)
class Question:
    """One TODO line. `default` is what Enter says; without one, Enter leaves the line for later."""

    line: int
    text: str
    key: str
    default: str = ""


def questions(text: str) -> Iterator[Question]:
    """What can be asked, from the top."""
    lines = text.splitlines()
    for number, (line, below) in enumerate(zip(lines, lines[1:], strict=False)):
        found = _VALUE.match(below)
        if not line.startswith(ASK):
            continue
        if found:
            default = json.loads(found[2]) if found[1] in _MAY_STAY else ""
            yield Question(number, line.removeprefix(ASK), found[1], default)
        elif below.startswith(_HEALTH):
            yield Question(number, line.removeprefix(ASK), "health")


def answered(text: str, question: Question, answer: str) -> str:
    """The file with an answer in it, and its TODO line gone."""
    lines = text.splitlines()
    lines[question.line : question.line + 2] = [f"{question.key} = {_written(question.key, answer)}"]
    return "\n".join(lines) + "\n"


def _written(key: str, answer: str) -> str:
    if key != "health":
        return quoted(answer)
    how = "http" if re.match(r"https?://", answer) else "run"
    return f'{{ {how} = {quoted(answer)}, within = "30s" }}'
