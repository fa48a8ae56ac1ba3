"""A wrong clock for a process and all Python that it starts: what the time of day says, and nothing else.

It is put in by `sitecustomize`, which every Python imports as it starts. The monotonic clock stays what it is, as it
does on a machine whose time of day is set.
"""

from __future__ import annotations

import os
from pathlib import Path

DAY_S = 86400
CLOCKS = {
    "right": "true()",
    "a-day-behind": f"true() - {DAY_S}",
    "a-day-ahead": f"true() + {DAY_S}",
    "1970": "time.monotonic()",
    "an-hour-back-at-each-look": "true() - 3600 * next(looks)",
    "a-year-ahead": f"true() + 365 * {DAY_S}",
}
_SITE = """\
import datetime, itertools, time
true, looks, gmtime, localtime = time.time, itertools.count(1), time.gmtime, time.localtime
time.time = lambda: {clock}
time.time_ns = lambda: int(time.time() * 1e9)
time.gmtime = lambda at=None: gmtime(time.time() if at is None else at)
time.localtime = lambda at=None: localtime(time.time() if at is None else at)


class Wrong(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(time.time(), tz)


datetime.datetime = Wrong
"""


def wrong_clock(place: Path, name: str) -> dict[str, str]:
    """Write it below `place`; returns the environment in which every Python has that clock."""
    folder = place / f"clock-{name}"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(_SITE.format(clock=CLOCKS[name]))
    kept = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": f"{folder}:{kept}" if kept else str(folder)}
