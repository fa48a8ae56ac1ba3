"""A fleet without a network: one folder as the machine, a git remote on disk, and the command as a user has it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from bench.environments import ensure_ours
from bench.tools import environment

_FILE = """\
app = "shop"
environment = "uat"
git = "{root}/remote.git"

[deploy]
path = "./app"

[[stage]]
name = "only"
[[stage.machine]]
name = "one"
address = "local:{root}/machine"
presence = "on-demand"

[[service]]
name = "app"
restart = "true"
health = {{ run = "true", within = "5s" }}
"""
LOG = "refs/wakeline/shop/uat/log"


class LocalFleet:
    """Deploys once when it is made, so that there is a release."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.checkout = root / "checkout"
        self.bin = ensure_ours()
        self.remote = root / "remote.git"
        (root / "machine").mkdir()
        self.git("init", "-q", "--bare", "-b", "main", str(self.remote), at=root)
        self.git("init", "-q", "-b", "main", str(self.checkout), at=root)
        self.git("config", "user.name", "Ann")
        self.git("config", "user.email", "ann@localhost")
        (self.checkout / "wakeline.toml").write_text(_FILE.format(root=root))
        self.deploy("one", setup=True)

    def switch(self, *, off: bool) -> None:
        """The machine's power switch."""
        place = self.root / "machine" / "asleep"
        place.touch() if off else place.unlink(missing_ok=True)

    def deploy(self, version: str, *, setup: bool = False) -> None:
        (self.checkout / "VERSION").write_text(f"{version}\n")
        self.git("add", "-A")
        self.git("commit", "-q", "-m", version)
        self.git("push", "-q", str(self.remote), "HEAD:main")
        if setup:
            self.wakeline("setup", "--unsigned")
        self.wakeline("deploy")

    def wakeline(self, *arguments: str, env: Mapping[str, str] | None = None) -> str:
        return self.run([str(self.bin / "wakeline"), *arguments], env=env)

    def run(self, command: list[str], *, env: Mapping[str, str] | None = None) -> str:
        given = {**self.environment, **(env or {})}
        done = subprocess.run(command, cwd=self.checkout, env=given, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}{done.stdout}"
        return done.stdout

    def seconds(self, command: list[str], *, env: Mapping[str, str] | None = None) -> float:
        """How long a command takes."""
        began = time.monotonic()
        self.run(command, env=env)
        return time.monotonic() - began

    @property
    def environment(self) -> dict[str, str]:
        return environment(XDG_CACHE_HOME=str(self.root / "cache"), NO_COLOR="1", PATH=os.environ["PATH"])

    def git(self, *arguments: str, at: Path | None = None, feed: bytes | None = None) -> str:
        command = ["git", *arguments]
        return subprocess.run(
            command, cwd=at or self.checkout, input=feed, capture_output=True, check=True
        ).stdout.decode()
