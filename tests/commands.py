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


class Begun(subprocess.Popen[str]):
    """A command that was left running, and what it has said by its end."""

    def __init__(self, command: list[str], *, heard: list[str], **how: Any) -> None:
        super().__init__(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how)
        self.heard = heard

    def communicate(self, *arguments: Any, **limits: Any) -> tuple[str, str]:
        out, err = super().communicate(*arguments, **limits)
        self.heard += [out, err]
        return out, err


class Commands:
    """`wakeline …`, called in `app` with `environment`. All that was said is in `heard`."""

    def __init__(self, app: Path, environment: dict[str, str]) -> None:
        self.app = app
        self.environment = environment
        self.begun: list[Begun] = []
        self.heard: list[str] = []

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
        self.heard += [done.stdout, done.stderr]
        return Said(done.returncode, done.stdout, done.stderr)

    def begin(self, *arguments: str) -> Begun:
        """Start the command and leave it running."""
        command = [sys.executable, "-m", "wakeline", *arguments]
        begun = Begun(command, heard=self.heard, cwd=self.app, env=self.environment)
        self.begun.append(begun)
        return begun

    def end_what_runs(self) -> None:
        """What a story that failed has left running would trouble the stories after it."""
        for each in self.begun:
            with each:  # closes its pipes, and waits
                each.kill()
                each.communicate(timeout=60)
