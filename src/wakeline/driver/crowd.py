"""The same work on many machines, some of them at once.

What a machine may take for an answer is taken from our own processor as well: of five hundred that were set up at once,
some had their time over before we came to them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

AT_ONCE = 40
_M = TypeVar("_M")
_T = TypeVar("_T")


async def for_each(machines: Iterable[_M], work: Callable[[_M], Awaitable[_T]], *, at_once: int = AT_ONCE) -> list[_T]:
    """Each one's result, in their order. Machines that do not answer take a place each until that is known."""
    places = asyncio.Semaphore(at_once)

    async def one(machine: _M) -> _T:
        async with places:
            return await work(machine)

    return list(await asyncio.gather(*(one(machine) for machine in machines)))
