"""Time and processes that exist only here: an asyncio loop whose clock jumps to the next thing that happens.

The driver's own coroutines run on it, unchanged. Every callback belongs to a process; a process that was stopped
(SIGSTOP) gets its callbacks when it goes on, and one that was killed (SIGKILL) never does: not even its `finally`.
"""

from __future__ import annotations

import asyncio
import collections
import contextvars
import dataclasses
import heapq
from asyncio import events
from collections.abc import Callable, Coroutine
from typing import Any

PROCESS: contextvars.ContextVar[Process] = contextvars.ContextVar("process")
NOBODY = contextvars.Context()  # what happens by itself: the network, a remote, the power company


@dataclasses.dataclass(eq=False)
class Process:
    """One process of one computer. `on_end` is told when it is gone, however that came."""

    name: str
    dead: bool = False
    paused: bool = False
    ghost: bool = False
    stash: list[Handle] = dataclasses.field(default_factory=list)
    tasks: list[asyncio.Task[Any]] = dataclasses.field(default_factory=list)
    signals: dict[int, tuple[Callable[..., None], tuple[Any, ...]]] = dataclasses.field(default_factory=dict)
    on_end: list[Callable[[], None]] = dataclasses.field(default_factory=list)

    def end(self) -> None:
        """It is gone: what it held is let go of by the kernel."""
        if not self.dead:
            self.dead, self.paused = True, False
            for each in self.on_end:
                each()


class Handle:
    """One callback that is due."""

    __slots__ = ("arguments", "callback", "context", "gone", "process")

    def __init__(self, callback: Callable[..., Any], arguments: tuple[Any, ...], context: contextvars.Context) -> None:
        self.callback = callback
        self.arguments = arguments
        self.context = context
        self.process = context.get(PROCESS)
        self.gone = False

    def cancel(self) -> None:
        """See asyncio.Handle.cancel."""
        self.gone = True

    def cancelled(self) -> bool:
        """See asyncio.Handle.cancelled."""
        return self.gone


class Loop(asyncio.AbstractEventLoop):
    """As much of an event loop as the driver asks for. `now` is in seconds and moves only when nothing is due."""

    def __init__(self) -> None:
        self.now = 0.0
        self.events = 0
        self.bugs: list[BaseException | str] = []
        self.blocking: Callable[[Callable[[], Any], asyncio.Future[Any]], None] | None = None
        self._ready: collections.deque[Handle] = collections.deque()
        self._later: list[tuple[float, int, Handle]] = []
        self._count = 0

    # --- what asyncio asks for ---

    def time(self) -> float:
        return self.now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_soon(self, callback: Any, *args: Any, context: contextvars.Context | None = None) -> Any:
        handle = Handle(callback, args, contextvars.copy_context() if context is None else context)
        self._ready.append(handle)
        return handle

    def call_later(self, delay: float, callback: Any, *args: Any, context: contextvars.Context | None = None) -> Any:
        return self.call_at(self.now + max(0.0, delay), callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: contextvars.Context | None = None) -> Any:
        handle = Handle(callback, args, contextvars.copy_context() if context is None else context)
        self._count += 1
        heapq.heappush(self._later, (when, self._count, handle))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Any = None) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        process = PROCESS.get(None) if context is None else context.get(PROCESS)
        if process is not None:
            process.tasks.append(task)
        return task

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """A blocking call of an edge. The world says how long it takes and whether its answer arrives."""
        future = self.create_future()
        assert self.blocking is not None
        self.blocking(func, future)
        return future

    def add_signal_handler(self, sig: int, callback: Any, *args: Any) -> None:
        PROCESS.get().signals[sig] = (callback, args)

    def remove_signal_handler(self, sig: int) -> bool:
        return PROCESS.get().signals.pop(sig, None) is not None

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """What asyncio complains about. A task that was left pending is what a killed process leaves."""
        if "was never retrieved" not in str(context.get("message")) and "pending" not in str(context.get("message")):
            self.bugs.append(context.get("exception") or str(context.get("message")))

    # --- what the simulation asks for ---

    def start(self, process: Process, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Begin a process with its main coroutine."""
        context = contextvars.Context()
        context.run(PROCESS.set, process)
        return self.create_task(work, context=context)

    def by_itself(self, delay: float, callback: Callable[..., Any], *args: Any) -> None:
        """Let something happen that belongs to no process, and that no process can stop."""
        self.call_later(delay, callback, *args, context=NOBODY)

    def signal(self, process: Process, callback: Callable[..., Any], *args: Any) -> None:
        """A signal's handler runs in the process."""
        context = contextvars.Context()
        context.run(PROCESS.set, process)
        self.call_soon(callback, *args, context=context)

    def go_on(self, process: Process) -> None:
        """SIGCONT."""
        process.paused = False
        self._ready.extend(process.stash)
        process.stash.clear()

    def run_until(self, when: float) -> None:
        """Let everything happen that is due by then."""
        before = events._get_running_loop()
        events._set_running_loop(self)
        try:
            while self._step(when):
                pass
            self.now = max(self.now, when)
        finally:
            events._set_running_loop(before)

    def bury(self, processes: list[Process]) -> None:
        """Let what killed processes left unwind, now that nothing that they do reaches anybody."""
        for process in processes:
            process.dead = process.ghost = True
            process.paused = False
        before = events._get_running_loop()
        events._set_running_loop(self)
        try:
            for process in processes:
                for task in process.tasks:
                    task.cancel()
                self._ready.extend(process.stash)
                process.stash.clear()
            for _ in range(100_000):
                if not self._step(float("inf")):
                    break
        finally:
            events._set_running_loop(before)

    def _step(self, limit: float) -> bool:
        if not self._ready:
            if not self._later or self._later[0][0] > limit:
                return False
            when, _, handle = heapq.heappop(self._later)
            self.now = max(self.now, when)
        else:
            handle = self._ready.popleft()
        if handle.gone:
            return True
        process = handle.process
        if process is not None and not process.ghost and (process.dead or process.paused):
            process.stash.append(handle)
            return True
        self.events += 1
        handle.context.run(handle.callback, *handle.arguments)
        return True
