"""30 % of the machines are off and do not answer: what that costs beside a fleet that leaves them out."""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

from bench import bars, figures
from bench.machines import bed_of_machines
from bench.rounds import Rounds
from bench.tools.wakeline import Wakeline

MORE_S = 1.0


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """Two fleets on the same machines, in turn."""
    asleep = round(asked.machines * (asked.asleep or 30) / 100)
    with (
        bed_of_machines(count=asked.machines, asleep=asleep, booted=False) as machines,
        tempfile.TemporaryDirectory(prefix="wakeline-bench-") as folder,
    ):
        kinds = {"with them": Wakeline(), "left out": Wakeline(name="wakeline-left-out", leave_out=True)}
        fleets = []
        for number, tool in enumerate(kinds.values()):
            own = Path(folder) / tool.name
            own.mkdir()
            fleets.append(Rounds(machines, [tool], folder=own, app=f"app{number}"))
        for fleet in fleets:
            fleet.one_job("", 0, fleet.next())
        machines.fall_asleep()
        for number in range(asked.rounds):
            for fleet in fleets if number % 2 else fleets[::-1]:
                fleet.one_job("code_only", number, fleet.next())
        walls = {
            name: [sample.wall_s for sample in fleet.taken["code_only"][tool.name]]
            for (name, tool), fleet in zip(kinds.items(), fleets)
        }
        for fleet in fleets:
            fleet.close()
    more = statistics.median(walls["with them"]) - statistics.median(walls["left out"])
    return {
        "machines": asked.machines,
        "asleep": asleep,
        "wall_s": {name: figures.spread(each) for name, each in walls.items()},
        "bars": [bars.at_most(f"{asleep} of {asked.machines} machines do not answer", more, MORE_S, unit="s more")],
    }
