"""A rollout as plain lines: one an event, each with its time and machine. For pipes, logs and dumb terminals."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from wakeline.cli.board import Board, hear, how_it_stops
from wakeline.cli.render import coloured, plain, talk
from wakeline.driver.progress import Notice

_QUIET = {"output", "verified", "lease-renewed", "sent", "hello", "knock", "fetched", "step_started", "approved"}
_QUIET |= {"prepared"}


class Lines:
    """Prints each notice as it comes. What is only of interest when something is wrong waits for --verbose."""

    def __init__(self, *, verbose: bool) -> None:
        self._verbose = verbose
        self._began = time.monotonic()
        self._board = Board()

    def __call__(self, notice: Notice) -> None:
        """Show one notice."""
        seconds = time.monotonic() - self._began
        self._board = hear(self._board, notice, now_s=seconds)
        text = told(notice)
        lines = how_it_stops(self._board) if notice.kind == "stopping" else [text]
        for line in lines if text and (self._verbose or notice.kind not in _QUIET) else ():
            talk(f"{seconds:6.1f} s  {notice.machine or '·':<12} {coloured(plain(line))}")


def told(notice: Notice) -> str:
    """A notice in words; nothing for one that is of no interest to people."""
    data: Any = notice.data
    texts: dict[str, Callable[[], str]] = {
        "waiting": lambda: notice.text or data.get("text", ""),
        "stopping": lambda: f"stopping ({notice.text})",
        "release": lambda: _release(data),
        "knocked": lambda: data["answer"] + (f" {notice.text}" if notice.text else ""),
        "woken": lambda: "woke in the meantime: it looks at the ledger now",
        "caught_up": lambda: notice.text,
        "prepared": lambda: "laid out ahead of its order" if data.get("ok") else f"not laid out yet: {data.get('why')}",
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
    words = texts.get(notice.kind)
    return words() if words else ""


def _release(data: Any) -> str:
    walk = " → ".join(f"{stage['name']} ({', '.join(stage['machines'])})" for stage in data["stages"])
    back = f", going back to release {data['rollback_to']}" if data["rollback_to"] else ""
    return f"release {data['number']}: {data['commit'][:10]}{back}; {walk}"


def _step(data: Any) -> str:
    how = "passed" if data.get("ran") else "not run"
    took = f" in {data.get('seconds')} s" if data.get("ran") else ""
    return f"{data.get('step')}: {how if data.get('ok') else 'failed'}{took} ({data.get('why')})"
