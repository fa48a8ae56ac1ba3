"""A small fleet of folders, with the real command, the real agent and a real git remote."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import leaks
from commands import Commands, Said
from wakeline.agent import arrival
from wakeline.edges.agent_file import agent_file

FILE = """\
app = "shop"
environment = "uat"
git = "{root}/remote.git"
{ledger}
[deploy]
path = "./app"
{deploy}
[[stage]]
name = "scheduler"
[[stage.machine]]
name = "scheduler"
address = "local:{root}/machines/scheduler"
presence = "always"

[[stage]]
name = "frontend"
[[stage.machine]]
name = "uat"
address = "local:{root}/machines/uat"
presence = "on-demand"

[[step]]
name = "packages"
run = "echo ran >>{root}/packages-$WAKELINE_MACHINE; cp packages.lock vendor/installed"
inputs = ["packages.lock"]
outputs = ["vendor"]

[[step]]
name = "migrate"
once = true
run = "sh migrate.sh {root}/database"
verify = "sh verify.sh {root}/database"

[[step]]
name = "pages"
run = "sh pages.sh"

[[service]]
name = "web"
restart = "cat version >{root}/serves-$WAKELINE_MACHINE"
health = {{ run = "sh health.sh", within = "1s" }}
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A story is several deploys."""
    for item in items:
        if Path(item.path).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.slow)


class Fleet(Commands):
    """Everything that a story does to a fleet, and what can be seen of it from outside."""

    def __init__(self, root: Path, *, ledger: str = "", deploy: str = "") -> None:
        super().__init__(root / "checkout", {**os.environ, "XDG_CACHE_HOME": str(root / "cache"), "NO_COLOR": "1"})
        self.root = root
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self.secrets = {"the runner's own": leaks.canary()}  # looked for after every story; a story may add others
        self.environment["DATABASE_PASSWORD"] = self.secrets["the runner's own"]
        for name in ("scheduler", "uat"):
            (root / "machines" / name).mkdir(parents=True)
        (root / "database").touch()
        self.git("init", "-q", "--bare", "--initial-branch=main", "remote.git", at=root)
        self.git("init", "-q", "--initial-branch=main", "checkout", at=root)
        self.git("config", "user.name", "Ann", at=self.app)
        self.git("config", "user.email", "ann@localhost", at=self.app)
        self.write("wakeline.toml", FILE.format(root=root, ledger=ledger, deploy=deploy))
        self.write("migrate.sh", 'echo started >>"$1.starts"\ncat schema >>"$1"\n')
        self.write("verify.sh", 'grep -qxF "$(cat schema)" "$1" || exit 10\n')
        self.write("pages.sh", "exit 0\n")
        self.write("health.sh", f'grep -qxF "$(cat version)" {root}/serves-$WAKELINE_MACHINE\n')
        self.write("packages.lock", "django 5.2\n")
        self.write("schema", "0001\n")

    def git(self, *arguments: str, at: Path | None = None) -> str:
        done = subprocess.run(["git", *arguments], cwd=at or self.app, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def write(self, name: str, text: str) -> None:
        (self.app / name).parent.mkdir(parents=True, exist_ok=True)
        (self.app / name).write_text(text)

    def commit(self, version: str, **files: str) -> str:
        """A new version on the branch, pushed. `schema="0002"` and such write files first."""
        self.write("version", f"{version}\n")
        for name, text in files.items():
            self.write(name.replace("_", "."), text + "\n")
        self.git("add", "-A")
        self.git("commit", "-qm", f"Version {version}")
        self.git("push", "-qf", str(self.root / "remote.git"), "HEAD:main")
        return self.git("rev-parse", "HEAD")

    def power(self, name: str, *, on: bool) -> None:
        switch = self.root / "machines" / name / "asleep"
        switch.unlink() if on else switch.touch()

    def serves(self, name: str) -> str:
        place = self.root / f"serves-{name}"
        return place.read_text().strip() if place.exists() else ""

    def current(self, name: str) -> str:
        link = self.root / "machines" / name / "app" / "current"
        return str(link.readlink()) if link.is_symlink() else ""

    def releases(self, name: str) -> list[str]:
        folder = self.root / "machines" / name / "app" / "releases"
        return sorted(each.name for each in folder.glob("[0-9]*"))

    @property
    def database(self) -> list[str]:
        return (self.root / "database").read_text().split()

    @property
    def migrate_starts(self) -> int:
        counted = self.root / "database.starts"
        return len(counted.read_text().split()) if counted.exists() else 0

    def packages_runs(self, name: str) -> int:
        counted = self.root / f"packages-{name}"
        return len(counted.read_text().split()) if counted.exists() else 0

    def machine(self, name: str) -> dict[str, Any]:
        rows = self.wakeline("status", "--json").data["machines"]
        return next(row for row in rows if row["machine"] == name)

    def log(self) -> list[dict[str, Any]]:
        """Every record on the ledger, as it stands there."""
        ref = "refs/wakeline/shop/uat/log"
        lines = self.git("log", "--reverse", "--format=%B", ref, at=self.root / "remote.git").splitlines()
        return [json.loads(line) for line in lines if line]

    def leaks(self) -> list[str]:
        """Where a planted secret can be read: what was said, the ledger, and everything that the agents and we keep."""
        found = leaks.in_texts(self.secrets, {"what was said": "".join(self.heard).encode()})
        for place in [*self.root.glob("machines/*/home"), *self.root.glob("cache"), *self.root.glob("*.git")]:
            found += leaks.in_files(self.secrets, place)
        return found

    def open_folders(self) -> list[str]:
        """Folders of the agents that others on the machine could look into."""
        homes = self.root.glob("machines/*/home/*/*")
        return [str(home) for home in homes if home.is_dir() and home.stat().st_mode & 0o077 and home.name == "uat"]


@pytest.fixture(scope="session")
def arrived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home to which this checkout's agent has come once, for all stories that are not about how it comes there."""
    home, agent = tmp_path_factory.mktemp("arrived"), agent_file()
    arrival.place(agent.data, digest=agent.digest, root=home)
    return home


@pytest.fixture
def fleet(tmp_path: Path, arrived: Path) -> Iterator[Fleet]:
    """Two machines that were set up. After the story no secret may stand anywhere, nor in a process's arguments."""
    made = Fleet(tmp_path)
    for name in ("scheduler", "uat"):
        shutil.copytree(arrived, tmp_path / "machines" / name / "home")
    made.commit("zero")
    assert made.wakeline("setup", "--unsigned").code == 0
    with leaks.processes_watched(made.secrets) as seen:
        yield made
        made.end_what_runs()
    assert (made.leaks(), made.open_folders(), seen) == ([], [], [])


def until(holds: Callable[[], bool], *, limit_s: float = 20.0) -> None:
    """Wait for a condition, at most so long."""
    ends = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < ends, "it did not come true in time"
        time.sleep(0.02)


def interrupt(process: subprocess.Popen[str]) -> Said:
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    return Said(process.returncode, out, err)
