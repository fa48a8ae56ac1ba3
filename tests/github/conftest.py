"""A small fleet of folders that is deployed by the generated workflow, and GitHub's API beside it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from github.api import Api, serve
from github.job import Job, Step
from stories.conftest import Fleet
from wakeline.fleet import load
from wakeline.github import workflow

PIPX = """\
#!/bin/sh
# Stands for pipx on a runner's PATH: the wheel is installed for real by tests/machines/test_github.py.
test "$1" = install && echo "installed package $2"
"""


class Repository(Fleet):
    """The fleet, its workflow, and runs of it."""

    def __init__(self, root: Path, api: Api) -> None:
        super().__init__(root)
        self.api = api
        self.runs = 0
        programs = root / "programs"
        programs.mkdir()
        (programs / "pipx").write_text(PIPX)
        (programs / "pipx").chmod(0o755)
        path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.runner = {**self.environment, "PATH": path, "HOME": str(root / "home")}
        (root / "home").mkdir()

    def job(self, commit: str = "", *, made=workflow.deploy, **more) -> Job:
        """A run of a workflow that `init github` writes for this fleet."""
        self.runs += 1
        text = made(load((self.app / "wakeline.toml").read_text()), install="wakeline==1.2.3")
        given = {
            "environment": self.runner,
            "secrets": {"WAKELINE_SSH_KEY": "ssh-secret", "WAKELINE_SIGNING_KEY": "unused"},
        }
        given.update(more)
        commit = commit or self.git("rev-parse", "HEAD")
        folder = self.root / f"run-{self.runs}"
        return Job(text, folder=folder, remote=self.root / "remote.git", commit=commit, api_url=self.api.url, **given)

    def run(self, commit: str = "", **more) -> dict[str, Step]:
        """Push went, the workflow runs: its steps by name, those of stages by the stage."""
        return named(self.job(commit, **more).run())


def named(steps: list[Step]) -> dict[str, Step]:
    return {step.name.removeprefix("Stage ").partition(":")[0]: step for step in steps}


@pytest.fixture
def api() -> Iterator[Api]:
    yield from serve()


@pytest.fixture
def repository(tmp_path: Path, api: Api) -> Repository:
    made = Repository(tmp_path, api)
    made.commit("zero")
    assert made.wakeline("setup", "--unsigned").code == 0
    return made
