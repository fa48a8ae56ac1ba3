"""A scheduler with PostgreSQL, an on-demand frontend with gunicorn, a Django application, and a runner beside them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import leaks
from commands import Commands
from machines.machine import Machine
from machines.testbed import Testbed
from stories.receivers import http_receiver

APPLICATION = Path(__file__).parent / "application"
FILE = """\
app = "shop"
environment = "uat"
git = "{url}"

[deploy]
path = "/opt/shop"
shared = [".env"]
env_file = ".env"
lease = "12s"

[[stage]]
name = "scheduler"
[[stage.machine]]
name = "scheduler"
address = "ubuntu@{scheduler}"
presence = "always"
roles = ["scheduler"]

[[stage]]
name = "frontend"
[[stage.machine]]
name = "uat"
address = "ubuntu@{uat}"
presence = "on-demand"
roles = ["web"]

[[step]]
name = "packages"
run = "date +%s%N >vendor/installed"
inputs = ["packages.lock"]
outputs = ["vendor"]

[[step]]
name = "migrate"
once = true
run = "python3 manage.py migrate --noinput"
verify = "python3 manage.py verify"

[[step]]
name = "pages"
roles = ["web"]
run = "sh pages.sh"

[[service]]
unit = "scheduler.service"
roles = ["scheduler"]
health = {{ http = "http://127.0.0.1:8000/", within = "30s" }}

[[service]]
unit = "gunicorn-uat.service"
roles = ["web"]
health = {{ http = "http://127.0.0.1:8000/healthz", within = "30s" }}

[[notify]]
name = "watch"
to = "env:WAKELINE_NOTIFY_WATCH"
events = ["failed"]
"""
UNITS = {
    "scheduler": ("scheduler.service", "/usr/bin/python3 scheduler.py"),
    "uat": ("gunicorn-uat.service", "/usr/bin/gunicorn --bind 0.0.0.0:8000 --workers 1 site_.wsgi"),
}
UNIT = """\
[Unit]
Description=The shop
After=network.target

[Service]
User=ubuntu
WorkingDirectory=/opt/shop/checkout
EnvironmentFile=/opt/shop/shared/.env
ExecStart={command}
Restart=on-failure
RestartSec=1

[Install]
WantedBy=multi-user.target
"""


TAKE_MINUTES = ("test_power_cuts", "test_random_moments", "test_bad_ground", "test_a_fleet_changes", "test_databases")


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Everything here needs root. Each worker has a testbed of its own. What takes minutes goes first.

    Marked before `-m` chooses, and sorted after the order was drawn.
    """
    for item in items:
        if Path(item.path).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.machines)
            item.add_marker(pytest.mark.slow)
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="boots machines, which needs root"))
    chosen = yield
    items.sort(
        key=lambda item: next((n for n, name in enumerate(TAKE_MINUTES) if name in item.nodeid), len(TAKE_MINUTES))
    )
    return chosen


class Fleet(Commands):
    """One app on two booted machines, and what can be done to it."""

    def __init__(self, testbed: Testbed, folder: Path) -> None:
        super().__init__(folder / "checkout", {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "NO_COLOR": "1"})
        self.folder = folder
        self.scheduler = testbed.machine("scheduler")
        self.uat = testbed.machine("uat")
        self.machines = {"scheduler": self.scheduler, "uat": self.uat}
        repository = f"{folder.name}.git"
        self.remote = testbed.git / repository
        self.url = testbed.git_url(repository)
        self.git_daemon = testbed.git_daemon
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self.signing_key = folder / "signing"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.signing_key)], check=True)
        self._plant(testbed)
        self.environment["WAKELINE_SIGNING_KEY"] = str(self.signing_key)
        self.environment.update(testbed.write_ssh(folder, list(self.machines.values())))
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(self.remote)], check=True)
        shutil.copytree(APPLICATION, self.app, ignore=shutil.ignore_patterns("__pycache__"))
        self.git("init", "-q", "-b", "main")
        self.git("config", "user.name", "Ann")
        self.git("config", "user.email", "ann@localhost")
        places = {"scheduler": self.scheduler.address, "uat": self.uat.address}
        (self.app / "wakeline.toml").write_text(FILE.format(url=self.url, **places))
        self.commit("zero")
        for name, machine in self.machines.items():
            unit, command = UNITS[name]
            machine.write(f"/etc/systemd/system/{unit}", UNIT.format(command=command))
            self.write_env_file(machine)

    def _plant(self, testbed: Testbed) -> None:
        """A secret wherever a user has one. `rightly_in` is where one may stand on a machine, as patterns."""
        on_machines = ("the database's password", "the application's key")
        self.of_the_runner = (
            "the receiver's address",
            "the runner's token",
            "the key that signs",
            "the key that logs in",
        )
        self.secrets = {name: leaks.canary() for name in (*on_machines, *self.of_the_runner)}
        self.secrets["the key that signs"] = leaks.private_half(self.signing_key)
        self.secrets["the key that logs in"] = leaks.private_half(testbed.key)
        self.environment["RUNNERS_TOKEN"] = self.secrets["the runner's token"]
        self.rightly_in = ["*:/opt/shop/shared/*"]
        self._git_log = testbed.folder / "git.log"

    def env_file(self, **more: str) -> str:
        """What the services of a machine and the steps are told."""
        values = {
            "DATABASE_HOST": self.scheduler.address,
            "DATABASE_PASSWORD": self.secrets["the database's password"],
            "SECRET_KEY": self.secrets["the application's key"],
            **more,
        }
        return "".join(f"{name}={value}\n" for name, value in values.items())

    def write_env_file(self, machine: Machine, **more: str) -> None:
        machine.write("/opt/shop/shared/.env", self.env_file(**more), owner=1000)

    def leaks(self) -> list[str]:
        """Where a planted secret can be read: what was said, the ledger, the runner's files, and the machines."""
        texts = {"what was said": "".join(self.heard).encode(), "the git server's log": self._git_log.read_bytes()}
        logs = {f"a run's log {path}": path.read_bytes() for path in self.folder.glob("run-*/step-*/log")}
        texts |= {place: b"\n".join(_without_masks(text)) for place, text in logs.items()}
        found = leaks.in_texts(self.secrets, texts)
        allowed = ("runner:/signing", "runner:/run-*/step-*/log")
        found += leaks.in_files(self.secrets, self.folder, called="runner:", allowed=allowed)
        for repository in self.remote.parent.glob(f"*{self.remote.name}"):
            found += leaks.in_files(self.secrets, repository, called=repository.name)
        for machine in self.machines.values():
            found += machine.leaks(self.secrets, allowed=self.rightly_in)
        return found

    def start(self) -> None:
        """Boot both, with a database, and prepare them."""
        self.switch_on()
        said = self.wakeline("setup")
        assert said.code == 0, said.err + said.out

    def switch_on(self) -> None:
        """Boot both, with a database and the units that they had before anybody heard of wakeline."""
        self.scheduler.boot(wait=False)
        self.uat.boot()
        for machine in self.machines.values():
            machine.wait_for_boot()
        self.scheduler.run("systemctl enable --now postgresql && su postgres -c 'createdb shop'")
        for name, machine in self.machines.items():
            machine.run(f"chown -R ubuntu: /opt/shop && systemctl daemon-reload && systemctl enable {UNITS[name][0]}")

    def git(self, *arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=self.app, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self, version: str, files: dict[str, str] | None = None) -> str:
        """A new version on the branch, pushed."""
        for name, text in {"VERSION": f"{version}\n", **(files or {})}.items():
            (self.app / name).write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", f"Version {version}")
        self.git("push", "-q", "-f", str(self.remote), "HEAD:main")
        return self.git("rev-parse", "HEAD")

    def log(self) -> list[dict[str, Any]]:
        done = subprocess.run(
            ["git", "log", "--reverse", "--format=%B", "refs/wakeline/shop/uat/log"],
            cwd=self.remote,
            capture_output=True,
            text=True,
            check=True,
        )
        return [json.loads(line) for line in done.stdout.splitlines() if line]

    def check_in(self, name: str) -> dict[str, Any]:
        """A machine's last word on the ledger."""
        ref = f"refs/wakeline/shop/uat/check-in/{name}"
        done = subprocess.run(
            ["git", "log", "-1", "--format=%B", ref], cwd=self.remote, capture_output=True, text=True, check=False
        )
        return json.loads(done.stdout) if done.returncode == 0 else {}

    def outcomes(self, name: str) -> list[str]:
        """Every outcome that the ledger has of a machine, in order."""
        return [r["outcome"] for r in self.log() if r["kind"] == "outcome" and r["machine"] == name]

    @property
    def serves(self) -> tuple[str, str]:
        return self.scheduler.http(), self.uat.http()

    @property
    def migrate_starts(self) -> list[str]:
        """Every start of the migrate command, as the database itself counted them: machine:release."""
        return self.scheduler.sql("select machine || ':' || at_release from migrate_starts").split()

    @property
    def applied(self) -> list[str]:
        return self.scheduler.sql("select name from django_migrations where app = 'orders' order by id").split()

    def releases(self, machine: Machine) -> list[str]:
        return sorted(each.name for each in (machine.root / "opt/shop/releases").glob("[0-9]*"))


def _without_masks(log: bytes) -> list[bytes]:
    """A run's log without the lines that tell GitHub what to hide."""
    return [line for line in log.splitlines() if not line.startswith(b"::add-mask::")]


@contextlib.contextmanager
def watched(fleet: Fleet) -> Iterator[list[str]]:
    """The fleet's story. After it no secret may be read anywhere, nor have been in a process's arguments."""
    watching = leaks.processes_watched(fleet.secrets, not_inside=fleet.of_the_runner)
    with http_receiver() as receiver, watching as seen:
        secret = fleet.secrets["the receiver's address"]
        fleet.environment["WAKELINE_NOTIFY_WATCH"] = f"json://127.0.0.1:{receiver.port}/{secret}?cto=30&rto=30"
        yield seen
        fleet.end_what_runs()
        found = fleet.leaks()
    assert (found, seen) == ([], [])


@pytest.fixture(scope="session")
def testbed() -> Iterator[Testbed]:
    made = Testbed()
    yield made
    made.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


FAILED = pytest.StashKey[bool]()


@pytest.fixture
def fleet(bare: Fleet) -> Fleet:
    """A fleet that was set up."""
    said = bare.wakeline("setup")
    assert said.code == 0, said.err + said.out
    return bare


@pytest.fixture
def bare(testbed: Testbed, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """Machines that nobody has set up yet."""
    made = Fleet(testbed, tmp_path)
    try:
        with watched(made) as made.seen:
            made.switch_on()
            yield made
            if request.node.stash.get(FAILED, False):
                _print_journals(made)
    finally:
        for machine in made.machines.values():
            machine.remove()


def _print_journals(fleet: Fleet) -> None:
    for machine in fleet.machines.values():
        if machine.is_on:
            command = "journalctl --no-pager -b -o short-precise -n 30 -u ssh.service -u wakeline*"
            print(machine.name, machine.run(command, check=False))
