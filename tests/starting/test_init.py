"""`wakeline init` on the shapes that repositories have: what it writes validates, and says where it came from."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from wakeline import starting
from wakeline.fleet import FleetFile, load
from wakeline.starting import page

UNIT = """\
[Service]
User=ubuntu
WorkingDirectory=/opt/shop
EnvironmentFile=/opt/shop/.env
ExecStart=/opt/shop/.venv/bin/gunicorn --bind 127.0.0.1:8123 shop.wsgi
"""
AT_BOOT = "[Service]\nType=oneshot\nExecStart=/opt/shop/scripts/deploy_machine.sh main frontend\n"
WORKFLOW = """\
jobs:
  deploy:
    steps:
      - run: ssh ubuntu@scheduler.internal "cd /opt/shop && ./scripts/deploy_machine.sh main scheduler"
      - run: ssh -p 2222 ubuntu@uat.internal "cd /opt/shop && ./scripts/deploy_machine.sh main frontend"
        continue-on-error: true
"""
SCRIPT = "set -e\n# git pull is below\ngit pull origin $1\npython manage.py migrate --noinput\n"
FRONT = json.dumps({"scripts": {"build": "vite build"}})
SERVER = json.dumps({"scripts": {"start": "node server.js"}})
NEXT = json.dumps({"scripts": {"build": "next build", "start": "next start"}})
PROJECT = '[project]\nname = "shop"\nversion = "1"\n'
FLASK_ENV = "from flask import current_app\n"
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
    "django with lists": ({"manage.py": "", "requirements/prod.txt": ""}, ["packages", "migrate"]),
    "a front end of its own": ({"backend/manage.py": "", "frontend/package.json": FRONT}, ["migrate", "pages"]),
    "flask with alembic": ({"alembic.ini": "", "requirements.txt": ""}, ["packages", "migrate"]),
    "flask-migrate": (
        {"migrations/alembic.ini": "", "migrations/env.py": FLASK_ENV, "uv.lock": ""},
        ["packages", "migrate"],
    ),
    "plain python": ({"pyproject.toml": PROJECT, "main.py": ""}, ["packages"]),
    "python without packages": ({"pyproject.toml": "[tool.ruff]\n", "main.py": ""}, []),
    "node": ({"package.json": FRONT, "package-lock.json": "{}"}, ["pages"]),
    "a node server": ({"package.json": SERVER, "package-lock.json": "{}"}, ["node-packages"]),
    "next": ({"package.json": NEXT, "yarn.lock": ""}, ["node-packages", "pages"]),
    "nothing that it knows": ({"index.php": ""}, []),
    "nothing at all": ({}, []),
    "the seed's": (SEED, ["packages", "migrate"]),
}


def repository(place: Path, files: dict[str, str], url: str = "git@example.org:team/shop.git") -> Path:
    subprocess.run(["git", "init", "-q", "-b", "main", str(place)], check=True)
    subprocess.run(["git", "remote", "add", "origin", url], cwd=place, check=True)
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    return place


def written(place: Path, files: dict[str, str], **more: str) -> tuple[starting.Draft, FleetFile]:
    draft = starting.write(starting.look(repository(place, files, **more)))
    return draft, load(draft.text)


def deploys(text: str) -> dict[str, str]:
    return {".github/workflows/cd.yml": text}


@pytest.mark.parametrize(("files", "steps"), SHAPES.values(), ids=SHAPES.keys())
def test_what_it_writes_validates_and_has_the_steps(tmp_path, files, steps):
    draft, file = written(tmp_path, files)
    assert [step.name for step in file.steps] == steps
    assert (file.fleet.app, file.git, file.branch) == ("shop", "git@example.org:team/shop.git", "main")
    assert all(page.ASK + question in draft.text for question in draft.asked)


def test_it_takes_addresses_folder_and_units_from_what_people_have(tmp_path):
    draft, file = written(tmp_path, SEED)
    machines = file.fleet.machines
    assert [each.address for each in machines] == ["ubuntu@scheduler.internal", "ubuntu@uat.internal:2222"]
    assert [stage.name for stage in file.fleet.stages] == ["scheduler", "uat"]
    assert [service.unit for service in file.services] == ["gunicorn.service"]  # the oneshot is what wakeline replaces
    assert file.deploy.path == "/opt/shop-releases"
    assert file.deploy.env_file == ".env"
    assert any("cd.yml" in each for each in draft.taken)
    assert "http://127.0.0.1:8123/" in draft.text


def test_a_machine_that_the_workflow_goes_on_without_may_sleep_and_is_asked_about(tmp_path):
    draft, file = written(tmp_path, SEED)
    assert [each.presence.value for each in file.fleet.machines] == ["always", "on-demand"]
    assert any(each.startswith("may uat be switched off?") for each in draft.asked)


def test_each_machine_runs_the_units_that_have_its_name(tmp_path):
    files = {"gunicorn-uat.service": UNIT, "scheduler.service": UNIT, "scheduler-mail.service": UNIT}
    _, fleet = written(tmp_path, {**SEED, **files, "scripts/gunicorn.service": AT_BOOT})
    found = {machine.name: set(machine.roles) for machine in fleet.fleet.machines}
    assert found == {"scheduler": {"scheduler", "scheduler-mail"}, "uat": {"gunicorn-uat"}}


def test_where_names_do_not_say_what_a_machine_runs_it_asks(tmp_path):
    draft, fleet = written(tmp_path, {**SEED, "scheduler.service": UNIT})
    assert any("which of these does each machine run?" in question for question in draft.asked)
    assert {frozenset(machine.roles) for machine in fleet.fleet.machines} == {frozenset({"scheduler", "gunicorn"})}


def test_static_files_are_collected_where_a_script_did_that_behind_the_front_end(tmp_path):
    script = f"{SCRIPT}python manage.py collectstatic --noinput\n"
    files = {**SEED, "scripts/deploy_machine.sh": script, "frontend/package.json": FRONT}
    draft, fleet = written(tmp_path, files)
    assert [step.name for step in fleet.steps] == ["packages", "migrate", "pages", "static"]
    assert fleet.steps[-1].run == ".venv/bin/python manage.py collectstatic --noinput"
    assert "collectstatic, from scripts/deploy_machine.sh" in draft.taken


def test_a_comment_about_static_files_is_no_step(tmp_path):
    _, fleet = written(tmp_path, {**SEED, "scripts/deploy_machine.sh": f"{SCRIPT}# collectstatic is done by hand\n"})
    assert "static" not in [step.name for step in fleet.steps]


def test_the_script_is_offered_with_its_role_as_the_word_that_differs(tmp_path):
    draft, _file = written(tmp_path, SEED)
    assert '# script = "scripts/deploy_machine.sh main {role}"\n' in draft.text


def test_a_workflow_with_an_action_names_machines_too(tmp_path):
    action = "steps:\n  - uses: appleboy/ssh-action@v1\n    with:\n"
    text = action + "      host: a.example.org,b.example.org\n      username: web\n      port: 2200\n"
    _draft, file = written(tmp_path, deploys(text))
    addresses = [each.address for each in file.fleet.machines]
    assert addresses == ["web@a.example.org:2200", "web@b.example.org:2200"]


def test_an_action_with_its_keys_in_braces_is_read_as_well(tmp_path):
    """As in the guide, whose own workflow was not understood."""
    text = (
        "- uses: appleboy/ssh-action@v1\n  with: { host: 'a.example.org,b.example.org', username: web, script: ./x }\n"
    )
    text += "- uses: appleboy/ssh-action@v1\n  with: {host: c.example.org, port: 2200, username: web}\n"
    _draft, file = written(tmp_path, deploys(text))
    addresses = [each.address for each in file.fleet.machines]
    assert addresses == ["web@a.example.org", "web@b.example.org", "web@c.example.org:2200"]


BY_HAND = """\
jobs:
  deploy:
    steps:
      - uses: appleboy/ssh-action@v1
        with:
          host: web.example.org
          username: ann
          script: |
            # systemctl restart old
            cd /srv/shop
            git pull origin main
            source venv/bin/activate
            pip install -r requirements.txt
            sudo systemctl daemon-reload
            sudo systemctl restart gunicorn celery.service
            sudo systemctl reload nginx
"""


def test_where_units_are_on_the_machine_alone_a_workflow_says_folder_environment_and_services(tmp_path):
    draft, file = written(tmp_path, {"manage.py": "", "requirements.txt": "", **deploys(BY_HAND)})
    assert file.deploy.path == "/srv/shop-releases"
    assert [each.unit for each in file.services] == ["gunicorn.service", "celery.service"], "nginx is not the release's"
    assert file.steps[0].outputs == ("venv",)
    assert file.steps[1].run == "venv/bin/python manage.py migrate --noinput"
    for fact in ("the folder /srv/shop", "the virtual environment at venv", "the service celery.service"):
        assert f"{fact}, from .github/workflows/cd.yml" in draft.taken


@pytest.mark.parametrize("line", ["cd //", "cd /", "cd /tmp/build", "cd ~/shop", 'cd "$FOLDER"'])
def test_a_folder_that_no_application_has_is_not_taken(tmp_path, line):
    _, file = written(tmp_path, {"scripts/deploy.sh": f"{line}\nsystemctl restart shop\n"})
    assert (file.deploy.path, [each.unit for each in file.services]) == ("/opt/shop", ["shop.service"])


@pytest.mark.parametrize(
    ("files", "shared"),
    [
        ({".env.example": "KEY=\n"}, (".env",)),
        ({"backend/.env.sample": "KEY=\n"}, ("backend/.env",)),
        ({".gitignore": "*.pyc\n.env\n"}, (".env",)),
        ({".gitignore": "*.pyc\n.envrc\n"}, ()),
        ({"app.service": UNIT.replace(".env", "shop.env"), ".env.example": ""}, ("shop.env",)),
    ],
)
def test_a_dotenv_that_git_does_not_have_is_shared_by_all_releases_and_asked_about(tmp_path, files, shared):
    draft, file = written(tmp_path, {"manage.py": "", **files})
    assert file.deploy.shared == shared
    assert any(each.startswith("does the application read") for each in draft.asked) == (
        bool(shared) and "app.service" not in files
    )


def test_units_of_the_repository_say_more_than_a_script_that_restarts_them(tmp_path):
    script = "cd /elsewhere\nsystemctl restart other\n"
    _, file = written(tmp_path, {"app.service": UNIT, "scripts/deploy.sh": script})
    assert [each.unit for each in file.services] == ["app.service"]
    assert file.deploy.path == "/opt/shop-releases"


@pytest.mark.parametrize(
    ("said", "environment", "asked"),
    [
        ("    environment: staging\n", "staging", False),
        ("    environment:\n      name: Live\n      url: https://example.org\n", "live", False),
        ("    environment: ${{ inputs.to }}\n", "uat", True),
        ("    environment: blue\n  other:\n    environment: green\n", "uat", True),
        ("", "uat", True),
    ],
)
def test_the_environment_is_that_of_the_workflow_else_guessed_from_a_machines_name_and_asked(
    tmp_path, said, environment, asked
):
    text = f"jobs:\n  deploy:\n{said}    steps:\n      - run: ssh me@scheduler.example.org ./x\n"
    draft, file = written(tmp_path, deploys(text + "      - run: ssh me@uat.example.org ./x\n"))
    assert file.fleet.environment == environment
    assert any(each.startswith("which environment") for each in draft.asked) == asked


def test_an_address_that_is_a_secret_is_asked_for_by_its_name(tmp_path):
    draft, file = written(tmp_path, deploys("- run: ssh ${{ secrets.USER }}@${{ secrets.UAT_HOST }} ./x\n"))
    assert [each.name for each in file.fleet.machines] == ["uat"]
    assert any("secrets.UAT_HOST" in each for each in draft.asked)
    assert file.fleet.machines[0].address.endswith("@uat.example.org")


def test_machines_that_secrets_are_named_after_run_the_units_of_their_names(tmp_path):
    hosts = ("${{ secrets.SCHEDULER_HOST }}", "${{ secrets.SSH_HOST_UAT }}")
    units = {"scheduler.service": UNIT, "gunicorn-uat.service": UNIT}
    steps = "".join(f"- run: ssh me@{host} ./x\n" for host in hosts)
    _, file = written(tmp_path, {**units, **deploys(steps)})
    found = {machine.name: machine.roles for machine in file.fleet.machines}
    assert found == {"scheduler": ("scheduler",), "uat": ("gunicorn-uat",)}


@pytest.mark.parametrize(("variable", "name"), [("SSH_HOST", "ssh-host"), ("DEPLOY_IP", "deploy-ip")])
def test_a_variable_that_only_says_address_keeps_its_name(tmp_path, variable, name):
    _, file = written(tmp_path, deploys(f"- run: ssh me@${{{{ secrets.{variable} }}}} ./x\n"))
    assert [each.name for each in file.fleet.machines] == [name]


@pytest.mark.parametrize("hosts", [("10.0.0.5", "10.0.0.6"), ("app.one.org", "app.two.org")])
def test_machines_are_told_apart(tmp_path, hosts):
    _draft, file = written(tmp_path, deploys("".join(f"- run: ssh me@{host} ./x\n" for host in hosts)))
    assert [each.name for each in file.fleet.machines] == [host.replace(".", "-") for host in hosts]


def test_a_workflow_that_only_clones_over_ssh_is_no_deploy(tmp_path):
    text = "- run: ssh-keyscan example.org\n- run: ssh -T git@github.com\n# - run: ssh me@old.example.org\n"
    draft, file = written(tmp_path, deploys(text))
    assert [each.name for each in file.fleet.machines] == ["first"]
    assert any(each.startswith("the address of the machine") for each in draft.asked)


def test_it_warns_of_pull_migrate_and_a_deploy_at_boot_with_what_to_change(tmp_path):
    warnings = written(tmp_path, SEED)[0].warnings
    assert warnings[0].startswith("scripts/deploy_machine.sh:3: git pull")
    assert warnings[1].startswith("scripts/deploy_machine.sh:4: python manage.py migrate")
    assert warnings[1].endswith('[ "$WAKELINE_ONCE" != run ] || python manage.py migrate --noinput')
    assert warnings[2].startswith("scripts/deploy-on-startup.service: runs /opt/shop/scripts/deploy_machine.sh")
    assert len(warnings) == 3


def test_a_line_to_write_instead_has_no_comment_of_the_old_one(tmp_path):
    script = "python manage.py migrate --noinput   # on every machine\n"
    warnings = written(tmp_path, {"scripts/deploy_machine.sh": script})[0].warnings
    assert warnings[0].endswith('[ "$WAKELINE_ONCE" != run ] || python manage.py migrate --noinput')


def test_a_program_of_the_old_folder_that_no_step_makes_is_named_and_what_setup_moves_is_not(tmp_path):
    (warning,) = written(tmp_path / "a", {"app.service": UNIT})[0].warnings
    assert warning.startswith("app.service: ExecStart=/opt/shop/.venv/bin/gunicorn")
    assert warning.endswith("   → no step makes .venv (outputs): until one does, it is not moved to the release")
    assert written(tmp_path / "b", {"app.service": UNIT, "manage.py": "", "uv.lock": ""})[0].warnings == ()


@pytest.mark.parametrize(
    "lines",
    [
        'if [ "$WAKELINE_ONCE" = run ]; then\n  python manage.py migrate\nfi\n',
        "case $WAKELINE_ONCE in\n  run) flask db upgrade ;;\nesac\n",
        '[ "$WAKELINE_ONCE" != run ] || alembic upgrade head\n',
        "python manage.py makemigrations --check\npython manage.py migrate --check\n",
        "git fetch\ngit log -1\n",
    ],
)
def test_it_does_not_warn_of_what_is_right_already(tmp_path, lines):
    assert written(tmp_path, {"deploy.sh": lines})[0].warnings == ()


def test_a_password_in_the_origin_goes_nowhere(tmp_path):
    draft, file = written(tmp_path, {}, url="https://me:t0ken-of-mine@example.org/team/shop.git")
    assert file.git == "https://example.org/team/shop.git"
    assert "t0ken" not in str(draft)
    assert any(each.startswith("how do the machines log in there?") for each in draft.asked)


def test_files_that_a_list_of_packages_names_are_inputs_too(tmp_path):
    files = {
        "requirements.txt": "-r lists/base.txt\n",
        "lists/base.txt": "-c limits.txt\ndjango\n",
        "lists/limits.txt": "",
    }
    _draft, file = written(tmp_path, files)
    assert file.steps[0].inputs == ("requirements.txt", "lists/base.txt", "lists/limits.txt")


@pytest.mark.parametrize(
    "files", [{"pyproject.toml": PROJECT}, {"requirements.txt": "-e .\n"}, {"package.json": FRONT}]
)
def test_what_is_made_from_the_code_has_the_code_as_its_input(tmp_path, files):
    _draft, file = written(tmp_path, files)
    assert file.steps[0].inputs == ("**",)


def test_the_environment_is_where_the_unit_looks_for_it(tmp_path):
    unit = UNIT.replace("/opt/shop/.venv/", "/opt/shop/env/")
    _draft, file = written(tmp_path, {"manage.py": "", "requirements.txt": "", "a.service": unit})
    assert file.steps[0].outputs == ("env",)
    assert file.steps[1].run == "env/bin/python manage.py migrate --noinput"


def test_an_application_in_a_folder_is_migrated_in_that_folder(tmp_path):
    _draft, file = written(tmp_path, {"back/alembic.ini": "", "back/requirements.txt": "", "requirements.txt": ""})
    assert file.steps[0].outputs == ("back/.venv",)
    assert file.steps[1].run == "cd back && .venv/bin/python -m alembic -c alembic.ini upgrade head"
    assert file.steps[1].verify == "cd back && .venv/bin/python $WAKELINE_VERIFY alembic alembic.ini"


def test_a_template_unit_is_left_out_and_says_so(tmp_path):
    draft, file = written(tmp_path, {"worker@.service": UNIT})
    assert (file.services, "worker@.service is left out" in draft.text) == ((), True)


def test_an_env_file_elsewhere_is_asked_about(tmp_path):
    draft, file = written(tmp_path, {"a.service": UNIT.replace("/opt/shop/.env", "/etc/shop/env")})
    assert file.deploy.env_file == ""
    assert any("/etc/shop/env" in each for each in draft.asked)


def test_names_from_outside_cannot_break_the_file(tmp_path):
    hostile = tmp_path / 'a"]\n[x'
    hostile.mkdir()
    unit = UNIT.replace("/opt/shop\n", '/opt/"\x1b[31m\x7f\n').replace("ubuntu", 'u"\n')
    draft, _file = written(hostile, {'we"ird.service': unit, "é.service": unit, "plain.service": unit})
    assert all(char.isprintable() or char == "\n" for char in draft.text)


def wakeline(place: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wakeline", "init"]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)


def test_it_never_writes_over_a_file(tmp_path):
    place = repository(tmp_path, {"wakeline.toml": "mine"})
    said = wakeline(place)
    assert (said.returncode, "is there already" in said.stderr) == (2, True)
    assert (place / "wakeline.toml").read_text() == "mine"


def test_it_does_not_write_through_a_link(tmp_path):
    place = repository(tmp_path / "app", {})
    (place / "wakeline.toml").symlink_to(tmp_path / "elsewhere")
    said = wakeline(place)
    assert (said.returncode, "is there already" in said.stderr) == (2, True)
    assert not (tmp_path / "elsewhere").exists()


def test_outside_of_a_repository_it_says_so(tmp_path):
    said = wakeline(tmp_path)
    assert (said.returncode, "not in a git checkout" in said.stderr) == (2, True)


def test_it_says_what_comes_next(tmp_path):
    said = wakeline(repository(tmp_path, SEED))
    assert said.returncode == 0, said.stderr
    assert "wakeline doctor" in said.stdout
    assert (tmp_path / "wakeline.toml").exists()
