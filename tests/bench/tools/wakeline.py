"""wakeline itself, this checkout's, installed as a user has it: ledger, lease, knock and confirmation included."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.environments import ensure_ours
from bench.job import Commit
from bench.scene import USER, Scene
from bench.tools import environment
from machines.machine import Machine

_HEAD = """\
app = "shop"
environment = "{tool}"
git = "{url}"

[deploy]
path = "{path}"
keep = 5
shared = {shared}
"""
_STAGE = """
[[stage]]
name = "stage{number}"
at_once = {count}
"""
_MACHINE = """
[[stage.machine]]
name = "{name}"
address = "{user}@{host}:{port}"
presence = "{presence}"
"""
_SERVICE = """
[[service]]
{service}
health = {{ http = "http://127.0.0.1:{port}/", within = "20s", contains = "version" }}
"""


class Wakeline:
    """`wakeline deploy` in the application's checkout.

    `leave_out` describes a fleet without those that will sleep; `more` is what else the fleet file has at its end.
    """

    name = "wakeline"

    def __init__(
        self,
        *,
        name: str = "",
        leave_out: bool = False,
        at_once: int = 1000,
        shared: Sequence[str] = (),
        more: str = "",
    ) -> None:
        self._leave_out = leave_out
        self._at_once = at_once
        self._shared = list(shared)
        self._more = more
        self.name = name or self.name

    def ensure(self) -> str:
        self._bin = ensure_ours()
        said = subprocess.run([self._bin / "wakeline", "--version"], capture_output=True, text=True, check=True)
        return said.stdout.strip()

    def prepare(self, scene: Scene) -> None:
        """`wakeline setup`, once; what it leaves on a machine is kept, for every first deploy begins with it."""
        self._scene = scene
        (scene.application.checkout / "wakeline.toml").write_text(self._file())
        scene.application.fill()
        scene.application.commit()
        done = subprocess.run(
            [self._bin / "wakeline", "setup"],
            cwd=self.cwd,
            env=dict(self.env),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        for machine in scene.machines.awake:
            subprocess.run(["cp", "-a", str(_home(machine)), str(_kept(machine))], check=True)

    def clean(self) -> None:
        for machine in self._scene.machines.awake:
            shutil.rmtree(_home(machine))
            subprocess.run(["cp", "-a", str(_kept(machine)), str(_home(machine))], check=True)

    def commands(self, commit: Commit) -> Sequence[Sequence[str]]:
        return [[str(self._bin / "wakeline"), "deploy"]]

    @property
    def cwd(self) -> Path:
        return self._scene.application.checkout

    @property
    def env(self) -> Mapping[str, str]:
        scene = self._scene
        return environment(
            XDG_CACHE_HOME=str(scene.folder / "cache"),
            WAKELINE_SIGNING_KEY=str(scene.key),
            WAKELINE_SSH_CONFIG=str(scene.ssh_config),
            WAKELINE_KNOWN_HOSTS=str(scene.known_hosts),
        )

    def _file(self) -> str:
        scene = self._scene
        text = _HEAD.format(tool=self.name, url=scene.application.url, path=scene.path, shared=json.dumps(self._shared))
        for number, stage in enumerate(self._stages(), 1):
            text += _STAGE.format(number=number, count=min(len(stage), self._at_once))
            text += "".join(self._machine(each) for each in stage)
        service = (
            f'unit = "app-{self.name}.service"'
            if scene.machines.booted
            else (f'name = "app"\nrestart = "{scene.restart}"')
        )
        return text + _SERVICE.format(service=service, port=scene.port) + self._more

    def _stages(self) -> list[list[Machine]]:
        machines = self._scene.machines
        return machines.stages(machines.awake if self._leave_out else machines.all)

    def _machine(self, machine: Machine) -> str:
        presence = "on-demand" if machine in self._scene.machines.on_demand else "always"
        host, port = self._scene.machines.where(machine)
        return _MACHINE.format(name=machine.name, user=USER, host=host, port=port, presence=presence)


def _home(machine: Machine) -> Path:
    return machine.root / "var/lib/wakeline"


def _kept(machine: Machine) -> Path:
    return machine.folder / "wakeline-after-setup"
