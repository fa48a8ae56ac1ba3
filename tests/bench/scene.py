"""What every tool is given to set itself up with: machines in stages, a key, pinned host keys, and the application."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from bench.job import KEEP, Application, Commit
from bench.machines import Machines
from machines.machine import Machine

USER = "ubuntu"


@dataclasses.dataclass(frozen=True)
class Scene:
    """One tool's view of a bench. `folder` is its own; it deploys to /opt/`tool` on machines that are awake."""

    tool: str
    folder: Path
    machines: Machines
    application: Application
    ssh_config: Path
    known_hosts: Path

    @property
    def stages(self) -> list[list[Machine]]:
        return self.machines.stages(self.machines.awake)

    @property
    def path(self) -> str:
        return f"/opt/{self.tool}"

    @property
    def port(self) -> int:
        return self.machines.port(self.tool)

    @property
    def key(self) -> Path:
        return self.machines.bed.key

    @property
    def restart(self) -> str:
        return self.machines.restart_command(self.tool)

    def steps(self, commit: str, version: str) -> list[tuple[str, str]]:
        """The job on one machine as shell commands in PATH, in the one order. What runs already is not deployed again.

        `commit` and `version` may also be what stands for them in a tool's own language.
        """
        return [
            ("fetch", f"test -d repository.git || git init -q --bare repository.git; {self._fetch(commit)}"),
            ("lay out", f"mkdir -p releases/{commit} && {_archive(commit)} | tar -x -C releases/{commit}"),
            ("switch", f"ln -sfn releases/{commit} current.new && mv -T current.new current"),
            ("restart", self.restart),
            ("health", f"/usr/local/bin/healthy {self.port} {version}"),
            ("prune", f"ls -1dt releases/* | tail -n +{KEEP + 1} | xargs -r rm -rf"),
        ]

    def script(self, commit: Commit) -> str:
        """The same as one script."""
        lines = [f'[ "$(readlink current)" != releases/{commit.id} ] || exit 0']
        lines += [command for _, command in self.steps(commit.id, commit.version)]
        return "\n".join(["set -e", f"cd {self.path}", *lines]) + "\n"

    def _fetch(self, commit: str) -> str:
        """What was fetched is kept by a ref: without one, git asks for the whole tree again each time."""
        return f"git -C repository.git fetch -q --depth=1 {self.application.plain_url} +{commit}:refs/heads/deployed"


def _archive(commit: str) -> str:
    return f"git -C repository.git archive {commit}"


def write_ssh(folder: Path, machines: Sequence[Machine], *, key: Path) -> tuple[Path, Path]:
    """A client's settings for every tool that reads ~/.ssh/config and known_hosts, or files like them."""
    config, known = folder / "ssh_config", folder / "known_hosts"
    known.write_text("".join(f"{each.name},{each.address} {each.host_key}\n" for each in machines))
    lines = ["Host *", f"    User {USER}", f"    IdentityFile {key}", "    IdentitiesOnly yes", "    BatchMode yes"]
    lines += [f"    UserKnownHostsFile {known}", "    StrictHostKeyChecking yes"]
    config.write_text("\n".join(lines) + "\n")
    return config, known
