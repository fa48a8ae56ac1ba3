"""The search that follows every story on booted machines is no empty one: it finds what was planted on purpose."""

from __future__ import annotations

import subprocess

import leaks
from machines.machine import until

LOG = "/var/lib/wakeline/shop/uat/logs/planted.log"


def test_a_secret_is_found_wherever_it_stands_and_also_on_a_machine_that_is_off(bare):
    planted, uat = leaks.canary(), bare.uat
    bare.secrets["a canary"] = planted
    uat.write("/opt/shop/shared/canary", planted)
    assert bare.leaks() == [], "it may stand in the shared folder"
    bare.heard.append(f"error: cannot log in with {planted}")
    (bare.folder / "cache").mkdir()
    (bare.folder / "cache/planted").write_text(planted)
    command = ["git", "hash-object", "-w", "--stdin"]
    subprocess.run(command, cwd=bare.remote, input=planted, text=True, check=True, capture_output=True)
    uat.write(LOG, f"the password is {planted}")
    uat.run("logger --file /opt/shop/shared/canary; cp /opt/shop/shared/canary /run/planted")
    found = [
        "what was said: a canary",
        "runner:/cache/planted: a canary",
        f"the objects of {bare.remote.name}: a canary",
        "uat's journal: a canary",
        f"uat:{LOG}: a canary",
    ]
    assert bare.leaks() == [*found, "uat:/run/planted: a canary"]
    uat.power_off()
    assert bare.leaks() == found
    del bare.secrets["a canary"]


def test_a_secret_is_found_in_a_machines_processes(bare):
    bare.uat.write("/opt/shop/shared/canary", bare.secrets["the database's password"])
    bare.uat.run('sh -c "sleep 1; true" "$(cat /opt/shop/shared/canary)"')
    until(lambda: bare.seen, limit_s=10, what="seen in the arguments")
    assert bare.seen == [
        "the arguments of sh -c sleep 1; true <the database's password>: the database's password",
    ]
    bare.seen.clear()
    bare.uat.write("/opt/shop/shared/canary", bare.secrets["the runner's token"])
    bare.uat.run('TOKEN="$(cat /opt/shop/shared/canary)" sh -c "sleep 1; true"')
    until(lambda: bare.seen, limit_s=10, what="seen in the environment")
    assert set(bare.seen) == {
        f"the environment of {each}: the runner's token" for each in ("sh -c sleep 1; true", "sleep 1")
    }
    bare.seen.clear()
