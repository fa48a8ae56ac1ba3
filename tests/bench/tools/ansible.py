"""Ansible in the three ways that people use it: step by step, as one task, and step by step over Mitogen.

Set up as its own pages on speed recommend: pipelining, as many forks as machines, no gathering of facts, connections
kept by ControlPersist for the length of a run. Steps are plain commands, the cheapest modules that there are.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.environments import CACHE, ensure
from bench.job import Commit
from bench.scene import USER, Scene
from bench.tools import environment

VERSION = "2.21.5"
MITOGEN = "0.3.54"
_CONFIG = """\
[defaults]
inventory = inventory.ini
forks = {forks}
gathering = explicit
interpreter_python = /usr/bin/python3
host_key_checking = True
{more}
[ssh_connection]
pipelining = True
ssh_args = -F {ssh_config} -C -o ControlMaster=auto -o ControlPersist=60s
control_path_dir = {sockets}
"""


class AnsibleSteps:
    """A task for each step, over all machines of a stage in lockstep, as the linear strategy goes."""

    name = "ansible-steps"
    config = ""

    def ensure(self) -> str:
        self._bin = ensure("ansible", [f"ansible-core=={VERSION}", f"mitogen=={MITOGEN}"])
        return f"ansible-core {VERSION}"

    def prepare(self, scene: Scene) -> None:
        self._scene = scene
        sockets = scene.folder / "s"
        sockets.mkdir(mode=0o700)
        config = _CONFIG.format(
            forks=max(5, len(scene.machines.awake)), more=self.config, ssh_config=scene.ssh_config, sockets=sockets
        )
        (scene.folder / "ansible.cfg").write_text(config)
        lines = []
        for number, stage in enumerate(scene.stages, 1):
            lines += [f"[stage{number}]", *(f"{each.address} ansible_user={USER}" for each in stage), ""]
        (scene.folder / "inventory.ini").write_text("\n".join(lines))
        plays = [self._play(f"stage{number}") for number in range(1, len(scene.stages) + 1)]
        (scene.folder / "deploy.yml").write_text(json.dumps(plays, indent=1))  # JSON is YAML too

    def clean(self) -> None:
        pass

    def commands(self, commit: Commit) -> Sequence[Sequence[str]]:
        given = json.dumps({"commit": commit.id, "version": commit.version})
        return [[str(self._bin / "ansible-playbook"), "deploy.yml", "--extra-vars", given]]

    @property
    def cwd(self) -> Path:
        return self._scene.folder

    @property
    def env(self) -> Mapping[str, str]:
        return environment(
            ANSIBLE_CONFIG=str(self._scene.folder / "ansible.cfg"), ANSIBLE_HOME=str(CACHE / "ansible-home")
        )

    def _play(self, stage: str) -> dict[str, object]:
        return {"name": stage, "hosts": stage, "gather_facts": False, "any_errors_fatal": True, "tasks": self._tasks()}

    def _tasks(self) -> list[dict[str, object]]:
        scene = self._scene
        look = {"name": "running", "ansible.builtin.stat": {"path": f"{scene.path}/current"}, "register": "running"}
        stop = {
            "name": "nothing to do",
            "ansible.builtin.meta": "end_host",
            "when": "(running.stat.lnk_target | default('')) == 'releases/' + commit",
        }
        steps = [
            {"name": name, "ansible.builtin.shell": {"cmd": command, "chdir": scene.path}}
            for name, command in scene.steps("{{ commit }}", "{{ version }}")
        ]
        return [look, stop, *steps]


class AnsibleTask(AnsibleSteps):
    """The whole job as one script task."""

    name = "ansible-task"

    def _tasks(self) -> list[dict[str, object]]:
        script = self._scene.script(Commit("{{ commit }}", "{{ version }}"))
        return [{"name": "deploy", "ansible.builtin.shell": {"cmd": script, "executable": "/bin/bash"}}]


class AnsibleMitogen(AnsibleSteps):
    """Step by step, through Mitogen's strategy."""

    name = "ansible-mitogen"

    def ensure(self) -> str:
        said = super().ensure()
        where = "import os, ansible_mitogen; print(os.path.dirname(ansible_mitogen.__file__))"
        found = subprocess.run([self._bin / "python", "-c", where], capture_output=True, text=True, check=True)
        self.config = f"strategy_plugins = {found.stdout.strip()}/plugins/strategy\nstrategy = mitogen_linear"
        return f"{said}, mitogen {MITOGEN}"
