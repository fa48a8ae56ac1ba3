"""Slow links: how often a code-only deploy waits for the other side, beside one plain ssh, and how long that takes.

A relay that delays what goes through it counts how often the talk turns from one side to the other. What a round trip
more costs is the slope between two links; it carries the noise of four wall times, and is shown beside the count.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

from bench import bars, figures
from bench.machines import bed_of_machines
from bench.relay import Relay
from bench.rounds import Rounds
from bench.tools.raw import Raw
from bench.tools.wakeline import Wakeline

ROUND_TRIPS_MS = (40, 150)
MORE = 1.0


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """One machine behind a relay."""
    walls: dict[str, dict[int, list[float]]] = {}
    turns: dict[str, list[int]] = {}
    with (
        bed_of_machines(count=1, booted=False) as machines,
        tempfile.TemporaryDirectory(prefix="wakeline-bench-") as folder,
    ):
        relay = Relay(listen=f"{machines.bed.network}.1", to=(machines.all[0].address, 22))
        machines.behind[machines.all[0].name] = f"{machines.bed.network}.1", relay.port
        rounds = Rounds(machines, [Raw(), Wakeline()], folder=Path(folder))
        rounds.one_job("", 0, rounds.next())
        for _ in range(asked.rounds):
            for link in ROUND_TRIPS_MS:
                relay.round_trip_s = link / 1000
                commit = rounds.next()
                for tool in rounds.tools:
                    relay.turns = 0
                    sample = rounds.one(tool, commit)
                    walls.setdefault(tool.name, {}).setdefault(link, []).append(sample.wall_s)
                    turns.setdefault(tool.name, []).append(relay.turns)
        rounds.close()
        relay.close()
    trips = {name: _trips(each) for name, each in walls.items()}
    counted = {name: statistics.median(each) for name, each in turns.items()}
    more = counted["wakeline"] - counted["raw"]
    return {
        "wall_s": {
            name: {str(ms): figures.spread(each) for ms, each in links.items()} for name, links in walls.items()
        },
        "turns_counted": {name: figures.spread(list(map(float, each))) for name, each in turns.items()},
        "round_trips_by_time": {name: round(each, 1) for name, each in trips.items()},
        "bars": [bars.at_most("round trips a machine beyond plain ssh", more, MORE, unit="more")],
    }


def _trips(walls: dict[int, list[float]]) -> float:
    near, far = ROUND_TRIPS_MS
    return (statistics.median(walls[far]) - statistics.median(walls[near])) / ((far - near) / 1000)
