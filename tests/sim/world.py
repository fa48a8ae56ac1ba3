"""A fleet from a seed: its machines, its repository, its ledger, and the runners and people that work on it.

The driver that runs here is the real one (wakeline.driver): only clocks, chance and edges are the simulation's.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import json
import random
import types
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from sim.laws import Observer, Violation
from sim.links import Transport, Wire
from sim.loop import PROCESS, Loop, Process
from sim.machine import Box, Database
from sim.store import Ledger, Store
from wakeline.core import binding, order, packing
from wakeline.core.archive import Archive
from wakeline.core.fold import fold
from wakeline.core.model import Fleet, Machine, Presence, Stage
from wakeline.core.order import Layout, Step
from wakeline.core.records import GENESIS, Draft, Record
from wakeline.core.state import State
from wakeline.driver import approving, deploying, joining, leasing, waking, walking, writer
from wakeline.driver.admitting import Wish
from wakeline.driver.project import Project
from wakeline.driver.writer import Writer
from wakeline.edges.agent_file import AgentFile
from wakeline.edges.ledgers import Log, Start
from wakeline.errors import WakelineError
from wakeline.fleet import FleetFile
from wakeline.fleet.reading import Deploy

LEASE_S = 180.0
AGENT = AgentFile(b"", "0" * 64)
KEY = Path("the key of those who may approve")
SEEN = Path("where a runner remembers the ledger")
REMEMBERED = 0.1  # of all looks at the ledger

# How often each fault strikes where it can, while faults are on.
FAULTS = {
    "read": 0.01,
    "push lost": 0.01,
    "answer lost": 0.01,
    "doubled event": 0.02,
    "agent not placed": 0.004,
    "knock refused": 0.003,
    "fetch fails": 0.01,
    "step fails": 0.02,
    "health fails": 0.03,
    "once-step begins late": 0.1,
    "once-step fails": 0.15,
    "verify cannot tell": 0.03,
    "prepare cut off": 0.03,
}


@dataclasses.dataclass(frozen=True)
class Repository:
    """The commits so far: c1, c2, … in one line. What a commit needs and where it is broken is drawn once."""

    world: World

    def resolve(self, commit: str, *, checkout: Any) -> str:
        """See wakeline.edges.code.Code."""
        return commit or f"c{self.world.newest}"

    def is_older(self, commit: str, than: str) -> bool:
        """See wakeline.edges.code.Code."""
        return int(commit[1:]) < int(than[1:])

    def pack(self, commit: str, *, base: str, bytes_max: int) -> bytes:
        """See wakeline.edges.code.Code: what a simulated machine does with a pack is nothing."""
        return b""

    def tree_bytes(self, commit: str) -> int:
        """See wakeline.edges.code.Code: there is room on simulated disks."""
        return 1


class SimProject(Project):
    """A project whose edges are the simulation's."""

    def file_at(self, commit: str) -> FleetFile:
        """See Project.file_at: every commit has its own once-step."""
        breaks = self.world.breaks_older(int(commit[1:]))
        step = Step("migrate", "x", once=True, verify="y", breaks_older=breaks, timeout_s=300.0)
        return dataclasses.replace(self.file, steps=(step,) if self.world.migrates else ())

    def is_outdated(self) -> bool:
        """See Project.is_outdated."""
        return self.world.fleet != self.file.fleet

    def pins(self, commit: str) -> dict[str, str]:
        """See Project.pins: where the branch of the second repository is."""
        return {each.path: f"f{self.world.further}" for each in self.file.repositories}

    def transport_of(self, machine: Machine) -> Transport:
        """See Project.transport_of."""
        return Transport(self.world, PROCESS.get())

    @property
    def world(self) -> World:
        """The world that this project is in."""
        code: Any = self.code
        world: World = code.world
        return world


class World:
    """Everything there is. The one source of chance is `random`."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.loop = Loop()
        self.loop.blocking = self._blocking
        self.observer = Observer(self)
        self.story: list[str] | None = None
        self.store = Store(self._recorded)
        self.database = Database(self)
        self.faults = {name: rate * self.random.choice((0, 1, 1, 3)) for name, rate in FAULTS.items()}
        self.is_calm = False
        self.trouble_s = 0.0
        self.newest = 0
        self.migrates = self.random.random() < 0.7
        self.wires: list[Wire] = []
        self.cuts: dict[str, float] = {}
        self.endings: list[tuple[str, str]] = []
        self.started: list[Process] = []
        self.stage_alone: set[str] = set()
        self._states: dict[str, State] = {self.store.log.tip: State()}
        self._last = self._memory = State()
        self._remembers = random.Random(seed)  # of its own, so that a seed's story is the same with it and without
        self._commits: dict[int, tuple[int, bool, frozenset[tuple[str, str]]]] = {0: (0, False, frozenset())}
        self._ids = 0
        self.fleets = 1
        self.further = 1
        self.has_further = self.random.random() < 0.3
        self.is_signed = self.random.random() < 0.3
        self._shift_s = self.random.choice((0.0, 0.0, 86400.0, -86400.0 * 365 * 40))
        self.fleet = self._draw_fleet()
        adopted = self.random.random() < 0.5
        self.boxes: dict[str, Box] = {}
        self._names: dict[str, str] = {}
        self.out: set[str] = set()
        for each in self.fleet.machines:
            self._arrives(each, adopted=adopted)
        self._set_up()

    # --- what is drawn ---

    def _draw_fleet(self) -> Fleet:
        chance = self.random
        size = min(50, 1 + int(chance.expovariate(1 / 6)))
        stages: list[Stage] = []
        left = size
        while left:
            count = chance.randint(1, left)
            left -= count
            stages.append(self._draw_stage(len(stages), count))
        lead = stages[0].machines[0].name
        return Fleet("shop", "sim", tuple(stages), lead)

    def _draw_stage(self, number: int, count: int) -> Stage:
        chance = self.random
        share = chance.choice((0.0, 0.3, 0.3, 1.0))
        machines = []
        for index in range(count):
            always = (number == index == 0 and chance.random() < 0.9) or chance.random() < share
            presence = Presence.ALWAYS if always else Presence.ON_DEMAND
            machines.append(Machine(f"s{number}m{index}", "simulated", presence))
        gates = any(each.presence is Presence.ALWAYS for each in machines)
        gates = gates if chance.random() < 0.9 else not gates
        goes_on = not gates and chance.random() < 0.5
        return Stage(f"s{number}", tuple(machines), gates, goes_on, at_once=chance.choice((1, 2, 10)))

    # --- which machines there are ---

    def _arrives(self, machine: Machine, *, adopted: bool) -> Box:
        always = machine.presence is Presence.ALWAYS
        box = self.boxes[machine.name] = Box(self, machine.name, always=always, adopted=adopted)
        self._names[machine.name] = machine.name
        return box

    def who(self, name: str) -> str:
        """Which machine a name means; no name is ever given to two."""
        return self._names.get(name, name)

    def box(self, name: str) -> Box:
        """The machine of that name, the present one or an older one."""
        return self.boxes[self.who(name)]

    def machine_of(self, box: Box) -> Machine:
        """What the fleet file says of a machine now."""
        return next(each for each in self.fleet.machines if self.who(each.name) == box.name)

    def join(self) -> Machine:
        """Somebody writes one more machine into the fleet file, in a stage that is there or in a new one."""
        chance, stages = self.random, list(self.fleet.stages)
        always = chance.random() < 0.3
        name = self.fresh_id("j")
        machine = Machine(name, "simulated", Presence.ALWAYS if always else Presence.ON_DEMAND)
        at = chance.randrange(len(stages) + 1)
        if chance.random() < 0.5 and at:
            gates = always if chance.random() < 0.9 else not always
            stages.insert(at, Stage(f"s-{name}", (machine,), gates, not gates and chance.random() < 0.5))
        else:
            at = min(at, len(stages) - 1)
            stages[at] = dataclasses.replace(stages[at], machines=(*stages[at].machines, machine))
        self._arrives(machine, adopted=False)
        self.fleets += 1
        self.fleet = dataclasses.replace(self.fleet, stages=tuple(stages))
        return machine

    def rename(self, box: Box) -> None:
        """Somebody calls a machine otherwise in the fleet file; the machine hears of it later, or is set up again."""
        old, new = self.machine_of(box), self.fresh_id("n")
        self._names[new] = box.name
        machine = dataclasses.replace(old, name=new, renamed_from=old.name)
        stages = [
            dataclasses.replace(stage, machines=tuple(machine if each == old else each for each in stage.machines))
            for stage in self.fleet.stages
        ]
        lead = new if self.fleet.lead == old.name else self.fleet.lead
        self.fleets += 1
        self.fleet = dataclasses.replace(self.fleet, stages=tuple(stages), lead=lead)

    def take_out(self, box: Box) -> None:
        """Somebody takes a machine out of the fleet file, a stage with it that has no other; never the lead."""
        gone = self.machine_of(box)
        left = [
            dataclasses.replace(stage, machines=tuple(each for each in stage.machines if each != gone))
            for stage in self.fleet.stages
        ]
        stages = tuple(stage for stage in left if stage.machines)
        if gone.name != self.fleet.lead:
            self.fleets += 1
            self.fleet = dataclasses.replace(self.fleet, stages=stages)
            self.out.add(box.name)

    async def set_up(self, process: Process, machine: Machine) -> None:
        """`wakeline setup MACHINE`, as wakeline.driver.preparing and the command have it."""
        project, box = self.project(process.name), self.box(machine.name)
        await asyncio.sleep(self.latency_s())
        if not self.is_reached(box.name):
            return
        box.set_up(machine.name, was=machine.renamed_from)
        known = {"name": machine.name, "machine_id": box.name, "renamed_from": machine.renamed_from}
        body = {"machine": machine.name, "machine_id": box.name, "unsigned": not self.is_signed}

        def decide(now: State) -> list[Draft]:
            if now.machines.get(machine.name) == box.name:
                return []
            was = binding.name_before(now, **known, names=[each.name for each in self.fleet.machines])
            return [Draft("set-up", {**body, **({"renamed_from": was} if was else {})})]

        await project.writer.write(decide)
        await joining.join(project, [machine])

    def commit(self, *, good: bool = False) -> int:
        """Somebody pushes a commit: what it needs of the database, and where it is broken."""
        chance = self.random
        schema, _, _ = self._commits[self.newest]
        self.newest += 1
        changes = chance.random() < 0.5
        broken: set[tuple[str, str]] = set()
        if not good and chance.random() < 0.2:
            names = chance.sample(sorted(self.boxes), k=chance.randint(1, len(self.boxes)))
            broken = {(name, chance.choice(("step", "health"))) for name in names}
        breaks_older = changes and chance.random() < 0.25
        self._commits[self.newest] = (schema + changes, breaks_older, frozenset(broken))
        return self.newest

    def schema_of(self, commit: int) -> int:
        """The schema that a commit needs; none where nothing migrates."""
        return self._commits[commit][0] if self.migrates else 0

    def breaks_older(self, commit: int) -> bool:
        """Whether older releases cannot live with this commit's schema."""
        return self._commits[commit][1]

    def breaks(self, commit: int, machine: str, where: str) -> bool:
        """Whether a commit is broken on a machine, in its steps or in its health."""
        return (machine, where) in self._commits[commit][2]

    def _set_up(self) -> None:
        unsigned = not self.is_signed
        drafts = [Draft("set-up", {"machine": name, "machine_id": name, "unsigned": unsigned}) for name in self.boxes]
        self.write("setup", lambda _: drafts)
        for name, box in self.boxes.items():
            box.set_up(name)

    # --- chance ---

    def fault(self, kind: str) -> bool:
        """Whether this kind of fault strikes now."""
        return not self.is_calm and self.random.random() < self.faults[kind]

    def latency_s(self) -> float:
        """How long something is under way."""
        late = 0.0 if self.is_calm or self.random.random() > 0.01 else self.random.choice((2.0, 30.0, 200.0))
        return 0.01 + self.random.random() * 0.1 + late

    def fresh_id(self, prefix: str = "i") -> str:
        """An id that nobody has used."""
        self._ids += 1
        return f"{prefix}{self._ids}"

    def tell(self, text: str) -> None:
        """One line of the story, where somebody wants to read it."""
        if self.story is not None:
            self.story.append(f"{self.loop.now:9.2f}  {text}")

    def _recorded(self, record: Record) -> None:
        self.tell(f"record  {record.kind} {_shown(record.body)} by {record.by}")
        self.observer.recorded(record)

    # --- links ---

    def is_cut(self, link: str) -> bool:
        """Whether a link is down."""
        return link in self.cuts

    def is_linked(self, machine: str) -> bool:
        """Whether what a runner sends arrives at a machine."""
        return f"runners to {machine}" not in self.cuts

    def is_reached(self, machine: str) -> bool:
        """Whether a machine answers a knock."""
        return self.boxes[machine].on and self.is_linked(machine)

    def ledger_of(self, who: str) -> Ledger:
        """One computer's way to the ledger."""
        return Ledger(self.store, lambda: f"{who} to ledger" not in self.cuts, self.fault)

    @property
    def is_faulty_now(self) -> bool:
        """Whether a read of the ledger may have failed just now: then a machine goes on without news (law 11)."""
        return bool(not self.is_calm and self.faults["read"])

    def folded(self, log: Log) -> State:
        """The state that a log says."""
        if log.start is not None:
            return self.fold(log.records, start=log.start.state)
        return self._folded_once(log.tip, len(log.records))

    def fold(self, records: Sequence[Record], *, start: State | None = None) -> State:
        """What the core's fold says. On top of what was remembered it must say the same as from the beginning."""
        begun = start or State()
        if not records and begun.tip == GENESIS:
            return begun
        tip = records[-1].hash if records else begun.tip
        whole = self._folded_once(tip, begun.position + len(records))
        if not isinstance(begun.releases, Archive):
            return whole
        found = fold(records, start=begun)
        fields = [each.name for each in dataclasses.fields(found)]
        if other := [name for name in fields if _as_written(getattr(found, name)) != _as_written(getattr(whole, name))]:
            raise Violation(
                f"on top of record {begun.position}, {len(records)} records mean another {', '.join(other)}"
            )
        return found

    def _folded_once(self, tip: str, position: int) -> State:
        """The fold is pure, so each log is folded once for everybody."""
        if tip not in self._states:
            start = self._last if self._last.position <= position else State()
            self._states[tip] = self._last = fold(self.store.log.records[start.position : position], start=start)
        return self._states[tip]

    def remembered(self) -> Start | None:
        """What somebody has remembered of the log, now and then; and now and then it is remembered anew."""
        if self._remembers.random() > REMEMBERED:
            return None
        records = self.store.log.records
        to = self._remembers.choice((0, 0, len(records), self._remembers.randint(0, len(records))))
        if to > self._memory.position:
            head, shelves = packing.pack(fold(records[self._memory.position : to], start=self._memory))
            self._memory = packing.unpack(json.loads(json.dumps(head)), shelves)
        return Start(self._memory, "") if self._memory.position else None

    @property
    def state(self) -> State:
        """The state that the log says now."""
        return self.folded(self.store.log)

    # --- processes ---

    def run(self, process: Process, work: Coroutine[Any, Any, Any], *, ends: bool = True) -> None:
        """Start a process. It ends with its main coroutine, unless that says so itself."""
        self.started.append(process)
        task = self.loop.start(process, work)
        task.add_done_callback(lambda done: self._ended(process, done, ends=ends), context=None)

    def _ended(self, process: Process, done: asyncio.Task[Any], *, ends: bool) -> None:
        if process.ghost:
            return
        error = None if done.cancelled() else done.exception()
        if error is not None and not isinstance(error, WakelineError):
            self.loop.bugs.append(error)
        if error is not None:
            self.tell(f"{process.name} ended: {error!r}")
        if process.name.startswith("runner"):
            result = error.message if isinstance(error, WakelineError) else getattr(done.result(), "ended", "?")
            self.endings.append((process.name, result))
            self.tell(f"{process.name} ended: {result}")
        if ends:
            process.end()

    def deploy(self, wish: Wish) -> Process:
        """Somebody runs `wakeline deploy`, `rollback` or `retry`."""
        process = Process(self.fresh_id("runner"))
        self.tell(f"{process.name} begins: {wish}")
        if wish.stage:
            self.stage_alone.add(process.name)
        self.run(process, deploying.deploy(self.project(process.name), wish, tell=lambda _: None))
        return process

    def project(self, name: str) -> SimProject:
        """The app as one runner has it."""
        deploy = Deploy("/srv", Layout.RELEASES, (), 5, "", (), 120.0, LEASE_S, "", False)
        further = (order.Repository("front", "git"),) if self.has_further else ()
        file = FleetFile(self.fleet, "git", "main", "git", deploy, (), (), further)
        code: Any = Repository(self)
        ledger = self.ledger_of(name)
        return SimProject(None, code, f"c{self.fleets}", file, Writer(ledger, by=name, seen=SEEN), diary=ledger)

    def write(self, by: str, decide: Callable[[State], list[Draft]]) -> None:
        """A person writes something on record, with nobody in between."""
        from wakeline.core.records import chain  # noqa: PLC0415 - beside its one use

        try:
            drafts = decide(self.state)
        except WakelineError:
            return
        ids = [self.fresh_id("r") for _ in drafts]
        if drafts:
            self.store.append(chain(drafts, ids=ids, previous=self.store.log.tip, at="", by=by))

    def _blocking(self, call: Callable[[], Any], future: asyncio.Future[Any]) -> None:
        """A call of an edge takes its time there and back. A process that was killed may be too late to stop it."""
        process = PROCESS.get(None)
        self.loop.by_itself(self.latency_s(), self._there, call, future, process)

    def _there(self, call: Callable[[], Any], future: asyncio.Future[Any], process: Process | None) -> None:
        if process is not None and (process.ghost or (process.dead and self.random.random() < 0.5)):
            return
        result, error = None, None
        try:
            result = call()
        except Violation:
            raise
        except WakelineError as problem:
            error = problem
        self.loop.by_itself(self.latency_s(), self._back, future, result, error)

    def _back(self, future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    # --- clocks ---

    def wall_s(self) -> float:
        """What a computer's clock says: it may be a day off, or of 1970, and jump."""
        wrong = self.random.choice((0.0, 0.0, -3600.0)) if not self.is_calm else 0.0
        return 1.7e9 + self.loop.now + self._shift_s + wrong


def _as_written(value: Any) -> Any:
    """Records as they stand in the log: whoever wrote one may have a tuple where whoever reads it has a list."""
    if isinstance(value, Mapping):
        return {key: each.line if isinstance(each, Record) else each for key, each in value.items()}
    return value


def sign(words: bytes, *, key: Path) -> str:
    """A signature that nobody without the key can make, for less than ssh-keygen takes."""
    return hashlib.sha256(f"{key} ".encode() + words).hexdigest()


def _shown(body: Mapping[str, Any]) -> str:
    long = ("orders", "stages", "agent", "after", "pins", "signature", "expires")
    return " ".join(f"{name}={value}" for name, value in body.items() if name not in long and value not in ("", False))


@contextlib.contextmanager
def inside(world: World) -> Iterator[None]:
    """The driver's clocks and chance are this world's as long as the block runs."""
    ids = types.SimpleNamespace(token_hex=lambda _bytes: world.fresh_id("x"))
    clocks = types.SimpleNamespace(time=world.wall_s, monotonic=world.loop.time, gmtime=None, strftime=None)
    signatures = types.SimpleNamespace(sign=lambda words, *, key, namespace: sign(words, key=key))
    memory = types.SimpleNamespace(
        read=lambda ledger, *, place: ledger.read(start=world.remembered), last_seen=lambda _place: "nothing"
    )
    changes: Mapping[Any, Mapping[str, Any]] = {
        deploying: {"secrets": ids, "boottime_s": world.loop.time, "time": clocks, "agent_file": lambda: AGENT},
        leasing: {"boottime_s": world.loop.time},
        walking: {"secrets": ids, "time": clocks, "agent_file": lambda: AGENT},
        joining: {"agent_file": lambda: AGENT},
        waking: {"agent_file": lambda: AGENT},
        writer: {
            "fold": world.fold,
            "memory": memory,
            "new_id": lambda: world.fresh_id("x"),
            "_by_chance": lambda most: world.random.uniform(0, most),
            "timestamp": lambda: f"{world.wall_s():.0f}",
        },
        approving: {"time": clocks, "signing": signatures, "signing_key": lambda _project: KEY},
    }
    with contextlib.ExitStack() as stack:
        for module, values in changes.items():
            for name, value in values.items():
                stack.enter_context(mock.patch.object(module, name, value))
        yield
