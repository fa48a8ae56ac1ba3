"""What the script of `leave` does as root, on a folder that stands for the machine and with a systemctl that notes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from wakeline.driver import leaving_script, machine_script
from wakeline.driver.machine_script import files_of
from wakeline.fleet import load

FILE = """\
app = "shop"
environment = "uat"
git = "/srv/shop.git"

[deploy]
path = "/opt/shop"
layout = "{layout}"

[[stage]]
name = "frontend"
[[stage.machine]]
name = "uat"
address = "ubuntu@uat.internal"
presence = "always"

[[service]]
unit = "gunicorn.service"
"""
SYSTEMCTL = """\
#!/bin/sh
echo "$*" >>{root}/asked
case "$2" in
    cat)
        for file in "{root}/etc/systemd/system/$3" {root}/etc/systemd/system/"$3".d/*.conf; do
            [ ! -e "$file" ] || {{ echo "# $file"; cat "$file"; echo; }}
        done ;;
    show) if [ -e "{root}/etc/systemd/system/$5" ]; then echo loaded; else echo not-found; fi ;;
esac
"""
OURS = ("/etc/", "/usr/local/", "/run/", "/var/lib/", "/opt/")


class Box:
    """One machine as a folder: every absolute path of ours is below it."""

    def __init__(self, root: Path, *, layout: str = "releases") -> None:
        self.root = root
        self.file = load(FILE.format(layout=layout))
        (self.machine,) = self.file.fleet.machines
        for path, (mode, text) in files_of(self.file, self.machine).items():
            self.write(path, self.here(text)).chmod(mode)
        self.write("/var/lib/wakeline/shop/uat/config.json", "{}")
        self.write("/opt/shop/releases/1/version", "one")
        (root / "opt/shop/current").symlink_to("releases/1")
        systemctl = self.write("/bin/systemctl", SYSTEMCTL.format(root=root))
        systemctl.chmod(0o755)

    def here(self, text: str) -> str:
        for path in OURS:
            text = text.replace(path, f"{self.root}{path}")
        return text

    def write(self, path: str, text: str) -> Path:
        place = Path(f"{self.root}{path}")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        return place

    def unit(self, folder: str) -> None:
        self.write("/etc/systemd/system/gunicorn.service", f"[Service]\nWorkingDirectory={self.root}{folder}\n")

    def leave(self, *, really: bool = True) -> str:
        home, path = machine_script.HOME, self.file.deploy.path
        script = leaving_script.render(self.file, self.machine, home=home, path=path, really=really)
        environment = {**os.environ, "PATH": f"{self.root}/bin:{os.environ['PATH']}"}
        done = subprocess.run(
            ["sh", "-s"], input=self.here(script), env=environment, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    @property
    def drop_in(self) -> Path:
        return Path(f"{self.root}/etc/systemd/system/gunicorn.service.d/50-wakeline.conf")

    def named_after_us(self) -> list[str]:
        return sorted(str(each.relative_to(self.root)) for each in self.root.rglob("*wakeline*"))

    def asked(self) -> list[str]:
        return (self.root / "asked").read_text().splitlines()


@pytest.fixture
def box(tmp_path):
    made = Box(tmp_path)
    made.unit("/opt/shop/current")
    return made


def test_everything_that_setup_writes_is_taken_away(box):
    box.leave()
    assert box.named_after_us() == []
    assert (box.root / "opt/shop/current/version").read_text() == "one"
    assert not box.drop_in.parent.exists()


def test_no_service_of_the_application_is_touched(box):
    box.leave()
    changing = [line for line in box.asked() if line.split()[1] not in ("cat", "show")]
    assert [line for line in changing if "gunicorn" in line] == []
    stopped = {line.split()[2] for line in changing if line.split()[1] == "stop"}
    assert stopped == {f"wakeline-shop-uat-{each}" for each in (
        "helper.socket", "boot.service", "confirm.service", "catchup.service", "catchup.timer", "resume.service"
    )}  # fmt: skip
    assert changing[-1] == "--no-pager daemon-reload"


def test_a_look_changes_nothing_and_names_the_same(box):
    before = box.named_after_us()
    looked = box.leave(really=False)
    assert box.named_after_us() == before
    assert {line.split()[1] for line in box.asked()} <= {"cat", "show"}
    assert looked.replace("would be removed", "removed") == box.leave()


def test_twice_finds_nothing_more(box):
    box.leave()
    assert box.leave() == f"{box.root}/opt/shop stays: current is releases/1\n"


@pytest.mark.parametrize("own", ["/opt/shop/checkout", ""])
def test_a_drop_in_without_which_the_unit_starts_elsewhere_is_kept_and_says_so(box, own):
    box.unit(own) if own else box.write("/etc/systemd/system/gunicorn.service", "[Service]\nExecStart=/bin/true\n")
    place = f"{box.root}{own}" if own else "/"
    said = box.leave()
    assert f"is kept: without it gunicorn.service starts in {place} and not in" in said
    text = box.drop_in.read_text()
    assert f"WorkingDirectory=\nWorkingDirectory={box.root}/opt/shop/current\n" in text
    assert "boot.service" not in text, "it names no unit that is gone"
    box.leave()
    assert box.drop_in.read_text() == text
    box.unit("/opt/shop/current")
    box.leave()
    assert not box.drop_in.exists(), "once the unit says it itself, it goes"


def test_the_last_word_of_the_unit_and_its_other_drop_ins_counts(box):
    box.unit("/opt/shop/checkout")
    text = f"[Service]\nWorkingDirectory=\nWorkingDirectory=-{box.root}/opt/shop/current\n"
    box.write("/etc/systemd/system/gunicorn.service.d/60-theirs.conf", text)
    box.leave()
    assert [each.name for each in box.drop_in.parent.iterdir()] == ["60-theirs.conf"]


MOVED = """\
# Written by `wakeline setup`; `wakeline leave` removes it.
[Unit]
After=wakeline-shop-uat-boot.service

[Service]
WorkingDirectory=
WorkingDirectory={root}/opt/shop/current
EnvironmentFile=
EnvironmentFile=/etc/shop
EnvironmentFile={root}/opt/shop/current/.env
ExecStart=
ExecStart={root}/opt/shop/current/.venv/bin/gunicorn site.wsgi
"""


def test_a_drop_in_without_which_the_unit_starts_something_else_is_kept_whole(box):
    box.drop_in.write_text(MOVED.format(root=box.root))
    own = "EnvironmentFile=/etc/shop\nEnvironmentFile={root}/opt/shop/current/.env\nExecStart={start} \\\n site.wsgi\n"
    own = f"[Service]\nWorkingDirectory={box.root}/opt/shop/current\n{own}"
    old = own.format(root=box.root, start=f"{box.root}/opt/shop/checkout/.venv/bin/gunicorn")
    box.write("/etc/systemd/system/gunicorn.service", old)
    said = box.leave()
    assert f"{box.drop_in} is kept: without it gunicorn.service has another ExecStart=; it runs on" in said
    service = MOVED.format(root=box.root).partition("[Service]")[2]
    assert box.drop_in.read_text().partition("[Service]")[2] == service
    new = own.format(root=box.root, start=f"{box.root}/opt/shop/current/.venv/bin/gunicorn").replace(" \\\n", "")
    box.write("/etc/systemd/system/gunicorn.service", new)
    box.leave()
    assert not box.drop_in.exists(), "once the unit says it all itself, it goes"


def test_in_place_the_drop_in_sets_no_folder_and_goes(tmp_path):
    box = Box(tmp_path, layout="in-place")
    box.unit("/somewhere")
    box.leave()
    assert box.named_after_us() == []


def test_a_drop_in_of_a_unit_that_left_the_fleet_file_is_found(box):
    former = box.write("/etc/systemd/system/former.service.d/50-wakeline.conf", box.drop_in.read_text())
    box.leave()
    assert not former.parent.exists()


def test_what_another_fleet_has_here_stays(box):
    theirs = box.drop_in.read_text().replace("wakeline-shop-uat", "wakeline-shop-uat2")
    place = box.write("/etc/systemd/system/theirs.service.d/50-wakeline.conf", theirs)
    sudoers = box.write("/etc/sudoers.d/wakeline-shop-uat2", "theirs")
    helper = box.write("/usr/local/lib/wakeline/wakeline-shop-uat2-helper", "theirs")
    config = box.write("/var/lib/wakeline/shop/uat2/config.json", "{}")
    agent = box.write("/var/lib/wakeline/agent.pyz", "agent")
    box.leave()
    assert [each for each in (place, sudoers, helper, config, agent) if not each.exists()] == []
