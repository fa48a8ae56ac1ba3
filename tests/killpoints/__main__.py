"""`./dev killpoints [--quick]`: every operation cut short at every point, and what did not hold.

`--quick` takes a sample from a printed seed, for about two minutes; without it every point is run, which takes an hour.
A point that breaks something is printed with the command that shows it again.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import os
import queue
import random
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path

from killpoints import losing, points
from killpoints.operations import OPERATIONS, Operation
from killpoints.points import Counted, Point
from killpoints.world import World

QUICK_S = 100.0


@dataclasses.dataclass
class Row:
    """One line of the table."""

    operation: str
    fault: str
    calls: int = 0
    points: int = 0
    of: int = 0
    violations: int = 0


@dataclasses.dataclass(frozen=True)
class Asked:
    """What one worker does: its share of the points of each operation."""

    names: tuple[str, ...]
    worker: int
    workers: int
    seed: int
    ends_s: float
    fault: str = ""
    point: str = ""


def work(asked: Asked, above: Path) -> list[Row]:
    """One worker's share."""
    rows = []
    kinds = [kind for kind in OPERATIONS if kind.name in asked.names]
    for number, kind in enumerate(kinds):
        now_s = time.monotonic()
        share_s = (asked.ends_s - now_s) / (len(kinds) - number)
        folder = above / f"worker-{asked.worker}" / kind.name
        rows += _one(asked, kind(), folder, ends_s=now_s + share_s)
    return rows


def _one(asked: Asked, operation: Operation, folder: Path, *, ends_s: float) -> list[Row]:
    """Preparing counts as well; but every fault has its turn, however long that took."""
    world = World(folder)
    operation.prepare(world)
    failed = points.rehearse(world, operation)
    if failed:
        raise SystemExit(f"{operation.name} fails without a fault: {'; '.join(failed)}")
    counted = [each for each in points.count(world, operation) if asked.fault in each.fault]
    rows = {each.fault: Row(operation.name, each.fault, each.calls, of=len(each.points)) for each in counted}
    for number, point in enumerate(_mine(asked, counted, operation.name)):
        if number >= len(counted) and time.monotonic() > ends_s:
            break
        broken = points.run(world, operation, point)
        rows[point.fault].points += 1
        rows[point.fault].violations += bool(broken)
        if broken:
            _show(operation.name, point, broken)
    world.put_back()
    return list(rows.values())


def _mine(asked: Asked, counted: list[Counted], name: str) -> list[Point]:
    """This worker's points, faults taken in turn, so that a share that ends early has some of each."""
    turns = []
    for each in counted:
        chosen = [point for point in each.points if asked.point in ("", str(point))]
        random.Random(f"{asked.seed} {name} {each.fault}").shuffle(chosen)
        turns += list(enumerate(chosen[asked.worker :: asked.workers]))
    return [point for _, point in sorted(turns, key=lambda turn: turn[0])]


def _show(name: str, point: Point, broken: list[str]) -> None:
    again = f"./dev killpoints --only {name} --fault '{point.fault}' --point {point}"
    print(f"{name}, {point.fault} at {point}: {'; '.join(broken)}   ({again})", flush=True)


def main() -> int:
    """Exit 1 when something did not hold."""
    parser = argparse.ArgumentParser(prog="./dev killpoints")
    parser.add_argument("--quick", action="store_true", help="a sample of the points, about two minutes")
    parser.add_argument("--seed", type=int, default=0, help="which sample")
    parser.add_argument("--only", default="", help=f"one operation: {', '.join(each.name for each in OPERATIONS)}")
    parser.add_argument("--fault", default="", help="only faults with this in their name")
    parser.add_argument("--point", default="", help="one point, as it was printed")
    parser.add_argument("--jobs", type=int, default=min(4, os.cpu_count() or 1))
    asked = parser.parse_args()
    if shutil.which("strace") is None:
        print("missing: strace (apt-get install strace)", file=sys.stderr)
        return 2
    seed = asked.seed or secrets.randbelow(1 << 31)
    names = tuple(each.name for each in OPERATIONS if asked.only in ("", each.name))
    jobs = 1 if asked.point else asked.jobs
    began = time.monotonic()
    ends_s = began + QUICK_S if asked.quick else float("inf")
    fast = Path("/dev/shm")  # an fsync costs nothing there, and no disk is worn
    with tempfile.TemporaryDirectory(prefix="killpoints-", dir=fast if os.access(fast, os.W_OK) else None) as above:
        shares = [Asked(names, n, jobs, seed, ends_s, asked.fault, asked.point) for n in range(jobs)]
        parts = _side_by_side(shares, Path(above))
    rows = _sum(parts)
    print(_table(rows))
    if losing.missing():
        print(f"no file layer that loses what was not fsynced: {losing.missing()}", file=sys.stderr)
    total, violations = sum(row.points for row in rows), sum(row.violations for row in rows)
    sampled = f"a sample of {sum(row.of for row in rows)}, seed {seed}" if asked.quick else "every point"
    print(f"points: {total} violations: {violations} ({sampled}; {time.monotonic() - began:.0f} s)")
    return 1 if violations else 0


def _side_by_side(shares: list[Asked], above: Path) -> list[list[Row]]:
    """Each in a process of its own: what a killed agent leaves behind comes to it."""
    forked = multiprocessing.get_context("fork")
    answers: multiprocessing.Queue[list[Row]] = forked.Queue()  # type: ignore[assignment]
    workers = [forked.Process(target=_work, args=(share, above, answers)) for share in shares]
    for worker in workers:
        worker.start()
    parts = []
    while len(parts) < len(workers):
        try:
            parts.append(answers.get(timeout=1.0))
        except queue.Empty:
            if any(worker.exitcode for worker in workers):
                raise SystemExit("a worker died: what it said is above") from None
    return parts


def _work(asked: Asked, above: Path, answers: multiprocessing.Queue[list[Row]]) -> None:
    answers.put(work(asked, above))


def _sum(parts: list[list[Row]]) -> list[Row]:
    rows: dict[tuple[str, str], Row] = {}
    for part in parts:
        for row in part:
            whole = rows.setdefault((row.operation, row.fault), Row(row.operation, row.fault, row.calls, of=row.of))
            whole.calls, whole.of = max(whole.calls, row.calls), max(whole.of, row.of)
            whole.points += row.points
            whole.violations += row.violations
    return list(rows.values())


def _table(rows: list[Row]) -> str:
    lines = [f"{'operation':<10} {'fault':<16} {'calls':>6} {'points':>13} {'violations':>10}"]
    for row in rows:
        done = str(row.points) if row.points >= row.of else f"{row.points} of {row.of}"
        lines.append(f"{row.operation:<10} {row.fault:<16} {row.calls:>6} {done:>13} {row.violations:>10}")
    return "\n".join(lines)


sys.exit(main())
