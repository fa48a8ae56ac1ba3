"""Prints in a run of GitHub Actions: a group a machine, annotations, and nobody else's words as a command.

Both streams of ours go through a guard, whoever writes to them; commands of ours alone go past it. They go to stderr,
so that stdout stays data.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import time
from collections.abc import Iterable
from typing import Any, TextIO

from wakeline.cli.lines import told
from wakeline.cli.result import Result
from wakeline.driver.progress import Notice
from wakeline.github import log, run

_OF_NO_INTEREST = {"lease-renewed", "sent", "hello", "knock", "fetched", "prepared"}


class Guarded:
    """A stream whose lines start no command. What is not yet a whole line waits for its end."""

    def __init__(self, raw: TextIO) -> None:
        self.raw = raw
        self._rest = ""

    def write(self, text: str) -> int:
        """Print the whole lines in it."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self.raw.write(f"{log.harmless(line)}\n")
        return len(text)

    def flush(self) -> None:
        """What is a whole line already goes out."""
        self.raw.flush()

    def end(self) -> None:
        """The last line, which nobody ended."""
        if self._rest:
            self.write("\n")
        self.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)


def begin() -> None:
    """Guard both streams from here on, and tell the runner what to hide."""
    streams = Guarded(sys.stdout), Guarded(sys.stderr)
    sys.stdout, sys.stderr = streams
    for stream in streams:
        atexit.register(stream.end)
    hide(run.secrets_in(os.environ))


def hide(secrets: Iterable[str]) -> None:
    """These are not shown from here on, whoever prints them."""
    _commands(log.masks(secrets))


def show(result: Result, *, as_json: bool) -> int:
    """What render.show prints elsewhere; errors and warnings are annotations here, and shown on the run's page."""
    if as_json:
        print(json.dumps(result.envelope(), indent=2, sort_keys=True).replace("##[", "#\\u0023["))
        return int(result.exit_code)
    for line in result.lines:
        print(line)
    sys.stdout.flush()
    if result.error:
        errors = list(result.errors) or [(f"wakeline {result.verb}", result.error)]
        hint = f"\nhint: {result.hint}" if result.hint else ""
        _commands(log.annotated("error", [(title, f"{text}{hint}") for title, text in errors]))
    _commands(log.annotated("warning", (_titled(line) for line in result.warnings)))
    return int(result.exit_code)


def _titled(line: str) -> tuple[str, str]:
    """A warning's first words stand above it."""
    title, _, text = line.partition(": ")
    return (title, text) if text else ("wakeline", line)


class RunLog:
    """Tells a rollout as it runs: everything, because what is in a group is folded until somebody opens it."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._groups = log.Groups()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *_: object) -> None:
        _commands(self._groups.close())

    def __call__(self, notice: Notice) -> None:
        """Show one notice."""
        text = told(notice)
        if not text or notice.kind in _OF_NO_INTEREST:
            return
        seconds = time.monotonic() - self._began
        if notice.kind == "outcome" and notice.machine:
            _commands(self._groups.end(notice.machine, f"{notice.machine}: {text.splitlines()[0]}"))
            return
        for line in text.split("\n"):
            _commands(self._groups.say(notice.machine, f"{seconds:6.1f} s  {line}"))


def _commands(lines: list[str]) -> None:
    """Lines that were made by github/log.py: past the guard."""
    stream = getattr(sys.stderr, "raw", sys.stderr)
    for line in lines:
        stream.write(f"{line}\n")
    stream.flush()
