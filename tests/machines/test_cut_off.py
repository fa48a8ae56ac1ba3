"""Contact lost midway, power lost midway, machines that wake at the wrong moment, runners that die."""

from __future__ import annotations

import signal

from machines.machine import until

WAITS = "touch /opt/shop/shared/began\nwhile ! test -e /opt/shop/shared/gate; do sleep 0.05; done\n"
SLOW_START = "import pathlib, time\npathlib.Path('/opt/shop/shared/began').touch()\n"


def began(machine) -> None:
    until(lambda: machine.exists("/opt/shop/shared/began"), limit_s=60, what=f"a step on {machine.name}")


def open_gate(machine) -> None:
    machine.write("/opt/shop/shared/gate", "")


def end(process, *, limit_s: float = 120.0) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=limit_s)
    return process.returncode, out, err


def test_7_the_frontends_network_is_cut_in_the_middle_of_its_steps(fleet):
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    fleet.commit("two", {"pages.sh": WAITS})
    running = fleet.begin("deploy")
    began(fleet.uat)
    fleet.uat.cut_network()
    code, out, err = end(running)
    assert code == 1, err
    assert "uat        unknown" in out
    assert fleet.outcomes("uat") == ["ok", "unknown"]
    open_gate(fleet.uat)
    fleet.uat.restore_network()
    fleet.uat.wait_until_it_serves("two")
    said = fleet.wakeline("deploy")
    assert said.code == 0, said.err
    assert fleet.outcomes("uat")[2:] in (["ok"], ["unchanged"], ["ok", "unchanged"])
    assert fleet.migrate_starts == ["scheduler:1"]


def test_7_the_frontend_is_switched_off_in_the_middle_and_its_own_boot_resolves_it(fleet):
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    fleet.commit("two", {"pages.sh": WAITS})
    running = fleet.begin("deploy")
    began(fleet.uat)
    fleet.uat.power_cut()
    code, out, err = end(running)
    assert code == 1, err
    assert "unknown" in out
    assert "asleep" not in out
    open_gate(fleet.uat)
    fleet.uat.boot()
    fleet.uat.wait_for_boot()
    fleet.uat.wait_until_it_serves("two")
    until(lambda: fleet.check_in("uat").get("outcome") == "ok", limit_s=30, what="its check-in")
    said = fleet.wakeline("deploy")
    assert said.code == 0, said.err
    assert fleet.outcomes("uat")[:2] == ["ok", "unknown"]
    assert fleet.outcomes("uat")[-1] in ("ok", "unchanged")


def test_8_a_frontend_that_boots_before_its_stage_takes_part(fleet):
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    fleet.uat.power_off()
    scheduler = (fleet.app / "scheduler.py").read_text()
    fleet.commit("two", {"packages.lock": "new\n", "scheduler.py": scheduler + "\n"})
    fleet.scheduler.run("mkfifo /opt/shop/shared/hold && chown ubuntu: /opt/shop/shared/hold")
    file = fleet.app / "wakeline.toml"
    waits = "touch /opt/shop/shared/began; while ! test -e /opt/shop/shared/gate; do sleep 0.05; done; "
    file.write_text(file.read_text().replace('run = "date', f'run = "{waits}date'))
    fleet.commit("two")
    open_gate(fleet.uat)
    running = fleet.begin("deploy")
    began(fleet.scheduler)
    fleet.uat.boot()
    fleet.uat.wait_for_boot()
    fleet.uat.wait_until_it_serves("one")
    until(lambda: "awake" in said_so_far(running, "uat"), limit_s=30, what="the runner sees it awake")
    open_gate(fleet.scheduler)
    code, _, err = end(running)
    assert code == 0, err
    assert fleet.serves == ("two", "two")
    assert fleet.outcomes("uat") == ["ok", "ok"]
    assert fleet.migrate_starts == ["scheduler:1"]


def said_so_far(process, name: str) -> str:
    """What the runner says of a machine, line by line, until it says that it is awake."""
    for line in process.stderr:
        process.heard.append(line)
        if name in line and "awake" in line:
            return str(line)
    return ""


def test_8_a_frontend_that_boots_in_its_stage_and_after_it_ends_on_the_approved_release(fleet):
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    fleet.uat.power_off()
    fleet.commit("two")
    running = fleet.begin("deploy")
    until(lambda: any(r["kind"] == "approved" and r["release"] == 2 for r in fleet.log()), limit_s=60, what="approved")
    fleet.uat.boot(wait=False)
    code, _, err = end(running)
    assert code == 0, err
    fleet.uat.wait_for_boot()
    fleet.uat.wait_until_it_serves("two")
    assert fleet.releases(fleet.uat) == ["1", "2"]
    assert fleet.migrate_starts == ["scheduler:1"]


def test_8_a_frontend_that_loses_its_power_in_its_switch_wakes_three_releases_later_in_one_hop(fleet):
    wsgi = (fleet.app / "site_/wsgi.py").read_text()
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    fleet.commit("two", {"site_/wsgi.py": f"{SLOW_START}while True: time.sleep(1)\n"})
    running = fleet.begin("deploy")
    began(fleet.uat)
    fleet.uat.power_cut()
    code, out, err = end(running)
    assert (code, "unknown" in out) == (1, True), err
    assert fleet.uat.link("/opt/shop/current") == "releases/2"
    for version in ("three", "four", "five"):
        fleet.commit(version, {"site_/wsgi.py": wsgi})
        said = fleet.wakeline("deploy")
        assert said.code == 0, said.err
    fleet.uat.boot()
    fleet.uat.wait_for_boot()
    fleet.uat.wait_until_it_serves("five")
    assert not {"3", "4"} & set(fleet.releases(fleet.uat))
    until(lambda: fleet.check_in("uat").get("release") == 5, limit_s=60, what="its check-in")
    assert fleet.check_in("uat")["outcome"] == "ok"
    assert fleet.migrate_starts == ["scheduler:1"]


def test_9_two_runners_at_once_one_goes_and_nothing_runs_twice(fleet):
    fleet.commit("one")
    first, second = fleet.begin("deploy"), fleet.begin("deploy")
    codes = sorted([end(first)[0], end(second)[0]])
    assert codes in ([0, 0], [0, 3])
    assert fleet.serves == ("one", "one")
    assert fleet.migrate_starts == ["scheduler:1"]


def test_9_a_runner_killed_with_the_lease_is_outlived_and_the_next_carries_on(fleet):
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    fleet.commit("two", {"pages.sh": WAITS})
    running = fleet.begin("deploy")
    began(fleet.uat)
    running.send_signal(signal.SIGKILL)
    end(running)
    open_gate(fleet.uat)
    fleet.uat.wait_until_it_serves("two")  # an accepted order is carried to its end
    said = fleet.wakeline("deploy")
    assert said.code == 0, said.err
    assert "watching it" in said.err
    assert fleet.outcomes("uat")[-1] == "unchanged"
    assert fleet.migrate_starts == ["scheduler:1"]


def test_12_a_code_only_change_runs_no_package_step_and_switching_back_needs_none(fleet):
    for version in ("one", "two"):
        fleet.commit(version)
        assert fleet.wakeline("deploy").code == 0
    fleet.commit("three")
    said = fleet.wakeline("deploy")
    assert said.err.count("packages: not run (its inputs are unchanged; vendor linked)") == 2
    installed = fleet.uat.read("/opt/shop/current/vendor/installed")
    file = fleet.app / "wakeline.toml"
    file.write_text(file.read_text().replace('env_file = ".env"', 'env_file = ".env"\nkeep = 2'))
    for version in ("four", "five"):
        fleet.commit(version)
        assert fleet.wakeline("deploy").code == 0
    assert "1" not in fleet.releases(fleet.uat)  # the release that made the output has been pruned
    assert fleet.uat.read("/opt/shop/current/vendor/installed") == installed
    said = fleet.wakeline("rollback")
    assert said.code == 0, said.err
    assert "packages: passed" not in said.err
    assert fleet.serves == ("four", "four")
