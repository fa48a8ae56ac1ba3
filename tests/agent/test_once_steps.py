"""Law 4 and 5 on the machine: a once-step starts only with its claim, once, and nothing that we do ends it."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from one_machine import healthy, is_alive, service, step, until

from wakeline.agent import keeper
from wakeline.agent.home import file_name

pytestmark = pytest.mark.slow


def migrate(box, run="echo did >>{db}", **more):
    """A database that is a file: it has what the release needs when the file is there."""
    db = box.root / "db"
    check = f"test -e {box.root}/dead && exit 1; test -e {db} || exit 10"
    return step(
        "migrate", run.replace("{db}", str(db)).replace("{root}", str(box.root)), once=True, verify=check, **more
    )


def ran(box) -> int:
    db = box.root / "db"
    return db.read_text().count("did") if db.exists() else 0


def status(box) -> dict:
    said = subprocess.run([sys.executable, box.agent, "--home", box.home, "status"], capture_output=True, check=True)
    return json.loads(said.stdout)[0]


def lead(box, release=1, *steps, **more):
    return box.order(release, box.commit(f"v{release}"), lead=True, steps=steps, **more)


def test_the_lead_claims_runs_and_checks(box):
    talk = box.run(lead(box, 1, migrate(box)))
    wanted = ["verified", "claim_wanted", "verified", "once_started", "verified", "once_finished", "switched"]
    assert [kind for kind in talk.kinds() if kind in wanted] == wanted
    finished = talk.of("once_finished")[0]
    assert (finished["ok"], finished["exit"], finished["answer"]) == (True, 0, "has")
    assert ran(box) == 1


def test_nothing_is_claimed_when_nothing_is_pending(box):
    (box.root / "db").write_text("")
    talk = box.run(lead(box, 1, migrate(box)))
    assert talk.events[-1]["outcome"] == "ok"
    assert not talk.of("claim_wanted")


def test_a_command_sees_its_claim_and_tags_its_database_session(box):
    run = 'echo "$PGAPPNAME $WAKELINE_ONCE" >{root}/seen; echo did >>{db}'
    talk = box.run(lead(box, 1, migrate(box, run)))
    claim = talk.of("once_started")[0]["claim"]
    assert (box.root / "seen").read_text() == f"wakeline:{claim} run\n"


def test_a_database_that_cannot_tell_starts_nothing(box):
    (box.root / "dead").touch()
    talk = box.run(lead(box, 1, migrate(box)))
    assert "cannot tell" in talk.events[-1]["cause"]
    assert not talk.of("claim_wanted")
    assert (ran(box), box.current()) == (0, None)


def test_a_failed_once_step_switches_nothing_and_is_told_with_its_claim(box):
    talk = box.run(lead(box, 1, migrate(box, "echo no such column; exit 3")))
    finished = talk.of("once_finished")[0]
    assert (finished["ok"], finished["exit"], finished["answer"]) == (False, 3, "lacks")
    assert "no such column" in finished["cause"]
    assert talk.events[-1]["outcome"] == "failed"
    assert box.current() is None


def test_a_command_that_ends_well_and_changes_nothing_has_failed(box):
    talk = box.run(lead(box, 1, migrate(box, "true")))
    assert talk.of("once_finished")[0]["answer"] == "lacks"
    assert "still lacks it" in talk.events[-1]["cause"]


def test_a_claim_that_waits_for_its_backup_is_not_taken_for_one_that_never_started(box):
    talk = box.open()
    backup = f"touch {box.root}/begun; while ! test -e {box.root}/gate; do sleep 0.05; done"
    order = lead(box, 1, migrate(box, backup=backup))
    talk.say(do="run", order=order.to_json(), fence=1)
    until((box.root / "begun").exists, "the backup has begun")
    said = status(box)
    assert ([each["state"] for each in said["claims"]], said["busy"]) == (["running"], True)
    (box.root / "gate").touch()
    assert talk.end()["outcome"] == "ok"
    assert ([each["state"] for each in status(box)["claims"]], status(box)["busy"]) == (["ended"], False)


def test_a_failing_backup_keeps_the_command_from_starting(box):
    talk = box.run(lead(box, 1, migrate(box, backup="echo disk full; exit 1")))
    assert ran(box) == 0
    finished = talk.of("once_finished")[0]
    assert (finished["ok"], "migrate was not started" in finished["cause"]) == (False, True)


def test_contact_lost_before_the_claim_runs_nothing(box):
    talk = box.start(lead(box, 1, migrate(box)), claims=False)
    talk.wait_for("claim_wanted")
    talk.process.stdin.close()
    assert talk.end()["outcome"] == "withheld"
    assert (ran(box), box.current()) == (0, None)


def test_a_claim_is_never_started_twice(box):
    talk = box.start(lead(box, 1, migrate(box, "exit 3")), claims=False)
    talk.wait_for("claim_wanted")
    talk.say(do="claimed", step="migrate", claim="same")
    talk.end()
    talk = box.start(lead(box, 2, migrate(box)), claims=False)
    talk.wait_for("claim_wanted")
    talk.say(do="claimed", step="migrate", claim="same")
    assert "was started here before" in talk.end()["cause"]
    assert ran(box) == 0


def test_somebody_was_faster_between_check_and_claim(box):
    talk = box.start(lead(box, 1, migrate(box)), claims=False)
    talk.wait_for("claim_wanted")
    (box.root / "db").write_text("by somebody else")
    talk.say(do="claimed", step="migrate", claim="late")
    assert talk.end()["outcome"] == "ok"
    assert (talk.of("once_finished")[0]["answer"], ran(box)) == ("has", 0)


SLOW = "echo going; while ! test -e {root}/gate; do sleep 0.02; done; echo did >>{db}"


def test_a_stop_and_a_lost_contact_leave_a_running_once_step_alone(box):
    talk = box.start(lead(box, 1, migrate(box, SLOW)))
    talk.wait_for("output", text="going")
    talk.say(do="stop", why="Ctrl-C")
    talk.process.send_signal(signal.SIGTERM)
    talk.hang_up()
    (box.root / "gate").touch()
    talk.process.wait(timeout=20)
    assert ran(box) == 1
    assert box.current() is None  # it was asked to stop before the switch
    (claim,) = status(box)["claims"]
    assert (claim["state"], claim["exit"]) == ("ended", 0)


def test_a_killed_agent_leaves_a_running_once_step_alone_and_the_machine_knows_how_it_ended(box):
    order = lead(box, 1, migrate(box, SLOW))
    talk = box.start(order)
    talk.wait_for("output", text="going")
    os.kill(talk.process.pid, signal.SIGKILL)
    talk.end()
    assert status(box)["claims"][0]["state"] == "running"
    second = box.run(order)
    assert "still runs here" in second.events[-1]["cause"]
    (box.root / "gate").touch()
    until(lambda: status(box)["claims"][0]["state"] == "ended", "the once-step has ended")
    assert ran(box) == 1
    third = box.run(order)
    assert third.of("hello")[0]["claims"][0]["exit"] == 0
    assert third.events[-1]["outcome"] == "ok"
    assert ran(box) == 1


def test_past_its_time_limit_a_once_step_is_not_ended_and_its_claim_stays_open(box):
    talk = box.run(lead(box, 1, migrate(box, f"echo $$ >{{root}}/pid; {SLOW}", timeout_s=1.0)))
    assert "stays open: wakeline resolve" in talk.events[-1]["cause"]
    assert not talk.of("once_finished")
    pid = box.root / "pid"
    until(lambda: pid.exists() and pid.read_text().strip(), "the command has come to its first line")
    assert is_alive(int(pid.read_text()))
    (box.root / "gate").touch()
    until(lambda: status(box)["claims"][0]["state"] == "ended", "the once-step has ended")
    assert ran(box) == 1


def test_a_process_that_ends_while_it_is_looked_at_is_no_trouble(monkeypatch):
    """The kernel then answers ESRCH, to `stat` as to `read`, which `Path.exists` and `Path.glob` let through."""
    real = os.stat

    def gone(path, *args, **kwargs):
        if str(path).endswith("/environ"):
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH), path)
        return real(path, *args, **kwargs)

    own = subprocess.Popen(["sleep", "60"], env={"WAKELINE_CLAIM": "c 1"})
    try:
        monkeypatch.setattr(os, "stat", gone)
        until(lambda: file_name("c 1") in keeper.claims_of_processes(), "the process is found")
    finally:
        own.kill()
        own.wait()


def test_a_claim_whose_keeper_never_came_up_is_known_not_to_have_started(tmp_path):
    journal = [{"what": "once-started", "claim": "c1", "step": "migrate", "release": 1}]
    (found,) = keeper.claims(tmp_path, journal)
    assert (found["state"], found["exit"]) == ("not-started", None)
    place = keeper.kept(tmp_path, "c1")
    place.folder.mkdir(parents=True)
    (place.folder / "started").touch()
    assert keeper.claims(tmp_path, journal)[0]["state"] == "nobody-knows"


def test_a_secret_that_a_once_step_prints_is_masked(box):
    (box.path / "shared").mkdir(parents=True)
    (box.path / "shared/.env").write_text("DB_PASSWORD=hunter22\n")
    order = lead(box, 1, migrate(box, "echo $DB_PASSWORD; echo did >>{db}"), shared=(".env",), env_file=".env")
    talk = box.run(order)
    kept = (box.home / "shop/uat/logs/1/migrate.log").read_text()
    assert "***" in talk.text()
    assert "hunter22" not in talk.text() + kept


@pytest.mark.parametrize("state", ["lacks", "cannot tell"])
def test_a_follower_never_runs_it_and_refuses_when_the_database_is_behind(box, state):
    if state == "cannot tell":
        (box.root / "dead").touch()
    box.home.joinpath("shop/uat").mkdir(parents=True)
    (box.home / "shop/uat/config.json").write_text(json.dumps({"behind_s": 0.3}))
    order = box.order(1, box.commit(), steps=(migrate(box),))
    talk = box.run(order)
    last = talk.events[-1]
    assert (last["outcome"], ran(box), box.current()) == ("failed", 0, None)
    assert "run by the lead alone" in last["cause"]


def test_a_follower_waits_for_the_database_to_have_it(box):
    talk = box.start(box.order(1, box.commit(), steps=(migrate(box),)))
    talk.wait_for("verified", answer="lacks")
    (box.root / "db").touch()
    assert talk.end()["outcome"] == "ok"


def test_a_once_step_that_breaks_older_releases_keeps_the_lead_from_switching_back(box):
    web = service("web", restart="true", health=healthy("! grep -q v2 app.txt", within_s=0.3))
    box.run(lead(box, 1, services=(web,)))
    last = box.run(lead(box, 2, migrate(box, breaks_older=True), services=(web,))).events[-1]
    assert "not switched back: the schema has moved" in last["cause"]
    assert box.current() == 2


LOCK = """\
case $WAKELINE_ONCE in
lock) test -e {root}/taken && {{ echo "held by process 7"; exit 11; }}
      echo "locked by $PGAPPNAME" >>{root}/locks; echo locked; cat >/dev/null; echo released >>{root}/locks ;;
session) test -e {root}/alive || exit 0; echo "wakeline:c1 (process 7)"; exit 10 ;;
esac
"""


def locked(box, run="echo did >>{db}", **more):
    return migrate(box, run, lock=LOCK.format(root=box.root), **more)


def settings(box, **values):
    place = box.home / "shop/uat"
    place.mkdir(parents=True, exist_ok=True)
    (place / "config.json").write_text(json.dumps(values))


def test_the_command_runs_under_the_lock_of_its_database(box):
    talk = box.run(lead(box, 1, locked(box, "cp {root}/locks {root}/locks-then; echo did >>{db}")))
    assert talk.events[-1]["outcome"] == "ok", talk.events[-1]
    claim = talk.of("once_started")[0]["claim"]
    assert (box.root / "locks-then").read_text() == f"locked by wakeline-lock:{claim}\n"
    until(lambda: "released" in (box.root / "locks").read_text(), "the lock is released")


def test_a_lock_that_is_taken_starts_nothing_and_the_claim_is_closed(box):
    (box.root / "taken").touch()
    talk = box.run(lead(box, 1, locked(box)))
    finished = talk.of("once_finished")[0]
    assert (finished["ok"], finished["answer"], ran(box)) == (False, "lacks", 0)
    assert "held by process 7" in talk.events[-1]["cause"]
    assert not talk.of("once_started")


def test_a_killed_agent_leaves_the_lock_with_the_command(box):
    talk = box.start(lead(box, 1, locked(box, SLOW)))
    talk.wait_for("output", text="going")
    os.kill(talk.process.pid, signal.SIGKILL)
    talk.end()
    assert "released" not in (box.root / "locks").read_text()
    (box.root / "gate").touch()
    until(lambda: "released" in (box.root / "locks").read_text(), "the lock is released when the command has ended")
    assert ran(box) == 1


def test_an_earlier_session_that_is_still_in_the_database_is_waited_for(box):
    (box.root / "alive").touch()
    talk = box.start(lead(box, 1, locked(box)))
    assert "still at work in the database: wakeline:c1 (process 7)" in talk.wait_for("waiting")["text"]
    assert not talk.of("claim_wanted")
    (box.root / "alive").unlink()
    assert talk.end()["outcome"] == "ok"


def test_an_earlier_session_that_does_not_end_lets_nothing_start(box):
    settings(box, session_s=0.1)
    (box.root / "alive").touch()
    talk = box.run(lead(box, 1, locked(box)))
    assert "nothing was started" in talk.events[-1]["cause"]
    assert not talk.of("claim_wanted")


def test_a_command_that_fails_while_its_session_lives_on_has_no_outcome_yet(box):
    settings(box, session_s=0.1)
    talk = box.run(lead(box, 1, locked(box, "touch {root}/alive; exit 3")))
    assert "stays open" in talk.events[-1]["cause"]
    assert not talk.of("once_finished")
    (claim,) = [each["claim"] for each in status(box)["claims"]]
    assert sessions(box, claim) == {claim: "wakeline:c1 (process 7)"}
    (box.root / "alive").unlink()
    assert sessions(box, claim) == {claim: "gone"}


def test_a_command_that_fails_when_nobody_can_tell_has_no_outcome_yet(box):
    talk = box.run(lead(box, 1, migrate(box, "touch {root}/dead; exit 3")))
    assert "verify cannot tell what it has done" in talk.events[-1]["cause"]
    assert not talk.of("once_finished")


def test_a_child_that_closed_everything_it_inherited_still_counts_as_running(box):
    leaves = "import subprocess, time; subprocess.Popen(['sleep', '600'], close_fds=True, start_new_session=True)"
    talk = box.run(lead(box, 1, migrate(box, f'echo did >>{{db}}; {sys.executable} -c "{leaves}" >/dev/null 2>&1')))
    claim = talk.of("once_started")[0]["claim"]
    assert status(box)["claims"][0]["state"] == "running"
    for place in Path("/proc").glob("[0-9]*"):
        if f"WAKELINE_CLAIM={claim}" in environ_of(place):
            os.kill(int(place.name), signal.SIGKILL)
    until(lambda: status(box)["claims"][0]["state"] == "ended", "its last process has ended")


def environ_of(place: Path) -> str:
    try:
        return (place / "environ").read_text(errors="replace")
    except OSError:
        return ""


def sessions(box, *claims: str) -> dict:
    command = [sys.executable, box.agent, "--home", box.home, "sessions", "--app", "shop", "--environment", "uat"]
    return json.loads(subprocess.run([*command, *claims], capture_output=True, check=True).stdout)
