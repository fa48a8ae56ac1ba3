"""Ctrl-C, holds and dead runners in every phase: on record, nothing half-done, and the next deploy carries on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from stories.conftest import interrupt, until

WAITS = "touch {root}/began\nwhile ! test -e {root}/gate; do sleep 0.02; done\n"


def waits(fleet) -> str:
    return WAITS.format(root=fleet.root)


def began(fleet) -> None:
    until((fleet.root / "began").exists)


def restarts_by_script(fleet) -> str:
    """Let each commit say how its service restarts; returns the command that does."""
    text = (fleet.app / "wakeline.toml").read_text()
    restart = f"cat version >{fleet.root}/serves-$WAKELINE_MACHINE"
    assert restart in text
    fleet.write("wakeline.toml", text.replace(restart, "sh restart.sh"))
    return restart


def short_lease(fleet) -> None:
    """A runner that died keeps the next one waiting for so long, from the next commit on."""
    text = (fleet.app / "wakeline.toml").read_text()
    fleet.write("wakeline.toml", text.replace("[deploy]\n", '[deploy]\nlease = "10s"\n'))


def deploy_until_the_runner_is_killed(fleet) -> None:
    """The runner is killed where a command waits on the scheduler; agent and command live on."""
    running = fleet.begin("deploy")
    began(fleet)
    running.send_signal(signal.SIGKILL)
    running.communicate(timeout=30)


def deploy_until_the_agent_is_killed(fleet) -> None:
    """The scheduler's agent is killed where a command waits; the command may end whenever it likes afterwards."""
    running = fleet.begin("deploy")
    began(fleet)
    lock = fleet.root / "machines" / "scheduler" / "home" / "shop" / "uat" / "lock"
    os.killpg(int(lock.read_text().split()[0]), signal.SIGKILL)
    assert running.wait(timeout=60) == 1
    running.communicate()


def killed_before_the_restart(fleet) -> None:
    """Release 1 runs on the scheduler, and `current` is release 2, whose restart waits at the gate."""
    restart = restarts_by_script(fleet)
    fleet.commit("one", restart_sh=restart)
    assert fleet.wakeline("deploy").code == 0
    fleet.commit("two", restart_sh=waits(fleet) + restart)
    deploy_until_the_agent_is_killed(fleet)


def lease_is_free(fleet) -> bool:
    kinds = [r["kind"] for r in fleet.log() if r["kind"] in ("lease-taken", "lease-freed")]
    return kinds[-1] == "lease-freed"


def test_ctrl_c_in_a_step_stops_before_the_switch_and_the_next_deploy_carries_on(fleet):
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    fleet.write("pages.sh", waits(fleet))
    fleet.commit("two")
    running = fleet.begin("deploy")
    began(fleet)
    said = interrupt(running)
    assert said.code == 130, said
    assert lease_is_free(fleet)
    assert fleet.serves("uat") == "one"
    (fleet.root / "gate").touch()
    said = fleet.wakeline("deploy")
    assert said.code == 0, said.err
    assert (fleet.serves("uat"), fleet.migrate_starts) == ("two", 1)


def test_ctrl_c_while_a_once_step_runs_leaves_it_running_and_says_so(fleet):
    fleet.write("migrate.sh", 'echo started >>"$1.starts"\n' + waits(fleet) + 'cat schema >>"$1"\n')
    fleet.commit("one")
    running = fleet.begin("deploy")
    began(fleet)
    said = interrupt(running)
    assert said.code in (4, 130), said
    assert fleet.database == []
    (fleet.root / "gate").touch()
    until(lambda: fleet.database == ["0001"])
    until(lambda: not fleet.machine("scheduler")["busy"])  # its agent has written down how it ended
    said = fleet.wakeline("deploy")
    assert said.code == 0, said.err
    assert (fleet.migrate_starts, fleet.serves("uat")) == (1, "one")


def test_a_runner_killed_in_a_once_step_is_settled_by_the_leads_own_journal(fleet):
    fleet.write("migrate.sh", 'echo started >>"$1.starts"\n' + waits(fleet) + 'cat schema >>"$1"\n')
    short_lease(fleet)
    fleet.commit("one")
    deploy_until_the_runner_is_killed(fleet)
    busy = fleet.wakeline("deploy")
    assert busy.code in (3, 4), busy.err  # it still runs: nobody may guess
    (fleet.root / "gate").touch()
    until(lambda: fleet.database == ["0001"])
    until(lambda: not fleet.machine("scheduler")["busy"])  # its agent has written down how it ended
    said = fleet.wakeline("deploy")
    assert said.code == 0, said.err
    assert "its journal says of claim" in said.err
    assert (fleet.migrate_starts, fleet.serves("uat")) == (1, "one")


def test_a_hold_stops_a_rollout_under_way_before_its_switch(fleet):
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    fleet.write("pages.sh", waits(fleet))
    fleet.commit("two")
    running = fleet.begin("deploy")
    began(fleet)
    assert fleet.wakeline("hold", "uat", "--why", "a demo is on").code == 0
    (fleet.root / "gate").touch()
    out, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    assert "uat is on hold (stopped before the switch: uat is on hold: a demo is on)" in err
    assert "a demo is on" in out
    assert fleet.serves("uat") == "one"
    assert fleet.wakeline("unhold", "uat").code == 0
    assert fleet.wakeline("deploy").code == 0
    assert fleet.serves("uat") == "two"


def test_a_person_settles_the_claim_of_a_runner_that_was_killed(fleet):
    """The lead's journal knows too little here, and the dead runner's lease is nobody's to wait for."""
    fleet.write("migrate.sh", 'echo started >>"$1.starts"\n' + waits(fleet) + 'cat schema >>"$1"\nkill -9 $$\n')
    short_lease(fleet)
    fleet.commit("one")
    deploy_until_the_runner_is_killed(fleet)
    (fleet.root / "gate").touch()
    until(lambda: fleet.database == ["0001"])
    said = fleet.wakeline("resolve", "migrate", "--done")
    assert said.code == 0, said
    assert lease_is_free(fleet)
    said = fleet.wakeline("deploy")
    assert said.code == 0, said.err
    assert (fleet.migrate_starts, fleet.serves("uat")) == (1, "one")


def test_what_a_machine_did_after_the_runner_was_killed_is_on_record_at_the_next_contact(fleet):
    short_lease(fleet)
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    fleet.write("pages.sh", waits(fleet))
    fleet.commit("two")
    deploy_until_the_runner_is_killed(fleet)
    (fleet.root / "gate").touch()
    until(lambda: fleet.serves("scheduler") == "two")
    fleet.commit("three", pages_sh="exit 0")
    assert fleet.wakeline("deploy").code == 0
    said = [r for r in fleet.log() if r["kind"] == "outcome" and (r["release"], r["machine"]) == (2, "scheduler")]
    assert [each["outcome"] for each in said] == ["ok"]


def test_an_agent_that_was_killed_between_switch_and_restart_is_made_up_for_at_the_next_look(fleet):
    """Seen: `current` was the new release, the services ran the old one, and catch-up found nothing to do."""
    killed_before_the_restart(fleet)
    assert (fleet.current("scheduler"), fleet.serves("scheduler")) == ("releases/2", "one")
    (fleet.root / "gate").touch()
    said = fleet.wakeline("catch-up", "scheduler")
    assert "was cut off" in said.out, said
    assert (fleet.current("scheduler"), fleet.serves("scheduler")) == ("releases/2", "two")


def test_a_release_that_was_cut_off_and_then_gone_back_to_is_confirmed_at_the_next_look(fleet):
    """Seen by the simulation: the machine had no order any more of what it went back to, and left it as it was."""
    killed_before_the_restart(fleet)
    (fleet.root / "gate").touch()
    fleet.commit("three", restart_sh="exit 1")
    said = fleet.wakeline("deploy")
    assert "back on release 2" in said.out + said.err, said
    said = fleet.wakeline("catch-up", "scheduler")
    assert "was cut off" in said.out, said
    assert (fleet.current("scheduler"), fleet.serves("scheduler")) == ("releases/2", "two")
    said = fleet.wakeline("catch-up", "scheduler")
    assert "was cut off" not in said.out, said


def killed_on_its_way_back(fleet) -> str:
    """Release 2 fails as it is restarted, and the agent is killed as it restarts release 1. Returns how to restart."""
    restart = restarts_by_script(fleet)
    seen = f"{fleet.root}/restarted-$WAKELINE_MACHINE"
    second = f"if test -e {seen} && ! test -e {seen}-again; then\ntouch {seen}-again\n{waits(fleet)}exit 1\nfi\n"
    fleet.commit("one", restart_sh=f"{second}touch {seen}\n{restart}")  # what the killed agent began comes to nothing
    assert fleet.wakeline("deploy").code == 0
    fleet.commit("two", restart_sh=f"{restart}\nexit 1")
    deploy_until_the_agent_is_killed(fleet)
    assert (fleet.current("scheduler"), fleet.serves("scheduler")) == ("releases/1", "two")
    (fleet.root / "gate").touch()
    return restart


def test_an_agent_that_was_killed_on_its_way_back_is_made_up_for_at_the_next_look(fleet):
    """Seen by the simulation: `current` was the old release again, and the services ran on from the failed one."""
    restart = killed_on_its_way_back(fleet)
    said = fleet.wakeline("catch-up", "scheduler")
    assert "was going back from release 2 was cut off" in said.out, said
    assert (fleet.current("scheduler"), fleet.serves("scheduler")) == ("releases/1", "one")
    fleet.commit("three", restart_sh=restart)
    assert fleet.wakeline("deploy").code == 0
    said = [r for r in fleet.log() if r["kind"] == "outcome" and (r["release"], r["machine"]) == (2, "scheduler")]
    assert [each["outcome"] for each in said] == ["unknown", "failed"]
    assert "exit 1" in said[-1]["cause"]


def unit(fleet, *words: str) -> str:
    """What one of the scheduler's own units runs; its words are for its journal."""
    home = fleet.root / "machines" / "scheduler" / "home"
    argv = [sys.executable, str(home / "agent.pyz"), "--home", str(home), "catch-up", *words]
    done = subprocess.run(argv, env=fleet.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_a_boot_after_an_agent_was_killed_on_its_way_back_starts_the_old_release_and_says_what_had_failed(fleet):
    killed_on_its_way_back(fleet)
    assert "was going back from release 2 was cut off" in unit(fleet, "--boot")
    assert (fleet.current("scheduler"), fleet.serves("scheduler")) == ("releases/1", "two"), "systemd starts it, not we"
    assert "release 2: failed" in unit(fleet, "--confirm")
    assert "cut off" not in unit(fleet)
    assert fleet.serves("scheduler") == "two", "nothing is restarted once more"
