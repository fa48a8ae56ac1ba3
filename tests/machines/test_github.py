"""The seed's four scenarios and cancelled runs, by the steps of the generated workflow, on booted machines.

wakeline is installed by pipx from a wheel, and knows nothing of this machine: keys come from secrets, host keys and
signers from the repository.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from built_wheel import build_wheel
from github.api import Api, serve
from github.conftest import named
from github.job import Job, Step
from machines.conftest import Fleet
from machines.machine import until
from machines.test_cut_off import WAITS, began, open_gate
from machines.test_stories import BAD_MIGRATION
from machines.testbed import Testbed
from stories.receivers import http_receiver
from wakeline import __version__
from wakeline.fleet import load
from wakeline.github import workflow

PROGRAMS = Path(sys.executable).parent
SLOW_MIGRATION = """\
import pathlib, time
from django.db import migrations

def wait(*_):
    pathlib.Path("/opt/shop/shared/began").touch()
    while not pathlib.Path("/opt/shop/shared/gate").exists():
        time.sleep(0.05)

class Migration(migrations.Migration):
    dependencies = [("orders", "0002_one_order")]
    operations = [migrations.RunPython(wait)]
"""


@pytest.fixture(scope="session")
def runner(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a runner: pipx on its PATH, and a place where it finds the wheel."""
    place = tmp_path_factory.mktemp("runner")
    build_wheel(place / "wheels")
    (place / "bin").mkdir()
    (place / "bin/pipx").symlink_to(PROGRAMS / "pipx")
    kept = {key: value for key, value in os.environ.items() if key.startswith(("PIP_", "UV_", "SSL_", "LANG", "LC_"))}
    return {
        **kept,
        "PATH": f"{place}/bin:{place}/pipx_bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "PIPX_HOME": f"{place}/pipx",
        "PIPX_BIN_DIR": f"{place}/pipx_bin",
        "PIPX_DEFAULT_PYTHON": sys.executable,
        "PIP_FIND_LINKS": str(place / "wheels"),
        "UV_FIND_LINKS": str(place / "wheels"),  # pipx takes uv where there is one
    }


class Pushed:
    """A fleet whose workflow runs at each push."""

    def __init__(self, fleet: Fleet, testbed: Testbed, api: Api, runner: dict[str, str]) -> None:
        self.fleet = fleet
        self._key = testbed.key.read_text()
        self._signing_key = fleet.signing_key.read_text()
        self._api = api
        self._runner = runner
        self._runs = 0
        self._told = {"WAKELINE_NOTIFY_WATCH": fleet.environment["WAKELINE_NOTIFY_WATCH"]}
        known = "".join(f"{machine.name} {machine.host_key}\n" for machine in fleet.machines.values())
        (fleet.app / "known_hosts").write_text(known)

    def tell(self, address: str) -> None:
        """Let somebody be told from the next commit on."""
        file = self.fleet.app / "wakeline.toml"
        file.write_text(file.read_text() + '\n[[notify]]\nname = "team"\nto = "env:WAKELINE_NOTIFY_TEAM"\n')
        self._told["WAKELINE_NOTIFY_TEAM"] = address

    def job(self, made=workflow.deploy, **more) -> Job:
        self._runs += 1
        folder = self.fleet.folder / f"run-{self._runs}"
        text = made(load((self.fleet.app / "wakeline.toml").read_text()), install=f"wakeline=={__version__}")
        secrets = {"WAKELINE_SSH_KEY": self._key, "WAKELINE_SIGNING_KEY": self._signing_key, **self._told}
        return Job(
            text,
            folder=folder,
            remote=self.fleet.remote,
            commit=self.fleet.git("rev-parse", "HEAD"),
            environment={**self._runner, "HOME": str(folder / "home")},
            secrets=secrets,
            api_url=self._api.url,
            **more,
        )

    def push(self, version: str, files: dict[str, str] | None = None) -> dict[str, Step]:
        self.fleet.commit(version, files)
        return named(self.job().run())

    def cancelled(self, stage: str, when: Callable[[], bool]) -> Step:
        """Run again what was pushed last, and cancel that stage's step as soon as `when` holds."""
        steps = named(self.job().run(cancel=lambda name: name.startswith(f"Stage {stage}") and when()))
        assert steps[stage].conclusion == "cancelled", steps[stage].log
        assert steps[stage].code in (3, 130), steps[stage].log
        print(f"stopped in {steps[stage].seconds_to_stop:.1f} s")
        return steps[stage]

    @property
    def lease_is_free(self) -> bool:
        kinds = [r["kind"] for r in self.fleet.log() if r["kind"] in ("lease-taken", "lease-freed")]
        return kinds[-1:] != ["lease-taken"]


@pytest.fixture
def pushed(fleet: Fleet, testbed: Testbed, runner: dict[str, str]) -> Iterator[Pushed]:
    for api in serve():
        yield Pushed(fleet, testbed, api, runner)
        assert api.wrong == []


def test_scenario_1_both_online_the_scheduler_first_and_migrations_once(pushed):
    steps = pushed.push("one")
    assert [step.conclusion for step in steps.values()] == ["success"] * 4, "".join(step.log for step in steps.values())
    assert pushed.fleet.serves == ("one", "one")
    assert pushed.fleet.migrate_starts == ["scheduler:1"]
    assert "| migrate | scheduler | ran, verified |" in steps["frontend"].summary
    assert "PRIVATE KEY" not in "".join(step.log for step in steps.values())


def test_scenario_2_the_frontend_off_is_a_warning_and_its_boot_brings_it_up_and_the_clock_tells(pushed):
    with http_receiver() as team:
        pushed.fleet.secrets["the team's address"] = "s3cr3t-room"
        pushed.tell(f"json://127.0.0.1:{team.port}/s3cr3t-room?cto=30&rto=30")
        pushed.push("one")
        pushed.fleet.uat.power_off()
        steps = pushed.push("two")
        assert (steps["scheduler"].conclusion, steps["frontend"].conclusion) == ("success", "success")
        assert [each.properties["title"] for each in steps["frontend"].annotations("warning")] == ["uat is asleep"]
        assert pushed.fleet.scheduler.http() == "two"
        pushed.fleet.uat.boot()
        pushed.fleet.uat.wait_for_boot()
        pushed.fleet.uat.wait_until_it_serves("two")
        until(lambda: pushed.fleet.check_in("uat").get("release") == 2, limit_s=60, what="its word on the ledger")
        job = pushed.job(made=workflow.notify)
        step = named(job.run())["Send what is due"]
        assert step.conclusion == "success", step.log
        assert "s3cr3t-room" in job.masked
        assert [each["title"].removeprefix("shop uat: ") for each in team.taken] == [
            "release 1 passed",
            "release 2 passed, uat asleep",
            "uat has caught up: release 2",
        ]


def test_scenario_3_a_bad_migration_is_a_red_run_and_the_frontend_is_not_attempted(pushed):
    pushed.push("one")
    steps = pushed.push("two", {"orders/migrations/0003_bad.py": BAD_MIGRATION})
    assert (steps["scheduler"].conclusion, steps["frontend"].conclusion) == ("failure", "skipped")
    assert "no_such_table" in steps["scheduler"].annotations("error")[0].text
    assert pushed.fleet.serves == ("one", "one")
    assert pushed.fleet.outcomes("uat") in (["ok"], ["unchanged"])  # its own timer may be faster than the second step


def test_scenario_4_off_through_several_pushes_it_boots_to_the_newest_and_to_nothing_between(pushed):
    pushed.push("one")
    pushed.fleet.uat.power_off()
    for version in ("two", "three"):
        assert pushed.push(version)["frontend"].conclusion == "success"
    pushed.fleet.uat.boot()
    pushed.fleet.uat.wait_for_boot()
    pushed.fleet.uat.wait_until_it_serves("three")
    assert pushed.fleet.releases(pushed.fleet.uat) == ["1", "3"]


def test_cancelled_while_it_knocks_at_a_machine_that_does_not_answer(pushed):
    pushed.push("one")
    pushed.fleet.commit("two")
    pushed.fleet.scheduler.cut_network()
    begun = len(pushed.fleet.log())
    pushed.cancelled("scheduler", lambda: len(pushed.fleet.log()) > begun)
    assert pushed.lease_is_free
    pushed.fleet.scheduler.restore_network()
    steps = named(pushed.job(attempt=2).run())
    assert steps["frontend"].conclusion == "success", steps["scheduler"].log + steps["frontend"].log
    assert pushed.fleet.serves == ("two", "two")


def test_cancelled_in_a_step_nothing_is_half_done_and_the_next_run_carries_on(pushed):
    pushed.push("one")
    pushed.fleet.commit("two", {"pages.sh": WAITS})
    pushed.cancelled("frontend", lambda: pushed.fleet.uat.exists("/opt/shop/shared/began"))
    assert pushed.lease_is_free
    assert pushed.fleet.serves == ("two", "one")
    open_gate(pushed.fleet.uat)
    assert named(pushed.job(attempt=2).run())["frontend"].conclusion == "success"
    assert pushed.fleet.serves == ("two", "two")
    assert pushed.fleet.migrate_starts == ["scheduler:1"]


def test_cancelled_in_a_migration_it_ends_by_itself_and_is_not_started_again(pushed):
    pushed.push("one")
    pushed.fleet.commit("two", {"orders/migrations/0003_slow.py": SLOW_MIGRATION})
    pushed.cancelled("scheduler", lambda: pushed.fleet.scheduler.exists("/opt/shop/shared/began"))
    assert pushed.lease_is_free
    open_gate(pushed.fleet.scheduler)
    until(lambda: "0003_slow" in pushed.fleet.applied, limit_s=60, what="the migration ends")
    steps = named(pushed.job(attempt=2).run())
    assert steps["frontend"].conclusion == "success", steps["scheduler"].log
    assert pushed.fleet.migrate_starts == ["scheduler:1", "scheduler:2"]
    assert pushed.fleet.serves == ("two", "two")


def test_cancelled_while_it_waits_for_health_the_machine_decides_by_itself(pushed):
    pushed.push("one")
    text = (
        (pushed.fleet.app / "wakeline.toml").read_text().replace('healthz", within = "10s"', 'healthz", within = "60s"')
    )
    slow = "import pathlib, time\nwhile not pathlib.Path('/opt/shop/shared/gate').exists(): time.sleep(0.05)\n"
    wsgi = (pushed.fleet.app / "site_/wsgi.py").read_text()
    pushed.fleet.commit("two", {"wakeline.toml": text, "site_/wsgi.py": slow + wsgi})
    pushed.cancelled("frontend", lambda: pushed.fleet.uat.link("/opt/shop/current") == "releases/2")
    assert pushed.lease_is_free
    open_gate(pushed.fleet.uat)
    pushed.fleet.uat.wait_until_it_serves("two", limit_s=90)
    steps = named(pushed.job(attempt=2).run())
    assert steps["frontend"].conclusion == "success", steps["frontend"].log


def test_cancelled_while_it_waits_for_the_lease_of_somebody_else(pushed):
    pushed.push("one")
    pushed.fleet.commit("two", {"pages.sh": WAITS})
    other = pushed.fleet.begin("deploy")
    began(pushed.fleet.uat)
    pushed.cancelled("scheduler", lambda: any(r["kind"] == "requested" for r in pushed.fleet.log()))
    assert [r["kind"] for r in pushed.fleet.log()].count("request-ended") == 1
    open_gate(pushed.fleet.uat)
    out, err = other.communicate(timeout=180)
    assert other.returncode == 0, err + out
    assert named(pushed.job(attempt=2).run())["frontend"].conclusion == "success"
