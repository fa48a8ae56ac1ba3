"""How a machine is reached: one connection a machine and rollout, a limit on everything.

`connect` opens it (that is the knock), `converse` starts the agent on it. An outcome is only ever the agent's own last
event: a stream that ends without one is lost, whatever the library says of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from wakeline.core.model import Machine
from wakeline.core.presence import Phase
from wakeline.errors import WakelineError

KNOCK_S = 5.0  # as long as a machine may take to answer, in each phase
_NO_SUCH_COMMAND = (126, 127)  # the shell's own: not to be run, and not found
LINE_BYTES_MAX = 1024 * 1024
TEXT_BYTES_MAX = 16 * 1024 * 1024
SAID_BYTES_MAX = 128 * 1024 * 1024  # twice what an agent hands on of an order's output (agent/wire.py), and all else
Message = Mapping[str, Any]


class NotReached(WakelineError):
    """A machine was not reached. `phase` says how far we came, `may_pass` that it may be another matter in a moment."""

    def __init__(self, phase: Phase, cause: str, *, hint: str = "", may_pass: bool = False) -> None:
        super().__init__(f"{phase.value}: {cause}", hint=hint)
        self.phase = phase
        self.cause = cause
        self.may_pass = may_pass


class Lost(WakelineError):
    """The contact ended before the agent's last word, or what came was not its language."""


class Conversation:
    """JSON lines to and from a running agent, which may say nothing for `silence_s`.

    `lost` are the errors by which a transport says that the contact is lost.

    Seen with asyncssh 2.24: when the keep-alive gives up, a reader gets ConnectionLost; on RST and FIN it gets the end
    of the stream and nothing else.
    """

    def __init__(
        self,
        reader: Any,
        writer: Any,
        *,
        silence_s: float,
        lost: tuple[type[Exception], ...] = (),
        exit_of: Callable[[], Awaitable[int | None]] | None = None,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self.silence_s = silence_s
        self._exit_of = exit_of
        self._heard_bytes = 0
        self._lost: tuple[type[Exception], ...] = (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError, *lost)

    async def send(self, message: Message) -> None:
        """Say something to the agent. Raises Lost when nobody listens any more."""
        try:
            self._writer.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
            await asyncio.wait_for(self._writer.drain(), self.silence_s)
        except self._lost as error:
            await self._check_that_it_started()
            raise Lost(f"the contact was lost: {error or 'no answer'}") from error

    async def events(self) -> AsyncIterator[Message]:
        """What the agent says, up to and with `finished`.

        Raises Lost when the stream ends before that, and for more than any agent says.
        """
        while True:
            event = await self._event()
            yield event
            if event["event"] == "finished":
                return

    async def text(self) -> str:
        """Everything that a short command of the agent's prints, for one that is no conversation."""
        try:
            self._writer.write_eof()
            data = await asyncio.wait_for(all_of(self._reader), self.silence_s)
        except self._lost as error:
            raise Lost(f"the contact was lost: {error or 'no answer'}") from error
        return data.decode("utf-8", "replace")

    async def _event(self) -> Message:
        try:
            line = await asyncio.wait_for(self._reader.readline(), self.silence_s)
        except asyncio.TimeoutError as error:
            raise Lost(f"no word for {self.silence_s:g} s") from error
        except self._lost as error:
            raise Lost(f"the contact was lost: {error}") from error
        except ValueError as error:
            raise Lost(f"a line of more than {LINE_BYTES_MAX} bytes, which no agent writes") from error
        if not line:
            await self._check_that_it_started()
        self._heard_bytes += len(line)
        if self._heard_bytes > SAID_BYTES_MAX:
            raise Lost(f"more than {SAID_BYTES_MAX} bytes, which no agent writes")
        if not line.endswith(b"\n"):
            raise Lost("the contact ended before the agent's last word")
        try:
            event = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise Lost(f"what came is not the agent's language: {line[:80]!r}") from error
        if not isinstance(event, dict) or not isinstance(event.get("event"), str):
            raise Lost(f"what came is not an event: {line[:80]!r}")
        return event

    async def _check_that_it_started(self) -> None:
        """Raises NotReached when the shell says that there was nothing to start: then no order was taken either."""
        if self._exit_of is not None and await self._exit_of() in _NO_SUCH_COMMAND:
            raise _no_python()


async def all_of(reader: Any) -> bytes:
    """A stream to its end. Raises Lost when it says more than any agent or command of ours does."""
    said = bytearray()
    while len(said) <= TEXT_BYTES_MAX:
        data = await reader.read(65536)
        if not data:
            return bytes(said)
        said += data
    raise Lost(f"more than {TEXT_BYTES_MAX} bytes, which no agent writes")


async def kill(child: asyncio.subprocess.Process, *, within_s: float) -> None:
    """Kill a command that is given up, where it still runs, and wait for it: its own children may keep its pipes."""
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError, asyncio.TimeoutError):  # it ended in this very moment
            child.kill()
            await asyncio.wait_for(child.wait(), within_s)


async def exchange(out: Any, err: Any, into: Any, *, feed: bytes) -> tuple[bytes, bytes]:
    """Feed a command of ours and hear it to its end, in bounded memory. Raises Lost for more than one has to say."""
    said, complained, _ = await asyncio.gather(all_of(out), all_of(err), _feed(into, feed))
    return said, complained


async def _feed(into: Any, feed: bytes) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has ended: its exit code says why
        into.write(feed)
        await into.drain()
        into.write_eof()


class Connection(Protocol):
    """An open way to one machine."""

    async def converse(self, *arguments: str, agent: bytes, digest: str, silence_s: float) -> Conversation:
        """Start the agent on the machine, sent first where its digest is missing."""

    async def look(self, *arguments: str) -> str | None:
        """What the agent that is there says; None where there is none. Nothing is sent: looking changes nothing."""

    async def run(self, command: str, *, feed: bytes = b"", limit_s: float = 60.0) -> tuple[int, bytes, bytes]:
        """Run one small command of ours: exit code and both outputs. Raises Lost for more than it has to say."""

    async def close(self) -> None:
        """Let go of it. What runs on the machine goes on."""


class Transport(Protocol):
    """A way to reach machines."""

    async def connect(self, machine: Machine, *, limit_s: float, enough: asyncio.Event | None = None) -> Connection:
        """Open a connection. Raises NotReached with the phase that it came to.

        When there has been `enough`, a machine that has given no sign of life is waited for no longer.
        """


HERE, MISSING = b"here\n", b"missing\n"


def start_or_say(home: str, digest: str, *arguments: str) -> str:
    """A shell line that starts the agent where it is, after the word HERE, and otherwise says MISSING: one question.

    One that is there is touched, so that it is not taken for one that nobody uses any more.
    """
    there = shlex.quote(f"{home}/agents/{digest}")
    agent = shlex.join(["python3", "-I", "-S", f"{home}/agents/{digest}", "--home", home, *arguments])
    return f"touch -c {there}; test -d {there} && echo here && exec {agent} || echo missing"


async def place(connection: Connection, agent: bytes, *, digest: str, home: str, python: str = "python3") -> None:
    """Bring an agent to a machine that lacks it. Its own code does the rest: agent/arrival.py. Raises NotReached."""
    folder = shlex.quote(f"{home}/agents")
    arrive = f"{python} $zip --home {shlex.quote(home)} arrive {digest}"
    script = f"umask 077; mkdir -p {folder} && zip={folder}/.zip-$$ && cat >$zip && {arrive}"
    code, _, err = await connection.run(f"{script}; code=$?; rm -f $zip; exit $code", feed=agent)
    if code in _NO_SUCH_COMMAND:
        raise _no_python()
    if code != 0:
        words = err.decode("utf-8", "replace").strip()[-300:]
        hint = "wakeline setup makes the folder and gives it to the deploy user"
        raise NotReached(Phase.AGENT, f"the agent cannot be placed in {home}/agents: {words}", hint=hint)


def _no_python() -> NotReached:
    return NotReached(Phase.AGENT, "python3 is not installed there, or cannot be run", hint="apt-get install python3")


def folder_of(address: str) -> Path:
    """The folder that a `local:` address names."""
    return Path(address[len("local:") :])
