"""One walk of a release: does what core/rollout.py says, and feeds it what happens."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import secrets
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from wakeline.core import batching, carrying_out, check_in, rollout
from wakeline.core.commands import Command, End, GiveClaim, Knock, Prepare, Send, Stop, Write
from wakeline.core.events import (
    Event,
    Finished,
    Knocked,
    OnceEnded,
    OnceVerified,
    OnceWanted,
    Prepared,
    StopAsked,
)
from wakeline.core.model import Machine
from wakeline.core.order import Order, Outcome, Step
from wakeline.core.presence import Answer, Phase, heard, judge
from wakeline.core.records import Draft
from wakeline.core.state import State
from wakeline.driver.crowd import end
from wakeline.driver.handing import Packs
from wakeline.driver.leasing import Holder, LeaseLost
from wakeline.driver.progress import Notice, Tell
from wakeline.edges.agent_file import AgentFile, agent_file
from wakeline.edges.transports import KNOCK_S, Connection, Conversation, Lost, NotReached, Transport
from wakeline.errors import LedgerError, WakelineError

STOP_GRACE_S = 3.0
_KNOCK_AGAIN_S = 1.0
_CLOSE_S, _CLOSE_WHEN_STOPPED_S = 6.0, 1.0
_SILENCE_MARGIN_S = 300.0
_ORDER_MARGIN_S = 3600.0
_WAITS_S = 40.0  # an agent that was started early ends by itself when no order comes within a minute
EVENTS_MAX = 20_000  # without lines of output; an order of a hundred steps says a few hundred things
_CAUSE_MAX = 4000

# What an agent says. Anything else from a machine is not shown and changes nothing: it must not pass for our own words.
_SHOWN = frozenset(
    {
        "hello",
        "waiting",
        "fetched",
        "laid_out",
        "step_started",
        "step_finished",
        "output",
        "verified",
        "once_started",
        "once_finished",
        "switched",
        "switched_back",
        "healthy",
        "confirmed",
        "claim_wanted",
    }
)


@dataclasses.dataclass(frozen=True)
class Waiting:
    """An agent that waits for its order, since when."""

    conversation: Conversation
    since_s: float


@dataclasses.dataclass(frozen=True)
class Knocking:
    """A knock that is under way. With `enough` a silent machine is waited for no longer. `agent` is started on it."""

    task: asyncio.Task[Connection]
    enough: asyncio.Event
    agent: asyncio.Future[Waiting] | None = None

    def cancel(self) -> None:
        """Give it up."""
        self.task.cancel()
        if self.agent is not None:
            self.agent.cancel()


Early = dict[str, Knocking]


def knock_early(machine: Machine, transport: Transport, *, starts_agent: bool) -> Knocking:
    """Connect, and start an agent there that waits for a word. No machine is told anything of a release yet."""
    enough = asyncio.Event()
    task = asyncio.create_task(transport.connect(machine, limit_s=KNOCK_S, enough=enough))
    return Knocking(task, enough, _kept(_agent_on(task)) if starts_agent else None)


async def _agent_on(connecting: asyncio.Task[Connection]) -> Waiting:
    return await _start_agent(await asyncio.shield(connecting), agent_file(), silence_s=_SILENCE_MARGIN_S)


async def _start_agent(connection: Connection, agent: AgentFile, *, silence_s: float) -> Waiting:
    began_s = asyncio.get_running_loop().time()
    conversation = await connection.converse("run", agent=agent.data, digest=agent.digest, silence_s=silence_s)
    return Waiting(conversation, began_s)


def _kept(agent: Coroutine[Any, Any, Waiting]) -> asyncio.Future[Waiting]:
    """An agent that is kept for its order. What keeps it from starting is said by a second try, when that is due."""
    starting = asyncio.ensure_future(agent)
    starting.add_done_callback(lambda done: done.cancelled() or done.exception())
    return starting


@dataclasses.dataclass(frozen=True)
class Party:
    """The machines of one walk: how to reach each, and its order. `early` are knocks that are under way already.

    `packs` have what machines lack of the commit.
    """

    machines: Mapping[str, Machine]
    orders: Mapping[str, Order]
    transport_of: Callable[[Machine], Transport]
    agent: AgentFile
    early: Early = dataclasses.field(default_factory=dict)
    packs: Packs | None = None


Approve = Callable[[State, Draft], Draft]


class Walk:
    """Runs a rollout to its end. One connection a machine; what a lost one did not say is `unknown`."""

    def __init__(self, begun: rollout.Rollout, *, party: Party, holder: Holder, approve: Approve, tell: Tell) -> None:
        self.rollout = begun
        self._party = party
        self._holder = holder
        self._approve = approve
        self._tell = tell
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._connections: dict[str, Connection] = {}
        self._conversations: dict[str, Conversation] = {}
        self._agents: dict[str, asyncio.Future[Waiting]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._sending: dict[str, asyncio.Task[None]] = {}
        self._handed: set[str] = set()
        self._may_wait: list[Draft] = []
        self._enough: dict[str, asyncio.Event] = {}
        self._stopped: dict[str, Conversation] = {}
        self._began: dict[str, float] = {}
        self._answering: set[str] = set()
        self.lost_lease = ""
        self._stopping = ""
        self._bug: BaseException | None = None

    def stop(self, why: str) -> None:
        """Ask for an early end. Machines get a moment to say how they stand; then the walk ends without them."""
        if not self._stopping:
            self._tell(Notice("stopping", text=why))
        self._stopping = why
        self._events.put_nowait(StopAsked(why))
        self._start(self._give_up_after(STOP_GRACE_S))

    async def run(self) -> rollout.Rollout:
        """Walk to the end. Raises LeaseLost or LedgerError when nothing can be written any more."""
        try:
            async with self._holder.kept(self._lease_is_lost):
                self.rollout, commands = rollout.begin(self.rollout)
                await self._obey(commands)
                while not self.rollout.ended:
                    await self._obey(await self._heard())
                    for name in rollout.nobody_waits_for(self.rollout):
                        if name in self._enough:
                            self._enough[name].set()
            if not self.rollout.stopping:
                await self._look_again()
        finally:
            await self._let_go()
        return self.rollout

    async def _heard(self) -> list[Command]:
        """What the next events want done: of all that have come, and of those that come within a moment, where the core
        says that nobody waits for it. To prepare needs no more than the release on record, and is begun at once.
        """
        commands: list[Command] = []
        clock = asyncio.get_running_loop().time
        event: Event | None = await self._events.get()
        first_s = clock()
        while event is not None:
            if self._bug is not None:
                raise self._bug
            if self.lost_lease:
                raise LeaseLost(self.lost_lease, hint="wakeline status shows who goes on")
            self.rollout, more = rollout.advance(self.rollout, event)
            for command in more:
                if isinstance(command, Prepare):
                    self._kept_for(command.machine, self._prepare(command, self._agents.get(command.machine)))
                else:
                    commands.append(command)
            waits_s = batching.waits_s(self.rollout, commands, waited_s=clock() - first_s)
            event = await self._event_within(waits_s)
        return commands

    async def _event_within(self, seconds: float) -> Event | None:
        if not self._events.empty():
            return self._events.get_nowait()
        with contextlib.suppress(asyncio.TimeoutError):
            return await asyncio.wait_for(self._events.get(), seconds) if seconds > 0 else None
        return None

    async def _obey(self, commands: list[Command]) -> None:
        """Records come before the acts that they allow, all of them in one push: ten machines that answer together
        get their orders together, not one push after the other.
        """
        writes = [command for command in commands if isinstance(command, Write)]
        drafts = [*self._may_wait, *(write.draft for write in writes)]
        if any(isinstance(command, End) for command in commands):
            drafts.append(Draft("lease-freed", {}))
        elif all(write.may_wait for write in writes):
            self._may_wait, drafts = drafts, []
        await self._write(drafts)
        for command in commands:
            self._do(command)

    async def _write(self, drafts: list[Draft]) -> None:
        if not drafts:
            return
        self._may_wait = []
        pins = {
            f"approved/{each.body['stage']}": next(iter(self._party.orders.values())).commit
            for each in drafts
            if each.kind == "approved"
        }
        agent = self._party.agent
        await self._holder.write(
            lambda state: [self._approve(state, each) if each.kind == "approved" else each for each in drafts],
            pins=pins,
            agents={agent.digest: agent.data} if pins else {},
        )
        for draft in drafts:
            self._tell(Notice(draft.kind, str(draft.body.get("machine", "")), data=dict(draft.body)))

    def _do(self, command: Command) -> None:
        if isinstance(command, Knock):
            lost = self._connections.pop(command.machine, None)
            if lost is not None:
                self._start(_close(lost, limit_s=_CLOSE_S))
            self._start(self._knock(self._party.machines[command.machine]))
        elif isinstance(command, Send):
            self._sending[command.machine] = self._start(self._deploy(command.machine))
        elif isinstance(command, GiveClaim):
            word = {"do": "claimed", "step": command.step, "claim": command.claim}
            self._start(self._say(command.machine, word))
        elif isinstance(command, Stop):
            self._ask_to_stop(command)

    async def _knock(self, machine: Machine) -> None:
        """Knock, and go on knocking where nobody is there: a machine may wake before its stage, or behind our back."""
        self._tell(Notice("knock", machine.name))
        transport = self._party.transport_of(machine)
        asleep = False
        while machine.name not in self._connections:
            try:
                early = self._party.early.pop(machine.name, None)
                if early is not None:
                    self._enough[machine.name] = early.enough
                knock = early.task if early is not None else transport.connect(machine, limit_s=KNOCK_S)
                self._connections[machine.name] = await knock
                if early is not None and early.agent is not None:
                    self._agents[machine.name] = early.agent
            except NotReached as error:
                answer = heard(error.phase)
                if not asleep:  # later words are those of a machine that is booting
                    shown = {"answer": judge(error.phase, machine.presence).value, "hint": error.hint}
                    self._tell(Notice("knocked", machine.name, error.message, shown))
                    self._events.put_nowait(Knocked(machine.name, answer, error.message))
                asleep = asleep or answer is Answer.ASLEEP
                if not asleep:
                    return
                await asyncio.sleep(_KNOCK_AGAIN_S)
        self._begin_agent(machine.name)
        self._tell(Notice("knocked", machine.name, data={"answer": Answer.AWAKE.value}))
        self._events.put_nowait(Knocked(machine.name, Answer.AWAKE))

    async def _look_again(self) -> None:
        """A machine that woke after its stage had begun looks at the ledger now, not at its timer's next beat."""
        late = [
            name
            for name, outcome in self.rollout.results.items()
            if outcome is Outcome.ASLEEP and name in self._connections
        ]
        await asyncio.gather(*(self._catch_up(name) for name in sorted(late)))

    async def _catch_up(self, name: str) -> None:
        order, agent = self._party.orders[name], self._party.agent
        words = ("catch-up", "--tell", "--app", order.app, "--environment", order.environment)
        self._tell(Notice("woken", name))
        try:
            conversation = await self._connections[name].converse(
                *words, agent=agent.data, digest=agent.digest, silence_s=_SILENCE_MARGIN_S
            )
            said = (await conversation.text()).splitlines()
        except (NotReached, Lost) as error:
            said = [error.message]
        self._tell(Notice("caught_up", name, "; ".join(line for line in said if not line.startswith("{"))))

    async def _deploy(self, name: str) -> None:
        """Hand the order over and listen to the agent's last word."""
        self._began[name] = time.monotonic()
        order = self._party.orders[name]
        limit_s = _ORDER_MARGIN_S + 2 * sum(step.timeout_s for step in order.steps)
        try:
            if not self._holder.may_act():
                raise NotReached(Phase.AGENT, "the lease was not renewed in time; nothing was sent")
            conversation = self._conversations[name] = await self._agent(name)
            await conversation.send(
                {"do": "run", "order": order.to_json(), **self._facts(name), **self._as_it_stands(name)}
            )
            async with asyncio.timeout(limit_s):
                await self._listen(order, conversation)
        except (NotReached, Lost) as error:
            outcome = Outcome.UNKNOWN if isinstance(error, Lost) else Outcome.FAILED
            self._ended(name, outcome, error.message)
        except TimeoutError:
            self._ended(name, Outcome.UNKNOWN, f"no last word within {limit_s:g} s, which no order takes")

    def _facts(self, name: str) -> dict[str, Any]:
        return {"fence": self._holder.fence, "machine_id": self._holder.writer.state.machines.get(name, "")}

    def _as_it_stands(self, name: str) -> dict[str, Any]:
        """What the ledger says as the order goes out, and where it stood then: both of one and the same state."""
        writer = self._holder.writer
        stamp = writer.ledger.stamp_of(writer.state.tip)
        said = carrying_out.stamp_to_say(stamp, state=writer.state, machine=name, fence=self._holder.fence)
        return {"barrier": writer.state.barrier, "stamp": said}

    async def _say_whether_known(self, name: str, found: str) -> None:
        """Answer a machine that found the ledger moved: whether we had it there too, with nothing against its order."""
        writer = self._holder.writer
        known = found and await writer.knows(found) and self._holder.may_act()
        said = known and carrying_out.stamp_to_say(found, state=writer.state, machine=name, fence=self._holder.fence)
        self._answering.discard(name)
        await self._say(name, {"do": "stands", "stamp": found, "known": bool(said), "barrier": writer.state.barrier})

    def _begin_agent(self, name: str) -> None:
        """Start the agent beside the records: it waits for its order, and nothing of the release runs before that."""
        if rollout.starts_early(self.rollout, name, waiting=self._agents):
            self._kept_for(name, self._converse(name))

    def _kept_for(self, name: str, agent: Coroutine[Any, Any, Waiting]) -> None:
        self._agents[name] = _kept(agent)

    async def _prepare(self, command: Prepare, starting: asyncio.Future[Waiting] | None) -> Waiting:
        """Let the agent that waits there lay the release out; the order follows in the same conversation.

        An agent that does not know the word has ended, and another is started. Raises Lost when the contact is gone.
        """
        name, gone = command.machine, False
        try:
            with contextlib.suppress(NotReached, Lost):
                return await self._ahead(name, starting, due=command.due)
            return await self._converse(name)
        except Lost:
            gone = True
            raise
        finally:
            self._events.put_nowait(Prepared(name, gone))

    async def _ahead(self, name: str, starting: asyncio.Future[Waiting] | None, *, due: bool) -> Waiting:
        if not self._holder.may_act():
            raise Lost("nothing is prepared now")
        waiting = await starting if starting is not None else await self._converse(name)
        conversation = waiting.conversation
        conversation.silence_s = self._silence_s(name)
        order, packs = self._party.orders[name], self._party.packs
        more = {"stamp": self._as_it_stands(name)["stamp"]} if due else {}
        if packs is not None and name not in self._handed:
            more |= (await packs.of(name, commit=order.commit))._asdict()
            self._handed.add(name)
        await conversation.send({"do": "prepare", "order": order.to_json(), **self._facts(name), **more})
        async for event in conversation.events():
            if event["event"] == "prepared":
                self._tell(Notice("prepared", name, data=event))
                return Waiting(conversation, asyncio.get_running_loop().time())
            break
        raise Lost("it does not know how to prepare")

    async def _agent(self, name: str) -> Conversation:
        """An agent that waits for its order: the one that was started early, if it has not waited too long."""
        starting = self._agents.pop(name, None)
        if starting is not None:
            with contextlib.suppress(NotReached, Lost):  # said by the second try
                waiting = await starting
                if asyncio.get_running_loop().time() - waiting.since_s < _WAITS_S:
                    waiting.conversation.silence_s = self._silence_s(name)
                    return waiting.conversation
        return (await self._converse(name)).conversation

    async def _converse(self, name: str) -> Waiting:
        return await _start_agent(self._connections[name], self._party.agent, silence_s=self._silence_s(name))

    def _silence_s(self, name: str) -> float:
        """How long a machine may say nothing: its longest step may."""
        steps = self._party.orders[name].steps
        return _SILENCE_MARGIN_S + max((step.timeout_s for step in steps), default=0.0)

    async def _listen(self, order: Order, conversation: Conversation) -> None:
        """Hear a machine out. Raises Lost for one that says more than any agent does: it may no longer be ours."""
        said, greeted = 0, False
        async for event in conversation.events():
            if event["event"] == "hello" and not greeted:  # each is a look at the ledger
                greeted = True
                self._start(self._collect(order.machine, event.get("reports")))
            said += event["event"] != "output"
            if said > EVENTS_MAX:
                raise Lost(f"more than {EVENTS_MAX} events, which no agent has to say")
            self._hear(order, dict(event), held=await self._held_meanwhile(order.machine, event))

    async def _held_meanwhile(self, name: str, event: Mapping[str, Any]) -> bool:
        """Whether a machine that withheld itself is on hold: the ledger knows, not the machine's words."""
        if event["event"] != "finished" or event.get("outcome") != Outcome.WITHHELD.value:
            return False
        with contextlib.suppress(WakelineError):  # no news: it is withheld all the same
            now = await self._holder.writer.read()
            return "" in now.holds or bool(now.why_on_hold(name))
        return False

    def _hear(self, order: Order, event: dict[str, Any], *, held: bool = False) -> None:
        """Translate one event of the agent's; what is only for the eye goes to the renderer."""
        name, kind = order.machine, event["event"]
        step = _step(order, str(event.get("step", "")))
        if kind == "claim_wanted" and step:
            self._events.put_nowait(OnceWanted(name, step.name, secrets.token_hex(8), step.breaks_older))
        elif kind == "verified" and step and event.get("answer") == "has":
            self._events.put_nowait(OnceVerified(name, step.name, step.breaks_older))
        elif kind == "once_finished" and step:
            passed = bool(event.get("ok")) and event.get("answer") == "has"
            cause = (
                "" if passed else str(event.get("cause") or f"exit {event.get('exit')}, verify: {event.get('answer')}")
            )
            claim = str(event.get("claim", ""))
            ended = OnceEnded(name, step.name, claim, passed, cause[:_CAUSE_MAX], step.breaks_older)
            self._events.put_nowait(ended)
        elif kind == "ledger_at" and name not in self._answering:  # one at a time, however often it asks
            self._answering.add(name)
            self._start(self._say_whether_known(name, str(event.get("stamp", ""))))
        elif kind == "finished":
            self._ended(name, _outcome(event), str(event.get("cause", "")), was=event.get("was"), held=held)
            return
        if kind in _SHOWN:
            self._tell(Notice(kind, name, data=event))

    async def _collect(self, name: str, reports: Any) -> None:
        """Put on record what a machine has done since and could tell nobody (law 9). It speaks for itself alone."""
        words = [(name, each) for each in reports if isinstance(each, dict)] if isinstance(reports, list) else []
        if words:
            with contextlib.suppress(LeaseLost, LedgerError):  # told again by the walk's own next record
                await self._holder.write(lambda now: check_in.settled(now, words))

    def _ended(self, name: str, outcome: Outcome, cause: str, *, was: Any = 0, held: bool = False) -> None:
        now = time.monotonic()
        seconds = now - self._began.get(name, now)  # given up before its order was sent: it has not begun
        release = was if isinstance(was, int) else 0
        self._events.put_nowait(Finished(name, outcome, cause[:_CAUSE_MAX], release, seconds, held))

    def _ask_to_stop(self, command: Stop) -> None:
        """Once in a conversation: one that asks for the same thing a million times is told so once.

        A machine whose agent is still at its start has not got its order, and does not get it any more.
        """
        conversation = self._conversations.get(command.machine)
        if conversation is None:
            self._sending[command.machine].cancel()
            self._ended(command.machine, Outcome.WITHHELD, f"stopped before its order was sent: {command.why}")
        elif conversation is not self._stopped.get(command.machine):
            self._stopped[command.machine] = conversation
            self._start(self._say(command.machine, {"do": "stop", "why": command.why}))

    async def _say(self, name: str, word: Mapping[str, Any]) -> None:
        conversation = self._conversations.get(name)
        if conversation is None:
            return
        with contextlib.suppress(Lost):  # its own events tell the story: the stream ends without a last word
            await conversation.send(word)

    async def _give_up_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        for name in sorted(self.rollout.running):
            self._ended(name, Outcome.UNKNOWN, "interrupted; the machine carries its order to the end by itself")
        for stage in self.rollout.walked:
            for name in stage.machines:
                if name not in self.rollout.knocks:
                    self._events.put_nowait(Knocked(name, Answer.REFUSED, "interrupted"))

    def _lease_is_lost(self, why: str) -> None:
        self.lost_lease = why
        self._events.put_nowait(StopAsked(why))

    def _start(self, work: Any) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.append(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        """A bug in a task must not leave the walk waiting for ever."""
        self._tasks.remove(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._bug = self._bug or error
            self._events.put_nowait(StopAsked(f"a bug of ours: {error!r}"))

    async def _let_go(self) -> None:
        for task in self._tasks:
            task.cancel()
        await end(list(self._agents.values()))
        limit_s = _CLOSE_WHEN_STOPPED_S if self.rollout.stopping else _CLOSE_S
        await asyncio.gather(*(_close(connection, limit_s=limit_s) for connection in self._connections.values()))


async def _close(connection: Connection, *, limit_s: float) -> None:
    with contextlib.suppress(OSError, WakelineError, asyncio.TimeoutError):  # it is being left anyway
        await asyncio.wait_for(connection.close(), limit_s)


def _step(order: Order, name: str) -> Step | None:
    return next((step for step in order.steps if step.name == name and step.once), None)


def _outcome(event: Mapping[str, Any]) -> Outcome:
    """The agent's last word; a word that no agent says is a failure."""
    word = event.get("outcome")
    known = {each.value: each for each in (Outcome.OK, Outcome.UNCHANGED, Outcome.WITHHELD)}
    return known.get(str(word), Outcome.FAILED)
