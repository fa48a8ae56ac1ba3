"""`./dev sim --seeds N [--first K]`: run fleets on every core, print the seeds that broke a law, and count.

`./dev sim --mutants` breaks the core on purpose, in memory, and shows which law noticed, with which seed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from sim import mutants
from sim.chaos import run
from sim.laws import Violation

Judged = tuple[int, int, str]


def judge(seed: int) -> Judged:
    """One seed: how many events it had, and the law that it broke, or nothing."""
    try:
        return seed, run(seed).loop.events, ""
    except Violation as broken:
        return seed, 0, str(broken)
    except Exception as bug:  # noqa: BLE001 - a bug in one fleet is that fleet's result, and the others still run
        return seed, 0, f"a bug of ours: {bug!r}"


def main() -> int:
    """Exit 1 when a law was broken, so that a check can rely on it."""
    parser = argparse.ArgumentParser(prog="./dev sim")
    parser.add_argument("--seeds", type=int, default=500, help="how many fleets")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at once")
    parser.add_argument("--story", action="store_true", help="tell everything that happens in the first seed")
    parser.add_argument("--mutants", action="store_true", help="break the core on purpose, and see what notices")
    asked = parser.parse_args()
    if asked.mutants:
        return show_mutants(jobs=asked.jobs)
    if asked.story:
        return tell(asked.first)
    started, events, violations = time.monotonic(), 0, 0
    for seed, count, broken in judged(range(asked.first, asked.first + asked.seeds), jobs=asked.jobs):
        events += count
        if broken:
            violations += 1
            print(f"seed {seed} at {commit()}: {broken}   (./dev sim --first {seed} --seeds 1)", flush=True)
    seconds = time.monotonic() - started
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu_s = sum(each.ru_utime + each.ru_stime for each in usage)
    speed = f"{asked.seeds / seconds * 60:.0f} seeds a minute with {asked.jobs} jobs"
    print(f"{speed}, {asked.seeds / cpu_s * 60:.0f} in a minute of one processor's time", file=sys.stderr)
    print(f"seeds: {asked.seeds} events: {events} violations: {violations}")
    return 1 if violations else 0


def tell(seed: int) -> int:
    """Every line of one seed, and how it ended."""
    story: list[str] = []
    try:
        run(seed, story=story)
    except Violation as broken:
        story.append(str(broken))
    print("\n".join(story))
    return 0


def show_mutants(*, jobs: int) -> int:
    """The table of deliberate breakages. Exit 1 when one was not noticed."""
    missed = 0
    print(f"{'mutant':<64} {'law':<6} {'seed':<6} noticed as")
    for mutant, seed, said in mutants.hunted(jobs=jobs):
        missed += not seed
        print(f"{mutant.name:<64} {mutant.law:<6} {seed or 'MISSED':<6} {said.partition(';')[0][:110]}", flush=True)
    print(f"mutants: {len(mutants.MUTANTS)} missed: {missed}")
    return 1 if missed else 0


def judged(seeds: range, *, jobs: int) -> Iterator[Judged]:
    """Every seed, in no order when there are several jobs."""
    if jobs == 1 or len(seeds) == 1:
        yield from map(judge, seeds)
        return
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        yield from pool.imap_unordered(judge, seeds, chunksize=20)
        pool.close()
        pool.join()  # so that their processor time is counted


def commit() -> str:
    """The commit that was run, with a mark where files were changed."""
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return said.stdout.strip() or "no commit"


if __name__ == "__main__":
    sys.exit(main())
