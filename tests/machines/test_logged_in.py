"""The command that `setup` puts on a machine, as somebody finds it who has logged in there: over ssh, by each user."""

from __future__ import annotations

import subprocess

import pytest

COMMAND = "wakeline-shop-uat"


def logged_in(fleet, command: str, *, user: str = "ubuntu") -> subprocess.CompletedProcess[str]:
    """A login on the frontend, and one command."""
    ssh = ["ssh", "-F", str(fleet.folder / "ssh_config"), "-o", f"UserKnownHostsFile={fleet.folder}/known_hosts"]
    ssh += ["-o", "HostKeyAlias=uat", "-l", user, fleet.uat.address, command]
    return subprocess.run(ssh, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def woken(fleet):
    """The frontend has slept through a release, and the units that would have brought it there are switched off.

    `admin` may become root, and `guest` nothing at all.
    """
    uat = fleet.uat
    for user in ("admin", "guest"):
        uat.run(f"useradd --create-home --shell /bin/bash {user} && cp -r /home/ubuntu/.ssh /home/{user}/")
        uat.run(f"chown -R {user}: /home/{user}/.ssh")
    uat.write("/etc/sudoers.d/admin", "admin ALL=(ALL) NOPASSWD: ALL\n", mode=0o440)
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    units = " ".join(f"{COMMAND}-{each}" for each in ("boot.service", "catchup.timer", "resume.service"))
    uat.run(f"systemctl --quiet disable --now {units}")
    uat.power_off()
    fleet.commit("two")
    assert fleet.wakeline("deploy").code == 0
    uat.boot()
    uat.wait_for_boot()
    return fleet


def test_the_deploy_user_looks_catches_up_and_reads_what_happened(woken):
    said = logged_in(woken, f"{COMMAND} status")
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith("shop/uat: uat runs release 1 (")
    assert "by hand" not in said.stdout, "what Python compiles while it serves is nobody's hand"
    said = logged_in(woken, f"{COMMAND} catch-up")
    assert said.returncode == 0, said
    assert "switched from release 1 to 2" in said.stderr
    assert woken.uat.http() == "two"
    said = logged_in(woken, f"{COMMAND} catch-up")
    assert (said.returncode, said.stderr.startswith("shop/uat: runs release 2, ")) == (0, True), said
    assert logged_in(woken, f"{COMMAND} status").stdout.startswith("shop/uat: uat runs release 2 (")

    woken.uat.run(f"systemctl start {COMMAND}-catchup.service")
    said = logged_in(woken, f"{COMMAND} log --output=cat")
    assert (said.returncode, said.stderr) == (0, ""), "what ran under its name, it may read"
    assert said.stdout.startswith("shop/uat: runs release 2, "), said.stdout

    assert woken.wakeline("hold", "uat", "--why", "a demo").code == 0
    said = logged_in(woken, f"{COMMAND} catch-up")
    assert (said.returncode, said.stderr) == (0, "shop/uat: uat is on hold: a demo\n")
    woken.remote.rename(woken.remote.with_suffix(".away"))
    said = logged_in(woken, f"{COMMAND} catch-up")
    assert (said.returncode, said.stderr.startswith("shop/uat: keeps running what runs: ")) == (75, True), said
    woken.remote.with_suffix(".away").rename(woken.remote)
    assert woken.uat.http() == "two"


def test_wrong_words_and_wrong_users_are_told_what_is_right(woken):
    usage = logged_in(woken, COMMAND)
    assert (usage.returncode, usage.stderr) == (0, "")
    words = [line.removeprefix("usage:").split()[:2] for line in usage.stdout.splitlines()]
    assert words == [[COMMAND, each] for each in ("catch-up", "status", "log")]
    said = logged_in(woken, f"{COMMAND} deploy")
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == f"error: {COMMAND} knows no such word: deploy\n{usage.stdout}"
    said = logged_in(woken, f"{COMMAND} catch-up --boot")
    assert (said.returncode, said.stderr) == (2, f"error: {COMMAND} catch-up takes no more words\n")
    assert woken.uat.http() == "one"

    for word in ("status", "catch-up"):
        said = logged_in(woken, f"{COMMAND} {word}", user="guest")
        assert (said.returncode, said.stdout) == (2, "")
        assert said.stderr == f"error: this is for the user ubuntu, or for root: sudo {COMMAND} {word}\n"
    said = logged_in(woken, f"{COMMAND} log", user="guest")
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr.splitlines()[-1] == (
        f"error: the journal shows guest nothing of it; root sees everything: sudo {COMMAND} log"
    )

    assert "runs release 1" in logged_in(woken, f"sudo {COMMAND} status", user="admin").stdout
    said = logged_in(woken, f"sudo {COMMAND} catch-up", user="admin")
    assert (said.returncode, "release 2: ok" in said.stderr) == (0, True), said
    assert woken.uat.run("find /opt/shop/releases /var/lib/wakeline -user root").strip() == "", (
        "done as the deploy user"
    )
    assert "Finished" in logged_in(woken, f"sudo {COMMAND} log -n 200", user="admin").stdout
    woken.uat.run("mv /var/lib/wakeline/agent.pyz /root/")
    for user, command in (("ubuntu", COMMAND), ("admin", f"sudo {COMMAND}")):
        said = logged_in(woken, f"{command} status", user=user)
        assert (said.returncode, said.stdout) == (1, "")
        assert said.stderr == (
            "error: there is no agent in /var/lib/wakeline; in a checkout of the application: wakeline setup MACHINE\n"
        )
