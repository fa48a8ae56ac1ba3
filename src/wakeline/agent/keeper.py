"""Keeps a once-step company to its end, whatever becomes of the agent that started it.

Laws that live here:

- Law 4: a running once-step is never signalled, not at its time limit and not when the agent is killed. The keeper is a
  session of its own: it reads the command's output, writes its log, and puts on disk how it ended. So a machine can say
  of each claim whether its command runs, has ended, or nobody knows.

A lock file says that it runs: the agent takes it, every process that the command starts inherits it, and it is free
when the last of them has ended. `started` is on disk before the command is, so that a free lock without it means: never
started. The agent hands over the environment on stdin: not in argv, not on disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from wakeline.agent import child, durable, lock, wire
from wakeline.agent.environment import Environment
from wakeline.agent.home import file_name
from wakeline.agent.journal import Journal

RUNNING, ENDED, NOT_STARTED, NOBODY_KNOWS = "running", "ended", "not-started", "nobody-knows"
_CARRIED = b"WAKELINE_CLAIM="
_FOR_EVER_S = 10 * 365 * 86400.0
_KEEPERS_MOST = 4  # what it hands on is cut already, and a byte that is no text has become three


class Kept(NamedTuple):
    """One claim's folder on the machine."""

    folder: Path

    @property
    def exit(self) -> int | None:
        """How the command ended, or None while it runs and when nobody knows."""
        code = durable.read_json(self.folder / "result.json").get("exit")
        return code if isinstance(code, int) else None

    def state(self, *, carried: Collection[str]) -> str:
        """Whether the command, with everything that it started, still runs. `carried` are `claims_of_processes()`."""
        if not lock.is_free(self.folder / "running") or self.folder.name in carried:
            return RUNNING
        if not (self.folder / "started").exists():
            return NOT_STARTED
        return ENDED if self.exit is not None else NOBODY_KNOWS


def claims_of_processes() -> frozenset[str]:
    """The claims that processes of this machine carry in their environment, as the names of their folders.

    One that closed the lock it inherited is found by it. Seen: Python starts children with all descriptors closed, so a
    migration's own children do not hold the lock.
    """
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's: ours are the deploy user's own
            said = (process / "environ").read_bytes()
            values = (value for value in said.split(b"\0") if value.startswith(_CARRIED))
            found |= {file_name(value[len(_CARRIED) :].decode("utf-8", "replace")) for value in values}
    return frozenset(found)


def kept(home: Path, claim: str) -> Kept:
    """The folder of a claim below an app's home."""
    return Kept(home / "once" / file_name(claim))


def claims(home: Path, journal: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every once-step that was started here, oldest first, with what became of its command."""
    started = [entry for entry in journal if entry["what"] == "once-started" and isinstance(entry.get("claim"), str)]
    found: list[dict[str, Any]] = []
    carried = claims_of_processes() if started else frozenset()
    for entry in started:
        place = kept(home, entry["claim"])
        facts = {key: entry.get(key) for key in ("claim", "step", "release")}
        found.append({**facts, "state": place.state(carried=carried), "exit": place.exit})
    return found


def start(
    place: Kept,
    *,
    command: str,
    cwd: Path,
    environment: Environment,
    log: Path,
    timeout_s: float,
    on_line: Callable[[bytes], None],
    keep_fds: Sequence[int] = (),
) -> child.Ended:
    """Start a command with a keeper and follow it. After `timeout_s` it is left to itself, and `why` says so.

    `keep_fds` stay open for as long as a process of the command runs.
    """
    durable.make_folder(place.folder, mode=0o700)
    values = {"values": dict(environment.values), "secrets": list(environment.secrets)}
    held = os.open(place.folder / "running", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    spec = {
        "held": [held, *keep_fds],
        "folder": str(place.folder),
        "command": command,
        "cwd": str(cwd),
        "log": str(log),
        **values,
    }
    package = Path(__file__).parents[2]
    code = f"import sys; sys.path.insert(0, {str(package)!r}); from wakeline.agent.keeper import main; main()"
    try:
        ended = child.run(
            [sys.executable, "-I", "-c", code],
            cwd=Path("/"),
            env={"LANG": "C.UTF-8", "PATH": os.defpath},
            timeout_s=timeout_s,
            on_line=on_line,
            keep_fds=(held, *keep_fds),
            feed=json.dumps(spec).encode(),
            spare=True,
            whole_bytes=_KEEPERS_MOST * child.WHOLE_BYTES,
        )
    finally:
        os.close(held)
    code_of_command = place.exit
    if code_of_command is None:
        return ended._replace(exit=ended.exit or 1, why=ended.why or "its keeper died")
    return ended._replace(exit=code_of_command)


def main() -> None:
    """The keeper itself: a process of its own, told what to do on stdin."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _not_now)  # a handler, not SIG_IGN: that would be inherited by the command
    spec: Mapping[str, Any] = json.loads(sys.stdin.buffer.read())
    folder = Path(spec["folder"])
    environment = Environment(spec["values"], tuple(spec["secrets"]))
    durable.make_folder(Path(spec["log"]).parent, mode=0o700)
    log = os.open(spec["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def on_line(raw: bytes) -> None:
        text = environment.mask(wire.clean(raw, limit=4 * wire.LINE_MAX))[: wire.LINE_MAX]
        data = text.encode("utf-8", "replace") + b"\n"
        for fd in (log, sys.stdout.fileno()):
            with contextlib.suppress(OSError):  # a full disk, or an agent that was killed: the command goes on
                os.write(fd, data)

    durable.write_bytes(folder / "started", b"")
    ended = child.run(
        ["/bin/sh", "-c", spec["command"]],
        cwd=Path(spec["cwd"]),
        env=environment.values,
        timeout_s=_FOR_EVER_S,
        on_line=on_line,
        keep_fds=tuple(int(fd) for fd in spec["held"]),
        spare=True,
    )
    durable.write_json(folder / "result.json", {"exit": ended.exit, "seconds": round(ended.seconds, 3)})


def _not_now(_number: int, _frame: Any) -> None:
    """A signal to the keeper is no reason to leave its command alone."""


def still_running(home: Path, journal: Journal) -> str:
    """The claim of a once-step that was started here and has not ended, or nothing."""
    return next((each["claim"] for each in claims(home, journal.entries) if each["state"] == RUNNING), "")
