"""A machine that slept through an upgrade of wakeline itself: it fetches the agent that its approval names."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from another import TOMORROW, Change, another_wakeline
from commands import Said
from stories.conftest import Fleet

KINDS = {"core/fold.py": ('"sent": _sent,', '"sent": _sent,\n    "handed-over": _sent,')}
SENDS = {"core/rollout.py": ('Draft("sent"', 'Draft("handed-over"')}
OTHER = {"core/fold.py": ('"""The fold:', '"""Another fold:')}
FORGETS = {"core/fold.py": ('"held": _held,', "")}


def by(fleet: Fleet, which: dict[str, str], *arguments: str) -> Said:
    """Run a command by another wakeline."""
    before, fleet.environment = fleet.environment, {**fleet.environment, **which}
    try:
        return fleet.wakeline(*arguments)
    finally:
        fleet.environment = before


def looks(fleet: Fleet, name: str = "uat") -> Said:
    """What the machine's timer starts: the agent that is there looks at the ledger."""
    home = fleet.root / "machines" / name / "home"
    words = [sys.executable, str(home / "agent.pyz"), "--home", str(home), "catch-up", "--app", "shop"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False, env=fleet.environment)
    return Said(done.returncode, done.stdout, done.stderr)


def agent_of(fleet: Fleet, name: str = "uat") -> str:
    return (fleet.root / "machines" / name / "home" / "agent.pyz").readlink().name


def agents(fleet: Fleet, name: str = "uat") -> set[str]:
    return {each.name for each in (fleet.root / "machines" / name / "home" / "agents").glob("[!.]*")}


def agent_ref(fleet: Fleet) -> str:
    (ref,) = fleet.git("for-each-ref", "--format=%(refname)", AGENTS, at=fleet.root / "remote.git").split()
    return ref


AGENTS = "refs/wakeline/shop/uat/agent/"


@pytest.fixture(params=["git", "sqlite"])
def either(request, tmp_path):
    """A fleet that runs release one, its ledger in either store."""
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    made = Fleet(tmp_path, ledger=f'ledger = "{url}"' if request.param == "sqlite" else "")
    made.commit("zero")
    assert made.wakeline("setup", "--unsigned").code == 0
    made.commit("one")
    assert made.wakeline("deploy").code == 0
    made.power("uat", on=False)
    return made


@pytest.fixture
def asleep(fleet):
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    fleet.power("uat", on=False)
    return fleet


@pytest.mark.parametrize("changes", [[OTHER], [TOMORROW], [KINDS, SENDS]], ids=["code", "versions", "kinds"])
def test_it_fetches_the_agent_of_its_approval_whatever_it_cannot_read_itself(either, tmp_path, changes):
    old = agent_of(either)
    newer = another_wakeline(tmp_path / "newer", *changes)
    either.commit("two")
    said = by(either, newer, "deploy")
    assert said.code == 0, said.err
    either.power("uat", on=True)
    said = looks(either)
    assert said.code == 0, said.err
    assert either.serves("uat") == "two"
    assert agent_of(either) != old
    assert agent_of(either) == agent_of(either, "scheduler")
    assert old in agents(either)
    said = looks(either)
    assert (said.code, "carries on" in said.err) == (0, False), said.err


def test_the_agent_is_pushed_once_with_the_first_approval_that_names_it(fleet):
    for version in ("one", "two"):
        fleet.commit(version)
        assert fleet.wakeline("deploy").code == 0
    name = agent_ref(fleet).rpartition("/")[2]
    assert {r["agent"] for r in fleet.log() if r["kind"] == "approved"} == {name}
    data = subprocess.run(
        ["git", "cat-file", "blob", f"{agent_ref(fleet)}:agent.pyz"],
        cwd=fleet.root / "remote.git",
        capture_output=True,
        check=True,
    ).stdout
    assert hashlib.sha256(data).hexdigest() == name


def sleeps_through_an_upgrade(fleet: Fleet, place: Path, *changes: Change) -> None:
    fleet.git("update-ref", "-d", agent_ref(fleet), at=fleet.root / "remote.git")
    fleet.commit("two")
    said = by(fleet, another_wakeline(place, *changes), "deploy")
    assert said.code == 0, said.err
    fleet.power("uat", on=True)


def test_where_that_agent_is_gone_the_one_that_is_here_does_what_it_can_read(asleep, tmp_path):
    old = agent_of(asleep)
    sleeps_through_an_upgrade(asleep, tmp_path / "newer", OTHER)
    asleep.git("update-ref", "-d", agent_ref(asleep), at=asleep.root / "remote.git")
    said = looks(asleep)
    assert (said.code, "cannot be had" in said.err) == (0, True), said.err
    assert (asleep.serves("uat"), agent_of(asleep)) == ("two", old)


def test_where_that_agent_is_gone_and_the_log_cannot_be_read_it_keeps_what_runs(asleep, tmp_path):
    old = agent_of(asleep)
    sleeps_through_an_upgrade(asleep, tmp_path / "newer", TOMORROW)
    ref = agent_ref(asleep)
    commit = asleep.git("rev-parse", ref, at=asleep.root / "remote.git")
    asleep.git("update-ref", "-d", ref, at=asleep.root / "remote.git")
    said = looks(asleep)
    assert (said.code, "keeps running what runs" in said.err) == (75, True), said.err
    assert "written by a newer wakeline" in said.err
    assert (asleep.serves("uat"), agent_of(asleep)) == ("one", old)
    asleep.git("update-ref", ref, commit, at=asleep.root / "remote.git")
    assert looks(asleep).code == 0
    assert asleep.serves("uat") == "two"


def test_other_bytes_under_its_name_are_not_run(asleep, tmp_path):
    old = agent_of(asleep)
    sleeps_through_an_upgrade(asleep, tmp_path / "newer", TOMORROW)
    remote = asleep.root / "remote.git"
    evil = tmp_path / "evil"
    evil.write_text("import os\nos.abort()\n")
    blob = asleep.git("hash-object", "-w", str(evil), at=remote)
    made = subprocess.run(
        ["git", "mktree"],
        cwd=remote,
        input=f"100644 blob {blob}\tagent.pyz\n",
        capture_output=True,
        text=True,
        check=True,
    )
    who = ("-c", "user.name=x", "-c", "user.email=x@localhost")
    commit = asleep.git(*who, "commit-tree", made.stdout.strip(), "-m", "x", at=remote)
    asleep.git("update-ref", agent_ref(asleep), commit, at=remote)
    said = looks(asleep)
    assert (said.code, "not taken" in said.err) == (75, True), said.err
    assert (asleep.serves("uat"), agents(asleep)) == ("one", {old})


def test_an_agent_that_does_not_start_here_is_not_become(asleep, tmp_path):
    """The runner's machines are fine with it; this one's Python is not, say."""
    old = agent_of(asleep)
    newer = another_wakeline(tmp_path / "newer", TOMORROW)
    file = tmp_path / "newer/wakeline/agent/__init__.py"
    file.write_text(file.read_text() + 'if "machines/uat" in __file__:\n    raise SystemExit("no such Python")\n')
    asleep.commit("two")
    assert by(asleep, newer, "deploy").code == 0
    asleep.power("uat", on=True)
    said = looks(asleep)
    assert (said.code, "does not run here: no such Python" in said.err) == (75, True), said.err
    assert (asleep.serves("uat"), agent_of(asleep), agents(asleep)) == ("one", old, {old})


def test_an_agent_that_turns_out_too_old_for_the_log_hands_back_once(asleep, tmp_path):
    """Today's agent is here; yesterday's made the approval; then today's put something on record."""
    today = agent_of(asleep)
    yesterday = another_wakeline(tmp_path / "older", FORGETS)
    asleep.commit("two")
    assert by(asleep, yesterday, "deploy").code == 0
    assert asleep.wakeline("hold", "scheduler").code == 0
    asleep.power("uat", on=True)
    said = looks(asleep)
    assert said.code == 0, said.err
    assert said.err.count("carries on") == 2, said.err
    assert (asleep.serves("uat"), agent_of(asleep)) == ("two", today)


def test_an_approval_that_is_not_signed_brings_no_agent(fleet, tmp_path):
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    fleet.environment["WAKELINE_SIGNING_KEY"] = str(key)
    assert fleet.wakeline("setup").code == 0
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    old = agent_of(fleet)
    stranger = tmp_path / "stranger"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(stranger)], check=True)
    fleet.environment["WAKELINE_SIGNING_KEY"] = str(stranger)
    fleet.power("uat", on=False)
    sleeps_through_an_upgrade(fleet, tmp_path / "newer", TOMORROW)
    said = looks(fleet)
    assert (said.code, "by somebody who may not" in said.err) == (1, True), said.err
    assert (fleet.serves("uat"), agents(fleet)) == ("one", {old})
