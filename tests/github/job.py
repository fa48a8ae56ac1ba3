"""Runs the steps of a generated workflow as GitHub does: one shell a step, environment files, masks, signals.

What GitHub does is written down in "Workflow syntax" (`bash -e {0}`, a step is skipped when one before it has failed),
"Workflow commands" (the environment files) and "Workflow cancellation" (SIGINT to the step's own process, after 7500 ms
SIGTERM, after 2500 ms more the whole tree is killed).
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import yaml

from github.runner import Command, command_in, lines_of

_EXPRESSION = re.compile(r"\$\{\{\s*(\w+)\.(\w+)\s*\}\}")
_SIGINT_S, _SIGTERM_S = 7.5, 2.5


@dataclasses.dataclass
class Step:
    """How a step went: its conclusion as GitHub names it, and everything that it left."""

    name: str
    conclusion: str
    code: int | None = None
    log: str = ""
    commands: list[Command] = dataclasses.field(default_factory=list)
    outputs: dict[str, str] = dataclasses.field(default_factory=dict)
    summary: str = ""
    seconds_to_stop: float = 0.0

    def annotations(self, kind: str) -> list[Command]:
        return [each for each in self.commands if each.name == kind]


class Job:
    """One run of a workflow's job: its checkout, its secrets and its temporary folder."""

    def __init__(
        self,
        text: str,
        *,
        folder: Path,
        remote: Path,
        commit: str,
        environment: Mapping[str, str],
        secrets: Mapping[str, str],
        rollback_to: str = "",
        attempt: int = 1,
        api_url: str = "",
    ) -> None:
        self._steps = next(iter(yaml.safe_load(text)["jobs"].values()))["steps"]
        self._folder = folder
        self._remote = remote
        self._commit = commit
        self.workspace = folder / "workspace"
        (folder / "temp").mkdir(parents=True)
        values = {"secrets": secrets, "github": {"token": "run-token-1234"}, "inputs": {"rollback_to": rollback_to}}
        self._values = values
        self._environment = {
            **environment,
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_API_URL": api_url,
            "GITHUB_ACTOR": "ann",
            "GITHUB_REPOSITORY": "example/shop",
            "GITHUB_RUN_ATTEMPT": str(attempt),
            "GITHUB_RUN_ID": "77",
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_SHA": commit,
            "GITHUB_WORKSPACE": str(self.workspace),
            "RUNNER_TEMP": str(folder / "temp"),
        }
        self.masked = [value for value in (*secrets.values(), "run-token-1234") if value]

    def run(self, *, cancel: Callable[[str], bool] | None = None) -> list[Step]:
        """All steps in order. `cancel` is asked again and again while one runs, with its name."""
        done: list[Step] = []
        for index, step in enumerate(self._steps):
            name = step.get("name", step.get("uses", "").partition("@")[0])
            if any(each.conclusion != "success" for each in done):
                done.append(Step(name, "skipped"))
            elif "uses" in step:
                self._check_out()
                done.append(Step(name, "success"))
            else:
                done.append(self._run(index, name, step, cancel))
        return done

    def _check_out(self) -> None:
        """What actions/checkout leaves: this commit alone, and a remote."""
        at = {"cwd": self.workspace, "capture_output": True}
        self.workspace.mkdir()
        subprocess.run(["git", "init", "-q", "."], check=True, **at)
        fetch = ["git", "fetch", "-q", "--depth=1", f"file://{self._remote}", self._commit]
        subprocess.run(fetch, check=True, **at)
        subprocess.run(["git", "checkout", "-q", "FETCH_HEAD"], check=True, **at)

    def _run(self, index: int, name: str, step: dict, cancel: Callable[[str], bool] | None) -> Step:
        folder = self._folder / f"step-{index}"
        folder.mkdir()
        files = {
            key: folder / key.lower() for key in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_ENV", "GITHUB_PATH")
        }
        for place in files.values():
            place.touch()
        script, log = folder / "script.sh", folder / "log"
        script.write_text(step["run"])
        given = {key: self._said(str(value)) for key, value in step.get("env", {}).items()}
        environment = {**self._environment, **{key: str(place) for key, place in files.items()}, **given}
        with log.open("wb") as out:
            process = subprocess.Popen(
                ["bash", "-e", str(script)],
                cwd=self.workspace,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            took = 0.0
            while process.poll() is None:
                if cancel and cancel(name):
                    took = _cancel(process)
                time.sleep(0.02)
        conclusion = "cancelled" if took else "success" if process.returncode == 0 else "failure"
        text = log.read_text(errors="surrogateescape")
        done = Step(name, conclusion, process.returncode, seconds_to_stop=took)
        done.commands = [found for line in lines_of(text) if (found := command_in(line))]
        done.log = self._masked(text, done.commands)
        done.outputs = dict(line.split("=", 1) for line in files["GITHUB_OUTPUT"].read_text().splitlines())
        done.summary = self._masked(files["GITHUB_STEP_SUMMARY"].read_text(), [])
        return done

    def _said(self, text: str) -> str:
        return _EXPRESSION.sub(lambda found: self._values[found[1]].get(found[2], ""), text)

    def _masked(self, text: str, commands: list[Command]) -> str:
        """The log as people see it: what was to be hidden is, and the commands that said so are not shown."""
        self.masked += [each.text for each in commands if each.name == "add-mask"]
        shown = "\n".join(line for line in lines_of(text) if not line.startswith("::add-mask::"))
        for secret in self.masked:
            for line in secret.splitlines():
                shown = shown.replace(line, "***") if line.strip() else shown
        return shown


def _cancel(process: subprocess.Popen[bytes]) -> float:
    """As GitHub does it. The signals go to the step's own process, and to nobody that it has started."""
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_SIGINT_S)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_SIGTERM_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
    return max(time.monotonic() - began, 0.001)
