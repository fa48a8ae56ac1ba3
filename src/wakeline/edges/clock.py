"""Clocks. Waits are measured on one that never jumps and that counts while the machine sleeps."""

from __future__ import annotations

import time


def boottime_s() -> float:
    """Seconds since boot, suspended time counted (CLOCK_BOOTTIME, see clock_gettime(2)); monotonic elsewhere."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)
