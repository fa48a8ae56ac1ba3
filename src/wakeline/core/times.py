"""Times of the ledger: as they are written, for people, and in seconds since 1970 for whoever counts."""

from __future__ import annotations

import datetime

_LENGTH = len("2026-11-29T22:31:27Z")
_WEEK_S = 6 * 86400.0
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


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


def when(at: str, *, now_s: float) -> str:
    """A time of the ledger for people, in UTC: the day of the week when that is clear, else the date."""
    seconds = seconds_of(at)
    if seconds is None:
        return at or "an unknown time"
    there = datetime.datetime.fromtimestamp(seconds, tz=datetime.timezone.utc)
    near = 0 <= now_s - seconds < _WEEK_S
    day = _DAYS[there.weekday()] if near else f"{there.day} {_MONTHS[there.month - 1]}"
    return f"{day} {there.hour:02}:{there.minute:02} UTC"
