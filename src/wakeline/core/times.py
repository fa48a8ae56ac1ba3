"""Times of the ledger: as they are written, for people, and in seconds since 1970 for whoever counts."""

from __future__ import annotations

import datetime

_LENGTH = len("2026-11-29T22:31:27Z")


def seconds_of(at: str) -> float | None:
    """A time of the ledger in seconds since 1970, or None for one that cannot be read.

    Not by strptime, whose first call imports another 3 ms of Python.
    """
    if len(at) != _LENGTH or not at.endswith("Z"):
        return None
    try:
        return datetime.datetime.fromisoformat(f"{at[:-1]}+00:00").timestamp()
    except ValueError:
        return None
