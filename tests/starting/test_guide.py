"""The guide "From YAML and bash" tells what `init` says of the very workflow and script that stand in it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from wakeline import starting
from wakeline.fleet import load

GUIDE = Path(__file__).parent.parent.parent / "docs/how-to/from-yaml-and-bash.md"
FOLDER = "/opt/workflow_app/jobs_manager"
UNITS = {
    "gunicorn-uat": f"{FOLDER}/.venv/bin/gunicorn --bind unix:/run/gunicorn.sock jobs_manager.wsgi",
    "scheduler": f"{FOLDER}/.venv/bin/python manage.py run_scheduler",
}
UNIT = """\
[Service]
User=ubuntu
WorkingDirectory={folder}
EnvironmentFile={folder}/.env
ExecStart={command}
"""
AT_BOOT = f"[Service]\nType=oneshot\nExecStart={FOLDER}/scripts/deploy_machine.sh main frontend\n"


def block(language: str) -> str:
    """The first block of a language in the guide."""
    found = re.search(rf"```{language}\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert found
    return found[1]


def project(place: Path) -> Path:
    """The project of the guide: its workflow, its script, and the units that it speaks of."""
    subprocess.run(["git", "init", "-q", "-b", "main", str(place)], check=True)
    subprocess.run(["git", "remote", "add", "origin", "git@github.com:example/jobs_manager.git"], cwd=place, check=True)
    files = {"manage.py": "", "poetry.lock": "", "scripts/deploy-on-startup.service": AT_BOOT}
    files |= {f"scripts/{name}.service": UNIT.format(folder=FOLDER, command=each) for name, each in UNITS.items()}
    files[".github/workflows/cd.yml"] = f"jobs:\n  deploy:\n    steps:\n{block('yaml')}"
    files["scripts/deploy_machine.sh"] = f"#!/bin/bash\nset -e\n{block('sh')}"
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    return place


def test_every_line_that_the_guide_shows_of_init_is_one_that_init_says(tmp_path):
    draft = starting.write(starting.look(project(tmp_path)))
    said = [f"took {each}" for each in draft.taken] + [f"could not tell: {each}" for each in draft.asked]
    shown = re.search(r"wakeline\.toml written\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert shown
    lines = [line.strip() for line in shown[1].splitlines() if line.strip() not in ("", "…")]
    told, warned = ([line for line in lines if line.startswith("warning") == wanted] for wanted in (False, True))
    assert [line for line in told if line not in said] == []
    assert [line for line in warned if line.removeprefix("warning: ") not in draft.warnings] == []
    assert len(warned) >= 1


def test_the_fleet_file_of_the_guide_has_its_machines_in_order_and_its_steps(tmp_path):
    file = load(starting.write(starting.look(project(tmp_path))).text)
    found = [(each.name, each.address, each.presence.value, each.roles) for each in file.fleet.machines]
    assert found == [
        ("scheduler", "ubuntu@scheduler.example.org", "always", ("scheduler",)),
        ("uat", "ubuntu@uat.example.org", "on-demand", ("gunicorn-uat",)),
    ]
    assert [step.name for step in file.steps] == ["packages", "migrate", "static"]
    assert [step.name for step in file.steps if step.once] == ["migrate"]
