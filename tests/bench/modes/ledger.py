"""A long memory: reading the present state of a ledger of ten thousand releases, beside one of ten."""

from __future__ import annotations

import argparse
import json
import re
import secrets
import statistics
import tempfile
from pathlib import Path
from typing import Any

from bench import bars, figures
from bench.modes.local import LOG, LocalFleet
from wakeline.core.records import RESERVED, Draft, chain, record_from_line

FEW, MANY = 10, 10_000
SAME = 1.2


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """Two fleets that differ in nothing but the length of their ledger, asked in turn."""
    walls: dict[int, list[float]] = {FEW: [], MANY: []}
    with tempfile.TemporaryDirectory(prefix="wakeline-bench-") as folder:
        fleets = {count: _fleet(Path(folder) / str(count), count) for count in (FEW, MANY)}
        for fleet in fleets.values():
            fleet.wakeline("status", "--json")  # the first look fetches the whole log, once
        for _ in range(asked.rounds):
            for count, fleet in fleets.items():
                walls[count].append(fleet.seconds([str(fleet.bin / "wakeline"), "status", "--json"]))
        said = json.loads(fleets[MANY].wakeline("status", "--json"))
        assert said["data"]["release"] == MANY, said
    times = statistics.median(walls[MANY]) / statistics.median(walls[FEW])
    return {
        "wall_s": {str(count): figures.spread(each) for count, each in walls.items()},
        "bars": [bars.at_most(f"status with {MANY} releases on the ledger, to {FEW}", times, SAME)],
    }


def _fleet(root: Path, releases: int) -> LocalFleet:
    """A fleet whose second release is told again and again, with the number of each."""
    root.mkdir()
    fleet = LocalFleet(root)
    before = len(_messages(fleet))
    fleet.deploy("two")
    messages = _messages(fleet)
    head, told = messages[:before], messages[before:]
    lines = [record_from_line(line, position=1) for message in told for line in message]
    sizes = [len(message) for message in told]
    previous = lines[-1].hash
    stream = []
    for number in range(3, releases + 1):
        drafts = [Draft(each.kind, renumbered(each.body, number)) for each in lines]
        ids = [secrets.token_hex(8) for _ in drafts]
        records = chain(drafts, ids=ids, previous=previous, at=lines[0].at, by=lines[0].by)
        previous = records[-1].hash
        texts = [record.line for record in records]
        for size in sizes:
            message = ("\n".join(texts[:size]) + "\n").encode()
            texts = texts[size:]
            stream.append(
                b"commit %s\ncommitter w <w@localhost> 0 +0000\ndata %d\n%s\n" % (LOG.encode(), len(message), message)
            )
    assert head
    stream[0] = stream[0].rstrip(b"\n") + b"\nfrom %s^0\n\n" % LOG.encode()
    fleet.git("fast-import", "--quiet", at=fleet.remote, feed=b"".join(stream))
    return fleet


def renumbered(body: dict[str, Any], number: int) -> dict[str, Any]:
    """A record of release 2 as one of another: its release and its lease's fencing number, which were equal."""
    text = re.sub(
        r'"(release|fence|number)": 2\b',
        rf'"\1": {number}',
        json.dumps({k: v for k, v in body.items() if k not in RESERVED}),
    )
    again: dict[str, Any] = json.loads(text)
    return again


def _messages(fleet: LocalFleet) -> list[list[str]]:
    """The records of each commit of the log, oldest first."""
    text = fleet.git("log", "--reverse", "--format=%B%x00", LOG, at=fleet.remote)
    return [lines for each in text.split("\0") if (lines := [line for line in each.splitlines() if line])]
