"""Hundreds of machines: how wall time and the client's memory grow with their number.

Each is an sshd in namespaces of its own, as in the comparison. Fifty are deployed to at the same time.
"""

from __future__ import annotations

import argparse
import statistics
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
    walls, memory, raws, here, there = {}, {}, {}, {}, {}
    for count in counts:
        with (
            bed_of_machines(count=count, booted=False) as machines,
            tempfile.TemporaryDirectory(prefix="wakeline-bench-") as folder,
        ):
            raw, wakeline = Raw(at_once=AT_ONCE), Wakeline(at_once=AT_ONCE)
            rounds = Rounds(machines, [raw, wakeline], folder=Path(folder))
            rounds.one_job("", 0, rounds.next())
            for number in range(asked.rounds):
                rounds.one_job("code_only", number, rounds.next())
            rounds.close()
        taken = rounds.taken["code_only"]
        samples = taken["wakeline"]
        walls[count] = round(statistics.median(sample.wall_s for sample in samples), 2)
        raws[count] = round(statistics.median(sample.wall_s for sample in taken["raw"]), 2)
        here[count] = round(statistics.median(sample.client_cpu_s for sample in samples), 2)
        there[count] = round(statistics.median(sample.machines_cpu_s for sample in samples), 2)
        memory[count] = round(max(sample.client_mb for sample in samples), 1)
    few, many = counts
    grows = (walls[many] / walls[few]) / (many / few)
    return {
        "machines": many,
        "wall_s": walls,
        "raw_wall_s": raws,
        "client_cpu_s": here,
        "machines_cpu_s": there,
        "client_mb": memory,
        "bars": [
            bars.at_most(f"wall time from {few} to {many} machines, to their number", grows, 1.0),
            bars.at_most(f"client memory with {many} machines", memory[many], MEMORY_MB, unit="MB"),
        ],
    }
