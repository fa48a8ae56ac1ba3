"""Fabric 3: a task that runs the steps on the machines of a stage, all at once; step by step, or as one command."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.environments import ensure
from bench.job import Commit
from bench.scene import USER, Scene
from bench.tools import environment

VERSION = "3.2.3"
_FILE = """\
import json
from pathlib import Path

from fabric import Config, ThreadingGroup
from invoke import task

config = Config(runtime_ssh_path={ssh_config!r})


@task
def deploy(_context):
    asked = json.loads(Path("asked.json").read_text())
    for stage in {stages!r}:
        with ThreadingGroup(*stage, user={user!r}, config=config) as machines:
{body}
"""
_STEPS = """\
            running = machines.run("readlink {path}/current", hide=True, warn=True)
            behind = [c for c, r in running.items() if r.stdout.strip() != "releases/" + asked["commit"]]
            if behind:
                there = ThreadingGroup.from_connections(behind)
                for command in asked["steps"]:
                    there.run("cd {path} && { " + command + "; }", hide=True, in_stream=False)
"""
_COMMAND = """\
            machines.run("bash -c " + asked["script"], hide=True, in_stream=False)
"""


class FabricSteps:
    """`fab deploy`, a command a step."""

    name = "fabric-steps"
    body = _STEPS

    def ensure(self) -> str:
        self._bin = ensure("fabric", [f"fabric=={VERSION}"])
        return VERSION

    def prepare(self, scene: Scene) -> None:
        self._scene = scene
        stages = [[machine.address for machine in stage] for stage in scene.stages]
        text = _FILE.replace("{body}", self.body.rstrip("\n").replace("{path}", scene.path))
        for name, value in (("ssh_config", str(scene.ssh_config)), ("stages", stages), ("user", USER)):
            text = text.replace(f"{{{name}!r}}", repr(value))
        (scene.folder / "fabfile.py").write_text(text)

    def clean(self) -> None:
        pass

    def commands(self, commit: Commit) -> Sequence[Sequence[str]]:
        scene = self._scene
        asked = {
            "commit": commit.id,
            "steps": [command for _, command in scene.steps(commit.id, commit.version)],
            "script": shlex.quote(scene.script(commit)),
        }
        (scene.folder / "asked.json").write_text(json.dumps(asked))
        return [[str(self._bin / "fab"), "deploy"]]

    @property
    def cwd(self) -> Path:
        return self._scene.folder

    @property
    def env(self) -> Mapping[str, str]:
        return environment()


class FabricCommand(FabricSteps):
    """`fab deploy`, the whole job as one command a machine."""

    name = "fabric-command"
    body = _COMMAND
