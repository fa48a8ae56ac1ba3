"""Runs a tool in a cgroup of its own, so that what it costs here is counted with everything that it starts."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.machines import Machines

_CGROUPS = Path("/sys/fs/cgroup")
LIMIT_S = 600.0


@dataclasses.dataclass(frozen=True)
class Sample:
    """What one run of one tool cost."""

    wall_s: float
    client_cpu_s: float
    machines_cpu_s: float
    wire_kb: float
    client_mb: float


class Failed(Exception):
    """A tool did not do its job; its own last words are in the text."""


class Client:
    """The machine that tools are started on, as a cgroup."""

    def __init__(self, name: str) -> None:
        controller = "cpuacct" if (_CGROUPS / "cpuacct/cgroup.procs").exists() else ""
        self._group = _CGROUPS / controller / f"bench-client-{os.getpid()}-{name}"
        self._group.mkdir(exist_ok=True)

    def close(self) -> None:
        self.end_what_is_left()
        self._group.rmdir()

    def run(self, command: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> float:
        """Run a command to its end. Returns the most memory that one process of it had, in MB. Raises Failed."""
        argv = ["/bin/sh", "-c", f'echo $$ >{self._group}/cgroup.procs && exec "$@"', "sh", *command]
        with tempfile.TemporaryFile() as output:
            child = subprocess.Popen(
                argv, cwd=cwd, env=dict(env), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
            _, status, used = os.wait4(child.pid, 0)  # blocks: to poll would add up to 50 ms
            child.returncode = os.waitstatus_to_exitcode(status)
            if child.returncode:
                output.seek(0)
                words = output.read().decode(errors="replace")[-3000:]
                raise Failed(f"{command[0]}: exit {child.returncode}\n{words}")
        return used.ru_maxrss / 1024

    @property
    def cpu_s(self) -> float:
        usage = self._group / "cpuacct.usage"
        if usage.exists():
            return int(usage.read_text()) / 1e9
        words = (self._group / "cpu.stat").read_text().split()
        return int(words[words.index("usage_usec") + 1]) / 1e6

    def end_what_is_left(self) -> None:
        """Tools leave masters of connections behind; the next run begins with cold connections all the same."""
        for _ in range(100):
            left = [int(pid) for pid in (self._group / "cgroup.procs").read_text().split()]
            if not left:
                return
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        raise Failed("what a tool left behind does not end")


def measure(
    client: Client, machines: Machines, commands: Sequence[Sequence[str]], *, cwd: Path, env: Mapping[str, str]
) -> Sample:
    """Run commands one after the other and count what they cost. Raises Failed."""
    cpu, there, wire = client.cpu_s, machines.cpu_s, machines.wire_bytes
    began = time.monotonic()
    memory = [client.run(command, cwd=cwd, env=env) for command in commands]
    wall = time.monotonic() - began
    sample = Sample(wall, client.cpu_s - cpu, machines.cpu_s - there, (machines.wire_bytes - wire) / 1000, max(memory))
    client.end_what_is_left()
    return sample
