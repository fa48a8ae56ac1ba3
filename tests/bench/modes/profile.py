"""Where the time of one code-only rollout goes, and what its parts cost alone: two stages of one booted machine.

The rollout's own lines are read as they come, with a clock beside them: what is between two of them is a leg. The parts
are what nobody can leave out, each measured alone on the same machines in the same run: a cold ssh, a push to the
ledger's remote, the start of a Python, here and there.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import figures
from bench.legs import legs_of
from bench.machines import bed_of_machines
from bench.rounds import Rounds
from bench.scene import USER
from bench.tools.wakeline import Wakeline
from machines.machine import Machine

_LEGS = (
    (r"release \d+: ", "start, fetch, and the release on record"),
    (r"{0} +awake", "{1} stage: the machine is knocked on"),
    (r"{0} +release \d+ laid out", "{1} stage: fetched and laid out"),
    (r"{0} +switched", "{1} stage: steps and the switch"),
    (r"{0} +\S+ is healthy", "{1} stage: restarted and healthy twice"),
    (r"{0} +ok$", "{1} stage: confirmed, and on record"),
)
_END = "the end: approved, the lease is free, connections closed"
_EVERY = 5


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """The legs of some rollouts, and the parts."""
    legs: dict[str, list[float]] = {}
    parts: dict[str, list[float]] = {}
    with (
        bed_of_machines(count=2, stages=2, booted=True) as machines,
        tempfile.TemporaryDirectory(prefix="wakeline-bench-") as folder,
    ):
        tool = Wakeline()
        rounds = Rounds(machines, [tool], folder=Path(folder))
        first, second = machines.all
        for _ in range(3):
            rounds.one_job("", 0, rounds.next())
        for _ in range(max(asked.rounds, _EVERY)):
            commit = rounds.next()
            for leg, seconds in _rollout(tool, rounds, commit, [first, second]).items():
                legs.setdefault(leg, []).append(seconds)
            for part, command in _parts(rounds, first).items():
                parts.setdefault(part, []).append(_seconds(command, cwd=rounds.application.checkout))
        rounds.close()
    return {
        "legs_s": {leg: figures.spread(each) for leg, each in legs.items()},
        "parts_s": {part: figures.spread(each) for part, each in parts.items()},
        "bars": [],
    }


def _rollout(tool: Wakeline, rounds: Rounds, commit: Any, two: list[Machine]) -> dict[str, float]:
    """One rollout, with the time between its lines."""
    awaited = [_LEGS[0]]
    for machine, stage in zip(two, ("first", "second")):
        legs = _LEGS[1:] if stage == "first" else _LEGS[2:]  # the second is knocked on with the first
        awaited += [(line.format(re.escape(machine.name)), leg.format("", stage)) for line, leg in legs]
    return legs_of(tool, commit, awaited, end=_END)


def _parts(rounds: Rounds, machine: Machine) -> dict[str, list[str]]:
    config, _ = rounds.ssh
    where = ["ssh", "-F", str(config), "-o", f"HostKeyAlias={machine.name}", f"{USER}@{machine.address}"]
    push = ["git", "push", "--quiet", "--force", rounds.application.url, "HEAD:refs/bench/part"]
    return {
        "a cold ssh, to `true`": [*where, "true"],
        "the same, to `python3 -I -S -c pass`": [*where, "python3 -I -S -c pass"],
        "`git ls-remote`": ["git", "ls-remote", rounds.application.url, "refs/heads/main"],
        "`git push` of one ref": push,
    }


def _seconds(command: list[str], *, cwd: Path) -> float:
    began = time.monotonic()
    subprocess.run(command, cwd=cwd, capture_output=True, check=True)
    return time.monotonic() - began
