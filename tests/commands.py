"""The command as a user calls it, in a checkout: to its end, or left running for a while."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any


@dataclasses.dataclass
class Said:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> dict[str, Any]:
        return json.loads(self.out)["data"]


class Commands:
    """`wakeline …`, called in `app` with `environment`."""

    def __init__(self, app: Path, environment: dict[str, str]) -> None:
        self.app = app
        self.environment = environment
        self.begun: list[subprocess.Popen[str]] = []

    def wakeline(self, *arguments: str, limit_s: float = 180.0, at: Path | None = None) -> Said:
        command = [sys.executable, "-m", "wakeline", *arguments]
        done = subprocess.run(
            command,
            cwd=at or self.app,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the command and leave it running."""
        command = [sys.executable, "-m", "wakeline", *arguments]
        pipe = subprocess.PIPE
        begun = subprocess.Popen(command, cwd=self.app, env=self.environment, stdout=pipe, stderr=pipe, text=True)
        self.begun.append(begun)
        return begun

    def end_what_runs(self) -> None:
        """What a story that failed has left running would trouble the stories after it."""
        for each in self.begun:
            with each:  # closes its pipes, and waits
                each.kill()
