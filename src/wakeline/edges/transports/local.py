"""A machine that is a folder on this machine: for the demo, and for tests without root.

Its home is `home/` inside the folder. A file named `asleep` in it is its power switch: as long as it is there, the
machine does not answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import sys
from pathlib import Path

from wakeline.core.model import Machine
from wakeline.core.presence import Phase
from wakeline.edges.transports import LINE_BYTES_MAX, Conversation, NotReached, exchange, folder_of, kill, place

_ENDS_S = 5.0


class LocalTransport:
    """Reaches machines whose address is `local:FOLDER`."""

    async def connect(
        self, machine: Machine, *, limit_s: float, enough: asyncio.Event | None = None
    ) -> LocalConnection:
        """See Transport.connect. A folder is reached at once, so `limit_s` is never used up."""
        del limit_s, enough
        folder = folder_of(machine.address)
        if not folder.is_dir():
            raise NotReached(Phase.NAME, f"there is no folder {folder}", hint="wakeline setup makes it")
        if (folder / "asleep").exists():
            raise NotReached(Phase.TCP, "switched off")
        return LocalConnection(folder)


class LocalConnection:
    """A connection to a folder: the agent is a child process with that folder as its world."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._children: list[asyncio.subprocess.Process] = []
        self._ends: list[asyncio.ReadTransport] = []

    async def converse(self, *arguments: str, agent: bytes, digest: str, silence_s: float) -> Conversation:
        """See Connection.converse."""
        home = self._folder / "home"
        there = home / "agents" / digest
        if there.is_dir():
            os.utime(there)  # not one that nobody uses any more
        else:
            await place(self, agent, digest=digest, home=str(home), python=shlex.quote(sys.executable))
        said, says = os.pipe()
        reader = await self._read(said)
        try:
            child = await asyncio.create_subprocess_exec(
                sys.executable,
                str(there),
                "--home",
                str(home),
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=says,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        finally:
            os.close(says)
        self._children.append(child)
        return Conversation(reader, child.stdin, silence_s=silence_s)

    async def _read(self, said: int) -> asyncio.StreamReader:
        """A pipe of our own, not the child's: one that we can close, so that nobody speaks to a contact that is gone.

        Seen: an agent with more to say than was read waited for a reader as long as the runner lived.
        """
        reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
        protocol = asyncio.StreamReaderProtocol(reader)
        end, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, os.fdopen(said, "rb", 0))
        self._ends.append(end)
        return reader

    async def look(self, *arguments: str) -> str | None:
        """See Connection.look."""
        home = self._folder / "home"
        if not (home / "agent.pyz").exists():
            return None
        argv = [sys.executable, "-I", "-S", "-B", str(home / "agent.pyz"), "--home", str(home), *arguments]
        code, out, _ = await self.run(f"exec {shlex.join(argv)}")
        return out.decode("utf-8", "replace") if code == 0 else None

    async def run(self, command: str, *, feed: bytes = b"", limit_s: float = 60.0) -> tuple[int, bytes, bytes]:
        """See Connection.run."""
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", command, cwd=self._folder, stdin=pipe, stdout=pipe, stderr=pipe
        )
        try:
            async with asyncio.timeout(limit_s):
                out, err = await exchange(child.stdout, child.stderr, child.stdin, feed=feed)
                await child.wait()
        finally:
            await kill(child, within_s=_ENDS_S)
        return child.returncode or 0, out, err

    async def close(self) -> None:
        """See Connection.close. The agent sees the end of its input and ends by itself."""
        for end in self._ends:
            end.close()
        for child in self._children:
            if child.stdin is not None:
                child.stdin.close()
            with contextlib.suppress(asyncio.TimeoutError):  # an accepted order goes on without us
                await asyncio.wait_for(child.wait(), 5)
