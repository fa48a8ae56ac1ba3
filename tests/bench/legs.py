"""The time between the lines that a rollout says, read as they come with a clock beside them."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Sequence

from bench.job import Commit
from bench.tools import Tool


def legs_of(tool: Tool, commit: Commit, awaited: Sequence[tuple[str, str]], *, end: str) -> dict[str, float]:
    """One rollout. `awaited` are the lines, as patterns and in their order, each with the leg that it ends.

    `end` is the leg from the last of them to the exit. Seconds. Raises AssertionError for a line that never came.
    """
    (command,) = tool.commands(commit)
    left = list(awaited)
    found: dict[str, float] = {}
    before = time.monotonic()
    with subprocess.Popen(
        command, cwd=tool.cwd, env=dict(tool.env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if left and re.search(left[0][0], line.rstrip()):
                now = time.monotonic()
                found[left.pop(0)[1]] = now - before
                before = now
    found[end] = time.monotonic() - before
    if running.returncode or left:
        raise AssertionError(f"exit {running.returncode}, and no line like {[line for line, _ in left]}")
    return found
