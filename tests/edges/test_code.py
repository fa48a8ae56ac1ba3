"""The app's code, its ledger and its check-ins are looked at in one contact with the remote."""

import socket
import subprocess
import time
from pathlib import Path

import pytest

from wakeline.core.records import GENESIS, Draft, chain
from wakeline.edges import git
from wakeline.edges.code import Code
from wakeline.edges.ledgers import open_ledger
from wakeline.edges.ledgers.git import copy_of, refs_of
from wakeline.errors import RolloutFailed, Usage


def run_git(*arguments: str, at: Path) -> str:
    done = subprocess.run(["git", *arguments], cwd=at, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def remote(tmp_path):
    run_git("init", "-q", "--bare", "-b", "main", "remote.git", at=tmp_path)
    run_git("init", "-q", "-b", "main", "checkout", at=tmp_path)
    commit(tmp_path, "first")
    return tmp_path / "remote.git"


def commit(folder: Path, text: str) -> str:
    checkout = folder / "checkout"
    (checkout / "file").write_text(text)
    run_git("add", ".", at=checkout)
    run_git("-c", "user.name=a", "-c", "user.email=a@a", "commit", "-qm", text, at=checkout)
    run_git("push", "-q", str(folder / "remote.git"), "main", at=checkout)
    return run_git("rev-parse", "HEAD", at=checkout)


@pytest.fixture
def contacts(monkeypatch):
    """The verbs of git that reach the remote, as they are used."""
    used: list[str] = []
    call = git.call

    def noting(arguments, **more):
        if arguments[0] in ("ls-remote", "fetch", "push"):
            used.append(arguments[0])
        return call(arguments, **more)

    monkeypatch.setattr(git, "call", noting)
    return used


def open_both(remote: Path, workdir: Path):
    code = Code(str(remote), branch="main", copy=copy_of(str(remote), workdir=workdir))
    beside, noted = refs_of("shop", "uat")
    tip = code.fetch(beside=beside, noted=noted)
    ledger = open_ledger(str(remote), app="shop", environment="uat", workdir=workdir, looked=code.looked)
    return code, tip, ledger


def write(remote: Path, workdir: Path, name: str, *, previous: str = GENESIS) -> str:
    (record,) = chain([Draft("held", {"machine": name})], ids=[name], previous=previous, at="t", by="ann")
    assert open_ledger(str(remote), app="shop", environment="uat", workdir=workdir).append([record])
    return record.hash


def test_code_log_and_check_ins_cost_one_question_and_one_fetch(remote, tmp_path, contacts):
    other = tmp_path / "other"
    write(remote, other, "one")
    open_ledger(str(remote), app="shop", environment="uat", workdir=other).check_in("uat", {"release": 3})
    tip = commit(tmp_path, "second")
    contacts.clear()
    code, found, ledger = open_both(remote, tmp_path / "mine")
    assert found == tip
    assert code.file(tip, "file") == "second"
    assert [each.id for each in ledger.read().records] == ["one"]
    assert ledger.check_ins() == {"uat": {"release": 3}}
    assert contacts == ["ls-remote", "fetch"]


def test_where_nothing_has_moved_one_question_is_all(remote, tmp_path, contacts):
    write(remote, tmp_path / "other", "one")
    open_both(remote, tmp_path / "mine")
    contacts.clear()
    _, _, ledger = open_both(remote, tmp_path / "mine")
    assert len(ledger.read().records) == 1
    assert contacts == ["ls-remote"]


def test_a_look_is_believed_once_and_the_next_read_asks_again(remote, tmp_path):
    _, _, ledger = open_both(remote, tmp_path / "mine")
    write(remote, tmp_path / "other", "later")
    assert ledger.read().records == ()
    assert [each.id for each in ledger.read().records] == ["later"]


def test_an_agent_that_the_look_found_is_not_pushed_again(remote, tmp_path, contacts):
    other = open_ledger(str(remote), app="shop", environment="uat", workdir=tmp_path / "other")
    other.read()
    first, second = chain(
        [Draft("held", {"machine": "a"}), Draft("held", {"machine": "b"})],
        ids=["a", "b"], previous=GENESIS, at="t", by="ann",
    )  # fmt: skip
    assert other.append([first], agents={"d" * 64: b"agent"})
    _, _, ledger = open_both(remote, tmp_path / "mine")
    assert "agent/" in "".join(run_git("for-each-ref", "refs/wakeline", at=remote))
    ledger.read()
    assert ledger._missing({"d" * 64: b"agent"}) == []
    assert ledger.append([second], agents={"d" * 64: b"agent"})


def test_an_append_after_an_old_look_loses_to_who_was_faster(remote, tmp_path):
    _, _, ledger = open_both(remote, tmp_path / "mine")
    ledger.read()
    write(remote, tmp_path / "other", "faster")
    (mine,) = chain([Draft("held", {"machine": "x"})], ids=["slow"], previous=GENESIS, at="t", by="bob")
    assert ledger.append([mine]) is False


def test_a_commit_that_is_not_here_is_older_than_nothing(remote, tmp_path):
    code, tip, _ = open_both(remote, tmp_path / "mine")
    assert not code.is_older("0" * 40, tip)
    assert not code.is_older(tip, "0" * 40)
    second = commit(tmp_path, "second")
    code.fetch()
    assert code.is_older(tip, second)
    assert not code.is_older(second, second)


def test_a_branch_that_has_moved_is_fetched_while_the_remote_is_looked_at(remote, tmp_path, contacts):
    code = Code(str(remote), branch="main", copy=tmp_path / "copy.git")
    code.fetch()
    tip = commit(tmp_path, "second")
    contacts.clear()
    assert code.fetch(at_once=True) == tip
    assert (code.file(tip, "file"), sorted(contacts)) == ("second", ["fetch", "ls-remote"])


def test_what_the_fetch_beside_the_look_did_not_bring_is_fetched_after_it(remote, tmp_path, contacts, monkeypatch):
    code = Code(str(remote), branch="main", copy=tmp_path / "copy.git")
    bring = code._bring
    monkeypatch.setattr(code, "_bring", lambda wanted, **more: None if "stop_fds" in more else bring(wanted))
    tip = commit(tmp_path, "second")
    assert code.fetch(at_once=True) == tip
    assert (code.file(tip, "file"), contacts) == ("second", ["ls-remote", "fetch"])


def test_a_look_that_fails_ends_the_fetch_beside_it(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        code = Code(f"git://127.0.0.1:{silent.getsockname()[1]}/a.git", branch="main", copy=tmp_path / "copy.git")

        def look(*_arguments, **_more):
            silent.accept()[0].detach()  # the fetch has begun, and will hear nothing
            raise git.GitFailed("ls-remote", code=128, words="it is down")

        monkeypatch.setattr(git, "remote_refs", look)
        began = time.monotonic()
        with pytest.raises(RolloutFailed, match="it is down"):
            code.fetch(at_once=True)
    assert time.monotonic() - began < 30, "nobody waits for the fetch's own limit"


def test_a_branch_that_is_not_there_is_said_to_be_missing_however_it_is_fetched(remote, tmp_path):
    for at_once in (False, True):
        code = Code(str(remote), branch="release", copy=tmp_path / "copy.git")
        with pytest.raises(Usage, match="has no branch release"):
            code.fetch(at_once=at_once)


# --- what the user's checkout has ---


def beside_checkout(remote: Path, folder: Path) -> Code:
    return Code(str(remote), branch="main", copy=folder / "copy.git", checkout=folder / "checkout")


def test_what_was_just_pushed_from_the_checkout_is_taken_from_there(remote, tmp_path, contacts, monkeypatch):
    code = beside_checkout(remote, tmp_path)
    code.fetch()
    tip = commit(tmp_path, "second")
    contacts.clear()
    asked = fetched_from(code, monkeypatch)
    assert code.fetch(at_once=True) == tip
    assert (code.file(tip, "file"), asked, sorted(contacts)) == ("second", ["checkout"], ["fetch", "ls-remote"])
    assert run_git("rev-parse", "refs/wakeline-code/main", at=code.copy) == tip
    assert run_git("fsck", "--full", "--strict", at=code.copy) == ""


def fetched_from(code: Code, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []
    bring = code._bring

    def noting(wanted, **more):
        asked.append(Path(wanted[0]).name)
        bring(wanted, **more)

    monkeypatch.setattr(code, "_bring", noting)
    return asked


def test_where_the_branch_is_the_remote_alone_says(remote, tmp_path, monkeypatch):
    code = beside_checkout(remote, tmp_path)
    pushed = run_git("rev-parse", "HEAD", at=tmp_path / "checkout")
    (tmp_path / "checkout/file").write_text("never pushed")
    run_git("-c", "user.name=a", "-c", "user.email=a@a", "commit", "-qam", "mine", at=tmp_path / "checkout")
    asked = fetched_from(code, monkeypatch)
    assert code.fetch(at_once=True) == pushed
    assert (code.file(pushed, "file"), asked) == ("first", ["checkout", "remote.git"])
    with pytest.raises(Usage, match="is not on branch main"):
        code.resolve("HEAD", checkout=tmp_path / "checkout")


def test_a_commit_that_somebody_else_pushed_is_fetched_from_the_remote(remote, tmp_path, monkeypatch):
    code = beside_checkout(remote, tmp_path)
    code.fetch()
    run_git("clone", "-q", str(remote), "another", at=tmp_path)
    (tmp_path / "another/file").write_text("theirs")
    run_git("-c", "user.name=b", "-c", "user.email=b@b", "commit", "-qam", "theirs", at=tmp_path / "another")
    run_git("push", "-q", "origin", "HEAD:main", at=tmp_path / "another")
    asked = fetched_from(code, monkeypatch)
    assert code.file(code.fetch(at_once=True), "file") == "theirs"
    assert asked == ["remote.git"]


@pytest.mark.parametrize("lacks", ["history", "objects"])
def test_a_checkout_that_has_not_all_of_the_history_is_left_alone(remote, tmp_path, monkeypatch, lacks):
    commit(tmp_path, "second")
    run_git("config", "uploadpack.allowFilter", "true", at=remote)
    how = "--depth=1" if lacks == "history" else "--filter=blob:none"
    run_git("clone", "-q", how, f"file://{remote}", "partial", at=tmp_path)
    code = Code(str(remote), branch="main", copy=tmp_path / "copy.git", checkout=tmp_path / "partial")
    asked = fetched_from(code, monkeypatch)
    tip = code.fetch(at_once=True)
    assert (code.file(tip, "file"), asked) == ("second", ["remote.git"])
    assert run_git("rev-list", "--count", tip, at=code.copy) == "2"


def test_a_checkout_that_cannot_be_read_costs_a_fetch_and_no_more(remote, tmp_path, monkeypatch):
    tip = commit(tmp_path, "second")
    (tmp_path / "checkout/.git/objects" / tip[:2] / tip[2:]).unlink()
    code = beside_checkout(remote, tmp_path)
    asked = fetched_from(code, monkeypatch)
    assert code.file(code.fetch(at_once=True), "file") == "second"
    assert asked[-1] == "remote.git"
