"""Hundreds of machines: how wall time and the client's memory grow with their number.

Each is an sshd in namespaces of its own, as in the comparison. Twenty are deployed to at the same time. A fifth of them
are a fleet of their own among the others, and both fleets take turns: what is alike for both cannot pass for growth.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import bars
from bench.machines import Machines, bed_of_machines
from bench.measure import Sample
from bench.rounds import Rounds
from bench.tools.raw import Raw
from bench.tools.wakeline import Wakeline

MEMORY_MB = 250.0
AT_ONCE = 20


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """A fifth of the machines and all of them, in turn."""
    few, many = counts = (max(2, asked.machines // 5), asked.machines)
    with (
        bed_of_machines(count=many, booted=False) as machines,
        tempfile.TemporaryDirectory(prefix="wakeline-bench-") as folder,
        contextlib.ExitStack() as open_rounds,
    ):
        fleets = {count: _fleet(machines.some(count), Path(folder) / str(count)) for count in counts}
        for rounds in fleets.values():
            open_rounds.callback(rounds.close)
            rounds.one_job("", 0, rounds.next())
        for number in range(asked.rounds):
            for rounds in fleets.values():
                rounds.one_job("code_only", number, rounds.next())
    taken = {count: [rounds.taken["code_only"][tool.name] for tool in rounds.tools] for count, rounds in fleets.items()}
    raw, ours = ({count: samples[which] for count, samples in taken.items()} for which in (0, 1))
    walls, raw_walls = _medians(ours, lambda sample: sample.wall_s), _medians(raw, lambda sample: sample.wall_s)
    memory = {count: round(max(sample.client_mb for sample in samples), 1) for count, samples in ours.items()}
    return {
        "machines": many,
        "wall_s": walls,
        "raw_wall_s": raw_walls,
        "raw_grows": _grows(raw_walls, few, many),
        "client_cpu_s": _medians(ours, lambda sample: sample.client_cpu_s),
        "machines_cpu_s": _medians(ours, lambda sample: sample.machines_cpu_s),
        "raw_machines_cpu_s": _medians(raw, lambda sample: sample.machines_cpu_s),
        "client_mb": memory,
        "bars": [
            bars.at_most(f"wall time from {few} to {many} machines, to their number", _grows(walls, few, many), 1.0),
            bars.at_most(f"client memory with {many} machines", memory[many], MEMORY_MB, unit="MB"),
        ],
    }


def _fleet(machines: Machines, folder: Path) -> Rounds:
    """Raw and wakeline, set up on these machines."""
    folder.mkdir()
    count = len(machines.all)
    tools = [Raw(name=f"raw-{count}", at_once=AT_ONCE), Wakeline(name=f"wakeline-{count}", at_once=AT_ONCE)]
    return Rounds(machines, tools, folder=folder, app=f"app-{count}")


def _medians(samples: dict[int, list[Sample]], of: Callable[[Sample], float]) -> dict[int, float]:
    return {count: round(statistics.median(map(of, taken)), 2) for count, taken in samples.items()}


def _grows(walls: dict[int, float], few: int, many: int) -> float:
    """How much faster than their number: 1 is as fast."""
    return round((walls[many] / walls[few]) / (many / few), 3)
