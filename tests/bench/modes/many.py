"""Hundreds of machines: how wall time and the client's memory grow with their number.

Each is an sshd in namespaces of its own, as in the comparison. Fifty are deployed to at the same time.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from bench import bars
from bench.machines import bed_of_machines
from bench.rounds import Rounds
from bench.tools.raw import Raw
from bench.tools.wakeline import Wakeline

MEMORY_MB = 250.0
AT_ONCE = 50


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """A fifth of the machines first, then all of them, in fleets of the same kind."""
    counts = (max(2, asked.machines // 5), asked.machines)
    walls, memory, raws = {}, {}, {}
    for count in counts:
        with (
            bed_of_machines(count=count, booted=False) as machines,
            tempfile.TemporaryDirectory(prefix="wakeline-bench-") as folder,
        ):
            raw, wakeline = Raw(at_once=AT_ONCE), Wakeline(at_once=AT_ONCE)
            rounds = Rounds(machines, [raw, wakeline], folder=Path(folder))
            rounds.one_job("", 0, rounds.next())
            rounds.one_job("code_only", 0, rounds.next())
            rounds.close()
        sample = rounds.taken["code_only"]["wakeline"][0]
        walls[count], memory[count] = round(sample.wall_s, 2), round(sample.client_mb, 1)
        raws[count] = round(rounds.taken["code_only"]["raw"][0].wall_s, 2)
    few, many = counts
    grows = (walls[many] / walls[few]) / (many / few)
    return {
        "machines": many,
        "wall_s": walls,
        "raw_wall_s": raws,
        "client_mb": memory,
        "bars": [
            bars.at_most(f"wall time from {few} to {many} machines, to their number", grows, 1.0),
            bars.at_most(f"client memory with {many} machines", memory[many], MEMORY_MB, unit="MB"),
        ],
    }
