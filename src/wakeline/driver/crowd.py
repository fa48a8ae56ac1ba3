"""Work side by side: the same on many machines, or the ledger and the machines at the same time.

What a machine may take for an answer is taken from our own processor as well: of five hundred that were set up at once,
some had their time over before we came to them.

Where one of several fails, the others are ended before its error goes on. `asyncio.gather` leaves them, and what is
left at the end `asyncio.run` cancels bluntly, with all that is at work below it: seen on Python 3.11, a process that
was just being started is then waited for as long as the command lives.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

AT_ONCE = 40
_CANCEL_AGAIN_S = 0.1
_M = TypeVar("_M")
_T = TypeVar("_T")
_U = TypeVar("_U")


async def for_each(machines: Iterable[_M], work: Callable[[_M], Awaitable[_T]], *, at_once: int = AT_ONCE) -> list[_T]:
    """Each one's result, in their order. Machines that do not answer take a place each until that is known."""
    places = asyncio.Semaphore(at_once)

    async def one(machine: _M) -> _T:
        async with places:
            return await work(machine)

    return await together(one(machine) for machine in machines)


async def together(works: Iterable[Awaitable[_T]]) -> list[_T]:
    """Each one's result, in their order. Raises what the first that fails raises, when the others have ended."""
    tasks = [asyncio.ensure_future(each) for each in works]
    async with _ended(tasks):
        return list(await asyncio.gather(*tasks))


async def both(first: Awaitable[_T], second: Awaitable[_U]) -> tuple[_T, _U]:
    """The results of two kinds of work, in the same way."""
    tasks = asyncio.ensure_future(first), asyncio.ensure_future(second)
    async with _ended(tasks):
        return await asyncio.gather(*tasks)


@contextlib.asynccontextmanager
async def _ended(tasks: Sequence[asyncio.Future[Any]]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await end(tasks)


async def end(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Cancel these until they have ended; what they raise is of no interest any more.

    Once is not enough: what a task waits for may come in the moment in which it is cancelled, and then it goes on
    (`asyncio.wait_for` before Python 3.12, bpo-37658).
    """
    left = list(tasks)
    while left := [task for task in left if not task.done()]:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=_CANCEL_AGAIN_S)
    for task in tasks:
        task.cancelled() or task.exception()
