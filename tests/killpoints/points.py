"""Where an operation is cut short: at each system call of the agent's, and at each change of its disk.

Two tracers. `strace` injects at the real interpreter: the agent alone is killed, and what it had started goes on beside
the next run; or one call of it is refused. The file layer of losing.py stands below all processes of the run, git's
too: there the whole machine is cut, or one change is refused to whoever asked.
"""

from __future__ import annotations

import collections
import dataclasses
import errno
import os
import re
import signal
from collections.abc import Callable

from killpoints import losing
from killpoints.operations import Operation
from killpoints.world import Hung, Told, World

_STRACE = ("strace", "-qq", "-e", "signal=none")
_OPENS, _WRITES = ("open", "openat", "creat"), ("write", "pwrite64", "writev")
_SYNCS = ("fsync", "fdatasync", "syncfs")
_NAMES = ("rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "mkdir", "mkdirat")
_GONE = ("unlink", "unlinkat", "rmdir", "ftruncate", "truncate", "chmod", "fchmod", "flock")
_PROCESSES = ("vfork", "fork", "clone", "clone3", "execve", "wait4", "kill", "pipe2")
_READS = ("read", "pread64", "readlink", "getdents64", "stat", "newfstatat")
_COUNTED = (*_OPENS, *_WRITES, *_SYNCS, *_NAMES, *_GONE, *_PROCESSES, *_READS)
KINDS = {
    "kill": (*_OPENS, *_WRITES, *_SYNCS, *_NAMES, *_GONE, *_PROCESSES),
    "ENOSPC": (*_OPENS, *_WRITES, *_SYNCS, *_NAMES, "ftruncate"),
    "EIO": (*_OPENS, *_WRITES, *_SYNCS, *_NAMES, *_GONE, "read", "pread64", "readlink", "getdents64"),
}
CUTS = {"cut, names kept": "names", "cut, all lost": "all", "cut, some lost": "some"}


@dataclasses.dataclass(frozen=True)
class Point:
    """One place of one operation. `call` is empty for a change of the disk; `number` counts from 1."""

    fault: str
    call: str
    number: int

    def __str__(self) -> str:
        return f"{self.call or 'change'}:{self.number}"


@dataclasses.dataclass(frozen=True)
class Counted:
    """All points of one fault, and of how many calls they were chosen."""

    fault: str
    calls: int
    points: tuple[Point, ...]


def rehearse(world: World, operation: Operation) -> list[str]:
    """What an operation leaves undone when nothing disturbs it: then its points would show nothing."""
    world.put_back()
    told = operation.go(world)
    return operation.reached(world, told) + operation.look(world, told) + operation.again(world)


def count(world: World, operation: Operation) -> list[Counted]:
    """Run an operation once without a fault and find its points. The world is put back by whoever runs a point."""
    calls = _trace(world, operation)
    found = [Counted(f"strace: {kind}", len(calls), _points(calls, kind, str(world.disk))) for kind in KINDS]
    if losing.missing():
        return found
    world.put_back(disk=False)
    mounted = losing.mount(losing.load(world.kept / "disk"), world.disk)
    operation.go(world)
    _, changes, _ = mounted.take_out()
    faults = [*CUTS, "disk: ENOSPC", "disk: EIO"]
    numbers = range(1, changes + 1)
    return found + [Counted(each, changes, tuple(Point(each, "", number) for number in numbers)) for each in faults]


def run(world: World, operation: Operation, point: Point) -> list[str]:
    """Cut an operation short at a point. Returns what did not hold then, or after the next run."""
    try:
        return _on_the_layer(world, operation, point) if not point.call else _traced(world, operation, point)
    except Hung as error:
        return [str(error)]
    finally:
        losing.kill_below(os.getpid())


def _traced(world: World, operation: Operation, point: Point) -> list[str]:
    world.put_back()
    kind = point.fault.removeprefix("strace: ")
    what = "signal=SIGKILL" if kind == "kill" else f"error={kind}"
    inject = f"inject={point.call}:{what}:when={point.number}"
    trace = ("-o", "/dev/null", "-e", f"trace={point.call}", "-e", inject)
    told = operation.go(world, (*_STRACE, *trace))
    return _judge(world, operation, told, was_killed=told.code in (-signal.SIGKILL, 128 + signal.SIGKILL))


def _on_the_layer(world: World, operation: Operation, point: Point) -> list[str]:
    world.put_back(disk=False)
    error = 0 if point.fault in CUTS else getattr(errno, point.fault.removeprefix("disk: "))
    mounted = losing.mount(losing.load(world.kept / "disk"), world.disk, losing.Fault(point.number, error))
    try:
        told = operation.go(world)
    finally:
        losing.kill_below(os.getpid(), spare=mounted.pid)
        left, _, met = mounted.take_out(cut=CUTS.get(point.fault, ""))
    if not error:
        world.boots("after the cut")
    again = losing.mount(left, world.disk)
    try:
        return _judge(world, operation, told, was_killed=met and not error)
    finally:
        losing.kill_below(os.getpid(), spare=again.pid)
        again.take_out()


def _judge(world: World, operation: Operation, told: Told, *, was_killed: bool) -> list[str]:
    broken = operation.look(world, told)
    if "Traceback" in told.err and not was_killed and operation.speaks:
        broken.append(f"a trace: {told.err.strip().splitlines()[-1][:200]}")
    return broken + operation.again(world)


def _trace(world: World, operation: Operation) -> list[tuple[str, str]]:
    """The agent's own calls in order: name and line."""
    world.put_back()
    file = world.root / "trace"
    operation.go(world, (*_STRACE, "-y", "-s", "200", "-o", str(file), "-e", f"trace={','.join(_COUNTED)}"))
    lines = file.read_text(errors="replace").splitlines()
    return [(found[1], line) for line in lines if (found := re.match(r"(\w+)\(", line))]


def _points(calls: list[tuple[str, str]], kind: str, disk: str) -> tuple[Point, ...]:
    """The calls that can change something for this fault, from the first that touches the machine's disk.

    strace counts each call by its name. A read of the interpreter's own files changes nothing, and one that fails there
    is no fault of that disk.
    """
    wanted, judge = KINDS[kind], _CHOSEN[kind]
    seen: collections.Counter[str] = collections.Counter()
    points, begun = [], False
    for name, line in calls:
        seen[name] += 1
        begun = begun or (name != "execve" and disk in line)
        if begun and name in wanted and judge(name, line, disk):
            points.append(Point(f"strace: {kind}", name, seen[name]))
    return tuple(points)


def _kills(name: str, line: str, _disk: str) -> bool:
    return name not in _OPENS or "O_CREAT" in line or "O_TRUNC" in line


def _fills(name: str, line: str, disk: str) -> bool:
    return disk in line and (name not in _OPENS or "O_CREAT" in line)


def _breaks(_name: str, line: str, disk: str) -> bool:
    return disk in line


_CHOSEN: dict[str, Callable[[str, str, str], bool]] = {"kill": _kills, "ENOSPC": _fills, "EIO": _breaks}
