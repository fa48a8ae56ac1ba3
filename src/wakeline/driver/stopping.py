"""Being asked to stop, by Ctrl-C or by a workflow that is cancelled, at any time from the first look at the ledger on.

GitHub gives a step 7.5 s after SIGINT, and 2.5 s more after SIGTERM. Waiting is given up at once. A write that may take
the lease is carried to its end, so that we know what to free; then the walk is stopped before it has begun.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

from wakeline.errors import Interrupted

T = TypeVar("T")


class Stop:
    """Whether somebody has asked, and why. A second time changes nothing."""

    def __init__(self) -> None:
        self.why = ""
        self.asked = asyncio.Event()
        self._put_off = 0
        self._then: Callable[[str], None] | None = None

    def __call__(self, why: str) -> None:
        """Somebody asks."""
        if self.why:
            return
        self.why = why
        self.asked.set()
        if self._then is not None:
            self._then(why)

    def hand_over(self, then: Callable[[str], None]) -> None:
        """From here on `then` stops; at once, if somebody has asked already."""
        self._then = then
        if self.why:
            then(self.why)

    @contextlib.contextmanager
    def put_off(self) -> Iterator[None]:
        """What is done in here is not given up midway."""
        self._put_off += 1
        try:
            yield
        finally:
            self._put_off -= 1

    @property
    def may_give_up(self) -> bool:
        """Whether what is under way can be left as it is."""
        return not self._put_off

    def check(self) -> None:
        """Raises Interrupted when somebody has asked."""
        if self.why:
            raise Interrupted(f"stopped by {self.why} before anything was begun", hint="ask again when you are ready")


async def unless_stopped(work: Coroutine[Any, Any, T], stop: Stop) -> T:
    """Do it, or give it up when somebody asks to stop. Raises Interrupted then; what is put off is waited for."""
    task, asked = asyncio.ensure_future(work), asyncio.ensure_future(stop.asked.wait())
    await asyncio.wait({task, asked}, return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    if not task.done() and stop.may_give_up:
        task.cancel()
    try:
        return await task
    except asyncio.CancelledError:
        stop.check()
        raise


@contextlib.contextmanager
def stopped_by_signals(stop: Callable[[str], None]) -> Iterator[None]:
    """Ctrl-C and SIGTERM ask to stop, for as long as the block runs."""
    loop = asyncio.get_running_loop()
    names = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
    for number, name in names.items():
        loop.add_signal_handler(number, stop, name)
    try:
        yield
    finally:
        for number in names:
            loop.remove_signal_handler(number)
