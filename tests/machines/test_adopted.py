"""Story 11: what people have already. A plain checkout that stays where it is, and a deploy script of their own."""

from __future__ import annotations

import subprocess

FILE = """\
app = "shop"
environment = "uat"
git = "{url}"

[deploy]
path = "/opt/shop/checkout"
layout = "in-place"
env_file = "/opt/shop/shared/.env"
lease = "12s"
script = "sh deploy_machine.sh main {{role}}"
script_once = true

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

[[service]]
unit = "scheduler.service"
roles = ["scheduler"]
health = {{ http = "http://127.0.0.1:8000/", within = "10s" }}

[[service]]
unit = "gunicorn-uat.service"
roles = ["web"]
health = {{ http = "http://127.0.0.1:8000/healthz", within = "10s" }}
"""
SCRIPT = """\
#!/bin/sh
# deploy_machine.sh BRANCH ROLE
set -e
case "$WAKELINE_ONCE" in
    verify) exec python3 manage.py verify ;;
    run) exec python3 manage.py migrate --noinput ;;
esac
echo "release $WAKELINE_RELEASE as $2 on $WAKELINE_MACHINE" >>/opt/shop/shared/deployed
if [ "$2" = web ]; then sh pages.sh; fi
"""


def adopt(fleet) -> None:
    """The machines have a checkout and their units already; wakeline is told to leave them where they are."""
    places = {"scheduler": fleet.scheduler.address, "uat": fleet.uat.address}
    (fleet.app / "wakeline.toml").write_text(FILE.format(url=fleet.url, **places))
    (fleet.app / "deploy_machine.sh").write_text(SCRIPT)
    fleet.commit("zero")
    for machine in fleet.machines.values():
        clone = f"rm -rf /opt/shop/checkout && git clone -q {fleet.url} /opt/shop/checkout"
        machine.run(f"rm -rf /etc/systemd/system/*.d/50-wakeline.conf && su ubuntu -c '{clone}'")
    said = fleet.wakeline("setup")
    assert said.code == 0, said.err + said.out


def test_11_an_adopted_checkout_with_local_changes_and_a_script_of_its_own(fleet):
    adopt(fleet)
    fleet.uat.run("cd /opt/shop/checkout && echo hotfix >VERSION && echo mine >notes.txt && chown ubuntu: notes.txt")
    fleet.commit("one", {"notes.txt": "theirs\n"})
    said = fleet.wakeline("deploy")
    assert said.code == 0, said.err + said.out
    assert fleet.serves == ("one", "one")
    assert fleet.migrate_starts == ["scheduler:1"]
    assert fleet.applied == ["0001_initial", "0002_one_order"]
    assert fleet.uat.read("/opt/shop/shared/deployed") == "release 1 as web on uat\n"
    saved = fleet.uat.run("cd /var/lib/wakeline/shop/uat/saved/*; cat changes.patch; tar -xOf untracked.tar")
    assert "+hotfix" in saved
    assert "mine" in saved
    fleet.uat.power_off()
    fleet.commit("two")
    assert fleet.wakeline("deploy").code == 0
    fleet.uat.boot()
    fleet.uat.wait_for_boot()
    fleet.uat.wait_until_it_serves("two")
    assert fleet.wakeline("rollback").code == 0
    assert fleet.serves == ("one", "one")


def test_11_a_script_that_pulls_has_failed_and_what_ran_still_runs(fleet):
    adopt(fleet)
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    pulls = SCRIPT + "git checkout -q --force HEAD~1\n"
    fleet.commit("two", {"deploy_machine.sh": pulls})
    said = fleet.wakeline("deploy")
    assert said.code == 1
    assert "take `git pull` out of it" in said.err
    assert fleet.serves == ("one", "one")
    head = subprocess.run(["git", "rev-parse", "HEAD~1"], cwd=fleet.app, capture_output=True, text=True, check=True)
    assert fleet.scheduler.run("su ubuntu -c 'git -C /opt/shop/checkout rev-parse HEAD'") == head.stdout
