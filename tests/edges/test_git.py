"""One user of a copy at a time: the other waits for it, and not for ever."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path

import pytest

from wakeline.edges import git


def test_what_was_asked_beside_other_work_is_answered_once_and_asked_anew_after_that(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    asked = []
    ask = git.ask
    monkeypatch.setattr(git, "ask", lambda arguments, **more: asked.append(arguments) or ask(arguments, **more))
    git.begin(tmp_path)
    assert git.top(tmp_path) == tmp_path
    git.ensure_version(at=tmp_path)
    assert len(asked) == 2
    assert git.top(tmp_path) == tmp_path
    assert len(asked) == 3


def test_what_git_refuses_beside_other_work_is_told_to_who_wants_the_answer(tmp_path):
    git.begin(tmp_path)
    with pytest.raises(git.GitFailed, match="not a git repository"):
        git.top(tmp_path)


def test_who_waits_too_long_for_a_copy_is_told_who_has_it_and_what_to_look_at(tmp_path):
    with (
        git.locked(tmp_path),
        pytest.raises(git.GitFailed, match=r"another wakeline of yours has .* for 0 s: is it stopped\? jobs; fg"),
        git.locked(tmp_path, limit_s=0),
    ):
        raise AssertionError("two have it")
    with git.locked(tmp_path, limit_s=0):
        pass  # given back, also after somebody was refused


def test_who_waits_within_the_limit_goes_on_when_the_copy_is_given_back(tmp_path):
    """The waiter is known to wait by its own file being open: it opens the lock before it tries."""
    went_on = threading.Event()

    def wait() -> None:
        with git.locked(tmp_path, limit_s=60):
            went_on.set()

    waiter = threading.Thread(target=wait)
    with git.locked(tmp_path):
        before = openings(tmp_path / git.OUR_LOCK)
        waiter.start()
        ends = time.monotonic() + 30
        while openings(tmp_path / git.OUR_LOCK) == before:
            assert time.monotonic() < ends, "nobody came to wait"
            time.sleep(0.005)
        assert not went_on.is_set()
    assert went_on.wait(30)
    waiter.join(30)


def test_a_body_that_fails_gives_the_copy_back(tmp_path):
    with pytest.raises(KeyError), git.locked(tmp_path):
        raise KeyError("of the caller's own")
    with git.locked(tmp_path, limit_s=0):
        pass


def openings(path) -> int:
    """How often this process has a file open."""
    own = path.stat()
    found = 0
    for each in Path("/proc/self/fd").iterdir():
        try:
            facts = each.stat()
        except OSError:
            continue  # the listing's own, closed by now
        found += (facts.st_dev, facts.st_ino) == (own.st_dev, own.st_ino)
    return found
