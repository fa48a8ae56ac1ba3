"""Where releases live: PATH/releases/N beside the old ones, and PATH/current, a link to one of them.

Laws that live here:

- Law 7: `current` is a complete release at every instant. A folder says in its own release file how far it has come;
  everything in it is on disk before `current` is renamed to it.
- Law 9: what was changed by hand in a release folder is saved before the folder is removed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path
from typing import Any

from wakeline.agent import durable, removing, repository, saving
from wakeline.agent.home import Home, boot_id, file_name
from wakeline.core import carrying_out
from wakeline.core.order import Order
from wakeline.errors import RolloutFailed

RELEASE_FILE = ".wakeline-release.json"
PREPARED, LAID_OUT, READY, CONFIRMED = "prepared", "laid-out", "ready", "confirmed"
SPACE_FLOOR = 16 * 1024 * 1024
_LOOK_COUNTS_S = 3.0
FORGOTTEN_TOGETHER = 5


class Releases:
    """The release folders of one app on one machine."""

    is_in_place = False

    def __init__(self, order: Order, *, home: Home) -> None:
        self._order = order
        self._home = home
        self.path = Path(order.path)
        self.folder = self.path / "releases" / str(order.release)
        self.mirror = self.path / "repository.git"
        self._untouched: dict[int, float] = {}

    # --- what is there ---

    def current(self) -> int | None:
        """The release that `current` points to; None where there is no link yet. Raises for something else there."""
        return current_release(self.path)

    def info(self, release: int) -> dict[str, Any]:
        """What a release folder says of itself. What the one that runs cannot say any more is found out anew."""
        found = release_info(self.path, release)
        if found.get("state") in (LAID_OUT, READY, CONFIRMED) or release == 0:
            return found
        return self._find_out(release) if self.current() == release and self.folder_of(release).is_dir() else found

    def is_complete(self, release: int) -> bool:
        """True for a release that `current` may point to. Release 0 is the folder that was adopted."""
        folder = self.path / "releases" / str(release)
        return folder.is_dir() and (release == 0 or self.info(release).get("state") in (READY, CONFIRMED))

    def folder_of(self, release: int) -> Path:
        """The folder of any release."""
        return self.path / "releases" / str(release)

    def known(self) -> list[int]:
        """The release folders, newest first, whatever their state."""
        return known_releases(self.path)

    # --- before the switch ---

    def prepare(self) -> None:
        """Folders, shared paths and space: everything that can be known to be wrong before work is done."""
        try:
            durable.make_folder(self.path / "releases")
            durable.make_folder(self.path / "shared")
            durable.make_folder(self.path / "cache")
        except OSError as error:
            raise RolloutFailed(f"{self.path} cannot be written: {error}", hint="wakeline setup") from error
        for name in (*self._order.shared, *(each.path for each in self._order.repositories)):
            inside(name)
        missing = [name for name in self._order.shared if not (self.path / "shared" / name).exists()]
        if missing:
            places = ", ".join(str(self.path / "shared" / name) for name in missing)
            hint = "put it there, or let `wakeline setup` copy it from the existing checkout"
            raise RolloutFailed(f"shared path missing: {places}", hint=hint)

    def fetch(self, *, handed: bytes = b"") -> None:
        """Bring every repository's commit here; the app's own may be in a pack that was handed over."""
        order = self._order
        pin = f"refs/wakeline/releases/{order.release}"
        repository.ensure_mirror(self.mirror)
        if shutil.disk_usage(self.path).free < SPACE_FLOOR:
            self._make_room()
        commit, branch = order.commit, order.branch
        repository.fetch(self.mirror, url=order.git, commit=commit, branch=branch, pin=pin, handed=handed)
        for each in order.repositories:
            mirror = repository.ensure_mirror(self._mirror_of(each.path))
            repository.fetch(mirror, url=each.git, commit=each.commit, branch=each.branch, pin=pin)

    def check_space(self, *, may_make_room: bool = True, tree_bytes: int = 0) -> None:
        """Ask for space before starting: a full disk midway leaves nothing good. `tree_bytes` 0 is looked up."""
        wanted = SPACE_FLOOR + 2 * (tree_bytes or repository.tree_bytes(self.mirror, self._order.commit))
        if may_make_room and shutil.disk_usage(self.path).free < wanted:
            self._make_room()
        for place in (self.path, self._home.folder):
            free = shutil.disk_usage(place).free
            if free < wanted:
                text = f"no space left on {place}: {free >> 20} MB free, {wanted >> 20} MB wanted"
                raise RolloutFailed(text, hint="make room, or lower `keep`")

    def _make_room(self) -> None:
        """Remove earlier tries that never became complete: nobody goes back to them, and only success would prune them.

        A try that filled the disk would keep every later one from starting.
        """
        for number in self.known():
            if number not in (0, self._order.release) and not self.is_complete(number):
                self._remove(number)

    def is_laid_out(self) -> bool:
        """True when this order's folder is there and needs no more work than it says."""
        info = self.info(self._order.release)
        same = info.get("commit") == self._order.commit and info.get("pins") == self._pins()
        if info.get("state") in (PREPARED, LAID_OUT) and info.get("boot") != boot_id():
            return False  # its files were not on disk yet: after a power cut they may be empty
        if info.get("state") == PREPARED and info.get("ours") != self._ours():
            return False  # what is shared was another list then
        return same and info.get("state") in (PREPARED, LAID_OUT, READY, CONFIRMED)

    @property
    def is_prepared(self) -> bool:
        """True when this order's folder was laid out before its order came, and nothing has run in it."""
        return self.is_laid_out() and self.info(self._order.release).get("state") == PREPARED

    def is_ready(self) -> bool:
        """True when its steps have passed as well: after a crash between then and the switch, they do not run again."""
        return self.is_laid_out() and self.info(self._order.release).get("state") in (READY, CONFIRMED)

    def lay_out(self) -> Path:
        """The release's folder: its commit, further repositories, links to what is shared."""
        if self.is_prepared:
            self._write_info(state=LAID_OUT)  # steps run in it from now on
        if not self.is_laid_out():
            self._lay_out()
            self._write_info(state=LAID_OUT)
        return self.folder

    def mark_ready(self, *, links: list[str]) -> None:
        """Every step has passed: put the folder on disk as a whole, then say so in it."""
        self._sync()
        self._write_info(state=READY, links=links)

    # --- before the order ---

    def lay_out_ahead(self) -> None:
        """The same folder before its order has come, said to be there when all of it is on disk. Nothing runs in it."""
        for number in self.known():
            if number < self._order.release and self.info(number).get("state") == PREPARED:
                self._remove(number)  # it was never ordered
        if not self.is_laid_out():
            self._lay_out()
            self._sync()
            self._write_info(state=PREPARED)

    def take_back(self) -> None:
        """Remove this release's folder where it was begun and came to nothing."""
        if not self.info(self._order.release):
            self._remove(self._order.release)

    # --- the switch ---

    def switch(self, release: int) -> None:
        """Let `current` be this release, by rename."""
        if not self.is_complete(release):
            raise RolloutFailed(f"release {release} is not complete in {self.path}: not switched to it")
        durable.point_link(self.path / "current", f"releases/{release}")

    def confirm(self) -> None:
        """The release runs and is healthy: it can be gone back to."""
        info = self.info(self._order.release)
        self._write_info(state=CONFIRMED, links=list(info.get("links", [])))

    def abandon(self) -> None:
        """Nothing was switched: the folder stays for whoever looks, and is replaced by the next try."""

    def go_back(self, release: int) -> None:
        """Switch back."""
        self.switch(release)

    def last_good(self) -> int | None:
        """The newest other release that was good on this machine, or the adopted folder."""
        known = self.known()
        confirmed = [number for number in known if self.info(number).get("state") == CONFIRMED]
        return carrying_out.last_good(self._order.release, confirmed=confirmed, has_adopted=0 in known)

    # --- afterwards ---

    def look_over(self) -> None:
        """See which of the releases that will go nobody has changed. A git for each: done while services start.

        Law 9: what it finds counts for three seconds; then, and where it found no answer, it is looked at anew.
        """
        with contextlib.suppress(RolloutFailed, OSError):  # pruning says what is wrong
            for number in self._to_go():
                at_s = time.monotonic()
                if self._is_untouched(number):
                    self._untouched[number] = at_s

    def prune(self) -> list[str]:
        """Set old releases beyond `keep` aside; never what runs or what would be gone back to. Returns what was saved.

        What was prepared for an earlier release and never ordered counts for nothing. A later one may yet be ordered.
        """
        places = [self._set_aside(number) for number in self._to_go()]
        return [str(place) for place in places if place]

    def _to_go(self) -> list[int]:
        known = self.known()
        ahead = [number for number in known if self.info(number).get("state") == PREPARED]
        begun = [number for number in known if number not in ahead]
        kept = {0, self.current(), self.last_good(), *begun[: max(2, self._order.keep)]}
        kept |= {number for number in ahead if number > self._order.release}
        return [number for number in known if number not in kept]

    def forget(self) -> None:
        """Let the copies of the code forget the releases that are no more. Their folders are removed by a sweep.

        Some at a time: what is left of one is a few hundred bytes, and to forget takes three processes.
        """
        known = self.known()
        kept = {f"refs/wakeline/releases/{number}" for number in known}
        for mirror in self._mirrors():
            if len(repository.work_trees(mirror)) >= len(known) + FORGOTTEN_TOGETHER:
                repository.forget(mirror, below="refs/wakeline/releases", but=kept)

    def links_in_use(self) -> set[str]:
        """Cache folders that a release folder links to."""
        return {link for number in self.known() for link in self.info(number).get("links", [])}

    # --- helpers ---

    def _lay_out(self) -> None:
        self._remove(self._order.release)
        self._hide_our_file(self.mirror)
        name = f"release-{self._order.release}"
        repository.add_work_tree(self.mirror, name=name, folder=self.folder, commit=self._order.commit)
        for each in self._order.repositories:
            place = self.folder / each.path
            if place.is_symlink() or place.is_file() or (place.is_dir() and any(place.iterdir())):
                text = f"repository {each.path}: the release has something there already"
                raise RolloutFailed(text, hint="another `path`, or take it out of the main repository")
            _clear(place)
            repository.add_work_tree(self._mirror_of(each.path), name=name, folder=place, commit=each.commit)
        for name in self._order.shared:
            link_into(self.folder / name, self.path / "shared" / name)

    def _sync(self) -> None:
        durable.sync_tree(self.folder, *(repository.records(mirror) for mirror in self._mirrors()))
        durable.sync_folder(self.folder.parent)  # its own name too: `current` must not come to point at nothing

    def _pins(self) -> dict[str, str]:
        return {each.path: each.commit for each in self._order.repositories}

    def _ours(self) -> list[str]:
        return [*self._order.shared, *(output for step in self._order.steps for output in step.outputs)]

    def _write_info(self, *, state: str, links: list[str] | None = None) -> None:
        order = self._order
        data = {"release": order.release, "commit": order.commit, "pins": self._pins(), "state": state}
        data["boot"] = boot_id()
        durable.write_json(
            self.folder / RELEASE_FILE,
            {**data, "links": links or [], "ours": self._ours(), "repositories": sorted(self._pins())},
            mode=0o644,
            synced=state != LAID_OUT,  # which counts in this boot alone
        )

    def _find_out(self, release: int) -> dict[str, Any]:
        """Write the release file of the release that runs anew: it is complete, or `current` would not point to it.

        That it was good is not on record any more, so it says `ready`, and the next confirmation finds out. The damaged
        file is set aside, away from what the application sees.
        """
        folder = self.folder_of(release)
        damaged = folder / RELEASE_FILE
        if damaged.exists():
            durable.make_folder(self._home.folder / "damaged", mode=0o700)
            durable.write_bytes(self._home.folder / "damaged" / f"release-{release}.json", damaged.read_bytes())
        pins = {each.path: repository.head(folder / each.path) for each in self._order.repositories}
        data = {"release": release, "commit": repository.head(folder), "pins": pins, "state": READY}
        facts = {**data, "links": sorted(self._linked(folder)), "ours": self._ours(), "repositories": sorted(pins)}
        durable.write_json(damaged, facts, mode=0o644)
        return facts

    def _linked(self, folder: Path) -> set[str]:
        """The cache folders that links in a release lead to: pruning must keep them."""
        cache = (self.path / "cache").resolve()
        found = set()
        for place, names, files in os.walk(folder):
            for name in (*names, *files):
                path = Path(place, name)
                if path.is_symlink() and cache in (target := path.resolve()).parents:
                    found.add(target.relative_to(cache).parts[0])
        return found

    def _mirrors(self) -> list[Path]:
        return [self.mirror, *(self._mirror_of(each.path) for each in self._order.repositories)]

    def _mirror_of(self, path: str) -> Path:
        return self.path / f"repository-{file_name(path)}.git"

    def _hide_our_file(self, mirror: Path) -> None:
        exclude = mirror / "info" / "exclude"
        durable.make_folder(exclude.parent)
        text = exclude.read_text() if exclude.exists() else ""
        if RELEASE_FILE not in text:
            durable.write_bytes(exclude, f"{text}\n/{RELEASE_FILE}\n".encode(), mode=0o644)

    def _remove(self, number: int) -> None:
        """Remove a release folder now, for its room or its place."""
        if self._is_folder(number):
            self._set_aside(number)
            removing.sweep(self.path / "releases")
            repository.git(["worktree", "prune"], at=self.mirror)

    def _is_folder(self, number: int) -> bool:
        folder = self.folder_of(number)
        return folder.is_dir() and not folder.is_symlink()

    def _set_aside(self, number: int) -> Path | None:
        """Take a release folder away, its hand-made changes saved. `current` never points to it."""
        folder = self.folder_of(number)
        if not self._is_folder(number):
            return None
        if self.current() == number:
            raise RolloutFailed(f"release {number} is what `current` points to and is not what was ordered")
        saved = self._save_changes(number, folder)
        removing.set_aside(folder)
        return saved

    def _save_changes(self, number: int, folder: Path) -> Path | None:
        looked_at_s = self._untouched.get(number)
        if looked_at_s is not None and time.monotonic() - looked_at_s < _LOOK_COUNTS_S:
            return None
        info = self.info(number)
        if info.get("state") != CONFIRMED or not repository.head(folder):
            return None  # nobody was served from it: what differs in it is our own unfinished work
        return saving.save(folder, into=self._home.folder / "saved", label=f"release-{number}", but=_ours_in(info))

    def _is_untouched(self, number: int) -> bool:
        info = self.info(number)
        return info.get("state") == CONFIRMED and not saving.changes(self.folder_of(number), but=_ours_in(info))


def _ours_in(info: dict[str, Any]) -> list[str]:
    """What in a release folder is not the commit's, and was not made by hand either."""
    return [*info.get("ours", []), *info.get("repositories", []), RELEASE_FILE]


def current_release(path: Path) -> int | None:
    """The number that PATH/current points to; None where there is no link yet. Raises for anything else there."""
    link = path / "current"
    try:
        target = os.readlink(link)  # noqa: PTH115 - Path.readlink hides nothing more, and this one runs at every start
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RolloutFailed(f"{link} is not a link to a release: {error}", hint="move it away") from error
    name = Path(target).name
    if not name.isdigit():
        raise RolloutFailed(f"{link} points to {target}, which is not a release folder", hint="move it away")
    return int(name)


def known_releases(path: Path) -> list[int]:
    """The numbers of the release folders, newest first."""
    try:
        names = [folder.name for folder in (path / "releases").iterdir()]
    except FileNotFoundError:
        return []
    return sorted((int(name) for name in names if name.isdigit()), reverse=True)


def release_info(path: Path, release: int) -> dict[str, Any]:
    """What a release folder says of itself: commit, state, what it links to."""
    return durable.read_json(path / "releases" / str(release) / RELEASE_FILE)


def inside(name: str) -> str:
    """A path of the fleet file, if it stays inside the folder it is meant for."""
    parts = Path(name).parts
    if not parts or Path(name).is_absolute() or ".." in parts or parts[0] == ".git":
        raise RolloutFailed(f"path {name!r} leads out of the release")
    return name


def link_into(place: Path, target: Path) -> None:
    """Let `place` in a release be a relative link to `target`; what the commit has there gives way."""
    inside_parent = place.parent
    durable.make_folder(inside_parent)
    _clear(place)
    place.symlink_to(os.path.relpath(target, inside_parent.resolve()))


def _clear(place: Path) -> None:
    if place.is_symlink() or place.is_file():
        place.unlink()
    elif place.is_dir():
        removing.remove_tree(place)
