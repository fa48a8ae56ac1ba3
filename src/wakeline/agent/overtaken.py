"""Whether a pushed order still counts. The ledger says so before steps, a claimed command and the switch.

Laws that live here:

- Law 8: a rollout whose lease was taken over starts nothing more. What remains is the window of one read.
- A hold on the machine or on the fleet stops a rollout that is under way, before its switch.

No ledger is no news (law 11): the order came from a runner that holds the lease, and is carried on. Nor is a ledger
that still stands where that runner had it when it sent the order: nobody can have written a takeover or a hold.
"""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from typing import TYPE_CHECKING

from wakeline.agent.home import Home
from wakeline.core.carrying_out import LOOKS, is_fresh, is_young, overtaken
from wakeline.core.records import BadLog
from wakeline.edges.ledgers import Ledger, open_ledger
from wakeline.errors import Interrupted, LedgerError

if TYPE_CHECKING:
    from wakeline.core.state import State


@dataclasses.dataclass
class Watch:
    """One rollout's right to go on, on one machine. `fence` 0 is a catch-up, which has just read the ledger itself.

    `stamp` is where the ledger stood for the runner that sent the order.
    """

    home: Home
    machine: str
    fence: int = 0
    stamp: str = ""
    _look: threading.Thread | None = None
    _looked_s: float = -math.inf
    _answer: str = ""
    _ledger: Ledger | None = None
    _state: State | None = None
    _known: int = 0
    _heard: bool = False

    def begin(self) -> None:
        """Start to read beside other work; `check` waits for it. Nothing where a look of just now has brought news."""
        if not self._heard or not is_young(looked_s=self._looked_s, now_s=time.monotonic()):
            self._begin()

    def _begin(self) -> None:
        if self.fence and self._look is None:
            self._looked_s = time.monotonic()
            self._look = threading.Thread(target=self._read, daemon=True)
            self._look.start()

    def barrier(self) -> int:
        """The lowest release that may be gone back to, as the ledger has it now; 0 where there is no news."""
        self._finish_looking()
        return self._state.barrier if self._state else 0

    def check(self) -> None:
        """Raises Interrupted when the order no longer counts. A look that began long ago is made again, and again."""
        if self._look is not None or not is_fresh(looked_s=self._looked_s, now_s=time.monotonic()):
            self._finish_looking()
        for _ in range(LOOKS - 1):
            if is_fresh(looked_s=self._looked_s, now_s=time.monotonic()):
                break
            self._finish_looking()
        if self._answer:
            raise Interrupted(f"stopped before the switch: {self._answer}")

    def _finish_looking(self) -> None:
        self._begin()
        if self._look is not None:
            self._look.join()
            self._look = None

    def _read(self) -> None:
        url = self.home.config.get("ledger")
        if not isinstance(url, str):
            return
        try:
            if self._ledger is None:
                place = self.home.folder / "ledger"
                self._ledger = open_ledger(url, app=self.home.app, environment=self.home.environment, workdir=place)
            self._heard = False
            log = self._ledger.read_if_moved(self.stamp)
            self._heard = True
            if log is None:
                return
            from wakeline.core.fold import fold  # noqa: PLC0415 - most orders find the ledger where the runner had it

            records = log.records
            self._state = fold(records[self._known :], start=self._state)
            self._known = len(records)
            self._answer = overtaken(self._state, machine=self.machine, fence=self.fence)
        except (LedgerError, BadLog, OSError):
            self._answer = ""
