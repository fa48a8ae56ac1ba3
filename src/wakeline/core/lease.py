"""The lease without a common clock: what a waiter may take, and how long a holder may still act.

A waiter that has itself seen no renewal for the lease's whole length may take it. A holder counts from before its last
successful renewal and sends nothing after two thirds of the length, so it has always stopped before a waiter takes.
Times are seconds of a clock that never jumps and that counts while the machine sleeps (CLOCK_BOOTTIME).
"""

from __future__ import annotations

import dataclasses
import enum

from wakeline.core.state import Lease

LENGTH_S = 180.0
ACTS_FOR = 2 / 3
RENEW_AFTER = 1 / 3


class Watched(str, enum.Enum):
    """What a watcher knows of a lease."""

    FREE = "free"
    ALIVE = "alive"
    SILENT = "silent"
    DEAD = "dead"


@dataclasses.dataclass(frozen=True)
class Watch:
    """What a waiter has seen with its own eyes: which renewal, since when."""

    number: int = -1
    renewed: int = -1
    since_s: float = 0.0


def look(watch: Watch, lease: Lease, *, now_s: float) -> tuple[Watch, Watched]:
    """One more look at the lease. ALIVE means that it was renewed between two looks of ours."""
    if lease.free:
        return watch, Watched.FREE
    if (watch.number, watch.renewed) != (lease.number, lease.renewed):
        seen_before = watch.number == lease.number
        watch = Watch(lease.number, lease.renewed, now_s)
        return watch, Watched.ALIVE if seen_before else Watched.SILENT
    if now_s - watch.since_s >= lease.length_s:
        return watch, Watched.DEAD
    return watch, Watched.SILENT


def is_anothers(lease: Lease, watched: Lease) -> bool:
    """Whether a lease has come to life since its watch ended: then it is watched anew, whoever has it."""
    return not lease.free and lease != watched


def may_act(*, renewed_s: float, length_s: float, now_s: float) -> bool:
    """Whether a holder whose last renewal began at `renewed_s` may still send anything."""
    return now_s - renewed_s < length_s * ACTS_FOR


def should_renew(*, renewed_s: float, length_s: float, now_s: float) -> bool:
    """Whether a holder should renew now, if it has nothing else to write."""
    return now_s - renewed_s >= length_s * RENEW_AFTER
