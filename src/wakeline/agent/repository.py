"""The code on a machine: fetches one commit and lays it out, by the git program.

A commit is always a full object id, so a branch or tag of the same name cannot stand in for it. Hooks of a repository
never run. What was fetched is pinned by a ref of ours, so that no clean-up takes a release's commit away.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from wakeline.agent import durable, lock
from wakeline.edges import process
from wakeline.edges.git import IDENTITY, SIZES, is_whole, make_way_for_init, speaking, sum_of_sizes
from wakeline.errors import RolloutFailed

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
_OPTIONS = (
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "protocol.file.allow=always"),
    *("-c", "transfer.fsckObjects=true"),
    *("-c", "advice.detachedHead=false"),
    *("-c", "gc.autoDetach=false"),
    *("-c", "core.fsync=all"),
)
_FETCH = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance")
_COMMON_DIR = b"../..\n"
_TRIES = 3
_PAUSE_S = 1.0
_stop_fds: list[int] = []


class GitFailed(RolloutFailed):
    """git said no; its own words are in the message."""


def git(
    arguments: Sequence[str],
    *,
    at: Path,
    timeout_s: float = 120.0,
    feed: bytes | None = None,
    options: Sequence[str] = (),
) -> bytes:
    """Run git in a repository or work tree. Raises GitFailed with its words."""
    argv = ["git", *_OPTIONS, *options, "-C", str(at), *arguments]
    try:
        finished = process.run(
            argv,
            env=_environment(),
            timeout_s=timeout_s,
            input=feed,
            keep_fds=lock.held(),
            stop_fds=tuple(_stop_fds),
        )
    except process.CommandMissing as error:
        raise GitFailed("git is not installed on this machine", hint="apt-get install git") from error
    except process.CommandTimedOut as error:
        raise GitFailed(f"git {arguments[0]} did not end within {timeout_s:g} s") from error
    if finished.code != 0:
        words = finished.err.decode("utf-8", "replace").strip() or f"exit code {finished.code}"
        raise GitFailed(f"git {arguments[0]}: {words[-800:]}")
    return bytes(finished.out)


@contextlib.contextmanager
def giving_way(*stop_fds: int) -> Iterator[None]:
    """As long as this lasts, git asks a remote once, and ends with CommandStopped when one of `stop_fds` can be read.

    It is not slowed down beside that: on a busy machine the order would have to wait for it (seen: a second).
    """
    _stop_fds.extend(stop_fds)
    try:
        yield
    finally:
        _stop_fds.clear()


def check_commit(commit: str) -> str:
    """The commit, if it is a full object id. Raises RolloutFailed: a name could be a branch called like a commit."""
    if not _COMMIT.match(commit):
        raise RolloutFailed(f"commit {commit!r} is not a full object id of 40 or 64 hex digits")
    return commit


def ensure_mirror(folder: Path) -> Path:
    """The bare repository that keeps this machine's copy of the code; a damaged one is made whole.

    The caller holds the machine's lock. A git that was killed leaves its own locks; every git of ours holds the
    machine's too, so none of them is at work.
    """
    if not is_whole(folder) or not (folder / "objects").is_dir():
        make_way_for_init(folder)
        git(["init", "--quiet", "--bare", "--end-of-options", str(folder)], at=folder.parent)
    for litter in (*folder.glob("*.lock"), *folder.glob("refs/**/*.lock"), *folder.glob("worktrees/*/*.lock")):
        litter.unlink(missing_ok=True)
    for record in work_trees(folder):
        _mend_record(record)
    return folder


def has_commit(repository: Path, commit: str) -> bool:
    """True when the commit and everything in its tree is here."""
    try:
        git(["rev-parse", "--quiet", "--verify", "--end-of-options", f"{commit}^{{tree}}"], at=repository)
    except GitFailed:
        return False
    return True


def fetch(
    repository: Path, *, url: str, commit: str, branch: str, pin: str, shallow: bool = True, handed: bytes = b""
) -> None:
    """Bring one commit here and pin it as `pin`. Costs no contact when it is here already, or in the pack `handed`."""
    check_commit(commit)
    lacks = not (repository / "objects" / commit[:2] / commit[2:]).exists()  # or has it in a pack, which costs a git
    if lacks and handed and shallow and _take(repository, handed, commit=commit, pin=pin):
        return
    if not has_commit(repository, commit):
        _fetch(repository, url=url, commit=commit, branch=branch, pin=pin, shallow=shallow)
    else:
        git(["update-ref", "--end-of-options", pin, commit], at=repository)


def tree_bytes(repository: Path, commit: str) -> int:
    """How many bytes the files of a commit have."""
    return sum_of_sizes(git([*SIZES, commit], at=repository))


def head(work_tree: Path) -> str:
    """The commit that a work tree is at, or nothing when it is no work tree."""
    try:
        return git(["rev-parse", "--verify", "HEAD"], at=work_tree).decode().strip()
    except GitFailed:
        return ""


def add_work_tree(repository: Path, *, name: str, folder: Path, commit: str) -> None:
    """Lay a commit out in a folder that is new or empty, as a work tree whose record is called `name`.

    As `git worktree add --detach` does it, whose files gitrepository-layout(5) describes: with one process instead of
    three, and without its lock. An older record of the name is of a folder that is gone.
    """
    record = records(repository) / name
    shutil.rmtree(record, ignore_errors=True)
    record.mkdir(parents=True)
    folder.mkdir(parents=True, exist_ok=True)
    (record / "HEAD").write_text(f"{commit}\n")
    (record / "commondir").write_bytes(_COMMON_DIR)
    (record / "gitdir").write_bytes(os.fsencode(folder / ".git") + b"\n")
    (folder / ".git").write_bytes(b"gitdir: " + os.fsencode(record) + b"\n")
    git(["read-tree", "-u", "--reset", commit], at=folder)


def changed_paths(work_tree: Path) -> list[str]:
    """Tracked files that differ from the commit and untracked ones; never ignored ones."""
    # without the optional lock: the index of what is looked at is not written anew, and not put on disk
    raw = git(
        ["--no-optional-locks", "status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames"], at=work_tree
    )
    return [os.fsdecode(entry[3:]) for entry in raw.split(b"\0") if entry]


def records(repository: Path) -> Path:
    """Where it keeps the HEAD and the index of each of its work trees: gitrepository-layout(5)."""
    return repository / "worktrees"


def work_trees(repository: Path) -> list[Path]:
    """The records of its work trees, those of folders that are gone as well."""
    try:
        return [each for each in records(repository).iterdir() if each.is_dir()]
    except FileNotFoundError:
        return []


def forget(repository: Path, *, below: str, but: Collection[str]) -> None:
    """Take away refs and the records of work trees whose folders are gone."""
    refs = git(["for-each-ref", "--format=%(refname)", below], at=repository).decode("utf-8", "replace").split()
    gone = "".join(f"delete {ref}\n" for ref in refs if ref not in but)
    if gone:
        git(["update-ref", "--stdin"], at=repository, feed=gone.encode())
    git(["worktree", "prune"], at=repository)


def _mend_record(record: Path) -> None:
    """Take away what keeps git from every other work tree: nobody puts these files on disk before a release is ready.

    It gives up where one has an empty `commondir` ("failed to read"), which always says the same in a bare repository;
    and where a `git worktree add` that was cut off has left its `locked` ("a missing but locked worktree").
    """
    (record / "locked").unlink(missing_ok=True)
    commondir = record / "commondir"
    if not commondir.exists() or commondir.read_bytes() != _COMMON_DIR:
        durable.write_bytes(commondir, _COMMON_DIR, mode=0o644)


def _take(repository: Path, pack: bytes, *, commit: str, pin: str) -> bool:
    """Take a commit without its history from a pack. False where that is not all of it: then nothing was taken.

    git checks what comes, and that everything is here which it leads to. A commit that stands in the file `shallow` has
    no parents for it: gitrepository-layout(5).
    """
    file = repository / "shallow"
    before = file.read_text() if file.exists() else ""
    if commit not in before.split():
        durable.write_bytes(file, f"{before}{commit}\n".encode())
    try:
        git(["unpack-objects", "-q", "--strict"], at=repository, feed=pack)
        git(["update-ref", "--end-of-options", pin, commit], at=repository)
        return True
    except GitFailed:
        durable.write_bytes(file, before.encode()) if before else file.unlink(missing_ok=True)
        return False


def _fetch(repository: Path, *, url: str, commit: str, branch: str, pin: str, shallow: bool) -> None:
    by_id = [*(["--depth=1"] if shallow else []), "--end-of-options", url, f"+{commit}:{pin}"]
    whole = ["--end-of-options", url, f"+refs/heads/{branch}:refs/wakeline/branch"]  # a server that refuses bare ids
    ways: list[tuple[Sequence[str], Sequence[str]]] = [((), by_id), ((), whole)]
    if older := speaking(by_id):
        ways.insert(0, (older, by_id))  # there more servers refuse an id that no ref of theirs is at
    problem = GitFailed("nothing was tried")
    tries = 1 if _stop_fds else _TRIES
    for attempt in range(tries):
        for options, way in ways:
            try:
                git([*_FETCH, *way], at=repository, timeout_s=600.0, options=options)
            except GitFailed as error:
                problem = error
                continue
            if way is by_id:
                return  # git has checked that everything is here, and pinned it
            if not has_commit(repository, commit):  # the remote has answered: to ask again would bring the same
                raise GitFailed(f"commit {commit} is not on branch {branch} of {_without_password(url)}")
            git(["update-ref", "--end-of-options", pin, commit], at=repository)
            return
        if attempt + 1 < tries:
            import random  # noqa: PLC0415 - for the fetch that failed

            time.sleep(_PAUSE_S * (attempt + 1) * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret
    raise GitFailed(f"cannot fetch {commit[:10]} from {_without_password(url)}: {problem.message}")


def _without_password(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//***@", url)


def _environment() -> dict[str, str]:
    user = pwd.getpwuid(os.getuid())
    return {
        "HOME": user.pw_dir,
        "USER": user.pw_name,
        "LOGNAME": user.pw_name,
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "GIT_TERMINAL_PROMPT": "0",
        **IDENTITY,
    }


def somebodys_git(work_tree: Path) -> bool:
    """Whether a git is at work in a work tree, or one of another user, who does not let us see where his is."""
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            if not (place / "comm").read_text(errors="replace").startswith("git"):
                continue
            try:
                cwd = (place / "cwd").readlink()
            except PermissionError:
                return True
            named = os.fsencode(work_tree) in (place / "cmdline").read_bytes()
            if named or cwd == work_tree or work_tree in cwd.parents:
                return True
    return False
