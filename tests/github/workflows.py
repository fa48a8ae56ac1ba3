"""Fleet files for the tests of workflows, and the workflows that `init github` makes of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from wakeline.fleet import FleetFile, load
from wakeline.github import workflow
from wakeline.github.remote import remote_of

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
STRANGE = (("on", "123", "always"), ("null", "yes", "always"), ("1e3", "no", "on-demand"))
STRANGE_BRANCH = json.dumps("release/c++")


def fleet_file(*, branch: str = '"main"', stages: Any = SEED, more: str = "") -> FleetFile:
    text = FILE.format(branch=branch) + "".join(STAGE.format(stage=s, machine=m, presence=p) for s, m, p in stages)
    return load(text + more)


def made(file: FleetFile, *, install: str = "wakeline==1.2.3") -> dict[str, Any]:
    """The workflow, read as YAML; its `on` is YAML 1.1's true, as GitHub's own examples have it."""
    return yaml.safe_load(workflow.deploy(file, install=install))


def laid_out(file: FleetFile, folder: Path) -> list[Path]:
    """All workflows of a fleet as files where GitHub and the linters look for them."""
    app = remote_of(file.git)
    assert app is not None
    texts = {"deploy.yml": workflow.deploy(file, install="wakeline==1.2.3")}
    if file.receivers:
        texts["notify.yml"] = workflow.notify(file, install="wakeline==1.2.3")
    if file.repositories:
        texts["trigger.yml"] = workflow.trigger(file, app=app, branch=file.repositories[0].branch)
    places = [folder / ".github/workflows" / name for name in texts]
    places[0].parent.mkdir(parents=True)
    for place, text in zip(places, texts.values(), strict=True):
        place.write_text(text)
    return places


FLEETS = {
    "the seed's": fleet_file(),
    "with a second repository": fleet_file(more=FURTHER),
    "with somebody to tell": fleet_file(more=NOTIFY + FURTHER),
    "with strange names": fleet_file(branch=STRANGE_BRANCH, stages=STRANGE),
}
