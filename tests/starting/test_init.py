"""`wakeline init` on the shapes that repositories have: what it writes validates, and says where it came from."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from wakeline import starting
from wakeline.fleet import load
from wakeline.starting import page

UNIT = """\
[Service]
User=ubuntu
WorkingDirectory=/opt/shop
EnvironmentFile=/opt/shop/.env
ExecStart=/opt/shop/.venv/bin/gunicorn shop.wsgi
"""
AT_BOOT = "[Service]\nType=oneshot\nExecStart=/opt/shop/scripts/deploy_machine.sh\n"
WORKFLOW = """\
jobs:
  deploy:
    steps:
      - run: ssh ubuntu@scheduler.internal "cd /opt/shop && ./scripts/deploy_machine.sh main scheduler"
      - run: ssh ubuntu@uat.internal "cd /opt/shop && ./scripts/deploy_machine.sh main frontend"
        continue-on-error: true
"""
SCRIPT = "set -e\n# git pull is below\ngit pull origin $1\npython manage.py migrate --noinput\n"
FRONT = json.dumps({"scripts": {"build": "vite build"}})
SEED = {
    "manage.py": "",
    "poetry.lock": "",
    "scripts/gunicorn.service": UNIT,
    "scripts/deploy-on-startup.service": AT_BOOT,
    "scripts/deploy_machine.sh": SCRIPT,
    ".github/workflows/cd.yml": WORKFLOW,
}
SHAPES = {
    "django with poetry": ({"manage.py": "", "poetry.lock": "", "app.service": UNIT}, ["packages", "migrate"]),
    "django with uv": ({"manage.py": "", "uv.lock": "", "app.service": UNIT}, ["packages", "migrate"]),
    "django with pip": ({"manage.py": "", "requirements.txt": ""}, ["packages", "migrate"]),
    "a front end of its own": ({"backend/manage.py": "", "frontend/package.json": FRONT}, ["migrate", "pages"]),
    "flask with alembic": ({"alembic.ini": "", "requirements.txt": ""}, ["packages", "migrate"]),
    "plain python": ({"pyproject.toml": "", "main.py": ""}, ["packages"]),
    "node": ({"package.json": FRONT}, ["pages"]),
    "nothing that it knows": ({"index.php": ""}, []),
    "the seed's": (SEED, ["packages", "migrate"]),
}


def repository(place: Path, files: dict[str, str]) -> Path:
    subprocess.run(["git", "init", "-q", "-b", "main", str(place)], check=True)
    subprocess.run(["git", "remote", "add", "origin", "git@example.org:team/shop.git"], cwd=place, check=True)
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    return place


@pytest.mark.parametrize(("files", "steps"), SHAPES.values(), ids=SHAPES.keys())
def test_what_it_writes_validates_and_has_the_steps(tmp_path, files, steps):
    draft = starting.write(starting.look(repository(tmp_path, files)))
    file = load(draft.text)
    assert [step.name for step in file.steps] == steps
    assert (file.fleet.app, file.git) == ("shop", "git@example.org:team/shop.git")
    assert all(page.ASK + question in draft.text for question in draft.asked)


def test_it_takes_addresses_folder_and_units_from_what_people_have(tmp_path):
    draft = starting.write(starting.look(repository(tmp_path, SEED)))
    file = load(draft.text)
    addresses = [machine.address for machine in file.fleet.machines]
    assert addresses == ["ubuntu@scheduler.internal", "ubuntu@uat.internal"]
    assert [stage.name for stage in file.fleet.stages] == ["scheduler", "uat"]
    assert [service.unit for service in file.services] == ["gunicorn.service"]  # the oneshot is what wakeline replaces
    assert file.deploy.path == "/opt/shop-releases"
    assert any("cd.yml" in each for each in draft.taken)


def test_it_warns_of_pull_and_migrate_with_their_lines(tmp_path):
    warnings = starting.write(starting.look(repository(tmp_path, SEED))).warnings
    assert warnings[0].startswith("scripts/deploy_machine.sh:3: git pull")
    assert warnings[1].startswith("scripts/deploy_machine.sh:4: python manage.py migrate")
    assert len(warnings) == 2


def test_names_from_outside_cannot_break_the_file(tmp_path):
    hostile = tmp_path / 'a"]\n[x'
    hostile.mkdir()
    place = repository(hostile, {'we"ird.service': UNIT.replace("/opt/shop\n", '/opt/"\n')})
    draft = starting.write(starting.look(place))
    assert '\\"' in draft.text


def wakeline(place: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wakeline", "init"]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)


def test_it_never_writes_over_a_file(tmp_path):
    place = repository(tmp_path, {"wakeline.toml": "mine"})
    said = wakeline(place)
    assert (said.returncode, "is there already" in said.stderr) == (2, True)
    assert (place / "wakeline.toml").read_text() == "mine"


def test_outside_of_a_repository_it_says_so(tmp_path):
    said = wakeline(tmp_path)
    assert (said.returncode, "not in a git checkout" in said.stderr) == (2, True)


def test_it_says_what_comes_next(tmp_path):
    said = wakeline(repository(tmp_path, SEED))
    assert said.returncode == 0, said.stderr
    assert "wakeline doctor" in said.stdout
    assert (tmp_path / "wakeline.toml").exists()
