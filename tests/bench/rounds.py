"""Round by round, every tool in turn: what disturbs a round disturbs all of them alike."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from bench.environments import CannotRun
from bench.figures import JOBS
from bench.job import Application, Commit, check
from bench.machines import Machines, settle
from bench.measure import Client, Failed, Sample, measure
from bench.scene import Scene, write_ssh
from bench.tools import Tool
from machines.machine import Machine

Taken = dict[str, dict[str, list[Sample]]]


class Rounds:
    """Machines, an application and tools that are ready; counts rounds and keeps what each of them cost."""

    def __init__(self, machines: Machines, tools: Sequence[Tool], *, folder: Path, app: str = "app") -> None:
        self.taken: Taken = {job: {} for job in JOBS}
        self.versions: dict[str, str] = {}
        self.not_run: dict[str, str] = {}
        self._machines = machines
        self._client = Client(app)
        self.tools: list[Tool] = []
        bed = machines.bed
        self.application = Application(folder / "checkout", remotes=bed.git, url_of=bed.git_url, name=app)
        self._folder = folder
        self.ssh = write_ssh(folder, machines.all, key=machines.bed.key)
        for tool in tools:
            self.add(tool)
        self.application.fill()

    def add(self, tool: Tool) -> None:
        """Have a tool, a place for it on the machines, and its files. One that cannot be had here is not run."""
        try:
            self.versions[tool.name] = tool.ensure()
        except CannotRun as error:
            self.not_run[tool.name] = str(error)
            return
        self._machines.make_place(tool.name)
        own = self._folder / tool.name
        own.mkdir()
        config, known = self.ssh
        tool.prepare(Scene(tool.name, own, self._machines, self.application, config, known))
        self.tools.append(tool)

    def run(self, *, rounds: int, warm: int) -> None:
        """First deploys on emptied places; then code-only changes, each followed by a run with nothing to do."""
        if self._machines.on_demand:
            self.one_job("", 0, self.next())
            self._machines.fall_asleep()
        for number in range(rounds):
            self._first(number)
        for _ in range(warm):
            self.one_job("", 0, self.next())
        for number in range(rounds):
            commit = self.next()
            self.one_job("code_only", number, commit)
            self.one_job("no_change", number, commit)

    def close(self) -> None:
        self._client.close()

    def _first(self, number: int) -> None:
        for tool in self.tools:
            self._machines.take_down(tool.name)
            tool.clean()
        self.one_job("first", number, self.next())

    def next(self) -> Commit:
        """The next version of the application, pushed."""
        commit = self.application.commit()
        self._contents = self.application.contents()
        return commit

    def one_job(self, job: str, number: int, commit: Commit) -> None:
        """Every tool once, in an order that moves on by one each round. Without a name it is not kept."""
        first = number % max(1, len(self.tools))
        for tool in [*self.tools[first:], *self.tools[:first]]:
            sample = self.one(tool, commit)
            if job:
                self.taken[job].setdefault(tool.name, []).append(sample)
                sys.stderr.write(f"{job:<10} {number + 1:>2} {tool.name:<16} {sample.wall_s:7.2f} s\n")

    def one(self, tool: Tool, commit: Commit) -> Sample:
        """One deploy by one tool, measured; then every machine is asked. Raises Failed and Wrong."""
        settle()
        try:
            sample = measure(self._client, self._machines, tool.commands(commit), cwd=tool.cwd, env=tool.env)
        except Failed as error:
            raise Failed(f"{tool.name}: {error}") from error
        self.look(tool, commit)
        return sample

    def look(self, tool: Tool, commit: Commit) -> None:
        """Ask every machine whether that commit serves there. Raises Wrong."""
        port = self._machines.port(tool.name)

        def check_one(machine: Machine) -> None:
            check(machine, tool=tool.name, port=port, commit=commit, contents=self._contents)

        self._machines.each(check_one)
