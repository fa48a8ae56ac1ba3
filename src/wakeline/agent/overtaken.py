"""Whether a pushed order still counts. The ledger says so before steps, a claimed command and the switch.

Laws that live here:

- Law 8: a rollout whose lease was taken over starts nothing more. What remains is the window of one read.
- A hold on the machine or on the fleet stops a rollout that is under way, before its switch.

No ledger is no news (law 11): the order came from a runner that holds the lease, and is carried on. Nor is a ledger
that stands where that runner had it when it sent the order, or has had it since, as it says when it is asked: nobody
can have written a takeover or a hold that it does not know of. In a rollout nearly all records are the runner's own.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wakeline.agent.home import Home
from wakeline.core.carrying_out import LOOKS, is_fresh, is_young, nothing_new, overtaken
from wakeline.core.records import BadLog
from wakeline.edges.ledgers import Ledger, Log, Start, open_ledger
from wakeline.errors import Interrupted, LedgerError

if TYPE_CHECKING:
    from wakeline.agent.wire import Channel
    from wakeline.core.state import State

_ANSWER_S = 2.0


class EarlyLook:
    """Where the ledger stands, asked beside what is prepared, before the order has come.

    `told` is where it stood for the runner that asked for that.
    """

    def __init__(self, home: Home, *, told: str) -> None:
        self.home = home
        self.looked_s = time.monotonic()
        self._told = told
        self._found = ""
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def found(self) -> str:
        """Where the ledger stood, or nothing. Waits for it."""
        self._thread.join()
        return self._found

    def suffices(self, *, stamp: str) -> bool:
        """Whether it found nothing against an order that was sent when the ledger stood at `stamp`. Waits for it."""
        return nothing_new(self.found(), told=self._told, stamp=stamp)

    def _look(self) -> None:
        ledger = _ledger_of(self.home)
        with contextlib.suppress(LedgerError, OSError):  # then the order's own look finds out
            self._found = ledger.stamp() if ledger else ""


class Watch:
    """One rollout's right to go on, on one machine. `fence` 0 is a catch-up, which has just read the ledger itself.

    `stamp` is where the ledger stood for the runner that sent the order. `early` is a look from before that. Over
    `runner` it is asked whether it knows a ledger that has moved since.
    """

    def __init__(
        self,
        home: Home,
        machine: str,
        *,
        fence: int = 0,
        stamp: str = "",
        early: EarlyLook | None = None,
        runner: Channel | None = None,
    ) -> None:
        self.home = home
        self.machine = machine
        self.fence = fence
        self.stamp = stamp
        self.early = early
        self.runner = runner
        self._look: threading.Thread | None = None
        self._looked_s = -math.inf
        self._answer = ""
        self._ledger: Ledger | None = None
        self._state: State | None = None
        self._heard = False
        self._barrier = 0

    def begin(self) -> None:
        """Start to read beside other work; `check` waits for it. Nothing where a look of just now has brought news."""
        if not self._heard or not self._is_young(self._looked_s):
            self._begin()

    def _begin(self) -> None:
        if self.fence and self._look is None:
            early, self.early = self.early, None
            if early and (early.home.folder != self.home.folder or not self._is_young(early.looked_s)):
                early = None
            self._looked_s = early.looked_s if early else time.monotonic()
            self._look = threading.Thread(target=self._read, args=(early,), daemon=True)
            self._look.start()

    def barrier(self) -> int:
        """The lowest release that may be gone back to, as the ledger has it now; 0 where there is no news."""
        self._finish_looking()
        return max(self._state.barrier if self._state else 0, self._barrier)

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

    @staticmethod
    def _is_young(looked_s: float) -> bool:
        return is_young(looked_s=looked_s, now_s=time.monotonic())

    def _read(self, early: EarlyLook | None) -> None:
        if early is not None:
            if early.suffices(stamp=self.stamp) or self._runner_knows(early.found()):
                self._heard = True
                return
            self._looked_s = time.monotonic()
        self._ledger = self._ledger or _ledger_of(self.home)
        if self._ledger is None:
            return
        try:
            self._heard = False
            log = self._ledger.read_unless(self._is_known, start=self._remembered)
            self._heard = True
            if log is None:
                return
            self._state = self._folded(log)
            self._answer = overtaken(self._state, machine=self.machine, fence=self.fence)
        except (LedgerError, BadLog, OSError):
            self._answer = ""

    def _is_known(self, found: str) -> bool:
        return bool(self.stamp) and (found == self.stamp or self._runner_knows(found))

    def _runner_knows(self, found: str) -> bool:
        """Whether the runner has had the ledger there, and nothing stands against the order: one question over an open
        connection, where a fetch, a log and a fold cost six processes. One that had something against it when it sent
        the order is not asked.
        """
        if not (self.stamp and found and self.runner):
            return False
        answer: Mapping[str, Any] = self.runner.ask(found, timeout_s=_ANSWER_S)
        if answer.get("known") is not True:
            return False
        barrier = answer.get("barrier")
        self._barrier = max(self._barrier, barrier if isinstance(barrier, int) else 0)
        self.stamp = found
        return True

    # Most orders find the ledger where the runner had it, and need nothing of what is imported here.

    def _remembered(self) -> Start | None:
        from wakeline.edges.ledgers import remembered  # noqa: PLC0415 - see above

        return remembered.load(self.home.seen)

    def _folded(self, log: Log) -> State:
        from wakeline.core.fold import fold  # noqa: PLC0415 - see above
        from wakeline.core.state import State  # noqa: PLC0415 - see above
        from wakeline.edges.ledgers import remembered  # noqa: PLC0415 - see above

        start, records = remembered.unfolded(log, self._state or State())
        return fold(records, start=start)


def _ledger_of(home: Home) -> Ledger | None:
    """The ledger that this machine was set up with, in the copy of it that it has."""
    url = home.config.get("ledger")
    if not isinstance(url, str):
        return None
    return open_ledger(url, app=home.app, environment=home.environment, workdir=home.folder / "ledger")
