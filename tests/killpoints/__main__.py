"""`./dev killpoints [--quick]`: every operation cut short at every point, and what did not hold.

`--quick` takes a sample from a printed seed, for a minute and a half on a machine of any speed: how many points
those are worth is printed. Without it every point is run, which takes an hour or two: the lines of each operation are
printed when it is through, and `--only` takes some of them. A point that breaks something is printed with the command
that shows it again.
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
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from killpoints import losing, points
from killpoints.operations import OPERATIONS, Operation
from killpoints.points import Counted, Point
from killpoints.world import World

QUICK_S = 80.0
LATEST_S = 95.0
_NOT_HERE = 2
_HEAD = f"{'operation':<10} {'fault':<16} {'calls':>6} {'points':>13} {'violations':>10}"


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
    """What one worker does: its share of the points of each operation. A sample is shared out by operations instead.

    `ends_s` is when a sample is enough, `latest_s` when nothing more is begun whatever has had no turn.
    """

    names: tuple[str, ...]
    worker: int
    workers: int
    seed: int
    ends_s: float
    latest_s: float
    fault: str = ""
    point: str = ""

    @property
    def is_a_sample(self) -> bool:
        return self.ends_s < float("inf")


def work(asked: Asked, above: Path, take: Callable[[], int]) -> list[Row]:
    """One worker's share. `take` gives the number of the next operation that nobody has begun."""
    rows = []
    for name, share_s in _turns(asked, take):
        kind = next(each for each in OPERATIONS if each.name == name)
        ends_s = min(asked.latest_s, time.monotonic() + share_s)
        rows += _one(asked, kind(), above / f"worker-{asked.worker}" / name, ends_s=ends_s)
    return rows


def _turns(asked: Asked, take: Callable[[], int]) -> Iterator[tuple[str, float]]:
    """Operations, and for how long each. In a sample one worker alone prepares an operation: that costs as much as
    five of its points.
    """
    if not asked.is_a_sample:
        yield from ((name, float("inf")) for name in asked.names)
        return
    while (number := take()) < len(asked.names):
        rounds = -(-(len(asked.names) - number) // asked.workers)
        yield asked.names[number], (asked.ends_s - time.monotonic()) / rounds


def _one(asked: Asked, operation: Operation, folder: Path, *, ends_s: float) -> list[Row]:
    """Preparing counts as well; but every fault has its turn, unless it is too late for anything."""
    if time.monotonic() > asked.latest_s:
        return [Row(operation.name, "not begun")]
    world = World(folder)
    operation.prepare(world)
    failed = points.rehearse(world, operation)
    if failed:
        raise SystemExit(f"{operation.name} fails without a fault: {'; '.join(failed)}")
    counted = [each for each in points.count(world, operation) if asked.fault in each.fault]
    rows = {each.fault: Row(operation.name, each.fault, each.calls, of=len(each.points)) for each in counted}
    for number, point in enumerate(_mine(asked, counted, operation.name)):
        now_s = time.monotonic()
        if now_s > asked.latest_s or (now_s > ends_s and number >= len(counted)):
            break
        broken = points.run(world, operation, point)
        rows[point.fault].points += 1
        rows[point.fault].violations += bool(broken)
        if broken:
            _show(operation.name, point, broken)
    world.put_back()
    return list(rows.values())


def _mine(asked: Asked, counted: list[Counted], name: str) -> list[Point]:
    """This worker's points, faults taken in turn, so that a sample that ends early has some of each."""
    turns = []
    for each in counted:
        chosen = [point for point in each.points if asked.point in ("", str(point))]
        random.Random(f"{asked.seed} {name} {each.fault}").shuffle(chosen)
        mine = chosen if asked.is_a_sample else chosen[asked.worker :: asked.workers]
        turns += list(enumerate(mine))
    return [point for _, point in sorted(turns, key=lambda turn: turn[0])]


def _show(name: str, point: Point, broken: list[str]) -> None:
    again = f"./dev killpoints --only {name} --fault '{point.fault}' --point {point}"
    print(f"{name}, {point.fault} at {point}: {'; '.join(broken)}   ({again})", flush=True)


def main() -> int:
    """Exit 1 when something did not hold."""
    parser = argparse.ArgumentParser(prog="./dev killpoints")
    parser.add_argument("--quick", action="store_true", help="a sample of the points, a minute and a half")
    parser.add_argument("--seed", type=int, default=0, help="which sample")
    parser.add_argument("--only", default="", help=f"some operations: {','.join(each.name for each in OPERATIONS)}")
    parser.add_argument("--fault", default="", help="only faults with this in their name")
    parser.add_argument("--point", default="", help="one point, as it was printed")
    parser.add_argument("--jobs", type=int, default=min(4, os.cpu_count() or 1))
    asked = parser.parse_args()
    if missing := _missing():
        print(missing, file=sys.stderr)
        return _NOT_HERE
    seed = asked.seed or secrets.randbelow(1 << 31)
    names = tuple(asked.only.split(",")) if asked.only else tuple(each.name for each in OPERATIONS)
    if unknown := [name for name in names if all(name != each.name for each in OPERATIONS)]:
        parser.error(f"no such operation: {', '.join(unknown)}")
    jobs = 1 if asked.point else asked.jobs
    began = time.monotonic()
    ends_s, latest_s = (began + QUICK_S, began + LATEST_S) if asked.quick else (float("inf"), float("inf"))
    fast = Path("/dev/shm")  # an fsync costs nothing there, and no disk is worn
    rows: list[Row] = []
    print(_HEAD, flush=True)
    with tempfile.TemporaryDirectory(prefix="killpoints-", dir=fast if os.access(fast, os.W_OK) else None) as above:
        for together in [names] if asked.quick else [(name,) for name in names]:
            shares = [Asked(together, n, jobs, seed, ends_s, latest_s, asked.fault, asked.point) for n in range(jobs)]
            done = _sum(_side_by_side(shares, Path(above)))
            print("\n".join(_line(row) for row in done), flush=True)
            rows += done
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
    begun = forked.Value("i", 0)
    workers = [forked.Process(target=_work, args=(share, above, begun, answers)) for share in shares]
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


def _work(asked: Asked, above: Path, begun: Any, answers: multiprocessing.Queue[list[Row]]) -> None:
    def take() -> int:
        with begun.get_lock():
            begun.value += 1
            return int(begun.value) - 1

    answers.put(work(asked, above, take))


def _missing() -> str:
    """Why there is nothing to be cut short here, or nothing. A container may forbid one process to trace another."""
    if shutil.which("strace") is None:
        return "missing: strace (apt-get install strace)"
    done = subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False)
    return f"strace cannot trace a process here: {done.stderr.strip()[-200:]}" if done.returncode else ""


def _sum(parts: list[list[Row]]) -> list[Row]:
    rows: dict[tuple[str, str], Row] = {}
    for part in parts:
        for row in part:
            whole = rows.setdefault((row.operation, row.fault), Row(row.operation, row.fault, row.calls, of=row.of))
            whole.calls, whole.of = max(whole.calls, row.calls), max(whole.of, row.of)
            whole.points += row.points
            whole.violations += row.violations
    return list(rows.values())


def _line(row: Row) -> str:
    done = str(row.points) if row.points >= row.of else f"{row.points} of {row.of}"
    return f"{row.operation:<10} {row.fault:<16} {row.calls:>6} {done:>13} {row.violations:>10}"


sys.exit(main())
