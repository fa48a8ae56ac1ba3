"""The product's promises, told on booted machines: systemd, sshd, PostgreSQL, Django, gunicorn."""

from __future__ import annotations

from machines.machine import until

BAD_MIGRATION = """\
from django.db import migrations

class Migration(migrations.Migration):
    dependencies = [("orders", "0002_one_order")]
    operations = [migrations.RunSQL("alter table no_such_table add column price integer")]
"""


def test_1_both_awake_scheduler_first_frontend_after_it_migrations_once(fleet):
    fleet.commit("one")
    said = fleet.wakeline("deploy")
    assert said.code == 0, said.err + said.out
    assert fleet.serves == ("one", "one")
    assert fleet.uat.http("/orders") == "1"
    assert fleet.applied == ["0001_initial", "0002_one_order"]
    assert fleet.migrate_starts == ["scheduler:1"]
    kinds = [
        (r["kind"], r.get("machine") or r.get("stage")) for r in fleet.log() if r["kind"] in ("outcome", "approved")
    ]
    expected = [("outcome", "scheduler"), ("approved", "scheduler"), ("approved", "frontend"), ("outcome", "uat")]
    assert kinds == expected


def test_2_a_frontend_that_is_off_is_a_warning_and_its_boot_brings_it_to_the_approved_release(fleet):
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    fleet.uat.power_off()
    fleet.commit("two")
    said = fleet.wakeline("deploy")
    assert said.code == 0, said.err
    assert "uat is asleep: when it wakes, it brings itself to release 2" in said.err
    assert fleet.scheduler.http() == "two"
    fleet.uat.boot()
    fleet.uat.wait_for_boot()
    journal = fleet.uat.run("journalctl --no-pager -b -o cat -u 'wakeline*' -u gunicorn-uat")
    fleet.uat.wait_until_it_serves("two")
    assert "release 2 is the newest approved" in journal
    switched = float(fleet.uat.run("systemctl show -P ExecMainExitTimestampMonotonic wakeline-shop-uat-boot"))
    started = float(fleet.uat.run("systemctl show -P ExecMainStartTimestampMonotonic gunicorn-uat"))
    assert switched <= started, f"gunicorn started before the switch\n{journal}"
    until(lambda: fleet.check_in("uat").get("release") == 2, limit_s=30, what="its check-in")
    assert fleet.check_in("uat")["outcome"] == "ok"
    assert fleet.migrate_starts == ["scheduler:1"]


def test_3_a_bad_migration_is_red_and_nothing_moves(fleet):
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    fleet.uat.power_off()
    fleet.commit("two", {"orders/migrations/0003_bad.py": BAD_MIGRATION})
    said = fleet.wakeline("deploy")
    assert said.code == 1
    assert "no_such_table" in said.err
    assert "withheld" in said.out
    assert fleet.scheduler.http() == "one"
    assert [r["stage"] for r in fleet.log() if r["kind"] == "approved" and r["release"] == 2] == []
    fleet.uat.boot()
    fleet.uat.wait_for_boot()
    fleet.uat.wait_until_it_serves("one")
    assert fleet.uat.link("/opt/shop/current") == "releases/1"
    assert fleet.migrate_starts == ["scheduler:1", "scheduler:2"]


def test_4_off_through_three_releases_the_middle_one_bad_it_boots_to_the_newest_approved(fleet):
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    fleet.uat.power_off()
    fleet.commit("two")
    assert fleet.wakeline("deploy").code == 0
    fleet.commit("three", {"orders/migrations/0003_bad.py": BAD_MIGRATION})
    assert fleet.wakeline("deploy").code == 1
    (fleet.app / "orders/migrations/0003_bad.py").unlink()
    fleet.commit("four")
    assert fleet.wakeline("deploy").code == 0
    fleet.uat.boot()
    fleet.uat.wait_for_boot()
    fleet.uat.wait_until_it_serves("four")
    assert fleet.releases(fleet.uat) == ["1", "4"]


def test_5_a_frontend_that_is_awake_but_broken_is_red_and_serves_what_it_served(fleet):
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    # What is looked at is the rollout. A beat of the timer between uat's failure and its record would try once more.
    fleet.uat.run("systemctl stop wakeline-shop-uat-catchup.timer")

    def red(version: str, cause: str, files: dict[str, str] | None = None) -> None:
        fleet.commit(version, files)
        said = fleet.wakeline("deploy")
        assert (said.code, cause in said.err) == (1, True), said.err
        fleet.uat.wait_until_it_serves("one")  # where it was switched back, its service is starting again
        assert fleet.serves == (version, "one")
        assert "asleep" not in said.out

    red("two", "npm ERR!", {"pages.sh": "env; echo 'npm ERR!'; exit 1\n"})
    fleet.write_env_file(fleet.uat, DATABASE_HOST="127.0.0.9")
    fleet.commit("three", {"pages.sh": "exit 0\n"})
    said = fleet.wakeline("deploy")
    assert said.code == 1
    assert "verify cannot tell" in said.err
    fleet.write_env_file(fleet.uat)
    wsgi = (fleet.app / "site_/wsgi.py").read_text()
    red("four", "is not healthy", {"site_/wsgi.py": "raise SystemExit('broken')\n"})
    fleet.uat.run("mv /etc/sudoers.d/wakeline-shop-uat /root/")
    red("five", "sudoers line", {"site_/wsgi.py": wsgi})
    fleet.uat.run("mv /root/wakeline-shop-uat /etc/sudoers.d/; mv /home/ubuntu/.ssh/authorized_keys /root/keys")
    red("six", "login:")
    fleet.uat.run("mv /root/keys /home/ubuntu/.ssh/authorized_keys")
    fleet.uat.new_host_key()
    fleet.uat.run("systemctl restart ssh")
    red("seven", "host key:")


def test_6_a_scheduler_that_is_off_is_red_not_a_warning(fleet):
    fleet.commit("one")
    fleet.scheduler.power_off()
    said = fleet.wakeline("deploy")
    assert said.code == 1
    assert "cannot be reached, and it is always on" in said.err
    assert "withheld" in said.out


def test_10_a_sleeper_follows_a_rollback_at_its_boot(fleet):
    for version in ("one", "two"):
        fleet.commit(version)
        assert fleet.wakeline("deploy").code == 0
    fleet.uat.power_off()
    said = fleet.wakeline("rollback")
    assert said.code == 0, said.err
    assert fleet.scheduler.http() == "one"
    fleet.uat.boot()
    fleet.uat.wait_for_boot()
    fleet.uat.wait_until_it_serves("one")
    assert fleet.uat.link("/opt/shop/current") == "releases/3"


def test_our_units_are_exposed_to_little_and_none_may_sudo(fleet):
    names = ("boot.service", "confirm.service", "catchup.service", "resume.service", "helper@.service")
    for name in names:
        unit = f"wakeline-shop-uat-{name}"
        report = fleet.uat.run(f"systemd-analyze security --no-pager {unit.replace('@', '@1')} || true")
        score = float(report.rpartition("exposure level for")[2].split(":")[1].split()[0])
        assert score <= 2.0, report
        assert "sudo" not in fleet.uat.read(f"/etc/systemd/system/{unit}")
    ours = fleet.uat.run("cd /etc/systemd/system && ls wakeline-shop-uat-*.service").split()
    assert sorted(ours) == sorted(f"wakeline-shop-uat-{name}" for name in names), "each of them was looked at"


def test_two_machines_with_one_machine_id_are_not_both_set_up(fleet):
    same = fleet.scheduler.read("/etc/machine-id")
    fleet.uat.power_off()
    fleet.uat.write("/etc/machine-id", same)
    fleet.uat.boot()
    said = fleet.wakeline("setup")
    assert said.code == 1
    assert "uat: it was set up as" in said.err
    said = fleet.wakeline("deploy")
    assert said.code == 1
    assert "a clone, or built anew?" in said.err


def test_a_machine_without_python_is_told_in_words(fleet):
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    fleet.uat.run("mv /usr/bin/python3 /usr/bin/python3-away")
    fleet.commit("two")
    said = fleet.wakeline("deploy")
    assert said.code == 1
    assert "python3 is not installed there" in said.err
    assert fleet.outcomes("uat") == ["ok", "failed"]
    found = fleet.wakeline("doctor", "uat")
    assert "Python 3.9 or newer: apt-get install python3" in found.out


def test_doctor_on_machines_in_order_and_with_a_masked_unit(fleet):
    said = fleet.wakeline("doctor")
    assert said.code == 0, said.out
    fleet.uat.run(
        "systemctl mask --runtime gunicorn-uat; rm /etc/sudoers.d/wakeline-shop-uat; rm /opt/shop/shared/.env"
    )
    said = fleet.wakeline("doctor")
    assert said.code == 1
    for found in ("sudo /usr/bin/systemctl --no-pager restart", ".env: is missing"):
        assert found in said.out, said.out


def test_a_machine_that_still_boots_and_lets_nobody_in_is_waited_for(fleet):
    fleet.commit("one")
    fleet.uat.run("touch /run/nologin; (sleep 6; rm /run/nologin) >/dev/null 2>&1 &")  # pam_nologin, as while booting
    said = fleet.wakeline("deploy")
    assert said.code == 0, said.err
    assert fleet.serves == ("one", "one")
