"""Fleet files for the tests of workflows, and the workflow that `init github` makes of each."""

from __future__ import annotations

from typing import Any

import yaml

from wakeline.fleet import FleetFile, load
from wakeline.github import workflow

FILE = """\
app = "shop"
environment = "uat"
git = "git@github.com:example/shop.git"
branch = {branch}
[deploy]
path = "/opt/shop"
"""
STAGE = """
[[stage]]
name = "{stage}"
[[stage.machine]]
name = "{machine}"
address = "ubuntu@{machine}.internal"
presence = "{presence}"
"""
FURTHER = """
[[repository]]
path = "front/app"
git = "git@github.com:example/front.git"
branch = "trunk"
"""
NOTIFY = """
[[notify]]
name = "team"
to = "env:WAKELINE_NOTIFY_TEAM"
[[notify]]
name = "on-call"
to = "env:ON_CALL"
events = ["failed"]
[[notify]]
name = "again"
to = "env:ON_CALL"
events = ["in-doubt"]
[[notify]]
name = "here"
to = "cmd:pass show wakeline/here"
"""
SEED = (("scheduler", "scheduler", "always"), ("frontend", "uat", "on-demand"))


def fleet_file(*, branch: str = '"main"', stages: Any = SEED, more: str = "") -> FleetFile:
    text = FILE.format(branch=branch) + "".join(STAGE.format(stage=s, machine=m, presence=p) for s, m, p in stages)
    return load(text + more)


def made(file: FleetFile, *, install: str = "wakeline==1.2.3") -> dict[str, Any]:
    """The workflow, read as YAML; its `on` is YAML 1.1's true, as GitHub's own examples have it."""
    return yaml.safe_load(workflow.deploy(file, install=install))
