"""How an agent comes to a machine, becomes the one that the units start, and makes room for the next.

ROOT/agents/DIGEST is an agent, unpacked and compiled; ROOT/agent.pyz, which the units start, is a link to one of them.
It comes over SSH (its own zip is started once, with `arrive`) or from the ledger, by the same `place`.

Laws that live here:

- What is named by a digest had that SHA-256 before anything of it was run.
- ROOT/agents/DIGEST is complete or not there, after a crash, a full disk or a power cut as well.
- The link moves only to an agent that has run here; the one before stays, and an agent that runs is never removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import io
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from wakeline.agent import durable, lock
from wakeline.edges import process
from wakeline.errors import RolloutFailed

LINK = "agent.pyz"
KEPT = 3
_CAME_BY = "WAKELINE_CAME_BY"
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_WAIT_S = 60.0
_LITTER_S = 3600.0
_PROOF_S = 60.0


class HandOver(Exception):
    """Another agent carries on from here. Raised through everything that is held, so that nothing is held any more."""

    def __init__(self, digest: str) -> None:
        super().__init__(digest)
        self.digest = digest


@functools.cache
def mine(root: Path) -> str:
    """The digest of the agent that runs, or nothing for one that was started from elsewhere.

    Asked when the agent starts, and remembered: the link that it was started by may point elsewhere afterwards.
    """
    place = Path(sys.argv[0]).resolve()
    return place.name if place.parent == (root / "agents").resolve() and _DIGEST.match(place.name) else ""


def came_by() -> tuple[str, ...]:
    """The agents that have handed over since this look began, first to last."""
    return tuple(each for each in os.environ.get(_CAME_BY, "").split(",") if each)


@contextlib.contextmanager
def in_use(root: Path) -> Iterator[None]:
    """Keep the agent that runs from being removed: it imports what it needs when it needs it."""
    digest = mine(root)
    if not digest:
        yield
        return
    fd = os.open(root / "agents" / digest, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        yield
    finally:
        os.close(fd)


def is_here(root: Path, digest: str) -> bool:
    """True when the agent of that digest is on this machine."""
    return (root / "agents" / digest).is_dir()


def place(data: bytes, *, digest: str, root: Path) -> Path:
    """Put an agent in its place: unpacked beside, compiled, on disk, renamed. Safe twice, and two at once.

    Raises RolloutFailed for bytes that are not this agent or do not run on this Python, OSError for a full disk. What
    was there before is untouched either way.
    """
    folder = root / "agents" / digest
    found = hashlib.sha256(data).hexdigest()
    if found != digest:
        raise RolloutFailed(f"what came as agent {digest[:12]} is {found[:12]}: not taken", hint="wakeline deploy")
    durable.make_folder(folder.parent, mode=0o700)
    with lock.hold(folder.parent / ".lock", wait_s=_WAIT_S):
        _clear_away(folder.parent)
        if not folder.is_dir():
            _unpack(data, beside=folder.parent / f".part-{digest}", folder=folder)
    return folder


def prove(root: Path, digest: str) -> None:
    """Let an agent run here once, looking only. Raises RolloutFailed for one that does not, and takes it away."""
    folder = root / "agents" / digest
    try:
        finished = process.run([sys.executable, str(folder), "--home", str(root), "status"], timeout_s=_PROOF_S)
        said = json.loads(finished.out) if finished.code == 0 else None
        problem = "" if isinstance(said, list) else finished.err.decode("utf-8", "replace").strip()[-300:] or "no word"
    except (OSError, ValueError) as error:
        problem = str(error)
    if problem:
        _remove(folder)
        raise RolloutFailed(f"agent {digest[:12]} does not run here: {problem}")


def become(root: Path, digest: str) -> None:
    """Let ROOT/agent.pyz be this agent. The ones that nobody has used for longest make room."""
    link = root / LINK
    if not digest or (link.is_symlink() and link.resolve() == (root / "agents" / digest).resolve()):
        return
    durable.point_link(link, f"agents/{digest}")
    _prune(root)


def hand_over(root: Path, digest: str) -> None:
    """Go on as another agent, in this process and with the same arguments. Does not return."""
    os.environ[_CAME_BY] = ",".join((*came_by(), mine(root)))
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, str(root / "agents" / digest), *sys.argv[1:]])  # noqa: S606 - argv


def _clear_away(agents: Path) -> None:
    """What one that was cut off has left. The lock says that nobody unpacks; a zip may be on its way just now."""
    for litter in agents.glob(".part-*"):
        _remove_tree(litter)
    for litter in agents.glob(".zip-*"):
        with contextlib.suppress(FileNotFoundError):  # it has arrived
            if time.time() - litter.stat().st_mtime > _LITTER_S:
                litter.unlink()


def _unpack(data: bytes, *, beside: Path, folder: Path) -> None:
    import compileall  # noqa: PLC0415 - tens of milliseconds that only an arrival pays for
    import zipfile  # noqa: PLC0415 - same

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            archive.extractall(beside)
        if not compileall.compile_dir(beside, quiet=2):
            version = ".".join(map(str, sys.version_info[:3]))
            raise RolloutFailed(f"agent {folder.name[:12]} does not compile on Python {version}")
        durable.sync_tree(beside)
        beside.rename(folder)
        durable.sync_folder(folder.parent)
    except zipfile.BadZipFile as error:
        raise RolloutFailed(f"agent {folder.name[:12]} is no archive: {error}") from error
    finally:
        _remove_tree(beside)


def _prune(root: Path) -> None:
    """Remove agents that were not used for longest. A contact that starts one touches it before."""
    kept = {(root / LINK).resolve().name, mine(root)}
    others = [each for each in (root / "agents").iterdir() if _DIGEST.match(each.name) and each.name not in kept]
    others.sort(key=lambda each: each.stat().st_mtime, reverse=True)
    for old in others[KEPT - 1 :]:
        _remove(old)


def _remove_tree(folder: Path) -> None:
    """Remove a folder of ours with everything in it. Two may be at it at once."""
    import shutil  # noqa: PLC0415 - as above

    shutil.rmtree(folder, ignore_errors=True)


def _remove(folder: Path) -> None:
    """Remove an agent that nobody runs; one that is in use is left for another time."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return  # it is gone
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    else:
        gone = folder.with_name(f".part-{folder.name}.{os.getpid()}")
        folder.rename(gone)
        _remove_tree(gone)
    finally:
        os.close(fd)
