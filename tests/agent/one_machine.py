"""One machine in a folder, with a bare repository as its origin, and the real agent as a process that is talked to."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from wakeline.core.order import Health, Order, Service, Step

LIMIT_S = 120
PROMISED = ((3, 9), (3, 13))
GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main")


@functools.cache
def pythons() -> list[str]:
    """Every interpreter here that the agent must run on: the running one, and the oldest and the newest that there are.

    Debian 12's pypy3 is Python 3.9; CPython comes from PATH or from pyenv's folder.
    """
    versions = Path.home() / ".pyenv" / "versions"
    found = [sys.executable]
    for wanted, names in zip(PROMISED, (("python3.9", "pypy3", "pypy3.9"), ("python3.13",))):
        places = [shutil.which(name) for name in names]
        places += sorted(str(each / "bin" / "python") for each in versions.glob(f"{wanted[0]}.{wanted[1]}.*"))
        ours = [each for each in places if each and version_of(each)[1] == wanted]
        found += list({version_of(each)[0]: each for each in ours}.values())
    return found


@functools.cache
def version_of(python: str) -> tuple[str, tuple[int, ...]]:
    """What an interpreter calls itself, and its version; nothing for what does not start."""
    asks = "import platform, sys; print(platform.python_implementation(), *sys.version_info[:3])"
    done = subprocess.run([python, "-c", asks], capture_output=True, text=True, check=False)
    name, *numbers = done.stdout.split() or ["nothing", "0", "0"]
    return f"{name} {'.'.join(numbers)}", tuple(map(int, numbers[:2]))


def name_of(python: str) -> str:
    """How a test names an interpreter."""
    return version_of(python)[0].replace(" ", "-")


class Talk:
    """A running agent. Claims are given at once unless `claims` is false."""

    def __init__(self, process: subprocess.Popen, *, claims: bool = True) -> None:
        self.process = process
        self.events: list[dict] = []
        self._claims = claims
        self._changed = threading.Condition()
        self._given = 0
        self._hung_up, self._hang_up = os.pipe()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def say(self, **word) -> None:
        self.process.stdin.write(json.dumps(word).encode() + b"\n")
        self.process.stdin.flush()

    def hang_up(self) -> None:
        """The connection is lost: nobody writes and nobody reads any more."""
        os.close(self._hang_up)
        self._hang_up = -1
        self._reader.join(timeout=LIMIT_S)
        self.process.stdin.close()
        self.process.stdout.close()

    def wait_for(self, kind: str, **facts) -> dict:
        def found():
            return next((e for e in self.events if e["event"] == kind and facts.items() <= e.items()), None)

        with self._changed:
            if not self._changed.wait_for(lambda: found() or self.is_over, timeout=LIMIT_S) or not found():
                raise AssertionError(f"no {kind} {facts} in {json.dumps(self.events, indent=1)}")
            return found()

    def end(self) -> dict:
        """The last event, when the agent has ended."""
        self.process.wait(timeout=LIMIT_S)
        self._reader.join(timeout=LIMIT_S)
        for stream in (self.process.stdin, self.process.stdout):
            if not stream.closed:
                stream.close()
        for fd in (self._hung_up, self._hang_up):
            if fd != -1:
                os.close(fd)
        self._hung_up = self._hang_up = -1
        return self.events[-1] if self.events else {}

    def kinds(self) -> list[str]:
        return [event["event"] for event in self.events if event["event"] != "output"]

    def of(self, kind: str) -> list[dict]:
        return [event for event in self.events if event["event"] == kind]

    def text(self) -> str:
        return "\n".join(event["text"] for event in self.of("output"))

    @property
    def is_over(self) -> bool:
        return not self._reader.is_alive()

    def _read(self) -> None:
        fd, rest = self.process.stdout.fileno(), b""
        while self._hung_up not in select.select([fd, self._hung_up], [], [])[0]:
            data = os.read(fd, 65536)
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._hear(json.loads(line))
        with self._changed:
            self._changed.notify_all()

    def _hear(self, event: dict) -> None:
        if event["event"] == "claim_wanted" and self._claims:
            self._given += 1
            self.say(do="claimed", step=event["step"], claim=f"c{self.process.pid}-{self._given}")
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()


class Box:
    """One machine and the repository that it deploys from."""

    def __init__(self, root: Path, agent: Path) -> None:
        self.root, self.agent = root, agent
        self.origin, self.work = root / "origin.git", root / "work"
        self.home, self.path = root / "home", root / "app"
        self.started: list[subprocess.Popen] = []
        self.fence = 1
        git("init", "-q", "--bare", str(self.origin), at=root)
        git("init", "-q", str(self.work), at=root)

    def commit(self, message: str = "change", **files: str) -> str:
        """Files by name, `__` for a slash; returns the commit, which is on the origin's main."""
        for name, text in {"app.txt": message, **files}.items():
            place = self.work / name.replace("__", "/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        git("add", "-A", at=self.work)
        git("commit", "-q", "--allow-empty", "-m", message, at=self.work)
        git("push", "-q", str(self.origin), "HEAD:refs/heads/main", at=self.work)
        return git("rev-parse", "HEAD", at=self.work).strip()

    def order(self, release: int, commit: str, **more) -> Order:
        head = {"app": "shop", "environment": "uat", "machine": "web", "stage": "all", "release": release}
        place = {"commit": commit, "git": str(self.origin), "branch": "main", "path": str(self.path)}
        return Order(**{**head, **place, **more})

    def start(self, order: Order, **more) -> Talk:
        talk = self.open(**more)
        talk.say(do="run", order=order.to_json(), fence=self.fence)
        return talk

    def open(self, *, claims: bool = True, python: str = sys.executable, **environment: str) -> Talk:
        """An agent that waits for a word."""
        process = subprocess.Popen(
            [python, str(self.agent), "--home", str(self.home), "run"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        self.started.append(process)
        return Talk(process, claims=claims)

    def run(self, order: Order, **more) -> Talk:
        talk = self.start(order, **more)
        talk.end()
        return talk

    def current(self) -> int | None:
        link = self.path / "current"
        return int(link.readlink().name) if link.is_symlink() else None

    def text(self, name: str = "current/app.txt") -> str:
        return (self.path / name).read_text()

    def journal(self) -> list[dict]:
        return [json.loads(line) for line in (self.home / "shop/uat/journal.jsonl").read_text().splitlines()]

    def end_all(self) -> None:
        for process in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            for stream in (process.stdin, process.stdout):
                if not stream.closed:
                    stream.close()


def processes(text: str) -> list[str]:
    """The arguments of every process that has this text in them."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            words = place.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            found += [words] if text in words else []
    return found


def git(*arguments: str, at: Path) -> str:
    return subprocess.run([*GIT, *arguments], cwd=at, check=True, capture_output=True, text=True).stdout


def until(look, what: str, limit_s: float = LIMIT_S):
    """Look until it is true, within a limit."""
    ends = time.monotonic() + limit_s
    while not (found := look()):
        assert time.monotonic() < ends, f"not within {limit_s} s: {what}"
        time.sleep(0.02)
    return found


def is_alive(pid: int) -> bool:
    """True for a process that runs; one that has ended and waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def step(name: str, run: str, **more) -> Step:
    return Step(name=name, run=run, **more)


def service(name: str, restart: str = "", **more) -> Service:
    return Service(name=name, restart=restart or f"cp app.txt ../../served-{name}", **more)


def healthy(run: str, within_s: float = 5.0) -> Health:
    return Health(run=run, within_s=within_s)
