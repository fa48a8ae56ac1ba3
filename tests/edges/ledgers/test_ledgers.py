"""One contract for every store of the ledger, and what only git can do to us."""

import concurrent.futures
import hashlib
import itertools
import os
import random
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from wakeline.core.records import GENESIS, Draft, Record, chain
from wakeline.edges import git as edges_git
from wakeline.edges.ledgers import Ledger, open_ledger
from wakeline.edges.ledgers import git as git_store
from wakeline.errors import LedgerError

NUMBERS = itertools.count()


def git(*arguments: str, at: Path) -> str:
    finished = subprocess.run(["git", *arguments], cwd=at, capture_output=True, text=True, check=True)
    return finished.stdout.strip()


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    git("init", "-q", "--bare", "remote.git", at=tmp_path)
    return tmp_path / "remote.git"


@pytest.fixture(params=["git", "sqlite"])
def opened(request, tmp_path, remote):
    """Opens the same ledger again, each time as another process would."""
    url = str(remote) if request.param == "git" else f"sqlite:///{tmp_path}/ledger.sqlite"

    def again() -> Ledger:
        return open_ledger(url, app="shop", environment="uat", workdir=tmp_path / f"work{next(NUMBERS)}")

    return again


@pytest.fixture
def on_git(remote, tmp_path):
    return open_ledger(str(remote), app="shop", environment="uat", workdir=tmp_path / "work")


LOG = "refs/wakeline/shop/uat/log"


def records(*bodies: str, previous: str = GENESIS, ids: list[str] | None = None) -> tuple[Record, ...]:
    names = ids or [f"id{next(NUMBERS)}" for _ in bodies]
    return chain([Draft("held", {"machine": b}) for b in bodies], ids=names, previous=previous, at="t", by="ann")


def test_a_log_longer_than_what_is_kept_of_other_output_is_read_whole(on_git, remote, tmp_path):
    """Seen with some 3000 releases: the log was cut at 8 MB, and its last record was "not JSON"."""
    written = records(*("x" * 1024 * 1024 for _ in range(9)))
    assert on_git.append(written)
    again = open_ledger(str(remote), app="shop", environment="uat", workdir=tmp_path / "again")
    assert again.read().records == written


def test_output_of_git_that_was_cut_is_an_error_and_never_taken_for_the_whole(remote):
    with pytest.raises(edges_git.GitFailed, match="bytes more than"):
        edges_git.ask(["version"], at=remote, kept_bytes_max=3)


def test_an_empty_log_has_no_records(opened):
    assert opened().read().records == ()
    assert opened().read().tip == GENESIS


def test_what_was_appended_is_read_back_by_everybody(opened):
    first = records("a", "b")
    assert opened().append(first)
    second = records("ü\n::error::", previous=first[-1].hash)
    assert opened().append(second)
    assert opened().read().records == first + second


def test_a_stale_append_loses_and_leaves_nothing(opened):
    late = opened()
    late.read()
    assert opened().append(records("a"))
    assert late.append(records("b", "c")) is False
    assert [each.body["machine"] for each in opened().read().records] == ["a"]


def test_a_log_that_stands_where_it_was_said_to_is_not_read_and_one_that_moved_is(opened):
    writer = opened()
    first = records("a")
    assert writer.append(first)
    stamp = writer.stamp_of(first[-1].hash)
    assert opened().read_unless(stamp.__eq__) is None
    assert opened().read_unless(lambda _found: False).records == first, "whoever knows nothing reads"
    second = records("b", previous=first[-1].hash)
    assert opened().append(second)
    assert opened().read_unless(stamp.__eq__).records == first + second


def test_a_log_has_no_stamp_where_it_has_moved_on_since(on_git, remote, tmp_path):
    """A stamp newer than the state that it is said with would hide what another wrote in between."""
    first = records("a")
    assert on_git.append(first)
    other = open_ledger(str(remote), app="shop", environment="uat", workdir=tmp_path / "other")
    assert other.append(records("b", previous=other.read().tip))
    assert on_git.stamp_of(first[-1].hash) != ""
    on_git.read()
    assert on_git.stamp_of(first[-1].hash) == ""


def test_the_same_append_twice_is_in_the_log_once(opened):
    mine = records("a")
    assert opened().append(mine)
    assert opened().append(mine), "it is in the log, whoever put it there"
    assert len(opened().read().records) == 1


def test_two_writers_of_an_equal_record_do_not_both_win(opened):
    won = [opened().append(records("same")) for _ in range(2)]
    assert sorted(won) == [False, True]


def _write_many(ledger: Ledger, writer: int, count: int) -> int:
    tries = 0
    for number in range(count):
        while True:
            tries += 1
            if ledger.append(records(f"{writer}/{number}", previous=ledger.read().tip)):
                break
            time.sleep(random.uniform(0, 0.05))
    return tries


@pytest.mark.slow
def test_with_many_writers_at_once_no_record_is_lost_and_none_doubled(opened):
    writers, each = 6, 3
    with concurrent.futures.ThreadPoolExecutor(writers) as pool:
        tries = list(pool.map(lambda n: _write_many(opened(), n, each), range(writers)))
    found = [record.body["machine"] for record in opened().read().records]
    assert sorted(found) == sorted(f"{w}/{n}" for w in range(writers) for n in range(each))
    assert sum(tries) >= writers * each


def test_a_check_in_is_a_machines_last_word_and_needs_no_order(opened):
    opened().check_in("uat", {"release": 1})
    opened().check_in("uat", {"release": 2})
    opened().check_in("scheduler", {"release": 1})
    assert opened().check_ins() == {"uat": {"release": 2}, "scheduler": {"release": 1}}
    assert opened().read().records == ()


def test_fleets_in_one_store_do_not_see_each_other(opened, tmp_path, remote):
    assert opened().append(records("a"))
    url = str(remote) if (remote / "refs" / "wakeline").exists() else f"sqlite:///{tmp_path}/ledger.sqlite"
    assert open_ledger(url, app="other", environment="uat", workdir=tmp_path / "w").read().records == ()


def test_an_append_that_arrived_but_was_answered_with_failure_is_believed(on_git, remote):
    """A cut connection reports failure for a record that had arrived: only a second look tells."""
    hook = remote / "hooks" / "post-receive"
    hook.write_text("#!/bin/sh\nkill -9 $PPID\n")
    hook.chmod(0o755)
    assert on_git.append(records("a"))
    assert len(on_git.read().records) == 1


def test_an_append_that_the_remote_reports_as_taken_costs_one_contact(on_git, monkeypatch):
    """Over SSH every contact is a login: the remote's own word for our ref needs no second look."""
    on_git.read()
    said = []
    call = edges_git.call
    monkeypatch.setattr(edges_git, "call", lambda argv, **more: (said.append(argv[0]), call(argv, **more))[1])
    assert on_git.append(records("a"))
    assert said == ["push"]
    assert len(on_git.read().records) == 1


@pytest.mark.parametrize("answer", [b"", b"=\tC:refs/x\t[up to date]\nDone\n", b"!\tC:refs/x\t[rejected]\nDone\n"])
def test_an_answer_that_does_not_say_updated_is_no_answer(answer):
    assert not git_store._says_updated(answer, "C:refs/x")
    assert not git_store._says_updated(b" \tC:refs/other\ta..b\nDone\n", "C:refs/x")


@pytest.mark.parametrize("flag", [b" ", b"*", b"+"])
def test_a_ref_that_is_reported_as_updated_is_believed(flag):
    assert git_store._says_updated(b"To there\n" + flag + b"\tC:refs/x\ta..b\nDone\n", "C:refs/x")


def test_a_push_that_is_answered_up_to_date_is_looked_up(on_git, monkeypatch):
    """Seen: git answers the second of two equal pushes with `=` and exit 0."""
    mine = records("a")
    assert on_git.append(mine)
    monkeypatch.setattr(on_git, "_log", git_store.Log())
    assert on_git.append(mine)
    assert len(on_git.read().records) == 1


def test_a_push_that_is_refused_three_times_is_an_error_with_the_remotes_words(on_git, remote):
    hook = remote / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho the branch is guarded >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(LedgerError, match="the branch is guarded"):
        on_git.append(records("a"))


def test_a_remote_that_is_not_there_is_an_error_that_names_it(tmp_path):
    ledger = open_ledger(str(tmp_path / "gone.git"), app="a", environment="b", workdir=tmp_path / "w")
    with pytest.raises(LedgerError, match=r"gone\.git"):
        ledger.read()


def test_a_ref_that_somebody_else_wrote_is_named_and_left_alone(on_git, remote, tmp_path):
    git("init", "-q", "clone", at=tmp_path)
    clone = tmp_path / "clone"
    (clone / "file").write_text("hello")
    git("add", ".", at=clone)
    git("-c", "user.name=eve", "-c", "user.email=e@e", "commit", "-qm", "not yours", at=clone)
    git("push", "-q", str(remote), f"HEAD:{LOG}", at=clone)
    before = git("rev-parse", LOG, at=remote)
    with pytest.raises(LedgerError, match="is not wakeline's"):
        on_git.read()
    with pytest.raises(LedgerError):
        on_git.append(records("a"))
    assert git("rev-parse", LOG, at=remote) == before


def _rewrite(remote: Path, message: str) -> None:
    tree = git("hash-object", "-w", "-t", "tree", os.devnull, at=remote)
    who = {"GIT_AUTHOR_NAME": "e", "GIT_AUTHOR_EMAIL": "e@e", "GIT_COMMITTER_NAME": "e", "GIT_COMMITTER_EMAIL": "e@e"}
    made = subprocess.run(
        ["git", "commit-tree", tree],
        cwd=remote,
        input=message,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **who},
    )
    git("update-ref", LOG, made.stdout.strip(), at=remote)


def test_a_record_of_a_newer_version_is_handed_on_as_it_is(on_git, remote):
    newer = records("a")[0]._replace(version=2)
    _rewrite(remote, newer.line)
    assert on_git.read().records == (newer,)


def test_a_record_that_was_changed_afterwards_is_named(on_git, remote):
    first, second = records("a", "b")
    _rewrite(remote, first.line.replace('"by":"ann"', '"by":"eve"') + "\n" + second.line)
    with pytest.raises(LedgerError, match="record 2"):
        on_git.read()


def test_an_unchanged_log_is_read_without_a_fetch(on_git, remote, monkeypatch):
    assert on_git.append(records("a"))
    monkeypatch.setattr(on_git, "_fetch", lambda _refs: pytest.fail("fetched again"))
    assert len(on_git.read().records) == 1


def test_a_pin_that_is_refused_is_a_warning_and_the_record_stands(on_git, remote, tmp_path):
    on_git.read()
    code = on_git._write_commit(b"code", parent="")
    hook = remote / "hooks" / "update"
    hook.write_text('#!/bin/sh\ncase "$1" in */approved/*) echo no pins here >&2; exit 1;; esac\n')
    hook.chmod(0o755)
    assert on_git.append(records("a"), pins={"approved/web": code})
    assert "no pins here" in on_git.warnings[0]
    assert len(on_git.read().records) == 1


def test_some_other_programs_database_is_left_alone(tmp_path):
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("create table theirs (x)")
    database.close()
    ledger = open_ledger(f"sqlite:///{path}", app="a", environment="b", workdir=tmp_path)
    with pytest.raises(LedgerError, match="some other program's database"):
        ledger.read()


def test_a_file_that_is_no_database_is_an_error_with_its_path(tmp_path):
    path = tmp_path / "ledger.sqlite"
    path.write_text("hello " * 1000)
    with pytest.raises(LedgerError, match=r"ledger\.sqlite"):
        open_ledger(f"sqlite:///{path}", app="a", environment="b", workdir=tmp_path).read()


def test_its_stamp_moves_with_the_log_and_only_then(opened):
    before = opened().stamp()
    assert opened().stamp() == before
    opened().append(records("one"))
    after = opened().stamp()
    assert after != before
    opened().check_in("uat", {"machine": "uat"})
    assert opened().stamp() == after


AGENT = (hashlib.sha256(b"an agent").hexdigest(), b"an agent")


def test_an_agent_that_a_record_names_is_had_from_the_ledger_by_its_digest(opened):
    assert opened().append(records("a"), agents=dict([AGENT]))
    assert opened().agent(AGENT[0]) == AGENT[1]
    more = {AGENT[0]: AGENT[1], "b" * 64: b"\0\xff" * 100_000}
    assert opened().append(records("b", previous=opened().read().tip), agents=more)
    assert opened().agent("b" * 64) == more["b" * 64]


def test_an_agent_that_is_not_there_is_an_error_that_names_it(opened):
    with pytest.raises(LedgerError, match="does not have the agent cccccccccccc"):
        opened().agent("c" * 64)


def test_an_append_that_loses_leaves_no_agent(opened):
    late = opened()
    late.read()
    assert opened().append(records("a"))
    assert late.append(records("b"), agents=dict([AGENT])) is False
    with pytest.raises(LedgerError):
        opened().agent(AGENT[0])


def test_fleets_in_one_store_do_not_share_agents(opened, tmp_path, remote):
    assert opened().append(records("a"), agents=dict([AGENT]))
    url = str(remote) if (remote / "refs" / "wakeline").exists() else f"sqlite:///{tmp_path}/ledger.sqlite"
    with pytest.raises(LedgerError):
        open_ledger(url, app="other", environment="uat", workdir=tmp_path / "w").agent(AGENT[0])


def test_an_agent_that_the_remote_has_is_not_pushed_again(on_git, remote):
    hook = remote / "hooks" / "update"
    hook.write_text('#!/bin/sh\necho "$1" >>pushed\n')
    hook.chmod(0o755)
    first = records("a")
    assert on_git.append(first, agents=dict([AGENT]))
    assert on_git.append(records("b", previous=first[-1].hash), agents=dict([AGENT]))
    assert (remote / "pushed").read_text().split().count(f"refs/wakeline/shop/uat/agent/{AGENT[0]}") == 1


def test_two_runners_that_push_the_same_agent_at_once_do_not_meet(remote, tmp_path):
    here, there = (
        open_ledger(str(remote), app="shop", environment="uat", workdir=tmp_path / name) for name in ("here", "there")
    )
    assert (here.read().tip, there.read().tip) == (GENESIS, GENESIS)
    first = records("a")
    assert here.append(first, agents=dict([AGENT]))
    assert there.append(records("b", previous=first[-1].hash), agents=dict([AGENT]))
    assert there.warnings == []


def test_an_agent_that_is_refused_is_a_warning_and_the_record_stands(on_git, remote):
    hook = remote / "hooks" / "update"
    hook.write_text('#!/bin/sh\ncase "$1" in */agent/*) echo no agents here >&2; exit 1;; esac\n')
    hook.chmod(0o755)
    assert on_git.append(records("a"), agents=dict([AGENT]))
    assert "no agents here" in on_git.warnings[0]
    assert len(on_git.read().records) == 1


def test_a_sqlite_ledger_of_before_agents_takes_and_gives_them(tmp_path):
    path = tmp_path / "ledger.sqlite"
    old = open_ledger(f"sqlite:///{path}", app="shop", environment="uat", workdir=tmp_path)
    assert old.append(records("a"))
    with sqlite3.connect(path) as database:
        assert database.execute("select count(*) from sqlite_master where name = 'agents'").fetchone() == (0,)
    database.close()
    assert old.append(records("b", previous=old.read().tip), agents=dict([AGENT]))
    assert old.agent(AGENT[0]) == AGENT[1]


@pytest.mark.parametrize("damage", ["objects", "HEAD", "lock", "init cut off"])
def test_a_copy_that_a_power_cut_has_damaged_is_made_anew(remote, tmp_path, damage):
    place = {"app": "shop", "environment": "uat", "workdir": tmp_path / "work"}
    first = records("a")
    assert open_ledger(str(remote), **place).append(first)
    second = records("b", previous=first[-1].hash)
    other = open_ledger(str(remote), **{**place, "workdir": tmp_path / "other"})
    assert other.append(second)
    (copy,) = (tmp_path / "work").iterdir()
    if damage == "objects":
        for each in copy.glob("objects/*/*"):  # as seen after a cut: the names are there, the bytes are not
            each.chmod(0o644)
            each.write_bytes(b"")
    elif damage == "HEAD":
        (copy / "HEAD").write_bytes(b"")
    elif damage == "init cut off":
        (copy / "config").write_bytes(b"")
        (copy / "config.lock").touch()
    else:
        (copy / "refs/wakeline").mkdir(parents=True, exist_ok=True)
        (copy / "refs/wakeline/copy.lock").touch()
    assert [record.body["machine"] for record in open_ledger(str(remote), **place).read().records] == ["a", "b"]
