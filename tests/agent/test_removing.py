"""Old releases are set aside before the last word and removed after it, when nobody waits."""

from __future__ import annotations

import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from one_machine import Talk, step, until

from wakeline.agent import removing, repository
from wakeline.agent.home import home_of
from wakeline.agent.layout import FORGOTTEN_TOGETHER, Releases

pytestmark = pytest.mark.slow


def test_what_is_set_aside_is_gone_under_its_name_and_then_altogether(tmp_path):
    for _ in range(2):
        (tmp_path / "1" / "deep").mkdir(parents=True)
        (tmp_path / "1" / "deep" / "file").touch()
        (tmp_path / "1" / "deep").chmod(stat.S_IRUSR | stat.S_IXUSR)
        removing.set_aside(tmp_path / "1")
    assert len(list(tmp_path.iterdir())) == 2
    assert not (tmp_path / "1").exists()
    removing.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_set_aside_long_ago_and_still_there_is_named(tmp_path, monkeypatch):
    (tmp_path / "1").mkdir()
    aside = removing.set_aside(tmp_path / "1")
    assert removing.stuck(tmp_path) == []
    monkeypatch.setattr(removing, "_STUCK_S", -60.0)
    assert removing.stuck(tmp_path) == [aside]


def test_two_that_sweep_at_once_are_in_nobody_s_way(tmp_path):
    for number in range(20):
        (tmp_path / str(number)).mkdir()
        for name in range(100):
            (tmp_path / str(number) / str(name)).touch()
        removing.set_aside(tmp_path / str(number))
    script = (
        "import sys; from pathlib import Path; from wakeline.agent import removing; removing.sweep(Path(sys.argv[1]))"
    )
    sweepers = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) for _ in range(3)]
    assert [each.wait(timeout=100) for each in sweepers] == [0, 0, 0]
    removing.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_was_cut_short_while_it_was_removed_is_removed_after_the_next_release(box):
    box.run(box.order(1, box.commit("one")))
    left = box.path / "releases" / ".removing-7-1-1"
    left.mkdir()
    (left / "file").touch()
    box.run(box.order(2, box.commit("two")))
    assert sorted(each.name for each in (box.path / "releases").iterdir()) == ["1", "2"]


SLOWLY = """\
import os, sys, time
sys.path.insert(0, {agent!r})
from wakeline.agent import lock, removing
from wakeline.agent.__main__ import main
remove = removing.remove_tree
def slowly(folder):
    while not os.path.exists({gate!r}):
        time.sleep(0.02)
    remove(folder)
removing.remove_tree = slowly
sys.exit(main(["--home", {home!r}, "run"]))
"""


def test_neither_the_last_word_nor_the_next_order_waits_for_the_removal_of_old_releases(box):
    for number in (1, 2):
        box.run(box.order(number, box.commit(f"v{number}"), keep=2))
    gate = box.root / "gate"
    script = SLOWLY.format(agent=str(box.agent), home=str(box.home), gate=str(gate))
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    box.started.append(process)
    talk = Talk(process)
    talk.say(do="run", order=box.order(3, box.commit("v3"), keep=2).to_json(), fence=1)
    assert talk.wait_for("finished")["outcome"] == "ok"
    assert box.run(box.order(4, box.commit("v4"), keep=3)).events[-1]["outcome"] == "ok"
    assert process.poll() is None
    gate.touch()
    talk.end()
    assert sorted(each.name for each in (box.path / "releases").iterdir()) == ["2", "3", "4"]


def test_the_code_s_copy_forgets_what_was_pruned_some_releases_at_a_time(box):
    def remembered() -> list[list[str]]:
        places = [box.path / "repository.git" / place for place in ("refs/wakeline/releases", "worktrees")]
        return [sorted(each.name.removeprefix("release-") for each in place.iterdir()) for place in places]

    last = 2 + FORGOTTEN_TOGETHER
    for number in range(1, last):
        box.run(box.order(number, box.commit(f"v{number}"), keep=2))
    assert remembered() == [[str(number) for number in range(1, last)]] * 2
    box.run(box.order(last, box.commit("the last"), keep=2))
    assert remembered() == [[str(last - 1), str(last)]] * 2


def test_a_release_that_is_laid_out_anew_keeps_the_name_of_its_commit(box):
    order = box.order(1, box.commit("one"), steps=(step("build", "test -e ../../allowed"),))
    box.run(order)
    (box.path / "releases/1/.wakeline-release.json").unlink()
    (box.path / "allowed").touch()
    assert box.run(order).events[-1]["outcome"] == "ok"
    until((box.path / "repository.git/refs/wakeline/releases/1").exists, "its commit is kept")


def test_what_cannot_be_removed_fails_no_release_that_is_confirmed(box):
    for number in (1, 2):
        box.run(box.order(number, box.commit(f"v{number}"), keep=2))
    script = SLOWLY.format(agent=str(box.agent), home=str(box.home), gate=str(box.root))
    script = script.replace("    remove(folder)", "    raise PermissionError(13, 'Permission denied', str(folder))")
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    box.started.append(process)
    talk = Talk(process)
    talk.say(do="run", order=box.order(3, box.commit("v3"), keep=2).to_json(), fence=1)
    assert talk.end()["outcome"] == "ok"
    assert (process.returncode, box.current()) == (0, 3)


def looked_over(box, *, releases: int = 3) -> Releases:
    """Old releases of which one will go, as seen while the services of the newest start."""
    for number in range(1, releases + 1):
        box.run(box.order(number, box.commit(f"v{number}"), keep=3))
    found = Releases(box.order(releases, "", keep=2), home=home_of(box.home, "shop", "uat"))
    found.look_over()
    return found


def test_a_look_at_what_will_go_is_made_while_services_start_and_not_again_after_it(box, monkeypatch):
    releases = looked_over(box)
    monkeypatch.setattr(repository, "git", lambda *_, **__: pytest.fail("a git more"))
    assert (releases.prune(), releases.known()) == ([], [3, 2])


def test_a_look_at_what_will_go_counts_for_three_seconds(box, monkeypatch):
    releases = looked_over(box)
    (box.path / "releases/1/app.txt").write_text("by hand")
    now_s = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now_s + 3.1)
    (saved,) = releases.prune()
    assert "+by hand" in (Path(saved) / "changes.patch").read_text()


def test_what_was_changed_by_hand_before_the_look_is_saved(box):
    for number in range(1, 4):
        box.run(box.order(number, box.commit(f"v{number}"), keep=3))
    (box.path / "releases/1/app.txt").write_text("by hand")
    talk = box.run(box.order(4, box.commit("v4"), keep=2))
    assert "changes made by hand were saved in" in talk.text()
    saved = "".join(each.read_text() for each in (box.home / "shop/uat/saved").glob("*/changes.patch"))
    assert "+by hand" in saved
