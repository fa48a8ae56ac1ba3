"""The ledger's records: what is written, how each is chained to the one before, and how a chain is checked.

A record is a JSON object. Its `id` is random, so that two writers of otherwise equal records can tell theirs apart
(seen: git answers "up to date" with exit 0 to the second of two equal pushes). Its `previous` is the hash of the
record before it. Clocks are not trusted: `at` is for people, order comes from the chain.

The head of a record and its hash are settled for ever. A record of a newer version is chained and read like any other,
and only refused where its meaning is asked for (state.py): an old agent must find its way to a newer one.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

RECORD_VERSION = 1
GENESIS = "0" * 64
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True)
RESERVED = frozenset({"version", "id", "previous", "kind", "at", "by"})


class BadLog(ValueError):
    """A log that cannot be believed. `position` is the first bad record, counted from 1."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(f"record {position}: {reason}")
        self.position = position
        self.reason = reason


class _Wanted(NamedTuple):
    kind: str
    body: Mapping[str, Any]


class Draft(_Wanted):
    """What a writer wants on record. It becomes a Record when its place in the log is known."""

    __slots__ = ()

    def __new__(cls, kind: str, body: Mapping[str, Any]) -> Draft:
        """Raises ValueError for a body that has what stands in the head of a record."""
        if taken := RESERVED & set(body):
            raise ValueError(f"a record's body may not have {', '.join(sorted(taken))}")
        return super().__new__(cls, kind, body)


class _Line(NamedTuple):
    id: str
    previous: str
    kind: str
    at: str
    by: str
    body: Mapping[str, Any]
    version: int = RECORD_VERSION


class Record(_Line):
    """One line of the log. `at` is an ISO 8601 time that only people read; `by` is who wrote it."""

    def to_json(self) -> dict[str, Any]:
        """The record as one flat JSON object, as it stands in the log."""
        head = {"version": self.version, "id": self.id, "previous": self.previous}
        return {**head, "kind": self.kind, "at": self.at, "by": self.by, **self.body}

    @property
    def line(self) -> str:
        """The canonical text that is hashed: sorted keys, no spaces, no line break inside."""
        return _CANONICAL.encode(self.to_json())

    @functools.cached_property
    def hash(self) -> str:
        """SHA-256 of the canonical text, in hex. The next record carries it as `previous`."""
        return hashlib.sha256(self.line.encode()).hexdigest()


def chain(drafts: Iterable[Draft], *, ids: Iterable[str], previous: str, at: str, by: str) -> tuple[Record, ...]:
    """Give drafts their places behind `previous`. `ids` must be random and as many as the drafts."""
    records = []
    for draft, record_id in zip(drafts, ids):
        record = Record(id=record_id, previous=previous, kind=draft.kind, at=at, by=by, body=draft.body)
        previous = record.hash
        records.append(record)
    return tuple(records)


def record_from_line(line: str, *, position: int) -> Record:
    """Read one line. Raises BadLog for what is not a record."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadLog(position, f"not JSON: {error}") from error
    if not isinstance(data, dict):
        raise BadLog(position, f"not an object but {type(data).__name__}")
    version = data.pop("version", None)
    if not isinstance(version, int) or version < 1:
        raise BadLog(position, f"not a record of ours (version {version!r})")
    heads: dict[str, Any] = {}
    for key in ("id", "previous", "kind", "at", "by"):
        value = data.pop(key, None)
        if not isinstance(value, str):
            raise BadLog(position, f"`{key}` should be text, found {value!r}")
        heads[key] = value
    return Record(body=data, version=version, **heads)


def verify(lines: Iterable[str], *, previous: str = GENESIS, start: int = 1) -> tuple[Record, ...]:
    """Read a log and check every link. Raises BadLog that names the first record that does not fit."""
    records = []
    seen = set()
    for position, line in enumerate(lines, start):
        record = record_from_line(line, position=position)
        text = line.rstrip("\n")
        if record.line != text:
            raise BadLog(position, "its text is not canonical: it was changed after it was written")
        if record.previous != previous:
            raise BadLog(position, "its `previous` is not the hash of the record before it")
        if record.id in seen:
            raise BadLog(position, f"id {record.id} stands in the log twice")
        seen.add(record.id)
        # The text is canonical, so its hash is the record's: put where the property keeps it, not written out again.
        record.__dict__["hash"] = previous = hashlib.sha256(text.encode()).hexdigest()
        records.append(record)
    return tuple(records)
