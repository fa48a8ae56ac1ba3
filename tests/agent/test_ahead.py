"""What is prepared before the order comes: the folder is there, nothing of it has run, and nothing depends on it."""

from __future__ import annotations

import json
import os
import signal
import socket

import pytest
from one_machine import name_of, processes, pythons, service, step, until

from wakeline.core.order import SCRIPT, Layout

pytestmark = pytest.mark.slow

RELEASES = "releases"


@pytest.fixture
def silent():
    """The address of a git server that takes every connection and never says a word."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(16)
        yield f"http://127.0.0.1:{server.getsockname()[1]}/silent.git"


def prepare(box, order, *, talk=None, fence=None, **more):
    """Ask for it. Returns the conversation, on which the order may follow, and what became of it."""
    talk = talk or box.open(**more)
    talk.say(do="prepare", order=order.to_json(), fence=box.fence if fence is None else fence)
    return talk, talk.wait_for("prepared", release=order.release)


def prepared(box, order, **more) -> dict:
    """The same, and the rollout goes no further: what became of it."""
    talk, word = prepare(box, order, **more)
    talk.say(do="stop", why="the stage ahead failed")
    talk.end()
    return word


def ordered(box, talk, order):
    talk.say(do="run", order=order.to_json(), fence=box.fence)
    return talk.end()


def folders(box) -> list[str]:
    place = box.path / RELEASES
    return sorted(each.name for each in place.iterdir()) if place.exists() else []


def state(box, release: int) -> str:
    return json.loads(box.text(f"{RELEASES}/{release}/.wakeline-release.json"))["state"]


def a_step(box):
    return step("build", f"echo ran >>{box.root}/ran")


@pytest.mark.parametrize("python", pythons(), ids=name_of)
def test_what_was_prepared_is_taken_by_its_order_on_every_python(box, python):
    box.run(box.order(1, box.commit("one")))
    order = box.order(2, box.commit("two"), steps=(a_step(box),), services=(service("web"),))
    talk, word = prepare(box, order, python=python)
    assert word == {"event": "prepared", "release": 2, "ok": True, "why": ""}
    folder = (box.path / RELEASES / "2").stat().st_ino
    assert ordered(box, talk, order)["outcome"] == "ok", talk.events
    assert (box.current(), box.text(), state(box, 2)) == (2, "two", "confirmed")
    assert (box.path / RELEASES / "2").stat().st_ino == folder


def test_law_1_nothing_of_a_release_runs_when_it_is_prepared(box):
    box.run(box.order(1, box.commit("one")))
    hook = box.path / "repository.git/hooks/post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\necho hook >>{box.root}/ran\n")
    hook.chmod(0o755)
    before = box.journal()
    once = step("migrate", a_step(box).run, once=True, verify=a_step(box).run)
    order = box.order(2, box.commit("two"), steps=(a_step(box), once), services=(service("web", a_step(box).run),))
    word = prepared(box, order)
    assert (word["ok"], state(box, 2), box.text(f"{RELEASES}/2/app.txt")) == (True, "prepared", "two")
    assert (box.current(), box.journal(), (box.root / "ran").exists()) == (1, before, False)


def test_what_was_prepared_for_another_commit_is_not_taken(box):
    box.run(box.order(1, box.commit("one")))
    talk, _ = prepare(box, box.order(2, box.commit("two")))
    assert ordered(box, talk, box.order(2, box.commit("another")))["outcome"] == "ok"
    assert box.text() == "another"


def test_what_was_prepared_with_another_list_of_shared_paths_is_not_taken(box):
    box.run(box.order(1, box.commit("one")))
    (box.path / "shared/settings").write_text("kept\n")
    order = box.order(2, box.commit("two"))
    talk, _ = prepare(box, order)
    assert ordered(box, talk, box.order(2, order.commit, shared=("settings",)))["outcome"] == "ok"
    assert box.text("current/settings") == "kept\n"


def test_what_was_prepared_before_a_power_cut_is_not_taken(box):
    order = box.order(1, box.commit("one"))
    talk, _ = prepare(box, order)
    said = box.path / RELEASES / "1/.wakeline-release.json"
    said.write_text(json.dumps({**json.loads(said.read_text()), "boot": "the one before"}))
    (box.path / RELEASES / "1/app.txt").write_text("")
    assert ordered(box, talk, order)["outcome"] == "ok"
    assert box.text() == "one"


def test_law_7_a_folder_that_was_cut_off_midway_is_not_taken(box):
    box.run(box.order(1, box.commit("one")))
    order = box.order(2, box.commit("two", **{f"many__{number}.txt": "x" * 2000 for number in range(3000)}))
    talk = box.open()
    talk.say(do="prepare", order=order.to_json(), fence=1)
    until((box.path / RELEASES / "2").exists, "the folder is begun")
    os.kill(talk.process.pid, signal.SIGKILL)
    talk.end()
    assert box.run(order).events[-1]["outcome"] == "ok"
    assert len(list((box.path / "current/many").iterdir())) == 3000


def test_what_was_prepared_and_never_ordered_is_pruned_and_pushes_out_no_release_that_ran(box):
    for release in (1, 2, 3):
        box.run(box.order(release, box.commit(f"good {release}"), keep=3))
    for release in (4, 5):
        assert prepared(box, box.order(release, box.commit(f"bad {release}"), keep=3))["ok"]
        assert folders(box) == ["1", "2", "3", str(release)]
    assert box.run(box.order(6, box.commit("good 6"), keep=3)).events[-1]["outcome"] == "ok"
    assert folders(box) == ["2", "3", "6"]


def test_a_later_release_that_is_prepared_outlives_the_pruning_of_one_before_it(box):
    box.run(box.order(1, box.commit("one")))
    later = box.order(3, box.commit("three"))
    talk, _ = prepare(box, later)
    assert box.run(box.order(2, box.commit("two"))).events[-1]["outcome"] == "ok"
    assert state(box, 3) == "prepared"
    assert ordered(box, talk, later)["outcome"] == "ok"


def test_a_fetch_that_fails_is_told_and_is_an_error_only_when_the_order_comes(box):
    box.run(box.order(1, box.commit("one")))
    order = box.order(2, box.commit("two"), git=str(box.root / "nowhere.git"))
    talk, word = prepare(box, order)
    assert not word["ok"]
    assert "cannot fetch" in word["why"]
    last = ordered(box, talk, order)
    assert (last["outcome"], folders(box)) == ("failed", ["1"])
    assert "cannot fetch" in last["cause"]


def test_the_contact_ends_what_is_being_prepared_and_leaves_nothing_behind(box, silent):
    box.run(box.order(1, box.commit("one")))
    order = box.order(2, "c" * 40, git=silent)
    talk = box.open()
    talk.say(do="prepare", order=order.to_json(), fence=1)
    until(lambda: processes(silent), "git asks the server")
    talk.process.stdin.close()
    talk.process.wait(timeout=60)
    assert processes(silent) == []
    talk.end()
    assert (folders(box), talk.process.returncode) == (["1"], 2)
    assert not list((box.path / "repository.git").rglob("tmp_*"))


def test_an_order_of_another_rollout_does_not_wait_for_what_is_only_prepared(box, silent):
    box.run(box.order(1, box.commit("one")))
    talk = box.open()
    talk.say(do="prepare", order=box.order(2, "c" * 40, git=silent).to_json(), fence=1)
    until(lambda: processes(silent), "git asks the server")
    assert box.run(box.order(3, box.commit("three"))).events[-1]["outcome"] == "ok"
    word = talk.wait_for("prepared")
    assert (word["ok"], "asked to end" in word["why"]) == (False, True)
    talk.say(do="stop", why="overtaken")
    talk.end()
    assert (folders(box), box.current()) == (["1", "3"], 3)
    assert not (box.home / "shop/uat/lock.wanted").exists()


def test_while_an_order_is_carried_out_nothing_is_prepared(box):
    gate = box.root / "gate"
    first = box.start(box.order(1, box.commit("one"), steps=(step("b", f"until test -e {gate}; do sleep 0.02; done"),)))
    first.wait_for("step_started")
    order = box.order(2, box.commit("two"))
    talk, word = prepare(box, order)
    gate.touch()
    assert first.end()["outcome"] == "ok"
    assert (word["ok"], "has this machine's lock" in word["why"]) == (False, True)
    assert ordered(box, talk, order)["outcome"] == "ok"


def test_a_rollout_that_was_overtaken_prepares_nothing(box):
    box.fence = 5
    box.run(box.order(1, box.commit("one")))
    word = prepared(box, box.order(2, box.commit("two")), fence=4)
    assert (word["ok"], folders(box)) == (False, ["1"])
    assert "this machine has seen rollout 5" in word["why"]


def test_what_runs_already_is_not_prepared(box):
    order = box.order(3, box.commit("three"))
    box.run(order)
    for release in (2, 3):
        word = prepared(box, box.order(release, order.commit))
        assert (word["ok"], word["why"]) == (False, "release 3 runs here")


@pytest.mark.parametrize("what", [{"layout": Layout.IN_PLACE}, {"steps": (step(SCRIPT, "git pull"),)}])
def test_what_its_fetch_would_touch_is_not_prepared(box, what):
    word = prepared(box, box.order(1, box.commit("one"), **what))
    assert (word["ok"], folders(box)) == (False, [])
    assert "would touch what runs" in word["why"]


def test_a_word_that_is_no_order_is_told_in_words(box):
    talk = box.open()
    talk.say(do="prepare", order={"version": 99}, fence=1)
    word = talk.wait_for("prepared")
    talk.say(do="stop", why="over")
    talk.end()
    assert (word["ok"], "version 99" in word["why"]) == (False, True)
