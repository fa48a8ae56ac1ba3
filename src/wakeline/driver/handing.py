"""What machines lack of a commit, handed over the open connection: then they need not fetch it.

A pack is made once for all machines that run the same release, while their agents start. It is a favour and nothing
depends on it: a machine that cannot use it, or is given none, fetches by itself. How much room the commit wants is
looked up here as well, once for all.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from typing import NamedTuple

from wakeline.edges.code import Code
from wakeline.errors import WakelineError

PACK_BYTES_MAX = 1 << 20  # more is fetched: the way to the remote may be wider than the one from here
_WAIT_S = 2.0


class Handed(NamedTuple):
    """What one machine is handed: a pack in base64, and how many bytes the files of the commit have. 0 is not known."""

    pack: str = ""
    tree_bytes: int = 0


class Packs:
    """Packs of one commit. `bases` says of each machine which commit it runs, as far as the ledger knows."""

    def __init__(self, code: Code, *, commit: str, bases: Mapping[str, str]) -> None:
        self._code = code
        self._commit = commit
        self._bases = bases
        self._tree_bytes = asyncio.ensure_future(self._measure())
        wanted = sorted({*bases.values()} - {"", commit})  # in one order: a fleet from a seed is the same everywhere
        self._made = {base: asyncio.ensure_future(self._make(base)) for base in wanted}

    async def of(self, machine: str, *, commit: str) -> Handed:
        """What there is for a machine in time. Nobody waits for the size alone."""
        making = self._made.get(self._bases.get(machine, ""))
        if commit != self._commit:
            return Handed()
        if making is not None:
            await asyncio.wait({making}, timeout=_WAIT_S)
        pack = making.result() if making is not None and making.done() else ""
        return Handed(pack, self._tree_bytes.result() if self._tree_bytes.done() else 0)

    def let_go(self) -> None:
        """Nobody wants them any more."""
        for making in (self._tree_bytes, *self._made.values()):
            making.cancel()

    async def _measure(self) -> int:
        try:
            return await asyncio.to_thread(self._code.tree_bytes, self._commit)
        except (WakelineError, OSError):
            return 0  # the machine looks for itself

    async def _make(self, base: str) -> str:
        try:
            pack = await asyncio.to_thread(self._code.pack, self._commit, base=base, bytes_max=PACK_BYTES_MAX)
        except (WakelineError, OSError):
            return ""  # the machine's own fetch says what is wrong
        return base64.b64encode(pack).decode()
