"""One order on one machine: laid out beside the old release, switched by rename, confirmed or gone back from."""

import json
import os
import signal
import stat
import subprocess

import pytest
from one_machine import git, healthy, is_alive, name_of, pythons, service, step, until

from wakeline.core.order import Repository

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("python", pythons(), ids=name_of)
def test_an_order_is_carried_out_on_every_python(box, python):
    commit = box.commit("one")
    order = box.order(1, commit, steps=(step("build", "echo built >out.txt"),), services=(service("web"),))
    talk = box.run(order, python=python)
    assert talk.events[-1]["outcome"] == "ok", talk.events
    assert box.current() == 1
    assert box.text() == "one"
    assert box.text("current/out.txt") == "built\n"
    wanted = ["hello", "fetched", "laid_out", "step_started", "step_finished", "switched", "healthy", "confirmed"]
    assert talk.kinds() == [*wanted, "finished"]


def test_an_agent_with_an_order_starts_without_what_writes_classes(box):
    """`dataclasses` takes inspect, ast, dis and tokenize along: a tenth of the processor time of an order."""
    modules = "agent.__main__, wakeline.agent.executor, wakeline.agent.ahead, wakeline.edges.ledgers.git"
    script = f"import sys; sys.path.insert(0, {str(box.agent)!r}); import wakeline.{modules}; print(*sys.modules)"
    done = subprocess.run([os.sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True)
    assert "wakeline.agent.executor" in done.stdout.split()
    assert {"dataclasses", "inspect", "tokenize"} & set(done.stdout.split()) == set()


def test_the_same_release_again_is_unchanged(box):
    order = box.order(1, box.commit(), steps=(step("build", "echo ran >>../../ran"),))
    box.run(order)
    assert box.run(order).events[-1]["outcome"] == "unchanged"
    assert box.text("ran") == "ran\n"


def test_a_failing_step_leaves_the_old_release_and_gives_its_last_words(box):
    box.run(box.order(1, box.commit("one")))
    talk = box.run(box.order(2, box.commit("two"), steps=(step("build", "echo no luck; exit 3"),)))
    last = talk.events[-1]
    assert (last["outcome"], box.current()) == ("failed", 1)
    assert last["cause"] == "build: exit 3\nno luck"
    assert box.text() == "one"


def test_a_step_that_failed_can_pass_at_the_next_try_of_the_same_release(box):
    order = box.order(1, box.commit(), steps=(step("build", "test -e ../../allowed"),))
    assert box.run(order).events[-1]["outcome"] == "failed"
    (box.path / "allowed").touch()
    assert box.run(order).events[-1]["outcome"] == "ok"


def test_unhealthy_is_switched_back_and_the_old_release_is_restarted(box):
    web = service("web", restart="pwd -P >../../served", health=healthy("! grep -q two app.txt", within_s=0.3))
    box.run(box.order(1, box.commit("one"), services=(web,)))
    talk = box.run(box.order(2, box.commit("two"), services=(web,)))
    last = talk.events[-1]
    assert last["outcome"] == "failed"
    assert "web is not healthy" in last["cause"]
    assert box.current() == 1
    assert box.text("served").strip() == str(box.path / "releases" / "1")
    assert talk.of("switched_back")[0]["to"] == 1


def test_no_switch_back_goes_below_the_barrier(box):
    web = service("web", health=healthy("! grep -q two app.txt", within_s=0.3), restart="true")
    box.run(box.order(1, box.commit("one"), services=(web,)))
    last = box.run(box.order(2, box.commit("two"), services=(web,), barrier=2)).events[-1]
    assert last["outcome"] == "failed"
    assert "not switched back: the schema has moved" in last["cause"]
    assert box.current() == 2


def test_the_first_release_that_fails_leaves_its_services_stopped(box):
    web = service("web", restart="touch ../../up", stop="rm ../../up", health=healthy("false", within_s=0.3))
    last = box.run(box.order(1, box.commit(), services=(web,))).events[-1]
    assert last["outcome"] == "failed"
    assert "there is no earlier release" in last["cause"]
    assert not (box.path / "up").exists()


def test_a_failed_release_is_never_what_is_gone_back_to(box):
    web = service("web", restart="true", health=healthy("! grep -q bad app.txt", within_s=0.3))
    box.run(box.order(1, box.commit("good"), services=(web,)))
    box.run(box.order(2, box.commit("bad one"), services=(web,)))
    talk = box.run(box.order(3, box.commit("bad two"), services=(web,)))
    assert talk.of("switched_back")[0]["to"] == 1


def test_an_order_below_what_runs_is_refused(box):
    first = box.commit("one")
    box.run(box.order(5, first))
    last = box.run(box.order(4, box.commit("two"))).events[-1]
    assert last["outcome"] == "failed"
    assert "release 5 already" in last["cause"]


def test_shared_paths_are_linked_and_a_missing_one_fails_before_any_step(box):
    commit = box.commit("one", media__keep="tracked")
    order = box.order(1, commit, shared=("media", ".env"), steps=(step("build", "touch ../../ran"),))
    last = box.run(order).events[-1]
    assert last["outcome"] == "failed"
    assert f"{box.path}/shared/.env" in last["cause"]
    assert not (box.path / "ran").exists()
    (box.path / "shared" / "media").mkdir(parents=True)
    (box.path / "shared" / "media" / "photo").write_text("kept")
    (box.path / "shared" / ".env").write_text("A=1")
    assert box.run(order).events[-1]["outcome"] == "ok"
    assert box.text("current/media/photo") == "kept"
    assert not (box.path / "releases/1/media").readlink().is_absolute()


@pytest.mark.parametrize("path", ["../out", "/etc/x", ".git/hooks"])
def test_a_shared_path_that_leads_out_of_the_release_is_refused(box, path):
    last = box.run(box.order(1, box.commit(), shared=(path,))).events[-1]
    assert "leads out of the release" in last["cause"]


@pytest.mark.parametrize("commit", ["f" * 40, "main", "--upload-pack=x"])
def test_a_commit_that_is_not_there_or_is_a_name_has_a_clear_message(box, commit):
    box.commit()
    last = box.run(box.order(1, commit)).events[-1]
    assert last["outcome"] == "failed"
    assert commit[:10] in last["cause"]
    assert box.current() is None


def test_a_branch_named_like_a_commit_does_not_stand_in_for_it(box):
    wanted = box.commit("wanted")
    box.commit("other")
    subprocess.run(["git", "push", "-q", box.origin, f"HEAD:refs/heads/{wanted}"], cwd=box.work, check=True)
    assert box.run(box.order(1, wanted)).events[-1]["outcome"] == "ok"
    assert box.text() == "wanted"


def test_old_releases_are_pruned_and_what_was_edited_in_them_is_saved(box):
    for number in range(1, 6):
        box.run(box.order(number, box.commit(f"v{number}"), keep=2))
        if number == 2:
            (box.path / "releases/2/app.txt").write_text("edited by hand")
            (box.path / "releases/2/notes").write_text("untracked")
    assert sorted(each.name for each in (box.path / "releases").iterdir()) == ["4", "5"]
    saved = next((box.home / "shop/uat/saved").iterdir())
    assert stat.S_IMODE(saved.stat().st_mode) == 0o700
    assert "edited by hand" in (saved / "changes.patch").read_text()
    assert stat.S_IMODE((saved / "untracked.tar").stat().st_mode) == 0o600


def test_a_further_repository_is_laid_into_the_release(box, tmp_path):
    other = tmp_path / "front"
    git("init", "-q", str(other), at=tmp_path)
    (other / "page.html").write_text("hi")
    git("add", "-A", at=other)
    git("commit", "-q", "-m", "x", at=other)
    commit = git("rev-parse", "HEAD", at=other).strip()
    extra = Repository(path="web/front", git=str(other), branch="main", commit=commit)
    assert box.run(box.order(1, box.commit(), repositories=(extra,))).events[-1]["outcome"] == "ok"
    assert box.text("current/web/front/page.html") == "hi"


def test_a_rollout_that_was_overtaken_starts_nothing(box):
    box.fence = 7
    box.run(box.order(1, box.commit("one")))
    box.fence = 6
    last = box.run(box.order(2, box.commit("two"))).events[-1]
    assert (last["outcome"], box.current()) == ("failed", 1)
    assert "rollout 7" in last["cause"]


def test_what_is_not_an_order_is_refused_with_its_reason(box):
    order = box.order(1, box.commit())
    talk = box.start(order)
    talk.end()
    process = subprocess.run(
        [os.sys.executable, box.agent, "--home", box.home, "run"],
        input=b'{"do":"run","order":{"version":99},"fence":1}\n',
        capture_output=True,
        check=False,
    )
    last = json.loads(process.stdout.splitlines()[-1])
    assert process.returncode == 2
    assert "version 99" in last["cause"]


def test_no_space_is_said_before_anything_is_laid_out(box):
    order = box.order(1, box.commit())
    script = "import shutil,sys,collections;shutil.disk_usage=lambda p:collections.namedtuple('U','free')(1);"
    script += f"sys.path.insert(0,{str(box.agent)!r});sys.argv=[{str(box.agent)!r},'--home',{str(box.home)!r},'run'];"
    script += "from wakeline.agent.__main__ import main;main()"
    said = subprocess.run(
        [os.sys.executable, "-c", script],
        input=json.dumps({"do": "run", "order": order.to_json(), "fence": 1}).encode(),
        capture_output=True,
        check=False,
    )
    last = json.loads(said.stdout.splitlines()[-1])
    assert "no space left" in last["cause"]
    assert not (box.path / "releases/1").exists()


def test_an_unwritable_place_is_a_clear_message(box):
    (box.root / "app").write_text("a file where the folder should be")
    last = box.run(box.order(1, box.commit())).events[-1]
    assert last["outcome"] == "failed"
    assert "cannot be written" in last["cause"]


def test_stop_before_the_switch_ends_the_step_and_nothing_is_switched(box):
    talk = box.start(box.order(1, box.commit(), steps=(step("build", "echo going; sleep 60"),)))
    talk.wait_for("output", text="going")
    talk.say(do="stop", why="Ctrl-C")
    last = talk.end()
    assert last["outcome"] == "withheld"
    assert "Ctrl-C" in last["cause"]
    assert box.current() is None


def test_a_lost_connection_does_not_end_an_accepted_order(box):
    gate = box.root / "gate"
    web = service("web", restart="touch ../../served")
    order = box.order(
        1, box.commit(), services=(web,), steps=(step("b", f"while ! test -e {gate}; do sleep 0.02; done"),)
    )
    talk = box.start(order)
    talk.wait_for("step_started")
    talk.process.stdin.close()
    gate.touch()
    talk.process.wait(timeout=20)
    assert box.current() == 1
    hello = box.run(order).of("hello")[0]
    assert [each["outcome"] for each in hello["reports"]] == ["ok"]


def test_two_orders_at_once_go_one_after_the_other(box):
    gate = box.root / "gate"
    commit = box.commit()
    wait = step("b", f"while ! test -e {gate}; do sleep 0.02; done")
    first = box.start(box.order(1, commit, steps=(wait,)))
    first.wait_for("step_started")
    second = box.start(box.order(2, commit))
    second.wait_for("waiting")
    assert box.current() is None
    gate.touch()
    assert first.end()["outcome"] == "ok"
    assert second.end()["outcome"] == "ok"
    until(lambda: box.current() == 2, "release 2 runs")


def test_what_a_restart_command_starts_in_the_background_is_the_service_and_goes_on(box):
    """Seen without systemd: a server that had not left the command's process group yet was killed with it."""
    web = service("web", restart="sleep 600 </dev/null >/dev/null 2>&1 & echo $! >../../pid")
    talk = box.run(box.order(1, box.commit(), services=(web,)))
    pid = int(box.text("pid"))
    try:
        assert talk.events[-1]["outcome"] == "ok", talk.events
        assert is_alive(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


def test_a_release_that_was_laid_out_before_a_power_cut_is_laid_out_anew(box):
    order = box.order(1, box.commit("one"), steps=(step("build", "test -e ../../allowed"),))
    box.run(order)
    said = box.path / "releases/1/.wakeline-release.json"
    said.write_text(json.dumps({**json.loads(said.read_text()), "boot": "the one before"}))
    (box.path / "releases/1/app.txt").write_text("")  # what was not fsynced came back empty
    (box.path / "allowed").touch()
    assert box.run(order).events[-1]["outcome"] == "ok"
    assert box.text() == "one"


def test_locks_that_a_killed_git_left_in_our_copy_block_nothing(box):
    box.run(box.order(1, box.commit("one")))
    for litter in (
        "shallow.lock",
        "packed-refs.lock",
        "refs/wakeline/releases/2.lock",
        "worktrees/release-1/index.lock",
    ):
        (box.path / "repository.git" / litter).touch()
    assert box.run(box.order(2, box.commit("two"))).events[-1]["outcome"] == "ok"


@pytest.mark.parametrize("left", ["locked", "commondir", "gitdir", "HEAD"])
@pytest.mark.parametrize("release", [2, 3])
def test_a_work_tree_whose_adding_was_cut_short_stands_in_the_way_of_no_release(box, left, release):
    """Found by power cuts at random moments: git puts none of these on disk, and gave up at an empty one for good."""
    box.run(box.order(1, box.commit("one")))
    commit = box.commit("two")
    box.run(box.order(2, commit, steps=(step("build", "exit 1"),)))
    (box.path / "releases/2/.wakeline-release.json").unlink()
    (box.path / "repository.git/worktrees/release-2" / left).write_bytes(b"")
    done = box.run(box.order(release, commit if release == 2 else box.commit("three")))
    assert (done.events[-1]["outcome"], box.current()) == ("ok", release), done.events[-1]


def test_a_copy_whose_making_was_cut_short_is_made_anew(box):
    (box.path / "repository.git/objects").mkdir(parents=True)
    (box.path / "repository.git/HEAD").touch()
    (box.path / "repository.git/config.lock").touch()  # a power cut took its bytes and left its name
    assert box.run(box.order(1, box.commit("one"))).events[-1]["outcome"] == "ok"


def test_a_disk_that_fails_under_setup_is_told_in_words(box):
    (box.home / "shop/uat").mkdir(parents=True)
    (box.home / "shop/uat/config.json").mkdir()
    said = subprocess.run(
        [os.sys.executable, box.agent, "--home", box.home, "configure"],
        input=json.dumps({"app": "shop", "environment": "uat"}).encode(),
        capture_output=True,
        check=False,
    )
    assert (said.returncode, b"Traceback" in said.stderr) == (75, False)
    assert "Is a directory" in json.loads(said.stdout)["problem"]


def test_a_try_that_filled_the_disk_does_not_keep_the_next_from_starting(box):
    box.run(box.order(1, box.commit("one")))
    box.run(box.order(2, box.commit("two"), steps=(step("build", "exit 1"),)))
    assert (box.path / "releases/2").exists()
    order = box.order(3, box.commit("three"))
    script = "import shutil,sys,os,collections;left=lambda:os.path.exists(sys.argv[-1]);"
    script += "shutil.disk_usage=lambda p:collections.namedtuple('U','free')(1 if left() else 1<<40);"
    script += f"sys.path.insert(0,{str(box.agent)!r});from wakeline.agent.__main__ import main;"
    script += f"sys.exit(main(['--home',{str(box.home)!r},'run']))"
    said = subprocess.run(
        [os.sys.executable, "-c", script, str(box.path / "releases/2")],
        input=json.dumps({"do": "run", "order": order.to_json(), "fence": 1}).encode(),
        capture_output=True,
        check=False,
    )
    assert json.loads(said.stdout.splitlines()[-1])["outcome"] == "ok", said.stdout.splitlines()[-1]
    assert sorted(each.name for each in (box.path / "releases").iterdir()) == ["1", "3"]
