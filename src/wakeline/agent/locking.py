"""The second lock of a once-step, in the target database, and the sessions there that have outlived their command.

Laws that live here:

- Law 4: *lacks it* is no reason to start anew while a session of an earlier start is still at work in the database.
- The lock is held for as long as any process of the command runs, whatever becomes of the agent: its holder waits for
  the end of a pipe, and the keeper and the command inherit the pipe's other end.

Both are asked through the step's own `lock` command (see migration_lock.py). A step without one has the claim alone.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence

from wakeline.agent import child, steps
from wakeline.core import once
from wakeline.core.order import Step
from wakeline.errors import RolloutFailed

_ASK_S = 60.0
_TAKE_S = 90.0
_GONE_S = 30.0
_LOOK_S = 1.0
_CLAIMS_MAX = 50


class NotStarted(RolloutFailed):
    """The lock could not be had: nothing was started under the claim, and it is closed as failed."""


def session(bench: steps.Bench, step: Step) -> str:
    """Which session of an earlier start is still in the database: nothing, or words. `cannot tell` counts as there."""
    if not step.lock:
        return ""
    claims = [str(entry.get("claim")) for entry in bench.journal.newest_first("once-started")][:_CLAIMS_MAX]
    return look_for(bench, step, claims)


def look_for(bench: steps.Bench, step: Step, claims: Sequence[str]) -> str:
    """The same for some claims."""
    said: list[str] = []
    name = f"{step.name}-session"
    more = {"WAKELINE_ONCE": "session", "WAKELINE_CLAIMS": " ".join(claims), "PGAPPNAME": "wakeline-look"}
    ended = steps.run_command(bench, name, step.lock, timeout_s=_ASK_S, more=more, may_stop=False, on_text=said.append)
    return once.session_of(ended.exit, said=said, cause=ended.cause, timed_out=ended.timed_out)


def wait_until_gone(bench: steps.Bench, step: Step, *, limit_s: float | None = None) -> str:
    """Wait a little for earlier sessions to end. Returns what is still there, or nothing."""
    limit = float(bench.home.config.get("session_s", _GONE_S)) if limit_s is None else limit_s
    ends = time.monotonic() + limit
    told = False
    while (there := session(bench, step)) and time.monotonic() < ends and not bench.channel.stopping:
        if not told:
            bench.channel.send(
                "waiting", text=f"{step.name}: an earlier start is still at work in the database: {there}"
            )
            told = True
        time.sleep(_LOOK_S)
    return there


@contextlib.contextmanager
def held(bench: steps.Bench, step: Step, claim: str) -> Iterator[tuple[int, ...]]:
    """Hold the lock. Yields what the command must inherit. Raises RolloutFailed where it cannot be had."""
    if not step.lock:
        yield ()
        return
    read_end, write_end = os.pipe()
    more = {"WAKELINE_ONCE": "lock", "PGAPPNAME": f"wakeline-lock:{claim}"}
    try:
        beside = child.Beside(
            ["/bin/sh", "-c", step.lock], cwd=bench.folder, env=bench.environment.plus(**more), stdin=read_end
        )
    finally:
        os.close(read_end)
    try:
        problem = beside.wait_for_word("locked", limit_s=_TAKE_S)
        if problem:
            words = bench.environment.mask(problem)
            raise NotStarted(f"{step.name} was not started: the migration lock could not be taken: {words}")
        yield (write_end,)
    finally:
        os.close(write_end)
        beside.let_go()
