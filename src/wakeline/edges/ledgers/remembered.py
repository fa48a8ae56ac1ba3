"""What a log meant up to some record, remembered beside the memory of its end: who reads it again goes on from there.

It saves time and decides nothing. The state is equal to what the whole log says; a file that is damaged, that another
wakeline has made, or whose log was rewritten since is not used, and made anew from the whole log. It lies where only
its user may write, beside what that user last saw, and is believed as that is. It is not synced: what a power cut
leaves of it is not used.
"""

from __future__ import annotations

import array
import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from wakeline.core import archive, fold, model, order, packing, records, state
from wakeline.core.records import Record
from wakeline.core.state import State
from wakeline.edges.ledgers import Log, Start, short

EVERY = 100  # records behind it that are read again at each start, before it is made anew
_MEANING = (archive, fold, model, order, packing, records, state)


def beside(place: Path) -> Path:
    """Where it lies: beside the file that remembers the end of the log."""
    return place.with_suffix(".fold")


def load(place: Path) -> Start | None:
    """Where a log may be gone on from, or None where nothing is remembered that can be used."""
    try:
        data = memoryview(beside(place).read_bytes())
        check, rest = bytes(data[:64]), data[65:]
        if check != hashlib.sha256(rest).hexdigest().encode():
            return None
        size = int.from_bytes(rest[:8], "big")
        said, rest = json.loads(bytes(rest[8 : 8 + size])), rest[8 + size :]
        if said["made by"] != maker():
            return None
        ids = 8 * int(said["ids"])
        return Start(packing.unpack(said["state"], rest[ids:]), str(said["stamp"]), rest[:ids].cast("Q"))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def is_due(log: Log) -> bool:
    """Whether the next start would read so many records again that what they mean is to be kept."""
    return bool(log.stamp) and len(log.records) >= EVERY


def keep(log: Log, state: State, *, place: Path) -> None:
    """Remember a state that was folded from a log.

    What cannot be written or said is not remembered: the next start goes the longer way.
    """
    with contextlib.suppress(OSError, ValueError, TypeError, RecursionError):
        _write(beside(place), _bytes(log, state))


def unfolded(log: Log, known: State) -> tuple[State, Sequence[Record]]:
    """What of a log is still to be folded, and on top of what: of `known`, where the log goes on from it."""
    begun = log.start.state if log.start else State()
    at = known.position - begun.position
    ends_there = 0 <= at <= len(log.records) and known.tip == (log.records[at - 1].hash if at else begun.tip)
    return (known, log.records[at:]) if ends_there else (begun, log.records)


def before(record: Record, log: Log) -> Collection[str]:
    """The hashes of the records that stand before one, as far as the log was read; none where it is not in there."""
    hashes = [each.hash for each in log.records]
    if record.hash not in hashes:
        return ()
    return {*hashes[: hashes.index(record.hash)], *([log.start.state.tip] if log.start else [])}


@functools.cache
def maker() -> str:
    """Which code has made it: a record may mean something else to the next one."""
    whole = hashlib.sha256()
    for module in _MEANING:
        loader: Any = module.__spec__.loader if module.__spec__ else None
        whole.update(loader.get_data(module.__file__))
    return whole.hexdigest()


def _bytes(log: Log, state: State) -> bytes:
    before = log.start.taken if log.start else ()
    ids = array.array("Q", sorted([*before, *(short(record.id) for record in log.records)]))
    head, shelves = packing.pack(state)
    said = {"made by": maker(), "stamp": log.stamp, "ids": len(ids), "state": head}
    text = json.dumps(said, separators=(",", ":")).encode()
    rest = b"".join((len(text).to_bytes(8, "big"), text, ids.tobytes(), shelves))
    return hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest


def _write(path: Path, data: bytes) -> None:
    """Replace it as a whole. Two that write at once may leave a mixture, which is not used."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
    fresh.replace(path)
