"""`./dev sim --seeds N [--first K]`: run fleets, print the seeds that broke a law, and count."""

from __future__ import annotations

import argparse
import sys
import time

from sim.laws import Violation
from sim.world import run


def main() -> int:
    """Exit 1 when a law was broken, so that a check can rely on it."""
    parser = argparse.ArgumentParser(prog="./dev sim")
    parser.add_argument("--seeds", type=int, default=500, help="how many fleets")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    asked = parser.parse_args()
    started, events, violations = time.monotonic(), 0, 0
    for seed in range(asked.first, asked.first + asked.seeds):
        try:
            events += run(seed).events
        except Violation as broken:
            violations += 1
            print(f"seed {seed}: {broken}   (./dev sim --first {seed} --seeds 1)")
    seconds = time.monotonic() - started
    print(f"{events} events in {seconds:.1f} s", file=sys.stderr)
    print(f"seeds: {asked.seeds} violations: {violations}")
    return 1 if violations else 0


sys.exit(main())
