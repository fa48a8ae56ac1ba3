"""git as the runner and as the agent call it: no hook runs, nothing from outside is an option, bad objects stay out."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from wakeline.agent import repository
from wakeline.edges import git
from wakeline.errors import WakelineError

Ask = Callable[[list[str], Path], object]
WHO = ("-c", "user.name=x", "-c", "user.email=x@localhost")


@pytest.fixture(params=["runner", "agent"])
def ask(request) -> Ask:
    by = {"runner": lambda words, at: git.ask(words, at=at), "agent": lambda words, at: repository.git(words, at=at)}
    return by[request.param]


def plain(*words: str, at: Path, feed: bytes = b"") -> str:
    return subprocess.run(["git", *words], cwd=at, input=feed, capture_output=True, check=True).stdout.decode().strip()


@pytest.fixture
def remote(tmp_path) -> Path:
    place = tmp_path / "remote"
    plain("init", "-q", "--initial-branch=main", str(place), at=tmp_path)
    (place / "file").write_text("hello")
    plain("add", ".", at=place)
    plain(*WHO, "commit", "-qm", "one", at=place)
    return place


@pytest.fixture
def copy(tmp_path) -> Path:
    plain("init", "-q", "--bare", "copy.git", at=tmp_path)
    return tmp_path / "copy.git"


def fetch(url: str) -> list[str]:
    return ["fetch", "--quiet", "--end-of-options", url, "+refs/heads/main:refs/heads/main"]


def test_no_hook_of_a_repository_runs(ask, remote, copy, tmp_path):
    ran = tmp_path / "ran"
    for name in ("reference-transaction", "post-checkout"):
        hook = copy / "hooks" / name
        hook.write_text(f"#!/bin/sh\necho {name} >>{ran}\n")
        hook.chmod(0o755)
    ask(fetch(str(remote)), copy)
    ask(["worktree", "add", "--quiet", "--detach", "--end-of-options", str(tmp_path / "laid-out"), "main"], copy)
    assert (tmp_path / "laid-out/file").exists()
    assert not ran.exists()
    plain("update-ref", "refs/heads/other", "main", at=copy)
    assert ran.exists(), "they were there to be run"


def test_objects_that_could_harm_a_checkout_are_refused_on_arrival(ask, remote, copy):
    blob = plain("hash-object", "-w", "--stdin", at=remote, feed=b"x")
    entry = b"100644 .git\0" + bytes.fromhex(blob)
    tree = plain("hash-object", "-w", "-t", "tree", "--literally", "--stdin", at=remote, feed=entry)
    plain("update-ref", "refs/heads/main", plain(*WHO, "commit-tree", tree, "-m", "x", at=remote), at=remote)
    with pytest.raises(WakelineError):
        ask(fetch(str(remote)), copy)
    assert plain("for-each-ref", at=copy) == ""
    plain(*fetch(str(remote)), at=copy)
    assert plain("for-each-ref", at=copy), "git by itself takes them"


@pytest.mark.parametrize("url", ["--upload-pack=touch {ran}", "ext::touch {ran}"])
def test_an_address_is_neither_an_option_nor_a_command(ask, copy, tmp_path, url):
    ran = tmp_path / "ran"
    with pytest.raises(WakelineError):
        ask(fetch(url.format(ran=ran)), copy)
    assert not ran.exists()


def test_a_name_that_looks_like_an_option_is_no_commit(remote):
    with pytest.raises(git.GitFailed):
        git.resolve("--all", at=remote)
    with pytest.raises(git.GitFailed):
        git.remote_refs("--upload-pack=true", "refs/heads/main", at=remote)
