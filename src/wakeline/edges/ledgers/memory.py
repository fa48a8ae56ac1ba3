"""What this machine last saw of a ledger. A log that no longer contains it is not the log that we knew.

A chain of hashes shows that nothing in a log was changed; only memory shows that its end was not cut off, or that it
was not replaced as a whole. Forgetting is for a person: `wakeline ledger adopt`.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from wakeline.core.records import GENESIS
from wakeline.edges.ledgers import Ledger, Log, remembered
from wakeline.errors import LedgerError


class NotTheLog(LedgerError):
    """The log does not contain the record that was seen last."""


def read(ledger: Ledger, *, place: Path) -> Log:
    """The log, if it contains what was last seen; then its end is remembered. Raises NotTheLog.

    What was seen is asked before the log is read: another runner of this user may append, and remember, in between.
    """
    seen = last_seen(place)
    log = ledger.read(start=lambda: remembered.load(place))
    if not _has(log, seen):
        log = ledger.read()  # all of it, now: the first may begin behind it, or be of a look that is older
    if not _has(log, seen):
        raise NotTheLog(
            f"the ledger no longer contains record {seen[:12]}, which was seen here",
            hint="somebody cut or replaced it; if that was on purpose: wakeline ledger adopt",
        )
    if seen != log.tip and last_seen(place) == seen:
        remember(log.tip, place=place)
    return log


def _has(log: Log, seen: str) -> bool:
    known = (GENESIS, log.tip, log.start.state.tip if log.start else GENESIS)
    return seen in known or any(record.hash == seen for record in log.records)


def last_seen(place: Path) -> str:
    """The hash of the record that was last at the end of the log; GENESIS where nothing is remembered.

    A memory that is damaged is none: a flipped bit in it must not pass for a log that was replaced.
    """
    try:
        found = json.loads(place.read_bytes())
        tip = str(found["tip"])
        return tip if found.get("check", _check_of(tip)) == _check_of(tip) else GENESIS
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return GENESIS


def remember(tip: str, *, place: Path) -> None:
    """Put the end of the log on disk: the old memory or the new one, never half of it."""
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = place.with_name(f"{place.name}.{os.getpid()}")
    with beside.open("w", encoding="ascii") as file:
        json.dump({"tip": tip, "check": _check_of(tip)}, file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(place)


def forget(place: Path) -> None:
    """Believe the log as it is read next, whatever was seen before."""
    for path in (place, remembered.beside(place)):
        path.unlink(missing_ok=True)


def _check_of(tip: str) -> str:
    return hashlib.sha256(tip.encode()).hexdigest()[:16]
