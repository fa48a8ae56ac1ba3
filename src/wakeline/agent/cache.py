"""Step outputs belong to their inputs: a code-only release links them instead of making them again.

Laws that live here:

- A step with `outputs` writes into PATH/cache/KEY-RELEASE/, and it counts only when the step has passed and everything
  is on disk; then it is read-only.
- An output is shared across releases only if no file in it names the folder of the release that made it. Seen: an
  editable install let release 8 import release 7's code, without an error.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from wakeline.agent import durable
from wakeline.agent.layout import inside, link_into
from wakeline.agent.removing import remove_tree, set_aside
from wakeline.core.order import Step
from wakeline.errors import RolloutFailed

_COMPLETE = ".complete.json"
_SEARCHED_MAX = 32 * 1024 * 1024
_SKIPPED_FOLDERS = {".git", "node_modules", "__pycache__"}
_NOT_SEARCHED = (".pyc", ".so", ".a", ".o", ".whl", ".zip", ".gz", ".png", ".jpg", ".woff2", ".mo", ".dist-info/RECORD")
_IGNORED_NAMES = ("WAKELINE_",)


class Entry(NamedTuple):
    """One folder of the cache: the outputs of one run of one step."""

    folder: Path

    @property
    def name(self) -> str:
        """As it stands in the release file, so that pruning keeps it."""
        return self.folder.name

    @property
    def facts(self) -> dict[str, object]:
        """What was written when it became complete; empty before that."""
        return durable.read_json(self.folder / _COMPLETE)

    def place(self, output: str) -> Path:
        """Where an output stays."""
        return self.folder / output


def key_of(step: Step, *, release: Path, values: Mapping[str, str]) -> str:
    """The hash of everything that a step's outputs depend on; empty when its inputs match no file."""
    digest = hashlib.sha256()
    found = False
    for name, path in _inputs(release, step.inputs):
        found = True
        digest.update(f"{name}\0{_file_hash(path)}\0".encode("utf-8", "surrogateescape"))
    digest.update(f"{step.run}\0{chr(0).join(step.outputs)}\0{os.uname().machine}\0".encode())
    for name in sorted(values):
        if not name.startswith(_IGNORED_NAMES):
            digest.update(f"{name}={values[name]}\0".encode("utf-8", "surrogateescape"))
    for tool in _tools(step.run, search_path=values.get("PATH", "")):
        digest.update(f"{tool}\0".encode())
    return digest.hexdigest()[:20] if found else ""


class Cache:
    """PATH/cache: complete outputs by key, and the ones that are being made."""

    def __init__(self, path: Path) -> None:
        self.folder = path / "cache"

    def find(self, key: str) -> tuple[Entry | None, str]:
        """A complete, shareable entry; or None and why there is none (empty: the inputs are new)."""
        why = ""
        for folder in sorted(self.folder.glob(f"{key}-*"), reverse=True):
            facts = Entry(folder).facts
            if facts.get("key") == key:
                if facts.get("shareable"):
                    return Entry(folder), ""
                why = str(facts.get("why", ""))
        return None, why

    def begin(self, key: str, *, release: int) -> Entry:
        """An empty folder for a run that is about to start."""
        entry = Entry(self.folder / f"{key}-{release}")
        remove_tree(entry.folder)
        durable.make_folder(entry.folder)
        return entry

    def finish(self, entry: Entry, *, key: str, step: Step, release: Path) -> str:
        """The step has passed: make its outputs count. Returns why they cannot be shared, or nothing."""
        for output in step.outputs:
            _collect(release / output, entry.place(output))
        found = _names_release(entry.folder, release)
        why = f"{found} names {release}: it cannot be shared with another release" if found else ""
        durable.sync_tree(entry.folder)
        facts = {"key": key, "shareable": not why, "why": why, "step": step.name, "outputs": list(step.outputs)}
        durable.write_json(entry.folder / _COMPLETE, facts, mode=0o644)
        if not why:
            _make_read_only(entry.folder)
        return why

    def prune(self, *, in_use: set[str]) -> None:
        """Set aside what no kept release links to."""
        for folder in list(self.folder.iterdir()):
            if folder.is_dir() and not folder.name.startswith(".") and folder.name not in in_use:
                set_aside(folder)


def link_outputs(step: Step, *, entry: Entry, release: Path) -> None:
    """Let a release's outputs be links into the cache."""
    for output in step.outputs:
        link_into(release / inside(output), entry.place(output))


def offer_places(step: Step, *, entry: Entry, release: Path) -> None:
    """Before a run: empty folders in the cache with links to them, so that a tool writes where its outputs stay.

    A name with a suffix is taken for a file: a link to nothing would be in the way, so it is moved here afterwards.
    """
    for output in step.outputs:
        place = release / inside(output)
        if Path(output).suffix and not Path(output).name.startswith("."):
            continue
        durable.make_folder(entry.place(output))
        link_into(place, entry.place(output))


def _collect(place: Path, kept: Path) -> None:
    """A tool may have replaced our link by a folder of its own: that is moved to where outputs stay."""
    if place.exists() and not place.is_symlink():
        remove_tree(kept)
        durable.make_folder(kept.parent)
        shutil.move(str(place), str(kept))
        link_into(place, kept)
    empty = kept.is_dir() and not any(kept.iterdir())
    if not kept.exists() or empty:
        raise RolloutFailed(f"the step passed and made no {place.name}", hint="correct the step's `outputs`")
    if not place.is_symlink():
        link_into(place, kept)


def _names_release(folder: Path, release: Path) -> str:
    """The first file that has the release's own path in it."""
    needle = re.compile(re.escape(os.fsencode(release)) + rb"(?![0-9])")
    for path in _files(folder):
        if path.name.endswith(_NOT_SEARCHED) or path.is_symlink():
            if path.is_symlink() and needle.search(os.fsencode(os.readlink(path))):  # noqa: PTH115 - bytes are wanted
                return str(path.relative_to(folder))
            continue
        if path.stat().st_size <= _SEARCHED_MAX and needle.search(path.read_bytes()):
            return str(path.relative_to(folder))
    return ""


def _make_read_only(folder: Path) -> None:
    for each, _names, files in os.walk(folder):
        for name in files:
            path = Path(each, name)
            if not path.is_symlink():
                path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o222)
        Path(each).chmod(stat.S_IMODE(Path(each).stat().st_mode) & ~0o222)


def _inputs(release: Path, patterns: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    """Files that match the patterns, in a fixed order. Links to folders are not followed: outputs are such links."""
    if not patterns:
        return
    wanted = re.compile("|".join(f"(?:{_regex(pattern)})" for pattern in patterns))
    for path in _files(release, skip=_SKIPPED_FOLDERS):
        name = path.relative_to(release).as_posix()
        if wanted.fullmatch(name):
            yield name, path


def _regex(pattern: str) -> str:
    """A pattern as git and humans read it: `*` stays in a folder, `**` does not, a folder means what is in it."""
    pattern = pattern.rstrip("/")
    text = ""
    for part in re.split(r"(\*\*/|\*\*|\*|\?)", pattern):
        text += {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(part, re.escape(part))
    return f"{text}(?:/.*)?"


def _files(folder: Path, *, skip: set[str] | frozenset[str] = frozenset()) -> Iterator[Path]:
    for each, names, files in os.walk(folder):
        names[:] = sorted(name for name in names if name not in skip)
        links = [name for name in names if os.path.islink(os.path.join(each, name))]  # noqa: PTH114, PTH118 - os.walk's own
        for name in sorted([*files, *links]):
            yield Path(each, name)


def _file_hash(path: Path) -> str:
    if path.is_dir():
        return "folder"
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256()
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
            return digest.hexdigest()
    except OSError as error:
        raise RolloutFailed(f"input {path} cannot be read: {error}") from error


def _tools(command: str, *, search_path: str) -> Iterator[str]:
    """The programs a command names, each with what changes when it is upgraded."""
    for word in sorted({*re.findall(r"[A-Za-z0-9_.+-]+", command), "python3", "node"}):
        found = shutil.which(word, path=search_path)
        if found:
            real = Path(found).resolve()
            facts = real.stat()
            yield f"{word} {real} {facts.st_size} {facts.st_mtime_ns}"
