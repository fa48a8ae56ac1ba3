"""When what happened on which machine, from what a rollout tells. Pure: the time comes in with each notice."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from wakeline.github.report import Bar

_LABEL = re.compile(r"[^\w .@-]")
_BARS_MAX = 500


@dataclasses.dataclass
class Timeline:
    """The bars so far, and since when each machine has been at what it is at."""

    bars: list[Bar] = dataclasses.field(default_factory=list)
    since_s: dict[str, float] = dataclasses.field(default_factory=dict)

    def hear(self, kind: str, machine: str, data: Mapping[str, Any], *, now_s: float) -> None:
        """One notice."""
        if kind == "sent":
            self.since_s.update({str(name): now_s for name in data.get("machines", ())})
        elif kind == "laid_out":
            self._until(machine, "lay out", now_s)
        elif kind == "step_finished":
            if data.get("ran"):
                self._until(machine, str(data.get("step")), now_s, kind="done" if data.get("ok") else "crit")
            self.since_s[machine] = now_s
        elif kind == "once_started":
            self.since_s[machine] = now_s
        elif kind == "once_finished":
            self._until(machine, f"{data.get('step')}, once", now_s, kind="active" if data.get("ok") else "crit")
        elif kind == "switched":
            self.since_s[machine] = now_s
        elif kind == "healthy":
            self._until(machine, f"{data.get('service')} healthy", now_s)
        elif kind == "switched_back":
            self._until(machine, "switched back", now_s, kind="crit")

    def _until(self, machine: str, label: str, now_s: float, *, kind: str = "done") -> None:
        began_s = self.since_s.get(machine, now_s)
        self.since_s[machine] = now_s
        if len(self.bars) < _BARS_MAX:
            self.bars.append(Bar(machine, _LABEL.sub(" ", label)[:60], began_s, now_s, kind))
