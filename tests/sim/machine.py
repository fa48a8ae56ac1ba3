"""A machine: what is on its disk, what its services run, and the agent that carries orders out on it.

The agent here does nothing but wait and remember; what it decides it asks of the core, as the real one does
(wakeline.agent). It may be killed between any two lines, and the power may go: then the disk comes back as it was
synced, and nothing else does.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sim.links import Wire
from sim.loop import Process
from wakeline.core.once import HAS

if TYPE_CHECKING:
    from sim.world import World

PREPARED, LAID_OUT, READY, CONFIRMED = "prepared", "laid-out", "ready", "confirmed"
HALF, WHOLE = "half", "whole"
_LOCK_S = 150.0
_GLANCE_S = 2.0


class Disk:
    """Files by name. What was written without a sync may be the old one again when the power comes back."""

    def __init__(self) -> None:
        self.files: dict[str, Any] = {}
        self._unsynced: dict[str, Any] = {}

    def write(self, name: str, content: Any, *, synced: bool = True) -> None:
        """Replace a file as a whole."""
        if synced:
            self._unsynced.pop(name, None)
        else:
            self._unsynced.setdefault(name, self.files.get(name))
        self.files[name] = content

    def read(self, name: str, default: Any = None) -> Any:
        """What is in a file now."""
        found = self.files.get(name)
        return default if found is None else found

    def lose_power(self, chance: random.Random) -> None:
        """Unsynced files are the old ones or the new ones."""
        for name, old in self._unsynced.items():
            if chance.random() < 0.7:
                self.files[name] = old
        self._unsynced.clear()


@dataclasses.dataclass(eq=False)
class Session:
    """A once-step's command as the database server sees it: it may outlive its client."""

    claim: str
    schema: int
    good: bool
    done: asyncio.Future[bool]


class Database:
    """The one database of the fleet. Schemas only grow."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.schema = 0
        self.sessions: dict[str, Session] = {}

    def has(self, commit: int) -> bool:
        """Whether the database has what a commit needs."""
        return self.schema >= self._world.schema_of(commit)

    def begin(self, claim: str, commit: int) -> Session:
        """A migration starts. It ends by itself, whatever becomes of whoever started it."""
        world = self._world
        good = not world.fault("once-step fails")
        session = Session(claim, world.schema_of(commit), good, world.loop.create_future())
        self.sessions[claim] = session
        world.loop.by_itself(world.random.choice((1.0, 5.0, 40.0, 250.0)), self._end, session)
        return session

    def restart(self) -> None:
        """Whatever ran in it is rolled back."""
        for session in list(self.sessions.values()):
            session.good = False
            self._end(session)

    def _end(self, session: Session) -> None:
        if self.sessions.pop(session.claim, None) is None:
            return
        if session.good:
            self.schema = max(self.schema, session.schema)
        self._world.observer.once_ends(session.claim)
        if not session.done.done():
            session.done.set_result(session.good)


class Box:
    """One machine. What `serves` says is the truth, whatever anybody believes.

    `name` is which machine it is, for ever; `called` is what it knows itself by, once it was set up.
    """

    def __init__(self, world: World, name: str, *, always: bool, adopted: bool) -> None:
        self.world = world
        self.name = self.called = name
        self.was_called = ""
        self.is_set_up = False
        self.always = always
        self.on = True
        self.disk = Disk()
        self.serves: int | None = None
        self.processes: list[Process] = []
        self.keepers: dict[str, Process] = {}
        self.lock: Process | None = None
        self.lock_is_ahead = False
        self.lock_is_wanted = False
        self.boots = 0
        if adopted:
            self.note_release(0, CONFIRMED, commit=0)
            self.disk.write("current", 0)
            self.serves = 0

    # --- what is on it ---

    @property
    def current(self) -> int | None:
        """Where the link points."""
        found: int | None = self.disk.read("current")
        return found

    def info(self, release: int | None) -> Mapping[str, Any]:
        """What a release folder says of itself."""
        found: Mapping[str, Any] = self.disk.read(f"release {release}", {})
        return found

    def note_release(self, release: int, state: str, *, commit: int) -> None:
        """Say in a release folder how far it has come."""
        self.disk.write(f"release {release}", {"state": state, "commit": commit, "boot": self.boots})

    def write_tree(self, release: int, what: str, *, commit: int) -> None:
        """What is truly in a release folder, whatever it says of itself."""
        self.disk.write(f"tree {release}", (what, commit), synced=False)

    def sync_tree(self, release: int) -> None:
        """Put it on disk as it is."""
        self.disk.write(f"tree {release}", self.disk.read(f"tree {release}"))

    def is_whole(self, release: int, *, commit: int) -> bool:
        """Whether all of a commit is in a release folder."""
        return bool(self.disk.read(f"tree {release}") == (WHOLE, commit))

    def is_complete(self, release: int) -> bool:
        """Whether the link may point to it."""
        return self.info(release).get("state") in (READY, CONFIRMED)

    @property
    def confirmed(self) -> list[int]:
        """The releases that were good here."""
        names = [name for name in self.disk.files if name.startswith("release ")]
        return [int(name[8:]) for name in names if self.disk.files[name].get("state") == CONFIRMED]

    @property
    def journal(self) -> tuple[dict[str, Any], ...]:
        """The journal's entries, oldest first."""
        entries: tuple[dict[str, Any], ...] = self.disk.read("journal", ())
        return entries

    def write_journal(self, what: str, **fields: Any) -> None:
        """One more entry, on disk before the act that it announces."""
        self.disk.write("journal", (*self.journal, {"what": what, **fields}), synced=True)

    def claims(self) -> list[dict[str, Any]]:
        """Every once-step that was started here, and what became of its command (see wakeline.agent.keeper)."""
        return [
            {"claim": entry["claim"], "step": "migrate", "release": entry["release"], **self._kept(entry["claim"])}
            for entry in self.journal
            if entry["what"] == "once-started"
        ]

    def _kept(self, claim: str) -> dict[str, Any]:
        place = self.disk.read(f"kept {claim}", {})
        keeper = self.keepers.get(claim)
        if keeper is not None and not keeper.dead:
            return {"state": "running", "exit": None}
        if not place.get("started"):
            return {"state": "not-started", "exit": None}
        code = place.get("exit")
        return {"state": "nobody-knows" if code is None else "ended", "exit": code}

    def status(self) -> dict[str, Any]:
        """What the agent says of itself when it is asked."""
        facts = {"app": "shop", "environment": "sim", "machine": self.called, "current": self.current}
        runs = {"state": str(self.info(self.current).get("state", "")), "machine_id": self.name}
        waiting = {"reports": list(self.disk.read("reports", ()))}
        return {**facts, **runs, **waiting, "busy": self.lock is not None, "claims": self.claims()}

    # --- what happens to it ---

    def set_up(self, name: str, *, was: str = "") -> None:
        """`wakeline setup` tells it what it is called."""
        self.called, self.was_called, self.is_set_up = name, was, True

    def take_name(self, name: str) -> None:
        """See wakeline.agent.home.Home.take_name."""
        if self.is_set_up and self.called != name:
            self.called, self.was_called = name, self.called

    def start_agent(self, arguments: tuple[str, ...], wire: Wire) -> None:
        """A runner starts the agent over its connection."""
        from sim.agent import Agent  # noqa: PLC0415 - a machine and its agent know each other

        process = self.begin(f"{self.name}-{arguments[0]}-{self.world.fresh_id('p')}")
        process.on_end.append(lambda: wire.end(wire.to_runner))
        agent = Agent(self, process, wire)
        work = agent.pushed() if arguments[0] == "run" else agent.asked()
        self.world.run(process, work)

    def start_catch_up(self, *, boot: bool = False) -> None:
        """The timer, or the units of a boot."""
        from sim.agent import Agent  # noqa: PLC0415 - same

        process = self.begin(f"{self.name}-catch-up-{self.world.fresh_id('p')}")
        agent = Agent(self, process, None)
        if boot:
            process.on_end.append(lambda which=self.boots: self._start_services(which))
        self.world.run(process, agent.boot() if boot else agent.timer())

    def _start_services(self, boot: int) -> None:
        """systemd does so when the unit before them is over, however that came; a second unit comes after them."""
        from sim.agent import Agent  # noqa: PLC0415 - same

        if self.on and self.boots == boot:
            self.serves = self.current
            process = self.begin(f"{self.name}-confirm-{self.world.fresh_id('p')}")
            self.world.run(process, Agent(self, process, None).confirm())

    def begin(self, name: str) -> Process:
        """A process of this machine."""
        process = Process(name)
        process.on_end.append(lambda: self._let_go(process))
        self.processes.append(process)
        return process

    def kill_agents(self) -> None:
        """SIGKILL; keepers have a session of their own and stay."""
        for process in list(self.processes):
            if process not in self.keepers.values():
                process.end()

    def power_off(self) -> None:
        """The power is gone, in the middle of whatever it is."""
        self.on = False
        for process in list(self.processes):
            process.end()
        self.disk.lose_power(self.world.random)
        self.serves = None
        self.world.observer.lost_power(self)

    def power_on(self) -> None:
        """It boots: one unit before the services, then these, and one after them."""
        self.on = True
        self.boots += 1
        self.start_catch_up(boot=True)

    def _let_go(self, process: Process) -> None:
        if process in self.processes:
            self.processes.remove(process)
        self.let_lock_go(process)

    # --- what it is made to do ---

    async def hold(self, process: Process, *, wait_s: float, ahead: bool = False) -> bool:
        """Take the machine's lock; False when another run has it for all of that time."""
        ends = self.world.loop.now + wait_s
        while self.lock is not None:
            self.lock_is_wanted |= bool(wait_s) and self.lock_is_ahead
            if self.world.loop.now >= ends:
                return False
            await asyncio.sleep(1.0)
        self.lock, self.lock_is_ahead, self.lock_is_wanted = process, ahead, False
        return True

    def let_lock_go(self, process: Process) -> None:
        """Somebody else may have it."""
        if self.lock is process:
            self.lock = None

    async def keep(self, claim: str, session: Session, process: Process) -> None:
        """The keeper: waits for its command and puts on disk how that ended."""
        good = await session.done
        await asyncio.sleep(0.01)
        self.disk.write(f"kept {claim}", {"started": True, "exit": 0 if good else 1})
        process.end()


__all__ = ["CONFIRMED", "HALF", "HAS", "LAID_OUT", "PREPARED", "READY", "WHOLE", "Box", "Database", "Disk", "Session"]
