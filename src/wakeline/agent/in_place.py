"""`layout = "in-place"`: an existing checkout that stays where it is, and is moved from commit to commit.

Laws that live here:

- Law 9: local changes, tracked, untracked and binary, are saved before anything of them is replaced. Ignored files are
  never touched, and untracked ones only where the new commit has a file of that name.
- Law 7, in its weaker form: there is no link to switch. What is underway is written down before the checkout is
  touched, and an interrupted one is finished by the next run or reversed by `reverse`.

What the folder was when it was adopted is release 0, and can be gone back to.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wakeline.agent import durable, repository, saving
from wakeline.agent.home import Home
from wakeline.agent.layout import CONFIRMED, LAID_OUT, READY, RELEASE_FILE, current_release, inside, release_info
from wakeline.core.order import Order
from wakeline.errors import RolloutFailed

_LOCK_AGE_S = 600.0


def state_file(home: Home) -> Path:
    """Where a machine writes down which release its checkout runs."""
    return home.folder / "in-place.json"


class Checkout:
    """One checkout, with the same words as `layout.Releases`."""

    is_in_place = True
    is_prepared = False  # what is fetched ahead is never this

    def __init__(self, order: Order, *, home: Home) -> None:
        self._order = order
        self._home = home
        self.path = self.folder = Path(order.path)

    # --- what is there ---

    def current(self) -> int | None:
        """The release that the checkout runs; None before the first."""
        release = self._state().get("current")
        return release if isinstance(release, int) else None

    def info(self, release: int) -> dict[str, Any]:
        """What is known of a release: its commit and how far it came."""
        known = self._state().get("known", {}).get(str(release), {})
        return known if isinstance(known, dict) else {}

    def is_complete(self, release: int) -> bool:
        """True for a release that the checkout may be moved to."""
        info = self.info(release)
        return info.get("state") in (READY, CONFIRMED) and repository.has_commit(self.path, str(info.get("commit")))

    def folder_of(self, release: int) -> Path:
        """Every release is in the same folder."""
        del release
        return self.path

    # --- before the switch ---

    def prepare(self) -> None:
        """Everything that can be known to be wrong before the checkout is touched."""
        if not (self.path / ".git").exists():
            raise RolloutFailed(
                f"{self.path} is not a git checkout", hint='layout = "in-place" adopts one; clone it there first'
            )
        missing = [name for name in self._order.shared if not (self.path / inside(name)).exists()]
        if missing:
            raise RolloutFailed(f"missing in {self.path}: {', '.join(missing)}", hint="put it there")
        self._take_away_old_locks()

    def fetch(self) -> None:
        """Bring the commit into the checkout's own repository."""
        order = self._order
        pin = f"refs/wakeline/releases/{order.release}"
        # with its history: this is somebody's checkout, and a shallow fetch would make it a shallow one
        repository.fetch(self.path, url=order.git, commit=order.commit, branch=order.branch, pin=pin, shallow=False)

    def check_space(self) -> None:
        """The file system says so itself: a checkout replaces, it does not add."""

    def is_ready(self) -> bool:
        """True when the checkout is at this commit and its steps have passed."""
        state = self.info(self._order.release).get("state")
        return state in (READY, CONFIRMED) and repository.head(self.path) == self._order.commit

    def lay_out(self) -> Path:
        """Move the checkout to the order's commit, local changes saved. What is underway is on disk before."""
        state = self._state()
        if state.get("current") is None:
            known = {"0": {"commit": repository.head(self.path), "state": CONFIRMED}}
            state = {**state, "current": 0, "known": {**state.get("known", {}), **known}}
        self._write({**state, "underway": self._order.release})
        self._move_to(self._order.commit, label=f"before-{self._order.release}")
        self._note(LAID_OUT)
        return self.folder

    def mark_ready(self, *, links: list[str]) -> None:
        """Every step has passed: put what git checked out on disk, then say so."""
        del links
        tracked = repository.git(["ls-files", "-z"], at=self.path).split(b"\0")
        durable.sync_files(self.path, [os.fsdecode(name) for name in tracked if name])
        self._note(READY)

    # --- the switch ---

    def switch(self, release: int) -> None:
        """The checkout is there already: this release is what runs from now on."""
        self._write({**self._state(), "current": release, "underway": None})

    def confirm(self) -> None:
        """The release runs and is healthy: it can be gone back to."""
        self._note(CONFIRMED)

    def abandon(self) -> None:
        """Nothing was switched: the checkout goes back to what runs."""
        self.reverse()

    def reverse(self) -> bool:
        """Take back a checkout that was interrupted. Returns whether there was one."""
        state = self._state()
        underway, current = state.get("underway"), state.get("current")
        if underway is None or current is None:
            return False
        commit = str(self.info(current).get("commit"))
        self._take_away_old_locks()
        self._move_to(commit, label=f"reversed-{underway}")
        self._write({**self._state(), "underway": None})
        return True

    def go_back(self, release: int) -> None:
        """Move the checkout back to an earlier release's commit."""
        self._move_to(str(self.info(release).get("commit")), label=f"back-from-{self._order.release}")
        self.switch(release)

    def last_good(self) -> int | None:
        """The newest earlier release that was good here, or the adopted folder."""
        known = self._state().get("known", {})
        good = [int(number) for number, info in known.items() if info.get("state") == CONFIRMED]
        earlier = [number for number in good if number < self._order.release]
        return max(earlier, default=None)

    # --- afterwards ---

    def prune(self) -> list[str]:
        """Forget old releases beyond `keep`."""
        state = self._state()
        known = state.get("known", {})
        old = sorted(map(int, known), reverse=True)[max(2, self._order.keep) :]
        for number in old:
            if number not in (0, state.get("current")):
                repository.git(["update-ref", "-d", f"refs/wakeline/releases/{number}"], at=self.path)
                del known[str(number)]
        self._write({**state, "known": known})
        return []

    def links_in_use(self) -> set[str]:
        """A checkout links to no cache."""
        return set()

    # --- helpers ---

    def _state(self) -> dict[str, Any]:
        return durable.read_json(state_file(self._home))

    def _write(self, state: dict[str, Any]) -> None:
        durable.write_json(state_file(self._home), state)

    def _note(self, how_far: str) -> None:
        state, order = self._state(), self._order
        known = {**state.get("known", {}), str(order.release): {"commit": order.commit, "state": how_far}}
        self._write({**state, "known": known})

    def _move_to(self, commit: str, *, label: str) -> None:
        """Save what differs and would be lost, then check out. Done twice it does the same."""
        repository.check_commit(commit)
        in_the_way = _in_the_way(self.path, commit)
        if in_the_way:
            saving.save(self.path, into=self._home.folder / "saved", label=label)
        repository.git(["checkout", "--quiet", "--force", "--detach", commit, "--"], at=self.path)

    def _take_away_old_locks(self) -> None:
        """A git that was killed leaves its locks; one that runs now is somebody's work.

        Those of our own refs are ours: every git of ours holds the machine's lock, as our caller does. A young one of
        the checkout is ours where a checkout of ours was cut short, by a power cut say, and no git is at work here. One
        from the future says nothing of its age: the clock was wrong, then or now.
        """
        folder = self.path / ".git"
        for litter in folder.glob("refs/wakeline/**/*.lock"):
            litter.unlink(missing_ok=True)
        for lock in (folder / "index.lock", folder / "HEAD.lock"):
            try:
                age_s = time.time() - lock.stat().st_mtime
            except OSError:
                continue
            is_suspect = age_s < 0 or self._state().get("underway") is not None
            is_dead = is_suspect and not repository.somebodys_git(self.path)
            if age_s < _LOCK_AGE_S and not is_dead:
                raise RolloutFailed(f"{lock} is there: somebody uses git in this checkout now", hint="try again later")
            lock.unlink(missing_ok=True)


def runs_now(home: Home, path: Path) -> int | None:
    """The release that runs here, whatever the layout; None before the first."""
    state = durable.read_json(state_file(home))
    current = state.get("current")
    return current if isinstance(current, int) else current_release(path)


def what_runs(home: Home, path: Path, *, closely: bool = True) -> dict[str, Any]:
    """The release that runs here, and what is known of it. Looks only.

    `closely`, also whether somebody changed its files by hand: git looks at each of them.
    """
    release = runs_now(home, path)
    if release is None:
        return {"current": None}
    known = durable.read_json(state_file(home)).get("known")
    if isinstance(known, dict):
        edited = {"edited": bool(_by_hand(saving.changes(path)))} if closely else {}
        return {"current": release, **known.get(str(release), {}), **edited}
    info = release_info(path, release)
    if not closely:
        return {"current": release, **info}
    ours = [*info.get("ours", []), *info.get("repositories", []), RELEASE_FILE]
    folder = path / "releases" / str(release)
    changed = release and repository.head(folder) and saving.changes(folder, but=ours)  # release 0 is not ours to judge
    return {"current": release, **info, "edited": bool(changed and _by_hand(changed))}


def _by_hand(paths: Sequence[str]) -> list[str]:
    """Without what Python leaves beside every module that it runs, where the project does not ignore it."""
    return [path for path in paths if "__pycache__" not in Path(path).parts]


def _in_the_way(path: Path, commit: str) -> bool:
    """Whether a tracked file differs, or an untracked one stands where the commit has a file."""
    changed = repository.changed_paths(path)
    if not changed:
        return False
    tracked = set(repository.git(["ls-files", "-z"], at=path).split(b"\0"))
    wanted = set(
        repository.git(["ls-tree", "-r", "--name-only", "-z", "--end-of-options", commit], at=path).split(b"\0")
    )
    return any(os.fsencode(name) in tracked or os.fsencode(name) in wanted for name in changed)
