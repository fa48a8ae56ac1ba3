"""The git remote is down, slow, refuses, was rewritten, or lacks a commit: what runs goes on, and words say why."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from bench.relay import Relay
from stories.conftest import Fleet, until
from stories.receivers import free_port
from stories.test_upgrades import looks
from wakeline.core.catch_up import ATTEMPTS


def deployed(fleet, version: str) -> str:
    commit = fleet.commit(version)
    said = fleet.wakeline("deploy")
    assert said.code == 0, said.err
    return commit


def is_clear(said, *words: str) -> None:
    assert "Traceback" not in said.err + said.out
    assert [word for word in words if word not in said.err + said.out] == [], said.err + said.out


def refuses(fleet, condition: str, words: str) -> None:
    """The remote takes no push as long as a condition of the shell holds."""
    hook = fleet.root / "remote.git/hooks/pre-receive"
    hook.write_text(f"#!/bin/sh\nif {condition}; then echo {words} >&2; exit 1; fi\n")
    hook.chmod(0o755)


def test_down_nothing_moves_and_when_it_is_back_both_go_on(fleet):
    deployed(fleet, "one")
    fleet.power("uat", on=False)
    deployed(fleet, "two")
    fleet.power("uat", on=True)
    (fleet.root / "remote.git").rename(fleet.root / "away")
    is_clear(looks(fleet), "keeps running what runs")
    assert (looks(fleet).code, fleet.serves("uat")) == (75, "one"), "its unit tries again"
    said = fleet.wakeline("deploy")
    assert said.code == 1
    is_clear(said, "cannot fetch", "remote.git")
    (fleet.root / "away").rename(fleet.root / "remote.git")
    assert (looks(fleet).code, fleet.serves("uat")) == (0, "two")
    deployed(fleet, "three")
    assert fleet.serves("uat") == "three"


@pytest.fixture
def far(tmp_path) -> Iterator[tuple[Fleet, Relay, subprocess.Popen[bytes]]]:
    """A fleet whose remote is a server behind a link whose round trip can be chosen."""
    port = free_port()
    command = ["git", "daemon", "--listen=127.0.0.1", f"--port={port}", "--export-all", "--enable=receive-pack"]
    server = subprocess.Popen([*command, f"--base-path={tmp_path}", str(tmp_path)], start_new_session=True)
    link = Relay(listen="127.0.0.1", to=("127.0.0.1", port))
    fleet = Fleet(tmp_path)
    text = (fleet.app / "wakeline.toml").read_text()
    fleet.write("wakeline.toml", text.replace(f"{tmp_path}/remote.git", f"git://127.0.0.1:{link.port}/remote.git"))
    fleet.commit("zero")
    until(lambda: fleet.wakeline("setup", "--unsigned").code == 0)
    try:
        yield fleet, link, server
    finally:
        fleet.end_what_runs()
        link.close()
        _signal(server, signal.SIGCONT)
        _signal(server, signal.SIGTERM)
        server.wait()


def _signal(server: subprocess.Popen[bytes], number: int) -> None:
    """git starts git-daemon as a child of its own."""
    os.killpg(server.pid, number)


def test_slow_it_takes_longer_and_ends_the_same(far):
    fleet, link, _ = far
    deployed(fleet, "one")
    link.round_trip_s = 0.3
    deployed(fleet, "two")
    assert (fleet.serves("scheduler"), fleet.serves("uat"), fleet.migrate_starts) == ("two", "two", 1)


def test_silent_in_the_middle_it_is_waited_for_and_the_rollout_goes_on(far):
    fleet, _, server = far
    deployed(fleet, "one")
    fleet.commit("two", pages_sh=f"touch {fleet.root}/began-$WAKELINE_MACHINE")
    running = fleet.begin("deploy")
    until((fleet.root / "began-scheduler").exists)
    _signal(server, signal.SIGSTOP)
    with pytest.raises(subprocess.TimeoutExpired):  # the fault itself: nobody answers for so long
        running.wait(timeout=2)
    _signal(server, signal.SIGCONT)
    _, err = running.communicate(timeout=90)
    assert running.returncode == 0, err
    assert (fleet.serves("uat"), fleet.migrate_starts) == ("two", 1)


def test_refusing_from_the_beginning_nothing_is_begun(fleet):
    deployed(fleet, "one")
    fleet.commit("two")
    records = fleet.log()
    refuses(fleet, "true", "the branch is guarded")
    said = fleet.wakeline("deploy")
    assert said.code == 1
    is_clear(said, "takes no record", "the branch is guarded")
    assert (fleet.log(), fleet.serves("scheduler")) == (records, "one")
    (fleet.root / "remote.git/hooks/pre-receive").unlink()
    assert fleet.wakeline("deploy").code == 0


def test_refusing_in_the_middle_the_next_deploy_carries_on_and_nothing_runs_twice(fleet):
    text = (fleet.app / "wakeline.toml").read_text()
    fleet.write("wakeline.toml", text.replace("[deploy]\n", '[deploy]\nlease = "10s"\n'))
    deployed(fleet, "one")
    refuses(fleet, f"test -e {fleet.root}/refuses", "quota exceeded")
    switch = f"{fleet.root}/refuses"
    fleet.commit(
        "two",
        pages_sh=f"test $WAKELINE_MACHINE = uat -o -e {switch}-once || touch {switch} {switch}-once",
        schema="0002",
    )
    said = fleet.wakeline("deploy")
    assert said.code != 0
    is_clear(said, "quota exceeded")
    assert fleet.serves("uat") == "one", "the gate's outcome is not on record"
    (fleet.root / "refuses").unlink()
    said = fleet.wakeline("deploy")
    assert said.code == 0, said.err
    assert (fleet.serves("uat"), fleet.database, fleet.migrate_starts) == ("two", ["0001", "0002"], 2)
    assert fleet.wakeline("history", "--verify").code == 0


def test_force_pushed_what_was_approved_is_still_had_and_what_is_there_now_is_deployed(fleet):
    deployed(fleet, "one")
    fleet.power("uat", on=False)
    gone = deployed(fleet, "two")
    fleet.git("checkout", "-q", "--orphan", "anew")
    fleet.write("version", "three\n")
    fleet.git("add", "-A")
    fleet.git("commit", "-qm", "The branch begins anew")
    fleet.git("push", "-qf", str(fleet.root / "remote.git"), "HEAD:main")
    fleet.git("reflog", "expire", "--expire=now", "--all", at=fleet.root / "remote.git")
    fleet.git("gc", "-q", "--prune=now", at=fleet.root / "remote.git")
    fleet.power("uat", on=True)
    said = looks(fleet)
    assert (said.code, fleet.serves("uat")) == (0, "two"), said.err
    said = fleet.wakeline("deploy", gone)
    assert said.code == 2
    is_clear(said, "is not on branch main")
    said = fleet.wakeline("deploy")
    assert (said.code, fleet.serves("scheduler"), fleet.serves("uat")) == (0, "three", "three"), said.err
    said = fleet.wakeline("rollback")
    is_clear(said)
    assert (said.code, fleet.serves("uat")) == (0, "two"), said.err


def test_an_approved_commit_that_is_gone_is_named_and_what_runs_goes_on(fleet):
    deployed(fleet, "one")
    fleet.power("uat", on=False)
    gone = deployed(fleet, "two")
    remote = fleet.root / "remote.git"
    for ref in fleet.git("for-each-ref", "--format=%(refname)", f"--points-at={gone}", at=remote).split():
        fleet.git("update-ref", "-d", ref, at=remote)
    fleet.git("commit", "-q", "--amend", "-m", "The same, called otherwise")
    fleet.git("push", "-qf", str(remote), "HEAD:main")
    fleet.git("gc", "-q", "--prune=now", at=remote)
    fleet.power("uat", on=True)
    for _ in range(ATTEMPTS):
        is_clear(looks(fleet), "release 2: failed", gone[:10])
        assert fleet.serves("uat") == "one"
    is_clear(looks(fleet), f"failed here {ATTEMPTS} times", "wakeline retry uat")
    assert fleet.wakeline("deploy").code == 0
    assert fleet.serves("uat") == "two"


def test_a_forks_commit_that_the_remote_gives_out_by_its_id_is_not_deployed(fleet):
    deployed(fleet, "one")
    fleet.git("checkout", "-qb", "fork")
    fleet.write("version", "evil\n")
    fleet.git("commit", "-qam", "Looks like a pinned release")
    forks = fleet.git("rev-parse", "HEAD")
    fleet.git("push", "-q", str(fleet.root / "remote.git"), "HEAD:refs/pull/1/head")
    fleet.git("checkout", "-q", "main")
    for name in (forks, forks[:12]):
        said = fleet.wakeline("deploy", name)
        assert said.code == 2
        is_clear(said, "is not on branch main")
    assert (fleet.serves("scheduler"), fleet.serves("uat")) == ("one", "one")


def test_a_branch_on_the_remote_that_is_named_like_the_approved_commit_does_not_stand_in_for_it(fleet):
    deployed(fleet, "one")
    fleet.power("uat", on=False)
    wanted = deployed(fleet, "two")
    fleet.git("checkout", "-q", "--orphan", "other")
    fleet.write("version", "evil\n")
    fleet.git("commit", "-qam", "Not what was approved")
    for kind in ("heads", "tags"):
        fleet.git("push", "-q", str(fleet.root / "remote.git"), f"HEAD:refs/{kind}/{wanted}")
    fleet.power("uat", on=True)
    said = looks(fleet)
    assert (said.code, fleet.serves("uat")) == (0, "two"), said.err
