"""From what is on a machine to what setup says and does: the script run on a folder that stands for the machine."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from wakeline.driver import adopting, machine_script
from wakeline.driver.machine_script import Copy, Found
from wakeline.fleet import load

FILE = """\
app = "shop"
environment = "uat"
git = "/srv/shop.git"

[deploy]
path = "/opt/shop"
shared = [".env"]
{deploy}

[[stage]]
name = "frontend"
[[stage.machine]]
name = "uat"
address = "{user}@uat.internal"
presence = "always"

[[step]]
name = "packages"
run = "make"
inputs = ["lock"]
outputs = [".venv"]

[[service]]
unit = "gunicorn.service"

[[service]]
unit = "worker.service"
"""
UNIT = "/etc/systemd/system/gunicorn.service"


def judged(facts: dict, *, deploy: str = ""):
    file = load(FILE.format(deploy=deploy, user="ubuntu"))
    project = SimpleNamespace(file=file)
    return adopting.judge(project, file.fleet.machines[0], facts, tracked=frozenset({"manage.py"}))


def unit(folder: str, start: str = "/usr/bin/true") -> dict:
    return {"state": "loaded", "settings": [["WorkingDirectory", folder, UNIT], ["ExecStart", start, UNIT]]}


def facts(**more) -> dict:
    units = {"gunicorn.service": unit("/opt/old", "/opt/old/.venv/bin/gunicorn"), "worker.service": unit("/opt/old")}
    found = {"units": units, "tops": {}, "folders": ["/opt/old"], "current": "", "files": {}, "missing": []}
    return {**found, "user": True, "shared": [], **more}


ENV = {"at": "/opt/old/.env", "kind": "file", "mode": "0600", "owner": "ubuntu:ubuntu"}


def shared(*found: dict, there: bool = False) -> list[dict]:
    return [{"name": ".env", "to": "/opt/shop/shared/.env", "there": there, "found": list(found)}]


def test_it_says_what_is_moved_and_that_the_old_folder_is_release_0():
    plan = judged(facts())
    assert "gunicorn.service: ExecStart=/opt/shop/current/.venv/bin/gunicorn" in plan.changes
    assert "worker.service: starts in /opt/shop/current (now: /opt/old)" in plan.changes
    assert "/opt/shop/current leads to /opt/old until the first release: release 0" in plan.changes
    assert (plan.doubts, plan.problem) == ((), "")
    assert plan.found.adopted == "/opt/old"


def test_no_folder_is_release_0_where_services_run_from_several():
    units = {"gunicorn.service": unit("/opt/old"), "worker.service": unit("/opt/other")}
    plan = judged(facts(units=units, folders=["/opt/old", "/opt/other"]))
    assert plan.found.adopted == ""
    assert "several folders" in plan.doubts[0]


@pytest.mark.parametrize("more", [{"current": "releases/3"}, {"folders": []}])
def test_nothing_is_adopted_where_a_release_runs_or_the_old_folder_is_gone(more):
    assert judged(facts(**more)).found.adopted == ""


def test_in_place_nothing_is_moved():
    plan = judged(facts(), deploy='layout = "in-place"')
    assert (plan.found.units, plan.found.adopted) == ({}, "")


def test_a_shared_path_is_copied_from_where_there_is_one_and_only_said_where_there_are_two():
    plan = judged(facts(shared=shared(ENV)))
    assert plan.copies == (Copy(".env", "/opt/shop/shared/.env", **ENV),)
    plan = judged(facts(shared=shared(ENV, {**ENV, "at": "/opt/other/.env"})))
    assert plan.copies == ()
    assert plan.missing == (
        "/opt/shop/shared/.env is missing, and /opt/old/.env and /opt/other/.env differ: copy the right one",
    )
    assert judged(facts(shared=shared())).missing == ("/opt/shop/shared/.env is missing",)
    assert judged(facts(shared=shared(there=True))).missing == ()


def test_what_is_as_it_should_be_is_nothing_to_change():
    file = load(FILE.format(deploy="", user="ubuntu"))
    moved = judged(facts(current="releases/1")).found
    wanted = machine_script.files_of(file, file.fleet.machines[0], found=moved)
    have = {
        path: {"digest": adopting.hashlib.sha256(text.encode()).hexdigest(), "mode": mode}
        for path, (mode, text) in wanted.items()
    }
    changes = judged(facts(current="releases/1", files=have)).changes
    assert changes == ()
    have[f"{UNIT}.d/50-wakeline.conf"] = {"digest": "another", "mode": 0o644}
    changes = judged(facts(current="releases/1", files=have)).changes
    assert f"{UNIT}.d/50-wakeline.conf is changed" in changes


@pytest.mark.parametrize(
    ("more", "why"), [({"user": False}, "adduser ubuntu"), ({"missing": ["git"]}, "apt-get install git")]
)
def test_what_setup_cannot_do_without_is_said_before_anything_is_done(more, why):
    assert why in judged(facts(**more)).problem


class Box:
    """The script of one machine, below a folder, as a user who is not root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        self.file = load(FILE.format(deploy="", user=user))
        (root / "bin").mkdir()
        for tool in ("systemctl", "visudo"):
            place = root / "bin" / tool
            place.write_text("#!/bin/sh\n")
            place.chmod(0o755)
        (root / "old").mkdir()
        (root / "old/.env").write_text("SECRET_KEY=hunter2\n")
        (root / "old/.env").chmod(0o600)

    def run(self, *copies: Copy, adopted: str = "") -> str:
        found = Found({}, adopted, copies)
        script = machine_script.render(self.file, self.file.fleet.machines[0], agent_digest="a" * 64, found=found)
        for path in ("/etc/", "/usr/local/", "/var/lib/", "/opt/"):
            script = script.replace(path, f"{self.root}{path}")
        environment = {**os.environ, "PATH": f"{self.root}/bin:{os.environ['PATH']}"}
        done = subprocess.run(["sh", "-s"], input=script, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def copy(self, name: str = ".env") -> Copy:
        return Copy(name, f"/opt/shop/shared/{name}", f"{self.root}/old/{name}", "file", "0600", "")


@pytest.fixture
def box(tmp_path):
    return Box(tmp_path)


def test_a_copy_keeps_its_mode_never_overwrites_and_never_shows_its_content(box):
    said = box.run(box.copy())
    place = box.root / "opt/shop/shared/.env"
    assert (place.read_text(), place.stat().st_mode & 0o777) == ("SECRET_KEY=hunter2\n", 0o600)
    assert "hunter2" not in said
    place.write_text("changed since")
    assert "copied" not in box.run(box.copy())
    assert place.read_text() == "changed since"


def test_a_folder_is_copied_whole_and_a_link_by_what_it_leads_to(box):
    (box.root / "old/media/deep").mkdir(parents=True)
    (box.root / "old/media/deep/picture").write_text("a picture")
    (box.root / "old/.env").rename(box.root / "kept")
    (box.root / "old/.env").symlink_to("../kept")
    box.run(box.copy(), dataclasses.replace(box.copy("media"), kind="folder"))
    assert (box.root / "opt/shop/shared/media/deep/picture").read_text() == "a picture"
    assert not (box.root / "opt/shop/shared/.env").is_symlink()


def test_an_adopted_folder_is_release_0_and_never_takes_the_place_of_a_release(box):
    box.run(adopted=f"{box.root}/old")
    current = box.root / "opt/shop/current"
    assert (str(current.readlink()), current.resolve()) == ("releases/0", box.root / "old")
    current.unlink()
    current.symlink_to("releases/7")
    box.run(adopted=f"{box.root}/old")
    assert str(current.readlink()) == "releases/7"


def test_twice_changes_nothing(box):
    box.run(box.copy(), adopted=f"{box.root}/old")
    said = box.run(box.copy(), adopted=f"{box.root}/old").splitlines()
    quiet = ("is as it should be", "units enabled", "is sent at the first contact")
    assert [line for line in said if not line.endswith(quiet)] == []
