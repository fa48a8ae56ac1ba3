"""The one place that prints. stdout is data, stderr is talk; colour never carries meaning.

What machines, commits and people wrote is shown with its control characters taken out: it must not move a cursor, set
a title, or start a workflow command.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable
from typing import TextIO

from wakeline.cli.result import Result
from wakeline.errors import WakelineError
from wakeline.github.run import is_run

_COLOURS = {"ok": "32", "unchanged": "32", "asleep": "33", "unknown": "33", "failed": "31", "withheld": "33"}
_COLOURS.update(refused="31", PROBLEM="31", awake="32")
_COLUMN = re.compile(rf"(?<=\s\s)({'|'.join(_COLOURS)})(?=\s\s|$)")


def plain(text: str) -> str:
    """Text of somebody else's, safe for a terminal; line breaks stay."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def show(result: Result, *, as_json: bool) -> int:
    """Print a result and return the exit code."""
    if is_run(os.environ):
        from wakeline.cli import render_github  # noqa: PLC0415 - only what is used

        return render_github.show(result, as_json=as_json)
    if as_json:
        print(json.dumps(result.envelope(), indent=2, sort_keys=True))
        return int(result.exit_code)
    if result.error:
        talk(f"{paint('error', '31')}: {plain(result.error)}")
        if result.hint:
            talk(f"hint: {plain(result.hint)}")
    painted = _is_painted(sys.stdout)
    for line in result.lines:
        print(_in_colour(plain(line)) if painted else plain(line))
    for line in result.warnings:
        talk(f"{paint('warning', '33')}: {plain(line)}")
    return int(result.exit_code)


def show_error(error: WakelineError, *, verb: str, as_json: bool) -> int:
    """Print an error of ours and return its exit code."""
    failed = Result(verb, {}, exit_code=error.exit_code, error=error.message, hint=error.hint)
    return show(failed, as_json=as_json)


def hide(secrets: Iterable[str]) -> None:
    """Tell a runner of GitHub's what is never to be shown. Elsewhere nobody has to be told."""
    if is_run(os.environ):
        from wakeline.cli import render_github  # noqa: PLC0415 - only what is used

        render_github.hide(secrets)


def coloured(text: str) -> str:
    """Paint an outcome at the start of a line, after everything foreign in it was cleaned."""
    word, space, rest = text.partition(" ")
    return f"{paint(word, _COLOURS.get(word, ''))}{space}{rest}"


def paint(text: str, colour: str) -> str:
    """Text in a colour, where there is a terminal that wants one."""
    return f"\x1b[{colour}m{text}\x1b[0m" if colour and _is_painted(sys.stderr) else text


def _in_colour(line: str) -> str:
    """Paint the words that say how a machine is, where they stand in a column of their own."""
    return _COLUMN.sub(lambda found: f"\x1b[{_COLOURS[found[0]]}m{found[0]}\x1b[0m", line)


def is_screen(stream: TextIO) -> bool:
    """Whether a stream is a terminal that understands more than lines."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


def _is_painted(stream: TextIO) -> bool:
    """Whether a stream wants colours: https://no-color.org"""
    return is_screen(stream) and not os.environ.get("NO_COLOR")


def talk(text: str) -> None:
    """One line to the person: stderr."""
    print(text, file=sys.stderr, flush=True)
