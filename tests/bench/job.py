"""The job that every tool does: a small application of 201 files and 2.2 MB, its commits, and what must hold."""

from __future__ import annotations

import base64
import dataclasses
import random
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path

from bench.machines import folder_of
from machines.machine import Machine

FILES = 201
SIZE = 2_200_000
KEEP = 5
CHANGED = 3
_SERVER = '''\
"""Says the version that lies beside it, as it was when this process began."""

import socket
import sys

with open("VERSION") as file:
    version = file.read().strip()
server = socket.create_server(("0.0.0.0", int(sys.argv[1])), backlog=64)
while True:
    connection, _ = server.accept()
    with connection:
        connection.recv(4096)
        head = f"HTTP/1.0 200 OK\\r\\nContent-Length: {len(version)}\\r\\n\\r\\n"
        connection.sendall((head + version).encode())
'''


@dataclasses.dataclass(frozen=True)
class Commit:
    """One version of the application."""

    id: str
    version: str


class Application:
    """The application's repository: a checkout here, and the remote that machines fetch from.

    There are two remotes of equal commits: the other tools get one without the refs of wakeline's ledger, which a full
    mirror would bring along.
    """

    def __init__(self, checkout: Path, *, remotes: Path, url_of: Callable[[str], str], name: str = "app") -> None:
        self.checkout = checkout
        names = f"{name}.git", f"{name}-plain.git"
        self.url, self.plain_url = map(url_of, names)
        self._remotes = [remotes / each for each in names]
        self._number = 0
        self._random = random.Random(201)
        for remote in self._remotes:
            subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(remote)], check=True)
        checkout.mkdir(parents=True)
        self._git("init", "-q", "-b", "main")
        self._git("config", "user.name", "Ann")
        self._git("config", "user.email", "ann@localhost")
        (checkout / "server.py").write_text(_SERVER)

    def fill(self) -> None:
        """Make up as many files as are missing; what is there already counts."""
        have = len(self._tracked()) + 1  # VERSION comes with the first commit
        for number in range(FILES - have):
            place = self.checkout / f"app/part{number % 10}/file{number:03d}.py"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(self._text())

    def commit(self) -> Commit:
        """A code-only change, pushed: the version and a few files."""
        self._number += 1
        version = f"version-{self._number}"
        (self.checkout / "VERSION").write_text(f"{version}\n")
        for number in self._random.sample(range(FILES // 2), CHANGED):
            (self.checkout / f"app/part{number % 10}/file{number:03d}.py").write_text(self._text())
        self._git("add", "-A")
        self._git("commit", "-q", "-m", f"Version {self._number}")
        for remote in self._remotes:
            self._git("push", "-q", str(remote), "HEAD:main")
        return Commit(self._git("rev-parse", "HEAD"), version)

    def contents(self) -> dict[str, bytes]:
        """Every file of the newest commit."""
        return {name: (self.checkout / name).read_bytes() for name in self._tracked()}

    def _tracked(self) -> list[str]:
        self._git("add", "-A")
        return self._git("ls-files", "-z").strip("\0").split("\0")

    def _text(self) -> str:
        size = SIZE // FILES * 76 // 77 * 3 // 4  # base64 makes four bytes of three, and a line of 76
        return base64.encodebytes(self._random.randbytes(size)).decode()

    def _git(self, *arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=self.checkout, capture_output=True, text=True, check=True)
        return done.stdout.strip()


class Wrong(Exception):
    """A tool said that all is well, and a machine says otherwise."""


def check(machine: Machine, *, tool: str, port: int, commit: Commit, contents: dict[str, bytes]) -> None:
    """The right version answers, its files are those of the commit, and no more releases are kept than asked for."""
    with urllib.request.urlopen(f"http://{machine.address}:{port}/", timeout=5) as answer:
        said = answer.read().decode()
    where = f"{tool} on {machine.name}"
    if said != commit.version:
        raise Wrong(f"{where}: {said!r} answers, not {commit.version!r}")
    current = folder_of(machine, f"/opt/{tool}/current")
    differ = [name for name, wanted in contents.items() if _read(current / name) != wanted]
    if differ:
        raise Wrong(f"{where}: {len(differ)} files are not those of the commit: {differ[:3]}")
    releases = (machine.root / "opt" / tool / "releases").glob("[!.]*")  # with a dot: wakeline is just removing it
    kept = [each.name for each in releases if each.is_dir()]
    if len(kept) > KEEP:
        raise Wrong(f"{where}: keeps {len(kept)} releases: {sorted(kept)}")


def _read(place: Path) -> bytes | None:
    try:
        return place.read_bytes()
    except OSError:
        return None
