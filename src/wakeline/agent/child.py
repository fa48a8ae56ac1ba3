"""Runs one command of an order and hands its output on, line by line: the one place in the agent that starts a step.

The process edge runs a command and returns all of its output; a step may run for half an hour, print 10 MB on one line
and must be stopped with everything that it started. So a step is a process group of its own, memory stays bounded, and
a background process that keeps the output open cannot keep the step from ending. Of a command that never stops printing
the beginning and the end are handed on: neither its log nor whoever listens has to take a gigabyte.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

WHOLE_BYTES = 16 * 1024 * 1024
_LINE_COSTS = 80  # each is cleaned, masked, written and told: a million empty ones are not nothing
_LINE_KEPT = 16 * 1024
_END_KEPT = 64 * 1024
_READ = 64 * 1024
_GRACE_S = 10.0
_LINGER_S = 1.0


class Ended(NamedTuple):
    """How a command ended. `exit` is negative for a signal; `why` is set when we ended it ourselves."""

    exit: int
    seconds: float
    why: str = ""
    timed_out: bool = False


def run(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout_s: float,
    on_line: Callable[[bytes], None],
    on_start: Callable[[int], None] | None = None,
    stop_fd: int = -1,
    keep_fds: Sequence[int] = (),
    feed: bytes = b"",
    spare: bool = False,
    leaves_behind: bool = False,
    whole_bytes: int = WHOLE_BYTES,
) -> Ended:
    """Run a command to its end, or end it and all of its group: after `timeout_s`, or when `stop_fd` is readable.

    With `spare` it is never signalled: after `timeout_s` it is left to itself. With `leaves_behind` what it started
    goes on when it has ended by itself. Of output past `whole_bytes` only the last lines are handed on, when it ends.
    """
    started = time.monotonic()
    child = subprocess.Popen(  # noqa: S603 - the fleet file's own command; argv is /bin/sh -c COMMAND
        list(argv),
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        pass_fds=tuple(keep_fds),
    )
    why = ""
    try:
        if on_start is not None:
            on_start(child.pid)
        if child.stdin is not None:
            with contextlib.suppress(BrokenPipeError), child.stdin:  # it ended at once: its exit says why
                child.stdin.write(feed)
        lines = _Lines(on_line, whole_bytes=whole_bytes)
        try:
            why = _follow(child, lines, ends=started + timeout_s, stop_fd=stop_fd)
        finally:
            lines.end()
    finally:
        if spare:
            child.poll()
        elif child.poll() is None:
            _end_group(child)
        elif not leaves_behind:
            _signal_group(child.pid, signal.SIGKILL)  # what it left behind would run on beside the next step
        if child.stdout is not None:
            child.stdout.close()
    timed_out = why == "time"
    if timed_out:
        why = f"it took longer than its limit of {timeout_s:g} s"
    exit_code = child.returncode if child.returncode is not None else -1
    return Ended(exit_code, time.monotonic() - started, why, timed_out)


def _follow(child: subprocess.Popen[bytes], lines: _Lines, *, ends: float, stop_fd: int) -> str:
    """Read until the command has ended. Returns why we gave up on it, or nothing."""
    assert child.stdout is not None  # noqa: S101 - it was asked for as a pipe
    fd = child.stdout.fileno()
    watched = [fd] + ([stop_fd] if stop_fd >= 0 else [])
    gone_since = 0.0
    open_end = True
    while open_end or child.poll() is None:
        now = time.monotonic()
        if now >= ends:
            return "time"
        if child.poll() is not None:
            gone_since = gone_since or now
            if now - gone_since > _LINGER_S:
                break
        ready = select.select(watched if open_end else watched[1:], [], [], min(0.2, ends - now))[0]
        if stop_fd in ready:
            return "it was asked to stop"
        if fd in ready:
            data = os.read(fd, _READ)
            open_end = bool(data)
            lines.feed(data)
            if not data:
                with contextlib.suppress(subprocess.TimeoutExpired):  # it closed its output and goes on
                    child.wait(timeout=0.2)
    return ""


class Beside:
    """A command that runs beside another one and says one word when it is ready. It ends when its stdin does."""

    def __init__(self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], stdin: int) -> None:
        self._child = subprocess.Popen(  # noqa: S603 - the fleet file's own command; argv is /bin/sh -c COMMAND
            list(argv),
            cwd=cwd,
            env=dict(env),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def wait_for_word(self, word: str, *, limit_s: float) -> str:
        """Wait until it says the word on a line of its own. Returns what it said instead, or nothing."""
        assert self._child.stdout is not None  # noqa: S101 - it was asked for as a pipe
        fd, said, ends = self._child.stdout.fileno(), b"", time.monotonic() + limit_s
        while word.encode() not in said.splitlines():
            if not select.select([fd], [], [], max(0.0, ends - time.monotonic()))[0]:
                _end_group(self._child)
                return f"no answer within {limit_s:g} s"
            data = os.read(fd, _READ)
            said = (said + data)[-_LINE_KEPT:]
            if not data:
                code = self._child.wait()
                return said.decode("utf-8", "replace").strip() or f"exit {code}"
        return ""

    def let_go(self) -> None:
        """It sees the end of its stdin once everybody who inherited the other end is gone, and ends by itself."""
        if self._child.stdout is not None:
            self._child.stdout.close()
        self._child.poll()


class _Lines:
    """Cuts a stream into lines. Of a long line it keeps only the beginning, of a long stream the beginning and the end.

    What is cut is cut so that no secret is: a line of which we have a piece that could end inside of one is not said.
    """

    def __init__(self, on_line: Callable[[bytes], None], *, whole_bytes: int) -> None:
        self._on_line = on_line
        self._room = whole_bytes
        self._kept = bytearray()
        self._length = 0
        self._end = b""
        self._past = 0

    def feed(self, data: bytes) -> None:
        if self._room > 0:
            self._room -= len(data) + _LINE_COSTS * data.count(b"\n")
            self._cut(data)
            return
        if not self._past:
            self._on_line(b"[a lot of output: from here on only its last lines are kept]")
        self._past += len(data)
        self._end = (self._end + data)[-_END_KEPT:]

    def end(self) -> None:
        left_out = self._past - len(self._end)
        if left_out > 0:
            if len(self._kept) < _LINE_KEPT:
                self._kept.clear()
                self._length = 0
            cut_off, _, self._end = self._end.partition(b"\n")
            self._finish()
            self._on_line(b"[%d bytes of output are left out here]" % (left_out + len(cut_off)))
        self._cut(self._end)
        self._finish()

    def _cut(self, data: bytes) -> None:
        *whole, rest = data.split(b"\n")
        for part in whole:
            self._add(part)
            self._say()
        self._add(rest)

    def _add(self, part: bytes) -> None:
        self._length += len(part)
        self._kept += part[: max(0, _LINE_KEPT - len(self._kept))]

    def _finish(self) -> None:
        if self._length:
            self._say()

    def _say(self) -> None:
        self._on_line(bytes(self._kept))
        self._kept.clear()
        self._length = 0


def _end_group(child: subprocess.Popen[bytes]) -> None:
    _signal_group(child.pid, signal.SIGTERM)
    try:
        child.wait(timeout=_GRACE_S)
    except subprocess.TimeoutExpired:
        pass_on = True
    else:
        pass_on = False
    _signal_group(child.pid, signal.SIGKILL)
    if pass_on:
        child.wait()


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # it has ended, or it is no longer ours
        os.killpg(pid, number)
