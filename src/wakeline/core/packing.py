"""A state as bytes, and back: so that who has folded a log need not fold it again from its beginning.

The state that comes back equals the one that went in, whatever JSON the log's records hold. What grows with the log is
packed (archive.py), and what came since the last time alone costs work.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from wakeline.core.archive import Archive, Codec
from wakeline.core.order import Outcome
from wakeline.core.records import Record, record_from_line
from wakeline.core.state import Claim, Lease, MachineResult, Release, Request, StagePlan, State


def pack(state: State) -> tuple[dict[str, Any], bytes]:
    """What is always read, as a JSON object, and what grows with the log, as bytes that it has the places of."""
    head: dict[str, Any] = {name: getattr(state, name) for name in _PLAIN}
    head.update({name: [write(each) for each in getattr(state, name).items()] for name, (write, _) in _MAPS.items()})
    head.update({name: list(getattr(state, name)) for name in _SETS})
    head["lease"] = _row(state.lease)
    shelves: list[bytes | memoryview] = []
    for name, codec in _ARCHIVES.items():
        kept = getattr(state, name)
        packed = (kept if isinstance(kept, Archive) else Archive(codec, fresh=kept)).pack().packed
        head[name] = [(number, len(shelf)) for number, shelf in packed.items()]
        shelves += packed.values()
    return head, b"".join(shelves)


def unpack(head: Mapping[str, Any], shelves: bytes | memoryview) -> State:
    """The state that was packed. Raises KeyError, TypeError or ValueError for what is none."""
    values: dict[str, Any] = {name: head[name] for name in _PLAIN}
    values.update({name: dict(read(each) for each in head[name]) for name, (_, read) in _MAPS.items()})
    values.update({name: frozenset(head[name]) for name in _SETS})
    values["lease"] = Lease(*head["lease"])
    rest, at = memoryview(shelves), 0
    for name, codec in _ARCHIVES.items():
        packed = {}
        for number, length in head[name]:
            packed[number] = rest[at : at + length]
            at += length
        values[name] = Archive(codec, packed)
    if at != len(rest):
        raise ValueError(f"{len(rest) - at} bytes more than its shelves")
    return State(**values)


def _row(value: Any) -> list[Any]:
    """The fields of a flat value, in their order."""
    return [getattr(value, field.name) for field in dataclasses.fields(value)]


def _as_is(pair: Iterable[Any]) -> list[Any]:
    return list(pair)


def _release(release: Release) -> list[Any]:
    stages = [[each.name, each.machines, list(each.always), each.gates, each.goes_on] for each in release.stages]
    results = [[name, _row(result)] for name, result in release.results.items()]
    sets = [list(each) for each in (release.sent, release.approved, release.held_stages)]
    made = [release.number, release.commit, stages, release.lead, list(release.pins.items()), release.rollback_to]
    return [*made, release.at, release.by, release.fleet, results, *sets, release.ended, release.ended_at]


def _release_of(row: list[Any]) -> Release:
    number, commit, stages, lead, pins, rollback_to, at, by, fleet, results, sent, approved, held, *ended = row
    return Release(
        number,
        commit,
        tuple(StagePlan(name, tuple(names), frozenset(always), *how) for name, names, always, *how in stages),
        lead,
        dict(pins),
        rollback_to,
        at,
        by,
        fleet,
        {name: MachineResult(Outcome(outcome), *rest) for name, (outcome, *rest) in results},
        frozenset(sent),
        frozenset(approved),
        frozenset(held),
        *ended,
    )


_RECORD: Codec[Record] = Codec(lambda record: record.line, lambda line: record_from_line(line, position=0))
_PLAIN = ("position", "tip", "barrier")
_FLAT = ("superseded", "holds", "refused_commits", "machines", "renamed", "breaking", "ends")
_SETS = ("unsigned", "left")
_MAPS: Mapping[str, tuple[Any, Any]] = {
    **dict.fromkeys(_FLAT, (_as_is, tuple)),
    "requests": (lambda pair: _row(pair[1]), lambda row: (row[0], Request(*row))),
    "claims": (lambda pair: _row(pair[1]), lambda row: (row[0], Claim(*row))),
    "refused_pins": (lambda pair: [pair[0], list(pair[1].items())], lambda pair: (pair[0], dict(pair[1]))),
    "spans": (_as_is, lambda pair: (pair[0], tuple(pair[1]))),
}
_ARCHIVES: Mapping[str, Codec[Any]] = {
    "releases": Codec(_release, _release_of),
    "orders": _RECORD,
    "joined": _RECORD,
    "receipts": Codec(str, str),
    "retries": Codec(int, int),
}
