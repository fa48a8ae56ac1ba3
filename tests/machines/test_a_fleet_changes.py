"""Story 13 on booted machines: fleets grow, are renamed, share machines and take in repositories; moving in and out.

Several claims a boot: a machine costs seconds.
"""

from __future__ import annotations

import subprocess

import pytest

from commands import Said
from machines.conftest import UNIT
from machines.machine import Machine, until

EXTRA = """
[[stage]]
name = "extra"
[[stage.machine]]
name = "extra"
address = "ubuntu@{address}"
presence = "on-demand"
roles = ["web"]
"""
FRONT = """
[[repository]]
path = "front"
git = "{url}"
"""
SERVE = "/usr/bin/gunicorn --bind 0.0.0.0:8000 --workers 1 site_.wsgi"


def change(fleet, old: str, new: str) -> None:
    place = fleet.app / "wakeline.toml"
    text = place.read_text()
    assert old in text, text
    place.write_text(text.replace(old, new))


def append(fleet, text: str) -> None:
    place = fleet.app / "wakeline.toml"
    place.write_text(place.read_text() + text)


def known(fleet, name: str, machine: Machine) -> None:
    """The runner knows a machine's host key under a name."""
    with (fleet.folder / "known_hosts").open("a") as file:
        file.write(f"{name} {machine.host_key}\n")


def third(fleet, testbed) -> Machine:
    """A third machine, booted, with the unit of a frontend and nothing of wakeline's."""
    extra = testbed.machine("extra")
    fleet.machines["extra"] = extra
    extra.write("/etc/systemd/system/gunicorn-uat.service", UNIT.format(command=SERVE))
    fleet.write_env_file(extra)
    known(fleet, "extra", extra)
    extra.boot()
    extra.wait_for_boot()
    extra.run("chown -R ubuntu: /opt/shop && systemctl daemon-reload && systemctl enable gunicorn-uat.service")
    return extra


def second_repository(fleet, text: str) -> str:
    """A commit of the front end's own repository; returns its URL for machines."""
    remote = fleet.remote.with_name(f"front-{fleet.remote.name}")
    work = fleet.folder / "front"
    if not work.exists():
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(remote)], check=True)
        subprocess.run(["git", "init", "-q", "-b", "main", str(work)], check=True)
    (work / "page.html").write_text(text)
    ann = ["-c", "user.name=Ann", "-c", "user.email=ann@localhost"]
    subprocess.run(["git", "add", "-A"], cwd=work, check=True)
    subprocess.run(["git", *ann, "commit", "-qm", text], cwd=work, check=True)
    subprocess.run(["git", "push", "-q", str(remote), "HEAD:main"], cwd=work, check=True)
    return fleet.url.replace(fleet.remote.name, remote.name)


def test_13_a_machine_joins_a_stage_is_added_one_is_renamed_and_a_second_repository_comes_in(fleet, testbed):
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    extra = third(fleet, testbed)

    append(fleet, EXTRA.format(address=extra.address))
    fleet.commit("two")
    said = fleet.wakeline("setup", "extra")
    assert said.code == 0, said.err + said.out
    assert "extra: release 1 is approved for it, and it looks now" in said.out
    extra.wait_until_it_serves("one")
    assert fleet.check_in("extra")["outcome"] == "ok"
    assert fleet.migrate_starts == ["scheduler:1"], "who joins checks, and never migrates"

    assert fleet.wakeline("hold", "extra", "--why", "a demo").code == 0
    said = fleet.wakeline("deploy")  # the first release with the stage that was added
    assert (said.code, "extra is on hold: a demo" in said.err) == (0, True), said.err
    assert (*fleet.serves, extra.http()) == ("two", "two", "one")
    assert fleet.releases(extra) == ["1"], "not even laid out"
    assert fleet.wakeline("unhold", "extra").code == 0
    assert fleet.wakeline("catch-up", "extra").code == 0
    extra.wait_until_it_serves("two")

    fleet.uat.power_off()
    change(fleet, 'name = "uat"\naddress', 'name = "web"\nrenamed_from = "uat"\naddress')
    known(fleet, "web", fleet.uat)
    append(fleet, FRONT.format(url=second_repository(fleet, "first page")))
    fleet.commit("three")
    said = fleet.wakeline("deploy")
    assert (said.code, "web is asleep" in said.err) == (0, True), said.err
    fleet.uat.boot()
    fleet.uat.wait_for_boot()
    fleet.uat.wait_until_it_serves("three")
    until(lambda: fleet.check_in("web").get("release") == 3, limit_s=60, what="its word under its new name")
    assert fleet.uat.read("/opt/shop/current/front/page.html") == "first page"
    second_repository(fleet, "second page")
    said = fleet.wakeline("deploy")  # the main repository has not moved
    assert said.code == 0, said.err
    for machine in (fleet.scheduler, fleet.uat, extra):
        assert machine.read("/opt/shop/current/front/page.html") == "second page"
    assert fleet.wakeline("rollback").code == 0
    assert fleet.uat.read("/opt/shop/current/front/page.html") == "first page"
    assert fleet.migrate_starts == ["scheduler:1"]


BLOG = """\
app = "blog"
environment = "uat"
git = "{url}"

[deploy]
path = "/opt/blog"

[[stage]]
name = "frontend"
[[stage.machine]]
name = "uat"
address = "ubuntu@{address}"
presence = "always"

[[service]]
unit = "blog.service"
health = {{ http = "http://127.0.0.1:8001/VERSION", within = "30s" }}
"""
BLOG_UNIT = """\
[Service]
User=ubuntu
WorkingDirectory=/opt/blog/current
ExecStart=/usr/bin/python3 -m http.server 8001
[Install]
WantedBy=multi-user.target
"""


def blog(fleet) -> object:
    """A second application with a repository of its own, on a machine that has the first."""
    remote = fleet.remote.with_name(f"blog-{fleet.remote.name}")
    work = fleet.folder / "blog"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(remote)], check=True)
    subprocess.run(["git", "init", "-q", "-b", "main", str(work)], check=True)
    file = BLOG.format(url=fleet.url.replace(fleet.remote.name, remote.name), address=fleet.uat.address)
    (work / "wakeline.toml").write_text(file)
    (work / "VERSION").write_text("hello\n")
    ann = ["-c", "user.name=Ann", "-c", "user.email=ann@localhost"]
    subprocess.run(["git", "add", "-A"], cwd=work, check=True)
    subprocess.run(["git", *ann, "commit", "-qm", "hello"], cwd=work, check=True)
    subprocess.run(["git", "push", "-q", str(remote), "HEAD:main"], cwd=work, check=True)
    fleet.uat.write("/etc/systemd/system/blog.service", BLOG_UNIT)
    fleet.uat.run("systemctl daemon-reload && systemctl enable blog.service")
    return work


def test_13_two_apps_on_one_machine_and_the_one_that_leaves_leaves_the_other_alone(fleet):
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    work = blog(fleet)
    said = fleet.wakeline("setup", at=work)
    assert said.code == 0, said.err + said.out
    assert fleet.wakeline("deploy", at=work).code == 0
    assert (fleet.uat.http(), fleet.uat.http("/VERSION", port=8001)) == ("one", "hello")
    assert fleet.wakeline("rollback", at=work).code == 2, "shop's release is nothing that blog could go back to"

    said = fleet.wakeline("leave", "--yes", at=work)
    assert said.code == 0, said.err
    assert "the agent stays: it has another fleet here" in said.out
    ours = fleet.uat.run(
        "ls /etc/systemd/system /etc/sudoers.d /usr/local/lib/wakeline /run | grep wakeline- | sort -u"
    )
    assert [line for line in ours.split() if "blog" in line] == []
    assert fleet.uat.http("/VERSION", port=8001) == "hello"
    fleet.commit("two")
    assert fleet.wakeline("deploy").code == 0
    assert fleet.serves == ("two", "two")


SERVE_ITSELF = f"#!/bin/sh\nexec {SERVE}\n"
OLD_UNIT = """\
[Unit]
Description=The shop, as it was before wakeline
[Service]
User=ubuntu
WorkingDirectory=/opt/shop/checkout
EnvironmentFile=/opt/shop/checkout/.env
ExecStartPre=/usr/bin/test -x /opt/shop/checkout/env/bin/serve
ExecStart=/opt/shop/checkout/env/bin/serve
Restart=on-failure
[Install]
WantedBy=multi-user.target
"""
MAKES_ENV = """
[[step]]
name = "environment"
roles = ["web"]
run = "mkdir -p env/bin && cp serve.sh env/bin/serve && chmod 755 env/bin/serve"
inputs = ["serve.sh"]
outputs = ["env"]
"""


@pytest.fixture
def old_style(bare):
    """The frontend runs by hand from a checkout with an environment of its own, and nobody has heard of wakeline."""
    append(bare, MAKES_ENV)
    bare.commit("by hand", {"serve.sh": SERVE_ITSELF})
    uat = bare.uat
    clone = f"git clone -q {bare.url} /opt/shop/checkout && mkdir -p /opt/shop/checkout/env/bin"
    uat.run(f"rm -rf /opt/shop/shared && su ubuntu -c '{clone}'")
    uat.write("/opt/shop/checkout/env/bin/serve", SERVE_ITSELF, mode=0o755, owner=1000)
    uat.write("/opt/shop/checkout/.env", bare.env_file(), mode=0o600, owner=1000)
    bare.rightly_in.append("uat:/opt/shop/checkout/.env")
    uat.write("/etc/systemd/system/gunicorn-uat.service", OLD_UNIT)
    uat.run("systemctl daemon-reload && systemctl enable --now gunicorn-uat.service")
    uat.wait_until_it_serves("by hand")
    return bare


def runs_from(machine: Machine) -> str:
    """Where the service's main process works."""
    return machine.run("readlink /proc/$(systemctl show -P MainPID gunicorn-uat)/cwd").strip()


def where_it_runs(fleet) -> tuple[str, str]:
    """What doctor finds of the folder that the frontend's service starts in."""
    findings = fleet.wakeline("doctor", "uat", "--json").data["findings"]
    found = next(each for each in findings if each["what"] == "where gunicorn-uat.service runs")
    return found["state"], found["found"]


def test_moving_in_from_a_checkout_with_its_own_environment_and_out_again(old_style):
    fleet, uat = old_style, old_style.uat
    said = fleet.wakeline("setup")
    assert said.code == 0, said.err + said.out
    assert "uat: will do: gunicorn-uat.service: ExecStart=/opt/shop/current/env/bin/serve" in said.err
    assert (
        "not copied without your word: /opt/shop/checkout/.env to /opt/shop/shared/.env (file, 0600, ubuntu:ubuntu)"
        in (said.err)
    )
    assert "setup uat --copy-shared" in said.err
    assert not uat.exists("/opt/shop/shared/.env")
    uat.run("systemctl restart gunicorn-uat")  # as a crash or a reboot before the first release would
    uat.wait_until_it_serves("by hand")

    said = fleet.wakeline("setup", "uat", "--copy-shared")
    assert said.code == 0, said.err + said.out
    assert uat.run("stat -c '%a %U' /opt/shop/shared/.env").split() == ["600", "ubuntu"]
    said = fleet.wakeline("setup", "uat", "--copy-shared")
    assert "uat: nothing to change" in said.err

    healthy = 'health = { http = "http://127.0.0.1:8000/healthz", within = "30s" }'
    change(fleet, healthy, healthy.replace("30s", "5s"))  # nobody waits half a minute for what never comes
    fleet.commit("broken", {"site_/wsgi.py": "raise SystemExit('broken')\n"})
    said = fleet.wakeline("deploy")  # the first release ever fails
    assert (said.code, "back on release 0" in said.err) == (1, True), said.err
    uat.wait_until_it_serves("by hand")
    fleet.git("checkout", "-q", "HEAD~1", "--", "site_/wsgi.py", "wakeline.toml")
    fleet.commit("one")
    said = fleet.wakeline("deploy")
    assert said.code == 0, said.err
    assert fleet.serves == ("one", "one")
    assert runs_from(uat).startswith("/opt/shop/releases/2")
    started = uat.run("systemctl show gunicorn-uat -p ExecStart -p EnvironmentFiles")
    assert "/opt/shop/checkout" not in started

    assert where_it_runs(fleet)[0] == "ok"
    drop_in = "/etc/systemd/system/gunicorn-uat.service.d/50-wakeline.conf"
    uat.run(f"mv {drop_in} /root/ && systemctl daemon-reload")
    state, found = where_it_runs(fleet)
    assert (state, "ExecStart=/opt/shop/checkout/env/bin/serve" in found) == ("warning", True), found
    uat.run(f"mv /root/50-wakeline.conf {drop_in} && systemctl daemon-reload")

    pid = uat.run("systemctl show -P MainPID gunicorn-uat")
    said = fleet.wakeline("leave", "--yes")
    assert said.code == 0, said.err + said.out
    assert "is kept: without it gunicorn-uat.service starts in /opt/shop/checkout" in said.out
    assert uat.run("systemctl show -P MainPID gunicorn-uat") == pid, "it runs on, not restarted"
    for machine in fleet.machines.values():
        assert machine.run("systemctl list-unit-files --no-legend 'wakeline*'", check=False) == ""
        left = machine.run("ls /etc/sudoers.d /run /usr/local/lib; ls /var/lib/wakeline 2>/dev/null || true").split()
        assert [each for each in left if "wakeline" in each or each == "agent.pyz"] == []
        machine.power_off()
    fleet.scheduler.boot(wait=False)
    uat.boot()
    uat.wait_for_boot()
    uat.wait_until_it_serves("one")
    fleet.scheduler.wait_until_it_serves("one")

    # back to deploying by hand, as the seed's rollback plan has it
    head = fleet.commit("two by hand")
    by_hand = f"cd /opt/shop/current && git fetch -q {fleet.url} main && git checkout -q {head}"
    uat.run(f"su ubuntu -c '{by_hand}' && systemctl restart gunicorn-uat")
    uat.wait_until_it_serves("two by hand")


def test_setup_as_a_newcomer_meets_it(bare):
    uat = bare.uat
    change(bare, f"ubuntu@{uat.address}", f"cmd:echo ubuntu@{uat.address}")
    change(bare, f"ubuntu@{bare.scheduler.address}", bare.scheduler.address)
    with (bare.folder / "ssh_config").open("a") as file:
        file.write("    User ubuntu\n")
    bare.commit("addresses that do not say who deploys")
    uat.run("useradd --create-home admin && install -d -m 700 -o admin /home/admin/.ssh")
    uat.run("cp /root/.ssh/authorized_keys /home/admin/.ssh/ && chown admin /home/admin/.ssh/authorized_keys")

    def setup(*words: str) -> Said:
        return bare.wakeline("setup", "uat", *words)

    uat.run("mv /home/ubuntu/.ssh/authorized_keys /root/keys")
    said = setup()
    assert (said.code, "uat: login:" in said.err) == (1, True), said.err
    uat.run("mv /root/keys /home/ubuntu/.ssh/authorized_keys")
    said = setup("--root-user", "admin")
    assert (said.code, "admin needs sudo without a password" in said.err) == (1, True), said.err
    uat.write("/etc/sudoers.d/admin", "admin ALL=(ALL) NOPASSWD: ALL\n", mode=0o440)
    uat.run("mv /usr/sbin/visudo /root/ && mount --bind /etc /etc && mount -o remount,bind,ro /etc")
    said = setup("--root-user", "admin")
    assert (said.code, "Read-only file system" in said.err) == (1, True), said.err
    assert "setup is safe twice" in said.err
    assert "Traceback" not in said.err
    uat.run("mount -o remount,bind,rw /etc")
    said = setup("--root-user", "admin")
    assert said.code == 0, said.err
    said = setup("--root-user", "admin")
    assert (said.code, "uat: nothing to change" in said.err) == (0, True), said.err
    shown = setup("--root-user", "admin", "--print")
    assert (shown.code, "set -eu" in shown.out) == (0, True)
    bare.scheduler.cut_network()
    said = bare.wakeline("setup")
    assert said.code == 0, said.err
    assert "later: wakeline setup scheduler" in said.err
    bare.scheduler.restore_network()
    said = bare.wakeline("setup", "scheduler")
    assert said.code == 0, said.err
    assert bare.scheduler.run("stat -c %U /opt/shop/releases /var/lib/wakeline").split() == ["ubuntu", "ubuntu"]
    uat.run("mv /usr/bin/sudo /root/sudo")
    bare.commit("one")
    said = bare.wakeline("deploy")  # what needs root goes through the helper, as it does at boot
    assert said.code == 0, said.err
    uat.wait_until_it_serves("one")
    uat.run("mv /usr/bin/python3 /root/python3")
    said = setup()
    assert (said.code, "python3" in said.err, "Traceback" in said.err) == (1, True, False), said.err
