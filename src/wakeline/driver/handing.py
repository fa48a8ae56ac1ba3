"""What machines lack of a commit, handed over the open connection: then they need not fetch it.

A pack is made once for all machines that run the same release, while their agents start. It is a favour and nothing
depends on it: a machine that cannot use it, or is given none, fetches by itself.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping

from wakeline.edges.code import Code
from wakeline.errors import WakelineError

PACK_BYTES_MAX = 1 << 20  # more is fetched: the way to the remote may be wider than the one from here
_WAIT_S = 2.0


class Packs:
    """Packs of one commit. `bases` says of each machine which commit it runs, as far as the ledger knows."""

    def __init__(self, code: Code, *, commit: str, bases: Mapping[str, str]) -> None:
        self._code = code
        self._commit = commit
        self._bases = bases
        wanted = sorted({*bases.values()} - {"", commit})  # in one order: a fleet from a seed is the same everywhere
        self._made = {base: asyncio.ensure_future(self._make(base)) for base in wanted}

    async def of(self, machine: str, *, commit: str) -> str:
        """The pack for a machine, in base64; nothing where there is none, or none in time."""
        making = self._made.get(self._bases.get(machine, ""))
        if making is None or commit != self._commit:
            return ""
        done, _ = await asyncio.wait({making}, timeout=_WAIT_S)
        return making.result() if done else ""

    def let_go(self) -> None:
        """Nobody wants them any more."""
        for making in self._made.values():
            making.cancel()

    async def _make(self, base: str) -> str:
        try:
            pack = await asyncio.to_thread(self._code.pack, self._commit, base=base, bytes_max=PACK_BYTES_MAX)
        except (WakelineError, OSError):
            return ""  # the machine's own fetch says what is wrong
        return base64.b64encode(pack).decode()
