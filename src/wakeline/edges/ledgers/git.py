"""A ledger in a ref of the app's own git remote: no server, no port, no new password.

Every push is one commit with one parent, an empty tree, and the records as lines of its message; a fast-forward is the
compare. An append has won when the remote reports our ref updated to our commit, which no other writer can have made
(record ids are random). Anything else that it answers is not believed (seen: two equal pushes both got exit 0; a cut
connection reported failure for a record that had arrived): then a second look must find those very ids in the log.

Agents lie beside the log, each under a ref of its own that is named by its digest. The same agent is the same commit
whoever pushes it, so two runners that push it at once do not meet.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from wakeline.core.records import BadLog, Record, verify
from wakeline.edges import git, objects
from wakeline.edges.ledgers import CheckIn, From, Log
from wakeline.errors import LedgerError

_TRIES = 3
_REMOTE_S = 60.0
_AGENT_NAME = "agent.pyz"
_ALWAYS_S = 315532800  # 1980, as in its zip
_WHO = f"{git.IDENTITY['GIT_AUTHOR_NAME']} <{git.IDENTITY['GIT_AUTHOR_EMAIL']}>"
_LOG_BYTES_MAX = 1 << 30  # a fleet's whole memory: ten thousand releases of one machine are 30 MB
_T = TypeVar("_T")


class GitLedger:
    """One fleet's log on one remote. Keeps a bare copy in `workdir`, so an unchanged log costs one look."""

    def __init__(
        self,
        url: str,
        *,
        app: str,
        environment: str,
        workdir: Path,
        ref: str = "",
        looked: Mapping[str, str] | None = None,
    ) -> None:
        self._url = url
        self._base = f"refs/wakeline/{app}/{environment}"
        self._ref = ref or f"{self._base}/log"
        self._copy = copy_of(url, workdir=workdir)
        self._looked = None if looked is None else dict(looked)
        self._heard = None if looked is None else dict(looked)
        self._log = Log()
        self._agents: frozenset[str] = frozenset()
        self.warnings: list[str] = []

    def read(self, *, start: From | None = None) -> Log:
        """See Ledger.read."""
        return self._soundly(lambda: self._read_now(start))

    def _read_now(self, start: From | None) -> Log:
        looked, self._looked = self._looked, None
        return self._read_from(start, self._remote_tip() if looked is None else self._tip_in(looked))

    def _read_from(self, start: From | None, tip: str) -> Log:
        if start is None and self._log.start is not None:
            self._log = Log()  # all of it is asked for, and what we have begins later
        return self._read(tip, start)

    def stamp(self) -> str:
        """See Ledger.stamp: the commit that the remote's ref is at."""
        with self._asking():
            return self._remote_tip()

    def stamp_of(self, tip: str) -> str:
        """See Ledger.stamp_of."""
        log = self._log
        return log.stamp if log.tip == tip else ""

    def read_unless(self, known: Callable[[str], bool], *, start: From | None = None) -> Log | None:
        """See Ledger.read_unless."""

        def look() -> Log | None:
            tip = self._remote_tip()
            return None if known(tip) else self._read_from(start, tip)

        return self._soundly(look)

    def append(
        self,
        records: Sequence[Record],
        *,
        pins: Mapping[str, str] | None = None,
        agents: Mapping[str, bytes] | None = None,
    ) -> bool:
        """See Ledger.append. A pin or an agent that the remote refuses is a warning, never a failure."""
        return self._soundly(lambda: self._append(records, pins or {}, agents or {}))

    def _append(self, records: Sequence[Record], pins: Mapping[str, str], agents: Mapping[str, bytes]) -> bool:
        self._looked, words = None, ""
        for _ in range(_TRIES):
            if self._log.tip != records[0].previous:
                self._read(self._remote_tip())
            if self._log.tip != records[0].previous:
                return self._contains(records)
            before = self._log.stamp
            commit = self._commit_of(records, parent=before)
            beside = [*self._pins(pins), *self._missing(agents)]
            arrived, words = self._push(commit, expected=before, beside=beside)
            if arrived:
                self._log = Log(records[-1].hash, self._log.records + tuple(records), commit, self._log.start)
                self._agents |= set(agents)
                return True
            if self._read(self._remote_tip()).tip != records[0].previous:
                return self._contains(records)
        raise LedgerError(f"the ledger on {self._where} takes no record: {words}", hint="may you push there?")

    def agent(self, digest: str) -> bytes:
        """See Ledger.agent."""
        ref = self._agent_ref(digest)
        with self._asking():
            commit = git.remote_refs(self._url, ref, at=self._copy, timeout_s=_REMOTE_S).get(ref, "")
            if not commit:
                text = f"the ledger on {self._where} does not have the agent {digest[:12]}"
                raise LedgerError(text, hint="wakeline deploy")
            if not self._has(commit):
                self._fetch([f"+{ref}:{ref}"])
            arguments = ["cat-file", "blob", "--end-of-options", f"{commit}:{_AGENT_NAME}"]
            finished = git.call(arguments, at=self._copy)
            if finished.code != 0:
                raise git.GitFailed(arguments[0], code=finished.code, words=git.clean(finished.err))
            return finished.out

    def may_write(self) -> str:
        """See Ledger.may_write. A dry run asks the server whether we may push, and pushes nothing."""
        try:
            with self._asking():
                commit = self._remote_tip()
                if commit and not self._has(commit):
                    self._read(commit)
                commit = commit or self._write_commit(b"{}", parent="")
                push = [
                    "push",
                    "--dry-run",
                    "--quiet",
                    "--end-of-options",
                    self._url,
                    f"{commit}:{self._base}/may-write",
                ]
                git.ask(push, at=self._copy, timeout_s=_REMOTE_S)
        except LedgerError as error:
            return error.message
        return ""

    def check_in(self, machine: str, body: CheckIn) -> None:
        """See Ledger.check_in. The ref is the machine's alone, so it is replaced, not compared."""

        def push() -> None:
            commit = self._write_commit(json.dumps(body, sort_keys=True).encode(), parent="")
            refspec = f"+{commit}:{self._base}/check-in/{machine}"
            git.ask(["push", "--quiet", "--end-of-options", self._url, refspec], at=self._copy, timeout_s=_REMOTE_S)

        self._soundly(push)

    def check_ins(self) -> Mapping[str, CheckIn]:
        """See Ledger.check_ins. One that is not ours to read is passed over."""
        with self._asking():
            prefix = f"{self._base}/check-in/"
            heard, self._heard = self._heard, None
            if heard is None:
                heard = git.remote_refs(self._url, f"{prefix}*", at=self._copy, timeout_s=_REMOTE_S)
            refs = {ref: commit for ref, commit in heard.items() if ref.startswith(prefix)}
            if git.missing(refs.values(), at=self._copy):
                self._fetch([f"+{ref}:{ref}" for ref in refs])
            found = {}
            for ref, commit in refs.items():
                with contextlib.suppress(
                    ValueError
                ):  # not JSON: somebody else's ref, and only a machine's word is lost
                    body = json.loads(self._message(commit))
                    found.update({ref[len(prefix) :]: body} if isinstance(body, dict) else {})
            return found

    @property
    def _where(self) -> str:
        return f"{without_password(self._url)} ({self._ref})"

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """One user of the copy at a time, and git's errors as ours."""
        try:
            git.ensure_bare(self._copy)
            with git.locked(self._copy):
                yield
        except git.GitFailed as error:
            hint = "is the remote right, and can you fetch from it?"
            raise LedgerError(f"ledger on {self._where}: {error.message}", hint=hint) from error
        except OSError as error:
            raise LedgerError(f"the ledger's copy {self._copy}: {error}", hint="may you write there?") from error

    def _soundly(self, act: Callable[[], _T]) -> _T:
        """Do it; where the copy itself is damaged, do it again on a new one.

        Seen: after a power cut an object of the copy was a file of 0 bytes, and no fetch into it worked any more.
        """
        with self._asking():
            try:
                return act()
            except git.GitFailed:
                if git.is_sound(self._copy):
                    raise
                git.renew(self._copy)
                self._log = Log()
                return act()

    def _remote_tip(self) -> str:
        """Where the log ends there. The same look says which agents are there: the server lists all refs anyway."""
        refs = git.remote_refs(self._url, self._ref, self._agent_ref("*"), at=self._copy, timeout_s=_REMOTE_S)
        return self._tip_in(refs)

    def _tip_in(self, refs: Mapping[str, str]) -> str:
        prefix = self._agent_ref("")
        self._agents = frozenset(ref[len(prefix) :] for ref in refs if ref.startswith(prefix))
        return refs.get(self._ref, "")

    def _agent_ref(self, digest: str) -> str:
        return f"{self._base}/agent/{digest}"

    def _read(self, tip: str, start: From | None = None) -> Log:
        """Bring the copy to `tip` and read what is new behind what we know, or behind `start`; every link is checked.

        A log that does not go on from there, for whatever reason, is read from its beginning, and says itself why.
        """
        if tip == self._log.stamp:
            return self._log
        if not tip:
            self._log = Log()
            return self._log
        if not self._has(tip):
            self._fetch([f"+{self._ref}:refs/wakeline/copy"])
        known, found = self._log, None
        if not known.stamp and start is not None and (begin := start()) is not None:
            known = Log(begin.state.tip, (), begin.stamp, begin)
        if known.stamp:
            with contextlib.suppress(LedgerError, git.GitFailed):
                found = self._going_on(known, tip)
        self._log = found or self._going_on(Log(), tip)
        return self._log

    def _going_on(self, known: Log, tip: str) -> Log:
        """The log up to `tip`, on top of what is known of it. Raises LedgerError where it does not go on from there."""
        entries = self._entries(f"{known.stamp}..{tip}" if known.stamp else tip) if known.stamp != tip else []
        if known.stamp not in (tip, "") and (not entries or entries[0].parent != known.stamp):
            raise LedgerError(f"ledger on {self._where}: it does not go on from {known.stamp[:10]}")
        lines = [line for entry in entries for line in entry.lines]
        try:
            fresh = verify(lines, previous=known.tip, start=known.position + 1)
        except BadLog as error:
            raise LedgerError(f"ledger on {self._where}: {error}", hint="nothing was changed there") from error
        if known.start is not None and known.start.repeats(fresh):
            raise LedgerError(f"ledger on {self._where}: an id stands in the log twice, it seems")
        return Log(fresh[-1].hash if fresh else known.tip, known.records + fresh, tip, known.start)

    def _entries(self, revisions: str) -> list[_Entry]:
        """The pushes in a range of commits, oldest first. Raises LedgerError for commits that are not ours."""
        ask = ["log", "-z", "--reverse", "--topo-order", "--format=%H %T %P%n%B", revisions]
        listing = git.ask(ask, at=self._copy, kept_bytes_max=_LOG_BYTES_MAX)
        entries: list[_Entry] = []
        for text in listing.split("\0"):
            if not text.strip():
                continue
            head, _, message = text.partition("\n")
            commit, tree, *parents = head.split()
            if tree != objects.EMPTY_TREE or len(parents) > 1:
                hint = "somebody else wrote there; nothing was changed"
                raise LedgerError(f"ledger on {self._where}: commit {commit[:10]} is not wakeline's", hint=hint)
            entries.append(_Entry("".join(parents), [line for line in message.splitlines() if line]))
        return entries

    def _commit_of(self, records: Sequence[Record], *, parent: str) -> str:
        return self._write_commit("\n".join(record.line for record in records).encode(), parent=parent)

    def _write_commit(self, message: bytes, *, parent: str) -> str:
        tree = objects.write(self._copy, "tree", b"")
        who = f"{_WHO} {int(time.time())} +0000"
        return objects.write(self._copy, "commit", objects.commit(tree, parent=parent, who=who, message=message))

    def _pins(self, pins: Mapping[str, str]) -> list[str]:
        absent = git.missing(pins.values(), at=self._copy)
        return [f"+{code}:{self._base}/{name}" for name, code in pins.items() if code not in absent]

    def _missing(self, agents: Mapping[str, bytes]) -> list[str]:
        """What must be pushed of these agents: those that the remote did not have at our last look."""
        absent = {digest: data for digest, data in agents.items() if digest not in self._agents}
        return [f"+{self._agent_commit(data)}:{self._agent_ref(digest)}" for digest, data in absent.items()]

    def _agent_commit(self, data: bytes) -> str:
        blob = objects.write(self._copy, "blob", data)
        tree = objects.write(self._copy, "tree", f"100644 {_AGENT_NAME}\0".encode() + bytes.fromhex(blob))
        commit = objects.commit(tree, parent="", who=f"{_WHO} {_ALWAYS_S} +0000", message=b"an agent")
        return objects.write(self._copy, "commit", commit)

    def _push(self, commit: str, *, expected: str, beside: Sequence[str]) -> tuple[bool, str]:
        """Push the log and what goes with it. Returns whether the remote says that our ref is now our commit, and its
        words where it does not; they are shown, never matched.
        """
        lease = f"--force-with-lease={self._ref}:{expected or ''}"
        push = ["push", "--porcelain", "--no-progress", "--atomic", lease, "--end-of-options", self._url]
        push.append(f"{commit}:{self._ref}")
        finished = git.call([*push, *beside], at=self._copy, timeout_s=_REMOTE_S)
        if finished.code != 0 and beside and self._remote_tip() == expected:
            self.warnings.append(f"pins were refused: {git.clean(finished.err or finished.out)}")
            finished = git.call(push, at=self._copy, timeout_s=_REMOTE_S)
        if finished.code == 0 and _says_updated(finished.out, f"{commit}:{self._ref}"):
            return True, ""
        return False, git.clean(finished.err or finished.out) or f"exit code {finished.code}"

    def _contains(self, records: Sequence[Record]) -> bool:
        wanted = {record.id for record in records}
        return wanted <= {record.id for record in self._log.records}

    def _has(self, commit: str) -> bool:
        return not git.missing([commit], at=self._copy)

    def _fetch(self, refspecs: Sequence[str]) -> None:
        arguments = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance"]
        arguments += ["--end-of-options", self._url]
        git.ask([*arguments, *refspecs], at=self._copy, timeout_s=_REMOTE_S)

    def _message(self, commit: str) -> str:
        return git.ask(["log", "-1", "--format=%B", commit], at=self._copy)


class _Entry(NamedTuple):
    """One push: the commit before it, empty for the first, and its records."""

    parent: str
    lines: list[str]


def _says_updated(out: bytes, pushed: str) -> bool:
    """True when `git push --porcelain` reports that ref as updated: ` `, `*` or `+`, then FROM:TO (git-push(1))."""
    lines = (line.split("\t") for line in out.decode("utf-8", "replace").splitlines())
    return any(len(line) >= 2 and line[0] in (" ", "*", "+") and line[1] == pushed for line in lines)


def refs_of(app: str, environment: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a fleet's ledger is in a remote, as patterns: its log and its machines' check-ins, which are read, and the
    agents, of which one only asks whether they are there.
    """
    base = f"refs/wakeline/{app}/{environment}"
    return (f"{base}/log", f"{base}/check-in/*"), (f"{base}/agent/*",)


def copy_of(url: str, *, workdir: Path) -> Path:
    """The bare copy of a remote. Code and ledger share it, so that a pin's commit is at hand when it is pushed."""
    return workdir / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.git"


def without_password(url: str) -> str:
    """A URL that may be shown: what stands before the host is left out."""
    scheme, mark, rest = url.partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}" if mark else url
