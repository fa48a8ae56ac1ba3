"""pyinfra 3: an inventory with a group a stage, and one deploy file that goes through the stages in order."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.environments import ensure
from bench.job import Commit
from bench.scene import USER, Scene
from bench.tools import environment

VERSION = "3.10.0"
_DEPLOY = """\
from pyinfra import host
from pyinfra.facts.server import Command
from pyinfra.operations import server


def release(stage):
    if stage not in host.groups:
        return
    running = host.get_fact(Command, "readlink {path}/current || true")
    if running == f"releases/{{host.data.commit}}":
        return
    for name, command in host.data.steps:
        server.shell(name=f"{{stage}}: {{name}}", commands=[command], _chdir="{path}")


"""


class Pyinfra:
    """`pyinfra inventory.py deploy.py -y`."""

    name = "pyinfra"

    def ensure(self) -> str:
        self._bin = ensure(self.name, [f"pyinfra=={VERSION}"])
        said = subprocess.run([self._bin / "pyinfra", "--version"], capture_output=True, text=True, check=True)
        return said.stdout.strip().removeprefix("pyinfra: v")

    def prepare(self, scene: Scene) -> None:
        self._scene = scene
        calls = [f'release("stage{number}")\n' for number in range(1, len(scene.stages) + 1)]
        (scene.folder / "deploy.py").write_text(_DEPLOY.format(path=scene.path) + "".join(calls))

    def clean(self) -> None:
        pass

    def commands(self, commit: Commit) -> Sequence[Sequence[str]]:
        scene = self._scene
        common = {
            "ssh_user": USER,
            "ssh_key": str(scene.key),
            "ssh_known_hosts_file": str(scene.known_hosts),
            "ssh_strict_host_key_checking": "yes",
            "commit": commit.id,
            "steps": scene.steps(commit.id, commit.version),
        }
        groups = [
            f"stage{number} = ({[machine.address for machine in stage]!r}, {common!r})"
            for number, stage in enumerate(scene.stages, 1)
        ]
        (scene.folder / "inventory.py").write_text("\n".join(groups) + "\n")
        return [[str(self._bin / "pyinfra"), "inventory.py", "deploy.py", "-y"]]

    @property
    def cwd(self) -> Path:
        return self._scene.folder

    @property
    def env(self) -> Mapping[str, str]:
        return environment()
