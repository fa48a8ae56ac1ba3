"""The one place that prints. stdout is data, stderr is talk; colour never carries meaning.

What machines, commits and people wrote is shown with its control characters taken out: it must not move a cursor, set
a title, or start a workflow command.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from wakeline.cli.result import Result
from wakeline.driver.progress import Notice
from wakeline.errors import WakelineError

_COLOURS = {"ok": "32", "unchanged": "32", "asleep": "33", "unknown": "33", "failed": "31", "withheld": "33"}
_QUIET = {"output", "verified", "lease-renewed", "sent", "hello", "knock", "fetched", "step_started", "approved"}


def plain(text: str) -> str:
    """Text of somebody else's, safe for a terminal; line breaks stay."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def show(result: Result, *, as_json: bool) -> int:
    """Print a result and return the exit code."""
    if as_json:
        print(json.dumps(result.envelope(), indent=2, sort_keys=True))
        return int(result.exit_code)
    if result.error:
        _talk(f"{_paint('error', '31')}: {plain(result.error)}")
        if result.hint:
            _talk(f"hint: {plain(result.hint)}")
    for line in result.lines:
        print(plain(line))
    for line in result.warnings:
        _talk(f"{_paint('warning', '33')}: {plain(line)}")
    return int(result.exit_code)


def show_error(error: WakelineError, *, verb: str, as_json: bool) -> int:
    """Print an error of ours and return its exit code."""
    failed = Result(verb, {}, exit_code=error.exit_code, error=error.message, hint=error.hint)
    return show(failed, as_json=as_json)


class Live:
    """Tells a rollout while it runs: one line an event, each with its time and machine."""

    def __init__(self, *, verbose: bool) -> None:
        self._verbose = verbose
        self._began = time.monotonic()

    def __call__(self, notice: Notice) -> None:
        """Show one notice; what is only of interest when something is wrong waits for --verbose."""
        text = _told(notice)
        if text and (self._verbose or notice.kind not in _QUIET):
            seconds = time.monotonic() - self._began
            _talk(f"{seconds:6.1f} s  {notice.machine or '·':<12} {_coloured(plain(text))}")


def _told(notice: Notice) -> str:
    data: Any = notice.data
    texts: dict[str, Callable[[], str]] = {
        "waiting": lambda: notice.text or data.get("text", ""),
        "release": lambda: _release(data),
        "knocked": lambda: data["answer"] + (f" {notice.text}" if notice.text else ""),
        "woken": lambda: "woke in the meantime: it looks at the ledger now",
        "caught_up": lambda: notice.text,
        "laid_out": lambda: f"release {data.get('release')} laid out",
        "step_started": lambda: f"{data.get('step')} …",
        "step_finished": lambda: _step(data),
        "output": lambda: f"{data.get('step')} | {data.get('text')}",
        "verified": lambda: f"{data.get('step')}: verify says {data.get('answer')}",
        "claimed": lambda: f"{data.get('step')}: claimed ({data.get('claim')})",
        "once_started": lambda: f"{data.get('step')} started, once",
        "once_finished": lambda: f"{data.get('step')} ended: exit {data.get('exit')}",
        "receipt": lambda: f"{data.get('step')}: receipt ({data.get('how')})",
        "switched": lambda: f"switched from release {data.get('was') or 'none'} to {data.get('now')}",
        "switched_back": lambda: f"switched back to {data.get('to')}: {data.get('cause')}",
        "healthy": lambda: f"{data.get('service')} is healthy",
        "approved": lambda: f"release {data.get('release')} approved for stage {data.get('stage')}",
        "outcome": lambda: str(data.get("outcome")) + (f" {data['cause']}" if data.get("cause") else ""),
    }
    told = texts.get(notice.kind)
    return told() if told else ""


def _release(data: Any) -> str:
    walk = " → ".join(f"{stage['name']} ({', '.join(stage['machines'])})" for stage in data["stages"])
    back = f", going back to release {data['rollback_to']}" if data["rollback_to"] else ""
    return f"release {data['number']}: {data['commit'][:10]}{back}; {walk}"


def _step(data: Any) -> str:
    how = "passed" if data.get("ran") else "not run"
    took = f" in {data.get('seconds')} s" if data.get("ran") else ""
    return f"{data.get('step')}: {how if data.get('ok') else 'failed'}{took} ({data.get('why')})"


def _coloured(text: str) -> str:
    """Paint an outcome at the start of a line, after everything foreign in it was cleaned."""
    word, space, rest = text.partition(" ")
    return f"{_paint(word, _COLOURS.get(word, ''))}{space}{rest}"


def _paint(text: str, colour: str) -> str:
    wanted = colour and sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    return f"\x1b[{colour}m{text}\x1b[0m" if wanted else text


def _talk(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
