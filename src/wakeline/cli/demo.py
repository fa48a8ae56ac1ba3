"""`wakeline demo`: a small fleet of folders on this machine. Deploys, sleeps, wakes, fails; and checks each of these.

It runs the very command that a user would run, and reads what the machines serve.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

from wakeline.cli.result import Result
from wakeline.errors import ExitCode, RolloutFailed

_FILE = """\
app = "shop"
environment = "demo"
git = "{root}/remote.git"

[deploy]
path = "./app"

[[stage]]
name = "scheduler"
[[stage.machine]]
name = "scheduler"
address = "local:{root}/machines/scheduler"
presence = "always"

[[stage]]
name = "frontend"
[[stage.machine]]
name = "frontend"
address = "local:{root}/machines/frontend"
presence = "on-demand"

[[step]]
name = "packages"
run = "sleep 0.5; cp packages.lock vendor/installed"
inputs = ["packages.lock"]
outputs = ["vendor"]

[[step]]
name = "migrate"
once = true
run = "sh migrate.sh {root}/database"
verify = "grep -qxF \\"$(cat schema)\\" {root}/database || exit 10"

[[service]]
name = "web"
restart = "cat version >{root}/serves-$WAKELINE_MACHINE"
health = {{ run = "grep -qxF \\"$(cat version)\\" {root}/serves-$WAKELINE_MACHINE" }}
"""
_MIGRATE = """\
# A database of one file: every line is a migration that ran.
if grep -q broken schema; then echo 'column "price" does not exist'; exit 1; fi
cat schema >>"$1"
"""


class Check(RolloutFailed):
    """The demo did not show what it promises."""


def run(folder: Path, *, keep: bool) -> Result:
    """Tell the story; exit 0 only when every claim of it was checked."""
    del folder
    root = Path(tempfile.mkdtemp(prefix="wakeline-demo-"))
    try:
        checks = _Demo(root).tell()
    finally:
        if not keep:
            shutil.rmtree(root)
    lines = ["", f"{checks} claims checked, all true", *([f"left in {root}"] if keep else [])]
    return Result("demo", {"checks": checks, "folder": str(root) if keep else ""}, lines=lines)


class _Demo:
    """One story on one temporary folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._app = root / "checkout"
        self._checks = 0

    def tell(self) -> int:
        self._say("An application with a git remote, and two machines: an always-on scheduler, an on-demand frontend.")
        self._make()
        self._wakeline("setup", "--unsigned")
        self._say("Both awake: the scheduler first, then the frontend; the migration once.")
        self._commit("one", schema="0001_orders")
        self._wakeline("deploy")
        self._check("the scheduler serves version one", self._serves("scheduler") == "one")
        self._check("the frontend serves version one", self._serves("frontend") == "one")
        self._check("the migration ran once", self._database() == ["0001_orders"])
        self._say("The frontend is switched off, and two releases go out without it.")
        self._power("frontend", on=False)
        for version, schema in (("two", "0002_prices"), ("three", "0002_prices")):
            self._commit(version, schema=schema)
            self._wakeline("deploy")
        self._check("asleep is a warning, not an error", self._machine("frontend")["presence"] == "asleep")
        self._check("the frontend still has version one", self._serves("frontend") == "one")
        self._say("It is switched on again, and looks at the ledger as its boot unit would.")
        self._power("frontend", on=True)
        self._wakeline("catch-up", "frontend")
        self._check("it went to version three in one hop", self._serves("frontend") == "three")
        self._check("version two never ran on it", self._releases("frontend") == ["1", "3"])
        self._say("A migration that fails: the rollout is red, and nothing moves.")
        self._commit("four", schema="0003_broken")
        self._wakeline("deploy", code=ExitCode.FAILED)
        self._check("the scheduler still serves version three", self._serves("scheduler") == "three")
        self._check("the frontend was not touched", self._serves("frontend") == "three")
        self._check("the database is as it was", self._database() == ["0001_orders", "0002_prices"])
        self._check("the release is not approved", self._machine("frontend")["approved"] == 3)
        self._wakeline("status")
        self._wakeline("history")
        return self._checks

    def _make(self) -> None:
        for name in ("scheduler", "frontend"):
            (self._root / "machines" / name).mkdir(parents=True)
        (self._root / "database").touch()
        self._git("init", "--quiet", "--bare", "--initial-branch=main", "remote.git", at=self._root)
        self._git("init", "--quiet", "--initial-branch=main", "checkout", at=self._root)
        (self._app / "wakeline.toml").write_text(_FILE.format(root=self._root))
        (self._app / "migrate.sh").write_text(_MIGRATE)
        (self._app / "packages.lock").write_text("django 5.2\n")
        self._commit("zero", schema="0000_nothing")

    def _commit(self, version: str, *, schema: str) -> None:
        (self._app / "version").write_text(f"{version}\n")
        (self._app / "schema").write_text(f"{schema}\n")
        self._git("add", ".", at=self._app)
        who = ("-c", "user.name=Demo", "-c", "user.email=demo@localhost")
        self._git(*who, "commit", "--quiet", "--message", f"Version {version}", at=self._app)
        self._git("push", "--quiet", str(self._root / "remote.git"), "main", at=self._app)

    def _wakeline(self, *arguments: str, code: ExitCode = ExitCode.DONE) -> None:
        sys.stdout.write(f"\n$ wakeline {' '.join(arguments)}\n")
        sys.stdout.flush()
        command = self._command(*arguments)
        ended = subprocess.run(command, cwd=self._app, check=False, stderr=subprocess.STDOUT)  # noqa: S603 - ours
        if ended.returncode != code:
            raise Check(f"`wakeline {' '.join(arguments)}` ended with {ended.returncode}, wanted {int(code)}")

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "wakeline", *arguments]

    def _machine(self, name: str) -> dict[str, Any]:
        command = self._command("status", "--json")
        said = subprocess.run(command, cwd=self._app, check=True, capture_output=True)  # noqa: S603 - same
        machines = json.loads(said.stdout)["data"]["machines"]
        return next(each for each in machines if each["machine"] == name)

    def _power(self, name: str, *, on: bool) -> None:
        switch = self._root / "machines" / name / "asleep"
        if on:
            switch.unlink()
        else:
            switch.touch()

    def _serves(self, name: str) -> str:
        return (self._root / f"serves-{name}").read_text().strip()

    def _releases(self, name: str) -> list[str]:
        return sorted(each.name for each in (self._root / "machines" / name / "app" / "releases").iterdir())

    def _database(self) -> list[str]:
        return (self._root / "database").read_text().split()

    def _check(self, claim: str, holds: bool) -> None:
        if not holds:
            raise Check(f"not true: {claim}")
        self._checks += 1
        sys.stdout.write(f"✓ {claim}\n")
        sys.stdout.flush()

    def _say(self, text: str) -> None:
        sys.stdout.write("\n" + textwrap.fill(f"# {text}", 100) + "\n")
        sys.stdout.flush()

    def _git(self, *arguments: str, at: Path) -> None:
        subprocess.run(["git", *arguments], cwd=at, check=True)  # noqa: S603, S607 - the demo's own repository
