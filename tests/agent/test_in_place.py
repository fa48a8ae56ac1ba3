"""Law 9 and the weaker law 7: an existing checkout that stays where it is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import time

import pytest
from one_machine import GIT, git, healthy, service, step

from wakeline.agent.home import home_of
from wakeline.agent.in_place import state_file, what_runs
from wakeline.core.order import Layout

pytestmark = pytest.mark.slow

IN_PLACE = {"layout": Layout.IN_PLACE}


@pytest.fixture
def adopted(box):
    """A checkout of the first commit, with a service that serves what is in it."""
    box.commit("zero", **{"keep.txt": "old\n", ".gitignore": "*.log\n.env\n"})
    subprocess.run([*GIT, "clone", "-q", str(box.origin), str(box.path)], check=True)
    return box


def order(box, release, text, **more):
    serve = service("web", restart="cp app.txt ../served")
    more = {"services": (serve,), **IN_PLACE, **more}
    return box.order(release, box.commit(text), **more)


def served(box) -> str:
    place = box.root / "served"
    return place.read_text() if place.exists() else ""


def saved(box):
    return sorted((box.home / "shop/uat/saved").glob("*"))


def status(box) -> dict:
    said = subprocess.run([sys.executable, box.agent, "--home", box.home, "status"], capture_output=True, check=True)
    return json.loads(said.stdout)[0]


def test_the_checkout_is_moved_and_served(adopted):
    talk = adopted.run(order(adopted, 1, "one"))
    assert talk.events[-1]["outcome"] == "ok", talk.events
    assert served(adopted) == "one"
    assert (status(adopted)["current"], status(adopted)["edited"]) == (1, False)
    assert adopted.run(order(adopted, 1, "one")).events[-1]["outcome"] == "unchanged"


def test_local_changes_are_saved_before_they_are_replaced_and_ignored_files_stay(adopted):
    (adopted.path / "app.txt").write_text("by hand")
    (adopted.path / "picture.bin").write_bytes(bytes(range(256)))
    (adopted.path / "keep.txt").chmod(0o755)
    (adopted.path / "debug.log").write_text("ignored")
    (adopted.path / ".env").write_text("SECRET=1")
    assert adopted.run(order(adopted, 1, "one")).events[-1]["outcome"] == "ok"
    (place,) = saved(adopted)
    assert b"by hand" in (place / "changes.patch").read_bytes()
    assert b"old mode 100644" in (place / "changes.patch").read_bytes()
    with tarfile.open(place / "untracked.tar") as tar:
        assert tar.extractfile("picture.bin").read() == bytes(range(256))
    assert place.stat().st_mode & 0o077 == 0
    assert (adopted.path / "debug.log").read_text() == "ignored"
    assert (adopted.path / ".env").read_text() == "SECRET=1"
    assert served(adopted) == "one"


def test_an_untracked_file_that_the_commit_brings_is_saved_and_others_stay_where_they_are(adopted):
    (adopted.path / "new.txt").write_text("mine")
    (adopted.path / "other.txt").write_text("mine too")
    commit = adopted.commit("one", **{"new.txt": "theirs"})
    done = adopted.run(adopted.order(1, commit, **IN_PLACE))
    assert done.events[-1]["outcome"] == "ok"
    assert (adopted.path / "new.txt").read_text() == "theirs"
    assert (adopted.path / "other.txt").read_text() == "mine too"
    assert len(saved(adopted)) == 1
    assert adopted.run(order(adopted, 2, "two")).events[-1]["outcome"] == "ok"
    assert len(saved(adopted)) == 1  # what is in nobody's way is not saved again and again


def test_what_was_edited_by_hand_is_told(adopted):
    adopted.run(order(adopted, 1, "one"))
    (adopted.path / "app.txt").write_text("hotfix")
    assert status(adopted)["edited"] is True


def test_a_failing_step_leaves_the_checkout_as_it_was(adopted):
    adopted.run(order(adopted, 1, "one"))
    talk = adopted.run(order(adopted, 2, "two", steps=(step("build", "exit 3"),)))
    assert talk.events[-1]["outcome"] == "failed"
    assert (adopted.path / "app.txt").read_text() == "one"
    assert status(adopted)["current"] == 1


def test_an_unhealthy_release_goes_back_to_the_adopted_commit(adopted):
    web = service("web", restart="cp app.txt ../served", health=healthy("! grep -q bad app.txt", within_s=0.3))
    talk = adopted.run(order(adopted, 1, "bad", services=(web,)))
    assert talk.events[-1]["outcome"] == "failed"
    assert "back on release 0" in talk.events[-1]["cause"]
    assert served(adopted) == "zero"
    assert status(adopted)["current"] == 0


def test_a_checkout_that_was_cut_off_is_finished_by_the_next_run(adopted):
    adopted.run(order(adopted, 1, "one"))
    gate = step("wait", "echo going; while ! test -e ../gate; do sleep 0.02; done")
    second = order(adopted, 2, "two", steps=(gate,))
    talk = adopted.start(second)
    talk.wait_for("output", text="going")
    os.killpg(talk.process.pid, signal.SIGKILL)
    talk.end()
    assert (adopted.path / "app.txt").read_text() == "two"  # cut off in the middle: the old service, the new code
    assert status(adopted)["current"] == 1
    (adopted.root / "gate").touch()
    assert adopted.run(second).events[-1]["outcome"] == "ok"
    assert served(adopted) == "two"


def test_a_lock_that_a_dead_git_left_is_taken_away_and_a_fresh_one_is_somebodys_work(adopted):
    lock = adopted.path / ".git/index.lock"
    lock.touch()
    assert "somebody uses git" in adopted.run(order(adopted, 1, "one")).events[-1]["cause"]
    os.utime(lock, (0, 0))
    assert adopted.run(order(adopted, 2, "two")).events[-1]["outcome"] == "ok"


def test_a_lock_from_a_clock_that_was_a_day_ahead_blocks_nobody_unless_a_git_is_at_work(adopted):
    """Its age is a day less than nothing: it was taken for somebody's work until that day had come."""
    lock, tomorrow = adopted.path / ".git/index.lock", time.time() + 86400
    lock.touch()
    os.utime(lock, (tomorrow, tomorrow))
    with subprocess.Popen([*GIT, "cat-file", "--batch"], cwd=adopted.path, stdin=subprocess.PIPE) as somebodys:
        try:
            assert "somebody uses git" in adopted.run(order(adopted, 1, "one")).events[-1]["cause"]
        finally:
            somebodys.kill()
    assert adopted.run(order(adopted, 2, "two")).events[-1]["outcome"] == "ok"
    assert served(adopted) == "two"


@pytest.mark.parametrize("what", ["HEAD", "config", "index", "objects"])
def test_a_corrupt_checkout_is_told_and_nobodys_file_in_it_is_touched(adopted, what):
    (adopted.path / "notes.txt").write_text("mine")
    place = adopted.path / ".git" / what
    for file in place.glob("??/*") if what == "objects" else [place]:
        file.unlink()  # a clone shares its objects with the origin, by hard links
        file.write_bytes(b"\0" * 20)
    talk = adopted.run(order(adopted, 1, "one"))
    assert talk.events[-1]["outcome"] == "failed", talk.events
    assert "git" in talk.events[-1]["cause"]
    assert ((adopted.path / "notes.txt").read_text(), (adopted.path / "app.txt").read_text()) == ("mine", "zero")


@pytest.mark.parametrize("what", ["dirty", "locked", "shallow", "corrupt"])
def test_beside_an_adopted_folder_a_clean_copy_is_laid_out_whatever_state_it_is_in(box, what):
    box.commit("zero")
    old = box.root / "old"
    subprocess.run(
        [*GIT, "clone", "-q", *["--depth=1"] * (what == "shallow"), f"file://{box.origin}", str(old)], check=True
    )
    (box.path / "releases").mkdir(parents=True)
    (box.path / "releases/0").symlink_to(old)
    (box.path / "current").symlink_to("releases/0")
    (old / "notes.txt").write_text("mine")
    if what == "locked":
        (old / ".git/index.lock").touch()
    if what == "corrupt":
        (old / ".git/HEAD").write_bytes(b"")
        (old / ".git/index").write_bytes(b"\0" * 20)
    before = {each: each.read_bytes() for each in old.rglob("*") if each.is_file()}
    web = service("web", restart="cp app.txt ../../served", health=healthy("! grep -q bad app.txt", within_s=0.3))
    talk = box.run(box.order(1, box.commit("bad"), services=(web,)))
    assert (talk.events[-1]["outcome"], talk.of("switched_back")[0]["to"]) == ("failed", 0)
    assert box.run(box.order(2, box.commit("one"), services=(web,))).events[-1]["outcome"] == "ok"
    assert (box.text("served"), (box.path / "current/notes.txt").exists()) == ("one", False)
    assert {each: each.read_bytes() for each in old.rglob("*") if each.is_file()} == before


def test_locks_that_a_power_cut_left_in_our_own_checkout_block_nobody(adopted):
    """Seen: the machine booted, and its order failed for ten minutes: "somebody uses git in this checkout now"."""
    adopted.run(order(adopted, 1, "one"))
    state = state_file(home_of(adopted.home, "shop", "uat"))
    state.write_text(json.dumps({**json.loads(state.read_text()), "underway": 2}))
    for name in ("index.lock", "HEAD.lock", "refs/wakeline/releases/3.lock"):
        (adopted.path / ".git" / name).touch()
    with subprocess.Popen([*GIT, "cat-file", "--batch"], cwd=adopted.path, stdin=subprocess.PIPE) as somebodys:
        try:
            assert "somebody uses git" in adopted.run(order(adopted, 2, "two")).events[-1]["cause"]
        finally:
            somebodys.kill()
    assert adopted.run(order(adopted, 3, "three")).events[-1]["outcome"] == "ok"
    assert served(adopted) == "three"


def test_a_shallow_checkout_will_do(box):
    box.commit("zero")
    box.commit("one")
    subprocess.run([*GIT, "clone", "-q", "--depth=1", f"file://{box.origin}", str(box.path)], check=True)
    assert box.run(order(box, 1, "two")).events[-1]["outcome"] == "ok"
    assert (box.path / "app.txt").read_text() == "two"


def test_a_folder_that_is_no_checkout_is_refused(box):
    box.path.mkdir()
    (box.path / "precious").touch()
    assert "is not a git checkout" in box.run(order(box, 1, "one")).events[-1]["cause"]
    assert (box.path / "precious").exists()


def test_a_script_that_moves_the_checkout_has_failed(adopted):
    adopted.run(order(adopted, 1, "one"))
    talk = adopted.run(order(adopted, 2, "two", steps=(step("script", "git checkout -q HEAD~1"),)))
    assert talk.events[-1]["outcome"] == "failed"
    assert "take `git pull` out of it" in talk.events[-1]["cause"]
    assert (adopted.path / "app.txt").read_text() == "one"


def test_head_of_the_origin_is_not_what_counts(adopted):
    wanted = adopted.commit("one")
    adopted.commit("two")
    adopted.run(adopted.order(1, wanted, **IN_PLACE))
    assert git("rev-parse", "HEAD", at=adopted.path).strip() == wanted


def test_release_0_is_not_ours_to_call_edited(tmp_path):
    (tmp_path / "old").mkdir()
    subprocess.run(["git", "init", "-q", str(tmp_path / "old")], check=True)
    (tmp_path / "old/venv").write_text("never committed")
    (tmp_path / "app/releases").mkdir(parents=True)
    (tmp_path / "app/releases/0").symlink_to(tmp_path / "old")
    (tmp_path / "app/current").symlink_to("releases/0")
    said = what_runs(home_of(tmp_path / "home", "shop", "uat"), tmp_path / "app")
    assert (said["current"], said["edited"]) == (0, False)
