"""The limit: one plain ssh and a shell script a machine, all of a stage at once, connections cold."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.job import Commit
from bench.scene import USER, Scene
from bench.tools import environment


class Raw:
    """`ssh machine 'bash -s' <script`, for every machine of a stage side by side."""

    name = "raw"

    def __init__(self, *, name: str = "", at_once: int = 1000) -> None:
        self._at_once = at_once
        self.name = name or self.name

    def ensure(self) -> str:
        return subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=True).stderr.split(",")[0].strip()

    def prepare(self, scene: Scene) -> None:
        self._scene = scene

    def clean(self) -> None:
        pass

    def commands(self, commit: Commit) -> Sequence[Sequence[str]]:
        scene = self._scene
        script, starts = scene.folder / "script.sh", []
        script.write_text(scene.script(commit))
        parts = [stage[n : n + self._at_once] for stage in scene.stages for n in range(0, len(stage), self._at_once)]
        for stage in parts:
            starts.append("pids=")
            for machine in stage:
                host, port = scene.machines.where(machine)
                alias = f"-p {port} -o HostKeyAlias={machine.name}"
                ssh = f"ssh -F {scene.ssh_config} {alias} {USER}@{host} 'bash -s' <{script}"
                starts.append(f'{ssh} & pids="$pids $!"')
            starts.append("for pid in $pids; do wait $pid || exit 1; done")
        run = scene.folder / "run.sh"
        run.write_text("\n".join(starts) + "\n")
        return [["/bin/sh", str(run)]]

    @property
    def cwd(self) -> Path:
        return self._scene.folder

    @property
    def env(self) -> Mapping[str, str]:
        return environment()
