"""Runs the ordinary steps of an order, each with its log on this machine; skips what its inputs say is unchanged."""

from __future__ import annotations

import collections
import contextlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from wakeline.agent import cache, child, durable, wire
from wakeline.agent.environment import Environment, explain_not_found
from wakeline.agent.home import Home
from wakeline.agent.journal import Journal
from wakeline.core.order import Order, Step
from wakeline.errors import Interrupted, RolloutFailed

_TAIL = 15
_NOT_FOUND = 127
_NOT_EXECUTABLE = 126


class Bench(NamedTuple):
    """What every command of one order needs: its environment, where it is told about, and where it runs."""

    order: Order
    home: Home
    channel: wire.Channel
    journal: Journal
    environment: Environment
    folder: Path


class CommandEnded(NamedTuple):
    """How one command ended. `cause` is for a person, empty when it passed."""

    exit: int
    seconds: float
    cause: str = ""
    timed_out: bool = False


class Told:
    """What a command says, cleaned and masked: told to the runner, its last lines kept for the cause."""

    def __init__(self, bench: Bench, name: str) -> None:
        self._bench = bench
        self._name = name
        self._tail: collections.deque[str] = collections.deque(maxlen=_TAIL)

    def line(self, raw: bytes) -> None:
        """One line of its output."""
        self.text(raw)

    def text(self, raw: bytes) -> str:
        """One line of its output; returns it as it was told."""
        text = self._bench.environment.mask(wire.clean(raw, limit=4 * wire.LINE_MAX))[: wire.LINE_MAX]
        self._tail.append(text)
        self._bench.channel.send("output", step=self._name, text=text)
        return text

    def ended(self, command: str, ended: child.Ended) -> CommandEnded:
        """How it ended, in words where it did not end well."""
        values = self._bench.environment.values
        cause = _cause(self._name, command, ended=ended, tail=self._tail, values=values)
        return CommandEnded(ended.exit, ended.seconds, cause, timed_out=ended.timed_out)


def applies(step: Step, order: Order) -> bool:
    """True when a step is for one of this machine's roles."""
    return not step.roles or bool(set(step.roles) & set(order.roles))


def run_all(bench: Bench) -> list[str]:
    """Run the ordinary steps in order. Returns the cache folders that the release links to."""
    links = []
    for step in bench.order.steps:
        if not step.once and applies(step, bench.order):
            link = _run_one(bench, step)
            links += [link] if link else []
    return links


def run_command(
    bench: Bench,
    name: str,
    command: str,
    *,
    timeout_s: float,
    more: Mapping[str, str] | None = None,
    may_stop: bool = True,
    on_start: Callable[[int], None] | None = None,
    leaves_behind: bool = False,
    on_text: Callable[[str], object] | None = None,
) -> CommandEnded:
    """Run one shell command of the fleet file, with its output streamed and kept. Raises Interrupted on a stop.

    `on_text` hears each line as it was told.
    """
    values = bench.environment.plus(**dict(more or {}))
    told = Told(bench, name)
    with _Log(bench, name) as log:

        def on_line(raw: bytes) -> None:
            text = told.text(raw)
            log.add(text)
            if on_text is not None:
                on_text(text)

        ended = child.run(
            ["/bin/sh", "-c", command],
            cwd=bench.folder,
            env=values,
            timeout_s=timeout_s,
            on_line=on_line,
            on_start=on_start,
            stop_fd=bench.channel.wake_fd if may_stop else -1,
            leaves_behind=leaves_behind,
        )
        log.add(f"[{name} ended with exit {ended.exit} after {ended.seconds:.1f} s] {ended.why}".rstrip())
    if bench.channel.stopping and may_stop and ended.why:
        raise Interrupted(f"stopped in {name}: {bench.channel.stopping}")
    return told.ended(command, ended)


def _run_one(bench: Bench, step: Step) -> str:
    """Run one step or link what it made before. Returns the cache folder's name, if it has one."""
    if bench.channel.stopping:
        raise Interrupted(f"stopped before {step.name}: {bench.channel.stopping}")
    bench.channel.send("step_started", step=step.name)
    key = cache.key_of(step, release=bench.folder, values=bench.environment.values) if step.inputs else ""
    if step.outputs and key and bench.order.layout.value != "in-place":
        return _run_cached(bench, step, key)
    memory = _Memory(bench)
    if key and memory.has(step, key):
        _say_skipped(bench, step, "its inputs are unchanged")
        return ""
    why = "its inputs changed" if key else ("its inputs match no file" if step.inputs else "it has no inputs")
    memory.forget(step)
    _run_or_fail(bench, step, why=why, more={})
    if key:
        memory.remember(step, key)
    return ""


def _run_cached(bench: Bench, step: Step, key: str) -> str:
    store = cache.Cache(Path(bench.order.path))
    entry, unshared = store.find(key)
    if entry is not None:
        cache.link_outputs(step, entry=entry, release=bench.folder)
        _say_skipped(bench, step, f"its inputs are unchanged; {', '.join(step.outputs)} linked")
        return entry.name
    entry = store.begin(key, release=bench.order.release)
    cache.offer_places(step, entry=entry, release=bench.folder)
    places = [str(entry.place(output)) for output in step.outputs]
    more = {"WAKELINE_OUTPUT": places[0], "WAKELINE_OUTPUTS": os.pathsep.join(places)}
    if step.outputs[0].endswith("venv"):
        more["UV_PROJECT_ENVIRONMENT"] = places[0]
    why = f"its inputs are unchanged, but {unshared}" if unshared else "its inputs changed"
    _run_or_fail(
        bench, step, why=why, more=more, finish=lambda: store.finish(entry, key=key, step=step, release=bench.folder)
    )
    return entry.name


def _run_or_fail(
    bench: Bench, step: Step, *, why: str, more: Mapping[str, str], finish: Callable[[], str] | None = None
) -> None:
    bench.journal.write("step", release=bench.order.release, step=step.name)
    ended = run_command(bench, step.name, step.run, timeout_s=step.timeout_s, more=more)
    cause = ended.cause
    if not cause and finish is not None:
        try:
            unshared = finish()
            why = f"{why}; {unshared}" if unshared else why
        except RolloutFailed as error:
            cause = f"{step.name}: {error.message}"
    facts = {"step": step.name, "ran": True, "ok": not cause, "why": cause or why}
    bench.channel.send("step_finished", **facts, seconds=round(ended.seconds, 3), exit=ended.exit)
    if cause:
        raise RolloutFailed(cause)


def _say_skipped(bench: Bench, step: Step, why: str) -> None:
    bench.channel.send("step_finished", step=step.name, ran=False, ok=True, why=why, seconds=0.0, exit=0)


def _cause(
    name: str, command: str, *, ended: child.Ended, tail: collections.deque[str], values: Mapping[str, str]
) -> str:
    if ended.exit == 0 and not ended.why:
        return ""
    last = "\n".join(line for line in tail if line.strip())
    said = f"\n{last}" if last else ""
    if ended.why:
        return f"{name}: {ended.why}{said}"
    if ended.exit in (_NOT_FOUND, _NOT_EXECUTABLE):
        return f"{name}: command not found: {explain_not_found(command, values=values)}{said}"
    how = f"signal {-ended.exit}" if ended.exit < 0 else f"exit {ended.exit}"
    return f"{name}: {how}{said}"


class _Memory:
    """Which inputs each step without outputs last passed with on this machine."""

    def __init__(self, bench: Bench) -> None:
        self._path = bench.home.folder / "steps.json"

    def has(self, step: Step, key: str) -> bool:
        return durable.read_json(self._path).get(step.name) == key

    def forget(self, step: Step) -> None:
        known = durable.read_json(self._path)
        if known.pop(step.name, None) is not None:
            durable.write_json(self._path, known)

    def remember(self, step: Step, key: str) -> None:
        durable.write_json(self._path, {**durable.read_json(self._path), step.name: key})


class _Log:
    """The log of a step on this machine. A full disk costs the log, not the step."""

    def __init__(self, bench: Bench, name: str) -> None:
        self._path = bench.home.log(bench.order.release, name)
        self._fd = -1

    def __enter__(self) -> _Log:
        with contextlib.suppress(OSError):  # told by the step's own output; see the class's text
            durable.make_folder(self._path.parent, mode=0o700)
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.add(time.strftime("[%Y-%m-%dT%H:%M:%SZ]", time.gmtime()))
        return self

    def __exit__(self, *_problem: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def add(self, line: str) -> None:
        if self._fd >= 0:
            with contextlib.suppress(OSError):  # same
                os.write(self._fd, line.encode("utf-8", "replace") + b"\n")
