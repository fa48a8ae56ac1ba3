"""The ledger's stores: an append-only log with compare-and-append, and check-ins beside it.

A writer says which record it saw last, by chaining its own records behind it. `append` is True only when the records
are in the log, and False only when nothing of them is: what a remote answered is never believed without a look.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from wakeline.core.records import GENESIS, Record

if TYPE_CHECKING:
    from wakeline.core.state import State

CheckIn = Mapping[str, Any]


class Start(NamedTuple):
    """Where a log may be gone on from: what it says up to there, folded, and the store's word for the place.

    `taken` are the ids of the records up to there, in short and sorted: none may stand in a log twice.
    """

    state: State
    stamp: str
    taken: Sequence[int] = ()

    def repeats(self, records: Iterable[Record]) -> bool:
        """Whether an id of these may have stood in the log before. No is sure; yes is for who reads the whole log."""
        found = ((name, bisect.bisect_left(self.taken, name)) for name in (short(record.id) for record in records))
        return any(at < len(self.taken) and self.taken[at] == name for name, at in found)


class Log(NamedTuple):
    """The log, verified. `tip` is the hash of the last record, GENESIS when there is none.

    `stamp` is the store's own word for where the log stood, see Ledger.stamp; empty where it was not asked. Without a
    `start` the records are all of them; with one they are those behind it.
    """

    tip: str = GENESIS
    records: tuple[Record, ...] = ()
    stamp: str = ""
    start: Start | None = None

    @property
    def position(self) -> int:
        """How many records there are, those before the start with them."""
        return (self.start.state.position if self.start else 0) + len(self.records)


From = Callable[[], "Start | None"]


class Ledger(Protocol):
    """What every store can do. All raise LedgerError when the store cannot be asked or is not ours."""

    def read(self, *, start: From | None = None) -> Log:
        """The log as it is now, every link checked: all of it, or what stands behind `start`.

        A start is asked for where it can save work, and used where the log goes on from it; else all of it is read.
        """

    def stamp(self) -> str:
        """A short text that is another one as soon as the log has moved: a look that costs less than `read`."""

    def stamp_of(self, tip: str) -> str:
        """The stamp of the log that ends in this record, where that is how it was last seen here; else nothing."""

    def read_unless(self, known: Callable[[str], bool], *, start: From | None = None) -> Log | None:
        """The log as `read` has it, or None where the stamp that it stands at is `known`. Costs one look then."""

    def append(
        self,
        records: Sequence[Record],
        *,
        pins: Mapping[str, str] | None = None,
        agents: Mapping[str, bytes] | None = None,
    ) -> bool:
        """Put records behind the tip that they name. False when the log has moved: read and decide again.

        `pins` maps names under the ledger to code commits that must stay fetchable; a store without code ignores them.
        `agents` are the agents that the records name, by digest. One that is there already is not sent again.
        """

    def agent(self, digest: str) -> bytes:
        """The agent of that digest, for a machine that slept through an upgrade. Raises LedgerError where it is not.

        What comes is not believed: whoever asks compares its SHA-256 with the digest in a signed approval.
        """

    def may_write(self) -> str:
        """Whether this process may append, found out without writing: the reason why not, or nothing."""

    def check_in(self, machine: str, body: CheckIn) -> None:
        """Leave a machine's last word; the one before it is replaced."""

    def check_ins(self) -> Mapping[str, CheckIn]:
        """The last word of every machine that left one."""


def short(record_id: str) -> int:
    """An id in eight bytes, whatever somebody has written there."""
    return int.from_bytes(hashlib.sha256(record_id.encode("utf-8", "surrogatepass")).digest()[:8], "big")


def open_ledger(
    url: str, *, app: str, environment: str, workdir: Path, looked: Mapping[str, str] | None = None, log: str = "log"
) -> Ledger:
    """The store that a URL names: `sqlite:///path`, or a git remote. `workdir` keeps a git store's local copy.

    `looked` is where a git remote's refs were a moment ago, for who has just asked: the first read believes it.
    `log` is another log than that of decisions: one that no machine reads.
    """
    if url.startswith("sqlite:///"):
        from wakeline.edges.ledgers.sqlite import SqliteLedger  # noqa: PLC0415 - only one store is needed

        which = environment if log == "log" else f"{environment}/{log}"
        return SqliteLedger(Path(url[len("sqlite://") :]), app=app, environment=which)
    from wakeline.edges.ledgers.git import GitLedger  # noqa: PLC0415 - only one store is needed

    ref = f"refs/wakeline/{app}/{environment}/{log}"
    return GitLedger(url, app=app, environment=environment, workdir=workdir, ref=ref, looked=looked)
