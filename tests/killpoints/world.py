"""One machine for the kill points: its disk can be put back; origin, database and what is counted lie outside of it."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from killpoints.losing import kill_below
from wakeline.core.order import Health, Order, Service, Step

SOURCE = Path(__file__).parents[2] / "src"
GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main")
LIMIT_S = 120.0
_AGENT = Path(__file__).parent / "agent_after_a_boot.py"
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER: what a killed agent leaves behind comes to us


class Hung(AssertionError):
    """A run that did not end."""


@dataclasses.dataclass(frozen=True)
class Told:
    """What a run of the agent said, and how it ended."""

    code: int
    events: tuple[dict[str, Any], ...]
    err: str

    @property
    def outcome(self) -> str:
        """The agent's last word, or nothing when it was cut short."""
        last = self.events[-1] if self.events else {}
        return str(last.get("outcome", "")) if last.get("event") == "finished" else ""

    @property
    def cause(self) -> str:
        return str(self.events[-1].get("cause", "")) if self.events else self.err[-400:]


class World:
    """Everything of one worker. Paths stay the same for every point: release folders name their own place."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.disk, self.outside, self.kept = root / "disk", root / "outside", root / "kept"
        self.home, self.path, self.folder = self.disk / "home", self.disk / "app", self.disk / "home/shop/uat"
        self.origin, self.work = self.outside / "origin.git", root / "work"
        self.environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(root)}
        self.environment["PYTHONPATH"] = self.environment["KILLPOINTS_SOURCE"] = str(SOURCE)
        self.boots("before the fault")
        for folder in (self.disk, self.outside):
            folder.mkdir(parents=True)
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
        self.git("init", "-q", "--bare", str(self.origin), at=root)
        self.git("init", "-q", str(self.work), at=root)
        self.claims = 0

    # --- what is deployed ---

    def git(self, *arguments: str, at: Path) -> str:
        return subprocess.run([*GIT, *arguments], cwd=at, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, text: str) -> str:
        for name, content in {"app.txt": text, "packages.lock": "1", "media/a": "a"}.items():
            (self.work / name).parent.mkdir(exist_ok=True)
            (self.work / name).write_text(content)
        self.git("add", "-A", at=self.work)
        self.git("commit", "-q", "--allow-empty", "-m", text, at=self.work)
        self.git("push", "-q", str(self.origin), "HEAD:refs/heads/main", at=self.work)
        return self.git("rev-parse", "HEAD", at=self.work)

    def order(self, release: int, commit: str, **more: Any) -> Order:
        """A release with everything in it: shared paths, a cached step, a plain one, a service with its health."""
        head = {"app": "shop", "environment": "uat", "machine": "web", "stage": "all", "release": release}
        place = {"commit": commit, "git": str(self.origin), "branch": "main", "path": str(self.path)}
        steps = (
            Step("packages", "echo made >vendor/made", inputs=("packages.lock",), outputs=("vendor",)),
            Step("pages", "cp app.txt page.html"),
        )
        served = f"cp app.txt {self.outside}/served"
        healthy = Health(run=f"cmp -s app.txt {self.outside}/served", within_s=10.0)
        service = Service("web", restart=served, stop="true", health=healthy)
        facts = {"steps": steps, "services": (service,), "shared": ("media",), "keep": 2, **more}
        return Order(**{**head, **place, **facts})

    def once(self) -> Step:
        """A migration whose starts are counted in a database that no fault reaches."""
        run = f'echo "$WAKELINE_CLAIM" >>{self.outside}/starts; echo did >>{self.outside}/database'
        return Step("migrate", run, once=True, verify=f"grep -q did {self.outside}/database || exit 10")

    @property
    def starts(self) -> list[str]:
        counted = self.outside / "starts"
        return counted.read_text().split() if counted.exists() else []

    # --- the disk, put back ---

    def keep(self) -> None:
        """Remember disk and outside as they are now."""
        shutil.rmtree(self.kept, ignore_errors=True)
        for place in (self.disk, self.outside):
            subprocess.run(["cp", "-a", place, f"{self.kept}-new-{place.name}"], check=True)
        self.kept.mkdir()
        for place in (self.disk, self.outside):
            Path(f"{self.kept}-new-{place.name}").rename(self.kept / place.name)

    def put_back(self, *, disk: bool = True) -> None:
        """The world as it was kept. `disk` false leaves its place empty, for a disk that is mounted there."""
        kill_below(os.getpid())
        self.boots("before the fault")
        for place in (self.disk, self.outside):
            _remove(place)
            if disk or place != self.disk:
                subprocess.run(["cp", "-a", self.kept / place.name, place], check=True)
            else:
                place.mkdir()

    def boots(self, boot_id: str) -> None:
        """The machine was cut and is on again: another boot."""
        self.environment["KILLPOINTS_BOOT"] = boot_id

    # --- the agent ---

    def agent(self, *arguments: str) -> list[str]:
        return [sys.executable, "-S", str(_AGENT), "--home", str(self.home), *arguments]

    def run(
        self, order: Order, *, under: Sequence[str] = (), fence: int = 1, ahead: bool = False, pack: str = ""
    ) -> Told:
        """Push an order as a runner does; a claim that is wanted is given. With `ahead` it is prepared before."""
        words = [{"do": "run", "order": order.to_json(), "fence": fence}]
        if ahead:
            words.insert(0, {**words[0], "do": "prepare", "pack": pack})
        lines = b"".join(json.dumps(word).encode() + b"\n" for word in words)
        return self.talk([*under, *self.agent("run")], lines)

    def talk(self, argv: Sequence[str], words: bytes = b"", *, ends: bool = False) -> Told:
        """Run a process to its end and hear it; `ends` says that nothing comes after the words. Raises Hung."""
        with (self.root / "err").open("w+b") as err:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=err,
                env=self.environment,
                cwd="/",
                start_new_session=True,
            )
            assert process.stdin is not None
            _say(process, words, ends=ends)
            events = []
            for line in self._lines(process):
                with contextlib.suppress(ValueError):  # a line that was cut off by its end
                    events.append(json.loads(line))
                    if events[-1].get("event") == "claim_wanted":
                        self.claims += 1
                        claim = {"do": "claimed", "step": events[-1]["step"], "claim": f"c{self.claims}"}
                        _say(process, json.dumps(claim).encode() + b"\n")
            code = self._end(process)
            with contextlib.suppress(BrokenPipeError):  # the words of one that was killed
                process.stdin.close()
            err.seek(0)
            return Told(code, tuple(events), err.read().decode(errors="replace"))

    def _end(self, process: subprocess.Popen[bytes]) -> int:
        try:
            return process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            kill_below(os.getpid(), spare=-1)
            raise Hung(f"it said its last word and did not end within {LIMIT_S:g} s") from None

    def _lines(self, process: subprocess.Popen[bytes]) -> Iterator[bytes]:
        assert process.stdout is not None
        ends, rest = time.monotonic() + LIMIT_S, b""
        with process.stdout as stream:
            while True:
                if not select.select([stream], [], [], max(0.0, ends - time.monotonic()))[0]:
                    kill_below(os.getpid(), spare=-1)
                    raise Hung(f"it did not end within {LIMIT_S:g} s")
                data = os.read(stream.fileno(), 1 << 16)
                if not data:
                    return
                *lines, rest = (rest + data).split(b"\n")
                yield from lines

    def status(self) -> list[dict[str, Any]]:
        """What the machine says of itself. Raises AssertionError when it cannot."""
        done = subprocess.run(
            self.agent("status"), env=self.environment, capture_output=True, check=False, timeout=LIMIT_S
        )
        assert done.returncode == 0, f"status: exit {done.returncode}: {done.stderr.decode()[-300:]}"
        return list(json.loads(done.stdout))


def _say(process: subprocess.Popen[bytes], words: bytes, *, ends: bool = False) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it has been killed: that is what we are here for
        process.stdin.write(words)
        process.stdin.flush()
        if ends:
            process.stdin.close()


def _remove(place: Path) -> None:
    if place.is_dir():
        subprocess.run(["chmod", "-R", "u+rwX", place], check=False, capture_output=True)
        subprocess.run(["rm", "-rf", place], check=True)
