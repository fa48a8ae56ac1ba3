"""What a machine is at just now, and since when: from its lock and its journal, for whoever looks."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wakeline.agent import lock
from wakeline.agent.home import Home
from wakeline.agent.wire import Channel

_STEPS = ("step", "once-started")
_WORDS = {"switch": "switching", "switch-back": "switching back", "once-ended": "checking"}
_TOLD = {
    "step_started": "{step} began",
    "step_finished": "{step} ended: {why}",
    "laid_out": "release {release} is laid out",
    "switched": "switched from release {was} to {now}",
    "healthy": "{service} is healthy",
    "switched_back": "switched back to release {to}",
}


def doing(home: Home, entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`release`, `what` and `since` of the run that holds the lock; empty where nobody does. Looks only."""
    path = home.folder / "lock"
    if lock.is_free(path):
        return {}
    since, for_what, about = _taken(path)
    what = "preparing" if for_what == lock.AHEAD else "getting ready"
    found = {"release": int(about) if about.isdigit() else 0, "what": what, "since": since}
    for entry in entries:
        if str(entry.get("at", "")) >= since:
            found.update(_of(entry, before=found))
    return found


def _of(entry: Mapping[str, Any], *, before: Mapping[str, Any]) -> dict[str, Any]:
    what, release = entry["what"], entry.get("release")
    shown = str(entry.get("step", "")) if what in _STEPS else _WORDS.get(what, "")
    now = {"what": shown, "since": str(entry["at"])} if shown else {}
    return {**now, "release": release if isinstance(release, int) else before["release"]}


def _taken(path: Path) -> tuple[str, str, str]:
    """When the lock was taken, as the journal writes times, what for, and of which release."""
    try:
        taken = datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.timezone.utc)
        words = path.read_text("ascii", "replace").split()
    except OSError:
        return "", "", ""
    _, for_what, about = (*words, "", "", "")[:3]
    return taken.isoformat(timespec="milliseconds"), for_what, about


class Telling(Channel):
    """A channel for a run that nobody listens to: its steps are told to the journal of systemd, which adds the time."""

    def __init__(self, say: Any) -> None:
        super().__init__(None, None)
        self._say = say

    def send(self, event: str, **fields: Any) -> None:
        """See Channel.send."""
        if event in _TOLD:
            self._say(_TOLD[event].format(**fields))
