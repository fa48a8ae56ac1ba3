"""Capistrano 3, from Debian's packages: its own git plug-in and release folders, with tasks for restart and health.

It has no order between machines, so a stage is a stage of its own and the stages are called one after the other.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.environments import CannotRun
from bench.job import KEEP, Commit
from bench.scene import USER, Scene
from bench.tools import environment, plain_path

_CAPFILE = """\
require "capistrano/setup"
require "capistrano/deploy"
require "capistrano/scm/git"
install_plugin Capistrano::SCM::Git
"""
_DEPLOY = """\
set :application, "app"
set :repo_url, "{url}"
set :branch, ENV.fetch("REVISION")
set :deploy_to, "{path}"
set :keep_releases, {keep}
set :ssh_options, {{
  config: ["{ssh_config}"],
  keys: ["{key}"],
  user_known_hosts_file: "{known_hosts}",
  verify_host_key: :always
}}

namespace :deploy do
  task :restart do
    on roles(:app) do
      execute "{restart}"
    end
  end
  task :healthy do
    on roles(:app) do
      execute "/usr/local/bin/healthy", "{port}", ENV.fetch("VERSION")
    end
  end
end
after "deploy:publishing", "deploy:restart"
after "deploy:restart", "deploy:healthy"
"""


class Capistrano:
    """`cap STAGE deploy`, a stage after the other."""

    name = "capistrano"

    def ensure(self) -> str:
        program = shutil.which("cap", path=plain_path())
        if program is None:
            raise CannotRun("apt-get install capistrano ruby-ed25519 ruby-bcrypt-pbkdf")
        self._cap = program
        done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, env=environment())
        return done.stdout.split()[2]

    def prepare(self, scene: Scene) -> None:
        self._scene = scene
        (scene.folder / "config/deploy").mkdir(parents=True)
        (scene.folder / "Capfile").write_text(_CAPFILE)
        text = _DEPLOY.format(
            url=scene.application.plain_url,
            path=scene.path,
            keep=KEEP,
            ssh_config=scene.ssh_config,
            key=scene.key,
            known_hosts=scene.known_hosts,
            restart=scene.restart,
            port=scene.port,
        )
        (scene.folder / "config/deploy.rb").write_text(text)
        for number, stage in enumerate(scene.stages, 1):
            lines = [f'server "{machine.address}", user: "{USER}", roles: %w[app]' for machine in stage]
            (scene.folder / f"config/deploy/stage{number}.rb").write_text("\n".join(lines) + "\n")

    def clean(self) -> None:
        pass

    def commands(self, commit: Commit) -> Sequence[Sequence[str]]:
        given = [f"REVISION={commit.id}", f"VERSION={commit.version}"]
        count = len(self._scene.stages)
        return [["/usr/bin/env", *given, self._cap, f"stage{number}", "deploy"] for number in range(1, count + 1)]

    @property
    def cwd(self) -> Path:
        return self._scene.folder

    @property
    def env(self) -> Mapping[str, str]:
        return environment()
