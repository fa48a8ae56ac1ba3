"""The app's code as the runner sees it: a bare copy with full history, where commits are resolved and compared.

The user's checkout may be shallow, dirty or on another branch; what is deployed is decided on this copy alone.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from wakeline.edges import git
from wakeline.errors import RolloutFailed, Usage

_HEX = re.compile(r"[0-9a-f]{4,64}\Z")
_FETCH_S = 300.0
_SIZES_BYTES_MAX = 1 << 26
_PACK_S = 10.0


class Code:
    """One remote's branch, in a copy of our own that the git ledger shares.

    What the user's checkout has of the branch may be taken from there: whoever deploys has mostly just pushed it. Where
    the branch is, the remote alone says.
    """

    def __init__(self, url: str, *, branch: str, copy: Path, checkout: Path | None = None) -> None:
        self.url = url
        self.branch = branch
        self.copy = git.ensure_bare(copy)
        self.looked: dict[str, str] = {}
        self._checkout = checkout
        self._taken: frozenset[str] = frozenset()
        self._source = f"refs/heads/{branch}"
        self._ref = f"refs/wakeline-code/{branch}"
        self._tip = ""
        self._files: dict[tuple[str, str], str | None] = {}

    def fetch(self, *, beside: Sequence[str] = (), noted: Sequence[str] = (), at_once: bool = False) -> str:
        """Bring the branch here, with its history. Returns the commit that it is at.

        With `at_once` it is brought while the remote is still being looked at: from the checkout where that has what is
        new, else from the remote, a contact more where nothing is new and one less to wait for where there is.

        Refs that match `beside` and `noted` are looked at in the same contact, and what those of `beside` point at is
        brought here in the same fetch: over SSH every contact is a login. `looked` has them all afterwards.
        Raises Usage for a remote that has no such branch, and RolloutFailed when it cannot be asked.
        """
        self._tip, self._taken = "", frozenset()
        try:
            try:
                with self._bringing() if at_once else contextlib.nullcontext():
                    refs = self._look(beside, noted)
                return self._fetch(refs, beside)
            except git.GitFailed:
                if git.is_sound(self.copy):
                    raise
            with git.locked(self.copy):
                git.renew(self.copy)  # a power cut has damaged it, and all of it stands on its remote
            self._taken = frozenset()
            return self._fetch(self._look(beside, noted), beside)
        except git.GitFailed as error:
            raise RolloutFailed(
                f"cannot fetch {self.url}: {error.message}", hint="can you fetch it by hand?"
            ) from error

    def _look(self, beside: Sequence[str], noted: Sequence[str]) -> dict[str, str]:
        return git.remote_refs(self.url, self._source, *beside, *noted, at=self.copy)

    @contextlib.contextmanager
    def _bringing(self) -> Iterator[None]:
        """Bring the branch beside what is done meanwhile. What became of it is seen afterwards, in the copy.

        Where what is done meanwhile fails, nobody waits for a remote that may never answer.
        """
        stop, stopping = os.pipe()

        def bring() -> None:
            problems = (git.GitFailed, git.GitMissing, OSError)
            with contextlib.suppress(*problems):  # then it is fetched
                self._take_from_checkout(stop_fds=[stop])
            with contextlib.suppress(*problems):  # it is tried again, and told then
                if not self._taken:
                    self._bring([self.url, f"+{self._source}:{self._ref}"], stop_fds=[stop])

        bringing = threading.Thread(target=bring)
        bringing.start()
        try:
            yield
        except BaseException:
            os.write(stopping, b"!")
            raise
        finally:
            bringing.join()
            os.close(stop)
            os.close(stopping)

    def _take_from_checkout(self, *, stop_fds: Sequence[int]) -> None:
        """Take what the checkout has of the branch and this copy has not, complete or not at all: git checks that.

        One that is shallow, or that fetches what it lacks when it is asked for it, is left alone.
        """
        if self._checkout is None:
            return
        here = [f"refs/heads/{self.branch}", f"refs/remotes/*/{self.branch}"]
        listing = git.ask(["for-each-ref", "--format=%(objectname)", *here], at=self._checkout)
        absent = sorted(git.missing(listing.split(), at=self.copy))
        if absent and git.has_all_of_its_history(self._checkout):
            self._bring([str(self._checkout), *absent], stop_fds=stop_fds)
            self._taken = frozenset(absent)

    def _fetch(self, refs: dict[str, str], beside: Sequence[str]) -> str:
        tip = refs.pop(self._source, None)
        if tip is None:
            what = f"{self.url} has no branch {self.branch}"
            raise Usage(what, hint="push a commit to it, or set `branch` in wakeline.toml")
        brought = {ref: each for ref, each in refs.items() if any(fnmatch.fnmatchcase(ref, one) for one in beside)}
        absent = git.missing([tip, *brought.values()], at=self.copy)
        wanted = []
        if tip in self._taken:
            git.ask(["update-ref", "--end-of-options", self._ref, tip], at=self.copy)
        elif tip in absent or self._local_tip() != tip:
            wanted = [f"+{self._source}:{self._ref}"]
        wanted += [f"+{ref}:refs/wakeline-looked/{ref}" for ref, commit in brought.items() if commit in absent]
        if wanted:
            self._bring([self.url, *wanted])
        self._tip, self.looked = tip, refs
        return tip

    def _bring(self, wanted: Sequence[str], *, stop_fds: Sequence[int] = ()) -> None:
        """Fetch from a repository, the first word, what the others name."""
        arguments = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance"]
        arguments += ["--end-of-options", *wanted]
        with git.locked(self.copy):
            git.ask(arguments, at=self.copy, timeout_s=_FETCH_S, stop_fds=stop_fds)

    def resolve(self, name: str, *, checkout: Path | None) -> str:
        """The commit that a user means, which must be on the allowed branch.

        Raises Usage for a commit that does not exist or is not on the branch, and for a branch named like a commit.
        """
        tip = self._local_tip()
        if not name:
            return tip
        if _HEX.match(name) and self._is_ref(name, checkout):
            raise Usage(
                f"{name} is the name of a branch or tag and looks like a commit", hint="give the full commit id"
            )
        commit = self._find(name, checkout)
        if not self.has(commit) or not git.is_ancestor(commit, tip, at=self.copy):
            hint = f"push it to {self.branch} first, or merge it there"
            raise Usage(f"{commit[:10]} is not on branch {self.branch} of {self.url}", hint=hint)
        return commit

    def has(self, commit: str) -> bool:
        """True when the copy has the commit."""
        return git.call(["cat-file", "-e", f"{commit}^{{commit}}"], at=self.copy).code == 0

    def file(self, commit: str, path: str) -> str | None:
        """A file's text at a commit (a full id), or None."""
        if (commit, path) not in self._files:
            self._files[commit, path] = git.show_file(commit, path, at=self.copy)
        return self._files[commit, path]

    def pack(self, commit: str, *, base: str, bytes_max: int) -> bytes:
        """The commit without its history, and of its files those that `base` has not; nothing where that is too much.

        Raises GitFailed for a commit that is not here.
        """
        wanted = f"--shallow {commit}\n{commit}\n^{base}^{{tree}}\n"  # see --revs in git-pack-objects(1)
        arguments = ["pack-objects", "--revs", "--stdout", "--quiet", "--delta-base-offset"]
        done = git.call(arguments, at=self.copy, input=wanted.encode(), timeout_s=_PACK_S, kept_bytes_max=bytes_max)
        if done.code != 0:
            raise git.GitFailed(arguments[0], code=done.code, words=git.clean(done.err))
        return b"" if done.dropped else done.out

    def tree_bytes(self, commit: str) -> int:
        """How many bytes the files of a commit have. Raises GitFailed for a commit that is not here."""
        done = git.call([*git.SIZES, commit], at=self.copy, kept_bytes_max=_SIZES_BYTES_MAX)
        if done.code != 0 or done.dropped:
            raise git.GitFailed(git.SIZES[0], code=done.code, words=git.clean(done.err))
        return git.sum_of_sizes(done.out)

    def paths(self, commit: str) -> frozenset[str]:
        """Every file and folder of a commit, relative to its top."""
        listing = git.ask(["ls-tree", "-r", "-t", "--name-only", "-z", "--end-of-options", commit], at=self.copy)
        return frozenset(filter(None, listing.split("\0")))

    def is_older(self, commit: str, than: str) -> bool:
        """True when `commit` is a strict ancestor of `than`; an unknown commit is not."""
        try:
            return commit != than and git.is_ancestor(commit, than, at=self.copy)
        except git.GitFailed:
            return False

    def subjects(self, since: str, until: str, *, most: int = 50) -> Sequence[tuple[str, str, str]]:
        """Commits after `since` up to `until`, newest first: id, author, subject."""
        span = f"{since}..{until}" if since and self.has(since) else until
        listing = git.ask(["log", f"--max-count={most}", "--format=%H%x1f%an%x1f%s%x1e", span, "--"], at=self.copy)
        rows = (entry.strip("\n").split("\x1f") for entry in listing.split("\x1e") if entry.strip())
        return [(row[0], row[1], row[2]) for row in rows]

    def _find(self, name: str, checkout: Path | None) -> str:
        """Look a name up in the user's checkout first, as they would; then in the copy."""
        for place in (checkout, self.copy):
            if place is None:
                continue
            try:
                return git.resolve(name, at=place)
            except git.GitFailed:
                continue
        raise Usage(f"there is no commit {name!r}", hint=f"git log {self.branch} shows what there is")

    def _is_ref(self, name: str, checkout: Path | None) -> bool:
        places = [self.copy, *([checkout] if checkout else [])]
        kinds = ("refs/heads", "refs/tags", "refs/remotes/origin")
        refs = [f"{kind}/{name}" for kind in kinds]
        return any(git.call(["show-ref", "--quiet", "--", *refs], at=place).code == 0 for place in places)

    def _local_tip(self) -> str:
        """Where the branch is, as last fetched."""
        if self._tip:
            return self._tip
        finished = git.call(["rev-parse", "--quiet", "--verify", self._ref], at=self.copy)
        return finished.out.decode().strip() if finished.code == 0 else ""
