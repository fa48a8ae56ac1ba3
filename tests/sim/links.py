"""What lies between a runner and a machine: connections that take time, break, and leave both ends guessing.

Stands in for wakeline.edges.transports: one connection is one TCP stream, so what arrives on it arrives in order, and
once it is broken nothing more does. Each end learns of that in its own time.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any

from sim.loop import Loop, Process
from wakeline.core.model import Machine
from wakeline.core.presence import Phase
from wakeline.edges.transports import Lost, NotReached

if TYPE_CHECKING:
    from sim.world import World

Message = Mapping[str, Any]
_KEEPALIVE_S = 20.0


@dataclasses.dataclass(eq=False)
class Mailbox:
    """One direction of a stream, as its reader sees it. Closed means that its end was read, or its loss noticed."""

    loop: Loop
    items: collections.deque[Message] = dataclasses.field(default_factory=collections.deque)
    closed: bool = False
    aside: Callable[[Message], bool] | None = None
    _waiter: asyncio.Future[None] | None = None

    def put(self, item: Message) -> None:
        """Something arrives; behind the end of a stream nothing does. `aside` may take it before its reader does."""
        if not self.closed and not (self.aside and self.aside(item)):
            self.items.append(item)
            self._wake()

    def close(self) -> None:
        """The reader learns that nothing more will come."""
        self.closed = True
        self._wake()

    async def get(self, *, limit_s: float) -> Message | None:
        """The next thing; None when there is none in time, and when nothing more will come."""
        if not self.items and not self.closed:
            self._waiter = self.loop.create_future()
            timer = self.loop.call_later(limit_s, self._wake)
            await self._waiter
            timer.cancel()
        return self.items.popleft() if self.items else None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Wire:
    """One conversation. `cut` ends it in the middle; neither end is told at once."""

    def __init__(self, world: World, machine: str) -> None:
        self._world = world
        self.machine = machine
        self.to_agent = Mailbox(world.loop)
        self.to_runner = Mailbox(world.loop)
        self.broken = False
        self._arrival = {id(self.to_agent): 0.0, id(self.to_runner): 0.0}

    def say(self, mailbox: Mailbox, item: Message) -> None:
        """Send; what is sent into a broken stream is gone."""
        if self.broken or not self._world.is_linked(self.machine):
            self.cut()
            return
        when = max(self._arrival[id(mailbox)], self._world.loop.now + self._world.latency_s())
        self._arrival[id(mailbox)] = when
        self._world.loop.by_itself(when - self._world.loop.now, self._arrive, mailbox, item)

    def cut(self) -> None:
        """The stream is gone. The keep-alive tells the runner; the agent may wait long for the end of its input."""
        if not self.broken:
            self.broken = True
            self._world.loop.by_itself(_KEEPALIVE_S, self.to_runner.close)
            self._world.loop.by_itself(self._world.random.choice((1.0, 30.0, 400.0)), self.to_agent.close)

    def end(self, mailbox: Mailbox) -> None:
        """One end is closed in good order: the other reads what is under way, then the end."""
        when = max(self._arrival[id(mailbox)], self._world.loop.now + self._world.latency_s())
        self._world.loop.by_itself(when - self._world.loop.now, mailbox.close)

    def _arrive(self, mailbox: Mailbox, item: Message) -> None:
        if not self.broken:
            mailbox.put(item)


class Conversation:
    """See wakeline.edges.transports.Conversation. A faulty agent says things twice."""

    def __init__(self, world: World, wire: Wire, *, silence_s: float) -> None:
        self._world = world
        self._wire = wire
        self.silence_s = silence_s

    async def send(self, message: Message) -> None:
        """See Conversation.send. A message through JSON, as on the wire."""
        if self._wire.to_runner.closed and not self._wire.to_runner.items:
            raise Lost("the contact was lost")
        self._wire.say(self._wire.to_agent, message)
        await asyncio.sleep(0)

    async def events(self) -> AsyncIterator[Message]:
        """See Conversation.events."""
        while True:
            event = await self._wire.to_runner.get(limit_s=self.silence_s)
            if event is None:
                raise Lost("the contact ended before the agent's last word")
            yield event
            if event["event"] == "finished":
                return
            if self._world.fault("doubled event"):
                yield event

    async def text(self) -> str:
        """See Conversation.text."""
        lines = []
        while (event := await self._wire.to_runner.get(limit_s=self.silence_s)) is not None:
            lines.append(json.dumps(event))
        if self._wire.broken:
            raise Lost("the contact was lost")
        return "\n".join(lines)


class Connection:
    """See wakeline.edges.transports.Connection."""

    def __init__(self, world: World, process: Process, machine: str) -> None:
        self._world = world
        self._process = process
        self._machine = machine

    async def converse(self, *arguments: str, agent: bytes, digest: str, silence_s: float) -> Conversation:
        """See Connection.converse."""
        await asyncio.sleep(self._world.latency_s())
        if self._process.ghost or not self._world.is_reached(self._machine):
            raise Lost("the contact was lost")
        if self._world.fault("agent not placed"):
            raise NotReached(Phase.AGENT, "the agent cannot be placed")
        wire = Wire(self._world, self._machine)
        self._world.wires.append(wire)
        self._process.on_end.append(wire.cut if self._world.random.random() < 0.5 else lambda: wire.end(wire.to_agent))
        self._world.boxes[self._machine].start_agent(arguments, wire)
        return Conversation(self._world, wire, silence_s=silence_s)

    async def look(self, *arguments: str) -> str | None:
        """See Connection.look."""
        await asyncio.sleep(self._world.latency_s())
        if self._process.ghost or not self._world.is_reached(self._machine):
            raise Lost("the contact was lost")
        return json.dumps([self._world.boxes[self._machine].status()])

    async def run(self, command: str, *, feed: bytes = b"", limit_s: float = 60.0) -> tuple[int, bytes, bytes]:
        """See Connection.run: nothing that is simulated asks for it."""
        raise NotImplementedError(command)

    async def close(self) -> None:
        """See Connection.close."""
        await asyncio.sleep(0)


@dataclasses.dataclass(frozen=True)
class Transport:
    """See wakeline.edges.transports.Transport: what a knock of one process finds."""

    world: World
    process: Process

    async def connect(self, machine: Machine, *, limit_s: float, enough: Any = None) -> Connection:
        """See Transport.connect."""
        world, name = self.world, self.world.box(machine.name).name
        await asyncio.sleep(world.latency_s())
        if self.process.ghost:
            raise NotReached(Phase.TCP, "the process is gone")
        if not world.is_reached(name):
            await asyncio.sleep(limit_s)
            world.observer.heard_nothing(self.process.name, name)
            raise NotReached(Phase.TCP, f"no answer within {limit_s:g} s")
        for phase in (Phase.NAME, Phase.BANNER, Phase.HOST_KEY, Phase.LOGIN):
            if world.fault("knock refused"):
                raise NotReached(phase, "refused")
        return Connection(world, self.process, name)
