"""What a machine does by itself as it wakes: the agent it fetches, a boot's limit, a resume, a shutdown held off."""

from __future__ import annotations

import re

from another import TOMORROW, another_wakeline
from machines.machine import until

GATE = "touch /opt/shop/shared/began\nwhile ! test -e /opt/shop/shared/gate; do sleep 0.05; done\n"
LOOKS_ROUND = """\
{
    env | sort
    ulimit -a
    ulimit -Ha
    echo "umask $(umask), in $(pwd -P), at home in $(cd && pwd -P), as $(id)"
    for place in . "$HOME" /tmp /var/tmp /opt/shop /opt/shop/shared /var/lib/wakeline /etc /usr/local; do
        touch "$place/.probe" 2>/dev/null && rm "$place/.probe" && echo "$place may be written" || echo "$place may not"
    done
    echo "stdin $(readlink /proc/self/fd/0), nice $(nice), oom $(cat /proc/self/oom_score_adj)"
} >"/opt/shop/shared/seen-$WAKELINE_RELEASE" 2>&1
"""


def inhibitors(machine) -> str:
    """Who holds off what there, without our header and footer."""
    return machine.run("systemd-inhibit --list --no-pager --no-legend || true")


def status_of(fleet, name: str) -> dict:
    return next(row for row in fleet.wakeline("status", "--json").data["machines"] if row["machine"] == name)


def alike(text: str) -> str:
    """What a step saw, without what is another for another release."""
    text = re.sub(r"(WAKELINE_(?:RELEASE|COMMIT)=|releases/|seen-)[0-9a-f]+", r"\1N", text)
    return re.sub(r"(WAKELINE_OUTPUTS?=|socket:|pipe:).*", r"\1", text)


def test_a_machine_that_slept_through_an_upgrade_boots_into_the_agent_of_its_approval(fleet, tmp_path):
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    old = fleet.uat.link("/var/lib/wakeline/agent.pyz")
    fleet.uat.power_off()
    fleet.environment.update(another_wakeline(tmp_path / "tomorrow", TOMORROW))
    fleet.commit("two")
    said = fleet.wakeline("deploy")
    assert said.code == 0, said.err
    fleet.uat.boot()
    fleet.uat.wait_for_boot()
    fleet.uat.wait_until_it_serves("two")
    now = fleet.uat.link("/var/lib/wakeline/agent.pyz")
    assert now != old
    assert now == fleet.scheduler.link("/var/lib/wakeline/agent.pyz")
    assert fleet.uat.exists(f"/var/lib/wakeline/{old}"), "the old one is there as long as there is room"
    until(lambda: fleet.check_in("uat").get("release") == 2, limit_s=60, what="its check-in")
    assert fleet.check_in("uat")["outcome"] == "ok"
    journal = fleet.uat.run("journalctl --no-pager -b -o cat -u wakeline-shop-uat-boot")
    assert "carries on" in journal
    switched = float(fleet.uat.run("systemctl show -P ExecMainExitTimestampMonotonic wakeline-shop-uat-boot"))
    started = float(fleet.uat.run("systemctl show -P ExecMainStartTimestampMonotonic gunicorn-uat"))
    assert switched <= started, journal


def test_past_the_limit_of_a_boot_the_old_release_starts_and_the_switch_follows_and_steps_run_alike(fleet):
    file = fleet.app / "wakeline.toml"
    file.write_text(file.read_text().replace('lease = "12s"', 'lease = "12s"\nboot_limit = "6s"'))
    fleet.commit("one", {"pages.sh": LOOKS_ROUND})
    assert fleet.wakeline("setup").code == 0
    assert fleet.wakeline("deploy").code == 0
    fleet.uat.power_off()
    fleet.commit("two", {"pages.sh": LOOKS_ROUND + GATE})
    assert fleet.wakeline("deploy").code == 0
    fleet.uat.boot()
    fleet.uat.wait_until_it_serves("one", limit_s=90)
    assert fleet.uat.run("systemctl show -P Result wakeline-shop-uat-boot").strip() == "timeout"
    until(lambda: fleet.uat.exists("/opt/shop/shared/began"), limit_s=60, what="the step")
    old = fleet.uat.run("systemctl show -P MainPID gunicorn-uat").strip()
    until(lambda: status_of(fleet, "uat")["doing"].get("what") == "pages", limit_s=60, what="status says the step")
    row = status_of(fleet, "uat")
    assert (row["release"], row["doing"]["release"]) == (1, 2)
    assert "at work: release 2, pages since 20" in fleet.wakeline("status").out
    fleet.uat.write("/opt/shop/shared/gate", "")
    fleet.uat.wait_until_it_serves("two", limit_s=90)
    assert fleet.uat.run("systemctl show -P MainPID gunicorn-uat").strip() != old
    until(lambda: fleet.check_in("uat").get("outcome") == "ok", limit_s=60, what="its check-in")
    assert status_of(fleet, "uat")["doing"] == {}
    journal = fleet.uat.run("journalctl --no-pager -b -o cat -u 'wakeline-shop-uat-*'")
    for told in ("pages began", "switched from release 1 to 2", "release 2: ok"):
        assert told in journal, journal
    pushed, booted = (alike(fleet.uat.read(f"/opt/shop/shared/seen-{release}")) for release in (1, 2))
    assert booted == pushed


def test_a_resume_is_a_look_at_the_ledger_and_systemd_orders_it_behind_the_sleep(fleet):
    unit = "wakeline-shop-uat-resume.service"
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    uat = fleet.uat
    for target in ("suspend", "hibernate", "hybrid-sleep", "suspend-then-hibernate"):
        assert unit in uat.run(f"systemctl list-dependencies --plain --no-pager {target}.target")
        assert f"{target}.target" in uat.run(f"systemctl show -P After {unit}")
    assert uat.run(f"systemd-analyze verify --man=no /etc/systemd/system/{unit} 2>&1 | grep {unit} || true") == ""
    # This kernel cannot sleep: in its place stands a program, and everything around it is systemd's own.
    sleeps = "touch /run/asleep; until test -e /run/wakes; do sleep 0.05; done"
    text = f"[Service]\nExecStart=\nExecStart=/bin/sh -c '{sleeps}'\n"
    uat.write("/etc/systemd/system/systemd-suspend.service.d/test.conf", text)
    uat.run("systemctl daemon-reload; systemctl stop wakeline-shop-uat-catchup.timer")
    uat.run("systemctl --no-block start suspend.target")
    until(lambda: uat.run("ls /run/asleep", check=False), limit_s=30, what="it sleeps")
    uat.cut_network()
    fleet.commit("two")
    said = fleet.wakeline("deploy")
    assert (said.code, "uat is asleep" in said.err) == (0, True), said.err
    assert uat.run(f"systemctl show -P ExecMainStartTimestampMonotonic {unit}").strip() == "0"
    uat.restore_network()
    uat.run("touch /run/wakes")
    uat.wait_until_it_serves("two", limit_s=90)
    slept = float(uat.run("systemctl show -P ExecMainExitTimestampMonotonic systemd-suspend.service"))
    assert slept <= float(uat.run(f"systemctl show -P ExecMainStartTimestampMonotonic {unit}"))


def test_a_switch_holds_off_a_shutdown_from_the_push_and_from_the_unit(fleet):
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    assert "wakeline" not in inhibitors(fleet.uat)
    denied = fleet.uat.run("su ubuntu -c 'systemd-inhibit --what=shutdown --mode=delay true' 2>&1 || true")
    assert "Access denied" in denied, "the deploy user may not by itself: no polkit here"
    slow = (fleet.app / "site_/wsgi.py").read_text()
    slow = (
        f"import pathlib, time\nwhile not pathlib.Path('/opt/shop/shared/gate').exists():\n    time.sleep(0.05)\n{slow}"
    )
    file = fleet.app / "wakeline.toml"
    file.write_text(file.read_text().replace('within = "10s"', 'within = "90s"'))
    fleet.commit("two", {"site_/wsgi.py": slow})
    running = fleet.begin("deploy")
    until(lambda: "a release is being switched" in inhibitors(fleet.uat), limit_s=90, what="held off, from the push")
    assert "shutdown:sleep" in inhibitors(fleet.uat)
    fleet.uat.write("/opt/shop/shared/gate", "")
    _, err = running.communicate(timeout=120)
    assert running.returncode == 0, err
    until(lambda: "wakeline" not in inhibitors(fleet.uat), limit_s=30, what="let go")
    fleet.uat.run("rm /opt/shop/shared/gate; rm /run/wakeline-shop-uat.sock")
    fleet.uat.power_off()
    fleet.commit("three")
    assert fleet.wakeline("deploy").code == 0
    fleet.uat.boot()
    until(lambda: "a release is being switched" in inhibitors(fleet.uat), limit_s=90, what="held off, from the unit")
    fleet.uat.write("/opt/shop/shared/gate", "")
    fleet.uat.wait_until_it_serves("three", limit_s=90)
    until(lambda: "wakeline" not in inhibitors(fleet.uat), limit_s=30, what="let go")


def test_12_with_a_dead_name_service_it_serves_what_ran_and_gets_there_once_names_are_known(fleet):
    """On the frontend the remote has a name, and the name service is an address that nobody has."""
    uat, host = fleet.uat, f"{fleet.uat.address.rpartition('.')[0]}.1"
    known, unknown = f"{uat.read('/etc/hosts')}{host} remote.test\n", uat.read("/etc/hosts")
    uat.write("/home/ubuntu/.gitconfig", f'[url "git://remote.test/"]\n    insteadOf = git://{host}/\n', owner=1000)
    uat.write("/etc/resolv.conf", f"nameserver {host}99\noptions timeout:3 attempts:2\n")
    uat.write("/etc/hosts", known)
    fleet.commit("one")
    said = fleet.wakeline("deploy")
    assert said.code == 0, said.err
    uat.power_off()
    uat.write("/etc/hosts", unknown)
    fleet.commit("two")
    assert fleet.wakeline("deploy").code == 0
    uat.boot()
    uat.wait_until_it_serves("one", limit_s=60)
    uat.wait_for_boot()
    told = "journalctl --no-pager -b -o cat -u 'wakeline-shop-uat-*'"
    until(lambda: "keeps running what runs" in uat.run(told), limit_s=60, what="it says that there are no news")
    assert "Traceback" not in uat.run(told)
    state = uat.run("systemctl show -P ActiveState gunicorn-uat").strip()
    assert (state, uat.http()) == ("active", "one")
    uat.write("/etc/hosts", known)
    uat.wait_until_it_serves("two", limit_s=120)  # by its unit's next try: nobody asks for it
    until(lambda: fleet.check_in("uat").get("release") == 2, limit_s=60, what="its check-in")
    assert fleet.check_in("uat")["outcome"] == "ok"
